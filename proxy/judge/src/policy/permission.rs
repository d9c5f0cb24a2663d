//! What the policies say of a statement: its facts become questions, and the answers one outcome.
//!
//! | the facts name | question |
//! |---|---|
//! | any statement | `run` on the resource |
//! | a relation and what is done to it | that action on the Table |
//! | a function outside the list of pure ones | `execute` on the Function |
//! | a change of a setting | `set` on the Setting |
//! | a kind that concerns no relation: CREATE EXTENSION, DROP DATABASE, GRANT, LISTEN, EXPLAIN, DO | its action on the resource |
//! | a classified column | `read_clear` on the Column |
//!
//! What is reached through a view, a partition or a child needs no permission of its own, as in PostgreSQL; a policy that
//! forbids it counts. Answers are remembered where nothing that decided them changes by itself.

use super::{
    Context,
    bound::{Bound, Exempt, Rule},
    cedar::{Answer, Approval, Object, Reads, Situation, Subject},
    closed,
};
use crate::{
    mask::detect,
    sql::{Action, Effect, Facts, RelationUse},
};
use schemas::event::VerdictKind;
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// Answers that one cache keeps at most; then it begins anew.
const MAX_ANSWERS: usize = 50_000;

/// Milliseconds of a minute.
const MINUTE: i64 = 60_000;

/// Bytes of names that one cache keeps at most.
const MAX_BYTES: usize = 8 << 20;

/// Who asks, under which policies, in which situation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    bound: u64,
    subject: Arc<str>,
    situation: Situation,
}

#[derive(Debug, Default)]
struct Known {
    exempt: Option<Exempt>,
    answers: HashMap<&'static str, HashMap<String, Arc<Answer>>>,
}

/// Answers that were given before. Bounded; not shared: one for each thread.
#[derive(Debug, Default)]
pub struct Cache {
    places: HashMap<Place, Known>,
    count: usize,
    bytes: usize,
}

impl Cache {
    fn at(&mut self, place: &Place) -> &mut Known {
        if self.count > MAX_ANSWERS || self.bytes > MAX_BYTES {
            *self = Self::default();
        }
        if !self.places.contains_key(place) {
            self.count += 1;
            self.bytes += place.subject.len() + place.situation.kind.len() + size_of::<Place>() + size_of::<Known>();
        }
        self.places.entry(place.clone()).or_default()
    }
}

/// What the policies say of a whole statement.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) verdict: VerdictKind,
    pub(super) reason: String,
    pub(super) hint: String,
    pub(super) policies: Vec<String>,
    pub(super) holds: Vec<Approval>,
}

/// A question.
struct Question<'a> {
    action: &'static str,
    object: Object<'a>,
    /// Only what forbids it counts.
    indirect: bool,
}

/// Asks for one subject, in one situation.
pub(super) struct Asker<'a> {
    bound: &'a Bound,
    subject: &'a Subject,
    place: Place,
    cache: &'a mut Cache,
    now: i64,
    pub(super) reads: Reads,
}

fn name_of(object: Object<'_>) -> &str {
    match object {
        Object::Resource => "",
        Object::Table { name, .. }
        | Object::Column { name, .. }
        | Object::Function { name, .. }
        | Object::Setting { name, .. } => name,
    }
}

/// What answers about an object are remembered by.
fn key(object: Object<'_>) -> String {
    match object {
        Object::Resource => String::new(),
        Object::Table { name, .. } => format!("t {name}"),
        Object::Column { name, .. } => format!("c {name}"),
        Object::Function { name, .. } => format!("f {name}"),
        Object::Setting { name, value, .. } => format!("s {name} {value:?}"),
    }
}

/// The situation in which a question that reads this is asked. Its hour, minute and weekday are those of the whole minute.
fn at(place: &Place, reads: Reads, now: i64) -> Cow<'_, Place> {
    let now = match reads {
        Reads { instant: true, .. } => now,
        Reads { time: true, .. } => now - now.rem_euclid(MINUTE),
        _ => return Cow::Borrowed(place),
    };
    Cow::Owned(Place { situation: Situation { now, ..place.situation.clone() }, ..place.clone() })
}

