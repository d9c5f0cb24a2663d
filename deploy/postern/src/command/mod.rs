//! The commands that answer and end. Each reads the config for the folders that it needs, and nothing else of the node:
//! they work beside a running process and without one.

pub mod access;
pub mod audit;
pub mod config;
pub mod control;
pub mod custody;
pub mod doctor;
pub mod events;
pub mod export;
pub mod key;
pub mod kms;
pub mod loadtest;
pub mod policy;
pub mod review;
pub mod session;
pub mod token;
pub mod version;

use crate::failure::Failure;

/// Runs one answer on a small runtime of its own.
fn block_on<T>(answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(answer)
}
