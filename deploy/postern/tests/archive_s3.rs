//! An archive in a bucket: what holds of one in a folder holds of it, whatever the object store does meanwhile (AUD-5, ARC-1).
//! The store is a real S3 server that checks signatures and rights, with conditional writes and Object Lock.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

#[path = "support/bucket.rs"]
mod bucket;
mod ledger;
mod support;

use bucket::{Mode, PREFIX, S3};
use ledger::Run;
use std::{
    fs,
    process::{Command, Output},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use support::{Kafka, Postern, Postgres, cache, eventually, folder, root};

/// Clients write at full speed in each: one at a time, so that two cores carry it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

const LOCKED: &str = "object_lock = \"compliance\"\nobject_lock_days = 2";

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn metric(postern: &Postern, name: &str) -> u64 {
    let page = ureq::get(format!("http://127.0.0.1:{}/metrics", postern.metrics)).call();
    let Ok(mut page) = page else { return 0 };
    let page = page.body_mut().read_to_string().unwrap();
    let line = page.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("{name} in {page}")).split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn what_a_folder_gives_a_bucket_gives() {
    let _alone = alone();
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let s3 = S3::locking(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, &s3.section(LOCKED));
    let keys = folder.path().join("keys.txt");
    fs::write(&keys, postern.run(&["audit", "key"])).unwrap();
    let process = postern.start("up");
    let token = postern.token("billing-bot", "agents");
    for _ in 0..5 {
        postern.sql(&token, "select id, name, card_number from customers order by id limit 3");
        postern.refused(&token, "select id from customers where card_number like '4%'");
    }
    eventually("the statements are found", Duration::from_secs(30), || {
        (postern.found("type:statement") >= 10).then_some(())
    });
    process.stop();
    assert!(!postern.data().join("archive").exists(), "nothing of it is in a folder");

    // proved by the gate's own code, by the other program from a copy, and one session by its bundle
    let (keys, bundle) = (keys.to_str().unwrap(), folder.path().join("evidence.zip"));
    let own = postern.command(&["audit", "verify", "--keys", keys]).output().unwrap();
    assert!(own.status.success(), "{}", text(&own));
    assert!(text(&own).contains("signed by keys that you believe") && text(&own).contains("0 batches came after it"));
    let copy = folder.path().join("copy");
    s3.administer(&["copy", &format!("{PREFIX}/"), copy.to_str().unwrap()]);
    assert!(copy.join("archive.json").exists());
    let proved = |what: &str, path: &std::path::Path| {
        let mut python = Command::new(cache().join("clients/venv/bin/python"));
        python.arg(root().join("deploy/verify/postern-verify")).arg(what).arg(path).args(["--keys", keys]);
        let output = python.output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    };
    proved("archive", &copy);
    let sessions: serde_json::Value = serde_json::from_str(&postern.run(&["session", "ls", "-o", "json"])).unwrap();
    assert_eq!(sessions.as_array().unwrap().len(), 10);
    let session = sessions[0]["session"].as_str().unwrap();
    postern.run(&["session", "export", session, "--bundle", bundle.to_str().unwrap()]);
    proved("bundle", &bundle);
    assert!(postern.run(&["session", "play", session]).contains("select"));

    // the index comes again from the bucket alone
    fs::remove_dir_all(postern.data().join("index")).unwrap();
    let process = postern.start("up");
    eventually("the index is built again", Duration::from_secs(30), || {
        (postern.found("type:statement") >= 10).then_some(())
    });
    process.stop();

    // what was locked cannot be deleted, by whoever may delete; the rest was not to be locked
    let locked = s3.administer(&["locked", &format!("{PREFIX}/checkpoint/")]);
    assert!(locked.ends_with(" locked, 0 deleted\n") && !locked.starts_with('0'), "{locked}");
    let others = s3.administer(&["locked", &format!("{PREFIX}/data/")]);
    assert!(others.starts_with("0 locked"), "{others}");
    let verified = postern.command(&["audit", "verify"]).output().unwrap();
    assert_eq!(verified.status.code(), Some(5), "its data was deleted: {}", text(&verified));
    assert!(!postern.process_log().contains(s3.secret()), "a secret is in the log");
}

#[test]
fn clients_go_on_while_the_store_fails_and_nothing_is_lost_or_doubled() {
    let _alone = alone();
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let s3 = S3::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, &s3.section(""));
    let process = postern.start("up");
    let token = postern.token("ledger-bot", "agents");
    let sofar = || postgres.sql("select count(*) from ledger").parse::<u64>().unwrap();
    let mut acknowledged = Vec::new();
    let modes = [Mode::Refuse, Mode::Answer(503), Mode::SwallowPuts, Mode::Hang, Mode::Answer(403), Mode::Answer(500)];
    for (number, mode) in (0..).zip(modes) {
        // what gets no answer fails only when its time is over
        let seconds = if mode == Mode::Hang { 25 } else { 10 };
        let run = Run::start(&postern, &token, folder.path(), number, seconds);
        let (before, harmed) = (sofar(), s3.proxy.harmed());
        eventually("clients write", Duration::from_secs(20), || (sofar() > before + 100).then_some(()));
        s3.proxy.set(mode);
        eventually("the recorder says so", Duration::from_secs(20), || {
            (metric(&postern, "recorder_store_failing") == 1).then_some(())
        });
        let during = sofar();
        eventually("clients go on meanwhile", Duration::from_secs(20), || (sofar() > during + 100).then_some(()));
        assert!(postern.is_ready(), "the gate is not the recorder");
        assert!(s3.proxy.harmed() > harmed, "{mode:?} was met");
        s3.proxy.set(Mode::Pass);
        eventually("the recorder goes on", Duration::from_secs(20), || {
            (metric(&postern, "recorder_store_failing") == 0).then_some(())
        });
        acknowledged.extend(run.acknowledged());
    }
    assert_eq!(metric(&postern, "recorder_conflicts_total"), 0, "it was alone");
    assert!(postern.process_log().contains("cannot record, will try again"));
    let archived = ledger::complete(&postern, &acknowledged, Duration::from_secs(60));
    ledger::nothing_forwarded_unrecorded(&postgres, &archived);
    ledger::search_agrees(&postern, &archived);

    // it ends while the store is away, begins while the store is away, and has lost nothing
    let run = Run::start(&postern, &token, folder.path(), 6, 3);
    s3.proxy.set(Mode::Hang);
    acknowledged.extend(run.acknowledged());
    process.stop();
    s3.proxy.set(Mode::Refuse);
    let process = postern.start("up");
    postern.sql(&token, "select 1");
    let read = postern.command(&["audit", "verify"]).output().unwrap();
    assert_eq!(read.status.code(), Some(1), "{}", text(&read));
    s3.proxy.set(Mode::Pass);
    let archived = ledger::complete(&postern, &acknowledged, Duration::from_secs(60));
    ledger::nothing_forwarded_unrecorded(&postgres, &archived);
    process.stop();
    assert!(!postern.process_log().contains(s3.secret()), "a secret is in the log");
}

