//! What the gate archives and exports is read by other people's tools: fastavro, pyarrow, DuckDB, and the schema of OCSF's
//! class 6005. They must tell what happened, and no more than that (MSK-1).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
#[path = "wire/mod.rs"]
mod wire;

use serde_json::{Value, json};
use std::{fs, io::Read as _, path::Path, process::Command};
use support::{Postern, Postgres, cache, folder, root, verifier};
use wire::Wire;

/// The statement begins as a formula does, for a spreadsheet.
const FORMULA: &str = "-- 1+cmd|' /C calc'!A0\nselect count(*) from payments";

/// Runs the gate for one session.
fn session(postern: &Postern, subject: &str, group: &str, talk: impl FnOnce(&mut Wire)) {
    let process = postern.start("up");
    let mut wire = Wire::connect(postern.port, "agent", "shop", &postern.token(subject, group));
    talk(&mut wire);
    wire.send(&[wire::terminate()]);
    wire.drain();
    process.stop();
}

/// Statements of each kind, of an agent, for whom cards are masked.
fn agent(bot: &mut Wire) {
    assert_eq!(bot.query("select id, name, card_number from customers order by id limit 3"), "TDCZ");
    assert_eq!(bot.query("select id from customers where card_number like '4%'"), "EZ");
    assert_eq!(bot.query("select 1 / (id - id) from payments where id = 1"), "TEZ");
    assert_eq!(bot.query("copy (select id, card_number from customers where id <= 2) to stdout"), "HdcCZ");
    bot.send(&[wire::query("copy ledger from stdin")]);
    bot.until(b'G');
    assert_eq!(bot.exchange(&[wire::copy_data(b"7\t1\tx\n8\t1\ty\n"), wire::copy_done()]), "CZ");
    let text = "select card_number, $1::text from customers where id = $2";
    let bind = wire::bind("", "cards", false, &[Some(b"=1+1"), Some(b"4")], false);
    let prepared = [wire::parse("cards", text), bind, wire::execute("", 0), wire::sync()];
    assert_eq!(bot.exchange(&prepared), "12DCZ");
    assert_eq!(bot.query(FORMULA), "TDCZ");
    assert_eq!(bot.query("select pan from v_cards where id = 3"), "TDCZ");
    assert_eq!(bot.query("update ledger set note = 'z' where id = 7"), "CZ");
}

/// Those of a person, for whom they are not.
fn person(ada: &mut Wire) {
    assert_eq!(ada.query("select card_number from customers where id = 2"), "TDCZ");
    assert_eq!(ada.query("delete from ledger where id = 8; select id from payments where id = 5"), "CTDCZ");
}

