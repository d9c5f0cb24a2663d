//! What was found, counted.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What can be wrong with a statement's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// The analysis panicked.
    Panic,
    /// The server accepts it, the gate would not.
    NotUnderstood,
    /// It is understood but for a part.
    Opaque,
    /// The facts name a relation that is not there.
    UnknownRelation,
    /// The plan names a relation that the facts do not.
    PlanOnly,
    /// The second parser reads it differently.
    ParsersDiffer,
}

/// How many findings of a kind and a reason are shown.
const SHOWN: usize = 400;

/// Counts.
pub struct Tally {
    pub planned: usize,
    pub blind: usize,
    statements: usize,
    accepted: usize,
    understood: usize,
    findings: BTreeMap<Finding, Vec<String>>,
    script: String,
    verbose: bool,
}

/// The counts, whichever connection wants them: a panic elsewhere ends the run, not the counting.
pub fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    pub fn new(verbose: bool) -> Self {
        let (planned, blind, statements, accepted, understood) = (0, 0, 0, 0, 0);
        let findings = BTreeMap::new();
        Self { planned, blind, statements, accepted, understood, findings, script: String::new(), verbose }
    }

    /// The next script begins.
    pub fn script(&mut self, name: &str) {
        name.clone_into(&mut self.script);
        if self.verbose {
            eprintln!("{name}: {} statements so far", self.statements);
        }
    }

    /// One more statement.
    pub fn statement(&mut self, accepted: bool, understood: bool) {
        self.statements += 1;
        self.accepted += usize::from(accepted);
        self.understood += usize::from(accepted && understood);
    }

    /// Something is wrong with one.
    pub fn found(&mut self, finding: Finding, what: &str, text: &str) {
        let limit = if self.verbose { 4000 } else { 160 };
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(limit).collect();
        self.findings.entry(finding).or_default().push(format!("{}: {what}: {text}", self.script));
    }

    /// Something that is no statement's fault.
    pub fn note(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Prints all; whether it is good.
    pub fn print(&self, least: f64) -> bool {
        for (finding, texts) in &self.findings {
            println!("{finding:?}: {}", texts.len());
            texts.iter().take(SHOWN).for_each(|text| println!("  {text}"));
        }
        let count = |finding: Finding| self.findings.get(&finding).map_or(0, Vec::len);
        let parts = f64::from(u32::try_from(self.understood).unwrap_or(u32::MAX));
        let share = parts / f64::from(u32::try_from(self.accepted.max(1)).unwrap_or(u32::MAX));
        println!(
            "\n{} statements, {} accepted by the server, {} of these understood ({:.3} %), {} refused with a reason; \
             {} compared with their plans, {} of these call functions or are opaque",
            self.statements,
            self.accepted,
            self.understood,
            share * 100.0,
            self.accepted - self.understood,
            self.planned,
            self.blind,
        );
        let checks = [
            ("no panic", count(Finding::Panic) == 0),
            ("understood", share >= least && count(Finding::Opaque) == 0),
            ("no unknown relation", count(Finding::UnknownRelation) == 0),
            ("every planned relation is named", count(Finding::PlanOnly) == 0),
            ("the tripwire raises no alarm", count(Finding::ParsersDiffer) == 0),
        ];
        let failed: Vec<_> = checks.iter().filter(|(_, good)| !good).map(|(name, _)| *name).collect();
        failed.iter().for_each(|name| println!("FAILED: {name}"));
        println!("\n{} passed, {} failed", checks.len() - failed.len(), failed.len());
        failed.is_empty()
    }
}
