//! Cancel requests: which session a key belongs to.
//!
//! The gate passes PostgreSQL's own key on to the client, so that any node can serve a cancel request, not only the one
//! that serves the session: it knows its own sessions' keys, and asks every resource about a key that it does not know.
//! The key lets its holder cancel that one session's statements, as without the gate.

use crate::{
    hold::{Elsewhere, Signal},
    resource::Resource,
    tls::Cancel,
    upstream::{self, Upstream},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

type Key = (i32, Vec<u8>);

/// Where a key's session runs, and what tells it.
type Place = (Arc<Resource>, Arc<Signal>);

/// The keys of this node's sessions.
#[derive(Clone, Default)]
pub struct Cancels(Arc<Mutex<HashMap<Key, Place>>>);

/// A key's place among them; dropping it forgets the key.
pub struct Registered {
    cancels: Cancels,
    key: Key,
    signal: Arc<Signal>,
}

impl Registered {
    /// Where cancel requests go while a statement of the session is held.
    pub fn signal(&self) -> Arc<Signal> {
        self.signal.clone()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.cancels.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Cancels {
    /// Remembers a session's key until the result is dropped.
    pub fn register(&self, upstream: &Upstream, resource: &Arc<Resource>) -> Registered {
        let (key, signal) = ((upstream.backend_pid, upstream.cancel_key.clone()), Arc::<Signal>::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), (resource.clone(), signal.clone()));
        Registered { cancels: self.clone(), key, signal }
    }

    /// Passes a cancel request to the database that the key belongs to, and to the node that holds a statement of it. The
    /// client is told nothing, as by PostgreSQL.
    pub async fn forward(&self, cancel: &Cancel, resources: &BTreeMap<String, Arc<Resource>>, elsewhere: &Elsewhere) {
        let key = (cancel.backend_pid, cancel.key.clone());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        // nothing of a held statement runs in the database
        if known.as_ref().is_some_and(|(_, signal)| signal.cancel()) {
            return;
        }
        if known.is_none() {
            elsewhere.withdraw(cancel).await;
        }
        let targets: Vec<&Arc<Resource>> =
            known.as_ref().map_or_else(|| resources.values().collect(), |(one, _)| vec![one]);
        for resource in targets {
            if let Err(error) = upstream::cancel(&resource.database, cancel.backend_pid, &cancel.key).await {
                tracing::info!(resource = %resource.name, error = %crate::chain(&error), "a cancel request did not reach the database");
            }
        }
    }
}
