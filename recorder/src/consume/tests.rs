//! Nothing is lost or doubled wherever a recorder dies; damaged batches are kept and told.

mod faults;

use super::*;
use crate::archive::{Range, Reader, orphans};
use crate::testing::{Bus, Mortal, Node, session, signer, whole};
use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use proptest::prelude::*;
use schemas::Event;

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

/// Commits after every `object_bytes` bytes, and when the bus is idle.
fn recorder(store: Arc<dyn ObjectStore>, object_bytes: usize) -> Recorder {
    let config = Config { flush_interval: Duration::ZERO, object_bytes, ..Config::for_directory("/nowhere") };
    let mut recorder = Recorder::new(store, &config, Telemetry::default(), Clock::fixed(7));
    recorder.flush_interval = Duration::from_secs(1);
    recorder
}

/// Steps until the bus is idle, and commits what is held then.
async fn drain(recorder: &mut Recorder, bus: &mut Bus) -> Result<(), Error> {
    loop {
        let step = bus.next().await.unwrap();
        if matches!(step, Step::Idle) {
            tokio::time::advance(recorder.flush_interval).await;
        }
        recorder.step(&step, bus).await?;
        if matches!(step, Step::Idle) {
            return Ok(());
        }
    }
}

/// Archives batches of partition 0, from where the archive ends, a commit for about each.
pub(crate) async fn archived(store: &Arc<dyn ObjectStore>, batches: Vec<EventBatch>) {
    archive_all(store, [(0, batches)]).await;
}

/// Archives what comes on several partitions, each from where the archive ends.
pub(crate) async fn archive_all(
    store: &Arc<dyn ObjectStore>,
    partitions: impl IntoIterator<Item = (Partition, Vec<EventBatch>)>,
) {
    let mut bus = Bus::of(partitions);
    drain(&mut recorder(store.clone(), 1), &mut bus).await.unwrap();
}

fn shop() -> (Vec<Event>, Vec<EventBatch>) {
    let events: Vec<Event> = (0..4).flat_map(|n| whole(session(n), 3)).collect();
    let batches = Node::new("gate-1").cut(&events, 5);
    (events, batches)
}

/// The archive is exactly these batches, and proves itself.
async fn assert_holds(store: &Arc<dyn ObjectStore>, partition: Partition, batches: &[EventBatch]) {
    let reader = Reader::new(store.clone());
    let archived: Vec<_> = reader.batches(partition, 0).await.unwrap().try_collect().await.unwrap();
    let archived: Vec<Vec<u8>> = archived.iter().map(|a| a.batch.encode().unwrap()).collect();
    let shipped: Vec<Vec<u8>> = batches.iter().map(|b| b.encode().unwrap()).collect();
    assert_eq!(archived, shipped, "ARC-1");
    let report = reader.verify(Range::default()).await.unwrap();
    assert!(report.holds(), "{report:#?}");
}

#[test]
fn arc_1_what_is_archived_is_what_was_shipped() {
    block_on(async {
        let (events, batches) = shop();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut bus = Bus::of([(3, batches.clone())]);
        let mut recorder = recorder(store.clone(), 800);
        drain(&mut recorder, &mut bus).await.unwrap();
        assert_holds(&store, 3, &batches).await;
        assert_eq!(bus.committed[&3], batches.len() as u64);
        assert_eq!(recorder.telemetry.events.get(), events.len() as u64);
        let reader = Reader::new(store);
        for n in 0..4 {
            assert_eq!(reader.events(session(n)).await.unwrap(), whole(session(n), 3));
        }
        assert!(matches!(reader.events(session(9)).await, Err(archive::Error::UnknownSession(_))));
        assert!(reader.manifests(3, 0).await.unwrap().len() > 1, "several commits were made");
    });
}

#[test]
fn nothing_is_lost_or_doubled_wherever_it_dies() {
    block_on(async {
        let (_, batches) = shop();
        for done_first in [false, true] {
            let mut at = 0;
            loop {
                at += 1;
                let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
                let mortal = Mortal::new(store.clone(), at, done_first);
                let mut bus = Bus::of([(0, batches.clone())]);
                let died = drain(&mut recorder(Arc::new(mortal.clone()), 700), &mut bus).await.is_err();
                assert_eq!(died, mortal.died());
                // Another start, which cuts its commits elsewhere.
                bus.assign();
                drain(&mut recorder(store.clone(), 1_200), &mut bus).await.unwrap();
                assert_holds(&store, 0, &batches).await;
                if !died {
                    break;
                }
            }
            assert!(at > 6, "several commits were made: {at}");
        }
    });
}

