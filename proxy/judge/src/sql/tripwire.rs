//! sqlparser as a second opinion: where it reads a text differently, an auditor should look. It never permits anything.
//!
//! Compared are the number of statements, their kinds, and the relations that each names: what the facts say is named in
//! the text, against what sqlparser's tree holds, each resolved in the same catalog. What sqlparser cannot parse, and
//! what it is known to misread, is no opinion. No opinion either: statements that define objects, which its tree names
//! in part only, and those that are opaque, which say so themselves.

use super::{
    Context,
    facts::{Action, Facts, RelationUse},
    parse::Statement,
    walk,
};
use sqlparser::{
    ast::{
        self, FromTable, Ident, ObjectName, ObjectNamePart, Query, SetExpr, TableFactor, TableObject, TableWithJoins,
        Visit, Visitor,
    },
    dialect::PostgreSqlDialect,
    parser::Parser,
};
use std::{collections::BTreeSet, ops::ControlFlow};

/// Longest text that is given to it: it overflows its stack on long chains.
const LONGEST: usize = 32 << 10;

/// Deepest nesting of a text that it reads: each level takes about 20 KiB of the stack that the analysis runs on.
const DEEPEST: usize = 24;

/// PostgreSQL keeps so many bytes of a name.
const LONGEST_NAME: usize = 63;

/// The flag that is raised.
const FLAG: &str = "tripwire:parsers_differ";

/// Words that cannot name a relation unless they are quoted. Where sqlparser takes one for a name, it has misread a
/// clause (`FROM ONLY t`, `FROM current_date`, `TABLE t`).
const RESERVED: &str = " all analyse analyze and any array as asc asymmetric authorization binary both case cast check \
    collate collation column concurrently constraint create cross current_catalog current_date current_role \
    current_schema current_time current_timestamp current_user default deferrable desc distinct do else end except \
    false fetch for foreign freeze from full grant group having ilike in initially inner intersect into is isnull join \
    lateral leading left like limit localtime localtimestamp natural not notnull null offset on only or order outer \
    overlaps placing primary references returning right select session_user similar some symmetric system_user table \
    tablesample then to trailing true union unique user using variadic verbose when where window with ";

/// Compares a text's statements, and their facts, with sqlparser's reading. A text that it refuses or that is too long
/// raises nothing: it refuses a tenth of what PostgreSQL accepts.
pub(super) fn compare(
    text: &str,
    statements: &[Statement],
    facts: &[Facts],
    context: &Context<'_>,
) -> Option<&'static str> {
    if text.len() > LONGEST {
        return None;
    }
    let parser = Parser::new(&PostgreSqlDialect {}).with_recursion_limit(DEEPEST);
    let others = parser.try_with_sql(text).and_then(|mut parser| parser.parse_statements()).ok()?;
    let same = others.len() == statements.len()
        && others.iter().zip(statements).all(|(other, statement)| same_kind(other, statement))
        && others.iter().zip(statements).zip(facts).all(|((other, statement), facts)| {
            !names_its_relations(&statement.node) || same_relations(other, facts, context)
        });
    (!same).then_some(FLAG)
}

/// Compares what both name with certainty: queries and writes.
fn same_kind(other: &ast::Statement, statement: &Statement) -> bool {
    use ast::Statement as Other;
    use pg_query::NodeEnum;
    match &statement.node {
        NodeEnum::SelectStmt(_) => matches!(other, Other::Query(_)),
        NodeEnum::InsertStmt(_) => matches!(other, Other::Insert { .. } | Other::Query(_)),
        NodeEnum::UpdateStmt(_) => matches!(other, Other::Update { .. } | Other::Query(_)),
        NodeEnum::DeleteStmt(_) => matches!(other, Other::Delete { .. } | Other::Query(_)),
        NodeEnum::CopyStmt(_) => matches!(other, Other::Copy { .. }),
        _ => !matches!(other, Other::Query(_) | Other::Delete { .. }) || is_query_like(&statement.node),
    }
}

fn is_query_like(node: &pg_query::NodeEnum) -> bool {
    use pg_query::NodeEnum;
    matches!(node, NodeEnum::CreateTableAsStmt(_) | NodeEnum::MergeStmt(_))
}

/// The statements of which sqlparser's tree names every relation.
fn names_its_relations(node: &pg_query::NodeEnum) -> bool {
    use pg_query::NodeEnum;
    matches!(
        node,
        NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_)
            | NodeEnum::CopyStmt(_)
            | NodeEnum::CreateTableAsStmt(_)
            | NodeEnum::ViewStmt(_)
            | NodeEnum::ExplainStmt(_)
            | NodeEnum::PrepareStmt(_)
            | NodeEnum::DeclareCursorStmt(_)
            | NodeEnum::TruncateStmt(_)
            | NodeEnum::LockStmt(_)
    )
}

