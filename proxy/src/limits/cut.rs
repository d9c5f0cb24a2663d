//! An answer larger than a statement may return: it is cut off, and its statement fails.
//!
//! The rows up to the limit went to the client; the rest is dropped while the server is asked to cancel the statement.
//! The server's error is replaced by one that names the limit, so that the client sees what it sees of any statement that
//! fails in the middle of its answer. Under such a limit the gate lets one window go at a time, and within a window it
//! waits for the end of an answer before anything goes on that the failure would have to undo.
//!
//! A statement may come to its end before the cancel request arrives. Then the gate makes its transaction fail:
//!
//! ```text
//! extended, Sync not sent yet          a message that must fail goes before the client's Sync
//! transaction of the client's is open  a statement that must fail goes behind the window, before the client is told
//! neither                              only simple messages and windows that read: nothing is undone; where a simple
//!                                      message wrote, the error says that it is committed
//! ```

use super::{Limits, refused};
use crate::{
    conversation::{Conversation, End, Outbox},
    decide::{Decision, Permit},
    flight::{Awaited, Refusal},
    forward::{MUST_FAIL, REFUSED_NAME},
    frames::{self, Head, backend, backend::Transaction, frontend::Message},
    own::{self, Own, Purpose},
};
use schemas::event::{CloseReason, Outcome};

/// Bytes of one answer that are dropped while the server is asked to stop; one that goes on ends the session.
const MAX_DROPPED: u64 = 256 << 20;

/// Statements that return no row unless they say RETURNING.
const WRITES: &[&str] = &["INSERT", "UPDATE", "DELETE", "MERGE"];

/// Where the answers of a session stand, as far as their size is limited.
#[derive(Default)]
pub(crate) struct Cutting {
    /// Bytes dropped of the statement that is cut off.
    dropped: u64,
    /// A statement of the open window may have written.
    writes: bool,
    /// The server was asked to send what it has of the open window.
    flushed: bool,
    /// The client's next message waits for an answer.
    held: bool,
    /// What the client will be told of a statement that was cut off and came to its end nevertheless.
    late: Option<Late>,
    /// A statement that must fail is under way, behind the window.
    failing: bool,
    /// What goes to the server next.
    pending: Vec<u8>,
}

/// A statement that came to its end although it was cut off.
struct Late {
    report: Vec<(u8, String)>,
    wrote: bool,
}

impl Limits {
    fn is_of_size(&self) -> bool {
        self.rows_per_statement.is_some() || self.bytes_per_statement.is_some()
    }
}

fn nothing_runs() -> End {
    End::desynchronized("a statement completed that was not under way")
}

/// Whether a statement may send rows.
fn returns(decision: &Decision) -> bool {
    !decision.copies_in
        && !decision.facts.iter().all(|facts| facts.outputs.is_none() && WRITES.contains(&facts.kind.as_str()))
}

impl Conversation {
    /// The client's next message waits for what a limit of size asks of the server.
    pub(crate) fn cutting_waits(&self) -> bool {
        self.cutting.held || self.cutting.failing || self.interrupt.is_under_way()
    }

    /// Whether a message must wait for the end of an answer. Where the server may keep that back, it is asked for it.
    pub(crate) fn cutting_holds(&mut self, message: &Message<'_>, out: &mut Outbox) -> bool {
        if !self.limits.is_of_size() {
            return false;
        }
        let ends = matches!(message, Message::Sync);
        let aside = matches!(message, Message::Flush | Message::Terminate);
        let windows = !self.flight.is_empty() && !self.flight.window_is_open();
        let answers = self.flight.open_runs().any(|running| returns(&running.decision));
        self.cutting.held = !aside && (windows || (answers && (!ends || self.cutting.writes)));
        if self.cutting.held {
            self.hold_for_answers(out);
        }
        if ends && !self.cutting.held {
            self.cutting.writes = false;
        }
        self.cutting.held
    }

    /// The client's next message waits for the answers to what is under way.
    pub(crate) fn hold_for_answers(&mut self, out: &mut Outbox) {
        self.cutting.held = true;
        if self.flight.open_runs().next().is_some() && !self.cutting.flushed {
            self.cutting.flushed = true;
            let mut flush = Vec::new();
            frames::put(&mut flush, b'H', &[]);
            out.pass(Permit::plain(), &flush);
        }
    }

    /// An Execute was sent.
    pub(crate) fn cutting_ran(&mut self, decision: &Decision) {
        self.cutting.writes |= !decision.read_only;
        self.cutting.flushed = false;
    }

    /// Whether the row whose head came is dropped, since its statement returned as much as it may.
    pub(crate) fn cuts(&mut self, head: Head) -> bool {
        if !self.limits.is_of_size() || !matches!(head.kind, b'D' | b'd') {
            return false;
        }
        if self.cutting.late.is_some() && matches!(self.flight.front(), Some(Awaited::Simple(_))) {
            return self.drops(head);
        }
        let (limits, session) = (self.limits, self.record.session());
        let Some(running) = self.flight.running() else { return false };
        if running.cut.is_none() {
            let size = (running.rows + 1, running.bytes + head.total as u64);
            let Some((policy, reason, hint)) = limits.exceeded(size.0, size.1) else { return false };
            let id = schemas::StatementId { session, number: running.number };
            running.cut = Some(refused("53400", policy, &reason, hint).report(Some(id)));
            self.cutting.dropped = 0;
            // the provider was asked about rows that are dropped now
            self.asking.answers.clear();
            self.interrupt.now();
        }
        self.drops(head)
    }

