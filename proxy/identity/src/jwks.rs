//! How long an issuer's keys are believed, and when they are fetched again.
//!
//! ```text
//! age:   0 ........ 3/4 max_age ........ max_age ................ max_age + stale_limit
//!        use        use, fetch behind    fetch, wait for it;       nothing is accepted
//!                                        if it fails: still use
//! ```
//!
//! One fetch runs at a time, on a thread of its own, at least [`MIN_INTERVAL`] after the one before; whoever needs its
//! outcome waits for it. A key id that the set lacks (the issuer rotated) asks for one more fetch, which must begin after
//! the question; one that is unknown after it is refused without asking for as long as no other fetch could begin anyway.

use crate::{
    fetch::{Error, Fetcher},
    keys::KeySet,
    rejection::{Kind, Rejection},
};
use kit::Clock;
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The keys of one provider, kept fresh.
pub(crate) struct Jwks {
    shared: Arc<Shared>,
}

struct Shared {
    fetcher: Fetcher,
    clock: Clock,
    state: Mutex<State>,
    /// The number of the last fetch that ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    keys: Option<(Arc<KeySet>, i64)>,
    /// Fetches are numbered from 1; `wanted` is the last one that somebody asked for.
    started: u64,
    ended: u64,
    wanted: u64,
    running: bool,
    last_start: Option<Instant>,
    failed: Option<String>,
    unknown: HashMap<String, Instant>,
}

/// What can be done at this moment.
enum Step {
    Use(Arc<KeySet>),
    Wait(u64),
    Refuse(Rejection),
}

impl Jwks {
    /// Begins the first fetch, so that the first login finds keys.
    pub(crate) fn new(fetcher: Fetcher, clock: Clock) -> Self {
        let shared = Arc::new(Shared { fetcher, clock, state: Mutex::default(), ended: watch::Sender::new(0) });
        want(&shared, &mut shared.lock());
        Self { shared }
    }

    /// Keys that may be believed now.
    pub(crate) async fn current(&self) -> Result<Arc<KeySet>, Rejection> {
        let mut waited = 0;
        loop {
            match self.step(waited) {
                Step::Use(keys) => return Ok(keys),
                Step::Refuse(rejection) => return Err(rejection),
                Step::Wait(number) => {
                    self.wait(number).await;
                    waited = number;
                }
            }
        }
    }

    /// Keys of a fetch that began after this call; `None` if the key id was found unknown a moment ago, or if it is
    /// known after all by now.
    pub(crate) async fn newer(&self, id: Option<&str>) -> Result<Option<Arc<KeySet>>, Rejection> {
        let number = {
            let mut state = self.shared.lock();
            let recent = |at: &Instant| at.elapsed() < UNKNOWN_FOR;
            if id.and_then(|id| state.unknown.get(id)).is_some_and(recent) {
                return Ok(None);
            }
            want(&self.shared, &mut state)
        };
        self.wait(number).await;
        self.current().await.map(Some)
    }

    /// Remembers a key id that even a new set lacks.
    pub(crate) fn remember_unknown(&self, id: Option<&str>) {
        let mut state = self.shared.lock();
        if state.unknown.len() >= MAX_UNKNOWN {
            state.unknown.retain(|_, at| at.elapsed() < UNKNOWN_FOR);
        }
        if let Some(id) = id.filter(|_| state.unknown.len() < MAX_UNKNOWN) {
            state.unknown.insert(id.to_owned(), Instant::now());
        }
    }

