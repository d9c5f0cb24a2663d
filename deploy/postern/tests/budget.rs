//! A budget of rows holds for what statements do, not for what they say: rows that a function, a trigger or a cascade
//! writes count like any others, nothing over the budget commits, and what is within it goes on as without a budget.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use std::process::Command;
use support::{Postern, Postgres, folder, root};
use wire::*;

/// 100 rows in each of two tables, the second referring to the first; ways to write that no syntax shows.
const SCHEMA: &str = "
create table item (id int primary key, n int not null default 0);
create table part (id int primary key, item int not null references item on delete cascade);
create table log (id serial primary key, note text);
create table later (id int primary key, item int references item deferrable initially deferred);
insert into item select g, g from generate_series(1, 100) g;
insert into part select g, g from generate_series(1, 100) g;
create function wipe(lowest int) returns bigint language sql as
  'with gone as (delete from part where id >= lowest returning 1) select count(*) from gone';
create function empty_part() returns void language plpgsql as $$ begin truncate part; end $$;
create function hold_back() returns void language plpgsql as
  $$ begin execute 'declare held cursor with hold for select wipe(1)'; end $$;
create function noisy() returns trigger language plpgsql as
  $$ begin insert into log(note) select 'x' from generate_series(1, 20); return new; end $$;
create table loud (id int); create trigger loud after insert on loud for each row execute function noisy();
create table slow (id int); create constraint trigger slow after insert on slow deferrable initially deferred
  for each row execute function noisy();
create procedure commits() language plpgsql as $$ begin delete from part; commit; end $$;
create procedure writes(rows int) language plpgsql as $$ begin delete from part where id <= rows; end $$;
";

struct Scene {
    postern: Postern,
    token: String,
    postgres: Postgres,
    _process: support::Process,
    folder: tempfile::TempDir,
}

/// A gate that hides nothing and guards nothing by the text, so that functions and DO are not denied for that.
fn scene(budget: &str) -> Scene {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql(SCHEMA);
    let postern = Postern::configure(folder.path(), "gate", &postgres, budget);
    let text = std::fs::read_to_string(&postern.config).unwrap();
    let (before, masking) = text.split_once("masking = [").unwrap();
    let after = masking.split_once("\n]\n").unwrap().1;
    // a budget holds what no guardrail sees; here none stands before it
    let off = "guardrails = { off = [\"guard:opaque\", \"guard:unbounded\", \"guard:truncate\", \"guard:drop\", \"guard:alter\", \"guard:notify\"] }";
    std::fs::write(&postern.config, format!("{before}\n{off}\n{after}")).unwrap();
    let process = postern.start("up");
    let token = postern.token("writing-bot", "agents");
    Scene { postern, token, postgres, _process: process, folder }
}

impl Scene {
    fn wire(&self) -> Wire {
        Wire::connect(self.postern.port, "agent", "shop", &self.token)
    }

    /// Rows of item, part and log, as the database has them.
    fn rows(&self) -> String {
        self.postgres.sql("select (select count(*) from item) || ' ' || (select count(*) from part) || ' ' || (select count(*) from log)")
    }
}

const BUDGET: &str = "budget = { rows_per_transaction = 10 }";
const UNTOUCHED: &str = "100 100 0";

/// Ways to write more than ten rows; each is tried in every protocol.
const OVER: &[(&str, &str)] = &[
    ("DELETE", "delete from part where id > 50"),
    ("UPDATE", "update item set n = 0 where id > 50"),
    ("INSERT", "insert into item select g from generate_series(1000, 1010) g"),
    ("RETURNING", "delete from part where id > 50 returning id"),
    ("a function", "select wipe(50)"),
    ("a function in VALUES", "values (wipe(50))"),
    ("a CTE", "with gone as (delete from part where id > 50 returning 1) select count(*) from gone"),
    ("MERGE", "merge into part p using item i on p.id = i.id when matched then delete"),
    ("DO", "do $$ begin perform wipe(1); end $$"),
    ("CALL", "call writes(50)"),
    ("a cascade", "delete from item where id <= 6"),
    ("a trigger", "insert into loud values (1)"),
    ("a deferred trigger", "insert into slow values (1)"),
    ("ON CONFLICT", "insert into item select g from generate_series(1, 11) g on conflict (id) do update set n = -1"),
    ("CREATE TABLE AS", "create table copied as select * from item"),
    ("EXPLAIN ANALYZE", "explain analyze delete from part"),
];

