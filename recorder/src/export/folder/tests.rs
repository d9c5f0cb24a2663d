//! What a folder of exports holds after an export, after one that was cut short anywhere, and after it went on.

use super::*;
use crate::archive::checkpoint::Checkpoints;
use crate::archive::layout;
use crate::config::Notary;
use crate::consume::tests::archived;
use crate::testing::faulty::{Faulty, Way};
use crate::testing::{Node, session, signer, whole};
use object_store::{ObjectStore, ObjectStoreExt as _, local::LocalFileSystem, memory::InMemory};
use schemas::event::{Body, PayloadCodec};
use schemas::{Event, EventBatch};
use std::sync::Arc;
use tempfile::TempDir;

const CSV: Content = Content::Export(Format::Csv);

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

fn of(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<SessionId> {
    numbers.into_iter().map(session).collect()
}

/// Sessions 0 to 3, a batch each; the last one has not ended.
fn batches() -> Vec<EventBatch> {
    let mut node = Node::signing("gate-1", 1);
    let open = |n| whole(session(n), 3).into_iter().take(4).collect();
    let sessions: [Vec<Event>; 4] = [whole(session(0), 3), whole(session(1), 2), whole(session(2), 4), open(3)];
    sessions.iter().map(|events| node.seal(events)).collect()
}

async fn store() -> Arc<dyn ObjectStore> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    archived(&store, batches()).await;
    store
}

/// A batch more.
async fn goes_on(store: &Arc<dyn ObjectStore>, events: &[Event]) {
    let mut all = batches();
    all.push(Node::signing("gate-2", 2).seal(events));
    archived(store, all).await;
}

async fn run(folder: &TempDir, content: Content, store: &Arc<dyn ObjectStore>) -> Result<Exported, Error> {
    let mut folder = Folder::open(folder.path(), content, Some("who read pan"))?;
    folder.export(&Reader::new(store.clone()), &of(0..4), 7, &Progress::default()).await
}

fn there(folder: &TempDir) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder.path()).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    named.filter(|(name, _)| name != LIST).collect()
}

fn list(folder: &TempDir) -> Vec<u8> {
    fs::read(folder.path().join(LIST)).unwrap()
}

#[test]
fn each_session_has_its_file_and_a_second_run_writes_only_what_was_not_whole() {
    for (content, extension) in [
        (Content::Export(Format::Jsonl), "jsonl"),
        (Content::Export(Format::Avro), "avro"),
        (CSV, "csv"),
        (Content::Export(Format::Parquet), "parquet"),
        (Content::Export(Format::Ocsf), "ocsf.jsonl"),
    ] {
        block_on(async {
            let (folder, store) = (tempfile::tempdir().unwrap(), store().await);
            let first = run(&folder, content, &store).await.unwrap();
            assert_eq!((first.written, first.kept, first.partial), (4, 0, of([3])));
            let files = there(&folder);
            assert_eq!(files.len(), 4);
            let Content::Export(format) = content else { unreachable!() };
            for n in 0..4 {
                let mut alone = Vec::new();
                let events = Reader::new(store.clone()).events(session(n)).await.unwrap();
                super::super::export(&events, format, &mut alone).unwrap();
                assert_eq!(files[&format!("{}.{extension}", session(n))], alone, "{extension}");
            }
            let again = run(&folder, content, &store).await.unwrap();
            assert_eq!((again.written, again.kept), (1, 3), "{extension}");
            // it ends: its file is whole now
            let rest = whole(session(3), 3).split_off(4);
            goes_on(&store, &rest).await;
            let ended = run(&folder, content, &store).await.unwrap();
            assert_eq!((ended.written, ended.kept, ended.partial), (1, 3, of([])));
            assert!(
                there(&folder)[&format!("{}.{extension}", session(3))] != files[&format!("{}.{extension}", session(3))]
            );
            assert_eq!(run(&folder, content, &store).await.unwrap(), Exported { kept: 4, ..Exported::default() });
        });
    }
}

