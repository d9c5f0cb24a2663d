//! A registered database: where it is, who may connect, and the current view of its catalog under the current rules.
//!
//! A [`View`] is immutable; sessions take the current one for each statement. One thread of the node refreshes the
//! catalogs: at the configured interval, and whenever a session asks because it meets a name that the view does not know
//! or because a statement changed the catalog. A view whose rows did not change stays the same, so that decisions made
//! under it stay good.

mod definitions;
mod keeping;
mod reload;

pub use keeping::refresh_all;

pub(crate) use definitions::Definitions;

use crate::{
    ask, budget, chain, claim,
    config::ResourceConfig,
    dlp::Provider,
    estimate,
    evidence::ResultEvidence,
    limits,
    paths::Path,
    policies::PolicyFiles,
    scope,
    upstream::{self, Database},
    values::RecordedValues,
};
use judge::{
    mask::{self, Column, Plan},
    policy::{self, Bound, Denial, Judgement, Rules, Subject},
    sql::{
        self, Cache, Catalog, Facts, Limits,
        catalog::QUERIES,
        shape::{Shape, Shapes},
    },
};
use schemas::event::Verdict;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// A refresh that a session waits for may take this long.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(20);

/// A reading that takes longer is given up: nobody may ever answer on its connection, and all that follow wait for it.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// After a failed refresh the next attempt waits this long, unless a session asks.
const RETRY: Duration = Duration::from_secs(1);

thread_local! {
    /// What policies answered on this thread.
    static ANSWERS: RefCell<policy::Cache> = RefCell::new(policy::Cache::default());
    static CACHE: RefCell<Option<(Cache, Shapes)>> = const { RefCell::new(None) };
}

/// A catalog snapshot under a version of the rules.
pub struct View {
    catalog: Arc<Catalog>,
    pub(crate) definitions: Arc<Definitions>,
    bound: Bound,
    epoch: u64,
    resource: u64,
    cache_bytes: usize,
    tripwire: bool,
}

impl View {
    /// Changes whenever the catalog's rows did.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Changes whenever the rules did.
    pub fn version(&self) -> &str {
        self.bound.version()
    }

    /// The version of the rules, as events name it.
    pub fn policy_version(&self) -> String {
        self.bound.version().to_owned()
    }

    /// The names that there are.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The rules over the catalog.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// There is something to protect.
    pub fn protects(&self) -> bool {
        self.bound.protects()
    }

    /// What each statement of a text touches. Answered from the worker's cache where the text was seen before, or one of
    /// its shape; the facts' `text` is then that one's.
    ///
    /// # Errors
    /// [`sql::Error`].
    pub fn analyze(&self, text: &str, path: &Path) -> Result<Arc<[Arc<Facts>]>, sql::Error> {
        let key = sql::cache::Key { text, search_path: path, epoch: self.epoch, extra: self.resource };
        CACHE.with_borrow_mut(|cache| {
            let (cache, shapes) = cache.get_or_insert_with(|| (Cache::new(self.cache_bytes), Shapes::default()));
            if let Some(facts) = cache.get(&key) {
                return Ok(facts);
            }
            let shape = Shape::of(text);
            let common = shape.as_ref().and_then(|shape| shapes.common(text, shape));
            if let Some(facts) = common.and_then(|common| cache.get(&sql::cache::Key { text: &common, ..key })) {
                return Ok(facts);
            }
            let context = sql::Context {
                catalog: &self.catalog,
                search_path: path,
                limits: Limits::default(),
                tripwire: self.tripwire,
            };
            let (facts, free) = sql::analyze_with_free(text, &context)?;
            let facts: Arc<[Arc<Facts>]> = facts.into_iter().map(Arc::new).collect();
            // that a constant is a placeholder is true of this text alone
            let alike = facts.iter().all(|f| f.placeholders.is_empty());
            let common = shape.filter(|_| alike).and_then(|shape| shapes.learn(text, &shape, &free));
            cache.insert(&sql::cache::Key { text: common.as_deref().unwrap_or(text), ..key }, facts.clone());
            Ok(facts)
        })
    }

    /// What becomes of a statement with these facts.
    pub fn judge(&self, facts: &Facts, subject: &Subject, context: &policy::Context) -> Judgement {
        ANSWERS.with_borrow_mut(|cache| policy::decide(facts, &self.bound, subject, context, cache))
    }

