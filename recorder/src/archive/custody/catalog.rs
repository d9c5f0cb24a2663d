//! What there is to dispose of: the sessions and objects of an archive, up to its last checkpoint.
//!
//! Whoever can write into the archive could put a manifest there that says of a session that it ended long ago. So only
//! what a signed checkpoint covers is looked at, and the manifests must lead to it.

use super::refused;
use super::selection::{Facts, Selection};
use crate::archive::checkpoint::{self, Checkpoint, Mark};
use crate::archive::manifest::{DataObject, FaultKind, Manifest, Place, Sha256};
use crate::archive::{Error, layout, writer};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::ObjectStore;
use schemas::SessionId;
use std::collections::{BTreeMap, BTreeSet};

/// Manifests that are fetched at once.
const FETCHES: usize = 16;

/// What the manifests say.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// Sessions, and events that stand alone.
    pub(crate) sessions: BTreeMap<SessionId, Facts>,
    /// Data objects, and batches that were kept aside.
    pub(crate) objects: Vec<Stored>,
}

/// An object and whose events are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// As its manifest has it.
    pub(crate) object: DataObject,
    /// As the headers of its batches have them, and its manifest's notes; empty where nobody knows, since the batch could not be
    /// read at all.
    pub(crate) sessions: BTreeSet<SessionId>,
    /// A header of its manifest is not what the events are: whose they are is in doubt.
    pub(crate) doubted: bool,
}

impl Catalog {
    /// Reads what a checkpoint covers.
    ///
    /// # Errors
    /// [`Error::Custody`] if the manifests do not lead to it; [`Error`] if they cannot be read.
    pub(crate) async fn read(store: &dyn ObjectStore, checkpoint: &Checkpoint) -> Result<Self, Error> {
        let mut catalog = Self::default();
        for mark in &checkpoint.partitions {
            catalog.partition(store, mark).await?;
        }
        Ok(catalog)
    }

    async fn partition(&mut self, store: &dyn ObjectStore, mark: &Mark) -> Result<(), Error> {
        let firsts = writer::firsts(store, mark.partition).await?;
        let paths = firsts.into_iter().filter(|first| *first <= mark.first);
        let paths = paths.map(|first| layout::manifest(mark.partition, first));
        let fetch = |path| async move {
            let (manifest, digest) = writer::hashed_manifest(store, &path).await?;
            Ok::<_, Error>((path, manifest, digest))
        };
        let mut read = stream::iter(paths).map(fetch).buffered(FETCHES);
        let (mut before, mut count) = (None, 0u64);
        while let Some((path, manifest, digest)) = read.try_next().await? {
            if let Some(reason) = checkpoint::breaks_off(&manifest, before) {
                return Err(refused(&path, reason));
            }
            before = Some((manifest.last.saturating_add(1), digest));
            count += 1;
            self.take(manifest);
        }
        let is_it = before.is_some_and(|(next, digest)| next == mark.next && Sha256(digest) == mark.manifest);
        if is_it && count == mark.manifests {
            return Ok(());
        }
        let reason = "its manifests do not lead to what the last checkpoint says of it".to_owned();
        Err(refused(&layout::partition_manifests(mark.partition), reason))
    }

    fn take(&mut self, manifest: Manifest) {
        for note in &manifest.sessions {
            let facts = self.sessions.get_mut(&note.session);
            match facts {
                Some(facts) => facts.add(note, manifest.created),
                None => drop(self.sessions.insert(note.session, Facts::new(note, manifest.created))),
            }
        }
        let (spliced, aside) = held(&manifest);
        let doubted = manifest.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Header | FaultKind::Root));
        if let Some(object) = manifest.object {
            self.objects.push(Stored { object, sessions: spliced, doubted });
        }
        for object in manifest.aside {
            let sessions = aside.get(&object.name).cloned().unwrap_or_default();
            self.objects.push(Stored { object, sessions, doubted });
        }
    }
}

/// Whose events lie in the data object of a manifest, and in each object that keeps one of its batches aside: those of the
/// headers, and of the data object those of the notes too, since a header can say less than its events.
pub(crate) fn held(manifest: &Manifest) -> (BTreeSet<SessionId>, BTreeMap<String, BTreeSet<SessionId>>) {
    let mut spliced: BTreeSet<SessionId> = manifest.sessions.iter().map(|note| note.session).collect();
    let mut aside = BTreeMap::<String, BTreeSet<SessionId>>::new();
    for entry in &manifest.batches {
        let sessions = entry.header.sessions.iter().map(|range| range.session);
        match &entry.place {
            Place::Spliced { .. } => spliced.extend(sessions),
            Place::Quarantined { object } => aside.entry(object.clone()).or_default().extend(sessions),
        }
    }
    (spliced, aside)
}

/// How many archived sessions a selection means now, of those that the last checkpoint covers; what stands alone not counted.
///
/// # Errors
/// [`Error`] if the archive cannot be read, or does not lead to its last checkpoint.
pub async fn meant(store: &dyn ObjectStore, selection: &Selection) -> Result<u64, Error> {
    let Some((number, bytes)) = checkpoint::last(store).await? else { return Ok(0) };
    let checkpoint = Checkpoint::open(&bytes).map_err(|reason| refused(&layout::checkpoint(number), reason))?.0;
    let catalog = Catalog::read(store, &checkpoint).await?;
    let meant = catalog.sessions.iter().filter(|(session, facts)| !facts.alone && selection.means(session, facts));
    Ok(meant.count() as u64)
}
