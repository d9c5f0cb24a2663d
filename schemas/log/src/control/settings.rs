//! How the control topic must be kept in Kafka: nothing of it may ever go, and the broker stamps what it takes.
//!
//! A topic that was there before the gates came, or that somebody changes, may have a retention or be compacted: then
//! revocations go, and with them the rights that they took come back. So its settings are asked for, at the start and again
//! while gates run.

use crate::kafka::{client, unavailable};
use crate::{Error, KafkaConfig};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use std::time::Duration;

/// Longest wait for the answer: how far the topic goes is asked by the same thread.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What the topic is created with, and must have.
pub(super) const WANTED: [(&str, &str); 5] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    // the broker's clock bounds what writers say of the time
    ("message.timestamp.type", "LogAppendTime"),
    // a replica that lacks records must not become the topic
    ("unclean.leader.election.enable", "false"),
];

/// Why the topic must not be relied on; none: it is kept as it must be. Blocks.
///
/// # Errors
/// [`Error::Unavailable`]: the broker does not answer, or the topic is not there yet.
pub(super) fn unfit(config: &KafkaConfig, topic: &str) -> Result<Option<String>, Error> {
    let admin: AdminClient<DefaultClientContext> =
        client(config).create().map_err(|error| unavailable("make a client", &error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Error::Unavailable(format!("kafka: cannot make a runtime: {error}")))?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let asked = runtime.block_on(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options));
    let described = asked.map_err(|error| unavailable("ask how the control topic is kept", &error))?;
    let described = described.into_iter().next().unwrap_or(Err(RDKafkaErrorCode::UnknownTopicOrPartition));
    match described {
        // a topic that is being made has none yet
        Ok(described) if described.entries.is_empty() => {
            Err(Error::Unavailable(format!("kafka: how the topic {topic} is kept is not known yet")))
        }
        Ok(described) => {
            let entries = described.entries.into_iter().map(|entry| (entry.name, entry.value.unwrap_or_default()));
            Ok(judge(topic, &entries.collect::<Vec<_>>()))
        }
        Err(RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed) => {
            Ok(Some(format!(
                "how the topic {topic} is kept cannot be known: allow this node DescribeConfigs on it (kafka-acls)"
            )))
        }
        Err(code) => Err(Error::Unavailable(format!("kafka: cannot ask how the topic {topic} is kept: {code}"))),
    }
}

/// What is wrong among these settings.
fn judge(topic: &str, settings: &[(String, String)]) -> Option<String> {
    let has = |wanted: &(&str, &str)| settings.iter().any(|(name, value)| name == wanted.0 && value == wanted.1);
    let wrong: Vec<&(&str, &str)> = WANTED.iter().filter(|wanted| !has(wanted)).collect();
    let said = |wanted: &&(&str, &str)| {
        let value = settings.iter().find(|(name, _)| name == wanted.0).map_or("not known", |(_, value)| value.as_str());
        format!("{} is {value}", wanted.0)
    };
    let (is, must) = (join(wrong.iter().map(said)), join(wrong.iter().map(|(name, value)| format!("{name}={value}"))));
    (!wrong.is_empty()).then(|| {
        format!(
            "records of the topic {topic} can go, and revocations with them ({is}): kafka-configs --alter --entity-type \
             topics --entity-name {topic} --add-config {must}"
        )
    })
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_lets_records_go_is_not_relied_on() {
        let sound = WANTED.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(judge("postern.control", &sound), None);
        for (at, bad) in [(0, "compact"), (0, "compact,delete"), (1, "604800000"), (2, "1073741824"), (3, "CreateTime")]
        {
            let mut settings = sound.to_vec();
            bad.clone_into(&mut settings[at].1);
            let said = judge("postern.control", &settings).unwrap();
            assert!(said.contains(&format!("{} is {bad}", WANTED[at].0)), "{said}");
            assert!(said.ends_with(&format!("--add-config {}={}", WANTED[at].0, WANTED[at].1)), "{said}");
        }
        assert!(judge("postern.control", &sound[1..]).unwrap().contains("cleanup.policy is not known"));
    }
}
