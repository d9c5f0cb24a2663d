//! Proves one partition: its manifests, objects, batches, events and sessions, and what the checkpoints say of them.

use super::checkpoints::Said;
use super::{Finding, Report, Request};
use crate::archive::checkpoint::{self, Mark};
use crate::archive::manifest::{BatchEntry, BatchName, DataObject, Fault, FaultKind, Manifest, Place};
use crate::archive::reader::Archived;
use crate::archive::writer::{Container, fetch, sha256};
use crate::archive::{Error, layout, manifest, trust};
use crate::sessions::Notes;
use crate::verify::{self, State, chain_of};
use bytes::Bytes;
use event_log::{Offset, Partition};
use object_store::{ObjectStore, path::Path};
use schemas::chain::Digest;
use schemas::{Event, EventBatch, EventId, NodeId, SessionId, Shard, codec};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The first and last batch of each chain that a partition holds.
pub(super) type Chains = BTreeMap<(NodeId, Shard), (u64, u64)>;

/// What came of a partition.
#[derive(Debug, Default)]
pub(super) struct Proved {
    pub(super) report: Report,
    pub(super) sessions: BTreeSet<SessionId>,
    /// What stands alone: accesses, gaps, events of the control plane.
    pub(super) alone: BTreeSet<SessionId>,
    pub(super) open: Vec<SessionId>,
    pub(super) chains: Chains,
}

/// A proof of one partition, as far as it has come.
pub(super) struct Proof {
    store: Arc<dyn ObjectStore>,
    request: Arc<Request>,
    partition: Partition,
    /// What checkpoints say, that no manifest has met yet.
    marks: VecDeque<Said>,
    /// What the last one says is covered.
    covered: Offset,
    /// End and SHA-256 of the manifest before; `None` at the beginning.
    before: Option<(Offset, Digest)>,
    /// The manifest before could not be read: what hangs on it cannot be compared.
    lost: bool,
    chained: bool,
    count: u64,
    state: State,
    named: BTreeSet<String>,
    proved: Proved,
}

