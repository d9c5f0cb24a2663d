//! Events of the control plane as documents: found by `kind:`, the identity, the resource, and words of their text.

use crate::search::{Document, Hit};
use schemas::event::{Alarm, RevocationKind};
use schemas::literals;
use schemas::{Body, Event, Identity};

/// The document of an event that belongs to no session; none for others. Reasons are people's words and are cleaned as the
/// reasons of verdicts are.
pub(super) fn hit(event: &Event) -> Option<Hit> {
    let (session, time) = (event.session, event.time);
    let mut hit = Hit::new(Document::Control, session.to_string(), session, time);
    event.body.name().clone_into(&mut hit.kind);
    let mut told = |who: Option<&Identity>, node: &str, text: String, outcome: &str, reason: &str| {
        hit.identity = who.cloned();
        node.clone_into(&mut hit.node);
        hit.text = Some(text);
        outcome.clone_into(&mut hit.outcome);
        hit.reason = literals::remove_from_reason(reason);
    };
    let resource = match &event.body {
        Body::AccessRequested(asked) => {
            let text = format!("access requested {} {} {}", asked.request, asked.role, asked.resource);
            told(Some(&asked.requester), &asked.node, text, "requested", &asked.reason);
            &asked.resource
        }
        Body::AccessReviewed(review) => {
            let outcome = match (&review.refused, review.approved) {
                (Some(_), _) => "refused",
                (None, true) => "approved",
                (None, false) => "denied",
            };
            let reason = review.refused.as_deref().unwrap_or(&review.reason);
            let text = format!("access reviewed {}", review.request);
            told(review.reviewer.as_ref(), &review.node, text, outcome, reason);
            ""
        }
        Body::AccessGranted(grant) => {
            let outcome = if grant.extended { "extended" } else { "granted" };
            let text = format!("access {outcome} {} {} {} {}", grant.grant, grant.request, grant.role, grant.resource);
            told(Some(&grant.identity), &grant.node, text, outcome, "");
            &grant.resource
        }
        Body::AccessEnded(ended) => {
            let text = format!("access ended {} {}", ended.grant, ended.resource);
            told(Some(&ended.identity), &ended.node, text, "ended", &ended.reason);
            &ended.resource
        }
        Body::Revoked(revoked) => {
            let outcome = if revoked.restored { "restored" } else { "revoked" };
            let kind = match revoked.kind {
                RevocationKind::Identity => "identity",
                RevocationKind::Session => "session",
                RevocationKind::Grant => "grant",
            };
            let text = format!("{kind} {outcome} {}", revoked.target);
            told(Some(&revoked.by), &revoked.node, text, outcome, &revoked.reason);
            ""
        }
        Body::Alarm(Alarm { detail, node, .. }) => {
            told(None, node, "alarm".to_owned(), "alarm", detail);
            ""
        }
        Body::RoleDropped(dropped) => {
            let text = format!("role dropped {} {}", dropped.role, dropped.scope);
            told(None, &dropped.node, text, "dropped", &dropped.detail);
            &dropped.resource
        }
        _ => return None,
    };
    let resource = resource.to_owned();
    hit.resource = resource;
    Some(hit)
}
