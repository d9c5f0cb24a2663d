//! The auditor's side: an HTTP API over the archive and the index, and a web console.
//!
//! ```text
//! archive (recorder) --+
//! index (indexer) -----+-- sources --> api --> JSON --> console (page)
//! verifier (identity) -+                |
//! log <-- one Access event per request -+   durable before the answer is sent
//! ```
//!
//! [`run`] binds, then serves until the shutdown; [`router`] is the same without a socket. Read [`sources`] first: it is
//! all that the routes know of the rest of the system.

pub mod adapters;
pub mod api;
pub mod config;
mod crowd;
pub mod hooks;
mod listener;
pub mod memory;
mod moment;
mod page;
mod problem;
pub mod reconstruct;
pub mod search;
mod server;
pub mod sources;
pub mod telemetry;

pub use adapters::{parts, run};
pub use api::{Api, Parts, router};
pub use server::{Error, Server};
