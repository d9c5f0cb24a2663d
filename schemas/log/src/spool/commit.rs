//! The committer: one thread that syncs the journal for everybody who waits (group commit).

use super::{Position, Shared, lock};
use crate::{Error, fault};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};

/// Who waits for the disk, and how far it has come.
#[derive(Debug)]
pub(crate) struct Commit {
    /// Everything below is on disk.
    synced: AtomicU64,
    demand: Mutex<Demand>,
    signal: Condvar,
}

#[derive(Debug, Default)]
struct Demand {
    /// Somebody wants everything below on disk.
    wanted: u64,
    /// By position and a number of their own: those to wake.
    waiters: BTreeMap<(u64, u64), Waker>,
    next: u64,
    idle: bool,
    stop: bool,
}

impl Commit {
    pub(crate) fn new(synced: u64) -> Self {
        Self { synced: AtomicU64::new(synced), demand: Mutex::default(), signal: Condvar::new() }
    }

    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Asks for everything below `position` to be synced, and does not wait.
    pub(crate) fn want(&self, position: u64) {
        if self.synced() < position {
            self.raise(&mut lock(&self.demand), position);
        }
    }

    fn raise(&self, demand: &mut Demand, position: u64) {
        demand.wanted = demand.wanted.max(position);
        if std::mem::take(&mut demand.idle) {
            self.signal.notify_one();
        }
    }

    /// Wakes everybody: the log has failed.
    pub(crate) fn wake_all(&self) {
        let waiters = std::mem::take(&mut lock(&self.demand).waiters);
        waiters.into_values().for_each(Waker::wake);
        self.signal.notify_one();
    }

    pub(crate) fn stop(&self) {
        lock(&self.demand).stop = true;
        self.signal.notify_one();
    }

    /// Notes how far the disk has come, and wakes those who waited for it.
    pub(crate) fn advance(&self, synced: u64) {
        self.synced.store(synced, Ordering::Release);
        let mut demand = lock(&self.demand);
        let rest = demand.waiters.split_off(&(synced + 1, 0));
        let ready = std::mem::replace(&mut demand.waiters, rest);
        drop(demand);
        ready.into_values().for_each(Waker::wake);
    }

    /// Waits until somebody wants more than the disk has; false when it is time to stop.
    fn wait(&self) -> bool {
        let mut demand = lock(&self.demand);
        while demand.wanted <= self.synced() {
            if demand.stop {
                return false;
            }
            demand.idle = true;
            demand = self.signal.wait(demand).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        demand.idle = false;
        true
    }
}

/// The thread.
pub(crate) fn run(shared: &Shared) {
    while shared.commit.wait() {
        let Ok(through) = shared.sync() else { return };
        fault::point("journal.synced");
        shared.commit.advance(through);
        publish(shared, through);
    }
}

/// Shows consumers the batches that are on disk now.
pub(crate) fn publish(shared: &Shared, synced: u64) {
    if lock(&shared.index).publish(synced) {
        fault::point("batch.durable");
        shared.batches.notify_waiters();
        shared.keep.wake();
    }
}

/// Completes when everything up to a position is on disk. Made by [`crate::Log::durable`].
///
/// Runs on any executor; may be dropped at any time.
#[derive(Debug)]
#[must_use = "nothing is waited for until it is polled"]
pub struct Durable {
    shared: Arc<Shared>,
    position: Position,
    number: Option<u64>,
}

impl Durable {
    pub(crate) fn new(shared: Arc<Shared>, position: Position) -> Self {
        Self { shared, position, number: None }
    }
}

impl Future for Durable {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let commit = &self.shared.commit;
        let Position(position) = self.position;
        if commit.synced() >= position {
            return Poll::Ready(Ok(()));
        }
        let mut demand = lock(&commit.demand);
        // under the lock: the committer wakes after it has stored, so that none is missed
        if commit.synced() >= position {
            return Poll::Ready(Ok(()));
        }
        if let Err(error) = self.shared.check() {
            return Poll::Ready(Err(error));
        }
        let number = self.number.unwrap_or(demand.next);
        demand.next = demand.next.max(number + 1);
        demand.waiters.insert((position, number), context.waker().clone());
        commit.raise(&mut demand, position);
        drop(demand);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            lock(&self.shared.commit.demand).waiters.remove(&(self.position.0, number));
        }
    }
}
