//! Rows of the table of `nodes`: expressions, clauses and parts, and what only an analyzed query has.

/// These rows, before those of statements.
macro_rules! with_expressions {
    ($($statements:tt)*) => {
super::rows! {
    TableFunc | Var | Param | Aggref | WindowFunc | SubscriptingRef | FuncExpr | OpExpr | DistinctExpr | NullIfExpr |
    ScalarArrayOpExpr | FieldSelect | FieldStore | RelabelType | CoerceViaIo | ArrayCoerceExpr | ConvertRowtypeExpr |
    CollateExpr | CaseTestExpr | ArrayExpr | RowCompareExpr | JsonConstructorExpr | JsonExpr |
    JsonTablePath | JsonTablePathScan | JsonTableSiblingJoin | MergeAction | CoerceToDomain | CoerceToDomainValue |
    NextValueExpr | InferenceElem | ReturningExpr | TargetEntry | RangeTblRef | FromExpr | OnConflictExpr | Query |
    PartitionRangeDatum | RangeTblEntry | RtepermissionInfo | RangeTblFunction | TableSampleClause | WithCheckOption |
    SortGroupClause | WindowClause | RowMarkClause |
    SetOperationStmt => Never("an analyzed query has it, a parsed one has not");
    WindowFuncRunCondition | SubPlan | AlternativeSubPlan => Never("the planner makes it");
    PlassignStmt => Never("PL/pgSQL's own mode of the parser makes it");
    InlineCodeBlock | CallContext => Never("the executor makes it for a language's handler");
    IntList | OidList => Never("numbers of an analyzed query");
    Alias => Via(Projected, &[
        "SELECT z FROM customers AS c(x, y, z)", "SELECT c.* FROM customers c",
        "SELECT s.z FROM (SELECT card_number FROM customers) AS s(z)",
    ]);
    RangeVar => Via(Projected, &[
        "TABLE customers", "SELECT card_number FROM ONLY public.customers", "COPY customers TO STDOUT",
    ]);
    IntoClause => Via(Written, &[
        "SELECT card_number INTO n FROM customers", "CREATE TABLE n AS SELECT card_number FROM customers",
    ]);
    GroupingFunc => In(Projected, &["SELECT GROUPING(card_number) FROM customers GROUP BY ROLLUP (card_number)"]);
    MergeSupportFunc => Apart("a word for the action that was taken", &[
        "MERGE INTO notes n USING customers c ON n.id = c.id WHEN MATCHED THEN DELETE RETURNING merge_action()",
    ]);
    NamedArgExpr => In(Projected, &[
        "SELECT make_date(year => length(card_number), month => 1, day => 1) FROM customers",
    ]);
    BoolExpr => In(Filtered, &[
        "SELECT 1 FROM customers WHERE NOT (card_number = 'x')",
        "SELECT 1 FROM customers WHERE id = 1 AND card_number = 'x'",
        "SELECT 1 FROM customers WHERE id = 1 OR card_number = 'x'",
    ]);
    SubLink => In(Projected, &[
        "SELECT (SELECT card_number FROM customers LIMIT 1)", "SELECT ARRAY(SELECT card_number FROM customers)",
        "SELECT card_number IN (SELECT note FROM notes) FROM customers",
        "SELECT EXISTS (SELECT FROM customers WHERE card_number = 'x')",
    ]);
    CaseExpr => In(Filtered, &[
        "SELECT CASE WHEN card_number = 'x' THEN 1 END FROM customers",
        "SELECT CASE card_number WHEN 'x' THEN 1 END FROM customers",
    ]);
    CaseWhen => In(Projected, &[
        "SELECT CASE WHEN id = 1 THEN card_number END FROM customers",
        "SELECT CASE id WHEN 1 THEN 'n' WHEN length(card_number) THEN 'y' END FROM customers",
    ]);
    RowExpr => In(Projected, &[
        "SELECT ROW(id, card_number) FROM customers", "SELECT (id, card_number) = (1, 'x') FROM customers",
    ]);
    CoalesceExpr => In(Projected, &["SELECT COALESCE(NULL, card_number) FROM customers"]);
    MinMaxExpr => In(Projected, &[
        "SELECT GREATEST(card_number, 'x') FROM customers", "SELECT LEAST('x', card_number) FROM customers",
    ]);
    SqlvalueFunction => Apart("a word for the time, the user or the schema", &[
        "SELECT current_user, current_date, current_time(3)",
    ]);
    XmlExpr => In(Projected, &[
        "SELECT xmlelement(name a, xmlattributes(card_number)) FROM customers",
        "SELECT xmlelement(name a, card_number) FROM customers", "SELECT xmlforest(card_number AS a) FROM customers",
        "SELECT xmlconcat(xmlparse(CONTENT card_number)) FROM customers",
        "SELECT xmlpi(name a, card_number) FROM customers", "SELECT card_number::xml IS DOCUMENT FROM customers",
    ]);
    JsonFormat => Apart("the words FORMAT JSON ENCODING", &[
        "SELECT JSON_OBJECT('a': card_number FORMAT JSON) FROM customers",
    ]);
    JsonReturning => Apart("the type and format of RETURNING", &[
        "SELECT JSON_SERIALIZE(card_number RETURNING bytea FORMAT JSON) FROM customers",
    ]);
    JsonValueExpr => In(Projected, &[
        "SELECT JSON_QUERY(card_number, '$') FROM customers", "SELECT JSON_OBJECT('a': card_number) FROM customers",
        "SELECT JSON_ARRAY(card_number) FROM customers",
    ]);
    JsonIsPredicate => In(Projected, &["SELECT card_number IS JSON OBJECT FROM customers"]);
    JsonBehavior => In(Projected, &[
        "SELECT JSON_VALUE(document, '$.x' DEFAULT card_number ON EMPTY) FROM customers",
        "SELECT JSON_QUERY(document, '$.x' DEFAULT card_number ON ERROR) FROM customers",
        "SELECT x FROM customers, JSON_TABLE(document, '$' COLUMNS (x text PATH '$' DEFAULT card_number ON EMPTY)) j",
        "SELECT x FROM customers, JSON_TABLE(document, '$' COLUMNS (x text PATH '$' DEFAULT card_number ON ERROR)) j",
    ]);
    NullTest => In(Projected, &[
        "SELECT card_number IS NULL FROM customers", "SELECT card_number IS NOT NULL FROM customers",
    ]);
    BooleanTest => In(Projected, &[
        "SELECT (card_number = 'x') IS TRUE FROM customers",
        "SELECT (card_number = 'x') IS NOT UNKNOWN FROM customers",
    ]);
    SetToDefault => Apart("the word DEFAULT", &[
        "INSERT INTO customers (card_number) VALUES (DEFAULT)",
        "UPDATE customers SET card_number = DEFAULT WHERE id = 1",
    ]);
    CurrentOfExpr => Apart("the name of a cursor, whose query was judged when it was declared", &[
        "DELETE FROM customers WHERE CURRENT OF c",
    ]);
    JoinExpr => In(Joined, &[
        "SELECT 1 FROM customers JOIN notes ON card_number = note",
        "SELECT 1 FROM notes LEFT JOIN customers c ON note = lower(c.card_number)",
    ]);
    TypeName => Apart("modifiers of a type must be constants, or PostgreSQL refuses them", &[
        "SELECT card_number::varchar(3) FROM customers",
    ]);
    ColumnRef => In(Projected, &[
        "SELECT card_number FROM customers", "SELECT c.card_number FROM customers c",
        "SELECT public.customers.card_number FROM customers", "SELECT x.public.customers.card_number FROM customers",
    ]);
    ParamRef => Apart("a value of the client's own", &["SELECT $1 FROM customers"]);
    AExpr => In(Projected, &[
        "SELECT card_number = 'x' FROM customers", "SELECT - card_number::int FROM customers",
        "SELECT 'x' || card_number FROM customers", "SELECT card_number = ANY (tags) FROM customers",
        "SELECT 'x' = ALL (ARRAY[card_number]) FROM customers",
        "SELECT card_number IS DISTINCT FROM 'x' FROM customers",
        "SELECT card_number IS NOT DISTINCT FROM 'x' FROM customers", "SELECT NULLIF(card_number, 'x') FROM customers",
        "SELECT NULLIF('x', card_number) FROM customers", "SELECT 'x' IN ('y', card_number) FROM customers",
        "SELECT card_number NOT IN ('x') FROM customers", "SELECT card_number LIKE '4%' FROM customers",
        "SELECT '4' LIKE card_number FROM customers", "SELECT card_number NOT ILIKE '4%' ESCAPE '!' FROM customers",
        "SELECT card_number SIMILAR TO '4%' FROM customers", "SELECT card_number ~ '^4' FROM customers",
        "SELECT card_number BETWEEN 'a' AND 'b' FROM customers",
        "SELECT 'b' NOT BETWEEN card_number AND 'c' FROM customers",
        "SELECT card_number BETWEEN SYMMETRIC 'a' AND 'b' FROM customers",
        "SELECT 'b' NOT BETWEEN SYMMETRIC 'a' AND card_number FROM customers",
        "SELECT card_number OPERATOR(pg_catalog.||) 'x' FROM customers",
    ]);
    TypeCast => In(Projected, &[
        "SELECT card_number::bytea FROM customers", "SELECT CAST(card_number AS varchar(3)) FROM customers",
    ]);
    CollateClause => In(Projected, &["SELECT card_number COLLATE \"C\" FROM customers"]);
    RoleSpec => Apart("names and constants", &["ALTER TABLE customers OWNER TO x"]);
    FuncCall => In(Projected, &[
        "SELECT lower(card_number) FROM customers", "SELECT unknown_function(card_number) FROM customers",
        "SELECT max(card_number) FROM customers", "SELECT count(DISTINCT card_number) FROM customers",
        "SELECT string_agg('x', ',' ORDER BY card_number) FROM customers",
        "SELECT count(*) FILTER (WHERE card_number = 'x') FROM customers",
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY card_number) FROM customers",
        "SELECT rank(card_number) WITHIN GROUP (ORDER BY name) FROM customers",
        "SELECT first_value(id) OVER (ORDER BY card_number) FROM customers",
        "SELECT format('%s', VARIADIC ARRAY[card_number]) FROM customers",
        "SELECT substring(card_number FROM 1 FOR 2) FROM customers",
        "SELECT trim(BOTH 'x' FROM card_number) FROM customers",
        "SELECT extract(year FROM card_number::date) FROM customers", "SELECT normalize(card_number) FROM customers",
        "SELECT card_number::timestamp AT TIME ZONE 'UTC' FROM customers",
        "SELECT overlay(card_number PLACING 'x' FROM 1) FROM customers",
        "SELECT position('4' IN card_number) FROM customers",
    ]);
    AStar => Via(Projected, &[
        "SELECT * FROM customers", "SELECT customers.* FROM customers", "SELECT (c).* FROM customers c",
        "SELECT (c.*)::text FROM customers c", "INSERT INTO customers (id) VALUES (1) RETURNING *",
        "SELECT count(c.*) FROM customers c",
    ]);
    AIndices => In(Projected, &[
        "SELECT tags[length(card_number)] FROM customers", "SELECT tags[1:length(card_number)] FROM customers",
        "SELECT tags[length(card_number):] FROM customers",
    ]);
    AIndirection => In(Projected, &[
        "SELECT (ARRAY[card_number])[1] FROM customers", "SELECT (c).card_number FROM customers c",
        "SELECT (ROW(card_number, 1)).f1 FROM customers", "SELECT (SELECT c FROM customers c LIMIT 1).card_number",
    ]);
    AArrayExpr => In(Projected, &[
        "SELECT ARRAY[card_number] FROM customers", "SELECT ARRAY[[card_number], ['x']] FROM customers",
    ]);
    ResTarget => In(Projected, &[
        "SELECT card_number AS x FROM customers",
        "INSERT INTO notes VALUES (1) RETURNING (SELECT card_number FROM customers LIMIT 1)",
    ]);
    MultiAssignRef => Stored(&[
        "UPDATE notes SET (id, note) = (SELECT id, card_number FROM customers WHERE id = 1)",
        "UPDATE notes n SET (id, note) = ROW(1, c.card_number) FROM customers c WHERE c.id = n.id",
    ]);
    SortBy => In(Filtered, &[
        "SELECT 1 FROM customers ORDER BY card_number DESC NULLS LAST",
        "SELECT 1 FROM customers ORDER BY lower(card_number) USING <",
        "SELECT array_agg(id ORDER BY card_number) FROM customers",
        "SELECT rank() OVER (ORDER BY card_number) FROM customers",
        "SELECT 1 FROM customers UNION SELECT 1 ORDER BY (SELECT card_number FROM customers)",
    ]);
    WindowDef => In(Filtered, &[
        "SELECT rank() OVER (PARTITION BY card_number) FROM customers",
        "SELECT rank() OVER (ORDER BY card_number) FROM customers",
        "SELECT sum(id) OVER (ORDER BY id ROWS BETWEEN length(card_number) PRECEDING AND CURRENT ROW) FROM customers",
        "SELECT sum(id) OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND length(card_number) FOLLOWING) FROM customers",
        "SELECT id FROM customers WINDOW w AS (ORDER BY card_number)",
        "SELECT sum(id) OVER (w ROWS 1 PRECEDING) FROM customers WINDOW w AS (PARTITION BY card_number)",
    ]);
    RangeSubselect => In(Projected, &[
        "SELECT * FROM (SELECT card_number FROM customers) s",
        "SELECT s.x FROM notes, LATERAL (SELECT card_number AS x FROM customers) s",
        "SELECT x FROM customers, LATERAL (SELECT card_number AS x) s",
        "SELECT column1 FROM (VALUES ((SELECT card_number FROM customers))) v",
    ]);
    RangeFunction => In(Projected, &[
        "SELECT x FROM customers, unnest(ARRAY[card_number]) x",
        "SELECT x FROM customers, ROWS FROM (unnest(tags), unnest(ARRAY[card_number])) AS f(y, x)",
        "SELECT x FROM customers, json_to_record(card_number::json) AS f(x text)",
        "SELECT x FROM customers, ROWS FROM (json_to_record(card_number::json) AS (x text)) f",
    ]);
    RangeTableFunc => In(Projected, &[
        "SELECT x FROM customers, XMLTABLE('/a' PASSING (card_number::xml) COLUMNS x text) t",
        "SELECT x FROM customers, XMLTABLE((card_number) PASSING '<a/>' COLUMNS x text) t",
        "SELECT x FROM customers, XMLTABLE(XMLNAMESPACES(card_number AS a), '/a' PASSING '<a/>' COLUMNS x text) t",
    ]);
    RangeTableFuncCol => In(Projected, &[
        "SELECT x FROM customers, XMLTABLE('/a' PASSING '<a/>' COLUMNS x text PATH card_number) t",
        "SELECT x FROM customers, XMLTABLE('/a' PASSING '<a/>' COLUMNS x text DEFAULT card_number) t",
    ]);
    RangeTableSample => In(Filtered, &[
        "SELECT 1 FROM notes TABLESAMPLE system ((SELECT length(card_number) FROM customers))",
        "SELECT 1 FROM notes TABLESAMPLE system (1) REPEATABLE ((SELECT length(card_number) FROM customers))",
    ]);
    ColumnDef => Stored(&[
        "ALTER TABLE customers ALTER card_number TYPE bytea USING card_number::bytea",
        "ALTER TABLE customers ALTER name TYPE text USING card_number",
        "ALTER TABLE customers ADD COLUMN x text GENERATED ALWAYS AS (upper(card_number)) STORED",
        "ALTER TABLE notes ADD COLUMN x text DEFAULT (SELECT card_number FROM customers)",
    ]);
    TableLikeClause => On(Action::Select, &["CREATE TABLE n (LIKE customers INCLUDING ALL)"]);
    IndexElem => In(Filtered, &[
        "CREATE INDEX ON customers (lower(card_number))", "CREATE UNIQUE INDEX ON customers (card_number)",
        "CREATE INDEX ON customers (id) INCLUDE (card_number)",
        "INSERT INTO customers (id) VALUES (1) ON CONFLICT (card_number) DO NOTHING",
        "ALTER TABLE customers ADD EXCLUDE USING gist (card_number WITH =)",
    ]);
    DefElem => Apart("an option's name and constant", &[
        "EXPLAIN (COSTS OFF) SELECT card_number FROM customers",
        "COPY customers TO STDOUT (FORMAT csv, FORCE_QUOTE (card_number))",
    ]);
    LockingClause => On(Action::Lock, &[
        "SELECT id FROM customers FOR UPDATE", "SELECT 1 FROM customers c, notes FOR NO KEY UPDATE OF c SKIP LOCKED",
        "SELECT 1 FROM (SELECT id FROM customers FOR SHARE) s",
    ]);
    XmlSerialize => In(Projected, &["SELECT xmlserialize(CONTENT card_number::xml AS text) FROM customers"]);
    PartitionElem => Apart("a column of the table that is being made", &[
        "CREATE TABLE n (card_number text) PARTITION BY HASH (card_number)",
        "CREATE TABLE n (card_number text) PARTITION BY RANGE (lower(card_number))",
    ]);
    PartitionSpec => Apart("columns of the table that is being made", &[
        "CREATE TABLE n (card_number text) PARTITION BY LIST (card_number)",
    ]);
    PartitionBoundSpec => Stored(&[
        "CREATE TABLE n PARTITION OF notes FOR VALUES IN ((SELECT card_number FROM customers))",
        "ALTER TABLE notes ATTACH PARTITION n FOR VALUES FROM ((SELECT length(card_number) FROM customers)) TO (MAXVALUE)",
    ]);
    PartitionCmd => On(Action::Alter, &[
        "ALTER TABLE notes ATTACH PARTITION customers DEFAULT",
        "ALTER TABLE notes DETACH PARTITION customers CONCURRENTLY",
    ]);
    GroupingSet => In(Filtered, &[
        "SELECT 1 FROM customers GROUP BY ROLLUP (id, card_number)",
        "SELECT 1 FROM customers GROUP BY GROUPING SETS ((id), (id, card_number))",
        "SELECT 1 FROM customers GROUP BY CUBE (card_number, id)",
    ]);
    WithClause => In(Projected, &[
        "WITH c AS (SELECT card_number FROM customers) SELECT * FROM c",
        "WITH RECURSIVE r(x) AS (SELECT card_number FROM customers UNION ALL SELECT x FROM r) SELECT x FROM r",
        "WITH c AS (SELECT card_number FROM customers) INSERT INTO notes SELECT 1, card_number FROM c",
        "WITH c AS (SELECT card_number FROM customers) UPDATE notes SET note = (SELECT card_number FROM c)",
        "WITH c AS (SELECT card_number FROM customers) DELETE FROM notes RETURNING (SELECT card_number FROM c)",
        "WITH c AS (SELECT card_number FROM customers) MERGE INTO notes USING c ON note = 'x' WHEN MATCHED THEN UPDATE SET note = c.card_number",
        "(WITH c AS (SELECT card_number FROM customers) TABLE c) UNION ALL SELECT 'x'",
        "SELECT (WITH c AS (SELECT card_number FROM customers) TABLE c)",
    ]);
    InferClause => In(Filtered, &[
        "INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) WHERE card_number = 'x' DO NOTHING",
        "INSERT INTO customers (id) VALUES (1) ON CONFLICT (lower(card_number)) DO NOTHING",
    ]);
    OnConflictClause => In(Filtered, &[
        "INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x' WHERE customers.card_number = 'x'",
        "INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2 WHERE excluded.card_number = 'x'",
    ]);
    CtesearchClause => Via(Filtered, &[
        "WITH RECURSIVE r AS (SELECT card_number FROM customers UNION ALL SELECT card_number FROM r) SEARCH DEPTH FIRST BY card_number SET o SELECT o FROM r",
    ]);
    CtecycleClause => Via(Filtered, &[
        "WITH RECURSIVE r AS (SELECT card_number FROM customers UNION ALL SELECT card_number FROM r) CYCLE card_number SET c USING p SELECT p FROM r",
        "WITH RECURSIVE r AS (SELECT card_number FROM customers UNION ALL SELECT card_number FROM r) CYCLE card_number SET c TO 'y' DEFAULT 'n' USING p SELECT c FROM r",
    ]);
    CommonTableExpr => In(Projected, &[
        "WITH c(x) AS MATERIALIZED (SELECT card_number FROM customers) SELECT c.x FROM c",
        "WITH d AS (DELETE FROM customers RETURNING card_number) SELECT * FROM d",
        "WITH a AS (SELECT card_number FROM customers), b AS (TABLE a) SELECT * FROM b",
    ]);
    MergeWhenClause => In(Filtered, &[
        "MERGE INTO notes n USING customers c ON n.id = c.id WHEN MATCHED AND c.card_number = 'x' THEN DELETE",
        "MERGE INTO notes n USING customers c ON n.id = c.id WHEN NOT MATCHED BY TARGET AND c.card_number = 'x' THEN DO NOTHING",
        "MERGE INTO customers c USING notes n ON n.id = c.id WHEN NOT MATCHED BY SOURCE AND c.card_number = 'x' THEN DELETE",
    ]);
    ReturningOption => Via(Projected, &[
        "DELETE FROM customers WHERE id = 1 RETURNING WITH (OLD AS o) o.card_number",
        "UPDATE customers SET id = 1 WHERE id = 2 RETURNING WITH (NEW AS n, OLD AS o) n.card_number",
    ]);
    ReturningClause => In(Projected, &[
        "INSERT INTO customers (id) VALUES (1) RETURNING card_number",
        "UPDATE customers SET id = 1 WHERE id = 2 RETURNING old.card_number, new.id",
        "DELETE FROM customers WHERE id = 1 RETURNING lower(card_number)",
        "MERGE INTO customers c USING notes n ON c.id = n.id WHEN MATCHED THEN DELETE RETURNING c.card_number",
    ]);
    TriggerTransition => On(Action::Alter, &[
        "CREATE TRIGGER g AFTER UPDATE ON customers REFERENCING OLD TABLE AS o NEW TABLE AS n EXECUTE FUNCTION f()",
    ]);
    JsonOutput => Apart("the type of RETURNING", &[
        "SELECT JSON_OBJECT('a': card_number RETURNING jsonb) FROM customers",
    ]);
    JsonArgument => In(Projected, &[
        "SELECT JSON_VALUE(document, '$.x' PASSING card_number AS s) FROM customers",
        "SELECT x FROM customers, JSON_TABLE(document, '$' PASSING card_number AS s COLUMNS (x text PATH '$')) j",
    ]);
    JsonFuncExpr => In(Projected, &[
        "SELECT JSON_EXISTS(card_number, '$') FROM customers",
        "SELECT JSON_QUERY(card_number, '$' WITH WRAPPER) FROM customers",
        "SELECT JSON_VALUE(card_number, '$') FROM customers",
        "SELECT JSON_VALUE(document, card_number::jsonpath) FROM customers",
    ]);
    JsonTablePathSpec => Apart("the grammar takes a constant", &[
        "SELECT x FROM customers, JSON_TABLE(document, '$' AS p COLUMNS (x text PATH '$')) j",
    ]);
    JsonTable => In(Projected, &[
        "SELECT x FROM customers, JSON_TABLE(card_number, '$[*]' COLUMNS (x int PATH '$')) j",
        "SELECT y FROM customers, JSON_TABLE(card_number, '$' COLUMNS (NESTED PATH '$' COLUMNS (y int PATH '$'))) j",
        "SELECT j.* FROM customers, JSON_TABLE(card_number, '$' COLUMNS (x FOR ORDINALITY, e boolean EXISTS)) j",
    ]);
    JsonTableColumn => In(Projected, &[
        "SELECT x FROM customers, JSON_TABLE(document, '$' COLUMNS (x text PATH '$' DEFAULT card_number ON EMPTY)) j",
        "SELECT x FROM customers, JSON_TABLE(document, '$' COLUMNS (NESTED '$' COLUMNS (x text PATH '$' DEFAULT card_number ON ERROR))) j",
    ]);
    JsonKeyValue => In(Projected, &[
        "SELECT JSON_OBJECT(card_number: 1) FROM customers",
        "SELECT JSON_OBJECT('a' VALUE card_number ABSENT ON NULL) FROM customers",
    ]);
    JsonParseExpr => In(Projected, &["SELECT JSON(card_number) FROM customers"]);
    JsonScalarExpr => In(Projected, &["SELECT JSON_SCALAR(card_number) FROM customers"]);
    JsonSerializeExpr => In(Projected, &["SELECT JSON_SERIALIZE(card_number RETURNING bytea) FROM customers"]);
    JsonObjectConstructor => In(Projected, &["SELECT JSON_OBJECT('a': card_number WITH UNIQUE KEYS) FROM customers"]);
    JsonArrayConstructor => In(Projected, &["SELECT JSON_ARRAY(id, card_number NULL ON NULL) FROM customers"]);
    JsonArrayQueryConstructor => In(Projected, &[
        "SELECT JSON_ARRAY(SELECT card_number FROM customers)",
        "SELECT JSON_ARRAY(SELECT 1 FROM customers WHERE card_number = 'x')",
    ]);
    JsonAggConstructor => In(Filtered, &[
        "SELECT JSON_ARRAYAGG(id ORDER BY card_number) FROM customers",
        "SELECT JSON_OBJECTAGG('a': 1) FILTER (WHERE card_number = 'x') FROM customers",
        "SELECT JSON_ARRAYAGG(id) OVER (PARTITION BY card_number) FROM customers",
    ]);
    JsonObjectAgg => In(Projected, &[
        "SELECT JSON_OBJECTAGG('a': card_number) FROM customers",
        "SELECT JSON_OBJECTAGG(card_number: 1) FROM customers",
        "SELECT JSON_OBJECTAGG('a': 1) FILTER (WHERE card_number = 'x') FROM customers",
    ]);
    JsonArrayAgg => In(Projected, &[
        "SELECT JSON_ARRAYAGG(card_number) FROM customers",
        "SELECT JSON_ARRAYAGG(id) OVER (ORDER BY card_number) FROM customers",
    ]);
    Integer => Apart("a constant", &["SELECT 1 FROM customers WHERE id = 1"]);
    Float => Apart("a constant", &["SELECT 1.5 FROM customers"]);
    Boolean => Apart("a constant", &["SELECT true FROM customers"]);
    String => Apart("a name or a constant: what it means is said where it stands", &[
        "SELECT 'card_number' FROM customers",
    ]);
    BitString => Apart("a constant", &["SELECT B'101' FROM customers"]);
    List => In(Projected, &[
        "SELECT card_number BETWEEN 'a' AND 'b', 'x' IN (card_number) FROM customers",
        "VALUES ((SELECT card_number FROM customers), 'x')",
    ]);
    AConst => Apart("a constant", &["SELECT 'x', 1, 1.5, true, NULL, X'1F' FROM customers"]);
    $($statements)*
}
    };
}
pub(super) use with_expressions;
