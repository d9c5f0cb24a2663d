//! What is remembered of scopes, so that most sessions need nothing of the database but their own role: what each identity
//! should hold, and which scope role holds that. Many identities share one set of rights, and so one scope role.

use super::wanted::Wanted;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A scope role that was seen is trusted to be there for this long; policies that read the time are asked again then.
const TRUST: Duration = Duration::from_secs(30);

/// Identities whose rights are remembered; then all are asked about again.
const MAX_IDENTITIES: usize = 2_000;

/// Different sets of rights whose scope roles are remembered; then all are looked up again.
const MAX_RIGHTS: usize = 64;

/// The rights of a scope under one reading of the catalog.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Rights {
    /// The scope's name.
    pub(super) scope: String,
    /// The catalog's epoch.
    pub(super) epoch: u64,
    pub(super) wanted: Wanted,
}

/// What is remembered, for all connections of one resource.
#[derive(Default)]
pub(super) struct Known(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// By what makes an identity's rights: until when, where the time is part of it.
    identities: HashMap<String, (Arc<Rights>, Option<Instant>)>,
    /// The scope role, and until when it is trusted to be there.
    roles: HashMap<Arc<Rights>, (String, Instant)>,
}

impl Known {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an identity should hold.
    pub(super) fn rights(&self, key: &str, now: Instant) -> Option<Arc<Rights>> {
        let seen = self.seen();
        let (rights, until) = seen.identities.get(key)?;
        until.is_none_or(|until| now < until).then(|| rights.clone())
    }

    /// Remembers it: for a time, where it is `timed`.
    pub(super) fn put_rights(&self, key: String, rights: Rights, timed: bool, now: Instant) -> Arc<Rights> {
        let mut seen = self.seen();
        if seen.identities.len() >= MAX_IDENTITIES {
            seen.identities.clear();
        }
        let rights = match seen.roles.get_key_value(&rights) {
            Some((shared, _)) => shared.clone(),
            None => Arc::new(rights),
        };
        seen.identities.insert(key, (rights.clone(), timed.then(|| now + TRUST)));
        rights
    }

    /// The scope role that holds it.
    pub(super) fn role(&self, rights: &Rights, now: Instant) -> Option<String> {
        let seen = self.seen();
        let (role, until) = seen.roles.get(rights)?;
        (now < *until).then(|| role.clone())
    }

    /// Remembers it.
    pub(super) fn put_role(&self, rights: Arc<Rights>, role: String, now: Instant) {
        let mut seen = self.seen();
        if seen.roles.len() >= MAX_RIGHTS && !seen.roles.contains_key(&rights) {
            seen.roles.clear();
        }
        seen.roles.insert(rights, (role, now + TRUST));
    }

    /// A scope role is not there, or not what it was thought to be.
    pub(super) fn clear(&self) {
        *self.seen() = Seen::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(scope: &str, epoch: u64) -> Rights {
        Rights { scope: scope.to_owned(), epoch, wanted: Wanted::default() }
    }

    #[test]
    fn a_scope_role_is_trusted_for_a_while_and_shared_by_identities() {
        let (known, now) = (Known::default(), Instant::now());
        let ada = known.put_rights("ada".to_owned(), rights("sales", 1), false, now);
        assert_eq!(known.role(&ada, now), None);
        known.put_role(ada.clone(), "role".to_owned(), now);
        let bob = known.put_rights("bob".to_owned(), rights("sales", 1), true, now);
        assert!(Arc::ptr_eq(&ada, &bob));
        assert_eq!(known.role(&bob, now).as_deref(), Some("role"));
        for other in [rights("sales", 2), rights("others", 1)] {
            assert_eq!(known.role(&other, now), None, "{other:?}");
        }
        let now = now + TRUST;
        assert_eq!(known.role(&ada, now), None, "it is looked for again");
        assert!(known.rights("ada", now).is_some(), "what does not change with the time is not asked again");
        assert!(known.rights("bob", now).is_none(), "what does, is");
        known.clear();
        assert!(known.rights("ada", now).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (known, now) = (Known::default(), Instant::now());
        for number in 0..u64::try_from(MAX_IDENTITIES).unwrap() + 10 {
            let one = known.put_rights(number.to_string(), rights("sales", number), false, now);
            known.put_role(one, number.to_string(), now);
        }
        assert!(known.seen().identities.len() <= MAX_IDENTITIES);
        assert!(known.seen().roles.len() <= MAX_RIGHTS);
    }
}
