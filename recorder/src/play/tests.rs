//! What a session looks like when it is played.

use super::*;
use crate::frames::tests::frame;
use crate::testing::{closed, completed, numbered, opened, session, statement, verdict};
use schemas::event::{Column, Direction, Frames as Run, Payload, Usage};

fn description(columns: &[(&str, u32)]) -> Vec<u8> {
    let mut body = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for (name, oid) in columns {
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&oid.to_be_bytes());
        body.extend_from_slice(&[0; 8]);
    }
    frame(b'T', &body)
}

fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        let length = value.map_or(-1, |v| i32::try_from(v.len()).unwrap());
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(value.unwrap_or_default());
    }
    frame(b'D', &body)
}

fn error(code: &str, message: &str) -> Vec<u8> {
    frame(b'E', format!("SERROR\0VERROR\0C{code}\0M{message}\0Hask for access\0\0").as_bytes())
}

/// The server's runs, each where the one before ended.
struct Server(u64);

impl Server {
    fn run(&mut self, parts: &[Vec<u8>]) -> Body {
        let bytes = parts.concat();
        let offset = self.0;
        self.0 += bytes.len() as u64;
        let frames = u32::try_from(parts.len()).unwrap();
        Body::Frames(Run { direction: Direction::Server, offset, frames, payload: Payload::plain(bytes) })
    }
}

fn extended(number: u64, text: &str, parameters: &[u8]) -> Body {
    Body::Statement(Statement {
        protocol: Protocol::Extended,
        prepared: "s1".into(),
        parameters: Some(Payload::plain(parameters)),
        ..statement(number, text)
    })
}

pub(crate) fn session_with_everything() -> Vec<Event> {
    let mut server = Server(0);
    let ready = frame(b'Z', b"I");
    let mask = Verdict {
        reason: "card_number is masked for agents".into(),
        columns: vec![Column {
            name: "public.customers.card_number".into(),
            usage: Usage::Projected,
            masked: true,
            label: Some("pan".into()),
        }],
        ..verdict(1, VerdictKind::Mask)
    };
    let deny = Verdict { reason: "DELETE without WHERE".into(), ..verdict(2, VerdictKind::Deny) };
    let masked = row(&[Some(b"Ada \x1b[31m"), Some(b"****1111")]);
    let bodies = vec![
        opened(),
        server.run(&[frame(b'S', b"server_version\x0015.18\0"), ready.clone()]),
        Body::Statement(statement(1, "select name,\n       card_number from customers")),
        Body::Verdict(mask),
        server.run(&[description(&[("name", 25), ("card_number", 25)]), masked, row(&[Some(b"Bob"), None])]),
        completed(1, Outcome::Succeeded, "SELECT 2", 2, None),
        server.run(&[frame(b'C', b"SELECT 2\0"), ready.clone()]),
        Body::Statement(statement(2, "delete from customers")),
        Body::Verdict(deny),
        completed(2, Outcome::Denied, "", 0, Some("42501")),
        server.run(&[error("42501", "denied by policy"), ready.clone()]),
        // A statement is prepared in vain, then another described: neither answer is a statement's own.
        server.run(&[error("42601", "syntax error"), ready.clone()]),
        server.run(&[frame(b'1', b""), frame(b't', b"\0\0"), description(&[("id", 23)]), ready.clone()]),
        extended(3, "select id from customers where id = $1", b"\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x07\0\x01\0\x01"),
        Body::Verdict(verdict(3, VerdictKind::Allow)),
        completed(3, Outcome::Succeeded, "SELECT 1", 1, None),
        server.run(&[frame(b'2', b""), row(&[Some(&[0, 0, 0, 7])]), frame(b'C', b"SELECT 1\0"), ready.clone()]),
        Body::Statement(statement(4, "copy customers to stdout")),
        Body::Verdict(verdict(4, VerdictKind::Allow)),
        server.run(&[frame(b'H', b"\0\0\x01\0\0"), frame(b'd', b"7\tAda\n"), frame(b'c', b"")]),
        completed(4, Outcome::Succeeded, "COPY 1", 1, None),
        server.run(&[frame(b'C', b"COPY 1\0"), ready]),
        Body::Statement(statement(5, "select pg_sleep(60)")),
        closed(5),
    ];
    numbered(session(1), bodies)
}

const TIMELINE: &str = "  0:00.000  opened   billing-bot (Billing bot) through ada@example.com on shop as role gate
              from 127.0.0.1:50000 through gate-1, PostgreSQL 15.18
  0:00.002  #1    mask  select name,
                           card_number from customers
              because card_number is masked for agents [builtin]
              masked public.customers.card_number
              | name           | card_number
              | Ada \\u{1b}[31m | ****1111
              | Bob            | NULL
              -> SELECT 2 in 1.2 ms
  0:00.007  #2    deny  delete from customers
              because DELETE without WHERE [builtin]
              ERROR 42501: denied by policy
              ask for access
              -> denied (42501) in 1.2 ms
  0:00.013  #3    allow select id from customers where id = $1
              with $1 = \\x00000007
              | id
              | 7
              -> SELECT 1 in 1.2 ms
  0:00.017  #4    allow copy customers to stdout
              | copy
              | 7 Ada
              -> COPY 1 in 1.2 ms
  0:00.022  #5    ?     select pg_sleep(60)
              -> no outcome recorded
  0:00.023  closed   client terminated
              5 statements, 0 denied, 5 rows, 100 bytes in, 200 bytes out
";

#[test]
fn a_session_is_told_statement_by_statement() {
    let mut text = Vec::new();
    render(&play(&session_with_everything()), &mut text, Options::default()).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), TIMELINE);
}

#[test]
fn a_record_with_a_hole_is_told_as_far_as_it_goes() {
    let mut events = session_with_everything();
    events.remove(6); // the run that ends the first answer
    let entries = play(&events);
    let [.., unreadable, last] = entries.as_slice() else { panic!("two at least") };
    assert!(
        matches!(&unreadable.what, What::Unreadable { reason } if reason.contains("goes on at byte")),
        "{unreadable:?}"
    );
    assert!(matches!(last.what, What::Closed(_)));
    assert_eq!(entries.len(), 8);
    assert!(play(&[]).is_empty());
}

#[test]
fn pauses_are_the_sessions_own_and_bounded() {
    let entries = play(&session_with_everything());
    let started = std::time::Instant::now();
    let options = Options { speed: Some(1.0), ..Options::default() };
    render(&entries, &mut std::io::sink(), options).unwrap();
    assert!(started.elapsed() >= std::time::Duration::from_millis(23));
}
