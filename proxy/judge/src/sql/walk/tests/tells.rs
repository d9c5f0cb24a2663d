//! What tells a value by failing, waiting or counting, and what does not.

use super::{SECRET, catalog, facts_of, usages};
use schemas::event::Usage;

#[test]
fn what_some_values_do_not_survive_tells_them() {
    let catalog = catalog();
    let tells = |text: &str| facts_of(&catalog, text)[0].told.contains(&SECRET);
    for expression in [
        "pg_sleep(length(secret))",
        "1 / (ascii(secret) - 52)",
        "id % (secret = 'x')::int",
        "sqrt(ascii(secret) - 52)",
        "translate(left(secret, 1), '5', 'x')::int",
        "secret::bigint * 1872",
        "secret::bigint + 1",
        "(secret || '9')::numeric",
        "secret::numeric(3, 0)",
        "secret::bit(3)",
        "secret::text[]",
        "secret::own",
        "'a' ~ secret",
        "'a' LIKE secret",
        "a || ARRAY[secret]",
        "chr(ascii(secret))",
        "substring(secret FOR ascii(secret) - 50)",
        "split_part('a', 'b', ascii(secret))",
        "to_date(secret, 'YYYY')",
        "date_part(secret, now())",
        "format(secret, 1)",
        "format('%I', nullif(secret, 'x'))",
        "format('%*s', length(secret), 'x')",
        "convert_to(secret, 'LATIN1')",
        "decode(secret, 'hex')",
        "int4(secret)",
        "json_build_object(nullif(secret, 'x'), 1)",
        "repeat(secret, 1000)",
        "repeat(repeat(secret, 100), 100)",
        "repeat('x', length(secret))",
        "secret LIKE '5%' AND 1 / (id - 1) > 0",
        "coalesce(nullif(secret, 'x'), (1 / (id - 1))::text)",
        "coalesce(nullif(secret, 'x'), random()::text)",
        "secret = 'x' OR pg_sleep(1) IS NULL",
        "secret IN ('x', (1 / (id - 1))::text)",
        "secret BETWEEN 'x' AND (1 / (id - 1))::text",
        "(secret, 1) = ('x', 1 / (id - 1))",
        "secret = ANY (SELECT (1 / (id - 1))::text FROM u)",
        "jsonb_path_query(j, secret::jsonpath)",
        "xmlparse(CONTENT secret)",
    ] {
        assert!(tells(&format!("SELECT {expression} FROM t")), "{expression}");
    }
    for expression in [
        "secret",
        "secret::text",
        "secret::varchar(3)",
        "secret::bigint",
        "secret::numeric * 2.5 + 10",
        "secret || 'x'",
        "upper(secret) || id::text",
        "substr(secret, 1, 4)",
        "left(secret, -4)",
        "split_part(secret, '-', 2)",
        "regexp_replace(secret, '[0-9]', 'x', 'g')",
        "secret LIKE '5%'",
        "secret ~ '^5'",
        "secret = 'x' AND id = 1",
        "coalesce(secret, 'none')",
        "format('%s: %L', secret, id)",
        "md5(secret)",
        "encode(convert_to(secret, 'UTF8'), 'base64')",
        "date_trunc('day', secret::timestamp)",
        "count(secret)",
        "sum(secret::numeric) / 100",
        "json_build_object('a', secret)",
        "to_jsonb(t)",
        "lpad(secret, 20, '*')",
        "secret IN ('x', 'y')",
        "nullif(secret, 'x')",
    ] {
        assert!(!tells(&format!("SELECT {expression} FROM t")), "{expression}");
    }
    assert!(tells("EXPLAIN ANALYZE SELECT upper(secret) FROM t"));
    assert!(!tells("EXPLAIN SELECT upper(secret) FROM t"));
}

#[test]
fn rows_are_as_many_for_every_value_or_tell_it() {
    let catalog = catalog();
    for (text, counted) in [
        ("SELECT unnest(ARRAY[secret, 'x']) FROM t", false),
        ("SELECT unnest(ARRAY[s.b]) FROM (SELECT ARRAY[secret] b FROM t) s", true),
        ("SELECT unnest(ARRAY[s.b]::text[]) FROM (SELECT ARRAY[secret] b FROM t) s", true),
        ("SELECT e FROM (SELECT string_to_array(secret, '5') b FROM t) s, jsonb_array_elements(to_jsonb(s.b)) e", true),
        ("SELECT jsonb_path_query(to_jsonb(t), '$.secret ? (@ starts with \"5\")') FROM t", true),
        ("SELECT e FROM t, jsonb_each_text(to_jsonb(t)) e", false),
        ("SELECT g FROM generate_series(1, 3) g, t", false),
    ] {
        assert_eq!(usages(&facts_of(&catalog, text)[0]).contains(&Usage::Filtered), counted, "{text}");
    }
}
