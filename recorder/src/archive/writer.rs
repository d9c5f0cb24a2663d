//! One commit in the making: blocks are spliced into a container file as they come, then data object and manifest are
//! put, in this order.
//!
//! The data object is deterministic: the same batches make the same bytes (the sync marker follows from the first
//! header's hash), so that a commit that is made again after a crash overwrites its own orphan with the same content.
//! Format: Avro specification 1.12, "Object Container Files".

use super::manifest::{BatchEntry, DataObject, Fault, Manifest, Place, Sha256, VERSION};
use super::put::{self, Created};
use super::{Error, keys, layout};
use crate::sessions::Notes;
use crate::verify::State;
use bytes::Bytes;
use event_log::{Offset, Partition, fault};
use futures_util::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use ring::digest::{SHA256, digest};
use schemas::chain::Digest;
use schemas::{BatchHeader, EventBatch, codec, event::Event, seal::WrappedKey};
use std::collections::BTreeSet;

/// Appends Avro's long: zigzag, seven bits a byte, lowest first.
fn long(value: u64, out: &mut Vec<u8>) {
    let mut rest = value << 1;
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or_default();
        rest >>= 7;
        if rest == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// A container file of events.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    bytes: Vec<u8>,
    sync: [u8; 16],
    header: usize,
}

impl Container {
    /// Begins a file whose sync marker follows from a hash.
    pub(crate) fn new(seed: &Digest, version: codec::Version) -> Self {
        Self::with_codec("zstandard", seed, version)
    }

    /// Begins a file whose blocks are as they are.
    pub(crate) fn uncompressed(version: codec::Version) -> Self {
        Self::with_codec("null", &sha256(version.schema_json().as_bytes()), version)
    }

