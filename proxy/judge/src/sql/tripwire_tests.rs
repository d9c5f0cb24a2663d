//! What raises the flag, and what does not.

use crate::sql::{Catalog, Context, Facts, Limits, analyze, facts::Action, parse};
use std::collections::BTreeMap;

fn catalog() -> Catalog {
    let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Catalog::of_tables(&BTreeMap::from([
        ("public.customers".to_owned(), columns(&["id", "card_number"])),
        ("public.notes".to_owned(), columns(&["id", "note"])),
        ("sales.Orders".to_owned(), columns(&["id"])),
    ]))
    .unwrap()
}

fn flagged(catalog: &Catalog, text: &str) -> bool {
    let path = ["public".to_owned()];
    let context = Context { catalog, search_path: &path, limits: Limits::default(), tripwire: true };
    let all = analyze(text, &context).unwrap_or_else(|error| panic!("{text}: {error}"));
    all.iter().any(|facts| facts.flags.iter().any(|flag| flag == super::FLAG))
}

#[test]
fn the_same_relations_raise_nothing() {
    let catalog = catalog();
    for text in [
        "SELECT * FROM customers, public.notes n JOIN sales.\"Orders\" o ON o.id = n.id",
        "SELECT * FROM CUSTOMERS c, \"customers\" d, db.public.customers",
        "SELECT * FROM unknown_table, other.unknown_table",
        // names of CTEs, and the table that one of them hides
        "WITH c AS (SELECT * FROM customers) SELECT * FROM c, C, notes",
        "WITH customers AS (SELECT * FROM customers) SELECT * FROM customers",
        "WITH customers AS (SELECT * FROM notes) SELECT * FROM customers",
        "WITH RECURSIVE notes AS (SELECT id FROM customers UNION ALL SELECT id FROM notes) SELECT * FROM notes",
        "WITH a AS (SELECT 1), b AS (SELECT * FROM a), a2 AS (WITH a AS (SELECT 2) SELECT * FROM a, b) SELECT * FROM a2",
        "SELECT * FROM (WITH notes AS (SELECT 1) SELECT * FROM notes) s, notes",
        "WITH notes AS (SELECT * FROM customers) SELECT * FROM public.notes, notes",
        "WITH notes AS (SELECT 1) INSERT INTO notes SELECT * FROM customers",
        "WITH notes AS (SELECT 1) UPDATE notes SET note = 'x' FROM customers",
        "WITH notes AS (SELECT 1) DELETE FROM notes USING customers",
        "WITH d AS (DELETE FROM notes RETURNING *) INSERT INTO customers SELECT * FROM d",
        "MERGE INTO notes USING customers ON notes.id = customers.id WHEN MATCHED THEN DELETE",
        // functions in FROM
        "SELECT * FROM generate_series(1, 2) g, unnest(ARRAY[1]) AS notes, LATERAL lower('x')",
        "SELECT * FROM customers, current_date",
        "SELECT * FROM ONLY customers",
        "TABLE customers",
        "SELECT 1 WHERE EXISTS (SELECT FROM customers WHERE id IN (SELECT id FROM notes))",
        "COPY customers TO STDOUT",
        "COPY (SELECT * FROM customers) TO STDOUT",
        "CREATE TABLE n AS SELECT * FROM customers",
        "CREATE VIEW notes AS SELECT * FROM customers",
        "CREATE OR REPLACE VIEW notes AS SELECT * FROM customers",
        "CREATE OR REPLACE VIEW notes AS SELECT * FROM notes",
        "EXPLAIN SELECT * FROM customers",
        "TRUNCATE customers, notes",
        "SELECT * FROM customers FOR UPDATE OF customers",
        "INSERT INTO notes VALUES (1) ON CONFLICT (id) DO UPDATE SET note = excluded.note RETURNING id",
        "SELECT a FROM aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggggggggg",
    ] {
        assert!(!flagged(&catalog, text), "{text}");
    }
}

/// Facts that lack a relation, or have one too many, differ: the comparison is not blind.
#[test]
fn other_relations_raise_the_flag() {
    let catalog = catalog();
    let path = ["public".to_owned()];
    let context = Context { catalog: &catalog, search_path: &path, limits: Limits::default(), tripwire: true };
    for text in [
        "SELECT * FROM customers, notes",
        "WITH c AS (SELECT * FROM customers) SELECT * FROM c",
        "WITH customers AS (SELECT * FROM customers) SELECT * FROM customers",
        "INSERT INTO notes SELECT * FROM customers",
        "SELECT (SELECT max(id) FROM customers) FROM notes ORDER BY (SELECT id FROM notes)",
        "COPY customers TO STDOUT",
        "EXPLAIN DELETE FROM customers",
    ] {
        let statements = parse::statements(text, &Limits::default()).unwrap();
        let facts = |change: &dyn Fn(&mut Facts)| {
            let mut facts = crate::sql::walk::statement(&statements[0], &catalog, &path);
            change(&mut facts);
            super::compare(text, &statements, &[facts], &context)
        };
        assert_eq!(facts(&|_| {}), None, "{text}");
        assert!(facts(&|facts| facts.relations.retain(|one| one.name != "public.customers")).is_some(), "{text}");
        let renamed = |facts: &mut Facts| facts.relations[0].name = "public.other".to_owned();
        assert!(facts(&renamed).is_some(), "{text}");
        // what a view or a partition brings in stands in no text
        let indirect = |facts: &mut Facts| {
            let mut more = facts.relations[0].clone();
            (more.name, more.indirect) = ("public.inner".to_owned(), true);
            more.actions.insert(Action::Select);
            facts.relations.push(more);
        };
        assert_eq!(facts(&indirect), None, "{text}");
    }
}

#[test]
fn other_statements_raise_the_flag() {
    let catalog = catalog();
    // the rest of a line is data to sqlparser, and a statement to PostgreSQL
    assert!(flagged(&catalog, "COPY notes FROM STDIN; DROP TABLE notes"));
}
