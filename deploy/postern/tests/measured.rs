//! Reviewers see how many rows a held write would write: it is tried in a savepoint that is rolled back, where nothing of it
//! can stay behind, and not tried anywhere else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{Postern, Postgres, eventually, folder};
use wire::*;

const SOON: Duration = Duration::from_secs(20);

/// Every write waits.
const POLICIES: &str = r#"
@id("team:all") permit (principal, action, resource);
@id("team:writes") @hold("data-owners")
forbid (principal, action in [Action::"insert", Action::"update", Action::"delete"], resource is Table)
unless { context.approved };
"#;

const TABLES: &str = "
create type mood as enum ('good', 'bad');
create domain small as int check (value < 1000000);
create table customer (id int primary key, name varchar(20) check (name in ('a', 'b') or length(name) > 0), mood mood default 'good');
create table bill (id int primary key, customer int references customer on delete cascade, total numeric default 0);
create table line (bill int references bill on delete cascade, at int, primary key (bill, at));
create index on line (at) where at > 0;
insert into customer select g, 'a' from generate_series(1, 10) g;
insert into bill select g, (g - 1) % 10 + 1 from generate_series(1, 30) g;
insert into line select b, a from generate_series(1, 30) b, generate_series(1, 4) a;
create table plain (id int, note text);
insert into plain select g, 'x' from generate_series(1, 100) g;
create table numbered (id serial, note text); insert into numbered (note) select 'x' from generate_series(1, 5);
create table told (id int); insert into told values (1), (2);
create table seen (said text);
create function tell() returns trigger language plpgsql as 'begin insert into seen values (''fired''); notify told; return null; end';
create trigger tells after delete on told for each row execute function tell();
create table parent (id int primary key); insert into parent values (1);
create table child (id int references parent on delete cascade); insert into child values (1);
create trigger tells after delete on child for each row execute function tell();
create table parts (id int) partition by range (id); create table part partition of parts for values from (0) to (100);
insert into parts values (1);
create table guarded (id int); alter table guarded enable row level security; insert into guarded values (1);
create table narrow (id small); insert into narrow values (1);
create function effect(int) returns int language plpgsql as 'begin insert into seen values (''called''); return $1; end';
create function pretends(int) returns int language plpgsql immutable as 'begin return $1; end';
create table checked (id int check (pretends(id) > 0)); insert into checked values (1);
create table indexed (id int); create index on indexed (pretends(id)); insert into indexed values (1);
create table computed (id int, twice int generated always as (id * 2) stored); insert into computed values (1);
create view shown as select * from plain;
create table slow as select g as id from generate_series(1, 3000) g;
analyze";

struct Scene {
    postern: Postern,
    token: String,
    reviewer: String,
    postgres: Postgres,
    _folder: tempfile::TempDir,
    _process: support::Process,
}

fn scene(milliseconds: u32) -> Scene {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql(TABLES);
    let team = folder.path().join("team.cedar");
    std::fs::write(&team, POLICIES).unwrap();
    let team = team.display();
    let more = format!("policies = [\"{team}\"]\nestimates = {{ measure_milliseconds = {milliseconds} }}\n");
    let postern = Postern::configure(folder.path(), "gate", &postgres, &more);
    postern.without_guardrails();
    postern.change("[holds]\nenabled = false\n", "");
    // where something is masked, what cannot be followed is denied outright
    let config = std::fs::read_to_string(&postern.config).unwrap();
    let (from, to) = (config.find("masking = [").unwrap(), config.find("\n]\n").unwrap());
    std::fs::write(&postern.config, format!("{}{}", &config[..from], &config[to + 3..])).unwrap();
    let process = postern.start("up");
    let (token, reviewer) = (postern.token("bot", "agents"), postern.token("olga", "data-owners"));
    Scene { postern, token, reviewer, postgres, _folder: folder, _process: process }
}

impl Scene {
    fn api(&self, path: &str, body: Option<&Value>) -> Value {
        let url = format!("http://127.0.0.1:{}{path}", self.postern.api);
        let bearer = format!("Bearer {}", self.reviewer);
        let answer = match body {
            Some(body) => ureq::post(url).header("authorization", bearer).send_json(body),
            None => ureq::get(url).header("authorization", bearer).call(),
        };
        answer.unwrap().body_mut().read_json().unwrap()
    }

