//! Archives that were changed, cut, forged and written anew, and keys that count for one thing and not for another.

use super::*;
use crate::archive::checkpoint::{Checkpoint, Checkpoints};
use crate::archive::custody::{self, Entry, Guard, Retention, RuleFile, Selection, Then, rules};
use crate::archive::{manifest::Manifest, writer};
use crate::config::Notary;
use crate::consume::tests::archive_all;
use crate::testing::{Node, Random, START, session, signer, whole};
use kit::Clock;
use object_store::{ObjectStoreExt, memory::InMemory};
use schemas::EventBatch;
use schemas::chain::hexadecimal;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

fn notary() -> Notary {
    Notary { signer: signer(9), node: "recorder-1".into() }
}

/// Two nodes, of which the second was given a new key, in two partitions.
fn shipped() -> Vec<(Partition, Vec<EventBatch>)> {
    let mut one = Node::signing("gate-1", 1);
    let first = one.cut(&[whole(session(1), 4), whole(session(2), 3)].concat(), 5);
    let mut other = Node::signing("gate-2", 2);
    let mut second = other.cut(&whole(session(3), 4), 6);
    (other.signer, other.epoch) = (Some(signer(3)), 2);
    second.extend(other.cut(&whole(session(4), 3), 4));
    vec![(0, first), (1, second)]
}

fn keys() -> String {
    let key = |seed| hexadecimal(signer(seed).public());
    format!(
        "batches gate-1 {}\nbatches gate-2 {} until=1\nbatches gate-2 {}\ncheckpoints recorder-1 {}\n",
        key(1),
        key(2),
        key(3),
        key(9)
    )
}

async fn attest(store: &dyn ObjectStore, now: i64) -> Option<u64> {
    Checkpoints::new(store, &notary()).make(START + now, 0).await.unwrap()
}

/// Archived in steps, with a checkpoint after each.
async fn attested() -> Arc<dyn ObjectStore> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let all = shipped();
    for (round, share) in (0i64..).zip([2, 3, usize::MAX]) {
        let part = |batches: &Vec<EventBatch>| batches.iter().take(share).cloned().collect::<Vec<_>>();
        archive_all(&store, all.iter().map(|(partition, batches)| (*partition, part(batches)))).await;
        assert_eq!(attest(&*store, round * 60_000_000).await, Some(round.cast_unsigned()));
    }
    store
}

async fn kept(store: &dyn ObjectStore) -> Vec<u8> {
    checkpoint_bytes(store).await.unwrap()
}

async fn checkpoint_bytes(store: &dyn ObjectStore) -> Option<Vec<u8>> {
    crate::archive::checkpoint::last(store).await.unwrap().map(|(_, bytes)| bytes)
}

async fn audited(store: &Arc<dyn ObjectStore>, keys: &str, kept: Option<Vec<u8>>) -> Report {
    let request = Request { trust: Some(keys.parse().unwrap()), kept, ..Request::default() };
    Reader::new(store.clone()).audit(request).await.unwrap()
}

fn kinds(report: &Report) -> BTreeSet<FaultKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

async fn objects(store: &dyn ObjectStore) -> BTreeMap<Path, Vec<u8>> {
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    let mut objects = BTreeMap::new();
    for meta in listed {
        objects.insert(meta.location.clone(), writer::fetch(store, &meta.location).await.unwrap().to_vec());
    }
    objects
}

async fn restored(objects: &BTreeMap<Path, Vec<u8>>) -> Arc<dyn ObjectStore> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for (path, bytes) in objects {
        store.put(path, bytes.clone().into()).await.unwrap();
    }
    store
}

#[test]
fn a_signed_archive_holds_for_those_whose_keys_it_is_signed_by() {
    block_on(async {
        let store = attested().await;
        let report = audited(&store, &keys(), Some(kept(&*store).await)).await;
        assert!(report.holds(), "{report:#?}");
        assert_eq!((report.signed, report.uncovered, report.checkpoints), (report.batches, 0, 3));
        assert!(report.attested && report.last_checkpoint == Some((2, START + 120_000_000)));

        for (line, kind) in [
            ("batches gate-1", FaultKind::UnknownKey),
            ("until=1", FaultKind::UnknownKey),
            ("checkpoints", FaultKind::Checkpoint),
        ] {
            let fewer: Vec<_> = keys().lines().filter(|one| !one.contains(line)).map(str::to_owned).collect();
            let report = audited(&store, &fewer.join("\n"), None).await;
            assert_eq!(kinds(&report), BTreeSet::from([kind]), "{line}");
        }
        // a key that signs batches signs no checkpoints
        let report = audited(&store, &keys().replace("checkpoints ", "batches "), None).await;
        assert_eq!(kinds(&report), BTreeSet::from([FaultKind::Checkpoint]));
        // the old key of gate-2 counted to its first epoch, and to no later one
        let report = audited(&store, &keys().replace("until=1", "until=0"), None).await;
        assert_eq!(kinds(&report), BTreeSet::from([FaultKind::UnknownKey]));
    });
}

