//! Between psql and the server: every simple query is looked at first, then passed on unchanged.

use crate::{
    plan,
    snapshot::Session,
    tally::{self, Finding, Tally},
};
use anyhow::{Context as _, Result, bail};
use attacks::messages::{Bytes, Message, rows};
use judge::sql::{self, Facts};
use std::{
    io::{Read, Write},
    net::TcpStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
};

/// Longest message that is relayed.
const LARGEST: usize = 256 << 20;

/// Serves one connection to its end.
pub fn run(mut client: TcpStream, port: u16, tally: &Mutex<Tally>) -> Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port)).context("connecting to the server")?;
    server.set_nodelay(true).context("a connection")?;
    client.set_nodelay(true).context("a connection")?;
    let startup = sized(&mut client)?;
    let mut server = Server { stream: server, status: b'I' };
    server.send_raw(&startup)?;
    server.relay_until_ready(&mut client)?;
    let mut session = Session::default();
    loop {
        let mut kind = [0];
        if client.read(&mut kind).context("reading from psql")? == 0 {
            return Ok(());
        }
        let [kind] = kind;
        let body = sized(&mut client)?;
        let frame = [&[kind], body.as_slice()].concat();
        if kind != b'Q' {
            server.send_raw(&frame)?;
            match kind {
                b'X' => return Ok(()),
                // psql's \gdesc; function calls of its large objects
                b'S' | b'F' => {
                    server.relay_until_ready(&mut client)?;
                }
                _ => {}
            }
            continue;
        }
        let text = String::from_utf8_lossy(Bytes(body.get(4..).unwrap_or_default()).text()).into_owned();
        let seen = look(&text, &mut server, &mut session)?;
        server.send_raw(&frame)?;
        let accepted = server.relay_until_ready(&mut client)?;
        session.after(seen.as_ref().ok(), accepted);
        judge(&text, seen, accepted, &session, &mut tally::lock(tally));
    }
}

/// What was seen of a statement before the server had it.
pub struct Seen {
    pub facts: Vec<Facts>,
    /// Relations of its plan, where it has one.
    pub planned: Option<Vec<String>>,
}

fn look(text: &str, server: &mut Server, session: &mut Session) -> Result<Result<Seen, String>> {
    if server.status != b'E' {
        session.refresh(server)?;
    }
    let analyzed = catch_unwind(AssertUnwindSafe(|| session.analyze(text)));
    let facts = match analyzed {
        Ok(Ok(facts)) => facts,
        Ok(Err(error)) => return Ok(Err(describe(&error))),
        Err(_) => return Ok(Err("PANIC".to_owned())),
    };
    let planned = match facts.as_slice() {
        [one] if server.status != b'E' && plan::has_plan(one) => plan::relations(text, server)?,
        _ => None,
    };
    Ok(Ok(Seen { facts, planned }))
}

fn describe(error: &sql::Error) -> String {
    format!("{}: {error}", error.kind())
}

fn judge(text: &str, seen: Result<Seen, String>, accepted: bool, session: &Session, tally: &mut Tally) {
    let seen = match seen {
        Ok(seen) => seen,
        Err(reason) => {
            let finding = if reason == "PANIC" { Finding::Panic } else { Finding::NotUnderstood };
            // what the server refuses too need not be understood; a panic may never be
            if accepted || finding == Finding::Panic {
                tally.found(finding, &reason, text);
            }
            tally.statement(accepted, false);
            return;
        }
    };
    tally.statement(accepted, true);
    let unknown_node =
        seen.facts.iter().filter_map(|facts| facts.opaque.as_deref()).find(|why| why.contains("unknown"));
    if let Some(why) = unknown_node.filter(|_| accepted) {
        tally.found(Finding::Opaque, why, text);
    }
    let flagged = seen.facts.iter().any(|facts| facts.flags.iter().any(|flag| flag.starts_with("tripwire:")));
    match (accepted, flagged, follows_rows(text)) {
        (true, true, false) => tally.found(Finding::ParsersDiffer, "flagged", text),
        (true, false, true) => tally.found(Finding::ParsersDiffer, "not flagged, and hidden behind rows", text),
        (false, _, _) | (true, true, true) | (true, false, false) => {}
    }
    if let ([facts], true, true, false) = (
        seen.facts.as_slice(),
        accepted,
        session.is_known(),
        seen.facts.iter().any(|facts| session.is_blind_for(facts)),
    ) {
        for relation in facts.relations.iter().filter(|relation| relation.id.is_none()) {
            let may_be_missing = relation.actions.iter().all(|action| {
                matches!(action, sql::Action::Create | sql::Action::Drop | sql::Action::Alter | sql::Action::Maintain)
            });
            // in any order, one may name what another makes
            let made = facts.kind == "CREATE SCHEMA" && relation.actions.contains(&sql::Action::Create);
            if made {
                continue;
            }
            if !may_be_missing {
                tally.found(Finding::UnknownRelation, &relation.name, text);
            }
        }
        if let Some(planned) = &seen.planned {
            tally.planned += 1;
            let blind = facts.opaque.is_some() || !facts.functions.is_empty();
            for name in planned {
                if !blind && !facts.relations.iter().any(|relation| same(&relation.name, name)) {
                    tally.found(Finding::PlanOnly, name, text);
                }
            }
            tally.blind += usize::from(blind);
        }
    }
}