    /// The same catalog under other rules.
    fn under(&self, rules: &Rules) -> Self {
        let bound = rules.bind(&*self.catalog);
        Self { catalog: self.catalog.clone(), definitions: self.definitions.clone(), bound, ..*self }
    }

    /// The body of the Verdict event.
    pub fn verdict(&self, judgement: &Judgement, facts: &[Arc<Facts>]) -> Verdict {
        let first = facts.first();
        let mut functions: Vec<String> = facts.iter().flat_map(|f| f.functions.iter().cloned()).collect();
        functions.sort();
        functions.dedup();
        let mut flags: Vec<String> = facts.iter().flat_map(|f| f.flags.iter().cloned()).collect();
        flags.sort();
        flags.dedup();
        Verdict {
            number: 0,
            verdict: judgement.verdict,
            reason: judgement.reason.clone(),
            policies: judgement.policies.clone(),
            policy_version: self.policy_version(),
            kind: first.map(|f| f.kind.clone()).unwrap_or_default(),
            read_only: facts.iter().all(|f| f.read_only),
            opaque: facts.iter().any(|f| f.reaches_unknown()),
            relations: judgement.relations.clone(),
            columns: judgement.columns.clone(),
            functions,
            fingerprint: first.map(|f| f.fingerprint.clone()).unwrap_or_default(),
            flags,
            shape: None,
        }
    }

    /// What to hide of rows that are described so.
    ///
    /// # Errors
    /// The reason, where the description contradicts the facts.
    pub fn plan(&self, judgement: &Judgement, columns: &[Column]) -> Result<Plan, String> {
        let mut columns = columns.to_vec();
        for column in &mut columns {
            column.type_id = self.catalog.wire_type(column.type_id);
        }
        mask::plan(judgement, &self.bound, &columns).map_err(|error| error.to_string())
    }

    /// Whether rows of a statement must be walked.
    pub fn walks(&self, judgement: &Judgement) -> bool {
        mask::walks(judgement, &self.bound)
    }

    /// What is looked for in what the server says besides rows.
    pub fn detectors(&self, subject: &Subject) -> mask::detect::Set {
        ANSWERS.with_borrow_mut(|cache| policy::detectors(&self.bound, subject, &now(), cache))
    }

    /// What to hide of the rows of a COPY to the client.
    ///
    /// # Errors
    /// The reason, where the server sends other columns than the facts say.
    pub fn copy_out(
        &self,
        judgement: &Judgement,
        facts: &Facts,
        columns: usize,
        binary: bool,
    ) -> Result<mask::copy::Stream, String> {
        let plan = mask::copy::plan(judgement, facts, &self.bound, &self.catalog, columns, binary);
        let (plan, format) = plan.map_err(|error| error.to_string())?;
        Ok(mask::copy::Stream::new(Rc::new(plan), format))
    }

    /// What the rows of a COPY from the client may not hold.
    ///
    /// # Errors
    /// The reason, where they cannot be walked.
    pub fn copy_in(&self, judgement: &Judgement, facts: &Facts) -> Result<Option<mask::copy::Inbound>, String> {
        mask::guard::of_copy(facts, judgement, &self.bound).map_err(|error| error.to_string())
    }

    /// What parameters of a statement with these facts may not be; denies it where a constant is such already.
    pub fn guard(&self, facts: &[Arc<Facts>], judgement: &mut Judgement) -> Option<mask::guard::Guard> {
        mask::guard::judge(facts.iter().map(AsRef::as_ref), judgement, &self.bound)
    }
}

