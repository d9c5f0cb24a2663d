//! Exports into a folder: a file for each session, and a list of them, so that an export that was cut short goes on where it ended.
//!
//! ```text
//! DIR/sessions.jsonl        the heading, then a line for each session as it is done
//! DIR/ses_....csv           what was asked for of one session, whole
//! ```
//!
//! A session is done for good once its file holds all that there will ever be of it. One that had not ended, whose key was not
//! there, or that could not be read is tried again. The form of the list is in `docs/evidence.md`.

use super::{Exporter, Format, Progress, file::WholeFile};
use crate::archive::{self, Absent, Reader};
use crate::bundle;
use crate::verify;
use futures_util::stream::{self, StreamExt};
use ring::digest::{Context, SHA256};
use schemas::SessionId;
use schemas::chain::hexadecimal;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The name of the list.
pub const LIST: &str = "sessions.jsonl";

/// The form of the list.
const VERSION: u32 = 1;

/// Sessions that are read at once; each is in memory as a whole.
const AT_ONCE: usize = 4;

/// What is written of each session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// An export.
    Export(Format),
    /// An evidence bundle.
    Bundle,
}

impl Content {
    fn extension(self) -> &'static str {
        match self {
            Self::Export(format) => format.extension(),
            Self::Bundle => "zip",
        }
    }
}

/// An export into a folder failed. What is listed there is whole; run again, it goes on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder holds another export.
    #[error("{} holds files .{found} of {}; name another folder for files .{wanted} of {}", folder.display(), asked(of), asked(wanted_of))]
    Other {
        /// The folder.
        folder: PathBuf,
        /// What its files end in.
        found: String,
        /// What it was made for.
        of: Option<String>,
        /// What these would end in.
        wanted: String,
        /// What these are made for.
        wanted_of: Option<String>,
    },
    /// Another process writes there.
    #[error("another export writes to {}", .0.display())]
    Locked(PathBuf),
    /// The list is not one.
    #[error("line {line} of {} is not of an export's list: {reason}; name another folder", list.display())]
    List {
        /// The file.
        list: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// The folder refused.
    #[error("writing to {}", folder.display())]
    Write {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// No bundle can be made.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    /// Events cannot be written.
    #[error(transparent)]
    Export(#[from] super::Error),
}

fn asked(question: &Option<String>) -> String {
    question.as_ref().map_or_else(|| "sessions by their ids".to_owned(), |question| format!("{question:?}"))
}

/// The first line of a list.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Heading {
    version: u32,
    /// What the files end in.
    files: String,
    /// The question, if one was asked.
    asked: Option<String>,
}

/// Any other line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    session: SessionId,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What became of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// Its file is there.
    Written {
        file: String,
        bytes: u64,
        sha256: String,
        events: u64,
        /// Nothing is to come, nothing is missing, and nothing is sealed.
        whole: bool,
        /// Why payloads are sealed in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sealed: Option<String>,
    },
    /// There is nothing to be written of it, or not yet.
    LeftOut(String),
    /// What the archive holds of it cannot be read.
    Failed(String),
}

impl Outcome {
    fn is_written(&self) -> bool {
        matches!(self, Self::Written { .. })
    }

    /// A file in which nothing is sealed.
    fn is_readable(&self) -> bool {
        matches!(self, Self::Written { sealed: None, .. })
    }
}

/// The last line of each session.
type Done = BTreeMap<SessionId, Outcome>;

/// What an export into a folder did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Sessions whose files it wrote.
    pub written: u64,
    /// Sessions whose files were there.
    pub kept: u64,
    /// Of those that it wrote, sessions that had not ended, lack events, or stay sealed: the next run writes them again.
    pub partial: BTreeSet<SessionId>,
    /// Of these, those that stay sealed, and why.
    pub sealed: BTreeMap<SessionId, String>,
    /// Sessions of which there is nothing to be written, and why.
    pub left_out: BTreeMap<SessionId, String>,
    /// Sessions that cannot be read, and why.
    pub failed: BTreeMap<SessionId, String>,
}

/// A folder of exports. Only one process has it at a time.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    content: Content,
    list: File,
    done: Done,
}

