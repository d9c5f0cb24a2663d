//! MSK-1 on every channel: COPY in its three layouts, values in free text, error texts; and what masks
//! show is not written back.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
#[path = "wire/mod.rs"]
mod wire;

use std::{io::Write, process::Stdio};
use support::{Postern, Postgres, Process, folder};
use wire::Wire;

struct Gate {
    postern: Postern,
    token: String,
    postgres: Postgres,
    _process: Process,
    _folder: tempfile::TempDir,
}

const CARD: &str = "4929731608452298";
const SSN: &str = "536-90-4399";

const SCHEMA: &str = "
    update payments set memo = 'refund to card 4929731608452298 by phone' where id = 7;
    create table notes (id int primary key, doc jsonb, plain json, tags text[], words varchar(80), body text);
    insert into notes values (1, '{\"ssn\": \"536-90-4399\", \"tier\": \"gold\", \"pan\": 4929731608452298}', '{\"n\": 4929731608452298}',
      '{red,4929731608452298,NULL}', 'ssn 536-90-4399', 'key AKIAIOSFODNN7EXAMPLE, mail someone@private.example'),
      (2, '{\"tier\": \"none\"}', '[]', '{blue}', 'nothing', 'invoice 8');
    create table numbers (id int primary key, wide bigint, long numeric);
    insert into numbers values (1, 4929731608452298, 4929731608452298.00), (2, 1700000000000000, 4929731608452299);
    create table odd (id int primary key, secret text, other text);
    insert into odd values (1, E'sec\\tret,\"x\"\\nnext\\\\', E'a\\tb,\"c\"\\nd\\\\'), (2, null, null), (3, '', '');
";

fn gate(more: &str) -> Gate {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql(SCHEMA);
    // whether a unique masked value can be written would tell what is there, which another rule denies before these
    postgres
        .sql("ALTER TABLE customers DROP CONSTRAINT customers_email_key, DROP CONSTRAINT customers_card_number_key");
    let postern = Postern::configure(folder.path(), "gate", &postgres, "");
    let text = std::fs::read_to_string(&postern.config).unwrap();
    let hidden = "{ columns = [\"public.odd.secret\"], method = \"redact\" },\n";
    let text = text.replace("masking = [\n", &format!("{more}\nmasking = [\n  {hidden}"));
    std::fs::write(&postern.config, text).unwrap();
    let process = postern.start("up");
    let token = postern.token("billing-bot", "agents");
    Gate { postern, token, postgres, _process: process, _folder: folder }
}

impl Gate {
    fn sql(&self, sql: &str) -> String {
        self.postern.sql(&self.token, sql)
    }

    fn wire(&self) -> Wire {
        Wire::connect(self.postern.port, "agent", "shop", &self.token)
    }

