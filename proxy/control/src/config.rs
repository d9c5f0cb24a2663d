//! Settings of the control plane: the `[control]` section.

use crate::envelope::PublicKey;
use event_log::KafkaConfig;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The `[control]` section. None of it can change while running.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// File with the Ed25519 key (PKCS #8) that signs what this node writes to the control topic; it is made, readable by
    /// its owner alone, where it is missing. _Default:_ `control.pk8` in the node's folder of keys.
    pub signing_key: Option<PathBuf>,
    /// Public keys of the other nodes, by node name, 64 hexadecimal digits each as `postern control key` prints them; several
    /// with commas between them while a key is changed. What others sign changes nothing and raises an alarm.
    /// _Default:_ none: only this node's own.
    pub trusted_keys: BTreeMap<String, String>,
    /// Folder of the journal where the bus is embedded. _Default:_ `control` under the node's data folder.
    pub directory: Option<PathBuf>,
    /// Seconds after which a control topic that was not heard of is too old to let anybody in: new sessions and releases are
    /// refused, running sessions go on. 1 to 3600. _Default:_ 30.
    pub max_staleness_seconds: u64,
}

impl Default for File {
    fn default() -> Self {
        Self { signing_key: None, trusted_keys: BTreeMap::new(), directory: None, max_staleness_seconds: 30 }
    }
}

/// What the control plane runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name.
    pub node: String,
    /// Its signing key.
    pub signing_key: PathBuf,
    /// Whose signatures count besides, and for which node.
    pub trusted: BTreeMap<PublicKey, String>,
    /// The journal's folder.
    pub directory: PathBuf,
    /// How old what is known may be.
    pub max_staleness: Duration,
    /// Where the topic is; none: in the journal.
    pub kafka: Option<KafkaConfig>,
}

impl File {
    /// Checks the section. `keys` is the node's folder of keys, `data` that of its data.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(self, node: &str, keys: &Path, data: &Path) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        if !(1..=3600).contains(&self.max_staleness_seconds) {
            problems.push("control.max_staleness_seconds must be 1 to 3600".to_owned());
        }
        let mut trusted = BTreeMap::new();
        for (name, list) in self.trusted_keys {
            for text in list.split(',').map(str::trim) {
                match schemas::chain::from_hexadecimal(text) {
                    Some(key) => drop(trusted.insert(key, name.clone())),
                    None => {
                        problems.push(format!("control.trusted_keys.{name}: {text:?} is not 64 hexadecimal digits"))
                    }
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Config {
            node: node.to_owned(),
            signing_key: self.signing_key.unwrap_or_else(|| keys.join("control.pk8")),
            trusted,
            directory: self.directory.unwrap_or_else(|| data.join("control")),
            max_staleness: Duration::from_secs(self.max_staleness_seconds),
            kafka: None,
        })
    }
}

impl Config {
    /// The same over Kafka, where brokers are named.
    #[must_use]
    pub fn with_kafka(mut self, kafka: Option<KafkaConfig>) -> Self {
        self.kafka = kafka;
        self
    }
}
