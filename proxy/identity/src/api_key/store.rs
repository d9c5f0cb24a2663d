//! The file of API keys: who they are for and what they are good for; of the keys themselves only hashes.

use super::{Generated, New, generate};
use kit::Clock;
use ring::digest::{SHA256, digest};
use schemas::{IdentityKind, chain};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// One key, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its public part: names it in lists and events.
    pub id: String,
    /// Whom it stands for.
    pub subject: String,
    /// A person or a program.
    pub kind: IdentityKind,
    /// Its groups.
    pub groups: Vec<String>,
    /// The resources that it opens; empty for all.
    pub resources: Vec<String>,
    /// Seconds since 1970-01-01 UTC.
    pub created: i64,
    /// When it ends.
    pub expires: i64,
    /// When it was revoked.
    pub revoked: Option<i64>,
    /// SHA-256 of the secret, hexadecimal.
    pub sha256: String,
}

impl Entry {
    /// Compares hashes, so that the time says nothing about the secret.
    pub(super) fn is_secret(&self, secret: &str) -> bool {
        chain::hexadecimal(digest(&SHA256, secret.as_bytes()).as_ref()) == self.sha256
    }
}

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("reading the API keys of {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not a store.
    #[error("{} does not hold API keys", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error("writing the API keys to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be watched.
    #[error("watching the API keys")]
    Watch(#[source] io::Error),
    /// The system gave no randomness.
    #[error("making an API key: the system gave no randomness")]
    Random,
    /// Too long a life.
    #[error("an API key is good for one second to 366 days")]
    Lifetime,
    /// No usable subject.
    #[error("the subject must have 1 to 256 bytes, and no control characters")]
    Subject,
    /// No usable groups or resources.
    #[error("a key has at most 64 groups and 64 resources, each of 1 to 256 bytes without control characters")]
    Names,
    /// Too many.
    #[error("the store holds its limit of {MAX_KEYS} API keys: remove the file's old ones")]
    Full,
}

/// The keys as they were read.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
    seen: Option<(u64, i64, i64)>,
}

impl Table {
    pub(super) fn find(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The file.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The store in this file; it need not be there.
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`Error`]; nothing was made then.
    pub fn create(&self, new: New, clock: &Clock) -> Result<Generated, Error> {
        let made = generate(new, clock)?;
        self.change(|entries| {
            if entries.len() >= MAX_KEYS {
                return Err(Error::Full);
            }
            entries.push(made.entry.clone());
            Ok(())
        })?;
        Ok(made)
    }

    /// All keys, revoked and expired ones too.
    ///
    /// # Errors
    /// [`Error`].
    pub fn list(&self) -> Result<Vec<Entry>, Error> {
        Ok(self.read()?.entries)
    }

    /// Revokes a key; `false` where there is no such key. A key that was revoked before stays as it is.
    ///
    /// # Errors
    /// [`Error`]; nothing was revoked then.
    pub fn revoke(&self, id: &str, clock: &Clock) -> Result<bool, Error> {
        self.change(|entries| {
            let found = entries.iter_mut().find(|entry| entry.id == id);
            Ok(found.map(|entry| entry.revoked.get_or_insert(clock.now_seconds())).is_some())
        })
    }

    pub(super) fn read(&self) -> Result<Table, Error> {
        Ok(self.read_if_changed(&Table { seen: Some((0, 0, 0)), ..Table::default() })?.unwrap_or_default())
    }

    /// Reads the file if it looks different from when that was read.
    pub(super) fn read_if_changed(&self, before: &Table) -> Result<Option<Table>, Error> {
        let failed = |source| Error::Read { path: self.path.clone(), source };
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(before.seen.is_some().then(Table::default));
            }
            Err(error) => return Err(failed(error)),
        };
        // every change puts a new file in place
        let seen = Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()));
        if seen == before.seen {
            return Ok(None);
        }
        let text = fs::read(&self.path).map_err(failed)?;
        let entries =
            serde_json::from_slice(&text).map_err(|source| Error::Content { path: self.path.clone(), source })?;
        Ok(Some(Table { entries, seen }))
    }

    /// Changes the file under a lock, and puts it in place whole.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<Entry>) -> Result<T, Error>) -> Result<T, Error> {
        let failed = |source| Error::Write { path: self.path.clone(), source };
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed)?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(self.path.with_extension("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut entries = self.read()?.entries;
        let done = change(&mut entries)?;
        let text =
            serde_json::to_vec_pretty(&entries).map_err(|source| Error::Content { path: self.path.clone(), source })?;
        let aside = self.path.with_extension("new");
        let written = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside);
        written
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&aside, &self.path))
            .and_then(|()| fs::File::open(folder)?.sync_all())
            .map_err(failed)?;
        drop(lock);
        Ok(done)
    }
}

/// Looked through at each login: keys are for migration, not for fleets.
const MAX_KEYS: usize = 1000;
