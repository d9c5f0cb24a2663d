//! A consumer with a commit of its own, and a broker.
#![allow(dead_code, reason = "each test uses its part of it")]

use bytes::Bytes;
use event_log::testing::Witness;
use event_log::{Consume, Error, Offset, Partition, Step, Subscription};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const DEADLINE: Duration = Duration::from_secs(60);

/// Shows the log of the process beside a test's output, if the test fails.
pub fn show_log() {
    let writer = tracing_subscriber::fmt().with_test_writer().try_init();
    drop(writer);
}

/// What consumers have committed: like an archive's manifests, by partition.
#[derive(Debug, Default)]
pub struct Store {
    lanes: Mutex<BTreeMap<Partition, Lane>>,
}

#[derive(Debug, Default, Clone)]
struct Lane {
    next: Offset,
    batches: Vec<Bytes>,
}

impl Store {
    pub fn next(&self, partition: Partition) -> Offset {
        self.lanes.lock().unwrap().get(&partition).map_or(0, |lane| lane.next)
    }

    /// Commits a run, if it begins where the last one ended: another member may have been quicker.
    fn commit(&self, partition: Partition, from: Offset, next: Offset, batches: Vec<Bytes>) -> bool {
        let mut lanes = self.lanes.lock().unwrap();
        let lane = lanes.entry(partition).or_default();
        if lane.next != from {
            return false;
        }
        lane.next = next;
        lane.batches.extend(batches);
        true
    }

    pub fn witness(&self) -> Witness {
        let mut witness = Witness::default();
        self.batches().iter().for_each(|batch| witness.see(batch));
        witness
    }

    /// What was committed, a partition after the other.
    pub fn batches(&self) -> Vec<Bytes> {
        self.lanes.lock().unwrap().values().flat_map(|lane| lane.batches.clone()).collect()
    }

    /// What was committed of a partition.
    pub fn of(&self, partition: Partition) -> Vec<Bytes> {
        self.lanes.lock().unwrap().get(&partition).map(|lane| lane.batches.clone()).unwrap_or_default()
    }

    pub fn partitions(&self) -> usize {
        self.lanes.lock().unwrap().values().filter(|lane| !lane.batches.is_empty()).count()
    }
}

#[derive(Debug)]
struct Run {
    from: Offset,
    next: Offset,
    batches: Vec<Bytes>,
}

/// One consumer.
#[derive(Debug)]
pub struct Reader {
    subscription: Subscription,
    store: Arc<Store>,
    runs: BTreeMap<Partition, Run>,
    /// Assignments and revocations that it saw.
    pub rebalances: usize,
    /// Partitions that it has now.
    pub assigned: Vec<Partition>,
    /// How often it was told that the bus has let go of what it asked for.
    pub gone: usize,
}

impl Reader {
    pub fn new(subscription: impl Into<Subscription>, store: &Arc<Store>) -> Self {
        let (runs, assigned) = (BTreeMap::new(), Vec::new());
        Self { subscription: subscription.into(), store: store.clone(), runs, rebalances: 0, assigned, gone: 0 }
    }

    /// Takes one step; commits when idle. True if there was nothing to do.
    pub async fn step(&mut self) -> bool {
        let step = match self.subscription.next().await {
            Err(Error::Gone { partition, oldest, .. }) => {
                self.gone += 1;
                self.subscription.start(partition, oldest).unwrap();
                return false;
            }
            step => step.unwrap(),
        };
        match step {
            Step::Assigned(partitions) => {
                self.rebalances += 1;
                for partition in &partitions {
                    self.subscription.start(*partition, self.store.next(*partition)).unwrap();
                }
                self.assigned.extend(partitions);
            }
            Step::Revoked(partitions) => {
                self.rebalances += 1;
                self.runs.retain(|partition, _| !partitions.contains(partition));
                self.assigned.retain(|partition| !partitions.contains(partition));
            }
            Step::Batch(delivery) => {
                let from = self.store.next(delivery.partition);
                let fresh = || Run { from, next: from, batches: Vec::new() };
                let run = self.runs.entry(delivery.partition).or_insert_with(fresh);
                assert!(delivery.offset >= run.next, "offsets of a partition grow");
                run.next = delivery.offset + 1;
                run.batches.push(delivery.batch);
            }
            Step::Idle => {
                self.commit();
                return true;
            }
        }
        false
    }

    pub fn commit(&mut self) {
        for (partition, run) in std::mem::take(&mut self.runs) {
            if self.store.commit(partition, run.from, run.next, run.batches) {
                self.subscription.committed(partition, run.next).unwrap();
            }
        }
    }

    /// Steps until what is committed satisfies a condition.
    pub async fn until(&mut self, what: &str, done: impl Fn(&Witness) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut committed = usize::MAX;
        loop {
            let batches = self.store.batches().len();
            if batches != committed && done(&self.store.witness()) {
                return;
            }
            committed = batches;
            assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}: {self:?}");
            self.step().await;
        }
    }
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

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.0)
    }

    pub fn start(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/services/kafka");
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("broker.log")).unwrap();
        let mut command = Command::new(script);
        command.args(["start", "--partitions", "4", "--port", &self.ports.0.to_string()]);
        command.args(["--controller-port", &self.ports.1.to_string()]).arg("--dir").arg(self.folder.join("kafka"));
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        // the first start may download the broker
        let deadline = Instant::now() + Duration::from_secs(300);
        while std::net::TcpStream::connect(self.address()).is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the broker ended: {ended:?}, see {}", self.folder.join("broker.log").display());
            assert!(Instant::now() < deadline, "the broker does not listen");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}
