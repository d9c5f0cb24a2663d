//! Reads a request's body: whole, within its size and its time, and before the request takes a place among those that are
//! answered. A client that is slow to send keeps nobody else out.

use super::Api;
use crate::config::Limits;
use crate::crowd::Crowd;
use crate::listener::Peer;
use crate::problem::Problem;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use std::net::IpAddr;

/// Bodies of clients that have not shown who they are, and that are on their way to one route.
pub(super) type Strangers = Crowd<Option<IpAddr>>;

/// So many of one route are read at once, of all addresses: each is at most 256 KiB.
const STRANGERS: usize = 256;

/// Room for one route's, by the settings.
pub(super) fn strangers(limits: &Limits) -> Strangers {
    Crowd::new(limits.strangers_per_address, STRANGERS)
}

/// The body of a request whose sender is known.
///
/// # Errors
/// 408 where it does not come in time, 413 where it is larger.
pub(super) async fn received(api: &Api, body: Body, most: usize) -> Result<Bytes, Problem> {
    let within = api.0.config.limits.receive;
    match tokio::time::timeout(within, to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The body is too large",
            format!("The body has more than {most} bytes, or did not come."),
            "Send less.",
        )),
        Err(_) => {
            let problem = Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "The body did not come in time",
                format!("All of it must come within {} ms (api.receive_ms).", within.as_millis()),
                "Send the request again, at once and whole.",
            );
            Err(problem.with_header(header::CONNECTION, HeaderValue::from_static("close")))
        }
    }
}

/// The body of a request whose sender is not known yet.
///
/// # Errors
/// Likewise; 429 where the address has too many under way.
pub(super) async fn of_stranger(
    api: &Api,
    strangers: &Strangers,
    (parts, body): (&Parts, Body),
    most: usize,
) -> Result<Bytes, Problem> {
    let place = strangers.enter(address(parts));
    let _place = place.ok_or_else(|| {
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many requests at once",
            "Too many requests of your address are on their way (api.strangers_per_address).",
            "Try again in a moment. Behind a proxy all clients have one address: raise the limit there.",
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    })?;
    received(api, body, most).await
}

fn address(parts: &Parts) -> Option<IpAddr> {
    let info = parts.extensions.get::<ConnectInfo<Peer>>();
    info.map(|ConnectInfo(Peer(address))| address.ip())
}
