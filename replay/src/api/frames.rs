//! The recorded bytes of one direction: as they were, or frame by frame.

use super::parameters::{Fields, Id};
use super::scope::Scope;
use super::{Api, answer};
use crate::problem::Problem;
use crate::reconstruct::frames;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use schemas::event::Direction;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    Json,
    Raw,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FrameFields {
    direction: Option<Direction>,
    format: Option<Format>,
}

#[derive(Serialize)]
struct FrameList {
    direction: Direction,
    bytes: usize,
    frames: Vec<frames::Frame>,
    #[serde(with = "schemas::codec::blob")]
    rest: Vec<u8>,
}

pub(super) async fn frames(
    State(api): State<Api>,
    scope: Scope,
    Id(id): Id,
    Fields(asked): Fields<FrameFields>,
) -> Result<Response, Problem> {
    scope.session(&api, id).await?;
    let direction = asked.direction.unwrap_or(Direction::Server);
    let limit = api.0.config.limits.answer_bytes;
    let bytes = api.0.parts.archive.frames(id, direction, limit).await?;
    let bytes = bytes.ok_or_else(|| Problem::no_session(&id.to_string()))?;
    match asked.format.unwrap_or(Format::Json) {
        Format::Raw => {
            let way = match direction {
                Direction::Client => "client",
                Direction::Server => "server",
            };
            // The id's text is of letters, digits and `_`: it fits a header.
            let name = HeaderValue::try_from(format!("attachment; filename=\"{id}.{way}.bin\""));
            let name = name.unwrap_or(HeaderValue::from_static("attachment"));
            let kind = HeaderValue::from_static("application/octet-stream");
            Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], bytes).into_response())
        }
        Format::Json => {
            let (list, rest) = frames::split(direction, &bytes);
            answer::json(&api, &FrameList { direction, bytes: bytes.len(), frames: list, rest: rest.to_vec() })
        }
    }
}
