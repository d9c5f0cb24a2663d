//! What a process tells of itself: `/metrics` for Prometheus, `/healthz` (it runs) and `/readyz` (it can do its work).

use crate::Shutdown;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
pub use prometheus_client;
use prometheus_client::registry::Metric;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The metrics of one process. Clones share them; each library registers its own in its `telemetry.rs`.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Mutex<prometheus_client::registry::Registry>>);

impl Registry {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a metric and gives back a clone of it to count with. `name` is `<process>_<thing>_<unit>` without
    /// `_total`, which counters get by themselves; `help` says what one increment means and what to do about it.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.lock().register(name, help, metric.clone());
        metric
    }

    /// Registers something that reads its metrics elsewhere when they are asked for.
    pub fn register_collector(&self, collector: Box<dyn prometheus_client::collector::Collector>) {
        self.lock().register_collector(collector);
    }

    /// The metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.lock()) {
            Ok(()) => text,
            // A String takes every write, so that only a metric's own encoder could fail.
            Err(error) => format!("# a metric could not be written: {error}\n"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, prometheus_client::registry::Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the work of a process says of itself for [`Health`], such as having its partitions. Clones share it; at first it
/// does not hold.
#[derive(Debug, Clone, Default)]
pub struct Condition(Arc<AtomicBool>);

impl Condition {
    /// Says whether it holds from now on.
    pub fn set(&self, holds: bool) {
        self.0.store(holds, Ordering::Release);
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What must hold for the process to be ready. Checks run at each request: they look at state, they do not do IO.
#[derive(Default)]
pub struct Health(Vec<(String, Check)>);

impl Health {
    /// Ready whenever it runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check. Its error is the reason, in a few words without secrets: `/readyz` shows it to anybody.
    #[must_use]
    pub fn check(mut self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.0.push((name.to_owned(), Box::new(check)));
        self
    }

    /// Adds a condition that the process's own work sets; `reason` is shown while it does not hold.
    #[must_use]
    pub fn when(self, name: &str, condition: &Condition, reason: &'static str) -> Self {
        let condition = condition.clone();
        self.check(name, move || if condition.holds() { Ok(()) } else { Err(reason.to_owned()) })
    }

    /// Whether all is well, and a line for each check.
    fn report(&self) -> (bool, String) {
        let (mut ready, mut report) = (true, String::new());
        for (name, check) in &self.0 {
            let line = match check() {
                Ok(()) => "ok".to_owned(),
                Err(reason) => {
                    ready = false;
                    reason
                }
            };
            // Writing to a String cannot fail.
            writeln!(report, "{name}: {line}").unwrap_or_default();
        }
        report.push_str(if ready { "ready\n" } else { "not ready\n" });
        (ready, report)
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The metrics and health endpoint could not be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, or the address is not this machine's.
    #[error("listening on {listen} for metrics and health")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The listener broke.
    #[error("serving metrics and health")]
    Serve {
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A bound endpoint that does not answer yet.
#[derive(Debug)]
pub struct Endpoint {
    listener: tokio::net::TcpListener,
    address: SocketAddr,
}

impl Endpoint {
    /// Binds it, so that a taken port is known before anything else starts. Needs a runtime.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn bind(listen: SocketAddr) -> Result<Self, Error> {
        let refused = |source| Error::Listen { listen, source };
        let listener = tokio::net::TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Where it listens: the port that was chosen where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the shutdown. From then on `/readyz` says no, so that a load balancer turns away at once, until
    /// the last request is answered.
    ///
    /// # Errors
    /// [`Error::Serve`].
    pub async fn serve(self, registry: Registry, health: Health, shutdown: Shutdown) -> Result<(), Error> {
        let served = axum::serve(self.listener, router(registry, health, shutdown.clone()));
        served
            .with_graceful_shutdown(async move { shutdown.wait().await })
            .await
            .map_err(|source| Error::Serve { source })
    }
}

/// Binds and serves `/metrics`, `/healthz` and `/readyz` until the shutdown.
///
/// # Errors
/// [`Error`].
pub async fn serve(listen: SocketAddr, registry: Registry, health: Health, shutdown: Shutdown) -> Result<(), Error> {
    Endpoint::bind(listen).await?.serve(registry, health, shutdown).await
}

#[derive(Clone)]
struct Served {
    registry: Registry,
    health: Arc<Health>,
    shutdown: Shutdown,
}

fn router(registry: Registry, health: Health, shutdown: Shutdown) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(Served { registry, health: Arc::new(health), shutdown })
}

async fn metrics(State(served): State<Served>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], served.registry.encode()).into_response()
}

async fn readyz(State(served): State<Served>) -> Response {
    let (ready, report) = match served.shutdown.is_triggered() {
        true => (false, "shutting down\nnot ready\n".to_owned()),
        false => served.health.report(),
    };
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, report).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use prometheus_client::metrics::counter::Counter;
    use tower::ServiceExt as _;

    async fn ask(router: &Router, path: &str) -> (u16, String) {
        let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_three_paths_answer() {
        let registry = Registry::new();
        let counter: Counter = registry.register("test_things", "things seen; nothing to do", Counter::default());
        counter.inc_by(3);
        let well = Arc::new(AtomicBool::new(true));
        let seen = well.clone();
        let health = Health::new().check("log", move || match seen.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err("the spool is full".to_owned()),
        });
        let shutdown = Shutdown::new();
        let router = router(registry, health, shutdown.clone());

        let (status, text) = ask(&router, "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("test_things_total 3\n") && text.ends_with("# EOF\n"), "{text}");
        assert_eq!(ask(&router, "/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(ask(&router, "/readyz").await, (200, "log: ok\nready\n".to_owned()));
        well.store(false, Ordering::SeqCst);
        assert_eq!(ask(&router, "/readyz").await, (503, "log: the spool is full\nnot ready\n".to_owned()));
        shutdown.trigger();
        assert_eq!(ask(&router, "/readyz").await, (503, "shutting down\nnot ready\n".to_owned()));
    }

    #[test]
    fn a_condition_is_unmet_until_it_is_set() {
        let condition = Condition::default();
        let health = Health::new().when("bus", &condition, "no partitions yet");
        assert_eq!(health.report(), (false, "bus: no partitions yet\nnot ready\n".to_owned()));
        condition.set(true);
        assert_eq!(health.report(), (true, "bus: ok\nready\n".to_owned()));
    }

    #[tokio::test]
    async fn a_taken_port_is_named_and_shutdown_ends_it() {
        let taken = Endpoint::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = taken.address();
        let error = Endpoint::bind(address).await.unwrap_err();
        assert_eq!(error.to_string(), format!("listening on {address} for metrics and health"));
        let shutdown = Shutdown::new();
        shutdown.trigger();
        taken.serve(Registry::new(), Health::new(), shutdown).await.unwrap();
    }
}