#[test]
fn the_same_recorder_goes_on_after_a_failure_of_the_store() {
    block_on(async {
        let (_, batches) = shop();
        for done_first in [false, true] {
            for at in 1..=4 {
                let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
                let mut bus = Bus::of([(0, batches.clone())]);
                let mut recorder = recorder(Arc::new(Mortal::new(store.clone(), at, done_first)), 700);
                loop {
                    let step = bus.next().await.unwrap();
                    tokio::time::advance(Duration::from_millis(10)).await;
                    if recorder.step(&step, &mut bus).await.is_err() {
                        recorder.store = store.clone(); // the store is back
                        recorder.step(&step, &mut bus).await.unwrap();
                    }
                    if matches!(step, Step::Idle) {
                        tokio::time::advance(Duration::from_secs(1)).await;
                        recorder.step(&step, &mut bus).await.unwrap();
                        break;
                    }
                }
                drain(&mut recorder, &mut bus).await.unwrap();
                assert_holds(&store, 0, &batches).await;
            }
        }
    });
}

#[test]
fn a_lost_archive_is_made_again_from_the_topic() {
    block_on(async {
        let (_, batches) = shop();
        let others = Node::new("gate-2").cut(&whole(session(9), 3), 4);
        let mut bus = Bus::of([(0, batches.clone()), (1, others.clone())]);
        let first: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        drain(&mut recorder(first.clone(), 700), &mut bus).await.unwrap();
        let again: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        bus.assign();
        drain(&mut recorder(again.clone(), 700), &mut bus).await.unwrap();
        assert_holds(&again, 0, &batches).await;
        assert_holds(&again, 1, &others).await;
        let first = Reader::new(first);
        let again = Reader::new(again);
        for n in [0, 1, 2, 3, 9] {
            assert_eq!(first.events(session(n)).await.unwrap(), again.events(session(n)).await.unwrap());
        }
    });
}

#[test]
fn what_the_bus_has_no_more_is_counted_and_named_and_the_rest_is_archived() {
    block_on(async {
        let (_, batches) = shop();
        // from the beginning of the topic, and in the middle of an archive
        for (archived, first) in [(0, 3), (2, 5), (4, 4)] {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            archive_all(&store, [(0, batches[..archived].to_vec())]).await;
            let mut bus = Bus::of([(0, batches.clone())]);
            bus.first = first as u64;
            let mut recorder = recorder(store.clone(), 700);
            drain(&mut recorder, &mut bus).await.unwrap();
            assert_eq!(recorder.telemetry.lost.get(), (first - archived) as u64);
            let reader = Reader::new(store);
            let there: Vec<_> = reader.batches(0, 0).await.unwrap().try_collect().await.unwrap();
            let there: Vec<_> = there.iter().map(|a| (a.offset, a.batch.encode().unwrap())).collect();
            let kept = (0..archived).chain(first..batches.len());
            assert_eq!(there, kept.map(|at| (at as u64, batches[at].encode().unwrap())).collect::<Vec<_>>());
            let report = reader.verify(Range::default()).await.unwrap();
            let kind = if archived == 0 { FaultKind::ChainStart } else { FaultKind::BatchesMissing };
            assert_eq!(report.findings.iter().any(|finding| finding.kind == kind), first > archived, "{report:#?}");
            assert!(!report.findings.iter().any(|f| f.kind == FaultKind::Archive || f.kind == FaultKind::Manifest));
        }
    });
}

#[test]
fn orphans_are_known_and_not_read() {
    block_on(async {
        let (_, batches) = shop();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut bus = Bus::of([(0, batches.clone())]);
        // The second write is the first manifest: its data object is left behind.
        drain(&mut recorder(Arc::new(Mortal::new(store.clone(), 2, false)), 700), &mut bus).await.unwrap_err();
        assert!(orphans(&*store).await.unwrap().is_empty(), "it may be about to be committed");
        bus.assign();
        drain(&mut recorder(store.clone(), 1_600), &mut bus).await.unwrap();
        assert_eq!(orphans(&*store).await.unwrap().len(), 1);
        assert_holds(&store, 0, &batches).await;
    });
}

#[test]
fn two_recorders_on_one_partition_do_not_double() {
    block_on(async {
        let (_, batches) = shop();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut buses = [Bus::of([(0, batches.clone())]), Bus::of([(0, batches.clone())])];
        let mut recorders = [recorder(store.clone(), 700), recorder(store.clone(), 1_000)];
        // Turn by turn: both hold the same batches, and one of the two commits them.
        for _ in 0..200 {
            for (recorder, bus) in recorders.iter_mut().zip(&mut buses) {
                let step = bus.next().await.unwrap();
                tokio::time::advance(Duration::from_millis(100)).await;
                recorder.step(&step, bus).await.unwrap();
            }
        }
        let conflicts: u64 = recorders.iter().map(|r| r.telemetry.conflicts.get()).sum();
        assert!(conflicts > 0, "they met");
        assert_holds(&store, 0, &batches).await;
    });
}

