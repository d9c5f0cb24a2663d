//! The archive in an object store: what lies where, how it is committed, how it is read.
//!
//! ```text
//! data/<partition>/<first>-<last>.avro   an Avro Object Container File: one file block is one batch's block, as shipped
//! manifest/<partition>/<first>.json      the commit: what lies in the data object, and where the next recorder goes on
//! quarantine/<partition>/<offset>.bin    a batch that cannot stand in the archive, byte for byte
//! checkpoint/<number>.json               how far all partitions were at a time, signed
//! custody/<number>.json                  what is held, and what was disposed of, signed
//! key/<xx>/<session>.json                the wrapped key of a session whose payloads are sealed; it may be erased
//! archive.json                           in a bucket only: what this is ([`crate::store`] proves the bucket with it)
//! ```
//!
//! Any Avro library reads the data objects; the manifests add what a proof needs (headers, salts, hashes). A data
//! object without a manifest was never committed: nobody reads it ([`orphans`] lists such).
//!
//! [`layout`] names the objects, [`manifest`] says what a commit holds, [`writer`] makes one, [`put`] puts it, [`checkpoint`]
//! signs for all, [`custody`] keeps and disposes, [`Reader`] reads, [`keys`] opens what is sealed, [`audit`] proves to whom
//! [`trust`] names.

pub mod audit;
pub mod checkpoint;
pub mod custody;
mod envelope;
pub mod keys;
pub mod layout;
pub mod manifest;
pub mod put;
pub mod reader;
pub mod trust;
pub mod writer;

pub use audit::{Range, Report};
pub use checkpoint::Checkpoint;
pub use manifest::Manifest;
pub use reader::{Absent, Archived, Filter, Reader};
pub use trust::Trust;
pub use writer::orphans;

/// The archive could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused.
    #[error("cannot {doing} {object}")]
    Store {
        /// `read`, `write`, `list`.
        doing: &'static str,
        /// The object or prefix.
        object: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// A manifest is not JSON of the expected form.
    #[error("manifest {object} cannot be read")]
    Manifest {
        /// The object.
        object: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest was written by a later version.
    #[error("manifest {object} is of version {version}, this reader knows up to {known}; upgrade it")]
    Version {
        /// The object.
        object: String,
        /// Its version.
        version: u32,
        /// The latest known here.
        known: u32,
    },
    /// A data object does not hold what its manifest says.
    #[error("{object} does not hold what its manifest says: {reason}")]
    Object {
        /// The object.
        object: String,
        /// What differs.
        reason: String,
    },
    /// The custody log is not whole, or somebody signed it who may not: nothing is disposed of.
    #[error("{object} does not hold: {reason}; run `postern audit verify`")]
    Custody {
        /// The entry, or the checkpoint.
        object: String,
        /// What does not hold.
        reason: String,
    },
    /// An entry of the custody log stands, and not all that it names is erased.
    #[error("entry {entry} of the custody log is written, but not all that it names is erased yet; run it again")]
    Unfinished {
        /// The entry.
        entry: u64,
        /// Why.
        #[source]
        source: Box<Self>,
    },
    /// What is asked for was deleted, as the rules of retention have it.
    #[error("deleted by retention on {0}")]
    Deleted(custody::Disposal),
    /// A batch cannot be read.
    #[error("batch at partition {partition}, offset {offset} cannot be read")]
    Batch {
        /// The partition.
        partition: u32,
        /// The offset.
        offset: u64,
        /// Why.
        #[source]
        source: schemas::batch::Fault,
    },
    /// A batch cannot be encoded.
    #[error("cannot encode a batch")]
    Encode(#[source] schemas::codec::Error),
    /// Nothing is recorded under this id.
    #[error("no session {0} in the archive")]
    UnknownSession(schemas::SessionId),
}

impl Error {
    pub(crate) fn store(doing: &'static str, object: impl ToString) -> impl FnOnce(object_store::Error) -> Self {
        let object = object.to_string();
        move |source| Self::Store { doing, object, source }
    }
}
