//! The spool: one journal for all sessions of the process, in segment files.
//!
//! ```text
//! append --> tail (memory, one mutex) --written--> file --committer--> disk        [`commit`]
//!                                        |
//!                                     sealer: events -> Batch record                [`seal`]   --> [`index`] --> bus
//!                                     keeper: prepares segments, deletes old ones   [`keep`]
//! ```
//!
//! A [`Position`] is a place in the journal; `written` and `synced` say how far file and disk have come. Positions only
//! grow, so "is this record on disk" is one comparison. [`recover`] rebuilds all of it from the files.

pub(crate) mod commit;
pub(crate) mod copied;
pub(crate) mod cursors;
pub(crate) mod entry;
pub(crate) mod here;
pub(crate) mod index;
pub(crate) mod keep;
pub(crate) mod record;
pub(crate) mod recover;
pub(crate) mod repair;
pub(crate) mod scan;
pub(crate) mod seal;
pub(crate) mod segment;
pub(crate) mod snapshot;

use crate::config::{Config, Durability};
use crate::{Error, fault};
use cursors::Cursors;
use index::Index;
use record::{HEADER, Kind, Sealed};
use schemas::seal::WrappedKey;
use schemas::{Epoch, NodeId, Shard, codec};
use segment::Segment;
use snapshot::State;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

/// A place in the journal: after the last byte of what was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position(pub(crate) u64);

/// Which part of the space an event may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// What begins something: refused when only the reserve is left.
    Normal,
    /// What ends something (Completed, SessionClosed): may use the reserve.
    Closing,
}

/// What all threads and handles of a log share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub config: Config,
    pub node: NodeId,
    pub epoch: Epoch,
    /// Keeps other processes off the folder, until the threads have ended.
    pub folder_lock: Mutex<Option<std::fs::File>>,
    pub tail: Mutex<Tail>,
    /// Wakes the sealer; belongs to `tail`.
    pub seal_signal: Condvar,
    writer: Mutex<Writer>,
    /// Everything below is in the file.
    written: AtomicU64,
    pub commit: commit::Commit,
    /// Where a record counts only when Kafka has it.
    pub copied: Option<copied::Copied>,
    pub segments: RwLock<BTreeMap<u64, Arc<Segment>>>,
    pub index: Mutex<Index>,
    /// Tells consumers that batches became visible.
    pub batches: tokio::sync::Notify,
    pub cursors: Mutex<Cursors>,
    pub keep: keep::Keep,
    /// Where the oldest segment begins.
    pub oldest: AtomicU64,
    /// Where the next record begins, and the bytes that are not sealed yet, together: what [`Shared::takes_new`] reads.
    level: AtomicU64,
    failure: OnceLock<Arc<str>>,
    pub stopping: AtomicBool,
    pub sealed_all: AtomicBool,
    next_shard: AtomicU32,
    pub counters: Counters,
}

/// What recovery found, from which the log goes on.
pub(crate) struct Start {
    pub config: Config,
    pub node: NodeId,
    pub epoch: Epoch,
    pub lock: std::fs::File,
    pub tail: Tail,
    pub segments: BTreeMap<u64, Arc<Segment>>,
    pub index: Index,
    pub cursors: Cursors,
}

/// Room that is kept for what running statements answer once new ones are refused: a quarter of the reserve, at most this.
const MAX_MARGIN: u64 = 8 << 20;

/// What is counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub events: AtomicU64,
    pub event_bytes: AtomicU64,
    pub batches: AtomicU64,
    pub batch_bytes: AtomicU64,
    pub syncs: AtomicU64,
    pub syncs_here: AtomicU64,
    pub refused: AtomicU64,
    pub shipped: AtomicU64,
    pub ship_errors: AtomicU64,
}

/// The end of the journal, where producers append.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Records that are not in the file yet.
    buffer: Vec<u8>,
    /// Where in `buffer` the bytes of which segment begin.
    cuts: Vec<Cut>,
    pub segment: Arc<Segment>,
    /// Where the next record begins.
    pub head: u64,
    /// The next record's sequence.
    pub sequence: u64,
    pub state: State,
    /// Bytes of event records that are not in a Batch record yet.
    pub unsealed: u64,
    /// The next segment, if it is ready.
    pub prepared: Option<segment::Ahead>,
    pub closed: bool,
}

#[derive(Debug)]
struct Cut {
    segment: Arc<Segment>,
    at: usize,
    position: u64,
}

/// What only one thread at a time may do: write to the files, in order.
#[derive(Debug, Default)]
struct Writer {
    spare: Vec<u8>,
    /// Segments that have bytes which are not on disk.
    dirty: Vec<Arc<Segment>>,
}

