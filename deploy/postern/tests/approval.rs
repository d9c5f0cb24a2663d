//! Held statements with real clients and a real database: who may answer, what an answer releases, and what ends a hold
//! without one. CTL-1.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use serde_json::{Value, json};
use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use support::{Postern, Postgres, cache, eventually, folder, root};
use wire::*;

const SOON: Duration = Duration::from_secs(20);

const POLICIES: &str = r#"
@id("team:all") permit (principal, action, resource);
@id("team:stock") @hold("data-owners") @reason("stock is counted") @hint("ask a data owner")
forbid (principal, action == Action::"delete", resource == Table::"public.stock")
unless { context.approved };
@id("team:read") @hold("data-owners")
forbid (principal, action == Action::"select", resource == Table::"public.secret_plan")
unless { context.approved };
@id("team:two") @hold("data-owners") @approvals("2") @reason("two must agree")
forbid (principal, action == Action::"delete", resource == Table::"public.vault")
unless { context.approved };
"#;

struct Scene {
    postern: Postern,
    token: String,
    reviewer: String,
    postgres: Postgres,
    folder: tempfile::TempDir,
    _process: support::Process,
}

fn scene(holds: &str) -> Scene {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql(
        "create table stock (id int primary key, note text); insert into stock select g, 'n' from generate_series(1, 100) g;
         create table secret_plan as select 42 as answer; create table vault as select 1 as id; analyze",
    );
    let policies = folder.path().join("team.cedar");
    std::fs::write(&policies, POLICIES).unwrap();
    let postern =
        Postern::configure(folder.path(), "gate", &postgres, &format!("policies = [\"{}\"]\n", policies.display()));
    postern.without_guardrails();
    postern.change("[holds]\nenabled = false\n", &format!("[holds]\nmax_held_per_identity = 1000\n{holds}\n"));
    let process = postern.start("up");
    let (token, reviewer) = (postern.token("stock-bot", "agents"), postern.token("olga", "data-owners"));
    Scene { postern, token, reviewer, postgres, folder, _process: process }
}

impl Scene {
    fn api(&self, token: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.postern.ask(token, path, body)
    }

    /// The open holds that the reviewer sees, once there are so many.
    fn open(&self, count: usize) -> Vec<Value> {
        eventually("statements are held", SOON, || {
            let (status, list) = self.api(&self.reviewer, "/api/v1/holds?open=true&limit=500", None);
            assert_eq!(status, 200, "{list}");
            let holds = list["holds"].as_array().unwrap().clone();
            (holds.len() == count).then_some(holds)
        })
    }

    fn one(&self) -> Value {
        self.open(1).remove(0)
    }

    fn answer(&self, token: &str, hold: &Value, approve: bool) -> (u16, Value) {
        let body = json!({"approve": approve, "digest": hold["digest"], "reason": "ticket 7"});
        self.api(token, &format!("/api/v1/holds/{}/review", hold["id"].as_str().unwrap()), Some(&body))
    }

    fn approve(&self, hold: &Value) {
        let (status, said) = self.answer(&self.reviewer, hold, true);
        assert_eq!(status, 200, "{said}");
    }

    fn state(&self, hold: &Value, wanted: &str) -> Value {
        eventually(&format!("the hold is {wanted}"), SOON, || {
            let (_, now) = self.api(&self.reviewer, &format!("/api/v1/holds/{}", hold["id"].as_str().unwrap()), None);
            (now["state"] == wanted).then_some(now)
        })
    }

    fn psql(&self, sql: &str) -> Child {
        let mut command = Command::new("psql");
        command.envs(self.postern.environment(&self.token)).args(["-XAtq", "-v", "VERBOSITY=verbose", "-c", sql]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.postern.metrics);
        ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap()
    }

    fn wire(&self) -> Wire {
        Wire::connect(self.postern.port, "agent", "shop", &self.token)
    }

