//! How far the archive was at a time, signed: what nobody can take back who does not hold the key.
//!
//! A checkpoint names the last manifest of each partition by its SHA-256, and the ends of the chains of batches. Manifests
//! name each other, and data objects, by theirs, so that one checkpoint covers every byte of the archive up to it. It also
//! names the checkpoint before it: who keeps one outside holds all of the past.
//!
//! Since version 2 it also says how far the custody log was ([`super::custody`]), so that its end cannot be cut off unseen.
//! Version 2 is written where there is such a log, and version 1 where there is none.
//!
//! It lies in an [`super::envelope`].

use super::custody::{self, Extent};
use super::envelope::Form;
use super::manifest::{Manifest, Sha256};
use super::put::{self, Created};
use super::writer::{self, sha256};
use super::{Error, layout};
use crate::config::Notary;
use crate::verify::{ChainEnd, chain_of};
use bytes::Bytes;
use event_log::{Offset, Partition, fault};
use futures_util::TryStreamExt;
use object_store::{ObjectStore, path::Path};
use schemas::chain::Digest;
use schemas::signature::PublicKey;
use schemas::{NodeId, Signer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The latest form: with a custody log. Without one it is 1.
pub const VERSION: u32 = 2;

const FORM: Form = Form { payload_type: "application/vnd.postern.checkpoint+json", named: "checkpoints" };

/// Most times that a number is found taken in a row: so many recorders at once there are not.
const ATTEMPTS: u32 = 8;

/// How long the last checkpoint stands for an archive in which nothing happens, in microseconds: half of what retention asks for,
/// which believes no clock that is far from it.
const RESTS: i64 = 12 * 3_600_000_000;

/// How far the archive was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The form of this document.
    pub version: u32,
    /// Dense from 0.
    pub number: u64,
    /// When it was made, microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// The node whose recorder made it.
    pub node: NodeId,
    /// The bytes of the checkpoint before it; null for the first.
    pub previous: Option<Sha256>,
    /// By number.
    pub partitions: Vec<Mark>,
    /// How far the custody log was. Version 1 does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custody: Option<Extent>,
}

/// How far one partition was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The partition.
    pub partition: Partition,
    /// How many manifests it had.
    pub manifests: u64,
    /// The first offset of the last of them: its name.
    pub first: Offset,
    /// The offset after the last archived one.
    pub next: Offset,
    /// The bytes of the last manifest.
    pub manifest: Sha256,
    /// The ends of the chains of batches there.
    pub chains: Vec<ChainEnd>,
}

impl Mark {
    /// How far a partition is with this manifest as its last, the `count`th.
    pub(crate) fn at(manifest: &Manifest, digest: Digest, count: u64) -> Self {
        Self {
            partition: manifest.partition,
            manifests: count,
            first: manifest.first,
            next: manifest.last.saturating_add(1),
            manifest: Sha256(digest),
            chains: manifest.state.chains().cloned().collect(),
        }
    }
}

impl Checkpoint {
    /// Its name in the store.
    pub fn path(&self) -> Path {
        layout::checkpoint(self.number)
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
        let (checkpoint, key): (Self, _) = FORM.open(bytes)?;
        let version = version_of(&checkpoint.custody);
        if checkpoint.version != version {
            let what = if version == 1 { "without" } else { "with" };
            return Err(format!("it is of version {}; {what} a custody log it is {version}", checkpoint.version));
        }
        if checkpoint.custody.is_some_and(|extent| extent.entries == 0) {
            return Err("its custody log has no entry".to_owned());
        }
        let ascends = checkpoint.partitions.iter().zip(checkpoint.partitions.iter().skip(1));
        if ascends.into_iter().any(|(one, other)| one.partition >= other.partition) {
            return Err("its partitions are not in order".to_owned());
        }
        Ok((checkpoint, key))
    }

    /// What of an earlier checkpoint this one takes back: of a chain of checkpoints, nothing may be.
    pub(crate) fn takes_back(&self, before: &Self) -> Option<String> {
        let partition = before.partitions.iter().find_map(|old| match self.mark(old.partition) {
            None => Some(format!("partition {} is missing", old.partition)),
            Some(new) if new.next < old.next || new.manifests < old.manifests => Some(format!(
                "partition {} goes back from {} manifests and offset {} to {} and {}",
                old.partition, old.manifests, old.next, new.manifests, new.next
            )),
            Some(_) => None,
        });
        partition.or_else(|| custody::takes_back(before.custody, self.custody))
    }