#[test]
fn duplicates_are_skipped_and_counted() {
    block_on(async {
        let (_, batches) = shop();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        // Sent again by a node that restarted: everything once more, then the rest.
        let (early, late) = batches.split_at(4);
        let mut bus = Bus::of([(0, [early, early, late, &batches].concat())]);
        let mut first = recorder(store.clone(), 700);
        drain(&mut first, &mut bus).await.unwrap();
        assert_holds(&store, 0, &batches).await;
        assert_eq!(first.telemetry.duplicates.get(), 4 + batches.len() as u64);
        // A start that remembers nothing but the manifests.
        bus.extend(0, &batches);
        bus.assign();
        let mut second = recorder(store.clone(), 700);
        drain(&mut second, &mut bus).await.unwrap();
        assert_eq!(second.telemetry.duplicates.get(), batches.len() as u64);
        assert_holds(&store, 0, &batches).await;
    });
}

#[test]
fn a_forked_chain_is_an_alarm_and_not_an_archive() {
    block_on(async {
        let (_, batches) = shop();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut bus = Bus::of([(0, batches.clone())]);
        drain(&mut recorder(store.clone(), 700), &mut bus).await.unwrap();
        // The node's disk was put back to an earlier state: other events under the same numbers.
        let forged = Node::new("gate-1").cut(&whole(session(9), 8), 5);
        bus.extend(0, &forged[..2]);
        bus.assign();
        let mut recorder = recorder(store.clone(), 700);
        drain(&mut recorder, &mut bus).await.unwrap();
        assert_eq!(recorder.telemetry.faults.get(), 2);
        let reader = Reader::new(store.clone());
        assert!(matches!(reader.events(session(9)).await, Err(archive::Error::UnknownSession(_))));
        let report = reader.verify(Range::default()).await.unwrap();
        let kinds: Vec<_> = report.findings.iter().map(|f| f.kind).collect();
        assert_eq!(kinds, [FaultKind::Forked; 2]);
        let kept = report.findings[0].quarantine.clone().unwrap();
        let kept = writer::fetch(&*store, &kept.into()).await.unwrap();
        assert_eq!(kept, forged[0].encode().unwrap());
    });
}

/// Archives batches and gives the kinds of faults that a verification finds, and those that the recorder counted.
async fn found(partition: Vec<EventBatch>, garbage: Option<usize>) -> (Vec<FaultKind>, u64, Arc<dyn ObjectStore>) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mut bus = Bus::of([(0, partition)]);
    if let Some(place) = garbage {
        bus.partitions.get_mut(&0).unwrap().insert(place, bytes::Bytes::from_static(b"\xc3\x01nothing of ours"));
    }
    let mut recorder = recorder(store.clone(), 700);
    drain(&mut recorder, &mut bus).await.unwrap();
    let report = Reader::new(store.clone()).verify(Range::default()).await.unwrap();
    let mut kinds: Vec<_> = report.findings.iter().map(|f| f.kind).collect();
    kinds.dedup();
    (kinds, recorder.telemetry.faults.get(), store)
}

#[test]
fn faults_are_named_and_the_rest_is_archived() {
    block_on(async {
        let (_, batches) = shop();
        assert_eq!(found(batches.clone(), None).await.0, []);

        let (kinds, faults, _) = found(batches.clone(), Some(3)).await;
        assert_eq!((kinds, faults), (vec![FaultKind::Undecodable], 1));

        let mut missing = batches.clone();
        missing.remove(1);
        let (kinds, ..) = found(missing, None).await;
        assert_eq!(kinds[..2], [FaultKind::BatchesMissing, FaultKind::EventsMissing], "AUD-3: {kinds:?}");

        let mut swapped = batches.clone();
        swapped.swap(2, 3);
        assert!(found(swapped, None).await.0.contains(&FaultKind::Late));

        let mut wrong = batches.clone();
        wrong[2].salt[0] ^= 1;
        assert_eq!(found(wrong, None).await.0, [FaultKind::Root]);

        let mut changed = batches.clone();
        changed[2].header.first_time += 1;
        assert_eq!(found(changed, None).await.0, [FaultKind::Header, FaultKind::ChainBroken]);

        let mut damaged = batches.clone();
        damaged[1].block.truncate(9);
        let (kinds, _, store) = found(damaged.clone(), None).await;
        assert_eq!(kinds[..2], [FaultKind::Unreadable, FaultKind::EventsMissing]);
        let archived: Vec<_> = Reader::new(store).batches(0, 0).await.unwrap().try_collect().await.unwrap();
        assert!(archived.iter().map(|a| &a.batch).eq(&damaged), "the damaged batch is kept whole");
    });
}

