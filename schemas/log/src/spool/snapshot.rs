//! What must be known at the beginning of a segment, so that recovery can begin at the oldest one kept: which sessions
//! are open, and where the chain of each shard stands. Also what follows from reading on: [`State::event`], [`State::batch`].

use super::record::Sealed;
use schemas::chain::{Digest, GENESIS};
use schemas::codec::Head;
use schemas::{Epoch, SequenceNumber, SessionId, Shard};
use std::collections::{BTreeMap, HashMap};

/// The union branches of `event.avsc` that the log must know.
pub(crate) mod variant {
    pub(crate) const SESSION_REFUSED: u32 = 1;
    pub(crate) const STATEMENT: u32 = 2;
    pub(crate) const GAP: u32 = 8;
    pub(crate) const SESSION_CLOSED: u32 = 9;
    pub(crate) const ACCESS: u32 = 10;
    pub(crate) const ACCESS_REQUESTED: u32 = 11;
    pub(crate) const ACCESS_REVIEWED: u32 = 12;
    pub(crate) const ACCESS_GRANTED: u32 = 13;
    pub(crate) const ACCESS_ENDED: u32 = 14;
    pub(crate) const REVOKED: u32 = 16;
    pub(crate) const ALARM: u32 = 17;
    pub(crate) const ROLE_DROPPED: u32 = 19;

    /// Whether an event belongs to no session and is alone under its id.
    pub(crate) const fn stands_alone(variant: u32, sequence: u64) -> bool {
        match variant {
            SESSION_REFUSED | GAP | ACCESS | ACCESS_REQUESTED | ACCESS_REVIEWED | ACCESS_GRANTED | ACCESS_ENDED
            | REVOKED | ALARM => true,
            ROLE_DROPPED => sequence == 0,
            _ => false,
        }
    }
}

/// A session that has not been closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenSession {
    pub shard: Shard,
    /// The sequence number of its next event.
    pub next: SequenceNumber,
    pub statements: u64,
}

/// Where the chain of a shard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The sequence of the next batch.
    pub next: u64,
    /// The hash of the last header.
    pub previous: Digest,
}

impl Default for Chain {
    fn default() -> Self {
        Self { next: 0, previous: GENESIS }
    }
}

/// The state that the journal's records add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub epoch: Epoch,
    pub sessions: HashMap<SessionId, OpenSession>,
    pub chains: BTreeMap<Shard, Chain>,
}

/// An event that does not go on where its session stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OutOfOrder {
    pub session: SessionId,
    pub expected: SequenceNumber,
    pub found: SequenceNumber,
}

