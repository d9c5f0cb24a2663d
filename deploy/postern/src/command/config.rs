//! `postern config check | example`.

use crate::arguments::{Config, Global};
use crate::failure::Failure;
use crate::{config, output};
use serde_json::json;

/// The file with every key, its default and what it does. Tests hold it against the types.
pub const EXAMPLE: &str = include_str!("../../../config/postern.example.toml");

/// Runs the verb.
pub fn run(global: &Global, verb: &Config) -> Result<(), Failure> {
    match verb {
        Config::Example => Ok(output::line(EXAMPLE.trim_end())?),
        Config::Check => {
            let config = config::load(global)?;
            config.for_gate()?;
            let path = config::path(global);
            let shown = path.map_or_else(|| "defaults".to_owned(), |path| path.display().to_string());
            let rules: Vec<String> = config.archive.retention.iter().map(|rule| format!("retention: {rule}")).collect();
            let good = || format!("{shown}: good; node {}, {} resources", config.node, config.proxy.resources.len());
            let text = || {
                [good()].into_iter().chain(rules.iter().map(|rule| output::plain(rule))).collect::<Vec<_>>().join("\n")
            };
            let value = || json!({"config": shown, "good": true, "node": config.node, "retention": rules});
            Ok(output::either(global.output, text, value)?)
        }
    }
}