#[test]
fn aud_4_an_event_after_the_end_is_a_fault() {
    block_on(async {
        let mut events = whole(session(1), 1);
        let mut after = events.last().unwrap().clone();
        after.sequence += 1;
        events.push(after);
        let (kinds, ..) = found(Node::new("gate-1").cut(&events, 2), None).await;
        assert_eq!(kinds, [FaultKind::NotOpen]);

        let open = &whole(session(1), 1)[..3];
        let (kinds, _, store) = found(Node::new("gate-1").cut(open, 2), None).await;
        assert_eq!(kinds, []);
        assert_eq!(Reader::new(store).verify(Range::default()).await.unwrap().open, [session(1)]);
    });
}

#[test]
fn a_new_epoch_goes_on_with_the_chain() {
    block_on(async {
        let mut node = Node::new("gate-1");
        let mut batches = node.cut(&whole(session(1), 2)[..4], 2);
        node.epoch += 1;
        batches.extend(node.cut(&whole(session(1), 2)[4..], 2));
        assert_eq!(found(batches, None).await.0, []);
    });
}

#[test]
fn a_revoked_partition_is_forgotten() {
    block_on(async {
        let (_, batches) = shop();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut bus = Bus::of([(0, batches.clone())]);
        let mut recorder = recorder(store.clone(), usize::MAX);
        for _ in 0..4 {
            let step = bus.next().await.unwrap();
            recorder.step(&step, &mut bus).await.unwrap();
        }
        recorder.step(&Step::Revoked(vec![0]), &mut bus).await.unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        recorder.step(&Step::Idle, &mut bus).await.unwrap();
        assert!(Reader::new(store.clone()).partitions().await.unwrap().is_empty());
        bus.assign();
        drain(&mut recorder, &mut bus).await.unwrap();
        assert_holds(&store, 0, &batches).await;
    });
}

#[test]
fn a_shutdown_commits_what_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { flush_interval: Duration::from_secs(600), ..Config::for_directory(folder.path().join("a")) }
        .with_notary(signer(9), "recorder-1".into());
    let (_, batches) = shop();
    let events: Vec<Event> = (10..14).flat_map(|n| whole(session(n), 3)).collect();
    let others = Node::new("gate-2").cut(&events, 4);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        let bus = Bus::of([(0, batches.clone()), (7, others.clone())]);
        let telemetry = Telemetry::default();
        let running = run_with(config.clone(), bus, telemetry.clone(), shutdown.clone());
        let stop = async {
            while telemetry.batches.get() < (batches.len() + others.len()) as u64 {
                tokio::task::yield_now().await;
            }
            assert_eq!(telemetry.manifests.get(), 0);
            shutdown.trigger();
        };
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(running, stop).0 }).await.unwrap().unwrap();
        let store = config.store().unwrap();
        assert_holds(&store, 0, &batches).await;
        assert_holds(&store, 7, &others).await;
        let report = Reader::new(store).verify(Range::default()).await.unwrap();
        assert_eq!((report.checkpoints, report.uncovered), (1, 0), "the last checkpoint covers all");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn however_it_is_cut_the_archive_is_the_same_events(
        size in 1usize..20,
        object_bytes in 1usize..2_500,
        repeats in proptest::collection::vec(0usize..20, 0..6),
    ) {
        block_on(async {
            let events: Vec<Event> = (0..3).flat_map(|n| whole(session(n), 4)).collect();
            let batches = Node::new("gate-1").cut(&events, size);
            let mut delivered = batches.clone();
            for place in repeats {
                // An earlier batch comes again somewhere later.
                let batch = batches[place % batches.len()].clone();
                delivered.insert((place % batches.len() + 1 + place).min(delivered.len()), batch);
            }
            // A repeat must not come before its first: that would be another fault.
            let mut seen = 0;
            delivered.retain(|b| { let ok = b.header.sequence <= seen; seen = seen.max(b.header.sequence + 1); ok });
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let mut bus = Bus::of([(0, delivered)]);
            drain(&mut recorder(store.clone(), object_bytes), &mut bus).await.unwrap();
            assert_holds(&store, 0, &batches).await;
            let reader = Reader::new(store);
            for n in 0..3 {
                prop_assert_eq!(reader.events(session(n)).await.unwrap(), whole(session(n), 4));
            }
            Ok(())
        })?;
    }
}
