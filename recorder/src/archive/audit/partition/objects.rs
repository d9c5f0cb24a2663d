//! Checks the objects that a manifest names, and takes its batches out of them.

use super::{Found, Proof};
use crate::archive::audit::custody::Excuse;
use crate::archive::custody::catalog;
use crate::archive::layout;
use crate::archive::manifest::{self, BatchEntry, DataObject, FaultKind, Manifest, Place};
use crate::archive::reader::Archived;
use crate::archive::writer::{Container, sha256};
use bytes::Bytes;
use event_log::Offset;
use object_store::path::Path;
use schemas::{EventBatch, codec};
use std::collections::BTreeMap;

/// What lies under an object's name.
enum Lying {
    /// These bytes.
    Here(Bytes),
    /// Nothing: it was deleted, as the custody log says.
    Gone,
    /// Nothing that is good, which is told.
    Bad,
}

impl Proof {
    /// Checks the objects of a manifest, and gives the batches that can be read, or that retention deleted.
    pub(super) async fn objects(&mut self, path: &Path, manifest: &Manifest) -> Vec<Found> {
        let data = match &manifest.object {
            Some(object) => {
                let name = layout::data_object(self.partition, manifest.first, manifest.last);
                self.object(path, manifest.first, object, &name).await
            }
            None => Lying::Bad,
        };
        let aside = self.aside(path, manifest).await;
        self.gone(manifest, &data, &aside);
        let mut batches = Vec::with_capacity(manifest.batches.len());
        let mut free = 0;
        for entry in &manifest.batches {
            match batch(entry, &data, &aside, &mut free) {
                Ok(Some(batch)) => {
                    let (partition, offset) = (self.partition, entry.offset);
                    batches.push(Found::Whole(Archived { partition, offset, batch }));
                }
                Ok(None) => batches.push(Found::Gone(entry.clone())),
                Err(problem) => self.find(path, FaultKind::Archive, entry.offset, problem),
            }
        }
        let spliced = manifest.batches.iter().filter(|entry| matches!(entry.place, Place::Spliced { .. })).count();
        match data {
            Lying::Here(data) => {
                if let Err(problem) = built_again(manifest, &batches, &data) {
                    self.find(path, FaultKind::Archive, manifest.first, problem);
                }
            }
            Lying::Bad if spliced > 0 && manifest.object.is_none() => {
                self.find(path, FaultKind::Archive, manifest.first, "its batches have no data object");
            }
            Lying::Bad | Lying::Gone => {}
        }
        batches
    }

    /// Notes which objects of a manifest retention deleted, and whose events were in them.
    fn gone(&mut self, manifest: &Manifest, data: &Lying, aside: &BTreeMap<String, Lying>) {
        let deleted: Vec<&String> =
            aside.iter().filter(|(_, lying)| matches!(lying, Lying::Gone)).map(|(name, _)| name).collect();
        let data = manifest.object.as_ref().filter(|_| matches!(data, Lying::Gone)).map(|object| &object.name);
        if data.is_none() && deleted.is_empty() {
            return;
        }
        self.proved.report.deleted += deleted.len() as u64 + u64::from(data.is_some());
        let (spliced, mut kept_aside) = catalog::held(manifest);
        for name in deleted {
            self.proved.met.gone.insert(name.clone(), kept_aside.remove(name).unwrap_or_default());
        }
        self.proved.met.gone.extend(data.map(|name| (name.clone(), spliced)));
    }

    /// What is kept aside, by name.
    async fn aside(&mut self, path: &Path, manifest: &Manifest) -> BTreeMap<String, Lying> {
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
                    self.fetch(&expected).await.map_or(Lying::Bad, Lying::Here)
                }
                None => Lying::Bad,
            };
            match bytes {
                here @ (Lying::Here(_) | Lying::Gone) => drop(aside.insert(name.clone(), here)),
                Lying::Bad if listed.contains_key(name.as_str()) => {} // told already
                Lying::Bad => self.find(path, FaultKind::Archive, offset, format!("{name}, kept aside, is not there")),
            }
        }
        aside
    }

    /// Reads an object that must have a name, a length and a hash, unless the custody log says that it was deleted.
    async fn object(&mut self, path: &Path, offset: Offset, object: &DataObject, expected: &Path) -> Lying {
        self.named.insert(object.name.clone());
        if object.name != expected.to_string() {
            self.find(path, FaultKind::Archive, offset, format!("{} is not the name of its object", object.name));
            return Lying::Bad;
        }
        match self.ledger.excuse(object).filter(|_| !self.listed.contains(&object.name)) {
            Some(Excuse::Good) => return Lying::Gone,
            Some(Excuse::Other(entry)) => {
                let detail = format!("{} is not there; custody entry {entry} deleted another of its name", object.name);
                self.find(path, FaultKind::Custody, offset, detail);
                return Lying::Bad;
            }
            None => {}
        }
        let bytes = match self.fetch(expected).await {
            Ok(bytes) => bytes,
            Err(problem) => {
                self.find(path, FaultKind::Archive, offset, problem);
                return Lying::Bad;
            }
        };
        self.proved.report.bytes += bytes.len() as u64;
        if bytes.len() as u64 != object.bytes || sha256(&bytes) != object.sha256 {
            let detail = format!("{} does not have the SHA-256 that its manifest states", object.name);
            self.find(path, FaultKind::Archive, offset, detail);
        }
        Lying::Here(bytes)
    }
}

/// The batch of an entry, from where it lies; `free` is where the data object has blocks of no other. `None`: it was deleted.
fn batch(
    entry: &BatchEntry,
    data: &Lying,
    aside: &BTreeMap<String, Lying>,
    free: &mut u64,
) -> Result<Option<EventBatch>, String> {
    match &entry.place {
        Place::Spliced { at, bytes } => {
            // blocks that lie over each other would be copied once for each
            if at < free {
                return Err("its block lies in the one before".to_owned());
            }
            *free = at.saturating_add(*bytes);
            let data = match data {
                Lying::Gone => return Ok(None),
                Lying::Here(data) => Some(data),
                Lying::Bad => None,
            };
            let range = usize::try_from(*at).ok().zip(at.checked_add(*bytes).and_then(|end| usize::try_from(end).ok()));
            let block = range.zip(data).and_then(|((at, end), data)| data.get(at..end));
            let block = block.ok_or("the place of its block is not in the data object")?.to_vec();
            Ok(Some(entry.with_block(block)))
        }
        Place::Quarantined { object } => {
            let bytes = match aside.get(object) {
                Some(Lying::Gone) => return Ok(None),
                Some(Lying::Here(bytes)) => bytes,
                Some(Lying::Bad) | None => return Err("what is kept aside of it is not there".to_owned()),
            };
            EventBatch::decode(bytes).map(Some).map_err(|error| format!("{object} is not a batch: {error}"))
        }
    }
}

/// Builds the data object again from its blocks: there is nothing else in it.
fn built_again(manifest: &Manifest, batches: &[Found], data: &Bytes) -> Result<(), String> {
    let mut built: Option<Container> = None;
    let spliced: BTreeMap<Offset, &BatchEntry> = manifest
        .batches
        .iter()
        .filter(|entry| matches!(entry.place, Place::Spliced { .. }))
        .map(|entry| (entry.offset, entry))
        .collect();
    for found in batches {
        let Found::Whole(archived) = found else { continue };
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