/// A registered database.
pub struct Resource {
    /// The name that agents give.
    pub name: String,
    /// Where it is.
    pub database: Database,
    /// Who is asked about values of some columns.
    pub provider: Option<Arc<Provider>>,
    /// Roles of the database that clients may give as their user name.
    pub users: Vec<String>,
    /// Connecting needs a grant or standing access by name.
    pub by_request: bool,
    /// Rows that sessions may write.
    pub budget: Option<budget::Limits>,
    /// What one identity and one statement may take.
    pub limits: limits::Limits,
    /// When the planner is asked for estimates.
    pub estimates: estimate::Settings,
    /// How much of results the record of its sessions keeps.
    pub evidence: ResultEvidence,
    /// The payloads of its sessions are sealed.
    pub sealed: bool,
    /// Which values that statements name stay in the record.
    pub values: RecordedValues,
    /// The roles of its sessions, where each has its own.
    pub leases: Option<scope::Leases>,
    /// What identities take of it on this node.
    pub usage: Arc<limits::Usage>,
    rules: RwLock<Arc<Rules>>,
    files: PolicyFiles,
    reload: Notify,
    number: u64,
    cache_bytes: usize,
    tripwire: bool,
    interval: Duration,
    view: RwLock<Arc<View>>,
    roles: RwLock<BTreeSet<String>>,
    /// How often the catalog changed as far as the gate knows, and up to which change the view was read.
    changes: AtomicU64,
    read: AtomicU64,
    asked: AtomicU64,
    wake: Notify,
    /// The number of the last question that a refresh answered, and how it ended.
    answered: watch::Sender<(u64, Result<(), String>)>,
}

impl Resource {
    /// Not read yet: see [`refresh_all`].
    pub fn new(config: &ResourceConfig, cache_bytes: usize, tripwire: bool) -> Self {
        let mut hasher = DefaultHasher::new();
        config.name.hash(&mut hasher);
        let number = hasher.finish();
        let catalog = Arc::new(Catalog::default());
        let bound = config.rules.bind(&*catalog);
        let empty = Arc::new(View {
            catalog,
            definitions: Arc::default(),
            bound,
            epoch: 0,
            resource: number,
            cache_bytes,
            tripwire,
        });
        Self {
            name: config.name.clone(),
            database: config.database.clone(),
            rules: RwLock::new(Arc::new(config.rules.clone())),
            files: config.files.clone(),
            reload: Notify::new(),
            provider: None,
            leases: None,
            users: config.users.clone(),
            by_request: config.by_request,
            budget: config.budget,
            limits: config.limits,
            estimates: config.estimates,
            evidence: config.evidence,
            sealed: config.sealed,
            values: config.values,
            usage: Arc::default(),
            number,
            cache_bytes,
            tripwire,
            interval: config.catalog_refresh,
            view: RwLock::new(empty),
            roles: RwLock::default(),
            changes: AtomicU64::new(1),
            read: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            wake: Notify::new(),
            answered: watch::Sender::new((0, Err("it was not read yet".to_owned()))),
        }
    }

    /// Whether somebody may connect at all.
    ///
    /// # Errors
    /// [`Denial`] with the reason.
    pub fn may_connect(&self, subject: &Subject) -> Result<(), Denial> {
        self.view().bound.may_connect(subject, &now())
    }