    /// psql with something on its standard input.
    fn fed(&self, sql: &str, input: &str) -> (bool, String) {
        let mut command = std::process::Command::new("psql");
        command.envs(self.postern.environment(&self.token)).args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn copy_to_the_client_is_masked_in_every_layout() {
    let gate = gate("");
    let cases: &[(&str, &str)] = &[
        ("copy (select id, card_number, ssn from customers where id = 1) to stdout", "1\t****7919\t****"),
        ("copy (select id, card_number as x from v_customers_missing) to stdout", ""),
        ("copy (select 'card ' || card_number, id from customers where id = 1) to stdout", "****\t1"),
        ("copy (select ssn, id from customers where id = 1) to stdout (format csv)", "****,1"),
        ("copy (select ssn, id from customers where id = 1) to stdout csv header", "ssn,id\n****,1"),
        (
            "copy (select ssn, id from customers where id = 1) to stdout (format csv, force_quote *, quote '''', delimiter ';')",
            "'****';'1'",
        ),
        ("copy odd (secret, other, id) to stdout", "****\ta\\tb,\"c\"\\nd\\\\\t1\n\\N\t\\N\t2\n****\t\t3"),
        (
            "copy odd (secret, other, id) to stdout (format csv, null 'nil')",
            "****,\"a\tb,\"\"c\"\"\nd\\\",1\nnil,nil,2\n****,,3",
        ),
        (
            "copy odd (id, secret, other) to stdout (format csv, escape '\\', quote '\"', header true)",
            "id,secret,other\n1,****,\"a\tb,\\\"c\\\"\nd\\\\\"\n2,,\n3,****,\"\"",
        ),
        ("copy odd (id, secret) to stdout (delimiter '*')", "1*\\*\\*\\*\\*\n2*\\N\n3*\\*\\*\\*\\*"),
        ("copy (update odd set other = 'o' where id = 1 returning secret, other) to stdout", "****\to"),
        ("copy (select memo from payments where id = 7) to stdout", "refund to card **** by phone"),
        ("copy (select doc from notes where id = 1) to stdout csv", ""),
    ];
    for (sql, expected) in cases {
        if sql.contains("missing") {
            gate.postern.refused(&gate.token, sql);
            continue;
        }
        let got = gate.sql(sql);
        assert!(!got.contains(CARD) && !got.contains(SSN) && !got.contains("next"), "{sql}: {got}");
        if !expected.is_empty() {
            // the first field of an empty secret is hidden as well: that it is empty tells something
            assert_eq!(got, *expected, "{sql}");
        }
    }
    let whole = gate.sql("copy customers to stdout");
    assert_eq!(whole.lines().count(), 40);
    assert!(whole.lines().all(|line| line.contains("****") && !line.contains("4929") && !line.contains("private")));
    let refused = gate.postern.refused(&gate.token, "copy customers to stdout (encoding 'latin1')");
    assert!(refused.contains("42501") && refused.contains("builtin:copy"), "{refused}");
    // the control case: what hides nothing is what the server sent
    let plain = "copy (select id, amount, memo from payments where id <> 7 order by id) to stdout csv header";
    assert_eq!(gate.sql(plain), gate.postgres.sql(plain));
}

#[test]
fn binary_copy_is_masked_and_can_be_loaded() {
    let gate = gate("");
    let mut wire = gate.wire();
    for sql in [
        "copy customers to stdout (format binary)",
        "copy (select id, name, 'x' || email, ssn, card_number, region, balance from customers) to stdout binary",
    ] {
        wire.send(&[wire::query(sql)]);
        let messages = wire.until(b'Z');
        let data: Vec<u8> = messages.iter().filter(|m| m.0 == b'd').flat_map(|m| m.1.clone()).collect();
        assert!(messages.iter().any(|m| m.0 == b'C'), "{}", wire::kinds(&messages));
        let text = String::from_utf8_lossy(&data);
        assert!(text.contains("****") && !text.contains("4929") && !text.contains("private.example"));
        let rows = binary_rows(&data);
        assert_eq!(rows.len(), 40);
        assert_eq!(rows[0][0].as_deref(), Some(&[0u8, 0, 0, 1][..]));
        assert_eq!(rows[0][1].as_deref(), Some(&b"Customer 1"[..]));
        assert!(rows.iter().all(|row| row[3].as_deref() == Some(b"****")));
    }
}

fn binary_rows(data: &[u8]) -> Vec<Vec<Option<Vec<u8>>>> {
    let mut at = 19;
    let mut rows = Vec::new();
    loop {
        let count = i16::from_be_bytes(data[at..at + 2].try_into().unwrap());
        at += 2;
        if count == -1 {
            assert_eq!(at, data.len());
            return rows;
        }
        let mut row = Vec::new();
        for _ in 0..count {
            let length = i32::from_be_bytes(data[at..at + 4].try_into().unwrap());
            at += 4;
            let end = at + usize::try_from(length.max(0)).unwrap();
            row.push((length >= 0).then(|| data[at..end].to_vec()));
            at = end;
        }
        rows.push(row);
    }
}

#[test]
fn values_in_free_text_are_found_on_every_way() {
    let gate = gate("");
    assert_eq!(gate.sql("select memo from payments where id = 7"), "refund to card **** by phone");
    assert_eq!(gate.sql("select memo from payments where id = 8"), "invoice 8");
    assert_eq!(gate.sql("select doc from notes where id = 1"), r#"{"pan": "****", "ssn": "****", "tier": "gold"}"#);
    assert_eq!(
        gate.sql("select doc->>'ssn', plain, tags, words from notes where id = 1"),
        r#"****|{"n": "****"}|{red,****,NULL}|ssn ****"#
    );
    assert_eq!(gate.sql("select body from notes where id = 1"), "key ****, mail ****");
    let all =
        gate.sql("select jsonb_object_agg(id, doc), array_agg(words), (array_agg(n))[1] from notes n where id = 1");
    assert!(!all.contains(CARD) && !all.contains(SSN), "{all}");
    let refused = gate.postern.refused(&gate.token, "select memo::int from payments where id = 7");
    assert!(
        refused.contains("22P02") && refused.contains("refund to card ****") && !refused.contains(CARD),
        "{refused}"
    );
    // ordinary work is left alone
    assert_eq!(
        gate.sql("select '123-45-6789x', 'ticket@v2', version() like 'PostgreSQL%'"),
        "123-45-6789x|ticket@v2|t"
    );
    let tables = gate.sql("select count(*) > 50 from pg_catalog.pg_class");
    assert_eq!(tables, "t");
}

#[test]
fn rows_are_searched_also_where_the_client_asks_for_no_description() {
    let gate = gate("");
    let mut wire = gate.wire();
    let select = "select memo, id from payments where id = $1";
    wire.exchange(&[wire::parse("s", select), wire::sync()]);
    for (round, id) in ["7", "7", "8"].iter().enumerate() {
        let before = wire.received.len();
        let kinds = wire.exchange(&[
            wire::bind("", "s", false, &[Some(id.as_bytes())], round == 1),
            wire::execute("", 0),
            wire::sync(),
        ]);
        assert_eq!(kinds, "2DCZ", "round {round}");
        let text = String::from_utf8_lossy(&wire.received[before..]).into_owned();
        assert!(text.contains(if *id == "7" { "card ****" } else { "invoice 8" }) && !text.contains(CARD), "{text:?}");
    }
    // a portal in parts, and one that was never described, of a masked statement
    wire.exchange(&[wire::parse("m", "select ssn from customers where id < 4 order by id"), wire::sync()]);
    let kinds = wire.exchange(&[
        wire::bind("p", "m", false, &[], false),
        wire::execute("p", 1),
        wire::execute("p", 0),
        wire::sync(),
    ]);
    assert_eq!(kinds, "2DsDCZ");
    assert!(!String::from_utf8_lossy(&wire.received).contains("-45-"));
    // a cursor of SQL, run as a portal
    wire.query("begin");
    wire.query("declare c cursor for select memo from payments where id = 7");
    assert_eq!(wire.exchange(&[wire::execute("c", 0), wire::sync()]), "DCZ");
    wire.query("commit");
    assert!(!String::from_utf8_lossy(&wire.received).contains(CARD));
}

#[test]
fn placeholders_are_not_written_back() {
    let gate = gate("");
    for sql in [
        "update customers set ssn = '****' where id = 1",
        "update customers set card_number = '****7919' where id = 1",
        "insert into customers (id, name, email, ssn, card_number) values (99, 'n', 'e', '****', 'c')",
        "prepare p as update customers set ssn = $1 where id = 1; execute p('****')",
        "with x as (update customers set email = '****' where id = 1 returning id) select * from x",
    ] {
        let refused = gate.postern.refused(&gate.token, sql);
        assert!(refused.contains("42501") && refused.contains("builtin:placeholder"), "{sql}: {refused}");
    }
    let row = "98\tn\te98\t****\tc98\teu\t1\n";
    let (done, said) = gate.fed("copy customers from stdin", &format!("97\tn\te97\ts\tc97\teu\t1\n{row}"));
    assert!(!done && said.contains("placeholder of a mask"), "{said}");
    let (done, said) =
        gate.fed("copy customers (id, name, email, ssn, card_number) from stdin csv", "96,n,e96,s96,****12\n");
    assert!(!done && said.contains("placeholder of a mask"), "{said}");
    assert_eq!(gate.postgres.sql("select count(*) from customers where id > 40 or ssn like '%*%'"), "0");

    let mut wire = gate.wire();
    wire.exchange(&[wire::parse("u", "update customers set ssn = $1, name = $2 where id = 1"), wire::sync()]);
    let write = |wire: &mut Wire, ssn: &[u8], binary: bool| {
        wire.exchange(&[
            wire::bind("", "u", binary, &[Some(ssn), Some(b"New")], false),
            wire::execute("", 0),
            wire::sync(),
        ])
    };
    assert_eq!(write(&mut wire, b"****", false), "EZ");
    assert_eq!(write(&mut wire, b"****", true), "EZ");
    assert_eq!(write(&mut wire, b"123-45-6789", true), "2CZ");
    assert!(String::from_utf8_lossy(&wire.received).contains("builtin:placeholder"));
    // COPY in the extended protocol, and the session after it
    let kinds = wire.exchange(&[
        wire::parse("", "copy customers from stdin"),
        wire::bind("", "", false, &[], false),
        wire::execute("", 0),
        wire::sync(),
        wire::copy_data(row.as_bytes()),
        wire::copy_data(row.as_bytes()),
        wire::copy_done(),
        wire::sync(),
    ]);
    assert_eq!(kinds, "12GEZ");
    assert_eq!(wire.query("select 1"), "TDCZ");

    // real values, and placeholders where nothing is masked, go in
    gate.sql("update customers set ssn = '111-22-3333', card_number = '4111' where id = 2");
    gate.sql("update payments set memo = '****' where id = 3");
    let (done, said) = gate.fed("copy customers from stdin", "95\t****\te95\ts95\tc95\teu\t1\n");
    assert!(done, "{said}");
    assert_eq!(
        gate.postgres.sql("select name || ssn from customers where id in (1, 95) order by id"),
        "New123-45-6789\n****s95"
    );
}

/// What search says was found in the answer of the only statement that a question finds.
fn found_by(postern: &Postern, question: &str) -> String {
    let answer = postern.run(&["audit", "search", question, "-o", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let hits = answer["hits"].as_array().unwrap();
    let found = hits.iter().flat_map(|hit| hit["found"].as_array().unwrap());
    let told = found.map(|f| format!("{}:{}:{}", f["detector"], f["column"], f["values"]).replace('"', ""));
    told.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_detectors_found_is_told_and_the_value_is_not() {
    let gate = gate("");
    gate.sql("select id, memo as words from payments where id in (6, 7)");
    gate.sql("select doc, tags, body from notes order by id");
    gate.sql("copy (select id, words from notes order by id) to stdout");
    gate.sql(&format!("select 1 as \"{CARD}\", memo as \"see {CARD}\" from payments where id = 7"));
    gate.postern.refused(&gate.token, &format!("select '{CARD}'::text || missing from payments"));
    let mut wire = gate.wire();
    let kinds = wire.exchange(&[
        wire::parse("m", "select memo from payments where id = 7 union all select memo from payments where id = 7"),
        wire::bind("p", "m", false, &[], true),
        wire::execute("p", 1),
        wire::execute("p", 0),
        wire::sync(),
    ]);
    assert_eq!(kinds, "12DsDCZ");
    drop(wire);
    let postern = &gate.postern;
    let all = support::eventually("what was found is in the index", std::time::Duration::from_secs(20), || {
        (postern.found("found:pan") >= 5).then(|| postern.found("type:statement"))
    });
    assert!(all >= 6);
    assert_eq!(found_by(postern, "found:words found:pan"), "pan:words:1");
    assert_eq!(found_by(postern, "found:doc"), "pan:doc:1 ssn:doc:1 pan:tags:1 email:body:1 secret:body:1");
    assert_eq!(found_by(postern, "found:words kind:copy"), "ssn:words:1");
    assert_eq!(found_by(postern, "found:\"see ****\""), "pan:see ****:1");
    assert_eq!(found_by(postern, "found:memo protocol:extended"), "pan:memo:1 pan:memo:1");

    let session = postern.run(&["audit", "search", "found:doc", "-o", "json"]);
    let session: serde_json::Value = serde_json::from_str(&session).unwrap();
    let session = session["hits"][0]["session"].as_str().unwrap().to_owned();
    support::eventually("the session is archived", std::time::Duration::from_secs(20), || {
        let all = postern.run(&["session", "ls", "-o", "json"]);
        let all: serde_json::Value = serde_json::from_str(&all).unwrap();
        all.as_array().unwrap().iter().any(|s| s["session"] == session && s["status"] == "closed").then_some(())
    });
    let shown = postern.run(&["session", "show", &session]);
    assert!(shown.contains("email: 1, pan: 2, secret: 1, ssn: 1 values, hidden"), "{shown}");
    let shown = postern.run(&["session", "play", &session]);
    assert!(
        shown.contains(
            "found and hid pan in doc (1), ssn in doc (1), pan in tags (1), email in body (1), secret in body (1)"
        ),
        "{shown}"
    );
    let table = postern.run(&["audit", "search", "found:doc"]);
    assert!(table.contains("+email +pan +secret +ssn"), "{table}");
    let events = postern.events();
    assert!(!support::plain(&events).contains(SSN));
    let told: Vec<_> = events.iter().filter_map(|event| event["body"]["Completed"]["found"].as_array()).collect();
    assert!(told.iter().any(|found| !found.is_empty()), "{events:?}");
    assert!(!serde_json::to_string(&told).unwrap().contains(CARD));
}

#[test]
fn a_card_number_is_found_in_numbers() {
    let gate = gate("");
    let rows = "|\n1700000000000000|4929731608452299";
    assert_eq!(gate.sql("select wide, long from numbers order by id"), rows);
    assert_eq!(gate.sql("copy (select wide, long from numbers order by id) to stdout csv delimiter '|'"), rows);
    let mut wire = gate.wire();
    wire.exchange(&[
        wire::parse("", "select wide, long from numbers where id = 1"),
        wire::bind("", "", false, &[], true),
        wire::execute("", 0),
        wire::sync(),
    ]);
    let card = 4_929_731_608_452_298_i64.to_be_bytes();
    assert!(!wire.received.windows(8).any(|window| window == card));
    assert!(
        wire.received
            .windows(11)
            .any(|row| row == [b"D".as_slice(), &[0, 0, 0, 14, 0, 2, 255, 255, 255, 255]].concat())
    );
}

#[test]
fn detectors_can_be_chosen() {
    let gate = gate("detectors = { on = [\"ssn\"], skip = [\"public.notes.words\"], types = [\"text\"] }");
    assert_eq!(gate.sql("select memo from payments where id = 7"), format!("refund to card {CARD} by phone"));
    assert_eq!(gate.sql("select words from notes where id = 1"), format!("ssn {SSN}"));
    assert!(gate.sql("select doc from notes where id = 1").contains(SSN));
    assert_eq!(gate.sql("select words || '' from notes where id = 1"), "ssn ****");
}
