//! Whether a batch may stand in the archive as it came, and what does not hold of it.
//!
//! Comes after [`crate::consume`] and before the writer; the same code proves the archive later
//! ([`crate::archive::audit`]). It does no IO: [`State`] is all that it knows of the past, and the manifests carry it.
//!
//! | question | answered by |
//! |---|---|
//! | was this batch archived before? | [`State::standing`]: sequence and hash against the chain's end |
//! | is it what its node sealed? | [`read`]: Merkle root over the stored bytes, header against the events |
//! | does it follow the one before? | [`State::accept`]: sequence, previous hash, epoch |
//! | are the sessions whole? | [`State::accept`]: dense sequences (AUD-3), nothing before the first or after the last event (AUD-4) |
//!
//! A fault is evidence, not an error: the batch is archived all the same, and the fault stands beside it (ARC-1).

use crate::archive::manifest::{BatchName, Fault, FaultKind};
use event_log::Offset;
use schemas::batch::SessionRange;
use schemas::chain::{self, Digest};
use schemas::event::{Body, Event};
use schemas::{BatchHeader, Epoch, EventBatch, NodeId, SessionId, Shard, batch, codec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Hashes of a chain's latest batches that are kept in memory, to tell a duplicate from a fork without reading.
const RECENT: usize = 4_096;

/// Most open sessions that the state carries for a partition. Beyond it the oldest are let go with a fault.
const MAX_OPEN: usize = 65_536;

/// Most faults that one batch reports.
const MAX_FAULTS: usize = 64;

/// What verification knows of a partition's past.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Document", into = "Document")]
pub struct State {
    chains: BTreeMap<(NodeId, Shard), ChainEnd>,
    open: BTreeMap<SessionId, u64>,
    recent: Recent,
}

/// Not part of the document, nor of equality: it can be had from the archive at any time.
#[derive(Debug, Clone, Default)]
struct Recent(BTreeMap<(NodeId, Shard), VecDeque<(u64, Digest)>>);

impl PartialEq for Recent {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The end of one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEnd {
    /// The node.
    pub node: NodeId,
    /// The shard.
    pub shard: Shard,
    /// The epoch of its last batch.
    pub epoch: Epoch,
    /// The sequence number of its last batch.
    pub sequence: u64,
    /// The hash of its last header.
    #[serde(with = "codec::fixed")]
    pub hash: Digest,
}

/// A session that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    /// The session.
    pub session: SessionId,
    /// The sequence number of its next event.
    pub next: u64,
}

#[derive(Serialize, Deserialize)]
struct Document {
    chains: Vec<ChainEnd>,
    open: Vec<OpenSession>,
}

impl From<State> for Document {
    fn from(state: State) -> Self {
        Self {
            chains: state.chains.into_values().collect(),
            open: state.open.into_iter().map(|(session, next)| OpenSession { session, next }).collect(),
        }
    }
}

impl From<Document> for State {
    fn from(document: Document) -> Self {
        Self {
            chains: document.chains.into_iter().map(|end| ((end.node.clone(), end.shard), end)).collect(),
            open: document.open.into_iter().map(|open| (open.session, open.next)).collect(),
            recent: Recent::default(),
        }
    }
}

/// How a batch stands to its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It comes after all that is archived.
    New,
    /// It is archived already.
    Same,
    /// Another one is archived in its place.
    Forked,
    /// It is older than what is remembered: the archive knows.
    Older,
}

/// What is known of a session in a batch without its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Told {
    /// Its beginning is among them.
    pub(crate) opens: bool,
    /// It is no session but an event that stands alone.
    pub(crate) alone: bool,
    /// The sequence number of its end, where that is among them.
    pub(crate) ends: Option<u64>,
}

/// The events of a batch, as far as they can be read, and what does not hold of it.
#[derive(Debug)]
pub struct Read {
    /// The events; `None` where the block cannot be read.
    pub events: Option<Vec<Event>>,
    /// What does not hold.
    pub fault: Option<batch::Fault>,
}

