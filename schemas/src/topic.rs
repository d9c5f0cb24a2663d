//! Where events go: the only place that spells the names of topics, keys and headers.

use crate::id::{NodeId, Shard};

/// Batches of events ([`crate::EventBatch`], single-object encoded).
pub const EVENTS: &str = "postern.events";

/// Access requests, reviews, grants, revocations and holds.
pub const CONTROL: &str = "postern.control";

/// The Kafka key of a batch: a node's shard, so that the batches of a session stay in one partition, in order.
pub fn key(node: &NodeId, shard: Shard) -> String {
    format!("{node}/{shard}")
}
