//! The budget by effect: how many rows a transaction and a session may write, whoever writes them.
//!
//! Syntax does not say what a statement does: a function deletes, a trigger updates, a cascade takes whole tables along.
//! PostgreSQL counts it all, on the session's own connection ([`reading`]). Under a budget no transaction commits before
//! the gate has read the counters:
//!
//! ```text
//! statement that may write, outside of a transaction     BEGIN -> counters -> statement -> check -> COMMIT or ROLLBACK
//! first one that may write, inside of one                counters -> statement
//! COMMIT, END                                            check -> COMMIT, or ROLLBACK and an error
//! check                                                  SET CONSTRAINTS ALL IMMEDIATE -> counters
//! ```
//!
//! The client sees neither these statements nor their answers ([`crate::own`]); an autocommit statement gets its
//! CommandComplete when the commit is done, as PostgreSQL gives it. [`script`] does this for simple messages, [`pipeline`]
//! for the extended protocol, where the transaction that ends at Sync is treated the same. To know where it stands, the
//! gate lets one window go at a time: while the server owes the end of one, the client's next messages wait.
//!
//! It fails closed: a reading that cannot be had is one over the budget, and what would commit by itself, or remove rows
//! without counting them, is denied before it runs ([`class`]) or found by its locks at the check.

mod class;
mod pipeline;
mod reading;
mod script;

use crate::{
    conversation::Conversation,
    decide::{Permit, Refused},
    frames::backend::{self, Transaction},
    own::{Own, Purpose},
};
pub(crate) use pipeline::Step;

use judge::sql::{Catalog, catalog::Kind};
use reading::Reading;
use schemas::event::Completed;
use script::Script;
use serde::Deserialize;
use std::{collections::BTreeSet, num::NonZeroU64};

/// Tells the denials of a budget from those of a policy.
const POLICY: &str = "budget:rows";

/// The statements that check a transaction before it commits.
const CONSTRAINTS: &str = "SET CONSTRAINTS ALL IMMEDIATE";

/// `budget` of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Rows that one transaction may insert, update and delete together. _Default:_ no limit.
    pub rows_per_transaction: Option<NonZeroU64>,
    /// Rows that one session may write in all its transactions that committed. _Default:_ no limit.
    pub rows_per_session: Option<NonZeroU64>,
}

/// Whose transaction is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    /// None's.
    None,
    /// The client's own.
    Client,
    /// The gate's, around statements that would commit by themselves.
    Gate,
}

/// Where the check before a COMMIT in the extended protocol stands.
#[derive(Debug, PartialEq, Eq)]
enum Check {
    /// Not asked for.
    None,
    /// Sent.
    Asked,
    /// Answered; `Err` holds why the transaction may not commit.
    Done(Result<u64, Refused>),
}

/// What comes after the Sync that ends a window which the gate put into a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// No such Sync is under way.
    None,
    /// The check and the Sync were sent.
    Checking,
    /// The gate's own COMMIT or ROLLBACK was sent.
    Ending,
}

