//! What is held stays, what is disposed of is written down first, and every proof survives it; and what is found when
//! somebody was at the log.

mod doubt;

use super::*;
use crate::archive::audit::{Finding, Request};
use crate::archive::checkpoint::Checkpoints;
use crate::archive::manifest::FaultKind;
use crate::archive::{Range, Reader, Report, put};
use crate::config::Notary;
use crate::consume::tests::archived;
use crate::testing::faulty::Faulty;
use crate::testing::{Node, START, session, signer, whole};
use bytes::Bytes;
use event_log::Partition;
use futures_util::FutureExt as _;
use kit::Clock;
use object_store::{ObjectStoreExt, memory::InMemory};
use schemas::chain::hexadecimal;
use schemas::event::{Body, PayloadCodec};
use schemas::{Event, EventBatch};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const HOUR: i64 = 3_600_000_000;

type Store = Arc<dyn ObjectStore>;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

fn notary() -> Notary {
    Notary { signer: signer(9), node: "recorder-1".into() }
}

fn keys() -> String {
    let key = |seed| hexadecimal(signer(seed).public());
    format!("batches gate-1 {}\ncheckpoints recorder-1 {}\n", key(1), key(9))
}

/// A session of 11 events on a resource; sealed where it is said.
fn on(resource: &str, n: u8, sealed: bool) -> Vec<Event> {
    let mut events = whole(session(n), 3);
    for event in &mut events {
        match &mut event.body {
            Body::SessionOpened(opened) => opened.resource = resource.to_owned(),
            Body::Statement(statement) if sealed => statement.text.codec = PayloadCodec::SealedZstd,
            _ => {}
        }
    }
    events
}

async fn store_of(sessions: &[Vec<Event>]) -> Store {
    let store: Store = Arc::new(InMemory::new());
    archived(&store, Node::signing("gate-1", 1).cut(&sessions.concat(), 5)).await;
    attest(&store, 1).await;
    store
}

/// Two sessions, of which a batch has the end of the first and the beginning of the second.
async fn shop_and_hr() -> Store {
    store_of(&[on("shop", 1, false), on("hr", 2, false)]).await
}

async fn attest(store: &Store, now: i64) {
    Checkpoints::new(&**store, &notary()).make(START + now, 0).await.unwrap();
}

fn rule(class: &str, resource: &str, then: Then) -> Rule {
    let resources = vec![resource.to_owned()];
    Rule { class: class.into(), resources, subjects: vec![], identity_kind: None, groups: vec![], hours: 1, then }
}

fn retention(store: &Store, rules: &[Rule]) -> Retention {
    let guard = Guard::own(&notary()).unwrap();
    Retention { store: store.clone(), notary: notary(), guard, rules: rules.to_vec(), by: "ada".into() }
}

fn later() -> Clock {
    Clock::fixed(START + 2 * HOUR)
}

async fn audited(store: &Store, keys: &str) -> Report {
    let request = Request { trust: Some(keys.parse().unwrap()), ..Request::default() };
    Reader::new(store.clone()).audit(request).await.unwrap()
}

async fn holds(store: &Store) -> Report {
    let report = audited(store, &keys()).await;
    assert!(report.holds(), "{report:#?}");
    report
}

async fn found(store: &Store) -> Vec<Finding> {
    audited(store, &keys()).await.findings
}

fn told(findings: &[Finding], kind: FaultKind, detail: &str) {
    assert!(findings.iter().any(|one| one.kind == kind && one.detail.contains(detail)), "{detail}: {findings:#?}");
}

fn hold(case: &str, selection: Selection) -> Entry {
    Entry::HoldPlaced { case: case.into(), reason: "asked for by court".into(), selection }
}

fn of_session(n: u8) -> Selection {
    Selection { sessions: vec![session(n)], ..Selection::default() }
}

fn on_resource(resource: &str) -> Selection {
    Selection { resources: vec![resource.to_owned()], ..Selection::default() }
}

async fn write(store: &Store, entry: Entry) -> u64 {
    let (notary, guard) = (notary(), Guard::own(&notary()).unwrap());
    log::record(&**store, (&notary, &guard), ("ada", 5), |_| Some(entry.clone())).await.unwrap().unwrap()
}

