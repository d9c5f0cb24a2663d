//! A type whose values are checked by a function of the database's own is noticed wherever a statement makes one.

use super::{CatalogRows, build, facts_of};
use crate::sql::catalog;

#[test]
fn a_type_that_calls_is_noticed_wherever_a_value_of_it_is_made() {
    let rows: CatalogRows = |part| match part {
        catalog::Part::Schemas => &[&["11", "pg_catalog"], &["2200", "public"]],
        catalog::Part::Relations => &[&["10", "2200", "t", "r", "0", "f"]],
        catalog::Part::Columns => &[&["10", "secret", "1", "25", "f"], &["10", "j", "2", "3802", "f"]],
        catalog::Part::Types => {
            &[&["25", "11", "text", "b", "0", "0", "0"], &["500", "2200", "watched", "d", "0", "0", "25"]]
        }
        catalog::Part::DomainChecks => &[&["500", "CHECK (leak(VALUE))"]],
        catalog::Part::Views
        | catalog::Part::Inheritance
        | catalog::Part::Generated
        | catalog::Part::Functions
        | catalog::Part::Operators
        | catalog::Part::Casts
        | catalog::Part::Indexes
        | catalog::Part::Constraints
        | catalog::Part::Statistics => &[],
    };
    let catalog = build(rows);
    for text in [
        "SELECT secret::TYPE FROM t",
        "SELECT CAST(secret AS TYPE) FROM t",
        "SELECT TYPE 'x'",
        "SELECT x FROM t, json_to_record(secret::json) AS f(x TYPE)",
        "SELECT x FROM t, ROWS FROM (json_to_recordset(secret::json) AS (x TYPE)) f",
        "SELECT x FROM t, XMLTABLE('/a' PASSING (secret::xml) COLUMNS x TYPE) f",
        "SELECT x FROM t, JSON_TABLE(secret, '$' COLUMNS (x TYPE PATH '$')) f",
        "SELECT xmlserialize(CONTENT secret::xml AS TYPE) FROM t",
        "SELECT JSON_VALUE(j, '$.a' RETURNING TYPE) FROM t",
        "SELECT JSON_QUERY(j, '$.a' RETURNING TYPE) FROM t",
        "SELECT JSON_SERIALIZE(secret RETURNING TYPE) FROM t",
        "SELECT JSON_OBJECT('a': secret RETURNING TYPE) FROM t",
        "SELECT JSON_ARRAY(secret RETURNING TYPE) FROM t",
        "SELECT JSON_ARRAY(SELECT secret FROM t RETURNING TYPE)",
        "SELECT JSON_OBJECTAGG('a': secret RETURNING TYPE) FROM t",
        "SELECT JSON_ARRAYAGG(secret RETURNING TYPE) FROM t",
        "WITH RECURSIVE r(x) AS (SELECT secret FROM t UNION ALL SELECT x FROM r) \
         CYCLE x SET c TO TYPE 'y' DEFAULT TYPE 'n' USING p SELECT c FROM r",
    ] {
        let called = |name: &str| !facts_of(&catalog, &text.replace("TYPE", name))[0].functions.is_empty();
        assert!(called("watched") && called("public.watched"), "{text}");
        let plain = facts_of(&catalog, &text.replace("TYPE", "text")).remove(0);
        assert!(!plain.functions.iter().any(|name| name.contains("text")), "{text}: {plain:?}");
    }
}
