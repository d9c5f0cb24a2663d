//! The audit events of what this node wrote to the control topic.

use crate::record::{Record, Review};
use crate::state::{Effect, Refused, State};
use event_log::{Log, Position, Priority};
use schemas::event::{
    AccessEnded, AccessGranted, AccessRequested, AccessReviewed, Alarm, AlarmKind, RequestKind, RevocationKind, Revoked,
};
use schemas::{Body, Event, Identity, codec};

/// Where the events go.
pub trait Report: Send + Sync {
    /// Takes an event in.
    ///
    /// # Errors
    /// [`NotTaken`]: it may be given again.
    fn report(&self, event: &Event) -> Result<Taken, NotTaken>;

    /// Whether what was taken up to here is kept for good.
    fn is_durable(&self, _position: Position) -> bool {
        true
    }
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is kept for good.
    Durable,
    /// It is on its way; see [`Report::is_durable`].
    At(Position),
}

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It cannot be written.
    #[error("cannot encode it")]
    Encode(#[source] codec::Error),
    /// The log is full, or has failed.
    #[error("the log does not take it")]
    Log(#[source] event_log::Error),
}

impl Report for Log {
    fn report(&self, event: &Event) -> Result<Taken, NotTaken> {
        let mut datum = Vec::new();
        codec::encode(event, &mut datum).map_err(NotTaken::Encode)?;
        let position = self.append(self.assign(), &[&datum], Priority::Closing).map_err(NotTaken::Log)?;
        self.want_durable(position);
        Ok(Taken::At(position))
    }

    fn is_durable(&self, position: Position) -> bool {
        Self::is_durable(self, position)
    }
}

/// Reports nothing: for processes without a log, and tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Report for Silent {
    fn report(&self, _event: &Event) -> Result<Taken, NotTaken> {
        Ok(Taken::Durable)
    }
}

