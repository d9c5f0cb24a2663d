//! Held statements: who may answer sees them, and answers.
//!
//! A reviewer names the digest of what was shown, so that the answer is about nothing else.

use super::{Caller, Named, Sent};
use crate::api::parameters::{Fields, limit};
use crate::api::{Api, answer};
use crate::problem::Problem;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use control::{Digest, Hold, HoldState, Record, Review};
use schemas::{HoldId, Identity, StatementId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// Longest reason of an answer, in bytes.
const MAX_REASON_BYTES: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListFields {
    open: Option<bool>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct List {
    holds: Vec<HoldView>,
}

/// A held statement, as the API shows it.
#[derive(Serialize)]
struct HoldView {
    id: String,
    state: HoldState,
    open: bool,
    #[serde(serialize_with = "crate::moment::serialize")]
    asked: i64,
    #[serde(serialize_with = "crate::moment::serialize")]
    expires: i64,
    session: String,
    statement: String,
    requester: Identity,
    resource: String,
    role: String,
    reviewers: Vec<String>,
    approvals: u32,
    digest: String,
    policy_version: String,
    reviews: Vec<ReviewView>,
    ended: Option<String>,
    may_answer: bool,
    shown: Value,
}

/// A hold of which the list shows so much at most; the hold itself shows all.
const MAX_LISTED_BYTES: usize = 16 << 10;
/// Characters of its text in the list then.
const MAX_LISTED_TEXT: usize = 1_000;

/// What a list shows of a held statement: all of it if that is little, or else its beginning, and that there is more.
fn listed(shown: Value) -> Value {
    if shown.to_string().len() <= MAX_LISTED_BYTES {
        return shown;
    }
    let text = shown.get("text").and_then(Value::as_str).unwrap_or_default();
    let text: String = text.chars().take(MAX_LISTED_TEXT).collect();
    json!({"text": text, "reason": shown.get("reason"), "kinds": shown.get("kinds"), "shortened": true})
}

#[derive(Serialize)]
struct ReviewView {
    reviewer: Identity,
    approved: bool,
    reason: String,
}

/// A reviewer's answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    approve: bool,
    #[serde(default)]
    reason: String,
    digest: Digest,
}

impl HoldView {
    fn of(hold: &Hold, caller: &Caller) -> Self {
        let asked = &hold.asked;
        let open = hold.is_open(caller.plane.control.now());
        let review = |one: &Review| ReviewView {
            reviewer: one.reviewer.clone(),
            approved: one.approved,
            reason: one.reason.clone(),
        };
        Self {
            id: asked.id.to_string(),
            state: hold.state,
            open,
            asked: hold.time,
            expires: asked.expires,
            session: asked.session.to_string(),
            statement: StatementId { session: asked.session, number: asked.statement }.to_string(),
            requester: asked.requester.clone(),
            resource: asked.resource.clone(),
            role: asked.role.clone(),
            reviewers: asked.reviewers.clone(),
            approvals: asked.approvals,
            digest: asked.digest.to_string(),
            policy_version: asked.policy_version.clone(),
            reviews: hold.reviews.iter().map(review).collect(),
            ended: hold.ended.clone(),
            may_answer: open
                && asked.is_readable()
                && caller.reviews(hold)
                && !caller.sent(hold)
                && caller.may_answer(),
            shown: asked.shown().clone(),
        }
    }
}

impl Caller {
    fn reviews(&self, hold: &Hold) -> bool {
        self.identity.groups.iter().any(|group| hold.asked.reviewers.contains(group))
    }

    fn sent(&self, hold: &Hold) -> bool {
        let requester = &hold.asked.requester;
        requester.subject == self.identity.subject && requester.issuer == self.identity.issuer
    }

    /// One's own, those that one may answer, and for operators and auditors all.
    fn sees_hold(&self, api: &Api, hold: &Hold) -> bool {
        let groups = &self.identity.groups;
        let concerned = self.sent(hold)
            || self.reviews(hold)
            || self.plane.access.is_operator(&self.identity)
            || groups.contains(&api.0.config.auditor_group);
        concerned && self.scope.covers(&hold.asked.resource)
    }

    /// Answers a held statement that this one may see.
    ///
    /// # Errors
    /// Why it does not count, or is not known to.
    pub(in crate::api) async fn answer_hold(
        &self,
        api: &Api,
        hold: HoldId,
        approved: bool,
        reason: String,
        digest: Digest,
    ) -> Result<(), Problem> {
        let held = self.held(api, hold)?;
        if approved && !held.asked.is_readable() {
            let detail =
                "It is sealed, and this node has no key that opens it: nobody may approve what they were not shown.";
            let hint = "Name the key in [sealing] of this node's config, or answer on another node.";
            let problem = Problem::new(StatusCode::CONFLICT, "Not shown", detail.to_owned(), hint);
            let name = HeaderName::from_static("postern-refused");
            return Err(problem.with_header(name, HeaderValue::from_static("not_shown")));
        }
        let review = self.answers(approved, reason, digest);
        self.write(Record::HoldReviewed { hold, review }).await
    }

    fn held(&self, api: &Api, id: HoldId) -> Result<Arc<Hold>, Problem> {
        let state = self.plane.control.state();
        let hold = state.hold(id).filter(|hold| self.sees_hold(api, hold));
        hold.cloned().ok_or_else(|| {
            let detail = format!("There is no held statement {id} that you may see.");
            Problem::new(StatusCode::NOT_FOUND, "No such hold", detail, "See postern review ls.")
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
        |hold: &&Arc<Hold>| caller.sees_hold(&api, hold) && asked.open.is_none_or(|open| hold.is_open(now) == open);
    let holds = state.holds().rev().filter(wanted).take(limit);
    let holds = holds.map(|hold| {
        let view = HoldView::of(hold, &caller);
        HoldView { shown: listed(view.shown), ..view }
    });
    let holds = holds.collect();
    answer::json(&api, &List { holds })
}

pub(super) async fn one(State(api): State<Api>, caller: Caller, Named(id): Named<HoldId>) -> Result<Response, Problem> {
    answer::json(&api, &HoldView::of(&*caller.held(&api, id)?, &caller))
}

pub(super) async fn review(
    State(api): State<Api>,
    caller: Caller,
    Named(hold): Named<HoldId>,
    Sent(Answer { approve, reason, digest }): Sent<Answer>,
) -> Result<Response, Problem> {
    if reason.len() > MAX_REASON_BYTES {
        let detail = format!("The reason has more than {MAX_REASON_BYTES} bytes.");
        return Err(Problem::request(detail, "Say it in fewer words."));
    }
    caller.answer_hold(&api, hold, approve, reason, digest).await?;
    answer::json(&api, &HoldView::of(&*caller.held(&api, hold)?, &caller))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_the_beginning_of_what_is_large_and_says_so() {
        let small = json!({"text": "delete from t", "values": [{"shown": "7", "bytes": 1}], "reason": "why"});
        assert_eq!(listed(small.clone()), small);
        let large = json!({"text": "x".repeat(20_000), "values": [], "reason": "why", "kinds": ["DELETE"]});
        let shown = listed(large);
        assert_eq!(shown["text"].as_str().map(str::len), Some(MAX_LISTED_TEXT));
        assert_eq!((&shown["shortened"], &shown["reason"]), (&json!(true), &json!("why")));
    }
}
