//! Who holds a token, as the configured issuers say.

use crate::sources::{Authenticate, Known, Later, Refused};
use identity::{Kind, Verifier};
use kit::Secret;

pub(super) struct Tokens(pub(super) Verifier);

impl Authenticate for Tokens {
    fn identity(&self, token: Secret<String>) -> Later<'_, Result<Known, Refused>> {
        Box::pin(async move {
            match self.0.verify(token.expose()).await {
                Ok(verified) => Ok(Known { identity: verified.identity, resources: verified.resources }),
                Err(rejection) if rejection.kind() == Kind::Unavailable => {
                    Err(Refused::Issuer { reason: rejection.to_string() })
                }
                Err(rejection) => Err(Refused::Token { reason: rejection.to_string() }),
            }
        })
    }
}