impl<'a> Asker<'a> {
    pub(super) fn new(
        bound: &'a Bound,
        subject: &'a Subject,
        facts: &Facts,
        context: &Context,
        cache: &'a mut Cache,
    ) -> Self {
        let situation = Situation {
            kind: facts.kind.clone(),
            read_only: facts.read_only,
            opaque: facts.opaque.is_some(),
            unbounded: facts.unbounded_write || facts.relations.iter().any(|used| subject.may_write_through(used)),
            copies_out: copies_out(facts),
            server_side: facts.copies_server_side,
            clear: BTreeSet::new(),
            approved: context.approved,
            now: 0,
            rows: context.estimated_rows,
            cost: context.estimated_cost,
        };
        let place = Place { bound: bound.number(), subject: subject.key().clone(), situation };
        Self { bound, subject, place, cache, now: context.now, reads: Reads::default() }
    }

    fn ask(&mut self, action: &'static str, object: Object<'_>) -> Arc<Answer> {
        let Some(set) = self.bound.set() else {
            return Arc::new(Answer { failed: Some("they do not compile".to_owned()), ..Answer::default() });
        };
        let reads = set.reads(action, self.subject);
        self.reads = self.reads.or(reads);
        let place = at(&self.place, reads, self.now);
        if reads.instant {
            return Arc::new(set.ask(self.subject, action, object, &place.situation));
        }
        let known = self.cache.at(&place);
        let key = key(object);
        if let Some(answer) = known.answers.get(action).and_then(|answers| answers.get(&key)) {
            return answer.clone();
        }
        let answer = Arc::new(set.ask(self.subject, action, object, &place.situation));
        let bytes = key.len() + size_of::<Answer>();
        known.answers.entry(action).or_default().insert(key, answer.clone());
        self.cache.count += 1;
        self.cache.bytes += bytes;
        answer
    }

    /// Which masking rules do not hold for the subject.
    pub(super) fn exempt(&mut self) -> Exempt {
        let reads = self.bound.set().map(|set| set.reads("read_clear", self.subject)).unwrap_or_default();
        let place = at(&self.place, reads, self.now).into_owned();
        if !reads.instant
            && let Some(exempt) = self.cache.at(&place).exempt.clone()
        {
            self.reads = self.reads.or(reads);
            return exempt;
        }
        let bound = self.bound;
        let clear = |rule: &Rule| {
            let object = Object::Column { name: &rule.column, label: rule.label.as_deref() };
            !rule.closed && self.ask("read_clear", object).allowed
        };
        let exempt: Exempt = bound.all_rules().iter().map(clear).collect();
        if !reads.instant {
            self.cache.at(&place).exempt = Some(exempt.clone());
        }
        exempt
    }

    /// Whether a masked column may choose, join, group or order rows.
    pub(super) fn may_filter(&mut self, rule: &Rule) -> bool {
        !rule.closed && self.ask("filter", Object::Column { name: &rule.column, label: rule.label.as_deref() }).allowed
    }

    /// What the policies say of the whole statement; `clear` are the labels that its answer shows in clear.
    pub(super) fn statement(&mut self, facts: &Facts, clear: BTreeSet<String>) -> Outcome {
        self.place.situation.clear = clear;
        let names = names(facts, self.subject);
        let questions = questions(facts, self.bound, &names);
        let outcome = self.outcome(&questions);
        if outcome.verdict != VerdictKind::Hold {
            return outcome;
        }
        // a hold that no approval could release is a denial
        self.place.situation.approved = true;
        let released = self.outcome(&questions);
        self.place.situation.approved = false;
        if released.verdict == VerdictKind::Allow { outcome } else { released }
    }

