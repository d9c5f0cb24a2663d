//! What tests of the log and of its consumers share: events of made-up sessions, and a checker of what arrives.

use crate::{Config, Error, Log, Position, Priority};
use schemas::chain::{Digest, GENESIS};
use schemas::event::{Identity, IdentityKind, Payload, Protocol, SessionClosed, SessionOpened, Statement};
use schemas::seal::WrappedKey;
use schemas::{Body, Epoch, Event, EventBatch, SessionId, Shard, codec, event::CloseReason};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Settings that make small segments and quick batches.
pub fn config(directory: &Path) -> Config {
    Config {
        directory: directory.to_owned(),
        segment_bytes: 64 << 10,
        limit_bytes: 64 << 20,
        reserve_bytes: 64 << 10,
        batch_bytes: 4 << 10,
        batch_interval: Duration::from_millis(1),
        shards: Some(2),
        durability: crate::config::Durability::Spool,
        subscribers: vec!["reader".to_owned()],
        kafka: None,
        signer: None,
    }
}

/// A session that a test makes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Its shard.
    pub shard: Shard,
    /// The sequence of its next event.
    pub next: u64,
    /// The key of its payloads, if they were sealed: every second shard's sessions have one.
    pub key: Option<WrappedKey>,
}

impl Session {
    /// A session that has not opened.
    pub fn new(shard: Shard) -> Self {
        let id = SessionId::generate();
        let key = WrappedKey { session: id, key: "0".repeat(32), kek: "1".repeat(16), wrapped: vec![2; 60] };
        Self { id, shard, next: 0, key: (shard % 2 == 1).then_some(key) }
    }

    /// Appends its next event: SessionOpened first, then statements with this text.
    ///
    /// # Errors
    /// The log's; the session is then where it was.
    pub fn say(&mut self, log: &Log, text: &str) -> Result<Position, Error> {
        self.append(
            log,
            if self.next == 0 { opened(self.key.is_some()) } else { statement(self.next, text) },
            Priority::Normal,
        )
    }

    /// Appends its SessionClosed.
    ///
    /// # Errors
    /// The log's.
    pub fn close(&mut self, log: &Log) -> Result<Position, Error> {
        self.append(log, closed(), Priority::Closing)
    }

    fn append(&mut self, log: &Log, body: Body, priority: Priority) -> Result<Position, Error> {
        let event = Event { session: self.id, sequence: self.next, time: 1_700_000_000_000_000, body };
        let mut datum = Vec::new();
        codec::encode(&event, &mut datum).expect("a made-up event fits its schema");
        let position = match self.key.as_ref().filter(|_| self.next == 0) {
            Some(key) => log.append_opening(self.shard, key, &[&datum], priority)?,
            None => log.append(self.shard, &[&datum], priority)?,
        };
        self.next += 1;
        Ok(position)
    }
}

/// The role of sessions with a key.
const SEALED: &str = "sealed";

fn opened(sealed: bool) -> Body {
    Body::SessionOpened(SessionOpened {
        identity: Identity {
            kind: IdentityKind::Machine,
            subject: "billing-bot".to_owned(),
            issuer: "https://issuer.example".to_owned(),
            name: "Billing bot".to_owned(),
            groups: vec!["agents".to_owned()],
            on_behalf_of: Vec::new(),
            task: None,
        },
        resource: "shop".to_owned(),
        database: "shop".to_owned(),
        role: if sealed { SEALED } else { "gate" }.to_owned(),
        node: "node-1".to_owned(),
        peer: "127.0.0.1:50000".to_owned(),
        tls: None,
        parameters: BTreeMap::new(),
        server_version: "15.18".to_owned(),
        backend_pid: 1,
        authentication: "token".into(),
        credential: None,
        expires: None,
        grant: None,
        roles: Vec::new(),
    })
}

fn statement(number: u64, text: &str) -> Body {
    Body::Statement(Statement {
        number,
        protocol: Protocol::Simple,
        index: 0,
        text: Payload::plain(text),
        prepared: String::new(),
        portal: String::new(),
        parameters: None,
        tokens: None,
    })
}

fn closed() -> Body {
    let (statements, denied, rows, bytes_in, bytes_out) = (0, 0, 0, 0, 0);
    let reason = CloseReason::ClientTerminated;
    Body::SessionClosed(SessionClosed { reason, detail: String::new(), statements, denied, rows, bytes_in, bytes_out })
}

/// Takes batches in, and knows what must hold of them.
#[derive(Debug, Default, Clone)]
pub struct Witness {
    /// By session: its events' names, in order of arrival.
    pub events: BTreeMap<SessionId, Vec<(u64, &'static str)>>,
    /// By node and shard: the next batch, the hash that it must name, the last epoch.
    chains: BTreeMap<(String, Shard), (u64, Digest, Epoch)>,
    seen: BTreeSet<(String, Epoch, Shard, u64)>,
    /// Batches that came again, and were skipped.
    pub repeated: usize,
    /// What did not hold.
    pub problems: Vec<String>,
}

impl Witness {
    /// Takes a batch in: one that was seen already is counted and skipped.
    pub fn see(&mut self, bytes: &[u8]) {
        let batch = match EventBatch::decode(bytes) {
            Ok(batch) => batch,
            Err(error) => return self.problems.push(format!("a batch cannot be read: {error}")),
        };
        let header = &batch.header;
        if !self.seen.insert((header.node.clone(), header.epoch, header.shard, header.sequence)) {
            self.repeated += 1;
            return;
        }
        let key = (header.node.clone(), header.shard);
        let (next, previous, epoch) = self.chains.get(&key).copied().unwrap_or((0, GENESIS, 0));
        if (header.sequence, header.previous) != (next, previous) || header.epoch < epoch {
            self.problems.push(format!("{key:?}: batch {} does not follow {next}", header.sequence));
        }
        match (header.hash(), batch.open()) {
            (Ok(hash), Ok(opened)) => {
                self.chains.insert(key, (header.sequence + 1, hash, header.epoch));
                for event in opened.events {
                    // the key of a sealed session comes with its first event
                    if matches!(&event.body, Body::SessionOpened(opened) if opened.role == SEALED)
                        && !batch.keys.iter().any(|key| key.session == event.session)
                    {
                        self.problems.push(format!("{}: its key is missing", event.session));
                    }
                    self.events.entry(event.session).or_default().push((event.sequence, event.body.name()));
                }
            }
            (_, opened) => self.problems.push(format!("{key:?}: batch {} does not open: {opened:?}", header.sequence)),
        }
    }

    /// Every session's events are dense and in order, and nothing else was wrong.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), String> {
        let mut problems = self.problems.clone();
        for (session, events) in &self.events {
            if !(0u64..).zip(events).all(|(wanted, (found, _))| wanted == *found) {
                problems
                    .push(format!("{session}: sequences are {:?}", events.iter().map(|(s, _)| s).collect::<Vec<_>>()));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    /// Events of a session.
    pub fn count(&self, session: SessionId) -> usize {
        self.events.get(&session).map_or(0, Vec::len)
    }

    /// Whether the session was closed, once, as its last event.
    pub fn closed_once(&self, session: SessionId) -> bool {
        let closed = |event: &(u64, &str)| event.1 == "SessionClosed";
        let events = self.events.get(&session).map(Vec::as_slice).unwrap_or_default();
        events.iter().filter(|e| closed(e)).count() == 1 && events.last().is_some_and(closed)
    }

    /// Batches that were taken in.
    pub fn batches(&self) -> usize {
        self.seen.len()
    }
}