fn same_relations(other: &ast::Statement, facts: &Facts, context: &Context<'_>) -> bool {
    let mut named = Named::default();
    let _whole: ControlFlow<()> = other.visit(&mut named);
    if named.unsure || facts.opaque.is_some() {
        return true;
    }
    let resolve = |(schema, name): &(String, String)| walk::relation_name(context, schema, name);
    let theirs: BTreeSet<String> = named.relations.iter().map(resolve).collect();
    // what is defined, or defined anew, is no relation that the text reads
    let defined = |one: &RelationUse| {
        one.actions.contains(&Action::Create) && one.actions.iter().all(|a| matches!(a, Action::Create | Action::Alter))
    };
    let in_the_text = facts.relations.iter().filter(|one| !one.indirect && !defined(one));
    // a view that is defined anew over one that reads it is read through that one, or by its name
    let (maybe, ours): (Vec<_>, Vec<_>) = in_the_text.partition(|one| one.actions.contains(&Action::Create));
    let names =
        |some: Vec<&RelationUse>| -> BTreeSet<String> { some.into_iter().map(|one| one.name.clone()).collect() };
    let (maybe, ours) = (names(maybe), names(ours));
    ours.is_subset(&theirs) && theirs.difference(&ours).all(|name| maybe.contains(name))
}

/// The names of CTEs that one query's WITH adds.
struct Scope {
    query: *const Query,
    visible: Vec<String>,
    /// Those that are visible once their own query has ended.
    later: Vec<(*const Query, String)>,
}

/// The relations of a tree, with what is needed to tell them from CTEs and functions.
#[derive(Default)]
struct Named {
    relations: BTreeSet<(String, String)>,
    scopes: Vec<Scope>,
    /// Names of functions, and of what is being defined.
    others: Vec<*const ObjectName>,
    /// Targets of writes: never CTEs.
    targets: Vec<*const ObjectName>,
    /// The tree is known not to say what PostgreSQL reads.
    unsure: bool,
}

impl Named {
    fn target(&mut self, factor: &TableFactor) {
        if let TableFactor::Table { name, .. } = factor {
            self.targets.push(name);
        }
    }

    fn add(&mut self, name: &ObjectName) {
        let mut parts = Vec::with_capacity(name.0.len());
        for part in &name.0 {
            match part {
                ObjectNamePart::Identifier(ident) => parts.push(ident),
                ObjectNamePart::Function(_) => self.unsure = true,
            }
        }
        let Some((last, before)) = parts.split_last() else { return };
        let relation = normal(last);
        if last.quote_style.is_none() && RESERVED.contains(&format!(" {relation} ")) {
            self.unsure = true;
        }
        let a_cte = before.is_empty()
            && !self.targets.contains(&std::ptr::from_ref(name))
            && self.scopes.iter().any(|scope| scope.visible.contains(&relation));
        if !a_cte {
            self.relations.insert((before.last().map(|ident| normal(ident)).unwrap_or_default(), relation));
        }
    }
}

impl Visitor for Named {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &ast::Statement) -> ControlFlow<()> {
        use ast::Statement as Other;
        match statement {
            Other::Insert(insert) => {
                if let TableObject::TableName(name) = &insert.table {
                    self.targets.push(name);
                }
            }
            Other::Update(update) => self.target(&update.table.relation),
            Other::Merge(merge) => self.target(&merge.table),
            Other::Delete(delete) => {
                let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
                tables.iter().for_each(|TableWithJoins { relation, .. }| self.target(relation));
            }
            Other::Copy { source: ast::CopySource::Table { table_name, .. }, .. } => self.add(table_name),
            Other::CreateTable(create) => self.others.push(&create.name),
            Other::CreateView(create) => self.others.push(&create.name),
            _ => {} // no other names what a CTE could hide, or defines what a query is in
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.unsure |= has_table_command(&query.body);
        if let Some(with) = &query.with {
            let names = with.cte_tables.iter().map(|cte| (std::ptr::from_ref(&*cte.query), normal(&cte.alias.name)));
            let (visible, later) = if with.recursive {
                (names.map(|(_, name)| name).collect(), Vec::new())
            } else {
                (Vec::new(), names.collect())
            };
            self.scopes.push(Scope { query, visible, later });
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let query = std::ptr::from_ref(query);
        if self.scopes.last().is_some_and(|scope| scope.query == query) {
            self.scopes.pop();
        }
        if let Some(scope) = self.scopes.last_mut() {
            let ended = scope.later.iter().filter(|(cte, _)| *cte == query).map(|(_, name)| name.clone());
            scope.visible.extend(ended);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(_), .. } = factor {
            self.others.push(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        if !self.others.contains(&std::ptr::from_ref(name)) {
            self.add(name);
        }
        ControlFlow::Continue(())
    }
}

/// `TABLE t`, whose name the tree keeps as text, quotes and all.
fn has_table_command(body: &SetExpr) -> bool {
    match body {
        SetExpr::Table(_) => true,
        SetExpr::SetOperation { left, right, .. } => has_table_command(left) || has_table_command(right),
        SetExpr::Select(_)
        | SetExpr::Query(_)
        | SetExpr::Values(_)
        | SetExpr::Insert(_)
        | SetExpr::Update(_)
        | SetExpr::Delete(_)
        | SetExpr::Merge(_) => false,
    }
}

/// A name as PostgreSQL takes it: in lower case unless it is quoted, and cut to what it keeps.
fn normal(ident: &Ident) -> String {
    let mut name = ident.value.clone();
    if ident.quote_style.is_none() {
        name.make_ascii_lowercase();
    }
    let end = (0..=LONGEST_NAME.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    name.truncate(end);
    name
}

#[cfg(test)]
#[path = "tripwire_tests.rs"]
mod tests;
