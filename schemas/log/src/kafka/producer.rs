//! Shipping: one thread that sends batches to Kafka in the order of their shard, and moves the cursor on when the
//! broker has acknowledged them.
//!
//! The spool is the truth: a failure of any kind is answered by beginning again at the cursor. What is sent twice by
//! that is the same bytes, and consumers tell it by (node, epoch, batch sequence).

use super::{client, create_topic, unavailable};
use crate::config::{KafkaConfig, MESSAGE_BYTES};
use crate::spool::index::At;
use crate::spool::{Shared, lock};
use crate::{Error, KAFKA_SUBSCRIBER, fault};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, Message};
use schemas::Shard;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The running thread.
#[derive(Debug)]
pub(crate) struct Shipper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Most batches that are sent and not acknowledged.
const MAX_IN_FLIGHT: u64 = 1_000;
/// Most bytes of them.
const MAX_IN_FLIGHT_KBYTES: &str = "65536";
/// Most batches that are sent to a partition and not acknowledged: librdkafka has no more of an idempotent producer's
/// messages under way, and while others wait in its queue its thread turns round without a rest.
const MAX_UNACKNOWLEDGED: u64 = 5;
/// Between looks for acknowledgements when only they are missing to send more.
const SOON: Duration = Duration::from_millis(1);
/// Between looks for acknowledgements and new batches when there is nothing to send.
const POLL: Duration = Duration::from_millis(5);
/// Pause before a new producer is made.
const RETRY: Duration = Duration::from_millis(500);
/// How long a stop waits for acknowledgements.
const FLUSH: Duration = Duration::from_secs(5);

impl Shipper {
    pub(crate) fn start(shared: Arc<Shared>, config: KafkaConfig) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let (signal, owner) = (stop.clone(), shared.clone());
        let thread = std::thread::Builder::new().name("log-shipper".to_owned()).spawn(move || {
            if let Some(copied) = &shared.copied {
                copied.shipped_by(std::thread::current());
            }
            while !signal.load(Ordering::Acquire) {
                if let Err(error) = ship(&shared, &config, &signal) {
                    shared.counters.ship_errors.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "shipping to kafka begins again");
                    pause(&signal);
                }
            }
        });
        Ok(Self { stop, thread: thread.map_err(|error| owner.fail("start a thread", &error))? })
    }

    /// Waits for acknowledgements for a while, then ends the thread.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        if self.thread.join().is_err() {
            tracing::error!("the shipping thread ended in a panic");
        }
    }
}

fn pause(stop: &AtomicBool) {
    let until = Instant::now() + RETRY;
    while Instant::now() < until && !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(POLL);
    }
}

/// Acknowledgements, by shard.
struct Acknowledged {
    shared: Arc<Shared>,
    lanes: Mutex<BTreeMap<Shard, Lane>>,
    failed: Mutex<Option<KafkaError>>,
}

#[derive(Default)]
struct Lane {
    /// The first batch that is not acknowledged.
    next: u64,
    /// Acknowledged ahead of it.
    ahead: BTreeMap<u64, u64>,
    /// The first batch that is not sent.
    sent: u64,
    /// Where its batches go; known with the first acknowledgement. Shards may share one.
    partition: Option<i32>,
}

impl Lane {
    /// Notes that the batches from `batch` to the one before `after` need nothing more.
    fn done(&mut self, batch: u64, after: u64) {
        self.ahead.insert(batch, after);
        while let Some(next) = self.ahead.remove(&self.next) {
            self.next = next;
        }
    }
}

/// Whether one more batch of a shard may be sent.
fn has_room(lanes: &BTreeMap<Shard, Lane>, shard: Shard) -> bool {
    let partition = lanes.get(&shard).and_then(|lane| lane.partition);
    let same = |other: Shard, lane: &Lane| other == shard || (partition.is_some() && lane.partition == partition);
    let waiting =
        lanes.iter().filter(|(other, lane)| same(**other, lane)).map(|(_, lane)| lane.sent.saturating_sub(lane.next));
    waiting.sum::<u64>() < MAX_UNACKNOWLEDGED
}

/// What became of the next batch of a shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sent {
    /// There is none yet.
    Nothing,
    /// It must wait for acknowledgements.
    Full,
    /// It is sent, or passed over.
    One,
}

impl ClientContext for Acknowledged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        super::note(level, facility, text);
    }
}

impl ProducerContext for Acknowledged {
    /// Shard, batch, and the one after it.
    type DeliveryOpaque = Box<(Shard, u64)>;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Self::DeliveryOpaque) {
        let (shard, batch) = *place;
        let partition = match result {
            Ok(message) => message.partition(),
            Err((error, _)) => {
                lock(&self.failed).get_or_insert_with(|| error.clone());
                return;
            }
        };
        self.shared.counters.shipped.fetch_add(1, Ordering::Relaxed);
        let mut lanes = lock(&self.lanes);
        let Some(lane) = lanes.get_mut(&shard) else { return };
        lane.partition = Some(partition);
        lane.done(batch, batch + 1);
        fault::point("ship.acknowledged");
        lock(&self.shared.cursors).advance(KAFKA_SUBSCRIBER, shard, lane.next);
        if let Some(copied) = &self.shared.copied {
            copied.acknowledged(shard, lane.next);
        }
        self.shared.keep.wake();
    }
}

