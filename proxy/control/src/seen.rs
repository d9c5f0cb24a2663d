//! What was read of the topic: so that a topic from which something went is noticed, and a key that something depends on
//! is not taken out.
//!
//! ```text
//! digest after a record = SHA-256(digest before, its offset, its bytes)         also of records that count for nothing
//! ```
//!
//! Who reads everything has the same digest at the same place. Two testify to it: the node's own file in its folder, which
//! says what it had read before it was stopped; and every record, whose signed stamp says what its writer had read. A topic
//! that was cut, thinned out or made anew contradicts one of them, and is lost then. A hole in the offsets alone is none
//! (the broker's own marks leave some), but at a start it is a doubt until somebody testifies to what lies around it.
//!
//! The file also says what each process of the node has told of what it wrote ([`crate::untold`]).

mod memory;

use crate::envelope::PublicKey;
use crate::untold::Told;
use event_log::Offset;
pub(crate) use memory::Last;
pub use memory::{Error, Signer, Signers};
use memory::{Memory, load, turn};
use ring::digest::{Context, SHA256};
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Places of the topic whose digest is known, for what others testify to: who lags by more is not compared.
const MAX_PLACES: usize = 16_384;
/// Between two writes of the file.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// How much of the topic somebody has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The offset behind the last record.
    pub next: Offset,
    /// The digest of all before it.
    pub digest: [u8; 32],
}

impl Seen {
    fn after(&self, offset: Offset, bytes: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&self.digest);
        context.update(&offset.to_be_bytes());
        context.update(bytes);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self { next: offset.saturating_add(1), digest }
    }
}

/// What the topic contradicts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Contradiction {
    /// A place came again.
    #[error("the control topic went back from offset {from} to {to}")]
    Back {
        /// What was next.
        from: Offset,
        /// What came.
        to: Offset,
    },
    /// The file remembers other records.
    #[error("the control topic has other records below offset {next} than this node has read ({}): was it cut, thinned out or made anew?", file.display())]
    Memory {
        /// Up to where the file remembers.
        next: Offset,
        /// The file.
        file: PathBuf,
    },
    /// The topic ends before what the file remembers.
    #[error("the control topic ends at offset {end}, and this node has read it to {next} ({}): was it cut, or made anew?", file.display())]
    Short {
        /// Where it ends.
        end: Offset,
        /// Up to where the file remembers.
        next: Offset,
        /// The file.
        file: PathBuf,
    },
    /// A writer has read other records.
    #[error(
        "the node {author:?} has read other records below offset {next} of the control topic than there are: was it cut, thinned out or made anew?"
    )]
    Testimony {
        /// The writer.
        author: String,
        /// Up to where it says what it read.
        next: Offset,
    },
}

/// What this process has read, and what it is held against.
pub(crate) struct Sight {
    path: PathBuf,
    now: Seen,
    places: VecDeque<Seen>,
    /// Those of the file, and those since: one that counted once is never forgotten.
    signers: Signers,
    /// Those whose records this process has counted.
    counted: Signers,
    /// Likewise of the file and since.
    last: Last,
    /// From the file, until it is reached.
    remembered: Option<Seen>,
    /// There was a hole before this place, and nobody has testified to what lies around it.
    doubt: Option<Offset>,
    /// This process.
    epoch: Option<u64>,
    /// And below which offset all that it wrote is told; none once all of it is.
    own: Option<(u64, Offset)>,
    /// Others who have nothing left to tell.
    done: BTreeSet<u64>,
    saved: Option<(Seen, Told, Instant)>,
}

