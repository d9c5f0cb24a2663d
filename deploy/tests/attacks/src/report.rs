//! What a run comes to, and whether that is what is known.

use crate::{
    case::Expectation,
    outcome::{Kind, Outcome},
};
use anyhow::{Context as _, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Denying is not masking: of the cases of these families that are to be masked, most must come back as masked rows.
const MASKED_FAMILIES: [&str; 19] = [
    "alias",
    "star",
    "expr_text",
    "expr_encode",
    "expr_numeric",
    "expr_json_xml",
    "whole_row",
    "aggregate_window",
    "cte_subquery",
    "set_ops",
    "joins",
    "views_existing",
    "partition_inherit",
    "derived_column",
    "dml_returning",
    "copy_out",
    "cursor",
    "prepare_sql",
    "extended",
];

/// Failures that are known, and the share of masked rows that is reached at least.
#[derive(Debug, Default)]
pub struct Expected {
    failures: BTreeMap<String, String>,
    share: u32,
}

impl Expected {
    /// Lines `ID RESULT reason`, one `masked-share PERCENT`, and `#` comments.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let mut expected = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("masked-share"), Some(share)) => expected.share = share.parse().context("a share in percent")?,
                (Some(id), Some(result)) => {
                    expected.failures.insert(id.to_owned(), result.to_owned());
                }
                _ => bail!("{}: cannot read {line:?}", file.display()),
            }
        }
        Ok(expected)
    }
}

/// Prints the results; true if they are good, or exactly those that are expected.
pub fn print(results: &[Outcome], expected: Option<&Expected>) -> bool {
    families(results);
    let (masked, of) = masked(results);
    let share = masked * 100 / of.max(1);
    let failures: Vec<&Outcome> = results.iter().filter(|outcome| outcome.result != Kind::Pass).collect();
    if !failures.is_empty() {
        println!("\nfailures:");
        failures.iter().for_each(|outcome| println!("  {}", outcome.line()));
    }
    let count = |kind: Kind| results.iter().filter(|outcome| outcome.result == kind).count();
    println!(
        "\n{} cases: {} leaks, {} effects, {} not denied, {} wrong denials, {} over-blocks, {} bad masks, {} timeouts, \
         {} audit misses, {} runner errors; masked share {masked} of {of} ({share} %)",
        results.len(),
        count(Kind::Leak),
        count(Kind::Effect),
        count(Kind::NotDenied),
        count(Kind::WrongDenial),
        count(Kind::OverBlock),
        count(Kind::BadMask),
        count(Kind::Timeout),
        count(Kind::AuditMiss),
        count(Kind::RunnerError),
    );
    let surprises = expected.map_or_else(
        || failures.iter().map(|outcome| outcome.id.clone()).collect(),
        |expected| surprises(results, expected, share),
    );
    for surprise in surprises.iter().filter(|_| expected.is_some()) {
        println!("not as expected: {surprise}");
    }
    let failed = surprises.len();
    println!("\n{} passed, {failed} failed", results.len().saturating_sub(failed));
    failed == 0
}

/// What differs from the known failures. Known failures of cases that did not run are no matter.
fn surprises(results: &[Outcome], expected: &Expected, share: usize) -> Vec<String> {
    let mut surprises = Vec::new();
    for outcome in results {
        let got = outcome.result.to_string();
        let want = expected.failures.get(&outcome.id).map_or("pass", String::as_str);
        if got != want {
            surprises.push(format!("{} is {got}, not {want}: {}", outcome.id, outcome.line()));
        }
    }
    let whole: BTreeSet<&str> = results.iter().map(|outcome| outcome.family.as_str()).collect();
    if MASKED_FAMILIES.iter().all(|family| whole.contains(family)) && share < expected.share as usize {
        surprises.push(format!("the masked share is {share} %, not {} %", expected.share));
    }
    surprises
}

fn families(results: &[Outcome]) {
    let mut families: Vec<(&str, BTreeMap<Kind, usize>)> = Vec::new();
    for outcome in results {
        if families.last().is_none_or(|(family, _)| *family != outcome.family) {
            families.push((&outcome.family, BTreeMap::new()));
        }
        if let Some((_, counts)) = families.last_mut() {
            *counts.entry(outcome.result).or_default() += 1;
        }
    }
    for (family, counts) in families {
        let counts: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        println!("  {family:<24} {}", counts.join(", "));
    }
}

/// How many of the cases that are to be masked came back as rows; prints why the others did not.
fn masked(results: &[Outcome]) -> (usize, usize) {
    let counts = |outcome: &&Outcome| {
        outcome.expected == Expectation::Masked && MASKED_FAMILIES.contains(&outcome.family.as_str())
    };
    let of: Vec<&Outcome> = results.iter().filter(counts).collect();
    let safe = |outcome: &&&Outcome| matches!(outcome.result, Kind::Pass | Kind::AuditMiss);
    let good = of.iter().filter(safe).filter(|outcome| !outcome.denied).count();
    let denied: Vec<_> = of.iter().filter(|outcome| outcome.denied).collect();
    if !denied.is_empty() {
        println!("\ndenied in the place of masked:");
    }
    for outcome in denied {
        println!("  {:<26} {}", outcome.id, outcome.error.as_deref().unwrap_or("the connection ended"));
    }
    (good, of.len())
}
