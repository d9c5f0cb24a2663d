//! Plans what goes, and disposes of it: first the entry in the log, then the erasure.

use super::catalog::{Catalog, Stored};
use super::log::{ATTEMPTS, Guard, Log};
use super::rules::{Rule, Then};
use super::selection::Facts;
use super::{Entry, refused};
use crate::archive::manifest::DataObject;
use crate::archive::{Error, layout};
use crate::config::Notary;
use crate::export::date;
use event_log::fault;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use kit::Clock;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use schemas::SessionId;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who disposes of what, under which rules.
#[derive(Debug)]
pub struct Retention {
    /// The archive.
    pub store: Arc<dyn ObjectStore>,
    /// Who signs.
    pub notary: Notary,
    /// Whose entries and checkpoints count.
    pub guard: Guard,
    /// The classes, in the order in which they count.
    pub rules: Vec<Rule>,
    /// The person who asked for it.
    pub by: String,
}

/// What would be disposed of, and what keeps the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// By class, in the order of the config.
    pub classes: Vec<ClassPlan>,
    /// Sessions that have not ended, or whose end no checkpoint covers yet.
    pub open: u64,
    /// Sessions, and events that stand alone, of no class: they are kept for ever.
    pub unclassed: u64,
    /// Objects with expired sessions that wait for others in them which are younger, held, or of another class.
    pub waiting: Amount,
    /// Objects whose time is over that are not there, or of another length, and no entry says why: `audit verify` does.
    pub missing: Vec<String>,
    /// Objects whose time is over of which a manifest says that a header is not what its events are: whose they are is in doubt.
    pub doubted: Vec<String>,
    /// What an entry says is erased, and is there: a run before this one was cut short. It is erased first.
    pub unfinished: Vec<String>,
    /// The same, but a hold in force now keeps it: it was placed after the entry.
    pub kept: Vec<Spared>,
}

/// What an entry names and a hold keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spared {
    /// The object.
    pub name: String,
    /// The entry that names it.
    pub entry: u64,
    /// The cases.
    pub cases: Vec<String>,
}

/// Some objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, object: &DataObject) {
        self.objects += 1;
        self.bytes += object.bytes;
    }
}

/// What would become of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassPlan {
    /// Its name.
    pub class: String,
    /// What becomes of it.
    pub then: Then,
    /// Its sessions, and events that stand alone.
    pub sessions: u64,
    /// Of them, those whose time is over.
    pub expired: u64,
    /// Sessions whose key is erased.
    pub shred: Vec<SessionId>,
    /// Objects that are deleted.
    pub delete: Vec<DataObject>,
    /// The sum of their bytes.
    pub bytes: u64,
    /// Sessions whose time is over and that holds keep.
    pub held: Vec<Kept>,
    /// Sessions that cannot be shredded, since they were not sealed; `then = "delete"` disposes of such.
    pub unsealed: Vec<SessionId>,
}

/// A session that a hold keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The session.
    pub session: SessionId,
    /// The cases.
    pub cases: Vec<String>,
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// As it was when the run began.
    pub plan: Plan,
    /// The entries that it made.
    pub entries: Vec<Made>,
}

/// An entry that a run made, all of which is erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Its number.
    pub entry: u64,
    /// The class.
    pub class: String,
    /// Keys that were erased.
    pub shredded: u64,
    /// Objects that were deleted.
    pub deleted: Amount,
}

/// What becomes of a session.
enum Fate {
    Open,
    Unclassed,
    Young(usize),
    Held(usize, Vec<String>),
    Expired(usize),
}

/// What lies in the store.
struct There {
    keys: BTreeSet<SessionId>,
    /// With their lengths.
    objects: BTreeMap<String, u64>,
}

impl Retention {
    /// Says what a run would do now, and does nothing.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Custody`] if the log or the archive is not what a checkpoint says.
    pub async fn plan(&self, clock: &Clock) -> Result<Plan, Error> {
        let log = Log::read(&*self.store).await?;
        let catalog = self.catalog(&log, clock).await?;
        let there = self.there().await?;
        Ok(self.planned(&catalog, &there, &log, clock.now_micros()))
    }

    /// Disposes of what is due, after what a run before began and did not finish, and no hold means by now.
    ///
    /// # Errors
    /// As [`Retention::plan`]; [`Error::Unfinished`] if an entry was made and the store then failed. Another run goes on.
    pub async fn run(&self, clock: &Clock) -> Result<Outcome, Error> {
        let mut log = Log::read(&*self.store).await?;
        let catalog = self.catalog(&log, clock).await?;
        let there = self.there().await?;
        // a hold that was placed since counts for what an entry names, too
        log.catch_up(&*self.store).await?;
        self.guard.check(&*self.store, &log).await?;
        let plan = self.planned(&catalog, &there, &log, clock.now_micros());
        self.erase_all(plan.unfinished.iter().map(|name| Path::from(name.as_str())).collect()).await?;
        let (mut entries, mut taken) = (Vec::new(), 0);
        loop {
            // again each time: a hold that came meanwhile counts
            let now = clock.now_micros();
            let Some(entry) = first(self.planned(&catalog, &there, &log, now)) else { break };
            match log.append(&*self.store, &self.notary, (&self.by, now), entry.clone()).await? {
                Some(number) => {
                    taken = 0;
                    entries.push(self.erase(number, &entry).await?);
                }
                None if taken < ATTEMPTS => {
                    taken += 1;
                    log.catch_up(&*self.store).await?;
                    self.guard.check(&*self.store, &log).await?;
                }
                None => {
                    let reason = format!("the next number was taken {ATTEMPTS} times in a row");
                    return Err(refused(&layout::custody(), reason));
                }
            }
        }
        Ok(Outcome { plan, entries })
    }

