//! Who a client is: by its certificate, by a token or an API key as its password, or by SASL OAUTHBEARER.
//!
//! ```text
//! a certificate was shown ------------------> it must be good, nothing else is asked
//! proxy.oauth, or postern.auth of the client -> OAUTHBEARER
//! otherwise --------------------------------> the password is a token or an API key
//! ```
//!
//! PostgreSQL's protocol lets a server ask in one way only, and a client of before libpq 18 knows nothing of OAUTHBEARER:
//! so the password stays the way of all who do not say otherwise, in the config for all clients, or each for itself.

use crate::{
    Gate,
    config::Oauth,
    refuse::Refusal,
    startup::{self, Started, Wish, sasl},
};
use identity::{Method, Verified};

/// Establishes who the client is; it has not been told anything when this returns.
///
/// # Errors
/// [`Refusal`], with the reason in words.
pub async fn client(started: &mut Started, gate: &Gate) -> Result<Verified, Refusal> {
    if !started.certificates.is_empty() {
        let judged = gate.verifier.verify_certificate(&started.certificates);
        return judged.map_err(|rejection| Refusal::certificate(&rejection));
    }
    let oauth = match (gate.config.oauth, started.wish) {
        (Oauth::Always, Wish::Password) | (Oauth::Asked, Wish::None | Wish::Password) => false,
        (Oauth::Always, Wish::None | Wish::Oauth) | (Oauth::Asked, Wish::Oauth) => true,
    };
    if oauth {
        return bearer(started, gate).await;
    }
    let token = startup::read_token(&mut started.stream).await.map_err(|error| Refusal::startup(&error))?;
    gate.verifier.verify(token.expose()).await.map_err(|rejection| Refusal::token(&rejection))
}

async fn bearer(started: &mut Started, gate: &Gate) -> Result<Verified, Refusal> {
    let failed = |error| Refusal::startup(&error);
    let refusal = match sasl::read_bearer(&mut started.stream).await.map_err(failed)? {
        Some(token) => match gate.verifier.verify(token.expose()).await {
            Ok(verified) if verified.method == Method::Token => {
                return Ok(verified.by(Method::OauthBearer));
            }
            Ok(verified) => return Ok(verified),
            Err(rejection) => Refusal::token(&rejection),
        },
        None => Refusal::no_token_yet(),
    };
    let issuer = gate.config.oauth_issuer.as_deref().or_else(|| gate.verifier.first_issuer());
    let scope = gate.config.oauth_scope.clone();
    let discovery = issuer.map(|issuer| sasl::Discovery { issuer: issuer.to_owned(), scope });
    sasl::refuse(&mut started.stream, discovery.as_ref()).await.map_err(failed)?;
    Err(refusal)
}
