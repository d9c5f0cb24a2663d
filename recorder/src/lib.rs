//! The archive: what the gates recorded, kept for good, provable, and read by everybody who asks about the past.
//!
//! ```text
//! bus --consume--> verify --> archive::writer --put--> data object, then manifest (the commit)
//!                                             archive::reader <-- sessions, events, batches, proof of the whole
//!                                                  |--> play (a session for people)   export   bundle   tail
//! ```
//!
//! [`run`] is the process: it takes batches from any [`event_log::Consume`], checks them (chain, Merkle root, dense
//! sequences) and splices their blocks into Avro Object Container Files without decoding them again.
//! [`archive::Reader`] is how everything else reads: it needs the object store alone, no running recorder. [`store`] opens
//! the place where it lies: a folder, or a bucket. [`witness`] is who keeps its checkpoints besides.
//!
//! Read [`consume`] first: it says what position and checkpoint are. Then [`verify`], [`archive`], [`sessions`],
//! [`frames`] and [`play`].

pub mod archive;
pub mod bundle;
pub mod config;
pub mod consume;
pub mod export;
pub mod frames;
pub mod play;
pub mod sessions;
pub mod store;
pub mod tail;
pub mod telemetry;
pub mod verify;
pub mod witness;

#[cfg(test)]
pub(crate) mod testing;

pub use config::Config;
pub use consume::{run, run_with};
