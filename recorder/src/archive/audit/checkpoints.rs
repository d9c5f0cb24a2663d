//! Proves the checkpoints: dense, chained, signed by whom the reader believes, and taking nothing back.

use super::{Finding, Report, Request};
use crate::archive::checkpoint::{Checkpoint, Mark};
use crate::archive::manifest::{FaultKind, Sha256};
use crate::archive::writer::{fetch, sha256};
use crate::archive::{Error, layout, trust};
use crate::verify::chain_of;
use event_log::{Offset, Partition};
use object_store::ObjectStore;
use schemas::chain::Digest;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a checkpoint says of a partition: enough to tell whether a manifest is the one that it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    /// The checkpoint's number.
    pub(super) number: u64,
    /// The first offset of the last manifest, and the one after its last.
    pub(super) first: Offset,
    pub(super) next: Offset,
    /// Of the whole mark.
    digest: Digest,
}

impl Said {
    fn new(number: u64, mark: &Mark) -> Result<Self, Error> {
        Ok(Self { number, first: mark.first, next: mark.next, digest: digest(mark)? })
    }

    /// Whether this is what it says.
    pub(super) fn is(&self, mark: &Mark) -> Result<bool, Error> {
        Ok(digest(mark)? == self.digest)
    }
}

fn digest(mark: &Mark) -> Result<Digest, Error> {
    let object = || layout::checkpoints().to_string();
    let bytes = serde_json::to_vec(mark).map_err(|source| Error::Manifest { object: object(), source })?;
    Ok(sha256(&bytes))
}

/// What the checkpoints say of the partitions, in their order.
#[derive(Debug, Default)]
pub(super) struct Covered {
    marks: BTreeMap<Partition, VecDeque<Said>>,
}

impl Covered {
    pub(super) fn partitions(&self) -> impl Iterator<Item = Partition> + '_ {
        self.marks.keys().copied()
    }

    /// Takes what they say of one partition.
    pub(super) fn of(&mut self, partition: Partition) -> VecDeque<Said> {
        self.marks.remove(&partition).unwrap_or_default()
    }

    fn take(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        for mark in &checkpoint.partitions {
            let marks = self.marks.entry(mark.partition).or_default();
            let said = Said::new(checkpoint.number, mark)?;
            // most checkpoints say of most partitions what the one before said
            if marks.back().is_none_or(|before| before.digest != said.digest) {
                marks.push_back(said);
            }
        }
        Ok(())
    }
}

/// Proves them, and gives what the good ones say.
pub(super) async fn prove(
    store: &dyn ObjectStore,
    numbers: &BTreeSet<u64>,
    request: &Request,
    report: &mut Report,
) -> Result<Covered, Error> {
    let mut covered = Covered::default();
    let (mut before, mut expected): (Option<(Checkpoint, Sha256)>, u64) = (None, 0);
    let mut kept = request.kept.as_deref();
    for number in numbers {
        let path = layout::checkpoint(*number);
        let mut find = |detail: String| report.find(Finding::of_object(&path, FaultKind::Checkpoint, detail));
        if *number != expected {
            find(format!("the one before it is missing: {expected} was to come"));
        }
        expected = number.saturating_add(1);
        let bytes = match fetch(store, &path).await {
            Ok(bytes) => bytes,
            Err(error) => {
                find(chain_of(&error));
                before = None;
                continue;
            }
        };
        if kept == Some(&bytes[..]) {
            kept = None;
        }
        let (checkpoint, key) = match Checkpoint::open(&bytes) {
            Ok(opened) => opened,
            Err(reason) => {
                find(reason);
                before = None;
                continue;
            }
        };
        let named = (checkpoint.number != *number).then(|| format!("it says that it is {}", checkpoint.number));
        named.into_iter().for_each(&mut find);
        trust::of_checkpoint(request.trust.as_ref(), &checkpoint, &key).into_iter().for_each(&mut find);
        match &before {
            Some((last, digest)) => {
                if checkpoint.previous != Some(*digest) {
                    find("it does not name the SHA-256 of the one before".to_owned());
                }
                checkpoint.takes_back(last).into_iter().for_each(&mut find);
            }
            None if *number == 0 && checkpoint.previous.is_some() => {
                find("the first one names one before it".to_owned())
            }
            None => {}
        }
        report.checkpoints += 1;
        report.last_checkpoint = Some((checkpoint.number, checkpoint.time));
        covered.take(&checkpoint)?;
        before = Some((checkpoint, Sha256(sha256(&bytes))));
    }
    if let Some(kept) = kept {
        absent(kept, request, report);
    }
    Ok(covered)
}

/// The checkpoint that the reader kept is not in the archive.
fn absent(kept: &[u8], request: &Request, report: &mut Report) {
    let detail = match Checkpoint::open(kept) {
        Err(reason) => format!("the checkpoint that was given is none: {reason}"),
        Ok((checkpoint, key)) => {
            let doubt = trust::of_checkpoint(request.trust.as_ref(), &checkpoint, &key);
            let doubt = doubt.map(|doubt| format!("; {doubt}")).unwrap_or_default();
            format!("the archive does not have the checkpoint {} that was given{doubt}", checkpoint.number)
        }
    };
    report.find(Finding::of_object(layout::checkpoints(), FaultKind::Checkpoint, detail));
}
