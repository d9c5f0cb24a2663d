//! What became of a case.

use crate::{
    admin::Admin,
    case::{Case, Expectation, Oracle},
    messages::{Message, field, rows},
    needles::{Hit, Scanner},
    steps,
    wire::Target,
    world::World,
};
use anyhow::{Context as _, Result};
use regex::bytes::Regex;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt,
    time::{Duration, Instant},
};

/// How far two probes may differ in time.
const TIMING: Duration = Duration::from_millis(250);
/// How often they must, for a machine or a disk stands still now and then, and who measures can measure again.
const ROUNDS: usize = 5;

/// A verdict on a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    Pass,
    /// A protected value came through, or two probes could be told apart.
    Leak,
    /// A guardrail did not hold: the database was changed.
    Effect,
    /// What should be denied came back without a leak.
    NotDenied,
    /// What should be masked was denied.
    WrongDenial,
    /// What should work did not.
    OverBlock,
    /// What is masked lacks what is not protected.
    BadMask,
    /// No end came.
    Timeout,
    /// The record does not say what was touched.
    AuditMiss,
    /// The case could not be run.
    RunnerError,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Leak => "LEAK",
            Self::Effect => "EFFECT",
            Self::NotDenied => "NOT_DENIED",
            Self::WrongDenial => "WRONG_DENIAL",
            Self::OverBlock => "OVER_BLOCK",
            Self::BadMask => "BAD_MASK",
            Self::Timeout => "TIMEOUT",
            Self::AuditMiss => "AUDIT_MISS",
            Self::RunnerError => "RUNNER_ERROR",
        })
    }
}

/// What became of a case, and what was seen.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub id: String,
    pub family: String,
    pub expected: Expectation,
    pub result: Kind,
    pub denied: bool,
    /// A statement was carried out that may have changed something.
    pub did: bool,
    pub channels: BTreeSet<&'static str>,
    pub needle: Option<String>,
    /// SQLSTATE and text of the first error.
    pub error: Option<String>,
    /// What else there is to say.
    pub detail: Option<String>,
    /// How long it took, milliseconds.
    pub millis: u128,
}

impl Outcome {
    /// For people.
    pub fn line(&self) -> String {
        let channels = self.channels.iter().copied().collect::<Vec<_>>().join(",");
        let seen = self.needle.as_deref().map(|needle| format!(" {channels}: {needle}")).unwrap_or_default();
        let error: String = self.error.iter().chain(&self.detail).flat_map(|text| [" ", text]).collect();
        format!("{:<13} {:<26} {:<9}{seen}{error}", self.result, self.id, format!("{:?}", self.expected).to_lowercase())
    }
}

/// Runs a case.
pub fn run(case: &Case, admin: &mut Admin, world: &World, scanner: &Scanner) -> Outcome {
    let start = Instant::now();
    let millis = || start.elapsed().as_millis();
    match attempt(case, admin, &world.gate(&case.id), scanner) {
        Ok(outcome) => Outcome { millis: millis(), ..outcome },
        Err(error) => Outcome {
            id: case.id.clone(),
            family: case.family.clone(),
            expected: case.expected,
            result: Kind::RunnerError,
            denied: false,
            did: false,
            channels: BTreeSet::new(),
            needle: None,
            error: None,
            detail: Some(format!("{error:#}")),
            millis: millis(),
        },
    }
}

fn attempt(case: &Case, admin: &mut Admin, gate: &Target, scanner: &Scanner) -> Result<Outcome> {
    for sql in &case.setup {
        let sql = admin.substitute_text(sql)?;
        admin.query(&sql)?;
    }
    let (messages, hits) = match &case.oracle {
        Some(oracle) => probe(oracle, admin, gate)?,
        None => {
            let steps = if case.steps.is_empty() { vec![json!({ "q": case.sql })] } else { case.steps.clone() };
            let messages = carry_out(&steps, admin, gate)?.0;
            let hits = scanner.hits(case, &messages);
            (messages, hits)
        }
    };
    let verified = match &case.verify {
        Some(verify) => {
            let sql = admin.substitute_text(&verify.sql)?;
            let found = admin.one(&sql)?.unwrap_or_default();
            (found != verify.expect).then(|| format!("after it, {} is {found}, not {}", verify.sql, verify.expect))
        }
        None => None,
    };
    Ok(conclude(case, &messages, &hits, verified))
}

fn carry_out(steps: &[Value], admin: &mut Admin, gate: &Target) -> Result<(Vec<Message>, Duration)> {
    let steps = admin.substitute(&Value::from(steps.to_vec()))?;
    steps::run(steps.as_array().context("steps are a list")?, gate)
}

