//! Reads the archive: sessions, events, batches. Needs the object store alone; a recorder may write meanwhile.
//!
//! Manifests are read once and kept; each question first lists what is new. Kept in memory are the manifests without
//! their proofs' blocks: some hundred bytes for a batch and for a session.

mod attested;

use super::custody::{Disposal, Disposed, Log};
use super::manifest::{BatchEntry, Manifest, Place};
use super::{Error, keys, layout, writer};
use crate::config::{self, Config};
use crate::sessions::{SessionSummary, Sessions, Status};
use crate::verify;
use bytes::Bytes;
use event_log::{Offset, Partition};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};
use schemas::{
    BatchHeader, Event, EventBatch, SessionId, batch,
    seal::{self, Keks},
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Manifests that are fetched at once.
const FETCHES: usize = 16;

/// Which sessions. The default is all of them, the latest 100.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The identity's subject or name.
    pub identity: Option<String>,
    /// The resource.
    pub resource: Option<String>,
    /// That ended, or were last heard of, at or after this time (microseconds since 1970-01-01 UTC).
    pub since: Option<i64>,
    /// That began before this time, likewise.
    pub until: Option<i64>,
    /// `Some(true)`: that still run; `Some(false)`: that ended or were refused.
    pub open: Option<bool>,
    /// At most so many, the latest first.
    pub limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self { identity: None, resource: None, since: None, until: None, open: None, limit: 100 }
    }
}

impl Filter {
    /// Whether a session is meant.
    pub fn admits(&self, session: &SessionSummary) -> bool {
        let identity = session.identity.as_ref();
        self.identity.as_ref().is_none_or(|wanted| identity.is_some_and(|i| i.subject == *wanted || i.name == *wanted))
            && self.resource.as_ref().is_none_or(|wanted| session.resource.as_ref() == Some(wanted))
            && self.since.is_none_or(|since| session.last_time >= since)
            && self.until.is_none_or(|until| session.opened < until)
            && self.open.is_none_or(|open| open == (session.status == Status::Open))
    }
}

/// A batch as it was shipped, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// The batch.
    pub batch: EventBatch,
}

/// A reader of one archive. Clones share what they have read.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn ObjectStore>,
    cache: Arc<Mutex<Cache>>,
    keks: Option<Arc<Keks>>,
    /// Read only where something is not there.
    custody: Arc<Mutex<Log>>,
    /// It looks for no more than it has read, and keeps the checkpoints that it read.
    at_rest: Option<Arc<Mutex<attested::Attested>>>,
}

/// Why the archive has nothing of a session, or not all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    /// Nothing is recorded under its id, or not archived yet.
    Unknown,
    /// Retention deleted any of it.
    Deleted(Disposal),
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("it is not in the archive, or not yet"),
            Self::Deleted(disposal) => write!(f, "deleted by retention on {disposal}"),
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reader").field(&self.store.to_string()).finish()
    }
}

#[derive(Default)]
struct Cache {
    partitions: BTreeMap<Partition, BTreeMap<Offset, Arc<Manifest>>>,
    sessions: Sessions,
    holding: HashMap<SessionId, Vec<(Partition, Offset)>>,
}

impl Cache {
    fn add(&mut self, manifest: Manifest) {
        self.sessions.add(&manifest);
        for note in &manifest.sessions {
            self.holding.entry(note.session).or_default().push((manifest.partition, manifest.first));
        }
        self.partitions.entry(manifest.partition).or_default().insert(manifest.first, Arc::new(manifest));
    }
}

