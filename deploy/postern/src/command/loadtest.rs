//! `postern loadtest replay`: a captured session as load.

use crate::arguments::{Global, Loadtest};
use crate::failure::Failure;

/// Runs the verb.
pub fn run(_global: &Global, verb: &Loadtest) -> Result<(), Failure> {
    let Loadtest::Replay { .. } = verb;
    Err(Failure::Failed(anyhow::anyhow!("replaying load is not built yet")))
}
