//! Settings of the index: section `[index]` of the configuration file, and what it is parsed to.

use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Section `[index]`. None of it can change while running.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Folder of the index. It can be deleted while the process is stopped: it is then built again from the archive.
    /// _Default:_ `index` under the node's data folder.
    pub directory: Option<PathBuf>,
    /// Milliseconds between commits while statements come: how long after its verdict a statement is found. Shorter
    /// makes more small segments to merge. _Default:_ 500.
    pub commit_interval_ms: u64,
    /// Bytes that the writer may fill before it writes a segment by itself. More makes fewer and larger segments.
    /// _Default:_ 67108864 (64 MiB).
    pub memory_bytes: usize,
}

impl Default for File {
    fn default() -> Self {
        Self { directory: None, commit_interval_ms: 500, memory_bytes: 64 << 20 }
    }
}

/// The parsed settings of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// See [`File::directory`].
    pub directory: PathBuf,
    /// See [`File::commit_interval_ms`].
    pub commit_interval: Duration,
    /// See [`File::memory_bytes`].
    pub memory_bytes: usize,
}

/// tantivy refuses less than 15 MB for a writing thread.
const MIN_MEMORY_BYTES: usize = 16 << 20;
/// tantivy refuses 4 GB and more.
const MAX_MEMORY_BYTES: usize = 2 << 30;
/// A statement must be found within two seconds: one for the commit, one for all else.
const MAX_COMMIT_INTERVAL_MS: u64 = 1_000;

impl File {
    /// Parses the section. `directory` must have been set by then.
    ///
    /// # Errors
    /// Every problem at once, each naming its key.
    pub fn check(self) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        if !(10..=MAX_COMMIT_INTERVAL_MS).contains(&self.commit_interval_ms) {
            problems.push("index.commit_interval_ms: must be 10 to 1000".to_owned());
        }
        if !(MIN_MEMORY_BYTES..=MAX_MEMORY_BYTES).contains(&self.memory_bytes) {
            problems.push("index.memory_bytes: must be 16777216 (16 MiB) to 2147483648 (2 GiB)".to_owned());
        }
        match self.directory {
            None => problems.push("index.directory: must be set".to_owned()),
            Some(directory) if problems.is_empty() => {
                return Ok(Config {
                    directory,
                    commit_interval: Duration::from_millis(self.commit_interval_ms),
                    memory_bytes: self.memory_bytes,
                });
            }
            Some(_) => {}
        }
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_named_at_once() {
        let file = File { commit_interval_ms: 0, memory_bytes: 1, ..File::default() };
        let problems = file.check().unwrap_err();
        assert_eq!(problems.len(), 3);
        for key in ["index.directory", "index.commit_interval_ms", "index.memory_bytes"] {
            assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key}");
        }
        let config = File { directory: Some("index".into()), ..File::default() }.check().unwrap();
        assert_eq!(config.commit_interval, Duration::from_millis(500));
    }
}
