//! One exhaustive walk over a statement's tree.
//!
//! A value's base columns flow upwards with it ([`scope::Value`]); where they end says how they are used: in the answer
//! (Projected), in what picks, groups or orders rows (Filtered), in a join's condition (Joined), in a table (stored). A
//! column of a subquery that nobody takes up is not used, unless computing it could tell something. No match over nodes or
//! statements has a default arm (`nodes`); what is not understood makes the statement opaque.

// a variant that a later grammar adds must not compile until somebody has thought of it
#![deny(clippy::wildcard_enum_match_arm)]

mod bounds;
mod call;
mod called;
mod copy;
mod define;
mod expression;
mod from;
mod json;
mod made;
mod names;
mod nodes;
mod object;
mod proven;
mod query;
mod scope;
mod settings;
mod statement;
mod tells;
#[cfg(test)]
mod tests;
mod write;

use super::{
    Context,
    catalog::{Catalog, Relation, Sources, View},
    facts::{Action, ColumnUse, CopyFormat, Effect, Facts, Output, Placeholders, RelationId, RelationUse},
    parse::Statement,
};
use pg_query::{Node, NodeEnum, protobuf};
use schemas::event::Usage;
use scope::{Field, Item, Rows, Value};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashSet},
    rc::Rc,
};

/// PostgreSQL's own limit of a target list.
const MOST_COLUMNS: usize = 1664;

/// Values and sources that one statement may make; far above what any real one does. What is beyond is opaque.
const BUDGET: usize = 4_000_000;

/// What one statement touches.
pub(super) fn statement(statement: &Statement, catalog: &Catalog, search_path: &[String]) -> Facts {
    let mut walker = Walker::new(catalog, search_path);
    walker.sets_by = settings::SetsBy::of(&statement.node);
    let done = walker.any_statement(&statement.node);
    walker.finish(done)
}

/// A column of a view.
pub(super) struct ViewColumn {
    /// What can reach it.
    pub(super) sources: Sources,
    /// Something else can reach it too.
    pub(super) opaque: bool,
    /// It is one column as it stands.
    pub(super) direct: bool,
}

/// What a view does, and its columns' sources; `None` while a view that it reads is still to be followed.
pub(super) fn view(statement: &Statement, catalog: &Catalog) -> Option<(View, Vec<ViewColumn>)> {
    let mut walker = Walker::new(catalog, &[]);
    let rows = walker.query(&statement.node);
    if walker.out.waits {
        return None;
    }
    let unknown = rows.unknown;
    let column = |value: Value| ViewColumn {
        sources: value.sources,
        opaque: value.opaque || unknown,
        direct: value.direct && !unknown,
    };
    let columns = rows.fields.into_iter().map(|field| column(field.value)).collect();
    let out = walker.out;
    let view = View {
        relations: out.relations.into_values().collect(),
        functions: out.functions,
        opaque: out.opaque,
        read_only: !out.writes && !out.calls,
        hidden_setting: out.hidden_setting.or_else(|| settings::defined(&out.effects)),
    };
    Some((view, columns))
}

/// The relation that a name means, if it is known.
fn relation<'a>(catalog: &'a Catalog, search_path: &[String], schema: &str, name: &str) -> Option<&'a Relation> {
    if schema == "pg_temp" { None } else { catalog.resolve(schema, name, search_path) }
}

/// What the facts call the relation that a name means.
pub(super) fn relation_name(context: &Context<'_>, schema: &str, name: &str) -> String {
    match relation(context.catalog, context.search_path, schema, name) {
        Some(found) => found.qualified(),
        None => names::qualified(schema, name),
    }
}

/// What a statement came to besides what was noted on the way.
struct Done {
    kind: String,
    outputs: Option<Rows>,
}

impl Done {
    fn silent(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), outputs: None }
    }
}

