//! Settings of the log: sections `[log]` and `[kafka]` of the configuration file, and what they are parsed to.

use schemas::{Signer, batch::MAX_BATCH_BYTES};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What must be the case before a statement may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The record is on the local disk (fdatasync).
    #[default]
    Spool,
    /// The record is on the local disk, and Kafka has acknowledged its batch: it survives the node.
    Kafka,
}

/// Section `[log]`. None of it can change while running.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Folder of the spool. Everything that was acknowledged and is not yet archived lies here: a disk of its own is
    /// a good idea. _Default:_ `spool` under the node's data folder.
    pub directory: Option<PathBuf>,
    /// Bytes of one segment file, written ahead as zeros. _Default:_ 67108864 (64 MiB).
    pub segment_bytes: u64,
    /// Bytes that the spool may hold. When it is full, new statements are refused. _Default:_ 4294967296 (4 GiB).
    pub limit_bytes: u64,
    /// Bytes of the limit kept back for the ends of statements and sessions. _Default:_ 67108864 (64 MiB).
    pub reserve_bytes: u64,
    /// A batch is sealed when it has this many bytes of events. _Default:_ 262144 (256 KiB).
    pub batch_bytes: usize,
    /// A batch is sealed this many milliseconds after its first event. Longer compresses better and is seen later.
    /// _Default:_ 5.
    pub batch_interval_ms: u64,
    /// Lanes in which sessions are spread. _Default:_ 1, with Kafka 4.
    pub shards: Option<u32>,
    /// `spool`: a record counts when the local disk has it. `kafka`: when the brokers have it too, so that it survives the
    /// loss of the node; statements wait while there is no broker. _Default:_ `spool`.
    pub durability: Durability,
    /// Consumers of the embedded bus that must have committed a batch before it is deleted.
    /// _Default:_ `["recorder", "indexer"]`.
    pub subscribers: Vec<String>,
    /// Whether batches are signed, so that a third party can tell who recorded them. _Default:_ true.
    pub sign: bool,
    /// The Ed25519 key that signs them, in PKCS #8, open to its owner alone; made where it is missing.
    /// _Default:_ `audit.pk8` in the node's folder of keys.
    pub signing_key: Option<PathBuf>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            directory: None,
            segment_bytes: 64 << 20,
            limit_bytes: 4 << 30,
            reserve_bytes: 64 << 20,
            batch_bytes: 256 << 10,
            batch_interval_ms: 5,
            shards: None,
            durability: Durability::Spool,
            subscribers: vec!["recorder".to_owned(), "indexer".to_owned()],
            sign: true,
            signing_key: None,
        }
    }
}

/// The parsed settings of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// See [`File::directory`].
    pub directory: PathBuf,
    /// See [`File::segment_bytes`].
    pub segment_bytes: u64,
    /// See [`File::limit_bytes`].
    pub limit_bytes: u64,
    /// See [`File::reserve_bytes`].
    pub reserve_bytes: u64,
    /// See [`File::batch_bytes`].
    pub batch_bytes: usize,
    /// See [`File::batch_interval_ms`].
    pub batch_interval: Duration,
    /// See [`File::shards`]; `None` is the default of the bus in use.
    pub shards: Option<u32>,
    /// See [`File::durability`].
    pub durability: Durability,
    /// See [`File::subscribers`].
    pub subscribers: Vec<String>,
    /// Where batches are shipped; `None`: the spool is the whole bus.
    pub kafka: Option<KafkaConfig>,
    /// Signs batches, where they are signed.
    pub signer: Option<Signer>,
}

/// Smallest segment: it must hold the largest batch with room to spare.
const MIN_SEGMENT_BYTES: u64 = 8 << 20;
/// Most lanes: each costs an open batch in memory.
const MAX_SHARDS: u32 = 1024;

