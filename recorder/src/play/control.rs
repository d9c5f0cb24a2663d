//! Events of the control plane in words.

use schemas::Body;
use schemas::event::{HoldOutcome, RequestKind, RevocationKind, RoleDrop};

/// What happened, in one line.
pub(super) fn text(body: &Body) -> String {
    match body {
        Body::AccessRequested(asked) => {
            let how = match asked.kind {
                RequestKind::Reviewed => "asked for",
                RequestKind::Automatic => "got by a rule",
                RequestKind::BreakGlass => "broke the glass for",
            };
            let (who, role, resource) = (&asked.requester.subject, &asked.role, &asked.resource);
            format!("{who} {how} {role} on {resource} ({}): {}", asked.request, asked.reason)
        }
        Body::AccessReviewed(review) => {
            let who = review.reviewer.as_ref().map_or("the gate", |identity| identity.subject.as_str());
            let what = if review.approved { "approved" } else { "denied" };
            match &review.refused {
                Some(refused) => format!("{who} would have {what} {}: {refused}", review.request),
                None => format!("{who} {what} {}: {}", review.request, review.reason),
            }
        }
        Body::AccessGranted(grant) => {
            let what = if grant.extended { "extended" } else { "granted" };
            let by = grant.by.join(", ");
            format!(
                "{} on {} {what} to {} by {by} ({})",
                grant.role, grant.resource, grant.identity.subject, grant.grant
            )
        }
        Body::AccessEnded(ended) => {
            let by = ended.by.as_ref().map_or(String::new(), |by| format!(" by {}", by.subject));
            format!("{} of {} on {} ended{by}: {}", ended.grant, ended.identity.subject, ended.resource, ended.reason)
        }
        Body::HoldEnded(ended) => {
            let what = match ended.outcome {
                HoldOutcome::Released => "released",
                HoldOutcome::Denied => "denied",
                HoldOutcome::Expired => "expired",
                HoldOutcome::Withdrawn => "withdrawn",
                HoldOutcome::Refused => "refused",
            };
            format!("statement {} {what} ({}): {}", ended.number, ended.request, ended.reason)
        }
        Body::Revoked(revoked) => {
            let kind = match revoked.kind {
                RevocationKind::Identity => "identity",
                RevocationKind::Session => "session",
                RevocationKind::Grant => "grant",
            };
            let what = if revoked.restored { "restored" } else { "revoked" };
            format!("{kind} {} {what} by {}: {}", revoked.target, revoked.by.subject, revoked.reason)
        }
        Body::Alarm(alarm) => format!("ALARM: {}", alarm.detail),
        Body::RoleLeased(leased) => {
            format!("leased the role {} of {} on {}", leased.role, leased.scope, leased.resource)
        }
        Body::RoleDropped(dropped) => {
            let what = match dropped.outcome {
                RoleDrop::Dropped => "dropped",
                RoleDrop::Reaped => "reaped",
                RoleDrop::Failed => "could not drop",
            };
            let detail = if dropped.detail.is_empty() { String::new() } else { format!(": {}", dropped.detail) };
            format!("{what} the role {} on {}{detail}", dropped.role, dropped.resource)
        }
        other => other.name().to_owned(),
    }
}