    fn outcome(&mut self, questions: &[Question<'_>]) -> Outcome {
        let mut permits = BTreeSet::new();
        let mut denied: Option<(usize, Outcome)> = None;
        let mut held: Option<(usize, Outcome)> = None;
        let (mut forbids, mut holds) = (BTreeSet::new(), BTreeSet::new());
        for question in questions {
            let answer = self.ask(question.action, question.object);
            let unpermitted = answer.policies.is_empty() && answer.failed.is_none();
            if answer.allowed {
                permits.extend(answer.policies.iter().copied());
                continue;
            }
            if question.indirect && unpermitted {
                continue;
            }
            forbids.extend(answer.policies.iter().copied());
            let rank = answer.policies.first().copied().unwrap_or(usize::MAX);
            let outcome = self.refusal(question, &answer);
            holds.extend(outcome.holds.iter().cloned());
            let worst = if outcome.verdict == VerdictKind::Hold { &mut held } else { &mut denied };
            if worst.as_ref().is_none_or(|(best, _)| rank < *best) {
                *worst = Some((rank, outcome));
            }
        }
        let Some((_, mut outcome)) = denied.or(held) else {
            let policies = self.ids(permits);
            return Outcome {
                verdict: VerdictKind::Allow,
                reason: String::new(),
                hint: String::new(),
                policies,
                holds: Vec::new(),
            };
        };
        let more: Vec<String> = self.ids(forbids).into_iter().filter(|id| !outcome.policies.contains(id)).collect();
        outcome.policies.extend(more);
        if outcome.verdict == VerdictKind::Hold {
            let names: Vec<String> = holds.iter().map(ToString::to_string).collect();
            outcome.reason = format!("{}; it needs approval by {}", outcome.reason, names.join(" and "));
            outcome.holds = holds.into_iter().collect();
        }
        outcome
    }

    fn ids(&self, ranks: BTreeSet<usize>) -> Vec<String> {
        let set = self.bound.set();
        ranks.into_iter().filter_map(|rank| Some(set?.policy(rank)?.id.clone())).collect()
    }

    fn refusal(&self, question: &Question<'_>, answer: &Answer) -> Outcome {
        let object = match name_of(question.object) {
            "" => "this resource",
            name => name,
        };
        let what = format!("{} on {object}", question.action);
        let no = |id: &str, reason: String, hint: &str| Outcome {
            verdict: VerdictKind::Deny,
            reason,
            hint: hint.to_owned(),
            policies: vec![id.to_owned()],
            holds: Vec::new(),
        };
        if let Some(failed) = &answer.failed {
            let hint = "ask who wrote the policies to correct them";
            return no("builtin:policy", format!("the policies cannot be evaluated for {what}: {failed}"), hint);
        }
        let set = self.bound.set();
        let all: Vec<_> = answer.policies.iter().filter_map(|rank| set?.policy(*rank)).collect();
        let Some(first) = all.iter().find(|policy| policy.hold.is_none()).or(all.first()) else {
            let hint = "ask the owner of the data for a policy that permits it";
            return no("default:deny", format!("no policy permits {what}"), hint);
        };
        let reason = match &first.reason {
            Some(reason) => format!("{reason} ({what})"),
            None => format!("a policy forbids {what}"),
        };
        let hint = first.hint.as_deref().unwrap_or("do without it, or ask the owner of the data");
        let mut outcome = no(&first.id, reason, hint);
        let holds: Vec<Approval> = all.iter().filter_map(|policy| policy.hold.clone()).collect();
        if !all.is_empty() && holds.len() == all.len() {
            outcome.verdict = VerdictKind::Hold;
            outcome.holds = holds;
        }
        outcome
    }
}

/// What is looked for in what a server says to somebody besides rows.
pub fn detectors(bound: &Bound, subject: &Subject, context: &Context, cache: &mut Cache) -> detect::Set {
    bound.detectors(&exempt(bound, subject, context, cache))
}

/// Which masking rules do not hold for somebody.
pub(super) fn exempt(bound: &Bound, subject: &Subject, context: &Context, cache: &mut Cache) -> Exempt {
    Asker::new(bound, subject, &Facts::default(), context, cache).exempt()
}

/// One question that was put to the policies about a statement, and the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The action.
    pub action: String,
    /// Its object; empty for the resource as a whole.
    pub object: String,
    /// Reached through something else: only what forbids it counts.
    pub indirect: bool,
    /// Permitted and not forbidden.
    pub allowed: bool,
    /// The policies that decided; none: nothing permits it.
    pub policies: Vec<String>,
}

/// Every question that a statement puts to the policies, with its answer.
pub fn explain(facts: &Facts, bound: &Bound, subject: &Subject, context: &Context) -> Vec<Asked> {
    let mut cache = Cache::default();
    let mut asker = Asker::new(bound, subject, facts, context, &mut cache);
    let names = names(facts, subject);
    let mut all = questions(facts, bound, &names);
    let hidden = vec![false; bound.all_rules().len()];
    let named: BTreeSet<&str> = facts
        .columns
        .iter()
        .flat_map(|used| bound.rules(used.column, &hidden))
        .map(|rule| rule.column.as_str())
        .collect();
    for rule in bound.all_rules().iter().filter(|rule| !rule.closed && named.contains(rule.column.as_str())) {
        let object = Object::Column { name: &rule.column, label: rule.label.as_deref() };
        all.push(Question { action: "read_clear", object, indirect: false });
    }
    let mut asked = |question: &Question<'_>| {
        let answer = asker.ask(question.action, question.object);
        Asked {
            action: question.action.to_owned(),
            object: name_of(question.object).to_owned(),
            indirect: question.indirect,
            allowed: answer.allowed,
            policies: asker.ids(answer.policies.iter().copied().collect()),
        }
    };
    all.iter().map(&mut asked).collect()
}

