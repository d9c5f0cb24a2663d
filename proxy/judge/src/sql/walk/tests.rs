//! A protected column inside each kind of expression, clause and statement reaches the facts.

use crate::sql::{Action, Catalog, ColumnId, Context, Facts, Limits, analyze, catalog};
use proptest::prelude::*;
use schemas::event::Usage;

mod nodes;
mod tells;
mod types;

/// The column that the tests follow: `secret` of `t`.
const SECRET: ColumnId = ColumnId { relation: 10, attribute: 2 };

/// The rows of each part of a catalog.
type CatalogRows = fn(catalog::Part) -> &'static [&'static [&'static str]];

/// A catalog of fixed rows.
fn build(rows: CatalogRows) -> Catalog {
    let cells = |row: &&[&str]| row.iter().map(|cell| Some((*cell).to_owned())).collect();
    let results: Vec<catalog::Rows> =
        catalog::QUERIES.iter().map(|(part, _)| rows(*part).iter().map(cells).collect()).collect();
    Catalog::build(1, &results).unwrap()
}

/// t (id, secret, j, a), u (id, note), a view of t, and a function of unknown code.
pub(super) fn catalog() -> Catalog {
    build(|part| match part {
        catalog::Part::Schemas => &[&["11", "pg_catalog"], &["2200", "public"]],
        catalog::Part::Relations => &[
            &["10", "2200", "t", "r", "0", "f"],
            &["20", "2200", "u", "r", "0", "f"],
            &["30", "2200", "v", "v", "0", "f"],
        ],
        catalog::Part::Columns => &[
            &["10", "id", "1", "23", "f"],
            &["10", "secret", "2", "25", "f"],
            &["10", "j", "3", "3802", "f"],
            &["10", "a", "4", "1009", "f"],
            &["20", "id", "1", "23", "f"],
            &["20", "note", "2", "25", "f"],
            &["30", "id", "1", "23", "f"],
            &["30", "shown", "2", "25", "f"],
        ],
        catalog::Part::Views => &[&["30", "SELECT t.id, t.secret AS shown FROM public.t;"]],
        catalog::Part::Inheritance
        | catalog::Part::Generated
        | catalog::Part::Types
        | catalog::Part::Functions
        | catalog::Part::Operators
        | catalog::Part::DomainChecks
        | catalog::Part::Casts
        | catalog::Part::Indexes
        | catalog::Part::Constraints
        | catalog::Part::Statistics => &[],
    })
}

pub(super) fn facts_of(catalog: &Catalog, text: &str) -> Vec<Facts> {
    let path = ["public".to_owned()];
    let context = Context { catalog, search_path: &path, limits: Limits::default(), tripwire: false };
    analyze(text, &context).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn usages(facts: &Facts) -> Vec<Usage> {
    facts.columns.iter().filter(|used| used.column == SECRET).map(|used| used.usage).collect()
}

/// Expressions over `secret`; none is the column itself.
const EXPRESSIONS: &[&str] = &[
    "secret || 'x'",
    "-secret::int",
    "secret = 'x'",
    "secret = ANY (a)",
    "secret <> ALL (ARRAY['x'])",
    "secret IN ('x', 'y')",
    "'x' IN ('y', secret)",
    "secret BETWEEN 'a' AND 'b'",
    "'b' BETWEEN SYMMETRIC secret AND 'c'",
    "secret LIKE '4%'",
    "secret ILIKE '4%' ESCAPE '!'",
    "secret SIMILAR TO '4%'",
    "secret ~ '^4'",
    "secret IS DISTINCT FROM 'x'",
    "NULLIF(secret, 'x')",
    "NOT (secret = 'x')",
    "true AND secret = 'x'",
    "false OR secret = 'x'",
    "secret IS NULL",
    "(secret = 'x') IS UNKNOWN",
    "secret::bytea",
    "CAST(secret AS varchar(3))",
    "secret COLLATE \"C\"",
    "COALESCE(NULL, secret)",
    "GREATEST(secret, 'x')",
    "LEAST('x', secret)",
    "CASE WHEN secret = 'x' THEN 1 END",
    "CASE secret WHEN 'x' THEN 1 END",
    "CASE WHEN true THEN secret ELSE 'n' END",
    "CASE WHEN false THEN 'n' ELSE secret END",
    "ROW(secret, 1)",
    "(ROW(secret, 1)).f1 || ''",
    "ARRAY[secret]",
    "ARRAY[[secret], ['x']]",
    "(ARRAY[secret])[1]",
    "(ARRAY['x', 'y'])[length(secret)]",
    "(ARRAY['x', 'y'])[1:length(secret)]",
    "lower(secret)",
    "overlay(secret placing 'x' from 1)",
    "substring(secret from 1 for 2)",
    "extract(year from secret::date)",
    "position('x' in secret)",
    "trim(both 'x' from secret)",
    "secret::timestamp AT TIME ZONE 'UTC'",
    "format('%s', VARIADIC ARRAY[secret])",
    "make_date(year => length(secret), month => 1, day => 1)",
    "max(secret)",
    "count(DISTINCT secret)",
    "string_agg('x', ',' ORDER BY secret)",
    "count(*) FILTER (WHERE secret = 'x')",
    "percentile_disc(0.5) WITHIN GROUP (ORDER BY secret)",
    "first_value(id) OVER (ORDER BY secret)",
    "first_value(id) OVER (PARTITION BY secret)",
    "lag(secret) OVER (ORDER BY id)",
    "(SELECT t.secret)",
    "EXISTS (SELECT 1 WHERE t.secret = 'x')",
    "ARRAY(SELECT t.secret)",
    "'x' IN (SELECT t.secret)",
    "t.secret IN (SELECT note FROM u)",
    "(SELECT u.note FROM u WHERE u.note = t.secret)",
    "(SELECT u.note FROM u ORDER BY t.secret LIMIT 1)",
    "xmlelement(name n, secret)",
    "xmlelement(name n, xmlattributes(secret AS s))",
    "xmlforest(secret AS s)",
    "xmlparse(content secret)",
    "xmlserialize(content secret::xml AS text)",
    "secret IS DOCUMENT",
    "JSON_OBJECT('k': secret)",
    "JSON_OBJECT(secret: 1)",
    "JSON_ARRAY(secret)",
    "JSON_ARRAY(SELECT t.secret)",
    "JSON_OBJECTAGG('k': secret)",
    "JSON_ARRAYAGG(secret ORDER BY id)",
    "JSON_ARRAYAGG(id ORDER BY secret)",
    "secret IS JSON",
    "JSON(secret)",
    "JSON_SCALAR(secret)",
    "JSON_SERIALIZE(secret)",
    "JSON_VALUE(j, '$' PASSING secret AS s)",
    "JSON_VALUE(j, '$.x' DEFAULT secret ON EMPTY)",
    "JSON_QUERY(secret, '$')",
    "JSON_EXISTS(secret, '$')",
    "j -> secret",
    "t::text",
    "(t.*)::text",
    "to_jsonb(t)",
    "row_to_json(t) ->> 'secret'",
    "unknown_function(secret)",
];

#[test]
fn each_expression_over_a_column_has_it_as_a_source() {
    let catalog = catalog();
    for expression in EXPRESSIONS {
        let text = format!("SELECT {expression} AS x FROM t");
        let all = facts_of(&catalog, &text);
        let output = &all[0].outputs.as_ref().unwrap()[0];
        assert!(output.sources.contains(&SECRET), "{text}: {all:?}");
        assert!(!output.direct, "{text}");
        assert!(usages(&all[0]).contains(&Usage::Projected), "{text}");
        for clause in [
            "WHERE ({}) IS NULL",
            "ORDER BY ({})",
            "HAVING ({}) IS NULL",
            "LIMIT (SELECT count(*) FROM t WHERE ({}) IS NULL)",
        ] {
            let text = format!("SELECT 1 FROM t {}", clause.replace("{}", expression));
            let seen = usages(&facts_of(&catalog, &text)[0]);
            assert!(seen.contains(&Usage::Filtered), "{text}: {seen:?}");
        }
        let text = format!("UPDATE u SET note = (SELECT {expression} FROM t)");
        assert!(facts_of(&catalog, &text)[0].stored.contains(&SECRET), "{text}");
    }
}

#[test]
fn the_column_itself_stays_itself() {
    let catalog = catalog();
    for text in [
        "SELECT secret FROM t",
        "SELECT x FROM (SELECT secret AS x FROM t) s",
        "WITH c AS (SELECT secret FROM t) SELECT * FROM c",
        "WITH c(x) AS MATERIALIZED (SELECT secret FROM t) SELECT c.x FROM c",
        "SELECT s.secret FROM u, LATERAL (SELECT secret FROM t) s",
        "SELECT (t).secret FROM t",
        "SELECT (c).secret FROM (SELECT t AS c FROM t) s",
        "SELECT secret(t) FROM t",
        "SELECT shown FROM v",
        "TABLE v",
        "SELECT secret FROM t AS x(i, s, j) WHERE false UNION ALL SELECT secret FROM t",
        "INSERT INTO t (id) VALUES (1) RETURNING secret",
        "UPDATE t SET id = 1 WHERE id = 2 RETURNING t.secret",
        "DELETE FROM t WHERE id = 1 RETURNING secret",
        "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE RETURNING t.secret",
        "COPY t (secret) TO STDOUT",
        "COPY t TO STDOUT",
        "COPY (SELECT secret FROM t) TO STDOUT",
        "COPY (DELETE FROM t RETURNING secret) TO STDOUT",
        "SELECT secret FROM ONLY t TABLESAMPLE system (1)",
        "SELECT secret FROM t FOR UPDATE",
        "VALUES ((SELECT secret FROM t))",
        "WITH RECURSIVE r(x) AS (SELECT secret FROM t UNION ALL SELECT x FROM r) SELECT x FROM r",
    ] {
        let all = facts_of(&catalog, text);
        let outputs = all[0].outputs.as_ref().unwrap();
        assert!(outputs.iter().any(|output| output.sources.contains(&SECRET)), "{text}: {all:?}");
        assert!(usages(&all[0]).contains(&Usage::Projected), "{text}");
    }
}

#[test]
fn clauses_that_pick_rows_filter() {
    let catalog = catalog();
    for (text, usage) in [
        ("SELECT 1 FROM t GROUP BY secret", Usage::Filtered),
        ("SELECT 1 FROM t GROUP BY ROLLUP (id, secret)", Usage::Filtered),
        ("SELECT DISTINCT secret FROM t", Usage::Filtered),
        ("SELECT DISTINCT ON (secret) id FROM t", Usage::Filtered),
        ("SELECT secret FROM t ORDER BY 1", Usage::Filtered),
        ("SELECT secret AS x FROM t ORDER BY x USING <", Usage::Filtered),
        ("SELECT id FROM t WINDOW w AS (ORDER BY secret)", Usage::Filtered),
        ("SELECT id FROM t OFFSET (SELECT length(secret) FROM t)", Usage::Filtered),
        ("SELECT secret FROM t UNION SELECT note FROM u", Usage::Filtered),
        ("SELECT note FROM u EXCEPT SELECT secret FROM t", Usage::Filtered),
        ("SELECT note FROM u INTERSECT ALL SELECT secret FROM t", Usage::Filtered),
        ("SELECT 1 FROM t JOIN u ON t.secret = u.note", Usage::Joined),
        ("SELECT 1 FROM t JOIN (SELECT note AS secret FROM u) s USING (secret)", Usage::Joined),
        ("SELECT 1 FROM t NATURAL JOIN (SELECT note AS secret FROM u) s", Usage::Joined),
        ("SELECT 1 FROM t, generate_series(1, length(t.secret)) g", Usage::Filtered),
        ("SELECT 1 FROM t, unnest(string_to_array(t.secret, NULL)) g", Usage::Filtered),
        ("SELECT 1 FROM t, XMLTABLE('/a' PASSING (t.secret::xml) COLUMNS x text) x", Usage::Filtered),
        ("SELECT 1 FROM t, JSON_TABLE(t.secret, '$[*]' COLUMNS (x int PATH '$')) x", Usage::Filtered),
        ("SELECT 1 FROM u TABLESAMPLE system ((SELECT length(secret) FROM t))", Usage::Filtered),
        ("UPDATE u SET note = 'x' FROM t WHERE t.secret = u.note", Usage::Filtered),
        ("DELETE FROM u USING t WHERE t.secret = u.note", Usage::Filtered),
        ("MERGE INTO u USING t ON t.secret = u.note WHEN MATCHED THEN DELETE", Usage::Joined),
        ("MERGE INTO u USING t ON t.id = u.id WHEN MATCHED AND t.secret = 'x' THEN DELETE", Usage::Filtered),
        ("INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING", Usage::Filtered),
        ("INSERT INTO t (secret) VALUES ('x') ON CONFLICT ON CONSTRAINT k DO NOTHING", Usage::Filtered),
        ("INSERT INTO t VALUES (1, 'x') ON CONFLICT (secret) DO NOTHING", Usage::Filtered),
        ("INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 1 WHERE t.secret = 'x'", Usage::Filtered),
        ("CREATE INDEX ON t (secret)", Usage::Filtered),
        ("CREATE INDEX ON t (id) WHERE secret = 'x'", Usage::Filtered),
        ("CREATE INDEX ON t (lower(secret))", Usage::Filtered),
        ("CREATE STATISTICS s ON secret, id FROM t", Usage::Filtered),
        ("CREATE POLICY p ON t USING (secret = 'x')", Usage::Filtered),
        ("ALTER POLICY p ON t WITH CHECK (secret = 'x')", Usage::Filtered),
        ("ALTER TABLE t ADD CHECK (secret = 'x')", Usage::Filtered),
        ("CREATE RULE r AS ON INSERT TO u WHERE EXISTS (SELECT FROM t WHERE secret = 'x') DO NOTHING", Usage::Filtered),
        (
            "CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW WHEN (old.secret = 'x') EXECUTE FUNCTION f()",
            Usage::Filtered,
        ),
        ("COPY t FROM STDIN WHERE secret = 'x'", Usage::Filtered),
        ("CREATE PUBLICATION p FOR TABLE t WHERE (secret = 'x')", Usage::Filtered),
    ] {
        let seen = usages(&facts_of(&catalog, text)[0]);
        assert!(seen.contains(&usage), "{text}: {seen:?}");
    }
}

#[test]
fn values_that_are_kept_are_stored() {
    let catalog = catalog();
    for text in [
        "INSERT INTO u SELECT id, secret FROM t",
        "INSERT INTO u VALUES (1, (SELECT secret FROM t))",
        "INSERT INTO u AS x VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET note = (SELECT secret FROM t)",
        "UPDATE u SET note = secret FROM t WHERE t.id = u.id",
        "UPDATE u SET (id, note) = (SELECT id, secret FROM t)",
        "UPDATE t SET secret = reverse(secret)",
        "MERGE INTO u USING t ON t.id = u.id WHEN NOT MATCHED THEN INSERT VALUES (1, t.secret)",
        "MERGE INTO u USING t ON t.id = u.id WHEN MATCHED THEN UPDATE SET note = t.secret",
        "CREATE TABLE n AS SELECT secret FROM t",
        "CREATE TEMP TABLE n AS TABLE t",
        "CREATE MATERIALIZED VIEW n AS SELECT secret FROM t",
        "CREATE VIEW n AS SELECT shown FROM v",
        "SELECT secret INTO n FROM t",
        "EXECUTE p((SELECT secret FROM t))",
        "WITH w AS (INSERT INTO u SELECT id, secret FROM t) SELECT 1",
        "PREPARE p AS INSERT INTO u SELECT id, secret FROM t",
        "EXPLAIN ANALYZE INSERT INTO u SELECT id, secret FROM t",
        "SELECT setval('s', length(secret)) FROM t",
        "SELECT pg_advisory_lock(length(secret)) FROM t",
        "SELECT set_config('a.b', secret, false) FROM t",
        "ALTER TABLE u ADD COLUMN x text DEFAULT (SELECT secret FROM t)",
        "ALTER TABLE t ADD COLUMN x text GENERATED ALWAYS AS (upper(secret)) STORED",
    ] {
        let all = facts_of(&catalog, text);
        assert!(all[0].stored.contains(&SECRET) || all[0].opaque.is_some(), "{text}: {all:?}");
    }
}

#[test]
fn each_statement_names_its_relation_and_action() {
    let catalog = catalog();
    for (text, kind, action) in [
        ("TRUNCATE t", "TRUNCATE TABLE", Action::Truncate),
        ("LOCK TABLE t", "LOCK TABLE EXCLUSIVE", Action::Lock),
        ("VACUUM t", "VACUUM", Action::Maintain),
        ("ANALYZE t (secret)", "ANALYZE", Action::Maintain),
        ("CLUSTER t", "CLUSTER", Action::Maintain),
        ("REINDEX TABLE t", "REINDEX", Action::Maintain),
        ("DROP TABLE t", "DROP TABLE", Action::Drop),
        ("DROP VIEW v", "DROP VIEW", Action::Drop),
        ("DROP TRIGGER g ON t", "DROP TRIGGER", Action::Alter),
        ("ALTER TABLE t DROP COLUMN secret", "ALTER TABLE", Action::Alter),
        ("ALTER TABLE t RENAME TO x", "ALTER TABLE", Action::Alter),
        ("ALTER TABLE t RENAME COLUMN secret TO x", "ALTER TABLE", Action::Alter),
        ("ALTER TABLE t SET SCHEMA s", "ALTER TABLE", Action::Alter),
        ("ALTER TABLE u INHERIT t", "ALTER TABLE", Action::Alter),
        ("ALTER TABLE u ATTACH PARTITION t DEFAULT", "ALTER TABLE", Action::Alter),
        ("CREATE TABLE n () INHERITS (t)", "CREATE TABLE", Action::Alter),
        ("CREATE TABLE n (x text REFERENCES t (secret))", "CREATE TABLE", Action::Alter),
        ("CREATE TABLE n (LIKE t)", "CREATE TABLE", Action::Select),
        ("COMMENT ON COLUMN t.secret IS 'x'", "COMMENT", Action::Alter),
        ("COMMENT ON TABLE t IS 'x'", "COMMENT", Action::Alter),
        ("GRANT SELECT ON t TO PUBLIC", "GRANT", Action::Alter),
        ("COPY t FROM STDIN", "COPY", Action::CopyIn),
        ("COPY t TO STDOUT", "COPY", Action::CopyOut),
        ("SELECT 1 FROM t FOR SHARE", "SELECT", Action::Lock),
        ("CREATE SCHEMA s CREATE VIEW n AS SELECT id FROM t", "CREATE SCHEMA", Action::Select),
        ("DECLARE c CURSOR FOR SELECT id FROM t", "DECLARE CURSOR", Action::Select),
        ("PREPARE p AS SELECT id FROM t", "PREPARE", Action::Select),
        ("EXPLAIN (VERBOSE) SELECT id FROM t", "EXPLAIN", Action::Select),
    ] {
        let facts = facts_of(&catalog, text).remove(0);
        let mut named = facts.relations.iter().filter(|relation| matches!(relation.id, Some(10 | 30)));
        assert!(named.any(|relation| relation.actions.contains(&action)), "{text}: {facts:?}");
        assert_eq!(facts.kind, kind, "{text}");
    }
}

#[test]
fn code_that_is_not_followed_is_opaque() {
    let catalog = catalog();
    for text in [
        "DO $$ BEGIN END $$",
        "CALL p()",
        "LOAD 'x'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE RULE r AS ON SELECT TO u DO INSTEAD SELECT * FROM t",
        "CREATE TABLE n AS EXECUTE p",
        "SELECT query_to_xml('SELECT 1', true, true, '')",
        "SELECT lo_import('x')",
    ] {
        let facts = facts_of(&catalog, text).remove(0);
        assert!(facts.opaque.is_some() && facts.missing.is_none(), "{text}");
    }
    for (text, name) in [
        ("SELECT missing FROM t", "column missing"),
        ("UPDATE t SET missing = 1", "column missing of public.t"),
        ("SELECT x.* FROM t", "what x.* stands for"),
        ("INSERT INTO u (id) VALUES (1) ON CONFLICT (missing) DO NOTHING", "column missing"),
    ] {
        let facts = facts_of(&catalog, text).remove(0);
        assert_eq!(facts.missing.as_deref(), Some(name), "{text}");
        assert!(facts.opaque.is_some(), "{text}");
    }
}

/// Pieces of statements, from which wrong and odd ones are made.
const PIECES: &[&str] = &[
    "SELECT",
    "secret",
    "FROM",
    "t",
    "v",
    "WHERE",
    "(",
    ")",
    ",",
    "*",
    "1",
    "'x'",
    "||",
    "=",
    "AND",
    "NOT",
    "UNION",
    "JOIN",
    "ON",
    "USING",
    "(id)",
    "WITH",
    "c AS",
    "RECURSIVE",
    "INSERT INTO u",
    "VALUES",
    "UPDATE u SET note =",
    "DELETE FROM t",
    "RETURNING",
    "ORDER BY",
    "GROUP BY",
    "LATERAL",
    "CASE WHEN",
    "THEN",
    "ELSE",
    "END",
    "::text",
    "ARRAY[",
    "]",
    "ROW(",
    ".",
    ";",
    "$1",
    "COPY",
    "TO STDOUT",
    "EXPLAIN",
    "PREPARE p AS",
    "CREATE VIEW n AS",
    "max(",
    "OVER (",
    "FILTER (WHERE",
    "--",
    "/*",
    "*/",
    "E'\\'",
    "$$",
    "\"",
    "U&'\\0041'",
    "ALTER TABLE t ADD",
    "CHECK (",
    "ON CONFLICT DO NOTHING",
    "LIMIT",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// No text makes it panic, and facts that come point into the text.
    #[test]
    fn odd_texts_are_answered(
        base in 0..EXPRESSIONS.len(),
        pieces in prop::collection::vec((0..PIECES.len(), any::<u8>()), 1..12),
        wild in prop::collection::vec(any::<char>(), 0..4),
    ) {
        thread_local!(static CATALOG: Catalog = catalog());
        let mut words: Vec<String> =
            format!("SELECT {} FROM t WHERE id = 1", EXPRESSIONS[base]).split(' ').map(str::to_owned).collect();
        for (piece, place) in pieces {
            let place = usize::from(place) % (words.len() + 1);
            if place.is_multiple_of(3) && place < words.len() {
                words[place] = PIECES[piece].to_owned();
            } else {
                words.insert(place, PIECES[piece].to_owned());
            }
        }
        let text = words.join(" ") + &wild.into_iter().collect::<String>();
        CATALOG.with(|catalog| {
            let path = ["public".to_owned()];
            let context = Context { catalog, search_path: &path, limits: Limits::default(), tripwire: true };
            if let Ok(all) = analyze(&text, &context) {
                assert!(all.iter().all(|facts| text.get(facts.text.clone()).is_some()), "{text}");
            }
        });
    }
}
