//! Takes batches from the bus into the archive: each once, in order, whatever dies in between.
//!
//! **Partition.** The bus is divided into partitions; each is one recorder's at a time, as far as the bus knows. A
//! partition has its own manifests, chains and open sessions, and no two partitions share anything.
//!
//! **Position.** The offset after the last one that the partition's manifests cover. It stands nowhere else: when a
//! partition is assigned, its latest manifest is read, and the bus is told to begin there. What the bus itself
//! remembers (a group's committed offset) is for showing lag.
//!
//! **Checkpoint.** Publication and checkpoint are one act: the manifest. It names the data object that was put before
//! it, covers its offsets without a hole, and carries the state of verification at their end. It is created only where
//! no object has its name, and its name is the position.
//!
//! ```text
//! died before the data object     nothing happened: the bus delivers again from the position
//! died before the manifest        an orphan; the same batches make it again, or another range leaves it unread
//! died after the manifest         archived; the next start begins after it
//! two recorders, one partition    the second to create the manifest finds it taken, forgets what it holds, and
//!                                 begins again after it
//! ```
//!
//! Batches are held in memory until [`crate::Config::object_bytes`] or [`crate::Config::flush_interval`]. While the
//! store fails, the same commit is tried again and nothing more is taken from the bus: memory stays bounded, and
//! nothing is dropped. A bucket is proved before the first batch is taken ([`crate::store::check`]). Beside the recording
//! checkpoints are made ([`crate::archive::checkpoint`]), and handed to a witness ([`crate::witness`]). This module decides
//! when; [`crate::verify`] decides what holds, [`crate::archive::writer`] writes.

mod lane;