impl File {
    /// Parses the section. `directory` must have been set by then.
    ///
    /// # Errors
    /// Every problem at once, each naming its key.
    pub fn check(self) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, text: &str| {
            if !holds {
                problems.push(text.to_owned());
            }
        };
        require(self.directory.is_some(), "log.directory: must be set");
        require(self.segment_bytes >= MIN_SEGMENT_BYTES, "log.segment_bytes: must be at least 8388608 (8 MiB)");
        require(self.segment_bytes <= 1 << 30, "log.segment_bytes: must be at most 1073741824 (1 GiB)");
        require(
            self.limit_bytes / 4 >= self.segment_bytes,
            "log.limit_bytes: must be at least four times segment_bytes",
        );
        require(
            self.reserve_bytes <= self.limit_bytes / 4,
            "log.reserve_bytes: must be at most a quarter of limit_bytes",
        );
        require((1..=1 << 20).contains(&self.batch_bytes), "log.batch_bytes: must be 1 to 1048576 (1 MiB)");
        require((1..=10_000).contains(&self.batch_interval_ms), "log.batch_interval_ms: must be 1 to 10000");
        require(self.shards.is_none_or(|n| (1..=MAX_SHARDS).contains(&n)), "log.shards: must be 1 to 1024");
        require(self.subscribers.iter().all(|name| !name.is_empty()), "log.subscribers: a name must not be empty");
        match self.directory {
            Some(directory) if problems.is_empty() => Ok(Config {
                directory,
                segment_bytes: self.segment_bytes,
                limit_bytes: self.limit_bytes,
                reserve_bytes: self.reserve_bytes,
                batch_bytes: self.batch_bytes,
                batch_interval: Duration::from_millis(self.batch_interval_ms),
                shards: self.shards,
                durability: self.durability,
                subscribers: self.subscribers,
                kafka: None,
                signer: None,
            }),
            _ => Err(problems),
        }
    }
}

impl Config {
    /// Puts the spool in front of Kafka.
    #[must_use]
    pub fn with_kafka(mut self, kafka: KafkaConfig) -> Self {
        self.kafka = Some(kafka);
        self
    }

    /// Signs batches.
    #[must_use]
    pub fn with_signer(mut self, signer: Signer) -> Self {
        self.signer = Some(signer);
        self
    }

    /// The number of lanes for new sessions.
    pub fn shards(&self) -> u32 {
        const EMBEDDED: u32 = 1;
        const KAFKA: u32 = 4;
        self.shards.unwrap_or(if self.kafka.is_some() { KAFKA } else { EMBEDDED })
    }
}

/// Section `[kafka]`: without brokers the spool is the whole bus. None of it can change while running.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaFile {
    /// `host:port` of brokers to begin with. _Default:_ none: no Kafka.
    pub brokers: Vec<String>,
    /// Topics are `<prefix>.events` and so on. _Default:_ `postern`.
    pub prefix: String,
    /// Partitions of a topic that is created because it is missing. _Default:_ 4.
    pub partitions: u32,
    /// Replicas of such a topic; -1 is the broker's default. _Default:_ -1.
    pub replication: i32,
    /// Prefix of the consumer groups' names. _Default:_ `postern`.
    pub group: String,
    /// Properties for librdkafka, such as `security.protocol`. _Default:_ none.
    pub client: BTreeMap<String, String>,
    /// Properties whose value is a secret: a path to a file that holds it, such as `"sasl.password" = "/run/secret"`.
    /// _Default:_ none.
    pub client_files: BTreeMap<String, PathBuf>,
}

impl Default for KafkaFile {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            prefix: "postern".to_owned(),
            partitions: 4,
            replication: -1,
            group: "postern".to_owned(),
            client: BTreeMap::new(),
            client_files: BTreeMap::new(),
        }
    }
}