/// Ships until it is time to stop, or until something goes wrong that only a new producer can mend.
fn ship(shared: &Arc<Shared>, config: &KafkaConfig, stop: &AtomicBool) -> Result<(), Error> {
    create_topic(config)?;
    let topic = config.events_topic();
    let mut next = BTreeMap::new();
    {
        let (index, cursors) = (lock(&shared.index), lock(&shared.cursors));
        let kafka = cursors.subscribers.get(KAFKA_SUBSCRIBER);
        for shard in index.shards() {
            let cursor = kafka.and_then(|shards| shards.get(&shard)).copied().unwrap_or(0);
            next.insert(shard, cursor.max(index.bounds(shard).0));
        }
    }
    let lanes =
        next.iter().map(|(shard, next)| (*shard, Lane { next: *next, sent: *next, ..Lane::default() })).collect();
    let context = Acknowledged { shared: shared.clone(), lanes: Mutex::new(lanes), failed: Mutex::default() };
    let producer: BaseProducer<Acknowledged> = client(config)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // the default of five minutes drops messages even with idempotence on
        .set("message.timeout.ms", "0")
        .set("compression.type", "none")
        .set("message.max.bytes", MESSAGE_BYTES.to_string())
        .set("queue.buffering.max.messages", MAX_IN_FLIGHT.to_string())
        .set("queue.buffering.max.kbytes", MAX_IN_FLIGHT_KBYTES)
        .set("linger.ms", if shared.copied.is_some() { "0" } else { "1" })
        .set("partitioner", "murmur2_random")
        .create_with_context(context)
        .map_err(|error| unavailable("make a producer", &error))?;
    let result = send_all(shared, &producer, &topic, &mut next, stop);
    // whatever is not acknowledged by then is sent again after the next start
    let left = result?.saturating_duration_since(Instant::now());
    if let Err(error) = producer.flush(left) {
        tracing::warn!(%error, "kafka has not acknowledged everything, the rest is kept in the spool");
    }
    Ok(())
}

/// Ships until it is time to stop; returns until when acknowledgements are waited for.
fn send_all(
    shared: &Shared,
    producer: &BaseProducer<Acknowledged>,
    topic: &str,
    next: &mut BTreeMap<Shard, u64>,
    stop: &AtomicBool,
) -> Result<Instant, Error> {
    let mut until = None;
    loop {
        let mut sent = Sent::Nothing;
        for (shard, batch) in next.iter_mut() {
            sent = sent.max(send_next(shared, producer, topic, *shard, batch)?);
        }
        producer.poll(Duration::ZERO);
        // not by the client's own wait: it turns round and round for the last millisecond of it
        match sent {
            Sent::Nothing if shared.copied.is_some() && producer.in_flight_count() > 0 => {
                std::thread::park_timeout(SOON);
            }
            Sent::Nothing => std::thread::park_timeout(POLL),
            Sent::Full => std::thread::park_timeout(SOON),
            Sent::One => {}
        }
        let failed = lock(&producer.context().failed).take();
        if let Some(error) =
            failed.or_else(|| producer.client().fatal_error().map(|(code, _)| KafkaError::MessageProduction(code)))
        {
            return Err(unavailable("ship a batch", &error));
        }
        if stop.load(Ordering::Acquire) {
            let until = *until.get_or_insert_with(|| Instant::now() + FLUSH);
            if sent == Sent::Nothing || Instant::now() > until {
                return Ok(until);
            }
        }
    }
}

/// Sends one batch of a shard, if there is one and room for it in flight.
fn send_next(
    shared: &Shared,
    producer: &BaseProducer<Acknowledged>,
    topic: &str,
    shard: Shard,
    batch: &mut u64,
) -> Result<Sent, Error> {
    if !has_room(&lock(&producer.context().lanes), shard) {
        return Ok(Sent::Full);
    }
    let found = lock(&shared.index).find(shard, *batch);
    let position = match found {
        At::Position(position) => position,
        At::NotYet => return Ok(Sent::Nothing),
        At::Deleted(after) | At::Lost(after) => {
            let mut lanes = lock(&producer.context().lanes);
            if let Some(lane) = lanes.get_mut(&shard) {
                lane.done(*batch, after);
                lane.sent = after;
            }
            *batch = after;
            return Ok(Sent::One);
        }
    };
    let bytes = shared.batch_at(position)?;
    let key = schemas::topic::key(&shared.node, shard);
    fault::point("ship.send");
    let record = BaseRecord::with_opaque_to(topic, Box::new((shard, *batch))).key(&key).payload(&bytes);
    match producer.send(record) {
        Ok(()) => {
            *batch += 1;
            if let Some(lane) = lock(&producer.context().lanes).get_mut(&shard) {
                lane.sent = *batch;
            }
            Ok(Sent::One)
        }
        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(Sent::Full),
        Err((error, _)) => Err(unavailable("send a batch", &error)),
    }
}
