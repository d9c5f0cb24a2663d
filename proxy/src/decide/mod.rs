//! What becomes of a statement: understood by [`judge::sql`], judged by [`judge::policy`], for every meaning that it may
//! have when the server comes to it.
//!
//! A [`Decision`] holds for the text, the possible search paths, the catalog snapshot and the policy version that it was
//! made under; a prepared statement is decided again whenever one of them changed. A [`Permit`] comes only from here,
//! and only with a permit do bytes reach the database (AUD-1).

mod approved;
mod estimated;
mod executed;
mod facts;
mod masked;
mod message;
mod refused;
mod runs;

pub use message::Simple;
pub use refused::Refused;

use crate::{
    decide::estimated::Known,
    decide::facts::{inner_statements, nothing, reads_from_client},
    decide::message::Seen,
    decide::runs::Earlier,
    estimate::{Estimate, Need},
    names::Window,
    paths::Paths,
    record::{self, Record},
    resource::{Resource, View},
    statement::{Names, Origin, Prepared},
};
use judge::{
    mask::{Column, Plan, detect, guard::Guard},
    policy::{Judgement, Subject},
    sql::{Effect, Facts},
};
use schemas::codec::template::Template;
use schemas::event::{Body, Verdict, VerdictKind};
use std::{
    cell::{OnceCell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
};

/// Largest text that a Statement event repeats: the largest that is parsed.
pub const MAX_EVENT_TEXT: usize = 256 << 10;

/// Proof that a verdict allows what follows it.
#[derive(Debug, Clone, Copy)]
pub struct Permit {
    durable_first: bool,
}

impl Permit {
    /// For a message that runs nothing by itself.
    pub(crate) fn plain() -> Self {
        Self { durable_first: false }
    }

    /// For a statement that was decided; `changes`: it may change something, so its record must be durable first.
    pub(crate) fn decided(changes: bool) -> Self {
        Self { durable_first: changes }
    }

    /// Whether the record must be durable before the bytes go.
    pub(crate) fn durable_first(self) -> bool {
        self.durable_first
    }
}

/// What was decided of one statement.
pub struct Decision {
    /// Every set of facts that it may have.
    pub facts: Vec<Arc<Facts>>,
    /// The judgement that holds for all of them.
    pub judgement: Judgement,
    /// What it does to the session.
    pub effects: Vec<Effect>,
    /// It provably changes nothing.
    pub read_only: bool,
    /// The client will stream rows in.
    pub copies_in: bool,
    /// Its settings end with the transaction.
    pub sets_locally: bool,
    walks: bool,
    guard: Option<Guard>,
    /// Whether the planner must be asked before it runs.
    pub(crate) need: Need,
    pub(crate) estimate: Option<Estimate>,
    /// A reviewer's approval counted.
    approved: bool,
    pub(crate) view: Arc<View>,
    event: OnceCell<Template>,
}

impl Decision {
    /// It does not depend on what names of statements and cursors stand for.
    ///
    /// Nor on the time, which some policies read.
    fn is_fixed(&self) -> bool {
        !self.judgement.reads.time
            && !self.effects.iter().any(|e| matches!(e, Effect::Execute { .. } | Effect::Fetch { .. }))
    }

    /// Its rows are masked.
    pub fn masks(&self) -> bool {
        self.judgement.verdict == VerdictKind::Mask
    }

    /// An error of it may quote a protected value.
    pub fn touches_protected(&self) -> bool {
        self.judgement.protected
    }

    /// It may name a value of a column that is protected from anybody.
    pub fn may_name_protected(&self) -> bool {
        self.judgement.protected || self.facts.iter().any(|facts| self.view.bound().concerns(facts))
    }

    /// The Verdict event's body.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = self.view.verdict(&self.judgement, &self.facts);
        verdict.flags.extend(self.estimate_flags());
        verdict
    }

    /// Notes the Verdict event for a run of it.
    ///
    /// # Errors
    /// [`record::Error`].
    pub fn note(&self, number: u64, record: &mut Record) -> Result<(), record::Error> {
        if record.is_sealed() {
            return record.note(Body::Verdict(Verdict { number, ..self.verdict() }));
        }
        let template = match self.event.get() {
            Some(template) => template,
            None => {
                let fresh = Template::new(Body::Verdict(self.verdict())).map_err(record::Error::Encode)?;
                self.event.get_or_init(|| fresh)
            }
        };
        record.note_template(template, number)
    }

    /// What to hide of rows that are described so.
    ///
    /// # Errors
    /// The reason, where the description contradicts the facts.
    pub fn plan(&self, columns: &[Column]) -> Result<Plan, String> {
        self.view.plan(&self.judgement, columns)
    }
}

/// What the names in a message mean when the server comes to it.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// Prepared statements and portals.
    pub names: &'a Names,
    /// The search path.
    pub paths: &'a Paths,
    /// The window that the message belongs to.
    pub window: Window,
}

/// The last decision about a prepared statement, and the version of the search path that it was made under.
pub struct Decided {
    paths: u64,
    decision: Rc<Decision>,
}

/// Decides the statements of one session.
pub struct Decider {
    resource: Arc<Resource>,
    subject: RefCell<Subject>,
    /// The catalog epoch for which a refresh was already waited for.
    refreshed: Option<u64>,
    seen: VecDeque<Seen>,
    pub(crate) approving: approved::Approving,
    /// What an EXECUTE runs is being decided.
    executes: bool,
}

impl Decider {
    /// For a session of this subject on this resource.
    pub fn new(resource: Arc<Resource>, subject: Subject) -> Self {
        let (seen, approving) = (VecDeque::new(), approved::Approving::default());
        Self { resource, subject: RefCell::new(subject), refreshed: None, seen, approving, executes: false }
    }

