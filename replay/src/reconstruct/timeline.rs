//! What happened in a session, step by step, as its client saw it.

use super::Session;
use crate::moment;
use schemas::event::{Found, Outcome as Ending, Protocol, Usage, VerdictKind};
use serde::Serialize;

/// What happened in a session.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timeline {
    /// The session in short.
    pub session: Session,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// What the record lacks or does not show here, in words.
    pub notes: Vec<String>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// A statement, with all that became of it.
    Statement(Box<StatementStep>),
    /// The record has a hole here.
    Gap {
        /// When it was found.
        #[serde(serialize_with = "moment::serialize")]
        time: i64,
        /// Microseconds since the session opened.
        offset_us: i64,
        /// What is missing, and why.
        detail: String,
    },
}

/// A statement, what was decided of it, and what its client got.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatementStep {
    /// `stm_<session>_<number>`.
    pub id: String,
    /// Its number in the session, from 1.
    pub number: u64,
    /// When it arrived.
    #[serde(serialize_with = "moment::serialize")]
    pub time: i64,
    /// Microseconds since the session opened.
    pub offset_us: i64,
    /// How it came.
    pub protocol: Protocol,
    /// The SQL text.
    pub text: String,
    /// The prepared statement's name.
    pub prepared: String,
    /// The portal's name.
    pub portal: String,
    /// What was bound to its parameters.
    pub parameters: Vec<Value>,
    /// What was decided; null where the record ends before.
    pub decision: Option<Decision>,
    /// The wait for a reviewer, if there was one.
    pub hold: Option<Hold>,
    /// How it ended; null where the record ends before.
    pub outcome: Option<Outcome>,
    /// The results as its client got them.
    pub answers: Vec<Answer>,
    /// Errors and notices as its client got them.
    pub messages: Vec<Message>,
}

/// What was decided of a statement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// What becomes of it.
    pub verdict: VerdictKind,
    /// The reason that the client was told.
    pub reason: String,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// The digest of their version.
    pub policy_version: String,
    /// Such as `SELECT`.
    pub kind: String,
    /// It changes nothing.
    pub read_only: bool,
    /// What it reaches cannot be known from its text.
    pub opaque: bool,
    /// `schema.name`.
    pub relations: Vec<String>,
    /// The columns that it touches.
    pub columns: Vec<ColumnUse>,
    /// The functions that it calls.
    pub functions: Vec<String>,
    /// Notes for auditors.
    pub flags: Vec<String>,
}

/// A column that a statement touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnUse {
    /// `schema.relation.column`.
    pub name: String,
    /// How it is used; null where the index does not say.
    pub usage: Option<Usage>,
    /// Its values are hidden from the identity.
    pub masked: bool,
}

/// The wait for a reviewer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hold {
    /// The access request.
    pub request: String,
    /// The groups that may answer.
    pub reviewers: Vec<String>,
    /// When it ends by itself.
    #[serde(serialize_with = "moment::serialize")]
    pub expires: i64,
    /// Who answered.
    pub reviewer: Option<String>,
    /// Whether it was released; null while it waits.
    pub approved: Option<bool>,
    /// The reason.
    pub reason: String,
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// In a word.
    pub outcome: Ending,
    /// The command tag.
    pub tag: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of those rows on the client's wire.
    pub bytes: u64,
    /// Microseconds from arrival to outcome.
    pub duration_us: u64,
    /// The error's SQLSTATE.
    pub sqlstate: Option<String>,
    /// What detectors found in its answer, and hid.
    pub found: Vec<Found>,
}

/// A result as its client got it, after masking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Its columns.
    pub columns: Vec<AnswerColumn>,
    /// Its first rows.
    pub rows: Vec<Vec<Value>>,
    /// Rows that the client got in all.
    pub total: u64,
    /// How many of them the record keeps only digests of.
    pub left_out: u64,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AnswerColumn {
    /// Its name in the result.
    pub name: String,
    /// It shows, or is made of, values that were hidden from the identity.
    pub masked: bool,
}

/// A value of a result or a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// NULL.
    Null,
    /// Its text form; a binary value in digits.
    Text(String),
}

/// An error, a notice or a notification as its client got it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Such as `ERROR`, `NOTICE`, `NOTIFICATION`.
    pub severity: String,
    /// Its SQLSTATE; empty where it has none.
    pub sqlstate: String,
    /// What it says.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}
