//! How the log stands, as metrics: read when they are asked for.

use event_log::Log;
use kit::metrics::prometheus_client::collector::Collector;
use kit::metrics::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use kit::metrics::prometheus_client::metrics::counter::ConstCounter;
use kit::metrics::prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

/// A node's log.
#[derive(Debug)]
pub struct LogMetrics(Log);

impl LogMetrics {
    /// Of this log.
    pub fn new(log: Log) -> Self {
        Self(log)
    }
}

impl Collector for LogMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.0.stats();
        let gauges = [
            ("log_held_bytes", "bytes in the spool; near its limit, look at what is behind", stats.held_bytes),
            (
                "log_limit_bytes",
                "bytes that the spool may hold; beyond it new statements are refused",
                stats.limit_bytes,
            ),
            ("log_unsynced_bytes", "bytes not on disk yet; growing means a slow disk", stats.unsynced_bytes),
            ("log_open_sessions", "sessions that have not ended", stats.open_sessions),
            (
                "log_failed",
                "1 when the log refuses everything after a disk error: replace the disk, restart",
                u64::from(stats.failed.is_some()),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counters = [
            ("log_events", "events appended", stats.events),
            ("log_event_bytes", "bytes of their records", stats.event_bytes),
            ("log_batches", "batches sealed", stats.batches),
            ("log_syncs", "syncs of the disk", stats.syncs),
            ("log_syncs_here", "of them, those by a worker for its own sessions", stats.syncs_here),
            ("log_refused", "appends refused because the spool was full: statements were refused", stats.refused),
            ("log_shipped", "batches that Kafka acknowledged", stats.shipped),
            ("log_ship_errors", "times that shipping to Kafka began again: look at the brokers", stats.ship_errors),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        for (subscriber, behind) in &stats.behind {
            let gauge = ConstGauge::new(*behind);
            let labels = [("subscriber", subscriber.as_str())];
            let help = "batches that a subscriber has not committed";
            let mut encoder = encoder.encode_descriptor("log_behind_batches", help, None, gauge.metric_type())?;
            gauge.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
