//! What the tests of the control plane over its topics share: nodes, what they tell, a broker.

#![allow(dead_code, reason = "each test uses its part of it")]

use bytes::Bytes;
use control::envelope::{Stamp, seal};
pub use control::testing::config;
use control::testing::{identity, pair};
use control::{Config, Control, NotTaken, Record, Report, Stale, Taken, Telemetry};
use event_log::KafkaConfig;
use kit::metrics::Registry;
use ring::signature::KeyPair;
use schemas::{Body, Event};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const DEADLINE: Duration = Duration::from_secs(60);
pub const POLL: Duration = Duration::from_millis(20);

/// What was told, and whether it takes nothing at the time.
#[derive(Default)]
pub struct Ledger(pub Mutex<Vec<Event>>, AtomicBool);

impl Report for Ledger {
    fn report(&self, event: &Event) -> Result<Taken, NotTaken> {
        if self.1.load(Ordering::Relaxed) {
            return Err(NotTaken::Log(event_log::Error::Closed));
        }
        self.0.lock().unwrap().push(event.clone());
        Ok(Taken::Durable)
    }
}

impl Ledger {
    pub fn refuses(&self, all: bool) {
        self.1.store(all, Ordering::Relaxed);
    }

    /// What alarms said.
    pub fn alarms(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        let alarm = |event: &Event| match &event.body {
            Body::Alarm(alarm) => Some(format!("{:?}: {}", alarm.kind, alarm.detail)),
            _ => None,
        };
        events.iter().filter_map(alarm).collect()
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|event| event.body.name()).collect()
    }
}

pub struct Node {
    pub control: Control,
    pub ledger: Arc<Ledger>,
    pub registry: Registry,
}

impl Node {
    /// Opens it and waits until it knows all.
    pub fn open(config: &Config) -> Self {
        let node = Self::begin(config);
        node.control.wait_fresh(DEADLINE).unwrap();
        node
    }

    /// Opens it and waits until it says why nobody is let in.
    pub fn open_lost(config: &Config) -> (Self, String) {
        let node = Self::begin(config);
        let why = eventually("it is lost", || match node.control.fresh() {
            Err(Stale::Lost(why)) => Some(why),
            _ => None,
        });
        (node, why)
    }

    fn begin(config: &Config) -> Self {
        let (ledger, registry) = (Arc::new(Ledger::default()), Registry::new());
        let control = eventually("the topic is free", || {
            match Control::open(config, ledger.clone(), Telemetry::new(&registry)) {
                Ok(control) => Some(control),
                Err(error) if format!("{error:?}").contains("Locked") => None,
                Err(error) => panic!("{error:?}"),
            }
        });
        Self { control, ledger, registry }
    }
}

pub fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(begun.elapsed() < DEADLINE, "{what} did not happen within {DEADLINE:?}");
        std::thread::park_timeout(POLL);
    }
}

pub fn disable(subject: &str) -> Record {
    let (by, reason) = (identity("root", &["operators"]), "left".to_owned());
    Record::IdentityDisabled { subject: subject.to_owned(), issuer: None, by, reason }
}

/// A record that a stranger signed, for this node's name.
pub fn forged(author: &str, sequence: u64) -> Bytes {
    let stranger = pair(66);
    let key = stranger.public_key().as_ref().try_into().unwrap();
    let stamp = Stamp { author: author.to_owned(), key, epoch: 1, sequence, time: 1, seen: None };
    seal(&stranger, &stamp, &disable("ada")).unwrap()
}

/// A real Apache Kafka, ended when dropped.
pub struct Broker {
    child: Option<Child>,
    folder: PathBuf,
    ports: (u16, u16),
}

impl Broker {
    pub fn new(folder: &Path) -> Self {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut broker = Self { child: None, folder: folder.to_owned(), ports: (free(), free()) };
        broker.start();
        broker
    }

    pub fn start(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/services/kafka");
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("broker.log")).unwrap();
        let mut command = Command::new(script);
        command.args(["start", "--partitions", "4", "--port", &self.ports.0.to_string()]);
        command.args(["--controller-port", &self.ports.1.to_string()]).arg("--dir").arg(self.folder.join("kafka"));
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        eventually("the broker listens", || std::net::TcpStream::connect(("127.0.0.1", self.ports.0)).ok());
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Everything that it has is gone.
    pub fn wipe(&mut self) {
        self.stop();
        std::fs::remove_dir_all(self.folder.join("kafka")).unwrap();
        self.start();
    }

    /// Changes how it keeps the control topic.
    pub fn keep(&self, set: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/services/kafka");
        let mut command = Command::new(script);
        command.args(["alter", "--port", &self.ports.0.to_string(), "--topic", "postern.control", "--set", set]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn config(&self) -> KafkaConfig {
        let brokers = vec![format!("127.0.0.1:{}", self.ports.0)];
        event_log::config::KafkaFile { brokers, ..Default::default() }.check().unwrap().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}
