//! The one entry: facts, rules and groups give a judgement.

mod copied;
mod probes;
mod session;

use super::{
    Approval, Cache, Context, Reads, Subject,
    bound::{Bound, Exempt},
    closed,
    permission::{Asker, word},
};
use crate::{
    mask::Method,
    sql::{Action, ColumnId, Effect, Facts, Output},
};
use schemas::event::{Column, Relation, Usage, VerdictKind};
use std::{collections::BTreeSet, sync::Arc};

/// How deep statements within statements (PREPARE, DECLARE) are followed.
const MAX_DEPTH: usize = 4;

/// Functions that a statement which computes with protected values may call although they are not pure.
const HARMLESS: &[&str] = &["pg_catalog.nextval", "pg_catalog.currval", "pg_catalog.lastval"];

/// What becomes of one column of the answer, as far as the statement's text says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputRule {
    /// How it is hidden; `None`: the text gives no reason to.
    pub method: Option<Method>,
    /// It shows nothing but what its known sources hold.
    pub known: bool,
    /// An external provider is asked about its values.
    pub asked: bool,
}

/// What becomes of a statement, why, and what it touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Allow, mask, hold or deny.
    pub verdict: VerdictKind,
    /// The reason of a denial or hold; empty otherwise.
    pub reason: String,
    /// What to do about a denial or hold; empty otherwise.
    pub hint: String,
    /// The ids of the rules that decided, the deciding one first.
    pub policies: Vec<String>,
    /// The columns that it touches, whole rows expanded, by name and usage.
    pub columns: Vec<Column>,
    /// The relations that it touches, by name.
    pub relations: Vec<Relation>,
    /// It touches a relation with columns that are hidden from the identity: errors and notices must be scrubbed.
    pub protected: bool,
    /// The columns of its answer, in order; `None` where the text does not say.
    pub outputs: Option<Vec<OutputRule>>,
    /// Whose approval a hold waits for; empty otherwise.
    pub holds: Vec<Approval>,
    /// What the policies that could concern it read that changes by itself: with the time among it, it holds for one
    /// execution and no longer.
    pub reads: Reads,
    pub(crate) exempt: Exempt,
}

impl Judgement {
    /// Rows that were described under the other judgement are hidden as this one wants.
    pub fn hides_as(&self, other: &Self) -> bool {
        (!self.protected && !other.protected) || (self.exempt == other.exempt && self.outputs == other.outputs)
    }
}

struct No {
    policy: &'static str,
    reason: String,
    hint: &'static str,
}

/// It names a column or a function that there is not.
fn misnamed(facts: &Facts) -> Option<No> {
    let name = facts.missing.as_ref()?;
    Some(No {
        policy: if name.starts_with("function ") { UNKNOWN_FUNCTION } else { UNKNOWN_COLUMN },
        reason: format!("{name} is not in the catalog"),
        hint: "correct the name",
    })
}

/// The rule by which a statement is denied that names a column which does not exist: as PostgreSQL would.
pub const UNKNOWN_COLUMN: &str = "builtin:unknown-column";

/// The same for a function.
pub const UNKNOWN_FUNCTION: &str = "builtin:unknown-function";

const ASK: &str = "ask the owner of the data for a role that sees it unmasked";

