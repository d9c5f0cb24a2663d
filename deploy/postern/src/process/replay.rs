//! `postern replay`: the API and the console, over archive and index.

use super::{Started, start};
use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;
use control::Plane;
use event_log::Log;
use identity::Verifier;
use indexer::search::Searcher;
use recorder::archive::Reader;
use replay::Server;
use replay::hooks::Hooks;
use replay::telemetry::Telemetry;
use std::sync::Arc;

/// Runs it until the shutdown. Each access is recorded in this node's own log.
pub fn run(global: &Global) -> Result<(), Failure> {
    let mut started = start(global)?;
    let log = started.open_log()?;
    // without Kafka the control topic is a journal of the process that runs the gate
    let plane = match &started.config.control.kafka {
        Some(_) => Some(started.open_control(&log)?),
        None => None,
    };
    let server = Server::bind(started.config.api.clone())?;
    started.serve_metrics(super::log_health(&log))?;
    output::line(&format!("console   http://{}/", started.config.api.listen))?;
    started.warn()?;
    if plane.is_none() {
        tracing::warn!("no control plane: whoever is disabled at the gate is let in here; name brokers in [kafka]");
        output::line(
            "WARNING   without Kafka this process knows of nobody who is disabled: run postern up, or name brokers.",
        )?;
    }
    let verifier = Verifier::with_book(started.config.identity.clone(), plane.as_ref().map(super::book))?;
    spawn(&mut started, server, verifier, plane, log.clone())?;
    let outcome = started.jobs.join();
    super::up::close(log)?;
    outcome
}

/// Starts it, bound already, as one job of a process.
pub fn spawn(
    started: &mut Started,
    server: Server,
    verifier: Verifier,
    plane: Option<Plane>,
    log: Log,
) -> Result<(), Failure> {
    let reader = Reader::open(&started.config.archive)?;
    let searcher = Searcher::open(&started.config.index.directory);
    let telemetry = Telemetry::new(&started.registry);
    let hooks = Hooks::open(std::mem::take(&mut started.config.webhooks))?;
    if plane.is_none() && !hooks.is_empty() {
        tracing::warn!("webhooks are told by the process that has the control plane, which this one has not");
    }
    let mut parts = replay::parts(reader, searcher, verifier, plane, log);
    parts.hooks = (!hooks.is_empty()).then(|| Arc::new(hooks));
    started.jobs.spawn("replay", |shutdown| async move { Ok(server.serve(parts, telemetry, shutdown).await?) })
}
