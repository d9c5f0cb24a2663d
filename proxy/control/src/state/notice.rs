//! Which webhook was told of what: one node at a time tries, and all know what became of it.
//!
//! A node takes a message until a time. While that lasts no other node may take it; a node that is gone lets it lapse. A
//! later start of the same node takes over at once what an earlier one left.

use super::{Effect, Refused, State, make_room};
use crate::envelope::{PublicKey, Stamp};
use crate::record::{Subject, Telling, Told};
use std::sync::Arc;

/// Messages that are remembered; beyond it those about what is no longer open go first.
const MAX_NOTICES: usize = 40_000;
/// Longest time for which a message can be taken: 3 hours.
const MAX_TAKEN: i64 = 3 * 3600 * 1_000_000;
/// Longest name of a webhook, and longest reason, in bytes.
const MAX_TEXT_BYTES: usize = 512;

/// One message to one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How far it has come.
    pub telling: Telling,
    /// The node that tries, or did.
    pub node: String,
    /// When it said so, microseconds since 1970-01-01 UTC.
    pub time: i64,
    by: (PublicKey, u64),
}

impl Notice {
    /// Whether another than this writer tries now. A later start of a node is its heir: the earlier one is gone.
    fn is_anothers(&self, stamp: &Stamp) -> bool {
        let (key, epoch) = self.by;
        let own = key == stamp.key && epoch <= stamp.epoch;
        !own && stamp.time < self.telling.until
    }
}

impl State {
    /// What a webhook was told of something.
    pub fn told(&self, about: Subject, webhook: &str) -> Option<&Arc<Notice>> {
        self.notices.get(&(about, webhook.to_owned()))
    }

    /// All messages that are remembered.
    pub fn notices(&self) -> impl DoubleEndedIterator<Item = &Arc<Notice>> {
        self.notices.values()
    }

    /// Whether it waits for an answer; none: there is no such thing.
    pub fn is_open(&self, about: Subject, now: i64) -> Option<bool> {
        match about {
            Subject::Hold(id) => self.holds.get(&id).map(|hold| hold.is_open(now)),
            Subject::Request(id) => self.requests.get(&id).map(|request| request.is_open(now)),
        }
    }

    pub(super) fn notice(&mut self, stamp: &Stamp, telling: &Telling) -> Result<Vec<Effect>, Refused> {
        let at = stamp.time;
        if self.is_open(telling.about, at).is_none() {
            return Err(Refused::Unknown(telling.about.to_string()));
        }
        if telling.told == Told::Trying && (telling.until <= at || telling.until.saturating_sub(at) > MAX_TAKEN) {
            return Err(Refused::Invalid("a message is taken for no time, or for too long"));
        }
        let texts = [Some(&telling.webhook), telling.reason.as_ref()];
        if texts.iter().flatten().any(|text| text.len() > MAX_TEXT_BYTES) {
            return Err(Refused::Invalid("its texts are too long"));
        }
        let key = (telling.about, telling.webhook.clone());
        match self.notices.get(&key) {
            Some(before) => match before.telling.told {
                Told::Delivered => return Err(Refused::Answered("delivered")),
                Told::Failed => return Err(Refused::Answered("given up")),
                Told::Trying if before.is_anothers(stamp) => return Err(Refused::Taken(before.node.clone())),
                Told::Trying => {}
            },
            None => {
                let (holds, requests) = (&self.holds, &self.requests);
                make_room(&mut self.notices, MAX_NOTICES, |old| match old.telling.about {
                    Subject::Hold(id) => holds.get(&id).is_none_or(|hold| !hold.is_open(at)),
                    Subject::Request(id) => requests.get(&id).is_none_or(|request| !request.is_open(at)),
                })?;
            }
        }
        let by = (stamp.key, stamp.epoch);
        self.notices
            .insert(key, Arc::new(Notice { telling: telling.clone(), node: stamp.author.clone(), time: at, by }));
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::testing::request;
    use schemas::RequestId;

    const MINUTE: i64 = 60_000_000;

    fn stamp(key: u8, epoch: u64, sequence: u64, time: i64) -> Stamp {
        Stamp { author: format!("node-{key}"), key: [key; 32], epoch, sequence, time, seen: None }
    }

    fn telling(told: Told, until: i64) -> Record {
        let about = Subject::Request(RequestId::from_bytes([1; 16]));
        Record::Notice(Telling { webhook: "ops".into(), about, told, attempts: 1, until, reason: None })
    }

    fn state() -> State {
        let mut state = State::default();
        state.apply(&stamp(9, 1, 1, 0), &Record::AccessRequested(request(1))).unwrap();
        state
    }

    #[test]
    fn one_node_at_a_time_tells_and_all_know_the_end() {
        let mut state = state();
        let trying = |until| telling(Told::Trying, until);
        let mut put = |key, epoch, sequence, time, record| state.apply(&stamp(key, epoch, sequence, time), &record);
        put(1, 1, 1, 0, trying(MINUTE)).unwrap();
        let taken = Err(Refused::Taken("node-1".into()));
        assert_eq!(put(2, 1, 1, MINUTE - 1, trying(2 * MINUTE)), taken);
        assert_eq!(put(2, 1, 2, MINUTE - 1, telling(Told::Delivered, 0)), taken);
        // the holder goes on, also after a start; an earlier start of it does not come back
        put(1, 1, 2, 1, trying(MINUTE)).unwrap();
        put(1, 2, 1, 2, trying(MINUTE)).unwrap();
        assert_eq!(put(1, 1, 3, 3, trying(MINUTE)), taken);
        // what lapses is anybody's
        put(2, 1, 3, MINUTE, trying(2 * MINUTE)).unwrap();
        assert_eq!(put(1, 2, 2, MINUTE, telling(Told::Delivered, 0)), Err(Refused::Taken("node-2".into())));
        put(2, 1, 4, MINUTE, telling(Told::Delivered, 0)).unwrap();
        assert_eq!(put(1, 2, 3, 3 * MINUTE, trying(4 * MINUTE)), Err(Refused::Answered("delivered")));
        let about = Subject::Request(RequestId::from_bytes([1; 16]));
        let notice = state.told(about, "ops").unwrap();
        assert_eq!((notice.telling.told, notice.node.as_str()), (Told::Delivered, "node-2"));
        assert!(state.told(about, "other").is_none());
    }

    #[test]
    fn what_is_not_there_is_not_told_nor_taken_for_ever() {
        let mut state = state();
        let mut put = |sequence, record| state.apply(&stamp(1, 1, sequence, 0), &record);
        assert!(matches!(put(1, telling(Told::Trying, 0)), Err(Refused::Invalid(_))));
        assert!(matches!(put(2, telling(Told::Trying, MAX_TAKEN + 1)), Err(Refused::Invalid(_))));
        let about = Subject::Request(RequestId::from_bytes([2; 16]));
        let told = Told::Trying;
        let other = Telling { webhook: "ops".into(), about, told, attempts: 1, until: MINUTE, reason: None };
        assert_eq!(put(3, Record::Notice(other)), Err(Refused::Unknown(about.to_string())));
    }

    #[test]
    fn subjects_are_their_ids() {
        for text in ["hld_00000000000000000000000000000001", "req_00000000000000000000000000000001"] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        assert!("ses_00000000000000000000000000000001".parse::<Subject>().is_err());
        let written = serde_json::to_string(&telling(Told::Failed, 5)).unwrap();
        assert!(written.contains(r#""type":"notice""#) && written.contains(r#""about":"req_0101"#), "{written}");
        assert_eq!(serde_json::from_str::<Record>(&written).unwrap(), telling(Told::Failed, 5));
    }
}
