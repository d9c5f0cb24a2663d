//! The process: batches from the bus into the index, commit by commit.
//!
//! A **position** is an offset of a partition; the **checkpoint** is the payload of the index's last commit. Publication
//! and checkpoint are one act ([`crate::commit`]): what is found was checkpointed, what was checkpointed is found. So
//! the bus is asked to begin each partition where the last commit ends, and told afterwards how far it may let go.
//!
//! Where the bus has let go of what the index still needs, or the index is new, the archive gives it ([`crate::rebuild`]).

use crate::commit::{self, Applied, Committer};
use crate::telemetry::Metrics;
use crate::{Config, rebuild};
use event_log::{Consume, Offset, Partition, Step};
use kit::Shutdown;
use recorder::archive::Reader;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The indexer stopped, and not because it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The index failed. Its last commit holds; a restart goes on from there.
    #[error("writing the search index")]
    Index(#[source] commit::Error),
    /// The index cannot be filled from the archive.
    #[error("filling the search index from the archive")]
    Rebuild(#[source] rebuild::Error),
    /// The bus cannot begin where the index ends.
    #[error("beginning partition {partition} at offset {offset}")]
    Start {
        /// The partition.
        partition: Partition,
        /// The offset after the index's last.
        offset: Offset,
        /// Why.
        #[source]
        source: event_log::Error,
    },
    /// The bus failed too many times in a row.
    #[error("reading the bus failed {attempts} times in a row")]
    Bus {
        /// How many.
        attempts: u32,
        /// The last failure.
        #[source]
        source: event_log::Error,
    },
    /// The committing thread panicked: a fault in tantivy or here.
    #[error("the committing thread ended")]
    Thread(#[source] tokio::task::JoinError),
}

/// What an indexer may be given beside its settings.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Where it counts; by default for nobody.
    pub metrics: Option<Metrics>,
    /// The archive from which a new index is filled; without one it holds what the bus still has.
    pub archive: Option<Reader>,
}

/// Pause after a failure of the bus.
const RETRY: Duration = Duration::from_secs(1);
/// Failures of the bus in a row before the process gives up: ten minutes.
const MAX_FAILURES: u32 = 600;

/// Indexes what comes until the shutdown, then commits.
///
/// # Errors
/// [`Error`]: the index's last commit holds, and a new run goes on from it.
pub async fn run(config: Config, consumer: impl Consume, shutdown: Shutdown) -> Result<(), Error> {
    run_with(config, Surroundings::default(), consumer, shutdown).await
}

/// As [`run`], counting its work and filling a new index from the archive.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    surroundings: Surroundings,
    consumer: impl Consume,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let committer = Committer::open(&config.directory, config.memory_bytes).map_err(Error::Index)?;
    let metrics = surroundings.metrics.unwrap_or_else(Metrics::unregistered);
    let mut indexer = Indexer {
        config,
        metrics,
        archive: surroundings.archive,
        consumer,
        committer,
        assigned: BTreeMap::new(),
        last_commit: Instant::now(),
    };
    if indexer.committer.is_empty() {
        indexer = indexer.fill().await?;
    }
    let committed = indexer.go(&shutdown).await?;
    committed.close().map_err(Error::Index)
}

struct Indexer<C> {
    config: Config,
    metrics: Metrics,
    archive: Option<Reader>,
    consumer: C,
    committer: Committer,
    /// Partitions of this consumer, and the offset that the bus was told is committed.
    assigned: BTreeMap<Partition, Offset>,
    last_commit: Instant,
}

impl<C: Consume> Indexer<C> {
    async fn go(mut self, shutdown: &Shutdown) -> Result<Committer, Error> {
        let mut failures = 0_u32;
        loop {
            // the subscription is given up at a shutdown, so that cutting its wait short loses nothing
            let step = tokio::select! {
                step = self.consumer.next() => step,
                () = shutdown.wait() => break,
            };
            match step {
                Ok(step) => {
                    failures = 0;
                    self = self.step(step).await?;
                }
                Err(event_log::Error::Gone { partition, oldest, .. }) if self.archive.is_some() => {
                    // it may have been another member's when this was said
                    if self.assigned.contains_key(&partition) {
                        self = self.caught_up(partition, oldest).await?;
                    }
                }
                // what it would read next does not follow on what it has
                Err(source @ (event_log::Error::Gone { .. } | event_log::Error::Ahead { .. })) => {
                    return Err(Error::Bus { attempts: 1, source });
                }
                Err(source) => {
                    failures += 1;
                    self.metrics.failures.inc();
                    tracing::error!(error = %source, failures, "reading the bus failed, trying again");
                    if failures >= MAX_FAILURES {
                        return Err(Error::Bus { attempts: failures, source });
                    }
                    tokio::select! {
                        () = tokio::time::sleep(RETRY) => {}
                        () = shutdown.wait() => break,
                    }
                }
            }
            if self.last_commit.elapsed() >= self.config.commit_interval {
                self = self.commit().await?;
            }
        }
        Ok(self.commit().await?.committer)
    }

