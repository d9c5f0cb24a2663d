//! Values that a resource leaves out of the record: what a client named in statements that touch protected columns, or in any, stands
//! in no file, log or metric; its token finds it, and the proofs hold. MSK-1.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use serde_json::Value;
use std::path::Path;
use std::{fs, io::Write, process::Stdio, time::Duration};
use support::{Postern, Postgres, eventually, files::holding, folder, verifier};
use wire::*;

const SOON: Duration = Duration::from_secs(20);

/// What is looked for by its token: named in a text, as a value in words and in bytes, to EXECUTE, in a denial.
const SOUGHT: &str = "Vz16Walnut";

const INSERT: &str = "insert into patients (id, name, email, ssn, card) values";

fn start(folder: &Path) -> Postgres {
    let postgres = Postgres::start(folder);
    postgres.sql(
        "create table patients (id int, name text, email text, ssn text, card text, region text default 'eu', balance numeric);
         insert into patients values (1, 'Ada', 'ada@private.example', '123-45-6001', '4929000000000001')",
    );
    postgres
}

/// A gate that masks two columns of the table.
fn gate(folder: &Path, postgres: &Postgres) -> Postern {
    gate_named(folder, postgres, "gate", "")
}

fn gate_named(folder: &Path, postgres: &Postgres, name: &str, more: &str) -> Postern {
    let postern = Postern::configure(folder, name, postgres, more);
    postern.without_guardrails();
    postern.change(
        "masking = [\n",
        "masking = [\n  { columns = [\"public.patients.ssn\", \"public.patients.card\"], method = \"redact\" },\n",
    );
    postern
}

/// Sends values in statements that touch a table with masked columns, each in another way; `Vz` and a number are in each.
fn say_protected(client: &mut Wire) {
    assert_eq!(client.query("select id from patients where card = 'Vz01Walnut'"), "EZ");
    assert_eq!(
        client.query(&format!("{INSERT} (101, 'Vz02Walnut', 'Vz03Walnut', $x$Vz04Walnut$x$, e'Vz05\\x57alnut')")),
        "CZ"
    );
    assert_eq!(client.query(&format!("{INSERT} (102, 'a', 'b', 'c', '4929000000000017') returning card")), "TDCZ");
    // bound, in words and in bytes, and to EXECUTE
    let bound = |sql: &str, value: &[u8], binary| {
        [parse("", sql), bind("", "", binary, &[Some(value)], false), describe_portal(""), execute("", 0), sync()]
    };
    for binary in [false, true] {
        assert_eq!(
            client.exchange(&bound("select id from patients where name = $1::text", SOUGHT.as_bytes(), binary)),
            "12TCZ"
        );
        let update = "update patients set ssn = $1::text where id = 101";
        let frames = [parse("", update), bind("", "", binary, &[Some(b"Vz06Walnut")], false), execute("", 0), sync()];
        assert_eq!(client.exchange(&frames), "12CZ");
    }
    let number = 987_654_321_i32;
    assert_eq!(
        client.exchange(&bound("select name from patients where id = $1", &number.to_be_bytes(), true)),
        "12TCZ"
    );
    assert_eq!(client.query(&format!("select name from patients where id = {number}")), "TCZ");
    assert_eq!(client.query("prepare p as select id from patients where name = $1 and region <> 'Vz07Walnut'"), "CZ");
    assert_eq!(client.query(&format!("execute p('{SOUGHT}')")), "TCZ");
    assert_eq!(client.query(&format!("select id from patients where ssn = '{SOUGHT}'")), "EZ");
    // rows of COPY, whole and abandoned, and one after the other in what may be one run
    let columns = "patients (id, name, email, ssn, card)";
    client.send(&[query(&format!("copy {columns} from stdin"))]);
    client.until(b'G');
    client.send(&[
        copy_data(b"103\tVz08Walnut\tx\ty"),
        copy_data(b"\tVz09Walnut\n"),
        copy_done(),
        query("copy ledger from stdin"),
    ]);
    client.until(b'G');
    assert_eq!(client.exchange(&[copy_data(b"901\t1\tVz90Stays\n"), copy_done()]), "CZ");
    client.send(&[query(&format!("copy {columns} from stdin"))]);
    client.until(b'G');
    assert_eq!(client.exchange(&[copy_data(b"104\tVz10Walnut\n"), copy_fail("Vz11Walnut")]), "EZ");
    // errors that quote: of the grammar, of a name, at Parse, at Bind; and what is skipped behind them
    assert_eq!(client.query("select 'Vz12Walnut' from from"), "EZ");
    assert_eq!(client.query("select id from patients where name = \"Vz13Walnut\""), "EZ");
    assert_eq!(client.query("select 1; select id from patients where \"Vz13Walnut a\" = 1"), "EZ");
    let mut frames = vec![parse("", "update patients set balance = 'Vz14Walnut'")];
    frames.extend(bound("select id from patients where name = $1", b"Vz15Walnut", false));
    assert_eq!(client.exchange(&frames), "EZ");
    let update = [parse("", "update patients set balance = $1"), bind("", "", false, &[Some(b"Vz17Walnut")], false)];
    assert_eq!(client.exchange(&[update.concat(), execute("", 0), sync()]), "1EZ");
    assert_eq!(client.query("/* Vz18Walnut */ select card from patients -- Vz19Walnut\n limit 1"), "TDCZ");
    assert_eq!(client.query("declare c cursor with hold for select id from patients where name = 'Vz20Walnut'"), "CZ");
    assert_eq!(client.query("explain select id from patients where name = 'Vz21Walnut'"), "TDCZ");
    assert_eq!(client.exchange(&[parse("Vz22Walnut x", "select id from patients where name = $1"), sync()]), "1Z");
    // names that are no words, of what is not there; a call by number, which is refused
    assert_eq!(client.exchange(&[describe_statement("Vz23 Walnut"), sync()]), "EZ");
    assert_eq!(client.exchange(&[execute("Vz24 Walnut", 0), sync()]), "EZ");
    assert_eq!(client.exchange(&[bind("Vz25 Walnut", "Vz26 Walnut", false, &[], false), sync()]), "EZ");
    let call = [&17_u32.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0, 0, 10], b"Vz27Walnut", &[0, 0]].concat();
    assert_eq!(client.exchange(&[frame(b'F', &call)]), "EZ");
    assert_eq!(client.query(" "), "IZ");
    assert_eq!(client.query("select id from payments where memo = 'Vz91Stays'"), "TCZ");
}

