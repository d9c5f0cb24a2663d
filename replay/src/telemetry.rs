//! What the API counts: the names, labels and meaning of its metrics, with the log line of each.

use kit::metrics::{Registry, prometheus_client};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Answer {
    /// It was answered.
    Answered,
    /// What was asked for is not there, or was asked for wrongly.
    ClientError,
    /// No valid token.
    Unauthenticated,
    /// A valid token of somebody who may not read the record.
    Forbidden,
    /// A limit of the server refused it.
    Limited,
    /// The server failed, or could not record the access.
    Failed,
}

/// Labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Labels {
    /// How it ended.
    pub answer: Answer,
}

/// The metrics of the API. Clones count together.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Requests to the API.
    pub requests: Family<Labels, Counter>,
    /// Answers withheld because the access could not be recorded.
    pub unrecorded: Counter,
    /// Seconds until the answer was ready.
    pub duration: Histogram,
    /// Requests whose answer is being made.
    pub running: Gauge,
    /// Those of webhooks.
    pub hooks: crate::hooks::Telemetry,
}

/// From 1 ms, which a search takes, doubling to 16 s: the default timeout is 30 s.
const DURATION_BUCKETS: [f64; 15] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];

impl Telemetry {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> Self {
        Self {
            requests: registry.register(
                "replay_requests",
                "Requests to the API by how they ended; many unauthenticated ones may be somebody guessing",
                Family::default(),
            ),
            unrecorded: registry.register(
                "replay_unrecorded_answers",
                "Answers withheld because the access could not be recorded; look at the log's disk",
                Counter::default(),
            ),
            duration: registry.register(
                "replay_request_duration_seconds",
                "Time until an answer was ready, its record included; over a second, look at the archive's disk",
                Histogram::new(DURATION_BUCKETS),
            ),
            running: registry.register(
                "replay_running_requests",
                "Requests whose answer is being made; at the limit new ones are refused",
                Gauge::default(),
            ),
            hooks: crate::hooks::Telemetry::new(registry),
        }
    }

    /// Counts a request by its HTTP status.
    pub fn answered(&self, status: u16) {
        let answer = match status {
            200..=399 => Answer::Answered,
            401 => Answer::Unauthenticated,
            403 => Answer::Forbidden,
            429 => Answer::Limited,
            400..=499 => Answer::ClientError,
            _ => Answer::Failed,
        };
        self.requests.get_or_create(&Labels { answer }).inc();
    }

    /// Counts and logs an answer that was withheld.
    pub fn unrecorded(&self, error: &(dyn std::error::Error + 'static)) {
        self.unrecorded.inc();
        tracing::error!(error = %chain(error), "an auditor's access could not be recorded, the answer is withheld");
    }
}

/// An error with its sources, for a log line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
