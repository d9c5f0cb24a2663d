//! The gate: an agent's ordinary client connects here instead of to the database.
//!
//! The path of one statement, in the order of the modules:
//!
//! ```text
//! client -> accept -> tls, startup -> session (authenticate, scope) -> upstream
//!        -> frames -> forward (decide: understood, judged, recorded) -> PostgreSQL
//!        <- answer (mask: hidden, recorded) <- frames <------------------- rows, errors, notices
//! ```
//!
//! Read [`session`] first: it is the path of a connection. Then [`conversation`], [`forward`] and [`answer`]: the path of
//! a statement and of its answer. [`exchange`] moves the bytes. [`record`] makes the events.

pub mod accept;
pub mod answer;
pub mod ask;
pub mod authenticate;
pub mod budget;
pub mod cancel;
mod claim;
pub mod config;
pub mod conversation;
pub mod copying;
pub mod decide;
pub mod dlp;
pub mod doctor;
pub mod estimate;
pub mod evidence;
pub mod exchange;
pub mod flight;
pub mod forward;
pub mod frames;
mod full;
pub mod hold;
pub mod interrupt;
pub mod limits;
pub mod mask;
pub mod names;
pub mod own;
pub mod paths;
pub mod policies;
pub mod record;
mod redact;
pub mod refuse;
pub mod resource;
pub mod rights;
pub mod scope;
pub mod scrub;
pub mod sealing;
pub mod session;
pub mod startup;
pub mod statement;
pub mod telemetry;
#[doc(hidden)]
pub mod testing;
pub mod tls;
pub mod upstream;
pub mod values;
pub mod warning;

use config::Config;
use event_log::Log;
use identity::Verifier;
use kit::{Shutdown, metrics::Registry};
use std::{collections::BTreeMap, io, sync::Arc};
use tokio::sync::Semaphore;

/// Everything that the sessions of one node share.
pub struct Gate {
    config: Config,
    acceptor: tls::Acceptor,
    verifier: Verifier,
    resources: BTreeMap<String, Arc<resource::Resource>>,
    cancels: cancel::Cancels,
    elsewhere: hold::Elsewhere,
    rights: rights::Rights,
    log: Log,
    metrics: telemetry::Metrics,
    shutdown: Shutdown,
    holds: Option<Arc<hold::Holds>>,
}

impl Gate {
    fn resource(&self, name: &str) -> Option<Arc<resource::Resource>> {
        self.resources.get(name).cloned()
    }
}

/// The gate could not start, or its workers failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken or the address is not this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("cannot set up TLS")]
    Tls(#[source] tls::Error),
    /// A thread could not be started or ended in a failure.
    #[error("cannot run {what}")]
    Thread {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The gate's port, bound: connections wait in the kernel until [`run`] takes them.
#[derive(Debug)]
pub struct Listeners(Vec<std::net::TcpListener>);

/// Binds the port, one listener for each worker, so that a process that says it is ready can be connected to.
///
/// # Errors
/// [`Error::Listen`].
pub fn listen(config: &Config) -> Result<Listeners, Error> {
    let address = config.listen;
    let bound = (0..config.workers.get()).map(|_| accept::bind(address)).collect::<io::Result<_>>();
    bound.map(Listeners).map_err(|source| Error::Listen { address, source })
}

/// Runs the gate until shutdown, with one thread a worker, one for the catalogs and one for revocations.
///
/// # Errors
/// [`Error`]: the gate did not start, or a worker ended early.
pub fn run(
    config: Config,
    listeners: Listeners,
    verifier: Verifier,
    plane: control::Plane,
    log: Log,
    registry: &Registry,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let address = config.listen;
    let Listeners(listeners) = listeners;
    let workers = listeners.len();
    let acceptor = tls::Acceptor::asking(&config.tls, config.allow_plaintext, verifier.wants_certificates());
    let acceptor = acceptor.map_err(Error::Tls)?;
    let resources: BTreeMap<String, Arc<resource::Resource>> = config
        .resources
        .iter()
        .map(|one| {
            let resource = resource::Resource::new(one, config.statement_cache_bytes, config.tripwire);
            let resource = resource.with_provider(one).and_then(|resource| resource.with_leases(one));
            let failed = |source| Error::Thread { what: "what a resource needs".to_owned(), source };
            resource.map(|resource| (one.name.clone(), Arc::new(resource))).map_err(failed)
        })
        .collect::<Result<_, _>>()?;
    let permits = Arc::new(Semaphore::new(config.max_connections.get()));
    let reviewers = Arc::new(hold::ByControl::new(plane.control.clone()));
    let metrics = telemetry::Metrics::new(registry);
    let holds = |settings| Arc::new(hold::Holds::new(reviewers, settings, &config.node, metrics.holds()));
    let holds = config.holds.clone().map(holds);
    let gate = Arc::new(Gate {
        acceptor,
        verifier,
        resources,
        cancels: cancel::Cancels::default(),
        elsewhere: hold::Elsewhere::new(plane.control.clone()),
        rights: rights::Rights::new(plane),
        log,
        metrics,
        shutdown: shutdown.clone(),
        holds,
        config,
    });
    tracing::info!(%address, workers, "gate listens");
    std::thread::scope(|scope| {
        let catalogs = {
            let (gate, shutdown) = (gate.clone(), shutdown.clone());
            spawn(scope, "catalogs".to_owned(), move || {
                resource::refresh_all(&gate.resources, &gate.metrics, &shutdown)
            })?
        };
        let rights = {
            let (gate, shutdown) = (gate.clone(), shutdown.clone());
            spawn(scope, "rights".to_owned(), move || gate.rights.watch(&shutdown))?
        };
        // leased roles are dropped after the last session ended
        let sessions_ended = Shutdown::new();
        let leases = {
            let (gate, ended) = (gate.clone(), sessions_ended.clone());
            spawn(scope, "leases".to_owned(), move || scope::run(&gate.resources, &gate.metrics, &ended))?
        };
        let mut threads = Vec::new();
        for (number, listener) in listeners.into_iter().enumerate() {
            let (gate, permits) = (gate.clone(), permits.clone());
            let name = format!("gate-{number}");
            threads.push((name.clone(), spawn(scope, name, move || accept::serve(listener, gate, permits, shutdown))?));
        }
        let mut first = Ok(());
        threads.extend([("catalogs".to_owned(), catalogs), ("rights".to_owned(), rights)]);
        for (what, thread) in threads {
            let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
            if let (Err(source), Ok(())) = (ended, &first) {
                shutdown.trigger();
                first = Err(Error::Thread { what, source });
            }
        }
        sessions_ended.trigger();
        let ended = leases.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        first.and(ended.map_err(|source| Error::Thread { what: "leases".to_owned(), source }))
    })
}

fn spawn<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    name: String,
    work: impl FnOnce() -> io::Result<()> + Send + 'scope,
) -> Result<std::thread::ScopedJoinHandle<'scope, io::Result<()>>, Error> {
    std::thread::Builder::new()
        .name(name.clone())
        .spawn_scoped(scope, work)
        .map_err(|source| Error::Thread { what: name, source })
}

/// An error with everything that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
