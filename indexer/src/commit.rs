//! The index on disk: documents and the offsets that they stand for, committed together (IDX-1).
//!
//! A commit of tantivy carries a payload, and here that is how far each partition was read and which batch of each node
//! and shard was the last. So after a crash the index says itself where to go on: what came after its last commit is
//! read again, what came before is never read twice. What was open at that commit is in the index too (`state:open`), so
//! there is no other state to keep in step.

use crate::document::Joiner;
use crate::schema::{Fields, VERSION};
use crate::search::Hit;
use event_log::{Delivery, Offset, Partition, fault};
use schemas::{Epoch, EventBatch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tantivy::collector::DocSetCollector;
use tantivy::directory::MmapDirectory;
use tantivy::indexer::{IndexWriter, IndexWriterOptions};
use tantivy::query::TermQuery;
use tantivy::schema::IndexRecordOption;
use tantivy::store::{Compressor, ZstdCompressor};
use tantivy::{Index, IndexSettings, ReloadPolicy, TantivyDocument, Term};

/// Documents are handed to the writer when this many wait, so that memory stays bounded between commits.
const MAX_PENDING: usize = 4_096;

/// What went wrong with the index.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be made or moved.
    #[error("preparing the index folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The index cannot be created or opened.
    #[error("opening the index in {path}")]
    Open {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: tantivy::TantivyError,
    },
    /// What was open at the last commit cannot be read back.
    #[error("reading the open sessions back from the index")]
    Restore(#[source] tantivy::TantivyError),
    /// A document cannot be written as JSON.
    #[error("writing a document")]
    Document(#[source] serde_json::Error),
    /// The writer refused a document.
    #[error("adding a document to the index")]
    Add(#[source] tantivy::TantivyError),
    /// The commit failed; nothing since the last one is in the index.
    #[error("committing the index")]
    Commit(#[source] tantivy::TantivyError),
    /// The payload cannot be written.
    #[error("writing the commit's offsets")]
    Payload(#[source] serde_json::Error),
}

/// The last batch of a node's shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The node's start.
    pub epoch: Epoch,
    /// The batch.
    pub sequence: u64,
}

/// What a commit says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// See [`VERSION`].
    pub version: u32,
    /// The offset to go on at, of each partition.
    pub next: BTreeMap<Partition, Offset>,
    /// The last batch of each `node/shard`.
    pub batches: BTreeMap<String, Position>,
}

impl Default for Payload {
    fn default() -> Self {
        Self { version: VERSION, next: BTreeMap::new(), batches: BTreeMap::new() }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Its events were taken in.
    Indexed {
        /// How many.
        events: usize,
    },
    /// It was seen before.
    Duplicate,
    /// It cannot be read: nothing of it is in the index. The recorder keeps its bytes and raises the alarm.
    Unreadable,
}

/// The index, open for writing. One process at a time: tantivy locks the folder.
pub struct Committer {
    fields: Fields,
    index: Index,
    writer: IndexWriter<TantivyDocument>,
    joiner: Joiner,
    committed: Payload,
    current: Payload,
    unwritten: bool,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("committed", &self.committed).finish_non_exhaustive()
    }
}

impl Committer {
    /// Opens the index of a folder, or makes an empty one there. A damaged one, or one of another version, is put aside
    /// beside it: whoever calls fills the new one from the archive (see [`crate::rebuild`]) if
    /// [`Committer::is_empty`].
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::Open`], [`Error::Restore`].
    pub fn open(directory: &Path, memory_bytes: usize) -> Result<Self, Error> {
        let failed = |source| Error::Open { path: directory.to_owned(), source };
        let fields = Fields::new();
        let (index, committed) = match open_existing(directory, &fields) {
            Ok(Some(found)) => found,
            Ok(None) => (create(directory, &fields)?, Payload::default()),
            Err(reason) => {
                put_aside(directory, &reason)?;
                (create(directory, &fields)?, Payload::default())
            }
        };
        let options = IndexWriterOptions::builder().num_worker_threads(1).memory_budget_per_thread(memory_bytes);
        let writer = index.writer_with_options(options.build()).map_err(failed)?;
        pass_first_stamp(&writer, &fields);
        let joiner = restore(&index, &fields)?;
        Ok(Self { fields, index, writer, joiner, current: committed.clone(), committed, unwritten: false })
    }

    /// Whether it never committed anything: a new one, or one that took the place of a damaged one.
    pub fn is_empty(&self) -> bool {
        self.committed == Payload::default()
    }

    /// Where the last commit says to go on in a partition.
    pub fn next(&self, partition: Partition) -> Offset {
        self.committed.next.get(&partition).copied().unwrap_or_default()
    }

    /// What the last commit says.
    pub fn committed(&self) -> &Payload {
        &self.committed
    }

    /// Whether something came since the last commit.
    pub fn is_pending(&self) -> bool {
        self.current != self.committed
    }

    /// How many sessions are open.
    pub fn open_sessions(&self) -> usize {
        self.joiner.open_sessions()
    }

    /// Takes in one batch.
    ///
    /// # Errors
    /// [`Error::Add`], [`Error::Document`]: the index must be opened again.
    pub fn apply(&mut self, delivery: &Delivery) -> Result<Applied, Error> {
        match EventBatch::decode(&delivery.batch) {
            Ok(batch) => self.apply_batch(delivery.partition, delivery.offset, &batch),
            Err(error) => {
                self.passed(delivery.partition, delivery.offset);
                Ok(unreadable(delivery.partition, delivery.offset, &error))
            }
        }
    }

    /// Takes in one batch that lies at a place of the bus.
    ///
    /// # Errors
    /// As [`Committer::apply`].
    pub fn apply_batch(&mut self, partition: Partition, offset: Offset, batch: &EventBatch) -> Result<Applied, Error> {
        self.passed(partition, offset);
        let key = schemas::topic::key(&batch.header.node, batch.header.shard);
        let position = Position { epoch: batch.header.epoch, sequence: batch.header.sequence };
        let last = self.current.batches.get(&key).copied();
        if last.is_some_and(|last| position <= last) {
            return Ok(Applied::Duplicate);
        }
        if last.is_some_and(|last| position.sequence > last.sequence + 1) {
            tracing::warn!(shard = key, last = ?last, found = ?position, "batches are missing before this one");
        }
        let opened = match batch.open() {
            Ok(opened) => opened,
            Err(fault) => return Ok(unreadable(partition, offset, &fault)),
        };
        self.current.batches.insert(key, position);
        for event in &opened.events {
            self.joiner.apply(event);
            if self.joiner.pending() >= MAX_PENDING {
                self.write()?;
            }
        }
        Ok(Applied::Indexed { events: opened.events.len() })
    }

    fn passed(&mut self, partition: Partition, offset: Offset) {
        self.advance(partition, offset.saturating_add(1));
    }

    /// Notes that a partition holds nothing below an offset that is not in the index: after a rebuild.
    pub fn advance(&mut self, partition: Partition, next: Offset) {
        let known = self.current.next.entry(partition).or_default();
        *known = next.max(*known);
    }

    pub(crate) fn write(&mut self) -> Result<(), Error> {
        for change in self.joiner.take() {
            if change.replaces
                && let Some(term) = self.fields.id_term(&change.hit.id)
            {
                self.writer.delete_term(term);
            }
            let document = self.fields.document(&change.hit, &change.words).map_err(Error::Document)?;
            self.writer.add_document(document).map_err(Error::Add)?;
        }
        self.unwritten = true;
        Ok(())
    }

    /// Commits what came, and the offsets with it (IDX-1). Does nothing where nothing came. Blocks: 3 to 7 ms for a few
    /// documents, 300 ms for 100,000.
    ///
    /// # Errors
    /// Any [`Error`]: nothing since the last commit is in the index, and it must be opened again.
    pub fn commit(&mut self) -> Result<(), Error> {
        if !self.is_pending() {
            return Ok(());
        }
        self.write()?;
        let payload = serde_json::to_string(&self.current).map_err(Error::Payload)?;
        let mut prepared = self.writer.prepare_commit().map_err(Error::Commit)?;
        prepared.set_payload(&payload);
        fault::point("indexer.before_commit");
        prepared.commit().map_err(Error::Commit)?;
        fault::point("indexer.after_commit");
        self.committed = self.current.clone();
        self.unwritten = false;
        Ok(())
    }

    /// Forgets everything since the last commit.
    ///
    /// # Errors
    /// [`Error::Commit`], [`Error::Restore`]: the index must be opened again.
    pub fn forget(&mut self) -> Result<(), Error> {
        if self.unwritten {
            self.writer.rollback().map_err(Error::Commit)?;
            pass_first_stamp(&self.writer, &self.fields);
            self.unwritten = false;
        }
        self.current = self.committed.clone();
        self.joiner = restore(&self.index, &self.fields)?;
        Ok(())
    }

    /// Waits for merges that run and lets go of the folder.
    ///
    /// # Errors
    /// [`Error::Commit`].
    pub fn close(self) -> Result<(), Error> {
        self.writer.wait_merging_threads().map_err(Error::Commit)
    }
}

/// Uses up the first operation stamp of a writer with a deletion that matches nothing. A new or rolled back writer gives
/// its first operation the stamp of the last commit, and a merge of two segments takes a deletion with that stamp as
/// applied to a segment that was last changed by that commit, though it was not: the old document would stay beside the
/// new one.
fn pass_first_stamp(writer: &IndexWriter<TantivyDocument>, fields: &Fields) {
    if let Some(nothing) = fields.id_term("") {
        writer.delete_term(nothing);
    }
}

fn unreadable(partition: Partition, offset: Offset, reason: &(dyn std::error::Error + 'static)) -> Applied {
    tracing::error!(partition, offset, error = reason, "a batch cannot be read and is not in the index");
    Applied::Unreadable
}

/// `Ok(None)`: there is none. `Err`: why the one there cannot be used.
fn open_existing(directory: &Path, fields: &Fields) -> Result<Option<(Index, Payload)>, String> {
    if !directory.join("meta.json").exists() {
        return Ok(None);
    }
    let text = |error: tantivy::TantivyError| error.to_string();
    let index = Index::open_in_dir(directory).map_err(text)?;
    if index.schema() != fields.schema {
        return Err("its fields are those of another version".to_owned());
    }
    let payload = match index.load_metas().map_err(text)?.payload {
        Some(payload) => {
            serde_json::from_str(&payload).map_err(|error| format!("its offsets cannot be read: {error}"))?
        }
        None => Payload::default(),
    };
    if payload.version != VERSION {
        return Err(format!("it is of version {}, this is version {VERSION}", payload.version));
    }
    // every segment must open, and what is open must be readable: a damaged file is found now, not at a question
    restore(&index, fields).map_err(|error| format!("it is damaged: {}", chain(&error)))?;
    Ok(Some((index, payload)))
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", chain(source)))
}

fn create(directory: &Path, fields: &Fields) -> Result<Index, Error> {
    std::fs::create_dir_all(directory).map_err(|source| Error::Folder { path: directory.to_owned(), source })?;
    let failed = |source| Error::Open { path: directory.to_owned(), source };
    let settings = IndexSettings {
        docstore_compression: Compressor::Zstd(ZstdCompressor { compression_level: Some(1) }),
        ..IndexSettings::default()
    };
    let folder = MmapDirectory::open(directory).map_err(|error| failed(error.into()))?;
    Index::builder().schema(fields.schema.clone()).settings(settings).open_or_create(folder).map_err(failed)
}

/// Most indexes that are put aside before a person must look.
const MAX_PUT_ASIDE: u32 = 100;

fn put_aside(directory: &Path, reason: &str) -> Result<(), Error> {
    let name = |n: u32| directory.with_added_extension(format!("aside-{n}"));
    let free = (1..=MAX_PUT_ASIDE).map(name).find(|path| !path.exists());
    let path = free.unwrap_or_else(|| name(MAX_PUT_ASIDE));
    tracing::error!(reason, index = %directory.display(), aside = %path.display(), "the index cannot be used and is put aside");
    std::fs::rename(directory, &path).map_err(|source| Error::Folder { path: directory.to_owned(), source })
}

fn restore(index: &Index, fields: &Fields) -> Result<Joiner, Error> {
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into();
    let reader: tantivy::IndexReader = reader.map_err(Error::Restore)?;
    let searcher = reader.searcher();
    let mut open: Vec<(Hit, Vec<String>)> = Vec::new();
    if let Some((state, _)) = fields.term("state") {
        let query = TermQuery::new(Term::from_field_text(state, "open"), IndexRecordOption::Basic);
        for address in searcher.search(&query, &DocSetCollector).map_err(Error::Restore)? {
            let document: TantivyDocument = searcher.doc(address).map_err(Error::Restore)?;
            let damaged =
                || Error::Restore(tantivy::TantivyError::InternalError("an open document is no hit".to_owned()));
            open.push((fields.hit(&document).ok_or_else(damaged)?, fields.words(&document)));
        }
    }
    Ok(Joiner::restore(open))
}
