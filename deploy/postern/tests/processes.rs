//! The separate processes over a real Apache Kafka: two gates, recorder, indexer, replay; recorder and indexer are killed
//! with -9 in the middle, the broker goes away for a while. Nothing acknowledged is lost or doubled.

mod ledger;
mod support;

use ledger::Run;
use std::time::{Duration, Instant};
use support::{Kafka, Postern, Postgres, eventually, folder};

struct Site {
    postgres: Postgres,
    kafka: Kafka,
    gates: [Postern; 2],
    back: Postern,
    folder: tempfile::TempDir,
}

fn site() -> Site {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let kafka = Kafka::start(folder.path());
    let broker = format!("[kafka]\nbrokers = [\"127.0.0.1:{}\"]\npartitions = 4\n", kafka.port);
    let gates = ["gate-1", "gate-2"].map(|name| Postern::configure(folder.path(), name, &postgres, &broker));
    let back = Postern::configure(folder.path(), "back", &postgres, &broker);
    // one development issuer for all: its key is in the data folder of each
    let keys = folder.path().join("gate-1/keys");
    gates[0].run(&["token", "mint", "--subject", "first", "--group", "agents"]);
    for other in ["gate-2", "back"] {
        let status = std::process::Command::new("cp").arg("-a").arg(&keys).arg({
            let target = folder.path().join(other);
            std::fs::create_dir_all(&target).unwrap();
            target
        });
        let mut status = status;
        assert!(status.status().unwrap().success());
    }
    Site { postgres, kafka, gates, back, folder }
}

fn complete(site: &Site, acknowledged: &[ledger::Acknowledged]) -> ledger::Archived {
    let lasts: Vec<u64> = acknowledged.iter().filter_map(|client| client.last().copied()).collect();
    let archived = eventually("the archive is complete", Duration::from_secs(90), || {
        let archived = std::panic::catch_unwind(|| ledger::read(&site.back)).ok()?;
        lasts.iter().all(|id| archived.statements.get(id).is_some_and(|f| f[0].2.is_some())).then_some(archived)
    });
    ledger::check(acknowledged, &archived);
    let verified = site.back.run(&["audit", "verify"]);
    assert!(verified.contains("verified"), "{verified}");
    archived
}

#[test]
fn recorder_and_indexer_may_be_killed_at_any_time() {
    let site = site();
    let gates = [site.gates[0].start("proxy"), site.gates[1].start("proxy")];
    let mut recorder = site.back.start("recorder");
    let mut indexer = site.back.start("indexer");
    let replay = site.back.start("replay");
    let token = site.gates[0].token("ledger-bot", "agents");
    let runs = [
        Run::start(&site.gates[0], &token, site.folder.path(), 0, 12),
        Run::start(&site.gates[1], &token, site.folder.path(), 1, 12),
    ];
    for round in 0..3u64 {
        let sofar = || site.postgres.sql("select count(*) from ledger").parse::<u64>().unwrap();
        let before = sofar();
        eventually("clients write", Duration::from_secs(30), || (sofar() > before + 300 * (round + 1)).then_some(()));
        recorder.kill();
        indexer.kill();
        recorder = site.back.start("recorder");
        indexer = site.back.start("indexer");
    }
    let acknowledged: Vec<_> = runs.into_iter().flat_map(Run::acknowledged).collect();
    for gate in &gates {
        gate.signal("-TERM");
    }
    let archived = complete(&site, &acknowledged);
    let count: usize = archived.statements.values().map(Vec::len).sum();
    eventually("search agrees with the archive", Duration::from_secs(30), || {
        let answer = site.back.run(&["audit", "search", "wrote:public.ledger.id", "-o", "json"]);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        (answer["total"].as_u64() == Some(count as u64)).then_some(())
    });
    drop((recorder, indexer, replay));
}

#[test]
fn clients_go_on_while_the_broker_is_away() {
    let mut site = site();
    let gate = site.gates[0].start("proxy");
    let recorder = site.back.start("recorder");
    let token = site.gates[0].token("ledger-bot", "agents");
    let away = Duration::from_secs(if std::env::var_os("POSTERN_TEST_LONG").is_some() { 60 } else { 15 });
    let run = Run::start(&site.gates[0], &token, site.folder.path(), 0, u32::try_from(away.as_secs()).unwrap() + 8);
    let sofar = |site: &Site| site.postgres.sql("select count(*) from ledger").parse::<u64>().unwrap();
    eventually("clients write", Duration::from_secs(30), || (sofar(&site) > 200).then_some(()));
    site.kafka.stop();
    let stopped = Instant::now();
    let before = sofar(&site);
    eventually("time passes without the broker", away * 2, || (stopped.elapsed() > away).then_some(()));
    assert!(sofar(&site) > before + 500, "clients stood still while the broker was away");
    site.kafka.resume();
    let acknowledged = run.acknowledged();
    gate.signal("-TERM");
    complete(&site, &acknowledged);
    drop(recorder);
}
