//! The SQL texts that read a resource's catalog. Every result column is text; they run on PostgreSQL 13 to 18 as any role.

/// Which part of the snapshot a query fills. The order of [`QUERIES`] is the order in which [`super::Rows`] is indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// oid, name.
    Schemas,
    /// oid, schema oid, name, kind, oid of the row type, has rules other than a view's own; triggers and row security, by
    /// which it is told whether it changed.
    Relations,
    /// relation oid, name, number, type oid, generated.
    Columns,
    /// relation oid, definition.
    Views,
    /// child oid, parent oid.
    Inheritance,
    /// relation oid, number of a generated column, number of a column that it is computed from.
    Generated,
    /// oid, schema oid, name, kind, relation oid of a composite, element type oid, base type oid of a domain.
    Types,
    /// schema oid, name, kind, volatility, language, returned type oid, returns a set, security definer, extension,
    /// least arguments, most arguments (-1: variadic), names and modes of arguments as arrays' texts; of others than
    /// PostgreSQL's own which transaction wrote its definition, by which it is told whether that changed.
    Functions,
    /// schema oid, name, extension.
    Operators,
    /// type oid, definition of a check constraint of a domain.
    DomainChecks,
    /// source type oid, target type oid, of casts by a function that is neither built in nor an extension's.
    Casts,
    /// relation oid, numbers of the key columns (0: an expression), equality on all of them picks at most one row, no two
    /// rows may be alike in it, numbers of all columns that it depends on where those are not the key columns.
    Indexes,
    /// relation oid, kind (`c`heck, `f`oreign key), numbers of its columns, relation oid and numbers that a foreign key
    /// refers to.
    Constraints,
    /// relation oid, number, and as powers of two, rounded up: the share of the rows that have the commonest value, the
    /// rows of the relation. Rounded, so that a snapshot does not change whenever a table is analyzed.
    Statistics,
}

