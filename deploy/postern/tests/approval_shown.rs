//! What reviewers are shown is what runs: characters that are not seen, or end what does not look ended, are written out by the
//! API, the command and the webhooks, or the statement is not held at all. CTL-1.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

#[path = "support/receiver.rs"]
mod receiver;
mod support;
mod wire;

use receiver::Receiver;
use serde_json::{Value, json};
use std::time::Duration;
use support::{Postern, Postgres, eventually, folder, free_port, secret_file};
use wire::*;

const SOON: Duration = Duration::from_secs(20);

const POLICIES: &str = r#"
@id("team:all") permit (principal, action, resource);
@id("team:stock") @hold("data-owners") @reason("stock is counted")
forbid (principal, action == Action::"delete", resource == Table::"public.stock")
unless { context.approved };
"#;

struct Scene {
    postern: Postern,
    token: String,
    reviewer: String,
    postgres: Postgres,
    receiver: Receiver,
    _folder: tempfile::TempDir,
    _process: support::Process,
}

fn scene() -> Scene {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql(
        "create table stock (id int primary key, note text); insert into stock select g, 'n' from generate_series(1, 100) g",
    );
    let policies = folder.path().join("team.cedar");
    std::fs::write(&policies, POLICIES).unwrap();
    let receiver = Receiver::start(free_port());
    let more = format!(
        "policies = [\"{}\"]\n[[webhooks]]\nname = \"ops\"\nurl = \"http://127.0.0.1:{}/hook\"\nsecret_file = \"{}\"\n",
        policies.display(),
        receiver.port,
        secret_file(folder.path(), "out.secret", "the secret that signs messages").display(),
    );
    let postern = Postern::configure(folder.path(), "gate", &postgres, &more);
    postern.without_guardrails();
    postern.change("[holds]\nenabled = false\n", "[holds]\nmax_held_per_identity = 100\n");
    let process = postern.start("up");
    let (token, reviewer) = (postern.token("stock-bot", "agents"), postern.token("olga", "data-owners"));
    Scene { postern, token, reviewer, postgres, receiver, _folder: folder, _process: process }
}

impl Scene {
    fn wire(&self) -> Wire {
        Wire::connect(self.postern.port, "agent", "shop", &self.token)
    }

    fn open(&self, count: usize) -> Vec<Value> {
        eventually("statements are held", SOON, || {
            let (status, list) = self.postern.ask(&self.reviewer, "/api/v1/holds?open=true", None);
            assert_eq!(status, 200, "{list}");
            let holds = list["holds"].as_array().unwrap().clone();
            (holds.len() == count).then_some(holds)
        })
    }

    /// The one that waits: as the list of the API has it, and what the command says of it.
    fn held(&self) -> (Value, Vec<String>) {
        let hold = self.open(1).remove(0);
        let said = self.review(&["show", hold["id"].as_str().unwrap()]);
        (hold, said.lines().map(str::to_owned).collect())
    }

