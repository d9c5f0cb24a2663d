//! The state of one session's conversation between client and server, without IO.
//!
//! [`crate::forward`] deals with what the client sends, [`crate::answer`] with what the server answers; both work on
//! this. [`crate::exchange`] moves the bytes and waits where the record must be durable first.

mod noting;

use crate::{
    budget::Budget,
    decide::{Decider, Decision, Refused, Scope, Simple},
    dlp::Asking,
    estimate::Estimating,
    flight::{Effects, Flight, Refusal, Running},
    frames::{Violation, backend::Transaction},
    full::Full,
    hold::Holding,
    interrupt::Interrupt,
    limits::{Limits, Seat, cut::Cutting},
    names::Window,
    paths::Paths,
    record::{self, Receipt, Record},
    redact::Redaction,
    statement::{Names, Origin, Portal, Prepared, Proposal},
    values::Leaving,
};
use event_log::Priority;
use judge::sql::Effect;
use schemas::event::{CloseReason, Completed};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Instant,
};

/// Why a session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// For the SessionClosed event.
    pub reason: CloseReason,
    /// What the client is told, if it can still be told: SQLSTATE and text.
    pub farewell: Option<(&'static str, String)>,
    /// For the SessionClosed event and the log.
    pub detail: String,
}

impl End {
    /// The answers no longer fit the statements: nothing can be masked, so nothing may pass.
    pub fn desynchronized(what: &'static str) -> Self {
        Self {
            reason: CloseReason::InternalError,
            farewell: Some(("08P01", format!("postern ended the session: {what}"))),
            detail: what.to_owned(),
        }
    }

    /// An end of this kind.
    pub fn new(reason: CloseReason, sqlstate: &'static str, text: impl Into<String>) -> Self {
        let detail = text.into();
        Self { reason, farewell: Some((sqlstate, detail.clone())), detail }
    }

    /// An end that nobody can be told of.
    pub fn silent(reason: CloseReason) -> Self {
        Self { reason, farewell: None, detail: String::new() }
    }
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::new(CloseReason::ProtocolViolation, "08P01", format!("protocol violation: {violation}"))
    }
}

impl From<record::Error> for End {
    fn from(error: record::Error) -> Self {
        use std::error::Error;
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let text = format!(
            "the audit log cannot take the record of this session{cause}; nothing goes on unrecorded, try again later"
        );
        Self::new(CloseReason::LogUnavailable, "53100", text)
    }
}

/// Bytes that may go once their record allows it.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Before them, the record up to here must be durable.
    pub gate: Option<Receipt>,
    /// Before them, the record up to here must be written: it survives a crash of the gate.
    pub record: Option<Receipt>,
    must_be_durable: bool,
}

impl Outbox {
    /// Appends a frame that may go.
    pub fn pass(&mut self, permit: crate::decide::Permit, frame: &[u8]) {
        self.must_be_durable |= permit.durable_first();
        self.bytes.extend_from_slice(frame);
    }

    /// Appends a frame that may go, of a statement whose record was handed to the log up to `noted`.
    pub fn pass_noted(&mut self, permit: crate::decide::Permit, frame: &[u8], noted: Option<Receipt>) {
        if permit.durable_first() {
            self.gate = self.gate.max(noted);
        }
        self.bytes.extend_from_slice(frame);
    }
}

/// Where a COPY FROM STDIN stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyIn {
    /// There is none.
    None,
    /// It was sent; the server has not said whether it begins.
    Asked,
    /// The client streams rows.
    Streaming {
        /// It was begun by Execute, not by Query.
        extended: bool,
    },
}

/// The conversation of one session.
pub struct Conversation {
    pub(crate) record: Record,
    pub(crate) decider: Decider,
    pub(crate) names: Names,
    pub(crate) paths: Paths,
    pub(crate) flight: Flight,
    pub(crate) window: Window,
    pub(crate) transaction: Transaction,
    pub(crate) transaction_failed: bool,
    /// A statement of the open transaction touches protected data: errors may quote it until the end.
    pub(crate) protected_window: bool,
    /// Settings that statements of the window name, so that their new values may be told.
    pub(crate) named_settings: Vec<String>,
    /// What a provider of data loss prevention is asked.
    pub(crate) asking: Asking,
    pub(crate) discarding: bool,
    pub(crate) copy_in: CopyIn,
    pub(crate) passing_in: usize,
    pub(crate) dropping_in: bool,
    pub(crate) passing_out: usize,
    pub(crate) dropping_out: bool,
    pub(crate) wanted_in: usize,
    pub(crate) wanted_out: usize,
    pub(crate) frames_out: u32,
    pub(crate) completed: Vec<Completed>,
    pub(crate) statements: u64,
    pub(crate) denied: u64,
    pub(crate) rows: u64,
    /// The newest record that holds a Statement: no answer goes before it is durable.
    pub(crate) answers_after: Option<Receipt>,
    noted_statement: bool,
    pub(crate) budget: Option<Box<Budget>>,
    pub(crate) limits: Limits,
    pub(crate) cutting: Cutting,
    pub(crate) estimating: Estimating,
    pub(crate) full: Full,
    pub(crate) redaction: Redaction,
    /// What of the client's values stays out of the record; none: nothing does.
    pub(crate) leaving: Option<Box<Leaving>>,
    pub(crate) holding: Holding,
    pub(crate) interrupt: Interrupt,
    pub(crate) seat: Option<Seat>,
    /// The session ends for this as soon as the client has what it may still have.
    pub(crate) ending: Option<End>,
}

