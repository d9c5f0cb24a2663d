//! What is written to the control topic: one thing that somebody did about who may do what.
//!
//! A record says what was done, never what follows from it: that is [`crate::State`]'s to say, the same on every node.
//! Records are JSON inside of a signed [`crate::envelope`]; names, once written, are read for ever.

use crate::cancel::CancelMark;
use ring::digest::{SHA256, digest};
use schemas::event::RequestKind;
use schemas::{GrantId, HoldId, Identity, IdentityKind, RequestId, SessionId};
use serde::{Deserialize, Serialize};

/// SHA-256 of what a reviewer saw: an answer counts only for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut result = [0; 32];
        result.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(result)
    }

    /// Of a digest that was made elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&schemas::chain::hexadecimal(&self.0))
    }
}

impl std::str::FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = schemas::chain::from_hexadecimal(text);
        bytes.map(Self).ok_or_else(|| format!("{text:?} is not a digest (64 hexadecimal digits)"))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// Somebody asked for access.
    AccessRequested(AccessRequest),
    /// A reviewer answered an access request.
    AccessReviewed {
        /// Which.
        request: RequestId,
        /// The answer.
        review: Review,
    },
    /// The requester does not want it any more.
    AccessWithdrawn {
        /// Which.
        request: RequestId,
        /// Who.
        by: Identity,
    },
    /// A grant ends at once.
    GrantRevoked {
        /// Which.
        grant: GrantId,
        /// Who did it.
        by: Identity,
        /// Why.
        reason: String,
    },
    /// The time of a grant is over. It has ended by itself: this tells the record so, once.
    GrantLapsed {
        /// Which.
        grant: GrantId,
    },
    /// A reviewer lets a grant last longer.
    GrantExtended {
        /// Which.
        grant: GrantId,
        /// Its new end, microseconds since 1970-01-01 UTC.
        until: i64,
        /// Who did it; never the holder.
        by: Identity,
        /// Why.
        reason: String,
    },
    /// An identity may do nothing any more.
    IdentityDisabled {
        /// Its subject.
        subject: String,
        /// Its issuer; none: whoever vouches for that subject.
        issuer: Option<String>,
        /// Who did it.
        by: Identity,
        /// Why.
        reason: String,
    },
    /// It may again.
    IdentityEnabled {
        /// Its subject.
        subject: String,
        /// Its issuer, as it was disabled.
        issuer: Option<String>,
        /// Who did it.
        by: Identity,
        /// Why.
        reason: String,
    },
    /// A session ends at once.
    SessionKilled {
        /// Which.
        session: SessionId,
        /// Who did it.
        by: Identity,
        /// Why.
        reason: String,
    },
    /// A statement waits for reviewers.
    HoldAsked(Box<HoldAsk>),
    /// A reviewer answered about a held statement.
    HoldReviewed {
        /// Which.
        hold: HoldId,
        /// The answer.
        review: Review,
    },
    /// The client cancelled the statement or left.
    HoldWithdrawn {
        /// Which.
        hold: HoldId,
        /// Why.
        reason: String,
    },
    /// The statement goes to the database: the approval is used up (CTL-1).
    HoldReleased {
        /// Which.
        hold: HoldId,
        /// Digest of what goes to the database.
        digest: Digest,
    },
    /// Nobody answered in time, or what was approved no longer holds.
    HoldExpired {
        /// Which.
        hold: HoldId,
        /// Why.
        reason: String,
    },
    /// A webhook is being told, was told, or never will be.
    Notice(Telling),
    /// The node that writes this counts the records of a key: whoever does not know the key lacks them.
    SignerVouched {
        /// The public key, 64 hexadecimal digits.
        key: String,
        /// For which node it signs.
        node: String,
    },
    /// An API key was issued; what is written is its hash.
    KeyIssued {
        /// The key.
        key: Box<ApiKey>,
        /// Who did it.
        by: Identity,
        /// Why.
        reason: String,
    },
    /// An API key opens nothing any more.
    KeyRevoked {
        /// Which.
        key: String,
        /// Who did it.
        by: Identity,
        /// Why.
        reason: String,
    },
}

impl Record {
    /// Whether it counts only where its writer's clock is right. What takes a right away counts whatever the time; but that
    /// a grant's time is over depends on the time, and that a key is vouched for is to be said now, not in another history of
    /// the topic.
    pub const fn needs_clock(&self) -> bool {
        !self.takes_away() || matches!(self, Self::GrantLapsed { .. } | Self::SignerVouched { .. })
    }

    /// Whether it takes a right away, or nothing but that follows from it: it must be possible to the last.
    pub const fn takes_away(&self) -> bool {
        match self {
            Self::GrantRevoked { .. }
            | Self::IdentityDisabled { .. }
            | Self::SessionKilled { .. }
            | Self::AccessWithdrawn { .. }
            | Self::HoldWithdrawn { .. }
            | Self::HoldExpired { .. }
            | Self::GrantLapsed { .. }
            | Self::KeyRevoked { .. }
            | Self::SignerVouched { .. } => true,
            Self::AccessReviewed { review, .. } | Self::HoldReviewed { review, .. } => !review.approved,
            Self::AccessRequested(_)
            | Self::GrantExtended { .. }
            | Self::IdentityEnabled { .. }
            | Self::HoldAsked(_)
            | Self::HoldReleased { .. }
            | Self::KeyIssued { .. }
            | Self::Notice(_) => false,
        }
    }
}

