//! Which events of what this node wrote to the topic are not in its log for good.
//!
//! A record counts once the topic has it; its events are told when it comes back. A node that ends between the two would
//! leave a revocation that no record of its own speaks of. So each process of a node is noted, before it writes anything,
//! with the offset below which all is told ([`crate::seen`]); who starts there tells the rest, of those that ended. What is
//! told a second time has the same ids, by which readers know it.

use crate::report::{Report, Taken};
use event_log::Offset;
use schemas::{Body, Event};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Events that wait until they are in the log for good; beyond it they are told at the next start.
const MAX_WAITING: usize = 16_384;

/// By epoch of the process: below which offset all that it wrote is told.
pub type Told = BTreeMap<u64, Offset>;

/// What this process has to tell.
pub(crate) struct Untold {
    own: u64,
    /// Those of this node that ended, or go on beside this one.
    behind: Told,
    waiting: VecDeque<Waiting>,
    /// From where on there was no place for what waits.
    beyond: BTreeMap<u64, Offset>,
    has_failed: bool,
}

struct Waiting {
    epoch: u64,
    offset: Offset,
    what: What,
}

enum What {
    /// It is in the log, and not on disk.
    In(event_log::Position),
    /// The log did not take it.
    Out(Box<Event>),
}

impl Untold {
    pub(crate) fn new(own: u64, behind: Told) -> Self {
        let (waiting, beyond) = (VecDeque::new(), BTreeMap::new());
        Self { own, behind, waiting, beyond, has_failed: false }
    }

    /// Whether this process tells what was written in this epoch of the node, at this place.
    pub(crate) fn is_due(&self, epoch: u64, offset: Offset) -> bool {
        epoch == self.own || self.behind.get(&epoch).is_some_and(|told| offset >= *told)
    }

    /// Tells an event of the record at this place.
    pub(crate) fn tell(&mut self, report: &dyn Report, (epoch, offset): (u64, Offset), event: Event) {
        if self.waiting.len() >= MAX_WAITING {
            self.beyond.entry(epoch).or_insert(offset);
            tracing::error!(
                event = event.body.name(),
                "too many events wait for the log; it is told at the next start"
            );
            return;
        }
        let what = match self.take(report, &event) {
            Some(Taken::Durable) => return,
            Some(Taken::At(position)) => What::In(position),
            None => What::Out(Box::new(event)),
        };
        self.waiting.push_back(Waiting { epoch, offset, what });
    }

    /// Looks what is in the log for good by now.
    pub(crate) fn settle(&mut self, report: &dyn Report) {
        while let Some(Waiting { epoch, offset, what }) = self.waiting.pop_front() {
            let what = match what {
                What::In(position) if report.is_durable(position) => continue,
                What::In(position) => What::In(position),
                What::Out(event) => match self.take(report, &event) {
                    Some(Taken::Durable) => continue,
                    Some(Taken::At(position)) => What::In(position),
                    None => What::Out(event),
                },
            };
            self.waiting.push_front(Waiting { epoch, offset, what });
            return;
        }
    }

    fn take(&mut self, report: &dyn Report, event: &Event) -> Option<Taken> {
        let taken = report.report(event);
        if let Err(error) = &taken
            && !self.has_failed
        {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, cause, event = event.body.name(), "cannot record an event of the control plane yet");
        }
        self.has_failed = taken.is_err();
        taken.ok()
    }

    /// Below which offset all that this process wrote is told, where it has read all below this one.
    pub(crate) fn told(&self, read: Offset) -> Offset {
        let first = self.waiting.iter().find(|waiting| waiting.epoch == self.own).map(|waiting| waiting.offset);
        let beyond = self.beyond.get(&self.own).copied();
        first.into_iter().chain(beyond).fold(read, Offset::min)
    }

    /// The others of whom all is told, where everything was read that they wrote.
    pub(crate) fn done(&self) -> BTreeSet<u64> {
        let is_open = |epoch: &u64| self.waiting.iter().any(|waiting| waiting.epoch == *epoch);
        self.behind.keys().filter(|epoch| !is_open(epoch) && !self.beyond.contains_key(epoch)).copied().collect()
    }

    /// Whether this process has nothing left to tell.
    pub(crate) fn is_done(&self) -> bool {
        self.waiting.iter().all(|waiting| waiting.epoch != self.own) && !self.beyond.contains_key(&self.own)
    }
}