impl Folder {
    /// Makes the folder, or opens it to go on. `question` is what the sessions were found by.
    ///
    /// # Errors
    /// [`Error::Other`], [`Error::Locked`], [`Error::List`], [`Error::Write`].
    pub fn open(path: &Path, content: Content, question: Option<&str>) -> Result<Self, Error> {
        let failed = |source| Error::Write { folder: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let name = path.join(LIST);
        let mut list =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name).map_err(failed)?;
        match list.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut bytes = Vec::new();
        list.read_to_end(&mut bytes).map_err(failed)?;
        // a line that a process did not end is not one
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let torn = bytes.split_off(end);
        let heading =
            Heading { version: VERSION, files: content.extension().to_owned(), asked: question.map(str::to_owned) };
        let line = line(&heading).map_err(failed)?;
        let (found, done) = read(&bytes, &name)?;
        let begun = match found {
            Some(found) if found == heading => true,
            Some(Heading { files: found, asked: of, .. }) => {
                let (folder, wanted, wanted_of) = (path.to_owned(), heading.files, heading.asked);
                return Err(Error::Other { folder, found, of, wanted, wanted_of });
            }
            // nothing was written, or not all of this line
            None if line.starts_with(&torn) => false,
            None => return Err(Error::List { list: name, line: 1, reason: "it is not this heading".to_owned() }),
        };
        list.set_len(end as u64).and_then(|()| list.seek(SeekFrom::End(0))).map_err(failed)?;
        if !begun {
            list.write_all(&line).map_err(failed)?;
        }
        remove_unfinished(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), content, list, done })
    }

    /// Writes the files of these sessions that are not there yet. `now` is microseconds since 1970-01-01 UTC.
    ///
    /// A session that cannot be read does not keep the others from it: it is in [`Exported::failed`].
    ///
    /// # Errors
    /// [`Error`] where no session could be written any more: the store or the folder refuses. What was done is listed.
    pub async fn export(
        &mut self,
        reader: &Reader,
        sessions: &BTreeSet<SessionId>,
        now: i64,
        progress: &Progress,
    ) -> Result<Exported, Error> {
        let reader = reader.at_rest().await?;
        let mut exported = Exported::default();
        let missing: BTreeSet<SessionId> = sessions.iter().filter(|session| !self.has(session)).copied().collect();
        exported.kept = (sessions.len() - missing.len()) as u64;
        progress.reached(sessions.len() - missing.len(), 0);
        let mut absent = reader.absent(&missing).await?;
        let (path, content) = (self.path.clone(), self.content);
        let is_readable = |session: &SessionId| self.done.get(session).is_some_and(Outcome::is_readable);
        let readable: BTreeSet<SessionId> = missing.iter().filter(|session| is_readable(session)).copied().collect();
        let tasks = missing.into_iter().map(|session| {
            let (absent, reader, path) = (absent.remove(&session), &reader, &path);
            let readable = readable.contains(&session);
            async move { (session, one(reader, session, absent, (path, content), (now, readable)).await) }
        });
        let mut tasks = stream::iter(tasks).buffer_unordered(AT_ONCE);
        while let Some((session, outcome)) = tasks.next().await {
            let outcome = outcome?;
            progress.read(if let Outcome::Written { events, .. } = &outcome { *events } else { 0 });
            match &outcome {
                Outcome::Written { whole, sealed, .. } => {
                    exported.written += 1;
                    exported.partial.extend((!whole).then_some(session));
                    exported.sealed.extend(sealed.clone().map(|why| (session, why)));
                }
                Outcome::LeftOut(why) => drop(exported.left_out.insert(session, why.clone())),
                Outcome::Failed(why) => drop(exported.failed.insert(session, why.clone())),
            }
            let before = self.done.get(&session);
            // a file that is there stays listed, whatever became of the session since
            let stands = before.is_some_and(|before| before.is_written() && !outcome.is_written());
            if before != Some(&outcome) && !stands {
                let line = Line { session, outcome: outcome.clone() };
                append(&mut self.list, &line).map_err(|source| Error::Write { folder: path.clone(), source })?;
                self.done.insert(session, outcome);
            }
        }
        self.list.sync_all().map_err(|source| Error::Write { folder: path.clone(), source })?;
        Ok(exported)
    }

    /// Whether nothing is to be done for a session any more.
    fn has(&self, session: &SessionId) -> bool {
        let Some(Outcome::Written { file, bytes, whole: true, .. }) = self.done.get(session) else { return false };
        fs::metadata(self.path.join(file)).is_ok_and(|there| there.is_file() && there.len() == *bytes)
    }
}

/// The heading and the outcomes; no heading where nothing was written yet.
fn read(bytes: &[u8], list: &Path) -> Result<(Option<Heading>, Done), Error> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    let wrong = |line: usize, reason: serde_json::Error| Error::List {
        list: list.to_owned(),
        line: line + 1,
        reason: reason.to_string(),
    };
    let Some((at, first)) = lines.next() else { return Ok((None, Done::new())) };
    let heading = serde_json::from_slice(first).map_err(|error| wrong(at, error))?;
    let mut done = Done::new();
    for (at, line) in lines {
        let Line { session, outcome } = serde_json::from_slice(line).map_err(|error| wrong(at, error))?;
        done.insert(session, outcome);
    }
    Ok((Some(heading), done))
}

