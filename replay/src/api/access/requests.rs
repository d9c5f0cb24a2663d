//! Access requests: asked, listed, answered.

use super::view::RequestView;
use super::{Caller, Named, Sent, forbidden};
use crate::api::parameters::{Fields, limit};
use crate::api::{Api, answer};
use crate::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use control::access::{Denied, Wish};
use control::{Digest, Record, Request};
use schemas::{GrantId, RequestId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    resource: String,
    role: String,
    seconds: u64,
    reason: String,
    #[serde(default)]
    break_glass: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    approve: bool,
    #[serde(default)]
    reason: String,
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListFields {
    open: Option<bool>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct List {
    requests: Vec<RequestView>,
}

/// Longest reason of a review.
const MAX_REASON_BYTES: usize = control::access::MAX_REASON_BYTES;

impl Caller {
    /// One's own requests, those that one may answer, and for operators all.
    fn sees(&self, request: &Request) -> bool {
        let asked = &request.asked;
        let own = asked.requester.subject == self.identity.subject && asked.requester.issuer == self.identity.issuer;
        let reviews = self.identity.groups.iter().any(|group| asked.reviewers.contains(group));
        self.scope.covers(&asked.resource) && (own || reviews || self.plane.access.is_operator(&self.identity))
    }

    /// Answers an access request that this one may see.
    ///
    /// # Errors
    /// Why it does not count, or is not known to.
    pub(in crate::api) async fn answer_request(
        &self,
        request: RequestId,
        approved: bool,
        reason: String,
        digest: Digest,
    ) -> Result<(), Problem> {
        self.shown(request)?;
        let review = self.answers(approved, reason, digest);
        self.write(Record::AccessReviewed { request, review }).await
    }

    fn shown(&self, id: RequestId) -> Result<RequestView, Problem> {
        let state = self.plane.control.state();
        let request = state.request(id).filter(|request| self.sees(request));
        let request = request.ok_or_else(|| {
            let detail = format!("There is no request {id} that you may see.");
            Problem::new(StatusCode::NOT_FOUND, "No such request", detail, "See postern request ls.")
        })?;
        Ok(RequestView::of(request, self.plane.control.now()))
    }

    /// Asks for access, and gives the request back.
    pub(super) async fn ask(&self, wish: Wish) -> Result<RequestView, Problem> {
        if !self.scope.covers(&wish.resource) {
            let detail = format!("Your credential is not good for the resource {:?}.", wish.resource);
            return Err(forbidden(detail, "Ask with one that is."));
        }
        let asked = self.plane.access.ask(&self.identity, wish, self.plane.control.now()).map_err(|denied| {
            let action = match denied {
                Denied::NoReason => "Say why, so that a reviewer can decide.",
                _ => "Ask for another role or a shorter time, or ask the resource's owner.",
            };
            forbidden(format!("{denied}."), action)
        })?;
        let id = asked.id;
        self.write(Record::AccessRequested(asked)).await?;
        self.shown(id)
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Fields(asked): Fields<ListFields>,
) -> Result<Response, Problem> {
    let limit = limit(&api, asked.limit)?;
    let (state, now) = (caller.plane.control.state(), caller.plane.control.now());
    let wanted = |request: &&std::sync::Arc<Request>| {
        caller.sees(request) && asked.open.is_none_or(|open| request.is_open(now) == open)
    };
    let requests = state.requests().rev().filter(wanted).take(limit).map(|one| RequestView::of(one, now)).collect();
    answer::json(&api, &List { requests })
}

pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<RequestId>,
) -> Result<Response, Problem> {
    answer::json(&api, &caller.shown(id)?)
}

pub(super) async fn create(State(api): State<Api>, caller: Caller, Sent(new): Sent<New>) -> Result<Response, Problem> {
    let New { resource, role, seconds, reason, break_glass } = new;
    let extends: Option<GrantId> = None;
    let wish = Wish { resource, role, duration: Duration::from_secs(seconds), reason, break_glass, extends };
    let made = caller.ask(wish).await?;
    Ok((StatusCode::CREATED, answer::json(&api, &made)?).into_response())
}

pub(super) async fn review(
    State(api): State<Api>,
    caller: Caller,
    Named(request): Named<RequestId>,
    Sent(given): Sent<Answer>,
) -> Result<Response, Problem> {
    let Answer { approve: approved, reason, digest } = given;
    if reason.len() > MAX_REASON_BYTES {
        return Err(Problem::request(format!("The reason has more than {MAX_REASON_BYTES} bytes."), "Say less."));
    }
    caller.answer_request(request, approved, reason, digest).await?;
    answer::json(&api, &caller.shown(request)?)
}

pub(super) async fn withdraw(
    State(api): State<Api>,
    caller: Caller,
    Named(request): Named<RequestId>,
) -> Result<Response, Problem> {
    caller.shown(request)?;
    caller.write(Record::AccessWithdrawn { request, by: caller.identity.clone() }).await?;
    answer::json(&api, &caller.shown(request)?)
}
