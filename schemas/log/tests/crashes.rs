//! Sequences of appends, crashes, restarts and committed segments, drawn at random: nothing that was written is lost
//! or doubled, sequences are dense, every session is closed once (AUD-3, AUD-4, AUD-5).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use event_log::Log;
use event_log::testing::{Session, config};
use proptest::prelude::*;
use std::sync::Arc;
use support::{Reader, Store};

#[derive(Debug, Clone)]
enum Act {
    /// One session says something of this length; written afterwards or not.
    Say { session: usize, bytes: usize, written: bool },
    /// A session ends and another takes its place.
    Close { session: usize },
    /// The process dies.
    Crash,
    /// The process is stopped and started.
    Restart,
    /// The consumer reads for a while.
    Read,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => (0..4usize, 0..3_000usize, any::<bool>()).prop_map(|(session, bytes, written)| Act::Say { session, bytes, written }),
        3 => (0..4usize).prop_map(|session| Act::Close { session }),
        1 => Just(Act::Crash),
        1 => Just(Act::Restart),
        3 => Just(Act::Read),
    ]
}

/// What must be found of a session: at least `written` events, at most `said`, and its end.
struct Expected {
    session: Session,
    written: u64,
}

async fn run(acts: Vec<Act>) {
    let folder = tempfile::tempdir().unwrap();
    let open = || Log::open(config(folder.path()), "node-1".into()).unwrap().0;
    let store = Arc::new(Store::default());
    let mut log = open();
    let mut reader = Some(Reader::new(log.subscribe("reader"), &store));
    let mut ended: Vec<Expected> = Vec::new();
    let mut live: Vec<Expected> = fresh(&log);
    for act in acts {
        match act {
            Act::Say { session, bytes, written } => {
                let expected = &mut live[session];
                let position = expected.session.say(&log, &"y".repeat(bytes)).unwrap();
                if written {
                    log.written(position).unwrap();
                    live.iter_mut().for_each(|e| e.written = e.session.next);
                }
            }
            Act::Close { session } => {
                let expected = &mut live[session];
                if expected.session.next > 0 {
                    let position = expected.session.close(&log).unwrap();
                    log.written(position).unwrap();
                    live.iter_mut().for_each(|e| e.written = e.session.next);
                    ended.push(std::mem::replace(&mut live[session], one(&log)));
                }
            }
            Act::Crash | Act::Restart => {
                reader.take();
                if matches!(act, Act::Restart) {
                    log.close().await.unwrap();
                    live.iter_mut().for_each(|e| e.written = e.session.next);
                } else {
                    log.crash();
                }
                log = open();
                ended.extend(live);
                live = fresh(&log);
            }
            Act::Read => {
                let subscribe = || Reader::new(log.subscribe("reader"), &store);
                let reader = reader.get_or_insert_with(subscribe);
                for _ in 0..6 {
                    if reader.step().await {
                        break;
                    }
                }
                reader.commit();
            }
        }
    }
    drop(reader);
    log.close().await.unwrap();
    let log = open();
    ended.extend(live.into_iter().map(|e| Expected { written: e.session.next, ..e }));
    let mut reader = Reader::new(log.subscribe("reader"), &store);
    let all = |witness: &event_log::testing::Witness| {
        ended.iter().all(|e| e.written == 0 || witness.closed_once(e.session.id))
    };
    reader.until("everything", all).await;
    let witness = store.witness();
    witness.check().unwrap();
    assert_eq!(witness.repeated, 0);
    for expected in &ended {
        let count = witness.count(expected.session.id) as u64;
        assert!(count >= expected.written, "{count} of {} written events", expected.written);
        assert!(count <= expected.session.next + 1, "more events than were said");
    }
}

fn one(log: &Log) -> Expected {
    Expected { session: Session::new(log.assign()), written: 0 }
}

fn fresh(log: &Log) -> Vec<Expected> {
    (0..4).map(|_| one(log)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn aud_5_nothing_written_is_lost_or_doubled(acts in prop::collection::vec(act(), 1..80)) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(run(acts));
    }
}
