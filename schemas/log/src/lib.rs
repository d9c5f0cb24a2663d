//! The durable log: a local spool that nothing acknowledged is lost from, and the bus behind it.
//!
//! ```text
//! producer:  Event --append--> Log (memory) --written--> file (survives kill -9) --durable--> disk (survives power loss)
//!            sealer thread: events -> EventBatch (chained per shard) -> spool -> bus
//! consumer:  Subscription --next--> Delivery (one EventBatch)   the consumer keeps its offsets in its own commit
//! ```
//!
//! Beside it the control topic ([`control`]): few records, in one order, read from the beginning by everybody.
//!
//! With no broker configured the spool is the whole bus ([`embedded`]); with `kafka.brokers` set it stands in front of
//! Kafka ([`kafka`]), and only that module and its sibling of the control topic name rdkafka. Both pass the same suite (`tests/conformance.rs`).

pub mod config;
pub mod control;
pub mod embedded;
pub mod fault;
pub mod kafka;
mod log;
mod spool;
#[doc(hidden)]
pub mod testing;

pub use config::{Config, KafkaConfig};
pub use embedded::EmbeddedSubscription;
pub use kafka::KafkaSubscription;
pub use log::{Log, Stats};
pub use spool::commit::Durable;
pub use spool::recover::Recovery;
pub use spool::{Position, Priority};

use bytes::Bytes;
use schemas::{SequenceNumber, SessionId};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A lane of the bus: a Kafka partition; in the embedded bus a shard.
pub type Partition = u32;

/// The place of a batch in its partition, dense from 0 in the embedded bus, increasing in Kafka.
pub type Offset = u64;

/// One batch, as it lies on the bus.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where it lies.
    pub partition: Partition,
    /// Its place there.
    pub offset: Offset,
    /// A single-object encoded [`schemas::EventBatch`].
    pub batch: Bytes,
}

/// What a consumer is told next.
#[derive(Debug, Clone)]
pub enum Step {
    /// These partitions are now this consumer's. It must answer each with [`Consume::start`] before it gets deliveries
    /// of it: its own commit says where.
    Assigned(Vec<Partition>),
    /// These partitions are another's now: what was read of them and not committed must be forgotten.
    Revoked(Vec<Partition>),
    /// A batch.
    Batch(Delivery),
    /// Nothing more for now: a good moment to commit. Comes at least every [`IDLE`].
    Idle,
}

/// Longest wait of [`Consume::next`] before it says [`Step::Idle`].
pub const IDLE: Duration = Duration::from_millis(200);

/// The name under which shipping to Kafka holds batches back in the spool.
const KAFKA_SUBSCRIBER: &str = "kafka";

/// A consumer's side of the bus. Deliveries of a partition come in order, at least once; after a rebalance or a
/// restart they begin where the consumer says, so that its own commit is the only truth.
pub trait Consume: Send {
    /// Waits for what is next. Cancel safe. Needs a tokio runtime with time enabled.
    ///
    /// # Errors
    /// [`Error`]; the subscription can be used again unless the error is fatal.
    fn next(&mut self) -> impl Future<Output = Result<Step, Error>> + Send;

    /// Begins (or begins again) a partition at an offset: the one after the last in the consumer's own commit, or 0.
    ///
    /// # Errors
    /// [`Error`] if the partition is not assigned, or the bus no longer holds that offset.
    fn start(&mut self, partition: Partition, offset: Offset) -> Result<(), Error>;

    /// Tells the bus that everything below `next` is in the consumer's own commit: the embedded bus may let go of it
    /// once every subscriber said so; Kafka keeps it for lag metrics.
    ///
    /// # Errors
    /// [`Error`]; harmless, since the consumer's own commit decides.
    fn committed(&mut self, partition: Partition, next: Offset) -> Result<(), Error>;
}

/// A subscription to the bus in use.
#[derive(Debug)]
pub enum Subscription {
    /// To the spool of this process.
    Embedded(EmbeddedSubscription),
    /// To Kafka.
    Kafka(KafkaSubscription),
}

