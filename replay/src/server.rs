//! How the API starts and stops: bound first, then served, drained at the end.

use crate::api::{Api, Parts, router};
use crate::config::Config;
use crate::listener::{Limited, Peer};
use crate::telemetry::Telemetry;
use kit::{Clock, Shutdown};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

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
    /// The listener broke.
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
        let (drain, connections) = (self.config.drain, self.config.connections);
        tracing::info!(address = %self.address, "serving the api and the console");
        if let (Some(plane), Some(hooks)) = (&parts.plane, &parts.hooks) {
            hooks.spawn(&plane.control, &telemetry.hooks, &shutdown);
        }
        let router = router(Api::new(self.config, parts, telemetry, Clock::system(), shutdown.clone()));
        let listener = tokio::net::TcpListener::from_std(self.listener).map_err(|source| Error::Serve { source })?;
        let service = router.into_make_service_with_connect_info::<Peer>();
        let told = shutdown.clone();
        let serving = axum::serve(Limited::new(listener, connections), service)
            .with_graceful_shutdown(async move { told.wait().await });
        tokio::select! {
            served = async { serving.await } => served.map_err(|source| Error::Serve { source }),
            () = drained(&shutdown, drain) => {
                tracing::warn!("requests still running at the end of the drain, cut off");
                Ok(())
            }
        }
    }
}

async fn drained(shutdown: &Shutdown, drain: Duration) {
    shutdown.wait().await;
    tokio::time::sleep(drain).await;
}
