//! API keys, for programs that cannot get tokens yet: long-lived secrets, and so scoped, expiring and revocable.
//!
//! A key is `postern_<id>_<secret>`. The secret has 256 bits from the system's randomness, and the store holds its SHA-256:
//! a slow hash (argon2, scrypt) protects passwords, which can be guessed; nobody guesses 256 random bits, at any speed, so
//! that a slow hash would only make each login slow, and each stranger's attempt a way to wear the gate out.
//!
//! Keys are kept in a [`Book`] that all nodes share: the control plane's. Besides, a node reads the keys of a file of its own,
//! as earlier versions made them, changed by `postern key --file` under a lock and put in place whole. Running processes
//! look at the file every [`LOOK_AGAIN`]: a revoked key opens nothing from then on, and ends the sessions that it opened.

mod generate;
mod store;

pub use generate::{Generated, MAX_LIFETIME, New, generate};
pub use store::{Entry, Error, Store};

use crate::{
    rejection::{Kind, Rejection},
    verifier::{Method, Verified, Watched},
};
use kit::Clock;
use schemas::Identity;
use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};
use store::Table;
use tokio::sync::watch;

/// What every key begins with; secret scanners look for it.
pub const PREFIX: &str = "postern_";

/// The issuer of the identities that keys prove.
pub const ISSUER: &str = "urn:postern:api-key";

/// Keys that all nodes share.
pub trait Book: Send + Sync {
    /// The key of this id, revoked and expired ones too; none: there is none.
    ///
    /// # Errors
    /// Why it cannot be known now: no key is accepted then.
    fn find(&self, id: &str) -> Result<Option<Entry>, String>;
}

/// Verifies API keys against the book and the file, as they are now.
pub(crate) struct Keys {
    book: Option<Arc<dyn Book>>,
    store: Store,
    clock: Clock,
    table: watch::Sender<Arc<Table>>,
}

impl Keys {
    /// Reads the file and begins to watch it; a file that is not there holds no keys.
    pub(crate) fn open(path: PathBuf, book: Option<Arc<dyn Book>>, clock: Clock) -> Result<Arc<Self>, Error> {
        let store = Store::new(path);
        let table = watch::Sender::new(Arc::new(store.read()?));
        let keys = Arc::new(Self { book, store, clock, table });
        let watched = Arc::downgrade(&keys);
        let spawned = std::thread::Builder::new().name("api-keys".to_owned()).spawn(move || watch(&watched));
        spawned.map_err(Error::Watch)?;
        Ok(keys)
    }

    /// Verifies a text that begins with [`PREFIX`].
    pub(crate) fn verify(&self, text: &str) -> Result<Verified, Rejection> {
        let not_a_key = || Rejection::new(Kind::ApiKey, "the API key is not one of this gate's");
        let (id, secret) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or_else(not_a_key)?;
        let (entry, watch) = match self.shared(id)? {
            Some(entry) => (entry, Watched::Elsewhere),
            None => (self.filed(id).ok_or_else(not_a_key)?, Watched::KeyFile),
        };
        if !entry.is_secret(secret) {
            return Err(not_a_key());
        }
        if entry.revoked.is_some() {
            return Err(Rejection::new(Kind::ApiKey, "the API key has been revoked"));
        }
        if self.clock.now_seconds() >= entry.expires {
            return Err(Rejection::new(Kind::Expired, "the API key has expired: get a new one"));
        }
        let identity = Identity {
            kind: entry.kind,
            subject: entry.subject.clone(),
            issuer: ISSUER.to_owned(),
            name: entry.subject.clone(),
            groups: entry.groups.clone(),
            on_behalf_of: Vec::new(),
            task: None,
        };
        let resources = (!entry.resources.is_empty()).then(|| entry.resources.clone());
        let (expires, credential) = (entry.expires, Some(entry.id.clone()));
        let (method, token_issuer) = (Method::ApiKey, String::new());
        Ok(Verified { identity, expires, method, credential, resources, token_issuer, may_act: None, watch })
    }

    /// The key that all nodes know by this id.
    fn shared(&self, id: &str) -> Result<Option<Entry>, Rejection> {
        let Some(book) = &self.book else { return Ok(None) };
        book.find(id).map_err(|why| {
            Rejection::new(Kind::Unavailable, format!("the API key cannot be checked now, try again: {why}"))
        })
    }

    /// The key of this id in the file.
    fn filed(&self, id: &str) -> Option<Entry> {
        let known = self.table.borrow().find(id).cloned();
        known.or_else(|| {
            // made since the last look, perhaps
            self.look();
            self.table.borrow().find(id).cloned()
        })
    }

    /// Ready when a key of the file is no longer good: it was revoked, or is gone from the file.
    pub(crate) async fn ended(&self, id: &str) {
        let mut table = self.table.subscribe();
        let is_over = |table: &Arc<Table>| table.find(id).is_none_or(|entry| entry.revoked.is_some());
        // the sender lives as long as this
        let over = table.wait_for(is_over).await.is_ok();
        debug_assert!(over);
    }