impl Reader {
    /// Reads from a store.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, cache: Arc::default(), keks: None, custody: Arc::default(), at_rest: None }
    }

    /// Reads from the store that the settings name.
    ///
    /// # Errors
    /// [`config::Error`] if it cannot be opened.
    pub fn open(config: &Config) -> Result<Self, config::Error> {
        let reader = Self::new(config.store()?);
        Ok(Self { keks: config.keks.clone(), ..reader })
    }

    /// Opens sealed payloads with these keys.
    #[must_use]
    pub fn with_keks(self, keks: Arc<Keks>) -> Self {
        Self { keks: Some(keks), ..self }
    }

    /// This archive as it is now, for many questions: those that follow do not look for what is new, and list nothing.
    ///
    /// # Errors
    /// [`Error`] if the store cannot be read.
    pub async fn at_rest(&self) -> Result<Self, Error> {
        self.refresh().await?;
        Ok(Self { at_rest: Some(Arc::default()), ..self.clone() })
    }

    /// Opens the payloads of events, as far as the keys reach; the log says why some stay sealed. No key is kept: what was
    /// erased cannot be opened by who opened it before.
    pub(crate) async fn unseal(&self, events: &mut [Event]) -> Result<(), Error> {
        let sealed: BTreeSet<SessionId> = events.iter().filter(|e| seal::is_sealed(e)).map(|e| e.session).collect();
        for session in sealed {
            if let Some(why) = keys::open(&*self.store, self.keks.as_deref(), session, events).await? {
                tracing::warn!(%session, why = verify::chain_of(&why), "what the session said stays sealed");
            }
        }
        Ok(())
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Reads the manifests that are new. Every question does so first.
    ///
    /// # Errors
    /// [`Error`]; what was read before is kept.
    pub async fn refresh(&self) -> Result<(), Error> {
        self.refreshed().await.map(drop)
    }

    async fn refreshed(&self) -> Result<tokio::sync::MutexGuard<'_, Cache>, Error> {
        let mut cache = self.cache.lock().await;
        if self.at_rest.is_some() {
            return Ok(cache);
        }
        let root = layout::manifests();
        let folders = self.store.list_with_delimiter(Some(&root)).await.map_err(Error::store("list", &root))?;
        for folder in folders.common_prefixes {
            let Some(partition) = layout::parse_partition(&folder) else { continue };
            let known = cache.partitions.get(&partition).and_then(|m| m.last_key_value()).map(|(first, _)| *first);
            let listed = match known {
                Some(first) => self.store.list_with_offset(Some(&folder), &layout::manifest(partition, first)),
                None => self.store.list(Some(&folder)),
            };
            let listed: Vec<_> = listed.try_collect().await.map_err(Error::store("list", &folder))?;
            let mut paths: Vec<Path> = listed.into_iter().map(|meta| meta.location).collect();
            paths.retain(|path| layout::parse_manifest(path).is_some());
            paths.sort_unstable();
            // Collected before any is added: a failure leaves no hole.
            // Each future owns its path, so that the whole is Send: servers box it.
            let fetch = |path: Path| {
                let store = self.store.clone();
                async move { writer::manifest(&*store, &path).await }
            };
            let read = stream::iter(paths).map(fetch).buffered(FETCHES);
            let manifests: Vec<Manifest> = read.try_collect().await?;
            manifests.into_iter().for_each(|manifest| cache.add(manifest));
        }
        Ok(cache)
    }

    /// The sessions that are meant, the latest first. Reads manifests only.
    ///
    /// # Errors
    /// [`Error`] if the store cannot be read.
    pub async fn sessions(&self, filter: Filter) -> Result<Vec<SessionSummary>, Error> {
        let cache = self.refreshed().await?;
        Ok(cache.sessions.latest_first().filter(|s| filter.admits(s)).take(filter.limit).cloned().collect())
    }

    /// One session without its content. Reads manifests only.
    ///
    /// # Errors
    /// [`Error::UnknownSession`], and [`Error`] if the store cannot be read.
    pub async fn summary(&self, session: SessionId) -> Result<SessionSummary, Error> {
        let cache = self.refreshed().await?;
        cache.sessions.get(&session).cloned().ok_or(Error::UnknownSession(session))
    }

    /// The events of one session, in the order of their sequence. Reads only the batches that hold them.
    ///
    /// The events of a batch whose Merkle root does not hold are given all the same: the summary's and the manifest's
    /// faults say so. An event that was archived twice is given once. Sealed payloads are opened where the keys are there.
    ///
    /// # Errors
    /// [`Error::UnknownSession`]; [`Error::Deleted`] if retention deleted any of it; [`Error::Batch`] if a block cannot be
    /// read; [`Error`] if the store cannot.
    pub async fn events(&self, session: SessionId) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        for manifest in self.holding(session).await? {
            let holds = |header: &BatchHeader| header.sessions.iter().any(|range| range.session == session);
            for archived in self.load(&manifest, holds).await? {
                let read = verify::read(&archived.batch);
                let (partition, offset) = (archived.partition, archived.offset);
                let failed = |source| Error::Batch { partition, offset, source };
                let held = match (read.events, read.fault) {
                    (Some(events), _) => events,
                    (None, fault) => return Err(failed(fault.unwrap_or(batch::Fault::Header))),
                };
                events.extend(held.into_iter().filter(|event| event.session == session));
            }
        }
        events.sort_by_key(|event| event.sequence);
        events.dedup_by_key(|event| event.sequence);
        self.unseal(&mut events).await?;
        Ok(events)
    }

    /// Why payloads of these events, which are one session's, are still sealed; none if none are.
    ///
    /// # Errors
    /// [`Error`] if the store cannot be read.
    pub async fn why_sealed(&self, session: SessionId, events: &[Event]) -> Result<Option<String>, Error> {
        let Some(event) = events.iter().find(|event| seal::is_sealed(event)) else { return Ok(None) };
        let why = keys::open(&*self.store, self.keks.as_deref(), session, &mut [event.clone()]).await?;
        let Some(why) = why else { return Ok(None) };
        let disposed = self.disposed(session).await?;
        Ok(Some(disposed.map_or_else(|| verify::chain_of(&why), |disposed| disposed.to_string())))
    }

    /// The manifests that hold events of a session, in order.
    pub(crate) async fn holding(&self, session: SessionId) -> Result<Vec<Arc<Manifest>>, Error> {
        let cache = self.refreshed().await?;
        let held = cache.holding.get(&session).ok_or(Error::UnknownSession(session))?;
        Ok(held.iter().filter_map(|(p, first)| cache.partitions.get(p)?.get(first)).cloned().collect())
    }

    /// The partitions, in order.
    ///
    /// # Errors
    /// [`Error`] if the store cannot be read.
    pub async fn partitions(&self) -> Result<Vec<Partition>, Error> {
        Ok(self.refreshed().await?.partitions.keys().copied().collect())
    }

    /// The offset after the last archived one of a partition; 0 if there is none.
    ///
    /// # Errors
    /// [`Error`] if the store cannot be read.
    pub async fn end(&self, partition: Partition) -> Result<Offset, Error> {
        Ok(self.manifests(partition, 0).await?.last().map_or(0, |manifest| manifest.last + 1))
    }

    /// The manifests of a partition that cover an offset or come after it, in order.
    ///
    /// # Errors
    /// [`Error`] if the store cannot be read.
    pub async fn manifests(&self, partition: Partition, from: Offset) -> Result<Vec<Arc<Manifest>>, Error> {
        let cache = self.refreshed().await?;
        let manifests = cache.partitions.get(&partition).into_iter().flat_map(BTreeMap::values);
        Ok(manifests.filter(|manifest| manifest.last >= from).cloned().collect())
    }

    /// The batches of a partition from an offset on, in order, as they were shipped. Ends where the archive ended when
    /// it was called. One data object is held in memory at a time. What retention deleted is left out; see
    /// [`Reader::deleted`].
    ///
    /// # Errors
    /// [`Error`] if the store cannot be listed; the stream gives the errors of its reads, and ends after one.
    pub async fn batches(
        &self,
        partition: Partition,
        from: Offset,
    ) -> Result<BoxStream<'static, Result<Archived, Error>>, Error> {
        let manifests = self.manifests(partition, from).await?;
        let reader = self.clone();
        let loaded = stream::iter(manifests).then(move |manifest| {
            let reader = reader.clone();
            async move { reader.load_left(&manifest).await }
        });
        let batches = loaded.map_ok(|batches| stream::iter(batches.into_iter().map(Ok))).try_flatten();
        Ok(batches.try_filter(move |archived| std::future::ready(archived.offset >= from)).boxed())
    }

    /// Reads the wanted batches of a manifest, by byte ranges unless all are wanted.
    pub(crate) async fn load(
        &self,
        manifest: &Manifest,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Vec<Archived>, Error> {
        let entries: Vec<&BatchEntry> = manifest.batches.iter().filter(|entry| wanted(&entry.header)).collect();
        let places: Vec<(u64, u64)> = entries.iter().filter_map(|entry| spliced(entry)).collect();
        let mut blocks = match &manifest.object {
            Some(object) if !places.is_empty() => match self.blocks(&object.name, &places).await {
                Ok(blocks) => blocks,
                Err(error) => return Err(self.explained(&object.name, error).await),
            },
            _ => Vec::new(),
        }
        .into_iter();
        let mut batches = Vec::with_capacity(entries.len());
        for entry in entries {
            let batch = match &entry.place {
                Place::Spliced { .. } => {
                    let reason = "a batch is said to be in it, but there is none".to_owned();
                    let missing = || Error::Object { object: manifest.path().to_string(), reason };
                    let block = blocks.next().ok_or_else(missing)?.to_vec();
                    entry.with_block(block)
                }
                Place::Quarantined { object } => {
                    let bytes = match writer::fetch(&*self.store, &Path::from(object.as_str())).await {
                        Ok(bytes) => bytes,
                        Err(error) => return Err(self.explained(object, error).await),
                    };
                    EventBatch::decode(&bytes)
                        .map_err(|error| Error::Object { object: object.clone(), reason: error.to_string() })?
                }
            };
            batches.push(Archived { partition: manifest.partition, offset: entry.offset, batch });
        }
        Ok(batches)
    }

    /// Reads the batches of a manifest that retention has left.
    async fn load_left(&self, manifest: &Manifest) -> Result<Vec<Archived>, Error> {
        match self.load(manifest, |_| true).await {
            Err(Error::Deleted(_)) => {}
            loaded => return loaded,
        }
        let log = self.custody().await?;
        let is_left = |entry: &&BatchEntry| named(manifest, entry).is_none_or(|name| log.deleted(name).is_none());
        let left: Vec<BatchEntry> = manifest.batches.iter().filter(is_left).cloned().collect();
        self.load(&Manifest { batches: left, ..manifest.clone() }, |_| true).await
    }

    /// How many batches of a partition retention has deleted, from an offset on.
    ///
    /// # Errors
    /// [`Error`] if the store cannot be read.
    pub async fn deleted(&self, partition: Partition, from: Offset) -> Result<u64, Error> {
        let log = self.custody().await?;
        let manifests = self.manifests(partition, from).await?;
        let is_gone = |manifest: &Manifest, entry: &BatchEntry| {
            entry.offset >= from && named(manifest, entry).is_some_and(|name| log.deleted(name).is_some())
        };
        let of = |m: &Arc<Manifest>| m.batches.iter().filter(|entry| is_gone(m, entry)).count() as u64;
        Ok(manifests.iter().map(of).sum())
    }

    /// Of these sessions, those that the archive has nothing of, or of which retention deleted any, and why.
    ///
    /// # Errors
    /// [`Error`] if the store cannot be read, or the custody log is not whole.
    pub async fn absent(&self, sessions: &BTreeSet<SessionId>) -> Result<BTreeMap<SessionId, Absent>, Error> {
        let (log, reader) = (self.custody().await?, self.at_rest().await?);
        let mut absent = BTreeMap::new();
        for session in sessions {
            match reader.deleted_of(&log, *session).await {
                Ok(None) => {}
                Ok(Some(disposal)) => drop(absent.insert(*session, Absent::Deleted(disposal))),
                Err(Error::UnknownSession(_)) => drop(absent.insert(*session, Absent::Unknown)),
                Err(error) => return Err(error),
            }
        }
        Ok(absent)
    }

    /// What retention did to a session, if anything.
    ///
    /// # Errors
    /// [`Error::UnknownSession`]; [`Error`] if the store cannot be read, or the custody log is not whole.
    pub async fn disposed(&self, session: SessionId) -> Result<Option<Disposed>, Error> {
        let log = self.custody().await?;
        if let Some(disposal) = self.deleted_of(&log, session).await? {
            return Ok(Some(Disposed::Deleted(disposal)));
        }
        Ok(log.shredded(&session).cloned().map(Disposed::Shredded))
    }

    /// The deletion of any object that holds events of a session.
    async fn deleted_of(&self, log: &Log, session: SessionId) -> Result<Option<Disposal>, Error> {
        for manifest in self.holding(session).await? {
            let of_session = |entry: &&BatchEntry| entry.header.sessions.iter().any(|range| range.session == session);
            let names = manifest.batches.iter().filter(of_session).filter_map(|entry| named(&manifest, entry));
            if let Some(disposal) = names.filter_map(|name| log.deleted(name)).next() {
                return Ok(Some(disposal.clone()));
            }
        }
        Ok(None)
    }

    /// The custody log, as far as it is now.
    ///
    /// # Errors
    /// [`Error::Custody`] if it is not whole; [`Error::Store`] if it cannot be read.
    pub async fn custody(&self) -> Result<Log, Error> {
        let mut log = self.custody.lock().await;
        log.catch_up(&*self.store).await?;
        Ok(log.clone())
    }

    /// Says of an object that is not there whether retention deleted it.
    async fn explained(&self, name: &str, error: Error) -> Error {
        if !matches!(&error, Error::Store { source: object_store::Error::NotFound { .. }, .. }) {
            return error;
        }
        let disposal = self.custody().await.ok().and_then(|log| log.deleted(name).cloned());
        disposal.map_or(error, Error::Deleted)
    }

    async fn blocks(&self, object: &str, places: &[(u64, u64)]) -> Result<Vec<Bytes>, Error> {
        let path = Path::from(object);
        let ends = places.iter().map(|(at, bytes)| at.checked_add(*bytes));
        let ranges: Option<Vec<_>> = places.iter().zip(ends).map(|((at, _), end)| Some(*at..end?)).collect();
        let reason = || "its manifest has a place beyond all numbers".to_owned();
        let ranges = ranges.ok_or_else(|| Error::Object { object: object.to_owned(), reason: reason() })?;
        let blocks = match self.store.get_ranges(&path, &ranges).await {
            Ok(blocks) => blocks,
            Err(error) => return Err(self.cut(&path, &ranges, Error::store("read", object)(error)).await),
        };
        if blocks.iter().zip(places).any(|(block, (_, bytes))| block.len() as u64 != *bytes) {
            return Err(cut_short(object));
        }
        Ok(blocks)
    }

    /// Says of an object that could not be read whether it is shorter than what was asked of it.
    async fn cut(&self, path: &Path, ranges: &[Range<u64>], error: Error) -> Error {
        let end = ranges.iter().map(|range| range.end).max().unwrap_or_default();
        match self.store.head(path).await {
            Ok(meta) if meta.size < end => cut_short(path.as_ref()),
            _ => error,
        }
    }
}

fn cut_short(object: &str) -> Error {
    Error::Object { object: object.to_owned(), reason: "it is cut short".to_owned() }
}

/// The object that a batch lies in.
fn named<'a>(manifest: &'a Manifest, entry: &'a BatchEntry) -> Option<&'a str> {
    match &entry.place {
        Place::Spliced { .. } => manifest.object.as_ref().map(|object| object.name.as_str()),
        Place::Quarantined { object } => Some(object),
    }
}

fn spliced(entry: &BatchEntry) -> Option<(u64, u64)> {
    match entry.place {
        Place::Spliced { at, bytes } => Some((at, bytes)),
        Place::Quarantined { .. } => None,
    }
}

#[cfg(test)]
mod tests;
