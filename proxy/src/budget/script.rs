//! The budget in simple messages: a message runs in parts, one after the other, with own statements between them.
//!
//! A part is a run of statements that PostgreSQL would run in one transaction, or one that begins, ends or divides a
//! transaction. Mostly a message is one part, and goes as it came. The client gets one ReadyForQuery, at the end.

use super::{Block, CONSTRAINTS, Closing, Purpose, class, class::Class, reading};
use crate::{
    conversation::{Conversation, CopyIn, End, Outbox},
    decide::{Decision, Permit, Simple},
    flight::{Awaited, Refusal, Running},
    forward::Flow,
    frames::{self, backend, backend::Transaction},
    own::{self, Own},
};
use schemas::event::{Outcome, Protocol};
use std::{collections::VecDeque, rc::Rc, time::Instant};

/// What was sent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// BEGIN and the counters before the first write.
    Opening,
    /// A part of the client's message.
    Running,
    /// The check before a commit.
    Checking,
    /// COMMIT or ROLLBACK of the gate's own.
    Ending,
}

/// A part of a message.
struct Part {
    class: Class,
    running: VecDeque<Running>,
    frame: Vec<u8>,
    permit: Permit,
    /// Characters of the message before it: errors state their place in the message.
    shift: usize,
}

/// A simple message that runs in parts.
pub(super) struct Script {
    parts: VecDeque<Part>,
    stage: Stage,
    /// What the part that runs does to the transaction.
    class: Class,
    shift: usize,
    /// The client was told of an error: what is left of the message does not run.
    failed: bool,
    /// The COMMIT at the front was checked; it commits so many rows.
    checked: Option<u64>,
    /// The statement that was sent last.
    last: Option<(u64, Rc<Decision>)>,
}

impl Script {
    /// An error goes to the client; characters of the message before the part that it is about.
    pub(super) fn failed(&mut self) -> usize {
        self.failed = true;
        if self.stage == Stage::Running { self.shift } else { 0 }
    }
}

impl Conversation {
    /// Deals with a simple message that is otherwise allowed.
    pub(crate) fn budget_query(
        &mut self,
        decided: &[Simple],
        text: &[u8],
        frame: &[u8],
        arrived: Instant,
        out: &mut Outbox,
    ) -> Result<Flow, End> {
        if let Some(refused) = self.budget_mixes() {
            let number = self.next_number();
            self.note_unparsed(number, text, Protocol::Simple, "", &refused)?;
            return self.refuse_extended(refused, number, arrived, out);
        }
        let view = self.decider.resource().view();
        let classes: Vec<Class> = decided.iter().map(|one| class::of(&one.decision, view.catalog())).collect();
        let denied = classes.iter().enumerate().find_map(|(place, class)| match class {
            Class::Denied(refused) => Some((place, refused.clone())),
            _ => None,
        });
        if let Some((place, refused)) = denied {
            return self.refuse_message(decided, place, refused, arrived, out);
        }
        let mut parts: VecDeque<Part> = VecDeque::new();
        for (statement, class) in decided.iter().zip(classes) {
            let running = self.start(statement, arrived)?;
            let durable = !statement.decision.read_only;
            match parts.back_mut() {
                Some(part) if joins(&part.class, &class) => {
                    part.permit = Permit::decided(part.permit.durable_first() || durable);
                    part.running.push_back(running);
                    if class == Class::Writes {
                        part.class = Class::Writes;
                    }
                }
                _ => parts.push_back(Part {
                    class,
                    running: VecDeque::from([running]),
                    frame: Vec::new(),
                    permit: Permit::decided(durable),
                    shift: 0,
                }),
            }
        }
        cut(&mut parts, text, frame);
        self.budget_run(parts, out);
        Ok(Flow::More)
    }

