//! What one commit holds: the proof of its batches, the sessions in it, and where the next recorder goes on.
//!
//! A manifest covers a range of offsets of one partition without a hole: it begins where the one before it ended. Its
//! name is that beginning, and it is created only if no object has that name: of two recorders on one partition, one
//! commits and the other begins again from there.

use super::{Error, layout};
use crate::verify::State;
use event_log::{Offset, Partition};
use object_store::path::Path;
use schemas::chain::Digest;
use schemas::event::{Access, Gap, SessionClosed, SessionOpened, SessionRefused};
use schemas::{BatchHeader, Epoch, EventBatch, SessionId, Shard, Signature, codec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The form that this version writes, and the latest that it reads.
pub const VERSION: u32 = 2;

/// The first in which manifests name each other and what lies aside, and batches may be signed.
pub(crate) const CHAINED: u32 = 2;

/// One commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of this document; readers refuse a later one than they know.
    pub version: u32,
    /// The partition.
    pub partition: Partition,
    /// The first offset that it covers: one after the last of the manifest before it, or 0.
    pub first: Offset,
    /// The last offset that it covers.
    pub last: Offset,
    /// When it was made, microseconds since 1970-01-01 UTC.
    pub created: i64,
    /// The bytes of the manifest before it; null for the first of a partition. Version 1 does not have it.
    #[serde(default)]
    pub previous: Option<Sha256>,
    /// The data object; null where every batch of the range was skipped or quarantined.
    pub object: Option<DataObject>,
    /// The objects in which batches are kept that cannot stand in the data object. Version 1 does not have it.
    #[serde(default)]
    pub aside: Vec<DataObject>,
    /// The batches, in the order of their offsets.
    pub batches: Vec<BatchEntry>,
    /// What is to be known of the sessions in it without reading the data object.
    pub sessions: Vec<SessionNote>,
    /// Batches of the range that were archived before and skipped.
    #[serde(default)]
    pub duplicates: u64,
    /// What does not hold.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Chains and open sessions at the end of the range: where verification goes on.
    pub state: State,
}

/// The SHA-256 of an object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sha256(#[serde(with = "codec::fixed")] pub Digest);

/// An object of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataObject {
    /// Its name in the store.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    #[serde(with = "codec::fixed")]
    pub sha256: Digest,
}

/// One archived batch: with its block, all of what was shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchEntry {
    /// Its offset.
    pub offset: Offset,
    /// The header.
    pub header: BatchHeader,
    /// The hash by which the next header of the chain names this one.
    #[serde(with = "codec::fixed")]
    pub hash: Digest,
    /// The secret of the leaf salts.
    #[serde(with = "codec::fixed")]
    pub salt: [u8; 32],
    /// Of the node that sealed it; missing where nodes do not sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Where its block lies.
    pub place: Place,
}

impl BatchEntry {
    /// The batch as it was shipped, with its block; without the keys that travelled beside it.
    pub(crate) fn with_block(&self, block: Vec<u8>) -> EventBatch {
        let (header, salt, signature) = (self.header.clone(), self.salt, self.signature);
        EventBatch { header, salt, block, signature, keys: Vec::new() }
    }
}

/// Where a batch's block lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the manifest's data object.
    Spliced {
        /// The first byte of the block.
        at: u64,
        /// Its length.
        bytes: u64,
    },
    /// In an object of its own, which holds the whole batch as shipped: its block cannot be read, and would make the
    /// data object unreadable to others.
    Quarantined {
        /// The object's name.
        object: String,
    },
}

/// An event of a session as a whole, with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct At<T> {
    /// Microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// What happened.
    pub event: T,
}

/// What one manifest says of one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionNote {
    /// The session.
    pub session: SessionId,
    /// Its events here.
    pub events: u64,
    /// Time of its first event here.
    pub first_time: i64,
    /// Time of its last event here.
    pub last_time: i64,
    /// Statements that arrived.
    #[serde(default)]
    pub statements: u64,
    /// Statements that were denied.
    #[serde(default)]
    pub denied: u64,
    /// Rows that the client received.
    #[serde(default)]
    pub rows: u64,
    /// Values in its answers in which detectors found something, by detector. Older manifests do not have it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub found: BTreeMap<String, u64>,
    /// Its beginning, if it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<At<SessionOpened>>,
    /// Its end, if it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<At<SessionClosed>>,
    /// The refusal, where this is no session but a refused connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<At<SessionRefused>>,
    /// The request, where this is an auditor's access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<At<Access>>,
    /// What recovery could not read, where this is a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<At<Gap>>,
    /// The kind of event, where this is one of the control plane's that belongs to no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The offset of the batch.
    pub offset: Offset,
    /// What kind.
    pub kind: FaultKind,
    /// In words.
    pub detail: String,
    /// The chain, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchName>,
    /// The session, where the fault is one session's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The first event that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The object that keeps the batch, where it is not archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
}

/// A batch by its chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BatchName {
    /// The node.
    pub node: String,
    /// The shard.
    pub shard: Shard,
    /// The node's start.
    pub epoch: Epoch,
    /// Its sequence number in the chain.
    pub sequence: u64,
}

impl From<&BatchHeader> for BatchName {
    fn from(header: &BatchHeader) -> Self {
        Self { node: header.node.clone(), shard: header.shard, epoch: header.epoch, sequence: header.sequence }
    }
}

/// The kinds of faults. Readers of a later version's manifests meet `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The bytes are not a batch.
    Undecodable,
    /// The block cannot be read.
    Unreadable,
    /// The events do not have the Merkle root that the header states.
    Root,
    /// The header's sessions, times or count are not those of the events.
    Header,
    /// The chain is first seen in its middle.
    ChainStart,
    /// A batch of the chain is missing.
    BatchesMissing,
    /// The header does not name the hash of the one before it.
    ChainBroken,
    /// Another batch was archived under the same node, shard and sequence number: the chain was forked.
    Forked,
    /// A batch came after later ones of its chain.
    Late,
    /// The epoch is older than that of the batch before.
    EpochWentBack,
    /// A session's events are missing (AUD-3).
    EventsMissing,
    /// A session's events came twice (AUD-3).
    EventsRepeated,
    /// An event of a session that has not opened, or that is closed (AUD-4).
    NotOpen,
    /// An object is not what it should be; found by a verification only, as are the next ones.
    Archive,
    /// A manifest cannot be read, or does not go on where the one before it ends.
    Manifest,
    /// A checkpoint does not hold, or names what is not there.
    Checkpoint,
    /// A batch without a signature, of a node that signs.
    Unsigned,
    /// A signature that its key did not make.
    Signature,
    /// A signature by a key that is not believed there.
    UnknownKey,
    /// A batch that another partition holds too.
    Copied,
    /// An object that nothing of ours is named like.
    Foreign,
    /// The custody log does not hold, or what it says is not what is there.
    Custody,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

impl Manifest {
    /// Its name in the store.
    pub fn path(&self) -> Path {
        layout::manifest(self.partition, self.first)
    }

    /// Encodes it.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|source| Error::Manifest { object: self.path().to_string(), source })
    }

    /// Reads what [`Manifest::encode`] wrote, this version or an earlier.
    pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let object = || path.to_string();
        let unreadable = |source| Error::Manifest { object: object(), source };
        let Version { version } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if version > VERSION {
            return Err(Error::Version { object: object(), version, known: VERSION });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        if manifest.path() != *path {
            return Err(Error::Object { object: object(), reason: format!("it says that it is {}", manifest.path()) });
        }
        Ok(manifest)
    }
}
