//! The thread that reads the topic: verifies, folds, and says whether what it knows is to be relied on.
//!
//! ```text
//! step -> the chain of what was read -> signature -> whose key -> clock -> fold -> readers of the state
//!             |                                         '-- unknown: changes nothing, alarm
//!             '-- contradicts what was read before, or what a trusted writer read: lost
//! ```
//!
//! What a stranger writes changes nothing, and stops nothing. What a node that is trusted says, and cannot be judged here,
//! may take a right away: nobody is let in then until it can be judged.

use crate::envelope::{self, Signed};
use crate::lapsed::Lapsed;
use crate::plane::{Inner, lock};
use crate::record::Record;
use crate::report;
use crate::seen::{Contradiction, Sight, Signer, Signers};
use crate::state::{Refused, State};
use bytes::Bytes;
use event_log::Offset;
use event_log::control::{Filled, Step, Steps};
use schemas::chain::hexadecimal;
use schemas::event::AlarmKind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How far the clock of a record's writer may be from the topic's, where the topic has one.
pub(crate) const MAX_SKEW_MICROS: i64 = 60_000_000;
/// How long the thread waits for the topic before it looks whether anybody needs it.
const POLL: Duration = Duration::from_millis(200);
/// Parts of a journal's limit, in hundredths, at which it is warned of.
const WARN_AT: [u64; 3] = [50, 75, 90];

/// Folds until the last handle is gone.
pub(crate) fn run(steps: &Steps, control: &Weak<Inner>, sight: Sight) {
    let mut reader = Reader::new(sight);
    // also where this thread ends otherwise than by its own will
    let gauge = control.upgrade().map(|inner| inner.telemetry.fresh.clone());
    let _stale = Stale(gauge);
    loop {
        let step = steps.next(POLL);
        let Some(inner) = control.upgrade() else { break };
        if let Some(step) = step {
            reader.step(&inner, step);
        }
        reader.lapsed.tell(&inner, &reader.state, reader.caught_up);
        inner.telemetry.fresh.set(i64::from(inner.fresh().is_ok()));
        if reader.caught_up {
            reader.sight.save(false);
        }
    }
    if reader.caught_up {
        reader.sight.save(true);
    }
}

/// Whatever ends the thread, nothing is known from then on.
struct Stale(Option<kit::metrics::prometheus_client::metrics::gauge::Gauge>);

impl Drop for Stale {
    fn drop(&mut self) {
        if let Some(gauge) = &self.0 {
            gauge.set(0);
        }
    }
}

struct Reader {
    state: State,
    sight: Sight,
    /// How far the topic went when it was looked at last.
    heard: Offset,
    /// How far it went when it was looked at, and when that was, until that is read.
    seen: Option<(Offset, Instant)>,
    caught_up: bool,
    lapsed: Lapsed,
    /// Keys for which this process has vouched.
    vouched: BTreeSet<Signer>,
    warned: usize,
}

impl Reader {
    fn new(sight: Sight) -> Self {
        let (state, lapsed) = (State::default(), Lapsed::default());
        Self { state, sight, heard: 0, seen: None, caught_up: false, lapsed, vouched: BTreeSet::new(), warned: 0 }
    }

    fn step(&mut self, inner: &Inner, step: Step) {
        match step {
            Step::Record { offset, bytes, taken } => {
                // what follows is read all the same: it may take something away
                if let Err(contradiction) = self.take(inner, offset, &bytes) {
                    inner.lost(&contradiction.to_string());
                }
                self.record(inner, offset, &bytes, taken);
                lock(&inner.known).seen = self.sight.now();
            }
            Step::Heard { first, end, at, filled } => {
                // not compared with what was read: a record may have come between the question and this answer
                if first > 0 || end < self.heard {
                    let text =
                        "the control topic has lost records that it had: restore it, or begin a new one on all nodes";
                    inner.lost(text);
                }
                if let Err(contradiction) = self.sight.heard(end) {
                    inner.lost(&contradiction.to_string());
                }
                self.heard = end;
                // an end that was not reached yet stays: else a busy topic would never be known
                self.seen.get_or_insert((end, at));
                if let Some(filled) = filled {
                    self.filled(inner, &filled);
                }
            }
            Step::Unfit(reason) => inner.unfit(reason),
            Step::Lost(reason) => inner.lost(&reason),
        }
        let next = self.sight.now().next;
        if let Some((_, at)) = self.seen.take_if(|(end, _)| next >= *end) {
            inner.doubt(self.sight.doubt());
            lock(&inner.known).until = Some(at);
            if !self.caught_up {
                self.caught_up = true;
                inner.state.send_replace(Arc::new(self.state.clone()));
            }
        }
        if self.caught_up {
            self.vouch(inner);
        }
    }