/// Somebody with a key of his own writes an entry.
async fn forge(store: &Store, entry: Entry) -> u64 {
    let stranger = Notary { signer: signer(8), ..notary() };
    let mut log = Log::read(&**store).await.unwrap();
    log.append(&**store, &stranger, ("eve", 6), entry).await.unwrap().unwrap()
}

async fn put_key(store: &Store, n: u8) {
    store.put(&layout::session_key(session(n)), "{}".into()).await.unwrap();
}

async fn data(store: &Store) -> Vec<Path> {
    let mut listed: Vec<Path> =
        store.list(Some(&layout::data())).map_ok(|meta| meta.location).try_collect().await.unwrap();
    listed.sort_unstable();
    listed
}

#[test]
fn whole_objects_go_and_headers_chains_and_signatures_are_proved_still() {
    block_on(async {
        let store = shop_and_hr().await;
        let before = holds(&store).await;
        let retention = retention(&store, &[rule("shop", "shop", Then::Delete)]);
        let early = retention.plan(&Clock::fixed(START)).await.unwrap();
        assert_eq!((early.classes[0].expired, early.classes[0].delete.len(), early.unclassed), (0, 0, 1));
        let plan = retention.plan(&later()).await.unwrap();
        assert_eq!((plan.classes[0].delete.len(), plan.waiting.objects, plan.classes[0].expired), (2, 1, 1));
        assert_eq!(data(&store).await.len(), 5, "a plan does nothing");

        let outcome = retention.run(&later()).await.unwrap();
        assert_eq!((outcome.plan, outcome.entries.len(), outcome.entries[0].deleted.objects), (plan, 1, 2));
        assert_eq!(data(&store).await.len(), 3);
        for round in 0..2 {
            let report = holds(&store).await;
            assert_eq!((report.custody, report.deleted, report.deleted_events), (1, 2, 10), "{round}");
            assert_eq!((report.events, report.signed, report.sessions), (before.events - 10, before.signed, 2));
            // and with a checkpoint that covers it
            attest(&store, 2 + round).await;
        }
        assert!(retention.run(&later()).await.unwrap().entries.is_empty());

        let reader = Reader::new(store.clone());
        let gone = reader.events(session(1)).await.unwrap_err().to_string();
        assert_eq!(gone, "deleted by retention on 2026-09-21 (class shop, custody entry 0)");
        assert_eq!(reader.disposed(session(1)).await.unwrap().unwrap().to_string(), gone);
        assert_eq!(reader.disposed(session(2)).await.unwrap(), None);
        assert_eq!(reader.events(session(2)).await.unwrap().len(), 11);
        let batches: Vec<_> = reader.batches(0, 0).await.unwrap().try_collect().await.unwrap();
        assert_eq!((batches.len(), reader.deleted(0, 0).await.unwrap()), (3, 2));

        // what is left is proved as before: a byte of a manifest, and an object without an entry
        let manifest = layout::manifest(0, 1);
        let good = writer::fetch(&*store, &manifest).await.unwrap();
        let text = String::from_utf8(good.to_vec()).unwrap();
        store.put(&manifest, text.replace("\"count\":5", "\"count\":4").into()).await.unwrap();
        assert!(!audited(&store, &keys()).await.holds());
        store.put(&manifest, good.into()).await.unwrap();
        store.delete(&data(&store).await[0]).await.unwrap();
        told(&found(&store).await, FaultKind::Archive, "not found");
    });
}

#[test]
fn a_hold_keeps_what_it_means_until_it_is_released() {
    block_on(async {
        let store = shop_and_hr().await;
        let retention = retention(&store, &[rule("shop", "shop", Then::Delete)]);
        write(&store, hold("case 7", on_resource("shop"))).await;
        write(&store, hold("case 7", of_session(2))).await;
        write(&store, hold("case 8", Selection::default())).await;
        let outcome = retention.run(&later()).await.unwrap();
        assert!(outcome.entries.is_empty());
        assert_eq!(outcome.plan.classes[0].held[0].cases, ["case 7", "case 8"]);
        let release = |case: &str| Entry::HoldReleased { case: case.into(), reason: "closed".into() };
        write(&store, release("case 8")).await;
        assert!(retention.run(&later()).await.unwrap().entries.is_empty());
        write(&store, release("case 7")).await;
        assert_eq!(retention.run(&later()).await.unwrap().entries[0].deleted.objects, 2);
        holds(&store).await;

        // a disposal of what a case held is found, whoever wrote it
        let store = shop_and_hr().await;
        write(&store, hold("case 9", on_resource("shop"))).await;
        let catalog = catalog::Catalog::read(&*store, &last(&store).await).await.unwrap();
        let objects = vec![catalog.objects[0].object.clone()];
        let name = objects[0].name.clone();
        write(&store, Entry::Deleted { class: "shop".into(), reason: "r".into(), objects }).await;
        store.delete(&Path::from(name)).await.unwrap();
        let findings = found(&store).await;
        told(&findings, FaultKind::Custody, &format!("{} was held then, for case 9", session(1)));
        assert_eq!(findings.len(), 1, "{findings:#?}");
    });
}

