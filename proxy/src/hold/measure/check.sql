WITH RECURSIVE named(id) AS (SELECT * FROM pg_catalog.unnest('{written}'::pg_catalog.oid[])),
seen(id) AS (SELECT * FROM pg_catalog.unnest('{read}'::pg_catalog.oid[])),
-- what is written: what the statement names, and what foreign keys cascade to from there
written(id) AS (
  SELECT id FROM named
  UNION
  SELECT k.conrelid FROM written w JOIN pg_catalog.pg_constraint k ON k.confrelid [=] w.id
  WHERE k.contype [=] 'f'::pg_catalog."char" AND NOT (
    k.confdeltype [=] ANY ('{a,r}'::pg_catalog."char"[]) AND k.confupdtype [=] ANY ('{a,r}'::pg_catalog."char"[]))
),
named_table(id, name) AS (
  SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid [=] c.relnamespace
),
expressions(id, what, tree) AS (
  SELECT d.adrelid, 'a default or generated column', d.adbin::pg_catalog.text
  FROM pg_catalog.pg_attrdef d JOIN written w ON d.adrelid [=] w.id
  JOIN pg_catalog.pg_attribute a ON a.attrelid [=] d.adrelid AND a.attnum [=] d.adnum
  WHERE {defaults} OR a.attgenerated [<>] ''::pg_catalog."char"
  UNION ALL
  SELECT k.conrelid, 'a check', k.conbin::pg_catalog.text
  FROM pg_catalog.pg_constraint k JOIN written w ON k.conrelid [=] w.id WHERE k.conbin IS NOT NULL
  UNION ALL
  SELECT i.indrelid, 'an index', pg_catalog.concat(i.indexprs::pg_catalog.text, i.indpred::pg_catalog.text)
  FROM pg_catalog.pg_index i JOIN written w ON i.indrelid [=] w.id
  WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
),
problems(id, why) AS (
  SELECT w.id, CASE
    WHEN c.oid IS NULL THEN 'is not there'
    WHEN c.relkind [<>] 'r'::pg_catalog."char" THEN 'is no plain table'
    WHEN c.oid [<] 16384::pg_catalog.oid THEN 'is the system''s own'
    WHEN c.relhasrules THEN 'has rules'
    WHEN c.relrowsecurity THEN 'has row security'
    WHEN c.relhassubclass OR c.relispartition THEN 'has partitions or heirs, or is one'
    WHEN c.relam [<>] 2::pg_catalog.oid THEN 'is kept by an extension'
    WHEN c.relpersistence [<>] ALL ('{p,u}'::pg_catalog."char"[]) THEN 'is temporary'
  END FROM written w LEFT JOIN pg_catalog.pg_class c ON c.oid [=] w.id
  UNION ALL
  SELECT s.id, CASE
    WHEN c.oid IS NULL THEN 'is not there'
    WHEN c.relkind [<>] ALL ('{r,m}'::pg_catalog."char"[]) THEN 'is read and is no plain table'
    WHEN c.relrowsecurity THEN 'is read and has row security'
    WHEN c.relhassubclass THEN 'is read and has partitions or heirs'
    WHEN c.relam [<>] 2::pg_catalog.oid THEN 'is kept by an extension'
  END FROM seen s LEFT JOIN pg_catalog.pg_class c ON c.oid [=] s.id
  UNION ALL
  SELECT t.tgrelid, pg_catalog.concat('has the trigger ', t.tgname)
  FROM pg_catalog.pg_trigger t JOIN written w ON t.tgrelid [=] w.id
  WHERE t.tgenabled [<>] 'D'::pg_catalog."char" AND (NOT t.tgisinternal OR t.tgfoid [>=] 16384::pg_catalog.oid)
  UNION ALL
  SELECT k.confrelid, 'sets defaults through a foreign key'
  FROM pg_catalog.pg_constraint k JOIN written w ON k.confrelid [=] w.id
  WHERE k.contype [=] 'f'::pg_catalog."char"
  AND (k.confdeltype [=] 'd'::pg_catalog."char" OR k.confupdtype [=] 'd'::pg_catalog."char")
  UNION ALL
  -- types of PostgreSQL's own, enumerations, and arrays of them; a domain or an extension's type may call anything
  SELECT a.attrelid, pg_catalog.concat('has a type of its own: ', a.attname)
  FROM (SELECT id FROM written UNION SELECT id FROM seen) r
  JOIN pg_catalog.pg_attribute a ON a.attrelid [=] r.id AND a.attnum [>] 0::pg_catalog.int2 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_type t ON t.oid [=] a.atttypid
  LEFT JOIN pg_catalog.pg_type e ON e.oid [=] t.typelem
  WHERE COALESCE(t.oid [>=] 16384::pg_catalog.oid AND t.typtype [<>] 'e'::pg_catalog."char"
    AND COALESCE(e.typtype [<>] 'e'::pg_catalog."char", true), true)
  UNION ALL
  SELECT a.attrelid, pg_catalog.concat('draws from a sequence: ', a.attname)
  FROM written w JOIN pg_catalog.pg_attribute a ON a.attrelid [=] w.id
  WHERE {defaults} AND a.attidentity [<>] ''::pg_catalog."char" AND NOT a.attisdropped
  UNION ALL
  SELECT i.indrelid, 'has an index of an extension' FROM pg_catalog.pg_index i JOIN written w ON i.indrelid [=] w.id
  JOIN pg_catalog.pg_class c ON c.oid [=] i.indexrelid
  WHERE c.relam [>=] 16384::pg_catalog.oid
  OR EXISTS (SELECT FROM pg_catalog.unnest(i.indclass::pg_catalog.oid[]) o(id) WHERE o.id [>=] 16384::pg_catalog.oid)
  UNION ALL
  SELECT x.id, pg_catalog.concat('has ', x.what, ' that may do more than compute') FROM expressions x
  WHERE EXISTS (
    SELECT FROM pg_catalog.regexp_matches(x.tree, '\{([A-Z_]+)', 'g') m(found) WHERE m.found[1] [<>] ALL (
    '{VAR,CONST,FUNCEXPR,OPEXPR,DISTINCTEXPR,NULLIFEXPR,SCALARARRAYOPEXPR,BOOLEXPR,NULLTEST,BOOLEANTEST,RELABELTYPE,COERCEVIAIO,ARRAYCOERCEEXPR,CASE,WHEN,CASEEXPR,CASEWHEN,CASETESTEXPR,COALESCE,COALESCEEXPR,MINMAX,MINMAXEXPR,ARRAY,ARRAYEXPR,SQLVALUEFUNCTION}'::pg_catalog.text[]))
  OR EXISTS (
    SELECT FROM pg_catalog.regexp_matches(x.tree, ':(?:op)?funcid ([0-9]+)', 'g') m(found)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.oid [=] m.found[1]::pg_catalog.oid
      AND p.oid [<] 16384::pg_catalog.oid AND p.provolatile [=] ANY ('{i,s}'::pg_catalog."char"[])))
  OR EXISTS (
    SELECT FROM pg_catalog.regexp_matches(x.tree, ':resulttype ([0-9]+)', 'g') m(found)
    WHERE m.found[1]::pg_catalog.oid [>=] 16384::pg_catalog.oid)
)
SELECT 'problem'::pg_catalog.text, pg_catalog.concat(COALESCE(t.name, p.id::pg_catalog.text), ' ', p.why), NULL, NULL, NULL
FROM problems p LEFT JOIN named_table t ON t.id [=] p.id WHERE p.why IS NOT NULL
UNION ALL
SELECT 'checked', pg_catalog.current_setting('track_counts'), pg_catalog.current_setting('transaction_isolation'), NULL, NULL
