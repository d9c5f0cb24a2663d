//! The shapes of a question to the index and of its answer.

use crate::moment;
use crate::reconstruct::ColumnUse;
use schemas::event;
use serde::Serialize;

/// What an auditor asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `who read card_number`, fields (`identity:billing-bot verdict:deny`), or words of the SQL text.
    pub text: String,
    /// Opened at or after, microseconds since 1970-01-01 UTC.
    pub since: Option<i64>,
    /// Before, likewise.
    pub until: Option<i64>,
    /// Of these registered databases alone; none: of all.
    pub resources: Option<Vec<String>>,
    /// Most hits.
    pub limit: usize,
    /// Hits to leave out at the beginning.
    pub offset: usize,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// How the question was understood.
    pub understood: String,
    /// Statements that match.
    pub total: u64,
    /// Statements in the same scope that ran and of which cannot be known what they reached: they may have read it too.
    pub opaque: u64,
    /// Who, for a question that begins with `who`; most statements first.
    pub who: Vec<Who>,
    /// The statements, newest first.
    pub hits: Vec<Hit>,
}

/// One identity in the answer to a `who` question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Who {
    /// Its subject.
    pub identity: String,
    /// Who vouches for it.
    pub issuer: String,
    /// Statements of it that match.
    pub statements: u64,
    /// Of these, those that read the column with its values hidden only; null where no column was asked for.
    pub masked: Option<u64>,
    /// Of these, those that read the column with its values shown; null likewise.
    pub clear: Option<u64>,
    /// The first, where it is known.
    #[serde(serialize_with = "moment::optional::serialize")]
    pub first: Option<i64>,
    /// The last, where it is known.
    #[serde(serialize_with = "moment::optional::serialize")]
    pub last: Option<i64>,
}

/// One statement, or another document of the index, that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// `statement`, `session`, `refused`, `access`, `gap`.
    pub r#type: &'static str,
    /// `stm_<session>_<number>`; null for what is no statement.
    pub statement: Option<String>,
    /// `ses_...`.
    pub session: String,
    /// When it arrived.
    #[serde(serialize_with = "moment::serialize")]
    pub time: i64,
    /// Whose it is.
    pub identity: String,
    /// On which database.
    pub resource: String,
    /// The SQL text, its constants left out.
    pub text: String,
    /// `allow`, `mask`, `hold` or `deny`; empty before the verdict.
    pub verdict: String,
    /// Such as `SELECT`.
    pub kind: String,
    /// How it ended, such as `succeeded`, `denied`, `running`.
    pub outcome: String,
    /// Relations that it touches.
    pub relations: Vec<String>,
    /// Columns that it touches.
    pub columns: Vec<ColumnUse>,
    /// Rows that the client received.
    pub rows: Option<u64>,
    /// Microseconds.
    pub duration_us: Option<u64>,
    /// The error's SQLSTATE.
    pub sqlstate: Option<String>,
    /// What detectors found in its answer, and hid.
    pub found: Vec<event::Found>,
}
