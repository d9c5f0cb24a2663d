//! A case of the corpus: what is sent, what may come back, what must not.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// What should become of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expectation {
    /// Rows come back, without protected values.
    Masked,
    /// It is refused.
    Denied,
    /// It works as without a gate.
    Allowed,
    /// It waits for a person, or is refused.
    Approval,
}

/// One case.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    pub id: String,
    pub family: String,
    pub expected: Expectation,
    #[serde(default)]
    pub accept: Vec<String>,
    #[serde(default)]
    pub sql: Option<String>,
    #[serde(default)]
    pub steps: Vec<Value>,
    #[serde(default)]
    pub oracle: Option<Oracle>,
    #[serde(default)]
    pub must_not_contain: Vec<String>,
    #[serde(default)]
    pub must_not_contain_hex: Vec<String>,
    #[serde(default)]
    pub must_contain: Vec<String>,
    /// Scan for every window of every protected value too.
    #[serde(default = "yes")]
    pub universal: bool,
    /// Scan the values of a row, and of a column, put together.
    #[serde(default = "yes")]
    pub concat: bool,
    #[serde(default)]
    pub audit_must_name: Vec<String>,
    #[serde(default)]
    pub verify: Option<Verify>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub setup: Vec<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub teardown: Vec<String>,
    #[serde(default)]
    pub reset: bool,
    #[serde(default)]
    pub error_ok: bool,
}

/// Two probes whose answers must not differ.
#[derive(Debug, Clone, Deserialize)]
pub struct Oracle {
    /// A text, or steps.
    pub t: Value,
    pub f: Value,
    /// What is taken out of rows before they are compared.
    #[serde(default)]
    pub strip: Option<String>,
    /// Compare how long they take.
    #[serde(default)]
    pub timing: bool,
}

/// A question to the database itself, after the case.
#[derive(Debug, Clone, Deserialize)]
pub struct Verify {
    pub sql: String,
    pub expect: String,
}

impl Case {
    /// Which outcomes are right.
    pub fn accepts(&self, outcome: &str) -> bool {
        if !self.accept.is_empty() {
            return self.accept.iter().any(|accepted| accepted == outcome);
        }
        let usual: &[&str] = match self.expected {
            Expectation::Masked => &["masked", "denied"],
            Expectation::Denied => &["denied"],
            Expectation::Allowed => &["allowed"],
            Expectation::Approval => &["denied", "approval"],
        };
        usual.contains(&outcome)
    }

    /// Every text that it sends, for whoever wants to know what it names.
    pub fn text(&self) -> String {
        let mut text = self.sql.clone().unwrap_or_default();
        text.push_str(&serde_json::to_string(&self.steps).unwrap_or_default());
        if let Some(oracle) = &self.oracle {
            text.push_str(&oracle.t.to_string());
        }
        text
    }
}

const fn yes() -> bool {
    true
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::One(one) => vec![one],
        Either::Many(many) => many,
    })
}

/// The cases of a file; `{"#": ...}` lines and empty ones are skipped.
pub fn read(file: &Path) -> Result<Vec<Case>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut cases = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let case = serde_json::from_str(line);
        cases.push(case.with_context(|| format!("{} line {}", file.display(), number + 1))?);
    }
    Ok(cases)
}