impl Sight {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) fn open(path: PathBuf) -> Result<Self, Error> {
        let Memory { seen, signers, last, .. } = load(&path)?.unwrap_or_default();
        let remembered = Some(seen).filter(|seen| seen.next > 0);
        let (now, places, counted) = (Seen::default(), VecDeque::new(), Signers::new());
        let (doubt, epoch, own, done, saved) = (None, None, None, BTreeSet::new(), None);
        Ok(Self { path, now, places, signers, counted, last, remembered, doubt, epoch, own, done, saved })
    }

    /// Notes in the file that a process begins, which may not live to tell what it writes; returns those that have begun
    /// before it and not told all.
    ///
    /// # Errors
    /// [`Error`]: it is not noted, and must not write.
    pub(crate) fn begin(&mut self, epoch: u64) -> Result<Told, Error> {
        (self.epoch, self.own) = (Some(epoch), Some((epoch, 0)));
        let mut told = self.put(&self.remembered.unwrap_or_default())?;
        told.remove(&epoch);
        Ok(told)
    }

    /// Below which offset all that this process wrote is told, and who of the others has nothing left to tell.
    pub(crate) fn told(&mut self, told: Offset, done: BTreeSet<u64>) {
        self.own = self.own.map(|(epoch, _)| (epoch, told));
        self.done = done;
    }

    /// Writes the file for the last time.
    pub(crate) fn end(&mut self, is_told: bool) {
        if is_told {
            self.own = None;
        }
        self.save(true);
    }

    /// What was read so far.
    pub(crate) const fn now(&self) -> Seen {
        self.now
    }

    /// What this node may testify to: nothing while it is in doubt itself, or else its own word, or that of another in the
    /// same doubt, would end the doubt.
    pub(crate) fn testifies(&self) -> Seen {
        if self.doubt.is_some() { Seen::default() } else { self.now }
    }

    /// The keys by which records ever counted, as far as is remembered.
    pub(crate) const fn signers(&self) -> &Signers {
        &self.signers
    }

    /// Where the last record of each was that counted, as far as is remembered.
    pub(crate) const fn last(&self) -> &Last {
        &self.last
    }

    /// Those by which records counted in this process.
    pub(crate) const fn counting(&self) -> &Signers {
        &self.counted
    }

    /// Takes the next record's bytes in; true where records are missing before it.
    pub(crate) fn take(&mut self, offset: Offset, bytes: &[u8], is_live: bool) -> Result<bool, Contradiction> {
        if offset < self.now.next {
            return Err(Contradiction::Back { from: self.now.next, to: offset });
        }
        let is_hole = offset > self.now.next;
        if is_hole && !is_live {
            self.doubt = Some(offset);
        }
        self.now = self.now.after(offset, bytes);
        if self.places.len() >= MAX_PLACES {
            self.places.pop_front();
        }
        self.places.push_back(self.now);
        if let Some(remembered) = self.remembered.take_if(|remembered| self.now.next >= remembered.next) {
            if self.now != remembered {
                return Err(Contradiction::Memory { next: remembered.next, file: self.path.clone() });
            }
            self.confirm(remembered.next);
        }
        Ok(is_hole)
    }

    /// What a trusted writer says that it had read. What this very process wrote contradicts like any other, and confirms
    /// nothing: it knows no more than it knows.
    pub(crate) fn testimony(&mut self, author: &str, seen: &Seen, is_own: bool) -> Result<(), Contradiction> {
        let at = self.places.partition_point(|place| place.next < seen.next);
        match self.places.get(at) {
            // older than what is known, or nothing at all
            _ if seen.next == 0 || self.places.front().is_some_and(|first| seen.next < first.next) => Ok(()),
            Some(place) if place == seen => {
                if !is_own {
                    self.confirm(seen.next);
                }
                Ok(())
            }
            _ => Err(Contradiction::Testimony { author: author.to_owned(), next: seen.next }),
        }
    }

    fn confirm(&mut self, next: Offset) {
        self.doubt.take_if(|doubt| *doubt <= next);
    }

    /// How far the topic goes: no less than is remembered.
    pub(crate) fn heard(&self, end: Offset) -> Result<(), Contradiction> {
        match &self.remembered {
            Some(seen) if end < seen.next => {
                Err(Contradiction::Short { end, next: seen.next, file: self.path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Why what was read is not to be relied on yet.
    pub(crate) fn doubt(&self) -> Option<String> {
        self.doubt.map(|before| {
            format!(
                "records are missing before offset {before} of the control topic, and no node has written since that it \
                 had read it so: let one that has run all the time write something, or restore the topic"
            )
        })
    }

    /// Notes by which key a record counted, and where it is. One that is new is in the file when this returns.
    pub(crate) fn counted(&mut self, key: PublicKey, node: &str, offset: Offset) {
        let signer = (key, node.to_owned());
        let last = self.last.entry(signer.clone()).or_insert(offset);
        *last = offset.max(*last);
        if self.counted.contains(&signer) {
            return;
        }
        self.counted.insert(signer.clone());
        if self.signers.insert(signer) {
            // what was read may lag: at the next start it is less that must be there
            self.remember(&self.remembered.unwrap_or_else(|| self.testifies()));
        }
    }

    /// Writes the file, now and then; at once where `now` says so. Never while what was remembered is not reached.
    pub(crate) fn save(&mut self, now: bool) {
        let own: Told = self.own.into_iter().collect();
        let is_due = match &self.saved {
            None => true,
            Some((seen, told, at)) => (*seen != self.now || *told != own) && (now || at.elapsed() > SAVE_INTERVAL),
        };
        if !is_due || self.remembered.is_some() || self.doubt.is_some() {
            return;
        }
        self.remember(&self.now);
        self.saved = Some((self.now, own, Instant::now()));
    }

    fn remember(&self, seen: &Seen) {
        if let Err(error) = self.put(seen) {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, "what was read of the control topic cannot be remembered");
        }
    }

    /// Writes the file, with what is there: another process of this node may have read further, counted others, and begun.
    fn put(&self, seen: &Seen) -> Result<Told, Error> {
        let _turn = turn(&self.path)?;
        let told = self.own.into_iter().collect();
        let mut all = Memory { seen: *seen, signers: self.signers.clone(), last: self.last.clone(), told };
        if let Some(known) = load(&self.path)? {
            all.merge(known, |epoch| self.done.contains(&epoch) || Some(epoch) == self.epoch);
        }
        all.write(&self.path)?;
        Ok(all.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn sight(path: &Path) -> Sight {
        Sight::open(path.to_owned()).unwrap()
    }

    #[test]
    fn a_topic_from_which_something_went_contradicts_what_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.json");
        let mut first = sight(&path);
        for offset in 0..5u8 {
            assert_eq!(first.take(offset.into(), &[offset], false), Ok(false));
        }
        first.counted([7; 32], "gate-1", 2);
        assert!(sight(&path).signers().contains(&([7; 32], "gate-1".to_owned())), "at once");
        first.save(true);
        let mut same = sight(&path);
        same.counted([8; 32], "gate-2", 4);
        first.save(true);
        assert_eq!(sight(&path).signers().len(), 2, "nobody is forgotten");
        assert!(same.counting().len() == 1 && first.counting().len() == 1);
        assert!(matches!(same.heard(4), Err(Contradiction::Short { end: 4, next: 5, .. })), "it was cut");
        assert_eq!(same.heard(5), Ok(()));
        for offset in 0..5u8 {
            assert_eq!(same.take(offset.into(), &[offset], false), Ok(false));
        }
        assert_eq!(same.now(), first.now());
        assert!(matches!(same.take(2, b"x", false), Err(Contradiction::Back { from: 5, to: 2 })));
        let mut thinned = sight(&path);
        assert_eq!(thinned.take(0, &[0], false), Ok(false));
        assert_eq!(thinned.take(3, &[3], false), Ok(true));
        assert!(thinned.doubt().is_some());
        assert!(matches!(thinned.take(4, &[4], false), Err(Contradiction::Memory { next: 5, .. })));
        let mut anew = sight(&path);
        for offset in 0..4u8 {
            assert_eq!(anew.take(offset.into(), b"other", false), Ok(false));
        }
        assert!(matches!(anew.take(4, b"other", false), Err(Contradiction::Memory { .. })));
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(Sight::open(path), Err(Error::Foreign { .. })));
    }

    #[test]
    fn a_hole_is_a_doubt_until_somebody_testifies_to_what_lies_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = sight(&folder.path().join("writer"));
        let mut reader = sight(&folder.path().join("reader"));
        for (offset, live) in [(0u64, true), (1, true), (4, true), (5, true)] {
            writer.take(offset, b"x", live).unwrap();
            reader.take(offset, b"x", false).unwrap();
        }
        assert_eq!(writer.doubt(), None, "it read on while nothing could go");
        assert!(reader.doubt().unwrap().contains("before offset 4"));
        let before = Seen { next: 2, ..sight_at(&[0, 1]) };
        reader.testimony("a", &before, false).unwrap();
        assert!(reader.doubt().is_some(), "of what lies before the hole alone");
        assert_eq!(reader.testifies(), Seen::default(), "who doubts testifies to nothing");
        reader.testimony("b", &reader.testifies(), false).unwrap();
        assert!(reader.doubt().is_some(), "nor does another in the same doubt end it");
        reader.testimony("b", &reader.now(), true).unwrap();
        assert!(reader.doubt().is_some(), "nor its own word");
        reader.testimony("a", &writer.now(), false).unwrap();
        assert_eq!((reader.doubt(), reader.testifies()), (None, reader.now()));
        let whole = sight_at(&[0, 1, 2, 3, 4, 5]);
        assert!(matches!(reader.testimony("a", &whole, false), Err(Contradiction::Testimony { next: 6, .. })));
        let beyond = Seen { next: 7, ..whole };
        assert!(reader.testimony("a", &beyond, true).is_err(), "what it read came before what it wrote");
    }

    #[test]
    fn where_each_signed_last_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.json");
        let last = || sight(&path).last().iter().map(|((_, node), last)| (node.clone(), *last)).collect::<Vec<_>>();
        let mut first = sight(&path);
        for offset in [0, 1] {
            first.take(offset, b"x", true).unwrap();
            first.counted([7; 32], "gate-1", offset);
        }
        first.save(true);
        assert_eq!(last(), [("gate-1".to_owned(), 1)]);
        let mut second = sight(&path);
        for offset in 0..3 {
            second.take(offset, b"x", true).unwrap();
        }
        second.counted([7; 32], "gate-1", 0);
        second.counted([8; 32], "gate-2", 2);
        second.save(true);
        assert_eq!(last(), [("gate-1".to_owned(), 1), ("gate-2".to_owned(), 2)], "whatever was read again meanwhile");
    }

    #[test]
    fn who_has_begun_is_remembered_until_all_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.json");
        let mut killed = sight(&path);
        assert_eq!(killed.begin(1).unwrap(), Told::new());
        killed.take(0, b"x", true).unwrap();
        killed.told(1, BTreeSet::new());
        killed.save(true);
        // it writes on, and does not live to tell
        killed.take(1, b"x", true).unwrap();
        let (mut second, mut beside) = (sight(&path), sight(&path));
        assert_eq!(second.begin(2).unwrap(), [(1, 1)].into());
        assert_eq!(beside.begin(3).unwrap(), [(1, 1), (2, 0)].into());
        for offset in 0..2 {
            second.take(offset, b"x", false).unwrap();
        }
        second.told(2, [1].into());
        second.save(true);
        assert_eq!(sight(&path).begin(4).unwrap(), [(2, 2), (3, 0)].into());
        second.end(true);
        assert_eq!(sight(&path).begin(5).unwrap(), [(3, 0), (4, 0)].into());
        beside.end(false);
        assert_eq!(sight(&path).begin(6).unwrap(), [(3, 0), (4, 0), (5, 0)].into());
    }

    #[test]
    fn a_doubt_is_not_written_down_as_something_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.json");
        let read = |sight: &mut Sight| {
            for offset in [0, 3, 4] {
                sight.take(offset, b"x", false).unwrap();
            }
        };
        let mut first = sight(&path);
        read(&mut first);
        first.counted([7; 32], "gate-1", 0);
        first.save(true);
        let mut second = sight(&path);
        read(&mut second);
        assert!(second.doubt().is_some() && second.signers().len() == 1);
    }

    fn sight_at(offsets: &[u64]) -> Seen {
        offsets.iter().fold(Seen::default(), |seen, offset| seen.after(*offset, b"x"))
    }
}
