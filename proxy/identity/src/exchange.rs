//! Token exchange (RFC 8693): for a token of a configured issuer, a short one of the gate's own.
//!
//! A CI job has a token of its CI provider, which may live for hours and be meant for many; it gives it here and gets one
//! for this gate alone, for minutes, for the resources that it needs, with the task that it works on and with the one that
//! acts for it in the `act` chain. Rights are never gained: identity, groups and issuer stay those of the subject token,
//! the end is never later, the resources are a choice of those that it was good for, and what was exchanged cannot be
//! exchanged again.

use crate::{
    Verifier,
    config::TokenExchange,
    rejection::{Kind, Rejection},
    signing::{Error, Signer},
    verifier::{Method, Verified},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kit::kms::Kms;
use kit::{Clock, Secret};
use ring::rand::{SecureRandom, SystemRandom};
use schemas::{Identity, IdentityKind};
use serde_json::{Value, json};

/// Gives tokens for tokens.
pub struct Exchanger {
    settings: TokenExchange,
    signer: Signer,
    clock: Clock,
}

/// What is asked for.
#[derive(Default)]
pub struct Request {
    /// The token of whom the new one is to be for.
    pub subject_token: Option<Secret<String>>,
    /// Its type, a URN.
    pub subject_token_type: Option<String>,
    /// The token of the one who acts for it.
    pub actor_token: Option<Secret<String>>,
    /// Its type.
    pub actor_token_type: Option<String>,
    /// The type of token that is wanted; an access token or a JWT.
    pub requested_token_type: Option<String>,
    /// For whom it is to be meant; this gate's audience, or left out.
    pub audience: Option<String>,
    /// `resource:<name>` for each resource, with spaces between; left out for all.
    pub scope: Option<String>,
    /// What it is for.
    pub task: Option<String>,
}

/// What was given.
pub struct Issued {
    /// The token.
    pub token: Secret<String>,
    /// Seconds until it ends.
    pub expires_in: i64,
    /// Whom it is for, with whom acts for it.
    pub identity: Identity,
    /// Its `jti`, by which sessions name it.
    pub id: String,
}

/// Why nothing was given: an error code of RFC 6749, section 5.2, and words. They hold nothing of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// `invalid_request`, `invalid_grant`, `invalid_target`, `invalid_scope` or `temporarily_unavailable`.
    pub code: &'static str,
    /// Why, and what to do.
    pub text: String,
}

impl Exchanger {
    /// None where another node exchanges.
    pub(crate) fn new(settings: TokenExchange, clock: Clock, kms: &Kms) -> Result<Option<Self>, Error> {
        let Some(path) = &settings.key_file else { return Ok(None) };
        let signer = Signer::open_or_create(path, kms)?;
        Ok(Some(Self { settings, signer, clock }))
    }

    /// The key set by which other nodes check these tokens.
    pub fn jwks(&self) -> Value {
        self.signer.jwks()
    }

    /// The issuer's metadata (RFC 8414).
    pub fn metadata(&self) -> Value {
        let issuer = &self.settings.issuer;
        let base = issuer.trim_end_matches('/');
        json!({
            "issuer": issuer,
            "token_endpoint": format!("{base}/oauth/token"),
            "jwks_uri": format!("{base}/oauth/jwks"),
            "grant_types_supported": [GRANT_TYPE],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["none"],
        })
    }

