//! The section `[token_exchange]`.

use super::{Issuer, KeySource, Mapping, Remote, check_url};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The `[token_exchange]` section: an issuer of the gate's own, that gives short tokens for those of other issuers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenExchangeFile {
    /// The issuer URL that its tokens state, mostly the address of the API as clients see it; the same on every node.
    /// _Default: none, and no exchange._
    pub issuer: Option<String>,
    /// The audience that its tokens carry and must carry. _Default: `postern`._
    pub audience: String,
    /// How long they are good, seconds, 30 to 86400; never longer than the token that was exchanged. _Default: 900._
    pub lifetime_seconds: u64,
    /// The key that signs them, made where it is missing; nodes that exchange must share it. _Default:
    /// `keys/token-exchange.p8` in the node's folder._
    pub key_file: Option<PathBuf>,
    /// Where a node that does not exchange itself gets the keys of the one that does: `<API>/oauth/jwks`.
    /// _Default: none, and this node exchanges._
    pub jwks_url: Option<String>,
}

impl Default for TokenExchangeFile {
    fn default() -> Self {
        Self { issuer: None, audience: "postern".to_owned(), lifetime_seconds: 900, key_file: None, jwks_url: None }
    }
}

/// The exchange, checked.
#[derive(Debug, Clone)]
pub(crate) struct TokenExchange {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) lifetime: i64,
    /// None: another node exchanges.
    pub(crate) key_file: Option<PathBuf>,
}

impl TokenExchangeFile {
    pub(super) fn check(self, keys: &Path, problems: &mut Vec<String>) -> Option<(TokenExchange, Issuer)> {
        let issuer = self.issuer?;
        let mut problem = |field: &str, text: String| problems.push(format!("token_exchange.{field}: {text}"));
        if let Err(text) = check_url(&issuer) {
            problem("issuer", text);
        }
        if let Some(Err(text)) = self.jwks_url.as_deref().map(check_url) {
            problem("jwks_url", text);
        }
        if self.audience.is_empty() {
            problem("audience", "is empty".to_owned());
        }
        if !(30..=86_400).contains(&self.lifetime_seconds) {
            problem("lifetime_seconds", format!("{} is not within 30 to 86400", self.lifetime_seconds));
        }
        let key_file = self.key_file.unwrap_or_else(|| keys.join(EXCHANGE_KEY));
        let source = match &self.jwks_url {
            None => KeySource::File(key_file.clone()),
            Some(_) => KeySource::Remote(Remote {
                issuer: issuer.clone(),
                jwks_url: self.jwks_url.clone(),
                max_age: Duration::from_secs(300),
                stale_limit: Duration::from_secs(3600),
                timeout: Duration::from_secs(5),
                ca_file: None,
            }),
        };
        let trusted = Issuer {
            issuer: issuer.clone(),
            audiences: vec![self.audience.clone()],
            algorithms: vec![Algorithm::EdDSA],
            keys: source,
            claims: Mapping {
                issuer: Some(crate::exchange::ORIGIN.to_owned()),
                resources: Some(crate::exchange::RESOURCES.to_owned()),
                ..Mapping::own()
            },
            clock_skew: 30,
        };
        let exchange = TokenExchange {
            issuer,
            audience: self.audience,
            lifetime: i64::try_from(self.lifetime_seconds).ok()?,
            key_file: self.jwks_url.is_none().then_some(key_file),
        };
        Some((exchange, trusted))
    }
}

/// The usual name of the exchange's key.
const EXCHANGE_KEY: &str = "token-exchange.p8";