/// Decides what becomes of a statement. Pure, but for `cache`, which changes no answer; fails closed: what is not known to
/// be harmless is denied or masked, and so is what no policy permits.
pub fn decide(facts: &Facts, bound: &Bound, subject: &Subject, context: &Context, cache: &mut Cache) -> Judgement {
    let mut asker = Asker::new(bound, subject, facts, context, cache);
    let exempt = asker.exempt();
    let mut judge = Judge { bound, exempt, filters: BTreeSet::new() };
    let chooses = facts.columns.iter().filter(|used| matches!(used.usage, Usage::Filtered | Usage::Joined));
    for column in chooses.map(|used| used.column).chain(facts.probed.iter().chain(&facts.told).copied()) {
        if judge.hides(column) {
            let rules = bound.rules(column, &judge.exempt);
            if rules.iter().all(|rule| asker.may_filter(rule)) {
                judge.filters.insert(column);
            }
        }
    }
    let mut judgement = judge.statement(facts, 0);
    let outcome = asker.statement(facts, judge.clear(facts));
    judgement.reads = asker.reads;
    let refuses = outcome.verdict != VerdictKind::Allow;
    if refuses && judgement.verdict != VerdictKind::Deny {
        judgement.verdict = outcome.verdict;
        judgement.reason = outcome.reason;
        judgement.hint = outcome.hint;
        judgement.policies = outcome.policies;
        judgement.holds = outcome.holds;
    } else if judgement.verdict == VerdictKind::Allow && !outcome.policies.is_empty() {
        judgement.policies = outcome.policies;
    } else if refuses || judgement.verdict == VerdictKind::Mask {
        judgement.policies.extend(outcome.policies);
    }
    judgement
}

struct Judge<'a> {
    bound: &'a Bound,
    exempt: Exempt,
    /// Hidden columns that may choose rows nevertheless, by policy.
    filters: BTreeSet<ColumnId>,
}

