//! Proves the archive: every byte is what was shipped, every chain goes on, every session is whole (ARC-1, AUD-3, AUD-4),
//! and whoever the reader believes signed for it.
//!
//! It trusts no manifest: data objects are hashed and built again from their blocks, headers are hashed again, the
//! events' Merkle roots are computed from the stored bytes, and the state of verification is computed again from the
//! beginning of the range and compared with what the manifests carry. Nothing that it reads makes it end early: what
//! cannot be read is a finding, and it goes on behind it. Partitions are proved side by side.
//!
//! [`checkpoints`] proves what was signed of the whole, [`custody`] what was held and disposed of, [`partition`] one partition.

mod checkpoints;
mod custody;
mod partition;

use super::manifest::{BatchName, FaultKind};
use super::reader::Reader;
use super::trust::Trust;
use super::{Error, layout, writer};
use checkpoints::Covered;
use custody::{Ledger, Met};
use event_log::{Offset, Partition};
use futures_util::TryStreamExt;
use object_store::{ObjectStore, path::Path};
use partition::{Chains, Proof, Proved};
use schemas::SessionId;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What is to be proved. The default is everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// One partition; all of them where `None`.
    pub partition: Option<Partition>,
    /// From the manifest that covers this offset on.
    pub from: Offset,
    /// To the manifest that covers this offset; to the end where `None`.
    pub to: Option<Offset>,
}

impl Range {
    fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// What is to be proved, and what the reader knows from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// What is to be proved.
    pub range: Range,
    /// Whose keys count. `None`: signatures count for the keys that they name, which tells nothing of who signed; but entries of
    /// the custody log only if the key signed a checkpoint no later than the kept or the witnessed one, and where there is
    /// neither, the first.
    pub trust: Option<Trust>,
    /// A checkpoint that was kept elsewhere, byte for byte: it must be in the archive.
    pub kept: Option<Vec<u8>>,
    /// The last checkpoint that a witness keeps, byte for byte: likewise.
    pub witnessed: Option<Vec<u8>>,
    /// How far it is.
    pub progress: Arc<Progress>,
}

/// How far a verification is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Manifests that there are.
    pub manifests: AtomicU64,
    /// Manifests that are proved.
    pub done: AtomicU64,
    /// Bytes of objects read.
    pub bytes: AtomicU64,
}

/// Most findings that a report lists; beyond them they are counted.
const MAX_FINDINGS: usize = 1_000;

/// Something that does not hold, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The object that it was found in.
    pub object: String,
    /// What kind.
    pub kind: FaultKind,
    /// In words.
    pub detail: String,
    /// The partition, where it is one's.
    pub partition: Option<Partition>,
    /// The offset of the batch, or of the manifest's first.
    pub offset: Option<Offset>,
    /// The batch, where it is one's.
    pub batch: Option<BatchName>,
    /// The first event concerned, where it is known.
    pub event: Option<String>,
    /// The object that keeps the batch, where it is not archived.
    pub quarantine: Option<String>,
}

impl Finding {
    fn of_object(object: impl ToString, kind: FaultKind, detail: impl Into<String>) -> Self {
        let (object, detail) = (object.to_string(), detail.into());
        Self { object, kind, detail, partition: None, offset: None, batch: None, event: None, quarantine: None }
    }
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Manifests read.
    pub manifests: u64,
    /// Batches checked.
    pub batches: u64,
    /// Of them, those with a good signature by a key that counts.
    pub signed: u64,
    /// Events checked.
    pub events: u64,
    /// Sessions met.
    pub sessions: u64,
    /// Sessions that have not ended. They may be running.
    pub open: Vec<SessionId>,
    /// Bytes of objects hashed.
    pub bytes: u64,
    /// Checkpoints checked.
    pub checkpoints: u64,
    /// Number and time of the last one.
    pub last_checkpoint: Option<(u64, i64)>,
    /// Batches that came after it: they are signed, and the last of them could be missing.
    pub uncovered: u64,
    /// Entries of the custody log checked.
    pub custody: u64,
    /// Objects that are gone, and an entry says so: the headers of their batches were checked, and their events were not.
    pub deleted: u64,
    /// The events that were in them.
    pub deleted_events: u64,
    /// Sessions whose keys were erased, as entries say.
    pub shredded: u64,
    /// Objects that no manifest names: never committed, read by nobody.
    pub orphans: u64,
    /// Whether somebody said whose keys count.
    pub attested: bool,
    /// What does not hold, in order: the first of a partition names its first bad batch.
    pub findings: Vec<Finding>,
    /// How many there are.
    pub found: u64,
}

