//! The sources over the real parts: one file each, and [`run`], which puts them together.

mod archive;
mod identity;
mod index;
mod log;

use crate::api::Parts;
use crate::config::Config;
use crate::server::{Error, Server};
use crate::telemetry::Telemetry;
use kit::Shutdown;
use kit::metrics::Registry;
use std::sync::Arc;

/// Binds the API and serves it until the shutdown, with metrics that nobody scrapes.
///
/// # Errors
/// [`Error`] if the address cannot be bound or the listener breaks.
pub async fn run(
    config: Config,
    reader: recorder::archive::Reader,
    searcher: indexer::search::Searcher,
    verifier: ::identity::Verifier,
    log: event_log::Log,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let parts = parts(reader, searcher, verifier, None, log);
    Server::bind(config)?.serve(parts, Telemetry::new(&Registry::new()), shutdown).await
}

/// The real parts.
pub fn parts(
    reader: recorder::archive::Reader,
    searcher: indexer::search::Searcher,
    verifier: ::identity::Verifier,
    plane: Option<control::Plane>,
    log: event_log::Log,
) -> Parts {
    Parts {
        archive: Arc::new(archive::Recorded(reader)),
        search: Arc::new(index::Indexed(searcher)),
        exchanger: verifier.exchanger(),
        authenticate: Arc::new(identity::Tokens(verifier.clone())),
        verifier: Some(verifier),
        record: Arc::new(log::Durable(log)),
        plane,
        hooks: None,
    }
}