    fn left(&self) -> String {
        self.postgres.sql("select count(*) from stock")
    }

    /// What the system says of the gate's process: its folder under /proc, and its status.
    fn of_gate(&self) -> (std::path::PathBuf, String) {
        let folder = std::path::PathBuf::from(format!("/proc/{}", self._process.pid()));
        let status = std::fs::read_to_string(folder.join("status")).unwrap();
        (folder, status)
    }
}

fn texts(child: Child) -> (String, String) {
    let output = child.wait_with_output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn report(answer: &[(u8, Vec<u8>)], kind: u8) -> String {
    let body = answer.iter().find(|(came, _)| *came == kind).map(|(_, body)| body.clone()).unwrap_or_default();
    String::from_utf8_lossy(&body).replace('\0', "|")
}

/// CTL-1: asked, answered by somebody else, released once.
#[test]
fn psql_waits_for_a_reviewer_and_each_run_needs_an_answer_of_its_own() {
    let scene = scene("");
    let psql = scene.psql("delete from stock where id <= 10 returning id");
    let hold = scene.one();
    assert_eq!(hold["shown"]["text"], "delete from stock where id <= 10 returning id");
    assert_eq!(hold["requester"]["subject"], "stock-bot");
    assert_eq!((&hold["reviewers"], &hold["approvals"]), (&json!(["data-owners"]), &json!(1)));
    assert_eq!(hold["shown"]["relations"][0]["name"], "public.stock");
    assert!(hold["shown"]["estimated_rows"].as_i64().unwrap() > 0, "{hold}");
    assert_eq!((scene.left().as_str(), &hold["may_answer"]), ("100", &json!(true)));
    // whoever is no reviewer does not even see it; the requester may not answer; nor is it about something else
    let stranger = scene.postern.token("stranger", "others");
    assert_eq!(scene.answer(&stranger, &hold, true).0, 404);
    let own = scene.postern.token("stock-bot", "data-owners");
    let (status, said) = scene.answer(&own, &hold, true);
    assert_eq!(status, 403, "{said}");
    let mut other = hold.clone();
    other["digest"] = json!("0".repeat(64));
    let (status, said) = scene.answer(&scene.reviewer, &other, true);
    assert!(status == 409 && said["detail"].as_str().unwrap().contains("digest"), "{said}");
    scene.approve(&hold);
    let (out, err) = texts(psql);
    assert_eq!(out.lines().count(), 10, "{out}{err}");
    assert!(err.contains("NOTICE") && err.contains(hold["id"].as_str().unwrap()), "{err}");
    assert!(err.contains("postern review show"), "{err}");
    assert_eq!(scene.left(), "90");
    assert_eq!(scene.state(&hold, "released")["reviews"][0]["reviewer"]["subject"], "olga");
    // the approval is used up
    let (status, said) = scene.answer(&scene.reviewer, &hold, true);
    assert_eq!(status, 409, "{said}");
    let psql = scene.psql("delete from stock where id <= 10 returning id");
    let second = scene.one();
    assert_ne!((&second["id"], &second["digest"]), (&hold["id"], &hold["digest"]));
    assert_eq!(scene.answer(&scene.reviewer, &second, false).0, 200);
    let (_, err) = texts(psql);
    assert!(err.contains("42501") && err.contains("olga denied it: ticket 7"), "{err}");
    assert_eq!(scene.left(), "90");
    // what became of both stands in the record, and search finds it
    let found = || (scene.postern.found("verdict:hold"), scene.postern.found("verdict:hold verdict:deny"));
    eventually("search finds both", SOON, || (found() == (2, 1)).then_some(()));
    eventually("the record has all of it", SOON, || {
        let events = scene.postern.events();
        let of = |name: &str| events.iter().filter(|event| event["body"].get(name).is_some()).count();
        (of("Held") == 2 && of("Reviewed") == 2 && of("HoldEnded") == 2).then_some(())
    });
}

/// CTL-1: what an answer is for, in the extended protocol.
#[test]
fn a_driver_waits_with_its_values() {
    let scene = scene("");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = format!("host=127.0.0.1 port={} user=agent dbname=shop", scene.postern.port);
        let mut config: tokio_postgres::Config = config.parse().unwrap();
        let (client, connection) = config.password(&scene.token).connect(tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let client = std::sync::Arc::new(client);
        let delete = client.prepare("delete from stock where id = $1 and note = $2").await.unwrap();
        let run = {
            let (client, delete) = (client.clone(), delete.clone());
            tokio::spawn(async move { client.execute(&delete, &[&7i32, &"n"]).await })
        };
        let hold = tokio::task::block_in_place(|| scene.one());
        let values: Vec<&str> =
            hold["shown"]["values"].as_array().unwrap().iter().map(|value| value["shown"].as_str().unwrap()).collect();
        assert!(values[0].contains('7') && values[1].contains('n'), "{values:?}");
        tokio::task::block_in_place(|| scene.approve(&hold));
        assert_eq!(run.await.unwrap().unwrap(), 1);
        // cancelled while it waits
        let cancel = client.cancel_token();
        let run = {
            let (client, delete) = (client.clone(), delete.clone());
            tokio::spawn(async move { client.execute(&delete, &[&8i32, &"n"]).await })
        };
        let hold = tokio::task::block_in_place(|| scene.one());
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
        let error = run.await.unwrap().unwrap_err();
        assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::QUERY_CANCELED), "{error:?}");
        tokio::task::block_in_place(|| scene.state(&hold, "withdrawn"));
        // the session goes on, and rows of a released statement come back
        let run = tokio::spawn({
            let client = client.clone();
            async move { client.query_one("select answer from secret_plan", &[]).await }
        });
        let hold = tokio::task::block_in_place(|| scene.one());
        tokio::task::block_in_place(|| scene.approve(&hold));
        assert_eq!(run.await.unwrap().unwrap().get::<_, i32>(0), 42);
        // a client that leaves takes its question with it
        let run = tokio::spawn({
            let client = client.clone();
            async move { client.query_one("select answer from secret_plan", &[]).await }
        });
        let hold = tokio::task::block_in_place(|| scene.one());
        connection.abort();
        assert!(run.await.unwrap().is_err());
        tokio::task::block_in_place(|| scene.state(&hold, "withdrawn"));
    });
    assert_eq!(scene.left(), "99");
}

