//! What brokers have acknowledged, for those who wait for it: `log.durability = "kafka"`.
//!
//! The sealer notes for each of its rounds which batches the events below a place of the journal went into; the shipper notes
//! how far each shard is acknowledged. A round is copied when all of its batches are, and all rounds before it.

use super::{Shared, lock};
use crate::Error;
use schemas::Shard;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;

/// How far the journal is copied, and who waits for it.
#[derive(Debug)]
pub(crate) struct Copied {
    /// Every event below is in a batch that the brokers have acknowledged.
    through: AtomicU64,
    state: Mutex<Waiting>,
    shipper: OnceLock<Thread>,
}

#[derive(Debug, Default)]
struct Waiting {
    rounds: VecDeque<Round>,
    /// By shard: the first batch that is not acknowledged.
    acknowledged: BTreeMap<Shard, u64>,
    /// By position and a number of their own: those to wake.
    waiters: BTreeMap<(u64, u64), Waker>,
    next: u64,
}

/// A round of the sealer.
#[derive(Debug)]
struct Round {
    /// Every event below is in a batch of this round or one before.
    events: u64,
    /// By shard: the batch after the last one of this round.
    after: BTreeMap<Shard, u64>,
}

impl Copied {
    /// Nobody waits for what an earlier process wrote: it begins at the journal's head.
    pub(crate) fn new(head: u64) -> Self {
        Self { through: AtomicU64::new(head), state: Mutex::default(), shipper: OnceLock::new() }
    }

    /// Every event below is acknowledged.
    pub(crate) fn through(&self) -> u64 {
        self.through.load(Ordering::Acquire)
    }

    /// Names the thread that ships, to be woken when there is something to ship.
    pub(crate) fn shipped_by(&self, thread: Thread) {
        // there is one for each log
        self.shipper.get_or_init(|| thread);
    }

    /// Wakes the shipper.
    pub(crate) fn prompt(&self) {
        if let Some(thread) = self.shipper.get() {
            thread.unpark();
        }
    }

    /// Notes a round of the sealer.
    pub(crate) fn round(&self, events: u64, after: BTreeMap<Shard, u64>) {
        let mut state = lock(&self.state);
        state.rounds.push_back(Round { events, after });
        self.settle(state);
    }

    /// Notes that every batch of a shard below `next` is acknowledged.
    pub(crate) fn acknowledged(&self, shard: Shard, next: u64) {
        let mut state = lock(&self.state);
        let known = state.acknowledged.entry(shard).or_default();
        *known = next.max(*known);
        self.settle(state);
    }

    fn settle(&self, mut state: std::sync::MutexGuard<'_, Waiting>) {
        let mut through = None;
        while let Some(round) = state.rounds.front() {
            let is_copied =
                |(shard, after): (&Shard, &u64)| state.acknowledged.get(shard).is_some_and(|next| next >= after);
            if !round.after.iter().all(is_copied) {
                break;
            }
            through = Some(round.events);
            state.rounds.pop_front();
        }
        let Some(through) = through else { return };
        self.through.store(through, Ordering::Release);
        let rest = state.waiters.split_off(&(through + 1, 0));
        let ready = std::mem::replace(&mut state.waiters, rest);
        drop(state);
        ready.into_values().for_each(Waker::wake);
    }

    /// Wakes everybody: the log has failed.
    pub(crate) fn wake_all(&self) {
        let waiters = std::mem::take(&mut lock(&self.state).waiters);
        waiters.into_values().for_each(Waker::wake);
    }

    /// Ready when everything below `position` is acknowledged. `number` is the waiter's own, kept between polls.
    pub(crate) fn poll(
        &self,
        shared: &Shared,
        position: u64,
        number: &mut Option<u64>,
        context: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        if self.through() >= position {
            return Poll::Ready(Ok(()));
        }
        let mut state = lock(&self.state);
        // under the lock: `settle` wakes after it has stored, so that none is missed
        if self.through() >= position {
            return Poll::Ready(Ok(()));
        }
        if let Err(error) = shared.check() {
            return Poll::Ready(Err(error));
        }
        let own = *number.get_or_insert(state.next);
        state.next = state.next.max(own + 1);
        state.waiters.insert((position, own), context.waker().clone());
        Poll::Pending
    }

    /// Forgets a waiter.
    pub(crate) fn leave(&self, position: u64, number: u64) {
        lock(&self.state).waiters.remove(&(position, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_copied_when_all_its_batches_and_all_rounds_before_are() {
        let copied = Copied::new(10);
        copied.round(20, BTreeMap::from([(0, 1), (1, 5)]));
        copied.round(30, BTreeMap::from([(1, 6)]));
        copied.round(40, BTreeMap::new());
        assert_eq!(copied.through(), 10);
        copied.acknowledged(1, 6);
        assert_eq!(copied.through(), 10, "shard 0 is missing in the first round");
        copied.acknowledged(0, 1);
        assert_eq!(copied.through(), 40);
        copied.acknowledged(0, 0);
        copied.round(50, BTreeMap::from([(0, 1)]));
        assert_eq!(copied.through(), 50, "an acknowledgement is never taken back");
    }
}
