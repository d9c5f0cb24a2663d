//! What the gate counts: all names, units and labels of its metrics, in one place.
//!
//! Labels are closed sets: never SQL text, an identity or the name of a table.

use kit::metrics::{
    Registry,
    prometheus_client::{
        encoding::EncodeLabelSet,
        metrics::{counter::Counter, family::Family, gauge::Gauge},
    },
};
use schemas::event::CloseReason;

/// Why a connection was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Refusal {
    /// The SQLSTATE that the client was told.
    pub sqlstate: String,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Closing {
    /// The reason, as in the event.
    pub reason: String,
}

/// The gate's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    sessions: Gauge,
    opened: Counter,
    refused: Family<Refusal, Counter>,
    closed: Family<Closing, Counter>,
    statements: Counter,
    denied: Counter,
    rows: Counter,
    policies_read: Family<Reload, Counter>,
    policies_wrong: Family<OfResource, Gauge>,
    leases: Family<LeaseEvent, Counter>,
    holds: Holds,
}

/// What is counted of held statements. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Holds {
    waiting: Gauge,
    ended: Family<HoldEnd, Counter>,
}

/// How a hold ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HoldEnd {
    /// `released`, `denied`, `expired`, `withdrawn`, `refused`, or `no_room`: it never began.
    pub outcome: String,
}

impl Holds {
    fn new(registry: &Registry) -> Self {
        Self {
            waiting: registry.register(
                "postern_proxy_statements_held",
                "Statements that wait for a reviewer on this node now; compare with holds.max_held.",
                Gauge::default(),
            ),
            ended: registry.register(
                "postern_proxy_holds_ended",
                "Held statements by outcome: released, denied, expired, withdrawn, refused, or no_room for those denied at holds.max_held; a rise of expired says that nobody answers, one of refused that what was approved had changed or the control plane is away.",
                Family::default(),
            ),
        }
    }

    /// A statement is held.
    pub(crate) fn began(&self) {
        self.waiting.inc();
    }

    /// It waits no more, whatever became of it.
    pub(crate) fn waits_no_more(&self) {
        self.waiting.dec();
    }

    /// A hold ended so.
    pub(crate) fn ended(&self, outcome: &str) {
        self.ended.get_or_create(&HoldEnd { outcome: outcome.to_owned() }).inc();
    }
}

/// What became of a leased role.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LeaseEvent {
    /// `made`, `dropped`, `reaped` or `failed`.
    pub event: String,
}

/// How a reload of policy files ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reload {
    /// `taken` or `refused`.
    pub outcome: String,
}

/// A registered database.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfResource {
    /// Its name in the config.
    pub resource: String,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        Self {
            sessions: registry.register(
                "postern_proxy_sessions",
                "Sessions that are open now; compare with proxy.max_connections.",
                Gauge::default(),
            ),
            opened: registry.register("postern_proxy_sessions_opened", "Sessions that were opened.", Counter::default()),
            refused: registry.register(
                "postern_proxy_connections_refused",
                "Connections that were refused before they became a session, by SQLSTATE; a rise of 28000 is a misconfigured or probing agent.",
                Family::default(),
            ),
            closed: registry.register(
                "postern_proxy_sessions_closed",
                "Sessions that ended, by reason; log_unavailable means that the audit log refuses records: look at the spool's disk.",
                Family::default(),
            ),
            statements: registry.register("postern_proxy_statements", "Statements of sessions that ended.", Counter::default()),
            denied: registry.register(
                "postern_proxy_statements_denied",
                "Statements of sessions that ended which were denied.",
                Counter::default(),
            ),
            rows: registry.register("postern_proxy_rows", "Rows that clients of sessions that ended received.", Counter::default()),
            policies_read: registry.register(
                "postern_proxy_policy_reloads",
                "Changes of policy or classification files, by outcome: taken, or refused because they are wrong.",
                Family::default(),
            ),
            policies_wrong: registry.register(
                "postern_proxy_policy_files_wrong",
                "1 while the files of a resource are wrong and older rules hold: run postern policy validate.",
                Family::default(),
            ),
            leases: registry.register(
                "postern_proxy_leased_roles",
                "Roles of sessions, by event: made, dropped with the session, reaped after a node died, or failed to be made; a rise of failed refuses sessions: run postern doctor.",
                Family::default(),
            ),
            holds: Holds::new(registry),
        }
    }

    /// What is counted of held statements.
    pub fn holds(&self) -> Holds {
        self.holds.clone()
    }

    fn lease(&self, event: &str) {
        self.leases.get_or_create(&LeaseEvent { event: event.to_owned() }).inc();
    }

    /// A role was made for a session.
    pub fn leased(&self) {
        self.lease("made");
    }

    /// No role could be made for a session.
    pub fn lease_failed(&self) {
        self.lease("failed");
    }

    /// A session's role was dropped.
    pub fn lease_dropped(&self) {
        self.lease("dropped");
    }

    /// A role was dropped that a crash left.
    pub fn lease_reaped(&self) {
        self.lease("reaped");
    }

    /// A connection was refused.
    pub fn refused(&self, sqlstate: &str) {
        self.refused.get_or_create(&Refusal { sqlstate: sqlstate.to_owned() }).inc();
    }

    /// A session opened.
    pub fn opened(&self) {
        self.sessions.inc();
        self.opened.inc();
    }

    /// Files of policies changed, and were taken or refused.
    pub fn policies_read(&self, taken: bool) {
        let outcome = if taken { "taken" } else { "refused" }.to_owned();
        self.policies_read.get_or_create(&Reload { outcome }).inc();
    }

    /// Whether the files of a resource are wrong now.
    pub fn policies_wrong(&self, resource: &str, wrong: bool) {
        self.policies_wrong.get_or_create(&OfResource { resource: resource.to_owned() }).set(i64::from(wrong));
    }

    /// A session ended.
    pub fn closed(&self, reason: CloseReason, statements: u64, denied: u64, rows: u64) {
        self.sessions.dec();
        self.closed.get_or_create(&Closing { reason: format!("{reason:?}").to_lowercase() }).inc();
        self.statements.inc_by(statements);
        self.denied.inc_by(denied);
        self.rows.inc_by(rows);
    }
}
