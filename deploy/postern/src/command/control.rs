//! `postern control key`: what the other nodes' configs must name for this one's records to count.

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{config, output};
use serde_json::json;

/// Prints this node's name and public key; makes the key where there is none.
pub fn key(global: &Global) -> Result<(), Failure> {
    let config = config::load(global)?;
    let key = control::public_key(&config.control.signing_key, &config.kms)?;
    let text = || format!("\"{}\" = \"{key}\"", config.node);
    Ok(output::either(global.output, text, || json!({"node": config.node, "key": key}))?)
}
