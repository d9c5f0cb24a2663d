//! How every process starts and stops: configuration, logs, metrics and health, the clock, secrets, shutdown.
//!
//! Besides, how texts are shown to whoever decides by them ([`visible`]), how other services are asked ([`http`], [`vault`]),
//! and keys that one of them unwraps ([`kms`]). Nothing here knows what a process does. A process
//! loads its sections with [`config::load`], starts logging with [`logging::init`], builds a [`Shutdown`], serves [`metrics`],
//! and hands clones of the handles to its libraries. There are no globals but the log subscriber: two instances with different
//! settings can run in one test process.

mod clock;
pub mod config;
pub mod http;
pub mod kms;
pub mod logging;
pub mod metrics;
mod secret;
mod shutdown;
pub mod vault;
pub mod visible;

pub use clock::Clock;
pub use secret::{Secret, SecretError};
pub use shutdown::Shutdown;
