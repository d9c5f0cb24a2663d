//! Two gates, recorder, indexer and an API apart, over a real Apache Kafka: a statement that one gate holds is approved at
//! the API and released on the first, and the approval counts for nothing else. Each refusal has its own reason, and an
//! event of its own in the archive. CTL-1.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use serde_json::Value;
use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use support::{Kafka, Pair, Postern, Postgres, Process, eventually, pair::PAYMENTS_HELD};
use wire::*;

const SOON: Duration = Duration::from_secs(40);

struct Site {
    gates: [Postern; 2],
    back: Postern,
    token: String,
    reviewer: String,
    processes: Vec<Process>,
    postgres: Postgres,
    _kafka: Kafka,
    folder: tempfile::TempDir,
}

fn site() -> Site {
    let Pair { gates, back, postgres, kafka, folder } = Pair::configure("");
    let team = folder.path().join("team.cedar");
    fs::write(&team, PAYMENTS_HELD).unwrap();
    for (gate, seconds) in gates.iter().zip([900, 2]) {
        gate.without_guardrails();
        gate.change("[holds]\nenabled = false\n", &format!("[holds]\nexpires_seconds = {seconds}\n"));
        gate.change("masking = [\n", &format!("policies = [\"{}\"]\nmasking = [\n", team.display()));
    }
    let beside = [back.beside(), back.beside()];
    let processes = vec![
        gates[0].start("proxy"),
        gates[1].start("proxy"),
        back.start("recorder"),
        beside[0].start("indexer"),
        beside[1].start("replay"),
    ];
    let (token, reviewer) = (gates[0].token("ledger-bot", "agents"), gates[0].token("olga", "data-owners"));
    Site { gates, back, token, reviewer, processes, postgres, _kafka: kafka, folder }
}

impl Site {
    /// `postern review` at the API, which is no gate.
    fn review(&self, token: &str, arguments: &[&str]) -> Result<Value, String> {
        let mut command = self.back.command(&["review"]);
        let output = command.args(arguments).args(["-o", "json"]).env("POSTERN_TOKEN", token).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(serde_json::from_slice(&output.stdout).unwrap()) } else { Err(said) }
    }

    /// The statement that waits, other than these.
    fn waiting(&self, but: &[&Value]) -> Value {
        eventually("the hold reaches the API", SOON, || {
            let all = self.review(&self.reviewer, &["ls"]).ok()?;
            let fresh = |one: &&Value| one["state"] == "waiting" && !but.iter().any(|other| other["id"] == one["id"]);
            all.as_array()?.iter().find(fresh).cloned()
        })
    }

    fn psql(&self, gate: usize, sql: &str) -> Child {
        let mut psql = Command::new("psql");
        psql.envs(self.gates[gate].environment(&self.token)).args(["-XAtqc", sql]);
        psql.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn left(&self) -> String {
        self.postgres.sql("select count(*) from payments")
    }
}

fn id(hold: &Value) -> &str {
    hold["id"].as_str().unwrap()
}

fn text(message: &[(u8, Vec<u8>)], kind: u8) -> String {
    let body = message.iter().find(|(came, _)| *came == kind).map(|(_, body)| body.clone()).unwrap_or_default();
    String::from_utf8_lossy(&body).into_owned()
}

/// The events of one name about a hold, and a text in each of them.
fn told(events: &[Value], name: &str, hold: &Value, key: &str) -> Vec<String> {
    let bodies = events.iter().filter_map(|event| event["body"].get(name));
    bodies
        .filter(|body| body["request"] == hold["id"])
        .map(|body| body[key].as_str().unwrap_or("").to_owned())
        .collect()
}

