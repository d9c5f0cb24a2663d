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

use crate::envelope::PublicKey;
use event_log::Offset;
use ring::digest::{Context, SHA256};
use schemas::chain::{from_hexadecimal, hexadecimal};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Places of the topic whose digest is known, for what others testify to: who lags by more is not compared.
const MAX_PLACES: usize = 16_384;
/// Between two writes of the file.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

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

/// A key, and the node that it signs for.
pub type Signer = (PublicKey, String);

/// The keys by which records ever counted.
pub type Signers = BTreeSet<Signer>;

/// One of them in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    node: String,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    next: Offset,
    digest: String,
    signers: Vec<Line>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system said no.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what this node wrote.
    #[error("{} is not what this node remembers of the control topic: restore it; see docs/access.md", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
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
    /// From the file, until it is reached.
    remembered: Option<Seen>,
    /// There was a hole before this place, and nobody has testified to what lies around it.
    doubt: Option<Offset>,
    saved: Option<(Seen, Instant)>,
}

impl Sight {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) fn open(path: PathBuf) -> Result<Self, Error> {
        let (remembered, signers) =
            load(&path)?.map_or((None, Signers::new()), |(seen, signers)| (Some(seen), signers));
        let remembered = remembered.filter(|seen| seen.next > 0);
        let (now, places, counted) = (Seen::default(), VecDeque::new(), Signers::new());
        Ok(Self { path, now, places, signers, counted, remembered, doubt: None, saved: None })
    }

    /// What was read so far.
    pub(crate) const fn now(&self) -> Seen {
        self.now
    }

    /// The keys by which records ever counted, as far as is remembered.
    pub(crate) const fn signers(&self) -> &Signers {
        &self.signers
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

    /// What a trusted writer says that it had read.
    pub(crate) fn testimony(&mut self, author: &str, seen: &Seen) -> Result<(), Contradiction> {
        let at = self.places.partition_point(|place| place.next < seen.next);
        match self.places.get(at) {
            // older than what is known, or nothing at all
            _ if seen.next == 0 || self.places.front().is_some_and(|first| seen.next < first.next) => Ok(()),
            Some(place) if place == seen => {
                self.confirm(seen.next);
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

    /// Notes by which key a record counted. One that is new is in the file when this returns.
    pub(crate) fn counted(&mut self, key: PublicKey, node: &str) {
        let signer = (key, node.to_owned());
        if self.counted.contains(&signer) {
            return;
        }
        self.counted.insert(signer.clone());
        if self.signers.insert(signer) {
            // what was read may lag: at the next start it is less that must be there
            let (seen, before) = (self.remembered.unwrap_or(self.now), self.signers.clone());
            self.put(&seen, before);
        }
    }

    /// Writes the file, now and then; at once where `now` says so. Never while what was remembered is not reached.
    pub(crate) fn save(&mut self, now: bool) {
        let is_due = match &self.saved {
            None => true,
            Some((seen, at)) => *seen != self.now && (now || at.elapsed() > SAVE_INTERVAL),
        };
        if !is_due || self.remembered.is_some() || self.doubt.is_some() {
            return;
        }
        self.put(&self.now, self.signers.clone());
        self.saved = Some((self.now, Instant::now()));
    }

    /// Another process of this node may have read further, and counted others.
    fn put(&self, seen: &Seen, mut signers: Signers) {
        let written = load(&self.path).and_then(|before| {
            let (mut seen, mut is_new) = (*seen, true);
            if let Some((further, known)) = before {
                is_new = further.next < seen.next || !signers.is_subset(&known);
                signers.extend(known);
                if further.next > seen.next {
                    seen = further;
                }
            }
            if is_new { self.write(&seen, &signers) } else { Ok(()) }
        });
        if let Err(error) = written {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, "what was read of the control topic cannot be remembered");
        }
    }

    fn write(&self, seen: &Seen, signers: &Signers) -> Result<(), Error> {
        let line = |(key, node): &Signer| Line { key: hexadecimal(key), node: node.clone() };
        let signers = signers.iter().map(line).collect();
        let file = File { version: 1, next: seen.next, digest: hexadecimal(&seen.digest), signers };
        let failed = |doing| move |source| Error::Io { doing, path: self.path.clone(), source };
        let text = serde_json::to_vec_pretty(&file).map_err(|error| failed("write")(error.into()))?;
        let new = self.path.with_extension(format!("{}.new", std::process::id()));
        let put = std::fs::File::create(&new).and_then(|mut file| {
            io::Write::write_all(&mut file, &text)?;
            file.sync_all()
        });
        put.map_err(failed("write"))?;
        std::fs::rename(&new, &self.path).map_err(failed("replace"))
    }
}

fn load(path: &Path) -> Result<Option<(Seen, Signers)>, Error> {
    let failed = |source| Error::Io { doing: "read", path: path.to_owned(), source };
    let foreign = || Error::Foreign { path: path.to_owned() };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => return Err(foreign()),
        Ok(_) => {}
    }
    let file: File = serde_json::from_slice(&std::fs::read(path).map_err(failed)?).map_err(|_| foreign())?;
    let digest = from_hexadecimal(&file.digest).filter(|_| file.version == 1).ok_or_else(foreign)?;
    let mut signers = Signers::new();
    for Line { key, node } in file.signers {
        signers.insert((from_hexadecimal(&key).ok_or_else(foreign)?, node));
    }
    Ok(Some((Seen { next: file.next, digest }, signers)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        first.counted([7; 32], "gate-1");
        assert!(sight(&path).signers().contains(&([7; 32], "gate-1".to_owned())), "at once");
        first.save(true);
        let mut same = sight(&path);
        same.counted([8; 32], "gate-2");
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
        reader.testimony("a", &before).unwrap();
        assert!(reader.doubt().is_some(), "of what lies before the hole alone");
        reader.testimony("a", &writer.now()).unwrap();
        assert_eq!(reader.doubt(), None);
        let whole = sight_at(&[0, 1, 2, 3, 4, 5]);
        assert!(matches!(reader.testimony("a", &whole), Err(Contradiction::Testimony { next: 6, .. })));
        let beyond = Seen { next: 7, ..whole };
        assert!(reader.testimony("a", &beyond).is_err(), "what it read came before what it wrote");
    }

    fn sight_at(offsets: &[u64]) -> Seen {
        offsets.iter().fold(Seen::default(), |seen, offset| seen.after(*offset, b"x"))
    }
}