#[test]
fn a_list_that_was_cut_anywhere_and_files_that_were_are_made_whole() {
    block_on(async {
        let (folder, store) = (tempfile::tempdir().unwrap(), store().await);
        run(&folder, CSV, &store).await.unwrap();
        let (files, all) = (there(&folder), list(&folder));
        for cut in 0..all.len() {
            fs::write(folder.path().join(LIST), &all[..cut]).unwrap();
            fs::write(folder.path().join(format!("{}.csv.unfinished", session(1))), b"half").unwrap();
            let exported = run(&folder, CSV, &store).await.unwrap();
            assert_eq!(exported.written + exported.kept, 4, "cut to {cut} bytes");
            let lines = list(&folder);
            assert!(
                lines
                    .split_inclusive(|byte| *byte == b'\n')
                    .all(|line| serde_json::from_slice::<serde_json::Value>(line).is_ok())
            );
            assert_eq!(there(&folder), files, "cut to {cut} bytes, with nothing unfinished");
        }
        // a file that is gone, or is not as long as it was, is written again
        fs::remove_file(folder.path().join(format!("{}.csv", session(0)))).unwrap();
        fs::write(folder.path().join(format!("{}.csv", session(2))), b"x").unwrap();
        let exported = run(&folder, CSV, &store).await.unwrap();
        assert_eq!((exported.written, exported.kept), (3, 1));
        assert_eq!(there(&folder), files);
    });
}

#[test]
fn a_store_that_fails_anywhere_ends_it_and_the_next_run_goes_on() {
    block_on(async {
        let store = store().await;
        let whole = tempfile::tempdir().unwrap();
        run(&whole, CSV, &store).await.unwrap();
        let (mut failed, mut went_on) = (0, 0);
        for at in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let faulty = Faulty::new(store.clone(), move |call| (call == at).then_some(Way::Refused));
            let broken: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
            let first = run(&folder, CSV, &broken).await;
            if faulty.failed() == 0 {
                break;
            }
            failed += 1;
            assert!(first.is_err(), "call {at}: {first:?}");
            let before = there(&folder).len();
            let second = run(&folder, CSV, &store).await.unwrap();
            went_on += u64::from(second.kept > 0);
            assert!(second.kept <= before as u64);
            assert_eq!(there(&folder), there(&whole), "call {at}");
        }
        assert!(failed > 8 && went_on > 0, "{failed} failures, {went_on} times something was there");
    });
}

#[test]
fn another_export_another_process_and_what_is_no_list_are_refused() {
    block_on(async {
        let (folder, store) = (tempfile::tempdir().unwrap(), store().await);
        run(&folder, CSV, &store).await.unwrap();
        let before = (list(&folder), there(&folder));
        let wrong = |content, question| Folder::open(folder.path(), content, question).unwrap_err().to_string();
        let told = wrong(Content::Bundle, Some("who read pan"));
        assert!(told.contains("files .csv of \"who read pan\"") && told.contains("files .zip"), "{told}");
        let told = wrong(CSV, Some("who wrote pan"));
        assert!(told.contains("name another folder for files .csv of \"who wrote pan\""), "{told}");
        assert!(wrong(CSV, None).contains("sessions by their ids"));
        let _first = Folder::open(folder.path(), CSV, Some("who read pan")).unwrap();
        assert!(matches!(Folder::open(folder.path(), CSV, Some("who read pan")), Err(Error::Locked(_))));
        assert!((list(&folder), there(&folder)) == before);
        let strange = tempfile::tempdir().unwrap();
        fs::write(strange.path().join(LIST), b"{\"version\":1,\"files\":\"csv\",\"asked\":null}\nshopping\n").unwrap();
        let told = Folder::open(strange.path(), CSV, None).unwrap_err().to_string();
        assert!(told.starts_with("line 2 of "), "{told}");
        assert_eq!(list(&strange).len(), 50, "nothing is lost");
        for foreign in
            [&b"shopping"[..], b"{\"version\":1,\"files\":\"csv\",\"asked\":null}\nbread\nmilk", b"{\"a\":1}"]
        {
            fs::write(strange.path().join(LIST), foreign).unwrap();
            assert!(matches!(Folder::open(strange.path(), CSV, None), Err(Error::List { .. })), "{foreign:?}");
            assert_eq!(list(&strange), foreign, "nothing is lost");
        }
    });
}

#[test]
fn a_session_that_cannot_be_read_keeps_no_other_from_it() {
    for cut in [false, true] {
        block_on(async {
            let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            // on disk: a store in memory cuts what is asked beyond the end
            let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(place.path()).unwrap());
            archived(&store, batches()).await;
            let reader = Reader::new(store.clone());
            let manifest = reader.holding(session(1)).await.unwrap().remove(0);
            let object = place.path().join(&manifest.object.as_ref().unwrap().name);
            let kept = fs::read(&object).unwrap();
            if cut {
                fs::write(&object, &kept[..kept.len() / 2]).unwrap()
            } else {
                fs::remove_file(&object).unwrap()
            }
            let mut open = Folder::open(folder.path(), CSV, None).unwrap();
            let all = of([0, 1, 2, 3, 200]);
            let exported = open.export(&reader, &all, 7, &Progress::default()).await.unwrap();
            assert_eq!(exported.written, 3);
            assert_eq!(exported.failed.keys().copied().collect::<BTreeSet<_>>(), of([1]));
            assert_eq!(exported.left_out[&session(200)], "it is not in the archive, or not yet");
            let why = if cut { "it is cut short" } else { "cannot read" };
            assert!(exported.failed[&session(1)].contains(why), "{exported:?}");
            // the same again adds no line but for the session that runs
            let lines = list(&folder).len();
            open.export(&reader, &of([0, 1, 2, 200]), 7, &Progress::default()).await.unwrap();
            assert_eq!(list(&folder).len(), lines);
            fs::write(&object, &kept).unwrap();
            let exported = open.export(&reader, &all, 7, &Progress::default()).await.unwrap();
            assert_eq!((exported.written, exported.kept, exported.failed.len()), (2, 2, 0));
        });
    }
}