impl Proof {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        request: Arc<Request>,
        partition: Partition,
        marks: VecDeque<Said>,
    ) -> Self {
        Self {
            store,
            request,
            partition,
            covered: marks.back().map_or(0, |said| said.next),
            marks,
            before: None,
            lost: false,
            chained: false,
            count: 0,
            state: State::default(),
            named: BTreeSet::new(),
            proved: Proved::default(),
        }
    }

    /// Proves the manifests with these names, of a partition that has these objects.
    pub(super) async fn run(mut self, firsts: BTreeSet<Offset>, objects: BTreeSet<String>) -> Result<Proved, Error> {
        let range = self.request.range;
        // the last one that begins at or before the range covers its beginning, if any does
        let start = firsts.range(..=range.from).next_back().copied().unwrap_or(0);
        for first in &firsts {
            if range.to.is_some_and(|to| *first > to) {
                break;
            }
            if *first < start {
                self.pass(*first, start, &firsts).await?;
            } else {
                self.manifest(*first).await?;
                self.request.progress.done.fetch_add(1, Ordering::Relaxed);
            }
        }
        if range.to.is_none() {
            for said in std::mem::take(&mut self.marks) {
                let detail = format!("checkpoint {} names it as the last one then", said.number);
                self.find(layout::manifest(self.partition, said.first), FaultKind::Checkpoint, said.first, detail);
            }
        }
        if range.is_everything() {
            self.proved.report.orphans = objects.difference(&self.named).count() as u64;
        }
        self.proved.open = self.state.open().map(|open| open.session).collect();
        Ok(self.proved)
    }

    /// Passes a manifest that lies before the range: of the last of them, what the next one goes on from is taken.
    async fn pass(&mut self, first: Offset, start: Offset, firsts: &BTreeSet<Offset>) -> Result<(), Error> {
        self.count += 1;
        if firsts.range(..start).next_back() != Some(&first) {
            return Ok(());
        }
        let path = layout::manifest(self.partition, first);
        let decoded = match self.fetch(&path).await {
            Ok(bytes) => Manifest::decode(&path, &bytes).ok().map(|manifest| (manifest, sha256(&bytes))),
            Err(_) => None,
        };
        let Some((manifest, digest)) = decoded else {
            self.lost = true;
            return Ok(());
        };
        while self.marks.pop_front_if(|said| said.next <= manifest.last).is_some() {}
        self.checkpoints(&path, &manifest, &digest)?;
        self.before = Some((manifest.last.saturating_add(1), digest));
        self.chained = manifest.version >= manifest::CHAINED;
        self.state = manifest.state;
        Ok(())
    }

    async fn manifest(&mut self, first: Offset) -> Result<(), Error> {
        let path = layout::manifest(self.partition, first);
        self.count += 1;
        self.proved.report.manifests += 1;
        let bytes = match self.fetch(&path).await {
            Ok(bytes) => bytes,
            Err(problem) => {
                self.find(&path, FaultKind::Manifest, first, problem);
                self.lost = true;
                return Ok(());
            }
        };
        let manifest = match Manifest::decode(&path, &bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.find(&path, FaultKind::Manifest, first, chain_of(&error));
                self.lost = true;
                return Ok(());
            }
        };
        if manifest.version == manifest::VERSION && manifest.encode()? != bytes {
            self.find(&path, FaultKind::Manifest, first, "it has not the form in which manifests are written");
        }
        let digest = sha256(&bytes);
        self.follow(&path, &manifest);
        self.checkpoints(&path, &manifest, &digest)?;
        let batches = self.objects(&path, &manifest).await;
        self.batches(&path, &manifest, &batches)?;
        if self.state != manifest.state {
            if !self.lost {
                let detail = "the state that it carries is not the one that its batches lead to";
                self.find(&path, FaultKind::Archive, first, detail);
            }
            self.state = manifest.state.clone();
        }
        self.lost = false;
        self.before = Some((manifest.last.saturating_add(1), digest));
        Ok(())
    }

    /// Checks that a manifest goes on from the one before.
    fn follow(&mut self, path: &Path, manifest: &Manifest) {
        let first = manifest.first;
        if !self.lost
            && let Some(reason) = checkpoint::breaks_off(manifest, self.before)
        {
            self.find(path, FaultKind::Manifest, first, reason);
        }
        let chained = manifest.version >= manifest::CHAINED;
        if self.chained && !chained {
            let detail = format!("it is of version {}, one before it of a later one", manifest.version);
            self.find(path, FaultKind::Manifest, first, detail);
        }
        self.chained |= chained;
    }

    /// Compares a manifest with what the checkpoints say that were made when it was the last.
    fn checkpoints(&mut self, path: &Path, manifest: &Manifest, digest: &Digest) -> Result<(), Error> {
        let mark = Mark::at(manifest, *digest, self.count);
        while let Some(said) = self.marks.pop_front_if(|said| said.next <= mark.next) {
            if !said.is(&mark)? {
                let detail = format!("checkpoint {} says otherwise of it, or of what comes before", said.number);
                self.find(path, FaultKind::Checkpoint, manifest.first, detail);
            }
        }
        Ok(())
    }

    /// Checks the objects of a manifest, and gives the batches that can be read.
    async fn objects(&mut self, path: &Path, manifest: &Manifest) -> Vec<Archived> {
        let data = match &manifest.object {
            Some(object) => {
                let name = layout::data_object(self.partition, manifest.first, manifest.last);
                self.object(path, manifest.first, object, &name).await
            }
            None => None,
        };
        let aside = self.aside(path, manifest).await;
        let mut batches = Vec::with_capacity(manifest.batches.len());
        let mut free = 0;
        for entry in &manifest.batches {
            match batch(entry, data.as_ref(), &aside, &mut free) {
                Ok(batch) => batches.push(Archived { partition: self.partition, offset: entry.offset, batch }),
                Err(problem) => self.find(path, FaultKind::Archive, entry.offset, problem),
            }
        }
        let spliced = manifest.batches.iter().filter(|entry| matches!(entry.place, Place::Spliced { .. })).count();
        if let Some(data) = data {
            if let Err(problem) = built_again(manifest, &batches, &data) {
                self.find(path, FaultKind::Archive, manifest.first, problem);
            }
        } else if spliced > 0 && manifest.object.is_none() {
            self.find(path, FaultKind::Archive, manifest.first, "its batches have no data object");
        }
        batches
    }

    /// What is kept aside, by name.
    async fn aside(&mut self, path: &Path, manifest: &Manifest) -> BTreeMap<String, Bytes> {
        let mut aside = BTreeMap::new();
        let of_batches = manifest.batches.iter().filter_map(|entry| match &entry.place {
            Place::Quarantined { object } => Some((entry.offset, object)),
            Place::Spliced { .. } => None,
        });
        let of_faults = manifest.faults.iter().filter_map(|fault| Some((fault.offset, fault.quarantine.as_ref()?)));
        let mut wanted: Vec<(Offset, &String)> = of_batches.chain(of_faults).collect();
        wanted.sort_unstable();
        let listed: BTreeMap<&str, &DataObject> = manifest.aside.iter().map(|o| (o.name.as_str(), o)).collect();
        let complete = wanted.len() == manifest.aside.len() && listed.len() == manifest.aside.len();
        if manifest.version >= manifest::CHAINED && !complete {
            let detail = "what it says lies aside is not what its batches and faults name";
            self.find(path, FaultKind::Archive, manifest.first, detail);
        }
        for (offset, name) in wanted {
            let expected = layout::quarantine(self.partition, offset);
            let bytes = match listed.get(name.as_str()) {
                Some(object) => self.object(path, offset, object, &expected).await,
                // version 1 does not say what the object's hash is
                None if manifest.version < manifest::CHAINED && *name == expected.to_string() => {
                    self.named.insert(name.clone());
                    self.fetch(&expected).await.ok()
                }
                None => None,
            };
            match bytes {
                Some(bytes) => drop(aside.insert(name.clone(), bytes)),
                None if listed.contains_key(name.as_str()) => {} // told already
                None => self.find(path, FaultKind::Archive, offset, format!("{name}, kept aside, is not there")),
            }
        }
        aside
    }

    /// Reads an object that must have a name, a length and a hash. `None`: it does not, which is told.
    async fn object(&mut self, path: &Path, offset: Offset, object: &DataObject, expected: &Path) -> Option<Bytes> {
        self.named.insert(object.name.clone());
        if object.name != expected.to_string() {
            self.find(path, FaultKind::Archive, offset, format!("{} is not the name of its object", object.name));
            return None;
        }
        let bytes = match self.fetch(expected).await {
            Ok(bytes) => bytes,
            Err(problem) => {
                self.find(path, FaultKind::Archive, offset, problem);
                return None;
            }
        };
        self.proved.report.bytes += bytes.len() as u64;
        if bytes.len() as u64 != object.bytes || sha256(&bytes) != object.sha256 {
            let detail = format!("{} does not have the SHA-256 that its manifest states", object.name);
            self.find(path, FaultKind::Archive, offset, detail);
        }
        Some(bytes)
    }

    /// Checks the batches, and that the manifest says of them what they say themselves.
    fn batches(&mut self, path: &Path, manifest: &Manifest, batches: &[Archived]) -> Result<(), Error> {
        let entries: BTreeMap<Offset, &BatchEntry> = manifest.batches.iter().map(|e| (e.offset, e)).collect();
        let offsets: Vec<Offset> = manifest.batches.iter().map(|entry| entry.offset).collect();
        if !offsets.is_sorted_by(|a, b| a < b) || offsets.iter().any(|o| *o < manifest.first || *o > manifest.last) {
            self.find(path, FaultKind::Archive, manifest.first, "its batches are not in the order of its offsets");
        }
        // what the recorder found of batches that are not archived: nothing of them is left to be computed again
        for fault in manifest.faults.iter().filter(|fault| fault.quarantine.is_some()) {
            self.tell(path, fault.clone(), None);
        }
        let (mut notes, mut found) = (Notes::default(), Vec::new());
        for archived in batches {
            let Some(entry) = entries.get(&archived.offset) else { continue };
            let (header, hash) = (&archived.batch.header, archived.batch.header.hash().map_err(Error::Encode)?);
            self.proved.report.batches += 1;
            self.proved.report.uncovered += u64::from(archived.offset >= self.covered);
            let range = self.proved.chains.entry((header.node.clone(), header.shard));
            let (first, last) = range.or_insert((header.sequence, header.sequence));
            (*first, *last) = ((*first).min(header.sequence), (*last).max(header.sequence));
            self.claims(path, archived, entry, &hash);
            let read = verify::read(&archived.batch);
            if matches!(entry.place, Place::Quarantined { .. }) && read.events.is_some() {
                let detail = "it was put aside although it can be read";
                self.tell(path, fault_at(archived, FaultKind::Archive, detail), Some(archived));
            }
            let faults = self.state.accept(archived.offset, header, &hash, &read);
            if !self.lost {
                faults.iter().for_each(|fault| self.tell(path, fault.clone(), Some(archived)));
            }
            found.extend(faults);
            let events = read.events.unwrap_or_default();
            self.begun(path, archived, &events);
            self.proved.report.events += events.len() as u64;
            if matches!(entry.place, Place::Spliced { .. }) {
                events.iter().for_each(|event| notes.add(event));
            }
        }
        let told = manifest.faults.iter().filter(|fault| fault.quarantine.is_none());
        let faults_differ = !self.lost && !told.eq(&found);
        for (differs, what) in [(notes.finish() != manifest.sessions, "notes of sessions"), (faults_differ, "faults")] {
            if differs {
                self.find(path, FaultKind::Archive, manifest.first, format!("its {what} are not those of its batches"));
            }
        }
        Ok(())
    }

    /// Finds sessions that begin a second time, as what replaces another's record would.
    fn begun(&mut self, path: &Path, archived: &Archived, events: &[Event]) {
        for event in events {
            // those that belong to no session are told again after a crash, with the same id
            if event.body.stands_alone() {
                self.proved.alone.insert(event.session);
                continue;
            }
            let is_new = self.proved.sessions.insert(event.session);
            if !is_new && event.sequence == 0 {
                let detail = "it begins a second time".to_owned();
                let (session, sequence) = (Some(event.session), Some(0));
                let fault = Fault { session, sequence, ..fault_at(archived, FaultKind::EventsRepeated, detail) };
                self.tell(path, fault, Some(archived));
            }
        }
    }

    /// Checks what the manifest claims of a batch, and who signed it.
    fn claims(&mut self, path: &Path, archived: &Archived, entry: &BatchEntry, hash: &Digest) {
        let batch = &archived.batch;
        if *hash != entry.hash {
            let detail = "its header does not have the hash that the manifest states";
            self.tell(path, fault_at(archived, FaultKind::Archive, detail), Some(archived));
        }
        // of what is kept aside, the manifest holds copies
        if batch.header != entry.header || batch.salt != entry.salt || batch.signature != entry.signature {
            let detail = "what the manifest says of it is not what it says itself";
            self.tell(path, fault_at(archived, FaultKind::Archive, detail), Some(archived));
        }
        match trust::of_batch(self.request.trust.as_ref(), &batch.header, hash, batch.signature.as_ref()) {
            Some((kind, detail)) => self.tell(path, fault_at(archived, kind, detail), Some(archived)),
            None => self.proved.report.signed += u64::from(batch.signature.is_some()),
        }
    }

    /// Reads an object whole. What cannot be read is a finding, and no reason to look at nothing else.
    async fn fetch(&self, path: &Path) -> Result<Bytes, String> {
        let bytes = fetch(&*self.store, path).await.map_err(|error| chain_of(&error))?;
        self.request.progress.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    fn find(&mut self, object: impl ToString, kind: FaultKind, offset: Offset, detail: impl Into<String>) {
        let (partition, offset) = (Some(self.partition), Some(offset));
        self.proved.report.find(Finding { partition, offset, ..Finding::of_object(object, kind, detail) });
    }

    /// Tells a fault of a batch; where it is one of the batch as a whole, its first event is where doubt begins.
    fn tell(&mut self, path: &Path, fault: Fault, archived: Option<&Archived>) {
        let first = archived.and_then(|archived| archived.batch.header.sessions.first());
        let at = fault.session.zip(fault.sequence).or(first.map(|range| (range.session, range.first)));
        self.proved.report.find(Finding {
            partition: Some(self.partition),
            offset: Some(fault.offset),
            batch: fault.batch,
            event: at.map(|(session, sequence)| EventId { session, sequence }.to_string()),
            quarantine: fault.quarantine,
            ..Finding::of_object(path, fault.kind, fault.detail)
        });
    }
}

