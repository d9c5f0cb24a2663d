//! Questions to the index.

use super::parameters::{Fields, limit, time};
use super::scope::Scope;
use super::{Api, answer};
use crate::problem::Problem;
use crate::search::{Found, Question};
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Deeper pages cost the index as much as all before them; who needs them narrows the time instead.
const MAX_OFFSET: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchFields {
    q: String,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

#[derive(Serialize)]
struct SearchAnswer {
    query: String,
    took_us: u64,
    #[serde(flatten)]
    found: Found,
    next_offset: Option<usize>,
}

pub(super) async fn search(
    State(api): State<Api>,
    Scope(resources): Scope,
    Fields(asked): Fields<SearchFields>,
) -> Result<Response, Problem> {
    if asked.q.trim().is_empty() {
        let action = "Ask for example `who read card_number`.";
        return Err(Problem::request("q is empty.", action));
    }
    let offset = asked.offset.unwrap_or(0);
    if offset > MAX_OFFSET {
        let detail = format!("offset is {offset}; it must be at most {MAX_OFFSET}.");
        return Err(Problem::request(detail, "Narrow the question by since and until."));
    }
    let question = Question {
        text: asked.q,
        since: time("since", asked.since.as_deref())?,
        until: time("until", asked.until.as_deref())?,
        resources,
        limit: limit(&api, asked.limit)?,
        offset,
    };
    let started = Instant::now();
    let found = api.0.parts.search.search(&question).await?;
    let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let next = offset.saturating_add(found.hits.len());
    let more = !found.hits.is_empty() && found.total > u64::try_from(next).unwrap_or(u64::MAX);
    let next_offset = Some(next).filter(|_| more);
    answer::json(&api, &SearchAnswer { query: question.text, took_us, found, next_offset })
}
