//! What may be counted, by an allow list of the statement's facts and of what the database says of its tables.

use crate::decide::Decision;
use judge::sql::Action;
use schemas::event::VerdictKind;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

/// Tables that one statement may write and be counted.
const MAX_TABLES: usize = 16;

/// Reasons that a reviewer is told.
const MAX_REASONS: usize = 3;

/// The statements that are counted.
const KINDS: &[&str] = &["INSERT", "UPDATE", "DELETE"];

/// What the database says of the tables, and reasons against.
static CHECK: LazyLock<String> = LazyLock::new(|| written_out(include_str!("check.sql")));

/// What the transaction has written so far, as [`crate::budget`] reads it, table by table.
pub(super) static COUNT: LazyLock<String> = LazyLock::new(|| written_out(include_str!("count.sql")));

/// Every operator in full: the session's search path must not decide what this means.
fn written_out(template: &str) -> String {
    ["=", "<>", ">=", "<", ">"].iter().fold(template.to_owned(), |text, operator| {
        text.replace(&format!("[{operator}]"), &format!("OPERATOR(pg_catalog.{operator})"))
    })
}

/// Rows that a statement writes into one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// `schema.table`.
    pub table: String,
    /// Rows that it adds.
    pub inserted: i64,
    /// Rows that it changes.
    pub updated: i64,
    /// Rows that it removes.
    pub deleted: i64,
}

/// What a held write would write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    /// Counted, by table; those that foreign keys cascade to are among them.
    Counted(Vec<Written>),
    /// It was not, and why.
    NotCounted(String),
}

impl Measured {
    /// It is not counted for this reason.
    pub(super) fn not(why: impl Into<String>) -> Self {
        Self::NotCounted(why.into())
    }

    /// As a note of the verdict.
    pub(in crate::hold) fn flag(&self) -> String {
        match self {
            Self::Counted(tables) => {
                let rows = |one: &Written| one.inserted.saturating_add(one.updated).saturating_add(one.deleted);
                format!("measured:rows={}", tables.iter().map(rows).fold(0, i64::saturating_add))
            }
            Self::NotCounted(_) => "measured:not_counted".to_owned(),
        }
    }
}

/// A statement that may be counted, if the database agrees.
pub(super) struct Countable {
    written: Vec<u32>,
    read: Vec<u32>,
    /// Defaults of columns may be computed.
    defaults: bool,
}

impl Countable {
    /// What the database is asked.
    pub(super) fn check(&self) -> String {
        let list = |all: &[u32]| all.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        CHECK
            .replace("{written}", &format!("{{{}}}", list(&self.written)))
            .replace("{read}", &format!("{{{}}}", list(&self.read)))
            .replace("{defaults}", if self.defaults { "true" } else { "false" })
    }
}

fn is_write(action: &Action) -> bool {
    matches!(action, Action::Insert | Action::Update | Action::Delete)
}

/// It is held, and writes rows: a count would tell something.
pub(super) fn writes(decision: &Decision) -> bool {
    let mut actions = decision.facts.iter().flat_map(|facts| &facts.relations).flat_map(|used| &used.actions);
    decision.judgement.verdict == VerdictKind::Hold && actions.any(is_write)
}

/// Whether a statement may be counted as far as its text tells; the error is why not.
pub(super) fn countable(decision: &Decision, text: &str) -> Result<Countable, String> {
    let no = |why: &str| Err(why.to_owned());
    let [facts] = decision.facts.as_slice() else { return no("it may mean several things") };
    if !KINDS.contains(&facts.kind.as_str()) || !decision.effects.is_empty() {
        return no("it is no plain INSERT, UPDATE or DELETE");
    }
    if decision.touches_protected() {
        return no("it touches masked columns");
    }
    if !facts.functions.is_empty() || facts.reaches_unknown() || facts.hidden_setting.is_some() {
        return no("it calls functions that may do more than compute");
    }
    if facts.flags.iter().any(|flag| flag.starts_with("tripwire")) {
        return no("it is read differently by different parsers");
    }
    let text = text.to_ascii_lowercase();
    if CHANCE.iter().any(|name| text.contains(name)) {
        return no("it depends on chance or the clock");
    }
    let catalog = decision.view.catalog();
    let (mut written, mut read) = (Vec::new(), Vec::new());
    for used in &facts.relations {
        let relation = used.id.and_then(|id| catalog.relation(id));
        let Some(relation) = relation else { return no("it names a table that the gate does not know") };
        if !used.actions.iter().all(|action| is_write(action) || matches!(action, Action::Select | Action::Lock)) {
            return no("it does more than read and write rows");
        }
        if used.actions.iter().any(is_write) {
            written.push(relation.id);
        } else {
            read.push(relation.id);
        }
    }
    if written.len() > MAX_TABLES {
        return Err(format!("it writes more than {MAX_TABLES} tables"));
    }
    // UPDATE computes a default only where it is told to
    let defaults = facts.kind != "DELETE" && (facts.kind == "INSERT" || text.contains("default"))
        || facts.relations.iter().any(|used| used.actions.contains(&Action::Insert));
    Ok(Countable { written, read, defaults })
}

/// Words of functions that give something else each time, though they change nothing: what is counted now would not be
/// what is written later.
const CHANCE: &[&str] = &["random", "uuid", "clock_timestamp", "timeofday"];

