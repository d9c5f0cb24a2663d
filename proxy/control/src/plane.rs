//! The handle: appends records, folds what comes back from the topic, and says how fresh that is.
//!
//! ```text
//! append -> sign -> topic (durable) -> reading thread: verify -> fold -> State (watch) -> append returns what came of it
//! ```
//!
//! A record counts when it comes back from the topic, in the topic's order: so a refusal is the same for its writer as for
//! everybody else. The thread ends when the last handle is gone.

use crate::access::Access;
use crate::config::Config;
use crate::envelope::{self, Stamp};
use crate::keys::Keys;
use crate::reader;
use crate::record::Record;
use crate::report::Report;
use crate::seen::{self, Last, Seen, Sight, Signer, Signers};
use crate::shown;
use crate::state::{Effect, Refused, State};
use crate::telemetry::{Telemetry, name};
use crate::untold::Untold;
use event_log::control::{Pending, Room, Steps, Writer, embedded, in_kafka, journal};
use kit::Clock;
use schemas::chain::hexadecimal;
use schemas::event::{Alarm, AlarmKind};
use schemas::seal::Keks;
use schemas::{Body, Event, HoldId, SessionId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// The control plane of one process. Clones share it.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) node: String,
    pub(crate) keys: Keys,
    pub(crate) epoch: u64,
    /// The last sequence that was handed to the topic. Locked from signing to handing over, so that the order is kept.
    sequence: Mutex<u64>,
    writer: Writer,
    clock: Clock,
    pub(crate) state: watch::Sender<Arc<State>>,
    pub(crate) waiting: Mutex<BTreeMap<u64, oneshot::Sender<Outcome>>>,
    pub(crate) known: Mutex<Known>,
    max_staleness: Duration,
    pub(crate) report: Arc<dyn Report>,
    pub(crate) telemetry: Telemetry,
    pub(crate) keks: Option<Arc<Keks>>,
}

/// The control plane with what the config says about access: what gates and the API are given. Clones share it.
#[derive(Clone)]
pub struct Plane {
    /// Records and what follows from them.
    pub control: Control,
    /// Roles, standing access, operators.
    pub access: Arc<Access>,
}

pub(crate) type Outcome = Result<Vec<Effect>, Refused>;

/// How far the topic is known.
#[derive(Default)]
pub(crate) struct Known {
    /// All that was written before this was read.
    pub(crate) until: Option<Instant>,
    /// What was read, for others to hold theirs against.
    pub(crate) seen: Seen,
    /// Why nothing more will be known.
    lost: Option<String>,
    /// Why it is not to be relied on as it is kept now.
    unfit: Option<String>,
    /// Why what was read is not to be relied on yet.
    doubt: Option<String>,
    /// Alarms of the running minute, and when it began.
    alarms: (u32, Option<Instant>),
}

/// Why a record did not count, or is not known to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It changed nothing.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It cannot be written as JSON.
    #[error("writing a control record")]
    Encode(#[source] serde_json::Error),
    /// The topic did not take it, or did not say so.
    #[error("writing to the control topic")]
    Write(#[source] event_log::Error),
    /// It was written, and did not come back in time.
    #[error("the record was written and has not come back from the control topic: see in a moment what became of it")]
    Silent,
}

/// The control plane could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The signing key cannot be used.
    #[error("preparing the signing key of the control plane")]
    Key(#[source] identity::signing::Error),
    /// The journal cannot be used.
    #[error("opening the control journal")]
    Journal(#[source] journal::Error),
    /// The Kafka client cannot be made.
    #[error("opening the control topic")]
    Kafka(#[source] event_log::Error),
    /// The thread cannot be started.
    #[error("starting the thread of the control plane")]
    Thread(#[source] std::io::Error),
    /// The folder of what this node remembers cannot be made.
    #[error("making the folder of the control plane (control.directory)")]
    Folder(#[source] std::io::Error),
    /// What this node remembers cannot be read.
    #[error("remembering the control topic")]
    Seen(#[source] seen::Error),
    /// The config retires the key by which this node signs.
    #[error(
        "control.retired_keys names the key by which this node signs: give it a new one (control.signing_key), or take it out"
    )]
    OwnRetired,
    /// The config does not name keys any more by which records count.
    #[error(
        "the config no longer names keys that signed what counts, and revocations with them would be undone: {0}. Write each \
         there, in control.retired_keys, or in control.trusted_keys if it still signs; see docs/access.md"
    )]
    Forgotten(String),
    /// The config retires keys at offsets before records by them that count.
    #[error(
        "control.retired_keys would undo records that count, revocations perhaps: {0}. Write the offset that is told, or one behind it; or `@0` to void all that the key ever signed; see docs/access.md"
    )]
    Undone(String),
}

