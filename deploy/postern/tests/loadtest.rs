//! Captured sessions sent again by `postern loadtest replay`: as recorded, ten times as fast, without pauses; directly
//! and through the gate; the database restored before each. The answers are the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use std::{process::Command, time::Duration};
use support::{Postern, Postgres, eventually, folder};
use wire::*;

/// What psycopg does; binary binds, COPY both ways, pipeline, errors, writes.
const PSYCOPG: &str = r"
import psycopg
with psycopg.connect('') as db:
    db.execute('create table if not exists notes (id int primary key, body text, at timestamptz, raw bytea)')
    db.commit()
    with db.cursor(binary=True) as cursor:
        for n in range(20):
            cursor.execute('insert into notes values (%b, %b, %s, %b)', (n, 'note %d' % n, '2026-01-01', bytes([n, 0, 255])))
        cursor.execute('select id, body, raw from notes where id = any(%b) order by id', ([1, 5, 9],))
        assert [row[0] for row in cursor.fetchall()] == [1, 5, 9]
        cursor.execute('select id, name, card_number, email from customers where id < %b order by id', (4,))
        assert '4929' not in str(cursor.fetchall())
    db.commit()
    with db.cursor() as cursor:
        with cursor.copy('copy notes (id, body) from stdin') as copy:
            for n in range(100, 400):
                copy.write_row((n, 'copied %d' % n))
        with cursor.copy('copy payments to stdout') as copy:
            assert sum(len(bytes(part)) for part in copy) > 1000
    db.commit()
    for sql in ['select 1/0', 'insert into notes values (1)', 'select nothing from nowhere', 'select id from customers order by ssn']:
        try:
            db.execute(sql)
            raise SystemExit('no error: ' + sql)
        except psycopg.Error:
            db.rollback()
    with db.pipeline():
        for n in range(30):
            db.execute('update payments set amount = amount + 1 where id = %s', (n,))
    db.commit()
    assert db.execute('select count(*), sum(amount) from payments').fetchone()[0] == 400
    db.execute('delete from notes where id > 200')
";

/// The same by hand: exact frames, binary binds in a named statement, a COPY that is given up, a failed transaction.
fn by_hand(wire: &mut Wire) {
    assert_eq!(wire.query("create table marks (id int8 primary key, value float8, note text)"), "CZ");
    let sql = "insert into marks values ($1, $2, $3) returning id, value";
    assert_eq!(wire.exchange(&[parse("mark", sql), describe_statement("mark"), sync()]), "1tTZ");
    for id in 1..=50i64 {
        let value = (id as f64 / 7.0).to_be_bytes();
        let values: [Option<&[u8]>; 3] = [Some(&id.to_be_bytes()), Some(&value), (id % 5 > 0).then_some(b"note")];
        assert_eq!(wire.exchange(&[bind("", "mark", true, &values, true), execute("", 0), sync()]), "2DCZ");
    }
    wire.send(&[query("copy marks from stdin")]);
    wire.until(b'G');
    assert_eq!(wire.exchange(&[copy_data(b"1000\t1.5\tcopied\n"), copy_data(b"1001\t\\N\t\\N\n"), copy_done()]), "CZ");
    wire.send(&[query("copy marks from stdin")]);
    wire.until(b'G');
    assert_eq!(wire.exchange(&[copy_data(b"1002\t2\tx\n"), copy_fail("given up")]), "EZ");
    assert_eq!(
        wire.query("begin; update marks set value = 0 where id < 10; select * from marks where id = 3"),
        "CCTDCZ"
    );
    assert_eq!(wire.query("insert into marks values (1, 1, 'again')"), "EZ");
    assert_eq!(wire.query("select 1"), "EZ");
    assert_eq!(wire.query("rollback"), "CZ");
    assert_eq!(wire.query("select count(*), sum(value) from marks; delete from marks where id > 40"), "TDCCZ");
    assert_eq!(wire.query("copy marks to stdout (format binary)"), "HdcCZ");
    assert_eq!(wire.query("select name, card_number from customers order by id limit 3"), "TDCZ");
    assert_eq!(wire.query("copy (select id from customers where ssn = '1') to stdout"), "EZ");
}