/// Why a failed run counts nothing.
pub(super) fn failed(sqlstate: &str, limit: Duration) -> Measured {
    Measured::not(match sqlstate {
        "57014" => format!("it takes longer than {} ms", limit.as_millis()),
        "55P03" | "40P01" => "another session has locked what it writes".to_owned(),
        "42501" => "the session's role may not run it, or may not look at the catalog (SQLSTATE 42501)".to_owned(),
        other => format!("it fails with SQLSTATE {other}"),
    })
}

/// The counters of one moment: rows inserted, updated, deleted by table.
pub(super) type Counters = BTreeMap<String, [i64; 3]>;

type Rows = [Vec<Option<String>>];

/// What the database says of the tables: the counters before, or why nothing is counted.
pub(super) fn checked(rows: &Rows, within: bool) -> Result<Counters, Measured> {
    let (mut problems, mut said) = (Vec::new(), None);
    for row in rows {
        match row.as_slice() {
            [Some(what), Some(problem), ..] if what == "problem" => problems.push(problem.as_str()),
            [Some(what), Some(counts), Some(isolation), ..] if what == "checked" => said = Some((counts, isolation)),
            _ => {}
        }
    }
    if !problems.is_empty() {
        problems.truncate(MAX_REASONS);
        return Err(Measured::not(problems.join("; ")));
    }
    let Some((counts, isolation)) = said else { return Err(Measured::not("the database did not say what it is")) };
    if counts != "on" {
        return Err(Measured::not("the database does not count rows (track_counts)"));
    }
    // a snapshot that a transaction keeps would begin with the counting
    if within && isolation != "read committed" {
        return Err(Measured::not(format!("its transaction is {isolation}")));
    }
    counters(rows).ok_or_else(|| Measured::not("the database's counters cannot be read"))
}

/// What was written between two readings.
pub(super) fn difference(before: &Counters, rows: &Rows) -> Measured {
    let Some(after) = counters(rows) else { return Measured::not("the database's counters cannot be read") };
    let written = after.into_iter().filter_map(|(table, [inserted, updated, deleted])| {
        let [i, u, d] = before.get(&table).copied().unwrap_or_default();
        let more = |now: i64, then: i64| now.saturating_sub(then);
        let (inserted, updated, deleted) = (more(inserted, i), more(updated, u), more(deleted, d));
        (inserted != 0 || updated != 0 || deleted != 0).then_some(Written { table, inserted, updated, deleted })
    });
    Measured::Counted(written.collect())
}

fn counters(rows: &Rows) -> Option<Counters> {
    let mut all = Counters::new();
    for row in rows {
        if let [Some(what), Some(table), Some(i), Some(u), Some(d)] = row.as_slice()
            && what == "count"
        {
            all.insert(table.clone(), [i.parse().ok()?, u.parse().ok()?, d.parse().ok()?]);
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(all: &[&[&str]]) -> Vec<Vec<Option<String>>> {
        let cell = |text: &&str| (*text != "-").then(|| (*text).to_owned());
        all.iter().map(|row| row.iter().map(cell).collect()).collect()
    }

    #[test]
    fn what_the_database_does_not_vouch_for_is_not_counted() {
        let checked_ok: &[&str] = &["checked", "on", "read committed", "-", "-"];
        let before = checked(&rows(&[checked_ok, &["count", "public.a", "1", "2", "3"]]), true).unwrap();
        assert_eq!(before.get("public.a"), Some(&[1, 2, 3]));
        let not = |all: &[&[&str]], within| checked(&rows(all), within).unwrap_err();
        assert_eq!(not(&[], false), Measured::not("the database did not say what it is"));
        let problem: &[&str] = &["problem", "public.a has rules", "-", "-", "-"];
        assert_eq!(not(&[problem, checked_ok], false), Measured::not("public.a has rules"));
        let serializable: &[&str] = &["checked", "on", "serializable", "-", "-"];
        assert!(checked(&rows(&[serializable]), false).is_ok());
        assert_eq!(not(&[serializable], true), Measured::not("its transaction is serializable"));
        assert!(matches!(not(&[&["checked", "off", "read committed", "-", "-"]], false), Measured::NotCounted(_)));
    }

    #[test]
    fn the_difference_counts_table_by_table() {
        let before = Counters::from([("public.a".to_owned(), [5, 0, 1])]);
        let after = rows(&[&["plan"], &["count", "public.a", "5", "0", "4"], &["count", "public.b", "0", "7", "0"]]);
        let (a, b) = ("public.a".to_owned(), "public.b".to_owned());
        let counted = Measured::Counted(vec![
            Written { table: a, inserted: 0, updated: 0, deleted: 3 },
            Written { table: b, inserted: 0, updated: 7, deleted: 0 },
        ]);
        assert_eq!(counted.flag(), "measured:rows=10");
        assert_eq!(difference(&before, &after), counted);
        assert_eq!(difference(&before, &rows(&[&["count", "public.a", "x", "0", "0"]])).flag(), "measured:not_counted");
    }

    #[test]
    fn queries_name_every_operator_in_full() {
        for sql in [&*CHECK, &*COUNT] {
            assert!(!sql.contains("[=]") && !sql.contains("[<") && !sql.contains("[>"), "{sql}");
            assert!(!sql.contains(" = ") && !sql.contains(" <> ") && !sql.contains(" IN ("), "{sql}");
        }
        let what = Countable { written: vec![16_400, 16_401], read: vec![], defaults: false };
        let sql = what.check();
        assert!(sql.contains("'{16400,16401}'::pg_catalog.oid[]") && sql.contains("'{}'::pg_catalog.oid[]"), "{sql}");
        assert!(!sql.contains("{written}") && !sql.contains("{defaults}"), "{sql}");
    }
}