    /// `waited`: the number of a fetch that this caller has waited for, 0 for none.
    fn step(&self, waited: u64) -> Step {
        let shared = &self.shared;
        let remote = shared.fetcher.remote();
        let mut state = shared.lock();
        let Some((keys, fetched)) = state.keys.clone() else {
            return match &state.failed {
                Some(reason) if waited > 0 || just_failed(&state) => Step::Refuse(unavailable(reason)),
                _ => Step::Wait(want_or_join(shared, &mut state)),
            };
        };
        let age = shared.clock.now_micros().saturating_sub(fetched);
        // A clock that was set back says nothing about the age: as good as too old.
        let age = u64::try_from(age).map_or(remote.max_age, Duration::from_micros);
        if age < remote.max_age {
            if age > remote.max_age / 4 * 3 && !just_failed(&state) {
                want_or_join(shared, &mut state);
            }
            return Step::Use(keys);
        }
        if waited == 0 && !just_failed(&state) {
            return Step::Wait(want_or_join(shared, &mut state));
        }
        if age < remote.max_age + remote.stale_limit {
            return Step::Use(keys);
        }
        Step::Refuse(unavailable(state.failed.as_deref().unwrap_or("its keys are too old")))
    }

    async fn wait(&self, number: u64) {
        // The sender lives as long as `self`, so that the wait cannot fail.
        let mut ended = self.shared.ended.subscribe();
        let heard = ended.wait_for(|ended| *ended >= number).await.is_ok();
        debug_assert!(heard);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let pause = {
                let mut state = self.lock();
                if state.started >= state.wanted {
                    state.running = false;
                    return;
                }
                state.last_start.map_or(Duration::ZERO, |at| MIN_INTERVAL.saturating_sub(at.elapsed()))
            };
            std::thread::sleep(pause);
            let number = {
                let mut state = self.lock();
                state.started += 1;
                state.last_start = Some(Instant::now());
                state.started
            };
            // A fault in the fetch must not leave everybody waiting for its end.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.fetcher.fetch())).unwrap_or(Err(Error::Internal));
            self.store(number, outcome);
        }
    }

    fn store(&self, number: u64, outcome: Result<KeySet, Error>) {
        let issuer = &self.fetcher.remote().issuer;
        {
            let mut state = self.lock();
            match outcome {
                Ok(keys) => {
                    if state.failed.take().is_some() {
                        tracing::info!(issuer, "the issuer's keys were fetched again");
                    }
                    state.keys = Some((Arc::new(keys), self.clock.now_micros()));
                }
                Err(error) => {
                    let reason = crate::chain(&error);
                    tracing::warn!(issuer, error = reason, "fetching an issuer's keys failed");
                    state.failed = Some(error.to_string());
                }
            }
            state.ended = number;
        }
        self.ended.send_replace(number);
    }
}

/// Asks for a fetch that begins from now on, and says its number.
fn want(shared: &Arc<Shared>, state: &mut State) -> u64 {
    state.wanted = state.started + 1;
    if !state.running {
        state.running = true;
        let own = shared.clone();
        let spawned = std::thread::Builder::new().name("issuer-keys".to_owned()).spawn(move || own.run());
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to fetch an issuer's keys with");
            state.running = false;
            state.started = state.wanted;
            state.ended = state.wanted;
            state.last_start = Some(Instant::now());
            state.failed = Some("the gate has no thread to fetch its keys with".to_owned());
            shared.ended.send_replace(state.ended);
        }
    }
    state.wanted
}

/// As [`want`], but one that runs already will do.
fn want_or_join(shared: &Arc<Shared>, state: &mut State) -> u64 {
    if state.started > state.ended { state.started } else { want(shared, state) }
}

/// The last fetch failed, and it is too early for another.
fn just_failed(state: &State) -> bool {
    state.failed.is_some()
        && state.started == state.ended
        && state.last_start.is_some_and(|at| at.elapsed() < MIN_INTERVAL)
}

fn unavailable(reason: &str) -> Rejection {
    Rejection::new(
        Kind::Unavailable,
        format!("the token cannot be checked, because its issuer's keys cannot be fetched: {reason}"),
    )
}

/// Tokens with unknown key ids cost the issuer at most one request in this time, however many come.
const MIN_INTERVAL: Duration = Duration::from_secs(2);

/// How long an unknown key id is refused without asking again: no longer than the issuer is spared anyway, since a token may
/// come a moment before its key is published.
const UNKNOWN_FOR: Duration = MIN_INTERVAL;

/// Beyond it, unknown ids are not remembered; [`MIN_INTERVAL`] still holds.
const MAX_UNKNOWN: usize = 1024;
