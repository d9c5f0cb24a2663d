//! The control topic in Kafka: one partition, kept for ever, read by everybody without a group.

use super::{MAX_RECORD_BYTES, Step, settings};
use crate::kafka::{METADATA_TIMEOUT, NewTopicOf, client, create, note, unavailable};
use crate::{Error, KafkaConfig, Offset};
use bytes::Bytes;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message, Offset as KafkaOffset, Timestamp, TopicPartitionList};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The one partition.
const PARTITION: i32 = 0;
/// A record that the broker did not take within this time is not sent again.
const SEND_TIMEOUT_MS: &str = "5000";
/// How long the reading thread waits for a record before it looks whether anybody listens.
const POLL: Duration = Duration::from_millis(100);
/// Between two tries to reach a broker that is away.
const RETRY: Duration = Duration::from_millis(500);
/// Longest wait for the topic's end; a broker that takes longer is away.
const WATERMARK_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two warnings about what passes by itself.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
/// Between two looks at how the topic is kept: somebody may set a retention while gates run.
const SETTINGS_INTERVAL: Duration = Duration::from_secs(30);

type Acknowledge = oneshot::Sender<Result<Offset, Error>>;

struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        note(level, facility, text);
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Acknowledge>;

    fn delivery(&self, result: &DeliveryResult<'_>, acknowledge: Self::DeliveryOpaque) {
        let done = match result {
            Ok(message) => Ok(Offset::try_from(message.offset()).unwrap_or_default()),
            Err((error, _)) => Err(unavailable("write a control record", error)),
        };
        if acknowledge.send(done).is_err() {
            tracing::debug!("who appended a control record is gone");
        }
    }
}

/// Writes to the topic, and ends the reading threads when it is dropped.
pub(super) struct Producer {
    producer: ThreadedProducer<Context>,
    topic: String,
    stop: Arc<AtomicBool>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

impl Producer {
    pub(super) fn send(&self, bytes: &Bytes, acknowledge: Acknowledge) -> Result<(), Error> {
        let record = BaseRecord::<(), [u8], _>::with_opaque_to(&self.topic, Box::new(acknowledge))
            .partition(PARTITION)
            .payload(bytes);
        self.producer.send(record).map_err(|(error, _)| unavailable("send a control record", &error))
    }
}

/// Starts the producer and the threads that read.
pub(super) fn open(
    config: &KafkaConfig,
    heartbeat: Duration,
    steps: mpsc::SyncSender<Step>,
) -> Result<Producer, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let topic = config.control_topic();
    let producer: ThreadedProducer<Context> = client(config)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", SEND_TIMEOUT_MS)
        .set("linger.ms", "0")
        .set("compression.type", "none")
        .set("message.max.bytes", (MAX_RECORD_BYTES + 4096).to_string())
        .create_with_context(Context)
        .map_err(|error| unavailable("make a producer", &error))?;
    let consumer: BaseConsumer<Context> = client(config)
        .set("group.id", "postern-control-unused")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "100")
        // everybody reads the same at the same time: a stranger's transaction neither hides records nor holds them up
        .set("isolation.level", "read_uncommitted")
        .set("allow.auto.create.topics", "false")
        .create_with_context(Context)
        .map_err(|error| unavailable("make a consumer", &error))?;
    let consumer = Arc::new(consumer);
    let reading =
        Reading { consumer: consumer.clone(), topic: topic.clone(), steps: steps.clone(), stop: stop.clone() };
    let asking = Reading { consumer, topic: topic.clone(), steps, stop: stop.clone() };
    let (config, asked) = (config.clone(), config.clone());
    let threads = [
        std::thread::Builder::new().name("control-read".to_owned()).spawn(move || reading.read(&config)),
        std::thread::Builder::new().name("control-heard".to_owned()).spawn(move || asking.ask(&asked, heartbeat)),
    ];
    for thread in threads {
        thread.map_err(|error| Error::Unavailable(format!("kafka: cannot start a thread: {error}")))?;
    }
    Ok(Producer { producer, topic, stop })
}

struct Reading {
    consumer: Arc<BaseConsumer<Context>>,
    topic: String,
    steps: mpsc::SyncSender<Step>,
    stop: Arc<AtomicBool>,
}