fn fault_at(archived: &Archived, kind: FaultKind, detail: impl Into<String>) -> Fault {
    let (offset, batch) = (archived.offset, Some(BatchName::from(&archived.batch.header)));
    Fault { offset, kind, detail: detail.into(), batch, session: None, sequence: None, quarantine: None }
}

/// The batch of an entry, from where it lies; `free` is where the data object has blocks of no other.
fn batch(
    entry: &BatchEntry,
    data: Option<&Bytes>,
    aside: &BTreeMap<String, Bytes>,
    free: &mut u64,
) -> Result<EventBatch, String> {
    match &entry.place {
        Place::Spliced { at, bytes } => {
            // blocks that lie over each other would be copied once for each
            if at < free {
                return Err("its block lies in the one before".to_owned());
            }
            *free = at.saturating_add(*bytes);
            let range = usize::try_from(*at).ok().zip(at.checked_add(*bytes).and_then(|end| usize::try_from(end).ok()));
            let block = range.zip(data).and_then(|((at, end), data)| data.get(at..end));
            let block = block.ok_or("the place of its block is not in the data object")?.to_vec();
            Ok(EventBatch { header: entry.header.clone(), salt: entry.salt, block, signature: entry.signature })
        }
        Place::Quarantined { object } => {
            let bytes = aside.get(object).ok_or("what is kept aside of it is not there")?;
            EventBatch::decode(bytes).map_err(|error| format!("{object} is not a batch: {error}"))
        }
    }
}

/// Builds the data object again from its blocks: there is nothing else in it.
fn built_again(manifest: &Manifest, batches: &[Archived], data: &Bytes) -> Result<(), String> {
    let mut built: Option<Container> = None;
    let spliced: BTreeMap<Offset, &BatchEntry> = manifest
        .batches
        .iter()
        .filter(|entry| matches!(entry.place, Place::Spliced { .. }))
        .map(|entry| (entry.offset, entry))
        .collect();
    for archived in batches {
        let Some(entry) = spliced.get(&archived.offset) else { continue };
        let version = codec::Version::of(entry.header.schema.cast_unsigned())
            .map_err(|_| "a batch of it has an unknown schema".to_owned())?;
        let container = built.get_or_insert_with(|| Container::new(&entry.hash, version));
        let at = container.splice(entry.header.count, &archived.batch.block);
        if !matches!(entry.place, Place::Spliced { at: said, .. } if said == at) {
            return Err("its data object has its blocks elsewhere".to_owned());
        }
    }
    if built.is_some_and(|container| container.as_bytes() == &data[..]) {
        Ok(())
    } else {
        Err("its data object is not what its batches make".to_owned())
    }
}
