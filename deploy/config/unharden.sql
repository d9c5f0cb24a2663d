-- Gives back to PUBLIC, in one database, exactly what harden.sql took from it; what has gone since is left out.
--
--     psql -d DATABASE -f unharden.sql
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog;
SELECT to_regclass('postern_hardening.taken') IS NOT NULL AS hardened \gset
\if :hardened
-- first, so that what follows may be written in it
SELECT statement FROM postern_hardening.taken WHERE statement LIKE 'GRANT USAGE ON LANGUAGE %' \gexec
CREATE FUNCTION pg_temp.give(what text) RETURNS void LANGUAGE plpgsql AS $give$
BEGIN
  EXECUTE what;
EXCEPTION WHEN undefined_table OR undefined_column OR undefined_function OR invalid_schema_name OR undefined_object OR insufficient_privilege THEN
  RAISE WARNING 'not given back: %: %', what, SQLERRM;
END $give$;
SELECT pg_temp.give(statement) FROM postern_hardening.taken \g /dev/null
DROP FUNCTION pg_temp.give(text);
DROP SCHEMA postern_hardening CASCADE;
\endif
COMMIT;
