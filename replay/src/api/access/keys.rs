//! API keys: issued, listed and revoked, by operators. A key is in the answer that issues it, and nowhere else.

use super::{Caller, Named, Sent, Why};
use crate::api::{Api, answer};
use crate::moment;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use control::state::Issued;
use control::{ApiKey, Record};
use identity::api_key::{New, generate};
use schemas::IdentityKind;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest reason, in bytes.
const MAX_REASON_BYTES: usize = control::access::MAX_REASON_BYTES;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    subject: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    human: bool,
    seconds: u64,
    #[serde(default)]
    reason: String,
}

#[derive(Serialize)]
struct List {
    keys: Vec<KeyView>,
}

/// A key, as the API shows it: not the key itself, nor its hash.
#[derive(Serialize)]
struct KeyView {
    id: String,
    state: &'static str,
    subject: String,
    kind: IdentityKind,
    groups: Vec<String>,
    resources: Vec<String>,
    #[serde(serialize_with = "moment::serialize")]
    created: i64,
    #[serde(serialize_with = "moment::serialize")]
    expires: i64,
    by: String,
    revoked_by: Option<String>,
    revoked_reason: Option<String>,
}

#[derive(Serialize)]
struct Made {
    key: String,
    #[serde(flatten)]
    view: KeyView,
}

impl KeyView {
    fn of(issued: &Issued, now: i64) -> Self {
        let key = &issued.key;
        let (revoked_by, revoked_reason) = issued.revoked.clone().map(|(_, by, reason)| (by.subject, reason)).unzip();
        Self {
            id: key.id.clone(),
            state: issued.label(now),
            subject: key.subject.clone(),
            kind: key.kind,
            groups: key.groups.clone(),
            resources: key.resources.clone(),
            created: issued.time,
            expires: key.expires,
            by: issued.by.subject.clone(),
            revoked_by,
            revoked_reason,
        }
    }
}

impl Caller {
    fn key(&self, id: &str) -> Result<KeyView, Problem> {
        let state = self.plane.control.state();
        let issued = state.api_key(id).ok_or_else(|| {
            let detail = format!("There is no API key {id:?}. A key of a node's own file is that node's to revoke.");
            Problem::new(StatusCode::NOT_FOUND, "No such key", detail, "See postern key ls.")
        })?;
        Ok(KeyView::of(issued, self.plane.control.now()))
    }
}

pub(super) async fn list(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    caller.operator()?;
    let (state, now) = (caller.plane.control.state(), caller.plane.control.now());
    answer::json(&api, &List { keys: state.api_keys().map(|one| KeyView::of(one, now)).collect() })
}

pub(super) async fn issue(
    State(api): State<Api>,
    caller: Caller,
    Sent(asked): Sent<Asked>,
) -> Result<Response, Problem> {
    caller.operator_in_person()?;
    reason_fits(&asked.reason)?;
    let kind = if asked.human { IdentityKind::Human } else { IdentityKind::Machine };
    let new = New {
        subject: asked.subject,
        kind,
        groups: asked.groups,
        resources: asked.resources,
        lifetime: Duration::from_secs(asked.seconds),
    };
    let made = generate(new, &api.0.clock).map_err(|error| {
        Problem::request(format!("{error}."), "Send subject, seconds, and the groups and resources that it is for.")
    })?;
    let entry = made.entry;
    let sha256 = entry.sha256.parse().map_err(|error| Problem::request(format!("{error}."), "Try again."))?;
    let key = ApiKey {
        id: entry.id.clone(),
        sha256,
        subject: entry.subject,
        kind: entry.kind,
        groups: entry.groups,
        resources: entry.resources,
        expires: entry.expires.saturating_mul(1_000_000),
    };
    let by = caller.identity.clone();
    caller.write(Record::KeyIssued { key: Box::new(key), by, reason: asked.reason }).await?;
    let made = Made { key: made.key.expose().clone(), view: caller.key(&entry.id)? };
    Ok((StatusCode::CREATED, answer::json(&api, &made)?).into_response())
}

pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<String>,
    Sent(Why { reason }): Sent<Why>,
) -> Result<Response, Problem> {
    caller.operator()?;
    reason_fits(&reason)?;
    caller.key(&id)?;
    caller.write(Record::KeyRevoked { key: id.clone(), by: caller.identity.clone(), reason }).await?;
    answer::json(&api, &caller.key(&id)?)
}

fn reason_fits(reason: &str) -> Result<(), Problem> {
    if reason.len() > MAX_REASON_BYTES {
        return Err(Problem::request(format!("The reason has more than {MAX_REASON_BYTES} bytes."), "Say less."));
    }
    Ok(())
}
