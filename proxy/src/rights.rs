//! What lets a session in, and what ends it before its token does: grants, disabled identities, an operator's word.
//!
//! ```text
//! identity -> Rights::of (fresh? disabled? standing access or a grant?) -> Right -> enter -> Live, while the session runs
//! control topic -> watch: every live session is looked at again -> Live says: ended, or a new end
//! ```
//!
//! A session enters the list before it is looked at for the last time, so that no revocation can fall between the two.

use crate::{conversation::End, refuse::Refusal, resource::Resource};
use control::{Plane, State, access::Allowance};
use futures_util::task::AtomicWaker;
use identity::{Method, Verified};
use judge::policy::Denial;
use kit::Shutdown;
use schemas::{GrantId, Identity, SessionId, event::CloseReason};
use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

/// The rights of one node's sessions. Clones share the list.
#[derive(Clone)]
pub struct Rights {
    plane: Plane,
    live: Arc<Mutex<HashMap<SessionId, Arc<Entry>>>>,
}

/// What lets a client in.
pub struct Right {
    rights: Rights,
    identity: Identity,
    key: Option<String>,
    allowance: Allowance,
}

/// A live session's right. Dropping it takes the session off the list.
pub struct Live {
    rights: Rights,
    entry: Arc<Entry>,
}

/// A session on the list.
struct Entry {
    session: SessionId,
    identity: Identity,
    /// The API key that it was opened with, where that is one that all nodes know.
    key: Option<String>,
    grants: Vec<GrantId>,
    /// Where standing access ends; none: never, or it rests on grants alone.
    standing: Option<i64>,
    changed: AtomicBool,
    waker: AtomicWaker,
    now: Mutex<Now>,
}

/// How it stands with a session.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Now {
    until: Option<i64>,
    ended: Option<(&'static str, String)>,
}

/// What became of a session's right.
#[derive(Debug)]
pub enum Change {
    /// It is gone.
    Ended(End),
    /// It ends at another time than before, or not before the token.
    Until(Option<Duration>),
}

impl Rights {
    /// By this control plane; none is live yet.
    pub fn new(plane: Plane) -> Self {
        Self { plane, live: Arc::default() }
    }

    /// The control plane.
    pub const fn plane(&self) -> &Plane {
        &self.plane
    }

    /// What lets this identity use this resource.
    ///
    /// # Errors
    /// [`Refusal`]: the control topic is stale, the identity is disabled, or there is neither grant nor standing access
    /// where the resource asks for one.
    pub fn of(&self, verified: &Verified, resource: &Resource) -> Result<Right, Refusal> {
        let Plane { control, access } = &self.plane;
        control.fresh().map_err(|stale| Refusal::stale(&stale, verified))?;
        let (state, now) = (control.state(), control.now());
        if let Some(disabled) = state.is_disabled(&verified.identity) {
            return Err(Refusal::disabled(disabled, verified));
        }
        let allowance = access.allowance(&state, &verified.identity, &resource.name, now);
        if resource.by_request && !allowance.named {
            let text =
                format!("{} has no grant for {:?}, and no standing access", verified.identity.name, resource.name);
            return Err(Refusal::no_grant(text, &self.hint(&verified.identity, resource), verified));
        }
        let of_key = verified.credential.as_ref().filter(|_| verified.method == Method::ApiKey);
        let key = of_key.filter(|id| state.api_key(id).is_some()).cloned();
        Ok(Right { rights: self.clone(), identity: verified.identity.clone(), key, allowance })
    }

    /// A refusal by policy; where a role could be asked for, it says how.
    pub fn refused(&self, denial: &Denial, verified: &Verified, resource: &Resource) -> Refusal {
        let mut asked = self.plane.access.requestable(&verified.identity, &resource.name);
        if asked.next().is_none() {
            return Refusal::denied(denial, verified);
        }
        Refusal::no_grant(denial.reason.clone(), &self.hint(&verified.identity, resource), verified)
    }

    /// The command that asks for access.
    fn hint(&self, identity: &Identity, resource: &Resource) -> String {
        let roles: Vec<&str> =
            self.plane.access.requestable(identity, &resource.name).map(|role| role.name.as_str()).collect();
        match roles.as_slice() {
            [] => "no role of this resource can be asked for by you: ask its owner".to_owned(),
            [first, rest @ ..] => {
                let command = request_command(&resource.name, first);
                let others =
                    if rest.is_empty() { String::new() } else { format!("   (or --role {})", rest.join(", ")) };
                format!("ask for access: {command}{others}")
            }
        }
    }

    /// Looks at every live session again.
    fn look(&self, state: &State) {
        let entries: Vec<Arc<Entry>> = lock(&self.live).values().cloned().collect();
        for entry in entries {
            entry.look(state);
        }
    }

    /// Follows the control topic until shutdown.
    ///
    /// # Errors
    /// The runtime's.
    pub fn watch(&self, shutdown: &Shutdown) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut states = self.plane.control.watch();
            let mut seen = 0;
            loop {
                let state = states.borrow_and_update().clone();
                if state.rights() != seen {
                    seen = state.rights();
                    self.look(&state);
                }
                tokio::select! {
                    () = shutdown.wait() => return Ok(()),
                    changed = states.changed() => if changed.is_err() {
                        // this end of the plane outlives its users
                        return Err(io::Error::other("the control plane is gone"));
                    },
                }
            }
        })
    }
}

