//! Proves the custody log: dense, chained, signed by whom the reader believes, as long as the checkpoints say; and that what it
//! says of keys, objects and holds is so.

use super::checkpoints::Covered;
use super::{Finding, Listing, Report, Request};
use crate::archive::custody::log::Holds;
use crate::archive::custody::selection::Facts;
use crate::archive::custody::{Entry, Extent, Note};
use crate::archive::manifest::{DataObject, FaultKind, Sha256};
use crate::archive::writer::{fetch, sha256};
use crate::archive::{Error, layout, trust};
use crate::verify::chain_of;
use object_store::ObjectStore;
use schemas::SessionId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the good entries say.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The objects that were deleted, with the entry that says so.
    deleted: BTreeMap<String, (u64, DataObject)>,
    /// The sessions whose keys were erased, likewise.
    shredded: BTreeMap<SessionId, u64>,
    /// Disposals that were written down while holds were in force, with those.
    under_holds: Vec<(Note, Arc<Holds>)>,
}

/// What becomes of an object that is not there.
pub(super) enum Excuse {
    /// An entry names it, with its length and its hash.
    Good,
    /// This entry names it with others.
    Other(u64),
}

impl Ledger {
    /// What the log says of an object that is not there; `None`: nothing.
    pub(super) fn excuse(&self, object: &DataObject) -> Option<Excuse> {
        let (entry, stated) = self.deleted.get(&object.name)?;
        Some(if stated == object { Excuse::Good } else { Excuse::Other(*entry) })
    }

    /// Whether what sessions are about must be known, to hold disposals against holds.
    pub(super) fn wants_facts(&self) -> bool {
        !self.under_holds.is_empty()
    }

    fn take(&mut self, note: &Note, holds: &Arc<Holds>) {
        match &note.entry {
            Entry::Shredded { sessions, .. } => {
                self.shredded.extend(sessions.iter().map(|session| (*session, note.number)));
            }
            Entry::Deleted { objects, .. } => {
                let named = objects.iter().map(|object| (object.name.clone(), (note.number, object.clone())));
                self.deleted.extend(named);
            }
            Entry::HoldPlaced { .. } | Entry::HoldReleased { .. } => return,
        }
        if !holds.is_empty() {
            self.under_holds.push((note.clone(), holds.clone()));
        }
    }
}

/// Proves the entries, and gives what the good ones say.
pub(super) async fn prove(
    store: &dyn ObjectStore,
    numbers: &BTreeSet<u64>,
    covered: &Covered,
    request: &Request,
    report: &mut Report,
) -> Result<Ledger, Error> {
    let (mut ledger, mut holds) = (Ledger::default(), Arc::new(Holds::default()));
    // the hash of the one before; `None` within: it could not be read
    let (mut before, mut expected): (Option<Option<Sha256>>, u64) = (Some(None), 0);
    for number in numbers {
        let path = layout::custody_entry(*number);
        let mut find = |detail: String| report.find(Finding::of_object(&path, FaultKind::Custody, detail));
        if *number != expected {
            find(format!("the one before it is missing: {expected} was to come"));
            before = None;
        }
        expected = number.saturating_add(1);
        let bytes = match fetch(store, &path).await {
            Ok(bytes) => bytes,
            Err(error) => {
                find(chain_of(&error));
                before = None;
                continue;
            }
        };
        let digest = Sha256(sha256(&bytes));
        for (checkpoint, _) in covered.custody().filter(|(_, said)| said.entries == expected && said.last != digest) {
            find(format!("checkpoint {checkpoint} says otherwise of it"));
        }
        let previous = before.replace(Some(digest));
        let (note, key) = match Note::open(&bytes) {
            Ok(opened) => opened,
            Err(reason) => {
                find(reason);
                continue;
            }
        };
        let previous = previous.unwrap_or(note.previous);
        note.breaks_off(*number, previous).into_iter().for_each(&mut find);
        let doubt = match &request.trust {
            Some(trust) => trust::of_custody(trust, &note, &key, covered.by(*number)),
            // anybody can make a key: without a file of keys the checkpoints say which ones count
            None => (!covered.vouches(&note.node, &key))
                .then(|| format!("entry {number} is signed by a key that signed no checkpoint that you keep")),
        };
        if let Some(doubt) = doubt {
            find(doubt);
            continue;
        }
        report.custody += 1;
        ledger.take(&note, &holds);
        Arc::make_mut(&mut holds).take(&note.entry);
    }
    for (checkpoint, Extent { entries, .. }) in covered.custody().filter(|(_, said)| said.entries > expected) {
        let detail = format!("checkpoint {checkpoint} says that it has {entries} entries, and there are {expected}");
        report.find(Finding::of_object(layout::custody(), FaultKind::Custody, detail));
    }
    report.shredded = ledger.shredded.len() as u64;
    Ok(ledger)
}

