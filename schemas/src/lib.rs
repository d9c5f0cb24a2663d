//! The contract: what an event is, how it is written, how a batch of events is chained and proved.
//!
//! An **event** is one thing that a gate saw or decided in one session. A session emits, in this order:
//! [`event::SessionOpened`], then for each statement [`event::Frames`] (as received), [`event::Statement`],
//! [`event::Verdict`], [`event::Held`] and [`event::Reviewed`] where a person is asked, [`event::Frames`] (as sent,
//! after masking), [`event::Completed`]; and at the end exactly one [`event::SessionClosed`] (AUD-4).
//! [`event::SessionRefused`] stands for a session that never opened, [`event::Access`] for one request of an auditor,
//! [`event::Gap`] for what recovery could not read. Events of the control plane (access requested, reviewed, granted and
//! ended, revoked, alarm) stand alone too.
//!
//! Read in this order: [`id`] (who and which), [`event`] (what happened), [`codec`] (an event as bytes), [`batch`]
//! (the unit that is shipped, archived and proved), [`chain`] (hashes and proofs), [`signature`] (who says so), [`seal`] (who
//! may read it), [`literals`] (a text that anybody may read), [`tokens`]
//! (values that are left out), [`topic`] (where it goes), [`invariant`] (the numbered promises of the whole system).
//!
//! This package does no IO and has no async code: everybody may depend on it.

pub mod batch;
pub mod chain;
pub mod codec;
pub mod event;
pub mod id;
pub mod invariant;
pub mod literals;
pub mod seal;
pub mod signature;
pub mod tokens;
pub mod topic;

pub use batch::{BatchHeader, EventBatch, SessionRange};
pub use event::{Body, Event, Identity, IdentityKind};
pub use id::{Epoch, EventId, GrantId, HoldId, NodeId, RequestId, SequenceNumber, SessionId, Shard, StatementId};
pub use signature::{Signature, Signer};