    /// The current view. Before the first refresh, one of an empty catalog, which is stale.
    pub fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A statement changed the catalog: nothing is decided under the old view any more.
    pub fn stale(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the database had a role of this name when its catalog was read last.
    pub fn is_role(&self, name: &str) -> bool {
        self.roles.read().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// Whether the view must be refreshed before the next decision.
    pub fn is_stale(&self) -> bool {
        self.read.load(Ordering::Acquire) < self.changes.load(Ordering::Acquire)
    }

    /// Waits until there is a view.
    ///
    /// # Errors
    /// The reason why there is none.
    pub async fn ready(&self) -> Result<(), String> {
        if self.is_stale() { self.refresh().await } else { Ok(()) }
    }

    /// Waits for a refresh that begins after this call. Many may wait for the same one.
    ///
    /// # Errors
    /// The reason why it failed, safe to tell.
    pub async fn refresh(&self) -> Result<(), String> {
        let mine = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut answered = self.answered.subscribe();
        self.wake.notify_one();
        let answer = tokio::time::timeout(REFRESH_TIMEOUT, answered.wait_for(|(number, _)| *number >= mine)).await;
        match answer {
            Ok(Ok(answer)) => answer.1.clone(),
            Ok(Err(_)) => Err("the gate is shutting down".to_owned()),
            Err(_) => Err("reading it took too long".to_owned()),
        }
    }

    /// Refreshes for ever: at the interval, and when asked.
    async fn keep_fresh(&self) {
        let mut wait = Duration::ZERO;
        loop {
            // the timeout is the interval: running out is the ordinary case
            if tokio::time::timeout(wait, self.wake.notified()).await.is_err() {
                tracing::trace!(resource = %self.name, "catalog refresh is due");
            }
            let asked = self.asked.load(Ordering::Acquire);
            let changes = self.changes.load(Ordering::Acquire);
            let outcome = self.read_catalog().await;
            wait = if outcome.is_ok() { self.interval } else { RETRY };
            match &outcome {
                Ok(()) => self.read.store(changes, Ordering::Release),
                Err(reason) => tracing::warn!(resource = %self.name, %reason, "cannot read the catalog"),
            }
            drop(self.answered.send_replace((asked, outcome)));
        }
    }

    async fn read_catalog(&self) -> Result<(), String> {
        self.read_within(READ_TIMEOUT).await
    }

    async fn read_within(&self, limit: Duration) -> Result<(), String> {
        let outcome = tokio::time::timeout(limit, self.read_all()).await;
        outcome.unwrap_or_else(|_| Err(format!("the database did not tell its catalog within {limit:?}")))
    }

    async fn read_all(&self) -> Result<(), String> {
        let mut upstream = upstream::connect(&self.database, &gate_parameters()).await.map_err(|e| e.to_client())?;
        let mut sql = "BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ;".to_owned();
        for (_, query) in QUERIES {
            sql.push_str(query);
            sql.push(';');
        }
        sql.push_str(claim::ROLES);
        sql.push_str(";COMMIT");
        let mut rows = ask::ask(&mut upstream, &sql).await.map_err(|error| chain(&error))?;
        // no part of the view: that a role comes or goes changes no decision about a statement
        let roles = rows.pop().into_iter().flatten().filter_map(|row| row.into_iter().next().flatten()).collect();
        *self.roles.write().unwrap_or_else(PoisonError::into_inner) = roles;
        let mut hasher = DefaultHasher::new();
        rows.hash(&mut hasher);
        // 0 stands for the empty catalog
        let epoch = hasher.finish().max(1);
        if self.view().epoch == epoch {
            return Ok(());
        }
        let catalog = Arc::new(Catalog::build(epoch, &rows).map_err(|error| chain(&error))?);
        let bound = self.rules().bind(&*catalog);
        for unknown in bound.unknown() {
            tracing::warn!(resource = %self.name, column = %unknown, "a masking rule names a column that does not exist");
        }
        let view = View {
            catalog,
            definitions: Arc::new(Definitions::read(&rows)),
            bound,
            epoch,
            resource: self.number,
            cache_bytes: self.cache_bytes,
            tripwire: self.tripwire,
        };
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        tracing::info!(resource = %self.name, epoch, "catalog read");
        Ok(())
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The circumstances of a decision that is made now.
pub fn now() -> policy::Context {
    policy::Context { now: crate::record::now() / 1_000, ..policy::Context::default() }
}

impl Resource {
    /// With a catalog of these rows, just read: for tests and [`crate::testing`].
    pub(crate) fn with_catalog(
        config: &ResourceConfig,
        rows: &[sql::catalog::Rows],
    ) -> Result<Self, sql::catalog::Error> {
        let resource = Self::new(config, 1 << 20, false);
        let catalog = Arc::new(Catalog::build(1, rows)?);
        let bound = resource.rules().bind(&*catalog);
        let view = View {
            catalog,
            definitions: Arc::new(Definitions::read(rows)),
            bound,
            epoch: 1,
            resource: resource.number,
            cache_bytes: 1 << 20,
            tripwire: false,
        };
        *resource.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        resource.read.store(resource.changes.load(Ordering::Acquire), Ordering::Release);
        Ok(resource)
    }
}

fn gate_parameters() -> BTreeMap<String, String> {
    BTreeMap::from([("application_name".to_owned(), "postern catalog".to_owned())])
}

/// Reads a resource's catalog once, for questions about policies. Blocks.
///
/// # Errors
/// Why it cannot be read, in words.
pub fn read_once(config: &ResourceConfig) -> Result<Arc<View>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let resource = Resource::new(config, 0, false);
    runtime.block_on(resource.read_catalog())?;
    Ok(resource.view())
}

#[cfg(test)]
mod tests;
