//! AUD-5, AUD-3, AUD-4, ARC-1, IDX-1: `postern up` is killed with -9 again and again while clients write; what they saw
//! acknowledged is in the archive once, in order, with its outcome, and search agrees with the archive.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod ledger;
mod support;

use ledger::Run;
use std::time::{Duration, Instant};
use support::{Postern, Postgres, eventually, folder};

/// Where the processes kill themselves, and after how many passes; `None` stands for a kill from outside at any moment.
const KILLS: &[Option<(&str, u32)>] = &[
    Some(("forward.completed", 40)),
    Some(("forward.completed", 400)),
    Some(("forward.completed", 777)),
    None,
    Some(("ship.cursor", 1)),
    Some(("ship.cursor", 2)),
    Some(("recorder.keys_put", 1)),
    Some(("recorder.data_put", 1)),
    Some(("recorder.manifest_put", 1)),
    Some(("indexer.before_commit", 1)),
    Some(("indexer.after_commit", 1)),
    None,
    Some(("forward.completed", 55)),
    Some(("recorder.keys_put", 2)),
    Some(("recorder.data_put", 2)),
    Some(("recorder.manifest_put", 2)),
    Some(("indexer.before_commit", 2)),
    Some(("indexer.after_commit", 2)),
    None,
    Some(("forward.completed", 1200)),
    Some(("ship.cursor", 1)),
    None,
    Some(("forward.completed", 9)),
    None,
];

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, "");
    // what is read below is sealed: no death may part a session from its key
    postern.seal_payloads();
    let log = folder.path().join("faults.log");
    let token = postern.token("ledger-bot", "agents");
    let mut acknowledged = Vec::new();
    let mut slowest = Duration::ZERO;
    for (number, kill) in (0u64..).zip(KILLS) {
        let fault = kill.map(|(point, pass)| format!("{point}:{pass}"));
        let mut environment = vec![("POSTERN_FAULT_LOG", log.to_str().unwrap())];
        if let Some(fault) = &fault {
            environment.push(("POSTERN_FAULT", fault));
        }
        let begun = Instant::now();
        let mut process = postern.launch("up", &environment);
        // a fault point may lie in the work that the last death left to do: then it dies before it is ready
        eventually("the start", Duration::from_secs(20), || (process.has_ended() || postern.is_ready()).then_some(()));
        slowest = slowest.max(begun.elapsed());
        let run = Run::start(&postern, &token, folder.path(), number, 30);
        if let Some(fault) = &fault {
            eventually(fault, Duration::from_secs(30), || process.has_ended().then_some(()));
        } else {
            let sofar = || postgres.sql("select count(*) from ledger").parse::<u64>().unwrap();
            let before = sofar();
            eventually("clients write", Duration::from_secs(30), || (sofar() > before + 200).then_some(()));
            process.kill();
        }
        let seen = run.acknowledged();
        println!("{number}: {kill:?}, {} acknowledged, {:?}", seen.iter().flatten().count(), begun.elapsed());
        acknowledged.extend(seen);
    }
    let hits = ledger::hits(&log);
    println!("kills at fault points: {hits:?}, from outside: {}", KILLS.iter().filter(|k| k.is_none()).count());
    println!("slowest start: {slowest:?}");
    for (point, _) in KILLS.iter().flatten() {
        let wanted = KILLS.iter().flatten().filter(|(other, _)| other == point).count();
        assert_eq!(hits.get(*point).copied().unwrap_or(0) as usize, wanted, "kills at {point}");
    }

    let process = postern.start("up");
    let archived = ledger::complete(&postern, &acknowledged, Duration::from_secs(60));
    ledger::nothing_forwarded_unrecorded(&postgres, &archived);
    ledger::search_agrees(&postern, &archived);
    // an orderly end loses and doubles nothing either, and takes its own session along
    postern.sql(&token, "insert into ledger values (9999999999, 0, 'the last')");
    process.stop();
    let archived = ledger::complete(&postern, &[vec![9_999_999_999]], Duration::ZERO);
    ledger::search_agrees(&postern, &archived);
}
