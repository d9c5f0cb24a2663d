//! The control topic of a node that is alone: an append-only file, synced before an append returns.
//!
//! ```text
//! "PSTCTL1\n" | length u32 | crc u32 | offset u64 | payload | ...        little endian, crc is CRC32C of length, offset, payload
//! ```
//!
//! A start reads all of it. What a crash left half written at the end is cut, since nobody was told that it is there.
//! Damage before a record that is whole means that something that was acknowledged is lost, a revocation perhaps: the
//! start is refused. At most [`LIMITS`] bytes are written, the last of them for what takes rights away alone.

use super::{Filled, MAX_RECORD_BYTES, Room, Step};
use crate::Offset;
use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The name of the file in its folder.
pub const FILE: &str = "control.log";

const MAGIC: &[u8; 8] = b"PSTCTL1\n";
const HEADER: usize = 16;
/// How large the file may grow.
pub(super) const LIMITS: Limits = Limits { ordinary: 4 << 30, kept: (4 << 30) + (256 << 20) };
/// Between two signs of life to the reader.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How far ahead the offset of a record may be that is looked for behind damage.
const MAX_LOST: Offset = 1 << 20;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system said no.
    #[error("cannot {doing} the control journal {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("the control journal {} is in use by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Acknowledged records cannot be read.
    #[error(
        "the control journal {} is damaged at byte {at}, before records that are whole: grants and revocations may be lost; restore it from a copy",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        at: u64,
    },
    /// It is no control journal.
    #[error("{} is not a control journal", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// How many bytes a journal may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// With any record.
    pub ordinary: u64,
    /// With records that take rights away.
    pub kept: u64,
}

/// One record to be written.
#[derive(Debug)]
pub(super) struct Append {
    pub bytes: Bytes,
    pub room: Room,
    pub acknowledge: oneshot::Sender<Result<Offset, crate::Error>>,
}

/// Reads the file, then writes to it on a thread of its own until every writer is gone. The file is locked until what is
/// returned with them is gone as well: what a reader still writes down then is there for the next one.
pub(super) fn open(
    folder: &Path,
    steps: mpsc::SyncSender<Step>,
    queue_limit: usize,
    limits: Limits,
) -> Result<(mpsc::SyncSender<Append>, Lock), Error> {
    let path = folder.join(FILE);
    let failed = |doing| {
        let path = path.clone();
        move |source| Error::Io { doing, path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Err(Error::Locked { path }),
        Err(std::fs::TryLockError::Error(source)) => return Err(failed("lock")(source)),
    }
    let length = file.metadata().map_err(failed("measure"))?.len();
    let found = scan(&mut file, length, &path)?;
    if found.end < length {
        let bytes = length - found.end;
        tracing::warn!(bytes, "the control journal ended in a record that was never acknowledged, it is cut");
        file.set_len(found.end).map_err(failed("cut"))?;
    }
    if found.end == 0 {
        file.rewind().and_then(|()| file.write_all(MAGIC)).map_err(failed("begin"))?;
    }
    let bytes = file.seek(SeekFrom::End(0)).map_err(failed("find the end of"))?;
    file.sync_all().map_err(failed("sync"))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of"))?;
    let old = File::open(&path).map_err(failed("open"))?;
    let (appends, queue) = mpsc::sync_channel(queue_limit);
    let file = Arc::new(file);
    let lock = Lock(file.clone());
    let journal = Journal { file, next: found.records, bytes, limits, failed: None, steps };
    std::thread::Builder::new()
        .name("control-journal".to_owned())
        .spawn(move || journal.run(old, &queue))
        .map_err(failed("start the thread of"))?;
    Ok((appends, lock))
}

/// Keeps every other process from the file.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held, not used")] Arc<File>);

struct Found {
    /// Whole records.
    records: Offset,
    /// Where the last of them ends.
    end: u64,
}

/// Looks at every record, holding one at a time.
fn scan(file: &mut File, length: u64, path: &Path) -> Result<Found, Error> {
    let failed = |source| Error::Io { doing: "read", path: path.to_owned(), source };
    let mut reader = BufReader::new(file);
    let mut magic = Vec::new();
    reader.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(failed)?;
    if magic != MAGIC {
        // a crash while the file was begun
        let begun = MAGIC.starts_with(&magic) || magic.iter().all(|byte| *byte == 0) && length <= MAGIC.len() as u64;
        let found = Found { records: 0, end: 0 };
        return if begun { Ok(found) } else { Err(Error::Foreign { path: path.to_owned() }) };
    }
    let mut found = Found { records: 0, end: MAGIC.len() as u64 };
    while let Some(payload) = next_of(&mut reader, found.records).map_err(failed)? {
        found.records += 1;
        found.end += (HEADER + payload.len()) as u64;
    }
    // one record at a time is under way: what is torn is no longer than one
    if length - found.end > (HEADER + MAX_RECORD_BYTES) as u64 {
        return Err(Error::Damaged { path: path.to_owned(), at: found.end });
    }
    let mut rest = Vec::new();
    reader.seek(SeekFrom::Start(found.end)).and_then(|_| reader.read_to_end(&mut rest)).map_err(failed)?;
    let next = found.records;
    let follows =
        (1..rest.len()).any(|at| rest.get(at..).and_then(|later| record_of(later, next..next + MAX_LOST)).is_some());
    if follows {
        return Err(Error::Damaged { path: path.to_owned(), at: found.end });
    }
    Ok(found)
}

/// The next record, which must have this offset; none where there is no whole one.
fn next_of(reader: &mut impl Read, offset: Offset) -> io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(HEADER as u64).read_to_end(&mut bytes)?;
    let Some((length, _)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let size = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if bytes.len() < HEADER || size > MAX_RECORD_BYTES {
        return Ok(None);
    }
    reader.by_ref().take(size as u64).read_to_end(&mut bytes)?;
    Ok(record_of(&bytes, offset..offset + 1).map(Bytes::copy_from_slice))
}

/// The record at the front, if there is a whole one with such an offset.
fn record_of(bytes: &[u8], offsets: std::ops::Range<Offset>) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let size =
        usize::try_from(u32::from_le_bytes(*length)).ok().filter(|size| (1..=MAX_RECORD_BYTES).contains(size))?;
    let payload = rest.get(..size).filter(|_| offsets.contains(&u64::from_le_bytes(*offset)))?;
    (checksum(length, offset, payload) == u32::from_le_bytes(*crc)).then_some(payload)
}