#[test]
fn batches_without_a_signature_count_where_they_are_allowed() {
    block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut node = Node::new("gate-1");
        let mut batches = node.cut(&whole(session(1), 2), 4);
        (node.signer, node.epoch) = (Some(signer(1)), 2);
        batches.extend(node.cut(&whole(session(2), 2), 4));
        archive_all(&store, [(0, batches)]).await;
        let report = audited(&store, &keys(), None).await;
        assert_eq!(kinds(&report), BTreeSet::from([FaultKind::Unsigned]), "{report:#?}");
        assert!(audited(&store, &format!("{}unsigned gate-1 until=1\n", keys()), None).await.holds());
        // believing what it names itself, anything counts
        assert!(Reader::new(store).verify(Range::default()).await.unwrap().holds());
    });
}

#[test]
fn a_forged_signature_and_a_copied_chain_are_found() {
    block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut batches = Node::signing("gate-1", 1).cut(&whole(session(1), 4), 4);
        let (good, last) = (batches.clone(), batches.len() - 1);
        let of_other = batches[0].signature;
        batches[last].signature = of_other;
        archive_all(&store, [(0, batches), (1, good)]).await;
        let report = audited(&store, &keys(), None).await;
        assert_eq!(kinds(&report), BTreeSet::from([FaultKind::Signature, FaultKind::Copied]), "{report:#?}");
        assert_eq!(report.findings[0].batch.as_ref().map(|batch| batch.sequence), Some(last as u64));
    });
}

#[test]
fn what_cannot_be_read_is_a_finding_and_the_rest_is_proved() {
    block_on(async {
        let store = attested().await;
        let all = Reader::new(store.clone()).verify(Range::default()).await.unwrap();
        let broken = layout::manifest(0, 2);
        store.put(&broken, "{".into()).await.unwrap();
        store.put(&Path::from("manifest/000000/notes.txt"), "x".into()).await.unwrap();
        let report = audited(&store, &keys(), None).await;
        let found =
            |kind| report.findings.iter().filter(|f| f.kind == kind).map(|f| f.object.as_str()).collect::<Vec<_>>();
        assert_eq!(found(FaultKind::Manifest), [broken.as_ref()]);
        assert_eq!(found(FaultKind::Foreign), ["manifest/000000/notes.txt"]);
        assert_eq!(report.manifests, all.manifests);
        assert!(report.batches + 1 >= all.batches, "{report:#?}");
    });
}

#[test]
fn a_shorter_archive_is_neither_believed_nor_signed() {
    block_on(async {
        let store = attested().await;
        let (kept, objects) = (kept(&*store).await, objects(&*store).await);
        let is_last =
            |path: &Path| *objects.keys().rfind(|p| p.as_ref().starts_with("manifest/000001")).unwrap() == *path;
        let shorter: BTreeMap<_, _> = objects.clone().into_iter().filter(|(path, _)| !is_last(path)).collect();
        let store = restored(&shorter).await;
        let report = audited(&store, &keys(), None).await;
        assert_eq!(kinds(&report), BTreeSet::from([FaultKind::Checkpoint]), "{report:#?}");
        assert!(Checkpoints::new(&*store, &notary()).make(1, 0).await.is_err());

        // nor one from which the checkpoints that tell are gone too: somebody kept one
        let last = layout::checkpoint(2);
        let shorter: BTreeMap<_, _> = shorter.into_iter().filter(|(path, _)| *path != last).collect();
        let store = restored(&shorter).await;
        assert!(audited(&store, &keys(), None).await.holds(), "what no checkpoint covers can be cut off");
        let report = audited(&store, &keys(), Some(kept)).await;
        assert_eq!(kinds(&report), BTreeSet::from([FaultKind::Checkpoint]));
    });
}

#[test]
fn recorders_share_one_chain_of_checkpoints() {
    block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let all = shipped();
        let (one, other) = (notary(), Notary { signer: signer(8), node: "recorder-2".into() });
        let mut recorders = [Checkpoints::new(&*store, &one), Checkpoints::new(&*store, &other)];
        assert_eq!(recorders[0].make(0, 0).await.unwrap(), None, "an empty archive needs none");
        for round in 1..=4usize {
            let part =
                all.iter().map(|(partition, batches)| (*partition, batches.iter().take(round).cloned().collect()));
            archive_all(&store, part).await;
            let (now, number) = (i64::try_from(round).unwrap() * 100, round as u64 - 1);
            assert_eq!(recorders[round % 2].make(now, 0).await.unwrap(), Some(number));
            assert_eq!(recorders[(round + 1) % 2].make(now + 1, 0).await.unwrap(), None);
        }
        let text = format!("{}checkpoints recorder-2 {}\n", keys(), hexadecimal(signer(8).public()));
        let report = audited(&store, &text, Some(kept(&*store).await)).await;
        assert!(report.holds() && report.checkpoints == 4, "{report:#?}");
        // one that another has just made is enough for now
        archive_all(&store, all).await;
        assert_eq!(recorders[0].make(500, 1_000).await.unwrap(), None);
    });
}

