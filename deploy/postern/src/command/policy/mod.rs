//! `postern policy validate | test | explain | guardrails | schema`. Nothing here changes anything.

mod explain;
mod table;
mod trial;

use crate::arguments::{Global, Policy};
use crate::failure::Failure;
use crate::{config, output};
use judge::policy::{Rules, cedar};
use proxy::policies::PolicyFiles;
use serde_json::json;
use std::path::PathBuf;

/// Runs the verb.
pub fn run(global: &Global, verb: &Policy) -> Result<(), Failure> {
    match verb {
        Policy::Validate { files, resource } => validate(global, files, resource.as_deref()),
        Policy::Test { files, resource } => table::run(global, files, resource.as_deref()),
        Policy::Explain { sql, resource, tables, who } => {
            explain::run(global, sql, resource.as_deref(), tables.as_deref(), who)
        }
        Policy::Guardrails => Ok(output::either(
            global.output,
            || cedar::GUARDRAILS.trim_end().to_owned(),
            || json!({"guardrails": cedar::guardrail_ids(), "text": cedar::GUARDRAILS}),
        )?),
        Policy::Schema => Ok(output::either(
            global.output,
            || cedar::SCHEMA.trim_end().to_owned(),
            || json!({"text": cedar::SCHEMA}),
        )?),
    }
}

/// A resource of the config.
fn registered<'a>(config: &'a config::Config, name: &str) -> Result<&'a proxy::config::ResourceConfig, Failure> {
    let found = config.proxy.resources.iter().find(|resource| resource.name == name);
    found.ok_or_else(|| Failure::NotFound(format!("the config has no resource {name:?}")))
}

fn validate(global: &Global, files: &[PathBuf], resource: Option<&str>) -> Result<(), Failure> {
    // a config with wrong policies does not load: its problems are printed with their places
    let checked: Vec<(String, Result<Rules, Vec<String>>)> = if files.is_empty() {
        let config = config::load(global)?;
        if let Some(name) = resource {
            registered(&config, name)?;
        }
        let wanted = config.proxy.resources.iter().filter(|one| resource.is_none_or(|name| one.name == name));
        wanted.map(|one| (format!("resource {}", one.name), Ok(one.rules.clone()))).collect()
    } else {
        let given = PolicyFiles { policies: files.to_vec(), ..PolicyFiles::default() };
        let rules = given.read().and_then(|contents| given.rules(&contents));
        vec![("files".to_owned(), rules)]
    };
    let mut wrong = Vec::new();
    let mut lines = Vec::new();
    let mut values = Vec::new();
    for (place, rules) in checked {
        match rules {
            Ok(rules) => {
                let count = rules.policies.len();
                lines.push(format!("{place}: good; {count} files, version {}", rules.version()));
                values.push(json!({"place": place, "good": true, "files": count, "version": rules.version()}));
            }
            Err(problems) => {
                values.push(json!({"place": place, "good": false, "problems": problems}));
                wrong.extend(problems);
            }
        }
    }
    if wrong.is_empty() || global.output == crate::arguments::Output::Json {
        output::either(global.output, || lines.join("\n"), || json!(values))?;
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Unsound(wrong.join("\n"))) }
}