#[test]
fn an_approval_given_elsewhere_releases_one_statement_once_and_nothing_else() {
    let site = site();
    let approve = |hold: &Value, more: &[&str]| site.review(&site.reviewer, &[&["approve", id(hold)], more].concat());

    // asked on one gate, answered at an API apart from both, released on the first
    let psql = site.psql(0, "delete from payments where id <= 100 returning id");
    let released = site.waiting(&[]);
    assert_eq!(released["shown"]["node"], "gate-1");
    let own = site.gates[0].token("ledger-bot", "data-owners");
    let requester = site.review(&own, &["approve", id(&released)]).unwrap_err();
    assert!(requester.contains("requester may not answer"), "{requester}");
    let asked = Instant::now();
    approve(&released, &["--reason", "over Kafka"]).unwrap();
    let output = psql.wait_with_output().unwrap();
    eprintln!("approved and released in {:?}", asked.elapsed());
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 100, "{output:?}");
    assert_eq!(site.left(), "300");
    // the same approval again
    let again = approve(&released, &["--digest", released["digest"].as_str().unwrap()]).unwrap_err();
    assert!(again.contains("approval has been used"), "{again}");

    // with another value of the same statement: the approval of the one is none of the other
    let mut wire = Wire::connect(site.gates[0].port, "agent", "shop", &site.token);
    let delete = |value: &'static [u8]| {
        let sql = "delete from payments where id = $1::int";
        vec![parse("", sql), bind("", "", false, &[Some(value)], false), execute("", 0), sync()]
    };
    wire.send(&delete(b"101"));
    let first = site.waiting(&[]);
    approve(&first, &[]).unwrap();
    assert_eq!(kinds(&wire.until(b'Z')), "1N2CZ");
    wire.send(&delete(b"102"));
    let other = site.waiting(&[]);
    assert_ne!((&other["id"], &other["digest"]), (&first["id"], &first["digest"]));
    let another = approve(&other, &["--digest", first["digest"].as_str().unwrap()]).unwrap_err();
    assert!(another.contains("digest differs"), "{another}");
    assert_eq!(site.left(), "299");

    // after a change of policies
    let changed =
        format!("{PAYMENTS_HELD}\n@id(\"team:more\") permit (principal in Group::\"more\", action, resource);\n");
    fs::write(site.folder.path().join("team.cedar"), changed).unwrap();
    let log = site.folder.path().join("gate-1-proxy.log");
    eventually("the policies are read", SOON, || {
        fs::read_to_string(&log).unwrap().contains("policies changed").then_some(())
    });
    approve(&other, &[]).unwrap();
    let answer = wire.until(b'Z');
    assert!(text(&answer, b'E').contains("policies have changed"), "{}", text(&answer, b'E'));

    // cancelled by the other gate; a key that is not its own cancels nothing
    let stranger = Wire::connect(site.gates[1].port, "agent", "shop", &site.token);
    wire.send(&delete(b"104"));
    let cancelled = site.waiting(&[&other]);
    stranger.cancel_at(site.gates[1].port);
    stranger.cancel_at(site.gates[0].port);
    assert_eq!(site.waiting(&[&other])["id"], cancelled["id"]);
    wire.cancel_at(site.gates[1].port);
    let answer = wire.until(b'Z');
    assert!(text(&answer, b'E').contains("canceling statement due to user request"), "{}", text(&answer, b'E'));
    let late = approve(&cancelled, &["--digest", cancelled["digest"].as_str().unwrap()]).unwrap_err();
    assert!(late.contains("withdrawn already"), "{late}");
    drop(stranger);

    // after its time, on the gate that gives little of it
    let psql = site.psql(1, "delete from payments where id = 103");
    let late = site.waiting(&[]);
    let output = psql.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("nobody approved it within 2 seconds"), "{said}");
    let expired = approve(&late, &["--digest", late["digest"].as_str().unwrap()]).unwrap_err();
    assert!(expired.contains("has expired"), "{expired}");
    assert_eq!(site.left(), "299");

    // each with its own event, from whichever node it came
    let events = eventually("the archive has all of it", SOON, || {
        let events = site.back.events();
        let ended = |hold| told(&events, "HoldEnded", hold, "outcome").len();
        let refused = |hold| told(&events, "AccessReviewed", hold, "refused").iter().any(|why| !why.is_empty());
        let all = [&released, &first, &other, &late].iter().all(|hold| ended(hold) == 1);
        (all && refused(&released) && refused(&other) && refused(&late)).then_some(events)
    });
    let refused = |hold| {
        let mut all = told(&events, "AccessReviewed", hold, "refused");
        all.retain(|why| !why.is_empty());
        all.join("; ")
    };
    assert!(refused(&released).contains("requester may not answer"), "{}", refused(&released));
    assert!(refused(&released).contains("approval has been used"), "{}", refused(&released));
    assert!(refused(&other).contains("digest differs"), "{}", refused(&other));
    assert!(refused(&late).contains("has expired"), "{}", refused(&late));
    let ended = |hold| (told(&events, "HoldEnded", hold, "outcome"), told(&events, "HoldEnded", hold, "reason"));
    assert_eq!(ended(&released).0, ["released"]);
    assert_eq!(
        (&ended(&other).0[..], ended(&other).1[0].contains("policies have changed")),
        (&["refused".to_owned()][..], true)
    );
    assert_eq!(ended(&late).0, ["expired"]);
    // and in the index: what was held, and who tried what in vain
    eventually("search finds it", SOON, || {
        let held = site.back.found("verdict:hold relation:payments");
        let tried = [&released, &other, &late].map(|hold| site.back.found(&format!("type:control \"{}\"", id(hold))));
        (held == 5 && tried.iter().all(|count| *count > 0)).then_some(())
    });
    drop(wire);
    site.processes.into_iter().for_each(Process::stop);
}