    /// Sends a message at once where nothing is to be done around it, or begins to send it part by part.
    fn budget_run(&mut self, mut parts: VecDeque<Part>, out: &mut Outbox) {
        let failed = self.transaction == Transaction::Failed;
        let Some(budget) = &mut self.budget else { return };
        let at_once = parts.len() == 1
            && match parts.front().map(|part| &part.class) {
                Some(Class::Writes) => failed || (budget.block != Block::None && budget.baseline_asked),
                Some(Class::Commit { .. }) => failed || !budget.baseline_asked,
                _ => true,
            };
        if at_once && let Some(part) = parts.pop_front() {
            for running in &part.running {
                budget.expect(&running.decision);
            }
            if let Class::Commit { chain } | Class::Rollback { chain } = part.class {
                budget.ended(chain);
            }
            if part.running.iter().any(|running| running.copying_in) {
                self.copy_in = CopyIn::Asked;
            }
            self.flight.push(Awaited::Simple(part.running));
            out.pass(part.permit, &part.frame);
            return;
        }
        budget.script = Some(Script {
            parts,
            stage: Stage::Running,
            class: Class::Harmless,
            shift: 0,
            failed: false,
            checked: None,
            last: None,
        });
        self.script_send();
        let Some(budget) = &mut self.budget else { return };
        // the records of this message are not handed to the log yet: `commit` does that, and says what must be durable
        for (permit, bytes) in std::mem::take(&mut budget.pending) {
            out.pass(permit, &bytes);
        }
    }

    /// Sends what comes next. False where nothing is left to send.
    fn script_send(&mut self) -> bool {
        let failed = self.transaction == Transaction::Failed;
        let Some(budget) = &mut self.budget else { return false };
        let Some(script) = &mut budget.script else { return false };
        let Some(part) = script.parts.front() else {
            let ours = budget.block == Block::Gate;
            if ours {
                self.script_ask(Stage::Checking, Purpose::Reading, &format!("{CONSTRAINTS}; {}", reading::QUERY));
            }
            return ours;
        };
        match part.class {
            Class::Writes if !failed && budget.block == Block::None => {
                budget.block = Block::Gate;
                budget.baseline_asked = true;
                self.script_ask(Stage::Opening, Purpose::Baseline, &format!("BEGIN; {}", reading::QUERY));
                return true;
            }
            Class::Writes if !failed && !budget.baseline_asked => {
                budget.baseline_asked = true;
                self.script_ask(Stage::Opening, Purpose::Baseline, reading::QUERY);
                return true;
            }
            Class::Commit { .. } if !failed && budget.baseline_asked && script.checked.is_none() => {
                self.script_ask(Stage::Checking, Purpose::Reading, &format!("{CONSTRAINTS}; {}", reading::QUERY));
                return true;
            }
            _ => {}
        }
        let Some(part) = script.parts.pop_front() else { return false };
        script.stage = Stage::Running;
        script.class = part.class;
        script.shift = part.shift;
        script.last = part.running.back().map(|running| (running.number, running.decision.clone()));
        budget.pending.push((part.permit, part.frame));
        for running in &part.running {
            budget.expect(&running.decision);
        }
        if part.running.iter().any(|running| running.copying_in) {
            self.copy_in = CopyIn::Asked;
        }
        self.flight.push(Awaited::Simple(part.running));
        true
    }

    fn script_ask(&mut self, stage: Stage, purpose: Purpose, sql: &str) {
        self.flight.push(Awaited::Own(Box::new(Own::sent(purpose, true))));
        let Some(budget) = &mut self.budget else { return };
        budget.pending.push((Permit::plain(), own::simple(sql)));
        if let Some(script) = &mut budget.script {
            script.stage = stage;
        }
    }