impl Report {
    /// Whether everything holds.
    pub fn holds(&self) -> bool {
        self.found == 0
    }

    fn find(&mut self, finding: Finding) {
        self.found += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// Takes in what was found of one partition.
    fn take(&mut self, other: Self) {
        self.manifests += other.manifests;
        self.batches += other.batches;
        self.signed += other.signed;
        self.events += other.events;
        self.bytes += other.bytes;
        self.uncovered += other.uncovered;
        self.deleted += other.deleted;
        self.deleted_events += other.deleted_events;
        self.orphans += other.orphans;
        let listed = other.findings.len() as u64;
        other.findings.into_iter().for_each(|finding| self.find(finding));
        self.found += other.found.saturating_sub(listed);
    }
}

/// The archive's objects by what their names say.
#[derive(Debug, Default)]
struct Listing {
    manifests: BTreeMap<Partition, BTreeSet<Offset>>,
    /// Data objects and what is kept aside, by partition.
    objects: BTreeMap<Partition, BTreeSet<String>>,
    checkpoints: BTreeSet<u64>,
    custody: BTreeSet<u64>,
    keys: BTreeSet<SessionId>,
    foreign: Vec<Path>,
}

impl Reader {
    /// Proves a range of the archive, believing whatever keys it names. See [`Reader::audit`].
    ///
    /// # Errors
    /// As [`Reader::audit`].
    pub async fn verify(&self, range: Range) -> Result<Report, Error> {
        self.audit(Request { range, ..Request::default() }).await
    }

