//! Sealed payloads: what a session said and was answered stands in no file, log or metric but under its key; with the key everything
//! is as it was, without it the shape of statements is left, and when the key is erased the proofs still hold. MSK-1.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use support::{Postern, Postgres, eventually, files::holding, folder, secret_file, verifier};
use wire::*;

const SOON: Duration = Duration::from_secs(20);

/// What the client sends, or is answered: each in another way.
const VALUES: &[&str] = &[
    "Qz13Walnut",
    "Qz14Walnut",
    "Qz15Walnut",
    "Qz16Walnut",
    "Qz17Walnut",
    "Qz18Walnut",
    "Qz01Walnut",
    "Qz02Walnut",
    "Qz03Walnut",
    "Qz04Walnut",
    "Qz05Walnut",
    "Qz06Walnut",
    "Qz07Walnut",
    "Qz08Walnut",
    "Qz09Walnut",
    "Qz10Walnut",
    "Qz11Walnut",
    "Qz12Walnut",
    "7730019284455",
    "8840028173366",
];

const POLICIES: &str = r#"
@id("team:all") permit (principal, action, resource);
@id("team:stock") @hold("data-owners") @reason("stock is counted")
forbid (principal, action == Action::"delete", resource == Table::"public.stock")
unless { context.approved };
"#;

fn configure(folder: &Path, postgres: &Postgres) -> (Postern, PathBuf) {
    postgres.sql("create table stock (id int, note text); insert into stock values (1, 'Qz08Walnut')");
    let policies = folder.join("team.cedar");
    fs::write(&policies, POLICIES).unwrap();
    let more = format!("policies = [\"{}\"]", policies.display());
    let postern = Postern::configure(folder, "gate", postgres, &more);
    postern.without_guardrails();
    postern.change("enabled = false\n\n[development_issuer]", "enabled = true\n\n[development_issuer]");
    let key = postern.seal_payloads();
    (postern, key)
}

/// Sends each value in another way.
fn say(client: &mut Wire) {
    assert_eq!(client.query("select id from stock where note = 'Qz01Walnut' or id::text = '7730019284455'"), "TCZ");
    let bound = |value: &str, binary| {
        let values = [Some(value.as_bytes())];
        let sql = "select id from stock where note = $1::text";
        [parse("", sql), bind("", "", binary, &values, false), describe_portal(""), execute("", 0), sync()]
    };
    assert_eq!(client.exchange(&bound("Qz02Walnut", false)), "12TCZ");
    assert_eq!(client.exchange(&bound("Qz03Walnut", true)), "12TCZ");
    // a comment, an error of PostgreSQL that quotes a value, one of the grammar
    assert_eq!(client.query("select /* Qz04Walnut */ 1 as one"), "TDCZ");
    assert_eq!(client.query("select 'Qz05Walnut'::int"), "EZ");
    assert_eq!(client.query("select Qz06Walnut from from 8840028173366"), "EZ");
    // data of COPY, and an answer
    client.send(&[query("copy stock from stdin")]);
    client.until(b'G');
    assert_eq!(client.exchange(&[copy_data(b"2\tQz07Walnut\n"), copy_done()]), "CZ");
    assert_eq!(client.query("select note from stock order by id"), "TDCZ");
    assert_eq!(client.exchange(&[parse("s1", "select 'Qz09Walnut'"), sync()]), "1Z");
    // written, prepared and never run, an advice that fails
    assert_eq!(client.query("insert into stock values (3, 'Qz10Walnut') returning note"), "TDCZ");
    assert_eq!(
        client.query("set application_name = 'wire'; select * from stock where note like 'Qz11Walnut%'"),
        "CTCZ"
    );
}

/// Sends values where names should be, and where names are the client's: as agents do by mistake.
fn mistake(client: &mut Wire) {
    assert_eq!(client.query("select id from stock where note = \"Qz13Walnut in words\""), "EZ");
    assert_eq!(client.query("select id from stock where note = \"Qz13Walnut\" or note = Qz14Walnut"), "EZ");
    assert_eq!(client.query("select 1 as \"a\"\"Qz15Walnut b\", note as \"Qz15Walnut\" from stock limit 1"), "TDCZ");
    assert_eq!(client.query("select 1; select Qz16Walnut('Qz16Walnut')"), "EZ");
    assert_eq!(client.query("set app.note = 'Qz17Walnut'"), "CZ");
    assert_eq!(client.exchange(&[parse("Qz18Walnut x", "select 1"), sync()]), "1Z");
}

