//! An authenticated agent that attacks masking and policy: runs cases of the corpus through a gate before a fresh
//! PostgreSQL, with a wire client of its own, and says what came through.
//!
//! ```text
//! corpus -> admin (set-up, {placeholders}) -> steps (wire) -> needles (leaks) -> outcome -> audit (the archive) -> report
//! ```
//!
//! It is an outsider: it knows the gate by its port, its config file and `postern events tail`. Its wire client also puts
//! PostgreSQL's own regression statements through `judge::sql` (`regress`).

pub mod admin;
pub mod audit;
pub mod case;
pub mod messages;
pub mod needles;
pub mod outcome;
pub mod report;
pub mod residue;
pub mod steps;
pub mod tls;
pub mod wire;
pub mod world;
