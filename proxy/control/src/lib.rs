//! The control plane: who may do what, for how long, and who said yes.
//!
//! ```text
//! somebody acts -> Record -> envelope (signed) -> postern.control -> every node: verify -> State (a pure fold)
//!                                                     |-- embedded: a journal of this node
//!                                                     '-- Kafka: one partition, kept for ever
//! ```
//!
//! Access requests, reviews, grants, revocations and held statements meet here, so that no state is sticky to a node: an
//! approval that is given on one node releases a statement on another, a revocation ends sessions everywhere. Read
//! [`record`] first (what can be done), then [`state`] (what follows from it), then [`plane`] (the handle).

pub mod access;
mod api_keys;
mod cancel;
pub mod config;
pub mod envelope;
mod keys;
mod lapsed;
pub mod plane;
mod reader;
pub mod record;
pub mod report;
pub mod seen;
mod shown;
pub mod state;
pub mod telemetry;
#[doc(hidden)]
pub mod testing;
mod untold;

pub use access::Access;
pub use cancel::CancelMark;
pub use config::Config;
pub use keys::public_key;
pub use plane::{Control, Error, OpenError, Plane, Stale};
pub use record::{AccessRequest, ApiKey, Digest, HoldAsk, Needs, Record, Review, Subject, Telling, Told};
pub use report::{NotTaken, Report, Silent, Taken};
pub use state::{Effect, Grant, Hold, HoldState, Notice, Refused, Request, State};
pub use telemetry::Telemetry;
