//! Who holds a token, as the configured issuers say.

use crate::sources::{Authenticate, Later, Refused};
use identity::{Kind, Verifier};
use kit::Secret;
use schemas::Identity;

pub(super) struct Tokens(pub(super) Verifier);

impl Authenticate for Tokens {
    fn identity(&self, token: Secret<String>) -> Later<'_, Result<Identity, Refused>> {
        Box::pin(async move {
            match self.0.verify(token.expose()).await {
                Ok(verified) => Ok(verified.identity),
                Err(rejection) if rejection.kind() == Kind::Unavailable => {
                    Err(Refused::Issuer { reason: rejection.to_string() })
                }
                Err(rejection) => Err(Refused::Token { reason: rejection.to_string() }),
            }
        })
    }
}
