//! Reading batches back from Kafka: a thread polls, the subscription hands on.
//!
//! Offsets are never taken from the group: when the group assigns partitions, the thread asks the consumer where its
//! own commit is ([`Step::Assigned`], [`Consume::start`]) and begins there. What was read before a later start carries
//! an older generation and is dropped.

use super::{client, unavailable};
use crate::config::{KafkaConfig, MESSAGE_BYTES};
use crate::spool::lock;
use crate::{Consume, Delivery, Error, IDLE, Offset, Partition, Step};
use bytes::Bytes;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Message, Offset as KafkaOffset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc as commands};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Which partitions a subscription reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// Those that the group gives it: the group's members share the work.
    Group,
    /// Likewise, as the member of this name, which no other may have. A process that died and comes back goes on with
    /// its partitions at once; as one without a name it would wait until the group has given up on the dead one.
    Named(String),
    /// All of them: each such subscription sees everything.
    All,
}

/// A subscription to the batches in Kafka.
#[derive(Debug)]
pub struct KafkaSubscription {
    steps: mpsc::Receiver<Sent>,
    commands: commands::Sender<Command>,
    /// By assigned partition: which start its deliveries must carry.
    generations: BTreeMap<Partition, u64>,
    generation: u64,
}

/// From the thread.
#[derive(Debug)]
enum Sent {
    Assigned(Vec<Partition>),
    Revoked(Vec<Partition>),
    Batch(Delivery, u64),
    Error(Error),
}

/// To the thread.
#[derive(Debug)]
enum Command {
    Start(Partition, Offset, u64),
    Committed(Partition, Offset),
}

/// Batches that wait between the thread and the consumer: at most 5 MiB each, 300 KiB in practice.
const MAX_WAITING: usize = 32;
/// Bytes that librdkafka fetches ahead.
const MAX_FETCHED_KBYTES: &str = "16384";
/// After this time without a sign of life the group gives a member's partitions to others.
const SESSION_TIMEOUT_MS: &str = "10000";
/// How long the thread waits for a message before it looks for commands.
const POLL: Duration = Duration::from_millis(10);
/// How often the number of partitions is looked at, where all are read.
const METADATA_INTERVAL: Duration = Duration::from_secs(30);
const METADATA_RETRY: Duration = Duration::from_millis(500);
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two warnings about what passes by itself.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

impl KafkaSubscription {
    /// Subscribes. `name` is the consumer's (`recorder`, `indexer`); with [`Members::Group`] it is its group's too.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the settings are not librdkafka's; a broker that is away is waited for.
    pub fn new(config: &KafkaConfig, name: &str, members: Members) -> Result<Self, Error> {
        let (sender, steps) = mpsc::channel(MAX_WAITING);
        let (commands, receiver) = commands::channel();
        let inner = Inner { commands: receiver, places: BTreeMap::new(), later: Vec::new() };
        let context = Rebalance { topic: config.events_topic(), sender: sender.clone(), inner: Mutex::new(inner) };
        let mut settings = client(config);
        if !config.client.contains_key("session.timeout.ms") {
            settings.set("session.timeout.ms", SESSION_TIMEOUT_MS);
        }
        if let Members::Named(member) = &members {
            settings.set("group.instance.id", member);
        }
        let consumer: BaseConsumer<Rebalance> = settings
            .set("group.id", format!("{}-{name}", config.group))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", "range,roundrobin")
            .set("fetch.message.max.bytes", MESSAGE_BYTES.to_string())
            .set("queued.max.messages.kbytes", MAX_FETCHED_KBYTES)
            .set("fetch.wait.max.ms", "50")
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("allow.auto.create.topics", "false")
            .create_with_context(context)
            .map_err(|error| unavailable("make a consumer", &error))?;
        let (topic, config) = (config.events_topic(), config.clone());
        let poller =
            Poller { consumer, topic, config, members, sender, looked: None, complained: None, misplaced: None };
        let thread = std::thread::Builder::new().name(format!("kafka-{name}")).spawn(move || poller.run());
        thread.map_err(|error| Error::Unavailable(format!("kafka: cannot start a thread: {error}")))?;
        Ok(Self { steps, commands, generations: BTreeMap::new(), generation: 0 })
    }

    fn tell(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).map_err(|_| Error::Closed)
    }
}

