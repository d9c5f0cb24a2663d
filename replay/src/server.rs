//! How the API starts and stops: bound first, then served, drained at the end.

use crate::api::{Api, Parts, router};
use crate::config::Config;
use crate::listener::{Connection, Limited, Peer};
use crate::telemetry::Telemetry;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kit::{Clock, Shutdown};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// The API could not be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, or the address is not this machine's.
    #[error("listening on {listen} for the API")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The listener cannot be used.
    #[error("serving the API")]
    Serve {
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A bound API that does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    config: Config,
}

impl Server {
    /// Binds it, so that a taken port is known before anything else starts, and before readiness is told.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub fn bind(config: Config) -> Result<Self, Error> {
        let listen = config.listen;
        let refused = |source| Error::Listen { listen, source };
        let listener = std::net::TcpListener::bind(listen).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, config })
    }

    /// Where it listens: the port that was chosen where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the shutdown, on the runtime that it is called on; requests that run then have `api.drain_ms` to end.
    ///
    /// # Errors
    /// [`Error::Serve`].
    pub async fn serve(self, parts: Parts, telemetry: Telemetry, shutdown: Shutdown) -> Result<(), Error> {
        let Config { drain, connections, connections_per_address, limits, .. } = self.config;
        tracing::info!(address = %self.address, "serving the api and the console");
        if let (Some(plane), Some(hooks)) = (&parts.plane, &parts.hooks) {
            hooks.spawn(&plane.control, &telemetry.hooks, &shutdown);
        }
        let router = router(Api::new(self.config, parts, telemetry, Clock::system(), shutdown.clone()));
        let listener = tokio::net::TcpListener::from_std(self.listener).map_err(|source| Error::Serve { source })?;
        let listener = Limited::new(listener, connections, connections_per_address);
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                (connection, peer) = listener.accept() => {
                    running.spawn(connected(connection, peer, router.clone(), limits.receive, shutdown.clone()));
                }
                // those that have ended make room
                Some(_) = running.join_next() => {}
                () = shutdown.wait() => break,
            }
        }
        drop(listener);
        let ended = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, ended).await.is_err() {
            tracing::warn!("requests still running at the end of the drain, cut off");
        }
        Ok(())
    }
}

/// Serves one connection: a head that does not come in time closes it, and so does a client that is idle as long.
async fn connected(connection: Connection, peer: Peer, router: Router, head: Duration, shutdown: Shutdown) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request.map(Body::new))
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(head);
    let mut serving = std::pin::pin!(server.serve_connection(TokioIo::new(connection), service));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = shutdown.wait() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(peer = %peer.0, %error, "a connection of the api broke off");
    }
}
