//! Held statements: what waits for a person, and what becomes of it.
//!
//! A statement that policies hold pauses its session: nothing of it reaches the database, and the client is told at once
//! which request to have answered. Other sessions are not concerned; a held one costs its socket, a timer and the text.
//!
//! ```text
//! decide: hold --> Statement, Verdict, Held in the record --> asked (durable) --> NOTICE to the client --> waiting
//! waiting --> approved --> decided again, with the approval --> the same? --> released (durable, once) --> forwarded
//!         --> denied | expired | withdrawn (CancelRequest, client gone) | no longer the same --> refused
//! ```
//!
//! An approval releases what it was given for, once (CTL-1): text, values, objects, policy version, role, session and
//! statement, by one digest ([`digest`]). [`Reviewers`] is whom the gate asks; [`asked`] is what they are shown. Where
//! nobody can be asked, a hold is a denial.

pub mod asked;
pub mod config;
pub mod digest;
mod elsewhere;
mod holding;
mod measure;
mod message;
mod plane;
mod room;
mod told;
mod withdraw;

pub use asked::{Asked, Bound};
pub use config::Settings;
pub use elsewhere::Elsewhere;
pub(crate) use holding::Holding;
pub use measure::{Measured, Written};
pub(crate) use message::Held;
pub use plane::ByControl;
pub use withdraw::Signal;

use crate::{startup::Cancel, telemetry};
use room::{Full, Place, Room};
use schemas::event::Identity;
use std::{future::Future, pin::Pin, sync::Arc};

/// The id by which refusals of held statements are known.
pub(crate) const POLICY: &str = "builtin:hold";

/// Something that comes later.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One reviewer's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Who.
    pub reviewer: Identity,
    /// Why.
    pub reason: String,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As many agreed as had to.
    Approved(Vec<Review>),
    /// Somebody said no.
    Denied(Review),
    /// Its client cancelled it, at another node.
    Withdrawn,
    /// It ended otherwise, and why.
    Ended(String),
}

/// How a held statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Approved, and forwarded.
    Released,
    /// A reviewer said no.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// The client cancelled it or left.
    Withdrawn,
    /// What was approved no longer holds, or nobody could be asked.
    Refused,
}

impl Outcome {
    /// In a word, for metrics.
    const fn label(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Refused => "refused",
        }
    }
}

/// Who is asked. What it is told is durable, and known to every node, when its futures are done.
pub trait Reviewers: Send + Sync {
    /// Asks; the error is why nobody can be asked.
    fn ask(&self, asked: Asked) -> Pending<Result<(), String>>;

    /// Waits for the answer.
    fn answer(&self, id: &str) -> Pending<Answer>;

    /// Takes an approval, which cannot be taken again; the error is why it does not count any more.
    fn release(&self, id: &str, digest: &str) -> Pending<Result<(), String>>;

    /// Says that a question ended without a release. Nobody waits for it.
    fn end(&self, id: &str, outcome: Outcome, reason: &str);
}

/// What the sessions of a node share of it.
pub struct Holds {
    pub(crate) reviewers: Arc<dyn Reviewers>,
    pub(crate) settings: Settings,
    pub(crate) node: String,
    pub(crate) metrics: telemetry::Holds,
    room: Arc<Room>,
}

impl Holds {
    /// Asks these.
    pub fn new(reviewers: Arc<dyn Reviewers>, settings: Settings, node: &str, metrics: telemetry::Holds) -> Self {
        let room = Arc::new(Room::new(settings.max_held, settings.max_held_per_identity));
        Self { reviewers, settings, node: node.to_owned(), metrics, room }
    }

    /// There is a place for this identity.
    fn has_room(&self, identity: &Identity) -> bool {
        self.room.has(identity)
    }

    /// A place among those that the node holds for this identity.
    ///
    /// # Errors
    /// [`Full`]: there is none.
    fn place(&self, identity: &Identity) -> Result<Place, Full> {
        Room::enter(&self.room, identity, &self.metrics).inspect_err(|_| self.metrics.ended("no_room"))
    }
}

/// What a session knows of itself for whoever reviews its statements.
pub struct Holder {
    /// What the node shares.
    pub holds: Arc<Holds>,
    /// Who.
    pub identity: Identity,
    /// The database role that it works as.
    pub role: String,
    /// How its client cancels, where that comes to this node.
    pub signal: Arc<Signal>,
    /// What its client sends to cancel, for the other nodes.
    pub cancel: Option<Cancel>,
}

#[cfg(test)]
mod tests;
