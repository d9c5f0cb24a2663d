//! What the control plane counts.

use crate::Refused;
use event_log::control::Filled;
use kit::metrics::Registry;
use kit::metrics::prometheus_client::encoding::EncodeLabelSet;
use kit::metrics::prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use schemas::event::AlarmKind;

/// Why a record changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// A name of [`Refused::label`].
    pub reason: String,
}

/// What the alarm is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AlarmOf {
    /// The kind, as in the event.
    pub kind: String,
}

/// The metrics of the control plane. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    pub(crate) records: Counter,
    refused: Family<Reason, Counter>,
    alarms: Family<AlarmOf, Counter>,
    pub(crate) fresh: Gauge,
    journal_bytes: Gauge,
    journal_limit: Gauge,
}

impl Telemetry {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        Self {
            records: registry.register(
                "postern_control_records",
                "Records of the control topic that were read and counted: requests, reviews, revocations, holds.",
                Counter::default(),
            ),
            refused: registry.register(
                "postern_control_records_refused",
                "Records that changed nothing, by reason; a rise of requester or other_digest is somebody trying.",
                Family::default(),
            ),
            alarms: registry.register(
                "postern_control_alarms",
                "Forged, replayed and unreadable records, broken glass, a lost topic: look at each of them.",
                Family::default(),
            ),
            fresh: registry.register(
                "postern_control_fresh",
                "1 while the control topic is known to its end; at 0 new sessions are refused: see whether the broker is reached.",
                Gauge::default(),
            ),
            journal_bytes: registry.register(
                "postern_control_journal_bytes",
                "Size of the control journal, where there is no Kafka; at its limit only revocations are taken.",
                Gauge::default(),
            ),
            journal_limit: registry.register(
                "postern_control_journal_limit_bytes",
                "How large the control journal may grow: move to Kafka or begin a new one well before (docs/access.md).",
                Gauge::default(),
            ),
        }
    }

    /// How full a journal is.
    pub(crate) fn filled(&self, filled: &Filled) {
        let gauge = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.journal_bytes.set(gauge(filled.bytes));
        self.journal_limit.set(gauge(filled.limit));
    }

    pub(crate) fn refused(&self, refused: &Refused) {
        self.refused.get_or_create(&Reason { reason: refused.label().to_owned() }).inc();
    }

    pub(crate) fn alarm(&self, kind: AlarmKind) {
        self.alarms.get_or_create(&AlarmOf { kind: name(kind).to_owned() }).inc();
    }
}

/// As in the event.
pub(crate) const fn name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::ForgedRecord => "forged_record",
        AlarmKind::UnreadableRecord => "unreadable_record",
        AlarmKind::ReplayedRecord => "replayed_record",
        AlarmKind::BreakGlass => "break_glass",
        AlarmKind::ControlLost => "control_lost",
    }
}
