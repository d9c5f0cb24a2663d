//! Verifies a token: the one entry that others use.

use crate::{
    Config,
    api_key::{self, Book, Keys},
    cache::{self, Cache, Entry},
    certificate::{self, Authority},
    config::{self, KeySource},
    development,
    exchange::Exchanger,
    fetch::Fetcher,
    jwks::Jwks,
    keys::{Checked, KeySet},
    rejection::{Kind, Rejection},
    signing::Signer,
    token::{self, Claims, Unverified},
};
use jsonwebtoken::Algorithm;
use kit::Clock;
use rustls_pki_types::CertificateDer;
use schemas::Identity;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Verifies tokens of the trusted issuers. Clones share keys and cache.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    issuers: BTreeMap<String, Trusted>,
    /// The first that is configured: where clients that have no token yet are sent.
    first_issuer: Option<String>,
    certificates: Option<Arc<Authority>>,
    api_keys: Option<Arc<Keys>>,
    exchange: Option<Arc<Exchanger>>,
    cache: Cache,
    clock: Clock,
}

struct Trusted {
    settings: config::Issuer,
    keys: IssuerKeys,
}

enum IssuerKeys {
    Own(Arc<KeySet>),
    Fetched(Jwks),
}

/// Whom a token proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who.
    pub identity: Identity,
    /// The token's `exp`, seconds since 1970-01-01 UTC: what was opened on its strength ends then.
    pub expires: i64,
    /// How.
    pub method: Method,
    /// The id of what was shown (`jti`, serial number, key id), never the thing itself.
    pub credential: Option<String>,
    /// The resources that it is good for; none: for all.
    pub resources: Option<Vec<String>>,
    /// The `iss` of the token; the identity's own issuer may be another, where the token was exchanged. Empty where it was
    /// no token.
    pub(crate) token_issuer: String,
    /// The one actor whom the token allows (`may_act`), where it says so.
    pub(crate) may_act: Option<String>,
    /// By what it can become void before its end.
    pub(crate) watch: Watched,
}

/// By what something that was shown can become void before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Nothing here: the control plane, or only time.
    Elsewhere,
    /// The file of API keys.
    KeyFile,
    /// The files of authorities and revocation lists, for this chain.
    Certificates(Arc<Vec<CertificateDer<'static>>>),
}

/// How an identity was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By a token, sent as the password or as a bearer token.
    Token,
    /// By a token, by SASL OAUTHBEARER.
    OauthBearer,
    /// By a client certificate.
    Certificate,
    /// By an API key.
    ApiKey,
}

impl Method {
    /// The name in events.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::OauthBearer => "oauthbearer",
            Self::Certificate => "certificate",
            Self::ApiKey => "api_key",
        }
    }
}

