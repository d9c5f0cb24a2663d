//! The token endpoint (RFC 8693), the keys that check what it gives, and its metadata (RFC 8414).
//!
//! It asks for no other proof than the tokens themselves. What was given is recorded, as an access of its subject, before
//! the answer leaves; a token stands in neither.

use super::{Api, audited, body};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use identity::exchange::{ACCESS_TOKEN, GRANT_TYPE, Issued, Refused, Request as Exchange};
use kit::Secret;
use schemas::event::Access;
use serde_json::{Value, json};

/// Gives a token for a token.
pub(super) async fn token(State(api): State<Api>, request: Request) -> Response {
    let response = taken(&api, request).await.unwrap_or_else(|refused| {
        tracing::warn!(code = refused.code, reason = refused.text, "no token was given");
        refusal(&refused)
    });
    api.0.telemetry.answered(response.status().as_u16());
    response
}

/// Takes a place for it once all of it is there.
async fn taken(api: &Api, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let received = body::of_stranger(api, &api.0.exchanges, (&parts, body), MAX_BODY_BYTES).await;
    let received = received.map_err(|problem| match problem.status() {
        429 => unavailable("too many requests of your address are on their way: try again in a moment"),
        408 => invalid("the body did not come in time"),
        _ => invalid("the body is too large"),
    })?;
    let busy = |_| unavailable("too many requests at once: try again in a moment");
    let _permit = api.0.running.try_acquire().map_err(busy)?;
    let answered = tokio::time::timeout(api.0.config.limits.timeout, answer(api, &parts, &received)).await;
    answered.unwrap_or_else(|_| Err(unavailable("the answer was not ready in time: try again")))
}

async fn answer(api: &Api, parts: &Parts, body: &[u8]) -> Result<Response, Refused> {
    let (Some(exchanger), Some(verifier)) = (&api.0.parts.exchanger, &api.0.parts.verifier) else {
        return Err(invalid("this node exchanges no tokens: see token_exchange in its config"));
    };
    let peer = audited::peer(parts);
    let asked = read(&parts.headers, body)?;
    let issued = exchanger.exchange(verifier, &asked).await?;
    audited::enabled(api, &issued.identity).map_err(|problem| match problem.status() {
        503 => unavailable(&problem.text()),
        _ => Refused { code: "invalid_grant", text: problem.text() },
    })?;
    let access = Access {
        identity: issued.identity.clone(),
        node: api.0.config.node.clone(),
        peer,
        method: "POST".to_owned(),
        path: PATH.to_owned(),
        query: Some(format!("jti={}&scope={}", issued.id, asked.scope.as_deref().unwrap_or_default())),
        status: 200,
    };
    let recorded = audited::recorded(api, access).await;
    recorded.map_err(|_| unavailable("what is given cannot be recorded, so that nothing is given: try again"))?;
    Ok(given(&issued))
}

fn given(issued: &Issued) -> Response {
    let body = json!({"access_token": issued.token.expose(), "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer",
                      "expires_in": issued.expires_in});
    json_response(StatusCode::OK, &body)
}

fn refusal(refused: &Refused) -> Response {
    let status = match refused.code {
        "temporarily_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    json_response(status, &json!({"error": refused.code, "error_description": refused.text}))
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    let mut response = (status, Body::from(body.to_string())).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The key set.
pub(super) async fn jwks(State(api): State<Api>) -> Response {
    match &api.0.parts.exchanger {
        Some(exchanger) => json_response(StatusCode::OK, &exchanger.jwks()),
        None => super::nothing_here().into_response(),
    }
}

/// The metadata.
pub(super) async fn metadata(State(api): State<Api>) -> Response {
    match &api.0.parts.exchanger {
        Some(exchanger) => json_response(StatusCode::OK, &exchanger.metadata()),
        None => super::nothing_here().into_response(),
    }
}

/// Reads the form.
fn read(headers: &HeaderMap, body: &[u8]) -> Result<Exchange, Refused> {
    let form = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if form.is_none_or(|kind| kind.split(';').next().is_none_or(|kind| kind.trim() != FORM)) {
        return Err(invalid("the body must be application/x-www-form-urlencoded"));
    }
    let text = std::str::from_utf8(body).map_err(|_| invalid("the body is not UTF-8"))?;
    let mut asked = Exchange::default();
    let mut grant_type = None;
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
            return Err(invalid("the body is not a form"));
        };
        let secret = |value: &String| Secret::new(value.clone());
        let twice = match name.as_str() {
            "grant_type" => grant_type.replace(value).is_some(),
            "subject_token" => asked.subject_token.replace(secret(&value)).is_some(),
            "subject_token_type" => asked.subject_token_type.replace(value).is_some(),
            "actor_token" => asked.actor_token.replace(secret(&value)).is_some(),
            "actor_token_type" => asked.actor_token_type.replace(value).is_some(),
            "requested_token_type" => asked.requested_token_type.replace(value).is_some(),
            "audience" => asked.audience.replace(value).is_some(),
            "scope" => asked.scope.replace(value).is_some(),
            "task" => asked.task.replace(value).is_some(),
            "resource" => return Err(invalid("name resources in scope, as resource:<name>")),
            _ => false,
        };
        if twice {
            return Err(invalid("a parameter is given twice"));
        }
    }
    match grant_type.as_deref() {
        Some(GRANT_TYPE) => Ok(asked),
        _ => Err(Refused { code: "unsupported_grant_type", text: format!("grant_type must be {GRANT_TYPE}") }),
    }
}

/// Takes the percent-encoding and the pluses away.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit =
                    |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(rest.next())? << 4 | digit(rest.next())?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn invalid(text: &str) -> Refused {
    Refused { code: "invalid_request", text: text.to_owned() }
}

fn unavailable(text: &str) -> Refused {
    Refused { code: "temporarily_unavailable", text: text.to_owned() }
}

/// Where it is.
pub(super) const PATH: &str = "/oauth/token";

pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// Two tokens of the largest size, percent-encoded.
const MAX_BODY_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        assert_eq!(decoded("a+b%3a%C3%A9").as_deref(), Some("a b:é"));
        for wrong in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }
}
