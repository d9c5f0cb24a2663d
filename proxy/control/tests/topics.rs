//! The control plane over both of its topics: what one node writes every node knows; what nobody signed changes nothing and
//! raises an alarm; what is stale says so.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use bytes::Bytes;
use control::testing::identity;
use control::{AccessRequest, Error, Record, Refused, Stale};
use schemas::{Body, RequestId, SessionId, event::RequestKind};
use std::time::{Duration, Instant};
use support::{Broker, DEADLINE, Node, config, disable, eventually, forged};

#[tokio::test]
async fn an_embedded_topic_is_known_after_a_restart_and_refuses_for_everybody_alike() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "a");
    let node = Node::open(&config);
    node.control.append(disable("ada")).await.unwrap();
    let again = node.control.append(disable("ada")).await;
    assert!(matches!(again, Err(Error::Refused(Refused::Answered("disabled")))), "{again:?}");
    assert!(node.control.state().is_disabled(&identity("ada", &[])).is_some());
    assert_eq!(node.ledger.names(), ["Revoked"]);
    drop(node);
    let node = Node::open(&config);
    assert!(node.control.state().is_disabled(&identity("ada", &[])).is_some(), "it was durable");
    assert_eq!(node.ledger.names(), Vec::<&str>::new(), "what an earlier start did is not told again");
    let many = (0..200u8).map(|number| {
        let control = node.control.clone();
        let kill = Record::SessionKilled {
            session: SessionId::from_bytes([number; 16]),
            by: identity("root", &[]),
            reason: String::new(),
        };
        async move { control.append(kill).await }
    });
    let mut tasks = tokio::task::JoinSet::new();
    many.for_each(|one| drop(tasks.spawn(one)));
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert!((0..200u8).all(|number| node.control.state().is_killed(SessionId::from_bytes([number; 16])).is_some()));
}

/// A grant ends by itself; that it did is in the record once, after a restart too.
#[tokio::test]
async fn that_the_time_of_a_grant_is_over_is_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "a");
    let node = Node::open(&config);
    let asked = AccessRequest {
        id: RequestId::from_bytes([1; 16]),
        requester: identity("bot", &["agents"]),
        resource: "shop".to_owned(),
        role: "billing".to_owned(),
        duration: 50_000,
        reason: "ticket".to_owned(),
        kind: RequestKind::Automatic,
        rule: Some("oncall".to_owned()),
        extends: None,
        reviewers: vec!["dba".to_owned()],
        approvals: 1,
        expires: node.control.now() + 60_000_000,
    };
    node.control.append(Record::AccessRequested(asked)).await.unwrap();
    eventually("it is told", || (node.ledger.names().last() == Some(&"AccessEnded")).then_some(()));
    assert_eq!(node.ledger.names(), ["AccessRequested", "AccessGranted", "AccessEnded"]);
    let told = node.ledger.0.lock().unwrap().last().map(|event| event.body.clone());
    assert!(matches!(told, Some(Body::AccessEnded(ended)) if ended.by.is_none() && ended.reason == "expired"));
    drop(node);
    let node = Node::open(&config);
    assert_eq!(node.control.state().lapsing(i64::MAX).count(), 0, "it was durable");
}

#[test]
fn what_nobody_signed_changes_nothing_and_raises_an_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "a");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let written = {
        let (writer, _steps) = event_log::control::embedded(&config.directory).unwrap();
        runtime.block_on(async {
            writer.append(forged("a", 1)).await.unwrap();
            let mut torn = forged("a", 2).to_vec();
            torn[20] ^= 1;
            writer.append(torn.into()).await.unwrap();
            writer.append(Bytes::from_static(b"{\"disable\": \"ada\"}")).await.unwrap()
        })
    };
    assert_eq!(written, 2);
    let node = Node::open(&config);
    assert!(node.control.state().is_disabled(&identity("ada", &[])).is_none());
    let ledger = node.ledger.0.lock().unwrap();
    let kinds: Vec<String> = ledger
        .iter()
        .map(|event| match &event.body {
            Body::Alarm(alarm) => format!("{:?}", alarm.kind),
            other => other.name().to_owned(),
        })
        .collect();
    assert_eq!(kinds, ["ForgedRecord", "ForgedRecord", "UnreadableRecord"]);
    drop(ledger);
    drop(node.registry);
}

#[test]
fn over_kafka_every_node_knows_at_once_and_the_stale_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::new(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut configs = ["a", "b"].map(|node| config(folder.path(), node));
    let keys = configs.each_ref().map(|config| {
        let text = control::public_key(&config.signing_key, &config.kms).unwrap();
        schemas::chain::from_hexadecimal(&text).unwrap()
    });
    for (config, (key, name)) in configs.iter_mut().zip([(keys[1], "b"), (keys[0], "a")]) {
        config.trusted.insert(key, name.to_owned());
        config.kafka = Some(broker.config());
    }
    let [a, b] = configs.each_ref().map(Node::open);

    // how long until another node knows, from before it was written: 100 times
    let mut times: Vec<Duration> = (0..100u32)
        .map(|round| {
            let mut states = b.control.watch();
            let subject = format!("bot-{round}");
            runtime.block_on(async {
                let begun = Instant::now();
                let (writer, record) = (a.control.clone(), disable(&subject));
                let written = tokio::spawn(async move { writer.append(record).await });
                let known = states.wait_for(|state| state.is_disabled(&identity(&subject, &[])).is_some());
                drop(tokio::time::timeout(DEADLINE, known).await.unwrap().unwrap());
                let took = begun.elapsed();
                written.await.unwrap().unwrap();
                took
            })
        })
        .collect();
    times.sort_unstable();
    println!("known on the other node after p50 {:?}, p99 {:?}, at most {:?}", times[50], times[98], times[99]);
    assert!(times[98] < Duration::from_secs(1), "{times:?}");

    // who can write to the topic cannot forge: neither a stranger, nor one trusted node for the other
    let (writer, _steps) = event_log::control::in_kafka(&broker.config(), Duration::from_secs(1)).unwrap();
    runtime.block_on(writer.append(forged("a", 1))).unwrap();
    for node in [&a, &b] {
        eventually("the alarm", || node.ledger.names().contains(&"Alarm").then_some(()));
        assert!(node.control.state().is_disabled(&identity("ada", &[])).is_none());
    }
    runtime.block_on(b.control.append(disable("eve"))).unwrap();
    eventually("the other node knows", || a.control.state().is_disabled(&identity("eve", &[])).map(drop));

    broker.stop();
    let stale = eventually("it is stale", || a.control.fresh().err());
    assert!(matches!(stale, Stale::Silent { limit: 2, .. }), "{stale:?}");
    assert!(a.control.state().is_disabled(&identity("eve", &[])).is_some(), "what is known stays known");
    assert!(matches!(runtime.block_on(a.control.append(disable("bob"))), Err(Error::Write(_))));
    broker.start();
    eventually("it is fresh again", || a.control.fresh().ok());
    drop((writer, a, b));
    let late = Node::open(&configs[0]);
    assert!(late.control.state().is_disabled(&identity("bot-99", &[])).is_some(), "who starts later reads all of it");
}
