//! Group commit: one thread at a time syncs the journal for everybody who waits. It is an executor that waits itself
//! ([`super::here`]) or, where none does or the disk is slow, the committer.

use super::{Position, Shared, here, lock};
use crate::{Error, fault};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Who waits for the disk, and how far it has come.
#[derive(Debug)]
pub(crate) struct Commit {
    /// Everything below is on disk.
    synced: AtomicU64,
    pub(super) demand: Mutex<Demand>,
    signal: Condvar,
    /// Held by the thread that syncs.
    lead: Mutex<()>,
    /// What a sync takes, in nanoseconds: the mean of the last few.
    pace: AtomicU64,
}

/// Syncs whose mean is kept: a slow one among quick ones is forgotten after about so many.
const MEMORY: u64 = 8;

#[derive(Debug, Default)]
pub(super) struct Demand {
    /// Somebody wants everything below on disk.
    pub wanted: u64,
    /// By position and a number of their own: those to wake.
    waiters: BTreeMap<(u64, u64), Waker>,
    next: u64,
    idle: bool,
    stop: bool,
}

impl Commit {
    pub(crate) fn new(synced: u64) -> Self {
        Self {
            synced: AtomicU64::new(synced),
            demand: Mutex::default(),
            signal: Condvar::new(),
            lead: Mutex::default(),
            pace: AtomicU64::new(0),
        }
    }

    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Asks for everything below `position` to be synced, and does not wait.
    pub(crate) fn want(&self, shared: &Shared, position: u64) {
        if self.synced() < position {
            self.raise(shared, &mut lock(&self.demand), position);
        }
    }

    /// Whether everything below `position` is synced or about to be.
    pub(crate) fn is_wanted(&self, position: u64) -> bool {
        self.synced() >= position || lock(&self.demand).wanted >= position
    }

    fn raise(&self, shared: &Shared, demand: &mut Demand, position: u64) {
        demand.wanted = demand.wanted.max(position);
        if !(self.is_quick(demand.wanted) && here::ask(shared)) {
            self.rouse(demand);
        }
    }

    /// Wakes the committer.
    pub(super) fn rouse(&self, demand: &mut Demand) {
        if std::mem::take(&mut demand.idle) {
            self.signal.notify_one();
        }
    }

    /// Whether a sync up to there may hold up an executor.
    fn is_quick(&self, wanted: u64) -> bool {
        Duration::from_nanos(self.pace.load(Ordering::Relaxed)) < here::QUICK
            && wanted.saturating_sub(self.synced()) < here::SMALL
    }

    fn took(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let pace = self.pace.load(Ordering::Relaxed);
        self.pace.store((pace / MEMORY).saturating_mul(MEMORY - 1).saturating_add(nanos / MEMORY), Ordering::Relaxed);
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

/// The committer, a thread.
pub(crate) fn run(shared: &Shared) {
    while shared.commit.wait() {
        let lead = lock(&shared.commit.lead);
        if !sync(shared, lead) {
            return;
        }
    }
}

/// One sync on an executor's thread, if there is something to do; false when the log has failed.
pub(super) fn here(shared: &Shared) -> bool {
    match shared.commit.lead.try_lock() {
        Ok(lead) => {
            let wanted = lock(&shared.commit.demand).wanted;
            if wanted <= shared.commit.synced() {
                return true;
            }
            let led = sync(shared, lead);
            shared.counters.syncs_here.fetch_add(1, Ordering::Relaxed);
            // another thread may have wanted more meanwhile, and found this one at it
            shared.commit.hand_over();
            led
        }
        Err(_) => {
            shared.commit.hand_over();
            true
        }
    }
}

fn sync(shared: &Shared, lead: MutexGuard<'_, ()>) -> bool {
    let began = Instant::now();
    let Ok(through) = shared.sync() else { return false };
    fault::point("journal.synced");
    shared.commit.took(began.elapsed());
    shared.commit.advance(through);
    drop(lead);
    publish(shared, through);
    true
}

/// Shows consumers the batches that are on disk now.
pub(crate) fn publish(shared: &Shared, synced: u64) {
    if lock(&shared.index).publish(synced) {
        fault::point("batch.durable");
        shared.batches.notify_waiters();
        shared.copied.iter().for_each(super::copied::Copied::prompt);
        shared.keep.wake();
    }
}

/// Completes when everything up to a position is on disk, and at the brokers where it must be. Made by
/// [`crate::Log::durable`].
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
        let Self { shared, position: Position(position), number } = &mut *self;
        let (position, commit) = (*position, &shared.commit);
        if let Some(copied) = &shared.copied {
            commit.want(shared, position);
            return copied.poll(shared, position, number, context);
        }
        if commit.synced() >= position {
            return Poll::Ready(Ok(()));
        }
        let mut demand = lock(&commit.demand);
        // under the lock: the committer wakes after it has stored, so that none is missed
        if commit.synced() >= position {
            return Poll::Ready(Ok(()));
        }
        if let Err(error) = shared.check() {
            return Poll::Ready(Err(error));
        }
        let own = *number.get_or_insert(demand.next);
        demand.next = demand.next.max(own + 1);
        demand.waiters.insert((position, own), context.waker().clone());
        commit.raise(shared, &mut demand, position);
        Poll::Pending
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            if let Some(copied) = &self.shared.copied {
                return copied.leave(self.position.0, number);
            }
            lock(&self.shared.commit.demand).waiters.remove(&(self.position.0, number));
        }
    }
}
