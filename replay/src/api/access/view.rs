//! Requests, grants and disabled identities as JSON.

use crate::moment;
use control::state::Disabled;
use control::{Grant, Request, Review};
use schemas::Identity;
use schemas::event::RequestKind;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct ReviewView {
    reviewer: Identity,
    approved: bool,
    reason: String,
}

impl From<&Review> for ReviewView {
    fn from(review: &Review) -> Self {
        Self { reviewer: review.reviewer.clone(), approved: review.approved, reason: review.reason.clone() }
    }
}

#[derive(Serialize)]
pub(super) struct RequestView {
    id: String,
    state: &'static str,
    requester: Identity,
    resource: String,
    role: String,
    seconds: i64,
    reason: String,
    kind: RequestKind,
    rule: Option<String>,
    extends: Option<String>,
    reviewers: Vec<String>,
    approvals: u32,
    time: String,
    expires: String,
    digest: String,
    grant: Option<String>,
    reviews: Vec<ReviewView>,
}

impl RequestView {
    pub(super) fn of(request: &Request, now: i64) -> Self {
        let asked = &request.asked;
        let granted = request.state == control::state::Answered::Granted;
        Self {
            id: asked.id.to_string(),
            state: request.label(now),
            requester: asked.requester.clone(),
            resource: asked.resource.clone(),
            role: asked.role.clone(),
            seconds: asked.duration / 1_000_000,
            reason: asked.reason.clone(),
            kind: asked.kind,
            rule: asked.rule.clone(),
            extends: asked.extends.map(|grant| grant.to_string()),
            reviewers: asked.reviewers.clone(),
            approvals: asked.approvals,
            time: moment::text(request.time),
            expires: moment::text(asked.expires),
            digest: request.digest.to_string(),
            grant: granted.then(|| request.grant().to_string()),
            reviews: request.reviews.iter().map(ReviewView::from).collect(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct GrantView {
    id: String,
    state: &'static str,
    request: String,
    identity: Identity,
    resource: String,
    role: String,
    reason: String,
    kind: RequestKind,
    reviewers: Vec<String>,
    from: String,
    until: String,
    by: Vec<String>,
    revoked_by: Option<String>,
    revoked_reason: Option<String>,
}

impl GrantView {
    pub(super) fn of(grant: &Grant, now: i64) -> Self {
        let (revoked_by, revoked_reason) = grant.revoked.clone().map(|(by, reason)| (by.subject, reason)).unzip();
        Self {
            id: grant.id.to_string(),
            state: grant.label(now),
            request: grant.request.to_string(),
            identity: grant.identity.clone(),
            resource: grant.resource.clone(),
            role: grant.role.clone(),
            reason: grant.reason.clone(),
            kind: grant.kind,
            reviewers: grant.reviewers.clone(),
            from: moment::text(grant.from),
            until: moment::text(grant.until),
            by: grant.by.clone(),
            revoked_by,
            revoked_reason,
        }
    }
}

#[derive(Serialize)]
pub(super) struct DisabledView {
    subject: String,
    issuer: Option<String>,
    time: String,
    by: String,
    reason: String,
}

impl From<&Disabled> for DisabledView {
    fn from(disabled: &Disabled) -> Self {
        Self {
            subject: disabled.subject.clone(),
            issuer: disabled.issuer.clone(),
            time: moment::text(disabled.time),
            by: disabled.by.subject.clone(),
            reason: disabled.reason.clone(),
        }
    }
}