/// Likewise as somebody who sees all columns, so that what the server says is not scrubbed for another reason.
fn say_clear(client: &mut Wire) {
    let fails = |client: &mut Wire, sql: &str| {
        let answer = client.query(sql);
        assert!(answer.contains('E') && answer.ends_with('Z'), "{sql}: {answer}");
    };
    fails(client, "update patients set balance = 'Vz40Walnut'");
    fails(client, "commit; update patients set balance = 'Vz41Walnut'");
    fails(client, "insert into patients (id) values ('Vz42Walnut')");
    fails(
        client,
        "begin; update patients set ssn = 'Vz43Walnut'; commit; select 'Vz44Walnut'::int from patients; select 1",
    );
    for binary in [false, true] {
        let sql = "update patients set balance = $1::text::numeric where id = 1";
        let frames = [parse("", sql), bind("", "", binary, &[Some(b"Vz45Walnut")], false), execute("", 0), sync()];
        assert!(client.exchange(&frames).contains('E'));
    }
    assert_eq!(client.query("begin"), "CZ");
    assert_eq!(client.query("update patients set ssn = 'Vz46Walnut' where id = 1"), "CZ");
    fails(client, "update patients set region = 'Vz47Walnut' where balance = 'Vz47Walnut'");
    assert_eq!(client.query("rollback"), "CZ");
    assert!(client.query("explain select id from patients where card = 'Vz48Walnut'").contains('D'));
    assert!(client.query("commit; explain select id from patients where card = 'Vz48Walnut'").contains('D'));
    assert_eq!(client.query("select id from patients where card in ('Vz49Walnut', '4929000000000001')"), "TDCZ");
    fails(client, "select \"Vz50Walnut\" from patients");
}