/// What was met in all partitions, as far as the log says something of it.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// Sessions with sealed payloads, and the manifest of the first.
    pub(super) sealed: BTreeMap<SessionId, String>,
    /// The objects that an entry excuses, and whose events were in them.
    pub(super) gone: BTreeMap<String, BTreeSet<SessionId>>,
    /// What sessions are about, where [`Ledger::wants_facts`].
    pub(super) facts: BTreeMap<SessionId, Facts>,
}

impl Met {
    /// Takes what was met in another partition.
    pub(super) fn take(&mut self, other: Self) {
        self.sealed.extend(other.sealed);
        self.gone.extend(other.gone);
        self.facts.extend(other.facts);
    }
}

impl Ledger {
    /// Finds sessions whose payloads nobody can read, and no entry says why.
    pub(super) fn keys(&self, met: &Met, listing: &Listing, report: &mut Report) {
        for (session, object) in &met.sealed {
            if !listing.keys.contains(session) && !self.shredded.contains_key(session) {
                let detail = format!("the key of {session} is not there, and no entry of the custody log says why");
                report.find(Finding::of_object(object, FaultKind::Custody, detail));
            }
        }
    }

    /// Finds what entries say and is not so, in a proof of everything.
    /// `known` are the sessions of the manifests, and what stands alone in them.
    pub(super) fn conclude(&self, met: &Met, known: &BTreeSet<SessionId>, listing: &Listing, report: &mut Report) {
        let mut find = |entry: u64, detail: String| {
            report.find(Finding::of_object(layout::custody_entry(entry), FaultKind::Custody, detail));
        };
        for (session, entry) in &self.shredded {
            if listing.keys.contains(session) {
                find(*entry, format!("the key of {session} is not erased yet"));
            }
            if !known.contains(session) {
                find(*entry, format!("no manifest knows {session}"));
            }
        }
        let is_there = |name: &String| listing.objects.values().any(|objects| objects.contains(name));
        for (name, (entry, _)) in &self.deleted {
            if is_there(name) {
                find(*entry, format!("{name} is not deleted yet"));
            } else if !met.gone.contains_key(name) {
                find(*entry, format!("no manifest names {name} with this length and SHA-256"));
            }
        }
        for (note, holds) in &self.under_holds {
            let concerned: BTreeSet<SessionId> = match &note.entry {
                Entry::Shredded { sessions, .. } => sessions.iter().copied().collect(),
                Entry::Deleted { objects, .. } => {
                    objects.iter().filter_map(|object| met.gone.get(&object.name)).flatten().copied().collect()
                }
                Entry::HoldPlaced { .. } | Entry::HoldReleased { .. } => BTreeSet::new(),
            };
            for session in concerned {
                let cases = met.facts.get(&session).map(|facts| holds.of(&session, facts)).unwrap_or_default();
                if !cases.is_empty() {
                    find(note.number, format!("{session} was held then, for {}", cases.join(", ")));
                }
            }
        }
    }
}
