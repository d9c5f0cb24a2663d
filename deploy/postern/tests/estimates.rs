//! What the planner expects of a statement decides: through policies and limits, on every way a statement can come, without
//! running it, without touching what is the client's, and with an error of its own where there is no estimate.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use std::time::Duration;
use support::{Postern, Postgres, eventually, folder};
use wire::*;

struct Scene {
    postern: Postern,
    token: String,
    postgres: Postgres,
    folder: tempfile::TempDir,
    process: support::Process,
}

const POLICIES: &str = r#"
@id("team:all") permit (principal, action, resource);
@id("team:large") @reason("too many rows") @hint("add a LIMIT")
forbid (principal, action in Action::"work", resource)
when { context has estimated_rows && context.estimated_rows > 500 };
"#;

fn scene(more: &str, policies: bool) -> Scene {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql(
        "create table wide (id int primary key, kind int, note text);
         insert into wide select g, g % 4, 'note ' || g from generate_series(1, 20000) g;
         create table few (id int primary key, note text); insert into few values (1, 'one'), (2, 'two');
         create schema other; create table other.few as select * from wide;
         analyze",
    );
    let mut config = more.to_owned();
    if policies {
        std::fs::write(folder.path().join("team.cedar"), POLICIES).unwrap();
        config = format!("policies = [\"{}\"]\n{more}", folder.path().join("team.cedar").display());
    }
    let postern = Postern::configure(folder.path(), "gate", &postgres, &config);
    postern.without_guardrails();
    let process = postern.start("up");
    let token = postern.token("reader-bot", "agents");
    Scene { postern, token, postgres, folder, process }
}

impl Scene {
    fn wire(&self) -> Wire {
        Wire::connect(self.postern.port, "agent", "shop", &self.token)
    }
}

fn run(sql: &str) -> Vec<Vec<u8>> {
    vec![parse("", sql), bind("", "", false, &[], false), execute("", 0), sync()]
}

fn field(answer: &[(u8, Vec<u8>)], code: u8) -> String {
    let found = answer.iter().find(|(kind, _)| *kind == b'E').map(|(_, body)| body.clone()).unwrap_or_default();
    let text = found.split(|byte| *byte == 0).find(|field| field.first() == Some(&code));
    text.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
}

/// The answer's kinds, or the policy that denied it.
fn outcome(answer: &[(u8, Vec<u8>)]) -> String {
    if !kinds(answer).contains('E') {
        return kinds(answer).replace(['D', 'd'], "");
    }
    let detail = field(answer, b'D');
    let policy = detail.trim_start_matches("Decided by policy ").split([',', '.']).next().unwrap().to_owned();
    format!("{} {policy} {}", field(answer, b'C'), kinds(answer).chars().last().unwrap())
}

#[test]
fn a_policy_judges_by_the_estimate_on_every_way() {
    let scene = scene("", true);
    let mut wire = scene.wire();
    let mut ask = |frames: Vec<Vec<u8>>| {
        wire.send(&frames);
        outcome(&wire.until(b'Z'))
    };
    let large = "42501 team:large Z";
    for _ in 0..2 {
        assert_eq!(ask(vec![query("select * from few")]), "TCZ");
        assert_eq!(ask(vec![query("select * from wide")]), large);
        assert_eq!(ask(run("select * from few")), "12CZ");
        assert_eq!(ask(run("select * from wide")), large);
    }
    // rows that are written count, those that are read to be counted do not
    assert_eq!(ask(vec![query("select count(*) from wide")]), "TCZ");
    assert_eq!(ask(vec![query("update wide set kind = 0 where id > 10")]), large);
    assert_eq!(
        ask(vec![query("with w as (update wide set kind = 0 where id > 0 returning 1) select count(*) from w")]),
        large
    );
    assert_eq!(ask(vec![query("insert into few select id + 10, note from wide")]), large);
    assert_eq!(ask(vec![query("insert into few values (3, 'three')")]), "CZ");
    assert_eq!(ask(vec![query("create table copied as select * from wide")]), large);
    // comments, several statements, PREPARE, cursors
    assert_eq!(ask(vec![query("/* a */ select 1 -- b"),]), "TCZ");
    assert_eq!(ask(vec![query("select 1; select * from few; -- the end")]), "TCTCZ");
    assert_eq!(ask(vec![query("select 1; select * from wide")]), large);
    assert_eq!(ask(vec![query("begin; select * from few; commit")]), "CTCCZ");
    assert_eq!(ask(vec![query("prepare p(int) as select * from wide where id < $1")]), "CZ");
    assert_eq!(ask(vec![query("execute p(10)")]), "TCZ");
    assert_eq!(ask(vec![query("execute p(19000)")]), large);
    assert_eq!(ask(vec![query("begin"),]), "CZ");
    assert_eq!(ask(vec![query("declare c cursor for select * from few")]), "CZ");
    assert_eq!(ask(vec![query("fetch all from c")]), "TCZ");
    assert_eq!(ask(vec![query("declare d cursor for select * from wide")]), large);
    assert_eq!(ask(vec![query("rollback")]), "CZ");
    // what has no plan of its own to ask for
    for sql in ["copy wide to stdout", "copy (select * from few) to stdout", "explain analyze select 1"] {
        assert_eq!(ask(vec![query(sql)]), "42501 limit:estimate Z", "{sql}");
        assert_eq!(ask(run(sql)), "42501 limit:estimate Z", "{sql}");
    }
    for sql in
        ["set search_path = public", "show search_path", "explain select * from wide", "create temp table t (a int)"]
    {
        assert!(!ask(vec![query(sql)]).contains("42"), "{sql}");
    }
    assert_eq!(scene.postgres.sql("select count(*) from few"), "3");
    assert_eq!(
        scene.postgres.sql("select count(*) from wide where kind = 0"),
        "5000",
        "nothing was run to be estimated"
    );
}

