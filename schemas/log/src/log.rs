//! The producer's side: a handle to the log of this process, and the life of its threads.

use crate::config::Config;
use crate::spool::{Position, Priority, Shared, commit, here, keep, lock, recover, seal};
use crate::{Durable, EmbeddedSubscription, Error, Recovery, kafka};
use schemas::seal::WrappedKey;
use schemas::{Epoch, NodeId, Shard};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// The log of this process. Cheap to clone; all handles are the same log.
///
/// The threads end with [`Log::close`], or when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
    owner: Arc<Owner>,
}

/// Ends the threads when the last handle goes.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    sealer: Mutex<Option<JoinHandle<()>>>,
    committer: Mutex<Option<JoinHandle<()>>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    shipper: Mutex<Option<kafka::producer::Shipper>>,
}

/// How the log stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes that the spool holds, deleted segments left out.
    pub held_bytes: u64,
    /// Its limit.
    pub limit_bytes: u64,
    /// Bytes that are not on disk yet.
    pub unsynced_bytes: u64,
    /// Bytes of events that are in no batch yet.
    pub unsealed_bytes: u64,
    /// Sessions that are open.
    pub open_sessions: u64,
    /// By subscriber (`kafka` for shipping): batches that it has not committed.
    pub behind: Vec<(String, u64)>,
    /// Events appended since the start.
    pub events: u64,
    /// Bytes of their records.
    pub event_bytes: u64,
    /// Batches sealed since the start.
    pub batches: u64,
    /// Their bytes.
    pub batch_bytes: u64,
    /// Syncs since the start.
    pub syncs: u64,
    /// Of them, those that an executor did for its own tasks ([`Log::commit_here`]).
    pub syncs_here: u64,
    /// Appends refused because the spool was full.
    pub refused: u64,
    /// Batches that Kafka acknowledged.
    pub shipped: u64,
    /// Times that shipping to Kafka had to begin again.
    pub ship_errors: u64,
    /// Why the log has failed, if it has.
    pub failed: Option<String>,
}

impl Log {
    /// Opens the spool, recovers what an earlier start left, and starts the threads. Blocks while it reads.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::OtherNode`], [`Error::Open`]; [`Error::Failed`] if the disk fails meanwhile.
    pub fn open(settings: Config, node: NodeId) -> Result<(Self, Recovery), Error> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::open_at(settings, node, u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    /// As [`Log::open`], at a time in milliseconds since 1970-01-01 UTC: for tests of clocks.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_at(settings: Config, node: NodeId, now: u64) -> Result<(Self, Recovery), Error> {
        let (shared, sealer, recovery) = recover::open(settings, node, now)?;
        tracing::info!(
            epoch = recovery.epoch,
            sealed = recovery.sealed,
            closed = recovery.closed.len(),
            gaps = recovery.gaps.len(),
            "the log is open"
        );
        let shipper = match &shared.config.kafka {
            Some(config) => Some(kafka::producer::Shipper::start(shared.clone(), config.clone())?),
            None => None,
        };
        let (a, b, c) = (shared.clone(), shared.clone(), shared.clone());
        let sealer = spawn(&shared, "log-sealer", move || seal::run(&a, sealer))?;
        let committer = spawn(&shared, "log-committer", move || commit::run(&b))?;
        let keeper = spawn(&shared, "log-keeper", move || keep::run(&c))?;
        shared.keep.wake();
        let owner = Owner {
            shared: shared.clone(),
            sealer: Mutex::new(Some(sealer)),
            committer: Mutex::new(Some(committer)),
            keeper: Mutex::new(Some(keeper)),
            shipper: Mutex::new(shipper),
        };
        Ok((Self { shared, owner: Arc::new(owner) }, recovery))
    }

    /// This node.
    pub fn node(&self) -> &NodeId {
        &self.shared.node
    }

    /// This start of the node.
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// The shard of the next session, round robin. The session stays on it.
    pub fn assign(&self) -> Shard {
        self.shared.assign()
    }

    /// Appends events to memory: all of them, next to each other, or none.
    ///
    /// `datums` are events as [`schemas::codec::encode`] made them, of one session each next to each other. The
    /// returned position is the end of the last. AUD-3: a sequence that is not its session's next is refused.
    ///
    /// # Errors
    /// [`Error::Full`] without room ([`Priority::Closing`] may use the reserve); [`Error::Failed`] for ever after a
    /// disk error; [`Error::Closed`], [`Error::Sequence`], [`Error::TooLarge`], [`Error::Event`].
    ///
    /// # Cost
    /// A copy under a mutex; no system call, but at 4 MiB of unwritten bytes and where a segment ends.
    pub fn append(&self, shard: Shard, datums: &[&[u8]], priority: Priority) -> Result<Position, Error> {
        self.shared.append(shard, None, datums, priority)
    }