/// An API key, as every node knows it: enough to recognise it, and nothing to log in with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its public part.
    pub id: String,
    /// SHA-256 of its secret.
    pub sha256: Digest,
    /// Whom it stands for.
    pub subject: String,
    /// A person or a program.
    pub kind: IdentityKind,
    /// Groups that it has.
    pub groups: Vec<String>,
    /// The resources that it opens; empty for all.
    pub resources: Vec<String>,
    /// When it ends, microseconds since 1970-01-01 UTC.
    pub expires: i64,
}

impl ApiKey {
    /// Whom it stands for, as sessions and requests see it.
    pub fn identity(&self) -> Identity {
        Identity {
            kind: self.kind,
            subject: self.subject.clone(),
            issuer: identity::api_key::ISSUER.to_owned(),
            name: self.subject.clone(),
            groups: self.groups.clone(),
            on_behalf_of: Vec::new(),
            task: None,
        }
    }
}

/// What waits for an answer: a held statement or an access request. In text it is its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A held statement.
    Hold(HoldId),
    /// An access request.
    Request(RequestId),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hold(id) => id.fmt(f),
            Self::Request(id) => id.fmt(f),
        }
    }
}

impl std::str::FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let request = || text.parse().map(Self::Request).map_err(|_| format!("{text:?} is no hold and no request"));
        text.parse().map(Self::Hold).or_else(|_| request())
    }
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How far the telling of a webhook has come: a node takes it upon itself until a time, and says how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// The webhook's name in the config.
    pub webhook: String,
    /// What it is told of.
    pub about: Subject,
    /// How far it has come.
    pub told: Told,
    /// Attempts so far.
    pub attempts: u32,
    /// Until when no other node may try, microseconds since 1970-01-01 UTC; of no meaning once it has ended.
    pub until: i64,
    /// Why the last attempt failed.
    pub reason: Option<String>,
}

/// How far a message to a webhook has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// A node tries.
    Trying,
    /// The receiver took it.
    Delivered,
    /// It was given up.
    Failed,
}

/// A request for access.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessRequest {
    /// Its id.
    pub id: RequestId,
    /// Who asks, and for whom it is.
    pub requester: Identity,
    /// The registered database.
    pub resource: String,
    /// The role.
    pub role: String,
    /// How long the grant lasts from the approval on, microseconds.
    pub duration: i64,
    /// Why.
    pub reason: String,
    /// How it is answered.
    pub kind: RequestKind,
    /// The rule of the config that grants it at once; with [`RequestKind::Automatic`].
    pub rule: Option<String>,
    /// The grant that is to last longer; none for a new one.
    pub extends: Option<GrantId>,
    /// Groups that may answer.
    pub reviewers: Vec<String>,
    /// How many of them must agree.
    pub approvals: u32,
    /// When it ends unanswered, microseconds since 1970-01-01 UTC.
    pub expires: i64,
}

impl AccessRequest {
    /// The digest of all of it, which a review must name.
    pub fn digest(&self) -> Digest {
        // the struct has no map with keys that are no text: it always serializes
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// A reviewer's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// What the reviewer saw.
    pub digest: Digest,
    /// Who.
    pub reviewer: Identity,
    /// Yes or no.
    pub approved: bool,
    /// Why.
    pub reason: String,
    /// The entry of the config by which the reviewer answers though it is no person; none for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
}

/// So many different members of a group must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// The group.
    pub group: String,
    /// How many.
    pub count: u32,
}

/// A statement that waits for reviewers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldAsk {
    /// Its id.
    pub id: HoldId,
    /// The session.
    pub session: SessionId,
    /// The statement's number in it.
    pub statement: u64,
    /// Whose statement it is.
    pub requester: Identity,
    /// The registered database.
    pub resource: String,
    /// The database role that it would run as.
    pub role: String,
    /// Digest of what an approval releases: text, binds, objects, policy version, role, session, statement.
    pub digest: Digest,
    /// The policy version under which it is held.
    pub policy_version: String,
    /// Groups that may answer.
    pub reviewers: Vec<String>,
    /// How many of them must agree.
    pub approvals: u32,
    /// How many of which group, where it is not any of them: nobody counts for two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Needs>,
    /// When it is denied unanswered, microseconds since 1970-01-01 UTC.
    pub expires: i64,
    /// What reviewers are shown; nothing of it decides. Sealed where the session's payloads are.
    pub shown: serde_json::Value,
    /// The same, where it is sealed and this node has the key. It never leaves the memory.
    #[serde(skip)]
    pub opened: Option<serde_json::Value>,
    /// By what the client's cancel request is recognised where it comes to another node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelMark>,
}

impl HoldAsk {
    /// Whether this node can show all of it: nobody approves what they were not shown.
    pub fn is_readable(&self) -> bool {
        self.opened.is_some() || self.shown.get("sealed").is_none()
    }

    /// What reviewers are shown, as far as this node can read it.
    pub fn shown(&self) -> &serde_json::Value {
        self.opened.as_ref().unwrap_or(&self.shown)
    }
}
