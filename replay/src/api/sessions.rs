//! Sessions: the list, one in short, what happened in it, its events.

use super::parameters::{Fields, Id, limit, time};
use super::scope::Scope;
use super::{Api, answer};
use crate::moment;
use crate::problem::Problem;
use crate::reconstruct::Session;
use crate::sources::{Filter, Unavailable};
use axum::extract::State;
use axum::response::Response;
use schemas::{Event, SessionId};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListFields {
    identity: Option<String>,
    resource: Option<String>,
    since: Option<String>,
    until: Option<String>,
    open: Option<bool>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct List {
    sessions: Vec<Session>,
    next_cursor: Option<SessionId>,
}

pub(super) async fn list(
    State(api): State<Api>,
    scope: Scope,
    Fields(asked): Fields<ListFields>,
) -> Result<Response, Problem> {
    let filter = Filter {
        since: time("since", asked.since.as_deref())?,
        until: time("until", asked.until.as_deref())?,
        // The console sends its form as it is: an empty field filters nothing.
        identity: asked.identity.filter(|text| !text.is_empty()),
        resource: scope.narrow(asked.resource.filter(|text| !text.is_empty()))?,
        open: asked.open,
        after: asked.cursor.map(|text| cursor(&text)).transpose()?,
        limit: limit(&api, asked.limit)?,
    };
    let found = api.0.parts.archive.sessions(&filter).await?;
    let next_cursor = found.sessions.last().filter(|_| found.more).map(|session| session.id);
    answer::json(&api, &List { sessions: found.sessions, next_cursor })
}

fn cursor<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    let action = "Use next_cursor of the page before, unchanged.";
    text.parse().map_err(|_| Problem::request(format!("cursor is not one of this list: {text:?}."), action))
}

pub(super) async fn one(State(api): State<Api>, scope: Scope, Id(id): Id) -> Result<Response, Problem> {
    scope.session(&api, id).await?;
    answer::json(&api, &known(id, api.0.parts.archive.session(id).await)?)
}

fn known<T>(id: SessionId, found: Result<Option<T>, Unavailable>) -> Result<T, Problem> {
    found?.ok_or_else(|| Problem::no_session(&id.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimelineFields {
    rows: Option<usize>,
}

pub(super) async fn timeline(
    State(api): State<Api>,
    scope: Scope,
    Id(id): Id,
    Fields(asked): Fields<TimelineFields>,
) -> Result<Response, Problem> {
    scope.session(&api, id).await?;
    let rows = asked.rows.map_or(api.0.config.limits.rows, |rows| rows.min(api.0.config.limits.rows));
    answer::json(&api, &known(id, api.0.parts.archive.timeline(id, rows).await)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventFields {
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct EventList {
    events: Vec<EventView>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct EventView {
    id: String,
    session: SessionId,
    sequence: u64,
    time: String,
    r#type: &'static str,
    body: serde_json::Value,
}

pub(super) async fn events(
    State(api): State<Api>,
    scope: Scope,
    Id(id): Id,
    Fields(asked): Fields<EventFields>,
) -> Result<Response, Problem> {
    scope.session(&api, id).await?;
    let from = asked.cursor.map(|text| cursor::<u64>(&text)).transpose()?.unwrap_or(0);
    let limit = limit(&api, asked.limit)?;
    let found = known(id, api.0.parts.archive.events(id, from, limit).await)?;
    let next = found.events.last().filter(|_| found.more).map(|event| (event.sequence + 1).to_string());
    let events = found.events.iter().map(view).collect::<Result<_, _>>();
    let events = events.map_err(|source| Unavailable::failed("writing an event", source))?;
    answer::json(&api, &EventList { events, next_cursor: next })
}

/// An event in JSON: the fields of `schemas/avro`, payloads as base64, its kind beside its body.
fn view(event: &Event) -> Result<EventView, serde_json::Error> {
    let name = event.body.name();
    let mut body = serde_json::to_value(&event.body)?;
    let body = body.get_mut(name).map(serde_json::Value::take).unwrap_or(body);
    Ok(EventView {
        id: event.id().to_string(),
        session: event.session,
        sequence: event.sequence,
        time: moment::text(event.time),
        r#type: name,
        body,
    })
}