/// Opens a batch. Events that can be decoded are given even where they are not those that the header was made over.
pub fn read(batch: &EventBatch) -> Read {
    match batch.open() {
        Ok(opened) => Read { events: Some(opened.events), fault: None },
        Err(fault @ batch::Fault::Unreadable(_)) => Read { events: None, fault: Some(fault) },
        Err(fault @ (batch::Fault::Root | batch::Fault::Header)) => {
            let header = &batch.header;
            let events = codec::decompress(&batch.block)
                .and_then(|datums| codec::decode_all(&datums, header.count, header.schema.cast_unsigned()));
            Read { events: events.ok(), fault: Some(fault) }
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl State {
    /// The ends of the chains, by node and shard.
    pub fn chains(&self) -> impl Iterator<Item = &ChainEnd> {
        self.chains.values()
    }

    /// The sessions that have not ended.
    pub fn open(&self) -> impl Iterator<Item = OpenSession> + '_ {
        self.open.iter().map(|(session, next)| OpenSession { session: *session, next: *next })
    }

    /// How a batch stands to its chain. It changes nothing.
    pub fn standing(&self, header: &BatchHeader, hash: &Digest) -> Standing {
        let chain = (header.node.clone(), header.shard);
        let Some(end) = self.chains.get(&chain).filter(|end| header.sequence <= end.sequence) else {
            return Standing::New;
        };
        let known = if header.sequence == end.sequence {
            Some(end.hash)
        } else {
            let recent = self.recent.0.get(&chain);
            recent.and_then(|r| r.iter().rev().find(|(n, _)| *n == header.sequence)).map(|(_, hash)| *hash)
        };
        match known {
            Some(known) if known == *hash => Standing::Same,
            Some(_) => Standing::Forked,
            None => Standing::Older,
        }
    }

    /// Takes an archived batch's hash into memory.
    pub fn remember(&mut self, header: &BatchHeader, hash: &Digest) {
        let recent = self.recent.0.entry((header.node.clone(), header.shard)).or_default();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((header.sequence, *hash));
    }

    /// Takes a batch that is to be archived, and says what does not hold.
    pub fn accept(&mut self, offset: Offset, header: &BatchHeader, hash: &Digest, read: &Read) -> Vec<Fault> {
        let mut faults = Faults { offset, name: BatchName::from(header), found: Vec::new() };
        if let Some(fault) = &read.fault {
            let kind = match fault {
                batch::Fault::Unreadable(_) => FaultKind::Unreadable,
                batch::Fault::Root => FaultKind::Root,
                batch::Fault::Header => FaultKind::Header,
            };
            faults.of_batch(kind, chain_of(fault));
        }
        self.follow(header, hash, &mut faults);
        self.remember(header, hash);
        for event in read.events.iter().flatten() {
            self.event(event, &mut faults);
        }
        self.let_go(&mut faults);
        faults.found
    }

    /// Takes a batch of which only the header is left, and says what does not hold. `told` is what is known of its sessions;
    /// `None`: its events could not be read when it was archived, and count for no session.
    pub(crate) fn accept_header(
        &mut self,
        offset: Offset,
        header: &BatchHeader,
        hash: &Digest,
        told: Option<&BTreeMap<SessionId, Told>>,
    ) -> Vec<Fault> {
        let mut faults = Faults { offset, name: BatchName::from(header), found: Vec::new() };
        self.follow(header, hash, &mut faults);
        self.remember(header, hash);
        for range in told.map(|_| header.sessions.as_slice()).unwrap_or_default() {
            let told = told.and_then(|told| told.get(&range.session)).copied().unwrap_or_default();
            self.range(range, told, &mut faults);
        }
        self.let_go(&mut faults);
        faults.found
    }

    fn range(&mut self, range: &SessionRange, told: Told, faults: &mut Faults) {
        let (session, first) = (range.session, range.first);
        let next = match self.open.get(&session) {
            Some(next) => *next,
            None if first == 0 && told.opens => 0,
            None if first == 0 && told.alone && range.count == 1 => return,
            None => {
                let detail = "events without their beginning, or after the end".to_owned();
                return faults.of_session(FaultKind::NotOpen, session, first, detail);
            }
        };
        if !faults.goes_on(session, next, first) {
            return;
        }
        let next = first.saturating_add(u64::from(range.count));
        if told.ends.is_some_and(|last| last.saturating_add(1) == next) {
            self.open.remove(&session);
        } else {
            self.open.insert(session, next);
        }
    }

    fn let_go(&mut self, faults: &mut Faults) {
        while self.open.len() > MAX_OPEN {
            if let Some((session, next)) = self.open.pop_first() {
                let detail = format!("more than {MAX_OPEN} sessions are open; this one is no longer followed");
                faults.of_session(FaultKind::NotOpen, session, next, detail);
            }
        }
    }

    fn follow(&mut self, header: &BatchHeader, hash: &Digest, faults: &mut Faults) {
        let chain = (header.node.clone(), header.shard);
        match self.chains.get(&chain) {
            None if header.sequence > 0 => {
                faults.of_batch(FaultKind::ChainStart, format!("the chain is first seen at batch {}", header.sequence));
            }
            None if header.previous != chain::GENESIS => {
                faults.of_batch(FaultKind::ChainBroken, "the first batch names one before it".to_owned());
            }
            None => {}
            Some(end) if header.sequence <= end.sequence => {
                // The chain's end stays where it is.
                return faults.of_batch(FaultKind::Late, format!("it came after batch {}", end.sequence));
            }
            Some(end) => {
                if header.sequence > end.sequence + 1 {
                    let detail = format!("batches {} to {} are missing", end.sequence + 1, header.sequence - 1);
                    faults.of_batch(FaultKind::BatchesMissing, detail);
                } else if header.previous != end.hash {
                    let detail = format!("it does not name the hash of batch {}", end.sequence);
                    faults.of_batch(FaultKind::ChainBroken, detail);
                }
                if header.epoch < end.epoch {
                    faults.of_batch(FaultKind::EpochWentBack, format!("epoch {} after {}", header.epoch, end.epoch));
                }
            }
        }
        let (node, shard) = chain.clone();
        let end = ChainEnd { node, shard, epoch: header.epoch, sequence: header.sequence, hash: *hash };
        self.chains.insert(chain, end);
    }

    fn event(&mut self, event: &Event, faults: &mut Faults) {
        let (session, sequence) = (event.session, event.sequence);
        let next = match self.open.get(&session) {
            Some(next) => *next,
            None => match &event.body {
                Body::SessionOpened(_) if sequence == 0 => 0,
                body if sequence == 0 && body.stands_alone() => return,
                body => {
                    let detail = format!("{} without its beginning, or after its end", body.name());
                    return faults.of_session(FaultKind::NotOpen, session, sequence, detail);
                }
            },
        };
        if !faults.goes_on(session, next, sequence) {
            return;
        }
        if matches!(event.body, Body::SessionClosed(_)) {
            self.open.remove(&session);
        } else {
            self.open.insert(session, sequence + 1);
        }
    }
}

/// What was found in one batch, at most one fault of a kind for each session.
struct Faults {
    offset: Offset,
    name: BatchName,
    found: Vec<Fault>,
}

impl Faults {
    /// Whether an event of a session goes on from the one that was next: it may be beyond that, and what lies between is missing.
    fn goes_on(&mut self, session: SessionId, next: u64, sequence: u64) -> bool {
        if sequence > next {
            let detail = format!("events {next} to {} are missing", sequence - 1);
            self.of_session(FaultKind::EventsMissing, session, sequence, detail);
        }
        if sequence < next {
            let detail = format!("event {sequence} came again, {next} was next");
            self.of_session(FaultKind::EventsRepeated, session, sequence, detail);
        }
        sequence >= next
    }

    fn of_batch(&mut self, kind: FaultKind, detail: String) {
        self.add(kind, None, None, detail);
    }

    fn of_session(&mut self, kind: FaultKind, session: SessionId, sequence: u64, detail: String) {
        if !self.found.iter().any(|f| f.kind == kind && f.session == Some(session)) {
            self.add(kind, Some(session), Some(sequence), detail);
        }
    }

    fn add(&mut self, kind: FaultKind, session: Option<SessionId>, sequence: Option<u64>, detail: String) {
        if self.found.len() < MAX_FAULTS {
            let (offset, batch) = (self.offset, Some(self.name.clone()));
            self.found.push(Fault { offset, kind, detail, batch, session, sequence, quarantine: None });
        }
    }
}
