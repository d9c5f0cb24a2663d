//! The planner's estimate of a statement, asked before it runs, where policies or the config judge by it.
//!
//! The server is asked `EXPLAIN (FORMAT JSON)` on the session's own connection, in the same transaction, search path and
//! settings as the statement. Nothing is executed and nothing of the client's is touched: in the extended protocol the
//! question is a run under the gate's own names between Parse and Bind of the client's, with the client's types and
//! values, so that the planner sees what it will see; in the simple one it is a message before the client's. The client
//! waits meanwhile and sees nothing of it ([`crate::own`]).
//!
//! ```text
//! decide (as if it cost nothing) -- denied: refused, and not asked about
//!        | allowed, and a policy that could concern it reads the estimate
//! EXPLAIN -- error, no answer in time, no plan --> refused
//!        | plan
//! decide (with the estimate) --> allowed or refused
//! ```
//!
//! An EXPLAIN that fails leaves the client's transaction failed, and so does the refusal that follows: both are the same
//! to the client. A statement that has no plan of its own to ask for (COPY, DO, CALL, EXPLAIN ANALYZE) is refused.

mod asking;
mod plan;

pub(crate) use asking::{Asked, Estimating};

use crate::decide::{Decision, Refused};
use judge::sql::{Effect, Facts};
use serde::Deserialize;
use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

/// The id by which refusals for an estimate are known.
pub(crate) const POLICY: &str = "limit:estimate";

/// When the planner is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Where a policy that could concern the statement reads `estimated_rows` or `estimated_cost`, and where `rows` or
    /// `cost` is given.
    #[default]
    WhenNeeded,
    /// For every statement that has a plan, so that every verdict records the estimates.
    Always,
    /// Never: policies see no estimates.
    Never,
}

/// `estimates` of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// When the planner is asked: `when-needed`, `always`, `never`. _Default:_ `when-needed`.
    pub ask: Ask,
    /// Statements that are estimated to return or write more rows are denied. _Default:_ no limit.
    pub rows: Option<NonZeroU64>,
    /// Statements that are estimated to cost more, in the planner's units, are denied. _Default:_ no limit.
    pub cost: Option<NonZeroU64>,
    /// Milliseconds that the planner may take; a statement whose estimate takes longer is denied. _Default:_ 1000.
    pub milliseconds: NonZeroU32,
    /// Seconds for which a session takes the estimate of the same text with the same values as known. _Default:_ 30.
    pub remember_seconds: u32,
    /// Milliseconds for which a write that waits for a reviewer may run in a savepoint that is rolled back, so that the
    /// reviewer sees how many rows it writes; at most 10000. It takes its locks for as long. Only plain writes of plain
    /// tables, without triggers, rules, sequences or functions of the database's own, are tried. _Default:_ 0, never.
    pub measure_milliseconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        let milliseconds = NonZeroU32::MIN.saturating_add(999);
        Self {
            ask: Ask::WhenNeeded,
            rows: None,
            cost: None,
            milliseconds,
            remember_seconds: 30,
            measure_milliseconds: 0,
        }
    }
}

impl Settings {
    /// Longest wait for an estimate.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.milliseconds.get()))
    }

    /// Whether the planner is to be asked; `read`: a policy that could concern the statement reads its answer.
    pub(crate) fn wants(&self, read: bool) -> bool {
        match self.ask {
            Ask::WhenNeeded => read || self.rows.is_some() || self.cost.is_some(),
            Ask::Always => true,
            Ask::Never => false,
        }
    }

    /// The planner may be asked at all.
    pub(crate) fn may_ask(&self) -> bool {
        self.ask != Ask::Never
    }

    /// Why a statement of this estimate is denied: the reason and a hint.
    pub(crate) fn exceeded(&self, estimate: Estimate) -> Option<(String, String)> {
        let over = |limit: Option<NonZeroU64>, value: i64| limit.filter(|limit| value.unsigned_abs() > limit.get());
        let hint = "add a LIMIT, a narrower WHERE or a condition on an indexed column; EXPLAIN shows the plan";
        if let Some(limit) = over(self.rows, estimate.rows) {
            let rows = estimate.rows;
            let reason = format!("it is estimated to return or write {rows} rows, and the limit is {limit}");
            return Some((reason, hint.to_owned()));
        }
        let limit = over(self.cost, estimate.cost)?;
        let reason = format!("its estimated cost is {}, and the limit is {limit}", estimate.cost);
        Some((reason, hint.to_owned()))
    }
}

/// What the planner expects of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Rows that it returns, or that it writes if these are more.
    pub rows: i64,
    /// Its whole cost, in the planner's units.
    pub cost: i64,
}

/// Whether a decision needs an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It has one, or none is wanted, or nothing of it is planned.
    Nothing,
    /// What it runs was asked about before: a cursor, when it was declared.
    Before,
    /// The planner must be asked.
    Ask,
    /// It runs what the planner cannot be asked about.
    Impossible(&'static str),
}

