//! An answer as text: a table for a terminal, JSON for programs.

use super::parse::{Deed, Question, Who};
use super::{Answer, Document, Hit, time};
use crate::schema::verdict_name;
use schemas::event::{Column, Usage};
use std::{collections::BTreeSet, fmt::Write as _};

/// Longest text of a statement in a table; `-o json` has all of it.
const MAX_TEXT: usize = 80;
/// Longest other cell.
const MAX_CELL: usize = 40;

/// The answer as one line of JSON.
///
/// # Errors
/// If the answer cannot be written: a fault in this package.
pub fn json(answer: &Answer) -> Result<String, serde_json::Error> {
    serde_json::to_string(answer)
}

/// The answer as a table: for a question that asks who, first by identity, then the statements.
pub fn table(question: &Question, answer: &Answer) -> String {
    let mut out = String::new();
    if answer.hits.is_empty() && answer.total == 0 {
        out.push_str("nothing found\n");
    }
    if let Some(who) = &question.who
        && !answer.identities.is_empty()
    {
        identities(who, answer, &mut out);
        out.push('\n');
    }
    let rows: Vec<Vec<String>> = match &question.who {
        Some(who) => answer.hits.iter().flat_map(|hit| who_rows(who, hit)).collect(),
        None => answer.hits.iter().map(row).collect(),
    };
    if !rows.is_empty() {
        let heads: &[&str] = match &question.who {
            Some(Who { deed: Deed::WasDenied, .. }) => &["TIME", "IDENTITY", "STATEMENT", "REASON", "POLICY", "TEXT"],
            Some(_) => {
                &["TIME", "IDENTITY", "STATEMENT", "COLUMN", "USE", "SHOWN", "VERDICT", "OUTCOME", "ROWS", "TEXT"]
            }
            None => &["TIME", "IDENTITY", "ID", "RESOURCE", "KIND", "VERDICT", "OUTCOME", "ROWS", "DURATION", "TEXT"],
        };
        grid(heads, &rows, &mut out);
    }
    let shown = answer.hits.len();
    if u64::try_from(shown).unwrap_or(u64::MAX) < answer.total {
        line(&mut out, &format!("{shown} of {} shown", answer.total));
    }
    if answer.opaque > 0 {
        let (verb, n) = (if answer.opaque == 1 { "statement" } else { "statements" }, answer.opaque);
        line(&mut out, &format!("not counted: {n} {verb} that ran and whose reach cannot be known (ask opaque:true)"));
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn identities(who: &Who, answer: &Answer, out: &mut String) {
    let read = matches!(who.deed, Deed::Read | Deed::TriedToRead);
    let heads: &[&str] = match read {
        true => &["IDENTITY", "STATEMENTS", "MASKED", "CLEAR", "FIRST", "LAST"],
        false => &["IDENTITY", "STATEMENTS", "FIRST", "LAST"],
    };
    let rows: Vec<Vec<String>> = answer
        .identities
        .iter()
        .map(|one| {
            let name = if one.subject.is_empty() { "(nobody)".to_owned() } else { clean(&one.subject, MAX_CELL) };
            let mut row = vec![name, one.count.to_string()];
            if read {
                row.extend([one.masked.to_string(), one.clear.to_string()]);
            }
            row.extend([time::shown(one.first), time::shown(one.last)]);
            row
        })
        .collect();
    grid(heads, &rows, out);
}

/// One line for each column that was asked for and is in the hit; one without column where there is none.
fn who_rows(who: &Who, hit: &Hit) -> Vec<Vec<String>> {
    let start = vec![time::shown(hit.time), identity(hit), hit.id.clone()];
    let text = clean(hit.text.as_deref().unwrap_or("(not kept)"), MAX_TEXT);
    if who.deed == Deed::WasDenied {
        let reason = clean(&hit.reason, MAX_TEXT);
        return vec![[start, vec![reason, clean(&hit.policies.join(","), MAX_CELL), text]].concat()];
    }
    let columns = asked_columns(who, hit);
    let end = vec![verdict(hit), hit.outcome.clone(), number(hit.rows), text];
    let one = |cells: [String; 3]| [start.clone(), cells.into(), end.clone()].concat();
    if columns.is_empty() {
        return vec![one([clean(&who.object, MAX_CELL), "-".to_owned(), "-".to_owned()])];
    }
    columns.into_iter().map(|column| one([column.name.clone(), usage(column.usage), shown(column)])).collect()
}

/// The columns of a hit that the question means: by any end of their name, or by that of their relation.
fn asked_columns<'a>(who: &Who, hit: &'a Hit) -> Vec<&'a Column> {
    let object = who.object.to_lowercase();
    let ends =
        |name: &str| name == object || name.strip_suffix(object.as_str()).is_some_and(|rest| rest.ends_with('.'));
    let of_deed = |column: &&Column| match who.deed {
        Deed::Read | Deed::TriedToRead => column.usage != Usage::Written,
        Deed::Wrote => column.usage == Usage::Written,
        Deed::Touched | Deed::WasDenied => true,
    };
    let meant = |column: &&Column| {
        let name = column.name.to_lowercase();
        ends(&name) || name.rsplit_once('.').is_some_and(|(relation, _)| ends(relation))
    };
    hit.columns.iter().filter(of_deed).filter(meant).collect()
}