#[test]
fn nothing_over_the_budget_commits() {
    let scene = scene(BUDGET);
    let mut wire = scene.wire();
    let run = |sql: &str| [parse("", sql), bind("", "", false, &[], false), execute("", 0)];
    for (name, sql) in OVER {
        let mut over = |how: &str, work: &mut dyn FnMut(&mut Wire) -> String| {
            let kinds = work(&mut wire);
            assert!(kinds.ends_with("EZ"), "{name}, {how}: {kinds}");
            assert_eq!(scene.rows(), UNTOUCHED, "{name}, {how}");
            wire.send(&[query("select 1")]);
            let answer = wire.until(b'Z');
            let text = String::from_utf8_lossy(&answer[0].1);
            assert_eq!(wire::kinds(&answer), "TDCZ", "{name}, {how}: the session goes on: {text}");
            assert_eq!(answer.last().unwrap().1, b"I", "{name}, {how}");
        };
        over("simple", &mut |wire| wire.query(sql));
        over("extended", &mut |wire| wire.exchange(&[&run(sql)[..], &[sync()]].concat()));
        over("in a block", &mut |wire| {
            assert_eq!(wire.query("begin"), "CZ");
            let kinds = wire.query(sql);
            assert!(!kinds.contains('E'), "{name}: the statement itself is not over anything: {kinds}");
            wire.query("commit")
        });
        over("in one message", &mut |wire| wire.query(&format!("begin; {sql}; commit")));
        over("END, extended", &mut |wire| {
            wire.query("begin");
            wire.exchange(&[&run(sql)[..], &[sync()]].concat());
            wire.exchange(&[&run("end")[..], &[sync()]].concat())
        });
        over("a pipeline with BEGIN and COMMIT", &mut |wire| {
            wire.exchange(&[&run("begin")[..], &run(sql), &run("commit"), &[sync()]].concat())
        });
    }
    // the ordinary client's view of it
    let said = scene.postern.refused(&scene.token, "delete from part");
    for part in ["42501", "budget:rows", "100 rows", "10 rows", "HINT", "stm_"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    // and the record's
    let found = || scene.postern.found("verdict:deny");
    support::eventually("the denials are found", std::time::Duration::from_secs(20), || (found() >= 90).then_some(()));
}

#[test]
fn what_is_within_the_budget_commits() {
    let scene = scene(BUDGET);
    let mut wire = scene.wire();
    assert_eq!(wire.query("delete from part where id = 1"), "CZ");
    assert_eq!(wire.query("delete from part where id = 2 returning id"), "TDCZ");
    assert_eq!(wire.query("select wipe(99)"), "TDCZ");
    assert_eq!(scene.rows(), "100 96 0");
    assert_eq!(wire.query("begin; delete from part where id = 3; commit; delete from part where id = 4"), "CCCCZ");
    assert_eq!(scene.rows(), "100 94 0");
    // each transaction has its own budget, also within one message
    assert_eq!(
        wire.query("delete from part where id between 11 and 20; commit; delete from part where id between 21 and 30"),
        "CCCZ"
    );
    assert_eq!(wire.query("begin; delete from part where id between 31 and 40; commit and chain; delete from part where id between 41 and 50; commit"), "CCCCCZ");
    assert_eq!(scene.rows(), "100 54 0");
    // extended
    let run = |sql: &str| [parse("", sql), bind("", "", false, &[], false), execute("", 0)];
    assert_eq!(wire.exchange(&[&run("delete from part where id = 5")[..], &[sync()]].concat()), "12CZ");
    assert_eq!(
        wire.exchange(
            &[
                &run("delete from part where id = 6")[..],
                &run("select 1"),
                &run("insert into log values (default)"),
                &[sync()]
            ]
            .concat()
        ),
        "12C12DC12CZ"
    );
    assert_eq!(
        wire.exchange(&[&run("begin")[..], &run("delete from part where id = 7"), &run("commit"), &[sync()]].concat()),
        "12C12C12CZ"
    );
    assert_eq!(scene.rows(), "100 51 1");
    // two windows at once, the first over the budget
    wire.send(&[&run("delete from part")[..], &[sync()], &run("delete from part where id = 8"), &[sync()]].concat());
    assert_eq!(kinds(&wire.until(b'Z')), "12EZ");
    assert_eq!(kinds(&wire.until(b'Z')), "12CZ");
    assert_eq!(scene.rows(), "100 50 1");
    // what a savepoint's rollback undid still counts: the counters are of attempts
    assert_eq!(wire.query("begin"), "CZ");
    assert_eq!(wire.query("savepoint a"), "CZ");
    assert_eq!(wire.query("delete from part where id between 50 and 58"), "CZ");
    assert_eq!(wire.query("rollback to a"), "CZ");
    assert_eq!(wire.query("delete from part where id = 59"), "CZ");
    assert_eq!(wire.query("commit"), "CZ");
    assert_eq!(scene.rows(), "100 49 1");
    // rolled back by the client: nothing to count, and the next transaction begins anew
    assert_eq!(wire.query("begin; delete from part; rollback"), "CCCZ");
    assert_eq!(
        wire.query("begin; delete from part where id = 60; rollback and chain; delete from part where id = 61; commit"),
        "CCCCCZ"
    );
    // a failed statement, and what follows it
    assert_eq!(wire.query("delete from part where id = 62; select 1/0"), "CEZ");
    assert_eq!(wire.query("begin; delete from part where id = 62; select 1/0; commit"), "CCEZ");
    assert_eq!(wire.query("commit"), "CZ");
    assert_eq!(scene.rows(), "100 48 1");
    // COPY, both ways
    wire.send(&[query("copy log (note) from stdin")]);
    wire.until(b'G');
    wire.send(&[copy_data(b"a\nb\n"), copy_done()]);
    assert_eq!(kinds(&wire.until(b'Z')), "CZ");
    wire.send(&[&run("copy log (note) from stdin")[..], &[sync()]].concat());
    wire.until(b'G');
    wire.send(&[copy_data(&b"x\n".repeat(11)), copy_done(), sync()]);
    assert_eq!(kinds(&wire.until(b'Z')), "EZ");
    wire.send(&[query("copy log (note) from stdin")]);
    wire.until(b'G');
    wire.send(&[copy_data(&b"x\n".repeat(11)), copy_done()]);
    assert_eq!(kinds(&wire.until(b'Z')), "EZ");
    assert_eq!(wire.query("copy log to stdout"), "HdcCZ");
    assert_eq!(scene.rows(), "100 48 3");
    // the place of an error is the place in the message, and a commit's own error is the answer to the statement
    wire.send(&[query("begin; select 1; commit; select nothing_here")]);
    let error = wire.until(b'Z').into_iter().find(|(kind, _)| *kind == b'E').unwrap().1;
    assert!(String::from_utf8_lossy(&error).contains("\0P33\0"), "{}", String::from_utf8_lossy(&error));
    assert_eq!(wire.query("insert into later values (1, 4711)"), "EZ");
    assert_eq!(wire.exchange(&[&run("insert into later values (1, 4711)")[..], &[sync()]].concat()), "12EZ");
    assert_eq!(wire.query("begin; insert into later values (1, 4711)"), "CCZ");
    assert_eq!(wire.query("commit"), "EZ");
    assert_eq!(wire.query("select 1"), "TDCZ");
    // what is of the session works as ever
    for sql in [
        "set search_path = public",
        "prepare p as delete from part where id = 63",
        "execute p",
        "discard all",
        "listen x",
    ] {
        assert_eq!(wire.query(sql), "CZ", "{sql}");
    }
    assert_eq!(scene.rows(), "100 47 3");
    assert_eq!(scene.postgres.sql("select count(*) from pg_stat_activity where state like 'idle in%'"), "0");
}

#[test]
fn what_cannot_be_counted_does_not_run_or_commit() {
    let scene = scene(BUDGET);
    let mut wire = scene.wire();
    let run = |sql: &str| [parse("", sql), bind("", "", false, &[], false), execute("", 0), sync()];
    for sql in [
        "vacuum part",
        "truncate part",
        "drop table part",
        "call commits()",
        "do $$ begin delete from part; commit; end $$",
        "select empty_part()",
        "do $$ begin drop table part; end $$",
        "do $$ begin delete from part; truncate part; end $$",
        "create index concurrently on part (item)",
        "begin; prepare transaction 'x'",
        "select hold_back()",
        "begin; declare c cursor with hold for select wipe(1); commit",
        "set track_counts = off",
    ] {
        let kinds = wire.query(sql);
        assert!(kinds.ends_with("EZ"), "{sql}: {kinds}");
        wire.query("rollback");
        if !sql.starts_with("begin") {
            let kinds = wire.exchange(&run(sql));
            assert!(kinds.ends_with("EZ"), "{sql}, extended: {kinds}");
        }
        assert_eq!(scene.rows(), UNTOUCHED, "{sql}");
        assert_eq!(wire.query("select 1"), "TDCZ", "{sql}");
    }
    // COMMIT by another name
    wire.exchange(&[parse("c", "commit"), sync()]);
    assert_eq!(wire.query("begin"), "CZ");
    assert_eq!(wire.query("delete from part"), "CZ");
    assert_eq!(wire.query("execute c"), "EZ");
    wire.query("rollback");
    // a simple message in an open window
    let open =
        [parse("", "delete from part"), bind("", "", false, &[], false), execute("", 0), query("select 1"), sync()];
    assert!(wire.exchange(&open).ends_with("EZ"));
    assert_eq!(scene.rows(), UNTOUCHED);
    // a transaction that its client leaves is rolled back by PostgreSQL
    wire.query("begin; delete from part");
    drop(wire);
    let mut wire = scene.wire();
    assert_eq!(wire.query("create table own (id int); insert into own values (1); truncate own"), "EZ");
    assert_eq!(wire.query("create table own (id int)"), "CZ");
    assert_eq!(wire.query("alter table own add column n int; create index on own (n)"), "CCZ");
    assert_eq!(scene.rows(), UNTOUCHED);
}

#[test]
fn a_session_has_a_budget_too() {
    let scene = scene("budget = { rows_per_session = 10 }");
    let mut wire = scene.wire();
    let run = |sql: &str| [parse("", sql), bind("", "", false, &[], false), execute("", 0), sync()];
    assert_eq!(wire.query("delete from part where id <= 4"), "CZ");
    assert_eq!(wire.query("begin; delete from part where id = 5; rollback"), "CCCZ");
    assert_eq!(wire.exchange(&run("delete from part where id in (5, 6)")), "12CZ");
    assert_eq!(wire.query("begin; delete from part where id in (7, 8); commit"), "CCCZ");
    assert_eq!(wire.query("delete from part where id in (9, 10, 11)"), "EZ");
    assert_eq!(wire.query("delete from part where id in (9, 10)"), "CZ");
    assert_eq!(wire.query("delete from part where id = 11"), "EZ");
    assert_eq!(wire.query("select count(*) from part"), "TDCZ");
    assert_eq!(scene.rows(), "100 90 0");
    assert_eq!(scene.wire().query("delete from part where id = 11"), "CZ", "another session has its own");
}

#[test]
fn ordinary_clients_see_ordinary_errors() {
    let scene = scene(BUDGET);
    let script = scene.folder.path().join("suite.py");
    std::fs::copy(root().join("deploy/postern/tests/clients/psycopg_budget.py"), &script).unwrap();
    let cache = std::env::var_os("POSTERN_CACHE")
        .map_or_else(|| std::path::PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/postern"), Into::into);
    let mut command = Command::new(cache.join("clients/venv/bin/python"));
    let output = command.arg(script).envs(scene.postern.environment(&scene.token)).output().unwrap();
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("all passed"), "{text}\n{said}");
}
