//! Makes roles for sessions that wait, and drops those of sessions that ended, several at a time.

use super::{
    Error, Lease, Leases, Request,
    admin::Admin,
    config::{Owned, ScopeFile},
    grants,
    known::{Known, Rights},
    names, reaper, secret,
    wanted::{self, Wanted},
};
use crate::telemetry::Metrics;
use kit::{Secret, Shutdown};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Sessions that may wait for a role at once.
const MAX_WAITING: usize = 4_096;

/// Roles that may wait to be dropped; beyond it no new ones are made.
const MAX_ENDED: usize = 20_000;

/// Roles that are made or dropped in one transaction.
const BATCH: usize = 32;

/// A backend gets this long to notice that its client is gone.
const EXIT: Duration = Duration::from_millis(60);

/// Roles whose backends should be gone wait this long for others, to be dropped together.
const GATHER: Duration = Duration::from_millis(150);

/// A role whose backend is still there is looked at again after this time, and its backend ended.
const AGAIN: Duration = Duration::from_millis(250);

/// After that many looks at a role it is the reaper's.
const LOOKS: u32 = 20;

/// After a failure a connection is opened again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// At the end, roles that are left get this long to be dropped.
const LAST: Duration = Duration::from_secs(8);

/// A connection that did nothing for this long is used, so that one that broke, or that a firewall forgot, is replaced
/// before a session waits for it.
const IDLE: Duration = Duration::from_secs(30);

/// What waits, for all connections of one resource.
#[derive(Default)]
pub(super) struct Desk {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Request>,
    ended: VecDeque<Ended>,
    /// Roles that exist, or are about to, and are this node's.
    alive: BTreeSet<String>,
    /// Roles were made last: a full batch that is to be dropped comes first now.
    made: bool,
    closed: bool,
}

struct Ended {
    role: String,
    due: Instant,
    looks: u32,
}

enum Work {
    Make(Vec<Request>),
    Drop(Vec<Ended>),
    /// Nothing before this time.
    Wait(Option<Instant>),
    Nothing,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn request(&self, request: Request) -> Result<(), Error> {
        let mut state = self.state();
        if state.closed {
            return Err(Error::Closing);
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(Error::Full { what: "sessions wait for a role", limit: MAX_WAITING });
        }
        if state.ended.len() >= MAX_ENDED {
            return Err(Error::Full { what: "roles wait to be dropped", limit: MAX_ENDED });
        }
        state.waiting.push_back(request);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// A session is over. Never more than there were sessions, which are limited.
    pub(super) fn ended(&self, role: String) {
        let mut state = self.state();
        // somebody waits for the first of them already
        let first = state.ended.is_empty();
        state.ended.push_back(Ended { role, due: Instant::now() + EXIT, looks: 0 });
        drop(state);
        if first {
            self.wake.notify_one();
        }
    }

    /// Whether a role is this node's and is used, or will be dropped by it.
    pub(super) fn knows(&self, role: &str) -> bool {
        self.state().alive.contains(role)
    }

    pub(super) fn forget(&self, role: &str) {
        self.state().alive.remove(role);
    }

    fn take(&self, last: bool) -> Work {
        let mut state = self.state();
        if last {
            state.closed = true;
            // their sessions are gone
            state.waiting.clear();
        }
        let now = Instant::now();
        let full = state.ended.iter().filter(|ended| ended.due <= now).count() >= BATCH;
        if !(state.waiting.is_empty() || full && state.made) {
            state.made = true;
            let count = state.waiting.len().min(BATCH);
            return Work::Make(state.waiting.drain(..count).collect());
        }
        let Some(first) = state.ended.iter().map(|ended| ended.due).min() else {
            return if last && state.alive.is_empty() { Work::Nothing } else { Work::Wait(None) };
        };
        let gathered = if full || last { first } else { first + GATHER };
        if gathered > now {
            return Work::Wait(Some(gathered));
        }
        state.made = false;
        let mut due = Vec::new();
        let mut later = VecDeque::new();
        for ended in std::mem::take(&mut state.ended) {
            if ended.due <= now && due.len() < BATCH { due.push(ended) } else { later.push_back(ended) }
        }
        state.ended = later;
        Work::Drop(due)
    }

    fn give_back(&self, ended: Vec<Ended>, after: Duration) {
        let due = Instant::now() + after;
        let mut state = self.state();
        for one in ended {
            if one.looks >= LOOKS {
                tracing::error!(role = %one.role, "a leased role could not be dropped; the reaper goes on");
                state.alive.remove(&one.role);
            } else {
                state.ended.push_back(Ended { due, looks: one.looks + 1, ..one });
            }
        }
    }
}

/// Serves one resource until `closing`, and drops what is left then.
pub(super) async fn serve(leases: &Leases, metrics: &Metrics, closing: &Shutdown) {
    let known = Known::default();
    let clerks = (0..leases.config.connections).map(|_| Clerk { leases, metrics, known: &known, admin: None });
    let clerks: Vec<_> = clerks.collect();
    let working = async {
        futures_util::future::join_all(clerks.into_iter().map(|clerk| clerk.work(closing))).await;
    };
    tokio::select! {
        () = working => {}
        () = reaper::watch(leases, metrics) => {}
    }
}

/// One connection's work.
struct Clerk<'a> {
    leases: &'a Leases,
    metrics: &'a Metrics,
    known: &'a Known,
    admin: Option<Admin>,
}