impl Consume for KafkaSubscription {
    async fn next(&mut self) -> Result<Step, Error> {
        let deadline = tokio::time::Instant::now() + IDLE;
        loop {
            let Ok(sent) = tokio::time::timeout_at(deadline, self.steps.recv()).await else { return Ok(Step::Idle) };
            match sent.ok_or(Error::Closed)? {
                Sent::Assigned(partitions) => {
                    self.generation += 1;
                    self.generations.extend(partitions.iter().map(|p| (*p, self.generation)));
                    return Ok(Step::Assigned(partitions));
                }
                Sent::Revoked(partitions) => {
                    self.generations.retain(|partition, _| !partitions.contains(partition));
                    return Ok(Step::Revoked(partitions));
                }
                Sent::Batch(delivery, generation) => {
                    if self.generations.get(&delivery.partition) == Some(&generation) {
                        return Ok(Step::Batch(delivery));
                    }
                }
                Sent::Error(error) => return Err(error),
            }
        }
    }

    fn start(&mut self, partition: Partition, offset: Offset) -> Result<(), Error> {
        let generation = self.generations.get_mut(&partition).ok_or(Error::NotAssigned { partition })?;
        self.generation += 1;
        *generation = self.generation;
        let command = Command::Start(partition, offset, self.generation);
        self.tell(command)
    }

    fn committed(&mut self, partition: Partition, next: Offset) -> Result<(), Error> {
        self.tell(Command::Committed(partition, next))
    }
}

/// Turns the group's decisions into steps. Its callback runs on the thread, inside of a poll.
struct Rebalance {
    topic: String,
    sender: mpsc::Sender<Sent>,
    inner: Mutex<Inner>,
}

struct Inner {
    commands: commands::Receiver<Command>,
    /// By assigned partition: where it is, once it was started.
    places: BTreeMap<Partition, Option<Place>>,
    /// Came while starts were waited for.
    later: Vec<Command>,
}

/// How long the consumer may take to say where its partitions begin: well below `max.poll.interval.ms`, after which
/// the group goes on without this member.
const START_TIMEOUT: Duration = Duration::from_secs(120);

impl ClientContext for Rebalance {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        super::note(level, facility, text);
    }
}

impl ConsumerContext for Rebalance {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let ids = list.elements().iter().filter_map(|e| Partition::try_from(e.partition()).ok()).collect();
        let done = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assigned(ids).and_then(|starts| consumer.assign(&starts))
        } else {
            self.revoked(ids);
            consumer.unassign()
        };
        if let Err(error) = done {
            tracing::warn!(%error, "kafka: cannot take the group's assignment");
        }
    }
}

impl Rebalance {
    /// Asks the consumer where each partition begins.
    fn assigned(&self, partitions: Vec<Partition>) -> Result<TopicPartitionList, KafkaError> {
        let mut inner = lock(&self.inner);
        inner.places = partitions.iter().map(|partition| (*partition, None)).collect();
        // none is an assignment too: a member beyond the number of partitions has its share
        if self.sender.blocking_send(Sent::Assigned(partitions)).is_ok() {
            let deadline = Instant::now() + START_TIMEOUT;
            while inner.places.values().any(Option::is_none) && Instant::now() < deadline && !self.sender.is_closed() {
                match inner.commands.recv_timeout(POLL) {
                    Ok(Command::Start(partition, next, generation)) => inner.start(partition, next, generation),
                    Ok(other @ Command::Committed(..)) => inner.later.push(other),
                    Err(commands::RecvTimeoutError::Timeout) => {}
                    Err(commands::RecvTimeoutError::Disconnected) => break,
                }
            }
        }
        inner.starts(&self.topic)
    }

    fn revoked(&self, partitions: Vec<Partition>) {
        lock(&self.inner).places.clear();
        if !partitions.is_empty() && self.sender.blocking_send(Sent::Revoked(partitions)).is_err() {
            tracing::debug!("kafka: the subscription is gone");
        }
    }
}

impl Inner {
    fn start(&mut self, partition: Partition, next: Offset, generation: u64) {
        if let Some(place) = self.places.get_mut(&partition) {
            *place = Some(Place { next, generation, standing: Standing::Read });
        }
    }

    /// The partitions that were started, and where they go on.
    fn starts(&self, topic: &str) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        let started = self.places.iter().filter_map(|(id, place)| Some((*id, (*place)?)));
        for (partition, place) in started.filter(|(_, place)| place.standing != Standing::Stopped) {
            let next = i64::try_from(place.next).unwrap_or(i64::MAX);
            list.add_partition_offset(topic, i32::try_from(partition).unwrap_or(i32::MAX), KafkaOffset::Offset(next))?;
        }
        Ok(list)
    }
}

