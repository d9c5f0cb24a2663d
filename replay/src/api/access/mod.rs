//! The routes of the control plane: access requests and reviews, grants, identities, sessions that are ended.
//!
//! They are open to everybody whom an issuer vouches for: what somebody may see and do is decided for each, by the
//! groups that the config and the requests name. Each use is recorded before its answer is sent, as all of the API's.

mod grants;
mod holds;
mod keys;
mod requests;
mod revoke;
mod view;
mod webhooks;

use super::audited::Actor;
use super::scope::Scope;
use super::{Api, Route};
use crate::problem::Problem;
use crate::sources::Known;
use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::routing::{get, post};
use control::{Digest, Error, Plane, Record, Refused, Review};
use schemas::Identity;
use serde::{Deserialize, de::DeserializeOwned};
use std::str::FromStr;

/// The body of what needs a reason and nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    #[serde(default)]
    reason: String,
}

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        ("/api/v1/requests", get(requests::list).post(requests::create)),
        ("/api/v1/requests/{id}", get(requests::one)),
        ("/api/v1/requests/{id}/review", post(requests::review)),
        ("/api/v1/requests/{id}/withdraw", post(requests::withdraw)),
        ("/api/v1/grants", get(grants::list)),
        ("/api/v1/grants/{id}/revoke", post(grants::revoke)),
        ("/api/v1/grants/{id}/extend", post(grants::extend)),
        ("/api/v1/holds", get(holds::list)),
        ("/api/v1/holds/{id}", get(holds::one)),
        ("/api/v1/holds/{id}/review", post(holds::review)),
        ("/api/v1/identities", get(revoke::identities)),
        ("/api/v1/identities/{subject}/disable", post(revoke::disable)),
        ("/api/v1/identities/{subject}/enable", post(revoke::enable)),
        ("/api/v1/sessions/{id}/kill", post(revoke::kill)),
        ("/api/v1/keys", get(keys::list).post(keys::issue)),
        ("/api/v1/keys/{id}/revoke", post(keys::revoke)),
        ("/api/v1/webhooks", get(webhooks::list)),
    ]
}

/// Whether a request takes rights away, and gives or shows nothing else that is worth keeping back: such goes on while it is
/// not known for sure who is disabled, since a record of whoever is counts on no node.
pub(super) fn takes_away(parts: &Parts) -> bool {
    let verbs = ["/disable", "/kill", "/revoke", "/withdraw"];
    // no route of a POST ends with what a client chose
    parts.method == Method::POST && verbs.iter().any(|verb| parts.uri.path().ends_with(verb))
}

/// The control plane and who uses it.
pub(in crate::api) struct Caller {
    pub(in crate::api) plane: Plane,
    pub(in crate::api) identity: Identity,
    pub(in crate::api) scope: Scope,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let actor = parts.extensions.get::<Actor>();
        let Actor(known) = actor.cloned().ok_or_else(|| Problem::unauthenticated("No token was shown.", false))?;
        Self::new(api, known)
    }
}

impl Caller {
    /// Somebody whom this node knows.
    ///
    /// # Errors
    /// 503 where there is no control plane.
    pub(in crate::api) fn new(api: &Api, known: Known) -> Result<Self, Problem> {
        let plane = api.0.parts.plane.clone().ok_or_else(|| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "No control plane here",
                "Without Kafka the control plane is in the process that runs the gate.",
                "Ask the API of `postern up`, or name brokers in the config of this node.",
            )
        })?;
        Ok(Self { plane, identity: known.identity, scope: Scope(known.resources) })
    }

    /// Writes a record, and says what is wrong if it does not count.
    pub(super) async fn write(&self, record: Record) -> Result<(), Problem> {
        match self.plane.control.append(record).await {
            Ok(_) => Ok(()),
            Err(Error::Refused(refused)) => Err(counts_not(&refused)),
            Err(error) => {
                tracing::error!(error = %crate::telemetry::chain(&error), "a control record was not written");
                let action = "See in a moment whether it counts all the same; if not, try again. The log of this node has the cause.";
                let title = "The control topic does not answer";
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, title, format!("{error}."), action))
            }
        }
    }

    /// Only operators, by a credential that is good for all resources.
    pub(super) fn operator(&self) -> Result<(), Problem> {
        self.scope.whole()?;
        if self.plane.access.is_operator(&self.identity) {
            return Ok(());
        }
        let groups = self.plane.access.operators.join(", ");
        Err(forbidden(format!("Only members of {groups} may do this."), "Ask one of them."))
    }
}

impl Caller {
    /// Only an operator in person: what gives rights is no program's to do, nor of whoever acts for somebody.
    pub(super) fn operator_in_person(&self) -> Result<(), Problem> {
        self.operator()?;
        self.plane.access.person(&self.identity).map_err(|refused| counts_not(&refused))
    }

    /// An answer of this one, with the entry of the config by which it may answer where it is no person.
    pub(super) fn answers(&self, approved: bool, reason: String, digest: Digest) -> Review {
        let exception = self.plane.access.exception(&self.identity);
        Review { digest, reviewer: self.identity.clone(), approved, reason, exception }
    }

    /// Whether its answers count, as far as that depends on who it is.
    pub(super) fn may_answer(&self) -> bool {
        self.plane.access.person(&self.identity).is_ok() || self.plane.access.exception(&self.identity).is_some()
    }
}

/// 409, 403 or 404: a record that changed nothing.
fn counts_not(refused: &Refused) -> Problem {
    let status = match refused {
        Refused::Unknown(_) => StatusCode::NOT_FOUND,
        Refused::Requester
        | Refused::KeyIssuer
        | Refused::NotPerson(_)
        | Refused::NotReviewer(_)
        | Refused::NotHolder(_)
        | Refused::Disabled(_) => StatusCode::FORBIDDEN,
        _ => StatusCode::CONFLICT,
    };
    let mut problem = Problem::new(status, "It does not count", format!("{refused}."), "Nothing was changed.");
    if let Ok(label) = HeaderValue::try_from(refused.label()) {
        problem = problem.with_header(header::HeaderName::from_static("postern-refused"), label);
    }
    problem
}

fn forbidden(detail: String, action: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "You may not do this", detail, action)
}

/// An id of the path.
pub(super) struct Named<T>(pub(super) T);

impl<T: FromStr> FromRequestParts<Api> for Named<T>
where
    T::Err: std::fmt::Display,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let action = "Take it as the list shows it.";
        let path = Path::<String>::from_request_parts(parts, api).await;
        let Path(text) = path.map_err(|_| Problem::request("The id is not text.", action))?;
        text.parse().map(Self).map_err(|error: T::Err| Problem::request(format!("{error}."), action))
    }
}

/// A JSON body. One without content is an empty object.
pub(super) struct Sent<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Api) -> Result<Self, Problem> {
        let action = "Send one JSON object; /api/v1/openapi.json has its fields.";
        // it has come already, and is no larger than it may be
        let bytes = to_bytes(request.into_body(), usize::MAX).await;
        let bytes = bytes.map_err(|_| Problem::request("The body did not come.", action))?;
        let bytes = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
        serde_json::from_slice(bytes).map(Self).map_err(|error| Problem::request(format!("The body: {error}."), action))
    }
}
