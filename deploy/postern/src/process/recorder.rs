//! `postern recorder`: Kafka to archive.

use super::{Started, bus, start};
use crate::arguments::Global;
use crate::failure::Failure;
use event_log::Subscription;
use recorder::telemetry::Telemetry;

/// Runs it until the shutdown.
pub fn run(global: &Global) -> Result<(), Failure> {
    let mut started = start(global)?;
    let subscription = bus::apart(&started.config, NAME)?;
    let telemetry = Telemetry::register(&started.registry);
    started.serve_metrics(super::bus_health(&telemetry.assigned))?;
    spawn(&mut started, telemetry, subscription)?;
    started.jobs.join()
}

/// Starts it as one job of a process.
pub fn spawn(started: &mut Started, telemetry: Telemetry, subscription: Subscription) -> Result<(), Failure> {
    let mut config = started.config.archive.clone();
    if config.checkpoint_interval.is_some() {
        let signer = super::signer(&started.config.archive_key, &started.config.kms)?;
        config = config.with_notary(signer, started.config.node.clone());
    }
    started
        .jobs
        .spawn(NAME, |shutdown| async move { Ok(recorder::run_with(config, subscription, telemetry, shutdown).await?) })
}

/// Its name on the bus.
pub const NAME: &str = "recorder";
