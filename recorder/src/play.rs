//! A session as a timeline for people: statement by statement, what was asked, decided and answered.
//!
//! ```text
//! events --play--> Vec<Entry> --render--> a terminal          (Entry is also what an API gives as JSON)
//! ```
//!
//! What was answered is read from the recorded server frames, that is, after masking: a timeline shows what the client
//! saw, and no more. Answers are matched to statements in order, by command tag and SQLSTATE ([`answers`]). Where the
//! frames were not kept, the events alone are told; of rows that are kept as digests, how many they were.

mod answers;
mod control;
mod render;

pub use render::{Options, render};

use crate::frames::{self, Diagnostic};
use schemas::Event;
use schemas::event::{
    Access, Body, Completed, Found, Gap, Held, Outcome, Payload, Protocol, Reviewed, SessionClosed, SessionOpened,
    SessionRefused, Statement, Verdict, VerdictKind,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Rows of a result that an entry keeps.
pub const ROWS: usize = 50;

/// Characters of a value that an entry keeps.
const VALUE_CHARS: usize = 256;

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// Microseconds since the session's first event.
    pub offset: i64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// The session began.
    Opened(Box<SessionOpened>),
    /// The connection was refused.
    Refused(Box<SessionRefused>),
    /// A statement, with all that became of it.
    Statement(Box<Told>),
    /// Recovery could not read a part of the log.
    Gap(Gap),
    /// An auditor used the API.
    Access(Box<Access>),
    /// Something of the control plane: a request for access, a review, a grant, a revocation, an alarm, a leased role.
    Control {
        /// The kind of event.
        event: &'static str,
        /// What happened, in words.
        text: String,
    },
    /// The recorded frames cannot be shown from here on.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// The session ended.
    Closed(SessionClosed),
}

/// A statement, with all that became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// Its number in the session.
    pub number: u64,
    /// How it came.
    pub protocol: Protocol,
    /// The SQL text; where it is sealed, what may be shown of it.
    pub text: String,
    /// The prepared statement's name; empty for the unnamed one.
    pub prepared: String,
    /// The parameters, `None` for NULL; binary ones in hexadecimal.
    pub parameters: Vec<Option<String>>,
    /// What was decided; `None` where the record ends before.
    pub verdict: Option<VerdictKind>,
    /// Why.
    pub reason: String,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// The relations that it touches.
    pub relations: Vec<String>,
    /// The columns that were hidden from the identity.
    pub masked: Vec<String>,
    /// Who was asked.
    pub held: Option<Held>,
    /// What was answered to that.
    pub reviewed: Option<Reviewed>,
    /// What detectors found in its answer, and hid.
    pub found: Vec<Found>,
    /// The columns of the answer.
    pub columns: Vec<String>,
    /// Its first [`ROWS`] rows, as the client saw them; `None` for NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// The rows that the client received or sent.
    pub row_count: u64,
    /// How many of them the record keeps only digests of.
    pub left_out: u64,
    /// The command tag.
    pub tag: String,
    /// The error that the client was told.
    pub error: Option<Diagnostic>,
    /// The notices before the answer's end.
    pub notices: Vec<Diagnostic>,
    /// How it ended; `None` where the record ends before.
    pub outcome: Option<Outcome>,
    /// SQLSTATE of the outcome.
    pub sqlstate: Option<String>,
    /// Microseconds from its arrival to its outcome.
    pub duration: Option<u64>,
}

/// Tells the events of one session, in the order of their sequence.
pub fn play(events: &[Event]) -> Vec<Entry> {
    let start = events.first().map_or(0, |event| event.time);
    let mut telling = Telling { start, entries: Vec::new(), statements: BTreeMap::new(), binds: BTreeMap::new() };
    for event in events {
        telling.event(event);
    }
    if let Some(problem) = answers::fill(events, &mut telling) {
        let time = events.last().map_or(start, |event| event.time);
        let entry = telling.entry(time, What::Unreadable { reason: problem });
        let end = telling.entries.iter().rposition(|e| matches!(e.what, What::Closed(_)));
        telling.entries.insert(end.unwrap_or(telling.entries.len()), entry);
    }
    telling.entries
}

