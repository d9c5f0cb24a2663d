//! What every bus must keep: one suite, run against the embedded bus and against a real Apache Kafka with four
//! partitions; and what only Kafka can be asked: a rebalance, and a broker that goes away.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use event_log::config::{Durability, KafkaFile};
use event_log::kafka::Members;
use event_log::testing::{Session, Witness, config};
use event_log::{Config, Consume as _, Error, KafkaConfig, KafkaSubscription, Log, Step, Subscription};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::{Broker, DEADLINE, Reader, Store};

const NODE: &str = "node-1";

/// A bus under test.
trait Bus {
    fn config(&self, folder: &Path) -> Config;
    fn subscribe(&self, log: &Log) -> Subscription;
}

struct Embedded;

impl Bus for Embedded {
    fn config(&self, folder: &Path) -> Config {
        config(folder)
    }

    fn subscribe(&self, log: &Log) -> Subscription {
        log.subscribe("reader").into()
    }
}

struct Kafka {
    config: KafkaConfig,
    members: Members,
}

impl Bus for Kafka {
    fn config(&self, folder: &Path) -> Config {
        Config { shards: Some(8), ..config(folder).with_kafka(self.config.clone()) }
    }

    fn subscribe(&self, _: &Log) -> Subscription {
        KafkaSubscription::new(&self.config, "reader", self.members.clone()).unwrap().into()
    }
}

fn open(config: Config) -> Log {
    Log::open(config, NODE.into()).unwrap().0
}

/// Sessions of several shards that each say something, in turn.
fn talk(log: &Log, sessions: &mut [Session], rounds: usize) {
    for round in 0..rounds {
        for session in sessions.iter_mut() {
            let position = session.say(log, &format!("select {round} from {}", "x".repeat(round % 300))).unwrap();
            log.written(position).unwrap();
        }
    }
}

fn close(log: &Log, sessions: &mut [Session]) {
    for session in sessions {
        session.close(log).unwrap();
    }
}

fn sessions(log: &Log, count: usize) -> Vec<Session> {
    (0..count).map(|_| Session::new(log.assign())).collect()
}

fn has_all(witness: &Witness, sessions: &[Session]) -> bool {
    sessions.iter().all(|session| witness.count(session.id) as u64 >= session.next)
}

fn must_be_exact(store: &Store, sessions: &[Session]) {
    let witness = store.witness();
    witness.check().unwrap();
    for session in sessions {
        assert_eq!(witness.count(session.id) as u64, session.next, "lost or doubled");
        assert!(witness.closed_once(session.id));
    }
}

/// Batches of a partition come in order, all of them.
async fn delivers_in_order(bus: &impl Bus) {
    let folder = tempfile::tempdir().unwrap();
    let log = open(bus.config(folder.path()));
    let store = Arc::new(Store::default());
    let mut reader = Reader::new(bus.subscribe(&log), &store);
    let mut sessions = sessions(&log, 8);
    talk(&log, &mut sessions, 60);
    close(&log, &mut sessions);
    reader.until("delivery", |witness| has_all(witness, &sessions)).await;
    must_be_exact(&store, &sessions);
    assert!(store.partitions() > 1, "the sessions spread over partitions");
    log.close().await.unwrap();
}

/// A consumer that dies with something uncommitted goes on at its own offsets: nothing is lost or doubled.
async fn begins_where_the_consumer_says(bus: &impl Bus) {
    let folder = tempfile::tempdir().unwrap();
    let log = open(bus.config(folder.path()));
    let store = Arc::new(Store::default());
    let mut sessions = sessions(&log, 6);
    for _ in 0..3 {
        let before = store.witness().batches();
        let mut reader = Reader::new(bus.subscribe(&log), &store);
        talk(&log, &mut sessions, 20);
        reader.until("progress", |witness| witness.batches() > before).await;
        talk(&log, &mut sessions, 20);
        for _ in 0..5 {
            reader.step().await;
        }
        // what it read since its last commit dies with it
    }
    close(&log, &mut sessions);
    let mut reader = Reader::new(bus.subscribe(&log), &store);
    reader.until("the rest", |witness| has_all(witness, &sessions)).await;
    must_be_exact(&store, &sessions);
    assert_eq!(store.witness().repeated, 0);
    log.close().await.unwrap();
}

