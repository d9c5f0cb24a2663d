//! AUD-5, AUD-3, AUD-4, ARC-1, IDX-1: `postern up` is killed with -9 again and again while clients write; what they saw
//! acknowledged is in the archive once, in order, with its outcome, and search agrees with the archive.

mod ledger;
mod support;

use ledger::Run;
use std::time::Duration;
use support::{Postern, Postgres, eventually, folder};

/// Where the processes kill themselves, and after how many passes; `None` stands for a kill from outside at any moment.
const KILLS: &[Option<(&str, u32)>] = &[
    Some(("forward.completed", 40)),
    Some(("forward.completed", 400)),
    Some(("forward.completed", 777)),
    None,
    Some(("ship.cursor", 1)),
    Some(("ship.cursor", 2)),
    Some(("recorder.data_put", 1)),
    Some(("recorder.manifest_put", 1)),
    Some(("indexer.before_commit", 1)),
    Some(("indexer.after_commit", 1)),
    None,
    Some(("forward.completed", 55)),
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
    let log = folder.path().join("faults.log");
    let mut acknowledged = Vec::new();
    let mut token = None;
    for (number, kill) in (0u64..).zip(KILLS) {
        let fault = kill.map(|(point, pass)| format!("{point}:{pass}"));
        let mut environment = vec![("POSTERN_FAULT_LOG", log.to_str().unwrap())];
        if let Some(fault) = &fault {
            environment.push(("POSTERN_FAULT", fault));
        }
        let mut process = postern.start_with("up", &environment);
        let token = token.get_or_insert_with(|| postern.token("ledger-bot", "agents"));
        let run = Run::start(&postern, token, folder.path(), number, 30);
        if fault.is_some() {
            ledger::wait_for_death(&mut process);
        } else {
            let sofar = || postgres.sql("select count(*) from ledger").parse::<u64>().unwrap();
            let before = sofar();
            eventually("clients write", Duration::from_secs(30), || (sofar() > before + 200).then_some(()));
            process.kill();
        }
        acknowledged.extend(run.acknowledged());
    }
    let hits = ledger::hits(&log);
    println!("kills at fault points: {hits:?}, from outside: {}", KILLS.iter().filter(|k| k.is_none()).count());
    for (point, _) in KILLS.iter().flatten() {
        assert!(hits.get(*point).is_some_and(|n| *n > 0), "no kill landed at {point}");
    }

    let _process = postern.start("up");
    let last = acknowledged.iter().flatten().max().copied().unwrap();
    let archived = eventually("the archive is complete", Duration::from_secs(60), || {
        let archived = std::panic::catch_unwind(|| ledger::read(&postern)).ok()?;
        archived.statements.contains_key(&last).then_some(archived)
    });
    ledger::check(&acknowledged, &archived);
    let verified = postern.run(&["audit", "verify"]);
    assert!(verified.contains("verified"), "{verified}");
    let count: usize = archived.statements.values().map(Vec::len).sum();
    eventually("search agrees with the archive", Duration::from_secs(30), || {
        let answer = postern.run(&["audit", "search", "wrote:public.ledger.id", "-o", "json"]);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        (answer["total"].as_u64() == Some(count as u64)).then_some(())
    });
}