    /// Proves a range of the archive. On a runtime of many threads partitions are proved at the same time.
    ///
    /// # Errors
    /// [`Error::Store`] if the store cannot be asked. What does not hold, and what is not there, is no error: it is in the
    /// report.
    pub async fn audit(&self, request: Request) -> Result<Report, Error> {
        let store = self.store().clone();
        let listing = listing(&*store).await?;
        let mut report = Report { attested: request.trust.is_some(), ..Report::default() };
        let mut covered = checkpoints::prove(&*store, &listing.checkpoints, &request, &mut report).await?;
        let ledger = custody::prove(&*store, &listing.custody, &covered, &request, &mut report).await?;
        let ledger = Arc::new(ledger);
        let partitions = partitions(&listing, &covered, request.range.partition);
        let request = Arc::new(request);
        let named = partitions.iter().filter_map(|partition| listing.manifests.get(partition));
        request.progress.manifests.store(named.map(|firsts| firsts.len() as u64).sum(), Ordering::Relaxed);

        let at_once = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
        let mut running = JoinSet::new();
        for partition in partitions {
            let firsts = listing.manifests.get(&partition).cloned().unwrap_or_default();
            let objects = listing.objects.get(&partition).cloned().unwrap_or_default();
            let said = (covered.of(partition), ledger.clone());
            let proof = Proof::new(store.clone(), request.clone(), partition, said);
            let at_once = at_once.clone();
            running.spawn(async move {
                // it is never closed
                let _permit = at_once.acquire().await.ok();
                (partition, proof.run(firsts, objects).await)
            });
        }
        let mut proved = BTreeMap::new();
        while let Some(ended) = running.join_next().await {
            let (partition, result) = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            proved.insert(partition, result?);
        }
        conclude(&mut report, proved, &listing, &ledger, request.range);
        Ok(report)
    }
}

/// Puts together what was found of each partition, and what only all of them show.
fn conclude(
    report: &mut Report,
    proved: BTreeMap<Partition, Proved>,
    listing: &Listing,
    ledger: &Ledger,
    range: Range,
) {
    let mut met = Met::default();
    let (mut sessions, mut open, mut chains) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    let mut alone = BTreeSet::new();
    for (partition, one) in proved {
        report.take(one.report);
        for session in one.sessions.iter().filter(|session| sessions.contains(*session)) {
            let folder = layout::partition_manifests(partition);
            let detail = format!("{session} has events in another partition too");
            report
                .find(Finding { partition: Some(partition), ..Finding::of_object(folder, FaultKind::Copied, detail) });
        }
        sessions.extend(one.sessions);
        alone.extend(one.alone);
        met.take(one.met);
        open.extend(one.open);
        copied(partition, &one.chains, &mut chains, report);
    }
    report.sessions = (sessions.len() + alone.len()) as u64;
    report.open = open.into_iter().collect();
    ledger.keys(&met, listing, report);
    if range.is_everything() {
        sessions.extend(alone);
        ledger.conclude(&met, &sessions, listing, report);
        for path in &listing.foreign {
            report.find(Finding::of_object(path, FaultKind::Foreign, "nothing of ours has such a name"));
        }
    }
}

/// Finds chains whose batches two partitions hold.
fn copied(partition: Partition, chains: &Chains, seen: &mut BTreeMap<Partition, Chains>, report: &mut Report) {
    for (name, (first, last)) in chains {
        let other = seen.iter().find(|(_, others)| {
            others.get(name).is_some_and(|(other_first, other_last)| first <= other_last && other_first <= last)
        });
        if let Some((other, _)) = other {
            let (node, shard) = name;
            let detail = format!("batches of node {node}, shard {shard} lie in partition {other} too");
            let folder = layout::partition_manifests(partition);
            report
                .find(Finding { partition: Some(partition), ..Finding::of_object(folder, FaultKind::Copied, detail) });
        }
    }
    seen.insert(partition, chains.clone());
}

/// The partitions that are, or that a checkpoint says there were.
fn partitions(listing: &Listing, covered: &Covered, wanted: Option<Partition>) -> BTreeSet<Partition> {
    let there = listing.manifests.keys().chain(listing.objects.keys()).copied();
    there.chain(covered.partitions()).filter(|partition| wanted.is_none_or(|wanted| wanted == *partition)).collect()
}

async fn listing(store: &dyn ObjectStore) -> Result<Listing, Error> {
    let all: Vec<_> = store.list(None).try_collect().await.map_err(Error::store("list", "the archive"))?;
    let mut listing = Listing::default();
    for path in all.into_iter().map(|meta| meta.location) {
        if let Some((partition, first)) = layout::parse_manifest(&path)
            && layout::manifest(partition, first) == path
        {
            listing.manifests.entry(partition).or_default().insert(first);
        } else if let Some((partition, first, last)) = layout::parse_data_object(&path)
            && layout::data_object(partition, first, last) == path
        {
            listing.objects.entry(partition).or_default().insert(path.to_string());
        } else if let Some((partition, _)) = layout::parse_quarantine(&path) {
            listing.objects.entry(partition).or_default().insert(path.to_string());
        } else if let Some(number) = layout::parse_checkpoint(&path) {
            listing.checkpoints.insert(number);
        } else if let Some(number) = layout::parse_custody_entry(&path) {
            listing.custody.insert(number);
        } else if let Some(session) = layout::parse_session_key(&path) {
            listing.keys.insert(session);
        } else if path == layout::marker() && writer::fetch(store, &path).await? == layout::MARKER {
            // of a bucket
        } else if !layout::is_staged(&path) {
            listing.foreign.push(path);
        }
    }
    Ok(listing)
}

#[cfg(test)]
mod tests;
