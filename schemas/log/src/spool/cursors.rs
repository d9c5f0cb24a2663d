//! How far each subscriber has come: a small file, replaced whole. It decides only what may be deleted; where a
//! consumer goes on is its own commit's to say.

use super::segment::sync_folder;
use schemas::Shard;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

/// The cursors, as they are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursors {
    /// The node that the spool belongs to.
    pub node: Option<String>,
    /// Where the oldest segment kept begins.
    pub oldest: u64,
    /// By subscriber and shard: the sequence of the first batch that it has not committed.
    pub subscribers: BTreeMap<String, BTreeMap<Shard, u64>>,
    #[serde(skip)]
    pub changed: bool,
}

const FILE: &str = "cursors.json";

impl Cursors {
    /// Reads the file of a folder; none, or one that cannot be read, counts as nothing committed.
    pub(crate) fn load(folder: &Path) -> Self {
        let bytes = match std::fs::read(folder.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(error) => {
                tracing::warn!(%error, file = FILE, "cannot read the cursors, nothing counts as committed");
                return Self::default();
            }
        };
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, file = FILE, "the cursors are damaged, nothing counts as committed");
            Self::default()
        })
    }

    /// Writes the file, synced and in place of the old one.
    pub(crate) fn store(&self, folder: &Path) -> io::Result<()> {
        let ahead = folder.join("cursors.new");
        let mut file = std::fs::File::create(&ahead)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&ahead, folder.join(FILE))?;
        sync_folder(folder)
    }

    /// Moves a subscriber on; never back.
    pub(crate) fn advance(&mut self, name: &str, shard: Shard, next: u64) {
        let Some(shards) = self.subscribers.get_mut(name) else { return };
        let cursor = shards.entry(shard).or_default();
        if next > *cursor {
            *cursor = next;
            self.changed = true;
        }
    }

    /// The first batch of a shard that some subscriber still needs; `None` while nobody subscribes.
    pub(crate) fn needed(&self, shard: Shard) -> Option<u64> {
        self.subscribers.values().map(|shards| shards.get(&shard).copied().unwrap_or(0)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_subscriber_decides_and_the_file_returns() {
        let folder = tempfile::tempdir().unwrap();
        let mut cursors = Cursors::load(folder.path());
        assert_eq!(cursors.needed(0), None);
        cursors.subscribers = BTreeMap::from([("a".into(), BTreeMap::new()), ("b".into(), BTreeMap::new())]);
        cursors.advance("a", 0, 5);
        assert_eq!(cursors.needed(0), Some(0));
        cursors.advance("b", 0, 7);
        cursors.advance("b", 0, 6);
        cursors.advance("unknown", 0, 1);
        assert_eq!(cursors.needed(0), Some(5));
        cursors.store(folder.path()).unwrap();
        let read = Cursors::load(folder.path());
        assert_eq!(read.subscribers, cursors.subscribers);
        std::fs::write(folder.path().join(FILE), b"{").unwrap();
        assert_eq!(Cursors::load(folder.path()), Cursors::default());
    }
}
