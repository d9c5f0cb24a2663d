//! API keys: issued, revoked, known to every node alike.

use super::{Effect, MAX_KEPT, Refused, State, make_room, person};
use crate::record::ApiKey;
use identity::api_key::MAX_LIFETIME;
use schemas::Identity;
use serde::Serialize;
use std::sync::Arc;

/// A key that was issued.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Issued {
    /// The key.
    pub key: ApiKey,
    /// When, microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// Who issued it.
    pub by: Identity,
    /// When it was revoked, by whom, and why.
    pub revoked: Option<(i64, Identity, String)>,
}

impl Issued {
    /// Whether it opens anything now.
    pub fn is_good(&self, now: i64) -> bool {
        self.revoked.is_none() && now < self.key.expires
    }

    /// Its state in a word.
    pub fn label(&self, now: i64) -> &'static str {
        match &self.revoked {
            Some(_) => "revoked",
            None if now >= self.key.expires => "expired",
            None => "good",
        }
    }
}

impl State {
    /// API keys, revoked and expired ones too.
    pub fn api_keys(&self) -> impl Iterator<Item = &Arc<Issued>> {
        self.keys.values()
    }

    /// One API key, by its public part.
    pub fn api_key(&self, id: &str) -> Option<&Arc<Issued>> {
        self.keys.get(&id.to_owned())
    }

    /// A key gives rights: a person issues it.
    pub(super) fn key_issued(&mut self, at: i64, key: &ApiKey, by: &Identity) -> Result<Vec<Effect>, Refused> {
        if self.is_disabled(by).is_some() {
            return Err(Refused::Disabled(by.subject.clone()));
        }
        person(by)?;
        if self.keys.contains_key(&key.id) {
            return Err(Refused::Exists(key.id.clone()));
        }
        if key.id.is_empty() || key.subject.is_empty() {
            return Err(Refused::Invalid("the key has no id or no subject"));
        }
        let longest = i64::try_from(MAX_LIFETIME.as_micros()).unwrap_or(i64::MAX);
        if key.expires <= at || key.expires.saturating_sub(at) > longest {
            return Err(Refused::Invalid("an API key is good for at most 366 days"));
        }
        make_room(&mut self.keys, MAX_KEPT, |one| !one.is_good(at))?;
        let issued = Issued { key: key.clone(), time: at, by: by.clone(), revoked: None };
        self.keys.insert(key.id.clone(), Arc::new(issued));
        Ok(Vec::new())
    }

    pub(super) fn key_revoked(
        &mut self,
        at: i64,
        id: &str,
        by: &Identity,
        reason: &str,
    ) -> Result<Vec<Effect>, Refused> {
        let issued = self.keys.get_mut(&id.to_owned()).ok_or_else(|| Refused::Unknown(format!("API key {id:?}")))?;
        if issued.revoked.is_some() {
            return Err(Refused::Answered("revoked"));
        }
        let issued = Arc::make_mut(issued);
        issued.revoked = Some((at, by.clone(), reason.to_owned()));
        let subject = issued.key.subject.clone();
        self.strike(&subject);
        self.rights += 1;
        Ok(Vec::new())
    }
}
