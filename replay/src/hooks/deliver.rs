//! Tells one webhook of what waits for an answer, until it took each message or the message is no use any more.
//!
//! ```text
//! State (watch) -> scan: open, wanted, not told -> waiting (by id, with the time of the next attempt)
//!    due -> take it on the control topic -> POST, on its own thread -> delivered | later (backoff) | given up -> control topic
//! ```
//!
//! There is no queue on disk: what is to be told follows from the control topic, and so does what was told. After a
//! start it is the same, and so on any node. A node that takes a message keeps others from it until a time; if it ends
//! before it has said that the message was delivered, another delivers it again, under the same id.

use super::config::Webhook;
use super::matter::Matter;
use super::message::message;
use super::send::{Failure, Retry, Sender};
use super::telemetry::{Outcome, Telemetry};
use crate::telemetry::chain;
use control::{Control, Error, Record, Refused, State, Subject, Telling, Told};
use kit::Shutdown;
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Messages of one webhook that are waited for at once; what is beyond waits in the control topic's state.
const MAX_WAITING: usize = 1_000;
/// Attempts of one webhook at once: a receiver that is slow with one message gets others meanwhile.
const MAX_RUNNING: usize = 4;
/// The wait after the first failed attempt; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait that the node chooses; a receiver may ask for a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Before a new message is taken, so that of several nodes mostly one writes that it does.
const BEFORE_TAKING: Duration = Duration::from_millis(50);
/// How much longer than an attempt needs a message is taken: for the record of its outcome.
const SLACK: Duration = Duration::from_secs(20);
/// The wait after the control topic did not take a record.
const TOPIC_WAIT: Duration = Duration::from_secs(5);

/// One webhook's messages.
pub(super) struct Courier {
    pub(super) webhook: Arc<Webhook>,
    pub(super) sender: Sender,
    pub(super) control: Control,
    pub(super) telemetry: Telemetry,
    pub(super) random: RandomState,
}

/// A message that was not taken yet.
#[derive(Clone)]
struct Waiting {
    next: Instant,
    running: bool,
    /// Until when this process has taken it, microseconds since 1970-01-01 UTC.
    held: i64,
    /// Given up after so many attempts, for this reason, and to be recorded so.
    refused: Option<(u32, String)>,
}

/// What an attempt came to.
enum Attempted {
    /// The message has ended, one way or the other: the state says so, or soon will.
    Ended,
    /// It is to be looked at again after a time; this process has taken it until the other.
    Again(Duration, i64),
    /// The receiver will never take it, and the topic has not taken that yet.
    Refused(u32, String),
}

