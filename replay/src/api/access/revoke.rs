//! Identities that are disabled and enabled, sessions that are ended: by operators.

use super::view::DisabledView;
use super::{Caller, Named, Sent, Why};
use crate::api::{Api, answer};
use crate::problem::Problem;
use crate::sources::Filter;
use axum::extract::State;
use axum::response::Response;
use control::Record;
use schemas::SessionId;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::time::Duration;

/// How long the archive may take to say whether it knows a name: what was asked for is done by then.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    issuer: Option<String>,
    #[serde(default)]
    reason: String,
}

#[derive(Serialize)]
struct List {
    disabled: Vec<DisabledView>,
    /// Whether the archive has a session of it; none where that was not asked, or not answered in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<bool>,
}

#[derive(Serialize)]
struct Killed {
    session: SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<bool>,
}

fn disabled(api: &Api, caller: &Caller, seen: Option<bool>) -> Result<Response, Problem> {
    let state = caller.plane.control.state();
    let disabled = state.disabled_identities().map(|one| DisabledView::from(&**one)).collect();
    answer::json(api, &List { disabled, seen })
}

/// What the archive says, if it does in time. It hears of sessions a little late, and decides nothing here.
async fn look<T, E>(asked: impl Future<Output = Result<T, E>>, is_there: impl Fn(T) -> bool) -> Option<bool> {
    tokio::time::timeout(LOOK, asked).await.ok()?.ok().map(is_there)
}

pub(super) async fn identities(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    caller.operator()?;
    disabled(&api, &caller, None)
}

pub(super) async fn disable(
    State(api): State<Api>,
    caller: Caller,
    Named(subject): Named<String>,
    Sent(Of { issuer, reason }): Sent<Of>,
) -> Result<Response, Problem> {
    caller.operator()?;
    let filter = Filter { identity: Some(subject.clone()), limit: 1, ..Filter::default() };
    caller.write(Record::IdentityDisabled { subject, issuer, by: caller.identity.clone(), reason }).await?;
    let seen = look(api.0.parts.archive.sessions(&filter), |found| !found.sessions.is_empty()).await;
    disabled(&api, &caller, seen)
}

pub(super) async fn enable(
    State(api): State<Api>,
    caller: Caller,
    Named(subject): Named<String>,
    Sent(Of { issuer, reason }): Sent<Of>,
) -> Result<Response, Problem> {
    caller.operator_in_person()?;
    caller.write(Record::IdentityEnabled { subject, issuer, by: caller.identity.clone(), reason }).await?;
    disabled(&api, &caller, None)
}

pub(super) async fn kill(
    State(api): State<Api>,
    caller: Caller,
    Named(session): Named<SessionId>,
    Sent(Why { reason }): Sent<Why>,
) -> Result<Response, Problem> {
    caller.operator()?;
    caller.write(Record::SessionKilled { session, by: caller.identity.clone(), reason }).await?;
    let seen = look(api.0.parts.archive.session(session), |found| found.is_some()).await;
    answer::json(&api, &Killed { session, seen })
}
