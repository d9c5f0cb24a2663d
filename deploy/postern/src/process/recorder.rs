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
    started.serve_metrics(None)?;
    spawn(&mut started, subscription)?;
    started.jobs.join()
}

/// Starts it as one job of a process.
pub fn spawn(started: &mut Started, subscription: Subscription) -> Result<(), Failure> {
    let (config, telemetry) = (started.config.archive.clone(), Telemetry::register(&started.registry));
    started
        .jobs
        .spawn(NAME, |shutdown| async move { Ok(recorder::run_with(config, subscription, telemetry, shutdown).await?) })
}

/// Its name on the bus.
pub const NAME: &str = "recorder";