    /// A message runs in parts.
    pub(crate) fn in_script(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.script.is_some())
    }

    /// Keeps the answer to the last statement of a message back until it is committed. True if it did.
    pub(crate) fn budget_holds(&mut self, frame: &[u8]) -> bool {
        let Some(budget) = &mut self.budget else { return false };
        let last = budget.block == Block::Gate
            && match (&budget.script, self.flight.front()) {
                (Some(script), Some(Awaited::Simple(statements))) => statements.is_empty() && script.parts.is_empty(),
                // behind the last Execute of a window whose Sync has come there is the check alone
                (None, Some(Awaited::Own(_) | Awaited::Sync)) => budget.closing == Closing::Checking,
                _ => false,
            };
        if last {
            budget.held.extend_from_slice(frame);
            budget.outcome = self.completed.pop();
        }
        last
    }

    /// The server is ready behind a part of the client's message.
    pub(crate) fn script_ready(&mut self, transaction: Transaction, out: &mut Outbox) -> Result<(), End> {
        self.settle_ready(transaction);
        let Some(budget) = &mut self.budget else { return Ok(()) };
        let Some(script) = &mut budget.script else { return Ok(()) };
        if script.failed {
            let ours = budget.block == Block::Gate && transaction != Transaction::Idle;
            return self.script_fail(ours, transaction, out);
        }
        match script.class {
            Class::Begin => budget.block = Block::Client,
            Class::Commit { chain } => {
                budget.spent = budget.spent.saturating_add(script.checked.take().unwrap_or(0));
                budget.ended(chain);
            }
            Class::Rollback { chain } => budget.ended(chain),
            Class::Harmless | Class::Writes | Class::Savepoint | Class::Denied(_) => {}
        }
        match (budget.block, transaction) {
            (Block::Gate, Transaction::Open) => {}
            (Block::Gate, _) => return Err(End::desynchronized("a transaction of the budget ended by itself")),
            (_, Transaction::Idle) => {
                budget.block = Block::None;
                budget.forget_transaction();
            }
            (_, _) => budget.block = Block::Client,
        }
        if self.script_send() {
            return Ok(());
        }
        self.script_end(transaction, out);
        Ok(())
    }

    /// The server reports an error of an own simple statement: it is the client's, since its statement ends by it.
    pub(super) fn script_own_error(&mut self, body: &[u8], frame: &[u8], out: &mut Outbox) -> Result<(), End> {
        let report = backend::report(b'E', body)?;
        self.transaction_failed = true;
        self.frames_out += 1;
        let better = self.budget_report(&report, &backend::sqlstate(&report));
        self.show_report(b'E', false, better.as_deref().unwrap_or(frame), out)?;
        Ok(())
    }

    /// The server is ready behind an own simple statement.
    pub(super) fn script_own_ready(&mut self, own: Own, transaction: Transaction, out: &mut Outbox) -> Result<(), End> {
        self.settle_ready(transaction);
        let (purpose, error) = (own.purpose, own.error.clone());
        let Some(budget) = &mut self.budget else { return Ok(()) };
        budget.answered(own);
        let stage = budget.script.as_ref().map_or(Stage::Ending, |script| script.stage);
        match (stage, error) {
            (Stage::Ending, error) => {
                if purpose == Purpose::Commit && error.is_none() {
                    budget.spent = budget.spent.saturating_add(std::mem::take(&mut budget.committing));
                }
                if transaction != Transaction::Idle {
                    return Err(End::desynchronized("a transaction of the budget did not end"));
                }
                self.script_outcome(purpose, error, out);
                self.script_end(transaction, out);
                Ok(())
            }
            (Stage::Opening, Some(_)) => {
                let ours = budget.block == Block::Gate && transaction != Transaction::Idle;
                self.script_fail(ours, transaction, out)
            }
            (Stage::Checking, Some(_)) => self.script_fail(true, transaction, out),
            (_, None) if transaction != Transaction::Open => {
                Err(End::desynchronized("a transaction of the budget is not open"))
            }
            (Stage::Checking, None) => self.script_checked(out),
            (_, _) => {
                self.script_send();
                Ok(())
            }
        }
    }

    /// The check before a commit was answered.
    fn script_checked(&mut self, out: &mut Outbox) -> Result<(), End> {
        match self.budget_verdict() {
            Ok(rows) => {
                let Some(budget) = &mut self.budget else { return Ok(()) };
                let Some(script) = &mut budget.script else { return Ok(()) };
                if script.parts.is_empty() {
                    budget.committing = rows;
                    self.script_ask(Stage::Ending, Purpose::Commit, "COMMIT");
                } else {
                    script.checked = Some(rows);
                    self.script_send();
                }
                Ok(())
            }
            Err(refused) => {
                self.transaction_failed = true;
                let script = self.budget.as_mut().and_then(|budget| budget.script.as_mut());
                let Some(script) = script else { return Ok(()) };
                let commit = script.parts.pop_front().and_then(|mut part| part.running.pop_front());
                let last = script.last.take();
                match commit {
                    Some(running) => {
                        self.budget_denies(Some((running.number, running.decision.clone())), &refused, out)?;
                        self.settle_effects(&running, false);
                        let numbers = vec![(running.number, running.arrived)];
                        self.refused(&Refusal { report: refused.report(None), numbers, unrecorded: None });
                    }
                    None => self.budget_denies(last, &refused, out)?,
                }
                self.script_fail(true, Transaction::Open, out)
            }
        }
    }

    /// The client was told of an error: what is left does not run, and a transaction that may not commit is rolled back.
    fn script_fail(&mut self, rolls_back: bool, transaction: Transaction, out: &mut Outbox) -> Result<(), End> {
        let script = self.budget.as_mut().and_then(|budget| budget.script.as_mut());
        let Some(script) = script else { return Ok(()) };
        script.failed = true;
        for part in std::mem::take(&mut script.parts) {
            self.abandoned(Awaited::Simple(part.running));
        }
        self.copy_ended();
        if rolls_back {
            self.script_ask(Stage::Ending, Purpose::Rollback, "ROLLBACK");
        } else {
            self.script_end(transaction, out);
        }
        Ok(())
    }

    /// What became of the statement whose answer was held back.
    fn script_outcome(&mut self, purpose: Purpose, error: Option<String>, out: &mut Outbox) {
        let Some(budget) = &mut self.budget else { return };
        let (held, outcome) = (std::mem::take(&mut budget.held), budget.outcome.take());
        let committed = purpose == Purpose::Commit && error.is_none();
        if committed && !held.is_empty() {
            out.bytes.extend_from_slice(&held);
            self.frames_out += 1;
        }
        if let Some(mut outcome) = outcome {
            if !committed {
                outcome.outcome = Outcome::Failed;
                outcome.sqlstate = outcome.sqlstate.or(error);
            }
            self.completed.push(outcome);
        }
    }

    /// The message is done: the client may go on.
    fn script_end(&mut self, transaction: Transaction, out: &mut Outbox) {
        if let Some(budget) = &mut self.budget {
            budget.script = None;
            budget.settle(transaction);
        }
        let status: &[u8] = match transaction {
            Transaction::Idle => b"I",
            Transaction::Open => b"T",
            Transaction::Failed => b"E",
        };
        frames::put(&mut out.bytes, b'Z', status);
        self.frames_out += 1;
    }
}

/// Whether a statement belongs into the part before it.
fn joins(part: &Class, class: &Class) -> bool {
    let plain = |class: &Class| matches!(class, Class::Harmless | Class::Writes);
    plain(part) && plain(class)
}

/// Gives each part its frame: the whole message where there is one part, else the part's own bytes of it.
fn cut(parts: &mut VecDeque<Part>, text: &[u8], frame: &[u8]) {
    let alone = parts.len() == 1;
    for part in parts {
        if alone {
            part.frame = frame.to_vec();
            continue;
        }
        let place = |running: Option<&Running>| {
            running
                .and_then(|running| running.decision.facts.first())
                .map(|facts| facts.text.clone())
                .unwrap_or_default()
        };
        let (begin, end) = (place(part.running.front()).start, place(part.running.back()).end);
        let own = text.get(begin..end).unwrap_or_default();
        let before = text.get(..begin).unwrap_or_default();
        // characters begin at every byte that does not go on with one
        part.shift = before.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        frames::put(&mut part.frame, b'Q', &[own, &[0]].concat());
    }
}
