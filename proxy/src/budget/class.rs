//! What a statement means for a budget, before it runs.

use super::{Block, Budget, refused};
use crate::decide::{Decision, Refused};
use judge::sql::{Action, Catalog, Effect, Facts, catalog::Kind};

/// What a statement is, as far as the budget is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Class {
    /// It writes no row.
    Harmless,
    /// It may write rows, or run code that does.
    Writes,
    /// BEGIN.
    Begin,
    /// COMMIT, END.
    Commit {
        /// A new transaction begins at once.
        chain: bool,
    },
    /// ROLLBACK, ABORT.
    Rollback {
        /// A new transaction begins at once.
        chain: bool,
    },
    /// SAVEPOINT, RELEASE, ROLLBACK TO.
    Savepoint,
    /// It may not run under a budget.
    Denied(Refused),
}

/// Statements that change the session and no row.
const HARMLESS: &[&str] = &[
    "SET",
    "RESET",
    "SHOW",
    "DEALLOCATE",
    "PREPARE",
    "LISTEN",
    "UNLISTEN",
    "NOTIFY",
    "CLOSE CURSOR",
    "DECLARE CURSOR",
    "LOCK TABLE",
    "SET CONSTRAINTS",
    "EMPTY",
];

/// Statements that PostgreSQL runs outside of transactions alone, or that end one.
const BY_THEMSELVES: &[&str] = &[
    "VACUUM",
    "PREPARE TRANSACTION",
    "COMMIT PREPARED",
    "ROLLBACK PREPARED",
    "CREATE DATABASE",
    "DROP DATABASE",
    "CREATE TABLESPACE",
    "DROP TABLESPACE",
    "CREATE SUBSCRIPTION",
    "DROP SUBSCRIPTION",
    "ALTER SYSTEM",
];

/// Sorts a statement.
pub(super) fn of(decision: &Decision, catalog: &Catalog) -> Class {
    let runs_another = decision.effects.iter().any(|e| matches!(e, Effect::Execute { .. } | Effect::Fetch { .. }));
    let mut class = None;
    for (place, facts) in decision.facts.iter().enumerate() {
        if let Some(denied) = uncountable(facts, catalog) {
            return Class::Denied(denied);
        }
        let own = control(facts);
        match (own, &class) {
            (Some(_), _) if runs_another && place > 0 => {
                let reason =
                    "EXECUTE of a statement that begins or ends a transaction does not run under a budget of rows";
                return Class::Denied(refused(reason, "send BEGIN, COMMIT or ROLLBACK as it is"));
            }
            (own, None) => class = Some(own),
            (own, Some(earlier)) if own == *earlier || runs_another => {}
            _ => {
                let reason = "whether this statement ends the transaction is not known while answers are under way";
                return Class::Denied(refused(reason, "wait for the answer to Parse, then go on"));
            }
        }
    }
    if let Some(Some(control)) = class {
        return control;
    }
    let harmless =
        |facts: &Facts| facts.read_only || HARMLESS.contains(&facts.kind.as_str()) || facts.kind.starts_with("DISCARD");
    let all = decision.read_only || (!runs_another && decision.facts.iter().all(|facts| harmless(facts)));
    if all { Class::Harmless } else { Class::Writes }
}

fn control(facts: &Facts) -> Option<Class> {
    facts.effects.iter().find_map(|effect| match effect {
        Effect::Begin => Some(Class::Begin),
        Effect::Commit { chain } => Some(Class::Commit { chain: *chain }),
        Effect::Rollback { chain } => Some(Class::Rollback { chain: *chain }),
        Effect::Savepoint => Some(Class::Savepoint),
        _ => None,
    })
}

/// Why what a statement does to rows cannot be counted, if so.
fn uncountable(facts: &Facts, catalog: &Catalog) -> Option<Refused> {
    if BY_THEMSELVES.contains(&facts.kind.as_str()) {
        let reason =
            format!("{} does not run in a transaction, and under a budget of rows everything does", facts.kind);
        return Some(refused(&reason, "ask the owner of the resource to have it run outside of the gate"));
    }
    for used in &facts.relations {
        let holds_rows = used.id.and_then(|id| catalog.relation(id)).is_some_and(|relation| {
            matches!(relation.kind, Kind::Table | Kind::Partitioned | Kind::MaterializedView | Kind::Foreign)
        });
        if used.actions.contains(&Action::Truncate) || (holds_rows && used.actions.contains(&Action::Drop)) {
            let reason = format!(
                "{} removes the rows of {} without counting them, and the resource has a budget of rows",
                facts.kind, used.name
            );
            return Some(refused(
                &reason,
                "DELETE the rows that you mean, within the budget, or ask the owner of the resource",
            ));
        }
    }
    for effect in &facts.effects {
        match effect {
            Effect::Set { name, .. } if name == "track_counts" => {
                let reason = "track_counts counts the rows of the resource's budget and stays as it is";
                return Some(refused(reason, "leave the setting alone"));
            }
            Effect::Declare { inner, .. } if !inner.read_only => {
                let reason =
                    "a cursor whose query may write could run behind the count of rows, and the resource has a budget";
                return Some(refused(reason, "run the query itself, or declare a cursor that only reads"));
            }
            _ => {}
        }
    }
    None
}

impl Budget {
    /// Remembers what a statement that is sent means for the check of its transaction.
    pub(super) fn expect(&mut self, decision: &Decision) {
        for facts in &decision.facts {
            for used in &facts.relations {
                let named = [Action::Alter, Action::Maintain, Action::Lock, Action::Create, Action::Drop];
                if named.iter().any(|action| used.actions.contains(action)) {
                    self.redefined.extend(used.id);
                }
            }
            for effect in &facts.effects {
                if let Effect::Declare { name, .. } = effect {
                    self.cursors.insert(name.clone());
                }
            }
        }
    }

    /// The server was sent what ends the transaction.
    pub(super) fn ended(&mut self, chain: bool) {
        self.block = if chain { Block::Client } else { Block::None };
        self.forget_transaction();
    }
}