/// A batch that comes twice is told by (node, epoch, sequence).
async fn a_repeated_delivery_is_noticed(bus: &impl Bus) {
    let folder = tempfile::tempdir().unwrap();
    let log = open(bus.config(folder.path()));
    let mut sessions = sessions(&log, 4);
    talk(&log, &mut sessions, 30);
    close(&log, &mut sessions);
    let first = Arc::new(Store::default());
    Reader::new(bus.subscribe(&log), &first).until("delivery", |witness| has_all(witness, &sessions)).await;
    // a second consumer without a commit reads the same bytes again
    let second = Arc::new(Store::default());
    Reader::new(bus.subscribe(&log), &second).until("again", |witness| has_all(witness, &sessions)).await;
    let mut both = Witness::default();
    for store in [&first, &second] {
        store.batches().iter().for_each(|batch| both.see(batch));
    }
    assert_eq!(both.repeated, both.batches());
    both.check().unwrap();
    log.close().await.unwrap();
}

/// What was written before the process died is delivered after its next start, once, and its sessions are closed.
async fn survives_the_producers_death(bus: &impl Bus) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::default());
    let mut all = Vec::new();
    for _ in 0..4 {
        let log = open(bus.config(folder.path()));
        let mut reader = Reader::new(bus.subscribe(&log), &store);
        let mut fresh = sessions(&log, 4);
        talk(&log, &mut fresh, 25);
        reader.step().await;
        reader.step().await;
        drop(reader);
        log.crash();
        // recovery closes them
        fresh.iter_mut().for_each(|session| session.next += 1);
        all.extend(fresh);
    }
    let log = open(bus.config(folder.path()));
    let mut reader = Reader::new(bus.subscribe(&log), &store);
    reader.until("recovery", |witness| has_all(witness, &all)).await;
    must_be_exact(&store, &all);
    log.close().await.unwrap();
}

async fn suite<B: Bus>(bus: impl Fn(&str) -> B) {
    delivers_in_order(&bus("order")).await;
    begins_where_the_consumer_says(&bus("restart")).await;
    a_repeated_delivery_is_noticed(&bus("repeat")).await;
    survives_the_producers_death(&bus("crash")).await;
}

