//! `postern version`.

use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;
use serde_json::json;

/// Prints it.
pub fn run(global: &Global) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let topics = [schemas::topic::EVENTS];
    let text = || format!("postern {version}; events v1 on {}", topics.join(", "));
    Ok(output::either(global.output, text, || json!({"version": version, "events": "v1", "topics": topics}))?)
}
