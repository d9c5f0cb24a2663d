//! What a subject could ever be allowed to do, object by object: what its role in the database must be able to do, and
//! nothing besides.
//!
//! Each statement is still judged on its own. So a question is put here as its most harmless statement would put it:
//! bounded by a condition, approved, small. Whatever no policy permits even so is left out, and relations that are closed
//! are. Masked columns are kept: the gate must read what it hides. What the policies say now holds: one that reads the
//! time may say more later.

use super::{
    Context,
    bound::Bound,
    cedar::{Object, Set, Situation, Subject},
    permission::{self, Cache},
};
use crate::sql::{Action, Catalog, RelationId, catalog::Kind};
use std::collections::{BTreeMap, BTreeSet};

/// What a subject could be allowed to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// By relation, the actions that a privilege of the database stands for.
    pub relations: BTreeMap<RelationId, Vec<Action>>,
    /// Functions, as `schema.name`.
    pub functions: BTreeSet<String>,
    /// Schemas in which it could make tables.
    pub creates_in: BTreeSet<String>,
    /// It could make temporary tables.
    pub temporary: bool,
    /// A policy that was asked reads the time: it may say something else later.
    pub timed: bool,
}

/// The actions on relations for which there are privileges, and the statement that asks most harmlessly.
const ACTIONS: [(Action, &str); 9] = [
    (Action::Select, "SELECT"),
    (Action::CopyOut, "COPY"),
    (Action::Insert, "INSERT"),
    (Action::CopyIn, "COPY"),
    (Action::Update, "UPDATE"),
    (Action::Delete, "DELETE"),
    (Action::Truncate, "TRUNCATE"),
    (Action::Lock, "SELECT"),
    (Action::Maintain, "ANALYZE"),
];

/// A name that no table has.
const NEW: &str = "postern new";

/// What the policies could allow a subject on what a catalog has.
pub fn reach(catalog: &Catalog, bound: &Bound, subject: &Subject, context: &Context) -> Reach {
    let Some(set) = bound.set() else { return Reach::default() };
    let asks = Asks { set, subject, now: context.now };
    let mut reach = Reach::default();
    for relation in catalog.relations() {
        let name = relation.qualified();
        let holds_rows = matches!(
            relation.kind,
            Kind::Table | Kind::Partitioned | Kind::Foreign | Kind::View | Kind::MaterializedView | Kind::Sequence
        );
        if !holds_rows || is_system(&relation.schema) || bound.is_closed(&name) {
            continue;
        }
        let object = Object::Table { name: &name, labels: bound.labels(Some(relation.id)) };
        let may = ACTIONS.iter().filter(|(action, kind)| asks.may(permission::word(*action), kind, object));
        let actions: Vec<Action> = may.map(|(action, _)| *action).collect();
        if !actions.is_empty() {
            reach.relations.insert(relation.id, actions);
        }
    }
    let exempt = permission::exempt(bound, subject, context, &mut Cache::default());
    let protects = bound.protects_from(&exempt);
    for (name, pure) in catalog.own_functions() {
        let listed = bound.may_call(&name);
        // what is pure is never asked for: the gate lets it through, and operators and casts call it
        if pure || ((listed || !protects) && asks.may("execute", "SELECT", Object::Function { name: &name, listed })) {
            reach.functions.insert(name);
        }
    }
    let labels = BTreeSet::new();
    let creates = |schema: &str| {
        let name = format!("{schema}.{NEW}");
        asks.may("create", "CREATE TABLE", Object::Table { name: &name, labels: &labels })
    };
    let schemas: BTreeSet<&str> = catalog.relations().map(|relation| relation.schema.as_str()).collect();
    let own = schemas.into_iter().filter(|schema| !is_system(schema));
    reach.creates_in = own.filter(|schema| creates(schema)).map(str::to_owned).collect();
    reach.temporary = creates("pg_temp");
    let words = ACTIONS.iter().map(|(action, _)| permission::word(*action)).chain(["execute", "create", "read_clear"]);
    reach.timed = words.map(|word| set.reads(word, subject)).any(|reads| reads.time || reads.instant);
    reach
}

fn is_system(schema: &str) -> bool {
    schema.starts_with("pg_") || schema == "information_schema"
}

struct Asks<'a> {
    set: &'a Set,
    subject: &'a Subject,
    now: i64,
}

impl Asks<'_> {
    /// A policy may want estimates to be known, or there to be none: either is enough.
    fn may(&self, action: &str, kind: &str, object: Object<'_>) -> bool {
        [Some(0), None].into_iter().any(|estimate| {
            let situation = Situation {
                kind: kind.to_owned(),
                read_only: kind == "SELECT",
                approved: true,
                now: self.now,
                rows: estimate,
                cost: estimate,
                ..Situation::default()
            };
            self.set.ask(self.subject, action, object, &situation).allowed
        })
    }
}