    fn review(&self, arguments: &[&str]) -> String {
        let arguments = [&["review"], arguments].concat();
        let output = self.postern.command(&arguments).env("POSTERN_TOKEN", &self.reviewer).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn answer(&self, hold: &Value, approve: bool) {
        let body = json!({"approve": approve, "digest": hold["digest"], "reason": "ticket 7"});
        let path = format!("/api/v1/holds/{}/review", hold["id"].as_str().unwrap());
        assert_eq!(self.postern.ask(&self.reviewer, &path, Some(&body)).0, 200);
    }

    fn approve(&self, hold: &Value) {
        self.answer(hold, true);
    }

    /// A reviewer says no, and the client hears of it.
    fn deny(&self, hold: &Value, wire: &mut Wire) {
        self.answer(hold, false);
        assert!(kinds(&wire.until(b'Z')).ends_with("EZ"));
        self.open(0);
    }

    /// The statement is denied at once, for this reason.
    fn denied(&self, wire: &mut Wire, sql: &str, reason: &[&str]) {
        wire.send(&[query(sql)]);
        let answer = wire.until(b'Z');
        let body = answer.iter().find(|(kind, _)| *kind == b'E').map(|(_, body)| body.clone()).unwrap();
        let said = String::from_utf8(body).unwrap().replace('\0', "|");
        assert!(reason.iter().all(|part| said.contains(part)), "{sql:?}: {said}");
        self.open(0);
    }

    /// All that the webhook was told.
    fn told(&self) -> String {
        self.receiver.messages().iter().map(|message| message.json().to_string()).collect()
    }
}

const RETURN: &[&str] = &["C42501", "a carriage return ends a comment", "end lines with a line feed"];

#[test]
fn a_carriage_return_ends_no_comment_unseen() {
    let scene = scene();
    let mut wire = scene.wire();
    scene.denied(&mut wire, "delete from stock where id = 1 -- one row\r or true", RETURN);
    scene.denied(&mut wire, "delete from stock /* \r */ where id = 1", RETURN);
    // elsewhere it is written out, for everybody
    wire.send(&[query("delete from stock\rwhere id = 1\t-- \u{e9}\r\nand note = '--\r'")]);
    let (hold, said) = scene.held();
    let lines = ["delete from stock\\u{d}where id = 1\\u{9}-- \u{e9}\\u{d}", "and note = '--\\u{d}'"];
    assert_eq!(hold["shown"]["text"], lines.join("\n"));
    let at = said.iter().position(|line| *line == format!("  | {}", lines[0])).unwrap_or_else(|| panic!("{said:#?}"));
    assert_eq!(said[at + 1], format!("  | {}", lines[1]));
    let listed = scene.review(&["ls"]);
    assert!(listed.contains("delete from stock\\u{d}where id = 1\\u{9}-- "), "{listed}");
    eventually("the webhook is told", SOON, || {
        let told = json!(lines.join("\n")).to_string();
        scene.told().contains(told.trim_matches('"')).then_some(())
    });
    scene.deny(&hold, &mut wire);
    assert_eq!(scene.postgres.sql("select count(*) from stock"), "100");
}

#[test]
fn what_an_execute_runs_is_shown_line_by_line() {
    let scene = scene();
    let mut wire = scene.wire();
    let prepare = |name: &str, end: &str| format!("prepare {name} as delete from stock where id = 1 -- x{end} or true");
    // what is prepared is reviewed, and so is each run of it
    wire.send(&[query(&prepare("d", "\n"))]);
    let (hold, said) = scene.held();
    assert!(said.ends_with(&[format!("  | {}", prepare("d", "")).replace(" or true", ""), "  |  or true".to_owned()]));
    scene.approve(&hold);
    assert!(kinds(&wire.until(b'Z')).ends_with("CZ"));
    wire.send(&[query("execute d")]);
    let (hold, said) = scene.held();
    assert!(hold["shown"]["runs"][0].as_str().unwrap().ends_with("-- x\n or true"), "{hold}");
    let at = said.iter().position(|line| line == "runs").unwrap_or_else(|| panic!("{said:#?}"));
    assert!(said[at + 1].starts_with("  | ") && said[at + 1].ends_with("where id = 1 -- x"), "{said:#?}");
    assert_eq!(said[at + 2], "  |  or true");
    scene.deny(&hold, &mut wire);
    scene.denied(&mut wire, &prepare("r", "\r"), RETURN);
    assert_eq!(scene.postgres.sql("select count(*) from stock"), "100");
}

#[test]
fn characters_that_are_not_seen_are_written_out() {
    let scene = scene();
    let mut wire = scene.wire();
    let text = |note: &str| format!("delete from stock where note = '{note}'");
    wire.send(&[query(&text("a\u{202e}b\u{200b}\\u{202e}"))]);
    let (hold, said) = scene.held();
    let shown = text("a\\u{202e}b\\u{200b}\\u{5c}u{202e}");
    assert_eq!(hold["shown"]["text"], shown, "and what only looks like it is marked");
    assert!(said.contains(&format!("  | {shown}")), "{said:#?}");
    let listed = scene.review(&["ls"]);
    assert!(listed.contains("a\\u{202e}b") && !listed.contains('\u{202e}'), "{listed}");
    let told = json!(shown).to_string();
    eventually("the webhook is told", SOON, || scene.told().contains(told.trim_matches('"')).then_some(()));
    assert!(!scene.told().contains(['\u{202e}', '\u{200b}']));
    scene.deny(&hold, &mut wire);
    let unseen = |code: &'static str| ["C42501", code, "leave that character out"];
    scene.denied(&mut wire, "delete from stock where id = 1 -- \u{202e}", &unseen("U+202E"));
    scene.denied(&mut wire, "delete from stock where id = 1 /* \u{2028} */", &unseen("U+2028"));
    assert_eq!(scene.postgres.sql("select count(*) from stock"), "100");
}

#[test]
fn no_value_looks_like_another() {
    let scene = scene();
    let mut wire = scene.wire();
    let values = [None, Some("NULL"), Some("a\nb"), Some("a\\nb"), Some("\r\u{200b}'"), Some("")];
    let shown = ["NULL", "'NULL'", "'a\\nb'", "'a\\\\nb'", "'\\r\\u{200b}\\''", "''"];
    let bytes: Vec<Option<&[u8]>> = values.iter().map(|value| value.map(str::as_bytes)).collect();
    let sql = "delete from stock where note in ($1, $2, $3, $4, $5, $6)";
    wire.send(&[parse("", sql), bind("", "", false, &bytes, false), execute("", 0), sync()]);
    let (hold, said) = scene.held();
    let seen = hold["shown"]["values"].as_array().unwrap();
    assert_eq!(seen[0]["shown"], Value::Null);
    let rest: Vec<&str> = seen[1..].iter().map(|one| one["shown"].as_str().unwrap()).collect();
    assert_eq!(rest, shown[1..]);
    let lines: Vec<String> = shown.iter().enumerate().map(|(at, one)| format!("  ${} = {one}", at + 1)).collect();
    let at = said.iter().position(|line| line == "values").unwrap_or_else(|| panic!("{said:#?}"));
    assert_eq!(said[at + 1..], lines);
    let told = json!(lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n")).to_string();
    eventually("the webhook is told", SOON, || scene.told().contains(told.trim_matches('"')).then_some(()));
    scene.deny(&hold, &mut wire);
}

/// What is behind a held statement is kept up to a limit; beyond it, too, it is noticed that the client leaves, once the end of what
/// it sent has come to the gate's machine.
#[test]
fn a_client_that_sent_more_than_is_kept_and_leaves_is_noticed() {
    let scene = scene();
    let mut wire = scene.wire();
    wire.send(&[query("delete from stock where id = 1")]);
    wire.until(b'N');
    let (hold, _) = scene.held();
    wire.send(&[query(&format!("select '{}'", "x".repeat(280 << 10)))]);
    drop(wire);
    let path = format!("/api/v1/holds/{}", hold["id"].as_str().unwrap());
    eventually("the hold is withdrawn", SOON, || {
        (scene.postern.ask(&scene.reviewer, &path, None).1["state"] == "withdrawn").then_some(())
    });
    assert_eq!(scene.postgres.sql("select count(*) from stock"), "100");
}
