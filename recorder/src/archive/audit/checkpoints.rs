//! Proves the checkpoints: dense, chained, signed by whom the reader believes, and taking nothing back.

use super::{Finding, Report, Request};
use crate::archive::checkpoint::{Checkpoint, Mark};
use crate::archive::custody::Extent;
use crate::archive::manifest::{FaultKind, Sha256};
use crate::archive::writer::{fetch, sha256};
use crate::archive::{Error, layout, trust};
use crate::verify::chain_of;
use event_log::{Offset, Partition};
use object_store::ObjectStore;
use schemas::NodeId;
use schemas::chain::Digest;
use schemas::signature::PublicKey;
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
    /// Of the custody log, with the number of the first checkpoint that says so.
    custody: Vec<(u64, Extent)>,
    /// The number of the last one.
    last: Option<u64>,
    /// Who signed those up to the one that the reader keeps; where he keeps none, the first.
    signers: BTreeSet<(NodeId, PublicKey)>,
}

impl Covered {
    pub(super) fn partitions(&self) -> impl Iterator<Item = Partition> + '_ {
        self.marks.keys().copied()
    }

    /// Takes what they say of one partition.
    pub(super) fn of(&mut self, partition: Partition) -> VecDeque<Said> {
        self.marks.remove(&partition).unwrap_or_default()
    }

    /// What they say of the custody log.
    pub(super) fn custody(&self) -> impl Iterator<Item = (u64, Extent)> + '_ {
        self.custody.iter().copied()
    }

    /// The first checkpoint that covers an entry of the custody log, or the one that is to come.
    pub(super) fn by(&self, entry: u64) -> u64 {
        let covers = |(_, said): &&(u64, Extent)| said.entries > entry;
        let next = self.last.map_or(0, |last| last.saturating_add(1));
        self.custody.iter().find(covers).map_or(next, |(number, _)| *number)
    }

    /// Whether a key signed a checkpoint that the reader has reason to believe, without a file of keys.
    pub(super) fn vouches(&self, node: &NodeId, key: &PublicKey) -> bool {
        self.signers.contains(&(node.clone(), *key))
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
        if let Some(extent) = checkpoint.custody.filter(|said| self.custody.last().is_none_or(|(_, last)| last != said))
        {
            self.custody.push((checkpoint.number, extent));
        }
        self.last = Some(checkpoint.number);
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
    let mut kept = [("was given", request.kept.as_deref()), ("the witness keeps", request.witnessed.as_deref())];
    let believed = believed(request).or(numbers.first().copied());
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
        for (_, one) in &mut kept {
            *one = one.filter(|one| *one != &bytes[..]);
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
        if believed.is_some_and(|last| *number <= last) {
            covered.signers.insert((checkpoint.node.clone(), key));
        }
        before = Some((checkpoint, Sha256(sha256(&bytes))));
    }
    for (whose, one) in kept {
        if let Some(one) = one {
            absent(whose, one, request, report);
        }
    }
    Ok(covered)
}

/// The number of the last checkpoint that the reader keeps, or a witness for him. That the archive has it, byte for byte, is
/// proved elsewhere, and that the ones before it lead there.
fn believed(request: &Request) -> Option<u64> {
    let known = [request.kept.as_deref(), request.witnessed.as_deref()].into_iter().flatten();
    known.filter_map(|bytes| Some(Checkpoint::open(bytes).ok()?.0.number)).max()
}

/// A checkpoint that was kept elsewhere is not in the archive.
fn absent(whose: &str, kept: &[u8], request: &Request, report: &mut Report) {
    let detail = match Checkpoint::open(kept) {
        Err(reason) => format!("the checkpoint that {whose} is none: {reason}"),
        Ok((checkpoint, key)) => {
            let doubt = trust::of_checkpoint(request.trust.as_ref(), &checkpoint, &key);
            let doubt = doubt.map(|doubt| format!("; {doubt}")).unwrap_or_default();
            let cut = match report.last_checkpoint {
                Some((last, _)) if last >= checkpoint.number => String::new(),
                Some((last, _)) => format!(": it ends with {last}, what came after it was cut off"),
                None => ": it has none, what it had was cut off".to_owned(),
            };
            format!("the archive does not have the checkpoint {} that {whose}{cut}{doubt}", checkpoint.number)
        }
    };
    report.find(Finding::of_object(layout::checkpoints(), FaultKind::Checkpoint, detail));
}
