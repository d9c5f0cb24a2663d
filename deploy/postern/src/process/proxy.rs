//! `postern proxy`: the gate, in front of Kafka.

use super::{Started, start};
use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;
use control::Plane;
use event_log::Log;
use identity::Verifier;
use kit::Shutdown;
use kit::config::{Problem, Problems};
use proxy::Listeners;

/// Runs it until the shutdown.
pub fn run(global: &Global) -> Result<(), Failure> {
    let mut started = start(global)?;
    started.config.for_gate()?;
    if started.config.log.kafka.is_none() {
        let text = "must name brokers: without Kafka nobody would read this gate's record; use `postern up`";
        return Err(Failure::Config(Problems(vec![Problem::new("kafka.brokers", text)])));
    }
    let log = started.open_log()?;
    let plane = started.open_control(&log)?;
    // before readiness is told: who asks for it connects next
    let listeners = proxy::listen(&started.config.proxy)?;
    started.serve_metrics(super::log_health(&log))?;
    output::line(&format!("gate      {}", started.config.proxy.listen))?;
    started.warn()?;
    let verifier = Verifier::with_book(started.config.identity.clone(), Some(super::book(&plane)))?;
    let gate = gate(started, listeners, verifier, plane, log.clone())?;
    let outcome = gate.join();
    super::up::close(log)?;
    outcome
}

fn gate(
    mut started: Started,
    listeners: Listeners,
    verifier: Verifier,
    plane: Plane,
    log: Log,
) -> Result<super::Jobs, Failure> {
    let registry = started.registry.clone();
    let config = started.config.proxy;
    started.jobs.spawn_blocking("gate", move |shutdown: Shutdown| {
        Ok(proxy::run(config, listeners, verifier, plane, log, &registry, &shutdown)?)
    })?;
    Ok(started.jobs)
}
