//! The budget in the extended protocol: own statements go between the client's, in its window.
//!
//! What was sent in a window is taken as done: had it failed, the server would skip what follows it up to Sync.

use super::{Block, Check, Closing, Purpose, class, class::Class, reading};
use crate::{
    conversation::{Conversation, End, Outbox},
    decide::{Decision, Permit, Refused},
    flight::Awaited,
    frames::{self, backend, backend::Transaction},
    own::{self, Answered, Own},
};
use schemas::event::{Outcome, VerdictKind};
use std::rc::Rc;

/// What becomes of an Execute.
pub(crate) enum Step {
    /// It goes on.
    Go,
    /// It waits for answers, then is looked at again.
    Wait,
    /// It is refused.
    Refuse(Refused),
}

impl Conversation {
    /// What the budget says to an Execute that is otherwise allowed.
    pub(crate) fn budget_execute(&mut self, decision: &Rc<Decision>, out: &mut Outbox) -> Step {
        let view = self.decider.resource().view();
        let failed = self.transaction == Transaction::Failed;
        let Some(budget) = &mut self.budget else { return Step::Go };
        let class = class::of(decision, view.catalog());
        let failed = failed && !budget.restored;
        match class {
            Class::Denied(refused) => return Step::Refuse(refused),
            Class::Harmless => {}
            Class::Savepoint => budget.restored = true,
            Class::Writes if failed => {}
            Class::Writes => {
                let mut asks = Vec::new();
                if budget.block == Block::None {
                    budget.block = Block::Gate;
                    asks.push((Purpose::Begin, "BEGIN"));
                }
                if !budget.baseline_asked {
                    budget.baseline_asked = true;
                    asks.push((Purpose::Baseline, reading::QUERY));
                }
                self.ask_in_window(&asks, out);
            }
            Class::Begin => budget.block = Block::Client,
            Class::Rollback { chain } => budget.ended(chain),
            Class::Commit { chain } if failed || !budget.baseline_asked => budget.ended(chain),
            Class::Commit { chain } => match std::mem::replace(&mut budget.check, Check::None) {
                Check::Done(Ok(rows)) => {
                    budget.spent = budget.spent.saturating_add(rows);
                    budget.ended(chain);
                }
                Check::Done(Err(refused)) => {
                    budget.ended(false);
                    self.ask_in_window(&[(Purpose::Rollback, "ROLLBACK")], out);
                    return Step::Refuse(refused);
                }
                Check::None | Check::Asked => {
                    budget.check = Check::Asked;
                    let asks = [(Purpose::Constraints, super::CONSTRAINTS), (Purpose::Reading, reading::QUERY)];
                    self.ask_in_window(&asks, out);
                    let mut flush = Vec::new();
                    frames::put(&mut flush, b'H', &[]);
                    out.pass(Permit::plain(), &flush);
                    return Step::Wait;
                }
            },
        }
        if let Some(budget) = &mut self.budget {
            budget.expect(decision);
        }
        Step::Go
    }

