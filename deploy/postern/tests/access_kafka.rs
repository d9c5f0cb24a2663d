//! Two gates and an API apart, over a real Apache Kafka: what is revoked at the API is out on both gates within a second;
//! with the broker away, or keeping its topic so that records can go, nobody new is let in and nothing is released, and
//! running sessions go on.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use support::{
    Pair, Postern, eventually,
    pair::PAYMENTS_HELD,
    sleeper::{self, AT_ONCE},
};

const SOON: Duration = Duration::from_secs(60);

/// One test at a time: each has a broker and three nodes, and one of them measures.
static TURN: Mutex<()> = Mutex::new(());

struct Site(Pair);

fn site() -> Site {
    Site(Pair::configure("max_staleness_seconds = 3\n[api_keys]\nenabled = true\n"))
}

impl Site {
    fn sleeper(&self, gate: &Postern, token: &str) -> Child {
        sleeper::sleeper(gate, &self.0.postgres, token)
    }

    fn sleeping(&self) -> usize {
        sleeper::sleeping(&self.0.postgres)
    }

    /// A command at the API, which is no gate; what it said where it failed.
    fn ask(&self, token: &str, arguments: &[&str]) -> Result<String, String> {
        let output = self.0.back.command(arguments).env("POSTERN_TOKEN", token).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(said) }
    }

    /// A statement that waits for reviewers at the first gate, and its hold as the API knows it.
    fn held(&self, token: &str, reviewer: &str, sql: &str, but: &[&str]) -> (Child, String) {
        let gate = &self.0.gates[0];
        let mut child = psql(gate, token, sql);
        let hold = eventually("the hold reaches the API", SOON, || {
            if child.try_wait().unwrap().is_some() {
                // on a busy machine the broker may be slow enough to count as away
                let told = said(std::mem::replace(&mut child, psql(gate, token, sql)));
                assert!(told.contains("not heard of"), "{told}");
            }
            let all: Value = serde_json::from_str(&self.ask(reviewer, &["review", "ls", "-o", "json"]).ok()?).unwrap();
            let waits = |one: &&Value| one["state"] == "waiting" && !but.iter().any(|other| one["id"] == *other);
            all.as_array().unwrap().iter().find(waits).map(|one| one["id"].as_str().unwrap().to_owned())
        });
        (child, hold)
    }

    /// Why the first gate lets nobody in; none while it does.
    fn refusal(&self, token: &str) -> Option<String> {
        let output = self.0.gates[0].psql(token, &["-c", "select 1"]);
        (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
    }

    fn left(&self) -> String {
        self.0.postgres.sql("select count(*) from payments")
    }
}