impl Reading {
    fn ended(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Creates the topic, and reads it from the beginning until the writer is gone.
    fn read(self, config: &KafkaConfig) {
        while let Err(error) = self.prepare(config) {
            tracing::warn!(%error, "the control topic cannot be read yet");
            if self.ended() {
                return;
            }
            std::thread::park_timeout(RETRY);
        }
        let mut complained: Option<Instant> = None;
        while !self.ended() {
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(message)) => {
                    let offset = Offset::try_from(message.offset()).unwrap_or_default();
                    let bytes = message.payload().map(Bytes::copy_from_slice).unwrap_or_default();
                    let taken = match message.timestamp() {
                        Timestamp::LogAppendTime(milliseconds) => Some(milliseconds.saturating_mul(1000)),
                        Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
                    };
                    if self.steps.send(Step::Record { offset, bytes, taken }).is_err() {
                        return;
                    }
                }
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::Fatal) => {
                        self.lost(format!("the control topic {} cannot be read on: {error}", self.topic));
                        return;
                    }
                    _ if complained.is_none_or(|last| last.elapsed() > COMPLAINT_INTERVAL) => {
                        complained = Some(Instant::now());
                        tracing::warn!(%error, "kafka: reading the control topic is disturbed, it goes on by itself");
                    }
                    _ => {}
                },
            }
        }
    }

    fn lost(&self, text: String) {
        tracing::error!(reason = text, "the control topic is lost");
        if self.steps.send(Step::Lost(text)).is_err() {
            tracing::debug!("nobody reads the control topic");
        }
    }

    fn prepare(&self, config: &KafkaConfig) -> Result<(), Error> {
        let size = (MAX_RECORD_BYTES + 4096).to_string();
        let mut settings = settings::WANTED.to_vec();
        settings.push(("max.message.bytes", size.as_str()));
        create(config, &NewTopicOf { name: &self.topic, partitions: 1, settings: &settings })?;
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), METADATA_TIMEOUT);
        let metadata = metadata.map_err(|error| unavailable("ask for the control topic", &error))?;
        let partitions: usize = metadata.topics().iter().map(|topic| topic.partitions().len()).sum();
        if partitions != 1 {
            let text = format!(
                "the topic {} has {partitions} partitions and must have one: its order is what counts",
                self.topic
            );
            return Err(Error::Unavailable(text));
        }
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&self.topic, PARTITION, KafkaOffset::Beginning);
        added.and_then(|()| self.consumer.assign(&list)).map_err(|error| unavailable("read the control topic", &error))
    }

    /// Asks the broker again and again how far the topic goes, and how it is kept. How far it goes is told only once it is
    /// known to be kept well.
    fn ask(self, config: &KafkaConfig, heartbeat: Duration) {
        let mut complained: Option<Instant> = None;
        let mut looked: Option<Instant> = None;
        while !self.ended() {
            let at = Instant::now();
            if looked.is_none_or(|last| last.elapsed() > SETTINGS_INTERVAL) {
                match settings::unfit(config, &self.topic) {
                    Ok(unfit) => {
                        // what is to be mended is looked at again soon
                        looked = unfit.is_none().then_some(at);
                        if self.steps.send(Step::Unfit(unfit)).is_err() {
                            return;
                        }
                    }
                    Err(error) if complained.is_none_or(|last| last.elapsed() > COMPLAINT_INTERVAL) => {
                        complained = Some(at);
                        tracing::warn!(%error, "kafka: the broker does not say how the control topic is kept");
                    }
                    Err(_) => {}
                }
            }
            match self.consumer.fetch_watermarks(&self.topic, PARTITION, WATERMARK_TIMEOUT) {
                // not told before it is known that nothing can have been let go
                Ok(_) if looked.is_none() => {}
                Ok((first, end)) => {
                    let place = |offset: i64| Offset::try_from(offset).unwrap_or_default();
                    let heard = Step::Heard { first: place(first), end: place(end), at, filled: None };
                    if self.steps.send(heard).is_err() {
                        return;
                    }
                }
                Err(error) if complained.is_none_or(|last| last.elapsed() > COMPLAINT_INTERVAL) => {
                    complained = Some(at);
                    tracing::warn!(%error, "kafka: the broker does not answer about the control topic");
                }
                Err(_) => {}
            }
            let mut left = heartbeat;
            while !left.is_zero() && !self.ended() {
                let pause = left.min(POLL);
                std::thread::park_timeout(pause);
                left -= pause;
            }
        }
    }
}
