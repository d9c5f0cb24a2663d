//! The ledger under faults: clients that write down what they see, faults of every kind between them and the archive,
//! and a checker that holds the two against each other.

pub mod check;
pub mod client;
pub mod driver;
pub mod forge;
pub mod lines;
pub mod proxy;
mod script;
pub mod workers;

pub use script::TAKEN;
