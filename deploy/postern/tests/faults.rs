//! AUD-1, AUD-3, AUD-4, AUD-5, ARC-1: clients write down what they see while networks, broker and archive fail and
//! every process is killed with -9 at random; in the end the archive says the same: acknowledged but missing 0, doubled
//! 0, out of order 0, outcome differing from what the client saw 0. On both buses. And the checker that says so is shown
//! to notice forgeries.
//!
//! A minute each; ten with `POSTERN_TEST_LONG`. `POSTERN_FAULTS_SEED` and `POSTERN_FAULTS_SECONDS` set the seed that
//! was printed and another time: threads and sockets do not repeat, the order of faults and of statements does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod faulted;
mod support;
mod wire;

use faulted::{
    check::{self, Connection, KINDS, Kind, Saw},
    client::{self, Gates},
    driver::{self, Happened, Site},
    forge,
    lines::{self, Archive, What},
    proxy::Proxy,
    workers::Worker,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use support::{Kafka, Postern, Postgres, eventually, folder};

/// How many clients there are.
const CLIENTS: u64 = 8;

/// How long it may take until all is archived and found.
const ARCHIVED: Duration = Duration::from_secs(180);

/// Checkpoints are made under faults too.
const OFTEN: &str = "[archive]\ncheckpoint_seconds = 2\n";

/// One bus at a time, so that two cores carry it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

fn seconds() -> Duration {
    let long = std::env::var_os("POSTERN_TEST_LONG").is_some();
    Duration::from_secs(number("POSTERN_FAULTS_SECONDS").unwrap_or(if long { 600 } else { 60 }))
}

fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    number("POSTERN_FAULTS_SEED").unwrap_or(u64::from(now.subsec_nanos()) ^ now.as_secs())
}

/// Lets a node reach its database by a proxy.
fn behind(postern: &Postern, postgres: &Postgres, database: &Proxy) {
    postern.change(&format!("\nport = {}\n", postgres.port), &format!("\nport = {}\n", database.port));
}

#[test]
fn the_ledger_holds_under_faults_on_the_embedded_bus() {
    let _alone = alone();
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let gate = Postern::configure(folder.path(), "gate", &postgres, OFTEN);
    let database = Proxy::start(postgres.port);
    behind(&gate, &postgres, &database);
    let front = Proxy::start(gate.port);
    let ports = vec![front.port];
    let up = Worker::start(gate.clone(), "up", "up");
    let site = Site {
        links: vec![("clients", vec![front]), ("database", vec![database])],
        workers: vec![up],
        recorder: 0,
        archive: gate.data().join("archive"),
        kafka: None,
    };
    run("embedded", &postgres, &gate, &gate, ports, site);
}

#[test]
fn the_ledger_holds_under_faults_over_kafka() {
    let _alone = alone();
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let mut kafka = Kafka::configure(folder.path());
    let broker = Proxy::start(kafka.port);
    kafka.advertised = broker.port;
    kafka.resume();
    let more = format!("[kafka]\nbrokers = [\"127.0.0.1:{}\"]\npartitions = 4\n{OFTEN}", broker.port);
    let configure = |name: &str, more: &str| Postern::configure(folder.path(), name, &postgres, more);
    // the second gate's records count once the broker has them: its clients wait for it
    let copied = format!("{more}[log]\ndurability = \"kafka\"\n");
    let gates = [configure("gate-1", &more), configure("gate-2", &copied)];
    let back = configure("back", &more);
    let database = Proxy::start(postgres.port);
    for gate in &gates {
        behind(gate, &postgres, &database);
    }
    // one development issuer for all: its key is in the data folder of each
    gates[0].token("first", "agents");
    for other in [&gates[1], &back] {
        std::fs::create_dir_all(other.data()).unwrap();
        let keys = gates[0].data().join("keys");
        assert!(std::process::Command::new("cp").arg("-a").arg(&keys).arg(other.data()).status().unwrap().success());
    }
    let fronts = gates.each_ref().map(|gate| Proxy::start(gate.port));
    let ports = fronts.iter().map(|front| front.port).collect();
    let workers = vec![
        Worker::start(gates[0].clone(), "gate-1", "proxy"),
        Worker::start(gates[1].clone(), "gate-2", "proxy"),
        Worker::start(back.clone(), "recorder", "recorder"),
        Worker::start(back.beside(), "indexer", "indexer"),
        Worker::start(back.beside(), "replay", "replay"),
    ];
    let site = Site {
        links: vec![("clients", fronts.into()), ("database", vec![database]), ("broker", vec![broker])],
        workers,
        recorder: 2,
        archive: back.data().join("archive"),
        kafka: Some(kafka),
    };
    run("kafka", &postgres, &gates[0], &back, ports, site);
}