fn usage(usage: Usage) -> String {
    match usage {
        Usage::Projected => "projected",
        Usage::Filtered => "filtered",
        Usage::Joined => "joined",
        Usage::Written => "written",
    }
    .to_owned()
}

fn shown(column: &Column) -> String {
    match (column.usage, column.masked) {
        (Usage::Written, _) => "-",
        (_, true) => "masked",
        (_, false) => "clear",
    }
    .to_owned()
}

fn row(hit: &Hit) -> Vec<String> {
    let kind = if hit.kind.is_empty() { hit.document.name().to_owned() } else { hit.kind.clone() };
    let text = match hit.document {
        Document::Statement => hit.text.as_deref().unwrap_or("(not kept)"),
        _ if hit.reason.is_empty() => hit.text.as_deref().unwrap_or_default(),
        _ => &hit.reason,
    };
    let duration = hit.duration.map_or_else(|| "-".to_owned(), time::shown_span);
    let outcome = match &hit.sqlstate {
        Some(sqlstate) => format!("{} {sqlstate}", hit.outcome),
        None => hit.outcome.clone(),
    };
    // beside the verdict on the statement: what was masked of its answer without a rule
    let found: BTreeSet<&str> = hit.found.iter().map(|found| found.detector.as_str()).collect();
    let verdict = found.iter().fold(verdict(hit), |text, detector| format!("{text} +{detector}"));
    let resource = clean(&hit.resource, MAX_CELL);
    let text = clean(text, MAX_TEXT);
    vec![
        time::shown(hit.time),
        identity(hit),
        hit.id.clone(),
        resource,
        kind,
        verdict,
        outcome,
        number(hit.rows),
        duration,
        text,
    ]
}

fn identity(hit: &Hit) -> String {
    hit.identity.as_ref().map_or_else(|| "-".to_owned(), |identity| clean(&identity.subject, MAX_CELL))
}

fn verdict(hit: &Hit) -> String {
    hit.verdict.map_or("-", verdict_name).to_owned()
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// A cell without control characters (a terminal obeys them), cut to a length.
fn clean(text: &str, limit: usize) -> String {
    let safe = |c: char| if c.is_control() { ' ' } else { c };
    let mut cell: String = text.chars().take(limit).map(safe).collect();
    if text.chars().nth(limit).is_some() {
        cell.push_str("...");
    }
    if cell.is_empty() { "-".to_owned() } else { cell }
}

fn grid(heads: &[&str], rows: &[Vec<String>], out: &mut String) {
    let mut widths: Vec<usize> = heads.iter().map(|head| head.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut print = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            // Writing to a String cannot fail.
            write!(text, "{cell:width$}  ").unwrap_or_default();
        }
        line(out, text.trim_end());
    };
    print(&mut heads.iter().copied());
    rows.iter().for_each(|row| print(&mut row.iter().map(String::as_str)));
}
