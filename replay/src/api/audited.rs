//! What every request for the record passes: limits, who asks, the answer, and the record of the access.
//!
//! A request takes a place among those that are answered when its body is there and it is known who asks, and one identity
//! has only some of them. The answer is made, then the access is recorded with its status, and only when that record is durable the answer is
//! sent. Without a record there is no answer: 503.

use super::{Api, access, body};
use crate::listener::Peer;
use crate::problem::Problem;
use crate::sources::{Known, Refused, Unavailable};
use axum::body::Body as Content;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kit::Secret;
use schemas::event::Access;
use schemas::{Body, Event, Identity, SessionId};
use std::time::Instant;

/// No path of the API is longer.
const MAX_PATH_BYTES: usize = 512;
/// No issuer's token is longer; a token with hundreds of groups has a few KiB.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// No body of these routes is larger.
const MAX_BODY_BYTES: usize = 64 << 10;

/// What a route is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// Reading the record: auditors alone, and without a body.
    Read,
    /// The control plane: each route asks itself who may; its handlers find who it is as [`Actor`].
    Act,
}

/// Who uses a route of the control plane.
#[derive(Debug, Clone)]
pub(super) struct Actor(pub(super) Known);

pub(super) async fn audited(State(api): State<Api>, request: Request, next: Next) -> Response {
    watched(api, Duty::Read, request, next).await
}

pub(super) async fn acting(State(api): State<Api>, request: Request, next: Next) -> Response {
    watched(api, Duty::Act, request, next).await
}

async fn watched(api: Api, duty: Duty, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let telemetry = &api.0.telemetry;
    telemetry.running.inc();
    let running = Running(&telemetry.running);
    let response = answer(&api, duty, request, next).await.unwrap_or_else(IntoResponse::into_response);
    drop(running);
    telemetry.answered(response.status().as_u16());
    telemetry.duration.observe(started.elapsed().as_secs_f64());
    response
}

/// Counts down also when the client leaves and the request is dropped half way.
struct Running<'a>(&'a prometheus_client::metrics::gauge::Gauge);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

async fn answer(api: &Api, duty: Duty, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    within_limits(api, duty, &parts)?;
    let peer = peer(&parts);
    let known = authenticate(api, &parts.headers, &peer).await?;
    let identity = known.identity.clone();
    let place = api.0.parties.enter((identity.issuer.clone(), identity.subject.clone()));
    let _place = place.ok_or_else(|| too_many(api.0.config.limits.requests_per_identity))?;
    let mut access = Access {
        identity,
        node: api.0.config.node.clone(),
        peer,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        status: 0,
    };
    parts.extensions.insert(Actor(known));
    let received = match permitted(api, duty, &parts, &access.identity) {
        Ok(()) => body::received(api, body, MAX_BODY_BYTES).await,
        Err(problem) => {
            tracing::warn!(subject = access.identity.subject, peer = access.peer, "access refused");
            Err(problem)
        }
    };
    let _permit = api.0.running.try_acquire().map_err(|_| busy())?;
    let response = match received {
        Ok(bytes) => {
            let request = Request::from_parts(parts, Content::from(bytes));
            let answered = tokio::time::timeout(api.0.config.limits.timeout, next.run(request));
            answered.await.unwrap_or_else(|_| too_slow().into_response())
        }
        Err(problem) => problem.into_response(),
    };
    access.status = response.status().as_u16();
    recorded(api, access).await?;
    Ok(response)
}

fn within_limits(api: &Api, duty: Duty, parts: &Parts) -> Result<(), Problem> {
    let limit = api.0.config.limits.query_bytes;
    let query = parts.uri.query().map_or(0, str::len);
    if query > limit || parts.uri.path().len() > MAX_PATH_BYTES {
        return Err(Problem::new(
            StatusCode::URI_TOO_LONG,
            "The request is too long",
            format!("The query string has {query} bytes of at most {limit}, or the path more than {MAX_PATH_BYTES}."),
            "Ask a shorter question.",
        ));
    }
    let length = parts.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if duty == Duty::Act {
        // its handler reads no more than it may
        return Ok(());
    }
    if length || parts.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The request has a body",
            "No path that reads the record takes a body.",
            "Put what you ask into the query string.",
        ));
    }
    Ok(())
}

pub(super) fn peer(parts: &Parts) -> String {
    let info = parts.extensions.get::<ConnectInfo<Peer>>();
    info.map_or_else(|| "unknown".to_owned(), |ConnectInfo(Peer(address))| address.to_string())
}