/// Values in statements of no table with masked columns.
fn say_any(client: &mut Wire) {
    assert_eq!(client.query("select id from payments where memo = 'Vz30Walnut'"), "TCZ");
    assert_eq!(client.query("set application_name = 'Vz31Walnut'"), "CZ");
    assert_eq!(client.query("notify c, 'Vz32Walnut'"), "EZ");
    assert_eq!(client.query("select 'Vz33Walnut'::int"), "EZ");
    for binary in [false, true] {
        let sql = "select id from payments where memo = $1::text";
        let frames = [parse("", sql), bind("", "", binary, &[Some(b"Vz37Walnut")], false), execute("", 0), sync()];
        assert_eq!(client.exchange(&frames), "12CZ");
        let frames =
            [parse("", "select $1::text::int"), bind("", "", binary, &[Some(b"Vz38Walnut")], false), execute("", 0)];
        assert!(client.exchange(&[frames.concat(), sync()]).contains('E'));
    }
    assert_eq!(client.query("do $$ begin raise notice 'Vz34Walnut'; end $$"), "EZ");
    client.send(&[query("copy ledger from stdin")]);
    client.until(b'G');
    assert_eq!(client.exchange(&[copy_data(b"902\t1\tVz35Walnut\n"), copy_done()]), "CZ");
    client.send(&[frame(b'Q', b"select 'Vz36Walnut"), sync()]);
    client.drain();
}

fn spoken(postern: &Postern, what: &str) -> Vec<String> {
    let mut metrics = ureq::get(format!("http://127.0.0.1:{}/metrics", postern.metrics)).call().unwrap();
    let metrics = metrics.body_mut().read_to_string().unwrap();
    let log = fs::read_to_string(postern.folder.join("gate-up.log")).unwrap();
    let mut found = holding(&postern.data(), what);
    found.extend(metrics.contains(what).then(|| "the metrics".to_owned()));
    found.extend(log.contains(what).then(|| "the log".to_owned()));
    found
}

