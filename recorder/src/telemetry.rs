//! What the recorder counts, and what an operator does about it.

use kit::metrics::prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use kit::metrics::{Condition, Registry};

/// The recorder's metrics. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    /// Batches archived.
    pub batches: Counter,
    /// Events archived.
    pub events: Counter,
    /// Bytes of data objects written.
    pub bytes: Counter,
    /// Manifests committed.
    pub manifests: Counter,
    /// Batches skipped because they are archived already.
    pub duplicates: Counter,
    /// Faults of the record.
    pub faults: Counter,
    /// Offsets that the bus had nothing of any more.
    pub lost: Counter,
    /// Attempts to write that failed and were made again.
    pub retries: Counter,
    /// 1 while the archive's store fails, 0 once it answers again.
    pub failing: Gauge,
    /// Commits that another recorder had made.
    pub conflicts: Counter,
    /// Checkpoints signed.
    pub checkpoints: Counter,
    /// Attempts to sign one that failed.
    pub checkpoint_failures: Counter,
    /// The number of the last checkpoint that the witness has, as it said; -1 where none is known.
    pub witness_last: Gauge,
    /// Attempts to hand over what the witness lacks that failed.
    pub witness_failures: Counter,
    /// 1 while the witness lacks checkpoints, or is not asked with success.
    pub witness_failing: Gauge,
    /// 1 while the archive and the witness contradict each other.
    pub witness_refused: Gauge,
    /// Bytes that wait in memory for a commit.
    pub pending: Gauge,
    /// Whether the bus has given it its share of the partitions: before that it records nothing.
    pub assigned: Condition,
}

impl Telemetry {
    /// Registers the metrics under their names.
    pub fn register(registry: &Registry) -> Self {
        let counter = |name: &str, help: &str| registry.register(name, help, Counter::default());
        let gauge = |name: &str, help: &str| registry.register(name, help, Gauge::<i64>::default());
        Self {
            assigned: Condition::default(),
            batches: counter("recorder_batches", "batches archived; if it stands still under load, look at retries"),
            events: counter("recorder_events", "events archived"),
            bytes: counter("recorder_object_bytes", "bytes of data objects written to the archive"),
            manifests: counter("recorder_manifests", "commits: manifests written"),
            duplicates: counter(
                "recorder_duplicate_batches",
                "batches archived before and skipped; expected after restarts",
            ),
            faults: counter(
                "recorder_faults",
                "faults of the record: broken chain, wrong root, missing events; each must be explained, see the log",
            ),
            lost: counter(
                "recorder_lost_offsets",
                "places in the topic that its retention removed before they were archived: that part of the record is lost",
            ),
            retries: counter("recorder_retries", "failed reads or writes that are made again; check the object store"),
            failing: registry.register(
                "recorder_store_failing",
                "1 while the archive's store does not do what it is asked: nothing is lost, the log grows; see the log",
                Gauge::default(),
            ),
            conflicts: counter(
                "recorder_conflicts",
                "commits that another recorder had made; expected at rebalances only",
            ),
            checkpoints: counter("recorder_checkpoints", "checkpoints of the archive that were signed"),
            checkpoint_failures: counter(
                "recorder_checkpoint_failures",
                "checkpoints that could not be made, or that the archive does not lead to: see the log, run audit verify",
            ),
            witness_last: gauge(
                "recorder_witness_last_number",
                "the number of the last checkpoint that the witness keeps; -1: none, or it was not asked yet",
            ),
            witness_failures: counter(
                "recorder_witness_failures",
                "attempts to hand checkpoints to the witness that failed; they are made again, see the log",
            ),
            witness_failing: gauge(
                "recorder_witness_failing",
                "1 while the witness lacks checkpoints of the archive: nothing is lost, they are sent when it takes them",
            ),
            witness_refused: gauge(
                "recorder_witness_refused",
                "1 while archive and witness contradict each other: somebody was at one of them, see the log",
            ),
            pending: registry.register(
                "recorder_pending_bytes",
                "bytes that wait in memory for a commit; they are still on the bus",
                Gauge::default(),
            ),
        }
    }
}
