//! Settings of the archive: section `[archive]` of the configuration file, and what it is parsed to.

use crate::archive::custody::{Rule, RuleFile, rules};
pub use crate::store::Error;
use crate::store::place::{self, Bucket, Limits, Place, Url};
use crate::store::{Opened, s3};
use crate::witness;
use object_store::ObjectStore;
use schemas::{NodeId, Signer, seal::Keks};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Section `[archive]`. None of it can change while running.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Where the archive lies: a folder, as a path or as `file:///path`, or a bucket: `s3://bucket/prefix`, and where
    /// that is compiled in `gs://bucket/prefix` and `az://container/prefix`. _Default:_ `archive` under the node's data
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
    /// Seconds that a bucket has for an answer, and for each part of a long one; a large object gets a second more for
    /// each MiB of it. _Default:_ 30.
    pub request_timeout_seconds: u64,
    /// How often a request that failed is made again, for two minutes at most, before it counts as failed. What the
    /// recorder does not get done it tries again for ever. _Default:_ 4.
    pub request_retries: usize,
    /// The certificate authorities that vouch for a bucket's address, PEM. _Default:_ those of the web (webpki-roots).
    pub ca_file: Option<PathBuf>,
    /// Of `s3://` archives.
    pub s3: s3::File,
    /// Who keeps the checkpoints besides.
    pub witness: witness::File,
    /// Classes of sessions that are not kept for ever; the first that covers a session counts. `postern audit retain` disposes
    /// of what is due, and nothing else does. _Default:_ none: everything is kept.
    pub retention: Vec<RuleFile>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            url: None,
            flush_interval_ms: 1_000,
            object_bytes: 64 << 20,
            checkpoint_seconds: 60,
            signing_key: None,
            request_timeout_seconds: 30,
            request_retries: 4,
            ca_file: None,
            s3: s3::File::default(),
            witness: witness::File::default(),
            retention: Vec::new(),
        }
    }
}

/// The parsed settings of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the archive lies. See [`File::url`].
    pub place: Place,
    /// See [`File::flush_interval_ms`].
    pub flush_interval: Duration,
    /// See [`File::object_bytes`].
    pub object_bytes: usize,
    /// See [`File::checkpoint_seconds`].
    pub checkpoint_interval: Option<Duration>,
    /// Who signs checkpoints; `None`: nobody, and there are none.
    pub notary: Option<Notary>,
    /// What opens sealed payloads.
    pub keks: Option<Arc<Keks>>,
    /// Who keeps the checkpoints besides.
    pub witness: Option<witness::Settings>,
    /// See [`File::retention`].
    pub retention: Vec<Rule>,
}

/// Who signs checkpoints, and entries of the custody log.
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
const MAX_TIMEOUT_SECONDS: u64 = 600;
const MAX_RETRIES: usize = 20;

impl File {
    /// Parses the section. `url` must have been set by then.
    ///
    /// # Errors
    /// Every problem at once, each naming its key.
    pub fn check(self) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        let set_s3 = self.s3 != s3::File::default();
        let s3 = self.s3.check(&mut problems);
        let limits = Limits {
            timeout: Duration::from_secs(self.request_timeout_seconds),
            retries: self.request_retries,
            ca_file: self.ca_file,
        };
        let place = match self.url.as_deref().map(place::parse) {
            None => Err("archive.url: must be set".to_owned()),
            Some(Err(problem)) => Err(problem),
            Some(Ok(Url::Folder(directory))) => Ok(Place::Folder(directory)),
            Some(Ok(Url::Bucket { scheme, name, prefix })) => {
                scheme.provider(s3).map(|provider| Place::Bucket(Box::new(Bucket { provider, name, prefix, limits })))
            }
        };
        let of_s3 = match &place {
            Ok(Place::Bucket(bucket)) => matches!(bucket.provider, place::Provider::S3(_)),
            Ok(Place::Folder(_)) => false,
            // a second complaint would hide the first
            Err(_) => true,
        };
        if set_s3 && !of_s3 {
            problems.push("archive.s3: is for an archive.url that begins with s3://".to_owned());
        }
        let place = place.map_err(|problem| problems.push(problem)).ok();
        if !(1..=MAX_TIMEOUT_SECONDS).contains(&self.request_timeout_seconds) {
            problems.push("archive.request_timeout_seconds: must be 1 to 600".to_owned());
        }
        if self.request_retries > MAX_RETRIES {
            problems.push("archive.request_retries: must be 0 to 20".to_owned());
        }
        if !(1..=600_000).contains(&self.flush_interval_ms) {
            problems.push("archive.flush_interval_ms: must be 1 to 600000 (10 minutes)".to_owned());
        }
        if !(1..=MAX_OBJECT_BYTES).contains(&self.object_bytes) {
            problems.push("archive.object_bytes: must be 1 to 1073741824 (1 GiB)".to_owned());
        }
        if self.checkpoint_seconds > MAX_CHECKPOINT_SECONDS {
            problems.push("archive.checkpoint_seconds: must be 0 to 86400 (a day)".to_owned());
        }
        let witness = self.witness.check(&mut problems);
        if witness.is_some() && self.checkpoint_seconds == 0 {
            problems.push("archive.witness.url: needs archive.checkpoint_seconds to be more than 0".to_owned());
        }
        if !self.retention.is_empty() && self.checkpoint_seconds == 0 {
            let why = "retention disposes only of what a checkpoint covers";
            problems.push(format!("archive.retention: needs archive.checkpoint_seconds of at least 1: {why}"));
        }
        let retention = rules::check(self.retention).map_err(|more| problems.extend(more)).unwrap_or_default();
        match place {
            Some(place) if problems.is_empty() => {
                let flush_interval = Duration::from_millis(self.flush_interval_ms);
                let checkpoint_interval = Some(self.checkpoint_seconds).filter(|s| *s > 0).map(Duration::from_secs);
                let object_bytes = self.object_bytes;
                Ok(Config {
                    place,
                    flush_interval,
                    object_bytes,
                    checkpoint_interval,
                    notary: None,
                    keks: None,
                    witness,
                    retention,
                })
            }
            _ => Err(problems),
        }
    }
}

