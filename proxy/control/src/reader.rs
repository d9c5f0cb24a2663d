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

use crate::envelope::{self, Signed, Stamp};
use crate::lapsed::Lapsed;
use crate::plane::{Inner, Outcome, lock};
use crate::record::Record;
use crate::report;
use crate::seen::{Contradiction, Sight, Signer, Signers};
use crate::shown;
use crate::state::{Refused, State};
use crate::untold::{self, Untold};
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
/// A key whose vouching did not count is vouched for again after this time.
const AGAIN: Duration = Duration::from_secs(60);
/// Why this node may not go on where a trusted one wrote what it cannot read: it may have taken a right away.
const TOO_OLD: &str = "a trusted node wrote a control record that this version does not know: upgrade this node";
/// Parts of a limit, in hundredths, at which it is warned of.
const WARN_AT: [u64; 3] = [50, 75, 90];

/// Folds until the last handle is gone.
pub(crate) fn run(steps: &Steps, control: &Weak<Inner>, sight: Sight, untold: Untold) {
    let mut reader = Reader::new(sight, untold);
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
        reader.settle(&inner);
        inner.telemetry.fresh.set(i64::from(inner.fresh().is_ok()));
        if reader.caught_up {
            reader.sight.save(false);
        }
    }
    if reader.caught_up {
        reader.sight.end(reader.untold.is_done());
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
    untold: Untold,
    /// How far the topic went when it was looked at last.
    heard: Offset,
    /// How far it went when it was looked at, and when that was, until that is read.
    seen: Option<(Offset, Instant)>,
    caught_up: bool,
    lapsed: Lapsed,
    /// Keys for which this process has vouched, and when.
    vouched: BTreeMap<Signer, Instant>,
    warned: usize,
    warned_disabled: usize,
}

impl Reader {
    fn new(sight: Sight, untold: Untold) -> Self {
        let (state, lapsed) = (State::default(), Lapsed::default());
        let (vouched, warned, warned_disabled) = (BTreeMap::new(), 0, 0);
        Self { state, sight, untold, heard: 0, seen: None, caught_up: false, lapsed, vouched, warned, warned_disabled }
    }