impl Conversation {
    /// Begins after the startup phase.
    pub fn new(record: Record, decider: Decider, paths: Paths) -> Self {
        let budget = decider.resource().budget.map(|limits| Box::new(Budget::new(limits)));
        Self {
            budget,
            limits: decider.resource().limits,
            cutting: Cutting::default(),
            estimating: Estimating::default(),
            full: Full::default(),
            redaction: Redaction::default(),
            leaving: None,
            holding: Holding::default(),
            interrupt: Interrupt::default(),
            seat: None,
            ending: None,
            record,
            decider,
            names: Names::default(),
            paths,
            flight: Flight::default(),
            window: 0,
            transaction: Transaction::Idle,
            transaction_failed: false,
            protected_window: false,
            named_settings: Vec::new(),
            asking: Asking::default(),
            discarding: false,
            copy_in: CopyIn::None,
            passing_in: 0,
            dropping_in: false,
            passing_out: 0,
            dropping_out: false,
            wanted_in: 0,
            wanted_out: 0,
            frames_out: 0,
            completed: Vec::new(),
            statements: 0,
            denied: 0,
            rows: 0,
            answers_after: None,
            noted_statement: false,
        }
    }

    /// Bytes that the client's frame in the buffer needs in all, beyond one read.
    pub fn wanted_from_client(&self) -> usize {
        self.wanted_in
    }

    /// Bytes that the server's frame in the buffer needs in all, beyond one read.
    pub fn wanted_from_server(&self) -> usize {
        self.wanted_out
    }

    /// The server owes no answer.
    pub fn is_idle(&self) -> bool {
        self.flight.is_empty()
    }

    /// The client must wait for answers before more of it is read.
    pub fn client_waits(&self) -> bool {
        self.flight.is_full()
            || self.copy_in == CopyIn::Asked
            || self.ending.is_some()
            || self.budget_waits()
            || self.cutting_waits()
            || self.estimating.waits()
            || self.hold_waits()
    }

    /// The session counts against its identity's limits through this.
    #[must_use]
    pub fn with_seat(mut self, seat: Seat) -> Self {
        self.seat = Some(seat);
        self
    }

    /// What ends the session once the client has taken what it is owed; the server is not read any more.
    pub fn ending(&self) -> Option<&End> {
        self.ending.as_ref()
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        if let Some(number) = self.hold_number() {
            return number;
        }
        self.statements += 1;
        self.noted_statement = true;
        self.statements
    }

    /// Hands what was noted of the client's messages to the log.
    pub(crate) fn commit(&mut self, out: &mut Outbox) -> Result<(), End> {
        let Some(receipt) = self.record.commit(Priority::Normal)? else {
            // nothing is new, but what goes now may have been noted in an earlier turn
            if std::mem::take(&mut out.must_be_durable) {
                out.gate = out.gate.max(self.answers_after);
            }
            return Ok(());
        };
        if std::mem::take(&mut self.noted_statement) {
            self.answers_after = Some(receipt);
            self.record.log().want_durable(receipt.position());
        }
        if std::mem::take(&mut out.must_be_durable) {
            out.gate = Some(receipt);
        }
        Ok(())
    }

    /// Hands what was noted of the server's messages to the log. It is written, so that it survives a crash of the gate,
    /// before the client sees a byte: mostly by the sync that the statement's own record waits for.
    pub(crate) fn commit_answer(&mut self, out: &mut Outbox, priority: Priority) -> Result<(), End> {
        if let Some(receipt) = self.record.commit(priority)? {
            event_log::fault::point("forward.completed");
            out.record = Some(receipt);
        }
        out.gate = self.answers_after;
        Ok(())
    }

    pub(crate) fn refusal(&self, refused: &Refused, numbers: Vec<(u64, Instant)>) -> Refusal {
        let statement =
            numbers.first().map(|(number, _)| schemas::StatementId { session: self.record.session(), number: *number });
        Refusal { report: refused.report(statement), numbers, unrecorded: None }
    }

