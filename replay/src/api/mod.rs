//! The HTTP API: its routes, and what they share.
//!
//! ```text
//! request -> headers -> [open: health, OpenAPI, console]
//!                    -> audited (admit -> authenticate -> answer -> record the access -> send)
//! ```
//!
//! `openapi.json` describes every route; a test holds the two together and every tested answer to its schema.

mod access;
mod answer;
mod audited;
mod body;
mod frames;
mod headers;
mod hooks;
mod parameters;
mod scope;
mod search;
mod sessions;
mod token;

use crate::config::Config;
use crate::crowd::Crowd;
use crate::page;
use crate::problem::Problem;
use crate::sources::{Archive, Authenticate, Filter, Record, Search};
use crate::telemetry::Telemetry;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Router, middleware};
use kit::{Clock, Shutdown};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The parts of the system that the API stands before.
#[derive(Clone)]
pub struct Parts {
    /// Sessions.
    pub archive: Arc<dyn Archive>,
    /// Answers to questions.
    pub search: Arc<dyn Search>,
    /// Who holds a token.
    pub authenticate: Arc<dyn Authenticate>,
    /// Where accesses are recorded.
    pub record: Arc<dyn Record>,
    /// Who checks the tokens that are exchanged; none where none are.
    pub verifier: Option<identity::Verifier>,
    /// Who gives tokens for them.
    pub exchanger: Option<Arc<identity::exchange::Exchanger>>,
    /// Access requests, reviews, grants and revocations; none where the control topic is another process's.
    pub plane: Option<control::Plane>,
    /// Who is told of what waits for an answer; none where nobody is.
    pub hooks: Option<Arc<crate::hooks::Hooks>>,
}

/// All that a request needs. Clones share it.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    config: Config,
    parts: Parts,
    telemetry: Telemetry,
    clock: Clock,
    shutdown: Shutdown,
    running: Semaphore,
    /// What each identity has under way.
    parties: Crowd<(String, String)>,
    /// Bodies that are on their way to the token endpoint.
    exchanges: body::Strangers,
    /// Likewise, to the webhooks' answers: neither route takes the places of the other.
    answers: body::Strangers,
}

impl Api {
    /// Puts the parts behind the limits of a configuration.
    pub fn new(config: Config, parts: Parts, telemetry: Telemetry, clock: Clock, shutdown: Shutdown) -> Self {
        let running = Semaphore::new(config.limits.concurrent_requests);
        let parties = Crowd::new(config.limits.requests_per_identity, usize::MAX);
        let (exchanges, answers) = (body::strangers(&config.limits), body::strangers(&config.limits));
        Self(Arc::new(Inner { config, parts, telemetry, clock, shutdown, running, parties, exchanges, answers }))
    }
}

type Route = (&'static str, MethodRouter<Api>);

/// Routes that need a token and leave a record.
fn guarded() -> Vec<Route> {
    vec![
        ("/api/v1/sessions", get(sessions::list)),
        ("/api/v1/sessions/{id}", get(sessions::one)),
        ("/api/v1/sessions/{id}/timeline", get(sessions::timeline)),
        ("/api/v1/sessions/{id}/frames", get(frames::frames)),
        ("/api/v1/sessions/{id}/events", get(sessions::events)),
        ("/api/v1/search", get(search::search)),
    ]
}

/// Routes that show nothing of the record.
fn open() -> Vec<Route> {
    vec![
        ("/healthz", get(|| async { "ok\n" })),
        ("/readyz", get(readyz)),
        ("/api/v1/openapi.json", get(openapi)),
        (hooks::PATH, post(hooks::slack)),
        (token::PATH, post(token::token)),
        ("/oauth/jwks", get(token::jwks)),
        ("/.well-known/oauth-authorization-server", get(token::metadata)),
    ]
}

/// The paths of the API, as `openapi.json` describes them.
pub fn paths() -> Vec<&'static str> {
    guarded().into_iter().chain(access::routes()).chain(open()).map(|(path, _)| path).collect()
}

/// The whole API and the console, ready to be served.
pub fn router(api: Api) -> Router {
    let add = |router: Router<Api>, (path, method): Route| router.route(path, method);
    let audited = middleware::from_fn_with_state(api.clone(), audited::audited);
    let guarded = guarded().into_iter().fold(Router::new(), add).route_layer(audited);
    let acting = middleware::from_fn_with_state(api.clone(), audited::acting);
    let control = access::routes().into_iter().fold(Router::new(), add).route_layer(acting);
    let open = open().into_iter().fold(Router::new(), add);
    guarded
        .merge(control)
        .merge(open)
        .merge(page::router())
        .fallback(|| async { nothing_here() })
        .method_not_allowed_fallback(|| async { no_such_method() })
        .layer(middleware::from_fn(headers::secure))
        .with_state(api)
}

fn nothing_here() -> Problem {
    let action = "See /api/v1/openapi.json for what there is; the console is at /.";
    Problem::new(StatusCode::NOT_FOUND, "Nothing here", "No such path.", action)
}

fn no_such_method() -> Problem {
    let action = "Use GET to read; POST asks for access, answers and revokes: /api/v1/openapi.json has both.";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Not this method", "The path does not know this method.", action)
}

/// The description that `openapi` serves.
pub const OPENAPI: &str = include_str!("../../openapi.json");

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

/// A load balancer asks often and waits little.
const READY_WITHIN: Duration = Duration::from_secs(2);

async fn readyz(State(api): State<Api>) -> Response {
    let not_ready = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\nnot ready\n")).into_response();
    if api.0.shutdown.is_triggered() {
        return not_ready("shutting down");
    }
    let filter = Filter { limit: 1, ..Filter::default() };
    match tokio::time::timeout(READY_WITHIN, api.0.parts.archive.sessions(&filter)).await {
        Ok(Ok(_)) => "archive: ok\nready\n".into_response(),
        Ok(Err(error)) => {
            tracing::warn!(error = %crate::telemetry::chain(&error), "not ready");
            not_ready("archive: cannot be read")
        }
        Err(_) => not_ready("archive: does not answer"),
    }
}
