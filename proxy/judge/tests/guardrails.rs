//! The guardrails hold over the public attacks, and in other shapes of the same families, where nothing is masked: no
//! built-in rule helps them. Ordinary work is not touched by them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

#[path = "support/postgres.rs"]
mod postgres;

use judge::{
    policy::{self, Bound, Cache, Rules, Subject, decide},
    sql::{self, Catalog, Context, Limits},
};
use postgres::Postgres;
use schemas::event::VerdictKind;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/tests/attacks");

fn rules(off: &[&str]) -> Rules {
    let mut rules = Rules::default();
    rules.resource = "shop".to_owned();
    rules.connect_groups = vec!["agents".to_owned()];
    rules.guardrails_off = off.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!(rules.check(), Vec::<String>::new());
    rules
}

/// The verdict of a message: the first statement of it that does not go on, with the policies that decided.
fn verdict(text: &str, catalog: &Catalog, bound: &Bound, cache: &mut Cache) -> (VerdictKind, String) {
    let path = ["public".to_owned()];
    let context = Context { catalog, search_path: &path, limits: Limits::default(), tripwire: false };
    let mut subject = Subject::of_groups(&["agents"]);
    // what does not parse never reaches the server
    let Ok(all) = sql::analyze(text, &context) else { return (VerdictKind::Deny, "grammar".to_owned()) };
    for facts in all {
        let judgement = decide(&facts, bound, &subject, &policy::Context::default(), cache);
        if matches!(judgement.verdict, VerdictKind::Deny | VerdictKind::Hold) {
            assert!(!judgement.hint.is_empty() && !judgement.reason.is_empty());
            return (judgement.verdict, judgement.policies.join(" "));
        }
        subject.note_temporary(&facts);
    }
    (VerdictKind::Allow, String::new())
}

fn texts(case: &serde_json::Value) -> Vec<String> {
    if let Some(sql) = case["sql"].as_str() {
        return vec![sql.to_owned()];
    }
    let Some(steps) = case["steps"].as_array() else { return Vec::new() };
    let text = |step: &serde_json::Value| step["q"].as_str().or(step["x"].as_str()).map(str::to_owned);
    steps.iter().filter_map(text).collect()
}