/// What is known of the control topic is too old to let anybody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// It has not been read to its end yet.
    #[error("the control topic has not been read to its end yet")]
    Beginning,
    /// It was not heard of for too long.
    #[error("the control topic was not heard of for {seconds} s, control.max_staleness_seconds is {limit}")]
    Silent {
        /// For how long.
        seconds: u64,
        /// The limit.
        limit: u64,
    },
    /// It cannot be read any more.
    #[error("{0}")]
    Lost(String),
}

/// How long an append waits for its record to come back.
const RETURN: Duration = Duration::from_secs(10);
/// How long a start that is refused reads the topic, to say what the config lacks.
const LOOK: Duration = Duration::from_secs(30);
/// Alarm events of one minute; more are counted and logged only.
const MAX_ALARMS: u32 = 60;

impl Control {
    /// Opens the topic and begins to read it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: &Config, report: Arc<dyn Report>, telemetry: Telemetry) -> Result<Self, OpenError> {
        let keys = Keys::open(config).map_err(OpenError::Key)?;
        if keys.is_own_retired(&config.node) {
            return Err(OpenError::OwnRetired);
        }
        let (writer, steps) = match &config.kafka {
            Some(kafka) => {
                let heartbeat = (config.max_staleness / 4).clamp(Duration::from_millis(100), Duration::from_secs(2));
                in_kafka(kafka, heartbeat).map_err(OpenError::Kafka)?
            }
            None => embedded(&config.directory).map_err(OpenError::Journal)?,
        };
        // behind the journal's lock: what another process remembers is all there then
        let mut sight = Sight::open(config.seen_file()).map_err(OpenError::Seen)?;
        if let Some(lines) = forgotten(&keys, sight.signers(), &steps) {
            return Err(OpenError::Forgotten(lines));
        }
        if let Some(lines) = undone(&keys, sight.last()) {
            return Err(OpenError::Undone(lines));
        }
        let clock = Clock::system();
        let epoch = u64::try_from(clock.now_micros()).unwrap_or_default();
        std::fs::create_dir_all(&config.directory).map_err(OpenError::Folder)?;
        // before anything is written: what this process does not live to tell is told by the next
        let untold = Untold::new(epoch, sight.begin(epoch).map_err(OpenError::Seen)?);
        let inner = Arc::new(Inner {
            node: config.node.clone(),
            keys,
            epoch,
            sequence: Mutex::new(0),
            writer,
            clock,
            state: watch::Sender::new(Arc::default()),
            waiting: Mutex::default(),
            known: Mutex::default(),
            max_staleness: config.max_staleness,
            report,
            telemetry,
            keks: config.keks.clone(),
        });
        let weak = Arc::downgrade(&inner);
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || reader::run(&steps, &weak, sight, untold));
        thread.map_err(OpenError::Thread)?;
        Ok(Self(inner))
    }

    /// Writes a record, and says what it brought about once it has come back from the topic.
    ///
    /// # Errors
    /// [`Error::Refused`]: it changed nothing. With the others it may count all the same, now or later.
    pub async fn append(&self, record: Record) -> Result<Vec<Effect>, Error> {
        let inner = &self.0;
        let (sender, returned) = oneshot::channel();
        let (sequence, pending) = inner.hand_over(&record, sender)?;
        let forget = Forget { inner, sequence };
        pending.durable().await.map_err(Error::Write)?;
        let outcome = tokio::time::timeout(RETURN, returned).await;
        drop(forget);
        match outcome {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) | Err(_) => Err(Error::Silent),
        }
    }

    /// Seals what reviewers are shown of a hold, for a topic that others can read.
    ///
    /// # Errors
    /// Why it cannot be, in words.
    pub fn seal_shown(&self, hold: HoldId, shown: &serde_json::Value) -> Result<serde_json::Value, String> {
        let keks = self.0.keks.as_ref().ok_or("no key-encryption key is configured")?;
        shown::seal(keks, hold, shown).map_err(|error| error.to_string())
    }

    /// What holds now.
    pub fn state(&self) -> Arc<State> {
        self.0.state.borrow().clone()
    }

    /// What holds, and a word whenever it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.0.state.subscribe()
    }

    /// Whether what is known is fresh enough to let anybody in.
    ///
    /// # Errors
    /// [`Stale`]: why not.
    pub fn fresh(&self) -> Result<(), Stale> {
        self.0.fresh()
    }

    /// Waits until the topic has been read to its end once, or for this time. Blocks.
    ///
    /// # Errors
    /// [`Stale`]: it is not fresh by then.
    pub fn wait_fresh(&self, limit: Duration) -> Result<(), Stale> {
        let until = Instant::now() + limit;
        loop {
            match self.fresh() {
                Ok(()) => return Ok(()),
                Err(stale) if Instant::now() >= until => return Err(stale),
                Err(_) => std::thread::park_timeout(Duration::from_millis(5)),
            }
        }
    }

    /// The clock by which records are stamped.
    pub fn now(&self) -> i64 {
        self.0.clock.now_micros()
    }

    /// This node's name, as its records carry it.
    pub fn node(&self) -> &str {
        &self.0.node
    }
}

