//! AUD-1: a full spool refuses new statements with a clear error, none is forwarded unrecorded, and sessions go on.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod ledger;
mod support;
mod wire;

use std::time::Duration;
use support::{Kafka, Postern, Postgres, eventually, folder};
use wire::*;

/// Sessions from before the log was full: each statement is refused by an ordinary error, however often they try.
fn sessions_go_on(idle: &mut Wire, inside: &mut Wire) {
    let insert = format!("insert into ledger values (-1, 0, '{}')", "x".repeat(1000));
    let window = |sql: &str| [parse("", sql), bind("", "", false, &[], false), execute("", 0), sync()].concat();
    let ask = |wire: &mut Wire, frames: Vec<Vec<u8>>, state: u8| {
        wire.send(&frames);
        let answer = wire.until(b'Z');
        assert_eq!(kinds(&answer), "EZ");
        let said = String::from_utf8_lossy(&answer[0].1).replace('\0', " ");
        assert!(said.contains("C53100") && said.contains("VERROR") && said.contains("audit log"), "{said}");
        assert_eq!(answer[1].1, [state]);
    };
    // the smallest statement finds no room, and none comes when what was recorded last is sealed, which packs it
    let mut refused = 0;
    eventually("not even the smallest statement finds room", Duration::from_secs(60), || {
        idle.send(&[query("select 1")]);
        refused = if kinds(&idle.until(b'Z')) == "EZ" { refused + 1 } else { 0 };
        (refused == 10).then_some(())
    });
    // more than the room that is left, had it been recorded
    for _ in 0..3000 {
        ask(idle, vec![query(&insert)], b'I');
        ask(idle, vec![window(&insert)], b'I');
    }
    ask(idle, vec![query("select 1; select 2")], b'I');
    ask(idle, vec![describe_statement(""), sync()], b'I');
    ask(inside, vec![window("select 1")], b'E');
    ask(inside, vec![query("select 1")], b'E');
    ask(inside, vec![query("rollback")], b'E');
    // windows at once: each has its own answer
    idle.send(&[[window("select 1"), window("select 2"), query("select 3")].concat()]);
    for _ in 0..3 {
        assert_eq!(kinds(&idle.until(b'Z')), "EZ");
    }
}

#[test]
fn a_full_spool_refuses_and_forwards_nothing_unrecorded() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let mut kafka = Kafka::start(folder.path());
    let more = format!(
        "[log]\nsegment_bytes = 8388608\nlimit_bytes = 33554432\nreserve_bytes = 8388608\n\n[kafka]\nbrokers = [\"127.0.0.1:{}\"]\n\n[control]\nmax_staleness_seconds = 3600\n",
        kafka.port
    );
    let postern = Postern::configure(folder.path(), "gate", &postgres, &more);
    let process = postern.start("proxy");
    let token = postern.token("filler", "agents");
    let mut idle = Wire::connect(postern.port, "agent", "shop", &token);
    let mut inside = Wire::connect(postern.port, "agent", "shop", &token);
    // from now on whatever is spooled stays
    kafka.stop();
    assert_eq!(inside.query("begin"), "CZ");
    assert_eq!(inside.query("select 1"), "TDCZ");
    let mut tried = 0u64;
    let mut written = Vec::new();
    let mut refusals = Vec::new();
    // large statements until none goes, then smaller ones: the last room is found too
    for bytes in [100_000, 10_000, 500] {
        let note = "x".repeat(bytes);
        let refused = eventually("the spool is full", Duration::from_secs(120), || {
            tried += 1;
            let statement = format!("insert into ledger values ({tried}, 0, '{note}')");
            let output = postern.psql(&token, &["-Atq", "-v", "ON_ERROR_STOP=1", "-c", &statement]);
            if output.status.success() {
                written.push(tried);
                return None;
            }
            Some(String::from_utf8(output.stderr).unwrap())
        });
        assert!(refused.contains("audit log") && refused.contains("try again later"), "{refused}");
        assert!(!refused.contains(&note), "{refused}");
        refusals.push(refused);
    }
    assert!(written.len() > 50, "{written:?}");
    println!("{} statements, then: {}", written.len(), refusals.join(""));
    let stored = postgres.sql("select id from ledger order by id");
    let stored: Vec<u64> = stored.lines().map(|id| id.parse().unwrap()).collect();
    assert_eq!(stored, written, "a refused statement reached the database");
    sessions_go_on(&mut idle, &mut inside);
    let again = postern.refused(&token, "insert into ledger values (-1, 0, 'no')");
    assert!(again.contains("audit log"), "{again}");
    assert_eq!(postgres.sql("select count(*) from ledger where id = -1"), "0");
    assert!(postern.is_ready(), "a full log is no reason to be restarted");
    process.stop();

    // the same spool without the broker is a bus of its own: all of it is archived, and there is room again
    let text = std::fs::read_to_string(&postern.config).unwrap();
    std::fs::write(&postern.config, text.split("[kafka]").next().unwrap()).unwrap();
    let process = postern.start("up");
    let archived = ledger::complete(&postern, &[written.clone()], Duration::from_secs(60));
    ledger::nothing_forwarded_unrecorded(&postgres, &archived);
    // a refused one may be in the record too, as what it is
    for (id, found) in archived.statements.iter().filter(|(id, _)| !written.contains(id)) {
        assert!(found.iter().all(|f| f.2.as_deref() == Some("abandoned")), "statement {id}: {found:?}");
    }
    postern.sql(&token, "insert into ledger values (-2, 0, 'room again')");
    process.stop();
}
