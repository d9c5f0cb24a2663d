//! Two gates and an API apart, over a real Apache Kafka: what is revoked at the API is out on both gates within a second;
//! with the broker away nobody new is let in, and running sessions go on.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use std::{
    fs,
    io::Write as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use support::{Kafka, Postern, Postgres, eventually, folder};

struct Site {
    postgres: Postgres,
    kafka: Kafka,
    gates: [Postern; 2],
    back: Postern,
    _folder: tempfile::TempDir,
}

fn site() -> Site {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let kafka = Kafka::start(folder.path());
    let broker =
        format!("[kafka]\nbrokers = [\"127.0.0.1:{}\"]\npartitions = 4\n[api_keys]\nenabled = true\n", kafka.port);
    let configure = |name: &str| Postern::configure(folder.path(), name, &postgres, &broker);
    let (gates, back) = (["gate-1", "gate-2"].map(configure), configure("back"));
    // one development issuer for all: its key is in the data folder of each
    gates[0].run(&["token", "mint", "--subject", "first", "--group", "agents"]);
    for other in ["gate-2", "back"] {
        let target = folder.path().join(other);
        fs::create_dir_all(&target).unwrap();
        let keys = folder.path().join("gate-1/keys");
        assert!(Command::new("cp").arg("-a").arg(&keys).arg(target).status().unwrap().success());
    }
    // but a signing key for each, which the others trust
    let keys = [&gates[0], &gates[1], &back].map(|node| node.run(&["control", "key"]).trim().to_owned());
    for (at, node) in [&gates[0], &gates[1], &back].into_iter().enumerate() {
        let others: Vec<&str> =
            keys.iter().enumerate().filter(|(one, _)| *one != at).map(|(_, key)| key.as_str()).collect();
        let mut config = fs::File::options().append(true).open(&node.config).unwrap();
        let trusted = others.join(", ");
        writeln!(config, "[control]\nmax_staleness_seconds = 3\ntrusted_keys = {{ {trusted} }}").unwrap();
    }
    Site { postgres, kafka, gates, back, _folder: folder }
}

impl Site {
    fn sleeper(&self, gate: &Postern, token: &str) -> Child {
        let before = self.sleeping();
        let mut command = Command::new("psql");
        command.envs(gate.environment(token)).args(["-XAtq", "-c", "select pg_sleep(300)"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("it sleeps", Duration::from_secs(20), || (self.sleeping() > before).then_some(()));
        child
    }

    fn sleeping(&self) -> usize {
        let count = "select count(*) from pg_stat_activity where query like '%pg_sleep(300)%' and state = 'active' \
                     and pid <> pg_backend_pid()";
        self.postgres.sql(count).parse().unwrap()
    }

    fn operate(&self, root: &str, arguments: &[&str]) {
        let output = self.back.command(arguments).env("POSTERN_TOKEN", root).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_disabled_identity_is_out_on_both_gates_within_a_second() {
    let mut site = site();
    let gates = [site.gates[0].start("proxy"), site.gates[1].start("proxy")];
    let replay = site.back.start("replay");
    let (bot, root) = (site.gates[0].token("bot", "agents"), site.gates[0].token("root", "operators"));
    let rounds = if std::env::var_os("POSTERN_TEST_LONG").is_some() { 100 } else { 5 };
    let mut times = Vec::new();
    for round in 0..rounds {
        let mut sleepers = [site.sleeper(&site.gates[0], &bot), site.sleeper(&site.gates[1], &bot)];
        site.operate(&root, &["identity", "disable", "bot", "--reason", &format!("round {round}")]);
        // the command returns when the record counts
        let begun = Instant::now();
        for sleeper in &mut sleepers {
            eventually("the client is out", Duration::from_secs(5), || sleeper.try_wait().unwrap());
        }
        times.push(begun.elapsed());
        for sleeper in sleepers {
            let told = String::from_utf8(sleeper.wait_with_output().unwrap().stderr).unwrap();
            assert!(told.contains(&format!("bot was disabled by root: round {round}")), "{told}");
        }
        assert_eq!(site.sleeping(), 0, "the statements are cancelled");
        site.operate(&root, &["identity", "enable", "bot"]);
        eventually("both gates know", Duration::from_secs(5), || {
            site.gates.iter().all(|gate| gate.psql(&bot, &["-c", "select 1"]).status.success()).then_some(())
        });
    }
    times.sort_unstable();
    println!(
        "out on both gates after p50 {:?}, at most {:?}, of {rounds}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    assert!(times[times.len() * 99 / 100] < Duration::from_secs(1), "{times:?}");

    // an API key is the same: known to each, and revoked for each
    let issue = ["key", "create", "--subject", "legacy", "--group", "agents", "--ttl", "1h"];
    let made = site.back.does(&root, &issue);
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    eventually("both gates know the key", Duration::from_secs(5), || {
        site.gates.iter().all(|gate| gate.psql(key, &["-c", "select 1"]).status.success()).then_some(())
    });
    let mut sleepers = [site.sleeper(&site.gates[0], key), site.sleeper(&site.gates[1], key)];
    site.operate(&root, &["key", "revoke", id, "--reason", "leaked"]);
    let begun = Instant::now();
    for sleeper in &mut sleepers {
        eventually("the client is out", Duration::from_secs(5), || sleeper.try_wait().unwrap());
    }
    let took = begun.elapsed();
    println!("a revoked key is out on both gates after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    for sleeper in sleepers {
        let told = String::from_utf8(sleeper.wait_with_output().unwrap().stderr).unwrap();
        assert!(told.contains(&format!("the API key {id} was revoked by root: leaked")), "{told}");
    }
    for gate in &site.gates {
        assert!(gate.refused(key, "select 1").contains("has been revoked"));
    }

    let mut sleeper = site.sleeper(&site.gates[0], &bot);
    site.kafka.stop();
    let told = eventually("nobody new is let in", Duration::from_secs(30), || {
        let output = site.gates[0].psql(&bot, &["-c", "select 1"]);
        let told = String::from_utf8(output.stderr).unwrap();
        (!output.status.success()).then_some(told)
    });
    assert!(told.contains("the control topic was not heard of for"), "{told}");
    assert_eq!((site.sleeping(), sleeper.try_wait().unwrap()), (1, None), "a running session goes on");
    site.kafka.resume();
    eventually("they are let in again", Duration::from_secs(60), || {
        site.gates[0].psql(&bot, &["-c", "select 1"]).status.success().then_some(())
    });
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    drop(replay);
    drop(gates);
}
