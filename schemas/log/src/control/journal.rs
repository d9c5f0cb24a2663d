//! The control topic of a node that is alone: an append-only file, synced before an append returns.
//!
//! ```text
//! "PSTCTL1\n" | length u32 | crc u32 | offset u64 | payload | ...        little endian, crc is CRC32C of length, offset, payload
//! ```
//!
//! A start reads all of it. What a crash left half written at the end is cut, since nobody was told that it is there.
//! Damage before a record that is whole means that something that was acknowledged is lost, a revocation perhaps: the
//! start is refused.

use super::{MAX_RECORD_BYTES, Step};
use crate::Offset;
use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The name of the file in its folder.
pub const FILE: &str = "control.log";

const MAGIC: &[u8; 8] = b"PSTCTL1\n";
const HEADER: usize = 16;
/// Largest file that a start reads.
const MAX_FILE_BYTES: u64 = 4 << 30;
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
    #[error("{} is not a control journal, or larger than 4 GiB", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// One record to be written.
#[derive(Debug)]
pub(super) struct Append {
    pub bytes: Bytes,
    pub acknowledge: oneshot::Sender<Result<Offset, crate::Error>>,
}

/// Reads the file, then writes to it on a thread of its own until every writer is gone.
pub(super) fn open(
    folder: &Path,
    steps: mpsc::SyncSender<Step>,
    limit: usize,
) -> Result<mpsc::SyncSender<Append>, Error> {
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
    if file.metadata().map_err(failed("measure"))?.len() > MAX_FILE_BYTES {
        return Err(Error::Foreign { path });
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content).map_err(failed("read"))?;
    let read = read(&content, &path)?;
    let whole = read.end;
    if whole < content.len() || content.is_empty() {
        if !content.is_empty() {
            tracing::warn!(
                bytes = content.len() - whole,
                "the control journal ended in a record that was never acknowledged, it is cut"
            );
        }
        file.set_len(whole as u64).map_err(failed("cut"))?;
    }
    if whole == 0 {
        file.rewind().and_then(|()| file.write_all(MAGIC)).map_err(failed("begin"))?;
    }
    file.seek(SeekFrom::End(0)).map_err(failed("find the end of"))?;
    file.sync_all().map_err(failed("sync"))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of"))?;
    let (appends, queue) = mpsc::sync_channel(limit);
    let records = read.records;
    let journal = Journal { file, next: records.len() as Offset, failed: None, steps };
    std::thread::Builder::new()
        .name("control-journal".to_owned())
        .spawn(move || journal.run(records, &queue))
        .map_err(failed("start the thread of"))?;
    Ok(appends)
}

struct Found {
    records: Vec<Bytes>,
    /// Where the last whole record ends.
    end: usize,
}

fn read(content: &[u8], path: &Path) -> Result<Found, Error> {
    let mut found = Found { records: Vec::new(), end: 0 };
    let Some(mut rest) = content.strip_prefix(MAGIC.as_slice()) else {
        // a crash while the file was begun
        let begun = MAGIC.starts_with(content) || content.iter().all(|byte| *byte == 0) && content.len() <= MAGIC.len();
        return if begun { Ok(found) } else { Err(Error::Foreign { path: path.to_owned() }) };
    };
    found.end = MAGIC.len();
    loop {
        let next = found.records.len() as Offset;
        let Some(payload) = record_of(rest, next..next + 1) else { break };
        let size = HEADER + payload.len();
        found.records.push(Bytes::copy_from_slice(payload));
        found.end += size;
        rest = rest.get(size..).unwrap_or_default();
    }
    let next = found.records.len() as Offset;
    let follows =
        (1..rest.len()).any(|at| rest.get(at..).and_then(|later| record_of(later, next..next + MAX_LOST)).is_some());
    if follows {
        return Err(Error::Damaged { path: path.to_owned(), at: found.end as u64 });
    }
    Ok(found)
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
    file: File,
    next: Offset,
    failed: Option<String>,
    steps: mpsc::SyncSender<Step>,
}

impl Journal {
    fn run(mut self, records: Vec<Bytes>, queue: &mpsc::Receiver<Append>) {
        for (offset, bytes) in (0..).zip(records) {
            if self.steps.send(Step::Record { offset, bytes }).is_err() {
                return;
            }
        }
        loop {
            if self.failed.is_none()
                && self.steps.send(Step::Heard { first: 0, end: self.next, at: Instant::now() }).is_err()
            {
                return;
            }
            match queue.recv_timeout(HEARTBEAT) {
                Ok(append) => self.write(append),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Writes and syncs one record. Each has a sync of its own: were two under way when the power fails, the second could be
    /// whole behind a torn first, which is what damage looks like.
    fn write(&mut self, append: Append) {
        let mut bytes = Vec::new();
        put(&mut bytes, self.next, &append.bytes);
        if self.failed.is_none()
            && let Err(error) = self.file.write_all(&bytes).and_then(|()| self.file.sync_data())
        {
            // after a failed sync the kernel may have dropped what was written: only a restart knows what is there
            let text = format!("cannot write the control journal: {error}");
            tracing::error!(%error, "cannot write the control journal, nothing is acknowledged until a restart");
            self.tell(Step::Lost(text.clone()));
            self.failed = Some(text);
        }
        let done = match &self.failed {
            Some(text) => Err(crate::Error::Unavailable(text.clone())),
            None => {
                let offset = self.next;
                self.next += 1;
                self.tell(Step::Record { offset, bytes: append.bytes });
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
                Step::Record { offset, bytes } => {
                    assert_eq!(offset, records.len() as u64);
                    records.push(bytes.to_vec());
                }
                Step::Heard { end, .. } if end == records.len() as u64 => return records,
                Step::Heard { .. } => {}
                Step::Lost(reason) => panic!("{reason}"),
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