/// What was noted so far.
#[derive(Debug, Clone, Default)]
struct Out {
    relations: BTreeMap<(Option<u32>, String), RelationUse>,
    columns: BTreeSet<ColumnUse>,
    functions: BTreeSet<String>,
    stored: Sources,
    told: Sources,
    probed: Sources,
    opaque: Option<String>,
    missing: Option<String>,
    effects: Vec<Effect>,
    flags: BTreeSet<String>,
    /// It changes something, by what it is.
    writes: bool,
    /// It may change something, by what it calls.
    calls: bool,
    unbounded_write: bool,
    copies_to_client: bool,
    copies_server_side: bool,
    copy: Option<CopyFormat>,
    placeholders: Placeholders,
    hidden_setting: Option<String>,
    shadowed: BTreeMap<RelationId, String>,
    /// It reads a view that was not followed yet.
    waits: bool,
}

struct Walker<'a> {
    catalog: &'a Catalog,
    search_path: &'a [String],
    /// FROM items of the queries around, the innermost last.
    scopes: Vec<Rc<Vec<Item<'a>>>>,
    ctes: Vec<(String, Rc<Rows>)>,
    /// How many rows the CTEs of the same positions have at most.
    few: Vec<Option<u64>>,
    /// Queries, by their address in the tree, that refer to nothing around them.
    closed: HashSet<usize>,
    /// The outermost of `scopes` in which a name was found since the innermost query began.
    outermost: Cell<usize>,
    /// What decides about rows within each scalar subquery around.
    deciding: Vec<Sources>,
    /// Sources of expressions that inner queries compute.
    computed: Vec<Sources>,
    /// What a call of `set_config` may do where this walker stands.
    sets_by: settings::SetsBy,
    out: Out,
    /// Operations so far that may fail, wait, or leave a trace.
    hazards: usize,
    budget: usize,
}

impl<'a> Walker<'a> {
    fn new(catalog: &'a Catalog, search_path: &'a [String]) -> Self {
        Self {
            catalog,
            search_path,
            scopes: Vec::new(),
            ctes: Vec::new(),
            few: Vec::new(),
            closed: HashSet::new(),
            outermost: Cell::new(usize::MAX),
            deciding: Vec::new(),
            computed: Vec::new(),
            sets_by: settings::SetsBy::Others,
            out: Out::default(),
            hazards: 0,
            budget: BUDGET,
        }
    }

    /// Something is not known: the first reason stands.
    fn give_up(&mut self, reason: impl Into<String>) {
        self.out.opaque.get_or_insert_with(|| reason.into());
    }

    /// A name stands for nothing where all names are known.
    fn lacks(&mut self, name: String) {
        self.give_up(format!("{name} is not in the catalog"));
        self.out.missing.get_or_insert(name);
    }

    /// Pays for work. When nothing is left, the statement is opaque and loops end early.
    fn spend(&mut self, amount: usize) {
        self.budget = self.budget.saturating_sub(amount + 1);
        if self.budget == 0 {
            self.give_up("the statement is too complex to be followed");
        }
    }

    fn use_columns(&mut self, sources: &Sources, usage: Usage) {
        self.spend(sources.len());
        self.out.columns.extend(sources.iter().map(|&column| ColumnUse { column, usage }));
    }

    /// A value decides which rows, groups or order there are.
    fn decide(&mut self, value: &Value, usage: Usage) {
        self.use_columns(&value.sources, usage);
        if let Some(around) = self.deciding.last_mut() {
            around.extend(value.sources.iter().copied());
        }
    }

    /// A value is kept somewhere else than in the answer.
    fn store(&mut self, value: &Value) {
        self.use_columns(&value.sources, Usage::Projected);
        self.use_columns(&value.sources, Usage::Written);
        self.out.stored.extend(value.sources.iter().copied());
    }

