//! The promises at the one place where frames change sides, without IO: AUD-1 on the way in, AUD-2 and MSK-1 on the way
//! out, SCP-2 in what is recorded of both.

use super::*;
use crate::{forward::Flow, frames, frames::Reader, resource::Resource, testing, upstream::DatabaseFile};
use judge::{mask::Method, policy::Rules, sql::catalog::QUERIES};
use schemas::SessionId;
use schemas::event::{Identity, IdentityKind};
use std::sync::Arc;

const PASSWORD: &str = "the-gate's-own-password";
const CARD: &str = "4929000011112222";

/// A gate's half of a session: what it may send to each side stands in the two outboxes.
struct Session {
    conversation: Conversation,
    to_server: Outbox,
    to_client: Outbox,
    _log: (event_log::Log, tempfile::TempDir),
}

impl Session {
    fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = event_log::Log::open(event_log::testing::config(folder.path()), "gate-1".into()).unwrap();
        let identity = Identity {
            kind: IdentityKind::Machine,
            subject: "billing-bot".to_owned(),
            issuer: "test".to_owned(),
            name: "billing-bot".to_owned(),
            groups: vec!["agents".to_owned()],
            on_behalf_of: Vec::new(),
            task: None,
        };
        let subject = judge::policy::Subject::new(&identity, "test");
        let decider = Decider::new(Arc::new(resource()), subject);
        let record = Record::new(log.clone(), SessionId::generate());
        let conversation = Conversation::new(record, decider, Paths::new("public", "gate"));
        let (to_server, to_client) = (Outbox::default(), Outbox::default());
        Self { conversation, to_server, to_client, _log: (log, folder) }
    }

    fn client(&mut self, kind: u8, body: &[u8]) -> Result<Flow, End> {
        self.conversation.client(&mut reader(kind, body), &mut self.to_server)
    }

    fn server(&mut self, kind: u8, body: &[u8]) -> Result<(), End> {
        self.conversation.server(&mut reader(kind, body), &mut self.to_client)
    }

    fn query(&mut self, text: &str) -> Flow {
        self.client(b'Q', &[text.as_bytes(), &[0]].concat()).unwrap()
    }
}

/// customers (id, card_number), the second masked.
pub(crate) fn resource() -> Resource {
    let password = Some(kit::Secret::new(PASSWORD.to_owned()));
    let database = DatabaseFile { password, ..testing::database("shop", 5432) };
    let rule = judge::policy::Masking {
        columns: vec!["public.customers.card_number".to_owned()],
        label: None,
        method: Method::Last4,
        unmask_groups: Vec::new(),
    };
    let mut rules = Rules::default();
    rules.masking = vec![rule];
    rules.connect_groups = vec!["agents".to_owned()];
    let config = testing::resource("shop", database, rules).unwrap();
    let parts: [&[&str]; 3] = [
        &["11 pg_catalog", "2200 public"],
        &["100 2200 customers r 101 false"],
        &["100 id 1 20 false", "100 card_number 2 25 false"],
    ];
    let row = |text: &&str| text.split(' ').map(|field| Some(field.to_owned())).collect();
    let mut rows: Vec<judge::sql::catalog::Rows> = parts.iter().map(|part| part.iter().map(row).collect()).collect();
    rows.resize(QUERIES.len(), Vec::new());
    Resource::with_catalog(&config, &rows).unwrap()
}

pub(crate) fn reader(kind: u8, body: &[u8]) -> Reader {
    let (mut frame, mut reader) = (Vec::new(), Reader::default());
    frames::put(&mut frame, kind, body);
    reader.preload(&frame);
    reader
}

/// RowDescription of columns of customers, by attribute number.
fn described(attributes: &[u16]) -> Vec<u8> {
    let mut body = u16::try_from(attributes.len()).unwrap().to_be_bytes().to_vec();
    for attribute in attributes {
        body.extend_from_slice(b"column\0");
        body.extend_from_slice(&100u32.to_be_bytes());
        body.extend_from_slice(&attribute.to_be_bytes());
        body.extend_from_slice(&25u32.to_be_bytes());
        body.extend_from_slice(&(-1i16).to_be_bytes());
        body.extend_from_slice(&(-1i32).to_be_bytes());
        body.extend_from_slice(&0i16.to_be_bytes());
    }
    body
}

fn row(values: &[&str]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend_from_slice(value.as_bytes());
    }
    body
}

pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// AUD-1: of a denied statement no byte reaches the server; what stands in its place cannot do anything.
#[test]
fn a_denied_statement_is_not_forwarded() {
    for denied in [
        "select id from customers where card_number = 'x'",
        "copy customers to stdout (encoding 'latin1')",
        "set standard_conforming_strings = off",
        "select id from customers; copy customers to stdout (encoding 'latin1')",
        "this is not SQL",
    ] {
        let mut session = Session::begin();
        session.query(denied);
        assert!(!contains(&session.to_server.bytes, denied.get(..12).unwrap()), "{denied}");
        assert!(contains(&session.to_server.bytes, "postern refused"), "{denied}");
        session.server(b'E', b"SERROR\0C42601\0Mserver words\0\0").unwrap();
        assert!(!contains(&session.to_client.bytes, "server words"), "the error is the gate's own: {denied}");
        assert_eq!(session.conversation.denied, session.conversation.statements, "{denied}");
    }
}

/// AUD-1: what may change something goes only when its record is durable; what provably changes nothing, at once.
#[test]
fn a_permit_says_what_must_be_durable_first() {
    let mut session = Session::begin();
    session.query("select id from customers");
    assert!(contains(&session.to_server.bytes, "select id from customers") && session.to_server.gate.is_none());
    session.query("delete from customers where id = 1");
    assert!(contains(&session.to_server.bytes, "delete from") && session.to_server.gate.is_some());
}

/// AUD-2, MSK-1: rows, errors and notices of a statement that touches a masked column come out masked or scrubbed.
#[test]
fn answers_pass_through_the_mask() {
    let mut session = Session::begin();
    session.query("select id, card_number from customers");
    session.server(b'T', &described(&[1, 2])).unwrap();
    session.server(b'D', &row(&["7", CARD])).unwrap();
    session.server(b'N', format!("SNOTICE\0C00000\0M{CARD}\0\0").as_bytes()).unwrap();
    session.server(b'E', format!("SERROR\0C22P02\0Minvalid input: \"{CARD}\"\0D{CARD}\0\0").as_bytes()).unwrap();
    session.server(b'Z', b"I").unwrap();
    let shown = &session.to_client.bytes;
    assert!(
        contains(shown, "****2222") && contains(shown, "22000") && !contains(shown, "22P02") && !contains(shown, CARD)
    );
    // and an answer goes no sooner than the statement's record is durable
    assert!(session.to_client.gate.is_some());
}

/// AUD-2: an answer that belongs to no statement cannot be masked: the session ends and the client sees nothing of it.
#[test]
fn an_answer_that_nobody_asked_for_is_not_shown() {
    for (kind, body) in [(b'D', row(&[CARD])), (b'd', CARD.into()), (b'T', described(&[2])), (b'w', CARD.into())] {
        let mut session = Session::begin();
        assert!(session.server(kind, &body).is_err(), "{}", char::from(kind));
        assert!(session.to_client.bytes.is_empty(), "{}", char::from(kind));
    }
    // rows of a masked statement that come without their description
    let mut session = Session::begin();
    session.query("select card_number from customers");
    assert!(session.server(b'D', &row(&[CARD])).is_err() && session.to_client.bytes.is_empty());
}

/// What stands for itself, or for ever more, is refused: a name in a message leads to statements, and not round in circles.
#[test]
fn names_that_lead_to_themselves_are_refused() {
    let mut session = Session::begin();
    let parse = |name: &str, text: &str| [name, "\0", text, "\0\0\0"].concat().into_bytes();
    session.client(b'P', &parse("p", "execute p")).unwrap();
    session.client(b'B', b"\0p\0\0\0\0\0\0\0").unwrap();
    assert!(contains(&session.to_server.bytes, "postern refused"));
    let mut session = Session::begin();
    session.client(b'P', &parse("q", "execute p")).unwrap();
    session.client(b'P', &parse("p", "execute q")).unwrap();
    session.client(b'S', b"").unwrap();
    session.query("execute p");
    assert!(!contains(&session.to_server.bytes, "Q\0\0\0\u{e}execute p"));
    // a cursor that is bound to FETCH of itself, again and again before an answer: twice as much each time
    let mut session = Session::begin();
    session.query("declare c cursor with hold for select id from customers");
    for _ in 0..40 {
        session.client(b'P', &parse("", "fetch all from c")).unwrap();
        session.client(b'B', b"c\0\0\0\0\0\0\0\0").unwrap();
        session.client(b'S', b"").unwrap();
    }
    assert!(contains(&session.to_server.bytes, "postern refused"));
}

/// SCP-2: neither side, nor the settings when they are printed, show the password that the gate logs in with.
#[test]
fn the_database_password_is_not_said() {
    let mut session = Session::begin();
    session.query("select id from customers");
    session.query("copy customers to stdout");
    session.server(b'E', b"SERROR\0C42601\0Mno\0\0").unwrap();
    assert!(!contains(&session.to_server.bytes, PASSWORD) && !contains(&session.to_client.bytes, PASSWORD));
    let database = &session.conversation.decider.resource().database;
    assert!(!format!("{database:?}").contains(PASSWORD));
}
