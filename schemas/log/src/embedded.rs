//! The embedded bus: consumers of the same process read batches back from the spool.
//!
//! A partition is a shard, an offset a batch's sequence number, dense over all epochs. A batch is delivered once it is
//! on disk. It is kept until every subscriber of the configuration, and every other that subscribed since the start,
//! has committed it.

use crate::spool::Shared;
use crate::spool::index::At;
use crate::spool::lock;
use crate::{Consume, Delivery, Error, IDLE, Offset, Partition, Step};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

/// A subscription to the spool of this process. Made by [`crate::Log::subscribe`].
#[derive(Debug)]
pub struct EmbeddedSubscription {
    shared: Arc<Shared>,
    name: String,
    announced: bool,
    /// By partition: the next offset, once it was started.
    next: BTreeMap<Partition, Option<Offset>>,
    /// The partition that was served last: the others come first.
    last: Partition,
}

impl EmbeddedSubscription {
    pub(crate) fn new(shared: Arc<Shared>, name: &str) -> Self {
        lock(&shared.cursors).subscribers.entry(name.to_owned()).or_default();
        let next = lock(&shared.index).shards().into_iter().map(|shard| (shard, None)).collect();
        Self { shared, name: name.to_owned(), announced: false, next, last: 0 }
    }

    /// The oldest offset that is kept and the next to come.
    pub fn bounds(&self, partition: Partition) -> (Offset, Offset) {
        lock(&self.shared.index).bounds(partition)
    }

    /// The next batch of any started partition, the least recently served first.
    fn ready(&mut self) -> Result<Option<Delivery>, Error> {
        let after = self.next.range((Excluded(self.last), Unbounded));
        let order: Vec<_> = after.chain(self.next.range(..=self.last)).map(|(p, next)| (*p, *next)).collect();
        for (partition, next) in order {
            let Some(offset) = next else { continue };
            let found = lock(&self.shared.index).find(partition, offset);
            match found {
                At::NotYet => {}
                At::Lost(next) => drop(self.next.insert(partition, Some(next))),
                At::Deleted(oldest) => return Err(Error::Gone { partition, offset, oldest }),
                At::Position(position) => {
                    let batch = Bytes::from(self.shared.batch_at(position)?);
                    self.next.insert(partition, Some(offset + 1));
                    self.last = partition;
                    return Ok(Some(Delivery { partition, offset, batch }));
                }
            }
        }
        Ok(None)
    }
}

impl Consume for EmbeddedSubscription {
    async fn next(&mut self) -> Result<Step, Error> {
        if !self.announced {
            self.announced = true;
            return Ok(Step::Assigned(self.next.keys().copied().collect()));
        }
        let deadline = tokio::time::Instant::now() + IDLE;
        let shared = self.shared.clone();
        loop {
            // before looking: what becomes visible meanwhile is not missed
            let mut changed = std::pin::pin!(shared.batches.notified());
            changed.as_mut().enable();
            if let Some(delivery) = self.ready()? {
                return Ok(Step::Batch(delivery));
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Ok(Step::Idle);
            }
        }
    }

    fn start(&mut self, partition: Partition, offset: Offset) -> Result<(), Error> {
        let next = self.next.get_mut(&partition).ok_or(Error::NotAssigned { partition })?;
        let (oldest, end) = lock(&self.shared.index).bounds(partition);
        if offset < oldest {
            return Err(Error::Gone { partition, offset, oldest });
        }
        if offset > end {
            return Err(Error::Ahead { partition, offset, end });
        }
        *next = Some(offset);
        Ok(())
    }

    fn committed(&mut self, partition: Partition, next: Offset) -> Result<(), Error> {
        if !self.next.contains_key(&partition) {
            return Err(Error::NotAssigned { partition });
        }
        lock(&self.shared.cursors).advance(&self.name, partition, next);
        self.shared.keep.wake();
        Ok(())
    }
}
