//! The custody log as it is read, and how it grows.

use super::{Entry, Extent, Note, VERSION, next, numbers, refused};
use crate::archive::checkpoint::{self, Checkpoint};
use crate::archive::custody::selection::{Facts, Selection};
use crate::archive::manifest::Sha256;
use crate::archive::put::{self, Created};
use crate::archive::trust::{self, Trust};
use crate::archive::{Error, layout, writer};
use crate::config::Notary;
use crate::export::date;
use bytes::Bytes;
use event_log::fault;
use object_store::ObjectStore;
use schemas::signature::PublicKey;
use schemas::{SessionId, chain};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// An entry as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Noted {
    /// What it says.
    #[serde(flatten)]
    pub note: Note,
    /// The key that signed it, in hexadecimal.
    pub key: String,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256,
}

/// What an entry says of one thing that it disposed of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disposal {
    /// The entry's number.
    pub entry: u64,
    /// When it was made, microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// The class of retention.
    pub class: String,
}

/// What retention did to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposed {
    /// Objects with events of it are deleted.
    Deleted(Disposal),
    /// Its key is erased.
    Shredded(Disposal),
}

impl fmt::Display for Disposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleted(disposal) => write!(f, "deleted by retention on {disposal}"),
            Self::Shredded(disposal) => write!(f, "its key was erased by retention on {disposal}"),
        }
    }
}

impl fmt::Display for Disposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (class {}, custody entry {})", date(self.time), self.class, self.entry)
    }
}

/// The holds that are in force, by case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holds(BTreeMap<String, Vec<Selection>>);

impl Holds {
    /// Takes the next entry.
    pub(crate) fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::HoldPlaced { case, selection, .. } => {
                self.0.entry(case.clone()).or_default().push(selection.clone());
            }
            Entry::HoldReleased { case, .. } => drop(self.0.remove(case)),
            Entry::Shredded { .. } | Entry::Deleted { .. } => {}
        }
    }

    /// The cases.
    pub(crate) fn all(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The cases that keep a session.
    pub(crate) fn of(&self, session: &SessionId, facts: &Facts) -> Vec<String> {
        let keeps = |selections: &Vec<Selection>| selections.iter().any(|one| one.means(session, facts));
        self.0.iter().filter(|(_, selections)| keeps(selections)).map(|(case, _)| case.clone()).collect()
    }
}

/// The custody log of an archive, as far as it was read.
#[derive(Debug, Clone, Default)]
pub struct Log {
    noted: Vec<Noted>,
    keys: Vec<PublicKey>,
    extent: Option<Extent>,
    deleted: BTreeMap<String, Disposal>,
    shredded: BTreeMap<SessionId, Disposal>,
    holds: Holds,
}