async fn last(store: &Store) -> crate::archive::Checkpoint {
    let (_, bytes) = crate::archive::checkpoint::last(&**store).await.unwrap().unwrap();
    crate::archive::Checkpoint::open(&bytes).unwrap().0
}

/// The hold comes before each of the calls that a run makes of the store.
#[test]
fn a_hold_that_comes_while_a_run_is_under_way_wins_if_it_is_in_the_log_first() {
    block_on(async {
        let mut kept = 0;
        for at in 1.. {
            let store = shop_and_hr().await;
            let (inner, passed) = (store.clone(), Arc::new(AtomicU64::new(0)));
            let counted = passed.clone();
            let racing: Store = Arc::new(Faulty::new(store.clone(), move |_| {
                if counted.fetch_add(1, Ordering::SeqCst) + 1 == at {
                    write(&inner, hold("case 7", of_session(1))).now_or_never().expect("memory answers at once");
                }
                None
            }));
            let outcome = retention(&racing, &[rule("shop", "shop", Then::Delete)]).run(&later()).await.unwrap();
            if passed.load(Ordering::SeqCst) < at {
                break;
            }
            // the last of these calls is the one that would create the entry of the disposal
            assert!(outcome.entries.is_empty() && data(&store).await.len() == 5, "call {at}");
            kept += 1;
            holds(&store).await;
        }
        assert!(kept > 10, "{kept}");
    });
}

#[test]
fn keys_of_sealed_sessions_are_erased_and_unsealed_ones_kept() {
    block_on(async {
        let store = store_of(&[on("shop", 1, true), on("shop", 2, false), on("hr", 3, true)]).await;
        put_key(&store, 1).await;
        told(&found(&store).await, FaultKind::Custody, &format!("the key of {} is not there", session(3)));
        put_key(&store, 3).await;
        holds(&store).await;
        let retention = retention(&store, &[rule("shop", "shop", Then::Shred), rule("hr", "hr", Then::Delete)]);
        let outcome = retention.run(&later()).await.unwrap();
        let [shop, hr] = &outcome.plan.classes[..] else { panic!("{outcome:#?}") };
        assert_eq!((shop.shred.as_slice(), shop.unsealed.as_slice()), (&[session(1)][..], &[session(2)][..]));
        // the key of what is deleted goes too, whatever its objects wait for
        assert_eq!((hr.shred.as_slice(), hr.delete.len(), outcome.plan.waiting.objects), (&[session(3)][..], 2, 1));
        assert_eq!(outcome.entries.iter().map(|made| made.shredded).collect::<Vec<_>>(), [1, 1, 0]);
        let report = holds(&store).await;
        assert_eq!((report.shredded, report.deleted), (2, 2));
        let shown = Reader::new(store.clone()).disposed(session(1)).await.unwrap().unwrap().to_string();
        assert_eq!(shown, "its key was erased by retention on 2026-09-21 (class shop, custody entry 0)");
        assert!(retention.run(&later()).await.unwrap().entries.is_empty());

        put_key(&store, 1).await;
        told(&found(&store).await, FaultKind::Custody, "is not erased yet");
        assert_eq!(retention.plan(&later()).await.unwrap().unfinished.len(), 1);
        retention.run(&later()).await.unwrap();
        holds(&store).await;
    });
}

