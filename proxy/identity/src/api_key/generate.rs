//! Making a key: its secret, and what is kept of it.

use super::{Entry, Error, PREFIX};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kit::{Clock, Secret};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use schemas::{IdentityKind, chain};
use std::time::Duration;

/// What a new key is to be.
#[derive(Debug, Clone)]
pub struct New {
    /// Whom it stands for.
    pub subject: String,
    /// A person or a program.
    pub kind: IdentityKind,
    /// Its groups.
    pub groups: Vec<String>,
    /// The resources that it opens; empty for all.
    pub resources: Vec<String>,
    /// How long it is good, at most [`MAX_LIFETIME`].
    pub lifetime: Duration,
}

/// A key and its entry.
pub struct Generated {
    /// The key: shown once, never again.
    pub key: Secret<String>,
    /// What is kept of it.
    pub entry: Entry,
}

/// Makes a key, which is good once its entry is where keys are looked for.
///
/// # Errors
/// [`Error::Subject`], [`Error::Lifetime`], [`Error::Random`].
pub fn generate(new: New, clock: &Clock) -> Result<Generated, Error> {
    let is_text = |text: &String| (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
    if !is_text(&new.subject) {
        return Err(Error::Subject);
    }
    if new.groups.len() > MAX_NAMES || new.resources.len() > MAX_NAMES {
        return Err(Error::Names);
    }
    if !new.groups.iter().chain(&new.resources).all(is_text) {
        return Err(Error::Names);
    }
    let is_possible = |time: &Duration| *time <= MAX_LIFETIME && *time >= Duration::from_secs(1);
    let lifetime = Some(new.lifetime).filter(is_possible).ok_or(Error::Lifetime)?;
    let lifetime = i64::try_from(lifetime.as_secs()).map_err(|_| Error::Lifetime)?;
    let random = SystemRandom::new();
    let (mut id, mut secret) = ([0; 8], [0; 32]);
    random.fill(&mut id).and_then(|()| random.fill(&mut secret)).map_err(|_| Error::Random)?;
    let secret = Secret::new(BASE64_URL_SAFE_NO_PAD.encode(secret));
    let created = clock.now_seconds();
    let entry = Entry {
        id: chain::hexadecimal(&id),
        subject: new.subject,
        kind: new.kind,
        groups: new.groups,
        resources: new.resources,
        created,
        expires: created.saturating_add(lifetime),
        revoked: None,
        sha256: chain::hexadecimal(digest(&SHA256, secret.expose().as_bytes()).as_ref()),
    };
    Ok(Generated { key: Secret::new(format!("{PREFIX}{}_{}", entry.id, secret.expose())), entry })
}

/// A key for ever is what keys are blamed for.
pub const MAX_LIFETIME: Duration = Duration::from_secs(366 * 86_400);

/// Bounds a subject, a group, a resource: they stand in every event of the key's sessions.
const MAX_TEXT_BYTES: usize = 256;

/// Groups, and resources, of one key.
const MAX_NAMES: usize = 64;
