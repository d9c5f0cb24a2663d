//! How many rows a held write would write: counted by running it in a savepoint, or a transaction, that is rolled back.
//!
//! Off unless the resource's config allows it, and only for what is known to leave nothing behind ([`countable`]): one
//! INSERT, UPDATE or DELETE of plain tables, without triggers, rules, row security, sequences, or anything that calls a
//! function outside of PostgreSQL's own stable ones, through cascades of foreign keys too. Whatever is not known to be so is
//! not counted, and the reviewer is told why.
//!
//! ```text
//! settled --> BEGIN | SAVEPOINT, limits, EXPLAIN (its locks), what the catalog says, counters
//!         --> a problem: ROLLBACK
//!         --> none: EXPLAIN (ANALYZE) of the statement, counters, ROLLBACK [TO, RELEASE] --> asked, with the difference
//! ```
//!
//! It runs on the session's own connection, as its role, behind a durable Statement and Verdict (AUD-1). EXPLAIN keeps the
//! rows of a RETURNING in the database. The client waits and sees nothing of it; what it cancels meanwhile withdraws the
//! hold. The locks that it takes are given back at once.

mod countable;

pub use countable::{Measured, Written};

use crate::{
    conversation::{Conversation, End, Outbox},
    decide::{Decision, Permit},
    flight::Awaited,
    frames::{
        self,
        backend::{self, Transaction},
        frontend,
    },
    own::{self, Answered, Own, Purpose},
    statement::Prepared,
};
use countable::{Countable, Counters};
use std::{rc::Rc, time::Duration};

/// The savepoint in a client's transaction. One of the client's by this name is found again when it is released.
const SAVEPOINT: &str = "postern_measure";

/// Longest time that counting may take, whatever the config says: shorter than what makes others wait noticeably.
const LONGEST: Duration = Duration::from_secs(10);

/// What the client's statement becomes: it runs, and its rows stay where they are.
const EXPLAIN: &str = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT JSON) ";

/// The types of no parameters, as in Parse, and no values, as in Bind.
const NONE: (&[u8], &[u8]) = (&[0; 2], &[0; 4]);

/// What is to be counted.
pub(super) struct Run {
    text: String,
    types: Vec<u8>,
    values: Vec<u8>,
}

impl Run {
    /// The only statement of a simple message.
    pub(super) fn simple(text: &str) -> Self {
        Self { text: text.to_owned(), types: NONE.0.to_vec(), values: NONE.1.to_vec() }
    }

    /// A statement with the values of a Bind; none where they cannot be read.
    pub(super) fn bound(prepared: &Prepared, parameters: &[u8]) -> Option<Self> {
        let (text, values) = (prepared.text.to_string(), frontend::bound(parameters)?.to_vec());
        Some(Self { text, types: prepared.types().to_vec(), values })
    }
}

/// What came of the wish to count.
pub(super) enum Begun {
    /// The server was asked: the message comes back.
    Runs,
    /// It is not counted, and why; none where nobody wants it.
    Not(Option<Measured>),
}

/// Where the counting stands.
#[derive(Default)]
enum Stage {
    #[default]
    None,
    /// The transaction is begun and the catalog asked.
    Checking(Run),
    /// The statement runs.
    Counting(Counters),
    /// All is rolled back.
    Ending(Measured),
    Done(Measured),
}

/// The counting of one session: one at a time.
#[derive(Default)]
pub(crate) struct Measuring {
    stage: Stage,
    /// It happens in the client's own transaction.
    within: bool,
    limit: Duration,
    /// What goes to the server next.
    pending: Vec<u8>,
}

impl Measuring {
    /// The server has not answered yet: the client waits.
    pub(super) fn waits(&self) -> bool {
        matches!(self.stage, Stage::Checking(_) | Stage::Counting(_) | Stage::Ending(_))
    }

    /// What came of it, if it is over.
    pub(super) fn take(&mut self) -> Option<Measured> {
        match std::mem::take(&mut self.stage) {
            Stage::Done(measured) => Some(measured),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// It is over, and nobody took what came of it.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Done(_))
    }
}

impl Conversation {
    /// Begins to count what a held message would write.
    pub(super) fn measure(&mut self, decisions: &[Rc<Decision>], run: Option<Run>, out: &mut Outbox) -> Begun {
        let milliseconds = self.decider.resource().estimates.measure_milliseconds;
        let writes = decisions.iter().any(|decision| countable::writes(decision));
        if milliseconds == 0 || !writes {
            return Begun::Not(None);
        }
        let within = self.transaction == Transaction::Open;
        let not = |why: &str| Begun::Not(Some(Measured::not(why)));
        if self.holding.used {
            return not("it is behind other statements of a pipeline");
        }
        if self.budget_has_block() || (within && self.budget.is_some()) {
            return not("a budget counts what its transaction writes");
        }
        let ([decision], Some(run)) = (decisions, run) else {
            return not("it is one of several statements");
        };
        let what = match countable::countable(decision, &run.text) {
            Ok(what) => what,
            Err(why) => return not(&why),
        };
        let limit = Duration::from_millis(u64::from(milliseconds)).min(LONGEST);
        let bytes = opening(&what, &run, within, limit);
        self.flight.push(Awaited::Own(Box::new(Own::sent(Purpose::Measure, true))));
        // the record of what runs here must be durable first, though nothing of it stays
        out.pass(Permit::decided(true), &bytes);
        self.holding.measuring = Measuring { stage: Stage::Checking(run), within, limit, pending: Vec::new() };
        Begun::Runs
    }