/// Runs a command that prints an export; its bytes.
fn exported(postern: &Postern, arguments: &[&str]) -> Vec<u8> {
    let output = postern.command(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn file(bundle: &Path, name: &str) -> Vec<u8> {
    let script = "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";
    let output = Command::new("python3").args(["-c", script]).arg(bundle).arg(name).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn other_peoples_tools_read_what_is_exported() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let postern = Postern::configure(folder.path(), "postern", &postgres, "");
    postern.change("[\"agents\"]", "[\"agents\", \"investigators\"]");
    postern.change("label = \"pan\",", "label = \"pan\", unmask_groups = [\"investigators\"],");
    session(&postern, "billing-bot", "agents", agent);
    session(&postern, "ada", "investigators", person);

    let site = folder.path().join("site");
    fs::create_dir(&site).unwrap();
    let bundle = site.join("bundle.zip");
    let question = "who read card_number";
    postern.run(&["audit", "export", question, "--bundle", bundle.to_str().unwrap()]);
    let lines: Vec<String> = postern.events().iter().map(Value::to_string).collect();
    fs::write(site.join("events.jsonl"), lines.join("\n")).unwrap();
    std::os::unix::fs::symlink(postern.data().join("archive"), site.join("archive")).unwrap();
    let expected = json!({
        "events": postern.verified()["events"],
        "readers": [
            ["ada", 1, false],
            ["billing-bot", 1, true], ["billing-bot", 4, true], ["billing-bot", 6, true], ["billing-bot", 8, true],
        ],
        "activities": [
            ["billing-bot", "Query", "Modified", "Masked", "Success", null],
            ["billing-bot", "Query", "Denied", "Blocked", "Failure", "42501"],
            ["billing-bot", "Query", "Allowed", "Allowed", "Failure", "22012"],
            ["billing-bot", "Read", "Modified", "Masked", "Success", null],
            ["billing-bot", "Write", "Allowed", "Allowed", "Success", null],
            ["billing-bot", "Query", "Modified", "Masked", "Success", null],
            ["billing-bot", "Query", "Allowed", "Allowed", "Success", null],
            ["billing-bot", "Query", "Modified", "Masked", "Success", null],
            ["billing-bot", "Update", "Allowed", "Allowed", "Success", null],
            ["ada", "Query", "Allowed", "Allowed", "Success", null],
            ["ada", "Delete", "Allowed", "Allowed", "Success", null],
            ["ada", "Query", "Allowed", "Allowed", "Success", null],
        ],
        // values of the database, clear or not: they are in no table of statements
        "secrets": ["4929333333", "private.example", "-45-60"],
    });
    fs::write(site.join("expected.json"), expected.to_string()).unwrap();

    let mut command = Command::new(cache().join("clients/venv/bin/python"));
    command.arg(root().join("deploy/postern/tests/clients/exports.py")).arg(&site);
    let output = command.output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    for part in [" in 2 objects", "12 statements", "2 cells guarded"] {
        assert!(told.contains(part), "{part}: {told}");
    }

    // without a bundle the same bytes come: to a file, to standard output, by a question and by sessions
    let sessions: Vec<Value> = serde_json::from_str(&postern.run(&["session", "ls", "-o", "json"])).unwrap();
    let mut ids: Vec<&str> = sessions.iter().map(|one| one["session"].as_str().unwrap()).collect();
    ids.sort_unstable();
    let formats = [
        ("jsonl", "events.jsonl"),
        ("csv", "statements.csv"),
        ("parquet", "statements.parquet"),
        ("ocsf", "ocsf.jsonl"),
    ];
    for (format, name) in formats {
        let proved = file(&bundle, name);
        assert!(!proved.is_empty());
        let asked = exported(&postern, &["audit", "export", question, "--format", format]);
        assert!(asked == proved, "{format} by a question");
        let to = site.join(name).with_extension("again");
        let mut arguments = vec!["session", "export"];
        arguments.extend(&ids);
        // each session once
        arguments.extend([ids[0], "--format", format, "--to", to.to_str().unwrap()]);
        assert!(exported(&postern, &arguments).is_empty());
        let mut written = Vec::new();
        fs::File::open(&to).unwrap().read_to_end(&mut written).unwrap();
        assert!(written == proved, "{format} by sessions");
    }
    let avro = exported(&postern, &["session", "export", ids[0], ids[1], "--format", "avro"]);
    assert!(avro.starts_with(b"Obj\x01"));
    for wrong in [["--bundle", "x.zip", "--format", "csv"], ["--into", "x", "--to", "y"]] {
        let both = postern.command(&[&["audit", "export", question][..], &wrong].concat()).output().unwrap();
        assert_eq!(both.status.code(), Some(2), "{wrong:?}");
    }
    into_folders(&postern, &site, (question, &ids));
}

/// A file for each session: what it holds, that a second run writes none again, and that each bundle is proved alone.
fn into_folders(postern: &Postern, site: &Path, (question, ids): (&str, &[&str])) {
    let (tables, bundles) = (site.join("tables"), site.join("bundles"));
    let asked = ["audit", "export", question, "-o", "json"];
    let into = |folder: &Path, more: &[&str]| -> Value {
        let told = exported(postern, &[&asked[..], &["--into", folder.to_str().unwrap()], more].concat());
        serde_json::from_slice(&told).unwrap()
    };
    let told = into(&tables, &["--format", "csv"]);
    assert_eq!((&told["written"], &told["kept"], &told["partial"]), (&json!(2), &json!(0), &json!([])), "{told}");
    for session in ids {
        let alone = exported(postern, &["session", "export", session, "--format", "csv"]);
        assert!(fs::read(tables.join(format!("{session}.csv"))).unwrap() == alone, "{session}");
    }
    // a run that was killed: its list ends in the middle, and a file was not named yet
    let list = fs::read_to_string(tables.join("sessions.jsonl")).unwrap();
    fs::write(tables.join("sessions.jsonl"), &list[..list.len() - 9]).unwrap();
    let told = into(&tables, &["--format", "csv"]);
    assert_eq!((&told["written"], &told["kept"]), (&json!(1), &json!(1)), "{told}");
    let sums = Command::new("python3").args(["-c", SUMS]).arg(&tables).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&sums.stdout), "2 files as listed\n", "{sums:?}");
    let other = ["audit", "export", "type:statement", "--format", "csv", "--into", tables.to_str().unwrap()];
    let other = postern.command(&other).output().unwrap();
    let told = String::from_utf8_lossy(&other.stderr);
    assert!(other.status.code() == Some(1) && told.contains("name another folder"), "{told}");

    let told = into(&bundles, &["--bundles"]);
    assert_eq!((&told["written"], &told["left_out"]), (&json!(2), &json!({})), "{told}");
    let keys = site.join("keys.txt");
    fs::write(&keys, postern.run(&["audit", "key"])).unwrap();
    for session in ids {
        let bundle = bundles.join(format!("{session}.zip"));
        let proved = verifier("postern-verify").arg("bundle").arg(&bundle).arg("--keys").arg(&keys).output().unwrap();
        assert!(proved.status.success(), "{session}: {}", String::from_utf8_lossy(&proved.stdout));
    }
    // on a terminal it says how far it is
    let shown = format!(
        "{} -c {} audit export '{question}' --into {} --format parquet",
        env!("CARGO_BIN_EXE_postern"),
        postern.config.display(),
        site.join("shown").display()
    );
    let shown = Command::new("script").args(["-qec", &shown, "/dev/null"]).output().unwrap();
    let told = String::from_utf8_lossy(&shown.stdout);
    assert!(
        shown.status.success() && told.contains("of 2 sessions, ") && told.contains("2 sessions written"),
        "{told}"
    );
}

/// Holds the files of a folder against its list.
const SUMS: &str = r#"
import hashlib, json, pathlib, sys
folder, checked = pathlib.Path(sys.argv[1]), 0
for line in (folder / "sessions.jsonl").read_text().splitlines()[1:]:
    written = json.loads(line)["written"]
    data = (folder / written["file"]).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (written["bytes"], written["sha256"]), line
    checked += 1
print(checked, "files as listed")
"#;