    /// The resource.
    pub fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    /// A refresh was waited for: what is still unknown then does not exist.
    pub fn refreshed(&mut self) {
        self.refreshed = Some(self.resource.view().epoch());
    }

    /// A statement of this session changed the catalog.
    pub fn catalog_changed(&self) {
        self.resource.stale();
    }

    /// Decides a prepared statement, again if what it was decided under changed.
    ///
    /// # Errors
    /// As [`Decider::simple`].
    pub fn prepared(&mut self, prepared: &Rc<Prepared>, scope: Scope<'_>) -> Result<Rc<Decision>, Refused> {
        let view = self.view()?;
        let version = self.approving.version(scope.paths);
        if let Some(decided) = &*prepared.decided.borrow()
            && Arc::ptr_eq(&decided.decision.view, &view)
            && version == Some(decided.paths)
        {
            return Ok(decided.decision.clone());
        }
        let readings = self.read(&view, &prepared.text, scope)?;
        let mut facts = Vec::new();
        for reading in &readings {
            match (&**reading, prepared.origin) {
                ([], _) => facts.push(Arc::new(nothing())),
                ([one], Origin::Parse) => facts.push(one.clone()),
                (all, Origin::Prepare) => facts.extend(inner_statements(all)),
                _ => {
                    let text = "cannot insert multiple commands into a prepared statement";
                    return Err(Refused::because("42601", "builtin:grammar", text, "prepare one statement at a time"));
                }
            }
        }
        let decision = self.resolve(&view, facts, scope, &Earlier::default())?;
        *prepared.decided.borrow_mut() =
            version.filter(|_| decision.is_fixed()).map(|paths| Decided { paths, decision: decision.clone() });
        Ok(decision)
    }

    /// Decides what a name stands for, where several answers are possible for all of them.
    ///
    /// # Errors
    /// As [`Decider::simple`]; [`Refused::unknown_name`] where it stands for nothing.
    pub fn candidates(&mut self, candidates: &[Rc<Prepared>], scope: Scope<'_>) -> Result<Rc<Decision>, Refused> {
        match candidates {
            [] => Err(Refused::unknown_name("prepared statement", "", "does not exist")),
            [one] => self.prepared(one, scope),
            more => {
                let view = self.view()?;
                let mut facts = Vec::new();
                for prepared in more {
                    facts.extend(self.prepared(prepared, scope)?.facts.iter().cloned());
                    executed::few(&facts)?;
                }
                let effects = facts.iter().flat_map(|f| f.effects.clone()).collect();
                self.decide(&view, facts, effects)
            }
        }
    }

    /// What is looked for in what the server says besides rows.
    pub fn detectors(&self) -> detect::Set {
        self.resource.view().detectors(&self.subject.borrow())
    }

    /// The Verdict event of a statement that was not even understood.
    pub fn verdict_of(&self, number: u64, refused: &Refused) -> Verdict {
        let policy = match refused {
            Refused::CatalogTooOld => "builtin:catalog".to_owned(),
            Refused::Because { policy, .. } => policy.clone(),
        };
        Verdict {
            number,
            verdict: VerdictKind::Deny,
            reason: refused.reason().to_owned(),
            policies: vec![policy],
            policy_version: self.resource.view().policy_version(),
            kind: "UNKNOWN".to_owned(),
            read_only: false,
            opaque: true,
            relations: Vec::new(),
            columns: Vec::new(),
            functions: Vec::new(),
            fingerprint: String::new(),
            flags: Vec::new(),
            shape: None,
        }
    }

    fn view(&self) -> Result<Arc<View>, Refused> {
        let view = self.resource.view();
        if self.resource.is_stale() { Err(Refused::CatalogTooOld) } else { Ok(view) }
    }

    fn decide(&self, view: &Arc<View>, facts: Vec<Arc<Facts>>, effects: Vec<Effect>) -> Result<Rc<Decision>, Refused> {
        if facts.is_empty() {
            return Err(Refused::unknown_name("statement", "", "has no meaning here"));
        }
        Ok(self.decide_under(view, facts, effects))
    }

    fn decide_under(&self, view: &Arc<View>, facts: Vec<Arc<Facts>>, effects: Vec<Effect>) -> Rc<Decision> {
        self.decide_with(view, facts, effects, Known::Nothing)
    }

    /// Decides, with what is known of the planner's estimate.
    fn decide_with(
        &self,
        view: &Arc<View>,
        facts: Vec<Arc<Facts>>,
        effects: Vec<Effect>,
        known: Known,
    ) -> Rc<Decision> {
        let mut subject = self.subject.borrow_mut();
        let (mut judgement, need) = self.judged(view, &facts, &subject, known);
        let guard = view.guard(&facts, &mut judgement);
        if matches!(judgement.verdict, VerdictKind::Allow | VerdictKind::Mask) {
            facts.iter().for_each(|f| subject.note_temporary(f));
        }
        let walks = view.walks(&judgement);
        let runs_another = effects.iter().any(|e| matches!(e, Effect::Execute { .. } | Effect::Fetch { .. }));
        let read_only = facts.iter().skip(usize::from(runs_another && facts.len() > 1)).all(|f| f.read_only);
        Rc::new(Decision {
            read_only,
            copies_in: facts.iter().any(|f| reads_from_client(f)),
            sets_locally: effects.iter().any(|e| matches!(e, Effect::Set { local: true, .. })),
            facts,
            judgement,
            effects,
            walks,
            guard,
            need,
            estimate: known.estimate(),
            approved: self.approving.is_approved(),
            view: view.clone(),
            event: OnceCell::new(),
        })
    }
}
