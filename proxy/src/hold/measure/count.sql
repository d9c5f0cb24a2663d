SELECT 'count'::pg_catalog.text, pg_catalog.format('%I.%I', n.nspname, c.relname),
  pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid)::pg_catalog.text,
  pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)::pg_catalog.text,
  pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid [=] c.relnamespace
WHERE c.relkind [=] 'r'::pg_catalog."char" AND c.oid [>=] 16384::pg_catalog.oid
AND c.relpersistence [<>] 't'::pg_catalog."char"
AND (pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) [<>] 0::pg_catalog.int8
  OR pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) [<>] 0::pg_catalog.int8
  OR pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) [<>] 0::pg_catalog.int8)