    fn take(&mut self, inner: &Inner, offset: Offset, bytes: &Bytes) -> Result<(), Contradiction> {
        let before = self.sight.now().next;
        if self.sight.take(offset, bytes, self.caught_up)? {
            let text = format!("the offsets {before} to {} of the control topic hold no records", offset - 1);
            inner.alarm(AlarmKind::UnreadableRecord, text);
        }
        Ok(())
    }

    fn record(&mut self, inner: &Inner, offset: Offset, bytes: &Bytes, taken: Option<i64>) {
        let signed = match envelope::open(bytes) {
            Ok(signed) => signed,
            Err(error @ envelope::Error::Signature { .. }) => {
                return inner.alarm(AlarmKind::ForgedRecord, format!("offset {offset}: {error}"));
            }
            Err(error) => return inner.alarm(AlarmKind::UnreadableRecord, format!("offset {offset}: {error}")),
        };
        let stamp = signed.stamp();
        if let Err(distrust) = inner.keys.judge(&stamp.key, &stamp.author, offset) {
            return inner.alarm(AlarmKind::ForgedRecord, format!("offset {offset}: {distrust}"));
        }
        let testimony = stamp.seen.map_or(Ok(()), |seen| self.sight.testimony(&stamp.author, &seen));
        if let Err(contradiction) = testimony {
            inner.lost(&contradiction.to_string());
        }
        let record = match signed.record() {
            Ok(record) => record,
            Err(error) => {
                inner.alarm(AlarmKind::UnreadableRecord, format!("offset {offset}: {error}"));
                // it may have taken a right away
                let text = "a trusted node wrote a control record that this version does not know: upgrade this node";
                return inner.lost(text);
            }
        };
        let outcome = punctual(&signed, &record, taken).and_then(|()| self.state.apply(stamp, &record));
        match &outcome {
            Ok(_) => {
                inner.telemetry.records.inc();
                self.counted(inner, &signed, &record);
                if self.caught_up {
                    inner.state.send_replace(Arc::new(self.state.clone()));
                }
            }
            Err(Refused::Replayed) => {
                inner.telemetry.refused(&Refused::Replayed);
                let text = format!("offset {offset}: a record of the node {:?} came again", stamp.author);
                return inner.alarm(AlarmKind::ReplayedRecord, text);
            }
            Err(refused) => inner.telemetry.refused(refused),
        }
        if stamp.key == inner.keys.own && stamp.epoch == inner.epoch {
            for body in report::events(&record, &outcome, &self.state, &inner.node) {
                inner.report(body);
            }
            if let Some(waiting) = lock(&inner.waiting).remove(&stamp.sequence)
                && waiting.send(outcome).is_err()
            {
                tracing::debug!("who wrote a control record is gone");
            }
        }
    }

    /// What follows from a record that counts, for whose records count.
    fn counted(&mut self, inner: &Inner, signed: &Signed, record: &Record) {
        let stamp = signed.stamp();
        let Record::SignerVouched { key, node } = record else {
            return self.sight.counted(stamp.key, &stamp.author);
        };
        let is_known = schemas::chain::from_hexadecimal(key).is_some_and(|key| inner.keys.knows(&key, node));
        if !is_known {
            let by = &stamp.author;
            inner.lost(&format!(
                "the node {by:?} counts what the key {key} signs for the node {node:?}, and this node's config does not \
                 name it: a revocation may be among it. Name it in control.trusted_keys, or in control.retired_keys if it \
                 signs no more"
            ));
        }
    }

    /// Says for which keys this node has counted records: who reads the topic and lacks one of them must not go on.
    fn vouch(&mut self, inner: &Inner) {
        let own = inner.keys.own;
        let is_new =
            |signer: &&Signer| signer.0 != own && !self.vouched.contains(*signer) && !self.state.vouches(&own, signer);
        let Some((key, node)) = self.sight.counting().iter().find(is_new).cloned() else { return };
        self.vouched.insert((key, node.clone()));
        // nobody waits for what comes of it; a later start writes it again
        let (sender, _) = oneshot::channel();
        let record = Record::SignerVouched { key: hexadecimal(&key), node };
        if let Err(error) = inner.hand_over(&record, sender) {
            tracing::warn!(%error, "it was not told whose records count here");
        }
    }