#[test]
fn bound_values_types_and_names_are_the_clients() {
    let scene = scene("", true);
    let mut wire = scene.wire();
    let select = "select id, note from wide where id < $1";
    // the unnamed statement is parsed once and bound again and again: the question takes it from nobody
    wire.send(&[parse("", select), sync()]);
    assert_eq!(kinds(&wire.until(b'Z')), "1Z");
    for (value, expected) in [("5", "2DCZ"), ("19000", "EZ"), ("3", "2DCZ")] {
        wire.send(&[bind("", "", false, &[Some(value.as_bytes())], false), execute("", 0), sync()]);
        assert_eq!(kinds(&wire.until(b'Z')), expected, "{value}");
    }
    // binary values, a type that the client states, a portal that goes on behind the question
    let typed = |text: &str| {
        let mut frame = Vec::new();
        let body = [b"s\0", text.as_bytes(), &[0, 0, 1], &23u32.to_be_bytes()].concat();
        frame.push(b'P');
        frame.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        frame.extend(body);
        frame
    };
    wire.send(&[typed("select id from wide where id = $1 or id = $1 + 1 order by id"), sync()]);
    assert_eq!(kinds(&wire.until(b'Z')), "1Z");
    wire.send(&[query("begin")]);
    wire.until(b'Z');
    wire.send(&[
        bind("one", "s", true, &[Some(&7i32.to_be_bytes())], true),
        execute("one", 1),
        bind("two", "s", true, &[Some(&9i32.to_be_bytes())], false),
        execute("two", 0),
        execute("one", 0),
        sync(),
    ]);
    assert_eq!(kinds(&wire.until(b'Z')), "2Ds2DCDCZ");
    // denied within a transaction: it is failed, on both sides
    wire.send(&[parse("", "select * from wide"), bind("", "", false, &[], false), execute("", 0), sync()]);
    let answer = wire.until(b'Z');
    assert_eq!((kinds(&answer).as_str(), answer.last().unwrap().1.as_slice()), ("1EZ", b"E".as_slice()));
    wire.send(&[query("select 1")]);
    assert_eq!(field(&wire.until(b'Z'), b'C'), "25P02");
    wire.send(&[query("select * from few")]);
    assert_eq!(field(&wire.until(b'Z'), b'C'), "25P02");
    wire.send(&run("select * from few"));
    assert_eq!(field(&wire.until(b'Z'), b'C'), "25P02");
    assert_eq!(wire.query("rollback"), "CZ");
    // several statements in one window, and several windows at once
    wire.send(&[
        parse("a", "select 1"),
        bind("", "a", false, &[], false),
        execute("", 0),
        parse("b", "insert into few values (77, 'x')"),
        bind("", "b", false, &[], false),
        execute("", 0),
        parse("c", "select * from wide"),
        bind("", "c", false, &[], false),
        execute("", 0),
        sync(),
    ]);
    assert_eq!(kinds(&wire.until(b'Z')), "12DC12C1EZ");
    assert_eq!(scene.postgres.sql("select count(*) from few where id = 77"), "0", "the window's transaction is undone");
    let window = |sql: &str| [parse("", sql), bind("", "", false, &[], false), execute("", 0), sync()].concat();
    wire.send(&[[
        window("select 1"),
        window("select * from wide"),
        window("insert into few values (78, 'y')"),
        window("select 2"),
    ]
    .concat()]);
    let answers: Vec<String> = (0..4).map(|_| kinds(&wire.until(b'Z'))).collect();
    assert_eq!(answers, ["12DCZ", "1EZ", "12CZ", "12DCZ"]);
    // the gate's names stay out of sight
    assert_eq!(wire.query("select name from pg_prepared_statements where name like 'postern%'"), "TCZ");
}

