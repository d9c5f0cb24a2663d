//! The table of `nodes`: for every kind of node, statements that have it, and what their facts owe to it.

use super::Row::{Apart, In, Never, On, Opaque, Stored, Via};
use crate::sql::Action;
use schemas::event::Usage::{Filtered, Joined, Projected, Written};

super::expressions::with_expressions! {
    RawStmt => In(Projected, &["SELECT card_number FROM customers", "SELECT 1; SELECT card_number FROM customers"]);
    InsertStmt => Stored(&[
        "INSERT INTO notes SELECT id, card_number FROM customers",
        "INSERT INTO notes VALUES (1, (SELECT card_number FROM customers))",
        "INSERT INTO notes VALUES (1) ON CONFLICT (id) DO UPDATE SET note = (SELECT card_number FROM customers)",
        "INSERT INTO notes (id, note[(SELECT length(card_number) FROM customers)]) VALUES (1, 'x')",
    ]);
    DeleteStmt => In(Filtered, &[
        "DELETE FROM customers WHERE card_number = 'x'", "DELETE FROM notes USING customers WHERE note = card_number",
        "DELETE FROM notes WHERE note IN (SELECT card_number FROM customers)",
    ]);
    UpdateStmt => Stored(&[
        "UPDATE notes SET note = card_number FROM customers", "UPDATE customers SET name = lower(card_number)",
        "UPDATE customers SET tags[length(card_number)] = 'x'",
        "UPDATE customers SET card_number = reverse(card_number) WHERE id = 1",
    ]);
    MergeStmt => Stored(&[
        "MERGE INTO notes n USING customers c ON c.id = n.id WHEN MATCHED THEN UPDATE SET note = c.card_number",
        "MERGE INTO notes n USING customers c ON c.id = n.id WHEN NOT MATCHED THEN INSERT VALUES (1, c.card_number)",
        "MERGE INTO notes n USING (SELECT id, card_number AS x FROM customers) c ON c.id = n.id WHEN NOT MATCHED THEN INSERT (note) VALUES (c.x)",
    ]);
    SelectStmt => In(Filtered, &[
        "SELECT 1 FROM customers WHERE card_number = 'x'", "SELECT 1 FROM customers GROUP BY card_number",
        "SELECT 1 FROM customers GROUP BY (id, card_number)", "SELECT 1 FROM customers HAVING max(card_number) = 'x'",
        "SELECT DISTINCT card_number FROM customers", "SELECT DISTINCT ON (card_number) id FROM customers",
        "SELECT card_number FROM customers ORDER BY 1", "SELECT card_number AS x FROM customers GROUP BY x",
        "SELECT 1 LIMIT (SELECT length(card_number) FROM customers)",
        "SELECT 1 OFFSET (SELECT length(card_number) FROM customers)",
        "SELECT 1 FROM notes ORDER BY id FETCH FIRST (SELECT length(card_number) FROM customers) ROWS WITH TIES",
        "SELECT note FROM notes UNION SELECT card_number FROM customers",
        "SELECT card_number FROM customers INTERSECT ALL SELECT note FROM notes",
        "SELECT note FROM notes EXCEPT SELECT card_number FROM customers",
        "VALUES (1) ORDER BY (SELECT card_number FROM customers)",
    ]);
    ReturnStmt => Opaque(&["CREATE FUNCTION f() RETURNS text RETURN (SELECT card_number FROM customers)"]);
    CreateSchemaStmt => In(Projected, &["CREATE SCHEMA s CREATE VIEW n AS SELECT card_number FROM customers"]);
    AlterTableStmt => On(Action::Alter, &[
        "ALTER TABLE customers DROP COLUMN card_number", "ALTER TABLE customers ALTER card_number SET NOT NULL",
        "ALTER TABLE customers DISABLE TRIGGER ALL", "ALTER INDEX customers SET (fillfactor = 70)",
        "ALTER TABLE notes INHERIT customers",
    ]);
    AlterTableCmd => Stored(&[
        "ALTER TABLE customers ALTER name SET DEFAULT (SELECT card_number FROM customers)",
        "ALTER TABLE customers ALTER name SET EXPRESSION AS (upper(card_number))",
        "ALTER TABLE customers ALTER name TYPE text USING card_number",
    ]);
    AtalterConstraint => On(Action::Alter, &["ALTER TABLE customers ALTER CONSTRAINT c DEFERRABLE"]);
    ReplicaIdentityStmt => On(Action::Alter, &[
        "ALTER TABLE customers REPLICA IDENTITY USING INDEX customers_pkey", "ALTER TABLE customers REPLICA IDENTITY FULL",
    ]);
    AlterCollationStmt => Apart("the name of a collation", &["ALTER COLLATION c REFRESH VERSION"]);
    AlterDomainStmt => Stored(&["ALTER DOMAIN d SET DEFAULT (SELECT card_number FROM customers)"]);
    GrantStmt => On(Action::Alter, &[
        "GRANT SELECT ON customers TO PUBLIC", "GRANT SELECT (card_number) ON TABLE customers TO x",
        "REVOKE ALL ON customers FROM x",
    ]);
    ObjectWithArgs => Apart("the names and types of a function or operator", &[
        "GRANT EXECUTE ON FUNCTION f(customers) TO x", "DROP FUNCTION f(text)",
        "ALTER OPERATOR + (int, int) OWNER TO x",
    ]);
    AccessPriv => On(Action::Alter, &["GRANT SELECT (card_number) ON customers TO x"]);
    GrantRoleStmt => Apart("names of roles", &["GRANT a TO b"]);
    AlterDefaultPrivilegesStmt => Apart("names of schemas, roles and privileges", &[
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO x",
    ]);
    CopyStmt => In(Projected, &[
        "COPY customers (card_number) TO STDOUT", "COPY (SELECT card_number FROM customers) TO STDOUT",
        "COPY (DELETE FROM customers RETURNING card_number) TO STDOUT",
        "COPY customers (id, card_number) TO PROGRAM 'x'",
    ]);
    VariableSetStmt => Apart("constants", &["SET search_path = customers", "SET LOCAL work_mem = '1MB'", "RESET ALL"]);
    VariableShowStmt => Apart("the name of a setting", &["SHOW search_path"]);
    CreateStmt => On(Action::Alter, &[
        "CREATE TABLE n () INHERITS (customers)", "CREATE TABLE n PARTITION OF customers DEFAULT",
        "CREATE TABLE n (x text REFERENCES customers (card_number))",
    ]);
    Constraint => In(Filtered, &[
        "ALTER TABLE customers ADD CHECK (card_number = 'x')", "ALTER TABLE customers ADD UNIQUE (card_number)",
        "ALTER TABLE customers ADD UNIQUE (id) INCLUDE (card_number)",
        "ALTER TABLE customers ADD PRIMARY KEY (card_number)",
        "ALTER TABLE customers ADD EXCLUDE USING gist (lower(card_number) WITH =)",
        "ALTER TABLE customers ADD EXCLUDE USING gist (id WITH =) WHERE (card_number = 'x')",
        "ALTER TABLE customers ADD FOREIGN KEY (card_number) REFERENCES notes (note)",
        "ALTER TABLE notes ADD FOREIGN KEY (note) REFERENCES customers (card_number)",
        "CREATE TABLE n (x text REFERENCES customers (card_number))",
        "CREATE TABLE n (x text, FOREIGN KEY (x) REFERENCES public.customers (card_number))",
        "CREATE DOMAIN d AS text CHECK (VALUE <> (SELECT card_number FROM customers))",
        "ALTER DOMAIN d ADD CHECK (VALUE <> (SELECT card_number FROM customers))",
    ]);
    CreateTableSpaceStmt => Apart("names and constants", &["CREATE TABLESPACE x LOCATION '/x'"]);
    DropTableSpaceStmt => Apart("names and constants", &["DROP TABLESPACE x"]);
    AlterTableSpaceOptionsStmt => Apart("names and constants", &["ALTER TABLESPACE x SET (seq_page_cost = 1)"]);
    AlterTableMoveAllStmt => Apart("names and constants", &["ALTER TABLE ALL IN TABLESPACE x SET TABLESPACE y"]);
    CreateExtensionStmt => Apart("names and constants", &["CREATE EXTENSION x SCHEMA y"]);
    AlterExtensionStmt => Apart("names and constants", &["ALTER EXTENSION x UPDATE TO '2'"]);
    AlterExtensionContentsStmt => On(Action::Alter, &[
        "ALTER EXTENSION x ADD TABLE customers", "ALTER EXTENSION x DROP TABLE public.customers",
    ]);
    CreateFdwStmt => Apart("names and constants", &["CREATE FOREIGN DATA WRAPPER x HANDLER f"]);
    AlterFdwStmt => Apart("names and constants", &["ALTER FOREIGN DATA WRAPPER x NO HANDLER"]);
    CreateForeignServerStmt => Apart("names and constants", &[
        "CREATE SERVER x FOREIGN DATA WRAPPER y OPTIONS (host 'z')",
    ]);
    AlterForeignServerStmt => Apart("names and constants", &["ALTER SERVER x OPTIONS (SET host 'y')"]);
    CreateForeignTableStmt => On(Action::Alter, &[
        "CREATE FOREIGN TABLE n () INHERITS (customers) SERVER x",
        "CREATE FOREIGN TABLE n PARTITION OF customers DEFAULT SERVER x",
    ]);
    CreateUserMappingStmt => Apart("names and constants", &["CREATE USER MAPPING FOR x SERVER y OPTIONS (user 'z')"]);
    AlterUserMappingStmt => Apart("names and constants", &["ALTER USER MAPPING FOR x SERVER y OPTIONS (SET user 'z')"]);
    DropUserMappingStmt => Apart("names and constants", &["DROP USER MAPPING FOR x SERVER y"]);
    ImportForeignSchemaStmt => Apart("names and constants", &[
        "IMPORT FOREIGN SCHEMA a LIMIT TO (customers) FROM SERVER x INTO y",
    ]);
    CreatePolicyStmt => In(Filtered, &[
        "CREATE POLICY p ON customers USING (card_number = 'x')",
        "CREATE POLICY p ON notes WITH CHECK (note IN (SELECT card_number FROM customers))",
    ]);
    AlterPolicyStmt => In(Filtered, &[
        "ALTER POLICY p ON customers USING (card_number = 'x')",
        "ALTER POLICY p ON customers WITH CHECK (card_number = 'x')",
    ]);
    CreateAmStmt => Apart("names and constants", &["CREATE ACCESS METHOD x TYPE INDEX HANDLER f"]);
    CreateTrigStmt => In(Filtered, &[
        "CREATE TRIGGER g BEFORE UPDATE ON customers FOR EACH ROW WHEN (old.card_number = 'x') EXECUTE FUNCTION f()",
        "CREATE TRIGGER g BEFORE UPDATE OF card_number ON customers FOR EACH ROW WHEN (new.card_number IS NULL) EXECUTE FUNCTION f()",
    ]);
    CreateEventTrigStmt => Apart("names and constants", &[
        "CREATE EVENT TRIGGER x ON ddl_command_start WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION f()",
    ]);
    AlterEventTrigStmt => Apart("names and constants", &["ALTER EVENT TRIGGER x DISABLE"]);
    CreatePlangStmt => Apart("names and constants", &["CREATE LANGUAGE x HANDLER f"]);
    CreateRoleStmt => Apart("names and constants", &["CREATE ROLE x LOGIN"]);
    AlterRoleStmt => Apart("names and constants", &["ALTER ROLE x LOGIN"]);
    AlterRoleSetStmt => Apart("names and constants", &["ALTER ROLE x SET search_path = customers"]);
    DropRoleStmt => Apart("names and constants", &["DROP ROLE x"]);
    CreateSeqStmt => On(Action::Alter, &["CREATE SEQUENCE s OWNED BY customers.id"]);
    AlterSeqStmt => On(Action::Alter, &["ALTER SEQUENCE s OWNED BY public.customers.id"]);
    DefineStmt => Apart("names and options", &[
        "CREATE AGGREGATE x (text) (SFUNC = f, STYPE = text)",
        "CREATE OPERATOR ## (FUNCTION = f, LEFTARG = text, RIGHTARG = text)", "CREATE TYPE x (INPUT = f, OUTPUT = g)",
        "CREATE COLLATION x FROM \"C\"",
    ]);
    CreateDomainStmt => In(Filtered, &[
        "CREATE DOMAIN d AS text CHECK (VALUE IN (SELECT card_number FROM customers))",
        "CREATE DOMAIN d AS text DEFAULT (SELECT card_number FROM customers)",
    ]);
    CreateOpClassStmt => Apart("names and constants", &[
        "CREATE OPERATOR CLASS x FOR TYPE text USING btree AS OPERATOR 1 <, FUNCTION 1 f(text, text)",
    ]);
    CreateOpClassItem => Apart("names and constants", &[
        "CREATE OPERATOR CLASS x FOR TYPE text USING btree AS STORAGE text",
    ]);
    CreateOpFamilyStmt => Apart("names and constants", &["CREATE OPERATOR FAMILY x USING btree"]);
    AlterOpFamilyStmt => Apart("names and constants", &["ALTER OPERATOR FAMILY x USING btree DROP FUNCTION 1 (text)"]);
    DropStmt => On(Action::Drop, &[
        "DROP TABLE notes, customers", "DROP TABLE IF EXISTS public.customers CASCADE", "DROP VIEW customers",
    ]);
    TruncateStmt => On(Action::Truncate, &["TRUNCATE notes, customers CASCADE"]);
    CommentStmt => On(Action::Alter, &[
        "COMMENT ON COLUMN customers.card_number IS 'x'", "COMMENT ON TABLE customers IS 'x'",
        "COMMENT ON CONSTRAINT c ON customers IS 'x'", "COMMENT ON POLICY p ON customers IS 'x'",
    ]);
    SecLabelStmt => On(Action::Alter, &[
        "SECURITY LABEL FOR x ON COLUMN customers.card_number IS 'y'", "SECURITY LABEL ON TABLE customers IS 'y'",
    ]);
    DeclareCursorStmt => In(Projected, &[
        "DECLARE x CURSOR FOR SELECT card_number FROM customers",
        "DECLARE x SCROLL CURSOR WITH HOLD FOR SELECT lower(card_number) FROM customers",
    ]);
    ClosePortalStmt => Apart("names and constants", &["CLOSE x"]);
    FetchStmt => Apart("the name of a cursor, whose query was judged when it was declared", &[
        "FETCH ALL FROM x", "MOVE x",
    ]);
    IndexStmt => In(Filtered, &[
        "CREATE INDEX ON customers (id, card_number)", "CREATE INDEX ON customers (id) WHERE card_number = 'x'",
        "CREATE INDEX CONCURRENTLY ON customers USING gin (to_tsvector('english', card_number))",
    ]);
    CreateStatsStmt => In(Filtered, &[
        "CREATE STATISTICS s ON card_number, id FROM customers",
        "CREATE STATISTICS s ON lower(card_number), id FROM customers",
    ]);
    StatsElem => In(Filtered, &[
        "CREATE STATISTICS s (ndistinct) ON card_number, id FROM customers",
        "CREATE STATISTICS s ON (card_number || name) FROM customers",
    ]);
    AlterStatsStmt => Apart("names and constants", &["ALTER STATISTICS s SET STATISTICS 10"]);
    CreateFunctionStmt => Opaque(&[
        "CREATE FUNCTION f() RETURNS text BEGIN ATOMIC SELECT card_number FROM customers; END",
        "CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO notes SELECT id, card_number FROM customers; END",
    ]);
    FunctionParameter => Opaque(&[
        "CREATE FUNCTION f(x text DEFAULT (SELECT card_number FROM customers)) RETURNS text RETURN x",
    ]);
    AlterFunctionStmt => Apart("names and constants", &["ALTER FUNCTION f(text) STABLE"]);
    DoStmt => Apart("code as a constant: opaque as a whole", &[
        "DO $$ BEGIN PERFORM card_number FROM customers; END $$",
    ]);
    CallStmt => Opaque(&["CALL p((SELECT card_number FROM customers))"]);
    RenameStmt => On(Action::Drop, &[
        "ALTER TABLE customers RENAME COLUMN card_number TO x", "ALTER TABLE customers RENAME TO x",
        "ALTER TABLE customers RENAME CONSTRAINT x TO y",
    ]);
    AlterObjectDependsStmt => On(Action::Alter, &["ALTER TRIGGER g ON customers DEPENDS ON EXTENSION x"]);
    AlterObjectSchemaStmt => On(Action::Drop, &["ALTER TABLE customers SET SCHEMA x"]);
    AlterOwnerStmt => Apart("names of an object and a role; of a table it is an ALTER TABLE", &[
        "ALTER TYPE x OWNER TO y", "ALTER SCHEMA x OWNER TO y",
    ]);
    AlterOperatorStmt => Apart("names and constants", &["ALTER OPERATOR + (int, int) SET (RESTRICT = NONE)"]);
    AlterTypeStmt => Apart("names and constants", &["ALTER TYPE x SET (STORAGE = plain)"]);
    RuleStmt => Opaque(&[
        "CREATE RULE r AS ON INSERT TO notes WHERE new.note IN (SELECT card_number FROM customers) DO NOTHING",
        "CREATE RULE r AS ON INSERT TO notes DO ALSO INSERT INTO notes SELECT id, card_number FROM customers",
        "CREATE RULE r AS ON DELETE TO customers DO ALSO SELECT old.card_number",
    ]);
    NotifyStmt => Apart("names and constants", &["NOTIFY x, 'card_number'"]);
    ListenStmt => Apart("names and constants", &["LISTEN x"]);
    UnlistenStmt => Apart("names and constants", &["UNLISTEN x"]);
    TransactionStmt => Apart("names and constants", &["BEGIN; COMMIT AND CHAIN; SAVEPOINT x"]);
    CompositeTypeStmt => Apart("names and constants", &["CREATE TYPE x AS (card_number text)"]);
    CreateEnumStmt => Apart("names and constants", &["CREATE TYPE x AS ENUM ('a')"]);
    CreateRangeStmt => Apart("names and constants", &["CREATE TYPE x AS RANGE (SUBTYPE = text)"]);
    AlterEnumStmt => Apart("names and constants", &["ALTER TYPE x ADD VALUE 'b'"]);
    ViewStmt => Stored(&[
        "CREATE VIEW n AS SELECT card_number FROM customers",
        "CREATE OR REPLACE TEMP VIEW n(x) AS SELECT upper(card_number) FROM customers WITH CHECK OPTION",
        "CREATE RECURSIVE VIEW n (x) AS SELECT card_number FROM customers UNION ALL SELECT x FROM n",
    ]);
    LoadStmt => Apart("names and constants", &["LOAD 'x'"]);
    CreatedbStmt => Apart("names and constants", &["CREATE DATABASE x TEMPLATE y"]);
    AlterDatabaseStmt => Apart("names and constants", &["ALTER DATABASE x CONNECTION LIMIT 1"]);
    AlterDatabaseRefreshCollStmt => Apart("names and constants", &["ALTER DATABASE x REFRESH COLLATION VERSION"]);
    AlterDatabaseSetStmt => Apart("names and constants", &["ALTER DATABASE x SET search_path = customers"]);
    DropdbStmt => Apart("names and constants", &["DROP DATABASE x"]);
    AlterSystemStmt => Apart("names and constants", &["ALTER SYSTEM SET work_mem = '1MB'"]);
    ClusterStmt => On(Action::Maintain, &["CLUSTER customers USING customers_pkey"]);
    VacuumStmt => On(Action::Maintain, &["VACUUM FULL customers", "ANALYZE customers (card_number)"]);
    VacuumRelation => On(Action::Maintain, &["ANALYZE notes, customers (card_number)"]);
    ExplainStmt => In(Projected, &[
        "EXPLAIN SELECT card_number FROM customers", "EXPLAIN (ANALYZE) SELECT card_number FROM customers",
        "EXPLAIN ANALYZE INSERT INTO notes SELECT id, card_number FROM customers",
        "EXPLAIN DECLARE x CURSOR FOR SELECT card_number FROM customers",
        "EXPLAIN CREATE TABLE n AS SELECT card_number FROM customers",
    ]);
    CreateTableAsStmt => Stored(&[
        "CREATE TABLE n AS SELECT card_number FROM customers",
        "CREATE MATERIALIZED VIEW n AS SELECT lower(card_number) FROM customers",
    ]);
    RefreshMatViewStmt => On(Action::Maintain, &["REFRESH MATERIALIZED VIEW CONCURRENTLY customers"]);
    CheckPointStmt => Apart("names and constants", &["CHECKPOINT"]);
    DiscardStmt => Apart("names and constants", &["DISCARD ALL"]);
    LockStmt => On(Action::Lock, &["LOCK TABLE notes, ONLY customers IN SHARE MODE"]);
    ConstraintsSetStmt => Apart("names and constants", &["SET CONSTRAINTS ALL DEFERRED"]);
    ReindexStmt => On(Action::Maintain, &["REINDEX TABLE CONCURRENTLY customers"]);
    CreateConversionStmt => Apart("names and constants", &["CREATE CONVERSION x FOR 'UTF8' TO 'LATIN1' FROM f"]);
    CreateCastStmt => Apart("names and constants", &["CREATE CAST (customers AS text) WITH FUNCTION f(customers)"]);
    CreateTransformStmt => Apart("names and constants", &[
        "CREATE TRANSFORM FOR customers LANGUAGE x (FROM SQL WITH FUNCTION f(internal))",
    ]);
    PrepareStmt => In(Projected, &[
        "PREPARE x AS SELECT card_number FROM customers",
        "PREPARE x (text) AS UPDATE notes SET note = card_number FROM customers WHERE name = $1",
    ]);
    ExecuteStmt => Stored(&["EXECUTE x((SELECT card_number FROM customers))"]);
    DeallocateStmt => Apart("names and constants", &["DEALLOCATE x"]);
    DropOwnedStmt => Apart("names and constants", &["DROP OWNED BY x"]);
    ReassignOwnedStmt => Apart("names and constants", &["REASSIGN OWNED BY x TO y"]);
    AlterTsdictionaryStmt => Apart("names and constants", &["ALTER TEXT SEARCH DICTIONARY x (stopwords = 'y')"]);
    AlterTsconfigurationStmt => Apart("names and constants", &[
        "ALTER TEXT SEARCH CONFIGURATION x ADD MAPPING FOR word WITH y",
    ]);
    PublicationTable => Stored(&[
        "CREATE PUBLICATION p FOR TABLE customers (id, card_number)",
        "ALTER PUBLICATION p SET TABLE customers (card_number)",
    ]);
    PublicationObjSpec => In(Filtered, &["CREATE PUBLICATION p FOR TABLE customers WHERE (card_number = 'x')"]);
    CreatePublicationStmt => In(Projected, &[
        "CREATE PUBLICATION p FOR TABLE notes, customers (card_number)",
        "CREATE PUBLICATION p FOR TABLE customers WHERE (card_number = 'x')",
    ]);
    AlterPublicationStmt => In(Projected, &[
        "ALTER PUBLICATION p ADD TABLE customers (card_number)",
        "ALTER PUBLICATION p ADD TABLE customers WHERE (card_number = 'x')",
    ]);
    CreateSubscriptionStmt => Apart("names and constants", &["CREATE SUBSCRIPTION x CONNECTION 'y' PUBLICATION z"]);
    AlterSubscriptionStmt => Apart("names and constants", &["ALTER SUBSCRIPTION x DISABLE"]);
    DropSubscriptionStmt => Apart("names and constants", &["DROP SUBSCRIPTION x"]);
}
