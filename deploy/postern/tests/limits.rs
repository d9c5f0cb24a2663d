//! The limits of a resource hold, each with an error that says which and what to do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use std::time::{Duration, Instant};
use support::{Postern, Postgres, eventually, folder};
use wire::*;

struct Scene {
    postern: Postern,
    token: String,
    _parts: (support::Process, Postgres, tempfile::TempDir),
}

fn scene(limits: &str) -> Scene {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, &format!("limits = {{ {limits} }}"));
    let process = postern.start("up");
    let token = postern.token("busy-bot", "agents");
    Scene { postern, token, _parts: (process, postgres, folder) }
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
    for sql in [
        "select g from generate_series(1, 100000) g",
        "select c.id, c.ssn from customers c, generate_series(1, 1000)",
        "copy (select g from generate_series(1, 1001) g) to stdout",
        "select repeat('x', 90000) from generate_series(1, 12)",
    ] {
        for frames in [vec![query(sql)], run(sql)] {
            let mut wire = scene.wire();
            wire.send(&frames);
            let answer = wire.until(b'E');
            assert_eq!(error(&answer), "53400", "{sql}");
            let rows = answer.iter().filter(|(kind, _)| matches!(kind, b'D' | b'd')).count();
            assert!(rows <= 1000, "{sql}: {rows} rows");
            wire.drain();
        }
    }
}
