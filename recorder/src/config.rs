//! Settings of the archive: section `[archive]` of the configuration file, and what it is parsed to.

use object_store::{ObjectStore, local::LocalFileSystem};
use schemas::{NodeId, Signer};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Section `[archive]`. None of it can change while running.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Where the archive lies: a folder, as a path or as `file:///path`. _Default:_ `archive` under the node's data
    /// folder.
    pub url: Option<String>,
    /// Milliseconds after which batches that arrived are committed, even if few. Longer makes fewer, larger objects;
    /// what is not yet committed is still on the bus. _Default:_ 1000.
    pub flush_interval_ms: u64,
    /// Bytes of blocks at which a data object is committed before the interval ends. It is held in memory for each
    /// partition. _Default:_ 67108864 (64 MiB).
    pub object_bytes: usize,
    /// Seconds between checkpoints: signed statements of how far the archive is. What came after the last one can be cut
    /// off unseen. None is made while nothing is archived; 0: none at all. _Default:_ 60.
    pub checkpoint_seconds: u64,
    /// The Ed25519 key that signs them, in PKCS #8, open to its owner alone; made where it is missing.
    /// _Default:_ `audit.pk8` in the node's folder of keys.
    pub signing_key: Option<PathBuf>,
}

impl Default for File {
    fn default() -> Self {
        Self { url: None, flush_interval_ms: 1_000, object_bytes: 64 << 20, checkpoint_seconds: 60, signing_key: None }
    }
}

/// The parsed settings of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The folder of the archive. See [`File::url`].
    pub directory: PathBuf,
    /// See [`File::flush_interval_ms`].
    pub flush_interval: Duration,
    /// See [`File::object_bytes`].
    pub object_bytes: usize,
    /// See [`File::checkpoint_seconds`].
    pub checkpoint_interval: Option<Duration>,
    /// Who signs checkpoints; `None`: nobody, and there are none.
    pub notary: Option<Notary>,
}

/// Who signs checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notary {
    /// The key.
    pub signer: Signer,
    /// The node that it is.
    pub node: NodeId,
}

/// The largest data object: it is read whole by a verification.
pub(crate) const MAX_OBJECT_BYTES: usize = 1 << 30;
const MAX_CHECKPOINT_SECONDS: u64 = 86_400;

impl File {
    /// Parses the section. `url` must have been set by then.
    ///
    /// # Errors
    /// Every problem at once, each naming its key.
    pub fn check(self) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        let directory = match self.url.as_deref().map(directory) {
            None => {
                problems.push("archive.url: must be set".to_owned());
                PathBuf::new()
            }
            Some(Err(problem)) => {
                problems.push(problem);
                PathBuf::new()
            }
            Some(Ok(directory)) => directory,
        };
        if !(1..=600_000).contains(&self.flush_interval_ms) {
            problems.push("archive.flush_interval_ms: must be 1 to 600000 (10 minutes)".to_owned());
        }
        if !(1..=MAX_OBJECT_BYTES).contains(&self.object_bytes) {
            problems.push("archive.object_bytes: must be 1 to 1073741824 (1 GiB)".to_owned());
        }
        if self.checkpoint_seconds > MAX_CHECKPOINT_SECONDS {
            problems.push("archive.checkpoint_seconds: must be 0 to 86400 (a day)".to_owned());
        }
        if problems.is_empty() {
            let flush_interval = Duration::from_millis(self.flush_interval_ms);
            let checkpoint_interval = Some(self.checkpoint_seconds).filter(|s| *s > 0).map(Duration::from_secs);
            let object_bytes = self.object_bytes;
            Ok(Config { directory, flush_interval, object_bytes, checkpoint_interval, notary: None })
        } else {
            Err(problems)
        }
    }
}

impl TryFrom<File> for Config {
    type Error = Vec<String>;

    fn try_from(file: File) -> Result<Self, Vec<String>> {
        file.check()
    }
}

fn directory(url: &str) -> Result<PathBuf, String> {
    match url.split_once("://") {
        None if url.is_empty() => Err("archive.url: must not be empty".to_owned()),
        None => Ok(PathBuf::from(url)),
        Some(("file", path)) if path.starts_with('/') => Ok(PathBuf::from(path)),
        Some(("file", _)) => {
            Err("archive.url: a file URL has three slashes, as in file:///var/lib/postern/archive".to_owned())
        }
        Some((scheme, _)) => Err(format!("archive.url: {scheme}:// is not supported; use a folder or file:///...")),
    }
}

/// The folder of an archive could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be made.
    #[error("creating the archive's folder {directory}")]
    Create {
        /// The folder.
        directory: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The folder cannot be used as a store.
    #[error("opening the archive's folder {directory}")]
    Open {
        /// The folder.
        directory: PathBuf,
        /// Why.
        #[source]
        source: object_store::Error,
    },
}

impl Config {
    /// Settings for a folder, the rest by default.
    pub fn for_directory(directory: impl Into<PathBuf>) -> Self {
        let File { flush_interval_ms, object_bytes, checkpoint_seconds, .. } = File::default();
        Self {
            directory: directory.into(),
            flush_interval: Duration::from_millis(flush_interval_ms),
            object_bytes,
            checkpoint_interval: Some(Duration::from_secs(checkpoint_seconds)),
            notary: None,
        }
    }

    /// Lets a node sign checkpoints.
    #[must_use]
    pub fn with_notary(mut self, signer: Signer, node: NodeId) -> Self {
        self.notary = Some(Notary { signer, node });
        self
    }

    /// Opens the store, making its folder where it is missing. What it acknowledges survives a power loss.
    ///
    /// # Errors
    /// [`Error`].
    pub fn store(&self) -> Result<Arc<dyn ObjectStore>, Error> {
        open(&self.directory)
    }
}

fn open(directory: &Path) -> Result<Arc<dyn ObjectStore>, Error> {
    let named = || directory.to_owned();
    std::fs::create_dir_all(directory).map_err(|source| Error::Create { directory: named(), source })?;
    let store =
        LocalFileSystem::new_with_prefix(directory).map_err(|source| Error::Open { directory: named(), source })?;
    Ok(Arc::new(store.with_fsync(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_a_file_url_are_the_same() {
        for url in ["/a/b", "file:///a/b"] {
            let file = File { url: Some(url.into()), ..File::default() };
            assert_eq!(file.check().unwrap(), Config::for_directory("/a/b"));
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let file = File { url: Some("s3://x".into()), flush_interval_ms: 0, object_bytes: 0, ..File::default() };
        let problems = file.check().unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("s3://"));
        assert!(File { url: Some("file://a".into()), ..File::default() }.check().is_err());
        assert!(File::default().check().is_err());
    }
}
