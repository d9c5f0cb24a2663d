//! An object store that fails: whichever call fails, in whichever way, the archive ends with every batch once, and holds.

use super::*;
use crate::testing::Random;
use crate::testing::faulty::{Faulty, WAYS, Way};

/// One run of a recorder until the bus is idle and all is committed, with a checkpoint at the end; the way of `run_with`,
/// which tries again.
async fn recorded(recorder: &mut Recorder, bus: &mut Bus, store: &dyn ObjectStore) {
    let shutdown = Shutdown::new();
    loop {
        let step = bus.next().await.unwrap();
        let idle = matches!(step, Step::Idle);
        if idle {
            tokio::time::advance(recorder.flush_interval).await;
        }
        assert!(recorder.until_done(&step, bus, &shutdown).await);
        if idle && recorder.held().is_empty() {
            break;
        }
    }
    let notary = config::Notary { signer: signer(9), node: "recorder-1".into() };
    let mut checkpoints = Checkpoints::new(store, &notary);
    for now in 7.. {
        if checkpoints.make(now, 0).await.is_ok() {
            break;
        }
    }
}

/// Lets the paused clock go on.
async fn pass(time: Duration) {
    tokio::time::timeout(time, std::future::pending::<()>()).await.unwrap_err();
}

async fn assert_attested(store: &Arc<dyn ObjectStore>) {
    let report = Reader::new(store.clone()).verify(Range::default()).await.unwrap();
    assert!(report.holds() && report.uncovered == 0 && report.checkpoints > 0, "{report:#?}");
}

/// Runs with a plan of faults; gives how many calls failed, and what the recorder counted.
async fn run(batches: &[EventBatch], plan: impl FnMut(u64) -> Option<Way> + Send + 'static) -> (u64, Telemetry) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let faulty = Faulty::new(store.clone(), plan);
    let mut bus = Bus::of([(0, batches.to_vec())]);
    let mut recorder = recorder(Arc::new(faulty.clone()), 700);
    recorded(&mut recorder, &mut bus, &faulty).await;
    assert_holds(&store, 0, batches).await;
    assert_attested(&store).await;
    assert_eq!(bus.committed[&0], batches.len() as u64, "the bus is told of all, and of no more");
    assert!(orphans(&*store).await.unwrap().is_empty());
    (faulty.failed(), recorder.telemetry.clone())
}

#[test]
fn whichever_call_fails_the_archive_ends_right() {
    block_on(async {
        let (_, batches) = shop();
        for way in WAYS {
            let mut call = 0;
            loop {
                call += 1;
                let (failed, telemetry) = run(&batches, move |n| (n == call).then_some(way)).await;
                // a batch is taken once, and a commit that finds itself is no other recorder's
                assert_eq!(telemetry.batches.get(), batches.len() as u64, "{way:?} at {call}");
                assert_eq!(telemetry.conflicts.get(), 0, "{way:?} at {call}");
                assert_eq!(telemetry.failing.get(), 0, "it answers again");
                if failed == 0 {
                    break;
                }
            }
            assert!(call > 12, "{way:?}: commits and checkpoints were made: {call}");
        }
    });
}

#[test]
fn an_outage_of_any_length_at_any_time_is_waited_for() {
    block_on(async {
        let (_, batches) = shop();
        for way in WAYS {
            for (from, length) in [(1, 40), (2, 9), (3, 90), (5, 17), (8, 30)] {
                let out = from..from + length;
                let (failed, telemetry) = run(&batches, move |n| out.contains(&n).then_some(way)).await;
                assert!(failed >= 9, "{way:?}: {failed}");
                assert_eq!(telemetry.batches.get(), batches.len() as u64);
            }
        }
    });
}

#[test]
fn faults_at_random_lose_and_double_nothing() {
    block_on(async {
        let (_, batches) = shop();
        for seed in 0..300 {
            let mut random = Random(seed);
            let (_, telemetry) =
                run(&batches, move |_| (random.below(3) == 0).then(|| WAYS[random.below(WAYS.len())])).await;
            assert_eq!(telemetry.conflicts.get(), 0, "seed {seed}");
        }
    });
}

#[test]
fn two_recorders_on_a_store_that_fails_at_random_lose_and_double_nothing() {
    block_on(async {
        let (_, batches) = shop();
        let mut conflicts = 0;
        for seed in 0..100 {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let mut random = Random(seed);
            let faulty =
                Faulty::new(store.clone(), move |_| (random.below(4) == 0).then(|| WAYS[random.below(WAYS.len())]));
            let mut buses = [Bus::of([(0, batches.clone())]), Bus::of([(0, batches.clone())])];
            let mut recorders = [700, 1_000].map(|bytes| recorder(Arc::new(faulty.clone()), bytes));
            // their commits differ in when they were made, if in nothing else
            recorders[1].clock = Clock::fixed(8);
            let mut steps = [None, None];
            for _ in 0..400 {
                for ((recorder, bus), step) in recorders.iter_mut().zip(&mut buses).zip(&mut steps) {
                    tokio::time::advance(Duration::from_millis(100)).await;
                    let now = match step.take() {
                        Some(again) => again,
                        None => bus.next().await.unwrap(),
                    };
                    if recorder.step(&now, bus).await.is_err() {
                        *step = Some(now);
                    }
                }
            }
            assert_holds(&store, 0, &batches).await;
            conflicts += recorders.iter().map(|r| r.telemetry.conflicts.get()).sum::<u64>();
        }
        assert!(conflicts > 50, "they met: {conflicts}");
    });
}

#[test]
fn while_the_store_fails_nothing_is_committed_and_it_is_told() {
    block_on(async {
        let (_, batches) = shop();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let faulty = Faulty::new(store.clone(), |call| (call > 1).then_some(Way::Refused));
        let mut bus = Bus::of([(0, batches)]);
        let mut recorder = recorder(Arc::new(faulty.clone()), 1);
        let shutdown = Shutdown::new();
        let telemetry = recorder.telemetry.clone();
        let driving = recorder.drive(&mut bus, &shutdown);
        let watching = async {
            pass(Duration::from_secs(300)).await;
            assert_eq!((telemetry.failing.get(), telemetry.batches.get()), (1, 1));
            assert!(telemetry.retries.get() > 60, "{}", telemetry.retries.get());
            shutdown.trigger();
        };
        tokio::join!(driving, watching).0.unwrap();
        assert!(bus.committed.is_empty(), "{:?}", bus.committed);
        assert!(Reader::new(store).partitions().await.unwrap().is_empty());
    });
}

#[test]
fn a_recorder_whose_store_hangs_still_ends() {
    block_on(async {
        let (_, batches) = shop();
        for from in [1, 2, 3] {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let faulty = Faulty::new(store.clone(), move |call| (call >= from).then_some(Way::Hanging));
            let mut bus = Bus::of([(0, batches.clone())]);
            let mut recorder = recorder(Arc::new(faulty.clone()), 1);
            let (shutdown, began) = (Shutdown::new(), Instant::now());
            let stop = async {
                pass(Duration::from_secs(100)).await;
                shutdown.trigger();
            };
            tokio::join!(recorder.drive(&mut bus, &shutdown), stop).0.unwrap();
            assert!(began.elapsed() <= Duration::from_secs(100) + LAST_COMMITS + Duration::from_secs(1));
            assert!(faulty.failed() > 0 && bus.committed.is_empty());
            // the next start has all of it
            bus.assign();
            drain(&mut super::recorder(store.clone(), 700), &mut bus).await.unwrap();
            assert_holds(&store, 0, &batches).await;
        }
    });
}