fn copies_out(facts: &Facts) -> bool {
    let out = |used: &RelationUse| !used.actions.contains(&Action::CopyIn);
    facts.kind == "COPY" && (facts.outputs.is_some() || facts.relations.iter().all(out))
}

/// The relations' names, those of the session's temporary tables qualified.
fn names<'a>(facts: &'a Facts, subject: &Subject) -> Vec<Cow<'a, str>> {
    let name = |used: &'a RelationUse| match used.id {
        // not known to be a temporary table, so without the schema that would say so
        None if subject.may_write_through(used) => {
            Cow::Borrowed(used.name.strip_prefix("pg_temp.").unwrap_or(&used.name))
        }
        None if subject.made(&used.name) => Cow::Owned(format!("pg_temp.{}", used.name)),
        _ => Cow::Borrowed(used.name.as_str()),
    };
    facts.relations.iter().map(name).collect()
}

fn questions<'a>(facts: &'a Facts, bound: &'a Bound, names: &'a [Cow<'a, str>]) -> Vec<Question<'a>> {
    let ask = |action, object| Question { action, object, indirect: false };
    let mut all = vec![ask("run", Object::Resource)];
    let copies = copies_out(facts);
    for (used, name) in facts.relations.iter().zip(names) {
        let object = Object::Table { name, labels: bound.labels(used.id) };
        let mut add = |action| all.push(Question { action, object, indirect: used.indirect });
        for action in &used.actions {
            add(word(*action));
        }
        if copies && used.actions.contains(&Action::Select) {
            add("copy_out");
        }
    }
    for name in &facts.functions {
        all.push(ask("execute", Object::Function { name, listed: bound.may_call(name) }));
    }
    for effect in &facts.effects {
        if let Effect::Set { name, value, .. } = effect {
            let meaning = closed::setting(name, value.as_deref()).is_some();
            all.push(ask("set", Object::Setting { name, value: value.as_deref(), meaning }));
        }
    }
    all.extend(on_resource(facts).map(|action| ask(action, Object::Resource)));
    all
}

/// The action of a kind of statement on the database as a whole, where no relation stands for it.
fn on_resource(facts: &Facts) -> Option<&'static str> {
    let kind = facts.kind.as_str();
    let on = |actions: &[Action]| facts.relations.iter().any(|used| actions.iter().any(|a| used.actions.contains(a)));
    let first = kind.split(' ').next().unwrap_or_default();
    match first {
        "GRANT" | "REVOKE" | "REASSIGN" => Some("grant"),
        "LISTEN" | "NOTIFY" => Some("listen"),
        "EXPLAIN" => Some("explain"),
        "DO" | "CALL" | "LOAD" => Some("execute"),
        "PREPARE" | "COMMIT" | "ROLLBACK"
            if matches!(kind, "PREPARE TRANSACTION" | "COMMIT PREPARED" | "ROLLBACK PREPARED") =>
        {
            Some("prepare_transaction")
        }
        "CREATE" | "ALTER" | "DROP" if kind.ends_with("PUBLICATION") || kind.ends_with("SUBSCRIPTION") => {
            Some("replicate")
        }
        "ALTER" if kind == "ALTER DEFAULT PRIVILEGES" => Some("grant"),
        "CREATE" | "IMPORT" if kind == "CREATE SCHEMA" || !on(&[Action::Create, Action::Alter]) => Some("create"),
        "ALTER" | "COMMENT" | "SECURITY" if !on(&[Action::Alter]) => Some("alter"),
        "DROP" if !on(&[Action::Drop, Action::Alter]) => Some("drop"),
        "VACUUM" | "ANALYZE" | "CLUSTER" | "REINDEX" | "CHECKPOINT" if !on(&[Action::Maintain]) => Some("maintain"),
        _ => None,
    }
}

/// An action's name.
pub(super) fn word(action: Action) -> &'static str {
    match action {
        Action::Select => "select",
        Action::Insert => "insert",
        Action::Update => "update",
        Action::Delete => "delete",
        Action::Truncate => "truncate",
        Action::CopyIn => "copy_in",
        Action::CopyOut => "copy_out",
        Action::Lock => "lock",
        Action::Create => "create",
        Action::Alter => "alter",
        Action::Drop => "drop",
        Action::Maintain => "maintain",
    }
}