    /// A relation is touched; views and children with it. `name` is what stands in the text.
    fn touch(&mut self, relation: &'a Relation, action: Action) {
        self.note(Some(relation.id), relation.qualified(), action, false);
        self.spend(relation.descendants.len());
        for child in relation.descendants.iter().filter_map(|id| self.catalog.relation(*id)) {
            self.note(Some(child.id), child.qualified(), action, true);
        }
        self.out.waits |= self.catalog.pending.contains(&relation.id);
        let Some(view) = &relation.view else { return };
        for inner in &view.relations {
            for &action in &inner.actions {
                self.note(inner.id, inner.name.clone(), action, true);
            }
            if matches!(action, Action::Insert | Action::Update | Action::Delete | Action::CopyIn) {
                self.note(inner.id, inner.name.clone(), action, true);
            }
        }
        if relation.is_system() {
            return; // they call what they must; their columns say what is not known
        }
        self.out.functions.extend(view.functions.iter().cloned());
        self.out.calls |= !view.read_only;
        if let Some(reason) = &view.hidden_setting {
            self.hide_setting(format!("{reason} (in view {})", relation.qualified()));
        }
        if let Some(reason) = &view.opaque {
            self.give_up(format!("{} (in view {})", reason, relation.qualified()));
        }
    }

    fn note(&mut self, id: Option<u32>, name: String, action: Action, indirect: bool) {
        let key = (id, if id.is_some() { String::new() } else { name.clone() });
        let new = || RelationUse { id, name, actions: BTreeSet::new(), indirect };
        let entry = self.out.relations.entry(key).or_insert_with(new);
        entry.actions.insert(action);
        entry.indirect &= indirect;
    }

    /// Touches the relation that a name means, known or not.
    fn touch_named(&mut self, name: &protobuf::RangeVar, action: Action) -> Option<&'a Relation> {
        let found = relation(self.catalog, self.search_path, &name.schemaname, &name.relname);
        if name.schemaname.is_empty() {
            let others = self.catalog.all(&name.relname, self.search_path).skip(1);
            self.out.shadowed.extend(others.map(|relation| (relation.id, relation.qualified())));
        }
        match found {
            Some(relation) => self.touch(relation, action),
            None => {
                let text = names::qualified(&name.schemaname, &name.relname);
                self.note(None, text, action, false);
            }
        }
        found
    }

    /// A relation, or a part of it, is removed or goes by another name: whoever looks for the old one finds nothing.
    fn gone(&mut self, relation: Option<&protobuf::RangeVar>) {
        if let Some(relation) = relation {
            self.touch_named(relation, Action::Drop);
        }
    }

    fn finish(mut self, done: Done) -> Facts {
        let outputs = done.outputs.map(|rows| {
            let mut outputs = Vec::with_capacity(rows.fields.len());
            for Field { name, value } in rows.fields {
                self.use_columns(&value.sources, Usage::Projected);
                outputs.push(Output { name, direct: value.direct, opaque: value.opaque, sources: value.sources });
            }
            outputs
        });
        // what an inner query computes and nobody takes up can still fail, wait, or be counted
        for sources in std::mem::take(&mut self.computed) {
            for column in sources {
                if !self.out.columns.contains(&ColumnUse { column, usage: Usage::Projected }) {
                    self.out.columns.insert(ColumnUse { column, usage: Usage::Filtered });
                }
            }
        }
        let out = self.out;
        Facts {
            text: 0..0,
            kind: done.kind,
            read_only: !out.writes && !out.calls && out.opaque.is_none(),
            opaque: out.opaque,
            missing: out.missing,
            relations: out.relations.into_values().collect(),
            columns: out.columns,
            stored: out.stored,
            told: out.told,
            probed: out.probed,
            functions: out.functions,
            hidden_setting: out.hidden_setting,
            shadowed: out.shadowed,
            outputs,
            effects: out.effects,
            unbounded_write: out.unbounded_write,
            copies_to_client: out.copies_to_client,
            copies_server_side: out.copies_server_side,
            copy: out.copy,
            placeholders: out.placeholders,
            fingerprint: String::new(),
            flags: out.flags.into_iter().collect(),
        }
    }

    /// A node that has no business where it stands.
    fn unexpected(&mut self, node: &NodeEnum, place: &str) -> Value {
        self.give_up(format!("{} in {place} is not understood", names::of_node(node)));
        Value::opaque()
    }
}

/// The texts of a list of String nodes.
fn strings(nodes: &[Node]) -> Vec<String> {
    nodes.iter().filter_map(|node| string(node).map(str::to_owned)).collect()
}

fn string(node: &Node) -> Option<&str> {
    if let Some(NodeEnum::String(text)) = &node.node { Some(&text.sval) } else { None }
}
