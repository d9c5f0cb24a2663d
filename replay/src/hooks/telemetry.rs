//! What webhooks count.

use kit::metrics::{Registry, prometheus_client};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// The receiver took the message.
    Delivered,
    /// It is tried again.
    Retried,
    /// The message was given up.
    Failed,
}

/// Labels of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Attempt {
    /// The webhook's name.
    pub webhook: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// Labels of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Named {
    /// The webhook's name.
    pub webhook: String,
}

/// Labels of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answer {
    /// The webhook's name.
    pub webhook: String,
    /// What became of it.
    pub result: &'static str,
}

/// The metrics of webhooks. Clones count together.
#[derive(Debug, Clone)]
pub struct Telemetry {
    attempts: Family<Attempt, Counter>,
    waiting: Family<Named, Gauge>,
    answers: Family<Answer, Counter>,
}

impl Telemetry {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        Self {
            attempts: registry.register(
                "replay_webhook_attempts",
                "Attempts to tell a webhook, by outcome: delivered, retried, failed; each failed one is a message that nobody got",
                Family::default(),
            ),
            waiting: registry.register(
                "replay_webhook_waiting",
                "Messages that this node knows to be undelivered; if it grows, see why the receiver does not take them",
                Family::default(),
            ),
            answers: registry.register(
                "replay_webhook_answers",
                "Answers that came by a webhook, by result; a rise of signature or replayed is somebody trying",
                Family::default(),
            ),
        }
    }

    pub(super) fn attempt(&self, webhook: &str, outcome: Outcome) {
        self.attempts.get_or_create(&Attempt { webhook: webhook.to_owned(), outcome }).inc();
    }

    pub(super) fn waiting(&self, webhook: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.waiting.get_or_create(&Named { webhook: webhook.to_owned() }).set(count);
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, webhook: &str, result: &'static str) {
        self.answers.get_or_create(&Answer { webhook: webhook.to_owned(), result }).inc();
    }
}