/// Something follows COPY FROM STDIN in the same text, where a parser of scripts looks for its rows.
fn follows_rows(text: &str) -> bool {
    let text = text.to_uppercase();
    let mut behind = text.split("FROM STDIN").skip(1).filter_map(|rest| rest.trim_start().strip_prefix(';'));
    behind.any(|rest| !rest.trim().is_empty())
}

/// EXPLAIN calls the session's own temporary schema `pg_temp`.
fn same(named: &str, planned: &str) -> bool {
    let temporary =
        |name: &str| name.strip_prefix("pg_temp_").and_then(|rest| rest.split_once('.')).map(|pair| pair.1.to_owned());
    named == planned || planned.strip_prefix("pg_temp.").map(str::to_owned) == temporary(named)
}

/// The server's side, with questions of our own in between.
pub struct Server {
    stream: TcpStream,
    /// Of the transaction, as ReadyForQuery last said.
    pub status: u8,
}

impl Server {
    fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("writing to the server")
    }

    fn message(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut kind = [0];
        self.stream.read_exact(&mut kind).context("reading from the server")?;
        let body = sized(&mut self.stream)?;
        if let ([b'Z'], Some(status)) = (kind, body.get(4)) {
            self.status = *status;
        }
        Ok((kind[0], body))
    }

    /// Passes answers on; false if one was an error.
    fn relay_until_ready(&mut self, client: &mut TcpStream) -> Result<bool> {
        let mut good = true;
        loop {
            let (kind, body) = self.message()?;
            client.write_all(&[&[kind], body.as_slice()].concat()).context("writing to psql")?;
            match kind {
                b'Z' => return Ok(good),
                b'E' => good = false,
                b'G' => self.feed(client)?,
                _ => {}
            }
        }
    }

    fn feed(&mut self, client: &mut TcpStream) -> Result<()> {
        loop {
            let mut kind = [0];
            client.read_exact(&mut kind).context("reading COPY data")?;
            let body = sized(client)?;
            self.send_raw(&[&kind, body.as_slice()].concat())?;
            if matches!(kind, [b'c' | b'f']) {
                return Ok(());
            }
        }
    }

    /// A question of our own; `None` if it failed.
    pub fn ask(&mut self, sql: &str) -> Result<Option<Vec<Vec<Option<String>>>>> {
        let length = u32::try_from(sql.len() + 5).context("a question's length")?;
        self.send_raw(&[b"Q", length.to_be_bytes().as_slice(), sql.as_bytes(), &[0]].concat())?;
        let mut messages = Vec::new();
        let mut good = true;
        loop {
            let (kind, body) = self.message()?;
            good &= kind != b'E';
            if kind == b'Z' {
                break;
            }
            messages.push(Message::Server(kind, body.get(4..).unwrap_or_default().to_vec()));
        }
        let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
        let last = rows(&messages).pop().unwrap_or_default();
        let rows = last.into_iter().map(|row| row.into_iter().map(|value| value.map(text)).collect()).collect();
        Ok(good.then_some(rows))
    }
}

/// A length and what it counts.
fn sized(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).context("reading a length")?;
    let size = usize::try_from(u32::from_be_bytes(length)).context("a length")?;
    if !(4..=LARGEST).contains(&size) {
        bail!("a message of {size} bytes");
    }
    let mut body = vec![0; size - 4];
    stream.read_exact(&mut body).context("reading a message")?;
    Ok([length.as_slice(), body.as_slice()].concat())
}
