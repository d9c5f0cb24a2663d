//! What the credential of a request is good for: all resources, or some.
//!
//! A credential that is good for some resources sees what concerns these, and does what concerns these. What concerns
//! all, as disabling an identity does, needs one that is good for all.

use super::Api;
use super::audited::Actor;
use crate::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use schemas::SessionId;

/// The resources that a credential is good for; none: all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Scope(pub(super) Option<Vec<String>>);

impl FromRequestParts<Api> for Scope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let actor = parts.extensions.get::<Actor>();
        let Actor(known) = actor.ok_or_else(|| Problem::unauthenticated("No token was shown.", false))?;
        Ok(Self(known.resources.clone()))
    }
}

impl Scope {
    /// Whether it is good for this resource.
    pub(super) fn covers(&self, resource: &str) -> bool {
        self.0.as_ref().is_none_or(|all| all.iter().any(|one| one == resource))
    }

    /// Only a credential that is good for all resources.
    ///
    /// # Errors
    /// 403.
    pub(super) fn whole(&self) -> Result<(), Problem> {
        match &self.0 {
            None => Ok(()),
            Some(list) => Err(limited(list, "This concerns all resources.")),
        }
    }

    /// The resource that a list is narrowed to, where it must be.
    ///
    /// # Errors
    /// 403 for another resource, and where there are several and none is named.
    pub(super) fn narrow(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        let Some(list) = &self.0 else { return Ok(asked) };
        match (asked, list.as_slice()) {
            (Some(asked), _) if self.covers(&asked) => Ok(Some(asked)),
            (Some(asked), _) => Err(limited(list, &format!("It is not good for {asked:?}."))),
            (None, [one]) => Ok(Some(one.clone())),
            (None, _) => Err(limited(list, "Name one of them: resource=<name>.")),
        }
    }

    /// Whether this session's record may be read: one of another resource is as if it were not there.
    ///
    /// # Errors
    /// 404, or the archive's.
    pub(super) async fn session(&self, api: &Api, id: SessionId) -> Result<(), Problem> {
        if self.0.is_none() {
            return Ok(());
        }
        let session = api.0.parts.archive.session(id).await?;
        let resource = session.and_then(|session| session.resource);
        match resource.is_some_and(|resource| self.covers(&resource)) {
            true => Ok(()),
            false => Err(Problem::no_session(&id.to_string())),
        }
    }
}

fn limited(list: &[String], detail: &str) -> Problem {
    let good_for = if list.is_empty() { "no resource".to_owned() } else { list.join(", ") };
    Problem::new(
        StatusCode::FORBIDDEN,
        "Your credential is not good for this",
        format!("What you showed is good for {good_for} alone. {detail}"),
        "Use a token that is not limited to resources, or ask about one that it names.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_what_it_names() {
        let scope = |list: &[&str]| Scope(Some(list.iter().map(|&one| one.to_owned()).collect()));
        let asked = |text: &str| Some(text.to_owned());
        assert_eq!(Scope(None).narrow(None).unwrap(), None);
        assert_eq!(Scope(None).narrow(asked("hr")).unwrap(), asked("hr"));
        assert_eq!(scope(&["shop"]).narrow(None).unwrap(), asked("shop"));
        assert_eq!(scope(&["shop", "hr"]).narrow(asked("hr")).unwrap(), asked("hr"));
        for (scope, text) in [
            (scope(&["shop"]).narrow(asked("hr")), "not good for"),
            (scope(&["shop", "hr"]).narrow(None), "Name one"),
            (scope(&[]).narrow(None), "no resource"),
        ] {
            let problem = scope.unwrap_err();
            assert!(problem.status() == 403 && problem.text().contains(text), "{problem:?}");
        }
        assert!(Scope(None).whole().is_ok() && scope(&["shop"]).whole().is_err() && !scope(&[]).covers("shop"));
    }
}
