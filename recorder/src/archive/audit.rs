//! Proves the archive: every byte is what was shipped, every chain goes on, every session is whole (ARC-1, AUD-3, AUD-4).
//!
//! It trusts no manifest: data objects are hashed and built again from their blocks, headers are hashed again, the
//! events' Merkle roots are computed from the stored bytes, and the state of verification is computed again from the
//! beginning of the range and compared with what the manifests carry.

use super::Error;
use super::manifest::{BatchName, Fault, FaultKind, Manifest, Place};
use super::reader::{Archived, Reader};
use super::writer::{Container, fetch, sha256};
use crate::sessions::Notes;
use crate::verify::{self, State, chain_of};
use event_log::{Offset, Partition};
use object_store::path::Path;
use schemas::{EventId, SessionId, codec};
use serde::Serialize;
use std::collections::BTreeSet;

/// What is to be proved. The default is everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// One partition; all of them where `None`.
    pub partition: Option<Partition>,
    /// From the manifest that covers this offset on.
    pub from: Offset,
    /// To the manifest that covers this offset; to the end where `None`.
    pub to: Option<Offset>,
}

/// Most findings that a report lists; beyond them they are counted.
const MAX_FINDINGS: usize = 1_000;

/// Something that does not hold, with its place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The partition.
    pub partition: Partition,
    /// The object that it was found in.
    pub object: String,
    /// What.
    pub fault: Fault,
    /// The first event concerned, where it is known.
    pub event: Option<String>,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Manifests read.
    pub manifests: u64,
    /// Batches checked.
    pub batches: u64,
    /// Events checked.
    pub events: u64,
    /// Sessions met.
    pub sessions: u64,
    /// Sessions that have not ended. They may be running.
    pub open: Vec<SessionId>,
    /// Bytes of data objects hashed.
    pub bytes: u64,
    /// What does not hold, in order: the first names the first bad batch.
    pub findings: Vec<Finding>,
    /// How many there are.
    pub found: u64,
}

impl Report {
    /// Whether everything holds.
    pub fn holds(&self) -> bool {
        self.found == 0
    }

    fn find(&mut self, manifest: &Manifest, fault: Fault) {
        self.found += 1;
        if self.findings.len() < MAX_FINDINGS {
            let event =
                fault.session.zip(fault.sequence).map(|(session, sequence)| EventId { session, sequence }.to_string());
            let (partition, object) = (manifest.partition, manifest.path().to_string());
            self.findings.push(Finding { partition, object, fault, event });
        }
    }
}

impl Reader {
    /// Proves a range of the archive.
    ///
    /// # Errors
    /// [`Error`] if the store or a manifest cannot be read. What does not hold is no error: it is in the report.
    pub async fn verify(&self, range: Range) -> Result<Report, Error> {
        let (mut report, mut sessions, mut open) = (Report::default(), BTreeSet::new(), BTreeSet::new());
        for partition in self.partitions().await? {
            if range.partition.is_some_and(|wanted| wanted != partition) {
                continue;
            }
            let all = self.manifests(partition, 0).await?;
            let before = all.iter().rev().find(|m| m.last < range.from);
            let mut proof = Proof {
                next: before.map_or(0, |m| m.last + 1),
                state: before.map(|m| m.state.clone()).unwrap_or_default(),
                sessions: &mut sessions,
            };
            for manifest in all.iter().filter(|m| m.last >= range.from && range.to.is_none_or(|to| m.first <= to)) {
                proof.manifest(self, manifest, &mut report).await?;
            }
            open.extend(proof.state.open().map(|open| open.session));
        }
        report.sessions = sessions.len() as u64;
        report.open = open.into_iter().collect();
        Ok(report)
    }
}

struct Proof<'a> {
    next: Offset,
    state: State,
    sessions: &'a mut BTreeSet<SessionId>,
}

