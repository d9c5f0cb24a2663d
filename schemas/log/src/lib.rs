//! The durable log: a local spool that nothing acknowledged is lost from, and the bus behind it.
//!
//! ```text
//! producer:  Event --append--> Log (memory) --written--> file (survives kill -9) --durable--> disk (survives power loss)
//!            sealer thread: events -> EventBatch (chained per shard) -> spool -> bus
//! consumer:  Subscription --next--> Delivery (one EventBatch)   the consumer keeps its offsets in its own commit
//! ```
//!
//! With no broker configured the spool is the whole bus ([`embedded`]); with `kafka.brokers` set it stands in front of
//! Kafka ([`kafka`]), and only that module names rdkafka. Both pass the same suite (`tests/conformance.rs`).

use bytes::Bytes;
use std::future::Future;

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
    /// Nothing more for now: a good moment to commit. Comes at least every `idle` of the subscription.
    Idle,
}

/// A consumer's side of the bus. Deliveries of a partition come in order, at least once; after a rebalance or a
/// restart they begin where the consumer says, so that its own commit is the only truth.
pub trait Consume: Send {
    /// Waits for what is next.
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

/// What went wrong with the log or the bus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Placeholder until the modules below are written.
    #[error("{0}")]
    Unavailable(String),
}