#[test]
fn what_could_be_read_is_not_replaced_by_what_is_sealed() {
    block_on(async {
        let (folder, store) = (tempfile::tempdir().unwrap(), store().await);
        run(&folder, CSV, &store).await.unwrap();
        let (files, lines) = (there(&folder), list(&folder));
        let mut rest = whole(session(3), 3).split_off(4);
        for event in &mut rest {
            if let Body::Statement(statement) = &mut event.body {
                statement.text.codec = PayloadCodec::SealedZstd;
            }
        }
        goes_on(&store, &rest).await;
        let exported = run(&folder, CSV, &store).await.unwrap();
        assert_eq!((exported.written, exported.kept), (0, 3));
        let why = &exported.left_out[&session(3)];
        assert!(why.starts_with("its file was written when it could be read"), "{why}");
        assert!(why.ends_with("no key file is configured in [sealing]"), "{why}");
        assert!((there(&folder), list(&folder)) == (files, lines), "nothing is changed");
        // as it says
        fs::remove_file(folder.path().join(format!("{}.csv", session(3)))).unwrap();
        for _ in 0..2 {
            let exported = run(&folder, CSV, &store).await.unwrap();
            assert_eq!((exported.written, exported.kept, &exported.partial), (1, 3, &of([3])), "its key may come");
            assert!(exported.sealed.contains_key(&session(3)) && exported.left_out.is_empty(), "{exported:?}");
        }
    });
}

#[test]
fn a_session_that_lacks_events_is_never_done() {
    block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (events, mut node) = (whole(session(0), 3), Node::signing("gate-1", 1));
        archived(&store, vec![node.seal(&events[..4]), node.seal(&events[5..])]).await;
        let notary = Notary { signer: signer(9), node: "recorder-1".into() };
        Checkpoints::new(&*store, &notary).make(1, 0).await.unwrap().unwrap();
        for content in [CSV, Content::Bundle] {
            let folder = tempfile::tempdir().unwrap();
            let mut open = Folder::open(folder.path(), content, None).unwrap();
            for _ in 0..2 {
                let exported =
                    open.export(&Reader::new(store.clone()), &of([0]), 7, &Progress::default()).await.unwrap();
                assert_eq!((exported.written, exported.partial), (1, of([0])), "{content:?}");
            }
        }
    });
}

#[test]
fn a_bundle_of_what_no_checkpoint_covers_comes_later() {
    block_on(async {
        let (folder, store) = (tempfile::tempdir().unwrap(), store().await);
        assert!(matches!(run(&folder, Content::Bundle, &store).await, Err(Error::Bundle(bundle::Error::NoCheckpoint))));
        let notary = Notary { signer: signer(9), node: "recorder-1".into() };
        Checkpoints::new(&*store, &notary).make(1, 0).await.unwrap().unwrap();
        let first = run(&folder, Content::Bundle, &store).await.unwrap();
        assert_eq!((first.written, first.kept, first.partial), (4, 0, of([3])));
        goes_on(&store, &whole(session(9), 1)).await;
        let mut open = Folder::open(folder.path(), Content::Bundle, Some("who read pan")).unwrap();
        let all = of([0, 1, 2, 9]);
        let exported = open.export(&Reader::new(store.clone()), &all, 7, &Progress::default()).await.unwrap();
        assert_eq!((exported.kept, exported.left_out.keys().copied().collect()), (3, of([9])));
        Checkpoints::new(&*store, &notary).make(2, 0).await.unwrap().unwrap();
        let exported = open.export(&Reader::new(store.clone()), &all, 7, &Progress::default()).await.unwrap();
        assert_eq!((exported.written, exported.kept), (1, 3));
        assert!(store.head(&layout::checkpoint(1)).await.is_ok());
    });
}
