//! The control topic: few records, in one total order, each durable before its writer goes on; read from the beginning by
//! everybody at every start.
//!
//! ```text
//! Writer::append --journal (fsync)  or  Kafka (acks=all)--> Steps::next   records in order, and how far the topic goes
//! ```
//!
//! With no broker it is a file of this node ([`journal`]); with Kafka one topic of one partition ([`kafka`]) that is kept
//! for ever ([`settings`] looks that it is). What the bytes mean is not this package's business.

pub mod journal;
pub(crate) mod kafka;
mod settings;

use crate::{Error, KafkaConfig, Offset};
use bytes::Bytes;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Largest record: a statement of 256 KiB with what is said about it, as JSON.
pub const MAX_RECORD_BYTES: usize = 768 << 10;

/// Records that wait between the topic's thread and its reader.
const MAX_WAITING: usize = 64;
/// Appends that wait for the topic's thread; beyond it an append is refused.
const MAX_APPENDS: usize = 1024;
/// How long an append waits for its acknowledgement.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What a reader is told next.
#[derive(Debug, Clone)]
pub enum Step {
    /// A record, in the topic's order.
    Record {
        /// Its place: it grows by one from record to record, from 0 while nothing was deleted.
        offset: Offset,
        /// Its bytes; none for a record without a value.
        bytes: Bytes,
        /// When the topic took it, by the broker's clock, microseconds since 1970-01-01 UTC; none where nobody but its
        /// writer says so.
        taken: Option<i64>,
    },
    /// The topic was looked at: whoever has read everything below `end` knows all that was written before `at`.
    Heard {
        /// The first record that is still there.
        first: Offset,
        /// The place of the next record.
        end: Offset,
        /// When the question was asked.
        at: Instant,
        /// How full the topic is, where it has a limit.
        filled: Option<Filled>,
    },
    /// Why the topic must not be relied on as it is kept now: its settings let records go. None: there is no reason, or no
    /// longer one.
    Unfit(Option<String>),
    /// The topic cannot be read any more, for this reason: a restart is needed.
    Lost(String),
}

/// How full a journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Bytes that it has.
    pub bytes: u64,
    /// Beyond these only [`Room::Kept`] is taken.
    pub limit: u64,
}

/// Which room of a limited topic a record may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// What everything uses.
    Ordinary,
    /// What is kept back for records that take rights away: they must be possible to the last.
    Kept,
}

/// The reader's side: from the first record on. No other process opens an embedded topic before this is gone.
#[derive(Debug)]
pub struct Steps {
    receiver: mpsc::Receiver<Step>,
    _lock: Option<journal::Lock>,
}

impl Steps {
    /// Waits for what is next; none when nothing came in this time. A topic whose threads have ended is lost.
    pub fn next(&self, wait: Duration) -> Option<Step> {
        match self.receiver.recv_timeout(wait) {
            Ok(step) => Some(step),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                // whoever asks again and again is not to spin
                std::thread::park_timeout(wait);
                Some(Step::Lost("the thread of the control topic has ended: restart this node".to_owned()))
            }
        }
    }
}

/// The writer's side. Clones write to the same topic.
#[derive(Debug, Clone)]
pub struct Writer(Way);

#[derive(Debug, Clone)]
enum Way {
    Journal(mpsc::SyncSender<journal::Append>),
    Kafka(Arc<kafka::Producer>),
}

impl Writer {
    /// Hands a record to the topic: records that one writer hands over keep their order.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Unavailable`] where too many wait; [`Error::Closed`]. Nothing was written then.
    pub fn enqueue(&self, bytes: Bytes, room: Room) -> Result<Pending, Error> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(Error::TooLarge { bytes: bytes.len() as u64, limit: MAX_RECORD_BYTES as u64 });
        }
        let (acknowledge, acknowledged) = oneshot::channel();
        match &self.0 {
            Way::Journal(appends) => {
                let append = journal::Append { bytes, room, acknowledge };
                appends.try_send(append).map_err(|error| match error {
                    mpsc::TrySendError::Full(_) => unavailable("too many records wait to be written"),
                    mpsc::TrySendError::Disconnected(_) => Error::Closed,
                })?;
            }
            Way::Kafka(producer) => producer.send(&bytes, acknowledge)?,
        }
        Ok(Pending(acknowledged))
    }

    /// Appends a record; when this returns it is durable, and every reader will see it.
    ///
    /// # Errors
    /// As [`Writer::enqueue`] and [`Pending::durable`].
    pub async fn append(&self, bytes: Bytes) -> Result<Offset, Error> {
        self.enqueue(bytes, Room::Ordinary)?.durable().await
    }
}

/// A record that is on its way.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Offset, Error>>);

impl Pending {
    /// Waits until it is durable, ten seconds at most.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the record may or may not have been written: who must know waits for it to come back
    /// from the topic.
    pub async fn durable(self) -> Result<Offset, Error> {
        match tokio::time::timeout(APPEND_TIMEOUT, self.0).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(unavailable("no acknowledgement came in time")),
        }
    }
}

fn unavailable(text: &str) -> Error {
    Error::Unavailable(format!("the control topic: {text}"))
}

/// Opens the topic of a node that is alone: a file in this folder, which only one process may have.
///
/// # Errors
/// [`journal::Error`]: above all a file that is damaged before its end.
pub fn embedded(folder: &Path) -> Result<(Writer, Steps), journal::Error> {
    let (sender, receiver) = mpsc::sync_channel(MAX_WAITING);
    let (appends, lock) = journal::open(folder, sender, MAX_APPENDS, journal::LIMITS)?;
    Ok((Writer(Way::Journal(appends)), Steps { receiver, _lock: Some(lock) }))
}

/// Opens the topic in Kafka, and creates it if it is missing. A broker that is away is waited for, without an end: until
/// then there is no [`Step::Heard`].
///
/// # Errors
/// [`Error::Unavailable`] if the settings are not librdkafka's.
pub fn in_kafka(config: &KafkaConfig, heartbeat: Duration) -> Result<(Writer, Steps), Error> {
    let (sender, receiver) = mpsc::sync_channel(MAX_WAITING);
    let producer = kafka::open(config, heartbeat, sender)?;
    Ok((Writer(Way::Kafka(Arc::new(producer))), Steps { receiver, _lock: None }))
}