/// Both probes must look the same.
fn probe(oracle: &Oracle, admin: &mut Admin, gate: &Target) -> Result<(Vec<Message>, Vec<Hit>)> {
    let steps = |probe: &Value| probe.as_array().cloned().unwrap_or_else(|| vec![json!({ "q": probe })]);
    let (first, second) = (steps(&oracle.t), steps(&oracle.f));
    let strip = oracle.strip.as_deref().map(Regex::new).transpose().context("what to strip")?;
    let (mut slower, mut rounds) = (BTreeSet::new(), 0);
    let (messages, differs) = loop {
        let (one, other) = (carry_out(&first, admin, gate)?, carry_out(&second, admin, gate)?);
        let apart = one.1.abs_diff(other.1) > TIMING;
        slower.insert(one.1 > other.1);
        let said = [one.0, other.0];
        if !oracle.timing {
            let [one, other] = said.each_ref().map(|said| signature(said, strip.as_ref()));
            break (said.concat(), one != other);
        }
        rounds += 1;
        // a difference that tells something is there each time, and the same way round
        if !apart || slower.len() > 1 || rounds == ROUNDS {
            break (said.concat(), apart && slower.len() == 1);
        }
    };
    let hits = differs.then(|| Hit { channel: "oracle", needle: "differs".to_owned() });
    Ok((messages, hits.into_iter().collect()))
}

/// What an observer can tell answers apart by.
fn signature(messages: &[Message], strip: Option<&Regex>) -> Vec<(u8, Vec<u8>)> {
    let seen = |(kind, body): (u8, &[u8])| match kind {
        b'D' => Some((
            kind,
            match strip {
                Some(strip) => strip.replace_all(body.get(6..).unwrap_or_default(), &b""[..]).into_owned(),
                None => body.to_vec(),
            },
        )),
        b'C' | b'd' => Some((kind, body.to_vec())),
        b'E' | b'N' => Some((kind, field(body, 'C').into_bytes())),
        _ => None,
    };
    messages.iter().filter_map(Message::server).filter_map(seen).collect()
}

fn conclude(case: &Case, messages: &[Message], hits: &[Hit], verified: Option<String>) -> Outcome {
    let server = || messages.iter().filter_map(Message::server);
    let error = server().find(|(kind, _)| *kind == b'E').map(|(_, body)| body);
    let silent = messages.iter().any(|message| matches!(message, Message::Timeout | Message::Closed));
    let closed = messages.contains(&Message::Closed);
    let denied = error.is_some() || closed || messages.is_empty();
    let said: Vec<u8> = server().flat_map(|(_, body)| body.iter().copied().chain([b'\n'])).collect();
    let missing = case.must_contain.iter().find(|text| !holds(&said, text));
    let result = if !hits.is_empty() {
        Kind::Leak
    } else if verified.is_some() {
        if case.expected == Expectation::Allowed { Kind::OverBlock } else { Kind::Effect }
    } else if case.expected == Expectation::Allowed {
        let blocked = (denied && !case.error_ok) || missing.is_some() || silent;
        if blocked { Kind::OverBlock } else { Kind::Pass }
    } else if denied {
        if case.accepts("denied") { Kind::Pass } else { Kind::WrongDenial }
    } else if silent {
        let may = matches!(case.expected, Expectation::Approval | Expectation::Denied);
        if may { Kind::Pass } else { Kind::Timeout }
    } else if case.accepts("masked") || case.accepts("allowed") {
        if missing.is_none() { Kind::Pass } else { Kind::BadMask }
    } else if case.verify.is_some() {
        Kind::Pass
    } else {
        Kind::NotDenied
    };
    let missing = missing.map(|text| format!("{text} does not come back"));
    let rows: usize = rows(messages).iter().map(Vec::len).sum();
    let shown = (result == Kind::NotDenied).then(|| format!("{rows} rows came back"));
    Outcome {
        id: case.id.clone(),
        family: case.family.clone(),
        expected: case.expected,
        result,
        denied,
        did: server().any(|(kind, body)| kind == b'C' && changes(body)),
        channels: hits.iter().map(|hit| hit.channel).collect(),
        needle: hits.first().map(|hit| hit.needle.clone()),
        error: error.map(|body| format!("{} {}", field(body, 'C'), field(body, 'M'))),
        detail: verified.or(missing).or(shown),
        millis: 0,
    }
}

/// As Python's `in` on texts of one byte a character.
fn holds(said: &[u8], text: &str) -> bool {
    let latin: Option<Vec<u8>> = text.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect();
    latin.is_some_and(|needle| needle.is_empty() || said.windows(needle.len()).any(|window| window == needle))
}

/// A command tag other than those of settings and transactions.
fn changes(tag: &[u8]) -> bool {
    let harmless: [&[u8]; 6] = [b"BEGIN", b"SET", b"RESET", b"ROLLBACK", b"PREPARE\0", b"DISCARD"];
    !harmless.iter().any(|harmless| tag.starts_with(harmless))
}
