//! A protected column inside each kind of node reaches the facts: one row of a table for every variant of `NodeEnum`.

use super::{CatalogRows, build, facts_of};
use crate::sql::{Action, Catalog, ColumnId, Facts, catalog};
use schemas::event::Usage;

#[path = "nodes_expressions.rs"]
mod expressions;
#[path = "nodes_table.rs"]
mod table;

/// The column that the table follows: `card_number` of `customers`.
const CARD: ColumnId = ColumnId { relation: 10, attribute: 3 };

/// How the column's name stands in a tree's debug text.
const NAME: &str = "\"card_number\"";

/// What the facts owe to a kind of node.
enum Row {
    /// The column stands within the node: it is used so.
    In(Usage, &'static [&'static str]),
    /// The node stands for the column, or leads to it, without naming it as an expression: it is used so.
    Via(Usage, &'static [&'static str]),
    /// The column stands within the node: its values are kept.
    Stored(&'static [&'static str]),
    /// The column stands within the node, whose code is not followed: the statement is opaque.
    Opaque(&'static [&'static str]),
    /// The node says what is done to `customers`; it has no expression.
    On(Action, &'static [&'static str]),
    /// The node can hold no column, for this reason.
    Apart(&'static str, &'static [&'static str]),
    /// The parser never makes the node, for this reason.
    Never(&'static str),
}

/// Makes the table, and a match that does not compile while it lacks a variant.
macro_rules! rows {
    ($($($variant:ident)|+ => $row:expr;)*) => {
        pub(super) const TABLE: &[(&str, super::Row)] = &[$($((stringify!($variant), $row)),+),*];

        pub(super) fn variant(node: &pg_query::NodeEnum) -> &'static str {
            match node {
                $($(pg_query::NodeEnum::$variant(_) => stringify!($variant),)+)*
            }
        }
    };
}
pub(super) use rows;

fn customers() -> Catalog {
    let rows: CatalogRows = |part| match part {
        catalog::Part::Schemas => &[&["11", "pg_catalog"], &["2200", "public"]],
        catalog::Part::Relations => {
            &[&["10", "2200", "customers", "r", "0", "f"], &["20", "2200", "notes", "r", "0", "f"]]
        }
        catalog::Part::Columns => &[
            &["10", "id", "1", "23", "f"],
            &["10", "name", "2", "25", "f"],
            &["10", "card_number", "3", "25", "f"],
            &["10", "document", "4", "3802", "f"],
            &["10", "tags", "5", "1009", "f"],
            &["20", "id", "1", "23", "f"],
            &["20", "note", "2", "25", "f"],
        ],
        catalog::Part::Views
        | catalog::Part::Inheritance
        | catalog::Part::Generated
        | catalog::Part::Types
        | catalog::Part::Functions
        | catalog::Part::Operators
        | catalog::Part::DomainChecks
        | catalog::Part::Casts
        | catalog::Part::Indexes
        | catalog::Part::Constraints
        | catalog::Part::Statistics => &[],
    };
    build(rows)
}

/// The tree of a text as debug text, in which each node stands as `Variant(Type { ... })`, and one that its owner holds
/// without a `Node` around it as `Type { ... }`.
fn tree(text: &str) -> String {
    let parsed = pg_query::parse(text, 0).unwrap_or_else(|error| panic!("{text}: {error}"));
    for raw in &parsed.protobuf.stmts {
        let node = raw.stmt.as_ref().and_then(|node| node.node.as_ref()).unwrap();
        let name = table::variant(node);
        assert!(!nodes(&format!("{node:?}"), name).is_empty(), "{name} is not found in its own tree");
    }
    format!("{:?}", parsed.protobuf)
}

/// The texts of all nodes of a kind.
fn nodes<'a>(tree: &'a str, variant: &str) -> Vec<&'a str> {
    let lower = tree.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase(); // SqlvalueFunction(SqlValueFunction { .. })
    let mut found = Vec::new();
    for (at, _) in lower.match_indices(&variant) {
        let before = lower[..at].chars().next_back();
        let rest = &lower[at + variant.len()..];
        let begins = before.is_none_or(|c| matches!(c, ' ' | '(' | '['));
        if begins && (rest.starts_with(" {") || rest.starts_with('(')) {
            found.push(&tree[at..at + variant.len() + closing(rest)]);
        }
    }
    found
}