#[test]
fn an_estimate_is_of_what_runs() {
    let scene = scene("", true);
    let mut wire = scene.wire();
    let mut ask = |sql: &str| {
        wire.send(&[query(sql)]);
        outcome(&wire.until(b'Z'))
    };
    let large = "42501 team:large Z";
    assert_eq!(ask("select * from few"), "TCZ");
    assert_eq!(ask("set search_path = other, public"), "CZ");
    assert_eq!(ask("select * from few"), large, "the same text is another table now");
    assert_eq!(ask("reset search_path"), "CZ");
    assert_eq!(ask("create temp table wide (id int)"), "CZ");
    assert_eq!(ask("select * from wide where id = 0"), "TCZ");
    assert_eq!(ask("set search_path = other, public; select * from few"), "42501 limit:estimate Z");
    assert_eq!(
        ask("select set_config('search_path', 'other, public', false); select * from few"),
        "42501 limit:estimate Z"
    );
    // errors of the statement are errors of the statement
    wire.send(&[query("select id from few where note = 7")]);
    let answer = wire.until(b'Z');
    assert_eq!((field(&answer, b'C').as_str(), field(&answer, b'M').contains("text = integer")), ("42883", true));
    wire.send(&run("select id / 0 from few where id = 'x'"));
    assert_eq!(field(&wire.until(b'Z'), b'C'), "22P02");
    // a portal is what it was when it was bound
    wire.send(&[query("begin")]);
    wire.until(b'Z');
    wire.send(&[query("set local search_path = other, public")]);
    wire.until(b'Z');
    wire.send(&[parse("", "select * from few"), bind("p", "", false, &[], false), sync()]);
    assert_eq!(outcome(&wire.until(b'Z')), large);
    assert_eq!(wire.query("rollback"), "CZ");
}

#[test]
fn an_estimate_that_cannot_be_had_in_time_denies() {
    let scene = scene("estimates = { milliseconds = 300 }", true);
    let mut blocker = scene
        .postgres
        .psql()
        .args(["-X", "-c", "begin; lock table few in access exclusive mode; select pg_sleep(60)"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("the table is locked", Duration::from_secs(20), || {
        let held = scene
            .postgres
            .sql("select count(*) from pg_locks where mode = 'AccessExclusiveLock' and relation = 'few'::regclass");
        (held != "0").then_some(())
    });
    let mut wire = scene.wire();
    for frames in [vec![query("select * from few")], run("select * from few where id = 1")] {
        wire.send(&frames);
        let answer = wire.until(b'Z');
        assert_eq!(outcome(&answer), "42501 limit:estimate Z");
        assert!(field(&answer, b'M').contains("300 ms"), "{}", field(&answer, b'M'));
        assert_eq!(wire.query("select 1"), "TDCZ", "the session goes on");
    }
    wire.send(&[query("begin")]);
    wire.until(b'Z');
    wire.send(&[query("select * from few")]);
    assert_eq!(wire.until(b'Z').last().unwrap().1, b"E");
    assert_eq!(wire.query("rollback"), "CZ");
    blocker.kill().unwrap();
    blocker.wait().unwrap();
    scene.postgres.sql("select count(pg_terminate_backend(pid)) from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid()");
    eventually("the table is free", Duration::from_secs(20), || {
        (wire.query("select * from few") == "TDCZ").then_some(())
    });
}

#[test]
fn thresholds_of_the_config_need_no_policy_and_verdicts_record_estimates() {
    let scene = scene("estimates = { rows = 1000, cost = 100000 }", false);
    let postern = &scene.postern;
    assert_eq!(postern.sql(&scene.token, "select count(*) from few"), "1".replace('1', "2"));
    let said = postern.refused(&scene.token, "select * from wide");
    assert!(
        said.contains("42501") && said.contains("estimated to return or write 20000 rows") && said.contains("1000"),
        "{said}"
    );
    let said = postern.refused(&scene.token, "select count(*) from wide a, wide b");
    assert!(said.contains("estimated cost"), "{said}");
    let said = postern.refused(&scene.token, "copy wide to stdout");
    assert!(said.contains("limit:estimate"), "{said}");
    // a hold by estimate, with the policies that ship
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/policies");
    for file in ["analyst.cedar", "estimates.cedar"] {
        std::fs::copy(format!("{shipped}/{file}"), scene.folder.path().join(file)).unwrap();
    }
    let Scene { postern, process, postgres, folder, .. } = scene;
    process.stop();
    let files = format!("policies = [\"{0}/analyst.cedar\", \"{0}/estimates.cedar\"]", folder.path().display());
    postern.change("estimates = { rows = 1000, cost = 100000 }", &files);
    postern.change("connect_groups = [\"agents\"]", "connect_groups = [\"analysts\"]");
    let process = postern.start("up");
    let token = postern.token("ana", "analysts");
    assert_eq!(postern.sql(&token, "select id from few where id = 1"), "1");
    let said = postern.refused(&token, "select * from wide");
    assert!(said.contains("estimates:large-read") && said.contains("needs approval by data-owners"), "{said}");
    assert_eq!(postern.sql(&token, "select count(*) from (select * from wide limit 10) w"), "10");
    assert_eq!(postern.sql(&token, "explain (costs off) select * from few"), "Seq Scan on few");
    drop(postgres);
    let flags = eventually("the verdict is in the archive", Duration::from_secs(20), || {
        let verdicts: Vec<String> = postern.events().iter().map(|event| event["body"].to_string()).collect();
        verdicts.into_iter().find(|body| body.contains("estimates:large-read"))
    });
    assert!(flags.contains("estimate:rows=20000") && flags.contains("estimate:cost="), "{flags}");
    process.stop();
}
