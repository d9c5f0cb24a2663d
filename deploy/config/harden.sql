-- Takes from PUBLIC, in one database, what every login has by default and what a gate cannot take back: run it once for each
-- database that agents reach, as its superuser (on a managed server: as the administrator; what that one may not revoke is told
-- by a warning and by `postern doctor`).
--
--     psql -d DATABASE -f harden.sql          undo: psql -d DATABASE -f unharden.sql
--
-- It changes rights only: no data, no settings, and nothing that was granted to a role by name. Run it again whenever you like, for
-- one after CREATE EXTENSION or after new functions. Roles other than the gate's that relied on PUBLIC's rights need their own
-- grants afterwards: applications that call functions, make temporary tables or run DO blocks. Scope roles that the gate makes
-- get theirs by themselves, as far as the gate's role may grant them.
-- What it takes is kept in postern_hardening.taken, so that unharden.sql gives back exactly that.
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog;

CREATE SCHEMA IF NOT EXISTS postern_hardening;
REVOKE ALL ON SCHEMA postern_hardening FROM PUBLIC;
CREATE TABLE IF NOT EXISTS postern_hardening.taken (statement text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());

CREATE FUNCTION pg_temp.take(what text) RETURNS void LANGUAGE plpgsql AS $take$
BEGIN
  EXECUTE 'REVOKE ' || what || ' FROM PUBLIC';
  INSERT INTO postern_hardening.taken(statement) VALUES ('GRANT ' || what || ' TO PUBLIC') ON CONFLICT DO NOTHING;
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'cannot revoke % from PUBLIC: %', what, SQLERRM;
END $take$;

-- 1. The database: no temporary tables (a place to copy values to), no schemas of one's own, and no login but by grant.
SELECT pg_temp.take(format('%s ON DATABASE %I', p, current_database()))
  FROM unnest(ARRAY['TEMPORARY', 'CREATE', 'CONNECT']) p
 WHERE has_database_privilege('public', current_database(), p) \g /dev/null

-- 2. Schemas: nobody makes objects in them without a grant (a function there would run as whoever calls it).
SELECT pg_temp.take(format('CREATE ON SCHEMA %I', nspname))
  FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
   AND has_schema_privilege('public', oid, 'CREATE') \g /dev/null

-- 3. Functions and procedures of the database's own and of extensions: EXECUTE is PUBLIC's by default, and one that is SECURITY
--    DEFINER, or dblink, reads what its caller may not.
SELECT pg_temp.take(format('EXECUTE ON ROUTINE %s', p.oid::regprocedure))
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND has_function_privilege('public', p.oid, 'EXECUTE') \g /dev/null

-- 4. PostgreSQL's own functions that run SQL given as text, that write large objects (values in them have no columns that a rule could
--    name), that reach other sessions, or that write where the record does not see it.
SELECT pg_temp.take(format('EXECUTE ON ROUTINE pg_catalog.%s', p.oid::regprocedure))
  FROM pg_proc p
 WHERE p.pronamespace = 'pg_catalog'::regnamespace
   AND (p.proname ~ '^(query|table|cursor|schema|database)_to_xml' OR p.proname ~ '^(lo_|loread$|lowrite$)'
     OR p.proname IN ('ts_stat', 'ts_rewrite', 'pg_notify', 'pg_cancel_backend', 'pg_terminate_backend', 'pg_logical_emit_message'))
   AND NOT (p.proname = 'ts_rewrite' AND p.pronargs = 3)
   AND has_function_privilege('public', p.oid, 'EXECUTE') \g /dev/null

-- 5. Languages: no DO blocks and no functions of one's own, whose effects no text shows.
SELECT pg_temp.take(format('USAGE ON LANGUAGE %I', lanname))
  FROM pg_language WHERE lanpltrusted AND has_language_privilege('public', oid, 'USAGE') \g /dev/null

-- 6. Rows: what a table or a column grants to everybody, the gate cannot take from anybody who comes past it.
SELECT pg_temp.take(format('%s ON TABLE %s', a.privilege_type, c.oid::regclass))
  FROM pg_class c, aclexplode(c.relacl) a
 WHERE a.grantee = 0 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \g /dev/null
SELECT pg_temp.take(format('%s (%I) ON TABLE %s', a.privilege_type, t.attname, c.oid::regclass))
  FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
 WHERE a.grantee = 0 AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) \g /dev/null

-- 7. What is made later: functions of the role that runs this script. Others that make functions need it for themselves:
--    ALTER DEFAULT PRIVILEGES FOR ROLE other REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC.
SELECT NOT EXISTS (
  SELECT FROM pg_default_acl WHERE defaclrole = (SELECT oid FROM pg_roles WHERE rolname = current_user)
     AND defaclnamespace = 0 AND defaclobjtype = 'f') AS fresh \gset
\if :fresh
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
INSERT INTO postern_hardening.taken(statement)
  VALUES (format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT EXECUTE ON FUNCTIONS TO PUBLIC', current_user)) ON CONFLICT DO NOTHING;
\endif
DROP FUNCTION pg_temp.take(text);
COMMIT;
