//! What the API needs of the rest of the system: sessions, search, who holds a token, and the record of accesses.
//!
//! Four small traits, so that the routes know neither files nor indexes nor keys. `adapters` implements them over
//! the archive, the index, the verifier and the log; [`crate::memory`] over values, for tests and the demonstration.

use crate::reconstruct::{Session, Timeline};
use crate::search::{Found, Question};
use kit::Secret;
use schemas::event::Direction;
use schemas::{Event, Identity, SessionId};
use std::pin::Pin;

/// What a source answers, later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which sessions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Subject or name of the identity.
    pub identity: Option<String>,
    /// The registered database.
    pub resource: Option<String>,
    /// Opened at or after, microseconds since 1970-01-01 UTC.
    pub since: Option<i64>,
    /// Opened before, likewise.
    pub until: Option<i64>,
    /// Only those that are open, or only those that are closed.
    pub open: Option<bool>,
    /// Only those after this one, in the order of the list: the last of the page before.
    pub after: Option<SessionId>,
    /// Most sessions, at least 1.
    pub limit: usize,
}

/// Some sessions, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Sessions {
    /// The sessions.
    pub sessions: Vec<Session>,
    /// Whether there are more after these.
    pub more: bool,
}

/// Events of one session, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// The events.
    pub events: Vec<Event>,
    /// Whether there are more after these.
    pub more: bool,
}

/// The archive, as the API sees it. `None` stands for a session that it does not hold.
pub trait Archive: Send + Sync {
    /// Lists sessions, newest first.
    fn sessions<'a>(&'a self, filter: &'a Filter) -> Later<'a, Result<Sessions, Unavailable>>;
    /// One session's summary.
    fn session(&self, id: SessionId) -> Later<'_, Result<Option<Session>, Unavailable>>;
    /// What happened in a session, as its client saw it; at most `rows` rows of each result.
    fn timeline(&self, id: SessionId, rows: usize) -> Later<'_, Result<Option<Timeline>, Unavailable>>;
    /// Its events from a sequence number on, at most `limit`.
    fn events(&self, id: SessionId, from: u64, limit: usize) -> Later<'_, Result<Option<Events>, Unavailable>>;
    /// The recorded bytes of one direction, of at most `limit` bytes.
    fn frames(&self, id: SessionId, way: Direction, limit: usize) -> Later<'_, Result<Option<Vec<u8>>, Unavailable>>;
}

/// The index, as the API sees it.
pub trait Search: Send + Sync {
    /// Answers a question.
    fn search<'a>(&'a self, question: &'a Question) -> Later<'a, Result<Found, SearchError>>;
}

/// Who holds a token.
pub trait Authenticate: Send + Sync {
    /// The identity that an issuer vouches for by this token, and what the token is good for.
    fn identity(&self, token: Secret<String>) -> Later<'_, Result<Known, Refused>>;
}

/// Who showed a credential, and what that is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub identity: Identity,
    /// The resources that the credential is good for; none: for all.
    pub resources: Option<Vec<String>>,
}

impl From<Identity> for Known {
    /// By a credential that is good for all.
    fn from(identity: Identity) -> Self {
        Self { identity, resources: None }
    }
}

/// The record of accesses.
pub trait Record: Send + Sync {
    /// Writes an event and waits until it is durable.
    fn record(&self, event: Event) -> Later<'_, Result<(), Unavailable>>;
}

/// A part of the system does not answer, or holds what it cannot read.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// It failed.
    #[error("{doing}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer would be larger than `api.answer_limit_bytes`.
    #[error("the answer is over the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The record has it in a form that this node cannot show.
    #[error("{reason}")]
    Withheld {
        /// Why, for the auditor to read.
        reason: String,
    },
}

impl Unavailable {
    /// What was being done, and why it failed.
    pub fn failed(doing: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed { doing, source: source.into() }
    }
}

/// A question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// It is not a question that the index understands.
    #[error("the question is not understood: {reason}")]
    Question {
        /// What is wrong with it.
        reason: String,
    },
    /// The index failed.
    #[error("the index does not answer")]
    Index(#[source] Unavailable),
}

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It proves nothing. The reason is for its holder and holds none of it.
    #[error("{reason}")]
    Token {
        /// Why.
        reason: String,
    },
    /// Its issuer's keys cannot be had at the moment.
    #[error("{reason}")]
    Issuer {
        /// Why.
        reason: String,
    },
}