impl State {
    /// AUD-3: refuses events of which one is not its session's next.
    pub(crate) fn check<'a>(&self, heads: impl Iterator<Item = &'a Head>) -> Result<(), OutOfOrder> {
        let mut last: Option<(SessionId, SequenceNumber)> = None;
        for head in heads {
            let expected = match last {
                Some((session, sequence)) if session == head.session => sequence + 1,
                _ => self.sessions.get(&head.session).map_or(0, |session| session.next),
            };
            if head.sequence != expected {
                return Err(OutOfOrder { session: head.session, expected, found: head.sequence });
            }
            last = Some((head.session, head.sequence));
        }
        Ok(())
    }

    /// Takes an event in; where damage took the ones before it, it counts all the same.
    pub(crate) fn event(&mut self, shard: Shard, head: &Head) {
        match head.variant {
            alone if variant::stands_alone(alone, head.sequence) => {}
            variant::SESSION_CLOSED => drop(self.sessions.remove(&head.session)),
            other => {
                let fresh = OpenSession { shard, next: 0, statements: 0 };
                let session = self.sessions.entry(head.session).or_insert(fresh);
                session.next = head.sequence + 1;
                session.statements += u64::from(other == variant::STATEMENT);
            }
        }
    }

    /// Takes a sealed batch in.
    pub(crate) fn batch(&mut self, shard: Shard, sealed: &Sealed) {
        self.chains.insert(shard, Chain { next: sealed.batch + 1, previous: sealed.hash });
    }

    /// The payload of a Snapshot record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.sessions.len() * SESSION_BYTES + self.chains.len() * CHAIN_BYTES);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&(self.chains.len() as u64).to_le_bytes());
        for (shard, chain) in &self.chains {
            out.extend_from_slice(&shard.to_le_bytes());
            out.extend_from_slice(&chain.next.to_le_bytes());
            out.extend_from_slice(&chain.previous);
        }
        for (id, session) in &self.sessions {
            out.extend_from_slice(id.as_bytes());
            out.extend_from_slice(&session.shard.to_le_bytes());
            out.extend_from_slice(&session.next.to_le_bytes());
            out.extend_from_slice(&session.statements.to_le_bytes());
        }
        out
    }

    /// Reads what [`State::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (epoch, rest) = bytes.split_first_chunk()?;
        let (count, mut rest) = rest.split_first_chunk()?;
        let mut state = Self { epoch: u64::from_le_bytes(*epoch), ..Self::default() };
        for _ in 0..u64::from_le_bytes(*count) {
            let (chain, after) = rest.split_first_chunk::<CHAIN_BYTES>()?;
            let (shard, chain) = chain.split_first_chunk()?;
            let (next, chain) = chain.split_first_chunk()?;
            let chain = Chain { next: u64::from_le_bytes(*next), previous: *chain.first_chunk()? };
            state.chains.insert(u32::from_le_bytes(*shard), chain);
            rest = after;
        }
        while !rest.is_empty() {
            let (session, after) = rest.split_first_chunk::<SESSION_BYTES>()?;
            let (id, session) = session.split_first_chunk()?;
            let (shard, session) = session.split_first_chunk()?;
            let (next, session) = session.split_first_chunk()?;
            let statements = u64::from_le_bytes(*session.first_chunk()?);
            let open = OpenSession { shard: u32::from_le_bytes(*shard), next: u64::from_le_bytes(*next), statements };
            state.sessions.insert(SessionId::from_bytes(*id), open);
            rest = after;
        }
        Some(state)
    }
}

const CHAIN_BYTES: usize = 4 + 8 + 32;
const SESSION_BYTES: usize = 16 + 4 + 8 + 8;

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION_OPENED: u32 = 0;

    fn head(sequence: u64, variant: u32) -> Head {
        Head { session: SessionId::from_bytes([1; 16]), sequence, time: 0, variant }
    }

    #[test]
    fn sessions_open_count_and_close() {
        let mut state = State::default();
        let opened = [head(0, SESSION_OPENED), head(1, variant::STATEMENT)];
        state.check(opened.iter()).unwrap();
        opened.iter().for_each(|head| state.event(2, head));
        let open = state.sessions[&SessionId::from_bytes([1; 16])];
        assert_eq!(open, OpenSession { shard: 2, next: 2, statements: 1 });
        let wrong = state.check([head(3, variant::STATEMENT)].iter()).unwrap_err();
        assert_eq!((wrong.expected, wrong.found), (2, 3));
        state.event(2, &head(2, variant::SESSION_CLOSED));
        assert!(state.sessions.is_empty());
        state.event(0, &head(0, variant::ACCESS));
        assert!(state.sessions.is_empty());
    }

    #[test]
    fn a_snapshot_returns_and_no_cut_of_it_panics() {
        let mut state = State { epoch: 7, ..State::default() };
        state.event(1, &head(0, SESSION_OPENED));
        state.batch(3, &Sealed { first: 5, through: 5, batch: 8, epoch: 7, hash: [9; 32] });
        let bytes = state.encode();
        assert_eq!(State::decode(&bytes), Some(state));
        for end in 0..bytes.len() {
            let _cut = State::decode(&bytes[..end]);
        }
    }
}
