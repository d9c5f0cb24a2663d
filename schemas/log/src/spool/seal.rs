//! The sealer: one thread that turns event records into Batch records, chained per shard.
//!
//! It reads the journal's file at its own pace, behind the producers: the page cache is its queue, and needs no bound
//! of its own beyond the spool's. Each round takes all that was appended since the last one.

use super::record::{self, Found, HEADER, Sealed};
use super::{Position, Shared, lock};
use crate::{Error, fault};
use ring::rand::{SecureRandom, SystemRandom};
use schemas::batch::{self, Place};
use schemas::seal::WrappedKey;
use schemas::{Epoch, SequenceNumber, SessionId, Shard, codec};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Events of a shard that are to become a batch.
#[derive(Default)]
struct Open {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    first: u64,
    through: u64,
    /// Keys of the sessions that begin in it.
    keys: Vec<WrappedKey>,
    /// Bytes of the events' records.
    size: u64,
    /// While recovery seals: the sequence that each session's next event must have to go into the same batch.
    next: HashMap<SessionId, SequenceNumber>,
}

/// What the thread keeps between rounds.
pub(crate) struct Sealer {
    /// All events below are in Batch records.
    position: u64,
    /// Where the last round's Batch records end.
    batches: u64,
    epoch: Epoch,
    random: SystemRandom,
    chunk: Vec<u8>,
    left: Option<Left>,
}

/// What recovery left to seal of the records below a sequence.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub below: u64,
    pub sequences: HashSet<u64>,
}

/// Bytes read at once; a longer record is read by itself.
const CHUNK: usize = 512 << 10;
/// How long batches wait for a sync that somebody else wants, before they get one of their own.
const SETTLE: Duration = Duration::from_millis(2);

impl Open {
    /// Whether an event can go into this batch: a header states each session's events as one dense range, which
    /// damage may have torn.
    fn follows(&mut self, datum: &[u8]) -> bool {
        let Ok(head) = codec::peek(datum) else { return true };
        let next = self.next.insert(head.session, head.sequence + 1);
        next.is_none_or(|next| next == head.sequence)
    }
}

impl Sealer {
    /// Begins at a position from which no event is sealed, but for those that are not `left`.
    pub(crate) fn new(position: u64, epoch: Epoch, left: Option<Left>) -> Self {
        Self { position, batches: 0, epoch, random: SystemRandom::new(), chunk: Vec::new(), left }
    }

    fn is_left(&self, sequence: u64) -> bool {
        self.left.as_ref().is_none_or(|left| sequence >= left.below || left.sequences.contains(&sequence))
    }

    /// All events below are in Batch records.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Seals everything that has been appended. Returns how many events that was.
    pub(crate) fn round(&mut self, shared: &Shared) -> Result<u64, Error> {
        let mut events = 0;
        let through = shared.flush()?;
        if through == self.position {
            return Ok(0);
        }
        let mut open: BTreeMap<Shard, Open> = BTreeMap::new();
        let (mut end, mut after) = (None, BTreeMap::new());
        while self.position < through {
            let Some(mut size) = self.fill(shared, through)? else { continue };
            let chunk = std::mem::take(&mut self.chunk);
            let mut rest = chunk.get(..size).unwrap_or_default();
            while let Found::Record(found) = record::read(rest) {
                rest = rest.get(found.size()..).unwrap_or_default();
                let Some(datum) = found.datum().filter(|_| self.is_left(found.sequence)) else { continue };
                events += 1;
                let batch = open.entry(found.shard).or_default();
                if self.left.is_some() && !batch.follows(datum) {
                    let whole = std::mem::take(batch);
                    end = Some(self.close(shared, found.shard, &whole, &mut after)?);
                    batch.follows(datum);
                }
                batch.bytes.extend_from_slice(datum);
                batch.keys.extend(found.key());
                batch.size += found.size() as u64;
                batch.ends.push(batch.bytes.len());
                batch.through = found.sequence;
                if batch.ends.len() == 1 {
                    batch.first = found.sequence;
                }
                if batch.bytes.len() >= shared.config.batch_bytes {
                    let full = std::mem::take(batch);
                    end = Some(self.close(shared, found.shard, &full, &mut after)?);
                }
            }
            size -= rest.len();
            self.position += size as u64;
            self.chunk = chunk;
        }
        for (shard, batch) in open.iter().filter(|(_, batch)| !batch.ends.is_empty()) {
            end = Some(self.close(shared, *shard, batch, &mut after)?);
        }
        if let Some(copied) = &shared.copied {
            copied.round(through, after);
        }
        let batches = end.map_or(0, |Position(end)| end);
        lock(&shared.index).round(batches, through);
        self.batches = batches;
        Ok(events)
    }