impl Log {
    /// Reads it to its end. Whoever signed counts: [`Guard`] says whether it should.
    ///
    /// # Errors
    /// [`Error::Custody`] if it is not whole; [`Error::Store`] if it cannot be read.
    pub async fn read(store: &dyn ObjectStore) -> Result<Self, Error> {
        let mut log = Self::default();
        log.catch_up(store).await?;
        Ok(log)
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// As [`Log::read`]; what was read before is kept.
    pub async fn catch_up(&mut self, store: &dyn ObjectStore) -> Result<(), Error> {
        for number in numbers(store, self.extent.map_or(0, |extent| extent.entries)).await? {
            let (note, key, extent) = next(store, number, self.extent).await?;
            self.take(note, key, extent);
        }
        Ok(())
    }

    fn take(&mut self, note: Note, key: PublicKey, extent: Extent) {
        let disposal = |class: &String| Disposal { entry: note.number, time: note.time, class: class.clone() };
        match &note.entry {
            Entry::Shredded { class, sessions, .. } => {
                self.shredded.extend(sessions.iter().map(|session| (*session, disposal(class))));
            }
            Entry::Deleted { class, objects, .. } => {
                self.deleted.extend(objects.iter().map(|object| (object.name.clone(), disposal(class))));
            }
            Entry::HoldPlaced { .. } | Entry::HoldReleased { .. } => {}
        }
        self.holds.take(&note.entry);
        self.noted.push(Noted { note, key: chain::hexadecimal(&key), sha256: extent.last });
        self.keys.push(key);
        self.extent = Some(extent);
    }

    /// Its entries, in order.
    pub fn noted(&self) -> &[Noted] {
        &self.noted
    }

    /// The entry that says that an object was deleted.
    pub fn deleted(&self, name: &str) -> Option<&Disposal> {
        self.deleted.get(name)
    }

    /// The entry that says that a session's key was erased.
    pub fn shredded(&self, session: &SessionId) -> Option<&Disposal> {
        self.shredded.get(session)
    }

    pub(crate) fn all_deleted(&self) -> impl Iterator<Item = (&String, &Disposal)> {
        self.deleted.iter()
    }

    pub(crate) fn all_shredded(&self) -> impl Iterator<Item = (&SessionId, &Disposal)> {
        self.shredded.iter()
    }

    pub(crate) fn holds(&self) -> &Holds {
        &self.holds
    }

    /// The entries that placed the holds in force, by case.
    pub fn cases(&self) -> BTreeMap<&str, Vec<&Note>> {
        let mut cases: BTreeMap<&str, Vec<&Note>> = BTreeMap::new();
        for Noted { note, .. } in &self.noted {
            match &note.entry {
                Entry::HoldPlaced { case, .. } => cases.entry(case).or_default().push(note),
                Entry::HoldReleased { case, .. } => drop(cases.remove(case.as_str())),
                Entry::Shredded { .. } | Entry::Deleted { .. } => {}
            }
        }
        cases
    }

    /// Creates the next entry. `None`: another one has its number; catch up, and decide again.
    ///
    /// # Errors
    /// [`Error::Store`] if the store refuses.
    pub(crate) async fn append(
        &mut self,
        store: &dyn ObjectStore,
        notary: &Notary,
        (by, now): (&str, i64),
        entry: Entry,
    ) -> Result<Option<u64>, Error> {
        let number = self.extent.map_or(0, |extent| extent.entries);
        let path = layout::custody_entry(number);
        let entries = number.checked_add(1).ok_or_else(|| refused(&path, "no number is left".to_owned()))?;
        let (node, by) = (notary.node.clone(), by.to_owned());
        let previous = self.extent.map(|extent| extent.last);
        let note = Note { version: VERSION, number, time: now, node, by, previous, entry };
        let sealed = note.seal(&notary.signer);
        let bytes: Bytes = sealed.map_err(|source| Error::Manifest { object: path.to_string(), source })?.into();
        if put::create(store, &path, &bytes).await? == Created::Taken {
            return Ok(None);
        }
        fault::point("recorder.custody_put");
        let extent = Extent { entries, last: Sha256(writer::sha256(&bytes)) };
        self.take(note, *notary.signer.public(), extent);
        Ok(Some(number))
    }
}

/// Who may say what is held and what goes. Whoever can write into the archive can put an entry there: it counts only if it is
/// signed by a key that is believed, and if the log is no shorter than the last checkpoint says.
#[derive(Debug, Clone)]
pub struct Guard {
    trust: Trust,
    kept: Option<Vec<u8>>,
}

impl Guard {
    /// Believes these keys, for what their `checkpoints` lines say.
    pub fn new(trust: Trust) -> Self {
        Self { trust, kept: None }
    }

    /// Asks besides for a checkpoint that was kept elsewhere, byte for byte: who took back the end of the log and every checkpoint
    /// that covered it, took this one too.
    #[must_use]
    pub fn with_kept(self, checkpoint: Vec<u8>) -> Self {
        Self { kept: Some(checkpoint), ..self }
    }

    /// Believes one's own key alone.
    ///
    /// # Errors
    /// [`trust::ParseError`] if the node's name cannot stand in a file of keys.
    pub fn own(notary: &Notary) -> Result<Self, trust::ParseError> {
        trust::lines(&notary.node, None, Some(notary.signer.public())).parse().map(Self::new)
    }

    /// Checks the whole log, and gives the last checkpoint.
    ///
    /// # Errors
    /// [`Error::Custody`] with what does not hold; [`Error::Store`] if the store cannot be read.
    pub async fn check(&self, store: &dyn ObjectStore, log: &Log) -> Result<Option<Checkpoint>, Error> {
        let last = self.look(store, log).await?;
        match self.doubts(log, last.as_ref()).into_iter().next() {
            Some((number, doubt)) => Err(refused(&layout::custody_entry(number), doubted(doubt))),
            None => Ok(last),
        }
    }