impl Judge<'_> {
    fn statement(&self, facts: &Facts, depth: usize) -> Judgement {
        let touches = facts.relations.iter().any(|r| r.id.is_some_and(|id| self.hides_of(id)))
            || facts.columns.iter().any(|used| self.hides_of(used.column.relation));
        let mut judgement = Judgement {
            verdict: VerdictKind::Allow,
            reason: String::new(),
            hint: String::new(),
            policies: vec!["builtin:allow".to_owned()],
            columns: self.columns(facts),
            relations: relations(facts),
            protected: touches,
            outputs: facts.outputs.as_ref().and_then(|outputs| self.outputs(outputs)),
            holds: Vec::new(),
            reads: Reads::default(),
            exempt: self.exempt.clone(),
        };
        let mut denial = self.denial(facts, touches);
        for effect in &facts.effects {
            let (Effect::Prepare { inner, .. } | Effect::Declare { inner, .. }) = effect else { continue };
            if depth >= MAX_DEPTH {
                denial = denial.or(Some(No {
                    policy: "builtin:opaque",
                    reason: "statements are nested too deep".to_owned(),
                    hint: "send the inner statement by itself",
                }));
                continue;
            }
            let inside = self.statement(inner, depth + 1);
            judgement.protected |= inside.protected;
            join(&mut judgement.columns, inside.columns);
            join(&mut judgement.relations, inside.relations);
            if inside.verdict == VerdictKind::Deny && denial.is_none() && judgement.verdict != VerdictKind::Deny {
                judgement.verdict = VerdictKind::Deny;
                judgement.reason = inside.reason;
                judgement.hint = inside.hint;
                judgement.policies = inside.policies;
            }
        }
        if let Some(no) = denial {
            judgement.verdict = VerdictKind::Deny;
            judgement.reason = no.reason;
            judgement.hint = no.hint.to_owned();
            judgement.policies = vec![no.policy.to_owned()];
        } else if judgement.verdict == VerdictKind::Allow && self.masks(facts, &judgement) {
            judgement.verdict = VerdictKind::Mask;
            judgement.policies = vec!["builtin:mask".to_owned()];
        }
        judgement
    }

    fn hides(&self, column: ColumnId) -> bool {
        self.bound.method(column, &self.exempt).is_some()
    }

    fn hides_of(&self, relation: u32) -> bool {
        !self.bound.relation_rules(relation, &self.exempt).is_empty()
    }

    fn uses(&self, facts: &Facts, usage: impl Fn(Usage) -> bool) -> Option<String> {
        let found = facts.columns.iter().find(|used| usage(used.usage) && self.hides(used.column))?;
        Some(self.name(found.column))
    }

    fn name(&self, column: ColumnId) -> String {
        let shown = self.bound.expand(column).into_iter().find(|c| self.hides(*c)).unwrap_or(column);
        self.bound.name(shown).map_or_else(|| "a column".to_owned(), str::to_owned)
    }

    fn masks(&self, facts: &Facts, judgement: &Judgement) -> bool {
        match &judgement.outputs {
            Some(outputs) => outputs.iter().any(|output| output.method.is_some()),
            None => self.uses(facts, |usage| usage == Usage::Projected).is_some(),
        }
    }

    fn denial(&self, facts: &Facts, touches: bool) -> Option<No> {
        self.always(facts).or_else(|| {
            if !self.bound.protects_from(&self.exempt) {
                return None;
            }
            self.out_of_scope(facts)
                .or_else(|| self.unknowable(facts, touches))
                .or_else(|| self.reveals(facts).or_else(|| self.probes(facts)))
                .or_else(|| self.copied(facts))
                .or_else(|| self.undermines(facts))
        })
    }

    /// The labels of the columns that its answer shows in clear.
    fn clear(&self, facts: &Facts) -> BTreeSet<String> {
        let shown = facts.columns.iter().filter(|used| used.usage == Usage::Projected);
        let columns = shown.flat_map(|used| self.bound.expand(used.column));
        columns.flat_map(|column| self.bound.cleared(column, &self.exempt)).map(str::to_owned).collect()
    }

    /// Relations that are closed, functions that may read anything, and statements that change who may do what.
    fn out_of_scope(&self, facts: &Facts) -> Option<No> {
        if facts.copies_server_side {
            return Some(No {
                policy: "builtin:server-file",
                reason: "COPY with a file or program of the server is not allowed".to_owned(),
                hint: "use COPY ... TO STDOUT or FROM STDIN",
            });
        }
        if closed::kind(&facts.kind) {
            return Some(No {
                policy: "builtin:privilege",
                reason: format!("{} would undermine what protects the data", facts.kind),
                hint: "ask the owner of the data to do it",
            });
        }
        if let Some(relation) = facts.relations.iter().find(|r| self.bound.is_closed(&r.name)) {
            return Some(No {
                policy: "builtin:scope",
                reason: format!("{} is out of reach", relation.name),
                hint: "do without it, or ask the owner of the data",
            });
        }
        let outputs = facts.outputs.iter().flatten().flat_map(|output| output.sources.iter().copied());
        let mut named = facts.columns.iter().map(|used| used.column).chain(outputs);
        let closed =
            named.find_map(|used| self.bound.expand(used).into_iter().find(|column| self.bound.closes(*column)));
        if let Some(column) = closed {
            return Some(No {
                policy: "builtin:scope",
                reason: format!("{} is out of reach", self.bound.name(column).unwrap_or("a column")),
                hint: "name the other columns instead of *, or ask the owner of the data",
            });
        }
        if let Some(no) = self.ambiguous(facts) {
            return Some(no);
        }
        if let Some(no) = misnamed(facts) {
            return Some(no);
        }
        let unlisted = |name: &&String| !name.starts_with("pg_catalog.") && !self.bound.may_call(name);
        let function = facts.functions.iter().find(unlisted)?;
        Some(No {
            policy: "builtin:function",
            reason: format!("what the function {function} reads cannot be known"),
            hint: "do without it, or ask the owner of the data to list it among the functions of this resource",
        })
    }

    /// What the facts cannot tell.
    fn unknowable(&self, facts: &Facts, touches: bool) -> Option<No> {
        if let Some(why) = &facts.opaque {
            return Some(No {
                policy: "builtin:opaque",
                reason: format!("what it reaches cannot be known from its text: {why}"),
                hint: "write it with tables, views and built-in functions only",
            });
        }
        let unknown = facts.outputs.iter().flatten().find(|output| output.opaque);
        if let Some(output) = unknown.filter(|_| touches) {
            return Some(No {
                policy: "builtin:lineage",
                reason: format!("where the column {:?} of its answer comes from cannot be known", output.name),
                hint: "leave that column out, or name the columns of known tables",
            });
        }
        let closed = |r: &crate::sql::RelationUse| Some((r.name.clone(), closed::relation(&r.name)?));
        let column = facts.columns.iter().find_map(|used| {
            let all = self.bound.expand(used.column);
            all.into_iter().find_map(|column| {
                let name = self.bound.name(column)?;
                Some((name.to_owned(), closed::column(name)?))
            })
        });
        let (name, why) = facts.relations.iter().find_map(closed).or(column)?;
        Some(No { policy: "builtin:catalog", reason: format!("{name} is closed: {why}"), hint: "do without it" })
    }

    /// Ways by which a value shows without being in the answer.
    fn reveals(&self, facts: &Facts) -> Option<No> {
        let chooses = |used: &&crate::sql::ColumnUse| {
            matches!(used.usage, Usage::Filtered | Usage::Joined)
                && self.hides(used.column)
                && !self.filters.contains(&used.column)
        };
        if let Some(name) = facts.columns.iter().find(chooses).map(|used| self.name(used.column)) {
            return Some(No {
                policy: "builtin:filter",
                reason: format!("{name} is masked and may not filter, join, group or order rows"),
                hint: "choose rows by another column, such as the key",
            });
        }
        if let Some(column) = facts.stored.iter().find(|column| self.hides(**column)) {
            return Some(No {
                policy: "builtin:store",
                reason: format!("{} is masked and its values may not be stored elsewhere", self.name(*column)),
                hint: "leave the column out of what is stored",
            });
        }
        let used = self.uses(facts, |usage| usage != Usage::Written)?;
        if facts.effects.iter().any(|effect| matches!(effect, Effect::Set { .. } | Effect::Notify)) {
            return Some(No {
                policy: "builtin:setting",
                reason: format!("{used} is masked and may not decide a setting or a notification"),
                hint: "give a constant",
            });
        }
        let function = facts.functions.iter().find(|f| !HARMLESS.contains(&f.as_str()))?;
        self.computes(facts).then(|| No {
            policy: "builtin:function",
            reason: format!("{used} is masked and may not be used together with the function {function}"),
            hint: "leave the function or the column out",
        })
    }

    /// A protected column does more than to stand in the answer as it is.
    fn computes(&self, facts: &Facts) -> bool {
        let outputs = facts.outputs.as_deref().unwrap_or_default();
        let shown: BTreeSet<ColumnId> = outputs.iter().filter(|o| o.direct).flat_map(|o| o.sources.clone()).collect();
        let computed = outputs.iter().any(|o| !o.direct && o.sources.iter().any(|c| self.hides(*c)));
        let hidden = |used: &crate::sql::ColumnUse| {
            used.usage != Usage::Written && self.hides(used.column) && !shown.contains(&used.column)
        };
        computed || facts.columns.iter().any(hidden)
    }

    /// Changes of what the rules stand on.
    fn undermines(&self, facts: &Facts) -> Option<No> {
        let hint = "ask the owner of the data to make the change";
        if matches!(facts.kind.as_str(), "ALTER SCHEMA") {
            let reason = "a schema may not be renamed while masking rules name columns by it".to_owned();
            return Some(No { policy: "builtin:definition", reason, hint });
        }
        let sorts = facts.kind == "CLUSTER"; // the order of rows would tell the order of values
        let changed = facts
            .relations
            .iter()
            .find(|r| (r.actions.contains(&Action::Alter) || sorts) && r.id.is_some_and(|id| self.hides_of(id)))?;
        let reason = format!("{} has masked columns, and its definition may not be changed", changed.name);
        Some(No { policy: "builtin:definition", reason, hint })
    }

    fn outputs(&self, outputs: &[Output]) -> Option<Vec<OutputRule>> {
        // `*` that is opaque stands for columns of unknown number
        if outputs.iter().any(|output| output.opaque && output.name == "*") {
            return None;
        }
        Some(outputs.iter().map(|output| self.output(output)).collect())
    }

    fn output(&self, output: &Output) -> OutputRule {
        let strictest = output.sources.iter().filter_map(|c| self.bound.method(*c, &self.exempt)).max();
        let method = strictest.map(|method| if output.direct { method } else { method.max(Method::Redact) });
        let asked = output.sources.iter().any(|column| self.bound.asks(*column));
        OutputRule { method, known: !output.opaque, asked }
    }

    fn columns(&self, facts: &Facts) -> Vec<Column> {
        let mut columns = BTreeSet::new();
        for used in &facts.columns {
            for column in self.bound.expand(used.column) {
                let Some(name) = self.bound.name(column) else { continue };
                columns.insert(Column {
                    name: name.to_owned(),
                    usage: used.usage,
                    masked: used.usage == Usage::Projected && self.hides(column),
                    label: self.bound.label(column),
                });
            }
        }
        columns.into_iter().collect()
    }
}

