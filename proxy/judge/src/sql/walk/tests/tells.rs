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
        r"secret LIKE '5\'",
        "secret LIKE $1",
        "secret LIKE '5#' ESCAPE '#'",
        "secret LIKE ANY (ARRAY['5%'])",
        "nullif(secret, 'x') ~ '('",
        "nullif(secret, 'x') SIMILAR TO '('",
        "encode(convert_to(nullif(secret, 'x'), 'UTF8'), 'bogus')",
        "substr(nullif(secret, 'x'), 1, -1)",
        "split_part(nullif(secret, 'x'), '-', 0)",
        "split_part(nullif(secret, 'x'), '-', id)",
        "regexp_match(nullif(secret, 'x'), '(')",
        "regexp_replace(nullif(secret, 'x'), 'x', 'y', 'q')",
        "overlay(nullif(secret, 'x') PLACING 'x' FROM 0)",
        "percentile_disc(2.0) WITHIN GROUP (ORDER BY nullif(secret, 'x'))",
        "lower(nullif(secret, 'x') || ('' COLLATE \"C\") || ('' COLLATE \"POSIX\"))",
        "regr_sxx(length(nullif(secret, 'x')), id * 1e200::float8)",
        "array_position(ARRAY['x'], 'x', length(nullif(secret, 'x')))",
        "(nullif(secret, 'x'), 1 / (id - 1)) IS NULL",
        "(string_to_array(nullif(secret, 'x'), '-'))[1 / (id - 1)]",
        "array_agg(string_to_array(nullif(secret, 'x'), '-'))",
        "ARRAY[string_to_array(nullif(secret, 'x'), '-'), ARRAY['x']]",
        "ARRAY(SELECT ARRAY[nullif(secret, 'x')] FROM u)",
        "array_position(ARRAY[string_to_array(nullif(secret, 'x'), '-')], 'x')",
        "JSON_ARRAY(translate(secret, '5', '{') FORMAT JSON)",
        "JSON_OBJECT('a': secret FORMAT JSON)",
        "JSON_ARRAYAGG(secret FORMAT JSON)",
        "JSON_ARRAY(secret RETURNING varchar(6))",
        "JSON_ARRAYAGG(secret RETURNING varchar(6))",
        "JSON_SERIALIZE(secret)",
        "sum(secret::interval)",
        "avg(secret::money)",
        "secret::numeric * secret::numeric",
        "secret::float8 * 0.5",
        "secret::numeric(15, 0)",
        "replace(replace(secret, '5', 'xx'), 'x', 'xx')",
        "string_agg(replace(secret, '5', 'xx'), '')",
        "string_agg(nullif(secret, 'x') || 'xxxxxxxx', '')",
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
        "secret ~ '^[0-9]{3}-'",
        "nullif(secret, 'x') LIKE '5%'",
        "secret ~ '('",
        "(secret, id) = ('x', 1)",
        "secret = ANY (ARRAY['x', 'y'])",
        "greatest(secret, 'x')",
        "string_agg(secret::text, ',')",
        "jsonb_agg(t)",
        "-1 * secret::bigint",
        "sum(secret::bigint)",
        "JSON_ARRAY(secret)",
    ] {
        assert!(!tells(&format!("SELECT {expression} FROM t")), "{expression}");
    }
    for text in [
        "SELECT s = r FROM (SELECT left(secret, 1) a, 1 b FROM t) s, (SELECT '5'::text a, 'x'::text b) r",
        "SELECT s = ANY (ARRAY[r]) FROM (SELECT left(secret, 1) a, 1 b FROM t) s, (SELECT '5'::text a, 'x' b) r",
        "SELECT s IN (r) FROM (SELECT left(secret, 1) a, 1 b FROM t) s, (SELECT '5'::text a, 'x' b) r",
        "SELECT greatest(s, r) IS NULL FROM (SELECT left(secret, 1) a, 1 b FROM t) s, (SELECT '5'::text a, 'x' b) r",
        "SELECT s = (SELECT r FROM (SELECT '5'::text a, 'x' b) r) FROM (SELECT left(secret, 1) a, 1 b FROM t) s",
        "SELECT s.a = '5' AND s.b > 0 FROM (SELECT left(secret, 1) a, 1 / (id - 1) b FROM t) s",
        "SELECT s IS NULL FROM (SELECT nullif(secret, 'x') a, 1 / (id - 1) b FROM t) s",
        "WITH b AS (SELECT s || s s FROM (SELECT left(secret, 1) s FROM t) a) SELECT s || s FROM b",
        "WITH a AS (SELECT secret::numeric n FROM t), b AS (SELECT n * n n FROM a) SELECT n * n FROM b",
    ] {
        assert!(tells(text), "{text}");
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
        ("SELECT unnest(ARRAY[nullif(ARRAY[secret], '{}')]) FROM t", true),
        ("SELECT e FROM t, jsonb_each_text(to_jsonb(t)) e", false),
        ("SELECT g FROM generate_series(1, 3) g, t", false),
    ] {
        assert_eq!(usages(&facts_of(&catalog, text)[0]).contains(&Usage::Filtered), counted, "{text}");
    }
}