    async fn catalog(&self, log: &Log, clock: &Clock) -> Result<Catalog, Error> {
        match self.guard.check(&*self.store, log).await? {
            Some(checkpoint) => {
                // a clock that is far ahead would end the time of everything at once
                let now = clock.now_micros();
                if now.saturating_sub(checkpoint.time) > MAX_AHEAD {
                    let (today, then) = (date(now), date(checkpoint.time));
                    let reason = format!(
                        "it is of {then}, and the clock here says {today}: more than a day later; make a checkpoint (a recorder \
                         that runs does), or set the clock"
                    );
                    return Err(refused(&checkpoint.path(), reason));
                }
                Catalog::read(&*self.store, &checkpoint).await
            }
            // nothing is covered, so that nothing is due
            None => Ok(Catalog::default()),
        }
    }

    async fn there(&self) -> Result<There, Error> {
        let mut there = There { keys: BTreeSet::new(), objects: BTreeMap::new() };
        for folder in [layout::keys(), layout::data(), layout::quarantined()] {
            let listed: Vec<_> =
                self.store.list(Some(&folder)).try_collect().await.map_err(Error::store("list", &folder))?;
            for meta in listed {
                match layout::parse_session_key(&meta.location) {
                    Some(session) => drop(there.keys.insert(session)),
                    None => drop(there.objects.insert(meta.location.to_string(), meta.size)),
                }
            }
        }
        Ok(there)
    }

    fn fate(&self, session: &SessionId, facts: &Facts, log: &Log, now: i64) -> Fate {
        if !facts.ended {
            return Fate::Open;
        }
        let Some((class, rule)) = self.rules.iter().enumerate().find(|(_, rule)| rule.covers(facts)) else {
            return Fate::Unclassed;
        };
        if rule.expiry(facts) > now {
            return Fate::Young(class);
        }
        let cases = log.holds().of(session, facts);
        if cases.is_empty() { Fate::Expired(class) } else { Fate::Held(class, cases) }
    }

    fn planned(&self, catalog: &Catalog, there: &There, log: &Log, now: i64) -> Plan {
        let class = |rule: &Rule| ClassPlan {
            class: rule.class.clone(),
            then: rule.then,
            sessions: 0,
            expired: 0,
            shred: Vec::new(),
            delete: Vec::new(),
            bytes: 0,
            held: Vec::new(),
            unsealed: Vec::new(),
        };
        let mut plan = Plan { classes: self.rules.iter().map(class).collect(), ..Plan::default() };
        // of those that may be deleted: when their time was over, and their class
        let mut free: BTreeMap<SessionId, (i64, usize)> = BTreeMap::new();
        for (session, facts) in &catalog.sessions {
            let (number, cases) = match self.fate(session, facts, log, now) {
                Fate::Open => {
                    plan.open += 1;
                    continue;
                }
                Fate::Unclassed => {
                    plan.unclassed += 1;
                    continue;
                }
                Fate::Young(number) => {
                    plan.classes.get_mut(number).into_iter().for_each(|class| class.sessions += 1);
                    continue;
                }
                Fate::Held(number, cases) => (number, Some(cases)),
                Fate::Expired(number) => (number, None),
            };
            let Some((class, rule)) = plan.classes.get_mut(number).zip(self.rules.get(number)) else { continue };
            class.sessions += 1;
            class.expired += 1;
            if let Some(cases) = cases {
                class.held.push(Kept { session: *session, cases });
                continue;
            }
            if rule.then == Then::Delete {
                free.insert(*session, (rule.expiry(facts), number));
            }
            // what stands alone is never sealed: a key of its name is not ours
            if log.shredded(session).is_none() && !facts.alone {
                if there.keys.contains(session) {
                    class.shred.push(*session);
                } else if rule.then == Then::Shred {
                    class.unsealed.push(*session);
                }
            }
        }
        for stored in catalog.objects.iter().filter(|stored| log.deleted(&stored.object.name).is_none()) {
            dispose(stored, &free, there, &mut plan);
        }
        for (path, entry, cases) in unfinished(log, there, catalog) {
            let name = path.to_string();
            if cases.is_empty() {
                plan.unfinished.push(name);
            } else {
                plan.kept.push(Spared { name, entry, cases });
            }
        }
        plan
    }

