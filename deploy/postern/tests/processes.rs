//! The separate processes over a real Apache Kafka: two gates, recorder, indexer, replay; recorder and indexer are killed
//! with -9 in the middle, the broker goes away for a while. Nothing acknowledged is lost or doubled.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod ledger;
mod support;

use ledger::Run;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use support::{Kafka, Postern, Postgres, eventually, folder};

/// A site is some ten processes, with a broker in Java among them: one at a time, so that two cores carry it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The broker is away for a minute in the long mode, and clients connect meanwhile.
const STALE: &str = "[control]\nmax_staleness_seconds = 300\n";

struct Site {
    postgres: Postgres,
    kafka: Kafka,
    gates: [Postern; 2],
    back: Postern,
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

fn site() -> Site {
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let kafka = Kafka::start(folder.path());
    let broker = format!("[kafka]\nbrokers = [\"127.0.0.1:{}\"]\npartitions = 4\n{STALE}", kafka.port);
    let gates = ["gate-1", "gate-2"].map(|name| Postern::configure(folder.path(), name, &postgres, &broker));
    let back = Postern::configure(folder.path(), "back", &postgres, &broker);
    // one development issuer for all: its key is in the data folder of each
    let keys = folder.path().join("gate-1/keys");
    gates[0].run(&["token", "mint", "--subject", "first", "--group", "agents"]);
    for other in ["gate-2", "back"] {
        let target = folder.path().join(other);
        std::fs::create_dir_all(&target).unwrap();
        assert!(std::process::Command::new("cp").arg("-a").arg(&keys).arg(target).status().unwrap().success());
    }
    Site { postgres, kafka, gates, back, folder, _alone: alone }
}

#[test]
fn recorder_and_indexer_may_be_killed_at_any_time() {
    let site = site();
    let gates = [site.gates[0].start("proxy"), site.gates[1].start("proxy")];
    let back = [site.back.clone(), site.back.beside(), site.back.beside()];
    let mut recorder = back[0].start("recorder");
    let mut indexer = back[1].start("indexer");
    let replay = back[2].start("replay");
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
        recorder = back[0].start("recorder");
        indexer = back[1].start("indexer");
    }
    let acknowledged: Vec<_> = runs.into_iter().flat_map(Run::acknowledged).collect();
    gates.into_iter().for_each(support::Process::stop);
    let archived = ledger::complete(&site.back, &acknowledged, Duration::from_secs(60));
    ledger::nothing_forwarded_unrecorded(&site.postgres, &archived);
    ledger::search_agrees(&site.back, &archived);
    [recorder, indexer, replay].into_iter().for_each(support::Process::stop);
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
    let beside = site.back.beside();
    let mut indexer = beside.launch("indexer", &[]);
    indexer.wait_for("says what it waits for", || beside.readiness().contains("no partitions are assigned yet"));
    eventually("time passes without the broker", away * 2, || (stopped.elapsed() > away).then_some(()));
    assert!(sofar(&site) > before + 500, "clients stood still while the broker was away");
    assert!(!beside.is_ready(), "ready without a broker");
    site.kafka.resume();
    indexer.wait_for("has its partitions", || beside.is_ready());
    let acknowledged = run.acknowledged();
    // the gate ships what waited in its spool while it runs
    let archived = ledger::complete(&site.back, &acknowledged, Duration::from_secs(60));
    ledger::nothing_forwarded_unrecorded(&site.postgres, &archived);
    ledger::search_agrees(&site.back, &archived);
    [gate, recorder, indexer].into_iter().for_each(support::Process::stop);
}

/// AUD-4: a client whose session could not begin in time is refused, and the record, which said that it began, says that it ended.
#[test]
fn a_session_that_the_broker_was_not_told_of_in_time_ends_in_the_record() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let kafka = Kafka::start(folder.path());
    let broker = format!("[kafka]\nbrokers = [\"127.0.0.1:{}\"]\npartitions = 4\n{STALE}", kafka.port);
    let more = format!("{broker}[log]\ndurability = \"kafka\"\n");
    let postern = Postern::configure(folder.path(), "gate", &postgres, &more);
    postern.change("[proxy]\n", "[proxy]\nstartup_timeout_seconds = 2\n");
    let process = postern.start("up");
    let environment = postern.environment(&postern.token("patient", "agents"));
    let ask = || {
        let mut psql = std::process::Command::new("psql");
        let output = psql.args(["-XAtqc", "select 1"]).envs(environment.iter().cloned()).output().unwrap();
        output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
    };
    eventually("a session begins", Duration::from_secs(30), || ask().ok());
    kafka.signal("-STOP");
    let refused = ask().unwrap_err();
    kafka.signal("-CONT");
    assert!(refused.contains("not established in time"), "{refused}");
    eventually("the broker answers again", Duration::from_secs(30), || ask().ok());
    let reasons = eventually("every session ends in the archive", Duration::from_secs(30), || {
        let events = postern.events();
        let of = |kind: &str| events.iter().filter_map(|event| event["body"].get(kind).cloned()).collect::<Vec<_>>();
        let (opened, closed) = (of("SessionOpened").len(), of("SessionClosed"));
        (opened > 2 && closed.len() == opened).then_some(closed)
    });
    assert!(reasons.iter().any(|closed| closed["reason"] == "log_unavailable"), "{reasons:?}");
    process.stop();
    assert_eq!(postern.verified()["open"].as_array().map(Vec::len), Some(0));
}
