//! Who counts where nobody says whose keys do, what a hold keeps that comes late or of which little is known, and what clocks and junk do.

use super::*;
use crate::archive::custody::selection::Facts;
use crate::archive::manifest::Manifest;
use schemas::event::SessionRefused;

async fn object_of(store: &Store, at: usize) -> crate::archive::manifest::DataObject {
    catalog::Catalog::read(&**store, &last(store).await).await.unwrap().objects[at].object.clone()
}

fn deleted(object: crate::archive::manifest::DataObject) -> Entry {
    Entry::Deleted { class: "c".into(), reason: "r".into(), objects: vec![object] }
}

async fn without_keys(store: &Store, kept: Option<Vec<u8>>) -> Report {
    Reader::new(store.clone()).audit(Request { kept, ..Request::default() }).await.unwrap()
}

#[test]
fn without_keys_only_who_signed_a_checkpoint_that_is_kept_disposes() {
    block_on(async {
        for stranger in [false, true] {
            let store = shop_and_hr().await;
            let (_, kept) = crate::archive::checkpoint::last(&*store).await.unwrap().unwrap();
            let object = object_of(&store, 0).await;
            let entry = deleted(object.clone());
            match stranger {
                true => forge(&store, entry).await,
                false => write(&store, entry).await,
            };
            store.delete(&Path::from(object.name)).await.unwrap();
            // a later checkpoint by the same key vouches for nothing
            let signer = signer(if stranger { 8 } else { 9 });
            Checkpoints::new(&*store, &Notary { signer, ..notary() }).make(START + 2, 0).await.unwrap().unwrap();
            for kept in [Some(kept), None] {
                let report = without_keys(&store, kept).await;
                assert_eq!(report.holds(), !stranger, "{report:#?}");
                if stranger {
                    let detail = "entry 0 is signed by a key that signed no checkpoint that you keep";
                    told(&report.findings, FaultKind::Custody, detail);
                    told(&report.findings, FaultKind::Archive, "not found");
                }
            }
            let (_, kept) = crate::archive::checkpoint::last(&*store).await.unwrap().unwrap();
            assert!(without_keys(&store, Some(kept)).await.holds(), "who keeps that one believes its key");
        }
    });
}

#[test]
fn a_hold_keeps_what_an_older_entry_names_and_a_crash_left() {
    block_on(async {
        let store = store_of(&[on("shop", 1, true), on("hr", 2, false)]).await;
        put_key(&store, 1).await;
        let object = object_of(&store, 0).await;
        write(&store, deleted(object.clone())).await;
        let sessions = vec![session(1)];
        write(&store, Entry::Shredded { class: "c".into(), reason: "r".into(), sessions }).await;
        write(&store, hold("case 7", of_session(1))).await;
        let retention = retention(&store, &[rule("hr", "shop", Then::Delete)]);
        let outcome = retention.run(&later()).await.unwrap();
        let kept: Vec<_> = outcome.plan.kept.iter().map(|one| (one.entry, one.cases.concat())).collect();
        assert_eq!(kept, [(1, "case 7".to_owned()), (0, "case 7".to_owned())]);
        assert_eq!(outcome.plan.kept[1].name, object.name);
        assert!(outcome.plan.unfinished.is_empty() && data(&store).await.len() == 5);
        store.head(&layout::session_key(session(1))).await.unwrap();

        let release = Entry::HoldReleased { case: "case 7".into(), reason: "closed".into() };
        write(&store, release).await;
        let outcome = retention.run(&later()).await.unwrap();
        assert_eq!((outcome.plan.unfinished.len(), outcome.plan.kept.len()), (2, 0));
        assert!(store.head(&Path::from(object.name)).await.is_err());
        holds(&store).await;
    });
}

fn refusal(n: u8) -> Vec<Event> {
    let refused = SessionRefused {
        node: "gate-1".into(),
        peer: "127.0.0.1:1".into(),
        user: None,
        resource: None,
        sqlstate: "28000".into(),
        reason: "no token".into(),
        identity: None,
    };
    crate::testing::numbered(session(n), [Body::SessionRefused(refused)])
}

#[test]
fn what_stands_alone_and_says_little_is_held_and_never_shredded() {
    block_on(async {
        let store = store_of(&[refusal(1)]).await;
        put_key(&store, 1).await;
        let all = Rule { resources: vec![], ..rule("all", "", Then::Delete) };
        write(&store, hold("case 7", Selection { subjects: vec!["x".into()], ..on_resource("y") })).await;
        let retention = retention(&store, &[all]);
        let outcome = retention.run(&later()).await.unwrap();
        assert_eq!(outcome.plan.classes[0].held[0].cases, ["case 7"]);
        assert!(outcome.entries.is_empty() && data(&store).await.len() == 1);
        write(&store, Entry::HoldReleased { case: "case 7".into(), reason: "closed".into() }).await;
        let outcome = retention.run(&later()).await.unwrap();
        let class = &outcome.plan.classes[0];
        assert_eq!((class.shred.len(), class.unsealed.len(), class.delete.len()), (0, 0, 1));
        // an entry that names it names what a manifest knows
        write(&store, Entry::Shredded { class: "c".into(), reason: "r".into(), sessions: vec![session(1)] }).await;
        let findings = found(&store).await;
        told(&findings, FaultKind::Custody, "is not erased yet");
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert!(Selection { subjects: vec!["x".into()], ..of_session(1) }.means(&session(1), &Facts::unknown()));
    });
}

