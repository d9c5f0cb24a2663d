//! The custody of the archive: what must be kept, what may go and when, and the log of both.
//!
//! ```text
//! custody/<number>.json     hold_placed | hold_released | shredded | deleted, dense from 0, signed, each naming the one before
//! ```
//!
//! **The log is the lock.** An entry is created only where none has its number. Whoever disposes of something reads the log to
//! its end, decides, and creates the next entry: if a hold was placed meanwhile, the number is taken, and it decides again.
//!
//! **First the entry, then the erasure.** The entry of a disposal is in the store before anything is erased. What a crash
//! leaves undone in between, the next run finishes, and nothing else does; but what a hold means by then stays.
//!
//! **Every proof survives.** Only wrapped keys of sessions and data objects are erased; manifests, which hold headers, hashes
//! and signatures, stay, and [`super::audit`] excuses what is missing only by an entry that names it.
//!
//! [`selection`] says whom a hold means, [`log`] reads and extends the log, [`catalog`] what there is to dispose of, [`rules`]
//! what the config says of it, [`retain`] plans and disposes.

pub(crate) mod catalog;
pub mod log;
pub mod retain;
pub mod rules;
pub mod selection;

pub use catalog::meant;
pub use log::{Disposal, Disposed, Guard, Log, Noted};
pub use retain::{Plan, Retention};
pub use rules::{Rule, RuleFile, Then};
pub use selection::Selection;

use super::envelope::Form;
use super::manifest::{DataObject, Sha256};
use super::{Error, layout, writer};
use futures_util::TryStreamExt;
use object_store::{ObjectStore, path::Path};
use schemas::signature::PublicKey;
use schemas::{NodeId, SessionId, Signer};
use serde::{Deserialize, Serialize};

/// The form that this version writes and reads.
pub const VERSION: u32 = 1;

const FORM: Form = Form { payload_type: "application/vnd.postern.custody+json", named: "entries of the custody log" };

/// How far a custody log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// How many entries it has; at least one.
    pub entries: u64,
    /// The bytes of the last of them.
    pub last: Sha256,
}

/// One entry of the custody log, with who made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// The form of this document.
    pub version: u32,
    /// Dense from 0: its name.
    pub number: u64,
    /// When it was made, microseconds since 1970-01-01 UTC, by the clock of who made it.
    pub time: i64,
    /// The node whose key signed it.
    pub node: NodeId,
    /// The person, as far as the command line knew.
    pub by: String,
    /// The bytes of the entry before it; null for the first.
    pub previous: Option<Sha256>,
    /// What was done.
    pub entry: Entry,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// What a selection means is kept for a case, now and later, until the case is released. A case may be placed more than
    /// once: it then keeps what any of its selections means.
    HoldPlaced {
        /// The case's name.
        case: String,
        /// Why.
        reason: String,
        /// What.
        selection: Selection,
    },
    /// A case keeps nothing any more.
    HoldReleased {
        /// The case's name.
        case: String,
        /// Why.
        reason: String,
    },
    /// The keys of sessions are erased: nobody reads their payloads any more.
    Shredded {
        /// The class of retention.
        class: String,
        /// Why.
        reason: String,
        /// Whose keys.
        sessions: Vec<SessionId>,
    },
    /// Data objects are erased, or batches that were kept aside.
    Deleted {
        /// The class of retention.
        class: String,
        /// Why.
        reason: String,
        /// Which, as their manifests have them.
        objects: Vec<DataObject>,
    },
}

impl Note {
    /// Its name in the store.
    pub fn path(&self) -> Path {
        layout::custody_entry(self.number)
    }

    /// Signs it and puts it in its envelope.
    ///
    /// # Errors
    /// A fault in this package.
    pub fn seal(&self, signer: &Signer) -> Result<Vec<u8>, serde_json::Error> {
        FORM.seal(self, signer)
    }

