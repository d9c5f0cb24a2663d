//! What is done about damage: the bytes are put aside, a Gap tells of them, and a Skip record takes their place.

use super::record::{self, HEADER, Kind};
use super::scan::Damage;
use super::segment::{self, Segment, sync_folder};
use schemas::event::Gap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the records of a segment end, and whether anything follows the last.
#[derive(Debug)]
pub(crate) struct Ending {
    pub segment: Arc<Segment>,
    pub at: u64,
    pub torn: bool,
}

/// Damage that was found and put aside, to be mended when its Gap is on disk.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    folder: PathBuf,
    node: String,
    gaps: Vec<Gap>,
    skips: Vec<Skip>,
}

#[derive(Debug)]
struct Skip {
    segment: Arc<Segment>,
    position: u64,
    /// Bytes to overwrite with zeros, a header's among them.
    bytes: usize,
    /// Whether the record covers them all, or only begins them: nothing follows in the segment.
    covers: bool,
    /// The sequence of the last record that it stands for.
    sequence: u64,
}

impl Repairs {
    pub(crate) fn new(folder: &Path, node: &str) -> Self {
        Self { folder: folder.to_owned(), node: node.to_owned(), gaps: Vec::new(), skips: Vec::new() }
    }

    pub(crate) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// A file is missing; `segment` was made in its place, so that positions stay whole. Its records are noticed as
    /// missing by the next one's: only where that cannot be, before the first record of all, it is told here.
    pub(crate) fn missing(&mut self, segment: &Arc<Segment>, next: Option<u64>) {
        if next.is_none() {
            self.report(segment, "the file is missing".to_owned(), 0, segment.end - segment.start);
        }
    }

    /// Bytes between two records of a segment are no record.
    pub(crate) fn middle(&mut self, segment: &Arc<Segment>, bytes: &[u8], damage: &Damage) -> io::Result<()> {
        let lost = bytes.get(damage.from..damage.to).unwrap_or_default();
        let (from, to) = (damage.from as u64, damage.to as u64);
        if lost.len() >= HEADER {
            self.set_aside(segment, from, to, lost)?;
            let position = segment.start + from;
            let sequence = damage.found.saturating_sub(1);
            self.skips.push(Skip { segment: segment.clone(), position, bytes: lost.len(), covers: true, sequence });
        }
        let detail = format!("{} records are unreadable or missing", damage.found.saturating_sub(damage.expected));
        self.report(segment, detail, from, to);
        Ok(())
    }

    /// Records are missing at the end of a segment that is not the last, or in the `empty` one behind it.
    pub(crate) fn end(&mut self, ending: &Ending, empty: Option<&Arc<Segment>>, damage: &Damage) -> io::Result<()> {
        let segment = &ending.segment;
        let mut bytes = vec![0; usize::try_from(segment.end - ending.at).map_err(io::Error::other)?];
        segment.read(ending.at, &mut bytes)?;
        let (from, to) = (ending.at - segment.start, segment.end - segment.start);
        self.set_aside(segment, from, to, &bytes)?;
        let sequence = damage.found.saturating_sub(1);
        let skip = match empty {
            // there is no room for a record at the end
            Some(empty) if bytes.len() < HEADER => {
                Skip { segment: empty.clone(), position: empty.start, bytes: HEADER, covers: true, sequence }
            }
            _ => Skip { segment: segment.clone(), position: ending.at, bytes: bytes.len(), covers: false, sequence },
        };
        self.skips.push(skip);
        let lost = damage.found.saturating_sub(damage.expected);
        let detail = format!("{lost} records at the end of the file or after it are unreadable or missing");
        self.report(segment, detail, from, to);
        Ok(())
    }

    fn set_aside(&self, segment: &Segment, from: u64, to: u64, bytes: &[u8]) -> io::Result<()> {
        let aside = self.folder.join("quarantine");
        std::fs::create_dir_all(&aside)?;
        let name = format!("{}-{from}-{to}.bin", segment::name(segment.start));
        let mut file = File::create(aside.join(name))?;
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        sync_folder(&aside)
    }

    fn report(&mut self, segment: &Segment, detail: String, from: u64, to: u64) {
        let segment = segment::name(segment.start);
        tracing::warn!(%segment, from, to, %detail, "the spool is damaged, the bytes are kept under quarantine");
        self.gaps.push(Gap { node: self.node.clone(), shard: None, segment, from, to, detail });
    }

    /// Overwrites the damage, so that it is not found again. Returns what was reported.
    pub(crate) fn mend(self) -> io::Result<Vec<Gap>> {
        for skip in &self.skips {
            let mut out = Vec::with_capacity(skip.bytes);
            if skip.bytes >= HEADER {
                let payload = vec![0; if skip.covers { skip.bytes - HEADER } else { 0 }];
                let crc = record::payload_crc(&[&payload]);
                record::write(&mut out, skip.sequence, Kind::Skip, 0, crc, &[&payload]);
            }
            out.resize(skip.bytes, 0);
            skip.segment.write(skip.position, &out)?;
            skip.segment.sync(&self.folder)?;
        }
        Ok(self.gaps)
    }
}