    /// How far a partition was.
    pub fn mark(&self, partition: Partition) -> Option<&Mark> {
        // they are in order: `open` has seen to it
        let at = self.partitions.binary_search_by_key(&partition, |mark| mark.partition).ok()?;
        self.partitions.get(at)
    }
}

fn version_of(custody: &Option<Extent>) -> u32 {
    if custody.is_some() { VERSION } else { 1 }
}

/// The last checkpoint of an archive as it lies there, with its number.
///
/// # Errors
/// [`Error`] if the store cannot be read.
pub async fn last(store: &dyn ObjectStore) -> Result<Option<(u64, Vec<u8>)>, Error> {
    match numbers(store, None).await?.last() {
        Some(number) => Ok(Some((*number, writer::fetch(store, &layout::checkpoint(*number)).await?.to_vec()))),
        None => Ok(None),
    }
}

/// The numbers of the checkpoints, ascending; those after one, where it is known.
pub(crate) async fn numbers(store: &dyn ObjectStore, after: Option<u64>) -> Result<Vec<u64>, Error> {
    let folder = layout::checkpoints();
    let listed = match after {
        Some(number) => store.list_with_offset(Some(&folder), &layout::checkpoint(number)),
        None => store.list(Some(&folder)),
    };
    let listed: Vec<_> = listed.try_collect().await.map_err(Error::store("list", &folder))?;
    let mut numbers: Vec<u64> = listed.iter().filter_map(|meta| layout::parse_checkpoint(&meta.location)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes checkpoints. It signs nothing that takes back what an earlier one says.
pub(crate) struct Checkpoints<'a> {
    store: &'a dyn ObjectStore,
    notary: &'a Notary,
    last: Option<(Checkpoint, Digest)>,
    /// Partitions whose mark this process has read the manifest of.
    marks: BTreeMap<Partition, Mark>,
    /// How far it has followed the custody log.
    custody: Option<Extent>,
}

impl<'a> Checkpoints<'a> {
    pub(crate) fn new(store: &'a dyn ObjectStore, notary: &'a Notary) -> Self {
        Self { store, notary, last: None, marks: BTreeMap::new(), custody: None }
    }

    /// Makes one, unless the last one says all there is and is not half a day old, or is less than `fresh` microseconds old. Gives
    /// its number.
    ///
    /// # Errors
    /// [`Error::Object`] if the archive does not lead on from the last checkpoint: somebody changed it, and it is not signed.
    pub(crate) async fn make(&mut self, now: i64, fresh: i64) -> Result<Option<u64>, Error> {
        for _ in 0..ATTEMPTS {
            self.catch_up().await?;
            let before = self.last.as_ref();
            if before.is_some_and(|(last, _)| now.saturating_sub(last.time).saturating_abs() < fresh) {
                return Ok(None);
            }
            self.look().await?;
            let custody = self.custody;
            let partitions: Vec<Mark> = self.marks.values().cloned().collect();
            let before = self.last.as_ref();
            let nothing = partitions.is_empty() && custody.is_none();
            let says_it = |last: &Checkpoint| {
                last.partitions == partitions && last.custody == custody && now.saturating_sub(last.time) < RESTS
            };
            if before.map_or(nothing, |(last, _)| says_it(last)) {
                return Ok(None);
            }
            let number = before.map_or(Some(0), |(last, _)| last.number.checked_add(1));
            let beyond = || refused(&layout::checkpoints(), "no number is left after the last one".to_owned());
            let checkpoint = Checkpoint {
                version: version_of(&custody),
                number: number.ok_or_else(beyond)?,
                time: now,
                node: self.notary.node.clone(),
                previous: before.map(|(_, digest)| Sha256(*digest)),
                partitions,
                custody,
            };
            if let Some(taken_back) = before.and_then(|(last, _)| checkpoint.takes_back(last)) {
                return Err(refused(&checkpoint.path(), taken_back));
            }
            let path = checkpoint.path();
            let sealed = checkpoint.seal(&self.notary.signer);
            let bytes: Bytes = sealed.map_err(|source| Error::Manifest { object: path.to_string(), source })?.into();
            fault::point("recorder.checkpoint_made");
            // one that is taken is another recorder's
            if put::create(self.store, &path, &bytes).await? == Created::Done {
                fault::point("recorder.checkpoint_put");
                let number = checkpoint.number;
                self.last = Some((checkpoint, sha256(&bytes)));
                return Ok(Some(number));
            }
        }
        Err(refused(&layout::checkpoints(), format!("the next number was taken {ATTEMPTS} times in a row")))
    }

    /// Reads what other recorders, or earlier starts, have signed since.
    async fn catch_up(&mut self) -> Result<(), Error> {
        let known = self.last.as_ref().map(|(last, _)| last.number);
        let new = numbers(self.store, known).await?;
        let Some(number) = new.last().copied() else { return Ok(()) };
        let path = layout::checkpoint(number);
        let expected = known.map_or(0, |known| known.saturating_add(1)).checked_add(new.len() as u64 - 1);
        if expected != Some(number) {
            let reason = "checkpoints before it are missing: find out who put it there, with `postern audit verify`";
            return Err(refused(&path, reason.to_owned()));
        }
        let bytes = writer::fetch(self.store, &path).await?;
        let (checkpoint, _) = Checkpoint::open(&bytes).map_err(|reason| refused(&path, reason))?;
        let before = self.last.as_ref().and_then(|(last, _)| checkpoint.takes_back(last));
        if let Some(reason) = before.or((checkpoint.number != number).then(|| "it says another number".to_owned())) {
            return Err(refused(&path, reason));
        }
        self.last = Some((checkpoint, sha256(&bytes)));
        Ok(())
    }

    /// Reads the manifests and the entries of the custody log that are new, each of which must go on from the one before.
    async fn look(&mut self) -> Result<(), Error> {
        let root = layout::manifests();
        let folders = self.store.list_with_delimiter(Some(&root)).await.map_err(Error::store("list", &root))?;
        for folder in folders.common_prefixes {
            if let Some(partition) = layout::parse_partition(&folder) {
                self.follow(partition).await?;
            }
        }
        if self.custody.is_none()
            && let Some(extent) = self.last.as_ref().and_then(|(last, _)| last.custody)
        {
            custody::found(self.store, extent).await?;
            self.custody = Some(extent);
        }
        let (extent, problem) = custody::followed(self.store, self.custody).await?;
        if let Some(error) = problem {
            tracing::error!(
                error = chain_of(&error),
                "the custody log does not go on; signed up to what is good of it"
            );
        }
        self.custody = extent;
        Ok(())
    }

    async fn follow(&mut self, partition: Partition) -> Result<(), Error> {
        if !self.marks.contains_key(&partition)
            && let Some(mark) = self.last.as_ref().and_then(|(last, _)| last.mark(partition))
        {
            let path = layout::manifest(partition, mark.first);
            if sha256(&writer::fetch(self.store, &path).await?) != mark.manifest.0 {
                return Err(refused(&path, "it is not the one that the last checkpoint names".to_owned()));
            }
            self.marks.insert(partition, mark.clone());
        }
        let folder = layout::partition_manifests(partition);
        let listed = match self.marks.get(&partition) {
            Some(mark) => self.store.list_with_offset(Some(&folder), &layout::manifest(partition, mark.first)),
            None => self.store.list(Some(&folder)),
        };
        let listed: Vec<_> = listed.try_collect().await.map_err(Error::store("list", &folder))?;
        let mut paths: Vec<Path> = listed.into_iter().map(|meta| meta.location).collect();
        paths.retain(|path| layout::parse_manifest(path).is_some());
        paths.sort_unstable();
        for path in paths {
            let (manifest, digest) = writer::hashed_manifest(self.store, &path).await?;
            let before = self.marks.get(&partition);
            if let Some(reason) = breaks_off(&manifest, before.map(|mark| (mark.next, mark.manifest.0))) {
                return Err(refused(&path, reason));
            }
            let count = before.map_or(0, |mark| mark.manifests).saturating_add(1);
            self.marks.insert(partition, Mark::at(&manifest, digest, count));
        }
        Ok(())
    }
}

/// Why a manifest does not go on from the one before, of which the end and the SHA-256 are given.
pub(crate) fn breaks_off(manifest: &Manifest, before: Option<(Offset, Digest)>) -> Option<String> {
    let (next, digest) = before.unzip();
    let next = next.unwrap_or(0);
    if manifest.first != next {
        return Some(format!("it begins at {}, the one before ends before {next}", manifest.first));
    }
    if manifest.last < manifest.first {
        return Some(format!("it ends at {}, before it begins", manifest.last));
    }
    let named = manifest.previous.map(|Sha256(digest)| digest);
    (manifest.version >= super::manifest::CHAINED && named != digest)
        .then(|| "it does not name the SHA-256 of the one before".to_owned())
}

fn refused(path: &Path, reason: String) -> Error {
    Error::Object { object: path.to_string(), reason }
}