    fn drops(&mut self, head: Head) -> bool {
        self.cutting.dropped += head.total as u64;
        if self.cutting.dropped > MAX_DROPPED && self.ending.is_none() {
            let text = "a statement returns more than it may and does not stop when it is cancelled";
            self.ending = Some(End::new(CloseReason::LimitReached, "53400", text));
        }
        true
    }

    /// What a statement that was cut off answers besides rows. True where the client does not see it.
    pub(crate) fn cut_answer(&mut self, kind: u8, out: &mut Outbox) -> Result<bool, End> {
        if self.cutting.late.is_some() && matches!(self.flight.front(), Some(Awaited::Simple(_))) {
            return self.late_answer(kind);
        }
        if self.flight.running().is_none_or(|running| running.cut.is_none()) {
            return Ok(false);
        }
        match kind {
            b'c' => Ok(true),
            b'C' | b'I' | b's' => self.cut_ended(out).map(|()| true),
            _ => Ok(false),
        }
    }

    /// The statement came to its end before it was cancelled.
    fn cut_ended(&mut self, out: &mut Outbox) -> Result<(), End> {
        let wrote = match self.flight.front() {
            Some(Awaited::Simple(statements)) => statements.iter().any(|running| !running.decision.read_only),
            Some(Awaited::Execute(running)) => !running.decision.read_only,
            _ => false,
        };
        let Some(running) = self.flight.running() else { return Ok(()) };
        let report = running.cut.take().unwrap_or_default();
        let simple = matches!(self.flight.front(), Some(Awaited::Simple(_)));
        let last = self.flight.is_newest();
        self.interrupt.disarm();
        let running = self.flight.pop_running().ok_or_else(nothing_runs)?;
        self.settle_effects(&running, true);
        self.outcome(&running, Outcome::Failed, "", Some("53400".to_owned()));
        if !simple && last {
            let refusal = Refusal { report, numbers: Vec::new(), unrecorded: None };
            let mut own = Outbox::default();
            self.fail_pipeline(refusal, REFUSED_NAME, &mut own)?;
            self.cutting.pending.append(&mut own.bytes);
            return Ok(());
        }
        // the script of a budget goes no further
        let better = self.budget_report(&report, "53400");
        drop((better, out));
        self.cutting.late = Some(Late { report, wrote });
        Ok(())
    }

    /// What comes of the statements behind, in the same simple message: the client is told of the error alone.
    fn late_answer(&mut self, kind: u8) -> Result<bool, End> {
        match kind {
            b'C' | b'I' => {
                let running = self.flight.pop_running().ok_or_else(nothing_runs)?;
                self.settle_effects(&running, true);
                self.outcome(&running, Outcome::Succeeded, "", None);
                Ok(true)
            }
            b'T' | b'H' | b'c' | b'n' => Ok(true),
            b'G' => {
                frames::put(&mut self.cutting.pending, b'f', b"refused by postern\0");
                self.copy_in = crate::conversation::CopyIn::None;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// What an error of a statement that was cut off is replaced by.
    pub(crate) fn cut_report(&mut self) -> Option<Vec<(u8, String)>> {
        if let Some(late) = self.cutting.late.take() {
            return Some(late.report);
        }
        let report = self.flight.running().and_then(|running| running.cut.take());
        if report.is_some() {
            self.interrupt.disarm();
        }
        report
    }

    /// At ReadyForQuery behind a statement that was cut off and came to its end: the client is told, and the transaction
    /// fails. True where it must be made to, before the client goes on.
    pub(crate) fn cut_ready(&mut self, transaction: Transaction, out: &mut Outbox) -> bool {
        let Some(Late { mut report, wrote }) = self.cutting.late.take() else { return false };
        let gates = self.budget_has_block();
        if wrote && transaction == Transaction::Idle && !gates {
            for (code, text) in &mut report {
                if *code == b'D' {
                    text.push_str(" It was complete before it could be stopped, and what it wrote is committed.");
                }
            }
        }
        backend::put_report(&mut out.bytes, b'E', &report);
        self.frames_out += 1;
        self.transaction_failed = true;
        if transaction != Transaction::Open || gates {
            return false;
        }
        self.cutting.failing = true;
        self.flight.push(Awaited::Own(Box::new(Own::sent(Purpose::Fail, true))));
        self.cutting.pending.extend_from_slice(&own::simple(MUST_FAIL));
        true
    }

    /// The statement that had to fail did.
    pub(crate) fn cut_failed(&mut self) {
        self.cutting.failing = false;
    }

    /// Sends what is ready for the server. What a cancel request must not hit waits for it.
    pub(crate) fn cutting_proceed(&mut self, out: &mut Outbox) {
        self.cutting.held = false;
        let pending = std::mem::take(&mut self.cutting.pending);
        if !pending.is_empty() {
            out.pass(Permit::plain(), &pending);
        }
    }
}
