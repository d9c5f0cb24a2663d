//! Kafka: where batches go when brokers are configured, and how consumers read them back. The only code that names
//! rdkafka.

pub mod consumer;
pub(crate) mod producer;

pub use consumer::{KafkaSubscription, Members};

use crate::Error;
use crate::config::{KafkaConfig, MESSAGE_BYTES};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::RDKafkaErrorCode;
use std::time::Duration;

/// Longest wait for a broker's answer about topics.
pub(crate) const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// What every client of ours begins with.
pub(crate) fn client(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers).set("client.id", "postern");
    // a broker that comes back is found again within a second
    client.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
    for (key, value) in &config.client {
        client.set(key, value);
    }
    client
}

/// Hands librdkafka's own log on.
pub(crate) fn note(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(facility, text, "librdkafka");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(facility, text, "librdkafka");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(facility, text, "librdkafka"),
    }
}

pub(crate) fn unavailable(doing: &str, error: &rdkafka::error::KafkaError) -> Error {
    Error::Unavailable(format!("kafka: cannot {doing}: {error}"))
}

/// A topic that is to be there.
pub(crate) struct NewTopicOf<'a> {
    pub name: &'a str,
    pub partitions: i32,
    pub settings: &'a [(&'a str, &'a str)],
}

/// Creates the topic of batches if it is missing. Blocks.
fn create_topic(config: &KafkaConfig) -> Result<(), Error> {
    let size = MESSAGE_BYTES.to_string();
    let partitions = i32::try_from(config.partitions).unwrap_or(i32::MAX);
    let settings = [("max.message.bytes", size.as_str()), ("compression.type", "producer")];
    create(config, &NewTopicOf { name: &config.events_topic(), partitions, settings: &settings })
}

/// Creates a topic if it is missing. Blocks.
pub(crate) fn create(config: &KafkaConfig, wanted: &NewTopicOf<'_>) -> Result<(), Error> {
    let admin: AdminClient<DefaultClientContext> =
        client(config).create().map_err(|error| unavailable("make a client", &error))?;
    let topic = NewTopic::new(wanted.name, wanted.partitions, TopicReplication::Fixed(config.replication));
    let topic = wanted.settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
    let options = AdminOptions::new().operation_timeout(Some(METADATA_TIMEOUT)).request_timeout(Some(METADATA_TIMEOUT));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Error::Unavailable(format!("kafka: cannot make a runtime: {error}")))?;
    let made = runtime.block_on(admin.create_topics([&topic], &options));
    for result in made.map_err(|error| unavailable("create the topic", &error))? {
        match result {
            Ok(name) => tracing::info!(topic = %name, partitions = wanted.partitions, "created the topic"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(Error::Unavailable(format!("kafka: cannot create {name}: {code}"))),
        }
    }
    Ok(())
}