    fn step(&mut self, inner: &Inner, step: Step) {
        match step {
            Step::Record { offset, bytes, taken } => {
                // what follows is read all the same: it may take something away
                if let Err(contradiction) = self.take(inner, offset, &bytes) {
                    inner.lost(&contradiction.to_string());
                }
                self.record(inner, offset, &bytes, taken);
                lock(&inner.known).seen = self.sight.testifies();
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

    /// Notes what is told for good.
    fn settle(&mut self, inner: &Inner) {
        self.untold.settle(&*inner.report);
        let done = if self.caught_up { self.untold.done() } else { BTreeSet::new() };
        self.sight.told(self.untold.told(self.sight.now().next), done);
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
            Err(error) => {
                inner.alarm(AlarmKind::UnreadableRecord, format!("offset {offset}: {error}"));
                let key = matches!(error, envelope::Error::Version(_)).then(|| envelope::other_versions_key(bytes));
                if key.flatten().is_some_and(|key| inner.keys.trusts(&key, offset)) {
                    inner.lost(TOO_OLD);
                }
                return;
            }
        };
        let stamp = signed.stamp();
        if let Err(distrust) = inner.keys.judge(&stamp.key, &stamp.author, offset) {
            return inner.alarm(AlarmKind::ForgedRecord, format!("offset {offset}: {distrust}"));
        }
        let record = match signed.record() {
            Ok(Record::HoldAsked(mut ask)) => {
                ask.opened = inner.keks.as_ref().and_then(|keks| shown::open(keks, ask.id, &ask.shown));
                Record::HoldAsked(ask)
            }
            Ok(record) => record,
            Err(error) => {
                inner.alarm(AlarmKind::UnreadableRecord, format!("offset {offset}: {error}"));
                return inner.lost(TOO_OLD);
            }
        };
        let (outcome, is_testimony) = self.fold(stamp, &record, taken);
        if is_testimony {
            self.testimony(inner, stamp);
        }
        match &outcome {
            Ok(_) => {
                inner.telemetry.records.inc();
                self.counted(inner, &signed, &record, offset);
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
        if stamp.author == inner.node && self.untold.is_due(stamp.epoch, offset) {
            let bodies = report::events(&record, &outcome, &self.state, &inner.node);
            for event in untold::events(stamp, bodies) {
                inner.ring(&event.body);
                self.untold.tell(&*inner.report, (stamp.epoch, offset), event);
            }
        }
        if stamp.key == inner.keys.own
            && stamp.epoch == inner.epoch
            && let Some(waiting) = lock(&inner.waiting).remove(&stamp.sequence)
            && waiting.send(outcome).is_err()
        {
            tracing::debug!("who wrote a control record is gone");
        }
    }

    /// Folds a record in; and whether it tells of this topic as it is now. A record that comes again, or that was written at
    /// another time, may be one of another history of the topic, which whoever can write to it has copied.
    fn fold(&mut self, stamp: &Stamp, record: &Record, taken: Option<i64>) -> (Outcome, bool) {
        let outcome = match punctual(stamp, record, taken) {
            Ok(true) => self.state.apply(stamp, record),
            Ok(false) => return (self.state.apply_untimely(stamp, record), false),
            Err(refused) => return (Err(refused), false),
        };
        let is_new = outcome != Err(Refused::Replayed);
        (outcome, is_new)
    }

    /// What a writer says that it had read.
    fn testimony(&mut self, inner: &Inner, stamp: &Stamp) {
        let Some(seen) = stamp.seen else { return };
        let is_own = stamp.key == inner.keys.own && stamp.epoch == inner.epoch;
        if let Err(contradiction) = self.sight.testimony(&stamp.author, &seen, is_own) {
            inner.lost(&contradiction.to_string());
        }
    }

    /// What follows from a record that counts, for whose records count.
    fn counted(&mut self, inner: &Inner, signed: &Signed, record: &Record, offset: Offset) {
        let stamp = signed.stamp();
        if let Record::IdentityDisabled { .. } = record {
            self.crowded();
        }
        let Record::SignerVouched { key, node } = record else {
            return self.sight.counted(stamp.key, &stamp.author, offset);
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
        let is_due = |signer: &Signer| self.vouched.get(signer).is_none_or(|at| at.elapsed() > AGAIN);
        let is_new = |signer: &&Signer| signer.0 != own && is_due(signer) && !self.state.vouches(&own, signer);
        let Some((key, node)) = self.sight.counting().iter().find(is_new).cloned() else { return };
        self.vouched.insert((key, node.clone()), Instant::now());
        // nobody waits for what comes of it; where it did not count it is written again
        let (sender, _) = oneshot::channel();
        let record = Record::SignerVouched { key: hexadecimal(&key), node };
        if let Err(error) = inner.hand_over(&record, sender) {
            tracing::warn!(%error, "it was not told whose records count here");
        }
    }

    /// Beyond the limit nobody can be disabled any more.
    fn crowded(&mut self) {
        let (disabled, limit) = self.state.disabled_of();
        let passed = passed(disabled as u64, limit as u64);
        if passed > self.warned_disabled {
            tracing::warn!(
                disabled,
                limit,
                "many identities are disabled: enable those again whom no issuer knows any more"
            );
        }
        self.warned_disabled = passed;
    }

    fn filled(&mut self, inner: &Inner, filled: &Filled) {
        inner.telemetry.filled(filled);
        let passed = passed(filled.bytes, filled.limit);
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

/// How many of the parts of a limit are reached at which it is warned of.
fn passed(number: u64, limit: u64) -> usize {
    let hundredths = number.saturating_mul(100) / limit.max(1);
    WARN_AT.iter().filter(|part| hundredths >= **part).count()
}

/// Where each of these signed last, read to the topic's end; none where that is not reached in this time.
pub(crate) fn last_signed(steps: &Steps, signers: &Signers, limit: Duration) -> Option<BTreeMap<Signer, Offset>> {
    let (mut last, mut next, until) = (BTreeMap::new(), 0, Instant::now() + limit);
    while Instant::now() < until {
        match steps.next(POLL) {
            Some(Step::Record { offset, bytes, .. }) => {
                next = offset.saturating_add(1);
                match envelope::open(&bytes) {
                    Ok(signed) => {
                        let signer = (signed.stamp().key, signed.stamp().author.clone());
                        if signers.contains(&signer) {
                            last.insert(signer, offset);
                        }
                    }
                    // for whom, a later version knows
                    Err(envelope::Error::Version(_)) => {
                        let key = envelope::other_versions_key(&bytes);
                        let by_it = signers.iter().filter(|(one, _)| Some(*one) == key).cloned();
                        last.extend(by_it.map(|signer| (signer, offset)));
                    }
                    Err(_) => {}
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
///
/// # Errors
/// [`Refused::Clock`]: it is wrong, and the record does not count with a wrong one.
fn punctual(stamp: &Stamp, record: &Record, taken: Option<i64>) -> Result<bool, Refused> {
    let apart = taken.map_or(0, |taken| taken.saturating_sub(stamp.time).saturating_abs());
    if apart <= MAX_SKEW_MICROS {
        return Ok(true);
    }
    if !record.needs_clock() {
        return Ok(false);
    }
    let seconds = |micros: i64| u64::try_from(micros / 1_000_000).unwrap_or(0);
    Err(Refused::Clock { node: stamp.author.clone(), seconds: seconds(apart), limit: seconds(MAX_SKEW_MICROS) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Review;
    use crate::testing::{identity, request};

    /// A record by a writer whose clock is this far from the topic's.
    fn count(record: &Record, apart: i64, has_clock: bool) -> Result<bool, Refused> {
        let now = 1_000 * MAX_SKEW_MICROS;
        punctual(&stamp(1, now + apart), record, has_clock.then_some(now))
    }

    fn stamp(sequence: u64, time: i64) -> Stamp {
        Stamp { author: "a".to_owned(), key: [1; 32], epoch: 1, sequence, time, seen: None }
    }

    fn disable(subject: &str) -> Record {
        let (by, reason) = (identity("root", &[]), String::new());
        Record::IdentityDisabled { subject: subject.to_owned(), issuer: None, by, reason }
    }

    #[test]
    fn what_comes_again_or_from_another_time_tells_nothing_of_this_topic() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader =
            Reader::new(Sight::open(folder.path().join("seen.json")).unwrap(), Untold::new(1, BTreeMap::new()));
        let now = 1_000 * MAX_SKEW_MICROS;
        let mut fold = |sequence, time, who: &str| reader.fold(&stamp(sequence, time), &disable(who), Some(now));
        assert_eq!(fold(1, now, "ada"), (Ok(vec![]), true));
        assert_eq!(fold(1, now, "ada"), (Err(Refused::Replayed), false));
        assert_eq!(fold(2, now, "ada"), (Err(Refused::Answered("disabled")), true), "it was written now all the same");
        let old = now - 100 * MAX_SKEW_MICROS;
        assert_eq!(
            fold(3, old, "bob"),
            (Ok(vec![]), false),
            "it takes something away, and is no word of what there is"
        );
        assert_eq!(fold(3, old, "bob"), (Err(Refused::Replayed), false));
        let vouch = Record::SignerVouched { key: "ab".repeat(32), node: "b".to_owned() };
        let (outcome, is_testimony) = reader.fold(&stamp(4, old), &vouch, Some(now));
        assert!(matches!(outcome, Err(Refused::Clock { .. })) && !is_testimony);
        assert_eq!(reader.fold(&stamp(5, now), &vouch, Some(now)), (Ok(vec![]), true));
    }

    #[test]
    fn limits_are_warned_of_in_time() {
        assert_eq!([0, 499_999, 500_000, 760_000, 1_000_000].map(|number| passed(number, 1_000_000)), [0, 0, 1, 2, 3]);
        assert_eq!(State::default().disabled_of(), (0, 1_000_000));
    }

    #[test]
    fn a_writers_clock_bounds_what_gives_and_nothing_that_takes_away() {
        let gives = Record::AccessRequested(request(1));
        let takes = disable("ada");
        let lapsed = Record::GrantLapsed { grant: schemas::GrantId::from_bytes([1; 16]) };
        let answer = |approved| {
            let (digest, reviewer, reason) = (request(1).digest(), identity("ada", &["dba"]), String::new());
            let review = Review { digest, reviewer, approved, reason, exception: None };
            Record::AccessReviewed { request: request(1).id, review }
        };
        for apart in [MAX_SKEW_MICROS, -MAX_SKEW_MICROS] {
            assert_eq!(count(&gives, apart, true), Ok(true));
            let over = apart + apart.signum() * 1_000_000;
            let refused = Err(Refused::Clock { node: "a".to_owned(), seconds: 61, limit: 60 });
            assert_eq!(
                (count(&gives, over, true), count(&answer(true), over, true)),
                (refused.clone(), refused.clone())
            );
            assert_eq!((count(&takes, over, true), count(&answer(false), over, true)), (Ok(false), Ok(false)));
            assert_eq!(count(&lapsed, over, true), refused, "it is nothing but a word about the time");
            assert_eq!(count(&gives, over, false), Ok(true), "a journal has no clock but its writer's");
        }
    }
}