fn relations(facts: &Facts) -> Vec<Relation> {
    let uses = facts.relations.iter().map(|used| Relation {
        name: used.name.clone(),
        actions: used.actions.iter().map(|action| word(*action).to_owned()).collect(),
        indirect: used.indirect,
    });
    uses.collect::<BTreeSet<_>>().into_iter().collect()
}

fn join<T: Ord + Clone>(all: &mut Vec<T>, more: Vec<T>) {
    let both: BTreeSet<T> = all.drain(..).chain(more).collect();
    all.extend(both);
}

fn severity(verdict: VerdictKind) -> u8 {
    match verdict {
        VerdictKind::Allow => 0,
        VerdictKind::Mask => 1,
        VerdictKind::Hold => 2,
        VerdictKind::Deny => 3,
    }
}

/// The judgement that holds whichever of several meanings a text has: the strictest in every respect.
pub fn merge(judgements: impl IntoIterator<Item = Judgement>) -> Judgement {
    let mut judgements = judgements.into_iter();
    let Some(mut all) = judgements.next() else {
        return Judgement {
            verdict: VerdictKind::Deny,
            reason: "it has no meaning that could be judged".to_owned(),
            hint: ASK.to_owned(),
            policies: vec!["builtin:opaque".to_owned()],
            columns: Vec::new(),
            relations: Vec::new(),
            protected: true,
            outputs: None,
            holds: Vec::new(),
            reads: Reads::default(),
            exempt: Arc::from([]),
        };
    };
    for next in judgements {
        if severity(next.verdict) > severity(all.verdict) {
            all.verdict = next.verdict;
            all.reason = next.reason;
            all.hint = next.hint;
            all.policies = next.policies;
            all.holds = next.holds;
        } else if next.verdict == all.verdict {
            let more = next.policies.into_iter().filter(|p| !all.policies.contains(p)).collect::<Vec<_>>();
            all.policies.extend(more);
            join(&mut all.holds, next.holds);
        }
        all.reads = all.reads.or(next.reads);
        join(&mut all.columns, next.columns);
        join(&mut all.relations, next.relations);
        // EXECUTE and FETCH say nothing of their answer: what they run does
        all.outputs = match (all.outputs, next.outputs) {
            (Some(a), Some(b)) => unite(&a, &b),
            (None, Some(one)) | (Some(one), None) if !(all.protected && next.protected) => Some(one),
            _ => None,
        };
        all.protected |= next.protected;
        all.exempt = all.exempt.iter().zip(next.exempt.iter()).map(|(a, b)| *a && *b).collect();
    }
    all
}

fn unite(a: &[OutputRule], b: &[OutputRule]) -> Option<Vec<OutputRule>> {
    // one that answers nothing says nothing of the rows of the other
    if a.is_empty() || b.is_empty() {
        return Some(if a.is_empty() { b.to_vec() } else { a.to_vec() });
    }
    let both = a.iter().zip(b).map(|(a, b)| OutputRule {
        method: a.method.max(b.method),
        known: a.known && b.known,
        asked: a.asked || b.asked,
    });
    (a.len() == b.len()).then(|| both.collect())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
