//! Identities that are disabled, and sessions that were killed.

use super::{Effect, MAX_KEPT, Refused, State};
use schemas::{Identity, SessionId};
use serde::Serialize;
use std::sync::Arc;

/// Identities that may be disabled at once. None of them ends by itself, and one more must be possible for as long as
/// anybody can think of: the reader of the topic warns long before.
pub(super) const MAX_DISABLED: usize = 1_000_000;

/// An identity that may do nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disabled {
    /// Its subject.
    pub subject: String,
    /// Its issuer; none: whoever vouches for that subject.
    pub issuer: Option<String>,
    /// When, microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// Who did it.
    pub by: Identity,
    /// Why.
    pub reason: String,
}

/// A session that was ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Killed {
    /// When, microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// Who did it.
    pub by: Identity,
    /// Why.
    pub reason: String,
}

impl State {
    pub(super) fn disabled(
        &mut self,
        at: i64,
        subject: &str,
        issuer: &Option<String>,
        by: &Identity,
        reason: &str,
    ) -> Result<Vec<Effect>, Refused> {
        let key = (subject.to_owned(), issuer.clone());
        if self.disabled.contains_key(&key) {
            return Err(Refused::Answered("disabled"));
        }
        if subject.is_empty() {
            return Err(Refused::Invalid("the subject is empty"));
        }
        if self.disabled.len() >= MAX_DISABLED {
            return Err(Refused::Full { limit: MAX_DISABLED });
        }
        let (subject, issuer) = key.clone();
        let disabled = Disabled { subject, issuer, time: at, by: by.clone(), reason: reason.to_owned() };
        self.disabled.insert(key, Arc::new(disabled));
        self.rights += 1;
        Ok(Vec::new())
    }

    pub(super) fn enabled(&mut self, subject: &str, issuer: &Option<String>) -> Result<Vec<Effect>, Refused> {
        let removed = self.disabled.remove(&(subject.to_owned(), issuer.clone()));
        removed
            .map(|_| Vec::new())
            .ok_or_else(|| Refused::Unknown(format!("disabled identity {subject:?} of that issuer")))
    }

    pub(super) fn killed(
        &mut self,
        at: i64,
        session: SessionId,
        by: &Identity,
        reason: &str,
    ) -> Result<Vec<Effect>, Refused> {
        if self.killed.contains_key(&session) {
            return Err(Refused::Answered("killed"));
        }
        if self.killed.len() >= MAX_KEPT {
            // it has ended long ago
            let oldest = self.killed.iter().min_by_key(|(_, killed)| killed.time).map(|(session, _)| *session);
            oldest.and_then(|oldest| self.killed.remove(&oldest));
        }
        self.killed.insert(session, Arc::new(Killed { time: at, by: by.clone(), reason: reason.to_owned() }));
        self.rights += 1;
        Ok(Vec::new())
    }
}
