//! The keeper: one thread that makes the next segment ready, keeps the cursors, and deletes what nobody needs.
//!
//! A segment may go when all its events are in batches on disk and every batch in it is committed by every subscriber
//! (with Kafka: acknowledged by the broker), and the cursors that say so are on disk themselves.

use super::segment::Segment;
use super::{Shared, lock};
use crate::fault;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Wakes the thread.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    call: Mutex<Call>,
    signal: Condvar,
}

#[derive(Debug, Default)]
struct Call {
    woken: bool,
    stop: bool,
}

/// How long cursors may wait for the disk: what is not there is only delivered twice.
const CURSOR_INTERVAL: Duration = Duration::from_secs(1);

impl Keep {
    pub(crate) fn wake(&self) {
        let mut call = lock(&self.call);
        if !std::mem::replace(&mut call.woken, true) {
            self.signal.notify_one();
        }
    }

    pub(crate) fn stop(&self) {
        lock(&self.call).stop = true;
        self.signal.notify_one();
    }

    /// Waits for a reason to look; true when it is time to stop.
    fn wait(&self) -> bool {
        let idle = |call: &mut Call| !call.woken && !call.stop;
        let call = self.signal.wait_timeout_while(lock(&self.call), CURSOR_INTERVAL, idle);
        let (mut call, _) = call.unwrap_or_else(PoisonError::into_inner);
        call.woken = false;
        call.stop
    }
}

/// The thread.
pub(crate) fn run(shared: &Shared) {
    let mut stored = std::time::Instant::now();
    loop {
        let stopping = shared.keep.wait();
        if !stopping {
            prepare(shared);
        }
        retire(shared);
        if stopping || stored.elapsed() >= CURSOR_INTERVAL {
            store_cursors(shared, None);
            stored = std::time::Instant::now();
        }
        if stopping {
            return;
        }
    }
}

/// Makes the segment after the current one ready.
fn prepare(shared: &Shared) {
    let start = {
        let tail = lock(&shared.tail);
        if tail.prepared.is_some() || tail.closed {
            return;
        }
        tail.segment.end
    };
    let ahead = match Segment::prepare(&shared.config.directory, start, shared.config.segment_bytes) {
        Ok(ahead) => ahead,
        Err(error) => {
            tracing::warn!(%error, "cannot prepare the next segment of the spool");
            return;
        }
    };
    let mut tail = lock(&shared.tail);
    if tail.segment.end == start {
        tail.prepared = Some(ahead);
        return;
    }
    // the journal was faster
    drop(tail);
    if let Err(error) = ahead.discard() {
        tracing::warn!(%error, "cannot remove a segment that is not needed");
    }
    shared.keep.wake();
}

/// Brings the cursors to the disk if they changed. False if that failed.
fn store_cursors(shared: &Shared, oldest: Option<u64>) -> bool {
    let copy = {
        let mut cursors = lock(&shared.cursors);
        if let Some(oldest) = oldest {
            cursors.oldest = oldest;
        } else if !cursors.changed {
            return true;
        }
        cursors.changed = false;
        cursors.clone()
    };
    fault::point("ship.cursor");
    if let Err(error) = copy.store(&shared.config.directory) {
        tracing::warn!(%error, "cannot store the cursors of the spool");
        lock(&shared.cursors).changed = true;
        return false;
    }
    true
}

/// Deletes the oldest segments that nobody needs.
fn retire(shared: &Shared) {
    let current = lock(&shared.tail).segment.start;
    let old: Vec<_> = {
        let segments = shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.range(..current).map(|(_, segment)| segment.clone()).collect()
    };
    let free = old.iter().take_while(|segment| needless(shared, segment)).count();
    let Some(last) = free.checked_sub(1).and_then(|last| old.get(last)) else { return };
    if !store_cursors(shared, Some(last.end)) {
        return;
    }
    fault::point("segment.delete");
    for segment in old.iter().take(free) {
        if let Err(error) = std::fs::remove_file(&segment.path) {
            tracing::warn!(%error, path = %segment.path.display(), "cannot delete a segment of the spool");
            return;
        }
        shared.segments.write().unwrap_or_else(PoisonError::into_inner).remove(&segment.start);
        lock(&shared.index).forget_below(segment.end);
        shared.oldest.store(segment.end, Ordering::Release);
    }
}

fn needless(shared: &Shared, segment: &Segment) -> bool {
    let index = lock(&shared.index);
    if index.sealed < segment.end {
        return false;
    }
    let cursors = lock(&shared.cursors);
    let committed = |shard| cursors.needed(shard).is_some_and(|next| index.none_below(shard, next, segment.end));
    index.shards().into_iter().all(committed)
}
