//! Start: reads what an earlier start left, repairs it, ends what it left open, and goes on from there.
//!
//! ```text
//! lock -> scan every segment -> cut a torn tail | quarantine damage -> seal the rest under the old epoch,
//!         with a Gap for each damage and a SessionClosed for each open session -> new epoch
//! ```
//!
//! A torn tail is what no record follows: it was never acknowledged. Damage with records behind it is put aside under
//! `quarantine/`, replaced by a Skip record, and reported; start-up goes on.

use super::cursors::Cursors;
use super::index::Index;
use super::record::{Kind, Record, Sealed};
use super::repair::{Ending, Repairs};
use super::scan;
use super::seal::{Left, Sealer};
use super::segment::{self, Segment};
use super::snapshot::State;
use super::{Shared, Start, Tail, commit, lock};
use crate::Error;
use crate::config::Config;
use schemas::event::{CloseReason, Gap, SessionClosed};
use schemas::{Body, Epoch, Event, NodeId, SessionId, Shard, codec};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What a start found in its folder, and did about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recovery {
    /// The epoch before this start; `None` for the first.
    pub previous_epoch: Option<Epoch>,
    /// The epoch of this start.
    pub epoch: Epoch,
    /// Events that lay in no batch yet, and were sealed under the previous epoch.
    pub sealed: u64,
    /// Sessions that were open, and were closed as [`CloseReason::NodeCrashed`].
    pub closed: Vec<SessionId>,
    /// Bytes of a torn tail that were cut off: nobody was told that they were kept.
    pub torn_bytes: u64,
    /// Damage that was put aside; an event tells of each.
    pub gaps: Vec<Gap>,
}

/// What the records of all segments add up to.
#[derive(Default)]
struct Found {
    state: State,
    index: Index,
    node: Option<String>,
    sequence: Option<u64>,
    /// By shard: events that are in no batch so far, by sequence.
    unsealed: BTreeMap<Shard, BTreeMap<u64, Place>>,
    segments: BTreeMap<u64, Arc<Segment>>,
    /// Where the last record ends, and whether anything follows it in its segment.
    tail: Option<Ending>,
    damage: Repairs,
    /// Records lost since the last batch of each shard: among them may be batches.
    lost_for: BTreeMap<Shard, u64>,
    torn_bytes: u64,
}

/// Where an event lies, and the bytes of its record.
struct Place {
    position: u64,
    size: u64,
}

/// Opens the spool of a folder. `now` is the time in milliseconds since 1970.
pub(crate) fn open(config: Config, node: NodeId, now: u64) -> Result<(Arc<Shared>, Sealer, Recovery), Error> {
    let owned = config.directory.clone();
    let failed = |doing: &'static str| {
        let folder = owned.clone();
        move |source| Error::Open { doing, folder, source: Arc::new(source) }
    };
    let folder = config.directory.as_path();
    std::fs::create_dir_all(folder).map_err(failed("make the folder"))?;
    let lock = lock_folder(folder)?;
    let mut cursors = Cursors::load(folder);
    remember(&mut cursors, &config);
    let mut found = read(folder, &node, &cursors).map_err(failed("read the segments"))?;
    let known = found.node.as_ref().or(cursors.node.as_ref());
    if let Some(other) = known.filter(|other| **other != node) {
        return Err(Error::OtherNode { folder: folder.to_owned(), found: other.clone(), configured: node });
    }
    cursors.node = Some(node.clone());
    trim(&mut found).map_err(failed("cut the torn tail"))?;
    let previous_epoch = found.tail.is_some().then_some(found.state.epoch);
    let epoch = previous_epoch.map_or(now, |previous| now.max(previous + 1));
    let recovery = Recovery { previous_epoch, epoch, torn_bytes: found.torn_bytes, ..Recovery::default() };
    let (tail, from, left) = match tail(&mut found) {
        Some(all) => all,
        None => first(&config, &mut found).map_err(failed("make the first segment"))?,
    };
    let Found { mut index, segments, damage, .. } = found;
    for shard in 0..config.shards() {
        index.lane(shard, 0);
    }
    let shared = Shared::new(Start { config, node, epoch, lock, tail, segments, index, cursors });
    settle(shared, Sealer::new(from, previous_epoch.unwrap_or(epoch), Some(left)), damage, recovery)
}