/// A partition of the thread's.
#[derive(Debug, Clone, Copy)]
struct Place {
    next: Offset,
    generation: u64,
    standing: Standing,
}

/// What is done with the messages of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// They are delivered.
    Read,
    /// One came from beyond `next`: none is delivered before it is known whether the topic has what lies between.
    Doubted,
    /// It was read again from `next`: what comes now is all there is.
    Sure,
    /// The topic has nothing there. The consumer is told, and nothing is read before it says where to begin.
    Stopped,
}

struct Poller {
    consumer: BaseConsumer<Rebalance>,
    topic: String,
    config: KafkaConfig,
    members: Members,
    sender: mpsc::Sender<Sent>,
    looked: Option<Instant>,
    complained: Option<Instant>,
    /// When it is to be looked which partitions stand where the topic has nothing.
    misplaced: Option<Instant>,
}

impl Poller {
    /// Runs until the subscription is dropped.
    fn run(mut self) {
        self.create_topic();
        if self.members != Members::All
            && let Err(error) = self.consumer.subscribe(&[&self.topic])
        {
            self.send(Sent::Error(unavailable("subscribe", &error)));
            return;
        }
        loop {
            if self.members == Members::All && !self.discover() {
                return;
            }
            // what is polled after this was read from where the consumer wants it
            if !self.obey() {
                return;
            }
            let polled = self
                .consumer
                .poll(POLL)
                .map(|message| message.map(|m| (m.partition(), m.offset(), m.payload().map(Bytes::copy_from_slice))));
            let open = match polled {
                Some(Ok((partition, offset, payload))) => self.deliver(partition, offset, payload),
                Some(Err(error)) => self.complain(&error),
                // what was fetched is delivered: what is looked at now is where each partition goes on
                None if self.misplaced.is_some_and(|at| at <= Instant::now()) => self.place_again(),
                None => true,
            };
            if !open || self.sender.is_closed() {
                return;
            }
        }
    }