/// The queries, each with the part that it fills. They belong in one READ ONLY REPEATABLE READ transaction; the one for
/// views empties `search_path` until that transaction's end, so that definitions print qualified names.
pub const QUERIES: &[(Part, &str)] = &[
    (Part::Schemas, "SELECT oid::text, nspname::text FROM pg_catalog.pg_namespace"),
    (
        Part::Relations,
        "SELECT c.oid::text, c.relnamespace::text, c.relname::text, c.relkind::text, c.reltype::text, \
         EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN')::text, \
         CASE WHEN c.relhastriggers THEN (SELECT pg_catalog.string_agg(t.xmin::text || ':' || t.oid::text, ',' ORDER BY t.oid) \
         FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) END, c.relrowsecurity::text \
         FROM pg_catalog.pg_class c WHERE c.relkind NOT IN ('t') AND c.relpersistence <> 't'",
    ),
    (
        Part::Columns,
        "SELECT a.attrelid::text, a.attname::text, a.attnum::text, a.atttypid::text, (a.attgenerated <> '')::text, \
         NULLIF(NULLIF(a.attcollation, 0), 100)::text FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r','v','m','f','p','c','S') \
         AND c.relpersistence <> 't' ORDER BY a.attrelid, a.attnum",
    ),
    (
        Part::Views,
        "SELECT c.oid::text, pg_catalog.pg_get_viewdef(c.oid)::text FROM pg_catalog.pg_class c, \
         (SELECT pg_catalog.set_config('search_path', '', true) AS path) s \
         WHERE c.relkind IN ('v','m') AND c.relpersistence <> 't' AND s.path IS NOT NULL",
    ),
    (Part::Inheritance, "SELECT inhrelid::text, inhparent::text FROM pg_catalog.pg_inherits"),
    (
        Part::Generated,
        "SELECT DISTINCT d.objid_relation, d.generated, d.base FROM (\
         SELECT a.attrelid::text AS objid_relation, a.attnum::text AS generated, p.refobjsubid::text AS base \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum \
         JOIN pg_catalog.pg_depend p ON p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
         AND p.refobjid = a.attrelid AND p.refobjsubid > 0 AND p.refobjsubid <> a.attnum \
         AND ((p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND p.objid = f.oid) \
         OR (p.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.objid = a.attrelid AND p.objsubid = a.attnum)) \
         WHERE a.attgenerated <> '') d",
    ),
    (
        Part::Types,
        "SELECT oid::text, typnamespace::text, typname::text, typtype::text, typrelid::text, typelem::text, \
         typbasetype::text, NULLIF(NULLIF(typcollation, 0), 100)::text FROM pg_catalog.pg_type",
    ),
    (
        Part::Functions,
        "SELECT p.pronamespace::text, p.proname::text, p.prokind::text, p.provolatile::text, l.lanname::text, \
         p.prorettype::text, p.proretset::text, p.prosecdef::text, e.extname::text, \
         (p.pronargs - p.pronargdefaults - CASE WHEN p.provariadic <> 0 THEN 1 ELSE 0 END)::text, \
         CASE WHEN p.provariadic <> 0 THEN '-1' ELSE p.pronargs::text END, \
         p.proargnames::text, p.proargmodes::text, CASE WHEN p.oid >= 16384 THEN p.xmin::text END \
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
         LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid \
         AND d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
         LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid",
    ),
    (
        Part::Operators,
        "SELECT o.oprnamespace::text, o.oprname::text, e.extname::text FROM pg_catalog.pg_operator o \
         LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass \
         AND d.objid = o.oid AND d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
         LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
         WHERE o.oprnamespace <> 'pg_catalog'::pg_catalog.regnamespace",
    ),
    (
        Part::DomainChecks,
        "SELECT contypid::text, pg_catalog.pg_get_constraintdef(oid)::text FROM pg_catalog.pg_constraint \
         WHERE contypid <> 0 AND contype = 'c'",
    ),
    (
        Part::Casts,
        "SELECT c.castsource::text, c.casttarget::text FROM pg_catalog.pg_cast c \
         JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc \
         WHERE p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace AND NOT EXISTS (\
         SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
         AND d.objid = p.oid AND d.deptype = 'e')",
    ),
    (
        Part::Indexes,
        "SELECT i.indrelid::text, i.indkey::text, i.indnkeyatts::text, \
         (i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL)::text, \
         (i.indisunique OR i.indisexclusion)::text, \
         CASE WHEN (i.indisunique OR i.indisexclusion) AND (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL) THEN \
         (SELECT pg_catalog.string_agg(d.refobjsubid::text, ' ' ORDER BY d.refobjsubid) FROM pg_catalog.pg_depend d \
         WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid \
         AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = i.indrelid \
         AND d.refobjsubid > 0) END \
         FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid \
         WHERE c.relkind IN ('r','p','m') AND c.relpersistence <> 't' \
         AND c.relnamespace <> 'pg_catalog'::pg_catalog.regnamespace ORDER BY i.indexrelid",
    ),
    (
        Part::Constraints,
        "SELECT conrelid::text, contype::text, conkey::text, confrelid::text, confkey::text \
         FROM pg_catalog.pg_constraint WHERE conrelid <> 0 AND contype IN ('c','f') AND conkey IS NOT NULL ORDER BY oid",
    ),
    (
        Part::Statistics,
        "SELECT s.relation::text, s.number::text, \
         pg_catalog.ceil(pg_catalog.ln(pg_catalog.max(s.share)) / pg_catalog.ln(2::float8) - 1e-6)::int::text, \
         pg_catalog.ceil(pg_catalog.ln(pg_catalog.max(s.rows)) / pg_catalog.ln(2::float8) - 1e-6)::int::text FROM (\
         SELECT a.attrelid AS relation, a.attnum AS number, c.reltuples::float8 AS rows, \
         CASE WHEN p.most_common_freqs[1] > 0 THEN p.most_common_freqs[1]::float8 \
         WHEN p.n_distinct > 0 THEN 1 / p.n_distinct::float8 \
         WHEN p.n_distinct < 0 THEN 1 / (-p.n_distinct::float8 * c.reltuples) END AS share \
         FROM pg_catalog.pg_stats p JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname \
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename AND c.reltuples > 0 \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = p.attname AND NOT a.attisdropped \
         WHERE p.schemaname NOT IN ('pg_catalog', 'information_schema') AND c.relpersistence <> 't') s \
         WHERE s.share > 0 GROUP BY s.relation, s.number ORDER BY s.relation, s.number",
    ),
];