/// Most bytes that wait in memory: an append beyond writes them itself.
const MAX_PENDING: usize = 4 << 20;

/// A poisoned lock is taken all the same: the data is guarded by `failure`, which a panic of ours does not reach.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

impl Tail {
    pub(crate) fn new(segment: Arc<Segment>, head: u64, sequence: u64, state: State) -> Self {
        let cuts = vec![Cut { segment: segment.clone(), at: 0, position: head }];
        Self { buffer: Vec::new(), cuts, segment, head, sequence, state, unsealed: 0, prepared: None, closed: false }
    }

    /// Appends a record; the caller has made sure that there is room. Returns where it begins.
    fn push(&mut self, shared: &Shared, kind: Kind, shard: Shard, crc: u32, parts: &[&[u8]]) -> Result<u64, Error> {
        let size = (HEADER + parts.iter().map(|part| part.len()).sum::<usize>()) as u64;
        self.make_room(shared, size)?;
        let position = self.head;
        record::write(&mut self.buffer, self.sequence, kind, shard, crc, parts);
        self.head += size;
        self.sequence += 1;
        Ok(position)
    }

    /// Makes sure that the next `size` bytes lie in one segment.
    fn make_room(&mut self, shared: &Shared, size: u64) -> Result<(), Error> {
        if self.head + size > self.segment.end { self.rotate(shared, size) } else { Ok(()) }
    }

    /// Goes on in the next segment, which begins with a snapshot.
    fn rotate(&mut self, shared: &Shared, size: u64) -> Result<(), Error> {
        let snapshot = self.state.encode();
        let snapshot_size = (HEADER + snapshot.len()) as u64;
        let limit = shared.config.segment_bytes.saturating_sub(snapshot_size);
        if size > limit {
            return Err(Error::TooLarge { bytes: size, limit });
        }
        let start = self.segment.end;
        let segment = match self.prepared.take() {
            Some(ready) => ready.name(),
            None => Segment::hasty(&shared.config.directory, start, shared.config.segment_bytes),
        };
        let segment = Arc::new(segment.map_err(|error| shared.no_segment(&error))?);
        shared.segments.write().unwrap_or_else(PoisonError::into_inner).insert(segment.start, segment.clone());
        self.cuts.push(Cut { segment: segment.clone(), at: self.buffer.len(), position: segment.start });
        self.head = segment.start;
        self.segment = segment;
        record::write(
            &mut self.buffer,
            self.sequence,
            Kind::Snapshot,
            0,
            record::payload_crc(&[&snapshot]),
            &[&snapshot],
        );
        self.head += snapshot_size;
        self.sequence += 1;
        shared.keep.wake();
        Ok(())
    }
}

impl Shared {
    pub(crate) fn new(start: Start) -> Self {
        let Start { config, node, epoch, lock, tail, segments, index, cursors } = start;
        let head = tail.head;
        let oldest = segments.keys().next().copied().unwrap_or(head);
        let copied = (config.durability == Durability::Kafka).then(|| copied::Copied::new(head));
        Self {
            config,
            node,
            epoch,
            folder_lock: Mutex::new(Some(lock)),
            tail: Mutex::new(tail),
            seal_signal: Condvar::new(),
            writer: Mutex::default(),
            written: AtomicU64::new(head),
            commit: commit::Commit::new(head),
            copied,
            segments: RwLock::new(segments),
            index: Mutex::new(index),
            batches: tokio::sync::Notify::new(),
            cursors: Mutex::new(cursors),
            keep: keep::Keep::default(),
            oldest: AtomicU64::new(oldest),
            level: AtomicU64::new(0),
            failure: OnceLock::new(),
            stopping: AtomicBool::new(false),
            sealed_all: AtomicBool::new(false),
            next_shard: AtomicU32::new(0),
            counters: Counters::default(),
        }
    }

