//! `postern token mint`: a token of the development issuer, for trials.

use crate::arguments::{Global, Token};
use crate::failure::Failure;
use crate::{config, output};
use anyhow::Context as _;
use identity::development::{Issuer, Request};
use schemas::IdentityKind;
use serde_json::json;

/// Prints the token, alone on standard output so that a shell can take it.
pub fn run(global: &Global, verb: &Token) -> Result<(), Failure> {
    let Token::Mint { subject, groups, actors, task, human, ttl } = verb;
    let config = config::load(global)?;
    let audience = config.development_audience.as_deref().context(
        "the development issuer is not enabled: set development_issuer.enabled for a trial, or ask your own provider",
    )?;
    let issuer = Issuer::open_or_create(&config.keys)?;
    let kind = if *human { IdentityKind::Human } else { IdentityKind::Machine };
    let request = Request { subject, kind, groups, audience, actors, task: task.as_deref(), lifetime: *ttl };
    let token = issuer.mint(&request)?;
    let text = || token.expose().clone();
    Ok(output::either(global.output, text, || json!({"token": token.expose(), "expires_in": ttl.as_secs()}))?)
}