    fn held(&self, sql: &str) -> Value {
        eventually(&format!("{sql}: it is held"), SOON, || {
            let list = self.api("/api/v1/holds?open=true", None);
            list["holds"].as_array().unwrap().first().cloned()
        })
    }

    fn answer(&self, hold: &Value, approve: bool) {
        let body = json!({"approve": approve, "digest": hold["digest"], "reason": ""});
        self.api(&format!("/api/v1/holds/{}/review", hold["id"].as_str().unwrap()), Some(&body));
    }

    fn wire(&self) -> Wire {
        Wire::connect(self.postern.port, "agent", "shop", &self.token)
    }

    /// What the reviewer is shown of a simple message, which is then denied.
    fn shown(&self, wire: &mut Wire, sql: &str) -> Value {
        wire.send(&[query(sql)]);
        let hold = self.held(sql);
        self.answer(&hold, false);
        assert_eq!(kinds(&wire.until(b'Z')), "NEZ", "{sql}: the client sees the hold and the denial, and nothing else");
        hold["shown"]["measured"].clone()
    }

    /// The same, where it is not counted: why.
    fn not(&self, wire: &mut Wire, sql: &str) -> String {
        let measured = self.shown(wire, sql);
        measured["not_counted"].as_str().unwrap_or_else(|| panic!("{sql} was counted: {measured}")).to_owned()
    }
}

fn counted(tables: &[(&str, i64, i64, i64)]) -> Value {
    let one = |(table, inserted, updated, deleted): &(&str, i64, i64, i64)| json!({"table": table, "inserted": inserted, "updated": updated, "deleted": deleted});
    json!({ "counted": tables.iter().map(one).collect::<Vec<_>>() })
}

#[test]
fn rows_are_counted_and_nothing_stays() {
    let scene = scene(2_000);
    let mut wire = scene.wire();
    let before =
        scene.postgres.sql("select count(*), (select count(*) from line), (select count(*) from customer) from plain");
    assert_eq!(
        scene.shown(&mut wire, "delete from plain where id <= 40 returning note"),
        counted(&[("public.plain", 0, 0, 40)])
    );
    assert_eq!(scene.shown(&mut wire, "update plain set note = 'y'"), counted(&[("public.plain", 0, 100, 0)]));
    // what foreign keys cascade to is counted too
    let cascade = counted(&[("public.bill", 0, 0, 6), ("public.customer", 0, 0, 2), ("public.line", 0, 0, 24)]);
    assert_eq!(scene.shown(&mut wire, "delete from customer where id < 3"), cascade);
    let insert = "insert into customer (id, name) select id, 'b' from plain where id between 50 and 59";
    assert_eq!(scene.shown(&mut wire, insert), counted(&[("public.customer", 10, 0, 0)]));
    assert_eq!(scene.shown(&mut wire, "update computed set id = 7"), counted(&[("public.computed", 0, 1, 0)]));
    let both =
        "with gone as (delete from plain where id < 6 returning id) delete from bill where id in (select id from gone)";
    let counts = counted(&[("public.bill", 0, 0, 5), ("public.line", 0, 0, 20), ("public.plain", 0, 0, 5)]);
    assert_eq!(scene.shown(&mut wire, both), counts);
    // that it would fail is told as well
    assert!(scene.not(&mut wire, "insert into customer values (1, 'a')").contains("SQLSTATE 23505"));
    let after =
        scene.postgres.sql("select count(*), (select count(*) from line), (select count(*) from customer) from plain");
    assert_eq!(before, after);
    assert_eq!(scene.postgres.sql("select count(*) from pg_locks where relation = 'plain'::regclass"), "0");

    // in the client's transaction: what it did before stays, what was tried does not, and the locks are given back
    assert_eq!(wire.exchange(&[query("begin; savepoint postern_measure")]), "CCZ");
    assert_eq!(
        scene.shown(&mut wire, "update plain set note = 'z' where id = 1"),
        counted(&[("public.plain", 0, 1, 0)])
    );
    assert_eq!(wire.query("rollback to postern_measure; rollback"), "CCZ");
    assert_eq!(wire.query("begin isolation level repeatable read"), "CZ");
    assert!(scene.not(&mut wire, "delete from plain").contains("repeatable read"));
    assert_eq!(wire.query("rollback"), "CZ");

    // with values, by the unnamed statement, which is still there for the run that is approved
    for open in [false, true] {
        if open {
            assert_eq!(wire.query("begin"), "CZ");
        }
        wire.send(&[parse("", "delete from plain where id > $1::int"), describe_statement("")]);
        wire.send(&[bind("", "", false, &[Some(b"90")], false), execute("", 0), sync()]);
        let hold = scene.held("with values");
        let rows = if open { 0 } else { 10 };
        let wanted = if open { counted(&[]) } else { counted(&[("public.plain", 0, 0, rows)]) };
        assert_eq!(hold["shown"]["measured"], wanted);
        scene.answer(&hold, true);
        assert_eq!(kinds(&wire.until(b'Z')), "1tnN2CZ");
    }
    assert_eq!(wire.query("commit"), "CZ");
    assert_eq!(scene.postgres.sql("select count(*) from plain"), "90");
    eventually("the record has the count", SOON, || {
        let events = support::plain(&scene.postern.events());
        (events.contains("measured:rows=40") && events.contains("measured:rows=32")).then_some(())
    });
}

