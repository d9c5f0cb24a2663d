//! Which bus a consumer reads: the spool of its own process, or Kafka.

use crate::config::Config;
use crate::failure::Failure;
use event_log::kafka::Members;
use event_log::{KafkaSubscription, Log, Subscription};
use kit::config::{Problem, Problems};

/// Subscribes inside of `up`: to Kafka where brokers are named, or else to the log of this process.
pub fn beside(config: &Config, log: &Log, name: &str) -> Result<Subscription, Failure> {
    match &config.log.kafka {
        Some(kafka) => Ok(KafkaSubscription::new(kafka, name, Members::Named(config.node.clone()))?.into()),
        None => Ok(log.subscribe(name).into()),
    }
}

/// Subscribes from a process of its own, which needs Kafka: the spool is another process's.
pub fn apart(config: &Config, name: &str) -> Result<Subscription, Failure> {
    let missing = "must name brokers: without Kafka the consumers run inside of `postern up`";
    let kafka = config.log.kafka.as_ref();
    let kafka = kafka.ok_or_else(|| Failure::Config(Problems(vec![Problem::new("kafka.brokers", missing)])))?;
    Ok(KafkaSubscription::new(kafka, name, Members::Named(config.node.clone()))?.into())
}
