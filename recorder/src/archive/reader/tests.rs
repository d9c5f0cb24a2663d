//! What readers are given of sessions, batches and ranges, by this library and by another.

use super::*;
use crate::archive::Range;
use crate::archive::manifest::FaultKind;
use crate::archive::manifest::Manifest;
use crate::consume::tests::archived;
use crate::testing::{Node, closed, identity, numbered, opened, session, whole};
use object_store::{ObjectStoreExt, memory::InMemory};
use schemas::event::{Access, Body, SessionRefused};

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

fn refused() -> Body {
    Body::SessionRefused(SessionRefused {
        node: "gate-1".into(),
        peer: "127.0.0.1:1".into(),
        user: Some("agent".into()),
        resource: Some("hr".into()),
        sqlstate: "28000".into(),
        reason: "the token has expired".into(),
        identity: None,
    })
}

fn access() -> Body {
    Body::Access(Access {
        identity: identity(),
        node: "gate-1".into(),
        peer: "127.0.0.1:2".into(),
        method: "GET".into(),
        path: "/api/v1/sessions".into(),
        query: None,
        status: 200,
    })
}

async fn store_of(batches: Vec<EventBatch>) -> Arc<dyn ObjectStore> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    archived(&store, batches).await;
    store
}

#[test]
fn sessions_are_told_from_the_manifests_alone() {
    block_on(async {
        let mut node = Node::new("gate-1");
        let running = numbered(session(2), [opened()]);
        let events =
            [whole(session(1), 3), running, numbered(session(3), [refused()]), numbered(session(4), [access()])];
        let store = store_of(node.cut(&events.concat(), 4)).await;
        let data: Vec<_> = store.list(Some(&layout::data())).try_collect().await.unwrap();
        for object in data {
            store.delete(&object.location).await.unwrap();
        }
        let reader = Reader::new(store);
        let ids = |sessions: Vec<SessionSummary>| sessions.iter().map(|s| s.session).collect::<Vec<_>>();
        let all = reader.sessions(Filter::default()).await.unwrap();
        assert_eq!(ids(all.clone()), [session(3), session(2), session(1)]);
        let first = &all[2];
        assert_eq!((first.status, first.statements, first.rows, first.events), (Status::Closed, 3, 3, 11));
        assert_eq!(first.application.as_deref(), Some("psql"));
        assert_eq!(all[0].sqlstate.as_deref(), Some("28000"));
        for (filter, expected) in [
            (Filter { open: Some(true), ..Filter::default() }, vec![session(2)]),
            (Filter { resource: Some("hr".into()), ..Filter::default() }, vec![session(3)]),
            (Filter { identity: Some("billing-bot".into()), ..Filter::default() }, vec![session(2), session(1)]),
            (Filter { since: Some(crate::testing::START + 5_000), ..Filter::default() }, vec![session(1)]),
            (Filter { until: Some(crate::testing::START), ..Filter::default() }, vec![]),
            (Filter { limit: 1, ..Filter::default() }, vec![session(3)]),
        ] {
            assert_eq!(ids(reader.sessions(filter.clone()).await.unwrap()), expected, "{filter:?}");
        }
        assert_eq!(reader.summary(session(1)).await.unwrap(), all[2]);
        assert!(matches!(reader.summary(session(4)).await, Err(Error::UnknownSession(_))));
    });
}

#[test]
fn a_clone_sees_what_comes_later() {
    block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let reader = Reader::new(store.clone());
        assert!(reader.sessions(Filter::default()).await.unwrap().is_empty());
        let batches = Node::new("gate-1").cut(&whole(session(1), 2), 3);
        archived(&store, batches[..1].to_vec()).await;
        assert_eq!(reader.clone().summary(session(1)).await.unwrap().status, Status::Open);
        archived(&store, batches.clone()).await;
        assert_eq!(reader.summary(session(1)).await.unwrap().status, Status::Closed);
        assert_eq!(reader.end(0).await.unwrap(), batches.len() as u64);
    });
}

#[test]
fn another_library_reads_the_data_objects() {
    block_on(async {
        let events = [whole(session(1), 5), whole(session(2), 5)].concat();
        let store = store_of(Node::new("gate-1").cut(&events, 4)).await;
        let reader = Reader::new(store.clone());
        let mut read = Vec::new();
        for manifest in reader.manifests(0, 0).await.unwrap() {
            let bytes = writer::fetch(&*store, &Path::from(manifest.object.clone().unwrap().name)).await.unwrap();
            for value in apache_avro::Reader::new(&bytes[..]).unwrap() {
                let apache_avro::types::Value::Record(fields) = value.unwrap() else { panic!("an event is a record") };
                read.push(fields[1].clone());
            }
        }
        let sequence = |n: u64| ("sequence".to_owned(), apache_avro::types::Value::Long(n.cast_signed()));
        assert_eq!(read, events.iter().map(|event| sequence(event.sequence)).collect::<Vec<_>>());
    });
}

#[test]
fn a_changed_byte_anywhere_in_the_archive_is_found() {
    block_on(async {
        let store = store_of(Node::new("gate-1").cut(&whole(session(1), 4), 4)).await;
        let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert!(objects.len() >= 2);
        for object in objects {
            let bytes = writer::fetch(&*store, &object.location).await.unwrap();
            let step = bytes.len() / 40 + 1;
            for place in (0..bytes.len()).step_by(step) {
                let mut changed = bytes.to_vec();
                changed[place] ^= 1;
                store.put(&object.location, changed.clone().into()).await.unwrap();
                let report = Reader::new(store.clone()).verify(Range::default()).await;
                // When it was made and how many duplicates came is the recorder's word alone.
                let said = |bytes: &[u8]| {
                    Manifest::decode(&object.location, bytes).map(|m| Manifest { created: 0, duplicates: 0, ..m })
                };
                let same = said(&changed).ok().zip(said(&bytes).ok()).is_some_and(|(a, b)| a == b);
                assert!(same || !report.is_ok_and(|r| r.holds()), "{} byte {place}", object.location);
            }
            store.put(&object.location, bytes.into()).await.unwrap();
        }
        assert!(Reader::new(store).verify(Range::default()).await.unwrap().holds());
    });
}

#[test]
fn a_missing_object_is_found_and_named() {
    block_on(async {
        let store = store_of(Node::new("gate-1").cut(&whole(session(1), 4), 4)).await;
        let data: Vec<_> = store.list(Some(&layout::data())).try_collect().await.unwrap();
        store.delete(&data[0].location).await.unwrap();
        let report = Reader::new(store).verify(Range::default()).await.unwrap();
        assert_eq!(report.findings[0].kind, FaultKind::Archive);
        assert!(report.findings[0].detail.contains(data[0].location.as_ref()), "{report:#?}");
    });
}

#[test]
fn a_range_is_proved_from_the_manifest_before_it() {
    block_on(async {
        let mut node = Node::new("gate-1");
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let batches = node.cut(&whole(session(1), 9), 3);
        for end in 1..=batches.len() {
            archived(&store, batches[..end].to_vec()).await;
        }
        let reader = Reader::new(store);
        let report = reader.verify(Range { partition: Some(0), from: 4, to: Some(5) }).await.unwrap();
        assert!(report.holds(), "{report:#?}");
        assert_eq!((report.manifests, report.batches), (2, 2));
        assert_eq!(closed(0).name(), "SessionClosed");
    });
}