    /// Checks the tokens and gives one.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn exchange(&self, verifier: &Verifier, request: &Request) -> Result<Issued, Refused> {
        let refuse = |code, text: &str| Err(Refused { code, text: text.to_owned() });
        if request.requested_token_type.as_deref().is_some_and(|kind| ![ACCESS_TOKEN, JWT].contains(&kind)) {
            return refuse("invalid_request", "only access tokens are given (requested_token_type)");
        }
        if request.audience.as_ref().is_some_and(|audience| *audience != self.settings.audience) {
            return refuse("invalid_target", "tokens are given for this gate's own audience alone");
        }
        let task = request.task.as_deref();
        if task.is_some_and(|task| task.is_empty() || task.len() > MAX_TASK_BYTES || task.chars().any(char::is_control))
        {
            return refuse("invalid_request", "the task is empty, too long, or has control characters");
        }
        let (token, kind) = (&request.subject_token, &request.subject_token_type);
        let Some(subject) = self.check(verifier, "subject_token", token, kind).await? else {
            return refuse("invalid_request", "subject_token is missing");
        };
        let actor = self.check(verifier, "actor_token", &request.actor_token, &request.actor_token_type).await?;
        let resources = narrow(&subject, request.scope.as_deref())?;
        let identity = delegated(&subject, actor.as_ref(), task)?;
        let now = self.clock.now_seconds();
        let ends = [&Some(subject), &actor].into_iter().flatten().map(|one| one.expires).min().unwrap_or(now);
        let expires = ends.min(now.saturating_add(self.settings.lifetime));
        if expires <= now {
            return refuse("invalid_grant", "the token is at its end: get a new one");
        }
        let mut id = [0; 16];
        if SystemRandom::new().fill(&mut id).is_err() {
            return refuse("temporarily_unavailable", "the system gave no randomness");
        }
        let id = BASE64_URL_SAFE_NO_PAD.encode(id);
        let token = self.signer.sign(&self.claims(&identity, resources.as_deref(), &id, (now, expires)));
        Ok(Issued { token, expires_in: expires - now, identity, id })
    }

    async fn check(
        &self,
        verifier: &Verifier,
        what: &str,
        token: &Option<Secret<String>>,
        kind: &Option<String>,
    ) -> Result<Option<Verified>, Refused> {
        let Some(token) = token else { return Ok(None) };
        let refused = |code, text: String| Refused { code, text: format!("{what}: {text}") };
        if !kind.as_deref().is_some_and(|kind| [ACCESS_TOKEN, ID_TOKEN, JWT].contains(&kind)) {
            let text = format!("its type must be given, as {JWT}, {ACCESS_TOKEN} or {ID_TOKEN}");
            return Err(refused("invalid_request", text));
        }
        let rejected = |rejection: Rejection| match rejection.kind() {
            Kind::Unavailable => refused("temporarily_unavailable", rejection.to_string()),
            _ => refused("invalid_grant", rejection.to_string()),
        };
        let verified = verifier.verify(token.expose()).await.map_err(rejected)?;
        if verified.method != Method::Token {
            return Err(refused("invalid_grant", "only tokens can be exchanged".to_owned()));
        }
        if verified.token_issuer == self.settings.issuer {
            return Err(refused(
                "invalid_grant",
                "it was exchanged already: give the token that it came from".to_owned(),
            ));
        }
        Ok(Some(verified))
    }

    fn claims(&self, identity: &Identity, resources: Option<&[String]>, id: &str, times: (i64, i64)) -> Value {
        let kind = match identity.kind {
            IdentityKind::Human => "human",
            IdentityKind::Machine => "machine",
        };
        let mut claims = json!({
            "iss": self.settings.issuer, "aud": self.settings.audience, "sub": identity.subject, "jti": id,
            "iat": times.0, "exp": times.1, "name": identity.name, "kind": kind, "groups": identity.groups,
            ORIGIN: identity.issuer,
        });
        if let Some(claims) = claims.as_object_mut() {
            claims.extend(Signer::act(&identity.on_behalf_of).map(|chain| ("act".to_owned(), chain)));
            claims.extend(identity.task.as_ref().map(|task| ("task".to_owned(), json!(task))));
            claims.extend(resources.map(|resources| (RESOURCES.to_owned(), json!(resources))));
        }
        claims
    }
}

/// The resources that the scope names, which must be among those that the subject token is good for.
fn narrow(subject: &Verified, scope: Option<&str>) -> Result<Option<Vec<String>>, Refused> {
    let invalid = |text: String| Refused { code: "invalid_scope", text };
    let Some(scope) = scope.filter(|scope| !scope.trim().is_empty()) else { return Ok(subject.resources.clone()) };
    let mut resources = Vec::new();
    for part in scope.split_ascii_whitespace() {
        let name = part.strip_prefix("resource:").filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| invalid("a scope is resource:<name> for each resource".to_owned()))?;
        if !subject.covers(name) {
            return Err(invalid(format!("the subject token is not good for the resource {name:?}")));
        }
        if resources.len() >= MAX_RESOURCES {
            return Err(invalid(format!("at most {MAX_RESOURCES} resources can be named")));
        }
        resources.push(name.to_owned());
    }
    Ok(Some(resources))
}

/// The subject's identity with the actor at the head of its chain.
fn delegated(subject: &Verified, actor: Option<&Verified>, task: Option<&str>) -> Result<Identity, Refused> {
    let invalid = |text: &str| Refused { code: "invalid_grant", text: text.to_owned() };
    let mut identity = subject.identity.clone();
    if let Some(actor) = actor {
        if subject.may_act.as_ref().is_some_and(|allowed| *allowed != actor.identity.subject) {
            return Err(invalid("the subject token allows another actor (may_act)"));
        }
        identity.on_behalf_of.insert(0, actor.identity.subject.clone());
        if identity.on_behalf_of.len() > crate::token::MAX_ACTORS {
            return Err(invalid("the chain of actors is too long"));
        }
    }
    if let Some(task) = task {
        if identity.task.as_deref().is_some_and(|own| own != task) {
            return Err(invalid("the subject token is for another task"));
        }
        identity.task = Some(task.to_owned());
    }
    Ok(identity)
}

/// The grant type of an exchange.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The type of what is given.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The claim that names the issuer of the identity.
pub(crate) const ORIGIN: &str = "origin_iss";

/// The claim that names the resources.
pub(crate) const RESOURCES: &str = "postern_resources";

const MAX_TASK_BYTES: usize = 256;

const MAX_RESOURCES: usize = 64;
