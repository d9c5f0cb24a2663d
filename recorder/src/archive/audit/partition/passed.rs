//! Batches whose events retention deleted: what their headers still prove.
//!
//! The chain, the signature, and the sequences of the sessions, from the ranges that the header states. Which session
//! begins, ends or stands alone is the word of the manifest's notes: they cannot be made again without the events, and are held by
//! the chain of manifests.

use super::{Found, Proof, fault_at};
use crate::archive::manifest::{BatchEntry, Fault, FaultKind, Manifest, Place};
use crate::archive::{Error, trust};
use crate::verify::Told;
use object_store::path::Path;
use schemas::SessionId;
use std::collections::BTreeMap;

/// What the notes of a manifest say of the sessions in its data object, with the events that its headers count to each.
#[derive(Default)]
pub(super) struct Noted {
    told: BTreeMap<SessionId, Told>,
    counted: BTreeMap<SessionId, u64>,
}

impl Noted {
    pub(super) fn new(manifest: &Manifest) -> Self {
        let (mut counted, mut last) = (BTreeMap::<_, u64>::new(), BTreeMap::<_, u64>::new());
        let spliced = manifest.batches.iter().filter(|entry| matches!(entry.place, Place::Spliced { .. }));
        for range in spliced.flat_map(|entry| &entry.header.sessions) {
            *counted.entry(range.session).or_default() += u64::from(range.count);
            let end = range.first.saturating_add(u64::from(range.count)).saturating_sub(1);
            let latest = last.entry(range.session).or_default();
            *latest = end.max(*latest);
        }
        let told = manifest.sessions.iter().map(|note| {
            let ends = note.closed.as_ref().and_then(|_| last.get(&note.session).copied());
            (note.session, Told { opens: note.opened.is_some(), alone: note.stands_alone(), ends })
        });
        Self { told: told.collect(), counted }
    }
}

impl Proof {
    /// Takes a batch of which only the header is left.
    pub(super) fn passed(&mut self, path: &Path, entry: &BatchEntry, noted: &Noted) -> Result<Vec<Fault>, Error> {
        let (offset, header) = (entry.offset, &entry.header);
        let hash = header.hash().map_err(Error::Encode)?;
        let mut wrong = Vec::new();
        if hash != entry.hash {
            wrong.push((FaultKind::Archive, "its header does not have the hash that the manifest states".to_owned()));
        }
        match trust::of_batch(self.request.trust.as_ref(), header, &hash, entry.signature.as_ref()) {
            Some(problem) => wrong.push(problem),
            None => self.proved.report.signed += u64::from(entry.signature.is_some()),
        }
        let counted: u64 = header.sessions.iter().map(|range| u64::from(range.count)).sum();
        if counted != u64::from(header.count) {
            wrong.push((FaultKind::Header, "the events of its sessions are not as many as it counts".to_owned()));
        }
        for (kind, detail) in wrong {
            self.tell(path, fault_at(offset, header, kind, detail), Some(header));
        }
        self.proved.report.deleted_events += u64::from(header.count);
        // what was kept aside could not be read when it was archived: the recorder followed no session in it
        let is_read = matches!(entry.place, Place::Spliced { .. });
        let faults = self.state.accept_header(offset, header, &hash, is_read.then_some(&noted.told));
        if !self.lost {
            faults.iter().for_each(|fault| self.tell(path, fault.clone(), Some(header)));
        }
        if is_read {
            for range in &header.sessions {
                let alone = noted.told.get(&range.session).is_some_and(|told| told.alone);
                self.met(path, (offset, header), range.session, range.first, alone);
            }
        }
        Ok(faults)
    }

    /// Compares what the manifest says of deleted batches with what their headers say.
    pub(super) fn noted(&mut self, path: &Path, manifest: &Manifest, noted: &Noted, found: &[Fault]) {
        let said: BTreeMap<SessionId, u64> = manifest.sessions.iter().map(|note| (note.session, note.events)).collect();
        if said != noted.counted {
            let detail = "its notes of sessions do not count the events that its headers count";
            self.find(path, FaultKind::Archive, manifest.first, detail);
        }
        // what the recorder found and headers do not show again
        let told: Vec<Fault> = manifest.faults.iter().filter(|fault| fault.quarantine.is_none()).cloned().collect();
        for fault in told.into_iter().filter(|fault| !found.iter().any(|again| same(again, fault))) {
            self.tell(path, fault, None);
        }
    }
}

/// Whether two faults are the same, whatever their words.
pub(super) fn same(a: &Fault, b: &Fault) -> bool {
    (a.offset, a.kind, a.session, a.sequence) == (b.offset, b.kind, b.session, b.sequence)
}

/// Whether the events of a manifest's data object are gone.
pub(super) fn is_gone(batches: &[Found]) -> bool {
    batches.iter().any(|found| matches!(found, Found::Gone(entry) if matches!(entry.place, Place::Spliced { .. })))
}
