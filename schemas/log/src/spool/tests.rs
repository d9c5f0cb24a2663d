//! Recovery, over every way in which a small journal can be cut or damaged.

use super::index::At;
use super::*;
use crate::testing::{Session, Witness, config};
use crate::{Log, Recovery};
use schemas::chain;
use std::path::Path;

const NODE: &str = "node-1";

fn open(folder: &Path) -> (Log, Recovery) {
    Log::open(config(folder), NODE.into()).unwrap()
}

/// Everything that the bus would deliver, without threads.
fn recovered(folder: &Path) -> (Witness, Recovery) {
    let (shared, _, recovery) = recover::open(config(folder), NODE.into(), 10).unwrap();
    (witness(&shared), recovery)
}

fn witness(shared: &Shared) -> Witness {
    let mut witness = Witness::default();
    let index = lock(&shared.index);
    for shard in index.shards() {
        let (oldest, end) = index.bounds(shard);
        for batch in oldest..end {
            match index.find(shard, batch) {
                At::Position(position) => witness.see(&shared.batch_at(position).unwrap()),
                At::Lost(_) => witness.problems.push(format!("batch {batch} of shard {shard} is lost")),
                other => panic!("batch {batch} of shard {shard}: {other:?}"),
            }
        }
    }
    witness
}

/// A journal of two sessions, one of them closed, whose process was killed. Returns its bytes up to the last record.
fn journal(folder: &Path) -> (Vec<u8>, [Session; 2]) {
    let (log, _) = open(folder);
    let mut sessions = [Session::new(0), Session::new(1)];
    for text in ["select 1", "select 2", "select 3"] {
        for session in &mut sessions {
            let position = session.say(&log, text).unwrap();
            log.written(position).unwrap();
        }
    }
    let position = sessions[0].close(&log).unwrap();
    log.written(position).unwrap();
    log.crash();
    let mut bytes = std::fs::read(folder.join(segment::name(0))).unwrap();
    bytes.truncate(ends(&bytes).last().copied().unwrap());
    (bytes, sessions)
}

fn rewrite(folder: &Path, bytes: &[u8]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    let mut whole = bytes.to_vec();
    whole.resize(64 << 10, 0);
    std::fs::write(folder.join(segment::name(0)), whole).unwrap();
}

/// Where each record ends.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    while let record::Found::Record(found) = record::read(&bytes[ends[ends.len() - 1]..]) {
        ends.push(ends[ends.len() - 1] + found.size());
    }
    ends
}

/// How many events of each session a segment begins with.
fn whole_events(bytes: &[u8]) -> BTreeMap<schemas::SessionId, usize> {
    let mut counts = BTreeMap::new();
    let mut at = 0;
    while let record::Found::Record(found) = record::read(&bytes[at..]) {
        at += found.size();
        if let Some(datum) = found.datum() {
            *counts.entry(codec::peek(datum).unwrap().session).or_default() += 1;
        }
    }
    counts
}

#[test]
fn aud_3_and_4_hold_wherever_the_journal_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, sessions) = journal(folder.path());
    let scratch = tempfile::tempdir().unwrap();
    for cut in 0..=bytes.len() {
        rewrite(scratch.path(), &bytes[..cut]);
        let whole = whole_events(&std::fs::read(scratch.path().join(segment::name(0))).unwrap());
        let (witness, recovery) = recovered(scratch.path());
        witness.check().unwrap_or_else(|problem| panic!("cut at {cut}: {problem}"));
        assert!(recovery.gaps.is_empty(), "cut at {cut}");
        for session in &sessions {
            let written = whole.get(&session.id).copied().unwrap_or(0);
            if written == 0 {
                assert_eq!(witness.count(session.id), 0);
                continue;
            }
            let ended = written as u64 == session.next && session.id == sessions[0].id;
            assert_eq!(witness.count(session.id), written + usize::from(!ended), "cut at {cut}");
            assert!(witness.closed_once(session.id), "cut at {cut}");
        }
    }
}

#[test]
fn a_flipped_bit_costs_at_most_its_record_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, sessions) = journal(folder.path());
    let scratch = tempfile::tempdir().unwrap();
    let total: usize = whole_events(&bytes).values().sum();
    let last = ends(&bytes).iter().rev().nth(1).copied().unwrap();
    for byte in (0..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[byte] ^= 0x20;
        rewrite(scratch.path(), &damaged);
        let (witness, recovery) = recovered(scratch.path());
        assert_eq!(recovery.gaps.len(), usize::from(byte < last), "byte {byte}");
        assert_eq!(recovery.torn_bytes > 0, byte >= last, "byte {byte}");
        let mut kept = 0;
        for session in &sessions {
            let events = witness.events.get(&session.id).cloned().unwrap_or_default();
            let distinct: std::collections::BTreeSet<_> = events.iter().collect();
            assert_eq!(distinct.len(), events.len(), "byte {byte}: doubled in {events:?}");
            kept += events.len();
        }
        assert!(kept + 1 >= total, "byte {byte}: {kept} of {total}, {:?}", witness.problems);
        let quarantined = scratch.path().join("quarantine").exists();
        assert_eq!(quarantined, byte < last, "byte {byte}");
        // the damage is mended: a second start finds none
        let (_, again) = recovered(scratch.path());
        assert!(again.gaps.is_empty() && again.torn_bytes == 0, "byte {byte}");
    }
}