    /// Erases what an entry names.
    async fn erase(&self, number: u64, entry: &Entry) -> Result<Made, Error> {
        fault::point("recorder.before_erasing");
        let mut made = Made { entry: number, class: String::new(), shredded: 0, deleted: Amount::default() };
        let paths = match entry {
            Entry::Shredded { class, sessions, .. } => {
                made.class.clone_from(class);
                made.shredded = sessions.len() as u64;
                sessions.iter().map(|session| layout::session_key(*session)).collect()
            }
            Entry::Deleted { class, objects, .. } => {
                made.class.clone_from(class);
                objects.iter().for_each(|object| made.deleted.add(object));
                objects.iter().filter_map(|object| erasable(&object.name)).collect()
            }
            Entry::HoldPlaced { .. } | Entry::HoldReleased { .. } => Vec::new(),
        };
        let unfinished = |source| Error::Unfinished { entry: number, source: Box::new(source) };
        self.erase_all(paths).await.map_err(unfinished)?;
        Ok(made)
    }

    async fn erase_all(&self, paths: Vec<Path>) -> Result<(), Error> {
        let erased = stream::iter(paths).map(|path| async move {
            match self.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(source) => Err(Error::store("erase", &path)(source)),
            }
        });
        // all are tried, whatever becomes of one
        let results: Vec<Result<(), Error>> = erased.buffer_unordered(AT_ONCE).collect().await;
        results.into_iter().collect()
    }
}

/// Objects that are erased at once.
const AT_ONCE: usize = 16;

/// How far the clock may be ahead of the last checkpoint, in microseconds.
const MAX_AHEAD: i64 = 24 * 3_600_000_000;

/// Most sessions or objects that one entry names: some megabytes.
const MAX_NAMED: usize = 10_000;

/// Takes an object into the plan, if any session in it may be deleted.
fn dispose(stored: &Stored, free: &BTreeMap<SessionId, (i64, usize)>, there: &There, plan: &mut Plan) {
    let ends: Vec<_> = stored.sessions.iter().map(|session| free.get(session)).collect();
    if ends.iter().all(Option::is_none) {
        return;
    }
    // the class of who let it go last
    let last = ends.into_iter().collect::<Option<Vec<_>>>().and_then(|ends| ends.into_iter().max().copied());
    let Some((_, number)) = last else { return plan.waiting.add(&stored.object) };
    if stored.doubted {
        return plan.doubted.push(stored.object.name.clone());
    }
    let Some(class) = plan.classes.get_mut(number) else { return };
    if there.objects.get(&stored.object.name) != Some(&stored.object.bytes) {
        return plan.missing.push(stored.object.name.clone());
    }
    class.bytes += stored.object.bytes;
    class.delete.push(stored.object.clone());
}

/// The first entry that a plan leads to.
fn first(plan: Plan) -> Option<Entry> {
    plan.classes.into_iter().find_map(|ClassPlan { class, mut shred, mut delete, .. }| {
        let reason = REASON.to_owned();
        if !shred.is_empty() {
            shred.truncate(MAX_NAMED);
            return Some(Entry::Shredded { class, reason, sessions: shred });
        }
        delete.truncate(MAX_NAMED);
        (!delete.is_empty()).then_some(Entry::Deleted { class, reason, objects: delete })
    })
}

/// Why retention disposes of anything.
const REASON: &str = "the time of its class is over";

/// The path of an object that retention may erase, whatever an entry says.
fn erasable(name: &str) -> Option<Path> {
    let path = Path::parse(name).ok()?;
    let is_data =
        layout::parse_data_object(&path).is_some_and(|(p, first, last)| layout::data_object(p, first, last) == path);
    (is_data || layout::parse_quarantine(&path).is_some()).then_some(path)
}

/// What entries name and is still there, with the entry and the cases that keep it now.
fn unfinished(log: &Log, there: &There, catalog: &Catalog) -> Vec<(Path, u64, Vec<String>)> {
    // of what no manifest says anything, every hold may mean it
    let cases = |session: &SessionId| match catalog.sessions.get(session) {
        Some(facts) => log.holds().of(session, facts),
        None => log.holds().of(session, &Facts::unknown()),
    };
    let keys = log.all_shredded().filter(|(session, _)| there.keys.contains(session));
    let keys = keys.map(|(session, by)| (layout::session_key(*session), by.entry, cases(session)));
    let within: BTreeMap<&str, &BTreeSet<SessionId>> =
        catalog.objects.iter().map(|stored| (stored.object.name.as_str(), &stored.sessions)).collect();
    let objects = log.all_deleted().filter(|(name, _)| there.objects.contains_key(name.as_str()));
    let objects = objects.filter_map(|(name, by)| {
        let known = within.get(name.as_str()).filter(|sessions| !sessions.is_empty());
        let kept: BTreeSet<String> = match known {
            Some(sessions) => sessions.iter().flat_map(cases).collect(),
            None => log.holds().all().cloned().collect(),
        };
        Some((erasable(name)?, by.entry, kept.into_iter().collect()))
    });
    keys.chain(objects).collect()
}
