//! Sessions, seen from outside: who, where, when, how it ended; without reading what they did.
//!
//! The writer takes notes of each session into the manifest of each commit; a reader adds them up.

use crate::archive::manifest::{At, Fault, Manifest, SessionNote};
use schemas::event::{Body, CloseReason, Event, Identity, SessionOpened};
use schemas::{SessionId, event};
use serde::Serialize;
use std::collections::BTreeMap;

/// Whether a session still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has not ended, as far as the archive knows.
    Open,
    /// It ended.
    Closed,
    /// It never began: the connection was refused.
    Refused,
}

/// A session without its content. Times are microseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionSummary {
    /// The session.
    pub session: SessionId,
    /// Whether it still runs.
    pub status: Status,
    /// Who; `None` where no identity was established, or the beginning is missing.
    pub identity: Option<Identity>,
    /// The registered database; a claim where the connection was refused.
    pub resource: Option<String>,
    /// The database's own name.
    pub database: Option<String>,
    /// The PostgreSQL role.
    pub role: Option<String>,
    /// The node that served it.
    pub node: Option<String>,
    /// The client's address and port.
    pub peer: Option<String>,
    /// What the client calls itself (`application_name`).
    pub application: Option<String>,
    /// When it began, or its first event where the beginning is missing.
    pub opened: i64,
    /// When it ended.
    pub closed: Option<i64>,
    /// The time of its last event.
    pub last_time: i64,
    /// Why it ended.
    pub reason: Option<CloseReason>,
    /// More about the end or the refusal, in words.
    pub detail: Option<String>,
    /// The SQLSTATE of a refusal.
    pub sqlstate: Option<String>,
    /// Events.
    pub events: u64,
    /// Statements that arrived.
    pub statements: u64,
    /// Statements that were denied.
    pub denied: u64,
    /// Rows that the client received or sent.
    pub rows: u64,
    /// Values in its answers in which detectors found something and hid it, by detector.
    pub found: BTreeMap<String, u64>,
    /// Bytes from the client; known at the end.
    pub bytes_in: Option<u64>,
    /// Bytes to the client; known at the end.
    pub bytes_out: Option<u64>,
    /// What does not hold of its record.
    pub faults: Vec<Fault>,
}

impl SessionSummary {
    fn empty(session: SessionId, time: i64) -> Self {
        Self {
            session,
            status: Status::Open,
            identity: None,
            resource: None,
            database: None,
            role: None,
            node: None,
            peer: None,
            application: None,
            opened: time,
            closed: None,
            last_time: time,
            reason: None,
            detail: None,
            sqlstate: None,
            events: 0,
            statements: 0,
            denied: 0,
            rows: 0,
            found: BTreeMap::new(),
            bytes_in: None,
            bytes_out: None,
            faults: Vec::new(),
        }
    }

    fn add(&mut self, note: &SessionNote) {
        self.events += note.events;
        self.statements += note.statements;
        self.denied += note.denied;
        self.rows += note.rows;
        for (detector, values) in &note.found {
            *self.found.entry(detector.clone()).or_default() += values;
        }
        self.last_time = self.last_time.max(note.last_time);
        if let Some(At { time, event }) = &note.opened {
            self.opened(*time, event);
        }
        if let Some(At { time, event }) = &note.closed {
            self.status = Status::Closed;
            self.closed = Some(*time);
            self.reason = Some(event.reason);
            self.detail = Some(event.detail.clone());
            self.bytes_in = Some(event.bytes_in);
            self.bytes_out = Some(event.bytes_out);
        }
        if let Some(At { time, event }) = &note.refused {
            self.status = Status::Refused;
            self.opened = *time;
            self.closed = Some(*time);
            self.identity.clone_from(&event.identity);
            self.resource.clone_from(&event.resource);
            self.role.clone_from(&event.user);
            self.node = Some(event.node.clone());
            self.peer = Some(event.peer.clone());
            self.detail = Some(event.reason.clone());
            self.sqlstate = Some(event.sqlstate.clone());
        }
    }