/// Two processes on one spool would tear each other's records.
fn lock_folder(folder: &Path) -> Result<File, Error> {
    let failed = |source| Error::Open { doing: "lock the folder", folder: folder.to_owned(), source: Arc::new(source) };
    let file = File::options().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The subscribers that hold batches back are those that the config names.
fn remember(cursors: &mut Cursors, config: &Config) {
    let names = match config.kafka {
        Some(_) => vec![crate::KAFKA_SUBSCRIBER.to_owned()],
        None => config.subscribers.clone(),
    };
    for name in cursors.subscribers.keys().filter(|name| !names.contains(name)) {
        tracing::info!(subscriber = %name, "is not in the configuration any more, holds nothing back");
    }
    cursors.subscribers.retain(|name, _| names.contains(name));
    for name in names {
        cursors.subscribers.entry(name).or_default();
    }
}

fn read(folder: &Path, node: &str, cursors: &Cursors) -> io::Result<Found> {
    let mut found = Found { damage: Repairs::new(folder, node), ..Found::default() };
    let mut next = cursors.oldest;
    for (start, path) in segment::list(folder)? {
        if start > next && next > 0 {
            let missing = Arc::new(Segment::hasty(folder, next, start - next)?);
            found.damage.missing(&missing, found.sequence);
            found.segments.insert(next, missing);
        }
        let segment = Arc::new(Segment::open(path, start)?);
        next = segment.end;
        found.segments.insert(start, segment.clone());
        let length = usize::try_from(segment.end - segment.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        segment.read(start, &mut bytes)?;
        take(&mut found, cursors, &segment, &bytes)?;
    }
    Ok(found)
}

/// Takes the records of one segment in.
fn take(found: &mut Found, cursors: &Cursors, segment: &Arc<Segment>, bytes: &[u8]) -> io::Result<()> {
    let mut expected = found.sequence;
    let mut last = expected;
    let scanned = scan::scan(bytes, &mut expected, |at, record| {
        let skip = u64::from(record.kind == Kind::Skip);
        let lost = last.map_or(0, |last| record.sequence.saturating_sub(last)) + skip;
        found.lose(lost);
        last = Some(record.sequence + 1);
        found.record(segment.start + at as u64, record, cursors);
    });
    if scanned.records == 0 {
        return Ok(());
    }
    found.sequence = expected;
    for (nth, damage) in scanned.damage.iter().enumerate() {
        // records that are missing before the first of this segment were at the end of the last one
        let before = (nth == 0 && damage.to == 0).then(|| found.tail.take()).flatten();
        match before {
            Some(ending) => {
                let empty =
                    found.segments.get(&ending.segment.end).filter(|empty| empty.start != segment.start).cloned();
                found.damage.end(&ending, empty.as_ref(), damage)?;
            }
            None => found.damage.middle(segment, bytes, damage)?,
        }
    }
    found.tail = Some(Ending { segment: segment.clone(), at: segment.start + scanned.end as u64, torn: scanned.torn });
    Ok(())
}

impl Found {
    /// Records are lost here. Among them may be batches of any shard.
    fn lose(&mut self, records: u64) {
        if records == 0 {
            return;
        }
        for shard in self.state.chains.keys() {
            *self.lost_for.entry(*shard).or_default() += records;
        }
    }

    fn record(&mut self, position: u64, record: &Record<'_>, cursors: &Cursors) {
        match record.kind {
            Kind::Event | Kind::Keyed => {
                let Some(Ok(head)) = record.datum().map(codec::peek) else { return };
                self.state.event(record.shard, &head);
                let place = Place { position, size: record.size() as u64 };
                self.unsealed.entry(record.shard).or_default().insert(record.sequence, place);
            }
            Kind::Batch => {
                let Some((sealed, _)) = Sealed::split(record.payload) else { return };
                let expected = self.state.chains.get(&record.shard).map_or(0, |chain| chain.next);
                // where a batch before this one is lost, its events are sealed again, unless everybody has it
                let has_it = sealed.batch == expected || cursors.needed(record.shard) >= Some(sealed.batch);
                let from = if has_it { 0 } else { sealed.first };
                self.unsealed.entry(record.shard).or_default().retain(|n, _| *n < from || *n > sealed.through);
                self.state.batch(record.shard, &sealed);
                self.index.found(record.shard, sealed.batch, position);
                self.lost_for.remove(&record.shard);
            }
            Kind::Snapshot => {
                let Some(state) = State::decode(record.payload) else { return };
                for (shard, chain) in &state.chains {
                    self.index.lane(*shard, chain.next);
                }
                self.state = state;
            }
            Kind::Epoch => {
                let Some((epoch, node)) = record.payload.split_first_chunk() else { return };
                self.state.epoch = u64::from_le_bytes(*epoch);
                self.node = Some(String::from_utf8_lossy(node).into_owned());
            }
            Kind::Skip => {}
        }
    }
}

/// Cuts what stands behind the last record, and removes segments that hold none.
fn trim(found: &mut Found) -> io::Result<()> {
    let last = found.tail.as_ref().map(|ending| ending.segment.start);
    let empty: Vec<u64> =
        found.segments.keys().copied().filter(|start| last.is_none_or(|last| *start > last)).collect();
    for segment in empty.iter().filter_map(|start| found.segments.remove(start)) {
        std::fs::remove_file(&segment.path)?;
    }
    let Some(ending) = found.tail.as_ref().filter(|ending| ending.torn) else { return Ok(()) };
    let mut rest = vec![0; usize::try_from(ending.segment.end - ending.at).map_err(io::Error::other)?];
    ending.segment.read(ending.at, &mut rest)?;
    let torn = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    tracing::info!(bytes = torn, position = ending.at, "a torn tail of the spool is cut: it was never acknowledged");
    found.torn_bytes = torn as u64;
    ending.segment.write(ending.at, &vec![0; torn])
}

/// The tail to go on with, where sealing must begin, and what of the records there is left to seal.
fn tail(found: &mut Found) -> Option<(Tail, u64, Left)> {
    let ending = found.tail.take()?;
    for (shard, lost) in &found.lost_for {
        // a lost record may have been a batch that was shipped: its number is never given again
        if let Some(chain) = found.state.chains.get_mut(shard) {
            chain.next += lost;
        }
    }
    let left = || found.unsealed.values().flatten();
    let from = left().map(|(_, place)| place.position).min().unwrap_or(ending.at);
    let bytes = left().map(|(_, place)| place.size).sum();
    let below = found.sequence.unwrap_or(1);
    let sequences = left().map(|(sequence, _)| *sequence).collect();
    let mut tail = Tail::new(ending.segment, ending.at, below, std::mem::take(&mut found.state));
    tail.unsealed = bytes;
    Some((tail, from, Left { below, sequences }))
}

/// A folder without a record.
fn first(config: &Config, found: &mut Found) -> io::Result<(Tail, u64, Left)> {
    let segment = Arc::new(Segment::prepare(&config.directory, 0, config.segment_bytes)?.name()?);
    found.segments.insert(0, segment.clone());
    Ok((Tail::new(segment, 0, 1, State::default()), 0, Left::default()))
}

/// Ends what the earlier start left open, under its epoch, and begins the new one.
fn settle(
    shared: Shared,
    mut old: Sealer,
    damage: Repairs,
    mut recovery: Recovery,
) -> Result<(Arc<Shared>, Sealer, Recovery), Error> {
    let time = i64::try_from(recovery.epoch).unwrap_or(i64::MAX).saturating_mul(1000);
    if recovery.previous_epoch.is_some() {
        for gap in damage.gaps() {
            let event = Event { session: SessionId::generate(), sequence: 0, time, body: Body::Gap(gap.clone()) };
            append(&shared, 0, &event)?;
        }
        // only now: until the Gap is on disk, the damage must be found again
        shared.sync_all()?;
        recovery.gaps = damage.mend().map_err(|source| Error::Open {
            doing: "mend the damage",
            folder: shared.config.directory.clone(),
            source: Arc::new(source),
        })?;
        let mut open: Vec<_> = lock(&shared.tail).state.sessions.iter().map(|(id, s)| (*id, *s)).collect();
        open.sort_unstable_by_key(|(id, _)| *id);
        for (id, session) in open {
            let closed = SessionClosed {
                reason: CloseReason::NodeCrashed,
                detail: "the node ended without closing the session; totals but statements are not known".to_owned(),
                statements: session.statements,
                denied: 0,
                rows: 0,
                bytes_in: 0,
                bytes_out: 0,
            };
            let event = Event { session: id, sequence: session.next, time, body: Body::SessionClosed(closed) };
            append(&shared, session.shard, &event)?;
            recovery.closed.push(id);
        }
        recovery.sealed = old.round(&shared)?;
    } else {
        shared.append_snapshot()?;
    }
    shared.append_epoch(recovery.epoch)?;
    let synced = shared.sync_all()?;
    shared.commit.advance(synced);
    let position = if recovery.previous_epoch.is_some() { old.position() } else { 0 };
    lock(&shared.index).sealed = position;
    commit::publish(&shared, synced);
    let sealer = Sealer::new(position, recovery.epoch, None);
    Ok((Arc::new(shared), sealer, recovery))
}

fn append(shared: &Shared, shard: Shard, event: &Event) -> Result<(), Error> {
    let mut datum = Vec::new();
    codec::encode(event, &mut datum).map_err(|source| Error::Event { source: Arc::new(source) })?;
    shared.append_recovered(shard, &datum)
}