    /// Reads the next bytes of the journal. `None`: this segment ended, go on with the next.
    fn fill(&mut self, shared: &Shared, through: u64) -> Result<Option<usize>, Error> {
        let gone = || shared.fail("seal", &"a segment of events that are not sealed is missing");
        let segment = shared.segment_of(self.position).ok_or_else(gone)?;
        let until = through.min(segment.end);
        let mut want = usize::try_from(until - self.position).map_or(CHUNK, |left| left.min(CHUNK));
        loop {
            self.chunk.resize(want, 0);
            let read = segment.read(self.position, &mut self.chunk);
            let size = read.map_err(|error| shared.fail("read the spool", &error))?;
            let bytes = self.chunk.get(..size).unwrap_or_default();
            match record::read(bytes) {
                Found::Record(_) => return Ok(Some(size)),
                Found::Nothing if until == segment.end => {
                    self.position = segment.end;
                    return Ok(None);
                }
                Found::Nothing | Found::Damage => {}
            }
            let whole = bytes.first_chunk::<HEADER>().and_then(record::size_at).unwrap_or(0);
            if whole <= want || whole as u64 > until - self.position {
                return Err(shared.fail("read the spool", &"a record that was written reads back damaged"));
            }
            want = whole;
        }
    }

    /// Seals one batch and appends it; notes in `after` which one comes next.
    fn close(
        &self,
        shared: &Shared,
        shard: Shard,
        open: &Open,
        after: &mut BTreeMap<Shard, u64>,
    ) -> Result<Position, Error> {
        let mut datums = Vec::with_capacity(open.ends.len());
        let mut start = 0;
        for end in &open.ends {
            datums.push(open.bytes.get(start..*end).unwrap_or_default());
            start = *end;
        }
        let chain = lock(&shared.tail).state.chains.get(&shard).copied().unwrap_or_default();
        let place = Place {
            node: shared.node.clone(),
            epoch: self.epoch,
            shard,
            sequence: chain.next,
            previous: chain.previous,
        };
        let mut salt = [0; 32];
        self.random.fill(&mut salt).map_err(|error| shared.fail("draw a salt", &error))?;
        // what a crash left may be an older program's
        let version = self.left.as_ref().map_or(codec::Version::Present, |_| codec::Version::of_datums(&datums));
        let sealed = batch::seal_version(place, salt, &datums, version)
            .and_then(|batch| {
                let hash = batch.header.hash()?;
                let batch = batch.with_keys(open.keys.clone());
                let signed = match &shared.config.signer {
                    Some(signer) => batch.signed(signer, &hash),
                    None => batch,
                };
                Ok((hash, signed.encode()?))
            })
            .map_err(|source| Error::Seal { source: Arc::new(source) });
        let (hash, bytes) = sealed.inspect_err(|error| drop(shared.fail("seal a batch", error)))?;
        fault::point("batch.sealed");
        let (first, through) = (open.first, open.through);
        let prefix = Sealed { first, through, batch: chain.next, epoch: self.epoch, hash };
        after.insert(shard, chain.next + 1);
        shared.append_batch(shard, &prefix, &bytes, open.size)
    }
}

/// The thread.
pub(crate) fn run(shared: &Shared, mut sealer: Sealer) {
    loop {
        let stopping = wait(shared, sealer.batches);
        // the last round's, unless a statement's sync has brought them along
        shared.commit.want(shared, sealer.batches);
        if sealer.round(shared).is_err() {
            return;
        }
        if stopping && lock(&shared.tail).unsealed == 0 {
            shared.sealed_all.store(true, Ordering::Release);
            return;
        }
    }
}

/// Waits for the first event, then until a batch is full or its interval is over. True when it is time to stop.
///
/// Sees to it that the batches below `batches` come to the disk even if no event follows.
fn wait(shared: &Shared, batches: u64) -> bool {
    let stop = || shared.stopping.load(Ordering::Acquire) || shared.check().is_err();
    let mut tail = lock(&shared.tail);
    while tail.unsealed == 0 && !stop() {
        if shared.commit.is_wanted(batches) {
            tail = shared.seal_signal.wait(tail).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let waited = shared.seal_signal.wait_timeout(tail, SETTLE).unwrap_or_else(PoisonError::into_inner);
        tail = waited.0;
        // who waits for the brokers waits for nobody else's statement first
        if waited.1.timed_out() || shared.copied.is_some() {
            shared.commit.want(shared, batches);
        }
    }
    let full = shared.config.batch_bytes as u64;
    let filling = |tail: &mut super::Tail| tail.unsealed < full && !stop();
    let waited = shared.seal_signal.wait_timeout_while(tail, shared.config.batch_interval, filling);
    drop(waited);
    stop()
}
