//! `postern replay`: the API and the console, over archive and index.

use super::{Started, start};
use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;
use event_log::Log;
use identity::Verifier;
use indexer::search::Searcher;
use recorder::archive::Reader;
use replay::Server;
use replay::telemetry::Telemetry;

/// Runs it until the shutdown. Each access is recorded in this node's own log.
pub fn run(global: &Global) -> Result<(), Failure> {
    let mut started = start(global)?;
    let log = started.open_log()?;
    let server = Server::bind(started.config.api.clone())?;
    started.serve_metrics(super::log_health(&log))?;
    output::line(&format!("console   http://{}/", started.config.api.listen))?;
    started.warn()?;
    let verifier = Verifier::new(started.config.identity.clone())?;
    spawn(&mut started, server, verifier, log.clone())?;
    let outcome = started.jobs.join();
    super::up::close(log)?;
    outcome
}

/// Starts it, bound already, as one job of a process.
pub fn spawn(started: &mut Started, server: Server, verifier: Verifier, log: Log) -> Result<(), Failure> {
    let reader = Reader::open(&started.config.archive)?;
    let searcher = Searcher::open(&started.config.index.directory);
    let telemetry = Telemetry::new(&started.registry);
    let parts = replay::parts(reader, searcher, verifier, log);
    started.jobs.spawn("replay", |shutdown| async move { Ok(server.serve(parts, telemetry, shutdown).await?) })
}
