//! Verifies a token: the one entry that others use.

use crate::{
    Config,
    cache::{self, Cache, Entry},
    config::{self, KeySource},
    development,
    fetch::{CaError, Fetcher},
    jwks::Jwks,
    keys::{Checked, KeySet},
    rejection::{Kind, Rejection},
    token::{self, Claims, Unverified},
};
use jsonwebtoken::Algorithm;
use kit::Clock;
use schemas::Identity;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Verifies tokens of the trusted issuers. Clones share keys and cache.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    issuers: BTreeMap<String, Trusted>,
    cache: Cache,
    clock: Clock,
}

struct Trusted {
    settings: config::Issuer,
    keys: Keys,
}

enum Keys {
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
}

impl Verified {
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
        source: CaError,
    },
    /// The development issuer's key cannot be used.
    #[error("preparing the development issuer")]
    Development(#[source] development::Error),
    /// The development issuer's key is not a point of the curve.
    #[error("preparing the development issuer: {0}")]
    DevelopmentKey(String),
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
        let mut issuers = BTreeMap::new();
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
                    Keys::Own(Arc::new(issuer.keys().map_err(Error::DevelopmentKey)?))
                }
                KeySource::Remote(remote) => {
                    let fetcher = Fetcher::new(remote.clone())
                        .map_err(|source| Error::Ca { issuer: settings.issuer.clone(), source })?;
                    Keys::Fetched(Jwks::new(fetcher, clock.clone()))
                }
            };
            issuers.insert(settings.issuer.clone(), Trusted { settings, keys });
        }
        Ok(Self(Arc::new(Inner { issuers, cache: Cache::default(), clock })))
    }

    /// Verifies a token.
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
        let Some(trusted) = self.0.issuers.get(&entry.verified.identity.issuer) else { return Ok(false) };
        Ok(match &trusted.keys {
            Keys::Own(keys) => keys.holds(&entry.key),
            Keys::Fetched(jwks) => jwks.current().await?.holds(&entry.key),
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
        Keys::Own(keys) => {
            return match check(keys)? {
                Checked::By(key) => Ok(key),
                Checked::NoSuchKey => Err(unknown_key()),
            };
        }
        Keys::Fetched(jwks) => jwks,
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
    let subject =
        claims.text("sub")?.ok_or_else(|| Rejection::new(Kind::Claims, "the token has no subject (`sub`)"))?.to_owned();
    let stated = match &settings.kind_claim {
        Some(path) => claims.text(path)?.and_then(config::kind),
        None => None,
    };
    let identity = Identity {
        kind: stated.unwrap_or(settings.kind),
        name: claims.text(&settings.name_claim)?.unwrap_or(&subject).to_owned(),
        subject,
        issuer: settings.issuer.clone(),
        groups: claims.list(&settings.groups_claim)?,
        on_behalf_of: claims.actors()?,
    };
    Ok((Verified { identity, expires }, (from, expires + skew)))
}

#[cfg(test)]
mod tests;
