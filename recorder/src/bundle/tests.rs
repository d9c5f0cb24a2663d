//! What a bundle holds, what it must not show, and which checkpoint it is proved by.

use super::*;
use crate::archive::checkpoint::Checkpoints;
use crate::archive::layout;
use crate::archive::writer::fetch;
use crate::config::Notary;
use crate::consume::tests::archive_all;
use crate::testing::{Node, session, signer, whole};
use bytes::Bytes;
use object_store::{ObjectStore, memory::InMemory};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use schemas::EventBatch;
use std::io::{Cursor, Read as _};

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

async fn attest(store: &Arc<dyn ObjectStore>, now: i64) {
    let notary = Notary { signer: signer(9), node: "recorder-1".into() };
    Checkpoints::new(&**store, &notary).make(now, 0).await.unwrap().unwrap();
}

async fn bundled(store: &Arc<dyn ObjectStore>, sessions: &[SessionId]) -> Result<(Written, Vec<u8>), Error> {
    let mut out = Cursor::new(Vec::new());
    let written = write(&Reader::new(store.clone()), sessions, 5, &Progress::default(), &mut out).await?;
    Ok((written, out.into_inner()))
}

fn file(bundle: &[u8], name: &str) -> Vec<u8> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bundle)).unwrap();
    let mut bytes = Vec::new();
    zip.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn json(bundle: &[u8], name: &str) -> serde_json::Value {
    serde_json::from_slice(&file(bundle, name)).unwrap()
}

/// Two sessions whose events alternate, and one after them.
fn batches(node: &mut Node) -> Vec<EventBatch> {
    let (one, other) = (whole(session(1), 3), whole(session(2), 3));
    let mixed: Vec<Event> = one.into_iter().zip(other).flat_map(|(a, b)| [a, b]).collect();
    [mixed, whole(session(3), 2)].concat().chunks(5).map(|chunk| node.seal(chunk)).collect()
}

#[test]
fn a_bundle_proves_each_event_of_its_session_and_shows_no_other() {
    block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        archive_all(&store, [(0, batches(&mut Node::signing("gate-1", 1)))]).await;
        attest(&store, 0).await;
        let (written, bundle) = bundled(&store, &[session(1)]).await.unwrap();
        let events = whole(session(1), 3);
        assert_eq!((written.events, written.open.len()), (events.len() as u64, 0));
        let proof = json(&bundle, "proof.json");
        let batches = proof["batches"].as_array().unwrap();
        assert_eq!(batches.len(), 6, "from its first batch to the checkpoint's end of the chain");
        let name = format!("events-{:016x}.avro", *codec::EVENT_FINGERPRINT);
        let avro = file(&bundle, &name);
        let read: Vec<_> = apache_avro::Reader::new(&avro[..]).unwrap().map(Result::unwrap).collect();
        assert_eq!(read.len(), events.len());
        for (place, (event, said)) in events.iter().zip(proof["events"].as_array().unwrap()).enumerate() {
            let mut datum = Vec::new();
            codec::encode(event, &mut datum).unwrap();
            let number = |name: &str| usize::try_from(said[name].as_u64().unwrap()).unwrap();
            let header: BatchHeader = serde_json::from_value(batches[number("batch")]["header"].clone()).unwrap();
            let salt = chain::from_hexadecimal(said["salt"].as_str().unwrap()).unwrap();
            let path: Vec<Digest> = said["path"]
                .as_array()
                .unwrap()
                .iter()
                .map(|digest| chain::from_hexadecimal(digest.as_str().unwrap()).unwrap())
                .collect();
            let leaf = chain::leaf(&salt, &datum);
            assert!(chain::verify(&leaf, number("index"), header.count as usize, &path, &header.root));
            assert_eq!((number("block"), said["file"].as_str().unwrap()), (place, name.as_str()));
        }
        for name in ["report.html", "events.jsonl", "statements.csv", "ocsf.jsonl", "bundle.json"] {
            let text = String::from_utf8(file(&bundle, name)).unwrap();
            assert!(text.contains(&session(1).to_string()) && !text.contains(&session(2).to_string()), "{name}");
        }
        assert!(!String::from_utf8(file(&bundle, "proof.json")).unwrap().contains("\"signature\":null"));
        assert_eq!(String::from_utf8(file(&bundle, "statements.csv")).unwrap().lines().count(), 4);
        assert_eq!(String::from_utf8(file(&bundle, "ocsf.jsonl")).unwrap().lines().count(), 3);
        let table = SerializedFileReader::new(Bytes::from(file(&bundle, "statements.parquet"))).unwrap();
        assert_eq!(table.metadata().file_metadata().num_rows(), 3);
    });
}

#[test]
fn the_first_checkpoint_that_covers_a_session_is_taken() {
    block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let all = batches(&mut Node::signing("gate-1", 1));
        archive_all(&store, [(0, all[..2].to_vec())]).await;
        assert!(matches!(bundled(&store, &[session(1)]).await, Err(Error::NoCheckpoint)));
        attest(&store, 0).await;
        let (written, bundle) = bundled(&store, &[session(1)]).await.unwrap();
        assert_eq!((written.open.as_slice(), written.checkpoint), (&[session(1)][..], 0));
        assert_eq!(json(&bundle, "bundle.json")["version"], 1);
        archive_all(&store, [(0, all.clone())]).await;
        let (written, bundle) = bundled(&store, &[session(1), session(3)]).await.unwrap();
        assert_eq!((written.open.as_slice(), written.left_out.as_slice()), (&[session(1)][..], &[session(3)][..]));
        assert_eq!(json(&bundle, "bundle.json")["sessions"].as_array().unwrap().len(), 1);
        assert!(matches!(bundled(&store, &[session(3)]).await, Err(Error::NotCovered)));
        attest(&store, 1).await;
        for later in 2..9 {
            let more = Node::signing("gate-2", 2).cut(&whole(session(9), later), 4);
            archive_all(&store, [(u32::try_from(later).unwrap(), more)]).await;
            attest(&store, later.cast_signed()).await;
        }
        let (written, bundle) = bundled(&store, &[session(1), session(2)]).await.unwrap();
        assert_eq!((written.open.len(), written.checkpoint), (0, 1), "not a later one");
        assert_eq!(file(&bundle, "checkpoint.json"), {
            let path = layout::checkpoint(1);
            fetch(&*store, &path).await.unwrap()
        });
        let unknown = bundled(&store, &[session(77)]).await;
        assert!(matches!(unknown, Err(Error::Archive(archive::Error::UnknownSession(_)))));
    });
}

#[test]
fn what_a_client_wrote_is_text_on_the_page() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    block_on(async {
        let mut events = whole(session(1), 1);
        for event in &mut events {
            match &mut event.body {
                schemas::Body::Statement(statement) => {
                    let text = "select '<script>alert(1)</script>' -- \u{202e}\r";
                    statement.text = schemas::event::Payload::plain(text);
                }
                schemas::Body::SessionOpened(opened) => opened.identity.subject = "<b>&\"'".into(),
                _ => {}
            }
        }
        // a chain that began before nodes signed
        archive_all(&store, [(0, Node::new("gate-1").cut(&events, 3))]).await;
        attest(&store, 0).await;
        let (_, bundle) = bundled(&store, &[session(1)]).await.unwrap();
        let page = String::from_utf8(file(&bundle, "report.html")).unwrap();
        assert!(
            page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("&lt;b&gt;&amp;&quot;&#39;"),
            "{page}"
        );
        assert!(page.contains("\\u{202e}") && !page.contains("<script") && !page.contains('\u{202e}'));
    });
}