impl TryFrom<File> for Config {
    type Error = Vec<String>;

    fn try_from(file: File) -> Result<Self, Vec<String>> {
        file.check()
    }
}

impl Config {
    /// Settings for a folder, the rest by default.
    pub fn for_directory(directory: impl Into<PathBuf>) -> Self {
        let File { flush_interval_ms, object_bytes, checkpoint_seconds, .. } = File::default();
        Self {
            place: Place::Folder(directory.into()),
            flush_interval: Duration::from_millis(flush_interval_ms),
            object_bytes,
            checkpoint_interval: Some(Duration::from_secs(checkpoint_seconds)),
            notary: None,
            keks: None,
            witness: None,
            retention: Vec::new(),
        }
    }

    /// Lets a node sign checkpoints.
    #[must_use]
    pub fn with_notary(mut self, signer: Signer, node: NodeId) -> Self {
        self.notary = Some(Notary { signer, node });
        self
    }

    /// Lets readers open sealed payloads.
    #[must_use]
    pub fn with_keks(mut self, keks: Option<Arc<Keks>>) -> Self {
        self.keks = keks;
        self
    }

    /// Opens the place. See [`Place::open`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(&self) -> Result<Opened, Error> {
        self.place.open()
    }

    /// The place's store, to read or to write without proving the place first.
    ///
    /// # Errors
    /// [`Error`].
    pub fn store(&self) -> Result<Arc<dyn ObjectStore>, Error> {
        self.open().map(|opened| opened.store)
    }
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
        let s3 = s3::File {
            endpoint: Some("http://127.0.0.1:9".into()),
            region: Some("a b".into()),
            access_key_id: Some("AKIA".into()),
            object_lock_days: 3,
            ..s3::File::default()
        };
        let file = File {
            url: Some("ftp://x".into()),
            flush_interval_ms: 0,
            object_bytes: 0,
            request_timeout_seconds: 0,
            request_retries: 21,
            s3,
            ..File::default()
        };
        let problems = file.check().unwrap_err().join("\n");
        for key in [
            "archive.url: ftp://",
            "archive.flush_interval_ms",
            "archive.object_bytes",
            "archive.request_timeout_seconds",
            "archive.request_retries",
            "archive.s3.endpoint: http:// needs archive.s3.allow_http",
            "archive.s3.region",
            "archive.s3.access_key_id: needs archive.s3.secret_access_key_file",
            "archive.s3.object_lock_days: needs archive.s3.object_lock",
        ] {
            assert!(problems.contains(key), "{key} in {problems}");
        }
        assert_eq!(problems.lines().count(), 9, "{problems}");
        assert!(File { url: Some("file://a".into()), ..File::default() }.check().is_err());
        assert!(File::default().check().is_err());
    }

    #[test]
    fn settings_of_s3_are_for_buckets_of_s3() {
        let file = |url: &str| File {
            url: Some(url.into()),
            s3: s3::File { region: Some("eu-central-1".into()), ..s3::File::default() },
            ..File::default()
        };
        let config = file("s3://audit/postern/").check().unwrap();
        assert_eq!(config.place.to_string(), "s3://audit/postern");
        assert_eq!(file("/a/b").check().unwrap_err(), ["archive.s3: is for an archive.url that begins with s3://"]);
    }

    #[cfg(not(any(feature = "gcs", feature = "azure")))]
    #[test]
    fn what_is_not_compiled_in_is_told() {
        for (url, feature) in [("gs://audit", "gcs"), ("az://audit", "azure")] {
            let problems = File { url: Some(url.into()), ..File::default() }.check().unwrap_err();
            assert!(problems[0].contains(&format!("--features {feature}")), "{problems:?}");
        }
    }
}