/// The length of a text up to the bracket that closes its first one.
fn closing(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'(' | b'[' if !quoted => depth += 1,
            b'}' | b')' | b']' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    panic!("brackets do not match: {text}")
}

/// Checks a row's texts: each has the node, with the column in it if so wanted, and its facts say what they must.
fn check(variant: &str, texts: &[&str], inside: bool, says: impl Fn(&Facts) -> bool) -> Vec<String> {
    let catalog = customers();
    let mut wrong = Vec::new();
    assert!(!texts.is_empty(), "{variant} has no statement");
    for text in texts {
        if let Err(error) = pg_query::parse(text, 0) {
            wrong.push(format!("{variant}: {text}: {error}"));
            continue;
        }
        let tree = tree(text);
        let found = nodes(&tree, variant);
        if found.is_empty() {
            wrong.push(format!("{variant} is not in the tree of: {text}"));
        }
        if inside && !found.iter().any(|node| node.contains(NAME)) {
            wrong.push(format!("{variant} has no card_number within: {text}"));
        }
        let all = facts_of(&catalog, text);
        if !all.iter().any(&says) {
            wrong.push(format!("{variant}: {text}\n    {all:?}"));
        }
    }
    wrong
}

fn used(facts: &Facts, usage: Usage) -> bool {
    facts.columns.iter().any(|used| used.column == CARD && used.usage == usage)
}

#[test]
fn a_column_in_each_kind_of_node_reaches_the_facts() {
    let mut wrong = Vec::new();
    for (variant, row) in table::TABLE {
        wrong.extend(match row {
            Row::In(usage, texts) => check(variant, texts, true, |facts| used(facts, *usage)),
            Row::Via(usage, texts) => check(variant, texts, false, |facts| used(facts, *usage)),
            Row::Stored(texts) => check(variant, texts, true, |facts| facts.stored.contains(&CARD)),
            Row::Opaque(texts) => check(variant, texts, true, |facts| facts.opaque.is_some()),
            Row::On(action, texts) => check(variant, texts, false, |facts| {
                facts.relations.iter().any(|used| used.id == Some(CARD.relation) && used.actions.contains(action))
            }),
            Row::Apart(reason, texts) => {
                assert!(!reason.is_empty());
                check(variant, texts, false, |_| true)
            }
            Row::Never(reason) => {
                assert!(!reason.is_empty());
                Vec::new()
            }
        });
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// No statement of the table, nor of the other tests, makes a node of which the table says that the parser never does.
#[test]
fn nodes_that_the_parser_never_makes_are_in_no_tree() {
    let texts = |row: &Row| match row {
        Row::In(_, texts) | Row::Via(_, texts) | Row::On(_, texts) | Row::Apart(_, texts) => *texts,
        Row::Stored(texts) | Row::Opaque(texts) => *texts,
        Row::Never(_) => &[],
    };
    let trees: Vec<String> = table::TABLE.iter().flat_map(|(_, row)| texts(row)).map(|text| tree(text)).collect();
    for (variant, row) in table::TABLE {
        if matches!(row, Row::Never(_)) {
            let made = trees.iter().any(|tree| !nodes(tree, variant).is_empty());
            assert!(!made, "{variant} is made");
        }
    }
}

/// The table's own look into trees can fail.
#[test]
fn the_look_into_trees_tells_nodes_apart() {
    let tree = tree("SELECT card_number FROM customers WHERE id = 1");
    assert!(nodes(&tree, "ColumnRef").iter().any(|node| node.contains(NAME)));
    assert!(nodes(&tree, "AExpr").iter().all(|node| !node.contains(NAME)));
    assert!(nodes(&tree, "InsertStmt").is_empty() && nodes(&tree, "Expr").is_empty());
}