/// The events of one record that this node wrote, and of what came of it.
pub(crate) fn events(record: &Record, outcome: &Result<Vec<Effect>, Refused>, state: &State, node: &str) -> Vec<Body> {
    let node = || node.to_owned();
    let refused = outcome.as_ref().err().map(ToString::to_string);
    let reviewed = |request: String, review: &Review| {
        let Review { reviewer, approved, reason, .. } = review.clone();
        let (reviewer, refused) = (Some(reviewer), refused.clone());
        Body::AccessReviewed(AccessReviewed { request, reviewer, approved, reason, refused, node: node() })
    };
    let mut bodies = Vec::new();
    match record {
        // an answer that does not count is an event as well
        Record::AccessReviewed { request, review } => bodies.push(reviewed(request.to_string(), review)),
        Record::HoldReviewed { hold, review } => bodies.push(reviewed(hold.to_string(), review)),
        _ if refused.is_some() => return bodies,
        Record::AccessRequested(asked) => {
            bodies.push(Body::AccessRequested(AccessRequested {
                request: asked.id.to_string(),
                requester: asked.requester.clone(),
                resource: asked.resource.clone(),
                role: asked.role.clone(),
                duration: asked.duration,
                reason: asked.reason.clone(),
                kind: asked.kind,
                rule: asked.rule.clone(),
                extends: asked.extends.map(|grant| grant.to_string()),
                reviewers: asked.reviewers.clone(),
                approvals: asked.approvals,
                expires: asked.expires,
                node: node(),
            }));
            if asked.kind == RequestKind::BreakGlass {
                let (who, what) = (&asked.requester.subject, &asked.resource);
                let detail =
                    format!("{who} broke the glass for {} on {what}: {} ({})", asked.role, asked.reason, asked.id);
                bodies.push(Body::Alarm(Alarm { kind: AlarmKind::BreakGlass, detail, node: node() }));
            }
        }
        Record::AccessWithdrawn { request, by } => {
            let reason = format!("withdrawn by {}", by.subject);
            let (request, reviewer, approved, refused) = (request.to_string(), None, false, None);
            bodies.push(Body::AccessReviewed(AccessReviewed {
                request,
                reviewer,
                approved,
                reason,
                refused,
                node: node(),
            }));
        }
        Record::GrantRevoked { grant, by, reason } => {
            bodies.push(revoked(RevocationKind::Grant, grant.to_string(), None, by, reason, node()));
        }
        Record::IdentityDisabled { subject, issuer, by, reason } => {
            bodies.push(revoked(RevocationKind::Identity, subject.clone(), issuer.clone(), by, reason, node()));
        }
        Record::IdentityEnabled { subject, issuer, by, reason } => {
            let body = revoked(RevocationKind::Identity, subject.clone(), issuer.clone(), by, reason, node());
            bodies.push(match body {
                Body::Revoked(revoked) => Body::Revoked(Revoked { restored: true, ..revoked }),
                other => other,
            });
        }
        Record::SessionKilled { session, by, reason } => {
            bodies.push(revoked(RevocationKind::Session, session.to_string(), None, by, reason, node()));
        }
        // a key is a grant of its own: told as one
        Record::KeyIssued { key, by, reason } => bodies.push(Body::AccessGranted(AccessGranted {
            grant: key_name(&key.id),
            request: reason.clone(),
            identity: key.identity(),
            resource: key.resources.join(" "),
            role: String::new(),
            from: state.api_key(&key.id).map_or(0, |issued| issued.time),
            until: key.expires,
            by: vec![by.subject.clone()],
            extended: false,
            node: node(),
        })),
        Record::KeyRevoked { key, by, reason } => {
            bodies.extend(state.api_key(key).map(|issued| {
                Body::AccessEnded(AccessEnded {
                    grant: key_name(key),
                    identity: issued.key.identity(),
                    resource: issued.key.resources.join(" "),
                    reason: reason.clone(),
                    by: Some(by.clone()),
                    node: node(),
                })
            }));
        }
        // those of a session's statement are in that session's own record
        Record::GrantExtended { .. }
        | Record::GrantLapsed { .. }
        | Record::HoldAsked(_)
        | Record::HoldWithdrawn { .. }
        | Record::HoldReleased { .. }
        | Record::HoldExpired { .. }
        // what a webhook was told is in the state and in the log of the node that told it
        | Record::Notice(_)
        // nor is it anybody's act that one node knows another
        | Record::SignerVouched { .. } => {}
    }
    let effects = outcome.as_deref().unwrap_or_default();
    bodies.extend(effects.iter().filter_map(|effect| effect_body(effect, state, node())));
    bodies
}

/// An API key, where events name grants.
fn key_name(id: &str) -> String {
    format!("api-key:{id}")
}

fn revoked(
    kind: RevocationKind,
    target: String,
    issuer: Option<String>,
    by: &Identity,
    reason: &str,
    node: String,
) -> Body {
    Body::Revoked(Revoked { kind, target, issuer, restored: false, by: by.clone(), reason: reason.to_owned(), node })
}

fn effect_body(effect: &Effect, state: &State, node: String) -> Option<Body> {
    let (id, extended) = match effect {
        Effect::Granted(id) => (id, false),
        Effect::Extended(id) => (id, true),
        Effect::Ended(id) => {
            let grant = state.grant(*id)?;
            let (by, reason) = match grant.revoked.clone() {
                Some((by, reason)) => (Some(by), reason),
                None => (None, "expired".to_owned()),
            };
            return Some(Body::AccessEnded(AccessEnded {
                grant: id.to_string(),
                identity: grant.identity.clone(),
                resource: grant.resource.clone(),
                reason,
                by,
                node,
            }));
        }
        Effect::Approved(_) => return None,
    };
    let grant = state.grant(*id)?;
    Some(Body::AccessGranted(AccessGranted {
        grant: id.to_string(),
        request: grant.request.to_string(),
        identity: grant.identity.clone(),
        resource: grant.resource.clone(),
        role: grant.role.clone(),
        from: grant.from,
        until: grant.until,
        by: grant.by.clone(),
        extended,
        node,
    }))
}