    fn opened(&mut self, time: i64, event: &SessionOpened) {
        self.opened = time;
        self.identity = Some(event.identity.clone());
        self.resource = Some(event.resource.clone());
        self.database = Some(event.database.clone());
        self.role = Some(event.role.clone());
        self.node = Some(event.node.clone());
        self.peer = Some(event.peer.clone());
        self.application = event.parameters.get("application_name").cloned();
    }
}

/// The sum of the notes of one session, in the order of the manifests; `None` if there is none, or if it is an
/// auditor's access, a gap, or an event of the control plane.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions(BTreeMap<SessionId, SessionSummary>);

impl Sessions {
    /// Adds what a manifest says. Manifests of one partition must come in order.
    pub(crate) fn add(&mut self, manifest: &Manifest) {
        for note in manifest
            .sessions
            .iter()
            .filter(|note| note.access.is_none() && note.gap.is_none() && note.control.is_none())
        {
            let empty = || SessionSummary::empty(note.session, note.first_time);
            self.0.entry(note.session).or_insert_with(empty).add(note);
        }
        for fault in &manifest.faults {
            if let Some(summary) = fault.session.and_then(|session| self.0.get_mut(&session)) {
                summary.faults.push(fault.clone());
            }
        }
    }

    pub(crate) fn get(&self, session: &SessionId) -> Option<&SessionSummary> {
        self.0.get(session)
    }

    /// The latest first.
    pub(crate) fn latest_first(&self) -> impl Iterator<Item = &SessionSummary> {
        self.0.values().rev()
    }
}

/// The notes of one commit, while it is made.
#[derive(Debug, Default)]
pub(crate) struct Notes(BTreeMap<SessionId, SessionNote>);

impl Notes {
    pub(crate) fn add(&mut self, event: &Event) {
        let time = event.time;
        let note = self.0.entry(event.session).or_insert_with(|| blank(event));
        note.events += 1;
        note.first_time = note.first_time.min(time);
        note.last_time = note.last_time.max(time);
        match &event.body {
            Body::SessionOpened(event) => note.opened = Some(At { time, event: event.clone() }),
            Body::SessionClosed(event) => note.closed = Some(At { time, event: event.clone() }),
            Body::SessionRefused(event) => note.refused = Some(At { time, event: event.clone() }),
            Body::Access(event) => note.access = Some(At { time, event: event.clone() }),
            Body::AccessRequested(_)
            | Body::AccessReviewed(_)
            | Body::AccessGranted(_)
            | Body::AccessEnded(_)
            | Body::Revoked(_)
            | Body::Alarm(_) => note.control = Some(event.body.name().to_owned()),
            Body::RoleDropped(_) if event.sequence == 0 => note.control = Some(event.body.name().to_owned()),
            Body::Gap(event) => note.gap = Some(At { time, event: event.clone() }),
            Body::Statement(_) => note.statements += 1,
            Body::Verdict(verdict) => note.denied += u64::from(verdict.verdict == event::VerdictKind::Deny),
            Body::Completed(completed) => {
                note.rows += completed.rows;
                for found in &completed.found {
                    *note.found.entry(found.detector.clone()).or_default() += found.values;
                }
            }
            Body::Frames(_)
            | Body::Held(_)
            | Body::Reviewed(_)
            | Body::HoldEnded(_)
            | Body::RoleLeased(_)
            | Body::RoleDropped(_) => {}
        }
    }

    pub(crate) fn finish(&self) -> Vec<SessionNote> {
        self.0.values().cloned().collect()
    }
}

fn blank(event: &Event) -> SessionNote {
    SessionNote {
        session: event.session,
        events: 0,
        first_time: event.time,
        last_time: event.time,
        statements: 0,
        denied: 0,
        rows: 0,
        found: BTreeMap::new(),
        opened: None,
        closed: None,
        refused: None,
        access: None,
        gap: None,
        control: None,
    }
}
