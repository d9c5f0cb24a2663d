//! The indexer's metrics: names, units, and what each says to an operator.

use kit::metrics::prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use kit::metrics::{Condition, Registry};

/// Counters of one indexer. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) batches: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) unreadable: Counter,
    pub(crate) events: Counter,
    pub(crate) commits: Counter,
    pub(crate) failures: Counter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) open_sessions: Gauge,
    /// Whether the bus has given it its share of the partitions: before that it indexes nothing.
    pub assigned: Condition,
}

/// A few documents take 3 to 7 ms, 100,000 take 300 ms; a second is the limit for being found in time.
const COMMIT_SECONDS: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 3.0];

impl Metrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        let new = Self::unregistered();
        let r = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        r("indexer_batches", "batches taken in; flat while the gate is busy: the indexer hangs", &new.batches);
        r("indexer_batches_duplicate", "batches delivered again and skipped; normal after a restart", &new.duplicates);
        r("indexer_batches_unreadable", "batches that cannot be read; look at the recorder's alarms", &new.unreadable);
        r("indexer_events", "events taken in", &new.events);
        r("indexer_commits", "commits of the index", &new.commits);
        r("indexer_failures", "failures of the bus or the index, each retried; look at the log", &new.failures);
        registry.register(
            "indexer_commit_seconds",
            "time of a commit; over 1 s statements are found late",
            new.commit_seconds.clone(),
        );
        registry.register("indexer_open_sessions", "sessions whose end was not seen", new.open_sessions.clone());
        new
    }

    /// Counts for nobody.
    pub fn unregistered() -> Self {
        Self {
            batches: Counter::default(),
            duplicates: Counter::default(),
            unreadable: Counter::default(),
            events: Counter::default(),
            commits: Counter::default(),
            failures: Counter::default(),
            commit_seconds: Histogram::new(COMMIT_SECONDS),
            open_sessions: Gauge::default(),
            assigned: Condition::default(),
        }
    }
}
