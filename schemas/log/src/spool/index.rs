//! Where each sealed batch lies in the journal: eight bytes a batch, rebuilt by recovery.

use schemas::Shard;
use std::collections::{BTreeMap, VecDeque};

/// Stands for a batch that damage took.
const LOST: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Lane {
    /// Sequence of the first batch in `positions`.
    base: u64,
    /// Positions of the records.
    positions: VecDeque<u64>,
    /// Batches below this sequence are on disk, and may be seen by consumers.
    published: u64,
}

/// One batch that is written and not yet on disk.
#[derive(Debug)]
struct Waiting {
    shard: Shard,
    batch: u64,
    end: u64,
}

/// The batches of the journal.
#[derive(Debug, Default)]
pub(crate) struct Index {
    lanes: BTreeMap<Shard, Lane>,
    waiting: VecDeque<Waiting>,
    /// Rounds of the sealer: once the journal is on disk up to the first, every event below the second is in a batch
    /// on disk.
    rounds: VecDeque<(u64, u64)>,
    /// Every event below this position is in a batch on disk.
    pub sealed: u64,
}

/// What there is at a place of a shard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// A batch whose record begins here.
    Position(u64),
    /// Nothing yet.
    NotYet,
    /// Deleted; the oldest batch kept is this.
    Deleted(u64),
    /// Lost to damage; the next one that is not is this.
    Lost(u64),
}

impl Index {
    /// Makes a shard known whose next batch has this sequence.
    pub(crate) fn lane(&mut self, shard: Shard, next: u64) {
        self.lanes.entry(shard).or_insert_with(|| Lane { base: next, positions: VecDeque::new(), published: next });
    }

    /// Adds a batch that was found on disk.
    pub(crate) fn found(&mut self, shard: Shard, batch: u64, position: u64) {
        self.add(shard, batch, position);
        if let Some(lane) = self.lanes.get_mut(&shard) {
            lane.published = lane.base + lane.positions.len() as u64;
        }
    }

    /// Adds a batch that was appended and ends at `end`.
    pub(crate) fn appended(&mut self, shard: Shard, batch: u64, position: u64, end: u64) {
        self.add(shard, batch, position);
        self.waiting.push_back(Waiting { shard, batch, end });
    }

    fn add(&mut self, shard: Shard, batch: u64, position: u64) {
        let fresh = || Lane { base: batch, positions: VecDeque::new(), published: batch };
        let lane = self.lanes.entry(shard).or_insert_with(fresh);
        if lane.positions.is_empty() && lane.published <= batch {
            (lane.base, lane.published) = (batch, batch);
        }
        while lane.base + (lane.positions.len() as u64) < batch {
            lane.positions.push_back(LOST);
        }
        lane.positions.push_back(position);
    }

    /// Notes that a round of the sealer ended: all events below `events` are in batches that end at `batches`.
    pub(crate) fn round(&mut self, batches: u64, events: u64) {
        self.rounds.push_back((batches, events));
    }

    /// The journal is on disk up to `synced`; true if batches became visible by it.
    pub(crate) fn publish(&mut self, synced: u64) -> bool {
        let mut any = false;
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.end <= synced) {
            if let Some(lane) = self.lanes.get_mut(&waiting.shard) {
                lane.published = lane.published.max(waiting.batch + 1);
            }
            any = true;
        }
        while let Some((_, events)) = self.rounds.pop_front_if(|(batches, _)| *batches <= synced) {
            self.sealed = self.sealed.max(events);
        }
        any
    }

    /// Finds a batch.
    pub(crate) fn find(&self, shard: Shard, batch: u64) -> At {
        let Some(lane) = self.lanes.get(&shard).filter(|lane| batch < lane.published) else { return At::NotYet };
        let Some(at) = batch.checked_sub(lane.base) else { return At::Deleted(lane.base) };
        let rest = lane.positions.iter().skip(usize::try_from(at).unwrap_or(usize::MAX));
        match rest.clone().next() {
            Some(&LOST) => At::Lost(batch + rest.take_while(|p| **p == LOST).count() as u64),
            Some(position) => At::Position(*position),
            None => At::NotYet,
        }
    }

    /// The oldest batch kept and the next to come, of a shard.
    pub(crate) fn bounds(&self, shard: Shard) -> (u64, u64) {
        self.lanes.get(&shard).map_or((0, 0), |lane| (lane.base, lane.published))
    }

    /// The shards.
    pub(crate) fn shards(&self) -> Vec<Shard> {
        self.lanes.keys().copied().collect()
    }

    /// Whether no batch of `shard` from `batch` on lies below `position`.
    pub(crate) fn none_below(&self, shard: Shard, batch: u64, position: u64) -> bool {
        let Some(lane) = self.lanes.get(&shard) else { return true };
        let skip = usize::try_from(batch.saturating_sub(lane.base)).unwrap_or(usize::MAX);
        lane.positions.iter().skip(skip).find(|p| **p != LOST).is_none_or(|p| *p >= position)
    }

    /// Forgets the batches below a position: their segment is deleted.
    pub(crate) fn forget_below(&mut self, position: u64) {
        for lane in self.lanes.values_mut() {
            let known = lane.positions.iter().rposition(|p| *p != LOST && *p < position).map_or(0, |last| last + 1);
            lane.positions.drain(..known);
            lane.base += known as u64;
        }
    }

    /// Batches that are visible and not yet below `next`, of all shards: how far behind somebody is.
    pub(crate) fn behind(&self, next: impl Fn(Shard) -> u64) -> u64 {
        self.lanes.iter().map(|(shard, lane)| lane.published.saturating_sub(next(*shard).max(lane.base))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_seen_once_it_is_on_disk_and_until_it_is_deleted() {
        let mut index = Index::default();
        index.lane(0, 0);
        index.appended(0, 0, 100, 200);
        index.appended(0, 1, 200, 300);
        assert_eq!(index.find(0, 0), At::NotYet);
        assert!(index.publish(250));
        assert_eq!(index.find(0, 0), At::Position(100));
        assert_eq!(index.find(0, 1), At::NotYet);
        assert!(index.publish(300));
        assert!(!index.none_below(0, 0, 200));
        assert!(index.none_below(0, 1, 200));
        index.forget_below(200);
        assert_eq!(index.find(0, 0), At::Deleted(1));
        assert_eq!(index.find(0, 1), At::Position(200));
        assert_eq!(index.bounds(0), (1, 2));
    }

    #[test]
    fn a_lost_batch_is_stepped_over() {
        let mut index = Index::default();
        index.lane(0, 4);
        index.found(0, 4, 10);
        index.found(0, 7, 20);
        assert_eq!(index.find(0, 5), At::Lost(7));
        assert_eq!(index.find(0, 7), At::Position(20));
        assert_eq!(index.find(0, 8), At::NotYet);
    }
}