impl Verified {
    /// The same, shown in another way.
    #[must_use]
    pub fn by(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Whether what was shown is good for this resource.
    pub fn covers(&self, resource: &str) -> bool {
        self.resources.as_ref().is_none_or(|all| all.iter().any(|one| one == resource))
    }

    /// How long until [`Verified::expires`] by the system's clock; zero where it is past.
    pub fn remaining(&self) -> Duration {
        let now = Clock::system().now_micros();
        let left = self.expires.saturating_mul(1_000_000).saturating_sub(now);
        Duration::from_micros(u64::try_from(left).unwrap_or(0))
    }
}

/// Why a verifier could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An issuer's `ca_file` cannot be used.
    #[error("preparing the issuer {issuer}")]
    Ca {
        /// The issuer.
        issuer: String,
        /// What is wrong with the file.
        #[source]
        source: kit::http::Error,
    },
    /// The development issuer's key cannot be used.
    #[error("preparing the development issuer")]
    Development(#[source] development::Error),
    /// The development issuer's key is not a point of the curve.
    #[error("preparing the development issuer: {0}")]
    DevelopmentKey(String),
    /// The files of client certificates cannot be used.
    #[error("preparing client certificates")]
    Certificates(#[source] certificate::Error),
    /// The key of the token exchange cannot be used.
    #[error("preparing the token exchange")]
    Exchange(#[source] crate::signing::Error),
    /// The store of API keys cannot be used.
    #[error("preparing API keys")]
    ApiKeys(#[source] api_key::Error),
}

impl Verifier {
    /// Makes a verifier and begins to fetch the issuers' keys; it does not wait for them.
    ///
    /// # Errors
    /// [`Error`]: a certificate file or the development issuer's key cannot be used.
    pub fn new(config: Config) -> Result<Self, Error> {
        Self::with_clock(config, Clock::system())
    }

    /// As [`Verifier::new`], by another clock.
    ///
    /// # Errors
    /// Likewise.
    pub fn with_clock(config: Config, clock: Clock) -> Result<Self, Error> {
        Self::open(config, clock, None)
    }

    /// As [`Verifier::new`], with the API keys that all nodes share.
    ///
    /// # Errors
    /// Likewise.
    pub fn with_book(config: Config, book: Option<Arc<dyn Book>>) -> Result<Self, Error> {
        Self::open(config, Clock::system(), book)
    }

    fn open(config: Config, clock: Clock, book: Option<Arc<dyn Book>>) -> Result<Self, Error> {
        let mut issuers = BTreeMap::new();
        let exchange = config.exchange.map(|settings| Exchanger::new(settings, clock.clone(), &config.kms)).transpose();
        let exchange = exchange.map_err(Error::Exchange)?.flatten().map(Arc::new);
        let is_provider =
            |issuer: &&config::Issuer| matches!(issuer.keys, KeySource::Remote(_)) && issuer.claims.issuer.is_none();
        let first_issuer = config.issuers.iter().find(is_provider).map(|issuer| issuer.issuer.clone());
        let certificates = config.certificates.map(|settings| Authority::open(settings, clock.clone())).transpose();
        let certificates = certificates.map_err(Error::Certificates)?;
        let api_keys = config.api_keys.map(|path| Keys::open(path, book, clock.clone())).transpose();
        let api_keys = api_keys.map_err(Error::ApiKeys)?;
        for settings in config.issuers {
            let keys = match &settings.keys {
                KeySource::Folder(folder) => {
                    let issuer = development::Issuer::open_or_create(folder).map_err(Error::Development)?;
                    tracing::warn!(
                        issuer = development::ISSUER,
                        folder = %folder.display(),
                        "tokens of the development issuer are accepted: whoever can read its key can be anybody; \
                         not for production"
                    );
                    IssuerKeys::Own(Arc::new(issuer.keys().map_err(Error::DevelopmentKey)?))
                }
                KeySource::File(path) => {
                    let signer = Signer::open_or_create(path, &config.kms).map_err(Error::Exchange)?;
                    IssuerKeys::Own(Arc::new(signer.keys().map_err(Error::DevelopmentKey)?))
                }
                KeySource::Remote(remote) => {
                    let fetcher = Fetcher::new(remote.clone())
                        .map_err(|source| Error::Ca { issuer: settings.issuer.clone(), source })?;
                    IssuerKeys::Fetched(Jwks::new(fetcher, clock.clone()))
                }
            };
            issuers.insert(settings.issuer.clone(), Trusted { settings, keys });
        }
        let cache = Cache::default();
        Ok(Self(Arc::new(Inner { issuers, first_issuer, certificates, api_keys, exchange, cache, clock })))
    }

    /// The exchange of tokens, where this node does it.
    pub fn exchanger(&self) -> Option<Arc<Exchanger>> {
        self.0.exchange.clone()
    }

    /// Whether clients are to be asked for a certificate.
    pub fn wants_certificates(&self) -> bool {
        self.0.certificates.is_some()
    }

    /// The OpenID provider that is configured first.
    pub fn first_issuer(&self) -> Option<&str> {
        self.0.first_issuer.as_deref()
    }

    /// Judges the certificates that a client showed in its handshake, its own first; the handshake must have proved that
    /// it has the key.
    ///
    /// # Errors
    /// [`Rejection`], whose text is fit for the client.
    pub fn verify_certificate(&self, chain: &[CertificateDer<'_>]) -> Result<Verified, Rejection> {
        let none = || Rejection::new(Kind::Certificate, "client certificates are not accepted here");
        self.0.certificates.as_ref().ok_or_else(none)?.verify(chain)
    }

    /// Ready when what was shown has become void before its end; never where that cannot be.
    pub async fn ended(&self, verified: &Verified) {
        match (&verified.watch, &verified.credential) {
            (Watched::KeyFile, Some(id)) => match &self.0.api_keys {
                Some(keys) => keys.ended(id).await,
                None => std::future::pending().await,
            },
            (Watched::Certificates(chain), _) => match &self.0.certificates {
                Some(authority) => authority.ended(chain).await,
                None => std::future::pending().await,
            },
            (Watched::KeyFile, None) | (Watched::Elsewhere, _) => std::future::pending().await,
        }
    }

    /// Verifies a token, or an API key where these are accepted.
    ///
    /// It may wait for a fetch of the issuer's keys, at most a few of the configured timeouts. Cancel safe. A token that
    /// was verified before costs one SHA-256.
    ///
    /// # Errors
    /// [`Rejection`], whose text is fit for the client.
    pub async fn verify(&self, token: &str) -> Result<Verified, Rejection> {
        if token.len() > token::MAX_TOKEN_BYTES {
            return Err(token::read(token).err().unwrap_or_else(unknown_key));
        }
        if token.starts_with(api_key::PREFIX)
            && let Some(keys) = &self.0.api_keys
        {
            return keys.verify(token);
        }
        let name = cache::name(token);
        if let Some(entry) = self.0.cache.find(&name, self.0.clock.now_seconds()) {
            if self.still_published(&entry).await? {
                return Ok(entry.verified);
            }
            self.0.cache.forget(&name);
        }
        let unverified = token::read(token)?;
        let trusted = self.trusted(&unverified.claims)?;
        let algorithm = allowed(&unverified.header.alg, &trusted.settings)?;
        let key = check_signature(trusted, &unverified, algorithm).await?;
        let now = self.0.clock.now_seconds();
        let (verified, valid) = check_claims(&trusted.settings, &unverified.claims, now)?;
        self.0.cache.keep(name, Entry { key, verified: verified.clone(), valid }, now);
        Ok(verified)
    }

    fn trusted(&self, claims: &Claims) -> Result<&Trusted, Rejection> {
        let found = claims.issuer().and_then(|issuer| self.0.issuers.get(issuer));
        found.ok_or_else(|| {
            let known: Vec<&str> = self.0.issuers.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none is configured".to_owned() } else { known.join(", ") };
            Rejection::new(Kind::Issuer, format!("the token's issuer is not one that is accepted here ({known})"))
        })
    }

    async fn still_published(&self, entry: &Entry) -> Result<bool, Rejection> {
        let Some(trusted) = self.0.issuers.get(&entry.verified.token_issuer) else { return Ok(false) };
        Ok(match &trusted.keys {
            IssuerKeys::Own(keys) => keys.holds(&entry.key),
            IssuerKeys::Fetched(jwks) => jwks.current().await?.holds(&entry.key),
        })
    }

    #[cfg(test)]
    pub(crate) fn cached(&self) -> usize {
        self.0.cache.len()
    }
}

/// The allow list comes before any key is looked at: the token does not choose how it is checked.
fn allowed(name: &str, settings: &config::Issuer) -> Result<Algorithm, Rejection> {
    config::algorithm(name).filter(|found| settings.algorithms.contains(found)).ok_or_else(|| {
        let list: Vec<String> = settings.algorithms.iter().map(|a| format!("{a:?}")).collect();
        let list = list.join(", ");
        Rejection::new(Kind::Algorithm, format!("the token's signature algorithm is not accepted here ({list})"))
    })
}

async fn check_signature(
    trusted: &Trusted,
    token: &Unverified<'_>,
    algorithm: Algorithm,
) -> Result<crate::keys::Thumbprint, Rejection> {
    let id = token.header.kid.as_deref();
    let check = |keys: &KeySet| keys.check(id, algorithm, token.message, token.signature);
    let jwks = match &trusted.keys {
        IssuerKeys::Own(keys) => {
            return match check(keys)? {
                Checked::By(key) => Ok(key),
                Checked::NoSuchKey => Err(unknown_key()),
            };
        }
        IssuerKeys::Fetched(jwks) => jwks,
    };
    if let Checked::By(key) = check(&*jwks.current().await?)? {
        return Ok(key);
    }
    let Some(newer) = jwks.newer(id).await? else { return Err(unknown_key()) };
    match check(&newer)? {
        Checked::By(key) => Ok(key),
        Checked::NoSuchKey => {
            jwks.remember_unknown(id);
            Err(unknown_key())
        }
    }
}

fn unknown_key() -> Rejection {
    Rejection::new(Kind::UnknownKey, "the token was not signed with a key that its issuer publishes")
}

/// What the token says, once it is known to be its issuer's. The second part is when this holds, by our clock.
fn check_claims(settings: &config::Issuer, claims: &Claims, now: i64) -> Result<(Verified, (i64, i64)), Rejection> {
    let skew = settings.clock_skew;
    let expires = claims
        .seconds("exp")?
        .ok_or_else(|| Rejection::new(Kind::Expired, "the token has no expiry (`exp`), and one is required"))?;
    if now >= expires + skew {
        let ago = now - expires;
        return Err(Rejection::new(Kind::Expired, format!("the token has expired {ago} seconds ago: get a new one")));
    }
    let mut from = i64::MIN;
    for claim in ["nbf", "iat"] {
        let Some(time) = claims.seconds(claim)? else { continue };
        from = from.max(time - skew);
        if now < time - skew {
            let text = format!("the token is not valid yet (`{claim}` is {} seconds ahead)", time - now);
            return Err(Rejection::new(Kind::NotYetValid, text));
        }
    }
    if !claims.is_for(&settings.audiences) {
        let list = settings.audiences.join(", ");
        let text = format!("the token is meant for another audience; accepted here: {list}");
        return Err(Rejection::new(Kind::Audience, text));
    }
    let identity = identity(settings, claims)?;
    let credential = claims.text("jti")?.map(str::to_owned);
    let resources = match &settings.claims.resources {
        Some(claim) if claims.is_there(claim) => Some(claims.list(claim)?),
        _ => None,
    };
    let may_act = match claims.is_there("may_act") {
        true => Some(claims.text("may_act.sub")?.unwrap_or_default().to_owned()),
        false => None,
    };
    let token_issuer = settings.issuer.clone();
    let (method, watch) = (Method::Token, Watched::Elsewhere);
    let verified = Verified { identity, expires, method, credential, resources, token_issuer, may_act, watch };
    Ok((verified, (from, expires + skew)))
}

/// Who the token is for, by the issuer's mapping.
fn identity(settings: &config::Issuer, claims: &Claims) -> Result<Identity, Rejection> {
    let mapping = &settings.claims;
    for (claim, value) in &mapping.required {
        if !claims.has(claim, value) {
            let text = format!("the token's `{claim}` is not {value:?}, which its issuer's tokens must have here");
            return Err(Rejection::new(Kind::Claims, text));
        }
    }
    let path = &mapping.subject;
    let subject = claims
        .text(path)?
        .ok_or_else(|| Rejection::new(Kind::Claims, format!("the token has no subject (`{path}`)")))?
        .to_owned();
    let stated = match &mapping.kind_claim {
        Some(path) => claims.text(path)?.and_then(config::kind),
        None => None,
    };
    let groups = claims.list(&mapping.groups)?.into_iter().map(|group| format!("{}{group}", mapping.groups_prefix));
    Ok(Identity {
        kind: stated.unwrap_or(mapping.kind),
        name: claims.text(&mapping.name)?.unwrap_or(&subject).to_owned(),
        subject,
        issuer: match &mapping.issuer {
            Some(claim) => claims.text(claim)?.unwrap_or(&settings.issuer).to_owned(),
            None => settings.issuer.clone(),
        },
        groups: groups.chain(mapping.more_groups.iter().cloned()).collect(),
        on_behalf_of: claims.actors()?,
        task: claims.text(&mapping.task)?.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests;