/// The parsed settings of the Kafka client. Its `Debug` shows no property's value.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Comma-separated brokers.
    pub brokers: String,
    /// See [`KafkaFile::prefix`].
    pub prefix: String,
    /// See [`KafkaFile::partitions`].
    pub partitions: u32,
    /// See [`KafkaFile::replication`].
    pub replication: i32,
    /// See [`KafkaFile::group`].
    pub group: String,
    /// Properties, secrets filled in.
    pub client: BTreeMap<String, String>,
}

impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("prefix", &self.prefix)
            .field("client", &self.client.keys())
            .finish_non_exhaustive()
    }
}

/// Properties that the log itself must set: its promises rest on them.
const OURS: &[&str] = &[
    "bootstrap.servers",
    "enable.idempotence",
    "acks",
    "message.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "partition.assignment.strategy",
    "group.id",
    "transactional.id",
];

impl KafkaFile {
    /// Parses the section and reads the secrets; `None` where no broker is named.
    ///
    /// # Errors
    /// Every problem at once, each naming its key.
    pub fn check(self) -> Result<Option<KafkaConfig>, Vec<String>> {
        if self.brokers.is_empty() {
            return Ok(None);
        }
        let mut problems = Vec::new();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.prefix.is_empty() || !self.prefix.chars().all(legal) {
            problems.push("kafka.prefix: must be letters, digits, `.`, `_`, `-`".to_owned());
        }
        if !(1..=10_000).contains(&self.partitions) {
            problems.push("kafka.partitions: must be 1 to 10000".to_owned());
        }
        if self.replication == 0 || self.replication < -1 {
            problems.push("kafka.replication: must be -1 or at least 1".to_owned());
        }
        let mut client = self.client;
        for (key, path) in self.client_files {
            match std::fs::read_to_string(&path) {
                Ok(text) => drop(client.insert(key, text.trim_end().to_owned())),
                Err(error) => {
                    problems.push(format!("kafka.client_files.{key}: cannot read {}: {error}", path.display()))
                }
            }
        }
        for key in OURS.iter().filter(|key| client.contains_key(**key)) {
            problems.push(format!("kafka.client.{key}: is set by the log itself"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Some(KafkaConfig {
            brokers: self.brokers.join(","),
            prefix: self.prefix,
            partitions: self.partitions,
            replication: self.replication,
            group: self.group,
            client,
        }))
    }
}

impl KafkaConfig {
    /// The topic of batches.
    pub fn events_topic(&self) -> String {
        self.topic(schemas::topic::EVENTS)
    }

    /// The topic of access requests, reviews, grants, revocations and holds.
    pub fn control_topic(&self) -> String {
        self.topic(schemas::topic::CONTROL)
    }

    fn topic(&self, usual: &str) -> String {
        match usual.split_once('.') {
            Some((_, name)) => format!("{}.{name}", self.prefix),
            None => usual.to_owned(),
        }
    }
}

/// Largest message that the broker must take: `message.max.bytes` of topic and broker must be at least this.
pub const MESSAGE_BYTES: usize = 8 << 20;
const _: () = assert!(MAX_BATCH_BYTES < MESSAGE_BYTES, "a batch must fit a message");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_come_at_once() {
        let problems = File { batch_bytes: 0, shards: Some(0), ..File::default() }.check().unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        let config = File { directory: Some("spool".into()), ..File::default() }.check().unwrap();
        assert_eq!(config.shards(), 1);
    }

    #[test]
    fn kafka_needs_brokers_and_keeps_its_own_properties() {
        assert_eq!(KafkaFile::default().check().unwrap(), None);
        let brokers = vec!["127.0.0.1:9092".to_owned()];
        let client = BTreeMap::from([("acks".to_owned(), "1".to_owned())]);
        assert!(KafkaFile { brokers: brokers.clone(), client, ..KafkaFile::default() }.check().is_err());
        let secret = BTreeMap::from([("sasl.password".to_owned(), "hunter2".to_owned())]);
        let config = KafkaFile { brokers, client: secret, ..KafkaFile::default() }.check().unwrap().unwrap();
        assert_eq!(config.events_topic(), "postern.events");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
