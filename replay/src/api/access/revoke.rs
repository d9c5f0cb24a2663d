//! Identities that are disabled and enabled, sessions that are ended: by operators.

use super::view::DisabledView;
use super::{Caller, Named, Sent};
use crate::api::{Api, answer};
use crate::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use control::Record;
use schemas::SessionId;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    issuer: Option<String>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    #[serde(default)]
    reason: String,
}

#[derive(Serialize)]
struct List {
    disabled: Vec<DisabledView>,
}

#[derive(Serialize)]
struct Killed {
    session: SessionId,
}

fn disabled(api: &Api, caller: &Caller) -> Result<Response, Problem> {
    let state = caller.plane.control.state();
    answer::json(api, &List { disabled: state.disabled_identities().map(|one| DisabledView::from(&**one)).collect() })
}

pub(super) async fn identities(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    caller.operator()?;
    disabled(&api, &caller)
}

pub(super) async fn disable(
    State(api): State<Api>,
    caller: Caller,
    Named(subject): Named<String>,
    Sent(Of { issuer, reason }): Sent<Of>,
) -> Result<Response, Problem> {
    caller.operator()?;
    caller.write(Record::IdentityDisabled { subject, issuer, by: caller.identity.clone(), reason }).await?;
    disabled(&api, &caller)
}

pub(super) async fn enable(
    State(api): State<Api>,
    caller: Caller,
    Named(subject): Named<String>,
    Sent(Of { issuer, reason }): Sent<Of>,
) -> Result<Response, Problem> {
    caller.operator_in_person()?;
    caller.write(Record::IdentityEnabled { subject, issuer, by: caller.identity.clone(), reason }).await?;
    disabled(&api, &caller)
}

pub(super) async fn kill(
    State(api): State<Api>,
    caller: Caller,
    Named(session): Named<SessionId>,
    Sent(Why { reason }): Sent<Why>,
) -> Result<Response, Problem> {
    caller.operator()?;
    caller.write(Record::SessionKilled { session, by: caller.identity.clone(), reason }).await?;
    answer::json(&api, &Killed { session })
}