/// Clients, faults, and the comparison. `issuer` mints the clients' token, `back` reads the archive.
fn run(bus: &str, postgres: &Postgres, issuer: &Postern, back: &Postern, ports: Vec<u16>, mut site: Site) {
    let (seed, time) = (seed(), seconds());
    println!("{bus}: POSTERN_FAULTS_SEED={seed}, {} s", time.as_secs());
    postgres.sql(&format!("insert into ledger values ({}, 0, 'taken')", faulted::TAKEN));
    let token = issuer.mint(&["--subject", "ledger-bot", "--group", "agents", "--ttl", "8h"], false);
    let gates = Arc::new(Gates::new(ports, token));
    let clients = (1..=CLIENTS).map(|client| {
        let gates = gates.clone();
        std::thread::spawn(move || client::work(client, seed, &gates))
    });
    let clients: Vec<_> = clients.collect();
    let happened = driver::drive(&mut site, &mut fastrand::Rng::with_seed(seed), time, &gates);
    told(&happened, &site);
    let seen = client::finish(clients, &gates);
    println!("{bus}: everything is up again; {}", gates.told());
    println!("{bus}: connections failed by {:?}", gates.refusals.lock().unwrap());
    let oddities = gates.oddities.lock().unwrap().join("\n");
    assert!(oddities.is_empty(), "answers that fit nothing:\n{oddities}");

    let (archive, events) = archived(back, &seen);
    judge(bus, &seen, &archive, events, &rows(postgres));
    let report = back.verified();
    assert_eq!(report["open"].as_array().map(Vec::len), Some(0), "{report}");
    let found = searched(back, &archive);
    println!(
        "{bus}: audit verify holds: {} batches, {} events; search finds the same {found} statements",
        report["batches"], report["events"]
    );
    forge::everything_is_noticed(&seen, &archive, seed);
    site.workers.into_iter().for_each(Worker::stop);
}

/// How often everything happened.
fn told(happened: &Happened, site: &Site) {
    let faults: Vec<String> = happened.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("faults: {}", faults.join(", "));
    assert!(happened.values().all(|count| *count > 0), "some fault never happened");
    let gave_up: Vec<String> = site.workers.iter().map(|w| format!("{} {}", w.name, w.gave_up)).collect();
    println!("starts given up without an archive, and begun again: {}", gave_up.join(", "));
}

/// Waits until everything acknowledged is in the archive and every session is closed, or until that takes too long:
/// what is there then, and how many events that are.
fn archived(back: &Postern, seen: &[Connection]) -> (Archive, usize) {
    let begun = Instant::now();
    loop {
        let (archive, events) = lines::read(back);
        let findings = check::check(seen, &archive);
        let more = findings.iter().any(|finding| matches!(finding.kind, Kind::Missing | Kind::Session));
        if !more || begun.elapsed() > ARCHIVED {
            return (archive, events);
        }
        std::thread::park_timeout(Duration::from_secs(2));
    }
}

fn rows(postgres: &Postgres) -> BTreeSet<u64> {
    let rows = postgres.sql("select id from ledger where id >= 0");
    rows.lines().map(|id| id.parse().unwrap()).collect()
}

/// The comparison, as one line of figures, and what it found.
fn judge(bus: &str, seen: &[Connection], archive: &Archive, events: usize, rows: &BTreeSet<u64>) {
    let mut findings = check::check(seen, archive);
    findings.extend(check::rows(seen, archive, rows));
    let count = |saw: fn(&Saw) -> bool| seen.iter().flat_map(|c| &c.sent).filter(|sent| saw(&sent.saw)).count();
    let (succeeded, failed, denied) = (
        count(|saw| matches!(saw, Saw::Succeeded { .. })),
        count(|saw| matches!(saw, Saw::Failed { .. })),
        count(|saw| matches!(saw, Saw::Denied { .. })),
    );
    let (skipped, unknown) = (count(|saw| *saw == Saw::Skipped), count(|saw| *saw == Saw::Unknown));
    let crashed = archive
        .values()
        .filter(|s| matches!(s.last(), Some(l) if matches!(l.what, What::Closed { crashed: true, .. })));
    let statements = archive.values().flatten().filter(|line| matches!(line.what, What::Statement { .. })).count();
    let kinds = KINDS.map(|kind| format!("{kind:?} {}", findings.iter().filter(|f| f.kind == kind).count()));
    println!(
        "{bus}: acknowledged {} (succeeded {succeeded}, failed {failed}, denied {denied}), skipped {skipped}, unknown \
         {unknown}; archive: {statements} statements, {events} events, {} sessions, {} of them closed by recovery; \
         rows {}; {}",
        succeeded + failed + denied,
        archive.len(),
        crashed.count(),
        rows.len(),
        kinds.join(", ")
    );
    for finding in findings.iter().take(30) {
        println!("{finding}");
    }
    assert!(findings.is_empty(), "{} findings", findings.len());
    assert!(succeeded > 500 && failed > 10 && denied > 10 && skipped > 10 && unknown > 0, "the run shows too little");
}

/// Waits until search finds what the archive holds, no more and no less.
fn searched(back: &Postern, archive: &Archive) -> u64 {
    let wrote = |line: &&lines::Line| matches!(line.what, What::Verdict { writes_ledger: true, .. });
    let count = archive.values().flatten().filter(wrote).count() as u64;
    let mut found = 0;
    eventually("search finds what the archive holds", ARCHIVED, || {
        found = back.found("wrote:public.ledger.id");
        (found == count).then_some(())
    });
    found
}
