//! Evidence bundles: what proves sessions to somebody who has neither the archive nor Postern.
//!
//! ```text
//! sessions --> their batches --> events with Merkle paths
//!                            --> every header of their chains, up to a signed checkpoint
//! ```
//!
//! A bundle shows its sessions whole: a header counts each session's events in its batch, so that an event that is left out
//! is missed, and the chain of headers up to the checkpoint tells that no batch is. Of other sessions it shows no event, only
//! that they had some: salted leaves keep them from being guessed. The format is in `docs/evidence.md`; [`write()`] makes it,
//! `deploy/verify/postern-verify bundle` proves it.

mod report;

use crate::archive::checkpoint::{Checkpoint, Mark};
use crate::archive::manifest::{BatchEntry, Manifest};
use crate::archive::writer::{Container, sha256};
use crate::archive::{self, Reader};
use crate::export::{self, Format, Progress};
use event_log::{Offset, Partition};
use schemas::chain::{self, Digest, hexadecimal};
use schemas::event::Body;
use schemas::{BatchHeader, Event, NodeId, SessionId, Shard, Signature, codec, seal};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek, Write};
use std::sync::Arc;
use zip::write::SimpleFileOptions;

/// The form of a bundle.
pub const VERSION: u32 = 1;

/// A bundle cannot be made. Nothing of what was written may be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive cannot be read, or does not hold the session.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// The archive has no checkpoint.
    #[error(
        "the archive has no checkpoint yet, and nothing else proves where it ends; one is made every archive.checkpoint_seconds"
    )]
    NoCheckpoint,
    /// The sessions began after the last checkpoint.
    #[error(
        "the last checkpoint is from before what is asked for; the next one is made within archive.checkpoint_seconds"
    )]
    NotCovered,
    /// A checkpoint cannot be read.
    #[error("checkpoint {number} does not hold: {reason}; run `postern audit verify`")]
    Checkpoint {
        /// Its number.
        number: u64,
        /// Why.
        reason: String,
    },
    /// The archive does not hold what a proof needs.
    #[error("{session} cannot be proved: {reason}; run `postern audit verify`")]
    Unprovable {
        /// The session.
        session: SessionId,
        /// Why.
        reason: String,
    },
    /// An event cannot be written for people or tools.
    #[error("writing the events")]
    Export(#[from] export::Error),
    /// The file refused.
    #[error("writing the bundle")]
    Write(#[source] std::io::Error),
    /// The container refused.
    #[error("writing the bundle")]
    Zip(#[from] zip::result::ZipError),
    /// A fault in this package.
    #[error("writing a part of the bundle as JSON")]
    Json(#[from] serde_json::Error),
}

/// What went into a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Its sessions.
    pub sessions: Vec<SessionId>,
    /// Of them, those that had not ended at the checkpoint.
    pub open: Vec<SessionId>,
    /// Sessions that were asked for and began after the checkpoint: nothing of them is in it.
    pub left_out: Vec<SessionId>,
    /// Of them, those of which payloads stay sealed, because their keys are not here.
    pub sealed: Vec<SessionId>,
    /// Of them, those of which events are missing in the archive.
    pub incomplete: Vec<SessionId>,
    /// Their events.
    pub events: u64,
    /// Headers of batches.
    pub batches: u64,
    /// The checkpoint's number.
    pub checkpoint: u64,
}

#[derive(Serialize)]
struct Proof {
    version: u32,
    batches: Vec<ProofBatch>,
    events: Vec<ProofEvent>,
}

#[derive(Serialize)]
struct ProofBatch {
    partition: Partition,
    offset: Offset,
    header: BatchHeader,
    #[serde(with = "codec::fixed")]
    hash: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<Signature>,
}

#[derive(Serialize)]
struct ProofEvent {
    file: String,
    block: u64,
    batch: u64,
    index: u64,
    salt: String,
    path: Vec<String>,
}

#[derive(Serialize)]
struct Contents {
    version: u32,
    created: i64,
    sessions: Vec<SessionId>,
    files: Vec<FileEntry>,
}

#[derive(Serialize)]
struct FileEntry {
    name: String,
    bytes: u64,
    sha256: String,
}

/// A chain in a partition.
type Chain = (Partition, NodeId, Shard);

/// What the archive holds of the sessions.
struct Found {
    /// Where the sessions' batches are, and the headers that may be between them.
    chains: BTreeMap<Chain, Offset>,
    /// Where each session is.
    sessions: BTreeMap<SessionId, Place>,
}

/// The batches of a session.
#[derive(Clone, Copy)]
struct Place {
    partition: Partition,
    first: Offset,
    last: Offset,
    /// It ended in the last of them.
    ended: bool,
}

impl Place {
    fn begins_in(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.mark(self.partition).is_some_and(|mark| self.first < mark.next)
    }

    fn ends_in(&self, checkpoint: &Checkpoint) -> bool {
        self.ended && checkpoint.mark(self.partition).is_some_and(|mark| self.last < mark.next)
    }
}

/// Writes a bundle of these sessions, which is made in memory. `created` is microseconds since 1970-01-01 UTC.
///
/// # Errors
/// [`Error`]; above all where no checkpoint covers anything of them yet.
pub async fn write<W: Write + Seek>(
    reader: &Reader,
    sessions: &[SessionId],
    created: i64,
    progress: &Progress,
    out: W,
) -> Result<Written, Error> {
    let sessions: BTreeSet<SessionId> = sessions.iter().copied().collect();
    let found = locate(reader, &sessions).await?;
    let (checkpoint, envelope) = covering(reader, &found).await?;
    let (covered, left_out): (Vec<_>, Vec<_>) =
        found.sessions.iter().partition(|(_, place)| place.begins_in(&checkpoint));
    if covered.is_empty() {
        return Err(Error::NotCovered);
    }
    let mut collected = Collected::default();
    for (chain, first) in &found.chains {
        if let Some(mark) = checkpoint.mark(chain.0) {
            collected.chain(reader, chain, (*first, mark), (&sessions, progress)).await?;
        }
    }
    let (mut sealed, mut incomplete) = (Vec::new(), Vec::new());
    for (session, events) in &mut collected.decoded {
        reader.unseal(events).await?;
        sealed.extend(events.iter().any(seal::is_sealed).then_some(*session));
        events.sort_by_key(|event| event.sequence);
        incomplete.extend((!is_dense(events)).then_some(*session));
    }
    let written = Written {
        sessions: covered.iter().map(|(session, _)| **session).collect(),
        open: covered.iter().filter(|(_, place)| !place.ends_in(&checkpoint)).map(|(session, _)| **session).collect(),
        left_out: left_out.iter().map(|(session, _)| **session).collect(),
        sealed,
        incomplete,
        events: collected.events.len() as u64,
        batches: collected.batches.len() as u64,
        checkpoint: checkpoint.number,
    };
    collected.into_zip(&written, &checkpoint, envelope, created, out)?;
    Ok(written)
}

/// Whether these are all events of a session that ended, in order.
pub(crate) fn is_whole(events: &[Event]) -> bool {
    let ended = |event: &Event| matches!(event.body, Body::SessionClosed(_) | Body::SessionRefused(_));
    is_dense(events) && events.last().is_some_and(ended)
}

/// Whether none is missing before the last.
fn is_dense(events: &[Event]) -> bool {
    events.iter().zip(0..).all(|(event, sequence)| event.sequence == sequence)
}

async fn locate(reader: &Reader, sessions: &BTreeSet<SessionId>) -> Result<Found, Error> {
    let mut found = Found { chains: BTreeMap::new(), sessions: BTreeMap::new() };
    for session in sessions {
        let ended = reader.summary(*session).await?.closed.is_some();
        for manifest in reader.holding(*session).await? {
            let holds = |entry: &&BatchEntry| entry.header.sessions.iter().any(|range| range.session == *session);
            for entry in manifest.batches.iter().filter(holds) {
                let chain = (manifest.partition, entry.header.node.clone(), entry.header.shard);
                let first = found.chains.entry(chain).or_insert(entry.offset);
                *first = (*first).min(entry.offset);
                let (partition, offset) = (manifest.partition, entry.offset);
                let fresh = Place { partition, first: offset, last: offset, ended };
                let place = found.sessions.entry(*session).or_insert(fresh);
                (place.first, place.last) = (place.first.min(offset), place.last.max(offset));
                if place.partition != partition {
                    let reason = "its events lie in more than one partition".to_owned();
                    return Err(Error::Unprovable { session: *session, reason });
                }
            }
        }
    }
    Ok(found)
}

/// The first checkpoint that covers the ends of all sessions; the last one where none does.
async fn covering(reader: &Reader, found: &Found) -> Result<(Checkpoint, Vec<u8>), Error> {
    let numbers = reader.checkpoints().await?;
    let last = *numbers.last().ok_or(Error::NoCheckpoint)?;
    let (checkpoint, envelope) = opened(reader, last).await?;
    let covers = |checkpoint: &Checkpoint| found.sessions.values().all(|place| place.ends_in(checkpoint));
    if !covers(&checkpoint) {
        return Ok((checkpoint, envelope));
    }
    // later checkpoints cover no less, so that the first that covers is found by halving
    let (mut best, mut low, mut high) = ((checkpoint, envelope), 0, numbers.len().saturating_sub(1));
    while low < high {
        let middle = low.midpoint(high);
        let Some(number) = numbers.get(middle) else { break };
        let candidate = opened(reader, *number).await?;
        if covers(&candidate.0) {
            (best, high) = (candidate, middle);
        } else {
            low = middle + 1;
        }
    }
    Ok(best)
}

async fn opened(reader: &Reader, number: u64) -> Result<(Checkpoint, Vec<u8>), Error> {
    let bytes = reader.checkpoint(number).await?;
    let (checkpoint, _) = Checkpoint::open(&bytes).map_err(|reason| Error::Checkpoint { number, reason })?;
    Ok((checkpoint, bytes.to_vec()))
}

/// The parts of a bundle, as they are found.
#[derive(Default)]
struct Collected {
    batches: Vec<ProofBatch>,
    events: Vec<ProofEvent>,
    /// By the schema that wrote them, with the number of blocks.
    files: BTreeMap<u64, (Container, u64)>,
    decoded: BTreeMap<SessionId, Vec<Event>>,
}

impl Collected {
    /// Takes the headers of a chain, and the events of the sessions.
    async fn chain(
        &mut self,
        reader: &Reader,
        (partition, node, shard): &Chain,
        (first, mark): (Offset, &Mark),
        (sessions, progress): (&BTreeSet<SessionId>, &Progress),
    ) -> Result<(), Error> {
        for manifest in reader.manifests(*partition, first).await? {
            if manifest.first >= mark.next {
                break;
            }
            let of_chain = |e: &&BatchEntry| e.header.node == *node && e.header.shard == *shard && e.offset >= first;
            let mut wanted = BTreeMap::new();
            for entry in manifest.batches.iter().filter(of_chain) {
                if entry.header.sessions.iter().any(|range| sessions.contains(&range.session)) {
                    wanted.insert(entry.header.sequence, self.batches.len() as u64);
                }
                let (header, hash, signature) = (entry.header.clone(), entry.hash, entry.signature);
                self.batches.push(ProofBatch { partition: *partition, offset: entry.offset, header, hash, signature });
            }
            self.events_of(reader, &manifest, (node, *shard), &wanted, sessions).await?;
            progress.reached(self.decoded.len(), self.events.len());
        }
        Ok(())
    }

    async fn events_of(
        &mut self,
        reader: &Reader,
        manifest: &Arc<Manifest>,
        (node, shard): (&NodeId, Shard),
        wanted: &BTreeMap<u64, u64>,
        sessions: &BTreeSet<SessionId>,
    ) -> Result<(), Error> {
        let is_wanted = |header: &BatchHeader| {
            header.node == *node && header.shard == shard && wanted.contains_key(&header.sequence)
        };
        for archived in reader.load(manifest, is_wanted).await? {
            let header = &archived.batch.header;
            let (partition, offset) = (archived.partition, archived.offset);
            let failed = |source| archive::Error::Batch { partition, offset, source };
            let opened = archived.batch.open().map_err(failed)?;
            let fingerprint = header.schema.cast_unsigned();
            let version = codec::Version::of(fingerprint).map_err(archive::Error::Encode)?;
            let (file, blocks) = self.files.entry(fingerprint).or_insert_with(|| (Container::uncompressed(version), 0));
            let paths = chain::prove_all(&opened.leaves);
            let mut start = 0;
            for (index, (event, end)) in opened.events.iter().zip(&opened.ends).enumerate() {
                let datum = opened.datums.get(start..*end).unwrap_or_default();
                start = *end;
                if !sessions.contains(&event.session) {
                    continue;
                }
                file.splice(1, datum);
                let path = paths.get(index).map(Vec::as_slice).unwrap_or_default();
                let salt = chain::leaf_salt(&archived.batch.salt, u32::try_from(index).unwrap_or(u32::MAX));
                self.events.push(ProofEvent {
                    file: file_name(fingerprint),
                    block: *blocks,
                    batch: wanted.get(&header.sequence).copied().unwrap_or_default(),
                    index: index as u64,
                    salt: hexadecimal(&salt),
                    path: path.iter().map(|digest| hexadecimal(digest)).collect(),
                });
                *blocks += 1;
                self.decoded.entry(event.session).or_default().push(event.clone());
            }
        }
        Ok(())
    }

    fn into_zip<W: Write + Seek>(
        self,
        written: &Written,
        checkpoint: &Checkpoint,
        envelope: Vec<u8>,
        created: i64,
        out: W,
    ) -> Result<(), Error> {
        let derived = |format| {
            let mut bytes = Vec::new();
            let mut exporter = export::Exporter::new(format, &mut bytes)?;
            self.decoded.values().try_for_each(|events| exporter.session(events))?;
            exporter.finish()?;
            Ok::<_, export::Error>(bytes)
        };
        let proof = Proof { version: VERSION, batches: self.batches, events: self.events };
        let mut files = vec![
            ("checkpoint.json".to_owned(), envelope),
            ("proof.json".to_owned(), serde_json::to_vec(&proof)?),
            ("events.jsonl".to_owned(), derived(Format::Jsonl)?),
            ("statements.csv".to_owned(), derived(Format::Csv)?),
            ("statements.parquet".to_owned(), derived(Format::Parquet)?),
            ("ocsf.jsonl".to_owned(), derived(Format::Ocsf)?),
            ("report.html".to_owned(), report::html(&self.decoded, written, checkpoint, created).into_bytes()),
        ];
        files.extend(self.files.into_iter().map(|(print, (file, _))| (file_name(print), file.into_bytes())));
        let entry = |(name, bytes): &(String, Vec<u8>)| FileEntry {
            name: name.clone(),
            bytes: bytes.len() as u64,
            sha256: hexadecimal(&sha256(bytes)),
        };
        let (sessions, entries) = (written.sessions.clone(), files.iter().map(entry).collect());
        let contents = Contents { version: VERSION, created, sessions, files: entries };
        files.insert(0, ("bundle.json".to_owned(), serde_json::to_vec_pretty(&contents)?));
        let mut zip = zip::ZipWriter::new(out);
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        for (name, bytes) in files {
            zip.start_file(name, options.large_file(bytes.len() as u64 >= u64::from(u32::MAX)))?;
            zip.write_all(&bytes).map_err(Error::Write)?;
        }
        zip.finish()?.flush().map_err(Error::Write)
    }
}

fn file_name(fingerprint: u64) -> String {
    format!("events-{fingerprint:016x}.avro")
}

#[cfg(test)]
mod tests;
