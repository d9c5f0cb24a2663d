//! How objects come into the store: what is put twice stays one, and what another put is never overwritten.

use super::{Error, layout};
use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an object is. Every put carries it, so that a store which locks objects knows which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What is signed for the whole: checkpoints, and the custody log.
    Checkpoints,
    /// Commits.
    Manifests,
    /// Blocks of events, and batches that are kept aside.
    Data,
    /// Wrapped keys of sessions. They are never locked: erasing one is how a sealed session is disposed of.
    #[serde(skip)]
    Keys,
}

impl Kind {
    fn of(path: &Path) -> Self {
        if layout::parse_checkpoint(path).is_some() || layout::parse_custody_entry(path).is_some() {
            Self::Checkpoints
        } else if layout::parse_session_key(path).is_some() {
            Self::Keys
        } else if layout::parse_manifest(path).is_some() {
            Self::Manifests
        } else {
            Self::Data
        }
    }
}

/// What became of an object that must be the only one of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// These bytes lie there.
    Done,
    /// Other bytes lie there.
    Taken,
}

pub(crate) fn options(path: &Path, mode: PutMode) -> PutOptions {
    let mut options = PutOptions::from(mode);
    options.extensions.insert(Kind::of(path));
    options
}

/// Puts an object whose bytes follow from its name: whoever puts it again puts the same.
pub(crate) async fn replace(store: &dyn ObjectStore, path: &Path, bytes: Bytes) -> Result<(), Error> {
    let put = store.put_opts(path, bytes.into(), options(path, PutMode::Overwrite)).await;
    put.map(drop).map_err(Error::store("write", path))
}

/// Puts an object unless there is one of its name.
///
/// A store may have put it and lost its answer; the request is then made again, by the client or by the caller, and
/// finds its own object. So bytes that are there already count as put, whoever put them.
pub(crate) async fn create(store: &dyn ObjectStore, path: &Path, bytes: &Bytes) -> Result<Created, Error> {
    for _ in 0..ATTEMPTS {
        match store.put_opts(path, bytes.clone().into(), options(path, PutMode::Create)).await {
            Ok(_) => return Ok(Created::Done),
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(source) => return Err(Error::store("write", path)(source)),
        }
        match store.get(path).await {
            Ok(found) => {
                let there = found.bytes().await.map_err(Error::store("read", path))?;
                return Ok(if there == *bytes { Created::Done } else { Created::Taken });
            }
            // S3 answers 409 while another put of the same name is under way, and that one may come to nothing
            Err(object_store::Error::NotFound { .. }) => tokio::time::sleep(PAUSE).await,
            Err(source) => return Err(Error::store("read", path)(source)),
        }
    }
    let reason = format!("{ATTEMPTS} times the store said that it exists and then that it does not");
    Err(Error::Object { object: path.to_string(), reason })
}

/// Puts of other recorders are under way for so many pauses at most.
const ATTEMPTS: u32 = 8;

const PAUSE: Duration = Duration::from_millis(100);