    fn filled(&mut self, inner: &Inner, filled: &Filled) {
        inner.telemetry.filled(filled);
        let hundredths = filled.bytes.saturating_mul(100) / filled.limit.max(1);
        let passed = WARN_AT.iter().filter(|part| hundredths >= **part).count();
        if passed > self.warned {
            tracing::warn!(
                bytes = filled.bytes,
                limit = filled.limit,
                "the control journal fills: beyond its limit only revocations are taken; see docs/access.md"
            );
        }
        self.warned = passed;
    }
}

/// Where each of these signed last, read to the topic's end; none where that is not reached in this time.
pub(crate) fn last_signed(steps: &Steps, signers: &Signers, limit: Duration) -> Option<BTreeMap<Signer, Offset>> {
    let (mut last, mut next, until) = (BTreeMap::new(), 0, Instant::now() + limit);
    while Instant::now() < until {
        match steps.next(POLL) {
            Some(Step::Record { offset, bytes, .. }) => {
                next = offset.saturating_add(1);
                if let Ok(signed) = envelope::open(&bytes) {
                    let signer = (signed.stamp().key, signed.stamp().author.clone());
                    if signers.contains(&signer) {
                        last.insert(signer, offset);
                    }
                }
            }
            Some(Step::Heard { end, .. }) if next >= end => return Some(last),
            Some(Step::Lost(_)) => return None,
            _ => {}
        }
    }
    None
}

/// Whether the writer's clock is right, where the topic has one of its own. It bounds what gives something; what takes a
/// right away counts whatever the time.
fn punctual(signed: &Signed, record: &Record, taken: Option<i64>) -> Result<(), Refused> {
    let stamp = signed.stamp();
    let apart = taken.map_or(0, |taken| taken.saturating_sub(stamp.time).saturating_abs());
    if apart <= MAX_SKEW_MICROS || record.takes_away() {
        return Ok(());
    }
    let seconds = |micros: i64| u64::try_from(micros / 1_000_000).unwrap_or(0);
    Err(Refused::Clock { node: stamp.author.clone(), seconds: seconds(apart), limit: seconds(MAX_SKEW_MICROS) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Stamp, seal};
    use crate::record::Review;
    use crate::testing::{identity, pair, request};
    use ring::signature::KeyPair;

    /// A record by a writer whose clock is this far from the topic's.
    fn count(record: &Record, apart: i64, has_clock: bool) -> Result<(), Refused> {
        let (pair, now) = (pair(1), 1_000 * MAX_SKEW_MICROS);
        let key = pair.public_key().as_ref().try_into().unwrap();
        let stamp = Stamp { author: "a".to_owned(), key, epoch: 1, sequence: 1, time: now + apart, seen: None };
        let signed = envelope::open(&seal(&pair, &stamp, record).unwrap()).unwrap();
        punctual(&signed, record, has_clock.then_some(now))
    }

    #[test]
    fn a_writers_clock_bounds_what_gives_and_nothing_that_takes_away() {
        let gives = Record::AccessRequested(request(1));
        let (by, reason) = (identity("root", &[]), String::new());
        let takes = Record::IdentityDisabled { subject: "ada".to_owned(), issuer: None, by, reason };
        let answer = |approved| {
            let (digest, reviewer, reason) = (request(1).digest(), identity("ada", &["dba"]), String::new());
            let review = Review { digest, reviewer, approved, reason, exception: None };
            Record::AccessReviewed { request: request(1).id, review }
        };
        for apart in [MAX_SKEW_MICROS, -MAX_SKEW_MICROS] {
            assert_eq!(count(&gives, apart, true), Ok(()));
            let over = apart + apart.signum() * 1_000_000;
            let refused = Err(Refused::Clock { node: "a".to_owned(), seconds: 61, limit: 60 });
            assert_eq!((count(&gives, over, true), count(&answer(true), over, true)), (refused.clone(), refused));
            assert_eq!((count(&takes, over, true), count(&answer(false), over, true)), (Ok(()), Ok(())));
            assert_eq!(count(&gives, over, false), Ok(()), "a journal has no clock but its writer's");
        }
    }
}