    fn with_codec(codec: &str, seed: &Digest, version: codec::Version) -> Self {
        let mut sync = [0; 16];
        sync.copy_from_slice(seed.first_chunk::<16>().expect("a digest has 32 bytes"));
        let mut bytes = b"Obj\x01".to_vec();
        long(2, &mut bytes);
        for (key, value) in [("avro.codec", codec), ("avro.schema", version.schema_json())] {
            for text in [key, value] {
                long(text.len() as u64, &mut bytes);
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        long(0, &mut bytes);
        bytes.extend_from_slice(&sync);
        Self { header: bytes.len(), bytes, sync }
    }

    /// The bytes of its blocks.
    fn blocks(&self) -> usize {
        self.bytes.len().saturating_sub(self.header)
    }

    /// Appends a block of `count` events; gives the place of its first byte.
    pub(crate) fn splice(&mut self, count: u32, block: &[u8]) -> u64 {
        long(u64::from(count), &mut self.bytes);
        long(block.len() as u64, &mut self.bytes);
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(block);
        self.bytes.extend_from_slice(&self.sync);
        at
    }

    /// The file so far: a whole file after every block.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Takes what there is of the file; what is spliced later follows it.
    pub(crate) fn drain(&mut self) -> Vec<u8> {
        self.header = 0;
        std::mem::take(&mut self.bytes)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// What came since the last commit.
#[derive(Debug)]
pub(crate) struct Pending {
    first: Offset,
    /// Of the manifest before.
    previous: Option<Digest>,
    last: Offset,
    /// When it was first tried: a try that is made again makes the same bytes.
    created: Option<i64>,
    container: Option<Container>,
    entries: Vec<BatchEntry>,
    notes: Notes,
    faults: Vec<Fault>,
    quarantine: Vec<(Path, Bytes)>,
    keys: Vec<WrappedKey>,
    duplicates: u64,
    partition: Partition,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// It stands.
    Done {
        /// Bytes of its data object.
        bytes: u64,
        /// The manifest's SHA-256.
        manifest: Digest,
    },
    /// Another recorder's stands in its place.
    Taken,
}

impl Pending {
    /// Begins a commit at the offset after the last one's end; `previous` is the SHA-256 of that one.
    pub(crate) fn new(partition: Partition, first: Offset, previous: Option<Digest>) -> Self {
        Self {
            first,
            previous,
            last: first,
            created: None,
            container: None,
            entries: Vec::new(),
            notes: Notes::default(),
            faults: Vec::new(),
            quarantine: Vec::new(),
            keys: Vec::new(),
            duplicates: 0,
            partition,
        }
    }

    /// The bytes of batches that it holds in memory.
    pub(crate) fn bytes(&self) -> usize {
        let aside: usize = self.quarantine.iter().map(|(_, bytes)| bytes.len()).sum();
        self.container.as_ref().map_or(0, Container::blocks) + aside
    }

    /// Takes a batch that is archived already.
    pub(crate) fn skip(&mut self, offset: Offset) {
        self.last = offset;
        self.duplicates += 1;
    }

    /// Takes a batch that cannot be archived: its bytes are kept aside.
    pub(crate) fn set_aside(&mut self, offset: Offset, bytes: Bytes, mut fault: Fault) {
        self.last = offset;
        fault.quarantine = Some(self.put_aside(offset, bytes));
        self.faults.push(fault);
    }

    fn put_aside(&mut self, offset: Offset, bytes: Bytes) -> String {
        let bytes = self.without_keys(bytes);
        let path = layout::quarantine(self.partition, offset);
        let name = path.to_string();
        self.quarantine.push((path, bytes));
        name
    }

    /// Takes the keys out of a batch that can be read: they are to lie where they can be erased.
    fn without_keys(&mut self, bytes: Bytes) -> Bytes {
        let Ok(mut batch) = EventBatch::decode(&bytes) else { return bytes };
        if batch.keys.is_empty() {
            return bytes;
        }
        self.take_keys(&batch.header, std::mem::take(&mut batch.keys));
        batch.encode().map_or(bytes, Bytes::from)
    }

    /// A key belongs to a session whose events it came with.
    fn take_keys(&mut self, header: &BatchHeader, keys: Vec<WrappedKey>) {
        self.keys.extend(keys.into_iter().filter(|key| header.sessions.iter().any(|its| its.session == key.session)));
    }

    /// Whether a batch can go into the same object: a container file has one schema.
    pub(crate) fn takes(&self, batch: &EventBatch) -> bool {
        self.entries.last().is_none_or(|entry| entry.header.schema == batch.header.schema)
    }

    /// Takes a batch into the archive. `events` are `None` where its block cannot be read: it then keeps an object of
    /// its own, `encoded`.
    pub(crate) fn splice(
        &mut self,
        offset: Offset,
        batch: EventBatch,
        encoded: &Bytes,
        events: Option<&[Event]>,
    ) -> Result<(), Error> {
        let hash = batch.header.hash().map_err(Error::Encode)?;
        let place = match events {
            Some(events) => {
                events.iter().for_each(|event| self.notes.add(event));
                let version = codec::Version::of(batch.header.schema.cast_unsigned()).map_err(Error::Encode)?;
                let container = self.container.get_or_insert_with(|| Container::new(&hash, version));
                Place::Spliced {
                    at: container.splice(batch.header.count, &batch.block),
                    bytes: batch.block.len() as u64,
                }
            }
            None => Place::Quarantined { object: self.put_aside(offset, encoded.clone()) },
        };
        self.last = offset;
        let EventBatch { header, salt, signature, keys, .. } = batch;
        self.take_keys(&header, keys);
        self.entries.push(BatchEntry { offset, header, hash, salt, signature, place });
        Ok(())
    }

    /// Adds what verification found.
    pub(crate) fn fault(&mut self, faults: Vec<Fault>) {
        self.faults.extend(faults);
    }

    /// Puts the objects, then the manifest: with it, and not before, the batches are archived.
    ///
    /// After an error it can be tried again, with nothing taken in between: nothing was committed, or the commit stands
    /// and the next try finds its own bytes.
    pub(crate) async fn commit(
        &mut self,
        store: &dyn ObjectStore,
        state: &State,
        now: i64,
    ) -> Result<Committed, Error> {
        let created = *self.created.get_or_insert(now);
        for key in &self.keys {
            keys::put(store, key).await?;
        }
        fault::point("recorder.keys_put");
        let mut aside = Vec::with_capacity(self.quarantine.len());
        for (path, bytes) in &self.quarantine {
            put::replace(store, path, bytes.clone()).await?;
            aside.push(DataObject::of(path, bytes));
        }
        let object = match &self.container {
            None => None,
            Some(container) => Some(self.put_data(store, container).await?),
        };
        fault::point("recorder.data_put");
        let written = object.as_ref().map_or(0, |o| o.bytes);
        let manifest = Manifest {
            version: VERSION,
            partition: self.partition,
            first: self.first,
            last: self.last,
            created,
            previous: self.previous.map(Sha256),
            object,
            aside,
            batches: self.entries.clone(),
            sessions: self.notes.finish(),
            duplicates: self.duplicates,
            faults: self.faults.clone(),
            state: state.clone(),
        };
        let path = manifest.path();
        let bytes = Bytes::from(manifest.encode()?);
        let digest = sha256(&bytes);
        match put::create(store, &path, &bytes).await? {
            Created::Done => {
                fault::point("recorder.manifest_put");
                Ok(Committed::Done { bytes: written, manifest: digest })
            }
            Created::Taken => Ok(Committed::Taken),
        }
    }

    async fn put_data(&self, store: &dyn ObjectStore, container: &Container) -> Result<DataObject, Error> {
        let path = layout::data_object(self.partition, self.first, self.last);
        let bytes = Bytes::copy_from_slice(container.as_bytes());
        let object = DataObject::of(&path, &bytes);
        put::replace(store, &path, bytes).await?;
        Ok(object)
    }
}

impl DataObject {
    fn of(path: &Path, bytes: &[u8]) -> Self {
        Self { name: path.to_string(), bytes: bytes.len() as u64, sha256: sha256(bytes) }
    }
}

/// The first offsets of a partition's manifests, in order.
pub(crate) async fn firsts(store: &dyn ObjectStore, partition: Partition) -> Result<Vec<Offset>, Error> {
    let folder = layout::partition_manifests(partition);
    let listed: Vec<_> = store.list(Some(&folder)).try_collect().await.map_err(Error::store("list", &folder))?;
    let mut firsts: Vec<Offset> =
        listed.iter().filter_map(|meta| layout::parse_manifest(&meta.location)).map(|(_, first)| first).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// Reads one manifest.
pub(crate) async fn manifest(store: &dyn ObjectStore, path: &Path) -> Result<Manifest, Error> {
    hashed_manifest(store, path).await.map(|(manifest, _)| manifest)
}

/// Reads one manifest, with the SHA-256 of its bytes.
pub(crate) async fn hashed_manifest(store: &dyn ObjectStore, path: &Path) -> Result<(Manifest, Digest), Error> {
    let bytes = fetch(store, path).await?;
    Ok((Manifest::decode(path, &bytes)?, sha256(&bytes)))
}

/// Reads a whole object.
pub(crate) async fn fetch(store: &dyn ObjectStore, path: &Path) -> Result<Bytes, Error> {
    let result = store.get(path).await.map_err(Error::store("read", path))?;
    result.bytes().await.map_err(Error::store("read", path))
}

/// The last commit of a partition, with the SHA-256 of its manifest.
pub(crate) async fn tip(store: &dyn ObjectStore, partition: Partition) -> Result<Option<(Manifest, Digest)>, Error> {
    match firsts(store, partition).await?.last() {
        Some(first) => hashed_manifest(store, &layout::manifest(partition, *first)).await.map(Some),
        None => Ok(None),
    }
}

/// The hash under which a batch is archived, read from the latest manifests backwards.
pub(crate) async fn find(
    store: &dyn ObjectStore,
    partition: Partition,
    header: &schemas::BatchHeader,
) -> Result<Option<Digest>, Error> {
    for first in firsts(store, partition).await?.into_iter().rev() {
        let manifest = manifest(store, &layout::manifest(partition, first)).await?;
        let of_chain = |e: &&BatchEntry| e.header.node == header.node && e.header.shard == header.shard;
        let mut chain = manifest.batches.iter().filter(of_chain).peekable();
        if chain.peek().is_some()
            && let Some(found) = chain.find(|entry| entry.header.sequence == header.sequence)
        {
            return Ok(Some(found.hash));
        }
    }
    Ok(None)
}

/// The data objects that no manifest names and none ever will: left by a recorder that died, or that lost a race.
/// Nobody reads them; they may be deleted. Objects that may be about to be committed are not among them.
///
/// # Errors
/// [`Error`] if the store cannot be read.
pub async fn orphans(store: &dyn ObjectStore) -> Result<Vec<Path>, Error> {
    let folder = layout::data();
    let listed: Vec<_> = store.list(Some(&folder)).try_collect().await.map_err(Error::store("list", &folder))?;
    let objects: Vec<_> =
        listed.into_iter().filter_map(|m| Some((layout::parse_data_object(&m.location)?, m.location))).collect();
    let partitions: BTreeSet<Partition> = objects.iter().map(|((partition, _, _), _)| *partition).collect();
    let mut orphans = Vec::new();
    for partition in partitions {
        let (mut named, mut end) = (BTreeSet::new(), 0);
        for first in firsts(store, partition).await? {
            let manifest = manifest(store, &layout::manifest(partition, first)).await?;
            end = end.max(manifest.last + 1);
            named.extend(manifest.object.map(|object| object.name));
        }
        let gone = objects
            .iter()
            .filter(|((p, first, _), path)| *p == partition && *first < end && !named.contains(path.as_ref()));
        orphans.extend(gone.map(|(_, path)| path.clone()));
    }
    Ok(orphans)
}
