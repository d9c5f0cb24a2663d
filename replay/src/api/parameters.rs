//! What a request asks for: ids from its path and fields from its query string, strictly read.

use super::Api;
use crate::moment;
use crate::problem::Problem;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use schemas::SessionId;
use serde::de::DeserializeOwned;

/// The session of the path.
pub(super) struct Id(pub(super) SessionId);

impl FromRequestParts<Api> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Api) -> Result<Self, Problem> {
        let action = "A session's id is ses_ and 32 hexadecimal digits, as the list of sessions shows it.";
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|_| Problem::request("The session's id is not text.", action))?;
        text.parse().map(Self).map_err(|error: schemas::id::ParseError| Problem::request(format!("{error}."), action))
    }
}

/// The fields of the query string. One that is not known, or given twice, is refused: it would mean something else
/// than the auditor thinks.
pub(super) struct Fields<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Fields<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        use std::error::Error as _;
        Query::try_from_uri(&parts.uri).map(|Query(fields)| Self(fields)).map_err(|error| {
            let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            Problem::request(format!("The query string: {reason}."), "See /api/v1/openapi.json for the fields.")
        })
    }
}

/// A page's size: what was asked for, or the default.
///
/// # Errors
/// If it is 0 or over the limit: fewer than were asked for would look like all.
pub(super) fn limit(api: &Api, asked: Option<usize>) -> Result<usize, Problem> {
    let limits = &api.0.config.limits;
    match asked.unwrap_or(limits.page_default) {
        limit if (1..=limits.page).contains(&limit) => Ok(limit),
        limit => Err(Problem::request(
            format!("limit is {limit}; it must be 1 to {}.", limits.page),
            "Ask for a smaller page and follow next_cursor or next_offset.",
        )),
    }
}

/// A time, if one was given.
///
/// # Errors
/// If it cannot be read.
pub(super) fn time(name: &str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    let Some(text) = text else { return Ok(None) };
    moment::parse(text).map(Some).ok_or_else(|| {
        let action = "Write it as 2026-11-21T02:40:00Z or 2026-11-21 (UTC); a + in a zone is %2B in a URL.";
        Problem::request(format!("{name} is not a time: {text:?}."), action)
    })
}
