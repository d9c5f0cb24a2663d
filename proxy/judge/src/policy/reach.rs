//! What a subject could ever be allowed to do, object by object: what its role in the database must be able to do, and
//! nothing besides.
//!
//! Each statement is still judged on its own. So a question is put here as its most harmless statement would put it:
//! bounded by a condition, approved, small. Whatever no policy permits even so is left out, and relations that are closed
//! are. Masked columns are kept: the gate must read what it hides. Columns that are closed are left out, and where a
//! column may not be written whatever the statement, since that would tell what is hidden, it is left out of what is
//! written. What the policies say now holds: one that reads the time may say more later.

use super::{
    Context,
    bound::{Bound, Rule},
    cedar::{Object, Set, Situation, Subject},
    permission::{self, Cache},
};
use crate::sql::{
    Action, Catalog, ColumnId, RelationId,
    catalog::{Column, Kind, Relation},
};
use std::collections::{BTreeMap, BTreeSet};

/// What a subject could be allowed to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// By relation, the actions that a privilege of the database stands for.
    pub relations: BTreeMap<RelationId, Vec<Action>>,
    /// The columns of which it could be allowed, where those are not all of the relation's: of actions that name columns.
    pub columns: BTreeMap<(RelationId, Action), BTreeSet<i16>>,
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
    let firm: Vec<bool> = bound.all_rules().iter().map(|rule| asks.is_firm(rule)).collect();
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
        for action in &actions {
            if let Some(columns) = columns(catalog, bound, relation, *action, &firm) {
                reach.columns.insert((relation.id, *action), columns);
            }
        }
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
    let others = ["execute", "create", "read_clear", "filter"];
    let words = ACTIONS.iter().map(|(action, _)| permission::word(*action)).chain(others);
    reach.timed = words.map(|word| set.reads(word, subject)).any(|reads| reads.time || reads.instant);
    reach
}

/// The columns of a relation that an action may name, where those are not all.
fn columns(
    catalog: &Catalog,
    bound: &Bound,
    relation: &Relation,
    action: Action,
    firm: &[bool],
) -> Option<BTreeSet<i16>> {
    let updates = match action {
        Action::Select | Action::CopyOut => None,
        Action::Insert | Action::CopyIn => Some(false),
        Action::Update => Some(true),
        Action::Delete
        | Action::Truncate
        | Action::Lock
        | Action::Create
        | Action::Alter
        | Action::Drop
        | Action::Maintain => return None,
    };
    // whether it can be written would tell what is hidden
    let tells = |column: &Column, updates: bool| {
        let told = catalog.told_by_column(relation, column, updates);
        told.into_iter().any(|told| bound.hides_firmly(told, firm))
    };
    let open = |column: &&Column| {
        let id = ColumnId { relation: relation.id, attribute: column.attribute };
        !bound.closes(id) && !updates.is_some_and(|updates| tells(column, updates))
    };
    let open: BTreeSet<i16> = relation.columns.iter().filter(open).map(|column| column.attribute).collect();
    (open.len() < relation.columns.len()).then_some(open)
}

fn is_system(schema: &str) -> bool {
    schema.starts_with("pg_") || schema == "information_schema"
}

struct Asks<'a> {
    set: &'a Set,
    subject: &'a Subject,
    now: i64,
}

/// Statements that name columns.
const NAMING: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "MERGE", "COPY"];

impl Asks<'_> {
    /// No policy lets the column be read in clear, and none lets it choose rows, whatever the statement.
    fn is_firm(&self, rule: &Rule) -> bool {
        let object = Object::Column { name: &rule.column, label: rule.label.as_deref() };
        let lifted = |action: &str| NAMING.iter().any(|kind| self.may(action, kind, object));
        rule.closed || !(lifted("read_clear") || lifted("filter"))
    }

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
