//! The file in which a node remembers: replaced as a whole, by one process after the other.

use super::Seen;
use crate::envelope::PublicKey;
use crate::untold::Told;
use event_log::Offset;
use schemas::chain::{from_hexadecimal, hexadecimal};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A key, and the node that it signs for.
pub type Signer = (PublicKey, String);

/// The keys by which records ever counted.
pub type Signers = BTreeSet<Signer>;

/// Where the last record of each is that counted.
pub(crate) type Last = BTreeMap<Signer, Offset>;

/// One of them in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    node: String,
    /// Where the last record by it is that counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<Offset>,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub seen: Seen,
    pub signers: Signers,
    pub last: Last,
    pub told: Told,
}

/// A process of this node in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Teller {
    epoch: u64,
    told: Offset,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    next: Offset,
    digest: String,
    signers: Vec<Line>,
    /// The processes that have written, perhaps, what they have not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tellers: Vec<Teller>,
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

impl Memory {
    /// Takes in what is remembered besides: whatever is further, and more. Of these processes nothing more is kept.
    pub fn merge(&mut self, known: Self, ended: impl Fn(u64) -> bool) {
        self.signers.extend(known.signers);
        for (signer, further) in known.last {
            let last = self.last.entry(signer).or_insert(further);
            *last = further.max(*last);
        }
        if known.seen.next > self.seen.next {
            self.seen = known.seen;
        }
        for (epoch, told) in known.told.into_iter().filter(|(epoch, _)| !ended(*epoch)) {
            self.told.entry(epoch).or_insert(told);
        }
    }

    /// Replaces the file; it is there after a loss of power.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let line = |signer: &Signer| {
            let (key, node) = (hexadecimal(&signer.0), signer.1.clone());
            Line { key, node, last: self.last.get(signer).copied() }
        };
        let signers = self.signers.iter().map(line).collect();
        let tellers = self.told.iter().map(|(epoch, told)| Teller { epoch: *epoch, told: *told }).collect();
        let (next, digest) = (self.seen.next, hexadecimal(&self.seen.digest));
        let file = File { version: 1, next, digest, signers, tellers };
        let failed = |doing| move |source| Error::Io { doing, path: path.to_owned(), source };
        let text = serde_json::to_vec_pretty(&file).map_err(|error| failed("write")(error.into()))?;
        let new = path.with_extension("new");
        let put = std::fs::File::create(&new).and_then(|mut file| {
            io::Write::write_all(&mut file, &text)?;
            file.sync_all()
        });
        put.map_err(failed("write"))?;
        std::fs::rename(&new, path).map_err(failed("replace"))?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of"))
    }
}

/// The processes of a node read and write the file one after the other: until this is dropped.
pub(super) fn turn(path: &Path) -> Result<std::fs::File, Error> {
    let path = path.with_extension("lock");
    let opened = std::fs::File::create(&path).and_then(|file| file.lock().map(|()| file));
    opened.map_err(|source| Error::Io { doing: "lock", path, source })
}

/// What is remembered; nothing where there is no file.
pub(super) fn load(path: &Path) -> Result<Option<Memory>, Error> {
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
    let mut all = Memory { seen: Seen { next: file.next, digest }, ..Memory::default() };
    for Line { key, node, last } in file.signers {
        let signer = (from_hexadecimal(&key).ok_or_else(foreign)?, node);
        all.last.extend(last.map(|last| (signer.clone(), last)));
        all.signers.insert(signer);
    }
    all.told = file.tellers.into_iter().map(|Teller { epoch, told }| (epoch, told)).collect();
    Ok(Some(all))
}