#[test]
fn what_could_leave_something_behind_is_not_tried() {
    let scene = scene(2_000);
    let mut wire = scene.wire();
    for (sql, why) in [
        ("delete from told", "public.told has the trigger tells"),
        ("delete from parent", "public.child has the trigger tells"),
        ("delete from parts", "no plain table"),
        ("delete from part", "partitions or heirs"),
        ("update guarded set id = 2", "row security"),
        ("update narrow set id = 2", "a type of its own"),
        ("update checked set id = 2", "a check that may do more than compute"),
        ("update indexed set id = 2", "an index that may do more than compute"),
        ("insert into numbered (note) values ('x')", "default"),
        ("update numbered set id = default", "default"),
        ("update plain set id = nextval('numbered_id_seq')", "functions that may do more than compute"),
        ("delete from plain where effect(id) = 1", "functions that may do more than compute"),
        ("delete from plain where random() < 0.5", "chance or the clock"),
        ("delete from shown", "no plain table"),
        ("with gone as (delete from plain returning id) select count(*) from gone", "no plain INSERT"),
    ] {
        let said = scene.not(&mut wire, sql);
        assert!(said.contains(why), "{sql}: {said}");
    }
    // a table that only draws from a sequence when rows are added
    assert_eq!(scene.shown(&mut wire, "delete from numbered"), counted(&[("public.numbered", 0, 0, 5)]));
    assert_eq!(scene.postgres.sql("select count(*) from seen"), "0");
    assert_eq!(scene.postgres.sql("select last_value from numbered_id_seq"), "5");
}

#[test]
fn it_takes_no_longer_than_it_may_and_is_off_unless_wanted() {
    let limited = scene(150);
    let mut wire = limited.wire();
    let started = Instant::now();
    let slow = "delete from slow a using slow b, slow c where a.id + b.id + c.id < 0";
    assert!(limited.not(&mut wire, slow).contains("longer than 150 ms"));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    // nor does it wait for the locks of others
    let mut other = limited.postgres.psql();
    other.args(["-XAtqc", "begin; update plain set note = 'mine' where id = 1; select pg_sleep(60)"]);
    let mut other = other.stdout(std::process::Stdio::null()).spawn().unwrap();
    let sleeps = "select count(*) from pg_stat_activity where query like '%pg_sleep(60)' and wait_event = 'PgSleep'";
    eventually("the other has its lock", SOON, || (limited.postgres.sql(sleeps) == "1").then_some(()));
    assert!(limited.not(&mut wire, "delete from plain").contains("longer than 150 ms"));
    assert_eq!(limited.shown(&mut wire, "delete from plain where id = 2"), counted(&[("public.plain", 0, 0, 1)]));
    other.kill().unwrap();
    other.wait().unwrap();
    drop(limited);

    let off = scene(0);
    assert_eq!(off.shown(&mut off.wire(), "delete from plain"), Value::Null);
}
