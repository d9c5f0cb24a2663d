//! What a question is answered with: one hit for each document, as it is stored in the index.

use schemas::SessionId;
use schemas::event::{Column, Found, Identity, Relation, VerdictKind};
use serde::{Deserialize, Serialize};

/// What a document stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Document {
    /// One statement.
    Statement,
    /// One session.
    Session,
    /// A connection that never became a session.
    Refused,
    /// An auditor's use of the API.
    Access,
    /// Bytes of the log that could not be read.
    Gap,
    /// An access request, review, grant, revocation, alarm or leased role.
    Control,
}

impl Document {
    /// The term by which it is found.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Session => "session",
            Self::Refused => "refused",
            Self::Access => "access",
            Self::Gap => "gap",
            Self::Control => "control",
        }
    }
}

/// How a held statement was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// The access request.
    pub request: String,
    /// Who answered; `None` while nobody did, and where time or the client's leaving ended the hold.
    pub reviewer: Option<String>,
    /// Whether it was released; `None` while it waits.
    pub approved: Option<bool>,
    /// The reviewer's reason.
    pub reason: String,
}

/// One document of the index. Fields that do not apply to its kind are empty. It holds no constant of a statement
/// (MSK-1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// What it stands for.
    #[serde(rename = "type")]
    pub document: Document,
    /// `stm_...` for a statement, `ses_...` for all else.
    pub id: String,
    /// The session; an id of its own for what belongs to none.
    pub session: SessionId,
    /// The statement's number in the session; for a session its number of statements.
    pub number: Option<u64>,
    /// Microseconds since 1970-01-01 UTC: of arrival, of opening.
    pub time: i64,
    /// More may come: the statement runs, the session is open.
    pub open: bool,
    /// Who, where known.
    pub identity: Option<Identity>,
    /// The registered database.
    pub resource: String,
    /// The PostgreSQL role.
    pub role: String,
    /// The node that served it.
    pub node: String,
    /// The client's address and port.
    pub peer: String,
    /// The SQL text with `?` for each constant; `None` where nothing of it may be kept. For an access its method and
    /// path, for a refused connection the user that was claimed.
    pub text: Option<String>,
    /// `simple`, `extended`, `function_call`.
    pub protocol: String,
    /// What was decided; `None` before the verdict.
    pub verdict: Option<VerdictKind>,
    /// Why, as the client was told it; for a session more about its end.
    pub reason: String,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// The policy version's digest.
    pub policy_version: String,
    /// The kind of statement, such as `SELECT`.
    pub kind: String,
    /// The facts prove that it changes nothing.
    pub read_only: bool,
    /// The facts are incomplete.
    pub opaque: bool,
    /// Relations that it touches.
    pub relations: Vec<Relation>,
    /// Columns that it touches, how, and whether they were hidden.
    pub columns: Vec<Column>,
    /// Functions that it calls.
    pub functions: Vec<String>,
    /// The statement's shape.
    pub fingerprint: String,
    /// Notes for auditors.
    pub flags: Vec<String>,
    /// The review, if it was held.
    pub review: Option<Review>,
    /// `running`, `held`, `succeeded`, `failed`, `denied`, `suspended`, `abandoned`, `unknown` (the session ended and
    /// said nothing of it); for a session `open` or why it ended; for an access the HTTP status.
    pub outcome: String,
    /// The command tag.
    pub tag: String,
    /// Rows.
    pub rows: Option<u64>,
    /// Bytes of those rows; for a session bytes to the client.
    pub bytes: Option<u64>,
    /// Microseconds taken.
    pub duration: Option<u64>,
    /// The SQLSTATE that the client was told.
    pub sqlstate: Option<String>,
    /// What detectors found in the answer, and hid.
    #[serde(default)]
    pub found: Vec<Found>,
    /// Keyed tokens of the values that it named, where these are left out of the record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
}

impl Hit {
    /// One about which nothing is known yet.
    pub fn new(document: Document, id: String, session: SessionId, time: i64) -> Self {
        Self {
            document,
            id,
            session,
            number: None,
            time,
            open: false,
            identity: None,
            resource: String::new(),
            role: String::new(),
            node: String::new(),
            peer: String::new(),
            text: None,
            protocol: String::new(),
            verdict: None,
            reason: String::new(),
            policies: Vec::new(),
            policy_version: String::new(),
            kind: String::new(),
            read_only: false,
            opaque: false,
            relations: Vec::new(),
            columns: Vec::new(),
            functions: Vec::new(),
            fingerprint: String::new(),
            flags: Vec::new(),
            review: None,
            outcome: String::new(),
            tag: String::new(),
            rows: None,
            bytes: None,
            duration: None,
            sqlstate: None,
            found: Vec::new(),
            tokens: Vec::new(),
        }
    }
}