async fn authenticate(api: &Api, headers: &HeaderMap, peer: &str) -> Result<Known, Problem> {
    let refuse = |detail: &str, given| {
        tracing::warn!(peer, reason = detail, "authentication failed");
        Problem::unauthenticated(detail, given)
    };
    let token = match bearer(headers) {
        Ok(Some(token)) => token,
        Ok(None) => return Err(refuse("The request carries no token.", false)),
        Err(detail) => return Err(refuse(detail, true)),
    };
    let asked = tokio::time::timeout(api.0.config.limits.timeout, api.0.parts.authenticate.identity(token));
    match asked.await {
        Ok(Ok(known)) => Ok(known),
        Ok(Err(Refused::Token { reason })) => Err(refuse(&reason, true)),
        Ok(Err(Refused::Issuer { reason })) => {
            tracing::error!(peer, reason, "a token could not be checked");
            Err(no_issuer(&reason))
        }
        Err(_) => Err(no_issuer("Its keys did not arrive in time.")),
    }
}

/// The token of the only Authorization header; `None` if there is no such header.
fn bearer(headers: &HeaderMap) -> Result<Option<Secret<String>>, &'static str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("The request carries more than one Authorization header.");
    }
    let text = value.to_str().map_err(|_| "The Authorization header is not ASCII.")?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => match token.trim().len() {
            1..=MAX_TOKEN_BYTES => Ok(Some(Secret::new(token.trim().to_owned()))),
            _ => Err("The token is empty or too long."),
        },
        _ => Err("The Authorization header is not of the form `Bearer <token>`."),
    }
}

fn permitted(api: &Api, duty: Duty, parts: &Parts, identity: &Identity) -> Result<(), Problem> {
    // what takes away is not kept back: its record counts on no node if who wrote it is disabled
    if duty == Duty::Read || !access::takes_away(parts) {
        fresh(api)?;
    }
    not_disabled(api, identity)?;
    if duty == Duty::Act {
        return Ok(());
    }
    let group = &api.0.config.auditor_group;
    if identity.groups.contains(group) { Ok(()) } else { Err(Problem::forbidden(&identity.name, group)) }
}

/// Whoever is disabled gets nothing from the API; and where it is not known who is, nobody does.
pub(super) fn enabled(api: &Api, identity: &Identity) -> Result<(), Problem> {
    fresh(api)?;
    not_disabled(api, identity)
}

/// What is known of the control topic is as fresh as the gate wants it to be.
fn fresh(api: &Api) -> Result<(), Problem> {
    let Some(plane) = &api.0.parts.plane else { return Ok(()) };
    plane.control.fresh().map_err(|stale| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "It is not known who is disabled",
            format!("Nobody is let in until the control topic is known for sure: {stale}."),
            "Try again. If it stays so, see whether this node reaches the brokers; disabling, killing and revoking go on.",
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    })
}

fn not_disabled(api: &Api, identity: &Identity) -> Result<(), Problem> {
    let state = api.0.parts.plane.as_ref().map(|plane| plane.control.state());
    match state.as_ref().and_then(|state| state.is_disabled(identity)) {
        Some(disabled) => {
            let detail = format!("{} was disabled: {}.", disabled.subject, disabled.reason);
            let action = "An operator can enable it again.";
            Err(Problem::new(StatusCode::FORBIDDEN, "You are disabled", detail, action))
        }
        None => Ok(()),
    }
}

/// Records the access, as a session of one event, and waits until that is durable.
pub(super) async fn recorded(api: &Api, access: Access) -> Result<(), Problem> {
    let event = Event {
        session: SessionId::generate(),
        sequence: 0,
        time: api.0.clock.now_micros(),
        body: Body::Access(access),
    };
    let written = tokio::time::timeout(api.0.config.limits.timeout, api.0.parts.record.record(event)).await;
    let error = match written {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(elapsed) => Unavailable::failed("recording an access", elapsed),
    };
    api.0.telemetry.unrecorded(&error);
    Err(Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "Your access cannot be recorded",
        "Nobody reads the record unrecorded, so that the answer is withheld.",
        "Try again. If it stays so, the log of this node has the cause: most likely its disk is full.",
    ))
}

pub(super) fn busy() -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "Too many requests at once",
        "The limit of running requests (api.concurrent_requests) is reached.",
        "Try again in a moment.",
    )
    .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

fn too_many(limit: usize) -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "Too many requests at once",
        format!("You have {limit} requests under way, which is the limit of one identity (api.requests_per_identity)."),
        "Wait for an answer before you ask for more.",
    )
    .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

fn too_slow() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "The answer took too long",
        "It was not ready within api.timeout_ms.",
        "Ask for less: a shorter span of time, fewer rows, a smaller page.",
    )
}

fn no_issuer(reason: &str) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "Your token cannot be checked now",
        format!("The issuer's keys are not at hand: {reason}"),
        "Try again. If it stays so, see whether this node reaches the issuer.",
    )
}