struct Telling {
    start: i64,
    entries: Vec<Entry>,
    /// Number of a statement to its place in `entries`.
    statements: BTreeMap<u64, usize>,
    binds: BTreeMap<u64, frames::Bound>,
}

impl Telling {
    fn entry(&self, time: i64, what: What) -> Entry {
        Entry { time, offset: time.saturating_sub(self.start), what }
    }

    fn told(&mut self, number: u64) -> Option<&mut Told> {
        let place = *self.statements.get(&number)?;
        match &mut self.entries.get_mut(place)?.what {
            What::Statement(told) => Some(told),
            _ => None,
        }
    }

    fn event(&mut self, event: &Event) {
        let what = match &event.body {
            Body::SessionOpened(opened) => What::Opened(Box::new(opened.clone())),
            Body::SessionRefused(refused) => What::Refused(Box::new(refused.clone())),
            Body::Statement(statement) => {
                self.statements.insert(statement.number, self.entries.len());
                What::Statement(Box::new(self.statement(statement)))
            }
            Body::Verdict(verdict) => return self.verdict(verdict),
            Body::Held(held) => return self.told(held.number).map_or((), |told| told.held = Some(held.clone())),
            Body::Reviewed(reviewed) => {
                return self.told(reviewed.number).map_or((), |told| told.reviewed = Some(reviewed.clone()));
            }
            Body::Completed(completed) => return self.completed(completed),
            Body::Frames(_) => return,
            Body::Gap(gap) => What::Gap(gap.clone()),
            Body::SessionClosed(closed) => What::Closed(closed.clone()),
            Body::Access(access) => What::Access(Box::new(access.clone())),
            other => What::Control { event: other.name(), text: control::text(other) },
        };
        self.entries.push(self.entry(event.time, what));
    }

    fn statement(&mut self, statement: &Statement) -> Told {
        let plain = statement.parameters.as_ref().filter(|p| p.codec == schemas::event::PayloadCodec::Plain);
        let bound = plain.and_then(|p| frames::bound(&p.bytes).ok());
        let parameters = bound
            .iter()
            .flat_map(|bound| &bound.values)
            .map(|(binary, value)| value.as_ref().map(|bytes| cut(&frames::shown(bytes, 0, *binary))));
        let parameters = parameters.collect();
        if let Some(bound) = bound {
            self.binds.insert(statement.number, bound);
        }
        Told {
            number: statement.number,
            protocol: statement.protocol,
            text: statement.text.to_text(),
            prepared: statement.prepared.clone(),
            parameters,
            verdict: None,
            reason: String::new(),
            policies: Vec::new(),
            relations: Vec::new(),
            masked: Vec::new(),
            held: None,
            reviewed: None,
            found: Vec::new(),
            columns: Vec::new(),
            rows: Vec::new(),
            row_count: 0,
            left_out: 0,
            tag: String::new(),
            error: None,
            notices: Vec::new(),
            outcome: None,
            sqlstate: None,
            duration: None,
        }
    }

    fn verdict(&mut self, verdict: &Verdict) {
        let Some(told) = self.told(verdict.number) else { return };
        if let Some(shape) = verdict.shape.as_ref().filter(|_| told.text == Payload::SEALED) {
            told.text = format!("{} {shape}", Payload::SEALED);
        }
        told.verdict = Some(verdict.verdict);
        told.reason.clone_from(&verdict.reason);
        told.policies.clone_from(&verdict.policies);
        told.relations = verdict.relations.iter().map(|relation| relation.name.clone()).collect();
        told.masked = verdict.columns.iter().filter(|c| c.masked).map(|column| column.name.clone()).collect();
        told.masked.dedup();
    }

    fn completed(&mut self, completed: &Completed) {
        let Some(told) = self.told(completed.number) else { return };
        told.outcome = Some(completed.outcome);
        told.tag.clone_from(&completed.tag);
        told.row_count = completed.rows;
        told.sqlstate.clone_from(&completed.sqlstate);
        told.duration = Some(completed.duration);
        told.found.clone_from(&completed.found);
    }
}

/// The beginning of a text, with a mark where more was there.
fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