#[test]
fn two_recorders_of_one_bucket_archive_everything_once() {
    let _alone = alone();
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let kafka = Kafka::start(folder.path());
    let s3 = S3::start(folder.path());
    let broker = format!("[kafka]\nbrokers = [\"127.0.0.1:{}\"]\npartitions = 4\n", kafka.port);
    let gate = Postern::configure(folder.path(), "gate", &postgres, &broker);
    // a member that takes longer than this loses its partitions, as it does in an outage of minutes
    let hasty = format!("{broker}client = {{ \"max.poll.interval.ms\" = \"11000\" }}\n{}", s3.section(""));
    let backs = ["back-1", "back-2"].map(|name| Postern::configure(folder.path(), name, &postgres, &hasty));
    let gating = gate.start("proxy");
    let token = gate.token("ledger-bot", "agents");
    let (mut one, two) = (backs[0].start("recorder"), backs[1].start("recorder"));
    let indexing = backs[0].beside();
    let indexer = indexing.start("indexer");
    let sofar = || postgres.sql("select count(*) from ledger").parse::<u64>().unwrap();
    let run = Run::start(&gate, &token, folder.path(), 0, 14);
    for mode in [Mode::SwallowPuts, Mode::Pass] {
        let before = sofar();
        eventually("clients write", Duration::from_secs(20), || (sofar() > before + 300).then_some(()));
        // its partitions go to the other in the middle of what it does
        s3.proxy.set(mode);
        one.kill();
        one = backs[0].launch("recorder", &[]);
    }
    let mut acknowledged = run.acknowledged();
    // both are kept from their work until the group has given their partitions away
    s3.proxy.set(Mode::Refuse);
    acknowledged.extend(Run::start(&gate, &token, folder.path(), 1, 15).acknowledged());
    s3.proxy.set(Mode::Pass);
    gating.stop();
    let archived = ledger::complete(&backs[1], &acknowledged, Duration::from_secs(120));
    ledger::nothing_forwarded_unrecorded(&postgres, &archived);
    ledger::search_agrees(&backs[0], &archived);
    [one, two, indexer].into_iter().for_each(support::Process::stop);
}

#[test]
fn a_bucket_that_will_not_do_ends_the_start_with_what_to_do() {
    let _alone = alone();
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let s3 = S3::start(folder.path());
    let told = |name: &str, section: &str| {
        let postern = Postern::configure(folder.path(), name, &postgres, section);
        let mut process = postern.launch("up", &[]);
        let status = eventually("the end of the start", Duration::from_secs(60), || {
            process.has_ended().then(|| process.child.wait().unwrap())
        });
        assert!(!status.success());
        let log = process.output();
        assert!(!log.contains(s3.secret()), "a secret is in the log");
        log
    };
    let section = s3.section("");
    let log = told("missing", &section.replace("s3://audit/", "s3://nowhere/"));
    assert!(log.contains("there is no bucket nowhere; make it"), "{log}");
    let stranger = support::secret_file(folder.path(), "another-secret", "somebody-else");
    let named = folder.path().join("s3-secret");
    let log = told("stranger", &section.replace(named.to_str().unwrap(), stranger.to_str().unwrap()));
    assert!(log.contains("SignatureDoesNotMatch") && log.contains("the store refuses these credentials"), "{log}");
    assert!(!log.contains("somebody-else"), "{log}");
    let log = told("unlocked", &s3.section(LOCKED));
    assert!(log.contains("the bucket has no Object Lock"), "{log}");
    let log = told("mistyped", &section.replace("allow_http = true", "allow_htp = true\nobject_lock = \"always\""));
    assert!(log.contains("did you mean `allow_http`?") && log.contains("governance"), "{log}");
}
