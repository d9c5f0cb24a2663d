//! The wrapped keys of sealed sessions: an object each, so that one can be erased and nothing else.
//!
//! The recorder puts a session's key before the manifest that commits its first batch, so that no archived session lacks
//! it. Nothing is hashed over it, and no manifest names it; what it unwraps to proves itself ([`schemas::seal`]).

use super::put::{self, Created};
use super::{Error, layout, writer};
use bytes::Bytes;
use object_store::ObjectStore;
use schemas::SessionId;
use schemas::event::Event;
use schemas::seal::{self, Keks, Opener, WrappedKey};
use serde::{Deserialize, Serialize};

/// The form that is written and read.
const VERSION: u32 = 1;

/// What stands in the object.
#[derive(Debug, Serialize, Deserialize)]
struct Object {
    version: u32,
    #[serde(flatten)]
    key: WrappedKey,
}

/// Why the payloads of a session stay sealed.
#[derive(Debug, thiserror::Error)]
pub enum Sealed {
    /// Nobody can open them any more, unless the key comes back.
    #[error("its key is not in the archive any more: erased, or lost")]
    Erased,
    /// This process cannot.
    #[error("no key file is configured in [sealing]")]
    NoKeys,
    /// The key does not fit.
    #[error(transparent)]
    Key(seal::Error),
    /// The object is not of the expected form.
    #[error("its key {0} cannot be read")]
    Form(String, #[source] serde_json::Error),
}

/// Puts a session's key, unless it is there.
///
/// A session has one key. Another one under its name is not put: what it sealed cannot be read, and the log says so.
pub(crate) async fn put(store: &dyn ObjectStore, key: &WrappedKey) -> Result<(), Error> {
    let path = layout::session_key(key.session);
    let bytes = serde_json::to_vec(&Object { version: VERSION, key: key.clone() });
    let bytes = bytes.map_err(|source| Error::Manifest { object: path.to_string(), source })?;
    if put::create(store, &path, &Bytes::from(bytes)).await? == Created::Taken {
        tracing::error!(session = %key.session, "the session has another key in the archive already; this one is not kept");
    }
    Ok(())
}

/// Opens the payloads of a session's events, as far as the keys reach. What stays sealed is no error of the archive: the
/// reason is given beside.
///
/// # Errors
/// [`Error`] if the store cannot be read.
pub async fn open(
    store: &dyn ObjectStore,
    keks: Option<&Keks>,
    session: SessionId,
    events: &mut [Event],
) -> Result<Option<Sealed>, Error> {
    let opener = match opener(store, keks, session).await? {
        Ok(opener) => opener,
        Err(sealed) => return Ok(Some(sealed)),
    };
    let its = events.iter_mut().filter(|event| event.session == session);
    let failed = its.filter_map(|event| opener.open_event(event).err()).last();
    Ok(failed.map(Sealed::Key))
}

async fn opener(
    store: &dyn ObjectStore,
    keks: Option<&Keks>,
    session: SessionId,
) -> Result<Result<Opener, Sealed>, Error> {
    let Some(keks) = keks else { return Ok(Err(Sealed::NoKeys)) };
    let path = layout::session_key(session);
    let bytes = match writer::fetch(store, &path).await {
        Ok(bytes) => bytes,
        Err(Error::Store { source: object_store::Error::NotFound { .. }, .. }) => return Ok(Err(Sealed::Erased)),
        Err(error) => return Err(error),
    };
    let object: Object = match serde_json::from_slice(&bytes) {
        Ok(object) => object,
        Err(error) => return Ok(Err(Sealed::Form(path.to_string(), error))),
    };
    // the object of another session is not this one's
    let key = WrappedKey { session, ..object.key };
    Ok(keks.unwrap(&key).map_err(Sealed::Key))
}