/// Statements that EXPLAIN shows the plan of.
const PLANNED: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "SELECT INTO",
    "CREATE TABLE AS",
    "CREATE MATERIALIZED VIEW",
    "DECLARE CURSOR",
];

/// First words of statements that run no plan.
const UNPLANNED: &[&str] = &[
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "SET",
    "RESET",
    "SHOW",
    "DISCARD",
    "DEALLOCATE",
    "PREPARE",
    "CLOSE",
    "LISTEN",
    "UNLISTEN",
    "NOTIFY",
    "LOCK",
    "TRUNCATE",
    "CREATE",
    "ALTER",
    "DROP",
    "COMMENT",
    "GRANT",
    "REVOKE",
    "SECURITY",
    "REASSIGN",
    "IMPORT",
    "CHECKPOINT",
    "LOAD",
    "VACUUM",
    "ANALYZE",
    "CLUSTER",
    "REINDEX",
    "EXPLAIN",
    "EMPTY",
];

impl Need {
    /// What a statement of these facts needs, if estimates are wanted of it.
    pub(crate) fn of(facts: &Facts) -> Self {
        let kind = facts.kind.as_str();
        if PLANNED.contains(&kind) {
            return Self::Ask;
        }
        match kind {
            "FETCH" | "MOVE" => Self::Before,
            // EXPLAIN of it evaluates the arguments
            "EXECUTE" if facts.functions.is_empty() && facts.opaque.is_none() => Self::Ask,
            "EXECUTE" => Self::Impossible("EXECUTE with arguments that call functions"),
            "EXPLAIN" if facts.flags.iter().any(|flag| flag == judge::sql::EXPLAIN_RUNS) => {
                Self::Impossible("EXPLAIN ANALYZE")
            }
            "REFRESH MATERIALIZED VIEW" => Self::Impossible("REFRESH MATERIALIZED VIEW"),
            "COPY" => Self::Impossible("COPY"),
            "DO" => Self::Impossible("DO"),
            "CALL" => Self::Impossible("CALL"),
            _ if UNPLANNED.contains(&kind.split(' ').next().unwrap_or_default()) => Self::Nothing,
            _ => Self::Impossible("a statement of this kind"),
        }
    }

    /// The refusal of what cannot be asked about.
    pub(crate) fn refusal(what: &str) -> Refused {
        let reason = format!("the cost of {what} cannot be estimated, and what may run here depends on it");
        refused(&reason, "write it as a SELECT, INSERT, UPDATE or DELETE, or ask the owner of the data")
    }
}

/// A refusal for want of an estimate.
pub(crate) fn refused(reason: &str, hint: &str) -> Refused {
    crate::limits::refused("42501", POLICY, reason, hint)
}

/// Whether a statement leaves everything as it is that an estimate of what comes behind it depends on.
fn leaves_plans(decision: &Decision) -> bool {
    decision.read_only && decision.effects.iter().all(|effect| matches!(effect, Effect::Begin))
        || decision.facts.iter().all(|facts| facts.kind == "BEGIN" || facts.kind == "START TRANSACTION")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(kind: &str) -> Facts {
        Facts { kind: kind.to_owned(), ..Facts::default() }
    }

    #[test]
    fn what_has_a_plan_is_asked_about_and_what_hides_one_is_refused() {
        for kind in PLANNED {
            assert_eq!(Need::of(&facts(kind)), Need::Ask, "{kind}");
        }
        for kind in ["BEGIN", "SET", "CREATE TABLE", "DROP VIEW", "EXPLAIN", "VACUUM FULL", "PREPARE", "CLOSE CURSOR"] {
            assert_eq!(Need::of(&facts(kind)), Need::Nothing, "{kind}");
        }
        for kind in ["COPY", "DO", "CALL", "REFRESH MATERIALIZED VIEW", "SOMETHING NEW"] {
            assert!(matches!(Need::of(&facts(kind)), Need::Impossible(_)), "{kind}");
        }
        let ran = Facts { flags: vec![judge::sql::EXPLAIN_RUNS.to_owned()], ..facts("EXPLAIN") };
        assert!(matches!(Need::of(&ran), Need::Impossible(_)));
        let calls = Facts { functions: std::iter::once("public.f".to_owned()).collect(), ..facts("EXECUTE") };
        assert!(matches!(Need::of(&calls), Need::Impossible(_)));
    }

    #[test]
    fn thresholds_are_inclusive() {
        let settings = Settings { rows: NonZeroU64::new(10), cost: NonZeroU64::new(100), ..Settings::default() };
        assert_eq!(settings.exceeded(Estimate { rows: 10, cost: 100 }), None);
        assert!(settings.exceeded(Estimate { rows: 11, cost: 1 }).unwrap().0.contains("11 rows"));
        assert!(settings.exceeded(Estimate { rows: 1, cost: 101 }).unwrap().0.contains("101"));
        assert!(settings.wants(false) && !Settings::default().wants(false) && Settings::default().wants(true));
        assert!(!Settings { ask: Ask::Never, ..settings }.wants(true));
    }
}
