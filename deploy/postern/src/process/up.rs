//! `postern up`: everything in one process, on one folder; with no broker, the spool is the bus.

use super::{Jobs, bus, indexer, recorder, replay, start};
use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;
use ::indexer::telemetry::Metrics;
use ::recorder::telemetry::Telemetry;
use event_log::Log;
use identity::Verifier;
use kit::Shutdown;
use std::time::{Duration, Instant};

/// Runs everything until the shutdown.
///
/// It ends in two steps: first the gate and the API, so that the log gets the last event of every session; then, when
/// recorder and indexer have read all of it, these. What they do not read in time waits in the spool for the next start.
pub fn run(global: &Global) -> Result<(), Failure> {
    let mut started = start(global)?;
    started.config.for_gate()?;
    let log = started.open_log()?;
    let plane = started.open_control(&log)?;
    let verifier = Verifier::with_book(started.config.identity.clone(), Some(super::book(&plane)))?;
    announce(&started)?;
    // before readiness is told: who asks for it connects next
    let listeners = proxy::listen(&started.config.proxy)?;
    let api = ::replay::Server::bind(started.config.api.clone())?;
    started.serve_metrics(super::log_health(&log))?;
    replay::spawn(&mut started, api, verifier.clone(), Some(plane.clone()), log.clone())?;

    let front = started.jobs.shutdown().clone();
    let behind = Shutdown::new();
    let subscriptions =
        (bus::beside(&started.config, &log, recorder::NAME)?, bus::beside(&started.config, &log, indexer::NAME)?);
    let front_jobs = std::mem::replace(&mut started.jobs, Jobs::new(behind.clone()));
    let (recording, indexing) = (Telemetry::register(&started.registry), Metrics::new(&started.registry));
    recorder::spawn(&mut started, recording, subscriptions.0)?;
    indexer::spawn(&mut started, indexing, subscriptions.1)?;
    let back_jobs = std::mem::replace(&mut started.jobs, front_jobs);
    // A consumer that fails takes the gate with it: a record that nobody reads must not grow unseen.
    let told = front.clone();
    let watched = behind.clone();
    std::thread::Builder::new().name("watch".to_owned()).spawn(move || watch(&watched, &told))?;

    let (registry, gate, gate_log) = (started.registry.clone(), started.config.proxy, log.clone());
    started.jobs.spawn_blocking("gate", move |shutdown| {
        Ok(proxy::run(gate, listeners, verifier, plane, gate_log, &registry, &shutdown)?)
    })?;
    let outcome = started.jobs.join();
    close(log.clone())?;
    catch_up(&log, &behind);
    behind.trigger();
    outcome.and(back_jobs.join())
}

fn announce(started: &super::Started) -> Result<(), Failure> {
    let config = &started.config;
    let bus = match &config.log.kafka {
        Some(kafka) => format!("Kafka at {}", kafka.brokers),
        None => "embedded".to_owned(),
    };
    output::line(&format!("postern   {}, node {}", env!("CARGO_PKG_VERSION"), config.node))?;
    output::line(&format!("gate      {}", config.proxy.listen))?;
    output::line(&format!("console   http://{}/", config.api.listen))?;
    output::line(&format!("metrics   http://{}/metrics", config.metrics))?;
    output::line(&format!(
        "bus       {bus}; log {}; archive {}",
        config.log.directory.display(),
        config.archive.place
    ))?;
    started.warn()
}

fn watch(behind: &Shutdown, front: &Shutdown) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    match runtime {
        Ok(runtime) => runtime.block_on(behind.wait()),
        Err(error) => tracing::error!(%error, "the consumers cannot be watched"),
    }
    front.trigger();
}

/// Seals the log and syncs it.
pub fn close(log: Log) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(log.close())?)
}

/// Waits until the consumers have committed all, or a while.
fn catch_up(log: &Log, behind: &Shutdown) {
    let until = Instant::now() + CATCH_UP;
    while Instant::now() < until && !behind.is_triggered() && log.stats().behind.iter().any(|(_, batches)| *batches > 0)
    {
        std::thread::sleep(POLL);
    }
}

/// How long the consumers have at the end; what is left is read at the next start.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Between two looks at how far they are.
const POLL: Duration = Duration::from_millis(20);