#[test]
fn what_a_crash_leaves_the_next_run_finishes() {
    block_on(async {
        let store = shop_and_hr().await;
        let catalog = catalog::Catalog::read(&*store, &last(&store).await).await.unwrap();
        let objects: Vec<_> = catalog.objects[..2].iter().map(|stored| stored.object.clone()).collect();
        write(&store, Entry::Deleted { class: "shop".into(), reason: "r".into(), objects: objects.clone() }).await;
        store.delete(&Path::from(objects[0].name.as_str())).await.unwrap();
        let findings = found(&store).await;
        told(&findings, FaultKind::Custody, &format!("{} is not deleted yet", objects[1].name));
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let retention = retention(&store, &[rule("shop", "shop", Then::Delete)]);
        let outcome = retention.run(&later()).await.unwrap();
        assert_eq!((outcome.plan.unfinished, outcome.entries.len()), (vec![objects[1].name.clone()], 0));
        assert_eq!(holds(&store).await.deleted, 2);
    });
}

async fn disposed() -> Store {
    let store = shop_and_hr().await;
    write(&store, hold("case 7", of_session(2))).await;
    retention(&store, &[rule("shop", "shop", Then::Delete)]).run(&later()).await.unwrap();
    attest(&store, 2).await;
    holds(&store).await;
    store
}

#[test]
fn an_entry_that_is_cut_off_taken_out_or_forged_is_found() {
    block_on(async {
        for number in 0..2 {
            let store = disposed().await;
            store.delete(&layout::custody_entry(number)).await.unwrap();
            told(
                &found(&store).await,
                FaultKind::Custody,
                ["was to come", "and there are 1"][usize::try_from(number).unwrap()],
            );
            // and nobody goes on from such a log
            let run = retention(&store, &[]).run(&later()).await;
            assert!(matches!(run, Err(Error::Custody { .. })), "{run:?}");
            // a recorder looks at what is new, and at the last of what is covered
            assert_eq!(Checkpoints::new(&*store, &notary()).make(9, 0).await.is_err(), number == 1);
        }
        // one by a stranger, which releases what is held
        let store = disposed().await;
        let release = Entry::HoldReleased { case: "case 7".into(), reason: "r".into() };
        forge(&store, release.clone()).await;
        told(&found(&store).await, FaultKind::Custody, "no line lets");
        let run = retention(&store, &[rule("hr", "hr", Then::Delete)]).run(&later()).await;
        assert!(run.unwrap_err().to_string().contains("give --keys"));
        assert_eq!(data(&store).await.len(), 3);
        // one who took back a hold, and the checkpoint that covers it, is found by who kept that
        let store = disposed().await;
        let kept = crate::archive::checkpoint::last(&*store).await.unwrap().unwrap();
        let mut retention = retention(&store, &[rule("hr", "hr", Then::Delete)]);
        let guard = retention.guard.clone().with_kept(kept.1);
        retention.guard = guard.clone();
        assert_eq!(retention.plan(&later()).await.unwrap().classes[0].held.len(), 1);
        for path in [layout::checkpoint(kept.0), layout::custody_entry(1), layout::custody_entry(0)] {
            store.delete(&path).await.unwrap();
        }
        let told_of = retention.plan(&later()).await.unwrap_err().to_string();
        assert!(told_of.contains("it is not the checkpoint that was given"), "{told_of}");
        retention.guard = guard.with_kept(b"{}".to_vec());
        assert!(retention.plan(&later()).await.unwrap_err().to_string().contains("that was given is none"));
        // a key whose line ends with a checkpoint says nothing that only later ones cover
        let ended =
            keys().replace(&hexadecimal(signer(9).public()), &format!("{} until=1", hexadecimal(signer(9).public())));
        let store = disposed().await;
        assert!(audited(&store, &ended).await.holds());
        write(&store, release).await;
        let report = audited(&store, &ended).await;
        told(&report.findings, FaultKind::Custody, "at checkpoint 2");
        assert_eq!(report.found, 1, "{report:#?}");
    });
}

#[test]
fn only_an_entry_with_the_length_and_hash_excuses_what_is_missing() {
    block_on(async {
        let store = shop_and_hr().await;
        let catalog = catalog::Catalog::read(&*store, &last(&store).await).await.unwrap();
        let mut object = catalog.objects[0].object.clone();
        object.sha256[0] ^= 1;
        let entry = |object| Entry::Deleted { class: "c".into(), reason: "r".into(), objects: vec![object] };
        write(&store, entry(object.clone())).await;
        store.delete(&Path::from(object.name.as_str())).await.unwrap();
        let findings = found(&store).await;
        told(&findings, FaultKind::Custody, "custody entry 0 deleted another of its name");
        told(&findings, FaultKind::Custody, "no manifest names");
        // the first entry of a name counts no more than the last: both must hold, and this one does
        write(&store, entry(catalog.objects[0].object.clone())).await;
        holds(&store).await;
    });
}