fn spoken(postern: &Postern) -> Vec<String> {
    let mut metrics = ureq::get(format!("http://127.0.0.1:{}/metrics", postern.metrics)).call().unwrap();
    let metrics = metrics.body_mut().read_to_string().unwrap();
    let log = fs::read_to_string(postern.folder.join("gate-up.log")).unwrap();
    let mut found = Vec::new();
    for value in VALUES {
        found.extend(holding(&postern.data(), value).into_iter().map(|file| format!("{value}: {file}")));
        found.extend(metrics.contains(value).then(|| format!("{value}: the metrics")));
        found.extend(log.contains(value).then(|| format!("{value}: the log")));
    }
    found
}

/// The sessions that ended, when there are so many.
fn ended(postern: &Postern, count: usize) -> Vec<String> {
    eventually("the sessions are archived", SOON, || {
        let events = postern.events();
        let closed = events.iter().filter(|event| event["body"].get("SessionClosed").is_some());
        let sessions: Vec<String> = closed.map(|event| event["session"].as_str().unwrap().to_owned()).collect();
        (sessions.len() == count).then_some(sessions)
    })
}

fn verifies_offline(postern: &Postern, session: &str) {
    let (bundle, keys) = (postern.folder.join("bundle.zip"), postern.folder.join("keys.txt"));
    fs::write(&keys, postern.run(&["audit", "key"])).unwrap();
    let checkpointed = || {
        let made = postern.command(&["session", "export", session, "--bundle"]).arg(&bundle).output().unwrap();
        made.status.success().then_some(())
    };
    eventually("a checkpoint covers the session", SOON, checkpointed);
    let output = verifier("postern-verify").arg("bundle").arg(&bundle).arg("--keys").arg(&keys).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// What the gate's own verification and the independent one find wrong with the whole archive.
fn verified_by_both(postern: &Postern) -> [String; 2] {
    let own = postern.command(&["audit", "verify"]).output().unwrap();
    let (archive, keys) = (postern.data().join("archive"), postern.folder.join("keys.txt"));
    let mut other = verifier("postern-verify");
    other.arg("archive").arg(archive).arg("--keys").arg(keys);
    [own, other.output().unwrap()].map(|output| match output.status.success() {
        true => String::new(),
        false => String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
    })
}

#[test]
fn what_is_sealed_opens_with_the_key_alone() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let (postern, key) = configure(folder.path(), &postgres);
    let archive =
        "[archive]\ncheckpoint_seconds = 1\n\n[[archive.retention]]\nclass = \"trials\"\nhours = 0\nthen = \"shred\"";
    postern.change("[development_issuer]", &format!("{archive}\n\n[development_issuer]"));
    let mut process = postern.start_with("up", &[("POSTERN_LOGGING_FILTER", "debug")]);
    let token = postern.token("careful", "agents");
    let connect = || Wire::connect(postern.port, "agent", "shop", &token);
    let mut client = connect();
    say(&mut client);
    mistake(&mut client);
    client.send(&[terminate()]);
    client.drain();
    // another is open when the gate is killed: what the spool keeps of it lies there as it was written
    say(&mut connect());
    assert_eq!(spoken(&postern), Vec::<String>::new());
    process.kill();
    assert_eq!(holding(&postern.data(), "Walnut"), Vec::<String>::new());
    // the search can find: identities are not sealed
    assert!(!holding(&postern.data().join("archive"), "careful").is_empty());

    let process = postern.start("up");
    let sessions = ended(&postern, 2);
    assert_eq!(spoken(&postern), Vec::<String>::new());
    for session in &sessions {
        let exported = postern.run(&["session", "export", session, "--format", "csv"]);
        for value in ["Qz01Walnut", "Qz02Walnut", "Qz04Walnut", "Qz06Walnut", "Qz11Walnut", "7730019284455"] {
            assert!(exported.contains(value), "{value} in {exported}");
        }
        let shown = postern.run(&["session", "play", session]);
        for value in ["Qz05Walnut", "Qz07Walnut", "Qz08Walnut", "Qz10Walnut"] {
            assert!(shown.contains(value), "{value} in {shown}");
        }
    }
    verifies_offline(&postern, &sessions[0]);
    // words stand in the index in small letters; a number in a question is any constant
    for value in VALUES.iter().filter(|value| value.starts_with('Q')) {
        assert_eq!(postern.found(&value.to_lowercase()), 0, "{value}");
        assert_eq!(postern.found(&format!("\"{}\"", value.to_lowercase())), 0, "{value}");
    }
    // the index knows shapes and columns
    assert_eq!(postern.found("\"select id from stock where note\""), 6);
    assert!(postern.found("who wrote stock.note") >= 2);

    // who has no key sees what was not sealed
    let hidden = |why: &str| {
        let output = postern.command(&["session", "play", &sessions[0]]).output().unwrap();
        let (said, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{log}");
        assert!(!said.contains("Walnut") && said.contains("select id from stock where note = ?"), "{said}");
        assert!(log.contains(why), "{log}");
    };
    let text = fs::read_to_string(&postern.config).unwrap();
    let setting = format!("key_file = \"{}\"\n", key.display());
    fs::write(&postern.config, text.replace(&setting, "")).unwrap();
    let refused = postern.command(&["config", "check"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("sealing.key_file"), "{refused:?}");
    hidden("is sealed: no key file is configured");
    let other = secret_file(folder.path(), "other.key", &"7b".repeat(32));
    fs::write(&postern.config, text.replace(&setting, &format!("key_file = \"{}\"\n", other.display()))).unwrap();
    hidden("which is not configured");
    // a new key, and the old one still opens
    let both = format!("key_file = \"{}\"\nold_key_files = [\"{}\"]\n", other.display(), key.display());
    fs::write(&postern.config, text.replace(&setting, &both)).unwrap();
    assert!(postern.run(&["session", "play", &sessions[0]]).contains("Qz01Walnut"));

    // lost: nobody reads it any more, and the verifiers say so
    let name = postern.data().join("archive/key").join(&sessions[0][34..]).join(format!("{}.json", sessions[0]));
    let object = fs::read(&name).unwrap();
    postern.verified();
    fs::remove_file(&name).unwrap();
    hidden("its key is not in the archive any more");
    assert!(
        verified_by_both(&postern).iter().all(|told| told.contains(&sessions[0])),
        "{:?}",
        verified_by_both(&postern)
    );
    fs::write(&name, object).unwrap();
    assert_eq!(verified_by_both(&postern), [String::new(), String::new()]);
    // erased with an entry of why: everything still proves itself
    eventually("a checkpoint covers the sessions", SOON, || {
        let said: Value = serde_json::from_str(&postern.run(&["audit", "retain", "-o", "json"])).unwrap();
        assert!(said.is_object(), "{said}");
        (!name.exists()).then_some(())
    });
    hidden("its key was erased by retention");
    assert_eq!(verified_by_both(&postern), [String::new(), String::new()]);
    verifies_offline(&postern, &sessions[0]);
    process.stop();
}

#[test]
fn a_held_statement_is_shown_to_reviewers_and_to_nobody_else() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let (postern, _) = configure(folder.path(), &postgres);
    let process = postern.start("up");
    let (token, reviewer) = (postern.token("careful", "agents"), postern.token("olga", "data-owners"));
    let mut client = Wire::connect(postern.port, "agent", "shop", &token);
    let sql = "delete from stock where note = 'Qz12Walnut'";
    client.send(&[query(sql)]);
    let hold = eventually("the statement is held", SOON, || {
        let (_, list) = postern.ask(&reviewer, "/api/v1/holds?open=true", None);
        list["holds"].as_array().unwrap().first().cloned()
    });
    assert_eq!(hold["shown"]["text"], sql);
    assert_eq!(spoken(&postern), Vec::<String>::new());
    let answer = json!({"approve": true, "digest": hold["digest"], "reason": "ticket 7"});
    let path = format!("/api/v1/holds/{}/review", hold["id"].as_str().unwrap());
    let (status, said): (u16, Value) = postern.ask(&reviewer, &path, Some(&answer));
    assert_eq!(status, 200, "{said}");
    assert!(kinds(&client.until(b'Z')).ends_with("CZ"));
    client.send(&[terminate()]);
    client.drain();
    process.stop();
    assert_eq!(holding(&postern.data(), "Walnut"), Vec::<String>::new());
}
