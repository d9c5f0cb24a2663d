//! House rules that need a program; STYLE says why each stands.
//!
//! Each rule is a function from the files to findings; [`RULES`] lists them, so that adding one is a line.

mod prose;
mod rust;
mod schema;

use super::source::{self, File, conclude};
use anyhow::Result;
use std::path::Path;

/// A rule: looks at all files, says what it found.
type Rule = fn(&[File]) -> Vec<String>;

const RULES: &[Rule] = &[
    rust::module_documentation,
    rust::length,
    rust::left_open,
    rust::sleeping_tests,
    rust::log_texts,
    rust::vague_names,
    rust::default_arms,
    schema::documented_fields,
    prose::invariants,
    prose::machine_paths,
];

/// Applies every rule.
pub fn check(root: &Path) -> Result<()> {
    let files = source::files(root)?;
    conclude("tidy", &RULES.iter().flat_map(|rule| rule(&files)).collect::<Vec<_>>())
}

/// Test support: files from pairs of path and text.
#[cfg(test)]
fn files(pairs: &[(&str, &str)]) -> Vec<File> {
    pairs.iter().map(|(path, text)| File { path: (*path).to_owned(), text: Some((*text).to_owned()) }).collect()
}