#[tokio::test]
async fn the_embedded_bus() {
    suite(|_| Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_kafka() {
    let folder = tempfile::tempdir().unwrap();
    support::show_log();
    let mut broker = Broker::new(folder.path());
    for members in [Members::Group, Members::All] {
        suite(|prefix| kafka(&broker, &format!("{prefix}-{members:?}"), members.clone())).await;
        what_was_removed_is_passed_over(&kafka(&broker, &format!("removed-{members:?}"), members.clone())).await;
        a_start_that_goes_back_is_obeyed(&kafka(&broker, &format!("back-{members:?}"), members.clone())).await;
        another_topic_is_not_read(&kafka(&broker, &format!("other-{members:?}"), members)).await;
    }
    a_batch_that_is_shipped_twice_is_noticed(&broker).await;
    a_rebalance_loses_and_doubles_nothing(&broker).await;
    a_broker_that_goes_away_is_waited_for(&mut broker).await;
    what_counts_at_the_brokers_only_is_there(&mut broker).await;
}

fn kafka(broker: &Broker, prefix: &str, members: Members) -> Kafka {
    let file = KafkaFile {
        brokers: vec![broker.address()],
        prefix: prefix.into(),
        group: prefix.into(),
        ..KafkaFile::default()
    };
    Kafka { config: file.check().unwrap().unwrap(), members }
}

/// Fills the topic until two partitions have some batches, and reads them all.
async fn many_batches(log: &Log, sessions: &mut [Session], (bus, all): (&Kafka, &Arc<Store>)) {
    let mut reader = Reader::new(bus.subscribe(log), all);
    while (0..4).filter(|partition| all.next(*partition) >= 12).count() < 2 {
        talk(log, sessions, 3);
        reader.step().await;
        reader.commit();
    }
    close(log, sessions);
    reader.until("all", |witness| has_all(witness, sessions)).await;
}

/// A topic with batches, of which the beginning was removed before a reader came: what is left is read.
async fn what_was_removed_is_passed_over(bus: &Kafka) {
    let folder = tempfile::tempdir().unwrap();
    let log = open(bus.config(folder.path()));
    let (mut sessions, all) = (sessions(&log, 8), Arc::new(Store::default()));
    many_batches(&log, &mut sessions, (bus, &all)).await;
    let removed = |partition| usize::try_from(all.next(partition) / 2).unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..4 {
        let before = Offset::Offset(i64::try_from(removed(partition)).unwrap());
        list.add_partition_offset(&bus.config.events_topic(), i32::try_from(partition).unwrap(), before).unwrap();
    }
    let mut settings = ClientConfig::new();
    let admin: AdminClient<_> = settings.set("bootstrap.servers", &bus.config.brokers).create().unwrap();
    admin.delete_records(&list, &AdminOptions::new()).await.unwrap();

    let left: usize = (0..4).map(|partition| all.of(partition).len() - removed(partition)).sum();
    assert!(left > 4 && (0..4).any(|partition| removed(partition) > 1), "{left}");
    let store = Arc::new(Store::default());
    let mut reader = Reader::new(bus.subscribe(&log), &store);
    reader.until("what is left", |witness| witness.batches() == left).await;
    assert_eq!(reader.gone, (0..4).filter(|partition| removed(*partition) > 0).count());
    for partition in 0..4 {
        assert_eq!(store.of(partition), all.of(partition)[removed(partition)..], "partition {partition}");
    }
    // and what comes then
    let mut later = self::sessions(&log, 8);
    talk(&log, &mut later, 10);
    close(&log, &mut later);
    reader.until("what comes then", |witness| has_all(witness, &later)).await;
    log.close().await.unwrap();
}

/// A topic that ends before what was read of it: its reader is told once for each partition, and gets nothing of it, however
/// long it becomes, before it says where it begins.
async fn another_topic_is_not_read(bus: &Kafka) {
    const BEYOND: u64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let log = open(bus.config(folder.path()));
    let mut sessions = sessions(&log, 8);
    talk(&log, &mut sessions, 10);
    let mut reader = bus.subscribe(&log);
    let mut told = BTreeSet::new();
    while told.len() < 4 {
        match tokio::time::timeout(DEADLINE, reader.next()).await.unwrap() {
            Ok(Step::Assigned(partitions)) => {
                partitions.iter().for_each(|partition| reader.start(*partition, BEYOND).unwrap());
            }
            Err(Error::Ahead { partition, offset: BEYOND, end }) => {
                assert!(end < BEYOND && told.insert(partition), "{partition} {end}");
            }
            Ok(Step::Idle) => {}
            other => panic!("{other:?}"),
        }
    }
    // a partition grows beyond that place
    let all = Arc::new(Store::default());
    let mut other = Reader::new(kafka_of(bus, "whole").subscribe(&log), &all);
    while (0..4).all(|partition| all.next(partition) <= BEYOND + 20) {
        talk(&log, &mut sessions, 5);
        other.step().await;
        other.commit();
    }
    for _ in 0..20 {
        let step = reader.next().await;
        assert!(matches!(step, Ok(Step::Idle)), "{step:?}");
    }
    (0..4).for_each(|partition| reader.start(partition, 0).unwrap());
    let first = tokio::time::timeout(DEADLINE, async {
        loop {
            if let Step::Batch(delivery) = reader.next().await.unwrap() {
                return delivery.offset;
            }
        }
    });
    assert_eq!(first.await.unwrap(), 0);
    log.close().await.unwrap();
}

/// A reader that begins again further back gets everything from there, whatever was fetched already.
async fn a_start_that_goes_back_is_obeyed(bus: &Kafka) {
    let folder = tempfile::tempdir().unwrap();
    let log = open(bus.config(folder.path()));
    let (mut sessions, all) = (sessions(&log, 8), Arc::new(Store::default()));
    many_batches(&log, &mut sessions, (bus, &all)).await;
    let mut reader = bus.subscribe(&log);
    let (mut next, mut batches, mut turns) = (BTreeMap::new(), 0, 0);
    while turns < 12 {
        match tokio::time::timeout(DEADLINE, reader.next()).await.unwrap().unwrap() {
            Step::Assigned(partitions) => {
                for partition in partitions {
                    reader.start(partition, 0).unwrap();
                    next.insert(partition, 0);
                }
            }
            Step::Batch(delivery) => {
                let expected = next.get_mut(&delivery.partition).unwrap();
                assert_eq!(delivery.offset, *expected, "partition {}, turn {turns}", delivery.partition);
                *expected += 1;
                batches += 1;
                // in the middle of what was fetched
                if batches % (7 + turns) == 0 {
                    turns += 1;
                    let back = *expected / 2;
                    *expected = back;
                    reader.start(delivery.partition, back).unwrap();
                }
            }
            _ => {}
        }
    }
    let all_there = tokio::time::timeout(DEADLINE, async {
        while next.iter().any(|(partition, next)| *next < all.next(*partition)) {
            if let Step::Batch(delivery) = reader.next().await.unwrap() {
                let expected = next.get_mut(&delivery.partition).unwrap();
                assert_eq!(delivery.offset, *expected);
                *expected += 1;
            }
        }
    });
    all_there.await.unwrap();
    log.close().await.unwrap();
}

/// Another reader of the same topic.
fn kafka_of(bus: &Kafka, group: &str) -> Kafka {
    Kafka { config: KafkaConfig { group: group.to_owned(), ..bus.config.clone() }, members: Members::All }
}

/// A producer that lost its cursors sends everything again: the same bytes.
async fn a_batch_that_is_shipped_twice_is_noticed(broker: &Broker) {
    let bus = kafka(broker, "twice", Members::All);
    let folder = tempfile::tempdir().unwrap();
    let log = open(bus.config(folder.path()));
    let mut sessions = sessions(&log, 8);
    talk(&log, &mut sessions, 30);
    close(&log, &mut sessions);
    log.close().await.unwrap();
    std::fs::remove_file(folder.path().join("cursors.json")).unwrap();
    let log = open(bus.config(folder.path()));
    let store = Arc::new(Store::default());
    let mut reader = Reader::new(bus.subscribe(&log), &store);
    reader.until("both", |witness| has_all(witness, &sessions) && witness.repeated >= witness.batches()).await;
    must_be_exact(&store, &sessions);
    log.close().await.unwrap();
}

/// A second member joins and leaves while batches come: the members' common store has each batch once.
async fn a_rebalance_loses_and_doubles_nothing(broker: &Broker) {
    let bus = kafka(broker, "rebalance", Members::Group);
    let folder = tempfile::tempdir().unwrap();
    let log = open(bus.config(folder.path()));
    let store = Arc::new(Store::default());
    let mut sessions = sessions(&log, 8);
    let mut first = Reader::new(bus.subscribe(&log), &store);
    talk(&log, &mut sessions, 20);
    first.until("the first alone", |witness| has_all(witness, &sessions)).await;
    assert_eq!(first.assigned.len(), 4);

    let mut second = Reader::new(bus.subscribe(&log), &store);
    let deadline = std::time::Instant::now() + support::DEADLINE;
    while second.assigned.is_empty() || first.assigned.is_empty() || first.assigned.len() + second.assigned.len() != 4 {
        assert!(std::time::Instant::now() < deadline, "the second member gets no partition");
        talk(&log, &mut sessions, 2);
        tokio::join!(first.step(), second.step());
    }
    for _ in 0..20 {
        talk(&log, &mut sessions, 1);
        tokio::join!(first.step(), second.step());
    }
    let seen = second.rebalances;
    assert!(seen >= 1 && first.rebalances >= 3, "{seen} and {}", first.rebalances);
    drop(second);
    talk(&log, &mut sessions, 20);
    close(&log, &mut sessions);
    first.until("the first alone again", |witness| has_all(witness, &sessions)).await;
    must_be_exact(&store, &sessions);
    log.close().await.unwrap();
}

/// The broker dies and comes back while sessions go on: the spool holds what it missed.
async fn a_broker_that_goes_away_is_waited_for(broker: &mut Broker) {
    let bus = kafka(broker, "away", Members::Group);
    let folder = tempfile::tempdir().unwrap();
    let log = open(bus.config(folder.path()));
    let store = Arc::new(Store::default());
    let mut reader = Reader::new(bus.subscribe(&log), &store);
    let mut sessions = sessions(&log, 8);
    talk(&log, &mut sessions, 20);
    reader.until("before", |witness| witness.batches() > 0).await;
    talk(&log, &mut sessions, 20);
    broker.stop();
    talk(&log, &mut sessions, 40);
    close(&log, &mut sessions);
    assert!(log.stats().behind.iter().any(|(name, batches)| name == "kafka" && *batches > 0));
    broker.start();
    reader.until("after", |witness| has_all(witness, &sessions)).await;
    must_be_exact(&store, &sessions);
    log.close().await.unwrap();
}

/// What is durable with `durability = "kafka"` outlives the node and its disk; without a broker nothing is durable.
async fn what_counts_at_the_brokers_only_is_there(broker: &mut Broker) {
    let bus = kafka(broker, "copied", Members::All);
    let folder = tempfile::tempdir().unwrap();
    let log = open(Config { durability: Durability::Kafka, ..bus.config(folder.path()) });
    let mut sessions = sessions(&log, 8);
    for _ in 0..20 {
        for session in &mut sessions {
            let position = session.say(&log, "select 1").unwrap();
            tokio::time::timeout(DEADLINE, log.durable(position)).await.unwrap().unwrap();
            assert!(log.is_durable(position));
        }
    }
    broker.stop();
    let positions: Vec<_> = sessions.iter_mut().map(|session| session.say(&log, "select 2").unwrap()).collect();
    let last = *positions.last().unwrap();
    let alone = tokio::time::timeout(Duration::from_secs(1), log.durable(last)).await;
    assert!(alone.is_err() && !log.is_durable(last), "the disk alone is not enough");
    broker.start();
    for position in positions {
        tokio::time::timeout(DEADLINE, log.durable(position)).await.unwrap().unwrap();
    }
    let lost = sessions.iter_mut().map(|session| session.say(&log, "select 3").unwrap()).max().unwrap();
    let waiting = tokio::spawn(log.durable(lost));
    log.clone().crash();
    let ended = tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap();
    assert!(ended.is_err() || log.is_durable(lost));
    drop((log, folder));

    // another node, that has nothing of it
    let other = tempfile::tempdir().unwrap();
    let log = open(bus.config(other.path()));
    let store = Arc::new(Store::default());
    let mut reader = Reader::new(bus.subscribe(&log), &store);
    let acknowledged = |witness: &Witness| sessions.iter().all(|s| witness.count(s.id) as u64 + 1 >= s.next);
    reader.until("what was acknowledged", acknowledged).await;
    log.close().await.unwrap();
}