    /// The failure that stopped the log for ever, if one did.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.failure.get() {
            Some(reason) => Err(Error::Failed { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Stops the log for ever: what the disk holds after a failed write or sync is not known any more
    /// (<https://wiki.postgresql.org/wiki/Fsync_Errors>), so nothing more is acknowledged until a restart has read it.
    pub(crate) fn fail(&self, doing: &str, error: &dyn std::fmt::Display) -> Error {
        let reason: Arc<str> = format!("cannot {doing}: {error}").into();
        if self.failure.set(reason.clone()).is_ok() {
            tracing::error!(%reason, "the log has failed, every new statement is refused until a restart");
        }
        self.commit.wake_all();
        self.copied.iter().for_each(copied::Copied::wake_all);
        self.seal_signal.notify_all();
        self.batches.notify_waiters();
        Error::Failed { reason: self.failure.get().cloned().unwrap_or(reason) }
    }

    fn no_segment(&self, error: &std::io::Error) -> Error {
        if error.kind() == std::io::ErrorKind::StorageFull {
            tracing::error!("no room on the disk for the next segment of the spool");
            return self.full();
        }
        self.fail("make a segment", error)
    }

    fn full(&self) -> Error {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        Error::Full { limit: self.config.limit_bytes }
    }

    /// See [`crate::Log::append`].
    pub(crate) fn append(
        &self,
        shard: Shard,
        key: Option<&WrappedKey>,
        datums: &[&[u8]],
        priority: Priority,
    ) -> Result<Position, Error> {
        let (entries, bytes) = entry::entries(key, datums)?;
        let mut tail = lock(&self.tail);
        if tail.buffer.len() > MAX_PENDING {
            drop(tail);
            self.flush()?;
            tail = lock(&self.tail);
        }
        self.admit(&tail, bytes, priority)?;
        tail.state.check(entries.iter().map(|entry| &entry.head)).map_err(|out| Error::Sequence {
            session: out.session,
            expected: out.expected,
            found: out.found,
        })?;
        // all of them or none: they lie in one segment
        tail.make_room(self, bytes)?;
        for entry in &entries {
            tail.push(self, entry.kind(), shard, entry.crc, &[&entry.prefix, entry.datum])?;
            tail.state.event(shard, &entry.head);
        }
        let before = tail.unsealed;
        tail.unsealed += bytes;
        let full = self.config.batch_bytes as u64;
        if before == 0 || (before < full && tail.unsealed >= full) {
            self.seal_signal.notify_one();
        }
        self.level.store(tail.head + tail.unsealed, Ordering::Relaxed);
        self.counters.events.fetch_add(datums.len() as u64, Ordering::Relaxed);
        self.counters.event_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Position(tail.head))
    }

    /// Whether there is room. Every byte that is not sealed yet counts twice: its batch must find room too.
    fn admit(&self, tail: &Tail, bytes: u64, priority: Priority) -> Result<(), Error> {
        self.check()?;
        if tail.closed {
            return Err(Error::Closed);
        }
        let reserve = match priority {
            Priority::Normal => self.config.reserve_bytes,
            Priority::Closing => 0,
        };
        let held = tail.head.saturating_sub(self.oldest.load(Ordering::Acquire));
        if held + tail.unsealed + 2 * bytes + reserve > self.config.limit_bytes {
            return Err(self.full());
        }
        Ok(())
    }

    /// See [`crate::Log::takes_new`].
    pub(crate) fn takes_new(&self, bytes: u64) -> bool {
        let held = self.level.load(Ordering::Relaxed).saturating_sub(self.oldest.load(Ordering::Acquire));
        let margin = (self.config.reserve_bytes / 4).min(MAX_MARGIN);
        held + 2 * (bytes + margin) + self.config.reserve_bytes <= self.config.limit_bytes
    }

    /// Appends a sealed batch, of events that took `bytes` in the journal: [`Shared::admit`] kept room for it.
    pub(crate) fn append_batch(
        &self,
        shard: Shard,
        sealed: &Sealed,
        batch: &[u8],
        bytes: u64,
    ) -> Result<Position, Error> {
        let prefix = sealed.encode();
        let parts: [&[u8]; 2] = [&prefix, batch];
        let crc = record::payload_crc(&parts);
        let mut tail = lock(&self.tail);
        self.check()?;
        // in the state before the record: a snapshot that comes with it must know the events as sealed only after it
        let position = tail.push(self, Kind::Batch, shard, crc, &parts)?;
        tail.state.batch(shard, sealed);
        tail.unsealed = tail.unsealed.saturating_sub(bytes);
        let end = tail.head;
        self.level.store(tail.head + tail.unsealed, Ordering::Relaxed);
        lock(&self.index).appended(shard, sealed.batch, position, end);
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.counters.batch_bytes.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(Position(end))
    }

    /// Appends an event that recovery itself emits, whatever the limit: there are few, and they end something.
    pub(crate) fn append_recovered(&self, shard: Shard, datum: &[u8]) -> Result<(), Error> {
        let head = codec::peek(datum).map_err(|source| Error::Event { source: Arc::new(source) })?;
        let mut tail = lock(&self.tail);
        tail.push(self, Kind::Event, shard, record::payload_crc(&[datum]), &[datum])?;
        tail.state.event(shard, &head);
        tail.unsealed += (HEADER + datum.len()) as u64;
        Ok(())
    }

    /// Appends the start of a node.
    pub(crate) fn append_epoch(&self, epoch: Epoch) -> Result<Position, Error> {
        let mut payload = epoch.to_le_bytes().to_vec();
        payload.extend_from_slice(self.node.as_bytes());
        let mut tail = lock(&self.tail);
        tail.push(self, Kind::Epoch, 0, record::payload_crc(&[&payload]), &[&payload])?;
        tail.state.epoch = epoch;
        Ok(Position(tail.head))
    }

    /// Appends the snapshot with which the very first segment begins.
    pub(crate) fn append_snapshot(&self) -> Result<(), Error> {
        let mut tail = lock(&self.tail);
        let snapshot = tail.state.encode();
        tail.push(self, Kind::Snapshot, 0, record::payload_crc(&[&snapshot]), &[&snapshot]).map(drop)
    }

    /// See [`crate::Log::written`].
    pub(crate) fn written(&self, position: Position) -> Result<(), Error> {
        if self.written.load(Ordering::Acquire) >= position.0 {
            return self.check();
        }
        self.flush().map(drop)
    }

    /// Writes what is pending to the file. Returns how far the file has come.
    pub(crate) fn flush(&self) -> Result<u64, Error> {
        let mut writer = lock(&self.writer);
        self.flush_with(&mut writer)
    }

    fn flush_with(&self, writer: &mut Writer) -> Result<u64, Error> {
        self.check()?;
        let (through, cuts) = {
            let mut tail = lock(&self.tail);
            if tail.buffer.is_empty() {
                return Ok(tail.head);
            }
            std::mem::swap(&mut tail.buffer, &mut writer.spare);
            let next = Cut { segment: tail.segment.clone(), at: 0, position: tail.head };
            (tail.head, std::mem::replace(&mut tail.cuts, vec![next]))
        };
        fault::point("journal.before_write");
        let mut rest = writer.spare.as_slice();
        let ends = cuts.iter().skip(1).map(|cut| cut.at).chain([rest.len()]);
        for (cut, end) in cuts.iter().zip(ends) {
            let (bytes, after) = rest.split_at_checked(end - cut.at).unwrap_or((rest, &[]));
            rest = after;
            if bytes.is_empty() {
                continue;
            }
            cut.segment.write(cut.position, bytes).map_err(|error| self.fail("write to the spool", &error))?;
            if writer.dirty.last().is_none_or(|last| last.start != cut.segment.start) {
                writer.dirty.push(cut.segment.clone());
            }
        }
        fault::point("journal.after_write");
        writer.spare.clear();
        if writer.spare.capacity() > MAX_PENDING {
            writer.spare = Vec::new();
        }
        self.written.store(through, Ordering::Release);
        Ok(through)
    }

    /// Writes what is pending and brings all of the journal to the disk. Only who leads the commit and recovery call it.
    pub(crate) fn sync(&self) -> Result<u64, Error> {
        let (through, dirty) = {
            let mut writer = lock(&self.writer);
            (self.flush_with(&mut writer)?, std::mem::take(&mut writer.dirty))
        };
        for segment in dirty {
            segment.sync(&self.config.directory).map_err(|error| self.fail("sync the spool", &error))?;
        }
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(through)
    }

    /// As [`Shared::sync`], for every segment: what an earlier process wrote may not be on disk either.
    pub(crate) fn sync_all(&self) -> Result<u64, Error> {
        let segments: Vec<_> = self.segments.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for segment in segments {
            segment.sync(&self.config.directory).map_err(|error| self.fail("sync the spool", &error))?;
        }
        self.sync()
    }

    /// The segment that holds a position.
    pub(crate) fn segment_of(&self, position: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let (_, segment) = segments.range(..=position).next_back()?;
        (position < segment.end).then(|| segment.clone())
    }

    /// Reads a batch's bytes back.
    pub(crate) fn batch_at(&self, position: u64) -> Result<Vec<u8>, Error> {
        let lost = |detail: &str| Error::Unavailable(format!("the batch at {position} of the journal {detail}"));
        let segment = self.segment_of(position).ok_or_else(|| lost("is deleted"))?;
        let read =
            |bytes: &mut [u8]| segment.read(position, bytes).map_err(|error| lost(&format!("cannot be read: {error}")));
        let mut header = [0; HEADER];
        read(&mut header)?;
        let size = record::size_at(&header).filter(|size| *size as u64 <= segment.end - position);
        let mut bytes = vec![0; size.ok_or_else(|| lost("is damaged"))?];
        read(&mut bytes)?;
        let record::Found::Record(found) = record::read(&bytes) else { return Err(lost("is damaged")) };
        let (_, batch) = Sealed::split(found.payload).ok_or_else(|| lost("is damaged"))?;
        Ok(batch.to_vec())
    }

    /// The next shard for a session, round robin.
    pub(crate) fn assign(&self) -> Shard {
        self.next_shard.fetch_add(1, Ordering::Relaxed) % self.config.shards()
    }
}