/// The events of one record: the same ids and times whoever tells them, and whenever.
pub(crate) fn events(stamp: &crate::envelope::Stamp, bodies: Vec<Body>) -> impl Iterator<Item = Event> {
    let (key, epoch, sequence, time) = (stamp.key, stamp.epoch, stamp.sequence, stamp.time);
    (0u64..).zip(bodies).map(move |(place, body)| {
        let name = [&key[..], &epoch.to_be_bytes(), &sequence.to_be_bytes(), &place.to_be_bytes()].concat();
        Event { session: schemas::SessionId::derived(time, &name), sequence: 0, time, body }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Stamp;
    use crate::report::NotTaken;
    use schemas::SessionId;
    use schemas::event::{Alarm, AlarmKind};
    use std::sync::Mutex;

    /// A log that is full, or not on disk.
    #[derive(Default)]
    struct Slow {
        taken: Mutex<Vec<SessionId>>,
        is_full: std::sync::atomic::AtomicBool,
    }

    impl Report for Slow {
        fn report(&self, event: &Event) -> Result<Taken, NotTaken> {
            if self.is_full.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(NotTaken::Log(event_log::Error::Closed));
            }
            self.taken.lock().unwrap().push(event.session);
            Ok(Taken::Durable)
        }
    }

    fn event(sequence: u64) -> Event {
        let stamp = Stamp { author: "a".to_owned(), key: [1; 32], epoch: 7, sequence, time: 5_000_000, seen: None };
        let alarm = Alarm { kind: AlarmKind::BreakGlass, detail: String::new(), node: "a".to_owned() };
        events(&stamp, vec![Body::Alarm(alarm)]).next().unwrap()
    }

    #[test]
    fn what_the_log_does_not_take_is_told_later_and_never_counted_before() {
        let log = Slow::default();
        let mut untold = Untold::new(7, [(3, 10)].into());
        assert!(untold.is_due(7, 0) && untold.is_due(3, 10) && !untold.is_due(3, 9) && !untold.is_due(4, 99));
        untold.tell(&log, (7, 20), event(1));
        assert_eq!((untold.told(21), untold.is_done()), (21, true));
        log.is_full.store(true, std::sync::atomic::Ordering::Relaxed);
        untold.tell(&log, (7, 21), event(2));
        untold.tell(&log, (3, 22), event(3));
        untold.settle(&log);
        assert_eq!((untold.told(23), untold.is_done(), untold.done().len()), (21, false, 0));
        log.is_full.store(false, std::sync::atomic::Ordering::Relaxed);
        untold.settle(&log);
        assert_eq!((untold.told(23), untold.is_done(), untold.done()), (23, true, [3].into()));
        assert_eq!(*log.taken.lock().unwrap(), [1, 2, 3].map(|sequence| event(sequence).session), "once each");
    }

    #[test]
    fn what_is_beyond_the_limit_waits_for_the_next_start() {
        let log = Slow::default();
        log.is_full.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut untold = Untold::new(7, Told::new());
        for sequence in 0..MAX_WAITING as u64 + 2 {
            untold.tell(&log, (7, sequence), event(sequence));
        }
        log.is_full.store(false, std::sync::atomic::Ordering::Relaxed);
        untold.settle(&log);
        assert_eq!((untold.told(1 << 40), untold.is_done()), (MAX_WAITING as u64, false));
    }

    #[test]
    fn a_second_telling_has_the_same_ids_and_no_other_has_them() {
        assert_eq!(event(1), event(1));
        assert_ne!(event(1).session, event(2).session);
        let text = event(1).session.to_string();
        assert!(text.starts_with("ses_000000001388"), "it sorts by its time: {text}");
    }
}