impl Proof<'_> {
    async fn manifest(&mut self, reader: &Reader, manifest: &Manifest, report: &mut Report) -> Result<(), Error> {
        report.manifests += 1;
        let archive = |detail: String| fault_at(manifest.first, FaultKind::Archive, detail, None);
        if manifest.first != self.next {
            report.find(
                manifest,
                archive(format!("it begins at {}, the one before ends before {}", manifest.first, self.next)),
            );
        }
        self.next = manifest.last + 1;
        // What the recorder found of batches that are not archived: nothing of them is left to be computed again.
        for fault in manifest.faults.iter().filter(|f| f.quarantine.is_some()) {
            report.find(manifest, fault.clone());
        }
        match reader.load(manifest, |_| true).await {
            Ok(batches) => {
                if let Err(problem) = data_object(reader, manifest, &batches, report).await? {
                    report.find(manifest, archive(problem));
                }
                self.batches(manifest, &batches, report)?;
            }
            Err(error @ Error::Object { .. }) => report.find(manifest, archive(chain_of(&error))),
            Err(error @ Error::Store { .. }) if is_missing(&error) => report.find(manifest, archive(chain_of(&error))),
            Err(error) => return Err(error),
        }
        if self.state != manifest.state {
            report.find(
                manifest,
                archive("the state that it carries is not the one that its batches lead to".to_owned()),
            );
            self.state = manifest.state.clone();
        }
        Ok(())
    }

    /// Checks the batches, and that the manifest says of them what they say themselves.
    fn batches(&mut self, manifest: &Manifest, batches: &[Archived], report: &mut Report) -> Result<(), Error> {
        let (mut notes, mut found) = (Notes::default(), Vec::new());
        for (archived, entry) in batches.iter().zip(&manifest.batches) {
            let header = &archived.batch.header;
            report.batches += 1;
            let hash = header.hash().map_err(Error::Encode)?;
            if hash != entry.hash {
                let detail = "its header does not have the hash that the manifest states".to_owned();
                let name = Some(BatchName::from(header));
                report.find(
                    manifest,
                    from_first_event(fault_at(archived.offset, FaultKind::Archive, detail, name), archived),
                );
            }
            let read = verify::read(&archived.batch);
            let faults = self.state.accept(archived.offset, header, &hash, &read);
            faults.iter().for_each(|fault| report.find(manifest, from_first_event(fault.clone(), archived)));
            found.extend(faults);
            let events = read.events.unwrap_or_default();
            report.events += events.len() as u64;
            events.iter().for_each(|event| notes.add(event));
            self.sessions.extend(events.iter().map(|event| event.session));
        }
        let mut differs = |differs: bool, what: &str| {
            if differs {
                let detail = format!("its {what} are not those of its batches");
                report.find(manifest, fault_at(manifest.first, FaultKind::Archive, detail, None));
            }
        };
        differs(notes.finish() != manifest.sessions, "notes of sessions");
        differs(!manifest.faults.iter().filter(|f| f.quarantine.is_none()).eq(&found), "faults");
        Ok(())
    }
}

/// A fault of a batch as a whole: its first event is where doubt begins.
fn from_first_event(mut fault: Fault, archived: &Archived) -> Fault {
    if let (None, Some(range)) = (fault.session, archived.batch.header.sessions.first()) {
        fault.session = Some(range.session);
        fault.sequence = Some(range.first);
    }
    fault
}

fn fault_at(offset: Offset, kind: FaultKind, detail: String, batch: Option<BatchName>) -> Fault {
    Fault { offset, kind, detail, batch, session: None, sequence: None, quarantine: None }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Store { source: object_store::Error::NotFound { .. }, .. })
}

/// Hashes the data object, and builds it again from its blocks: there is nothing else in it.
async fn data_object(
    reader: &Reader,
    manifest: &Manifest,
    batches: &[Archived],
    report: &mut Report,
) -> Result<Result<(), String>, Error> {
    let Some(object) = &manifest.object else { return Ok(Ok(())) };
    let bytes = fetch(&**reader.store(), &Path::from(object.name.as_str())).await?;
    report.bytes += bytes.len() as u64;
    if bytes.len() as u64 != object.bytes || sha256(&bytes) != object.sha256 {
        return Ok(Err(format!("{} does not have the SHA-256 that its manifest states", object.name)));
    }
    let mut built: Option<Container> = None;
    for (archived, entry) in batches.iter().zip(&manifest.batches) {
        if matches!(entry.place, Place::Spliced { .. }) {
            let Ok(version) = codec::Version::of(entry.header.schema.cast_unsigned()) else {
                return Ok(Err(format!("{} has a batch of an unknown schema", object.name)));
            };
            let container = built.get_or_insert_with(|| Container::new(&entry.hash, version));
            container.splice(entry.header.count, &archived.batch.block);
        }
    }
    Ok(if built.is_some_and(|container| container.as_bytes() == &bytes[..]) {
        Ok(())
    } else {
        Err(format!("{} is not what its batches make", object.name))
    })
}
