//! Proves one partition: its manifests, objects, batches, events and sessions, and what the checkpoints say of them.

mod objects;
mod passed;

use super::checkpoints::Said;
use super::custody::{Ledger, Met};
use super::{Finding, Report, Request};
use crate::archive::checkpoint::{self, Mark};
use crate::archive::custody::selection::Facts;
use crate::archive::manifest::{BatchEntry, BatchName, Fault, FaultKind, Manifest, Place};
use crate::archive::reader::Archived;
use crate::archive::writer::{fetch, sha256};
use crate::archive::{Error, layout, manifest, trust};
use crate::sessions::Notes;
use crate::verify::{self, State, chain_of};
use bytes::Bytes;
use event_log::{Offset, Partition};
use object_store::{ObjectStore, path::Path};
use passed::Noted;
use schemas::chain::Digest;
use schemas::{BatchHeader, EventId, NodeId, SessionId, Shard, seal};
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
    /// What the custody log says something of.
    pub(super) met: Met,
}

/// A batch of a manifest.
enum Found {
    /// As it was shipped.
    Whole(Archived),
    /// Retention deleted it.
    Gone(BatchEntry),
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
    listed: BTreeSet<String>,
    ledger: Arc<Ledger>,
    proved: Proved,
}

impl Proof {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        request: Arc<Request>,
        partition: Partition,
        (marks, ledger): (VecDeque<Said>, Arc<Ledger>),
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
            listed: BTreeSet::new(),
            ledger,
            proved: Proved::default(),
        }
    }

    /// Proves the manifests with these names, of a partition that has these objects.
    pub(super) async fn run(mut self, firsts: BTreeSet<Offset>, objects: BTreeSet<String>) -> Result<Proved, Error> {
        let range = self.request.range;
        self.listed = objects;
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
            self.proved.report.orphans = self.listed.difference(&self.named).count() as u64;
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

    /// Checks the batches, and that the manifest says of them what they say themselves.
    fn batches(&mut self, path: &Path, manifest: &Manifest, batches: &[Found]) -> Result<(), Error> {
        let entries: BTreeMap<Offset, &BatchEntry> = manifest.batches.iter().map(|e| (e.offset, e)).collect();
        let offsets: Vec<Offset> = manifest.batches.iter().map(|entry| entry.offset).collect();
        if !offsets.is_sorted_by(|a, b| a < b) || offsets.iter().any(|o| *o < manifest.first || *o > manifest.last) {
            self.find(path, FaultKind::Archive, manifest.first, "its batches are not in the order of its offsets");
        }
        // what the recorder found of batches that are not archived: nothing of them is left to be computed again
        for fault in manifest.faults.iter().filter(|fault| fault.quarantine.is_some()) {
            self.tell(path, fault.clone(), None);
        }
        if self.ledger.wants_facts() {
            let at = manifest.created;
            for note in &manifest.sessions {
                let facts = &mut self.proved.met.facts;
                let facts = facts.entry(note.session);
                facts.and_modify(|facts| facts.add(note, at)).or_insert_with(|| Facts::new(note, at));
            }
        }
        let (mut notes, mut found) = (Notes::default(), Vec::new());
        let any_gone = batches.iter().any(|found| matches!(found, Found::Gone(_)));
        let noted = if any_gone { Noted::new(manifest) } else { Noted::default() };
        for one in batches {
            let (offset, header) = match one {
                Found::Whole(archived) => (archived.offset, &archived.batch.header),
                Found::Gone(entry) => (entry.offset, &entry.header),
            };
            self.proved.report.batches += 1;
            self.proved.report.uncovered += u64::from(offset >= self.covered);
            let range = self.proved.chains.entry((header.node.clone(), header.shard));
            let (first, last) = range.or_insert((header.sequence, header.sequence));
            (*first, *last) = ((*first).min(header.sequence), (*last).max(header.sequence));
            found.extend(match one {
                Found::Whole(archived) => match entries.get(&offset) {
                    Some(entry) => self.whole(path, archived, entry, &mut notes)?,
                    None => continue,
                },
                Found::Gone(entry) => self.passed(path, entry, &noted)?,
            });
        }
        if passed::is_gone(batches) {
            self.noted(path, manifest, &noted, &found);
            return Ok(());
        }
        // of what lay aside and is gone, what the recorder found and its header does not show is told as it was
        let gone: BTreeSet<Offset> = batches.iter().filter_map(gone_at).collect();
        let told = manifest.faults.iter().filter(|fault| fault.quarantine.is_none());
        let (unseen, told): (Vec<&Fault>, Vec<&Fault>) = told.partition(|fault| gone.contains(&fault.offset));
        for fault in unseen.into_iter().filter(|fault| !found.iter().any(|again| passed::same(again, fault))) {
            self.tell(path, fault.clone(), None);
        }
        let again = found.iter().filter(|fault| !gone.contains(&fault.offset));
        let faults_differ = !self.lost && !told.into_iter().eq(again);
        for (differs, what) in [(notes.finish() != manifest.sessions, "notes of sessions"), (faults_differ, "faults")] {
            if differs {
                self.find(path, FaultKind::Archive, manifest.first, format!("its {what} are not those of its batches"));
            }
        }
        Ok(())
    }

    /// Checks a batch that is there, and gives its faults.
    fn whole(
        &mut self,
        path: &Path,
        archived: &Archived,
        entry: &BatchEntry,
        notes: &mut Notes,
    ) -> Result<Vec<Fault>, Error> {
        let (offset, header) = (archived.offset, &archived.batch.header);
        let hash = header.hash().map_err(Error::Encode)?;
        self.claims(path, archived, entry, &hash);
        let read = verify::read(&archived.batch);
        if matches!(entry.place, Place::Quarantined { .. }) && read.events.is_some() {
            let detail = "it was put aside although it can be read";
            self.tell(path, fault_at(offset, header, FaultKind::Archive, detail), Some(header));
        }
        let faults = self.state.accept(offset, header, &hash, &read);
        if !self.lost {
            faults.iter().for_each(|fault| self.tell(path, fault.clone(), Some(header)));
        }
        let events = read.events.unwrap_or_default();
        for event in &events {
            self.met(path, (offset, header), event.session, event.sequence, event.body.stands_alone());
            if seal::is_sealed(event) {
                self.proved.met.sealed.entry(event.session).or_insert_with(|| path.to_string());
            }
        }
        self.proved.report.events += events.len() as u64;
        if matches!(entry.place, Place::Spliced { .. }) {
            events.iter().for_each(|event| notes.add(event));
        }
        Ok(faults)
    }

    /// Takes note of a session, and finds one that begins a second time, as what replaces another's record would.
    fn met(&mut self, path: &Path, (offset, header): (Offset, &BatchHeader), session: SessionId, at: u64, alone: bool) {
        // those that belong to no session are told again after a crash, with the same id
        if alone {
            self.proved.alone.insert(session);
        } else if !self.proved.sessions.insert(session) && at == 0 {
            let fault = fault_at(offset, header, FaultKind::EventsRepeated, "it begins a second time");
            let fault = Fault { session: Some(session), sequence: Some(0), ..fault };
            self.tell(path, fault, Some(header));
        }
    }

    /// Checks what the manifest claims of a batch, and who signed it.
    fn claims(&mut self, path: &Path, archived: &Archived, entry: &BatchEntry, hash: &Digest) {
        let (batch, offset) = (&archived.batch, archived.offset);
        let header = &batch.header;
        if *hash != entry.hash {
            let detail = "its header does not have the hash that the manifest states";
            self.tell(path, fault_at(offset, header, FaultKind::Archive, detail), Some(header));
        }
        // of what is kept aside, the manifest holds copies
        if batch.header != entry.header || batch.salt != entry.salt || batch.signature != entry.signature {
            let detail = "what the manifest says of it is not what it says itself";
            self.tell(path, fault_at(offset, header, FaultKind::Archive, detail), Some(header));
        }
        match trust::of_batch(self.request.trust.as_ref(), &batch.header, hash, batch.signature.as_ref()) {
            Some((kind, detail)) => self.tell(path, fault_at(offset, header, kind, detail), Some(header)),
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
    fn tell(&mut self, path: &Path, fault: Fault, header: Option<&BatchHeader>) {
        let first = header.and_then(|header| header.sessions.first());
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

fn gone_at(found: &Found) -> Option<Offset> {
    match found {
        Found::Gone(entry) => Some(entry.offset),
        Found::Whole(_) => None,
    }
}

fn fault_at(offset: Offset, header: &BatchHeader, kind: FaultKind, detail: impl Into<String>) -> Fault {
    let batch = Some(BatchName::from(header));
    Fault { offset, kind, detail: detail.into(), batch, session: None, sequence: None, quarantine: None }
}