fn restore(postgres: &Postgres) {
    let template = |sql: &str| {
        let mut command = postgres.psql();
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", sql]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    };
    template("drop database if exists shop with (force)");
    template("create database shop template shop_before");
}

fn sessions(postern: &Postern) -> Vec<String> {
    let text = postern.run(&["session", "ls", "--identity", "captured", "-o", "json"]);
    let ended = |session: &serde_json::Value| !session["closed"].is_null();
    let sessions: Vec<serde_json::Value> = match serde_json::from_str(&text).unwrap() {
        serde_json::Value::Array(sessions) => sessions,
        other => vec![other],
    };
    sessions.iter().filter(|s| ended(s)).map(|s| s["session"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_captured_session_is_answered_the_same() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let made =
        postgres.psql().args(["-XAtq", "-d", "postgres", "-c", "create database shop_before template shop"]).status();
    assert!(made.unwrap().success());
    let postern = Postern::configure(folder.path(), "gate", &postgres, "");
    postern.without_guardrails();
    let process = postern.start("up");
    let token = postern.token("captured", "agents");

    let cache = std::env::var_os("POSTERN_CACHE")
        .map_or_else(|| std::path::PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/postern"), Into::into);
    let mut python = Command::new(cache.join("clients/venv/bin/python"));
    let output =
        python.envs(postern.environment(&token)).arg("-c").arg(PSYCOPG).output().expect("deploy/test installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let psycopg = eventually("the session is archived", Duration::from_secs(20), || sessions(&postern).pop());
    restore(&postgres);
    let mut client = Wire::connect(postern.port, "agent", "shop", &token);
    by_hand(&mut client);
    client.send(&[terminate()]);
    client.drain();
    let by_hand = eventually("the session is archived", Duration::from_secs(20), || {
        sessions(&postern).into_iter().find(|session| *session != psycopg)
    });

    let secrets = [
        support::secret_file(folder.path(), "direct-password", &postgres.password),
        support::secret_file(folder.path(), "token", &postern.token("load", "agents")),
    ];
    let targets = [postgres.port, postern.port].map(|port| format!("127.0.0.1:{port}"));
    for (name, session) in [("psycopg", &psycopg), ("by hand", &by_hand)] {
        for (place, arguments) in
            [&["--direct", "--plaintext", "--user", "postgres", "--database", "shop"][..], &[][..]]
                .into_iter()
                .enumerate()
        {
            for speed in ["1", "10", "0"] {
                restore(&postgres);
                let secret = secrets[place].to_str().unwrap();
                let mut all = vec!["loadtest", "replay", "--session", session, "--target", &targets[place]];
                all.extend(["--speed", speed, "--password-file", secret, "-o", "json"]);
                all.extend(arguments);
                let report: serde_json::Value = serde_json::from_str(&postern.run(&all)).unwrap();
                println!(
                    "{name}, {}, speed {speed}: {:.3} s, {} equal, {} differing, {} masked, {} skipped; {} statements, \
                     p50 {} us, p99 {} us",
                    ["direct", "gate"][place],
                    report["seconds"].as_f64().unwrap(),
                    report["equal"],
                    report["differing"],
                    report["masked"],
                    report["skipped"],
                    report["total"]["count"],
                    report["total"]["p50"],
                    report["total"]["p99"],
                );
                assert_eq!(report["differing"], 0, "{report}");
                let (masked, skipped) = (report["masked"].as_u64().unwrap(), report["skipped"].as_u64().unwrap());
                assert_eq!((masked > 0, skipped > 0), (place == 0, place == 0), "{report}");
                assert!(
                    report["equal"].as_u64().unwrap() > 30 && report["total"]["count"].as_u64().unwrap() > 60,
                    "{report}"
                );
            }
        }
    }
    // a database in another state is noticed
    let token = secrets[1].to_str().unwrap();
    let arguments = [
        "loadtest",
        "replay",
        "--session",
        &by_hand,
        "--target",
        &targets[1],
        "--speed",
        "0",
        "--password-file",
        token,
    ];
    let again = postern.command(&arguments).output().unwrap();
    let text = String::from_utf8_lossy(&again.stdout);
    assert_eq!(again.status.code(), Some(5), "{text}");
    assert!(text.contains("p99.9") && text.contains("differing"), "{text}");
    println!("{text}");
    process.stop();
}