/// What guardrails stop, one shape of each family a line, with the policy that must decide.
const STOPPED: &[(&str, &str)] = &[
    ("guard:unbounded", "DELETE FROM orders"),
    ("guard:unbounded", "DELETE FROM orders WHERE true"),
    ("guard:unbounded", "DELETE FROM orders WHERE id IS NOT NULL OR id IS NULL"),
    ("guard:unbounded", "DELETE FROM orders WHERE id = id"),
    ("guard:unbounded", "DELETE FROM orders WHERE id > -1"),
    ("guard:unbounded", "DELETE FROM orders WHERE id IN (SELECT id FROM orders)"),
    ("guard:unbounded", "DELETE FROM orders WHERE id = ANY (ARRAY(SELECT id FROM orders))"),
    ("guard:unbounded", "DELETE FROM orders WHERE id = 1 OR 1 = 1"),
    ("guard:unbounded", "DELETE FROM orders WHERE NOT (id = 1)"),
    ("guard:unbounded", "DELETE FROM orders WHERE id BETWEEN 0 AND 1000000000"),
    ("guard:unbounded", "DELETE FROM orders WHERE coalesce(id, 0) = coalesce(id, 0)"),
    ("guard:unbounded", "DELETE FROM orders USING payments WHERE payments.id = payments.id"),
    ("guard:unbounded", "WITH gone AS (DELETE FROM orders RETURNING 1) SELECT count(*) FROM gone"),
    ("guard:unbounded", "PREPARE p AS DELETE FROM orders"),
    ("guard:unbounded", "EXPLAIN (ANALYZE) UPDATE orders SET status = 'x'"),
    ("guard:unbounded", "UPDATE orders SET status = 'x' FROM payments"),
    ("guard:unbounded", "MERGE INTO orders o USING payments p ON true WHEN MATCHED THEN UPDATE SET status = 'x'"),
    ("guard:unbounded", "INSERT INTO orders SELECT * FROM orders ON CONFLICT (id) DO UPDATE SET status = 'x'"),
    ("guard:unbounded", "DELETE FROM orders WHERE id = (SELECT orders.id)"),
    ("guard:unbounded", "DELETE FROM orders o WHERE id = (SELECT x.id FROM orders x WHERE x.id = o.id)"),
    ("guard:unbounded", "DELETE FROM orders WHERE id = ANY (ARRAY[(SELECT orders.id)])"),
    ("guard:unbounded", "DELETE FROM orders WHERE id = ANY ((SELECT array_agg(id) FROM orders)::int[])"),
    ("guard:unbounded", "DELETE FROM orders WHERE id = coalesce($1, id)"),
    ("guard:unbounded", "DELETE FROM orders WHERE status = 'open'"),
    ("guard:unbounded", "DELETE FROM orders WHERE 'open' = status AND total > 0"),
    ("guard:unbounded", "DELETE FROM orders WHERE customer_id = 1 OR customer_id BETWEEN 2 AND 40"),
    ("guard:unbounded", "UPDATE customers SET balance = 0 WHERE region IN ('eu', 'us', 'apac')"),
    ("guard:unbounded", "DELETE FROM orders WHERE id BETWEEN 1 AND 200"),
    ("guard:unbounded", "DELETE FROM orders WHERE tableoid = 'orders'::regclass"),
    ("guard:unbounded", "DELETE FROM orders WHERE (id, id) IN (SELECT id, id FROM orders)"),
    ("guard:unbounded", "DELETE FROM orders WHERE id IN (SELECT x.id FROM orders x WHERE x.id = orders.id LIMIT 1)"),
    ("guard:unbounded", "DELETE FROM orders WHERE id IN (SELECT unnest(array_agg(id)) FROM orders)"),
    (
        "guard:unbounded",
        "DELETE FROM orders WHERE id IN (SELECT id FROM orders ORDER BY status FETCH FIRST 1 ROW WITH TIES)",
    ),
    (
        "guard:unbounded",
        "UPDATE orders SET status = 'x' FROM (SELECT id, 1 AS k FROM orders) s WHERE s.k = 1 AND orders.id = s.id",
    ),
    ("guard:unbounded", "UPDATE orders SET status = 'x' FROM (VALUES ('open')) v (s) WHERE orders.status = v.s"),
    ("guard:unbounded", "DELETE FROM orders USING customers c, LATERAL (SELECT c.id LIMIT 1) l WHERE orders.id = l.id"),
    ("guard:unbounded", "WITH k AS (SELECT id FROM orders) DELETE FROM orders USING k WHERE orders.id = k.id"),
    (
        "guard:unbounded",
        "CREATE TEMP TABLE tt AS SELECT 1 AS x; DELETE FROM orders WHERE id = (SELECT id FROM tt LIMIT 1)",
    ),
    (
        "guard:unbounded",
        "MERGE INTO orders o USING (SELECT generate_series(1, 200) g) s ON o.id = s.g WHEN MATCHED THEN DELETE",
    ),
    (
        "guard:unbounded",
        "MERGE INTO orders o USING (VALUES ('open')) s (st) ON o.status = s.st WHEN MATCHED THEN DELETE",
    ),
    ("guard:unbounded", "MERGE INTO orders o USING (VALUES (1)) s (x) ON o.status = 'open' WHEN MATCHED THEN DELETE"),
    (
        "guard:unbounded",
        "INSERT INTO orders (id) SELECT generate_series(1, 9) ON CONFLICT (id) DO UPDATE SET status = 'x'",
    ),
    (
        "guard:unbounded",
        "INSERT INTO orders (id) SELECT order_id FROM order_items ON CONFLICT (id) DO UPDATE SET status = 'x'",
    ),
    (
        "guard:unbounded",
        "WITH o AS (SELECT * FROM orders) INSERT INTO orders SELECT * FROM o ON CONFLICT (id) DO UPDATE SET status = 'x'",
    ),
    ("guard:truncate", "TRUNCATE orders"),
    ("guard:drop", "DROP TABLE orders"),
    ("guard:drop", "DROP TABLE mine"),
    ("guard:drop", "CREATE TEMP TABLE orders (id int); DROP TABLE public.orders"),
    ("guard:drop", "CREATE TEMP TABLE mine (id int); DROP TABLE mine, orders"),
    ("guard:drop", "DROP SCHEMA hr CASCADE"),
    ("guard:drop", "DROP DATABASE shop"),
    ("guard:drop", "DROP VIEW v_clean"),
    ("guard:drop", "DROP FUNCTION public.order_total(int)"),
    ("guard:drop", "DROP OWNED BY CURRENT_USER"),
    ("guard:drop", "ALTER TABLE orders DROP COLUMN status"),
    ("guard:drop", "ALTER TABLE orders RENAME TO gone"),
    ("guard:drop", "ALTER TABLE orders SET SCHEMA hr"),
    ("guard:alter", "ALTER TABLE orders ADD COLUMN more int"),
    ("guard:alter", "CREATE INDEX ON orders (status)"),
    ("guard:alter", "COMMENT ON TABLE orders IS 'x'"),
    ("guard:alter", "ALTER FUNCTION public.order_total(int) VOLATILE"),
    ("guard:system", "ALTER SYSTEM SET log_statement = 'none'"),
    ("guard:system", "CREATE DATABASE more"),
    ("guard:role", "CREATE ROLE sleeper LOGIN"),
    ("guard:role", "ALTER ROLE CURRENT_USER PASSWORD 'x'"),
    ("guard:role", "ALTER ROLE CURRENT_USER SET search_path = hr"),
    ("guard:grant", "GRANT SELECT ON orders TO PUBLIC"),
    ("guard:grant", "REVOKE ALL ON SCHEMA public FROM PUBLIC"),
    ("guard:grant", "GRANT agent_other TO CURRENT_USER"),
    ("guard:grant", "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC"),
    ("guard:grant", "REASSIGN OWNED BY CURRENT_USER TO agent_other"),
    ("guard:extension", "CREATE EXTENSION lo"),
    ("guard:extension", "CREATE SERVER s FOREIGN DATA WRAPPER file_fdw"),
    ("guard:server-file", "COPY orders TO '/tmp/x'"),
    ("guard:server-file", "COPY orders FROM PROGRAM 'id'"),
    ("guard:server-file", "COPY (SELECT 1) TO PROGRAM 'sh'"),
    ("guard:server-function", "SELECT pg_read_file('/etc/passwd')"),
    ("guard:server-function", "SELECT * FROM pg_catalog.pg_ls_dir('/')"),
    ("guard:server-function", "SELECT lo_import('/etc/passwd')"),
    ("guard:server-function", "SELECT dblink_exec('host=x', 'DROP TABLE y')"),
    ("guard:server-function", "SELECT pg_terminate_backend(1)"),
    ("guard:dynamic-sql", "SELECT query_to_xml('DELETE FROM orders', true, false, '')"),
    ("guard:opaque", "DO $$ BEGIN DELETE FROM orders; END $$"),
    ("guard:opaque", "CALL public.proc_card('x')"),
    ("guard:opaque", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'DELETE FROM orders RETURNING 1'"),
    ("guard:opaque", "CREATE RULE r AS ON INSERT TO payments DO ALSO DELETE FROM orders"),
    ("guard:alter", "CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION x()"),
    ("guard:setting", "SET session_replication_role = replica"),
    ("guard:setting", "SELECT set_config('session_replication_role', 'replica', false)"),
    ("guard:replication", "CREATE PUBLICATION p FOR ALL TABLES"),
    ("guard:replication-function", "SELECT pg_create_logical_replication_slot('s', 'pgoutput')"),
    ("guard:prepared-transaction", "PREPARE TRANSACTION 'left'"),
    ("guard:notify", "LISTEN x"),
    ("guard:notify", "NOTIFY x, 'y'"),
    ("guard:notify-function", "SELECT pg_notify('x', 'y')"),
    ("guard:maintain", "REINDEX TABLE orders"),
    ("guard:maintain", "VACUUM FULL orders"),
    ("guard:lock", "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"),
    ("builtin:setting", "SET ROLE postgres"),
];

/// Ordinary work.
const GOES_ON: &[&str] = &[
    "SELECT * FROM orders",
    "DELETE FROM orders WHERE id = 7",
    "DELETE FROM orders WHERE id IN (1, 2, 3)",
    "DELETE FROM orders WHERE id = ANY ($1)",
    "UPDATE orders SET status = 'x' WHERE id = $1 AND status <> 'x'",
    "UPDATE orders SET status = 'x' WHERE id BETWEEN 3 AND 9",
    "UPDATE orders SET status = p.memo FROM payments p WHERE orders.id = p.id AND orders.id = 4",
    "MERGE INTO orders o USING (VALUES (1, 'x')) AS v (id, s) ON o.id = v.id WHEN MATCHED THEN UPDATE SET status = v.s",
    "INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET status = excluded.status",
    "DELETE FROM orders WHERE id = 1 OR id IN (2, 3) OR (id = 4 AND status = 'open')",
    "DELETE FROM orders WHERE id::text = $1",
    "DELETE FROM orders WHERE id IN (1, 2) AND total IN (1, 2, 3)",
    "DELETE FROM order_items WHERE order_id = 7",
    "UPDATE orders SET status = 'late' WHERE customer_id = 1 AND total < 50",
    "DELETE FROM payments WHERE customer_id = 3 AND paid_at < '2025-01-01'",
    "UPDATE orders o SET total = o.total + 1 FROM customers c WHERE c.id = o.customer_id AND c.id = 1",
    "UPDATE orders SET status = v.s FROM (VALUES (1, 'x'), (2, 'y')) AS v (id, s) WHERE orders.id = v.id",
    "UPDATE orders SET status = 'x' FROM unnest($1::int[], $2::text[]) AS v (id, s) WHERE orders.id = v.id",
    "UPDATE orders SET status = 'x' WHERE id = (SELECT max(id) FROM orders)",
    "UPDATE orders SET status = 'x' WHERE id = (SELECT id FROM orders WHERE status = 'open' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE status = 'open' ORDER BY id LIMIT 50)",
    "DELETE FROM orders WHERE ctid = ANY (ARRAY(SELECT ctid FROM orders LIMIT 10))",
    "WITH next AS (SELECT id FROM orders WHERE status = 'open' LIMIT 10) UPDATE orders o SET status = 'x' FROM next WHERE o.id = next.id",
    "UPDATE v_clean SET balance = 0 WHERE id = 4",
    "DELETE FROM orders WHERE id = ANY (string_to_array($1, ',')::int[])",
    "UPDATE orders SET status = 'x' WHERE id = abs(-3)",
    "INSERT INTO orders (id) SELECT id FROM unnest($1::int[]) AS v (id) ON CONFLICT (id) DO UPDATE SET status = 'x'",
    "INSERT INTO orders SELECT * FROM orders WHERE id = 1 ON CONFLICT (id) DO UPDATE SET status = 'x'",
    "CREATE TEMP TABLE mine AS SELECT * FROM orders",
    "CREATE TABLE public.report AS SELECT status, count(*) FROM orders GROUP BY 1",
    "CREATE TEMP TABLE mine (id int); CREATE INDEX ON mine (id); DELETE FROM mine; TRUNCATE mine; DROP TABLE mine",
    "DROP TABLE pg_temp.mine",
    "TRUNCATE pg_temp.mine",
    "DELETE FROM pg_temp.mine",
    "ANALYZE orders",
    "VACUUM orders",
    "REFRESH MATERIALIZED VIEW mv_stats",
    "EXPLAIN DELETE FROM orders",
    "SELECT 1 FROM orders FOR UPDATE",
    "SELECT nextval('scratch_seq')",
    "SET statement_timeout = '5s'",
    "LOCK TABLE orders IN ACCESS SHARE MODE",
    "UNLISTEN *",
    "DISCARD ALL",
    "BEGIN; SAVEPOINT a; ROLLBACK TO a; COMMIT",
    "COPY orders TO STDOUT",
    "SELECT order_total(1)",
];

#[test]
fn guardrails_hold_and_ordinary_work_goes_on() {
    let server = Postgres::start();
    assert!(server.psql("postgres", &[], "CREATE DATABASE bypass").1);
    server.file("bypass", &format!("{DATA}/schema.sql"));
    let catalog = server.catalog("bypass");
    let bound = rules(&[]).bind(&catalog);
    let mut cache = Cache::default();
    let mut wrong = Vec::new();
    for (policy, text) in STOPPED {
        let (kind, policies) = verdict(text, &catalog, &bound, &mut cache);
        let expected = if *policy == "guard:unbounded" { VerdictKind::Hold } else { VerdictKind::Deny };
        if kind != expected || !policies.split(' ').any(|id| id == *policy) {
            wrong.push(format!("{text}: {kind:?} by {policies:?}, not {policy}"));
        }
        // turned off, it decides no more
        if policy.starts_with("guard:") {
            let open = rules(&[policy]).bind(&catalog);
            let (_, policies) = verdict(text, &catalog, &open, &mut cache);
            if policies.split(' ').any(|id| id == *policy) {
                wrong.push(format!("{text}: {policy} is off and decided"));
            }
        }
    }
    for text in GOES_ON {
        let (kind, policies) = verdict(text, &catalog, &bound, &mut cache);
        if kind != VerdictKind::Allow {
            wrong.push(format!("{text}: {kind:?} by {policies}"));
        }
    }
    let (mut stopped, mut allowed) = (0, 0);
    for line in std::fs::read_to_string(format!("{DATA}/corpus.jsonl")).unwrap().lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let (id, family) = (case["id"].as_str().unwrap(), case["family"].as_str().unwrap());
        let texts = texts(&case);
        let verdicts: Vec<_> = texts.iter().map(|text| verdict(text, &catalog, &bound, &mut cache)).collect();
        let any = verdicts.iter().any(|(kind, _)| *kind != VerdictKind::Allow);
        match family {
            "guard_mass" | "guard_ddl" | "privilege_change" => {
                stopped += 1;
                if !any {
                    wrong.push(format!("{id} went on: {texts:?}"));
                }
            }
            "benign" => {
                allowed += 1;
                if any && !verdicts.iter().all(|(_, by)| by.is_empty() || by == "grammar") {
                    wrong.push(format!("{id} was stopped: {texts:?} {verdicts:?}"));
                }
            }
            _ => {}
        }
    }
    assert!(stopped >= 27 && allowed >= 31, "{stopped} {allowed}");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Writes whose success or failure tells stored values of a masked column.
const PROBES: &[&str] = &[
    "INSERT INTO customers (id, name, email, ssn, card_number) VALUES (9, 'x', 'q@x', '1', '4929731608452298')",
    "INSERT INTO customers VALUES (9, 'x', 'q@x', '1', '4929731608452298')",
    "UPDATE customers SET card_number = '4929731608452298' WHERE id = 2",
    "COPY customers (id, name, email, ssn, card_number) FROM STDIN",
    "COPY customers FROM STDIN",
    "MERGE INTO customers c USING (VALUES (2)) v (i) ON c.id = v.i WHEN MATCHED THEN UPDATE SET card_number = '4'",
    "INSERT INTO v_pan (id, pan, contact) VALUES (9, '4929731608452298', 'q@x')",
    "INSERT INTO customers (id, email) VALUES (1, 'q@x') ON CONFLICT (id) DO UPDATE SET email = 'r@x'",
    "PREPARE p AS UPDATE customers SET email = $1 WHERE id = 2",
    // beyond the schema of the attacks: see the test
    "INSERT INTO seen (card) VALUES ('4929731608452298')",
    "UPDATE guesses SET guess = '536-90-4399' WHERE id = 1",
    "UPDATE guesses SET part = 2 WHERE id = 1",
    "INSERT INTO guesses (id, part) VALUES (1, 2)",
    "INSERT INTO booked (room, note) VALUES (1, 'x')",
    "INSERT INTO split (id, pan) VALUES (1, 'x')",
];

/// Writes that tell nothing.
const TELL_NOTHING: &[&str] = &[
    "UPDATE customers SET name = 'x' WHERE id = 2",
    "UPDATE customers SET ssn = '1' WHERE id = 2",
    "INSERT INTO card_events (id, card_number, at) VALUES (1, '4', '2024-02-02')",
    "INSERT INTO customers_vip (id, name, email, ssn, card_number) VALUES (9, 'x', 'q@x', '1', '371449635398431')",
    "INSERT INTO guesses (id, guess) VALUES (1, 'y')",
    "UPDATE guesses SET id = 3 WHERE id = 1",
    "DELETE FROM customers WHERE id = 2",
];

#[test]
fn a_write_does_not_tell_stored_values_of_a_masked_column() {
    let server = Postgres::start();
    assert!(server.psql("postgres", &[], "CREATE DATABASE probed").1);
    server.file("probed", &format!("{DATA}/schema.sql"));
    let more = "CREATE TABLE seen (card public.card_t REFERENCES customers (card_number));\
        CREATE TABLE guesses (id int, ssn text, guess text, part int, CHECK (guess <> ssn));\
        CREATE UNIQUE INDEX ON guesses (part, lower(ssn)) WHERE part > 1;\
        CREATE TABLE booked (room int, note text, EXCLUDE USING btree (note WITH =));\
        CREATE TABLE split (id int, pan text) PARTITION BY RANGE (id);\
        CREATE TABLE split_1 PARTITION OF split FOR VALUES FROM (1) TO (9);\
        CREATE UNIQUE INDEX ON split_1 (pan);";
    assert!(server.psql("probed", &[], more).1);
    let catalog = server.catalog("probed");
    let mut masked = rules(&[]);
    let columns = ["customers.card_number", "customers.ssn", "customers.email", "card_events.card_number"];
    let columns = columns.iter().chain(&["guesses.ssn", "booked.note", "split.pan"]);
    masked.masking = vec![judge::policy::Masking {
        columns: columns.map(|column| format!("public.{column}")).collect(),
        label: Some("pan".to_owned()),
        method: judge::mask::Method::Redact,
        unmask_groups: Vec::new(),
    }];
    let mut open = masked.clone();
    let text = "@id(\"work\") permit (principal, action in Action::\"work\", resource); \
        @id(\"find\") permit (principal, action == Action::\"filter\", resource);";
    open.policies = vec![policy::Source { name: "agents.cedar".to_owned(), text: text.to_owned() }];
    assert_eq!(open.check(), Vec::<String>::new());
    let mut closed = open.clone();
    closed.closed = vec!["public.customers.ssn".to_owned()];
    reaches(&catalog, &masked, &open, &closed);
    let (masked, open) = (masked.bind(&catalog), open.bind(&catalog));
    for text in PROBES {
        let (kind, policies) = verdict(text, &catalog, &masked, &mut Cache::default());
        assert_eq!((kind, policies.as_str()), (VerdictKind::Deny, "builtin:probe"), "{text}");
        if !text.starts_with("PREPARE") {
            let (kind, policies) = verdict(text, &catalog, &open, &mut Cache::default());
            assert_eq!(kind, VerdictKind::Allow, "{text}: {policies}");
        }
    }
    for text in TELL_NOTHING {
        let (kind, policies) = verdict(text, &catalog, &masked, &mut Cache::default());
        assert_eq!(kind, VerdictKind::Allow, "{text}: {policies}");
    }
}

/// A role is given the columns that some statement could name, and no others.
fn reaches(catalog: &Catalog, masked: &Rules, open: &Rules, closed: &Rules) {
    use judge::sql::Action::{self, CopyOut, Insert, Select, Update};
    let reached = |rules: &Rules, table: &str, action: Action| {
        let bound = rules.bind(catalog);
        let subject = Subject::of_groups(&["agents"]);
        let reach = policy::reach::reach(catalog, &bound, &subject, &policy::Context::default());
        let relation = catalog.relations().find(|relation| relation.qualified() == table).unwrap();
        let columns = reach.columns.get(&(relation.id, action))?;
        let named = relation.columns.iter().filter(|column| columns.contains(&column.attribute));
        Some(named.map(|column| column.name.clone()).collect::<Vec<_>>().join(" "))
    };
    const WRITTEN: &str = "id name ssn ssn_digits notes address tags status balance region referrer_id created_at";
    // the generated column goes with the one that it is made of
    const OPEN: &str = "id name email card_number notes address tags status balance region referrer_id created_at";
    let cases = [
        // what is masked is read, and what no unique index covers is written
        (masked, "public.customers", Select, None),
        (masked, "public.customers", Update, Some(WRITTEN)),
        (masked, "public.customers", Insert, Some(WRITTEN)),
        (masked, "public.seen", Insert, Some("")),
        (masked, "public.booked", Update, Some("room")),
        (masked, "public.orders", Update, None),
        // who may filter by a value may be told of it
        (open, "public.customers", Update, None),
        (open, "public.booked", Update, None),
        // what is closed is left out for everybody, and of views that show it
        (closed, "public.customers", Select, Some(OPEN)),
        (closed, "public.customers", CopyOut, Some(OPEN)),
        (closed, "public.customers", Update, Some(OPEN)),
        (closed, "public.orders", Select, None),
    ];
    for (number, (rules, table, action, expected)) in cases.into_iter().enumerate() {
        assert_eq!(reached(rules, table, action).as_deref(), expected, "{number} {table} {action:?}");
    }
}

#[test]
fn every_guardrail_is_tried_and_explained() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guardrails.md")).unwrap();
    for id in policy::cedar::guardrail_ids() {
        assert!(docs.contains(&format!("`{id}`")), "{id} is not explained");
        assert!(STOPPED.iter().any(|(policy, _)| *policy == id) || id == "guard:export", "{id} is not tried");
    }
}