/// The budget of one session, and where its transaction stands.
pub(crate) struct Budget {
    limits: Limits,
    /// Rows that this session's transactions wrote and committed.
    spent: u64,
    block: Block,
    /// The counters before the first write of the open transaction: asked for, and read.
    baseline_asked: bool,
    baseline: Option<Reading>,
    /// The last reading of a check.
    reading: Option<Reading>,
    /// Rows of a transaction of the gate's own whose COMMIT is under way.
    committing: u64,
    /// A savepoint was come back to in this window: a failed transaction may be good again.
    restored: bool,
    check: Check,
    closing: Closing,
    /// The statement that ran last in a window of the gate's own transaction.
    last: Option<(u64, std::rc::Rc<crate::decide::Decision>)>,
    /// Relations that a statement of the open transaction names in order to change or lock them.
    redefined: BTreeSet<u32>,
    /// Cursors that a statement of the open transaction declares.
    cursors: BTreeSet<String>,
    script: Option<Script>,
    /// The answer to the last statement of a transaction of the gate's, until it is committed, and its outcome.
    held: Vec<u8>,
    outcome: Option<Completed>,
    /// What goes to the server next.
    pending: Vec<(Permit, Vec<u8>)>,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            spent: 0,
            block: Block::None,
            baseline_asked: false,
            baseline: None,
            reading: None,
            committing: 0,
            restored: false,
            check: Check::None,
            closing: Closing::None,
            last: None,
            redefined: BTreeSet::new(),
            cursors: BTreeSet::new(),
            script: None,
            held: Vec::new(),
            outcome: None,
            pending: Vec::new(),
        }
    }

    /// The next statement begins a new transaction.
    fn forget_transaction(&mut self) {
        self.baseline_asked = false;
        self.baseline = None;
        self.reading = None;
        self.redefined.clear();
        self.cursors.clear();
        self.last = None;
    }

    /// The server said how things stand, at the end of a window or of a simple message.
    fn settle(&mut self, transaction: Transaction) {
        self.block = if transaction == Transaction::Idle { Block::None } else { Block::Client };
        self.committing = 0;
        self.restored = false;
        self.check = Check::None;
        self.closing = Closing::None;
        // what was not answered failed, and with it everything behind it in its window
        self.baseline_asked = self.baseline.is_some();
        if transaction == Transaction::Idle {
            self.forget_transaction();
        }
    }

    /// An own statement was answered.
    fn answered(&mut self, own: Own) {
        match own.purpose {
            Purpose::Baseline => self.baseline = Reading::of(&own.rows),
            Purpose::Reading => self.reading = Reading::of(&own.rows),
            Purpose::Begin
            | Purpose::Constraints
            | Purpose::Commit
            | Purpose::Rollback
            | Purpose::Fail
            | Purpose::Estimate
            | Purpose::Settle
            | Purpose::Measure => {}
        }
    }

    /// Whether the open transaction may commit: the rows that it wrote, or why not.
    fn verdict(&mut self, catalog: &Catalog) -> Result<u64, Refused> {
        let (Some(baseline), Some(reading)) = (&self.baseline, self.reading.take()) else {
            let reason = "the rows that this transaction wrote cannot be read, and the resource has a budget of rows";
            return Err(refused(
                reason,
                "track_counts must be on in the database; try again, or ask the gate's operator",
            ));
        };
        let known = |id: &&u32| {
            let relation = catalog.relation(**id);
            relation.is_some_and(|r| matches!(r.kind, Kind::Table | Kind::Partitioned | Kind::MaterializedView))
        };
        let hidden = reading.locked.difference(&baseline.locked).filter(|id| !self.redefined.contains(id)).find(known);
        if let Some(id) = hidden {
            let name = catalog.relation(*id).map(|relation| relation.qualified()).unwrap_or_default();
            let reason = format!(
                "a function of this transaction emptied, dropped or redefined {name}, whose rows no budget can count"
            );
            return Err(refused(
                &reason,
                "delete the rows that you mean, within the budget, or ask the owner of the resource",
            ));
        }
        if let Some(name) = reading.cursors.difference(&self.cursors).next() {
            let reason = format!(
                "a function of this transaction declared the cursor {name:?} WITH HOLD, which would run behind the count of rows"
            );
            return Err(refused(&reason, "declare the cursor in a statement of its own, or without HOLD"));
        }
        let rows = reading.since(baseline);
        if let Some(limit) = self.limits.rows_per_transaction.filter(|limit| rows > limit.get()) {
            let reason = format!(
                "this transaction wrote {rows} rows, and the budget is {limit} rows a transaction; it was rolled back"
            );
            return Err(refused(
                &reason,
                "write fewer rows at once, or ask the owner of the resource for a larger budget",
            ));
        }
        let all = self.spent.saturating_add(rows);
        if let Some(limit) = self.limits.rows_per_session.filter(|limit| all > limit.get()) {
            let reason = format!(
                "with the {rows} rows of this transaction the session would have written {all}, and the budget is {limit} rows a session; it was rolled back"
            );
            return Err(refused(&reason, "ask the owner of the resource for a larger budget"));
        }
        Ok(rows)
    }
}

fn refused(reason: &str, hint: &str) -> Refused {
    Refused::Because { sqlstate: "42501", reason: reason.to_owned(), hint: hint.to_owned(), policy: POLICY.to_owned() }
}

impl Conversation {
    /// The gate has an exchange of its own with the server: the client's next message waits.
    pub(crate) fn budget_waits(&self) -> bool {
        let Some(budget) = &self.budget else { return false };
        if matches!(self.copy_in, crate::conversation::CopyIn::Streaming { .. }) {
            return false;
        }
        budget.script.is_some()
            || budget.check == Check::Asked
            || budget.closing != Closing::None
            || (!self.flight.is_empty() && !self.flight.window_is_open())
    }

    /// The open transaction is the gate's own.
    pub(crate) fn budget_has_block(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.block == Block::Gate)
    }

    /// The server skips an own statement.
    pub(crate) fn budget_abandoned(&mut self) {
        if let Some(budget) = &mut self.budget
            && budget.check == Check::Asked
        {
            budget.check = Check::None;
        }
    }

    /// Whether the open transaction may commit, by the last reading.
    fn budget_verdict(&mut self) -> Result<u64, Refused> {
        let view = self.decider.resource().view();
        match &mut self.budget {
            Some(budget) => budget.verdict(view.catalog()),
            None => Ok(0),
        }
    }

    /// A better ErrorResponse for an error of the client's statement: the place in the whole message, and a hint where the gate's
    /// own transaction is what it failed for.
    pub(crate) fn budget_report(&mut self, report: &[(u8, String)], sqlstate: &str) -> Option<Vec<u8>> {
        let budget = self.budget.as_mut()?;
        if let Some(outcome) = &mut budget.outcome {
            outcome.sqlstate = Some(sqlstate.to_owned());
        }
        let shift = budget.script.as_mut().map_or(0, Script::failed);
        let needs_none = budget.block == Block::Gate && matches!(sqlstate, "25001" | "2D000");
        if shift == 0 && !needs_none {
            return None;
        }
        let mut fields = report.to_vec();
        for (code, text) in &mut fields {
            if let (b'P', Ok(place)) = (*code, text.parse::<usize>()) {
                *text = (place + shift).to_string();
            }
        }
        if needs_none {
            fields.retain(|(code, _)| *code != b'H');
            let hint = "the resource has a budget of rows, so that each statement runs in a transaction of the gate; what \
                        ends a transaction by itself cannot be counted and does not run";
            fields.push((b'H', hint.to_owned()));
        }
        let mut frame = Vec::new();
        backend::put_report(&mut frame, b'E', &fields);
        Some(frame)
    }
}