fn checksum(length: &[u8; 4], offset: &[u8; 8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(length), offset), payload)
}

fn put(out: &mut Vec<u8>, offset: Offset, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let offset = offset.to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(&length, &offset, payload).to_le_bytes());
    out.extend_from_slice(&offset);
    out.extend_from_slice(payload);
}

struct Journal {
    file: Arc<File>,
    next: Offset,
    bytes: u64,
    limits: Limits,
    failed: Option<String>,
    steps: mpsc::SyncSender<Step>,
}

impl Journal {
    fn run(mut self, old: File, queue: &mpsc::Receiver<Append>) {
        if let Err(error) = self.read_again(old) {
            self.fail(format!("cannot read the control journal again: {error}"));
        }
        loop {
            let filled = Some(Filled { bytes: self.bytes, limit: self.limits.ordinary });
            let heard = Step::Heard { first: 0, end: self.next, at: Instant::now(), filled };
            if self.failed.is_none() && self.steps.send(heard).is_err() {
                return;
            }
            match queue.recv_timeout(HEARTBEAT) {
                Ok(append) => self.write(append),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Hands on what was there at the start.
    fn read_again(&self, mut old: File) -> io::Result<()> {
        old.seek(SeekFrom::Start(MAGIC.len() as u64))?;
        let mut reader = BufReader::new(old);
        for offset in 0..self.next {
            let bytes = next_of(&mut reader, offset)?.ok_or_else(|| io::Error::other("it has changed meanwhile"))?;
            if self.steps.send(Step::Record { offset, bytes, taken: None }).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn fail(&mut self, text: String) {
        tracing::error!(reason = text, "the control journal has failed, nothing is acknowledged until a restart");
        self.tell(Step::Lost(text.clone()));
        self.failed = Some(text);
    }

    /// Writes and syncs one record. Each has a sync of its own: were two under way when the power fails, the second could be
    /// whole behind a torn first, which is what damage looks like.
    fn write(&mut self, append: Append) {
        let mut bytes = Vec::new();
        put(&mut bytes, self.next, &append.bytes);
        let limit = match append.room {
            Room::Ordinary => self.limits.ordinary,
            Room::Kept => self.limits.kept,
        };
        let is_full = self.bytes.saturating_add(bytes.len() as u64) > limit;
        if self.failed.is_none()
            && !is_full
            && let Err(error) = (&*self.file).write_all(&bytes).and_then(|()| self.file.sync_data())
        {
            // after a failed sync the kernel may have dropped what was written: only a restart knows what is there
            self.fail(format!("cannot write the control journal: {error}"));
        }
        let done = match &self.failed {
            Some(text) => Err(crate::Error::Unavailable(text.clone())),
            None if is_full => Err(crate::Error::Unavailable(format!(
                "the control journal is full ({} bytes): only revocations are taken now; see docs/access.md",
                self.bytes
            ))),
            None => {
                let offset = self.next;
                self.next += 1;
                self.bytes += bytes.len() as u64;
                self.tell(Step::Record { offset, bytes: append.bytes, taken: None });
                Ok(offset)
            }
        };
        if append.acknowledge.send(done).is_err() {
            tracing::debug!("who appended a control record is gone");
        }
    }

    fn tell(&self, step: Step) {
        if self.steps.send(step).is_err() {
            tracing::debug!("nobody reads the control journal");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Steps, Writer, embedded};
    use super::*;

    fn drain(steps: &Steps) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        loop {
            match steps.next(Duration::from_secs(5)).unwrap() {
                Step::Record { offset, bytes, .. } => {
                    assert_eq!(offset, records.len() as u64);
                    records.push(bytes.to_vec());
                }
                Step::Heard { end, .. } if end == records.len() as u64 => return records,
                Step::Heard { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn append(writer: &Writer, text: &str) -> Offset {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(writer.append(Bytes::copy_from_slice(text.as_bytes()))).unwrap()
    }

    /// Opens when the process's own earlier handle is gone: its thread ends a moment after its writer.
    fn again(folder: &Path) -> Result<(Writer, Steps), Error> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match embedded(folder) {
                Err(Error::Locked { .. }) if Instant::now() < deadline => std::thread::park_timeout(HEARTBEAT / 50),
                other => return other,
            }
        }
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart_and_a_torn_end_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, steps) = embedded(folder.path()).unwrap();
        assert!(matches!(embedded(folder.path()), Err(Error::Locked { .. })));
        assert_eq!((append(&writer, "one"), append(&writer, "two")), (0, 1));
        drop((writer, steps));
        let (writer, steps) = again(folder.path()).unwrap();
        assert_eq!(drain(&steps), [b"one", b"two"]);
        drop((writer, steps));
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for torn in 1..HEADER + 5 {
            let mut bytes = whole.clone();
            let mut more = Vec::new();
            put(&mut more, 2, b"three");
            bytes.extend_from_slice(&more[..torn]);
            std::fs::write(&path, bytes).unwrap();
            let (writer, steps) = again(folder.path()).unwrap();
            assert_eq!(drain(&steps), [b"one", b"two"], "{torn}");
            drop((writer, steps));
            again(folder.path()).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn a_full_journal_takes_revocations_alone_and_says_how_full_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, steps) = mpsc::sync_channel(64);
        let limits = Limits { ordinary: 100, kept: 200 };
        let (appends, _lock) = open(folder.path(), sender, 8, limits).unwrap();
        let put = |room| {
            let (acknowledge, acknowledged) = oneshot::channel();
            appends.send(Append { bytes: Bytes::from_static(&[7; 30]), room, acknowledge }).unwrap();
            acknowledged.blocking_recv().unwrap()
        };
        assert_eq!((put(Room::Ordinary).unwrap(), put(Room::Ordinary).unwrap()), (0, 1));
        let said = put(Room::Ordinary).unwrap_err().to_string();
        assert!(said.contains("full (100 bytes): only revocations"), "{said}");
        assert_eq!((put(Room::Kept).unwrap(), put(Room::Kept).unwrap()), (2, 3));
        assert!(put(Room::Kept).is_err());
        let mut told = None;
        while told.is_none_or(|filled: Filled| filled.bytes < 192) {
            if let Step::Heard { filled, .. } = steps.recv().unwrap() {
                told = filled;
            }
        }
        assert_eq!(told, Some(Filled { bytes: 192, limit: 100 }));
    }

    #[test]
    fn damage_before_a_whole_record_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, steps) = embedded(folder.path()).unwrap();
        append(&writer, "one");
        append(&writer, "two");
        drop((writer, steps));
        drop(again(folder.path()).unwrap());
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        let first = MAGIC.len()..MAGIC.len() + HEADER + 3;
        for at in first {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            std::fs::write(&path, bytes).unwrap();
            assert!(matches!(again(folder.path()), Err(Error::Damaged { at: 8, .. })), "byte {at}");
        }
        std::fs::write(&path, b"#!/bin/sh").unwrap();
        assert!(matches!(again(folder.path()), Err(Error::Foreign { .. })));
    }
}