impl Courier {
    /// Runs until the shutdown.
    pub(super) async fn run(self, shutdown: Shutdown) {
        let courier = Arc::new(self);
        let mut states = courier.control.watch();
        let mut waiting = BTreeMap::<Subject, Waiting>::new();
        let mut running = JoinSet::new();
        loop {
            let state = states.borrow_and_update().clone();
            courier.scan(&state, &mut waiting);
            courier.begin(&mut waiting, &mut running);
            courier.telemetry.waiting(&courier.webhook.name, waiting.len());
            let free = running.len() < MAX_RUNNING;
            let next = waiting.values().filter(|one| free && !one.running).map(|one| one.next).min();
            tokio::select! {
                () = shutdown.wait() => return,
                changed = states.changed() => if changed.is_err() { return },
                () = async { tokio::time::sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() => {}
                Some(done) = running.join_next() => courier.settle(&mut waiting, done),
            }
        }
    }

    /// Takes in what is to be told, and lets go what is no more.
    fn scan(&self, state: &State, waiting: &mut BTreeMap<Subject, Waiting>) {
        let now = self.control.now();
        let name = &self.webhook.name;
        let has_ended = |about| state.told(about, name).is_some_and(|notice| notice.telling.told != Told::Trying);
        waiting.retain(|about, one| one.running || (!has_ended(*about) && state.is_open(*about, now) == Some(true)));
        for matter in Matter::open(state, now) {
            let about = matter.about();
            if waiting.len() >= MAX_WAITING {
                return;
            }
            if !waiting.contains_key(&about) && self.webhook.wants(&matter, now) && !has_ended(about) {
                let next = Instant::now() + self.jittered(BEFORE_TAKING);
                waiting.insert(about, Waiting { next, running: false, held: 0, refused: None });
            }
        }
    }

    fn begin(self: &Arc<Self>, waiting: &mut BTreeMap<Subject, Waiting>, running: &mut JoinSet<(Subject, Attempted)>) {
        let now = Instant::now();
        let mut due: Vec<(&Subject, &mut Waiting)> =
            waiting.iter_mut().filter(|(_, one)| !one.running && one.next <= now).collect();
        // the longest overdue first: no message starves behind one that fails again and again
        due.sort_by_key(|(_, one)| one.next);
        for (about, one) in due.into_iter().take(MAX_RUNNING.saturating_sub(running.len())) {
            one.running = true;
            let (courier, about, one) = (self.clone(), *about, one.clone());
            running.spawn(async move { (about, courier.attempt(about, one).await) });
        }
    }

    fn settle(
        &self,
        waiting: &mut BTreeMap<Subject, Waiting>,
        done: Result<(Subject, Attempted), tokio::task::JoinError>,
    ) {
        let (about, attempted) = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(webhook = self.webhook.name, %error, "an attempt to tell a webhook broke off");
                // whichever it was: all are looked at again
                let next = Instant::now() + TOPIC_WAIT;
                waiting.values_mut().filter(|one| one.running).for_each(|one| (one.running, one.next) = (false, next));
                return;
            }
        };
        match attempted {
            Attempted::Ended => drop(waiting.remove(&about)),
            Attempted::Again(wait, held) => {
                waiting.insert(about, Waiting { next: Instant::now() + wait, running: false, held, refused: None });
            }
            Attempted::Refused(attempts, reason) => {
                let (next, refused) = (Instant::now() + TOPIC_WAIT, Some((attempts, reason)));
                waiting.insert(about, Waiting { next, running: false, held: 0, refused });
            }
        }
    }

    /// One attempt, if it is this node's to make.
    async fn attempt(&self, about: Subject, waiting: Waiting) -> Attempted {
        if let Some((attempts, reason)) = waiting.refused {
            return self.give_up(about, attempts, reason).await;
        }
        let (state, now) = (self.control.state(), self.control.now());
        let Some(matter) = Matter::of(&state, about).filter(|matter| matter.is_open(now)) else {
            return Attempted::Ended;
        };
        let before = state.told(about, &self.webhook.name);
        let (attempts, last) = match before.map(|notice| &notice.telling) {
            Some(telling) if telling.told != Told::Trying => return Attempted::Ended,
            Some(telling) => (telling.attempts.saturating_add(1), telling.reason.clone()),
            None => (1, None),
        };
        if now >= self.webhook.end(&matter) {
            let reason = format!("it was not taken in time: {}", last.unwrap_or_default());
            return self.give_up(about, attempts - 1, reason).await;
        }
        // the record of the last failure took it for this attempt too
        if waiting.held < now.saturating_add(micros(self.webhook.timeout))
            && let Err(again) = self.take(about, attempts - 1, Duration::ZERO, last).await
        {
            return again;
        }
        // as it is now, which may be later than it was taken in
        let Some(matter) = Matter::of(&self.control.state(), about).filter(|matter| matter.is_open(self.control.now()))
        else {
            return Attempted::Ended;
        };
        let mut body = message(&self.webhook, &matter, self.control.now());
        if let (Some(channel), Some(body)) = (&self.webhook.channel, body.as_object_mut()) {
            body.insert("channel".to_owned(), channel.as_str().into());
        }
        let body = body.to_string().into_bytes();
        let id = format!("{}/{about}", self.webhook.name);
        let seconds = self.control.now().div_euclid(1_000_000);
        match self.sender.send(body, id, attempts, seconds).await {
            Ok(()) => self.delivered(about, attempts).await,
            Err(failure) => self.failed(about, attempts, failure).await,
        }
    }

    async fn delivered(&self, about: Subject, attempts: u32) -> Attempted {
        let webhook = &self.webhook.name;
        tracing::info!(webhook, %about, attempts, "told a webhook");
        self.telemetry.attempt(webhook, Outcome::Delivered);
        // written until the topic takes it: a message that is thought undelivered comes again
        loop {
            match self.write(about, Told::Delivered, attempts, 0, None).await {
                Ok(()) | Err(Error::Refused(_)) => return Attempted::Ended,
                Err(error) => {
                    tracing::warn!(webhook, %about, error = %chain(&error), "that a webhook was told could not be recorded");
                    tokio::time::sleep(TOPIC_WAIT).await;
                }
            }
        }
    }

    async fn failed(&self, about: Subject, attempts: u32, failure: Failure) -> Attempted {
        let Failure { retry, reason } = failure;
        let webhook = &self.webhook.name;
        let wait = match retry {
            Retry::Never => return self.give_up(about, attempts, reason).await,
            Retry::Later => self.backoff(attempts),
            Retry::After(asked) => asked.max(self.backoff(attempts)),
        };
        tracing::warn!(webhook, %about, attempts, reason, wait_seconds = wait.as_secs(), "a webhook was not told, trying again");
        self.telemetry.attempt(webhook, Outcome::Retried);
        match self.take(about, attempts, wait, Some(reason)).await {
            Ok(held) => Attempted::Again(wait, held),
            Err(again) => again,
        }
    }

    async fn give_up(&self, about: Subject, attempts: u32, reason: String) -> Attempted {
        let webhook = &self.webhook.name;
        match self.write(about, Told::Failed, attempts, 0, Some(reason.clone())).await {
            Ok(()) => {
                tracing::error!(webhook, %about, attempts, reason, "a message to a webhook was given up");
                self.telemetry.attempt(webhook, Outcome::Failed);
                Attempted::Ended
            }
            Err(Error::Refused(_)) => Attempted::Ended,
            Err(error) => {
                tracing::warn!(webhook, %about, error = %chain(&error), "that a message was given up could not be recorded");
                Attempted::Refused(attempts, reason)
            }
        }
    }

    /// Keeps other nodes from the message for an attempt that begins after `wait`; says until when.
    async fn take(
        &self,
        about: Subject,
        attempts: u32,
        wait: Duration,
        reason: Option<String>,
    ) -> Result<i64, Attempted> {
        let time = micros(wait + self.webhook.timeout + SLACK);
        let until = self.control.now().saturating_add(time);
        match self.write(about, Told::Trying, attempts, until, reason).await {
            Ok(()) => Ok(until),
            Err(Error::Refused(Refused::Taken(node))) => {
                tracing::debug!(webhook = self.webhook.name, %about, node, "another node tells a webhook");
                Err(Attempted::Again(self.until_free(about), 0))
            }
            Err(Error::Refused(_)) => Err(Attempted::Ended),
            Err(error) => {
                tracing::warn!(webhook = self.webhook.name, %about, error = %chain(&error), "a webhook cannot be told without the control topic");
                Err(Attempted::Again(TOPIC_WAIT.max(wait), 0))
            }
        }
    }

    /// How long another node has for it.
    fn until_free(&self, about: Subject) -> Duration {
        let state = self.control.state();
        let until = state.told(about, &self.webhook.name).map_or(0, |notice| notice.telling.until);
        let left = u64::try_from(until.saturating_sub(self.control.now())).unwrap_or(0);
        Duration::from_micros(left) + self.jittered(FIRST_WAIT)
    }

    async fn write(
        &self,
        about: Subject,
        told: Told,
        attempts: u32,
        until: i64,
        reason: Option<String>,
    ) -> Result<(), Error> {
        let webhook = self.webhook.name.clone();
        let record = Record::Notice(Telling { webhook, about, told, attempts, until, reason });
        self.control.append(record).await.map(drop)
    }

    fn backoff(&self, attempts: u32) -> Duration {
        let doubled = FIRST_WAIT.saturating_mul(1_u32 << attempts.saturating_sub(1).min(16)).min(LONGEST_WAIT);
        doubled / 2 + self.jittered(doubled / 2)
    }

    /// Between nothing and this, so that many do not come at once.
    fn jittered(&self, most: Duration) -> Duration {
        // the hasher's keys are random, and the time is another each time
        let random = self.random.hash_one(Instant::now()) % 1_000;
        most.mul_f64(f64::from(u32::try_from(random).unwrap_or(0)) / 1_000.0)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
