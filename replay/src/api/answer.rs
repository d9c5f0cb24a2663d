//! An answer as JSON, within the limit of its size.

use super::Api;
use crate::problem::Problem;
use crate::sources::Unavailable;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Writes an answer as JSON.
pub(super) fn json(api: &Api, value: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_vec(value).map_err(|source| Unavailable::failed("writing the answer", source))?;
    let limit = api.0.config.limits.answer_bytes;
    if text.len() > limit {
        return Err(Unavailable::TooLarge { limit }.into());
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}
