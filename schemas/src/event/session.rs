//! Events about a session as a whole: opened, refused, closed; and who it belongs to.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether a person or a program stands behind an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityKind {
    /// A person.
    Human,
    /// An agent, a CI job, a script.
    Machine,
}

/// Who: what the gate established about the holder of a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Person or program.
    pub kind: IdentityKind,
    /// The token's subject; together with the issuer it is the identity.
    pub subject: String,
    /// The issuer that vouches for it.
    pub issuer: String,
    /// A name for people to read; the subject where the token has none.
    pub name: String,
    /// Groups as the issuer states them.
    pub groups: Vec<String>,
    /// The delegation chain of the token's `act` claim (RFC 8693), outermost first: who acts for the subject. The name
    /// says it the wrong way round, and stays, since events are written with it.
    pub on_behalf_of: Vec<String>,
    /// The task that it works on, as the issuer states it. Since version 2.
    #[serde(default)]
    pub task: Option<String>,
}

/// The TLS connection of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Such as `TLSv1.3`.
    pub version: String,
    /// The cipher suite's IANA name.
    pub cipher: String,
}

/// An identity was accepted and connected to a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionOpened {
    /// Who.
    pub identity: Identity,
    /// The registered database.
    pub resource: String,
    /// The database's own name on its server.
    pub database: String,
    /// The PostgreSQL role that the session runs as.
    pub role: String,
    /// The node that serves it.
    pub node: String,
    /// The client's address and port.
    pub peer: String,
    /// The client's TLS; null where the resource allows plaintext and the client used it.
    pub tls: Option<Tls>,
    /// Startup parameters that the gate accepted, `user` among them (a claim, not an identity).
    pub parameters: BTreeMap<String, String>,
    /// The server's version, as it reported it.
    pub server_version: String,
    /// The process id of the backend.
    pub backend_pid: i32,
    /// How the identity proved itself: `token`, `oauthbearer`, `certificate` or `api_key`. Since version 2.
    #[serde(default = "token")]
    pub authentication: String,
    /// The id of what was shown (`jti`, serial number, key id), never the thing itself. Since version 2.
    #[serde(default)]
    pub credential: Option<String>,
    /// When what was shown ends, and the session with it: microseconds since 1970-01-01 UTC. Since version 2.
    #[serde(default)]
    pub expires: Option<i64>,
    /// The grant that lets the session in, `grt_...`; null where standing access does. Since version 3.
    #[serde(default)]
    pub grant: Option<String>,
    /// Roles of the access plane that the session has. Since version 3.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// The one way of version 1.
fn token() -> String {
    "token".to_owned()
}

/// A connection was refused before it became a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRefused {
    /// The node that refused it.
    pub node: String,
    /// The client's address and port.
    pub peer: String,
    /// The startup packet's `user`, if one came: a claim.
    pub user: Option<String>,
    /// The startup packet's `database`, if one came.
    pub resource: Option<String>,
    /// The SQLSTATE that the client was told.
    pub sqlstate: String,
    /// The reason that the client was told; never the token.
    pub reason: String,
    /// The identity, where one had been established before the refusal.
    pub identity: Option<Identity>,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The client sent Terminate.
    ClientTerminated,
    /// The client's connection ended without Terminate.
    ClientGone,
    /// The server ended the connection.
    UpstreamGone,
    /// The client broke the protocol (08P01).
    ProtocolViolation,
    /// The token's or the grant's time ended.
    Expired,
    /// An operator or a revocation ended it.
    Revoked,
    /// The gate was shut down.
    Shutdown,
    /// The log could not take the record: nothing goes on unrecorded.
    LogUnavailable,
    /// A limit was reached: idle time, bytes, statements.
    LimitReached,
    /// The gate itself failed.
    InternalError,
    /// The node died; written by the recovery of its spool.
    NodeCrashed,
}

/// The session's end. Exactly one for each session that opened (AUD-4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionClosed {
    /// Why.
    pub reason: CloseReason,
    /// More about it, in words; never a value of the database.
    pub detail: String,
    /// Statements that arrived.
    #[serde(with = "crate::codec::long")]
    pub statements: u64,
    /// Statements that were denied.
    #[serde(with = "crate::codec::long")]
    pub denied: u64,
    /// Rows that the client received.
    #[serde(with = "crate::codec::long")]
    pub rows: u64,
    /// Bytes from the client, after the startup phase.
    #[serde(with = "crate::codec::long")]
    pub bytes_in: u64,
    /// Bytes to the client, after the startup phase.
    #[serde(with = "crate::codec::long")]
    pub bytes_out: u64,
}

/// Recovery found bytes of the log that it could not read. They are kept aside, nothing is cut silently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// The node whose log it is.
    pub node: String,
    /// The shard that lost events; null where the damage hides it.
    pub shard: Option<i32>,
    /// The file, and where its bytes were put aside.
    pub segment: String,
    /// First unreadable byte in the file.
    #[serde(with = "crate::codec::long")]
    pub from: u64,
    /// Byte after the last unreadable one.
    #[serde(with = "crate::codec::long")]
    pub to: u64,
    /// What is wrong with them.
    pub detail: String,
}

/// An auditor or reviewer used the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// Who.
    pub identity: Identity,
    /// The node that served it.
    pub node: String,
    /// The client's address and port.
    pub peer: String,
    /// The HTTP method.
    pub method: String,
    /// The path, with identifiers.
    pub path: String,
    /// The search question or the filter, if any.
    pub query: Option<String>,
    /// The HTTP status that was answered.
    pub status: u16,
}
