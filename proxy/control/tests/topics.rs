//! The control plane over both of its topics: what one node writes every node knows; what nobody signed changes nothing and
//! raises an alarm; what is stale says so.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

use bytes::Bytes;
use control::envelope::{Stamp, seal};
use control::testing::{identity, pair};
use control::{AccessRequest, Config, Control, Error, Record, Refused, Report, Stale, Telemetry};
use event_log::KafkaConfig;
use kit::metrics::Registry;
use ring::signature::KeyPair;
use schemas::{Body, RequestId, SessionId, event::RequestKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Ledger(Mutex<Vec<Body>>);

impl Report for Ledger {
    fn report(&self, _time: i64, body: Body) {
        self.0.lock().unwrap().push(body);
    }
}

impl Ledger {
    fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(Body::name).collect()
    }
}

struct Node {
    control: Control,
    ledger: Arc<Ledger>,
    registry: Registry,
}

impl Node {
    fn open(config: &Config) -> Self {
        let (ledger, registry) = (Arc::new(Ledger::default()), Registry::new());
        let control = eventually("the topic is free", || {
            match Control::open(config, ledger.clone(), Telemetry::new(&Registry::new())) {
                Ok(control) => Some(control),
                Err(error) if format!("{error:?}").contains("Locked") => None,
                Err(error) => panic!("{error:?}"),
            }
        });
        control.wait_fresh(DEADLINE).unwrap();
        Self { control, ledger, registry }
    }
}

fn config(folder: &Path, node: &str) -> Config {
    Config {
        node: node.to_owned(),
        signing_key: folder.join(node).join("control.pk8"),
        trusted: BTreeMap::new(),
        retired: BTreeMap::new(),
        directory: folder.join(node),
        max_staleness: Duration::from_secs(2),
        kafka: None,
    }
}

fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(begun.elapsed() < DEADLINE, "{what} did not happen within {DEADLINE:?}");
        std::thread::park_timeout(POLL);
    }
}

fn disable(subject: &str) -> Record {
    let (by, reason) = (identity("root", &["operators"]), "left".to_owned());
    Record::IdentityDisabled { subject: subject.to_owned(), issuer: None, by, reason }
}

/// A record that a stranger signed, for this node's name.
fn forged(author: &str, sequence: u64) -> Bytes {
    let stranger = pair(66);
    let key = stranger.public_key().as_ref().try_into().unwrap();
    let stamp = Stamp { author: author.to_owned(), key, epoch: 1, sequence, time: 1, seen: None };
    seal(&stranger, &stamp, &disable("ada")).unwrap()
}

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
    let told = node.ledger.0.lock().unwrap().last().cloned();
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
        .map(|body| match body {
            Body::Alarm(alarm) => format!("{:?}", alarm.kind),
            other => other.name().to_owned(),
        })
        .collect();
    assert_eq!(kinds, ["ForgedRecord", "ForgedRecord", "UnreadableRecord"]);
    drop(ledger);
    drop(node.registry);
}

/// A real Apache Kafka, ended when dropped.
struct Broker {
    child: Option<Child>,
    folder: PathBuf,
    ports: (u16, u16),
}

impl Broker {
    fn new(folder: &Path) -> Self {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut broker = Self { child: None, folder: folder.to_owned(), ports: (free(), free()) };
        broker.start();
        broker
    }

    fn start(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/services/kafka");
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("broker.log")).unwrap();
        let mut command = Command::new(script);
        command.args(["start", "--partitions", "4", "--port", &self.ports.0.to_string()]);
        command.args(["--controller-port", &self.ports.1.to_string()]).arg("--dir").arg(self.folder.join("kafka"));
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        eventually("the broker listens", || std::net::TcpStream::connect(("127.0.0.1", self.ports.0)).ok());
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn config(&self) -> KafkaConfig {
        let brokers = vec![format!("127.0.0.1:{}", self.ports.0)];
        event_log::config::KafkaFile { brokers, ..Default::default() }.check().unwrap().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn over_kafka_every_node_knows_at_once_and_the_stale_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::new(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut configs = ["a", "b"].map(|node| config(folder.path(), node));
    let keys = configs.each_ref().map(|config| {
        let text = control::public_key(&config.signing_key).unwrap();
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
