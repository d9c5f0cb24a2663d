//! The limits of a resource hold, each with an error that says which and what to do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use std::{
    process::Command,
    time::{Duration, Instant},
};
use support::{Postern, Postgres, cache, eventually, folder, root};
use wire::*;

struct Scene {
    postern: Postern,
    token: String,
    postgres: Postgres,
    _parts: (support::Process, tempfile::TempDir),
}

fn scene(limits: &str) -> Scene {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, &format!("limits = {{ {limits} }}"));
    let process = postern.start("up");
    let token = postern.token("busy-bot", "agents");
    Scene { postern, token, postgres, _parts: (process, folder) }
}

impl Scene {
    fn wire(&self) -> Wire {
        Wire::connect(self.postern.port, "agent", "shop", &self.token)
    }
}

fn run(sql: &str) -> Vec<Vec<u8>> {
    vec![parse("", sql), bind("", "", false, &[], false), execute("", 0), sync()]
}

/// The SQLSTATE of the error in an answer.
fn error(answer: &[(u8, Vec<u8>)]) -> String {
    let found = answer.iter().find(|(kind, _)| *kind == b'E').map(|(_, body)| body.clone()).unwrap_or_default();
    let state = found.split(|byte| *byte == 0).find(|field| field.first() == Some(&b'C'));
    state.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
}

#[test]
fn an_identity_has_so_many_sessions_at_once() {
    let scene = scene("sessions_per_identity = 2");
    let (first, _second) = (scene.wire(), scene.wire());
    let said = scene.postern.refused(&scene.token, "select 1");
    assert!(said.contains("2 sessions"), "{said}");
    let other = scene.postern.token("other-bot", "agents");
    assert_eq!(scene.postern.sql(&other, "select 1"), "1", "another identity has its own");
    drop(first);
    eventually("the place is free again", Duration::from_secs(10), || {
        scene.postern.psql(&scene.token, &["-c", "select 1"]).status.success().then_some(())
    });
}