    /// An Execute was looked at before, and comes back with its check answered.
    pub(crate) fn budget_comes_back(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| matches!(budget.check, Check::Done(_)))
    }

    /// Remembers the statement that runs last in the window.
    pub(crate) fn budget_ran(&mut self, number: u64, decision: &Rc<Decision>) {
        if let Some(budget) = &mut self.budget {
            budget.last = Some((number, decision.clone()));
        }
    }

    /// Whether a simple message comes into an open window, where the budget could not tell what it commits.
    pub(crate) fn budget_mixes(&self) -> Option<Refused> {
        (self.budget.is_some() && !self.flight.is_empty()).then(|| {
            let reason = "a simple message in the middle of an extended window does not run under a budget of rows";
            super::refused(reason, "send Sync before it")
        })
    }

    /// At the client's Sync: if the gate opened the window's transaction, it is checked before.
    pub(crate) fn budget_sync(&mut self, out: &mut Outbox) {
        let Some(budget) = &mut self.budget else { return };
        if budget.block != Block::Gate {
            return;
        }
        budget.closing = Closing::Checking;
        if !self.discarding {
            let asks = [(Purpose::Constraints, super::CONSTRAINTS), (Purpose::Reading, reading::QUERY)];
            self.ask_in_window(&asks, out);
        }
    }

    fn ask_in_window(&mut self, asks: &[(Purpose, &str)], out: &mut Outbox) {
        for (purpose, sql) in asks {
            let mut bytes = Vec::new();
            own::put_extended(&mut bytes, sql);
            self.flight.push(Awaited::Own(Box::new(Own::sent(*purpose, false))));
            out.pass(Permit::plain(), &bytes);
        }
    }

    /// The answer to an own statement. True where the frame was it, or a part of it.
    pub(crate) fn own_answer(&mut self, kind: u8, body: &[u8], frame: &[u8], out: &mut Outbox) -> Result<bool, End> {
        let Some(Awaited::Own(own)) = self.flight.front() else { return Ok(false) };
        let (simple, answered) = (own.simple, own.take(kind, body)?);
        match own.purpose {
            Purpose::Fail => return self.fail_answer(answered, body, frame, out),
            Purpose::Estimate => return self.estimate_answer(answered, (kind, body), out),
            Purpose::Settle => return self.hold_settled(answered, body),
            Purpose::Measure => return self.measure_answer(answered, (kind, body)),
            _ => {}
        }
        if simple && kind == b'E' {
            self.script_own_error(body, frame, out)?;
        }
        match answered {
            Answered::Other => return Ok(false),
            Answered::More => return Ok(true),
            Answered::Whole => {}
        }
        let Some(Awaited::Own(own)) = self.flight.pop() else { return Ok(false) };
        if simple {
            self.script_own_ready(*own, backend::ready(body)?, out)?;
            return Ok(true);
        }
        let purpose = own.purpose;
        if let Some(budget) = &mut self.budget {
            budget.answered(*own);
        }
        if purpose == Purpose::Reading && self.budget.as_ref().is_some_and(|b| b.check == Check::Asked) {
            let verdict = self.budget_verdict();
            if let Some(budget) = &mut self.budget {
                budget.check = Check::Done(verdict);
            }
        }
        Ok(true)
    }

    /// The answer to what must fail, so that the client's transaction does.
    fn fail_answer(&mut self, answered: Answered, body: &[u8], frame: &[u8], out: &mut Outbox) -> Result<bool, End> {
        if answered == Answered::Whole {
            self.flight.pop();
            self.cut_failed();
            self.go_on_ready(backend::ready(body)?, frame, out)?;
        }
        Ok(answered != Answered::Other)
    }

    /// At ReadyForQuery of a window in the gate's transaction. True where the client does not see it yet.
    pub(crate) fn budget_ready(&mut self, transaction: Transaction, out: &mut Outbox) -> Result<bool, End> {
        let failed = self.transaction_failed;
        let Some(budget) = &mut self.budget else { return Ok(false) };
        if budget.closing == Closing::Checking && transaction == Transaction::Idle && !failed {
            return Err(End::desynchronized("a transaction of the budget ended by itself"));
        }
        if budget.closing != Closing::Checking || transaction == Transaction::Idle {
            budget.settle(transaction);
            return Ok(false);
        }
        let commits = transaction == Transaction::Open && !failed;
        let verdict = if commits { self.budget_verdict().map(Some) } else { Ok(None) };
        let (purpose, sql) = match verdict {
            Ok(Some(rows)) => {
                if let Some(budget) = &mut self.budget {
                    budget.committing = rows;
                }
                (Purpose::Commit, "COMMIT")
            }
            Ok(None) => (Purpose::Rollback, "ROLLBACK"),
            Err(refused) => {
                self.transaction_failed = true;
                let last = self.budget.as_mut().and_then(|budget| budget.last.take());
                self.budget_denies(last, &refused, out)?;
                (Purpose::Rollback, "ROLLBACK")
            }
        };
        self.flight.push(Awaited::Own(Box::new(Own::sent(purpose, true))));
        if let Some(budget) = &mut self.budget {
            budget.closing = Closing::Ending;
            budget.pending.push((Permit::plain(), own::simple(sql)));
        }
        Ok(true)
    }

    /// Tells the client that its transaction was over the budget, and the record that the statement was denied after all.
    pub(super) fn budget_denies(
        &mut self,
        statement: Option<(u64, Rc<Decision>)>,
        refused: &Refused,
        out: &mut Outbox,
    ) -> Result<(), End> {
        let id = statement
            .as_ref()
            .map(|(number, _)| schemas::StatementId { session: self.record.session(), number: *number });
        backend::put_report(&mut out.bytes, b'E', &refused.report(id));
        self.frames_out += 1;
        if let Some((number, decision)) = statement {
            self.note_denied(number, &decision, refused)?;
        }
        let Some(budget) = &mut self.budget else { return Ok(()) };
        budget.held.clear();
        if let Some(mut outcome) = budget.outcome.take() {
            outcome.outcome = Outcome::Denied;
            outcome.sqlstate = Some("42501".to_owned());
            self.denied += 1;
            self.completed.push(outcome);
        }
        Ok(())
    }

    /// Notes that a statement is denied for a reason that its decision does not hold.
    pub(crate) fn note_denied(&mut self, number: u64, decision: &Decision, refused: &Refused) -> Result<(), End> {
        let mut verdict = decision.verdict();
        verdict.number = number;
        verdict.verdict = VerdictKind::Deny;
        refused.reason().clone_into(&mut verdict.reason);
        verdict.policies = match refused {
            Refused::Because { policy, .. } => vec![policy.clone()],
            Refused::CatalogTooOld => Vec::new(),
        };
        self.note_verdict_of(verdict)
    }

    /// Sends what the budget has ready for the server.
    pub(crate) fn proceed(&mut self, out: &mut Outbox) {
        if self.interrupt.is_under_way() {
            return;
        }
        self.cutting_proceed(out);
        self.measure_proceed(out);
        let Some(budget) = &mut self.budget else { return };
        for (permit, bytes) in std::mem::take(&mut budget.pending) {
            out.pass_noted(permit, &bytes, self.answers_after);
        }
    }
}
