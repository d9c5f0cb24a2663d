//! Settings of the control plane: the `[control]` section.

use crate::envelope::PublicKey;
use event_log::{KafkaConfig, Offset};
use kit::kms::Kms;
use schemas::seal::Keks;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    /// Public keys that signed once and sign no more, by node name, as `key@offset`, several with commas between them: what
    /// they signed below that offset of the control topic goes on to count, what comes later is forged. A key that signed
    /// anything stays here for good: without it the revocations that it signed would be undone, and this node does not
    /// start; nor with an offset that a record which it has counted reaches. `@0` voids all that it signed. _Default:_ none.
    pub retired_keys: BTreeMap<String, String>,
    /// Folder of the journal where the bus is embedded, and of what this node remembers of the control topic. _Default:_
    /// `control` under the node's data folder.
    pub directory: Option<PathBuf>,
    /// Seconds after which a control topic that was not heard of is too old to let anybody in: new sessions and releases are
    /// refused, running sessions go on. 1 to 3600. _Default:_ 30.
    pub max_staleness_seconds: u64,
}

impl Default for File {
    fn default() -> Self {
        Self {
            signing_key: None,
            trusted_keys: BTreeMap::new(),
            retired_keys: BTreeMap::new(),
            directory: None,
            max_staleness_seconds: 30,
        }
    }
}

/// What the control plane runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name.
    pub node: String,
    /// Its signing key.
    pub signing_key: PathBuf,
    /// Who unwraps that key, where it is wrapped in its file.
    pub kms: Kms,
    /// Whose signatures count besides, and for which node.
    pub trusted: BTreeMap<PublicKey, String>,
    /// Whose signatures counted once.
    pub retired: BTreeMap<PublicKey, Retired>,
    /// The folder of the journal, and of what is remembered.
    pub directory: PathBuf,
    /// How old what is known may be.
    pub max_staleness: Duration,
    /// Where the topic is; none: in the journal.
    pub kafka: Option<KafkaConfig>,
    /// What opens and seals what reviewers are shown of sealed sessions.
    pub keks: Option<Arc<Keks>>,
}

/// A key that signs no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// The node that it signed for.
    pub node: String,
    /// What it signed from this offset on does not count.
    pub before: Offset,
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
        let mut retired = BTreeMap::new();
        for (name, list) in self.retired_keys {
            for text in list.split(',').map(str::trim) {
                let parts = text.split_once('@');
                match parts
                    .and_then(|(key, before)| Some((schemas::chain::from_hexadecimal(key)?, before.parse().ok()?)))
                {
                    Some((key, _)) if trusted.get(&key).is_some_and(|one| *one == name) => {
                        problems
                            .push(format!("control.retired_keys.{name}: {text} stands in control.trusted_keys too"));
                    }
                    Some((key, before)) => drop(retired.insert(key, Retired { node: name.clone(), before })),
                    None => problems.push(format!(
                        "control.retired_keys.{name}: {text:?} is not 64 hexadecimal digits, `@` and an offset"
                    )),
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Config {
            node: node.to_owned(),
            signing_key: self.signing_key.unwrap_or_else(|| keys.join("control.pk8")),
            kms: Kms::none(),
            trusted,
            retired,
            directory: self.directory.unwrap_or_else(|| data.join("control")),
            max_staleness: Duration::from_secs(self.max_staleness_seconds),
            kafka: None,
            keks: None,
        })
    }
}

impl Config {
    /// The file with what this node has read of the topic.
    pub fn seen_file(&self) -> PathBuf {
        let topic = self.kafka.as_ref().map_or_else(|| "journal".to_owned(), KafkaConfig::control_topic);
        self.directory.join(format!("seen-{topic}.json"))
    }

    /// The same with these keys.
    #[must_use]
    pub fn with_keks(mut self, keks: Option<Arc<Keks>>) -> Self {
        self.keks = keks;
        self
    }

    /// Has a wrapped signing key unwrapped by this service.
    #[must_use]
    pub fn with_kms(mut self, kms: Kms) -> Self {
        self.kms = kms;
        self
    }

    /// The same over Kafka, where brokers are named.
    #[must_use]
    pub fn with_kafka(mut self, kafka: Option<KafkaConfig>) -> Self {
        self.kafka = kafka;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_trusted_or_retired_never_both_and_problems_come_at_once() {
        let key = |digit: &str| digit.repeat(64);
        let check = |trusted: &str, retired: &str| {
            let of = |list: &str| [("gate-2".to_owned(), list.to_owned())].into_iter().collect();
            let file = File { trusted_keys: of(trusted), retired_keys: of(retired), ..File::default() };
            file.check("gate-1", Path::new("keys"), Path::new("data"))
        };
        let config = check(&key("a"), &format!("{}@12, {}@0", key("b"), key("c"))).unwrap();
        assert_eq!(config.trusted[&[0xaa; 32]], "gate-2");
        assert_eq!(config.retired[&[0xbb; 32]], Retired { node: "gate-2".to_owned(), before: 12 });
        assert_eq!(config.retired[&[0xcc; 32]].before, 0);
        let problems = check("a", &format!("{}, {}@x, {}", key("b"), key("b"), key("c"))).unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
        let both = check(&key("a"), &format!("{}@1", key("a"))).unwrap_err();
        assert!(both[0].contains("trusted_keys too"), "{both:?}");
    }
}