fn psql(gate: &Postern, token: &str, sql: &str) -> Child {
    let mut command = Command::new("psql");
    command.envs(gate.environment(token)).args(["-XAtq", "-c", sql]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn said(child: Child) -> String {
    String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap()
}

#[test]
fn a_disabled_identity_is_out_on_both_gates_within_a_second() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let site = site();
    let Pair { gates, back, .. } = &site.0;
    let running = [gates[0].start("proxy"), gates[1].start("proxy"), back.start("replay")];
    let (bot, root) = (gates[0].token("bot", "agents"), gates[0].token("root", "operators"));
    let rounds = if std::env::var_os("POSTERN_TEST_LONG").is_some() { 100 } else { 20 };
    let mut times = Vec::new();
    for round in 0..rounds {
        let mut sleepers = [site.sleeper(&gates[0], &bot), site.sleeper(&gates[1], &bot)];
        let reason = format!("round {round}");
        let begun = Instant::now();
        site.ask(&root, &["identity", "disable", "bot", "--reason", &reason]).unwrap();
        for sleeper in &mut sleepers {
            eventually("the client is out", Duration::from_secs(5), || sleeper.try_wait().unwrap());
        }
        eventually("the statements are cancelled", Duration::from_secs(5), || (site.sleeping() == 0).then_some(()));
        times.push(begun.elapsed());
        for sleeper in sleepers {
            let told = said(sleeper);
            assert!(told.contains(&format!("bot was disabled by root: {reason}")), "{told}");
        }
        site.ask(&root, &["identity", "enable", "bot"]).unwrap();
        eventually("both gates know", Duration::from_secs(5), || {
            gates.iter().all(|gate| gate.psql(&bot, &["-c", "select 1"]).status.success()).then_some(())
        });
    }
    times.sort_unstable();
    println!(
        "out on both gates after p50 {:?}, at most {:?}, of {rounds}, from before the command",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    assert!(times.iter().all(|time| *time < AT_ONCE), "{times:?}");

    // an API key is the same: known to each, and revoked for each
    let issue = ["key", "create", "--subject", "legacy", "--group", "agents", "--ttl", "1h"];
    let made = back.does(&root, &issue);
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    eventually("both gates know the key", Duration::from_secs(5), || {
        gates.iter().all(|gate| gate.psql(key, &["-c", "select 1"]).status.success()).then_some(())
    });
    let mut sleepers = [site.sleeper(&gates[0], key), site.sleeper(&gates[1], key)];
    let begun = Instant::now();
    site.ask(&root, &["key", "revoke", id, "--reason", "leaked"]).unwrap();
    for sleeper in &mut sleepers {
        eventually("the client is out", Duration::from_secs(5), || sleeper.try_wait().unwrap());
    }
    let took = begun.elapsed();
    println!("a revoked key is out on both gates after {took:?}");
    assert!(took < AT_ONCE, "{took:?}");
    for sleeper in sleepers {
        let told = said(sleeper);
        assert!(told.contains(&format!("the API key {id} was revoked by root: leaked")), "{told}");
    }
    for gate in gates {
        assert!(gate.refused(key, "select 1").contains("has been revoked"));
    }
    drop(running);
}

#[test]
fn what_is_not_known_for_sure_lets_nobody_in_and_releases_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut site = site();
    let team = site.0.folder.path().join("team.cedar");
    fs::write(&team, PAYMENTS_HELD).unwrap();
    let gate = site.0.gates[0].clone();
    gate.without_guardrails();
    gate.change("[holds]\nenabled = false\n", "[holds]\nexpires_seconds = 300\n");
    gate.change("masking = [\n", &format!("policies = [\"{}\"]\nmasking = [\n", team.display()));
    let running = [gate.start("proxy"), site.0.back.start("replay")];
    let (bot, owner) = (gate.token("bot", "agents"), gate.token("olga", "data-owners"));
    let mut sleeper = site.sleeper(&gate, &bot);
    let before = site.left();

    // the broker is away: the answer cannot be given, and the statement waits
    let (mut held, hold) = site.held(&bot, &owner, "delete from payments where id = 1", &[]);
    site.0.kafka.stop();
    let told = eventually("nobody new is let in", SOON, || site.refusal(&bot));
    assert!(told.contains("the control topic was not heard of for"), "{told}");
    let told = site.ask(&owner, &["review", "approve", &hold]).unwrap_err();
    assert!(told.contains("control topic"), "{told}");
    assert_eq!((site.left(), held.try_wait().unwrap()), (before.clone(), None), "nothing is released");
    assert_eq!((site.sleeping(), sleeper.try_wait().unwrap()), (1, None), "a running session goes on");
    site.0.kafka.resume();
    eventually("they are let in again", SOON, || site.refusal(&bot).is_none().then_some(()));
    // the answer that failed may have been taken all the same, late
    let approved = eventually("it is approved", SOON, || match site.ask(&owner, &["review", "approve", &hold]) {
        Err(told) if told.contains("does not answer") || told.contains("control topic") => None,
        other => Some(other),
    });
    eventually("it is released", SOON, || held.try_wait().unwrap());
    assert_ne!(site.left(), before, "{approved:?}: {}", said(held));

    // the answer comes, and the topic is kept so that a revocation may be missing from it
    let before = site.left();
    let (mut held, hold) = site.held(&bot, &owner, "delete from payments where id = 2", &[&hold]);
    site.0.kafka.keep("postern.control", "retention.ms=604800000");
    let told = eventually("nobody new is let in", SOON, || site.refusal(&bot));
    assert!(told.contains("retention.ms is 604800000"), "{told}");
    // the API lets nobody do anything either that does not take away
    let told = eventually("the API knows", SOON, || {
        site.0.back.ask(&owner, "/api/v1/holds", None).1["detail"].as_str().map(str::to_owned)
    });
    assert!(told.contains("retention.ms is 604800000"), "{told}");
    assert!(site.ask(&owner, &["review", "approve", &hold]).is_err());
    let root = gate.token("root", "operators");
    site.ask(&root, &["identity", "disable", "somebody", "--reason", "leaked"]).unwrap();
    assert_eq!((site.left(), held.try_wait().unwrap()), (before.clone(), None), "nothing is released");
    assert_eq!((site.sleeping(), sleeper.try_wait().unwrap()), (1, None), "a running session goes on");
    site.0.kafka.keep("postern.control", "retention.ms=-1");
    eventually("they are let in again", SOON, || site.refusal(&bot).is_none().then_some(()));
    eventually("it is approved", SOON, || site.ask(&owner, &["review", "approve", &hold]).ok());
    let told = said(held);
    assert_ne!(site.left(), before, "{told}");
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    drop(running);
}

/// An API that was started while the broker is away knows of nobody who is disabled: it answers nobody until it does.
#[test]
fn an_api_that_has_not_read_the_control_topic_answers_nobody() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut site = site();
    let back = site.0.back.clone();
    let mut config = fs::File::options().append(true).open(&back.config).unwrap();
    writeln!(config, "[token_exchange]\nissuer = \"http://localhost:1/back\"").unwrap();
    let (auditor, gone) = (back.token("ada", "auditor"), back.token("carl", "auditor"));
    let root = back.token("root", "operators");
    let api = back.start("replay");
    site.ask(&root, &["identity", "disable", "carl", "--reason", "has left"]).unwrap();
    let asks = |token: &str| back.ask(token, "/api/v1/sessions", None);
    let exchanges = |token: &str| {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let kind = "urn:ietf:params:oauth:token-type:jwt";
        let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
        let form = [("grant_type", grant), ("subject_token", token), ("subject_token_type", kind)];
        let mut answer = agent.post(format!("http://127.0.0.1:{}/oauth/token", back.api)).send_form(form).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json::<Value>().unwrap())
    };
    assert_eq!((asks(&auditor).0, exchanges(&auditor).0), (200, 200));
    let knows = || {
        let (status, said) = asks(&gone);
        assert!(status == 403 && said["detail"].as_str().unwrap().contains("carl was disabled"), "{said}");
        let (status, said) = exchanges(&gone);
        assert!(status == 400 && said["error"] == "invalid_grant", "{said}");
        assert!(said["error_description"].as_str().unwrap().contains("carl was disabled"), "{said}");
    };
    knows();
    api.stop();

    site.0.kafka.stop();
    let api = back.start("replay");
    for token in [&gone, &auditor] {
        let (status, said) = asks(token);
        assert!(status == 503 && said["detail"].as_str().unwrap().contains("control topic"), "{said}");
        let (status, said) = exchanges(token);
        assert!(status == 503 && said["error_description"].as_str().unwrap().contains("control topic"), "{said}");
    }
    site.0.kafka.resume();
    eventually("it answers again", SOON, || (asks(&auditor).0 == 200).then_some(()));
    knows();
    drop(api);
}