/// Forgets an append that nobody waits for any more.
struct Forget<'a> {
    inner: &'a Inner,
    sequence: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.inner.waiting).remove(&self.sequence);
    }
}

/// The keys by which records count, as this node remembers, and of which the config says nothing; as the config is to name
/// them.
fn forgotten(keys: &Keys, signers: &Signers, steps: &Steps) -> Option<String> {
    let unknown: Signers = signers.iter().filter(|(key, node)| !keys.knows(key, node)).cloned().collect();
    if unknown.is_empty() {
        return None;
    }
    let last = reader::last_signed(steps, &unknown, LOOK);
    let line = |signer: &Signer| {
        let (key, node) = (hexadecimal(&signer.0), &signer.1);
        match &last {
            Some(last) => {
                format!("\"{node}\" = \"{key}@{}\"", last.get(signer).map_or(0, |last| last.saturating_add(1)))
            }
            None => {
                format!("\"{node}\" = \"{key}@...\" (start again once the topic can be read: then the offset is told)")
            }
        }
    };
    Some(unknown.iter().map(line).collect::<Vec<_>>().join(", "))
}

/// The retired keys by which something counted at their offsets or behind.
fn undone(keys: &Keys, last: &Last) -> Option<String> {
    let lines = last.iter().filter_map(|((key, node), last)| {
        let before = keys.undone_at(key, node, *last)?;
        let (key, next) = (hexadecimal(key), last.saturating_add(1));
        Some(format!("\"{node}\" = \"{key}@{before}\" is to be \"{key}@{next}\""))
    });
    Some(lines.collect::<Vec<_>>().join(", ")).filter(|lines| !lines.is_empty())
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Signs a record and hands it to the topic; `sender` hears what came of it.
    pub(crate) fn hand_over(&self, record: &Record, sender: oneshot::Sender<Outcome>) -> Result<(u64, Pending), Error> {
        let mut last = lock(&self.sequence);
        let sequence = *last + 1;
        let stamp = Stamp {
            author: self.node.clone(),
            key: self.keys.own,
            epoch: self.epoch,
            sequence,
            time: self.clock.now_micros(),
            seen: Some(lock(&self.known).seen),
        };
        let room = if record.takes_away() { Room::Kept } else { Room::Ordinary };
        let bytes = envelope::seal(&self.keys.pair, &stamp, record).map_err(Error::Encode)?;
        lock(&self.waiting).insert(sequence, sender);
        let pending = self.writer.enqueue(bytes, room).inspect_err(|_| drop(lock(&self.waiting).remove(&sequence)));
        *last = sequence;
        Ok((sequence, pending.map_err(Error::Write)?))
    }

    /// A number by which nodes wait for each other.
    pub(crate) fn turn(&self) -> u8 {
        self.keys.own.first().copied().unwrap_or_default()
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now_micros()
    }

    pub(crate) fn fresh(&self) -> Result<(), Stale> {
        let known = lock(&self.known);
        if let Some(reason) = &known.lost {
            return Err(Stale::Lost(reason.clone()));
        }
        if let Some(reason) = known.unfit.as_ref().or(known.doubt.as_ref()) {
            return Err(Stale::Lost(reason.clone()));
        }
        let age = known.until.ok_or(Stale::Beginning)?.elapsed();
        if age > self.max_staleness {
            return Err(Stale::Silent { seconds: age.as_secs(), limit: self.max_staleness.as_secs() });
        }
        Ok(())
    }

    /// Nothing more will be known: nobody is let in before a restart.
    pub(crate) fn lost(&self, reason: &str) {
        let first = {
            // the first reason is the cause
            let mut known = lock(&self.known);
            let first = known.lost.is_none();
            known.lost.get_or_insert_with(|| reason.to_owned());
            first
        };
        if first {
            self.alarm(AlarmKind::ControlLost, reason.to_owned());
        }
    }

    /// Why the topic is not to be relied on as it is kept; none: there is no reason any more.
    pub(crate) fn unfit(&self, reason: Option<String>) {
        let new = std::mem::replace(&mut lock(&self.known).unfit, reason.clone()) != reason;
        if let Some(reason) = reason.filter(|_| new) {
            self.alarm(AlarmKind::ControlLost, reason);
        }
    }

    /// Likewise of what was read.
    pub(crate) fn doubt(&self, reason: Option<String>) {
        let new = std::mem::replace(&mut lock(&self.known).doubt, reason.clone()) != reason;
        if let Some(reason) = reason.filter(|_| new) {
            self.alarm(AlarmKind::ControlLost, reason);
        }
    }

    /// Counts an event that is an alarm, and logs it.
    pub(crate) fn ring(&self, body: &Body) {
        if let Body::Alarm(alarm) = body {
            self.telemetry.alarm(alarm.kind);
            tracing::error!(kind = name(alarm.kind), detail = alarm.detail, "alarm of the control plane");
        }
    }

    /// Reports what was noticed here. What cannot be recorded stands in the process's own log.
    fn report(&self, body: Body) {
        self.ring(&body);
        let event = Event { session: SessionId::generate(), sequence: 0, time: self.clock.now_micros(), body };
        if let Err(error) = self.report.report(&event) {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, event = event.body.name(), "cannot record an event of the control plane");
        }
    }

    pub(crate) fn alarm(&self, kind: AlarmKind, detail: String) {
        let body = Body::Alarm(Alarm { kind, detail: detail.clone(), node: self.node.clone() });
        if self.may_report() {
            return self.report(body);
        }
        self.telemetry.alarm(kind);
        tracing::error!(kind = name(kind), detail, "alarm of the control plane, one of too many to record");
    }

    /// Whoever can write to the topic must not be able to fill the log.
    fn may_report(&self) -> bool {
        let mut known = lock(&self.known);
        let (count, began) = &mut known.alarms;
        if began.is_none_or(|began| began.elapsed() > Duration::from_secs(60)) {
            (*count, *began) = (0, Some(Instant::now()));
        }
        *count += 1;
        *count <= MAX_ALARMS
    }
}