#[test]
fn what_no_checkpoint_covers_is_not_disposed_of() {
    block_on(async {
        let store: Store = Arc::new(InMemory::new());
        let batches = Node::signing("gate-1", 1).cut(&[on("shop", 1, false), on("shop", 2, false)].concat(), 11);
        archived(&store, batches[..1].to_vec()).await;
        let retention = retention(&store, &[rule("shop", "shop", Then::Delete)]);
        assert_eq!(retention.plan(&later()).await.unwrap().classes[0].sessions, 0);
        attest(&store, 1).await;
        archived(&store, batches).await;
        assert_eq!(retention.plan(&later()).await.unwrap().classes[0].sessions, 1);
        // a manifest that says otherwise leads to no checkpoint
        let path = layout::manifest(0, 0);
        let text = String::from_utf8(writer::fetch(&*store, &path).await.unwrap().to_vec()).unwrap();
        store.put(&path, text.replace("\"created\":7", "\"created\":8").into()).await.unwrap();
        assert!(matches!(retention.run(&later()).await, Err(Error::Custody { .. })));
        assert_eq!(data(&store).await.len(), 2);
    });
}

/// What the events showed, the headers show still: as the recorder found it, and not only because it wrote it down.
#[test]
fn headers_tell_what_is_missing_and_who_signed_when_the_events_are_gone() {
    block_on(async {
        let kinds = |findings: &[Finding]| findings.iter().map(|one| one.kind).collect::<BTreeSet<_>>();
        let changes: [fn(&mut Vec<EventBatch>); 3] =
            [|batches| drop(batches.remove(1)), |batches| batches[1].signature = None, |batches| batches.swap(1, 2)];
        for (number, change) in changes.into_iter().enumerate() {
            let mut batches = Node::signing("gate-1", 1).cut(&on("shop", 1, false), 3);
            change(&mut batches);
            let store: Store = Arc::new(InMemory::new());
            archived(&store, batches).await;
            attest(&store, 1).await;
            let before = found(&store).await;
            let outcome = retention(&store, &[rule("shop", "shop", Then::Delete)]).run(&later()).await.unwrap();
            assert!(outcome.entries[0].deleted.objects >= 3);
            let after = audited(&store, &keys()).await;
            assert!(!before.is_empty() && after.events == 0 && after.deleted_events >= 8, "{number}");
            assert_eq!(kinds(&after.findings), kinds(&before), "{number}: {after:#?}");
        }
    });
}

#[test]
fn names_of_another_form_are_foreign_and_the_form_is_one() {
    block_on(async {
        let store = disposed().await;
        for name in ["custody/1.json", "key/00/notes.txt", "key/x.json"] {
            store.put(&Path::from(name), "x".into()).await.unwrap();
        }
        let findings = found(&store).await;
        assert_eq!(findings.iter().filter(|one| one.kind == FaultKind::Foreign).count(), 3, "{findings:#?}");
        let bytes = writer::fetch(&*store, &layout::custody_entry(0)).await.unwrap();
        let (note, key) = Note::open(&bytes).unwrap();
        assert_eq!(
            (note.by.as_str(), key, note.seal(&signer(9)).unwrap()),
            ("ada", *signer(9).public(), bytes.to_vec())
        );
        let spaced = [&bytes[..], b"\n"].concat();
        assert!(Note::open(&spaced).is_err() && Note::open(&bytes[1..]).is_err());
        let other = Note { version: 2, ..note.clone() }.seal(&signer(9)).unwrap();
        assert!(Note::open(&other).unwrap_err().contains("of version 2"));
        let path = layout::custody_entry(0);
        assert_eq!(put::create(&*store, &path, &Bytes::from(other)).await.unwrap(), put::Created::Taken);
        assert!(
            Reader::new(store)
                .verify(Range { partition: Some(0 as Partition), ..Range::default() })
                .await
                .unwrap()
                .holds()
        );
    });
}
