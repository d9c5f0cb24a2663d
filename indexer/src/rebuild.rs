//! An index from the archive: the same documents that the live one has, since both are made of the same batches by the
//! same code.
//!
//! A new or lost index is filled with all that is archived, and then goes on with the bus after it. Batches that are in
//! the index already are skipped, so that the same function closes a gap.

use crate::Config;
use crate::commit::{self, Applied, Committer};
use futures_util::TryStreamExt as _;
use recorder::archive::{self, Reader};

/// The index could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive cannot be read.
    #[error("reading the archive")]
    Archive(#[source] archive::Error),
    /// An archived batch cannot be encoded again.
    #[error("encoding an archived batch")]
    Batch(#[source] schemas::codec::Error),
    /// The index failed.
    #[error("writing the index")]
    Index(#[source] commit::Error),
    /// The committing thread panicked: a fault in tantivy or here.
    #[error("the committing thread ended")]
    Thread(#[source] tokio::task::JoinError),
}

/// What was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Batches.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Batches that retention had deleted: what was in them is not found any more.
    pub deleted: u64,
}

/// Batches between commits: at 256 KiB each, 256 MiB.
const COMMIT_EVERY: u64 = 1_024;

/// Fills the index of a folder from the archive, while no indexer runs on it: what it has already is skipped.
///
/// # Errors
/// [`Error`]; what was committed stays, and another call goes on after it.
pub async fn rebuild(config: &Config, archive: &Reader) -> Result<Summary, Error> {
    let committer = Committer::open(&config.directory, config.memory_bytes).map_err(Error::Index)?;
    let (committer, summary) = take_in(committer, archive).await?;
    committer.close().map_err(Error::Index)?;
    Ok(summary)
}

/// As [`rebuild`], on an index that is open.
pub(crate) async fn fill(committer: Committer, archive: &Reader) -> Result<Committer, Error> {
    let (committer, summary) = take_in(committer, archive).await?;
    let Summary { batches, events, deleted } = summary;
    tracing::info!(batches, events, deleted, "the search index was filled from the archive");
    Ok(committer)
}

async fn take_in(mut committer: Committer, archive: &Reader) -> Result<(Committer, Summary), Error> {
    let mut summary = Summary::default();
    for partition in archive.partitions().await.map_err(Error::Archive)? {
        // asked first: what is archived meanwhile comes by the bus
        let end = archive.end(partition).await.map_err(Error::Archive)?;
        let from = committer.next(partition);
        let mut batches = archive.batches(partition, from).await.map_err(Error::Archive)?;
        while let Some(archived) = batches.try_next().await.map_err(Error::Archive)? {
            let applied = committer.apply_batch(partition, archived.offset, &archived.batch).map_err(Error::Index)?;
            if let Applied::Indexed { events } = applied {
                summary.batches += 1;
                summary.events += u64::try_from(events).unwrap_or(u64::MAX);
                if summary.batches.is_multiple_of(COMMIT_EVERY) {
                    committer = commit(committer).await?;
                }
            }
        }
        summary.deleted += archive.deleted(partition, from).await.map_err(Error::Archive)?;
        committer.advance(partition, end);
        committer = commit(committer).await?;
    }
    Ok((committer, summary))
}

/// Commits on a thread that may block.
async fn commit(mut committer: Committer) -> Result<Committer, Error> {
    let task = tokio::task::spawn_blocking(move || committer.commit().map(|()| committer));
    task.await.map_err(Error::Thread)?.map_err(Error::Index)
}

#[cfg(test)]
mod tests;