/// The token of a value, as an investigator gets it.
fn token_of(postern: &Postern, value: &str) -> String {
    let mut command = postern.command(&["audit", "token"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{value}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn closed(postern: &Postern, count: usize) -> Vec<Value> {
    eventually("the sessions are archived", SOON, || {
        let events = postern.events();
        let closed = events.iter().filter(|event| event["body"].get("SessionClosed").is_some()).count();
        (closed == count).then_some(events)
    })
}

#[test]
fn values_of_protected_columns_stand_nowhere_and_their_tokens_find_them() {
    let folder = folder();
    let postgres = start(folder.path());
    let postern = gate(folder.path(), &postgres);
    postern.leave_values_out("unprotected");
    let mut process = postern.start_with("up", &[("POSTERN_LOGGING_FILTER", "debug")]);
    let token = postern.token("careful", "agents");
    let connect = || Wire::connect(postern.port, "agent", "shop", &token);
    let mut client = connect();
    say_protected(&mut client);
    client.send(&[terminate()]);
    client.drain();
    // the database got what was sent
    assert_eq!(postgres.sql("select ssn || card from patients where id = 101"), "Vz06WalnutVz05Walnut");
    assert_eq!(postgres.sql("select name || card from patients where id = 103"), "Vz08WalnutVz09Walnut");
    postgres.sql("delete from patients where id > 100; delete from ledger");
    // another is open when the gate is killed
    say_protected(&mut connect());
    process.kill();
    for gone in ["Walnut", "4929000000000017", "987654321"] {
        assert_eq!(holding(&postern.data(), gone), Vec::<String>::new(), "{gone}");
        assert!(!fs::read_to_string(postern.folder.join("gate-up.log")).unwrap().contains(gone), "{gone}");
    }
    // the search can find
    for stays in ["Vz90Stays", "Vz91Stays"] {
        assert!(!holding(&postern.data(), stays).is_empty(), "{stays}");
    }

    let process = postern.start("up");
    let events = closed(&postern, 2);
    assert_eq!(spoken(&postern, "Walnut"), Vec::<String>::new());
    let sought = token_of(&postern, SOUGHT);
    let named = |token: &str| {
        let of = |event: &&Value| {
            event["body"]["Statement"]["tokens"].as_array().is_some_and(|t| t.iter().any(|t| t == token))
        };
        events.iter().filter(of).count()
    };
    assert_eq!(named(&sought), 8);
    assert_eq!(named(&token_of(&postern, "987654321")), 4);
    assert_eq!(named(&token_of(&postern, "4929000000000017")), 2);
    assert_eq!(named(&token_of(&postern, "Vz91Stays")), 0, "what stays needs no token");
    let found =
        eventually("the index has them", SOON, || Some(postern.found(&format!("token:{sought}"))).filter(|n| *n == 8));
    assert_eq!(found, 8);
    assert_eq!(postern.found(&format!("token:{sought} verdict:deny")), 2);
    // who reads the session sees that something was left out
    let shown = postern.run(&["session", "play", events[0]["session"].as_str().unwrap()]);
    assert!(shown.contains("select id from patients where card = '**********'"), "{shown}");
    process.stop();
    postern.verified();
    let keys = postern.folder.join("keys.txt");
    fs::write(&keys, postern.run(&["audit", "key"])).unwrap();
    let mut other = verifier("postern-verify");
    let output = other.arg("archive").arg(postern.data().join("archive")).arg("--keys").arg(keys).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

#[test]
fn a_resource_may_leave_out_the_values_of_all_statements() {
    let folder = folder();
    let postgres = start(folder.path());
    let postern = gate(folder.path(), &postgres);
    postern.leave_values_out("none");
    let mut process = postern.start_with("up", &[("POSTERN_LOGGING_FILTER", "debug")]);
    let token = postern.token("careful", "agents");
    for _ in 0..2 {
        let mut client = Wire::connect(postern.port, "agent", "shop", &token);
        say_any(&mut client);
        postgres.sql("delete from ledger");
    }
    closed(&postern, 2);
    assert_eq!(spoken(&postern, "Walnut"), Vec::<String>::new());
    assert!(!holding(&postern.data(), "careful").is_empty());
    process.kill();
}

/// With estimates asked for, and with writes counted: the gate itself sends statements then, and cuts messages up.
#[test]
fn what_the_server_says_to_who_sees_everything_quotes_nothing_either() {
    let folder = folder();
    let postgres = start(folder.path());
    let policies = folder.path().join("team.cedar");
    fs::write(&policies, "@id(\"team:all\") permit (principal, action, resource);").unwrap();
    for (name, more) in [
        ("plain", ""),
        ("counted", "budget = { rows_per_transaction = 1000, rows_per_session = 20000 }"),
        ("estimated", "estimates = { ask = \"always\", rows = 1000000 }"),
    ] {
        let more = format!("policies = [\"{}\"]\n{more}", policies.display());
        let postern = gate_named(folder.path(), &postgres, name, &more);
        postern.leave_values_out("unprotected");
        let mut process = postern.start_with("up", &[("POSTERN_LOGGING_FILTER", "debug")]);
        let token = postern.token("careful", "agents");
        let mut client = Wire::connect(postern.port, "agent", "shop", &token);
        say_clear(&mut client);
        client.send(&[terminate()]);
        client.drain();
        closed(&postern, 1);
        assert_eq!(holding(&postern.data(), "Walnut"), Vec::<String>::new(), "{name}");
        let log = fs::read_to_string(postern.folder.join(format!("{name}-up.log"))).unwrap();
        assert!(!log.contains("Walnut"), "{name}");
        assert!(!holding(&postern.data(), "careful").is_empty());
        process.kill();
    }
}

#[test]
fn a_gate_without_the_key_does_not_start() {
    let folder = folder();
    let postgres = start(folder.path());
    let postern = gate(folder.path(), &postgres);
    postern.change("[[resources]]", "[[resources]]\nrecorded_values = \"none\"");
    let output = postern.command(&["config", "check"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("tokens.key_file: must be set"), "{said}");
}
