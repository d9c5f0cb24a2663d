//! What happened: the events of a session, in the order in which it emits them.
//!
//! The Avro schemas under `schemas/avro/` are the source of truth for names, order, units and privacy classes; these
//! types mirror them field by field, and a test holds the two together. Field order is part of the format.

mod access;
mod session;
mod statement;
mod verdict;

pub use access::{
    AccessEnded, AccessGranted, AccessRequested, AccessReviewed, Alarm, AlarmKind, HoldEnded, HoldOutcome, RequestKind,
    RevocationKind, Revoked, RoleDrop, RoleDropped, RoleLeased,
};
pub use session::{
    Access, CloseReason, Gap, Identity, IdentityKind, SessionClosed, SessionOpened, SessionRefused, Tls,
};
pub use statement::{
    Completed, Direction, Found, Frames, FramesRef, Held, Outcome, Payload, PayloadCodec, PayloadRef, Protocol,
    Reviewed, Statement,
};
pub use verdict::{Column, Relation, Usage, Verdict, VerdictKind};

use crate::id::{EventId, SequenceNumber, SessionId};
use serde::{Deserialize, Serialize};

/// One thing that happened in one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The session; for [`SessionRefused`], [`Access`] and [`Gap`] an id of its own.
    pub session: SessionId,
    /// Dense in its session from 0 (AUD-3).
    #[serde(with = "crate::codec::long")]
    pub sequence: SequenceNumber,
    /// Microseconds since 1970-01-01 UTC, by the clock of the node that emitted it.
    pub time: i64,
    /// What happened.
    pub body: Body,
}

impl Event {
    /// The identifier of this event.
    pub fn id(&self) -> EventId {
        EventId { session: self.session, sequence: self.sequence }
    }
}

/// What happened. The order of the variants is the order of the union in `event.avsc`: append only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// An identity was accepted and connected to a resource.
    SessionOpened(SessionOpened),
    /// A connection was refused before it became a session.
    SessionRefused(SessionRefused),
    /// A statement arrived.
    Statement(Statement),
    /// What was decided of it.
    Verdict(Verdict),
    /// A run of protocol bytes in one direction.
    Frames(Frames),
    /// The statement waits for a reviewer.
    Held(Held),
    /// A reviewer answered.
    Reviewed(Reviewed),
    /// The statement's outcome as the client was told it.
    Completed(Completed),
    /// Recovery found bytes of the log that it could not read.
    Gap(Gap),
    /// The session's end.
    SessionClosed(SessionClosed),
    /// An auditor or reviewer used the API.
    Access(Access),
    /// Somebody asked for access.
    AccessRequested(AccessRequested),
    /// A reviewer answered an access request, or tried to.
    AccessReviewed(AccessReviewed),
    /// An identity may use a resource for a time.
    AccessGranted(AccessGranted),
    /// A grant ended.
    AccessEnded(AccessEnded),
    /// What became of a held statement.
    HoldEnded(HoldEnded),
    /// A right was taken away, or given back.
    Revoked(Revoked),
    /// Somebody must look at something.
    Alarm(Alarm),
    /// A database role was made for the session.
    RoleLeased(RoleLeased),
    /// A leased role was dropped, or could not be.
    RoleDropped(RoleDropped),
}

impl Body {
    /// Whether it may be the only event under its id: one that belongs to no session. A leased role that a reaper dropped
    /// has outlived its session.
    pub const fn stands_alone(&self) -> bool {
        match self {
            Self::SessionRefused(_)
            | Self::Access(_)
            | Self::Gap(_)
            | Self::AccessRequested(_)
            | Self::AccessReviewed(_)
            | Self::AccessGranted(_)
            | Self::AccessEnded(_)
            | Self::Revoked(_)
            | Self::Alarm(_)
            | Self::RoleDropped(_) => true,
            Self::SessionOpened(_)
            | Self::Statement(_)
            | Self::Verdict(_)
            | Self::Frames(_)
            | Self::Held(_)
            | Self::Reviewed(_)
            | Self::Completed(_)
            | Self::SessionClosed(_)
            | Self::HoldEnded(_)
            | Self::RoleLeased(_) => false,
        }
    }

    /// The variant's name, as in the schema.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SessionOpened(_) => "SessionOpened",
            Self::SessionRefused(_) => "SessionRefused",
            Self::Statement(_) => "Statement",
            Self::Verdict(_) => "Verdict",
            Self::Frames(_) => "Frames",
            Self::Held(_) => "Held",
            Self::Reviewed(_) => "Reviewed",
            Self::Completed(_) => "Completed",
            Self::Gap(_) => "Gap",
            Self::SessionClosed(_) => "SessionClosed",
            Self::Access(_) => "Access",
            Self::AccessRequested(_) => "AccessRequested",
            Self::AccessReviewed(_) => "AccessReviewed",
            Self::AccessGranted(_) => "AccessGranted",
            Self::AccessEnded(_) => "AccessEnded",
            Self::HoldEnded(_) => "HoldEnded",
            Self::Revoked(_) => "Revoked",
            Self::Alarm(_) => "Alarm",
            Self::RoleLeased(_) => "RoleLeased",
            Self::RoleDropped(_) => "RoleDropped",
        }
    }
}

/// A [`Frames`] event over borrowed bytes: written the same, without copying the run first.
#[derive(Debug, Clone, Copy)]
pub struct FramesEventRef<'a> {
    /// See [`Event::session`].
    pub session: SessionId,
    /// See [`Event::sequence`].
    pub sequence: SequenceNumber,
    /// See [`Event::time`].
    pub time: i64,
    /// The run.
    pub body: FramesRef<'a>,
}