impl Consume for Subscription {
    async fn next(&mut self) -> Result<Step, Error> {
        match self {
            Self::Embedded(subscription) => subscription.next().await,
            Self::Kafka(subscription) => subscription.next().await,
        }
    }

    fn start(&mut self, partition: Partition, offset: Offset) -> Result<(), Error> {
        match self {
            Self::Embedded(subscription) => subscription.start(partition, offset),
            Self::Kafka(subscription) => subscription.start(partition, offset),
        }
    }

    fn committed(&mut self, partition: Partition, next: Offset) -> Result<(), Error> {
        match self {
            Self::Embedded(subscription) => subscription.committed(partition, next),
            Self::Kafka(subscription) => subscription.committed(partition, next),
        }
    }
}

impl From<EmbeddedSubscription> for Subscription {
    fn from(subscription: EmbeddedSubscription) -> Self {
        Self::Embedded(subscription)
    }
}

impl From<KafkaSubscription> for Subscription {
    fn from(subscription: KafkaSubscription) -> Self {
        Self::Kafka(subscription)
    }
}

/// What went wrong with the log or the bus.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The spool has reached its limit: refuse what is new, end what is open with [`Priority::Closing`].
    #[error("the spool is full: its limit is {limit} bytes, or the disk has no room")]
    Full {
        /// `log.limit_bytes`.
        limit: u64,
    },
    /// A write or a sync failed: nothing is acknowledged any more until a restart.
    #[error("the log has failed and needs a restart: {reason}")]
    Failed {
        /// What failed, and why.
        reason: Arc<str>,
    },
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
    /// More than a segment or an event may hold.
    #[error("a record of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// AUD-3: the event is not its session's next. Nothing was appended.
    #[error("an event of {session} has the sequence {found}, its next is {expected}")]
    Sequence {
        /// The session.
        session: SessionId,
        /// What it should be.
        expected: SequenceNumber,
        /// What it is.
        found: SequenceNumber,
    },
    /// The bytes are no event.
    #[error("cannot read an event's head")]
    Event {
        /// What is wrong with them.
        #[source]
        source: Arc<schemas::codec::Error>,
    },
    /// A batch could not be sealed.
    #[error("cannot seal a batch")]
    Seal {
        /// Why.
        #[source]
        source: Arc<schemas::codec::Error>,
    },
    /// The folder of the spool cannot be used.
    #[error("cannot {doing} of the spool {}", folder.display())]
    Open {
        /// What was tried.
        doing: &'static str,
        /// The folder.
        folder: PathBuf,
        /// Why it failed.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Another process has the spool.
    #[error("the spool {} is in use by another process", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The spool was written under another node's name: the chains in it are that node's.
    #[error("the spool {} belongs to the node {found:?}, the configuration says {configured:?}", folder.display())]
    OtherNode {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asked.
        configured: String,
    },
    /// The partition is not assigned to this subscription.
    #[error("partition {partition} is not assigned to this consumer")]
    NotAssigned {
        /// The partition.
        partition: Partition,
    },
    /// The bus has let go of this offset: a consumer takes what it lacks from the archive, or goes on without it, by
    /// [`Consume::start`]. Until then the partition rests.
    #[error("the bus does not hold offset {offset} of partition {partition} any more, the oldest is {oldest}")]
    Gone {
        /// The partition.
        partition: Partition,
        /// What was asked for.
        offset: Offset,
        /// The first that is there.
        oldest: Offset,
    },
    /// The offset lies beyond the end: the consumer's commit belongs to another log. The partition rests.
    #[error(
        "partition {partition} ends at {end}, before offset {offset}, which is the next to be read: what was read is of another \
         log; restore that one, or begin with an empty archive and index (docs/archive.md)"
    )]
    Ahead {
        /// The partition.
        partition: Partition,
        /// What was asked for.
        offset: Offset,
        /// The next to come.
        end: Offset,
    },
    /// The bus cannot be reached or read now.
    #[error("{0}")]
    Unavailable(String),
}