fn line(of: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(of)?;
    line.push(b'\n');
    Ok(line)
}

fn append(list: &mut File, of: &impl Serialize) -> io::Result<()> {
    list.write_all(&line(of)?)
}

/// Removes what a process that was killed had begun.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("ses_") && name.ends_with(".unfinished") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Writes the file of one session.
async fn one(
    reader: &Reader,
    session: SessionId,
    absent: Option<Absent>,
    (folder, content): (&Path, Content),
    (now, readable): (i64, bool),
) -> Result<Outcome, Error> {
    if let Some(absent) = absent {
        return Ok(Outcome::LeftOut(absent.to_string()));
    }
    let file = format!("{session}.{}", content.extension());
    let path = folder.join(&file);
    let refused = |source| Error::Write { folder: folder.to_owned(), source };
    let mut out = WholeFile::create(&path).map_err(refused)?;
    let written = match content {
        Content::Export(format) => export(reader, session, format, &mut out).await,
        Content::Bundle => bundled(reader, session, now, &mut out).await,
    };
    let Contained { events, whole, sealed } = match written {
        Ok(contained) => contained,
        Err(error) => return concerned(error),
    };
    if let (Some(why), true, true) = (&sealed, readable, path.exists()) {
        let kept = "its file was written when it could be read; remove that to have it as it is now, sealed";
        return Ok(Outcome::LeftOut(format!("{kept}: {why}")));
    }
    out.finish().map_err(refused)?;
    let (bytes, sha256) = hashed(&path).map_err(refused)?;
    Ok(Outcome::Written { file, bytes, sha256, events, whole, sealed })
}

/// What a file holds of its session.
struct Contained {
    events: u64,
    whole: bool,
    sealed: Option<String>,
}

async fn export(reader: &Reader, session: SessionId, format: Format, out: &mut WholeFile) -> Result<Contained, Error> {
    let events = reader.events(session).await?;
    let mut exporter = Exporter::new(format, out)?;
    exporter.session(&events)?;
    exporter.finish()?;
    let sealed = reader.why_sealed(session, &events).await?;
    Ok(Contained { events: events.len() as u64, whole: bundle::is_whole(&events) && sealed.is_none(), sealed })
}

async fn bundled(reader: &Reader, session: SessionId, now: i64, out: &mut WholeFile) -> Result<Contained, Error> {
    let written = bundle::write(reader, &[session], now, &Progress::default(), out).await?;
    let sealed = match written.sealed.first() {
        Some(_) => reader.why_sealed(session, &reader.events(session).await?).await?,
        None => None,
    };
    let whole = written.open.is_empty() && written.sealed.is_empty() && written.incomplete.is_empty();
    Ok(Contained { events: written.events, whole, sealed })
}

/// What a failure is of: this session alone, or everything.
fn concerned(error: Error) -> Result<Outcome, Error> {
    use archive::Error::{Batch, Deleted, Object, Store};
    let archived = match &error {
        Error::Archive(archived) | Error::Bundle(bundle::Error::Archive(archived)) => archived,
        Error::Bundle(bundle::Error::NotCovered) => return Ok(Outcome::LeftOut(error.to_string())),
        Error::Bundle(bundle::Error::Unprovable { .. }) => return Ok(Outcome::Failed(error.to_string())),
        // what the disk refuses concerns all
        Error::Export(of) | Error::Bundle(bundle::Error::Export(of)) if !matches!(of, super::Error::Write(_)) => {
            return Ok(Outcome::Failed(verify::chain_of(of)));
        }
        _ => return Err(error),
    };
    match archived {
        Deleted(_) => Ok(Outcome::LeftOut(error.to_string())),
        Batch { source, .. } => Ok(Outcome::Failed(format!("{error}: {source}"))),
        Object { .. } => Ok(Outcome::Failed(error.to_string())),
        Store { source: source @ object_store::Error::NotFound { .. }, .. } => {
            Ok(Outcome::Failed(format!("{error}: {source}")))
        }
        _ => Err(error),
    }
}

/// The length of a file, and its SHA-256.
fn hashed(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut context, mut buffer) = (File::open(path)?, Context::new(&SHA256), vec![0; 1 << 16]);
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer)?;
        let Some(some) = buffer.get(..count).filter(|some| !some.is_empty()) else { break };
        context.update(some);
        bytes += count as u64;
    }
    Ok((bytes, hexadecimal(context.finish().as_ref())))
}

#[cfg(test)]
mod tests;
