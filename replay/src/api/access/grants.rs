//! Grants: listed, extended by review, revoked.

use super::view::GrantView;
use super::{Caller, Named, Sent, Why, forbidden};
use crate::api::parameters::{Fields, limit};
use crate::api::{Api, answer};
use crate::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use control::access::Wish;
use control::{Grant, Record};
use schemas::GrantId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListFields {
    live: Option<bool>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct List {
    grants: Vec<GrantView>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct More {
    seconds: u64,
    #[serde(default)]
    reason: String,
}

impl Caller {
    fn sees_grant(&self, grant: &Arc<Grant>) -> bool {
        self.scope.covers(&grant.resource) && self.plane.access.may_revoke(&self.identity, grant)
    }

    fn granted(&self, id: GrantId) -> Result<Arc<Grant>, Problem> {
        let state = self.plane.control.state();
        let grant = state.grant(id).filter(|grant| self.sees_grant(grant));
        grant.cloned().ok_or_else(|| {
            let detail = format!("There is no grant {id} that you may see.");
            Problem::new(StatusCode::NOT_FOUND, "No such grant", detail, "See postern grant ls.")
        })
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Fields(asked): Fields<ListFields>,
) -> Result<Response, Problem> {
    let limit = limit(&api, asked.limit)?;
    let (state, now) = (caller.plane.control.state(), caller.plane.control.now());
    let wanted =
        |grant: &&Arc<Grant>| caller.sees_grant(grant) && asked.live.is_none_or(|live| grant.is_live(now) == live);
    let grants = state.grants().rev().filter(wanted).take(limit).map(|one| GrantView::of(one, now)).collect();
    answer::json(&api, &List { grants })
}

pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Named(grant): Named<GrantId>,
    Sent(Why { reason }): Sent<Why>,
) -> Result<Response, Problem> {
    caller.granted(grant)?;
    caller.write(Record::GrantRevoked { grant, by: caller.identity.clone(), reason }).await?;
    answer::json(&api, &GrantView::of(&*caller.granted(grant)?, caller.plane.control.now()))
}

/// The holder asks, and others review it; a reviewer extends it at once, where one is enough.
pub(super) async fn extend(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<GrantId>,
    Sent(More { seconds, reason }): Sent<More>,
) -> Result<Response, Problem> {
    let grant = caller.granted(id)?;
    let duration = Duration::from_secs(seconds);
    if grant.is_of(&caller.identity) {
        let (resource, role) = (grant.resource.clone(), grant.role.clone());
        let wish = Wish { resource, role, duration, reason, break_glass: false, extends: Some(id) };
        return Ok((StatusCode::CREATED, answer::json(&api, &caller.ask(wish).await?)?).into_response());
    }
    let longest = caller.plane.access.role(&grant.resource, &grant.role).map_or(Duration::ZERO, |role| role.longest);
    if duration > longest || duration.is_zero() {
        let detail = format!("This role is granted for at most {} minutes at a time.", longest.as_secs() / 60);
        return Err(forbidden(detail, "Extend it for a shorter time."));
    }
    let until = caller.plane.control.now().saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX));
    caller.write(Record::GrantExtended { grant: id, until, by: caller.identity.clone(), reason }).await?;
    answer::json(&api, &GrantView::of(&*caller.granted(id)?, caller.plane.control.now()))
}
