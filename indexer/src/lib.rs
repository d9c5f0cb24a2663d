//! The search index: one document for each statement, found within two seconds, rebuilt from the archive at any time.
//!
//! ```text
//! bus --consume--> document (join the events of a statement) --commit--> tantivy index + offsets, in one commit
//! archive --rebuild--^                    search (another process too): question --parse--> query --> hits
//! ```
//!
//! The index answers who read a column without reading the archive; the archive stays the truth. It holds no constant of
//! any statement ([`schemas::literals`], MSK-1), so that it may be read by more people than the recorded frames.
//!
//! Entry points: [`run`] is the process, [`rebuild`] fills an index from the archive, [`search::Searcher`] answers.
//! Read in this order: [`schema`], [`document`], [`schemas::literals`], [`commit`], [`consume`], [`rebuild`], [`search`].

pub mod commit;
pub mod config;
pub mod consume;
pub mod document;
pub mod rebuild;
pub mod schema;
pub mod search;
pub mod telemetry;

#[cfg(test)]
pub(crate) mod testing;

pub use config::Config;
pub use consume::{Error, Surroundings, run, run_with};