use self::lane::Lane;
use crate::archive::checkpoint::Checkpoints;
use crate::archive::manifest::{BatchName, Fault, FaultKind};
use crate::archive::writer::{Committed, Pending};
use crate::archive::{self, writer};
use crate::config::{self, Config};
use crate::store::{self, Opened};
use crate::telemetry::Telemetry;
use crate::verify::{self, Standing, State, chain_of};
use crate::witness;
use event_log::{Consume, Delivery, Partition, Step};
use kit::{Clock, Shutdown};
use object_store::ObjectStore;
use schemas::chain::hexadecimal;
use schemas::{EventBatch, codec};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The pause after a failure of the store or the bus: doubled from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The recorder cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive's store cannot be opened.
    #[error("opening the archive")]
    Open(#[source] config::Error),
    /// The archive's store will not do, or does not answer yet; see [`store::check::Error::passes`].
    #[error("proving the archive")]
    Check(#[source] Box<store::check::Error>),
    /// The archive cannot be read or written. It is tried again.
    #[error("recording a batch")]
    Archive(#[source] archive::Error),
    /// The bus refused. It is tried again, unless the log has failed for good.
    #[error("reading the bus")]
    Bus(#[source] event_log::Error),
}

/// Records until the shutdown, or until the bus is closed; then commits what it holds and returns.
///
/// # Errors
/// [`Error::Open`]; [`Error::Check`] if the store will not do; [`Error::Bus`] if the log has failed for good. Other
/// failures are logged, counted and tried again.
pub async fn run(config: Config, consumer: impl Consume, shutdown: Shutdown) -> Result<(), Error> {
    run_with(config, consumer, Telemetry::default(), shutdown).await
}

/// As [`run`], with registered metrics.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    mut consumer: impl Consume,
    telemetry: Telemetry,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let opened = config.open().map_err(Error::Open)?;
    tracing::info!(archive = %config.place, "recorder started");
    let (clock, ended) = (Clock::system(), Shutdown::new());
    let store = opened.store.clone();
    let mut recorder = Recorder::new(store.clone(), &config, telemetry.clone(), clock.clone());
    if !recorder.admit(&opened, &shutdown).await? {
        return Ok(());
    }
    let recording = async {
        let outcome = recorder.drive(&mut consumer, &shutdown).await;
        ended.trigger();
        outcome
    };
    let (made, attested) = (Notify::new(), Shutdown::new());
    let attesting = async {
        attest(&*store, &config, &telemetry, &clock, (&made, &ended)).await;
        attested.trigger();
    };
    let witnessed = witness::tell(&*store, config.witness.as_ref(), &telemetry, &made, &attested);
    tokio::join!(recording, attesting, witnessed).0
}

/// Makes checkpoints beside the recording, telling of each, and the last one when it has ended.
async fn attest(
    store: &dyn ObjectStore,
    config: &Config,
    telemetry: &Telemetry,
    clock: &Clock,
    (news, ended): (&Notify, &Shutdown),
) {
    let (Some(notary), Some(interval)) = (&config.notary, config.checkpoint_interval) else { return };
    let mut checkpoints = Checkpoints::new(store, notary);
    // the recorders of one archive share the interval: who comes while another's is fresh leaves it at that
    let fresh = i64::try_from(interval.as_micros() / 2).unwrap_or(i64::MAX);
    let told = |made: Result<Option<u64>, archive::Error>| match made {
        Ok(Some(number)) => {
            telemetry.checkpoints.inc();
            news.notify_one();
            tracing::debug!(number, "checkpoint made");
        }
        Ok(None) => {}
        Err(error) => {
            telemetry.checkpoint_failures.inc();
            tracing::error!(error = chain_of(&error), "no checkpoint was made");
        }
    };
    let periodic = async {
        loop {
            tokio::time::sleep(interval).await;
            told(checkpoints.make(clock.now_micros(), fresh).await);
        }
    };
    tokio::select! {
        () = ended.wait() => {}
        () = periodic => {}
    }
    // of an archive that was never read before, the next start makes it
    match tokio::time::timeout(LAST_CHECKPOINT, checkpoints.make(clock.now_micros(), 0)).await {
        Ok(made) => told(made),
        Err(_) => tracing::warn!("the last checkpoint takes too long, it is left to the next start"),
    }
}

/// How long a recorder that ends tries to make its last checkpoint.
const LAST_CHECKPOINT: Duration = Duration::from_secs(5);

/// How long it tries to commit what it holds.
const LAST_COMMITS: Duration = Duration::from_secs(4);

/// Takes steps of the bus, one after the other. Every method can be called again after its error.
pub(crate) struct Recorder {
    store: Arc<dyn ObjectStore>,
    flush_interval: Duration,
    object_bytes: usize,
    telemetry: Telemetry,
    clock: Clock,
    lanes: BTreeMap<Partition, Lane>,
}

impl Recorder {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, config: &Config, telemetry: Telemetry, clock: Clock) -> Self {
        let Config { flush_interval, object_bytes, .. } = *config;
        Self { store, flush_interval, object_bytes, telemetry, clock, lanes: BTreeMap::new() }
    }

    /// Waits until the store is proved. `false`: the shutdown came first.
    async fn admit(&self, opened: &Opened, shutdown: &Shutdown) -> Result<bool, Error> {
        let mut pause = PAUSES.0;
        while !shutdown.is_triggered() {
            let asked = tokio::select! {
                () = shutdown.wait() => break,
                asked = opened.admit() => asked,
            };
            match asked {
                Ok(()) => {
                    self.telemetry.failing.set(0);
                    return Ok(true);
                }
                Err(error) if error.passes() => self.trouble(&Error::Check(Box::new(error))),
                Err(error) => return Err(Error::Check(Box::new(error))),
            }
            rest(&mut pause, shutdown).await;
        }
        Ok(false)
    }

    async fn drive(&mut self, consumer: &mut impl Consume, shutdown: &Shutdown) -> Result<(), Error> {
        let mut pause = PAUSES.0;
        let mut ended = Ok(());
        while !shutdown.is_triggered() {
            let step = tokio::select! {
                () = shutdown.wait() => break,
                step = consumer.next() => step,
            };
            match step {
                Ok(step) if self.until_done(&step, consumer, shutdown).await => {}
                // what is held is on the bus, and the next start takes it from there
                Ok(_) => return ended,
                Err(event_log::Error::Closed) => break,
                Err(event_log::Error::Gone { partition, oldest, .. }) => {
                    // what it had is lost: that is told of when something comes from behind it
                    if self.lanes.contains_key(&partition)
                        && let Err(error) = consumer.start(partition, oldest)
                    {
                        self.trouble(&Error::Bus(error));
                    }
                }
                Err(error @ (event_log::Error::Failed { .. } | event_log::Error::Ahead { .. })) => {
                    ended = Err(Error::Bus(error));
                    break;
                }
                Err(error) => {
                    self.trouble(&Error::Bus(error));
                    rest(&mut pause, shutdown).await;
                    continue;
                }
            }
            pause = PAUSES.0;
        }
        let flushed = tokio::time::timeout(LAST_COMMITS, async {
            for partition in self.held() {
                if let Err(error) = self.flush(partition, consumer).await {
                    // It is still on the bus: the next start takes it from there.
                    self.trouble(&error);
                }
            }
        });
        if flushed.await.is_err() {
            tracing::warn!("the last commits take too long, they are left to the next start");
        }
        tracing::info!("recorder stopped");
        ended
    }

    /// Takes a step, again and again until it is taken. `false`: the shutdown came, and the store took too long.
    async fn until_done(&mut self, step: &Step, consumer: &mut impl Consume, shutdown: &Shutdown) -> bool {
        let mut pause = PAUSES.0;
        loop {
            let overdue = async {
                shutdown.wait().await;
                tokio::time::sleep(LAST_COMMITS).await;
            };
            let taken = tokio::select! {
                taken = self.step(step, consumer) => taken,
                () = overdue => {
                    tracing::warn!("the store takes too long, what is not committed is left to the next start");
                    return false;
                }
            };
            let Err(error) = taken else {
                self.telemetry.failing.set(0);
                return true;
            };
            self.trouble(&error);
            if shutdown.is_triggered() {
                return true;
            }
            rest(&mut pause, shutdown).await;
        }
    }

    fn trouble(&self, error: &Error) {
        self.telemetry.retries.inc();
        if matches!(error, Error::Archive(_) | Error::Check(_)) {
            self.telemetry.failing.set(1);
        }
        tracing::error!(error = chain_of(error), "cannot record, will try again");
    }

    /// Takes one step, then commits what is due.
    pub(crate) async fn step(&mut self, step: &Step, consumer: &mut impl Consume) -> Result<(), Error> {
        match step {
            Step::Assigned(partitions) => {
                for partition in partitions {
                    self.resume(*partition, consumer).await?;
                }
                self.telemetry.assigned.set(true);
            }
            Step::Revoked(partitions) => {
                for partition in partitions {
                    self.lanes.remove(partition);
                }
                self.telemetry.assigned.set(!self.lanes.is_empty());
            }
            Step::Batch(delivery) => {
                if !self.take(delivery).await? {
                    self.flush(delivery.partition, consumer).await?;
                    // nothing is held now, so that it is taken
                    self.take(delivery).await?;
                }
            }
            Step::Idle => {}
        }
        for partition in self.held() {
            let due =
                self.lanes.get(&partition).and_then(|lane| lane.pending.as_ref()).is_some_and(|(pending, since)| {
                    pending.bytes() >= self.object_bytes || since.elapsed() >= self.flush_interval
                });
            if due {
                self.flush(partition, consumer).await?;
            }
        }
        Ok(())
    }

    fn held(&self) -> Vec<Partition> {
        self.lanes.iter().filter(|(_, lane)| lane.pending.is_some()).map(|(partition, _)| *partition).collect()
    }

    /// Begins a partition where its manifests end, and forgets what was held of it.
    async fn resume(&mut self, partition: Partition, consumer: &mut impl Consume) -> Result<(), Error> {
        self.lanes.remove(&partition);
        let tip = writer::tip(&*self.store, partition).await.map_err(Error::Archive)?;
        let (next, previous, state) = match tip {
            None => (0, None, State::default()),
            Some((manifest, digest)) => {
                let mut state = manifest.state;
                for entry in &manifest.batches {
                    state.remember(&entry.header, &entry.hash);
                }
                (manifest.last + 1, Some(digest), state)
            }
        };
        let started = match consumer.start(partition, next) {
            Err(event_log::Error::Gone { oldest, .. }) => consumer.start(partition, oldest),
            started => started,
        };
        started.map_err(Error::Bus)?;
        tracing::info!(partition, offset = next, "partition begun");
        self.lanes.insert(partition, Lane { next, previous, state, pending: None, passed: 0 });
        Ok(())
    }

    /// Takes a delivery. `false`: what is held must be committed first, because its events have another schema.
    async fn take(&mut self, delivery: &Delivery) -> Result<bool, Error> {
        let Delivery { partition, offset, batch: encoded } = delivery;
        let Some(lane) = self.lanes.get_mut(partition) else {
            tracing::warn!(partition, offset, "batch of a partition that is not this recorder's");
            return Ok(true);
        };
        if *offset < lane.next {
            return Ok(true); // delivered again after a retry or a restart of the partition
        }
        lane.hole(*partition, *offset, &self.telemetry);
        let judged = judge(&*self.store, lane, delivery).await?;
        let held = lane.pending.as_ref().map(|(pending, _)| pending);
        if let (Judged::Take(batch), Some(held)) = (&judged, held)
            && !held.takes(batch)
        {
            return Ok(false);
        }
        let begun = || (Pending::new(*partition, lane.next, lane.previous), Instant::now());
        let (pending, _) = lane.pending.get_or_insert_with(begun);
        let mut faults = Vec::new();
        match judged {
            Judged::Skip => {
                self.telemetry.duplicates.inc();
                pending.skip(*offset);
            }
            Judged::SetAside(fault) => {
                faults.push(fault.clone());
                pending.set_aside(*offset, encoded.clone(), fault);
            }
            Judged::Take(batch) => {
                let read = verify::read(&batch);
                let hash = batch.header.hash().map_err(encoding)?;
                faults = lane.state.accept(*offset, &batch.header, &hash, &read);
                self.telemetry.batches.inc();
                self.telemetry.events.inc_by(u64::from(batch.header.count));
                pending.splice(*offset, *batch, encoded, read.events.as_deref()).map_err(Error::Archive)?;
                pending.fault(faults.clone());
            }
        }
        lane.next = offset + 1;
        for fault in &faults {
            self.telemetry.faults.inc();
            report(*partition, fault);
        }
        self.count_pending();
        Ok(true)
    }

    fn count_pending(&self) {
        let held = self.lanes.values().filter_map(|lane| lane.pending.as_ref()).map(|(p, _)| p.bytes()).sum::<usize>();
        self.telemetry.pending.set(i64::try_from(held).unwrap_or(i64::MAX));
    }

    async fn flush(&mut self, partition: Partition, consumer: &mut impl Consume) -> Result<(), Error> {
        let Some(lane) = self.lanes.get_mut(&partition) else { return Ok(()) };
        let Some((pending, _)) = &mut lane.pending else { return Ok(()) };
        let now = self.clock.now_micros();
        match pending.commit(&*self.store, &lane.state, now).await.map_err(Error::Archive)? {
            Committed::Done { bytes, manifest } => {
                lane.pending = None;
                lane.previous = Some(manifest);
                self.telemetry.manifests.inc();
                self.telemetry.bytes.inc_by(bytes);
                if let Err(error) = consumer.committed(partition, lane.next) {
                    // The manifest decides; the bus only keeps more than it needs for a while.
                    tracing::warn!(partition, error = chain_of(&error), "cannot tell the bus what is committed");
                }
            }
            Committed::Taken => {
                self.telemetry.conflicts.inc();
                tracing::warn!(partition, "another recorder committed this range, beginning again after it");
                self.resume(partition, consumer).await?;
            }
        }
        self.count_pending();
        Ok(())
    }
}

/// What is to be done with a delivery.
enum Judged {
    /// It is archived already.
    Skip,
    /// It cannot be archived.
    SetAside(Fault),
    /// It is to be archived.
    Take(Box<EventBatch>),
}

async fn judge(store: &dyn ObjectStore, lane: &Lane, delivery: &Delivery) -> Result<Judged, Error> {
    let aside = |kind, detail, batch| {
        let offset = delivery.offset;
        Ok(Judged::SetAside(Fault { offset, kind, detail, batch, session: None, sequence: None, quarantine: None }))
    };
    let batch = match EventBatch::decode(&delivery.batch) {
        Ok(batch) => Box::new(batch),
        Err(error) => return aside(FaultKind::Undecodable, chain_of(&error), None),
    };
    let header = &batch.header;
    let hash = header.hash().map_err(encoding)?;
    let standing = match lane.state.standing(header, &hash) {
        Standing::Older => {
            let archived = writer::find(store, delivery.partition, header).await.map_err(Error::Archive)?;
            match archived {
                Some(archived) if archived == hash => Standing::Same,
                Some(_) => Standing::Forked,
                None => Standing::New, // never archived: it is late, and still evidence
            }
        }
        standing => standing,
    };
    match standing {
        Standing::Same => Ok(Judged::Skip),
        Standing::New | Standing::Older => Ok(Judged::Take(batch)),
        Standing::Forked => {
            let detail = format!("its hash is {}; another batch is archived in its place", hexadecimal(&hash));
            aside(FaultKind::Forked, detail, Some(BatchName::from(header)))
        }
    }
}

fn encoding(source: codec::Error) -> Error {
    Error::Archive(archive::Error::Encode(source))
}

fn report(partition: Partition, fault: &Fault) {
    let Fault { offset, kind, detail, batch, session, .. } = fault;
    let session = session.map(|s| s.to_string());
    tracing::error!(partition, offset, ?kind, ?batch, session, detail, "the record does not hold");
}

async fn rest(pause: &mut Duration, shutdown: &Shutdown) {
    tokio::select! {
        () = shutdown.wait() => {}
        () = tokio::time::sleep(*pause) => *pause = (*pause * 2).min(PAUSES.1),
    }
}

#[cfg(test)]
pub(crate) mod tests;