/// A role that is to be made.
struct Ready {
    request: Request,
    scope: String,
    role: String,
    password: Secret<String>,
    verifier: String,
}

impl Clerk<'_> {
    async fn work(mut self, closing: &Shutdown) {
        let desk = self.leases.desk.clone();
        let mut end = None;
        // before the first session needs it
        self.keep(closing).await;
        loop {
            let last = closing.is_triggered();
            if last && *end.get_or_insert_with(|| Instant::now() + LAST) < Instant::now() {
                tracing::warn!(resource = %self.leases.resource, "leased roles are left to other nodes or the next start");
                return;
            }
            match desk.take(last) {
                Work::Make(requests) => self.make(requests).await,
                Work::Drop(ended) => self.drop_all(ended).await,
                Work::Nothing => return,
                Work::Wait(due) => {
                    let idle = due.is_none() && !last;
                    let limit = if last { RETRY / 10 } else { IDLE };
                    let due = due.unwrap_or_else(|| Instant::now() + limit);
                    tokio::select! {
                        () = desk.wake.notified() => {}
                        () = tokio::time::sleep_until(due) => if idle { self.keep(closing).await },
                        () = closing.wait(), if !last => {}
                    }
                }
            }
        }
    }

    async fn admin(&mut self) -> Result<&mut Admin, Error> {
        let admin = match self.admin.take() {
            Some(admin) => admin,
            None => Admin::open(&self.leases.config.admin, self.leases.owner).await?,
        };
        Ok(self.admin.insert(admin))
    }

    /// Sees to it that there is a connection that works.
    async fn keep(&mut self, closing: &Shutdown) {
        let clock = async {
            match self.admin().await {
                Ok(admin) => admin.read_clock().await,
                Err(error) => Err(error),
            }
        };
        let kept = tokio::select! {
            kept = clock => kept,
            // it may be in the middle of an answer
            () = closing.wait() => Err(Error::Closing),
        };
        if let Err(error) = kept {
            // whoever needs it says so
            tracing::debug!(resource = %self.leases.resource, error = %crate::chain(&error), "the connection that makes roles is not there");
            self.judge(&error);
        }
    }

    /// A connection that broke is not used again, nor one whose role may not do it: another may be had by now.
    fn judge(&mut self, error: &Error) {
        if error.sqlstate_of_server().is_none() || error.is_incapable() {
            self.admin = None;
        }
    }

    async fn make(&mut self, requests: Vec<Request>) {
        let mut ready = Vec::new();
        for request in requests.into_iter().filter(|request| !request.reply.is_closed()) {
            match self.prepare(&request).await {
                Ok((scope, role, password, verifier)) => {
                    ready.push(Ready { request, scope, role, password, verifier });
                }
                Err(error) => self.refuse(request, error),
            }
        }
        if ready.is_empty() {
            return;
        }
        let outcome = self.create(&ready).await;
        // one that cannot be made must not keep the others from it; a scope that went may be made again
        if let Err(error) = &outcome
            && error.sqlstate_of_server().is_some()
        {
            self.known.clear();
            for mut one in ready {
                let again = match self.scope(&one.request).await {
                    Ok(scope) => {
                        one.scope = scope;
                        self.create(std::slice::from_ref(&one)).await
                    }
                    Err(error) => Err(error),
                };
                self.answer(one, again);
            }
            return;
        }
        let mut failed = outcome.err();
        for one in ready {
            let outcome = match &failed {
                None => Ok(()),
                Some(_) => Err(failed.take().unwrap_or(Error::Slow { doing: "making a leased role" })),
            };
            let broken = outcome.is_err();
            self.answer(one, outcome);
            if broken {
                failed = Some(Error::Slow { doing: "making a leased role" });
            }
        }
    }

    async fn prepare(&mut self, request: &Request) -> Result<(String, String, Secret<String>, String), Error> {
        let scope = self.scope(request).await?;
        let (password, verifier) = secret::fresh().map_err(Error::Random)?;
        let random = u64::from_be_bytes(secret::random::<8>().map_err(Error::Random)?);
        let owner = self.leases.owner;
        let role = names::lease(self.admin().await?.database, owner, random);
        Ok((scope, role, password, verifier))
    }

    /// The scope role for a session, made if need be.
    async fn scope(&mut self, request: &Request) -> Result<String, Error> {
        let config = &self.leases.config;
        let groups = request.subject.groups();
        let fits = |scope: &&ScopeFile| {
            let named = request.scope.as_ref().is_none_or(|name| *name == scope.name);
            named && (scope.groups.is_empty() || scope.groups.iter().any(|group| groups.contains(group)))
        };
        let scope = config.scopes.iter().find(fits).ok_or(Error::NoScope)?;
        let view = &request.view;
        let key = if wanted::is_by_policy(scope) {
            format!("{} {} {} {}", scope.name, view.epoch(), view.version(), request.subject.key())
        } else {
            format!("{} {}", scope.name, view.epoch())
        };
        let rights = match self.known.rights(&key, Instant::now()) {
            Some(rights) => rights,
            None => {
                let (wanted, timed) = self.wanted(scope, request).await?;
                let rights = Rights { scope: scope.name.clone(), epoch: view.epoch(), wanted };
                self.known.put_rights(key, rights, timed, Instant::now())
            }
        };
        if let Some(role) = self.known.role(&rights, Instant::now()) {
            return Ok(role);
        }
        let wanted = &rights.wanted;
        let ensured = match grants::ensure(self.admin().await?, &scope.name, wanted).await {
            // somebody changed rights or tables at the same moment: what is wanted is looked at again
            Err(error)
                if matches!(error.sqlstate_of_server(), Some("XX000" | "42P01" | "42704" | "42883" | "3F000")) =>
            {
                grants::ensure(self.admin().await?, &scope.name, wanted).await
            }
            other => other,
        };
        let ensured = ensured.inspect_err(|error| self.judge(error))?;
        if ensured.short > 0 {
            tracing::warn!(resource = %self.leases.resource, scope = %ensured.role, privileges = ensured.short,
                "the gate's role cannot grant all that the scope should hold: see postern doctor");
        }
        self.known.put_role(rights, ensured.role.clone(), Instant::now());
        Ok(ensured.role)
    }

    /// What a session's scope should hold, and whether that changes with the time.
    async fn wanted(&self, scope: &ScopeFile, request: &Request) -> Result<(Wanted, bool), Error> {
        if !wanted::is_by_policy(scope) {
            return Ok((wanted::by_list(scope, request.view.catalog()), false));
        }
        // a large catalog under many policies takes a while, in which other sessions get their roles
        let (view, subject, owned) = (request.view.clone(), request.subject.clone(), self.leases.config.owned);
        let asked = tokio::task::spawn_blocking(move || wanted::by_policy(&view, &subject, owned));
        asked.await.map_err(|_| Error::Closing)
    }

    async fn create(&mut self, ready: &[Ready]) -> Result<(), Error> {
        let login = self.leases.config.login;
        self.leases.desk.state().alive.extend(ready.iter().map(|one| one.role.clone()));
        let roles: Vec<_> =
            ready.iter().map(|one| (one.role.as_str(), one.scope.as_str(), one.verifier.as_str())).collect();
        let outcome = self.admin().await?.make_roles(&roles, login).await;
        outcome.inspect_err(|error| self.judge(error))
    }

    fn answer(&mut self, one: Ready, outcome: Result<(), Error>) {
        match outcome {
            Ok(()) => {
                self.metrics.leased();
                let lease = Lease { role: one.role, password: Arc::new(one.password), desk: self.leases.desk.clone() };
                if one.request.reply.send(Ok(lease)).is_err() {
                    // the lease was dropped with the answer, and so will the role be
                    tracing::debug!("a session was gone before it had its role");
                }
            }
            Err(error) => {
                if error.sqlstate_of_server().is_some() {
                    self.leases.desk.forget(&one.role);
                } else {
                    // it may have been made all the same
                    self.leases.desk.ended(one.role);
                }
                self.refuse(one.request, error);
            }
        }
    }

    fn refuse(&mut self, request: Request, error: Error) {
        self.judge(&error);
        self.metrics.lease_failed();
        tracing::warn!(resource = %self.leases.resource, error = %crate::chain(&error), "no role could be leased");
        if request.reply.send(Err(error)).is_err() {
            tracing::debug!("a session was gone before it was refused");
        }
    }

    async fn drop_all(&mut self, ended: Vec<Ended>) {
        let names: Vec<String> = ended.iter().map(|one| one.role.clone()).collect();
        // who was looked at before had time enough
        let insist = ended.iter().any(|one| one.looks > 0);
        let owner = match self.leases.config.owned {
            Owned::Reassign => self.leases.config.owner.clone(),
            Owned::None | Owned::Drop => None,
        };
        let dropped = match self.admin().await {
            Ok(admin) => admin.drop_roles(&names, owner.as_deref(), insist).await,
            Err(error) => Err(error),
        };
        match dropped {
            Ok(dropped) => {
                for role in &dropped.gone {
                    self.leases.desk.forget(role);
                    self.metrics.lease_dropped();
                }
                let left = ended.into_iter().filter(|one| !dropped.gone.contains(&one.role)).collect();
                self.leases.desk.give_back(left, AGAIN);
            }
            Err(error) => {
                self.judge(&error);
                tracing::warn!(resource = %self.leases.resource, error = %crate::chain(&error), "leased roles could not be dropped yet");
                self.leases.desk.give_back(ended, RETRY);
            }
        }
    }
}