#[test]
fn a_missing_segment_is_a_gap_and_the_rest_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    let mut session = Session::new(0);
    let mut position = session.say(&log, "").unwrap();
    for number in 0..2000u32 {
        // texts that do not compress well: the batches in a segment hold few more events than fit it themselves
        let part = |n: u8| chain::hexadecimal(&chain::header_hash(&[&number.to_be_bytes()[..], &[n]].concat()));
        position = session.say(&log, &(0..6).map(part).collect::<String>()).unwrap();
    }
    log.written(position).unwrap();
    log.crash();
    let names = segment::list(folder.path()).unwrap();
    assert!(names.len() >= 4, "{names:?}");
    std::fs::remove_file(&names[1].1).unwrap();
    let (witness, recovery) = recovered(folder.path());
    assert_eq!(recovery.gaps.len(), 1, "{:?}", recovery.gaps);
    let kept = witness.count(session.id);
    // all that was elsewhere; and what was in it too, where the sealer came to it so late that its batch was not
    assert!(kept > 1500 && kept <= 2002, "{kept}");
    let (_, again) = recovered(folder.path());
    assert_eq!(again.gaps, []);
}

#[test]
fn a_missing_segment_is_told_once_however_full_the_one_before_it_was() {
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (bytes, _) = journal(folder.path());
    let next = ends(&bytes).len() as u64;
    for left in [0, 1, 3, record::HEADER - 1, record::HEADER, record::HEADER + 1, 500] {
        let mut whole = bytes.clone();
        let payload = vec![7; (64 << 10) - whole.len() - record::HEADER - left];
        record::write(&mut whole, next, Kind::Event, 0, record::payload_crc(&[&payload]), &[&payload]);
        rewrite(scratch.path(), &whole);
        let mut last = Vec::new();
        record::write(&mut last, next + 9, Kind::Event, 0, record::payload_crc(&[b"last"]), &[b"last"]);
        last.resize(64 << 10, 0);
        std::fs::write(scratch.path().join(segment::name(128 << 10)), last).unwrap();
        let (_, recovery) = recovered(scratch.path());
        assert_eq!(recovery.gaps.len(), 1, "{left} bytes left: {:?}", recovery.gaps);
        let (_, again) = recovered(scratch.path());
        assert_eq!((again.gaps, again.torn_bytes), (vec![], 0), "{left} bytes left");
    }
}

#[test]
fn epochs_grow_whatever_the_clock_says_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut epochs = Vec::new();
    for now in [1_000, 2_000, 500, 500] {
        let (log, recovery) = Log::open_at(config(folder.path()), NODE.into(), now).unwrap();
        assert_eq!(recovery.previous_epoch, epochs.last().copied());
        epochs.push(log.epoch());
        let mut session = Session::new(1);
        session.say(&log, "").unwrap();
        let position = session.close(&log).unwrap();
        log.written(position).unwrap();
        log.crash();
    }
    assert_eq!(epochs, [1_000, 2_000, 2_001, 2_002]);
    let (witness, _) = recovered(folder.path());
    witness.check().unwrap();
    assert_eq!(witness.events.len(), 4);
}

#[test]
fn a_second_process_and_another_node_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    assert!(matches!(Log::open(config(folder.path()), NODE.into()), Err(Error::Locked { .. })));
    drop(log);
    assert!(matches!(Log::open(config(folder.path()), "node-2".into()), Err(Error::OtherNode { .. })));
    open(folder.path());
}

#[test]
fn a_full_spool_refuses_what_begins_and_takes_what_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    (config.limit_bytes, config.reserve_bytes) = (512 << 10, 128 << 10);
    let (log, _) = Log::open(config, NODE.into()).unwrap();
    let mut session = Session::new(0);
    let refused = loop {
        match session.say(&log, &"x".repeat(1000)) {
            Ok(position) => log.written(position).unwrap(),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Full { .. }), "{refused}");
    session.close(&log).unwrap();
    assert!(log.stats().refused >= 1);
    assert!(log.stats().held_bytes < 512 << 10);
}

#[test]
fn an_event_out_of_order_is_refused_and_nothing_is_appended() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    let mut session = Session::new(0);
    session.say(&log, "").unwrap();
    let mut ahead = Session { next: 5, ..session.clone() };
    assert!(matches!(ahead.say(&log, ""), Err(Error::Sequence { expected: 1, found: 5, .. })));
    session.say(&log, "").unwrap();
    assert_eq!(log.stats().events, 2);
}