    /// Checks all but who signed the entries, and gives why each of those does not count that does not, by number: for who
    /// lists the log.
    ///
    /// # Errors
    /// As [`Guard::check`].
    pub async fn marks(&self, store: &dyn ObjectStore, log: &Log) -> Result<BTreeMap<u64, String>, Error> {
        let last = self.look(store, log).await?;
        Ok(self.doubts(log, last.as_ref()))
    }

    async fn look(&self, store: &dyn ObjectStore, log: &Log) -> Result<Option<Checkpoint>, Error> {
        let last = match checkpoint::last(store).await? {
            None => None,
            Some((number, bytes)) => {
                let path = layout::checkpoint(number);
                let (checkpoint, key) = Checkpoint::open(&bytes).map_err(|reason| refused(&path, reason))?;
                let named = (checkpoint.number != number).then(|| "it says another number".to_owned());
                let doubt = named.or_else(|| trust::of_checkpoint(Some(&self.trust), &checkpoint, &key));
                doubt.map_or(Ok(()), |doubt| Err(refused(&path, doubted(doubt))))?;
                Some(checkpoint)
            }
        };
        if let Some(kept) = &self.kept {
            let folder = layout::checkpoints();
            let (known, _) = Checkpoint::open(kept)
                .map_err(|reason| refused(&folder, format!("the checkpoint that was given is none: {reason}")))?;
            let path = layout::checkpoint(known.number);
            if last.as_ref().is_none_or(|last| last.number < known.number)
                || writer::fetch(store, &path).await? != *kept
            {
                return Err(refused(&path, "it is not the checkpoint that was given".to_owned()));
            }
        }
        let covered = last.as_ref().and_then(|checkpoint| checkpoint.custody);
        if let Some(extent) = covered {
            let place = usize::try_from(extent.entries.saturating_sub(1)).ok();
            if place.and_then(|place| log.noted.get(place)).map(|noted| noted.sha256) != Some(extent.last) {
                let reason = format!("a checkpoint says that it has {} entries, and these are others", extent.entries);
                return Err(refused(&layout::custody(), reason));
            }
        }
        Ok(last)
    }

    fn doubts(&self, log: &Log, last: Option<&Checkpoint>) -> BTreeMap<u64, String> {
        let covered = last.and_then(|checkpoint| checkpoint.custody);
        let after = last.map_or(0, |checkpoint| checkpoint.number.saturating_add(1));
        let signed = log.noted.iter().zip(&log.keys).filter_map(|(Noted { note, .. }, key)| {
            // what a checkpoint covers, its key has vouched for
            let is_covered = covered.is_some_and(|extent| note.number < extent.entries);
            let at = if is_covered { 0 } else { after };
            Some((note.number, trust::of_custody(&self.trust, note, key, at)?))
        });
        signed.collect()
    }
}

fn doubted(doubt: String) -> String {
    format!("{doubt}; where that is right, give --keys with the lines of `postern audit key` of that node")
}

/// Places or releases a hold: creates the next entry, as often as others come first.
///
/// `decide` is asked each time, with the log as it then is, of which the guard believes every entry. `None`: nothing is to be
/// written.
///
/// # Errors
/// [`Error`]; nothing was written then, unless the store lost its answer.
pub async fn record(
    store: &dyn ObjectStore,
    (notary, guard): (&Notary, &Guard),
    (by, now): (&str, i64),
    mut decide: impl FnMut(&Log) -> Option<Entry>,
) -> Result<Option<u64>, Error> {
    let mut log = Log::read(store).await?;
    for _ in 0..ATTEMPTS {
        guard.check(store, &log).await?;
        let Some(entry) = decide(&log) else { return Ok(None) };
        if let Some(number) = log.append(store, notary, (by, now), entry).await? {
            return Ok(Some(number));
        }
        log.catch_up(store).await?;
    }
    Err(refused(&layout::custody(), format!("the next number was taken {ATTEMPTS} times in a row")))
}

/// Most times that a number is found taken in a row: so many writers at once there are not.
pub(crate) const ATTEMPTS: u32 = 8;
