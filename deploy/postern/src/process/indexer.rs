//! `postern indexer`: Kafka to search index.

use super::{Started, bus, start};
use crate::arguments::Global;
use crate::failure::Failure;
use event_log::Subscription;
use indexer::Surroundings;
use indexer::telemetry::Metrics;
use recorder::archive::Reader;

/// Runs it until the shutdown.
pub fn run(global: &Global) -> Result<(), Failure> {
    let mut started = start(global)?;
    let subscription = bus::apart(&started.config, NAME)?;
    let metrics = Metrics::new(&started.registry);
    started.serve_metrics(super::bus_health(&metrics.assigned))?;
    spawn(&mut started, metrics, subscription)?;
    started.jobs.join()
}

/// Starts it as one job of a process.
pub fn spawn(started: &mut Started, metrics: Metrics, subscription: Subscription) -> Result<(), Failure> {
    let archive = Some(Reader::open(&started.config.archive)?);
    let surroundings = Surroundings { metrics: Some(metrics), archive };
    let config = started.config.index.clone();
    started.jobs.spawn(NAME, |shutdown| async move {
        Ok(indexer::run_with(config, surroundings, subscription, shutdown).await?)
    })
}

/// Its name on the bus.
pub const NAME: &str = "indexer";
