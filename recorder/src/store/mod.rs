//! Where the archive lies: a folder, or a bucket of an object store.
//!
//! ```text
//! archive.url --place--> Folder: a local file system, synced          (what this package always had)
//!                        Bucket: object_store's client --> http --> TLS of this project
//!                                 |                         | errors without what could be a secret
//!                                 |                         | retention of locked objects, signed again (lock)
//!                                 check: what a bucket must do before anything is put into it
//! ```
//!
//! Commits are exclusive because an object is created only where none has its name. A folder does so; a bucket is asked
//! ([`check`]), since two recorders on one that does not would overwrite each other's commits unseen.

pub mod check;
mod http;
pub mod lock;
pub mod place;
pub mod s3;

pub use place::{Bucket, Place};

use kit::SecretError;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The archive's place could not be opened.
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
    /// The place cannot be used as a store.
    #[error("opening the archive {place}")]
    Open {
        /// The place.
        place: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// A secret cannot be read.
    #[error("opening the archive {place}")]
    Secret {
        /// The place.
        place: String,
        /// Why, without the secret.
        #[source]
        source: SecretError,
    },
    /// A file of certificate authorities cannot be used.
    #[error("reading the certificate authorities in {path} (archive.ca_file): {reason}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A place that is open.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The bucket, where it is one.
    bucket: Option<Bucket>,
    lock: Option<lock::Examiner>,
}

impl Place {
    /// Opens it. A folder is made where it is missing, and what it acknowledges survives a power loss; a bucket is not
    /// asked anything yet.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(&self) -> Result<Opened, Error> {
        match self {
            Self::Folder(directory) => Ok(Opened { store: folder(directory)?, bucket: None, lock: None }),
            Self::Bucket(bucket) => {
                let (store, lock) = bucket.open()?;
                let store = match bucket.prefix.as_ref() {
                    "" => store,
                    prefix => Arc::new(PrefixStore::new(store, prefix)) as Arc<dyn ObjectStore>,
                };
                Ok(Opened { store, bucket: Some((**bucket).clone()), lock })
            }
        }
    }
}

fn folder(directory: &Path) -> Result<Arc<dyn ObjectStore>, Error> {
    let named = || directory.to_owned();
    std::fs::create_dir_all(directory).map_err(|source| Error::Create { directory: named(), source })?;
    let store = LocalFileSystem::new_with_prefix(directory)
        .map_err(|source| Error::Open { place: directory.display().to_string(), source })?;
    Ok(Arc::new(store.with_fsync(true)))
}
