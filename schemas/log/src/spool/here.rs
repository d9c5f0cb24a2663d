//! A single-threaded executor that syncs the journal itself, for the tasks that it runs: no other thread need wake, and
//! what is asked for while the disk works goes with the next sync.
//!
//! Made for quick disks: with one sync every 100 us, waking the committer and being woken by it costs as much as the sync.
//! A slow disk, or much to write, is the committer's (see [`super::commit`]), so that the executor is never held up longer
//! than [`QUICK`] more than once in a while.

use super::{Shared, commit, lock};
use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Syncs that take longer on average are not done on an executor's thread.
pub(crate) const QUICK: Duration = Duration::from_millis(1);
/// Nor are those of more bytes.
pub(crate) const SMALL: u64 = 128 << 10;

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// That this thread syncs a log.
struct Here {
    /// The address of its [`Shared`]: a thread may wait for other logs too.
    log: usize,
    asked: bool,
    waker: Option<Waker>,
}

fn address(shared: &Shared) -> usize {
    std::ptr::from_ref(shared).addr()
}

/// Leaves a sync to this thread's executor; false if it does none for this log.
pub(crate) fn ask(shared: &Shared) -> bool {
    let waker = HERE.with_borrow_mut(|here| {
        let here = here.as_mut().filter(|here| here.log == address(shared))?;
        here.asked = true;
        Some(here.waker.take())
    });
    if let Some(Some(waker)) = &waker {
        waker.wake_by_ref();
    }
    waker.is_some()
}

/// Ends what [`run`] began, also when it is dropped in the middle.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        HERE.set(None);
        self.0.commit.hand_over();
    }
}

/// See [`crate::Log::commit_here`].
pub(crate) async fn run(shared: Arc<Shared>) {
    if HERE.with_borrow(Option::is_some) {
        tracing::debug!("this thread commits for a log already");
        return;
    }
    HERE.set(Some(Here { log: address(&shared), asked: false, waker: None }));
    let guard = Guard(shared);
    loop {
        poll_fn(|context| {
            HERE.with_borrow_mut(|here| match here {
                Some(here) if !here.asked => {
                    here.waker = Some(context.waker().clone());
                    Poll::Pending
                }
                Some(here) => {
                    here.asked = false;
                    Poll::Ready(())
                }
                None => Poll::Ready(()),
            })
        })
        .await;
        // the other tasks first, and what the sockets have for them: they may want the same sync
        tokio::task::yield_now().await;
        if !commit::here(&guard.0) {
            return;
        }
    }
}

impl commit::Commit {
    /// Lets the committer do what is left to do.
    pub(crate) fn hand_over(&self) {
        let mut demand = lock(&self.demand);
        if demand.wanted > self.synced() {
            self.rouse(&mut demand);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Log;
    use crate::testing::{Session, config};
    use tokio::task::{LocalSet, spawn_local};

    fn on_one_thread(work: impl AsyncFnOnce(Log)) {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(config(folder.path()), "node-1".into()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, work(log));
    }

    #[test]
    fn a_thread_that_commits_itself_makes_durable_what_its_tasks_wait_for() {
        on_one_thread(async |log| {
            let here = spawn_local(log.commit_here());
            let mut sessions: Vec<_> = (0..8).map(|_| Session::new(log.assign())).collect();
            for round in 0..50 {
                let waiting = sessions.iter_mut().map(|session| session.say(&log, "select 1").unwrap());
                let waiting: Vec<_> = waiting.map(|position| spawn_local(log.durable(position))).collect();
                for durable in waiting {
                    durable.await.unwrap().unwrap();
                }
                assert!(!here.is_finished(), "round {round}");
            }
            let stats = log.stats();
            // a machine that is busy may have slow syncs, which the committer takes: not all, and never none at first
            assert!(stats.syncs_here > 0, "{stats:?}");
            assert!(stats.syncs < 8 * 50, "the tasks of a round share a sync: {stats:?}");
        });
    }

    #[test]
    fn what_was_asked_of_a_thread_that_gives_up_is_the_committers() {
        on_one_thread(async |log| {
            let here = spawn_local(log.commit_here());
            tokio::task::yield_now().await;
            let position = Session::new(log.assign()).say(&log, "select 1").unwrap();
            // leaves the sync to `here`, which ends before it has its turn
            log.want_durable(position);
            here.abort();
            log.durable(position).await.unwrap();
            assert_eq!(log.stats().syncs_here, 0);
        });
    }

    #[test]
    fn waiting_for_another_log_is_its_committers() {
        on_one_thread(async |log| {
            let folder = tempfile::tempdir().unwrap();
            let (other, _) = Log::open(config(folder.path()), "node-2".into()).unwrap();
            let _here = spawn_local(log.commit_here());
            tokio::task::yield_now().await;
            let position = Session::new(other.assign()).say(&other, "select 1").unwrap();
            other.durable(position).await.unwrap();
            assert_eq!((log.stats().syncs_here, other.stats().syncs_here), (0, 0));
        });
    }

    #[test]
    fn a_log_that_fails_ends_it_and_all_who_wait() {
        on_one_thread(async |log| {
            let here = spawn_local(log.commit_here());
            tokio::task::yield_now().await;
            let position = Session::new(log.assign()).say(&log, "select 1").unwrap();
            let waiting = spawn_local(log.durable(position));
            log.clone().crash();
            assert!(waiting.await.unwrap().is_err());
            here.await.unwrap();
        });
    }
}
