//! What runs until it is told to stop: the pieces that every long-running subcommand is put together from.
//!
//! Each job has a thread and a runtime of its own (the gate has one for each core), so that a recorder that verifies a
//! large batch never delays an answer of the API or a statement.

mod bus;
pub mod indexer;
mod jobs;
mod log_metrics;
pub mod proxy;
pub mod recorder;
pub mod replay;
pub mod up;

use crate::arguments::Global;
use crate::config::{self, Config};
use crate::failure::Failure;
use crate::output;
use control::{Control, Plane};
use event_log::Log;
use identity::api_key::Book;
use jobs::Jobs;
use kit::kms::Kms;
use kit::metrics::{Condition, Endpoint, Health, Registry};
use kit::{Shutdown, logging};
use schemas::Signer;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a start waits for the control topic.
const CONTROL_WAIT: Duration = Duration::from_secs(10);

/// What every process has before its own work begins.
pub(crate) struct Started {
    config: Config,
    registry: Registry,
    jobs: Jobs,
}

/// Ready while the log takes records.
fn log_health(log: &Log) -> Health {
    let log = log.clone();
    Health::new().check("log", move || log.stats().failed.map_or(Ok(()), Err))
}

/// Ready once the bus has given this consumer its partitions: before that it does nothing.
fn bus_health(assigned: &Condition) -> Health {
    Health::new().when("bus", assigned, "no partitions are assigned yet")
}

/// The API keys that all nodes know.
fn book(plane: &Plane) -> Arc<dyn Book> {
    Arc::new(plane.control.clone())
}

/// Signs with the key in this file, which is made where it is missing, and unwrapped where it is wrapped.
pub(crate) fn signer(path: &Path, kms: &Kms) -> Result<Signer, Failure> {
    Ok(Signer::new(identity::signing::key_pair(path, kms)?))
}

/// Loads the config, starts logging, and listens to signals.
fn start(global: &Global) -> Result<Started, Failure> {
    let config = config::load(global)?;
    logging::init(config.logging.format, &config.logging.filter)?;
    let jobs = Jobs::new(Shutdown::on_signals()?);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), node = config.node, "starting");
    Ok(Started { config, registry: Registry::new(), jobs })
}

impl Started {
    /// Opens the node's log, telling what recovery found.
    fn open_log(&self) -> Result<Log, Failure> {
        let config = match &self.config.log_key {
            Some(path) => self.config.log.clone().with_signer(signer(path, &self.config.kms)?),
            None => self.config.log.clone(),
        };
        let (log, recovery) = Log::open(config, self.config.node.clone())?;
        let (epoch, sealed, torn_bytes) = (recovery.epoch, recovery.sealed, recovery.torn_bytes);
        let (closed, gaps) = (recovery.closed.len(), recovery.gaps.len());
        match recovery.previous_epoch {
            None => tracing::info!(epoch, "log opened, empty"),
            Some(_) if gaps > 0 => {
                tracing::error!(epoch, sealed, closed, torn_bytes, gaps, "log recovered, damage was put aside");
            }
            Some(_) => tracing::info!(epoch, sealed, closed, torn_bytes, "log recovered"),
        }
        self.registry.register_collector(Box::new(log_metrics::LogMetrics::new(log.clone())));
        Ok(log)
    }

    /// Opens the control plane: its topic is in Kafka where brokers are named, or else a journal of this node. What it
    /// does is recorded in the node's log.
    fn open_control(&self, log: &Log) -> Result<Plane, Failure> {
        let telemetry = control::Telemetry::new(&self.registry);
        let control = Control::open(&self.config.control, Arc::new(log.clone()), telemetry)?;
        let plane = Plane { control, access: self.config.access.clone() };
        // a journal is read at once; a broker that is away is waited for by those who connect
        if let Err(stale) = plane.control.wait_fresh(CONTROL_WAIT) {
            tracing::warn!(%stale, "starting all the same; until the control topic is read nobody is let in");
        }
        Ok(plane)
    }

    /// Serves metrics and health until the shutdown.
    fn serve_metrics(&mut self, health: Health) -> Result<(), Failure> {
        let (listen, registry) = (self.config.metrics, self.registry.clone());
        self.jobs.spawn("metrics", move |shutdown| async move {
            Endpoint::bind(listen).await?.serve(registry, health, shutdown).await?;
            Ok(())
        })
    }

    /// Says what nobody may overlook.
    fn warn(&self) -> Result<(), Failure> {
        if self.config.development_audience.is_some() {
            tracing::warn!(
                keys = %self.config.keys.display(),
                "the development issuer is enabled: whoever can read its key can be anybody, never use it in production"
            );
            output::line(&format!(
                "WARNING   the development issuer is enabled: whoever can read {} can be anybody. For trials only.",
                self.config.keys.display()
            ))?;
        }
        if self.config.identity.is_empty() {
            tracing::warn!("no issuer is configured: nobody can log in");
        }
        Ok(())
    }
}