/// An ordinary driver, and reviewers with the command that its notices name.
#[test]
fn psycopg_waits_for_postern_review() {
    let scene = scene("");
    let review = scene.postern.command(&["review"]);
    let mut command = Command::new(cache().join("clients/venv/bin/python"));
    command.arg(root().join("deploy/postern/tests/clients/psycopg_holds.py"));
    command.arg(review.get_program()).args(review.get_args()).env("REVIEWER", &scene.reviewer);
    let output = command.envs(scene.postern.environment(&scene.token)).output().expect("deploy/test installs clients");
    let text = String::from_utf8_lossy(&output.stdout);
    let complete = output.status.success() && text.contains("all passed");
    assert!(complete, "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    // what the gate counted of it
    let metrics = scene.metrics();
    for line in [
        "postern_proxy_statements_held 0",
        "postern_proxy_holds_ended_total{outcome=\"released\"} 3",
        "postern_proxy_holds_ended_total{outcome=\"denied\"} 1",
        "postern_proxy_holds_ended_total{outcome=\"withdrawn\"} 2",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
    }
}

#[test]
fn nobody_answers_and_a_transaction_gives_its_locks_back() {
    let scene = scene("expires_seconds = 2\nexpires_in_transaction_seconds = 1");
    let mut wire = scene.wire();
    assert_eq!(wire.exchange(&[query("begin; insert into stock values (1000, 'x')")]), "CCZ");
    wire.send(&[query("delete from stock where id = 1")]);
    let hold = scene.one();
    assert_eq!(hold["shown"]["in_transaction"], true);
    let started = Instant::now();
    let answer = wire.until(b'Z');
    assert!(started.elapsed() < Duration::from_millis(1900), "{:?}", started.elapsed());
    assert_eq!(kinds(&answer), "NEZ");
    assert!(
        report(&answer, b'E').contains("C42501") && report(&answer, b'E').contains("nobody approved it within 1 s")
    );
    assert_eq!(answer.last().unwrap().1, b"E", "the transaction has failed on both sides");
    assert_eq!(wire.query("select 1"), "EZ");
    assert_eq!(wire.query("rollback"), "CZ");
    assert_eq!((scene.left().as_str(), wire.query("select 1").as_str()), ("100", "TDCZ"));
    scene.state(&hold, "expired");
    let (status, said) = scene.answer(&scene.reviewer, &hold, true);
    assert!(status == 409 && said["detail"].as_str().unwrap().contains("expired"), "{said}");
}

#[test]
fn a_pipeline_waits_behind_what_is_held_and_nothing_behind_an_error_is_asked_about() {
    let scene = scene("");
    let mut wire = scene.wire();
    let run = |sql: &str| vec![parse("", sql), bind("", "", false, &[], false), execute("", 0)];
    let frames = [
        run("insert into stock values (1001, 'before')"),
        run("delete from stock where id = 2"),
        run("select count(*) from stock"),
        vec![sync()],
    ];
    wire.send(&frames.concat());
    let hold = scene.one();
    assert_eq!(hold["shown"]["in_transaction"], true, "the insert has not been committed");
    scene.approve(&hold);
    let answer = wire.until(b'Z');
    assert_eq!(kinds(&answer), "12C1N2C12DCZ");
    assert_eq!(scene.left(), "100");
    // alone in its window it keeps no lock while it waits
    wire.send(&[run("delete from stock where id = 3"), vec![sync()]].concat());
    let hold = scene.one();
    assert_eq!(hold["shown"]["in_transaction"], false);
    let locks = "select count(*) from pg_locks where relation = 'stock'::regclass";
    assert_eq!(scene.postgres.sql(locks), "0");
    scene.approve(&hold);
    assert_eq!(kinds(&wire.until(b'Z')), "1N2CZ");
    // an error before it: it is skipped, nobody is asked
    let frames = [run("select 1/0"), run("delete from stock where id = 4"), vec![sync()]];
    assert_eq!(wire.exchange(&frames.concat()), "1EZ");
    let frames =
        [vec![parse("", "select no_such_column from stock")], run("delete from stock where id = 4"), vec![sync()]];
    assert_eq!(wire.exchange(&frames.concat()), "EZ");
    assert!(scene.open(0).is_empty());
    // a simple message is held as a whole
    wire.send(&[query("select 1; delete from stock where id = 5; select 2")]);
    let hold = scene.one();
    assert_eq!(scene.left(), "99");
    scene.approve(&hold);
    assert_eq!(kinds(&wire.until(b'Z')), "NTDCCTDCZ");
    assert_eq!(scene.left(), "98");
}

/// CTL-1: a change of policies, and the rule of two.
#[test]
fn what_changed_is_refused_and_two_are_two() {
    let scene = scene("");
    let mut wire = scene.wire();
    wire.send(&[query("delete from vault")]);
    let hold = scene.one();
    assert_eq!(hold["approvals"], 2);
    scene.approve(&hold);
    let (status, said) = scene.answer(&scene.reviewer, &hold, true);
    assert_eq!(status, 409, "one reviewer is one: {said}");
    assert_eq!(scene.postgres.sql("select count(*) from vault"), "1");
    let second = scene.postern.token("otto", "data-owners");
    assert_eq!(scene.answer(&second, &hold, true).0, 200);
    assert_eq!(kinds(&wire.until(b'Z')), "NCZ");

    wire.send(&[query("delete from stock where id = 6")]);
    let hold = scene.one();
    let more = format!("{POLICIES}\n@id(\"team:more\") permit (principal in Group::\"more\", action, resource);\n");
    std::fs::write(scene.folder.path().join("team.cedar"), more).unwrap();
    let changed = || scene.postern.process_log().contains("policies changed");
    eventually("the policies are read", SOON, || changed().then_some(()));
    scene.approve(&hold);
    let answer = wire.until(b'Z');
    assert!(report(&answer, b'E').contains("the policies have changed since"), "{}", report(&answer, b'E'));
    scene.state(&hold, "expired");
    assert_eq!(scene.left(), "100");
}

/// CTL-1: an approval stands on what its statement touches, and on nothing else.
#[test]
fn an_approval_falls_with_definitions_and_not_with_statistics() {
    let scene = scene("");
    let (mut wire, mut other) = (scene.wire(), scene.wire());
    let held = |wire: &mut Wire| {
        wire.send(&[query("delete from stock where id = 1")]);
        scene.one()
    };
    let hold = held(&mut wire);
    scene.postgres.sql("insert into vault select generate_series(1, 5000); analyze");
    // what a session changes the gate reads before it decides again
    assert_eq!(other.query("create table unrelated (id int primary key); create index on vault (id)"), "CCZ");
    scene.approve(&hold);
    assert_eq!(kinds(&wire.until(b'Z')), "NCZ");
    let body = |what: &str| {
        format!(
            "create or replace function noted() returns trigger language plpgsql as 'begin {what} return null; end'"
        )
    };
    let trigger = "create trigger noted after delete on stock for each row execute function noted()";
    let changes = [
        "alter table stock add column more int".to_owned(),
        format!("{}; {trigger}", body("")),
        body("delete from vault;"),
        "create table part (of int references stock on delete cascade)".to_owned(),
    ];
    for (number, change) in changes.iter().enumerate() {
        let hold = held(&mut wire);
        scene.postgres.sql(change);
        assert_eq!(other.query(&format!("create table again_{number} (id int)")), "CZ");
        scene.approve(&hold);
        let answer = wire.until(b'Z');
        let said = report(&answer, b'E');
        assert!(said.contains("definitions in the database have changed"), "{change}: {said}");
    }
    assert_eq!(scene.left(), "99");
}

/// CTL-1: whoever approves has been shown all of it, or nobody is asked.
#[test]
fn every_value_is_shown_whole_or_nobody_is_asked() {
    const MANY: usize = 400;
    let scene = scene("");
    let mut wire = scene.wire();
    let places: Vec<String> = (1..=MANY).map(|place| format!("${place}")).collect();
    let sql = format!("delete from stock where id in ({})", places.join(", "));
    let long = format!("{}7", "0".repeat(20_000));
    let values: Vec<String> =
        (1..=MANY).map(|place| if place == 300 { long.clone() } else { place.to_string() }).collect();
    let bytes: Vec<Option<&[u8]>> = values.iter().map(|value| Some(value.as_bytes())).collect();
    wire.send(&[parse("", &sql), bind("", "", false, &bytes, false), execute("", 0), sync()]);
    let listed = scene.one();
    let (_, hold) = scene.api(&scene.reviewer, &format!("/api/v1/holds/{}", listed["id"].as_str().unwrap()), None);
    let shown: Vec<&str> =
        hold["shown"]["values"].as_array().unwrap().iter().map(|one| one["shown"].as_str().unwrap()).collect();
    let quoted: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
    assert_eq!(shown, quoted, "all of them, and each whole");
    assert_eq!(listed["shown"]["shortened"], true, "the list has the beginning, and says so");
    let mut told = scene.postern.command(&["review", "show", hold["id"].as_str().unwrap()]);
    let told = told.env("POSTERN_TOKEN", &scene.reviewer).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    for line in [format!("  $400 = '{}'", values[399]), format!("  $300 = '{long}'")] {
        assert!(told.lines().any(|one| one == line), "{line}: {told}");
    }
    scene.approve(&hold);
    assert_eq!(kinds(&wire.until(b'Z')), "1N2CZ");
    // what is too large to be shown is denied, with what to do
    let huge = "x".repeat(63 << 10);
    let sql = format!("delete from stock where note = $1 and note <> '{}'", "y".repeat(240 << 10));
    let frames = [parse("", &sql), bind("", "", false, &[Some(huge.as_bytes())], false), execute("", 0), sync()];
    wire.send(&frames);
    let answer = wire.until(b'Z');
    let said = report(&answer, b'E');
    assert!(said.contains("C42501") && said.contains("nobody could see what they would approve"), "{said}");
    assert!(said.contains("send it in smaller parts"), "{said}");
    scene.open(0);
}

/// Two hundred held statements cost no more than their sockets: no thread, little memory, and the others are answered. What
/// they cost the others in time is measured by loadtest/bench/holds, in rounds by turns on a quiet machine.
#[test]
fn two_hundred_wait_and_the_others_go_on() {
    let scene = scene("");
    let mut other = scene.wire();
    let mut held: Vec<Wire> = (0..200).map(|_| scene.wire()).collect();
    assert_eq!(other.query("select count(*) from stock"), "TDCZ");
    let gate = || {
        let (folder, status) = scene.of_gate();
        let number = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (std::fs::read_dir(folder.join("fd")).unwrap().count(), number("Threads:"), number("VmRSS:"))
    };
    let (files, threads, memory) = gate();
    for (number, wire) in held.iter_mut().enumerate() {
        wire.send(&[query(&format!("delete from stock where id = {}", number % 100))]);
    }
    scene.open(200);
    assert!(scene.metrics().contains("postern_proxy_statements_held 200\n"));
    for _ in 0..300 {
        assert_eq!(other.query("select count(*) from stock"), "TDCZ");
    }
    let (files_now, threads_now, memory_now) = gate();
    eprintln!("descriptors {files} -> {files_now}, threads {threads} -> {threads_now}, KiB {memory} -> {memory_now}");
    assert!(files_now <= files + 20, "no descriptor for a held statement: {files} {files_now}");
    assert!(threads_now <= threads + 16, "no thread for each held statement: {threads} {threads_now}");
    assert!(memory_now <= memory + 64 * 1024, "200 statements and what is shown of them: {memory} {memory_now} KiB");
    drop(held);
    scene.open(0);
}

/// One identity leaves room for the others.
#[test]
fn one_identity_does_not_take_all_places() {
    let scene = scene("");
    scene.postern.change("max_held_per_identity = 1000", "max_held_per_identity = 2");
    let Scene { postern, token, _process, .. } = scene;
    drop(_process);
    let _process = postern.start("up");
    let wires = |token: &str, count: usize| -> Vec<Wire> {
        let one = |number| {
            let mut wire = Wire::connect(postern.port, "agent", "shop", token);
            wire.send(&[query(&format!("delete from stock where id = {number}"))]);
            wire
        };
        (0..count).map(one).collect()
    };
    let _held = wires(&token, 2);
    let held = |count: usize| {
        let line = format!("postern_proxy_statements_held {count}\n");
        let url = format!("http://127.0.0.1:{}/metrics", postern.metrics);
        let read = || ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        eventually("they are held", SOON, || read().contains(&line).then_some(()));
    };
    held(2);
    let answer = wires(&token, 1).remove(0).until(b'Z');
    let said = report(&answer, b'E');
    assert!(said.contains("C53400") && said.contains("holds.max_held_per_identity"), "{said}");
    let _other = wires(&postern.token("other-bot", "agents"), 1);
    held(3);
}
