//! Events of the control plane: who asked for access, who agreed, what was revoked, what must be looked at, and the
//! database roles that were leased. Since version 3.
//!
//! Those that belong to no session stand alone, each under an id of its own with the sequence 0.

use super::Identity;
use serde::{Deserialize, Serialize};

/// How an access request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// By reviewers.
    Reviewed,
    /// By a rule of the config, at once.
    Automatic,
    /// At once for a short time, in an emergency; reviewed afterwards.
    BreakGlass,
}

/// Somebody asked for access to a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessRequested {
    /// The request, `req_...`.
    pub request: String,
    /// Who asks, and for whom it is.
    pub requester: Identity,
    /// The registered database.
    pub resource: String,
    /// The role that is asked for.
    pub role: String,
    /// How long the grant is to last, microseconds.
    pub duration: i64,
    /// Why, in the requester's words.
    pub reason: String,
    /// How it is answered.
    pub kind: RequestKind,
    /// The rule that granted it at once.
    pub rule: Option<String>,
    /// The grant that is to last longer, `grt_...`.
    pub extends: Option<String>,
    /// Groups that may answer.
    pub reviewers: Vec<String>,
    /// How many of them must agree.
    #[serde(with = "crate::codec::int")]
    pub approvals: u32,
    /// When an unanswered request ends, microseconds since 1970-01-01 UTC.
    pub expires: i64,
    /// The node that took it.
    pub node: String,
}

/// A reviewer answered an access request, or tried to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessReviewed {
    /// The request.
    pub request: String,
    /// Who; null where time ended it.
    pub reviewer: Option<Identity>,
    /// Whether it was approved.
    pub approved: bool,
    /// The reviewer's or the gate's reason.
    pub reason: String,
    /// Why the answer does not count; null where it counts.
    pub refused: Option<String>,
    /// The node that took it.
    pub node: String,
}

/// An identity may use a resource for a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessGranted {
    /// The grant, `grt_...`.
    pub grant: String,
    /// The request that it answers.
    pub request: String,
    /// Who.
    pub identity: Identity,
    /// The registered database.
    pub resource: String,
    /// The role.
    pub role: String,
    /// When it begins, microseconds since 1970-01-01 UTC.
    pub from: i64,
    /// When it ends, microseconds since 1970-01-01 UTC.
    pub until: i64,
    /// Subjects of those who approved, or the rule.
    pub by: Vec<String>,
    /// It is an earlier grant that lasts longer.
    pub extended: bool,
    /// The node at which it came about.
    pub node: String,
}

/// A grant ended, before its time or at it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessEnded {
    /// The grant.
    pub grant: String,
    /// Whose.
    pub identity: Identity,
    /// The registered database.
    pub resource: String,
    /// Why: expired, or the words of who revoked it.
    pub reason: String,
    /// Who revoked it; null where its time ended.
    pub by: Option<Identity>,
    /// The node that says so.
    pub node: String,
}

/// What became of a held statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldOutcome {
    /// Approved, and forwarded.
    Released,
    /// A reviewer said no.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// The client cancelled it or left.
    Withdrawn,
    /// Approved, but what was approved no longer holds.
    Refused,
}

/// The end of a hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldEnded {
    /// The statement.
    #[serde(with = "crate::codec::long")]
    pub number: u64,
    /// The hold, `hld_...`.
    pub request: String,
    /// What became of it.
    pub outcome: HoldOutcome,
    /// Why.
    pub reason: String,
    /// SHA-256 of what was approved, hexadecimal.
    pub digest: String,
}

/// What was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationKind {
    /// Everything of an identity.
    Identity,
    /// One session.
    Session,
    /// One grant.
    Grant,
}

/// A right was taken away, or given back, at once and on every node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revoked {
    /// What was taken away.
    pub kind: RevocationKind,
    /// Which: a subject, a session or a grant.
    pub target: String,
    /// The subject's issuer; null for all, and for what is no subject.
    pub issuer: Option<String>,
    /// It was given back.
    pub restored: bool,
    /// Who did it.
    pub by: Identity,
    /// Why.
    pub reason: String,
    /// The node that took the order.
    pub node: String,
}

/// Why somebody must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// A control record whose signature does not verify, or whose key nobody trusts. It changed nothing.
    ForgedRecord,
    /// Bytes on the control topic that are no record. They changed nothing.
    UnreadableRecord,
    /// A control record that came before. It changed nothing.
    ReplayedRecord,
    /// Somebody broke the glass.
    BreakGlass,
    /// The control topic has lost records that it had.
    ControlLost,
}

/// Something that must not happen, or that somebody must look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// What happened.
    pub kind: AlarmKind,
    /// More about it.
    pub detail: String,
    /// The node that noticed it.
    pub node: String,
}

/// A database role was made for the session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoleLeased {
    /// The registered database.
    pub resource: String,
    /// The role's name.
    pub role: String,
    /// The scope role that it is a member of.
    pub scope: String,
    /// When its login ends, microseconds since 1970-01-01 UTC.
    pub until: Option<i64>,
    /// The node.
    pub node: String,
}

/// What became of a leased role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleDrop {
    /// Dropped at the session's end.
    Dropped,
    /// Dropped later, by a reaper.
    Reaped,
    /// Not dropped yet.
    Failed,
}

/// A leased role was dropped, or could not be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoleDropped {
    /// The registered database.
    pub resource: String,
    /// The role's name.
    pub role: String,
    /// The scope role.
    pub scope: String,
    /// What became of it.
    pub outcome: RoleDrop,
    /// More about it.
    pub detail: String,
    /// The node.
    pub node: String,
}