    /// Reads an envelope, and checks its form and that the key which it names signed it. Whose key that is, is the
    /// caller's to know.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn open(bytes: &[u8]) -> Result<(Self, PublicKey), String> {
        let (note, key): (Self, _) = FORM.open(bytes)?;
        if note.version != VERSION {
            return Err(format!("it is of version {}, this reader knows {VERSION}", note.version));
        }
        Ok((note, key))
    }

    /// Why it cannot stand in a log after so many entries, the last of which has this hash.
    pub(crate) fn breaks_off(&self, number: u64, previous: Option<Sha256>) -> Option<String> {
        if self.number != number {
            return Some(format!("it says that it is {}", self.number));
        }
        (self.previous != previous).then(|| "it does not name the SHA-256 of the one before".to_owned())
    }
}

/// What of an earlier extent a later one takes back: of a log, nothing may be.
pub(crate) fn takes_back(before: Option<Extent>, after: Option<Extent>) -> Option<String> {
    let old = before?;
    match after {
        Some(new) if new.entries > old.entries || new == old => None,
        Some(new) => Some(format!("the custody log goes back from {} entries to {}", old.entries, new.entries)),
        None => Some(format!("the custody log of {} entries is missing", old.entries)),
    }
}

/// The numbers of the entries, ascending; those from one on.
pub(crate) async fn numbers(store: &dyn ObjectStore, from: u64) -> Result<Vec<u64>, Error> {
    let folder = layout::custody();
    let listed = match from.checked_sub(1) {
        Some(before) => store.list_with_offset(Some(&folder), &layout::custody_entry(before)),
        None => store.list(Some(&folder)),
    };
    let listed: Vec<_> = listed.try_collect().await.map_err(Error::store("list", &folder))?;
    let mut numbers: Vec<u64> = listed.iter().filter_map(|meta| layout::parse_custody_entry(&meta.location)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads an entry that must come after so much.
pub(crate) async fn next(
    store: &dyn ObjectStore,
    number: u64,
    before: Option<Extent>,
) -> Result<(Note, PublicKey, Extent), Error> {
    let path = layout::custody_entry(number);
    let expected = before.map_or(0, |extent| extent.entries);
    if number != expected {
        return Err(refused(&path, format!("entry {expected}, before it, is missing")));
    }
    let bytes = writer::fetch(store, &path).await?;
    let (note, key) = Note::open(&bytes).map_err(|reason| refused(&path, reason))?;
    if let Some(reason) = note.breaks_off(number, before.map(|extent| extent.last)) {
        return Err(refused(&path, reason));
    }
    let entries = number.checked_add(1).ok_or_else(|| refused(&path, "no number is left after it".to_owned()))?;
    Ok((note, key, Extent { entries, last: Sha256(writer::sha256(&bytes)) }))
}

/// How far the log is, read from where it was known to be; and what stands in its way, if it does not go on from there: whoever can
/// write can put anything there, and it must not end what is signed of the rest.
///
/// # Errors
/// [`Error::Store`] if it cannot be read.
pub(crate) async fn followed(
    store: &dyn ObjectStore,
    known: Option<Extent>,
) -> Result<(Option<Extent>, Option<Error>), Error> {
    let mut extent = known;
    for number in numbers(store, known.map_or(0, |extent| extent.entries)).await? {
        match next(store, number, extent).await {
            Ok((.., after)) => extent = Some(after),
            Err(problem @ Error::Custody { .. }) => return Ok((extent, Some(problem))),
            Err(error) => return Err(error),
        }
    }
    Ok((extent, None))
}

/// Finds the entry that an extent names as the last.
///
/// # Errors
/// [`Error::Custody`] if it is another one; [`Error::Store`] if it cannot be read.
pub(crate) async fn found(store: &dyn ObjectStore, extent: Extent) -> Result<(), Error> {
    let path = layout::custody_entry(extent.entries.saturating_sub(1));
    let is_it = writer::sha256(&writer::fetch(store, &path).await?) == extent.last.0;
    if is_it { Ok(()) } else { Err(refused(&path, "it is not the one that a checkpoint names".to_owned())) }
}

fn refused(path: &Path, reason: String) -> Error {
    Error::Custody { object: path.to_string(), reason }
}

#[cfg(test)]
mod tests;