    /// Takes an answer of the server. True where the frame was a part of it.
    pub(crate) fn measure_answer(&mut self, answered: Answered, (kind, body): (u8, &[u8])) -> Result<bool, End> {
        if kind == b'E' {
            let report = backend::report(b'E', body)?;
            // the session's end is the client's to hear of
            return Ok(!report.iter().any(|(code, text)| *code == b'V' && matches!(text.as_str(), "FATAL" | "PANIC")));
        }
        match answered {
            Answered::Other => return Ok(false),
            Answered::More => return Ok(true),
            Answered::Whole => {}
        }
        let Some(Awaited::Own(own)) = self.flight.pop() else { return Ok(false) };
        let measuring = &mut self.holding.measuring;
        let (within, limit) = (measuring.within, measuring.limit);
        let failed = own.error.as_deref().map(|state| countable::failed(state, limit));
        let stage = std::mem::take(&mut measuring.stage);
        measuring.stage = match stage {
            Stage::Checking(run) => {
                let checked = failed.map_or_else(|| countable::checked(&own.rows, within), Err);
                match checked {
                    Ok(before) => {
                        measuring.pending = counting(&run);
                        Stage::Counting(before)
                    }
                    Err(why) => Stage::Ending(why),
                }
            }
            Stage::Counting(before) => {
                Stage::Ending(failed.unwrap_or_else(|| countable::difference(&before, &own.rows)))
            }
            Stage::Ending(measured) => {
                let before = if within { Transaction::Open } else { Transaction::Idle };
                if own.error.is_some() || backend::ready(body)? != before {
                    return Err(End::desynchronized("what was counted could not be rolled back"));
                }
                Stage::Done(measured)
            }
            other @ (Stage::None | Stage::Done(_)) => other,
        };
        if let Stage::Ending(_) = measuring.stage {
            measuring.pending = ending(within);
        }
        if measuring.waits() {
            self.flight.push(Awaited::Own(Box::new(Own::sent(Purpose::Measure, true))));
        }
        Ok(true)
    }

    /// Sends what comes next.
    pub(crate) fn measure_proceed(&mut self, out: &mut Outbox) {
        if !self.holding.measuring.pending.is_empty() {
            out.pass(Permit::decided(false), &std::mem::take(&mut self.holding.measuring.pending));
        }
    }
}

/// Own statements up to a Sync.
fn window(statements: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    statements.iter().for_each(|sql| own::put_extended(&mut bytes, sql));
    frames::put(&mut bytes, b'S', &[]);
    bytes
}

fn opening(what: &Countable, run: &Run, within: bool, limit: Duration) -> Vec<u8> {
    let begin = if within { format!("SAVEPOINT {SAVEPOINT}") } else { "BEGIN".to_owned() };
    let timeout = format!("SET LOCAL statement_timeout = {}", limit.as_millis());
    let mut bytes = Vec::new();
    [begin.as_str(), &timeout, "SET LOCAL client_min_messages = error"].iter().for_each(|sql| {
        own::put_extended(&mut bytes, sql);
    });
    // its plan takes the locks that it takes itself: no trigger, rule or foreign key is made between the look at the
    // catalog and the run
    own::put_bound(&mut bytes, &format!("EXPLAIN {}", run.text), &run.types, &run.values);
    bytes.extend(window(&[&what.check(), &countable::COUNT]));
    bytes
}

fn counting(run: &Run) -> Vec<u8> {
    let mut bytes = Vec::new();
    own::put_bound(&mut bytes, &format!("{EXPLAIN}{}", run.text), &run.types, &run.values);
    bytes.extend(window(&[&countable::COUNT]));
    bytes
}

fn ending(within: bool) -> Vec<u8> {
    if within {
        window(&[&format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}"), &format!("RELEASE SAVEPOINT {SAVEPOINT}")])
    } else {
        window(&["ROLLBACK"])
    }
}