    /// As [`Log::append`], of the first events of a session whose payloads are sealed: its wrapped key is kept with them,
    /// and leaves with the batch of the first.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_opening(
        &self,
        shard: Shard,
        key: &WrappedKey,
        datums: &[&[u8]],
        priority: Priority,
    ) -> Result<Position, Error> {
        self.shared.append(shard, Some(key), datums, priority)
    }

    /// Whether there is room for something new of this size, with some left for what already runs. A hint, without a lock:
    /// [`Log::append`] decides. It does not know of a disk that is full, nor of a log that has failed.
    pub fn takes_new(&self, bytes: u64) -> bool {
        self.shared.takes_new(bytes)
    }

    /// Makes sure that everything up to a position is written: it then survives the process (kill -9).
    ///
    /// Writes all that is pending in one system call, if it is not written already.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn written(&self, position: Position) -> Result<(), Error> {
        self.shared.written(position)
    }

    /// Whether everything up to a position is on disk, and at the brokers where it must be.
    pub fn is_durable(&self, position: Position) -> bool {
        match &self.shared.copied {
            Some(copied) => copied.through() >= position.0,
            None => self.shared.commit.synced() >= position.0,
        }
    }

    /// Asks for everything up to a position to be synced, without waiting: the caller does something else meanwhile.
    pub fn want_durable(&self, position: Position) {
        self.shared.commit.want(&self.shared, position.0);
    }

    /// Waits until everything up to a position is on disk: it then survives the machine. Asks for it when first polled.
    /// Where `log.durability` is `kafka`, until the brokers have acknowledged it too, however long they are away.
    ///
    /// Completes with [`Error::Failed`] if the disk fails. Runs on any executor.
    pub fn durable(&self, position: Position) -> Durable {
        Durable::new(self.shared.clone(), position)
    }

    /// Syncs for the tasks of a single-threaded executor, on its thread, while the disk is quick. Never completes before
    /// the log fails; may be dropped at any time.
    ///
    /// A task of its own beside those that call [`Log::want_durable`] and [`Log::durable`]: they then need no other thread.
    /// Without it all works the same, through the committer's thread.
    ///
    /// # Cost
    /// Blocks the thread for a sync of at most 128 KiB at a time, on a disk whose last syncs took below 1 ms on average.
    pub fn commit_here(&self) -> impl Future<Output = ()> + 'static {
        here::run(self.shared.clone())
    }

    /// Subscribes to the embedded bus. What this subscriber has not committed is kept.
    pub fn subscribe(&self, name: &str) -> EmbeddedSubscription {
        EmbeddedSubscription::new(self.shared.clone(), name)
    }

    /// How the log stands.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (head, unsealed, sessions) = {
            let tail = lock(&shared.tail);
            (tail.head, tail.unsealed, tail.state.sessions.len() as u64)
        };
        let index = lock(&shared.index);
        let cursors = lock(&shared.cursors);
        let behind = cursors
            .subscribers
            .iter()
            .map(|(name, shards)| (name.clone(), index.behind(|shard| shards.get(&shard).copied().unwrap_or(0))));
        Stats {
            held_bytes: head.saturating_sub(shared.oldest.load(Ordering::Acquire)),
            limit_bytes: shared.config.limit_bytes,
            unsynced_bytes: head.saturating_sub(shared.commit.synced()),
            unsealed_bytes: unsealed,
            open_sessions: sessions,
            behind: behind.collect(),
            events: count(&shared.counters.events),
            event_bytes: count(&shared.counters.event_bytes),
            batches: count(&shared.counters.batches),
            batch_bytes: count(&shared.counters.batch_bytes),
            syncs: count(&shared.counters.syncs),
            syncs_here: count(&shared.counters.syncs_here),
            refused: count(&shared.counters.refused),
            shipped: count(&shared.counters.shipped),
            ship_errors: count(&shared.counters.ship_errors),
            failed: shared.check().err().map(|error| error.to_string()),
        }
    }

    /// Refuses further appends, seals and syncs everything, and ends the threads. Subscriptions can still read.
    ///
    /// Blocks a thread of its own, not the caller's. Kafka is given a few seconds to acknowledge; what it has not is
    /// shipped after the next start.
    ///
    /// # Errors
    /// [`Error::Failed`] if not all could be brought to the disk.
    pub async fn close(self) -> Result<(), Error> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let owner = self.owner;
        let shared = self.shared.clone();
        spawn(&shared, "log-close", move || drop(sender.send(owner.close())))?;
        receiver.await.unwrap_or(Err(Error::Closed))
    }

    /// Ends the threads as a kill would: what was not written is lost. For tests of recovery.
    #[doc(hidden)]
    pub fn crash(self) {
        drop(self.shared.fail("go on", &"a test asked for a crash"));
        self.owner.stop();
    }
}

fn spawn(shared: &Shared, name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| shared.fail("start a thread", &error))
}

fn join(slot: &Mutex<Option<JoinHandle<()>>>) {
    let thread = lock(slot).take();
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("a thread of the log ended in a panic");
    }
}

impl Owner {
    fn close(&self) -> Result<(), Error> {
        self.stop();
        self.shared.check()?;
        let sealed = self.shared.sealed_all.load(Ordering::Acquire);
        if sealed { Ok(()) } else { Err(self.shared.fail("close", &"not all events were sealed")) }
    }

    /// Ends the threads in the order of the data: sealer, committer, shipper, keeper.
    fn stop(&self) {
        {
            let mut tail = lock(&self.shared.tail);
            tail.closed = true;
            self.shared.stopping.store(true, Ordering::Release);
            self.shared.seal_signal.notify_all();
        }
        join(&self.sealer);
        let head = lock(&self.shared.tail).head;
        self.shared.commit.want(&self.shared, head);
        self.shared.commit.stop();
        join(&self.committer);
        let shipper = lock(&self.shipper).take();
        if let Some(shipper) = shipper {
            shipper.stop();
        }
        self.shared.keep.stop();
        join(&self.keeper);
        // handles and subscriptions that are still about only read
        drop(lock(&self.shared.folder_lock).take());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop();
    }
}