    /// Reads the store again, if it changed. A store that cannot be read leaves the last table in force.
    fn look(&self) {
        let current = self.table.borrow().clone();
        match self.store.read_if_changed(&current) {
            Ok(None) => {}
            Ok(Some(table)) => {
                tracing::info!(keys = table.len(), "the store of API keys was read again");
                self.table.send_replace(Arc::new(table));
            }
            Err(error) => {
                tracing::error!(
                    error = crate::chain(&error),
                    "the store of API keys cannot be read; the last state holds"
                );
            }
        }
    }
}

fn watch(keys: &Weak<Keys>) {
    while let Some(keys) = keys.upgrade() {
        keys.look();
        drop(keys);
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A revocation is in force within this time.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::IdentityKind;

    fn verify_all(keys: &Keys, made: &Generated) -> (Kind, Verified) {
        let wrong = format!("{}{}_{}", PREFIX, made.entry.id, "A".repeat(43));
        (keys.verify(&wrong).unwrap_err().kind(), keys.verify(made.key.expose()).unwrap())
    }

    fn new(subject: &str) -> New {
        New {
            subject: subject.to_owned(),
            kind: IdentityKind::Machine,
            groups: vec!["agents".to_owned()],
            resources: vec!["shop".to_owned()],
            lifetime: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_key_is_good_until_it_is_revoked_or_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/api-keys.json");
        let clock = Clock::fixed(1_700_000_000_000_000);
        let keys = Keys::open(path.clone(), None, clock.clone()).unwrap();
        let store = Store::new(path.clone());
        let made = store.create(new("legacy"), &clock).unwrap();
        let (kind, verified) = verify_all(&keys, &made);
        assert_eq!(kind, Kind::ApiKey);
        assert_eq!((verified.identity.subject.as_str(), verified.expires), ("legacy", 1_700_000_060));
        assert!(verified.covers("shop") && !verified.covers("hr"));
        // nothing in the store opens anything
        let stored = std::fs::read_to_string(&path).unwrap();
        let secret = made.key.expose().splitn(3, '_').last().unwrap().to_owned();
        assert!(!stored.contains(&secret) && stored.contains(&made.entry.id));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let other = store.create(new("other"), &clock).unwrap();
        assert!(store.revoke(&made.entry.id, &clock).unwrap());
        assert!(!store.revoke("nobody", &clock).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(5), keys.ended(&made.entry.id)).await.unwrap();
        });
        let rejection = keys.verify(made.key.expose()).unwrap_err();
        assert!(rejection.to_string().contains("revoked"), "{rejection}");
        assert!(keys.verify(other.key.expose()).is_ok());
        clock.advance(Duration::from_secs(60));
        assert_eq!(keys.verify(other.key.expose()).unwrap_err().kind(), Kind::Expired);
        for text in ["postern_", "postern__", "postern_x", "postern_x_y"] {
            assert_eq!(keys.verify(text).unwrap_err().kind(), Kind::ApiKey);
        }
        std::fs::write(&path, "damaged").unwrap();
        keys.look();
        assert!(keys.verify(made.key.expose()).unwrap_err().to_string().contains("revoked"), "the last state holds");
    }

    /// What all nodes know: a key, or that nothing can be known.
    struct Shared(std::sync::Mutex<Result<Entry, String>>);

    impl Book for Shared {
        fn find(&self, id: &str) -> Result<Option<Entry>, String> {
            self.0.lock().unwrap().clone().map(|entry| Some(entry).filter(|entry| entry.id == id))
        }
    }

    #[test]
    fn a_key_that_all_nodes_know_needs_no_file_and_none_is_accepted_where_nothing_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(1_700_000_000_000_000);
        let made = generate(new("shared"), &clock).unwrap();
        let book = Arc::new(Shared(std::sync::Mutex::new(Ok(made.entry.clone()))));
        let path = folder.path().join("api-keys.json");
        let filed = Store::new(path.clone()).create(new("filed"), &clock).unwrap();
        let keys = Keys::open(path, Some(book.clone()), clock.clone()).unwrap();
        let (kind, verified) = verify_all(&keys, &made);
        assert_eq!((kind, verified.watch), (Kind::ApiKey, Watched::Elsewhere));
        assert_eq!(verify_all(&keys, &filed).1.watch, Watched::KeyFile);
        *book.0.lock().unwrap() = Ok(Entry { revoked: Some(1), ..made.entry.clone() });
        assert!(keys.verify(made.key.expose()).unwrap_err().to_string().contains("revoked"));
        *book.0.lock().unwrap() = Err("the topic is stale".to_owned());
        for key in [&made, &filed] {
            assert_eq!(keys.verify(key.key.expose()).unwrap_err().kind(), Kind::Unavailable);
        }
    }

    #[test]
    fn keys_that_are_made_at_once_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("api-keys.json"));
        std::thread::scope(|scope| {
            for number in 0..8 {
                let store = &store;
                scope.spawn(move || store.create(new(&number.to_string()), &Clock::system()).unwrap());
            }
        });
        assert_eq!(store.list().unwrap().len(), 8);
        let forever = New { lifetime: Duration::from_secs(400 * 86_400), ..new("a") };
        assert!(matches!(store.create(forever, &Clock::system()), Err(Error::Lifetime)));
        assert!(matches!(store.create(new("a\nb"), &Clock::system()), Err(Error::Subject)));
    }
}