    pub(crate) fn decide_simple(&mut self, text: &[u8]) -> Result<Vec<Simple>, Refused> {
        let scope = Scope { names: &self.names, paths: &self.paths, window: self.window };
        self.decider.simple(text, scope)
    }

    pub(crate) fn decide_prepared(&mut self, prepared: &Rc<Prepared>) -> Result<Rc<Decision>, Refused> {
        let scope = Scope { names: &self.names, paths: &self.paths, window: self.window };
        self.decider.prepared(prepared, scope)
    }

    pub(crate) fn decide_candidates(&mut self, candidates: &[Rc<Prepared>]) -> Result<Rc<Decision>, Refused> {
        let scope = Scope { names: &self.names, paths: &self.paths, window: self.window };
        self.decider.candidates(candidates, scope)
    }

    pub(crate) fn decide_again(&mut self, portal: &Rc<Portal>) -> Result<Rc<Decision>, Refused> {
        let scope = Scope { names: &self.names, paths: &self.paths, window: self.window };
        self.decider.portal(portal, scope)
    }

    /// Says what a statement will mean for names and for the search path, once it works.
    pub(crate) fn propose_effects(&mut self, decision: &Rc<Decision>, text: &str) -> Result<Effects, End> {
        let (mut proposals, mut declared) = (Vec::new(), Vec::new());
        let full = |error: crate::statement::TooMany| End::new(CloseReason::LimitReached, "53400", error.to_string());
        for effect in &decision.effects {
            match effect {
                Effect::Prepare { name, .. } => {
                    let prepared = Rc::new(Prepared::new(text, Origin::Prepare, name));
                    proposals.push(self.names.propose_prepared(name, Some(prepared), self.window).map_err(full)?);
                }
                Effect::Deallocate { name: Some(name) } => {
                    proposals.push(self.names.propose_prepared(name, None, self.window).map_err(full)?);
                }
                Effect::Declare { name, .. } if declared.contains(&name) => {}
                Effect::Declare { name, .. } => {
                    declared.push(name);
                    let inner = self.decider.cursor(&decision.effects, name);
                    let portal = Rc::new(Portal {
                        facts: inner.facts.clone(),
                        prepared: None,
                        decision: inner,
                        formats: Vec::new(),
                        parameters: None,
                        plan: RefCell::new(None),
                        asked: Cell::new(false),
                        held: Cell::new(None),
                    });
                    proposals.push(self.names.propose_portal(name, Some(portal), self.window).map_err(full)?);
                }
                Effect::Close { name: Some(name) } => {
                    proposals.push(self.names.propose_portal(name, None, self.window).map_err(full)?);
                }
                Effect::Deallocate { name: None } => proposals.push(Proposal::AllPrepared),
                Effect::Close { name: None } => proposals.push(Proposal::AllPortals),
                Effect::Discard => proposals.extend([Proposal::AllPrepared, Proposal::AllPortals]),
                Effect::Begin
                | Effect::Commit { .. }
                | Effect::Rollback { .. }
                | Effect::Savepoint
                | Effect::Execute { .. }
                | Effect::Fetch { .. }
                | Effect::Set { .. }
                | Effect::ChangesCatalog
                | Effect::Notify => {}
            }
        }
        let kind = decision.facts.first().map_or("", |facts| facts.kind.as_str());
        Ok(Effects { names: proposals, paths: self.paths.send(&decision.effects, kind, self.window) })
    }

    /// The server did what a statement asked, or not.
    pub(crate) fn settle_effects(&mut self, running: &Running, done: bool) {
        for proposal in &running.effects.names {
            self.names.settle(proposal, done);
        }
        for ticket in &running.effects.paths {
            self.paths.settle(*ticket, done, running.decision.sets_locally);
        }
        if !done {
            return;
        }
        if !running.decision.effects.is_empty() {
            self.estimating.forget();
        }
        self.name_settings(&running.decision.effects);
        for effect in &running.decision.effects {
            match effect {
                Effect::Rollback { .. } => self.transaction_failed = true,
                Effect::ChangesCatalog => self.decider.catalog_changed(),
                _ => {}
            }
        }
    }

    pub(crate) fn parameter(&mut self, name: &str, value: &str) -> Result<(), End> {
        let changed = match name {
            "client_encoding" => value != "UTF8",
            "standard_conforming_strings" => value != "on",
            _ => false,
        };
        if changed {
            let text = format!(
                "{name} was changed to {value}; statements would mean something else to the server than to the gate"
            );
            return Err(End::new(CloseReason::ProtocolViolation, "08P01", text));
        }
        if name == "search_path" {
            self.paths.reported(value);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
