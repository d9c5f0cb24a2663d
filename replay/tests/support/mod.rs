//! A router over sample sessions, and answers read whole and checked against `openapi.json`.

#[path = "../../examples/sample/mod.rs"]
pub mod sample;
pub mod schema;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use kit::{Clock, Shutdown, metrics::Registry};
use replay::memory::Ledger;
use replay::telemetry::Telemetry;
use replay::{Api, Parts, config};
use serde_json::Value;
use std::sync::Arc;
use tower::ServiceExt as _;

pub const NOW: i64 = 1_795_300_000_000_000;

pub struct Bench {
    pub router: axum::Router,
    pub ledger: Arc<Ledger>,
    pub registry: Registry,
    pub shutdown: Shutdown,
}

pub struct Answered {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub fn bench() -> Bench {
    bench_with(config::File::default(), |parts| parts)
}

pub fn bench_with(file: config::File, change: impl FnOnce(Parts) -> Parts) -> Bench {
    let (ledger, registry, shutdown) = (Arc::new(Ledger::default()), Registry::new(), Shutdown::new());
    let parts = change(Parts {
        archive: Arc::new(sample::shelf()),
        search: Arc::new(sample::oracle()),
        authenticate: Arc::new(sample::doorman()),
        record: ledger.clone(),
        verifier: None,
        exchanger: None,
        plane: None,
        hooks: None,
    });
    let config = file.check("console-1").unwrap();
    let api = Api::new(config, parts, Telemetry::new(&registry), Clock::fixed(NOW), shutdown.clone());
    Bench { router: replay::router(api), ledger, registry, shutdown }
}

impl Bench {
    /// Asks as the auditor; the answer is checked against `openapi.json`.
    pub async fn ask(&self, path: &str) -> Answered {
        self.send(Request::get(path).header("authorization", format!("Bearer {}", sample::AUDITOR))).await
    }

    pub async fn send(&self, request: axum::http::request::Builder) -> Answered {
        self.send_with(request, Body::empty()).await
    }

    pub async fn send_with(&self, request: axum::http::request::Builder, body: Body) -> Answered {
        let request = request.body(body).unwrap();
        let path = request.uri().path().to_owned();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        let answered = Answered { status: parts.status.as_u16(), headers: parts.headers, body };
        schema::conforms(&path, &answered);
        answered
    }
}