#[test]
fn an_identity_runs_so_many_statements_a_second() {
    let scene = scene("statements_per_second = 5");
    let (mut one, mut two) = (scene.wire(), scene.wire());
    let began = Instant::now();
    let mut refused = 0;
    for round in 0..10 {
        let wire = if round % 2 == 0 { &mut one } else { &mut two };
        wire.send(&if round % 3 == 0 { run("select 1") } else { vec![query("select 1")] });
        let answer = wire.until(b'Z');
        if kinds(&answer).contains('E') {
            assert_eq!(error(&answer), "53400");
            refused += 1;
        }
    }
    // five at once, and five for each second that went by
    let passed = 10 - refused;
    assert!(passed >= 5 && passed <= 6 + began.elapsed().as_secs() * 5, "{passed} of 10 in {:?}", began.elapsed());
    eventually("the rate allows it again", Duration::from_secs(5), || (one.query("select 1") == "TDCZ").then_some(()));
    let said = (0..20).find_map(|_| {
        let output = scene.postern.psql(&scene.token, &["-c", "select 1; select 2; select 3"]);
        (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
    });
    let said = said.expect("psql is limited too");
    assert!(
        said.contains("5 statements a second") && said.contains("limit:rate") && said.contains("try again in"),
        "{said}"
    );
}

#[test]
fn a_statement_takes_so_long() {
    let scene = scene("statement_milliseconds = 300");
    let mut wire = scene.wire();
    for frames in [vec![query("select pg_sleep(20)")], run("select pg_sleep(20)")] {
        let began = Instant::now();
        wire.send(&frames);
        assert_eq!(error(&wire.until(b'Z')), "57014");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    for raise in [
        "set statement_timeout = 0",
        "set statement_timeout to '1h'",
        "set local statement_timeout = '301ms'",
        "select set_config('statement_timeout', '0', false)",
        "select 1; set statement_timeout = 0",
    ] {
        for frames in [vec![query(raise)], run(raise)] {
            wire.send(&frames);
            assert!(["42501", "42601"].contains(&error(&wire.until(b'Z')).as_str()), "{raise}");
        }
    }
    for lower in
        ["set statement_timeout = 100", "reset statement_timeout", "set statement_timeout = '200ms'", "discard all"]
    {
        assert_eq!(wire.query(lower), "CZ", "{lower}");
    }
    wire.send(&[query("select pg_sleep(20)")]);
    assert_eq!(error(&wire.until(b'Z')), "57014", "what the session began with is in force again");
}

#[test]
fn a_statement_returns_so_much() {
    let scene = scene("rows_per_statement = 1000, bytes_per_statement = 1000000");
    let mut wire = scene.wire();
    for sql in [
        "select g from generate_series(1, 1000) g",
        "copy (select g from generate_series(1, 1000) g) to stdout",
        "select repeat('x', 900000)",
    ] {
        assert!(wire.query(sql).ends_with("CZ"), "{sql}");
        assert!(wire.exchange(&run(sql)).ends_with("CZ"), "{sql}");
    }
    // each statement has its own
    assert_eq!(
        wire.query("select g from generate_series(1, 900) g; select g from generate_series(1, 900) g"),
        "TDCTDCZ"
    );
    for sql in TOO_MUCH {
        for frames in [vec![query(sql)], run(sql)] {
            wire.send(&frames);
            cut_off(&wire.until(b'Z'), sql, b'I');
            assert_eq!(wire.query("select 1"), "TDCZ", "{sql}: the session goes on");
        }
    }
    let said = scene.postern.refused(&scene.token, TOO_MUCH[0]);
    assert!(
        said.contains("may return 1000 rows") && said.contains("limit:rows") && said.contains("add a LIMIT"),
        "{said}"
    );
}

const TOO_MUCH: &[&str] = &[
    "select a from generate_series(1, 10000) a, generate_series(1, 10000) b",
    "select g from generate_series(1, 1001) g",
    "select c.id, c.ssn from customers c, generate_series(1, 1000)",
    "copy (select a from generate_series(1, 10000) a, generate_series(1, 10000) b) to stdout",
    "copy (select g from generate_series(1, 1001) g) to stdout",
    "select repeat('x', 90000) from generate_series(1, 12)",
    "copy (select repeat('x', 90000) from generate_series(1, 100000)) to stdout",
];

/// One error, behind no more rows than the limit, and the transaction in this state.
fn cut_off(answer: &[(u8, Vec<u8>)], what: &str, state: u8) {
    assert_eq!(error(answer), "53400", "{what}");
    let count = |kinds: &[u8]| answer.iter().filter(|(kind, _)| kinds.contains(kind)).count();
    assert!(count(b"Dd") <= 1000, "{what}: {} rows", count(b"Dd"));
    assert_eq!(count(b"E"), 1, "{what}: {}", kinds(answer));
    assert_eq!(answer.last().unwrap().1, [state], "{what}");
}

#[test]
fn what_is_cut_off_fails_its_transaction() {
    let scene = scene("rows_per_statement = 1000");
    scene.postgres.sql("create table kept (id int)");
    let mut wire = scene.wire();
    for sql in &TOO_MUCH[..5] {
        for frames in [vec![query(sql)], run(sql)] {
            assert_eq!(wire.query("begin"), "CZ");
            assert_eq!(wire.query("insert into kept values (1)"), "CZ");
            wire.send(&frames);
            cut_off(&wire.until(b'Z'), sql, b'E');
            wire.send(&[query("insert into kept values (2)")]);
            assert_eq!(error(&wire.until(b'Z')), "25P02", "{sql}");
            assert_eq!(wire.query("commit"), "CZ");
        }
        // the implicit transaction of a message, and of a window: what ran before is undone, what stands behind never runs
        wire.send(&[query(&format!("insert into kept values (3); {sql}; insert into kept values (4)"))]);
        let answer = wire.until(b'Z');
        cut_off(&answer, sql, b'I');
        let committed = answer.iter().any(|(kind, body)| *kind == b'E' && contains(body, "committed"));
        if !committed {
            assert_eq!(scene.postgres.sql("select count(*) from kept"), "0", "{sql}");
        }
        scene.postgres.sql("truncate kept");
        let one =
            |name: &str, sql: &str| [parse(name, sql), bind(name, name, false, &[], false), execute(name, 0)].concat();
        let window =
            [one("a", "insert into kept values (5)"), one("b", sql), one("c", "insert into kept values (6)"), sync()];
        wire.send(&[window.concat(), query("select 7")]);
        let answer = wire.until(b'Z');
        cut_off(&answer, sql, b'I');
        assert!(kinds(&answer).starts_with("12C12"), "{sql}: {}", kinds(&answer));
        assert_eq!(kinds(&wire.until(b'Z')), "TDCZ");
        assert_eq!(scene.postgres.sql("select count(*) from kept"), "0", "{sql}");
        assert!(wire.query("deallocate all").ends_with("CZ"));
    }
    // many windows at once: each has its own answer
    let windows: Vec<Vec<u8>> = (0..30).flat_map(|n| run(TOO_MUCH[n % 2]).into_iter().chain(run("select 1"))).collect();
    wire.send(&windows);
    for _ in 0..30 {
        cut_off(&wire.until(b'Z'), "pipelined", b'I');
        assert_eq!(kinds(&wire.until(b'Z')), "12DCZ");
    }
    // a row that is written and returned
    wire.send(&run("insert into kept select g from generate_series(1, 1001) g returning id"));
    cut_off(&wire.until(b'Z'), "returning", b'I');
    assert_eq!(scene.postgres.sql("select count(*) from kept"), "0");
    let said = scene.postern.psql(&scene.token, &["-At", "-c", TOO_MUCH[0], "-c", "select 'next'"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("next"), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn a_budget_beside_it_undoes_what_was_written() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql("create table kept (id int)");
    let more = "budget = { rows_per_transaction = 100000 }\nlimits = { rows_per_statement = 1000 }";
    let postern = Postern::configure(folder.path(), "gate", &postgres, more);
    let process = postern.start("up");
    let mut wire = Wire::connect(postern.port, "agent", "shop", &postern.token("busy-bot", "agents"));
    for count in [1001, 50000] {
        let write = format!("insert into kept select g from generate_series(1, {count}) g returning id");
        for frames in
            [vec![query(&write)], run(&write), vec![query(&format!("select 1 where false; {write}; select 2"))]]
        {
            wire.send(&frames);
            cut_off(&wire.until(b'Z'), &write, b'I');
            assert_eq!(wire.query("begin"), "CZ");
            wire.send(&frames);
            cut_off(&wire.until(b'Z'), &write, b'E');
            assert_eq!(wire.query("rollback"), "CZ");
        }
    }
    assert_eq!(postgres.sql("select count(*) from kept"), "0");
    assert_eq!(wire.query("insert into kept select g from generate_series(1, 10) g returning id"), "TDCZ");
    assert_eq!(postgres.sql("select count(*) from kept"), "10");
    process.stop();
}

#[test]
fn drivers_see_an_ordinary_error_of_what_is_cut_off() {
    let scene = scene("rows_per_statement = 1000");
    let database = format!(
        "host=127.0.0.1 port={} user=agent dbname=shop password={} sslmode=require",
        scene.postern.port, scene.token
    );
    let mut command = Command::new(cache().join("clients/venv/bin/python"));
    command.arg(root().join("deploy/postern/tests/clients/psycopg_limits.py")).arg(&database);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "42", "{}", String::from_utf8_lossy(&output.stderr));
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_user_name_may_claim_no_other_role_of_the_database() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql("create role boss; create role app");
    let postern = Postern::configure(folder.path(), "gate", &postgres, "users = [\"app\"]");
    let process = postern.start("up");
    let connect = |user: &str, subject: &str| {
        let token = postern.token(subject, "agents");
        let mut command = Command::new("psql");
        command.envs(postern.environment(&token)).env("PGUSER", user);
        let output = command.args(["-XAtqc", "select current_user"]).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), text.trim().to_owned())
    };
    // no role, the gate's own, one that is the identity's name, one of the config: all run as the gate's
    for (user, subject) in [("alice", "bot"), ("bot", "bot"), ("postgres", "bot"), ("boss", "boss"), ("app", "bot")] {
        assert_eq!(connect(user, subject), (true, "postgres".to_owned()), "{user}");
    }
    for user in ["boss", "pg_monitor"] {
        let (opened, said) = connect(user, "bot");
        assert!(!opened && said.contains("is a role of the database") && said.contains("\"bot\""), "{said}");
    }
    let refused = eventually("the refusal is recorded", Duration::from_secs(20), || {
        let events: Vec<String> = postern.events().iter().map(|event| event["body"].to_string()).collect();
        events.into_iter().find(|body| body.contains("SessionRefused") && body.contains("boss"))
    });
    assert!(refused.contains("28000") && refused.contains("\"subject\":\"bot\""), "{refused}");
    process.stop();
}
