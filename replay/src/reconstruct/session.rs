//! One session in short: whose, where, when, how much.

use crate::moment;
use schemas::event::CloseReason;
use schemas::{Identity, SessionId};
use serde::Serialize;

/// One session in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whether it runs, ended, or never began.
    pub status: Status,
    /// Whose; null where none was established, or the beginning is missing.
    pub identity: Option<Identity>,
    /// The registered database; a claim where the connection was refused.
    pub resource: Option<String>,
    /// The database's name on its server.
    pub database: Option<String>,
    /// The PostgreSQL role that it runs as.
    pub role: Option<String>,
    /// The node that serves it.
    pub node: Option<String>,
    /// The client's address and port.
    pub peer: Option<String>,
    /// The client's name for itself.
    pub application: Option<String>,
    /// When it opened.
    #[serde(serialize_with = "moment::serialize")]
    pub opened: i64,
    /// When it closed; null while it is open.
    #[serde(serialize_with = "moment::optional::serialize")]
    pub closed: Option<i64>,
    /// Why it closed.
    pub reason: Option<CloseReason>,
    /// More about its end or its refusal.
    pub detail: Option<String>,
    /// The SQLSTATE of a refusal.
    pub sqlstate: Option<String>,
    /// Statements that arrived.
    pub statements: u64,
    /// Statements that were denied.
    pub denied: u64,
    /// Rows that the client received.
    pub rows: u64,
    /// Bytes from the client; known at the end.
    pub bytes_in: Option<u64>,
    /// Bytes to the client; known at the end.
    pub bytes_out: Option<u64>,
    /// What does not hold of its record, in words.
    pub faults: Vec<String>,
}

/// Whether a session runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has not ended, as far as the archive knows.
    Open,
    /// It ended.
    Closed,
    /// It never began: the connection was refused.
    Refused,
}