/// A chain that somebody with another key wrote anew, with roots and hashes that hold.
#[test]
fn a_rewritten_archive_needs_the_keys() {
    block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        archive_all(&store, [(0, Node::signing("gate-1", 7).cut(&whole(session(1), 4), 4))]).await;
        Checkpoints::new(&*store, &Notary { signer: signer(7), ..notary() }).make(0, 0).await.unwrap();
        assert!(Reader::new(store.clone()).verify(Range::default()).await.unwrap().holds());
        let report = audited(&store, &keys(), None).await;
        assert_eq!(kinds(&report), BTreeSet::from([FaultKind::UnknownKey, FaultKind::Checkpoint]));
    });
}

/// As it is when retention has deleted of it what no hold keeps.
async fn disposed() -> Arc<dyn ObjectStore> {
    let store = attested().await;
    let held = Selection { sessions: (2..=4).map(session).collect(), ..Selection::default() };
    let entry = Entry::HoldPlaced { case: "case 7".into(), reason: "asked for by court".into(), selection: held };
    let (by, guard) = (notary(), Guard::own(&notary()).unwrap());
    custody::log::record(&*store, (&by, &guard), ("ada", 5), |_| Some(entry.clone())).await.unwrap();
    let rules = rules::check(vec![RuleFile {
        class: "all".into(),
        resources: vec![],
        subjects: vec![],
        identity_kind: None,
        groups: vec![],
        days: None,
        hours: Some(0),
        then: Then::Delete,
    }]);
    let (guard, rules, by) = (Guard::own(&notary()).unwrap(), rules.unwrap(), "ada".to_owned());
    let retention = Retention { store: store.clone(), notary: notary(), guard, rules, by };
    let outcome = retention.run(&Clock::fixed(START + 200_000_000)).await.unwrap();
    assert_eq!(outcome.entries[0].deleted.objects, 2);
    assert_eq!(attest(&*store, 180_000_000).await, Some(3));
    store
}

/// What somebody does to objects, at random.
fn change(objects: &mut BTreeMap<Path, Vec<u8>>, random: &mut Random) -> String {
    let mut below = |end: usize| random.below(end.max(1));
    let names: Vec<Path> = objects.keys().cloned().collect();
    let name = names[below(names.len())].clone();
    let other = names[below(names.len())].clone();
    let bytes = objects.get_mut(&name).unwrap();
    let (at, end) = (below(bytes.len()), below(bytes.len()));
    match below(6) {
        0 | 1 => bytes[at] ^= 1 << below(8),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, u8::try_from(below(256)).unwrap()),
        4 => {
            objects.remove(&name);
            return format!("{name} removed");
        }
        _ if below(2) == 0 => bytes.swap(at, end),
        _ => {
            let (a, b) = (objects[&name].clone(), objects[&other].clone());
            objects.insert(name.clone(), b);
            objects.insert(other.clone(), a);
            return format!("{name} and {other} swapped");
        }
    }
    format!("{name} changed at {at}")
}

#[test]
fn ten_thousand_random_changes_are_found() {
    const CHANGES: usize = 10_000;
    block_on(async {
        let store = disposed().await;
        let (kept, good) = (kept(&*store).await, objects(&*store).await);
        let (mut random, mut made) = (Random(7), 0);
        while made < CHANGES {
            let mut changed = good.clone();
            let what = change(&mut changed, &mut random);
            let touched: Vec<_> = good.iter().filter(|(path, bytes)| changed.get(*path) != Some(*bytes)).collect();
            if touched.is_empty() {
                continue;
            }
            made += 1;
            for (path, _) in &touched {
                match changed.get(*path) {
                    Some(bytes) => drop(store.put(path, bytes.clone().into()).await.unwrap()),
                    None => store.delete(path).await.unwrap(),
                }
            }
            let report = audited(&store, &keys(), Some(kept.clone())).await;
            assert!(!report.holds(), "{what}");
            for (path, bytes) in touched {
                store.put(path, bytes.clone().into()).await.unwrap();
            }
        }
        assert!(audited(&store, &keys(), Some(kept.clone())).await.holds());
        assert!(Manifest::decode(&layout::manifest(0, 0), &good[&layout::manifest(0, 0)]).is_ok());
        assert!(Checkpoint::open(&kept).is_ok());
    });
}