    fn create_topic(&self) {
        while !self.sender.is_closed() {
            match super::create_topic(&self.config) {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, "kafka is away, the consumer waits for it");
                    std::thread::park_timeout(METADATA_RETRY);
                }
            }
        }
    }

    /// False if nobody listens any more.
    fn send(&self, sent: Sent) -> bool {
        self.sender.blocking_send(sent).is_ok()
    }

    /// Does what the subscription asked for; false if it is gone.
    fn obey(&self) -> bool {
        let mut moved = Vec::new();
        let mut inner = lock(&self.consumer.context().inner);
        let later = std::mem::take(&mut inner.later);
        let mut asked = later.into_iter();
        loop {
            match asked.next().map_or_else(|| inner.commands.try_recv(), Ok) {
                Ok(Command::Start(partition, next, generation)) => {
                    let fresh = inner.places.get(&partition).is_none_or(Option::is_none);
                    inner.start(partition, next, generation);
                    moved.push(fresh);
                }
                Ok(Command::Committed(partition, next)) => self.commit(partition, next),
                Err(commands::TryRecvError::Empty) => break,
                Err(commands::TryRecvError::Disconnected) => return false,
            }
        }
        // a first start waits for those of the others
        let due = moved.iter().any(|fresh| !fresh) || inner.places.values().all(Option::is_some);
        let starts = (due && !moved.is_empty()).then(|| inner.starts(&self.topic));
        drop(inner);
        // no seek: it fails while a partition is about to be read
        match starts.map_or(Ok(()), |list| list.and_then(|list| self.consumer.assign(&list))) {
            Ok(()) => true,
            Err(error) => self.send(Sent::Error(unavailable("begin at an offset", &error))),
        }
    }

    fn deliver(&mut self, partition: i32, offset: i64, payload: Option<Bytes>) -> bool {
        let (Ok(partition), Ok(offset)) = (Partition::try_from(partition), Offset::try_from(offset)) else {
            return true;
        };
        let generation = {
            let mut inner = lock(&self.consumer.context().inner);
            let Some(Some(place)) = inner.places.get_mut(&partition) else { return true };
            if offset < place.next || matches!(place.standing, Standing::Doubted | Standing::Stopped) {
                return true;
            }
            if offset > place.next && place.standing == Standing::Read {
                place.standing = Standing::Doubted;
                self.misplaced = Some(Instant::now());
                return true;
            }
            (place.next, place.standing) = (offset + 1, Standing::Read);
            place.generation
        };
        let Some(batch) = payload else { return true };
        self.send(Sent::Batch(Delivery { partition, offset, batch }, generation))
    }

    /// Errors that pass by themselves are logged; others are the consumer's to know.
    fn complain(&mut self, error: &KafkaError) -> bool {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::AutoOffsetReset) {
            // it does not say of which partition
            self.misplaced.get_or_insert_with(Instant::now);
            return true;
        }
        if code == Some(RDKafkaErrorCode::Fatal) {
            return self.send(Sent::Error(unavailable("read", error)));
        }
        // while the brokers are away there is one of these for each try to connect
        if self.complained.is_none_or(|last| last.elapsed() > COMPLAINT_INTERVAL) {
            self.complained = Some(Instant::now());
            tracing::warn!(%error, "kafka: reading is disturbed, it goes on by itself");
        }
        true
    }

    /// Looks at partitions where the topic may have nothing at the place that was asked for. It has more before, or ended
    /// before: the consumer is told, and the partition rests until it is started again. Otherwise it is read again from
    /// there. False if nobody listens any more.
    fn place_again(&mut self) -> bool {
        self.misplaced = None;
        let places = lock(&self.consumer.context().inner).places.clone();
        let (mut standings, mut told) = (Vec::new(), Vec::new());
        for (partition, place) in places.iter().filter_map(|(id, place)| Some((*id, (*place)?))) {
            if place.standing == Standing::Stopped {
                continue;
            }
            let id = i32::try_from(partition).unwrap_or(i32::MAX);
            let (oldest, end) = match self.consumer.fetch_watermarks(&self.topic, id, METADATA_TIMEOUT) {
                Ok((first, end)) => (Offset::try_from(first).unwrap_or(0), Offset::try_from(end).unwrap_or(0)),
                Err(error) => {
                    tracing::warn!(%error, "kafka: cannot ask what a partition has");
                    self.misplaced = Some(Instant::now() + COMPLAINT_INTERVAL);
                    return true;
                }
            };
            let offset = place.next;
            let standing = if offset < oldest {
                told.push(Error::Gone { partition, offset, oldest });
                Standing::Stopped
            } else if offset > end {
                told.push(Error::Ahead { partition, offset, end });
                Standing::Stopped
            } else {
                Standing::Sure
            };
            standings.push((partition, standing));
        }
        let mut inner = lock(&self.consumer.context().inner);
        for (partition, standing) in standings {
            if let Some(Some(place)) = inner.places.get_mut(&partition) {
                place.standing = standing;
            }
        }
        let placed = inner.starts(&self.topic).and_then(|list| self.consumer.assign(&list));
        drop(inner);
        if let Err(error) = placed {
            tracing::warn!(%error, "kafka: cannot read again from where the consumer is");
            self.misplaced = Some(Instant::now() + COMPLAINT_INTERVAL);
        }
        told.into_iter().all(|error| self.send(Sent::Error(error)))
    }

    fn commit(&self, partition: Partition, next: Offset) {
        let (Ok(partition), Ok(next)) = (i32::try_from(partition), i64::try_from(next)) else { return };
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&self.topic, partition, KafkaOffset::Offset(next));
        if let Err(error) = added.and_then(|()| self.consumer.commit(&list, CommitMode::Async)) {
            // only for lag metrics
            tracing::debug!(%error, "kafka: cannot note the offset");
        }
    }

    /// Finds the partitions of the topic, where all are read; false if nobody listens any more.
    fn discover(&mut self) -> bool {
        let known: Vec<Partition> = lock(&self.consumer.context().inner).places.keys().copied().collect();
        let wait = if known.is_empty() { METADATA_RETRY } else { METADATA_INTERVAL };
        if self.looked.is_some_and(|looked| looked.elapsed() < wait) {
            return true;
        }
        self.looked = Some(Instant::now());
        let metadata = match self.consumer.fetch_metadata(Some(&self.topic), METADATA_TIMEOUT) {
            Ok(metadata) => metadata,
            Err(error) => {
                tracing::warn!(%error, "kafka: cannot ask for the topic's partitions");
                return true;
            }
        };
        let ids = metadata.topics().iter().flat_map(|topic| topic.partitions().iter().map(|p| p.id()));
        let fresh: Vec<Partition> = ids.filter_map(|id| id.try_into().ok()).filter(|id| !known.contains(id)).collect();
        if fresh.is_empty() {
            return true;
        }
        lock(&self.consumer.context().inner).places.extend(fresh.iter().map(|partition| (*partition, None)));
        self.send(Sent::Assigned(fresh))
    }
}