    async fn step(mut self, step: Step) -> Result<Self, Error> {
        match step {
            Step::Assigned(partitions) => {
                tracing::info!(?partitions, "partitions assigned");
                for partition in partitions {
                    self = self.begin(partition).await?;
                }
                self.metrics.assigned.set(true);
            }
            Step::Revoked(partitions) => {
                tracing::info!(?partitions, "partitions revoked");
                self.assigned.retain(|partition, _| !partitions.contains(partition));
                // batches of all partitions stand in one index: all go back to the last commit, and what is still
                // ours begins there again
                self.committer.forget().map_err(Error::Index)?;
                let ours: Vec<Partition> = self.assigned.keys().copied().collect();
                self.metrics.assigned.set(!ours.is_empty());
                for partition in ours {
                    self = self.begin(partition).await?;
                }
            }
            Step::Batch(delivery) => {
                if self.assigned.contains_key(&delivery.partition) {
                    let applied = self.committer.apply(&delivery).map_err(Error::Index)?;
                    self.count(applied);
                }
            }
            Step::Idle => {}
        }
        Ok(self)
    }

    fn count(&self, applied: Applied) {
        self.metrics.batches.inc();
        match applied {
            Applied::Indexed { events } => {
                self.metrics.events.inc_by(u64::try_from(events).unwrap_or(u64::MAX));
            }
            Applied::Duplicate => {
                self.metrics.duplicates.inc();
            }
            Applied::Unreadable => {
                self.metrics.unreadable.inc();
            }
        }
    }

    /// Begins a partition after the last commit; through the archive where the bus has let go of that.
    async fn begin(mut self, partition: Partition) -> Result<Self, Error> {
        let offset = self.committer.next(partition);
        self.assigned.insert(partition, offset);
        match self.consumer.start(partition, offset) {
            Ok(()) => Ok(self),
            Err(event_log::Error::Gone { oldest, .. }) if self.archive.is_some() => {
                self.caught_up(partition, oldest).await
            }
            Err(source) => Err(Error::Start { partition, offset, source }),
        }
    }

    /// Takes from the archive what the bus has let go of; what is not there either is in no index.
    async fn caught_up(mut self, partition: Partition, oldest: Offset) -> Result<Self, Error> {
        let offset = self.committer.next(partition);
        tracing::warn!(partition, offset, oldest, "the bus is ahead of the index, the archive fills the gap");
        self = self.fill().await?;
        let offset = self.committer.next(partition);
        if offset < oldest {
            let text = "what neither the bus nor the archive has is not in the search index";
            tracing::error!(partition, from = offset, to = oldest - 1, "{text}");
        }
        let offset = offset.max(oldest);
        self.assigned.insert(partition, offset);
        match self.consumer.start(partition, offset) {
            Ok(()) => Ok(self),
            Err(source) => Err(Error::Start { partition, offset, source }),
        }
    }

    /// Takes in from the archive what the index does not have.
    async fn fill(mut self) -> Result<Self, Error> {
        if let Some(archive) = &self.archive {
            self.committer = rebuild::fill(self.committer, archive).await.map_err(Error::Rebuild)?;
        }
        Ok(self)
    }

    /// Commits on a thread that may block, and tells the bus.
    async fn commit(mut self) -> Result<Self, Error> {
        self.last_commit = Instant::now();
        if self.committer.is_pending() {
            let began = Instant::now();
            let mut committer = self.committer;
            let task = tokio::task::spawn_blocking(move || committer.commit().map(|()| committer));
            self.committer = task.await.map_err(Error::Thread)?.map_err(Error::Index)?;
            self.metrics.commits.inc();
            self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
            self.metrics.open_sessions.set(i64::try_from(self.committer.open_sessions()).unwrap_or(i64::MAX));
        }
        for (partition, told) in &mut self.assigned {
            let next = self.committer.next(*partition);
            if next > *told {
                match self.consumer.committed(*partition, next) {
                    Ok(()) => *told = next,
                    Err(error) => tracing::warn!(partition, next, %error, "the bus could not be told of a commit"),
                }
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
pub(crate) mod tests;