/// The command that asks for a role.
fn request_command(resource: &str, role: &str) -> String {
    format!("postern request create --resource {resource} --role {role} --for 30m --reason \"...\"")
}

impl Right {
    /// The identity as policies see it: with the groups of its roles.
    pub fn acting(&self) -> Identity {
        self.allowance.acting(&self.identity)
    }

    /// Puts a session on the list.
    pub fn enter(self, session: SessionId) -> Live {
        let Self { rights, identity, key, allowance } = self;
        let entry = Arc::new(Entry {
            session,
            identity,
            key,
            grants: allowance.grants,
            standing: allowance.standing,
            changed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            now: Mutex::new(Now { until: allowance.until, ended: None }),
        });
        lock(&rights.live).insert(session, entry.clone());
        // what was revoked since the look before
        entry.look(&rights.plane.control.state());
        Live { rights, entry }
    }

    /// The grant that the session rests on, the first where it is several.
    pub fn grant(&self) -> Option<String> {
        self.allowance.grants.first().map(ToString::to_string)
    }

    /// The session's roles.
    pub fn roles(&self) -> Vec<String> {
        self.allowance.roles.clone()
    }
}

impl Entry {
    fn look(&self, state: &State) {
        let found = self.found(state);
        let mut now = lock(&self.now);
        if *now != found && now.ended.is_none() {
            *now = found;
            drop(now);
            self.changed.store(true, Ordering::Release);
            self.waker.wake();
        }
    }

    fn found(&self, state: &State) -> Now {
        if let Some(killed) = state.is_killed(self.session) {
            let text = format!("this session was ended by {}: {}", killed.by.name, killed.reason);
            return Now { until: None, ended: Some(("57P01", text)) };
        }
        if let Some(disabled) = state.is_disabled(&self.identity) {
            let text = format!("{} was disabled by {}: {}", disabled.subject, disabled.by.name, disabled.reason);
            return Now { until: None, ended: Some(("28000", text)) };
        }
        if let Some(id) = &self.key {
            let revoked = state.api_key(id).map(|issued| issued.revoked.as_ref());
            let text = match revoked {
                Some(None) => None,
                Some(Some((_, by, reason))) => Some(format!("the API key {id} was revoked by {}: {reason}", by.name)),
                None => Some(format!("the API key {id} is not there any more")),
            };
            if let Some(text) = text {
                return Now { until: None, ended: Some(("28000", text)) };
            }
        }
        let mut until = self.standing;
        for id in &self.grants {
            let Some(grant) = state.grant(*id) else {
                return Now { until: None, ended: Some(("28000", format!("the grant {id} is not there any more"))) };
            };
            if let Some((by, reason)) = &grant.revoked {
                let text = format!("the grant {id} was revoked by {}: {reason}", by.name);
                return Now { until: None, ended: Some(("28000", text)) };
            }
            until = Some(until.map_or(grant.until, |until| until.min(grant.until)));
        }
        Now { until, ended: None }
    }
}

impl Live {
    /// Looks at it now: the watch over all sessions may not have come to this one yet.
    pub fn look(&self) {
        self.entry.look(&self.rights.plane.control.state());
    }

    /// Ready when the right has changed.
    pub fn poll_change(&self, context: &mut Context<'_>) -> Poll<Change> {
        self.entry.waker.register(context.waker());
        if !self.entry.changed.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let ended = lock(&self.entry.now).ended.clone();
        Poll::Ready(match ended {
            Some((sqlstate, text)) => Change::Ended(End::new(CloseReason::Revoked, sqlstate, text)),
            None => Change::Until(self.remaining()),
        })
    }

    /// How long the right lasts; none: as long as the token.
    pub fn remaining(&self) -> Option<Duration> {
        let until = lock(&self.entry.now).until?;
        let left = until.saturating_sub(self.rights.plane.control.now());
        Some(Duration::from_micros(u64::try_from(left).unwrap_or(0)))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        lock(&self.rights.live).remove(&self.entry.session);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::testing::{config, identity};
    use control::{Access, Control, Record, Silent, Telemetry};
    use kit::metrics::Registry;

    #[tokio::test]
    async fn who_looks_need_not_be_told() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "gate");
        let control = Control::open(&config, Arc::new(Silent), Telemetry::new(&Registry::new())).unwrap();
        control.wait_fresh(Duration::from_secs(10)).unwrap();
        let rights = Rights::new(Plane { control: control.clone(), access: Arc::new(Access::default()) });
        let enter = |subject: &str| {
            let (identity, allowance) = (identity(subject, &[]), Allowance::default());
            Right { rights: rights.clone(), identity, key: None, allowance }.enter(SessionId::generate())
        };
        let (ada, eve) = (enter("ada"), enter("eve"));
        let (by, reason) = (identity("root", &[]), "left".to_owned());
        let disabled = Record::IdentityDisabled { subject: "ada".to_owned(), issuer: None, by, reason };
        control.append(disabled).await.unwrap();
        let context = &mut Context::from_waker(std::task::Waker::noop());
        assert!(ada.poll_change(context).is_pending(), "nobody watches");
        ada.look();
        eve.look();
        assert!(
            matches!(ada.poll_change(context), Poll::Ready(Change::Ended(end)) if end.reason == CloseReason::Revoked)
        );
        assert!(eve.poll_change(context).is_pending());
    }
}