#[test]
fn an_object_whose_headers_are_in_doubt_stays() {
    block_on(async {
        let mut batches = Node::signing("gate-1", 1).cut(&on("shop", 1, false), 4);
        batches[1].header.first_time += 1;
        let store: Store = Arc::new(InMemory::new());
        archived(&store, batches).await;
        attest(&store, 1).await;
        let path = layout::manifest(0, 1);
        let mut manifest = Manifest::decode(&path, &writer::fetch(&*store, &path).await.unwrap()).unwrap();
        assert_eq!(manifest.faults[0].kind, FaultKind::Header);
        let outcome = retention(&store, &[rule("shop", "shop", Then::Delete)]).run(&later()).await.unwrap();
        let object = manifest.object.clone().unwrap();
        assert_eq!((outcome.plan.doubted, outcome.entries[0].deleted.objects), (vec![object.name.clone()], 2));
        assert_eq!(data(&store).await, [Path::from(object.name)]);
        // a header that leaves a session out hides it from no hold
        manifest.batches.iter_mut().for_each(|entry| entry.header.sessions.clear());
        assert_eq!(catalog::held(&manifest).0, BTreeSet::from([session(1)]));
    });
}

#[test]
fn of_what_lay_aside_and_is_gone_the_recorders_faults_are_told() {
    block_on(async {
        let mut batches = Node::signing("gate-1", 1).cut(&on("shop", 1, false), 4);
        batches[1].block.truncate(9);
        let store: Store = Arc::new(InMemory::new());
        archived(&store, batches).await;
        attest(&store, 1).await;
        let kinds = |findings: Vec<Finding>| findings.iter().map(|one| one.kind).collect::<Vec<_>>();
        let before = kinds(found(&store).await);
        assert!(before.contains(&FaultKind::Unreadable), "{before:?}");
        let catalog = catalog::Catalog::read(&*store, &last(&store).await).await.unwrap();
        let aside = catalog.objects.iter().find(|stored| stored.object.name.starts_with("quarantine/")).unwrap();
        write(&store, deleted(aside.object.clone())).await;
        store.delete(&Path::from(aside.object.name.as_str())).await.unwrap();
        assert_eq!(kinds(found(&store).await), before);
    });
}

#[test]
fn a_clock_that_is_far_ahead_disposes_of_nothing() {
    block_on(async {
        let store = shop_and_hr().await;
        let retention = retention(&store, &[rule("shop", "shop", Then::Delete)]);
        let ahead = Clock::fixed(START + 25 * HOUR);
        let refused = retention.run(&ahead).await.unwrap_err().to_string();
        assert!(refused.contains("make a checkpoint") && refused.contains("or set the clock"), "{refused}");
        assert_eq!(data(&store).await.len(), 5);
        // of an archive in which nothing happens one is made still
        let made = Checkpoints::new(&*store, &notary()).make(START + 11 * HOUR, 0).await.unwrap();
        assert_eq!(made, None);
        attest(&store, 25 * HOUR).await;
        assert_eq!(retention.run(&ahead).await.unwrap().entries.len(), 1);
        holds(&store).await;
    });
}

#[test]
fn nobody_goes_on_from_a_strangers_entry_and_a_list_marks_it() {
    block_on(async {
        let store = shop_and_hr().await;
        write(&store, hold("case 7", of_session(1))).await;
        forge(&store, Entry::HoldReleased { case: "case 7".into(), reason: "r".into() }).await;
        let (notary, guard) = (notary(), Guard::own(&notary()).unwrap());
        let more = hold("case 8", of_session(2));
        let refused = log::record(&*store, (&notary, &guard), ("ada", 5), |_| Some(more.clone())).await.unwrap_err();
        assert!(refused.to_string().contains("give --keys"), "{refused}");
        let log = Log::read(&*store).await.unwrap();
        assert!(guard.marks(&*store, &log).await.unwrap().keys().eq(&[1]));
        assert_eq!(meant(&*store, &on_resource("shop")).await.unwrap(), 1);
        assert_eq!(meant(&*store, &Selection::default()).await.unwrap(), 2);
    });
}

#[test]
fn junk_in_the_custody_log_ends_no_checkpoints() {
    block_on(async {
        let store = shop_and_hr().await;
        write(&store, hold("case 7", of_session(1))).await;
        store.put(&layout::custody_entry(1), "junk".into()).await.unwrap();
        attest(&store, 2).await;
        assert_eq!(last(&store).await.custody.unwrap().entries, 1);
        told(&found(&store).await, FaultKind::Custody, "");
        assert!(matches!(Log::read(&*store).await, Err(Error::Custody { .. })));
    });
}
