//! The recorded frames of a session are what its client sent and received, byte for byte, after masking.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use recorder::{
    archive::{Filter, Reader},
    frames,
};
use schemas::{
    Body, Event, SessionId,
    event::{CloseReason, Direction, PayloadCodec},
};
use std::{collections::BTreeSet, time::Duration};
use support::{Postern, Postgres, eventually, folder};
use wire::*;

struct Record {
    reader: Reader,
    known: BTreeSet<SessionId>,
}

impl Record {
    fn new(postern: &Postern) -> Self {
        let url = Some(postern.data().join("archive").display().to_string());
        let config = recorder::config::File { url, ..Default::default() }.check().unwrap();
        Self { reader: Reader::open(&config).unwrap(), known: BTreeSet::new() }
    }

    /// The events of the session that ended since the last call.
    fn next(&mut self) -> Vec<Event> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        eventually("the session is archived", Duration::from_secs(20), || {
            runtime.block_on(async {
                let sessions = self.reader.sessions(Filter::default()).await.unwrap();
                let new: Vec<_> = sessions.iter().filter(|s| !self.known.contains(&s.session)).collect();
                let [one] = new.as_slice() else {
                    assert!(new.is_empty(), "more than one session");
                    return None;
                };
                let events = self.reader.events(one.session).await.unwrap();
                matches!(events.last()?.body, Body::SessionClosed(_)).then(|| {
                    self.known.insert(one.session);
                    events
                })
            })
        })
    }
}

fn reason(events: &[Event]) -> CloseReason {
    let Some(Body::SessionClosed(closed)) = events.last().map(|e| &e.body) else { panic!("no end") };
    closed.reason
}

/// The first place where two streams differ, for people.
fn assert_same(what: &str, recorded: &[u8], real: &[u8]) {
    let place = recorded.iter().zip(real).take_while(|(a, b)| a == b).count();
    assert!(
        recorded == real,
        "{what}: {} bytes recorded, {} real, different from byte {place}: {:?} and {:?}",
        recorded.len(),
        real.len(),
        String::from_utf8_lossy(&recorded[place..(place + 80).min(recorded.len())]),
        String::from_utf8_lossy(&real[place..(place + 80).min(real.len())]),
    );
}

/// Everything that a client may do, each with the kinds of messages that PostgreSQL answers.
fn work(wire: &mut Wire) {
    // simple
    assert_eq!(wire.query("select id, name from customers order by id"), "TDCZ");
    assert_eq!(wire.query("select 1 as a; select 2 as b; insert into ledger values (1, 1, 'one')"), "TDCTDCCZ");
    assert_eq!(wire.query(""), "IZ");
    assert_eq!(wire.query("drop table if exists nothing_here"), "NCZ");
    // more than one buffer and more than one run
    assert_eq!(wire.query("select g, repeat('row ' || g || ' ', 40) from generate_series(1, 20000) g"), "TDCZ");
    // masked, in text and in binary, with views and stars
    assert_eq!(wire.query("select * from customers order by id limit 5"), "TDCZ");
    assert_eq!(wire.query("select pan from v_cards order by id"), "TDCZ");
    let sql = "select id, card_number, ssn, email, balance from customers where id <= $1 order by id";
    let two = 2i32.to_be_bytes();
    let frames = [parse("by_id", sql), describe_statement("by_id"), sync()];
    assert_eq!(wire.exchange(&frames), "1tTZ");
    for binary in [false, true] {
        let frames = [bind("", "by_id", true, &[Some(&two)], binary), describe_portal(""), execute("", 0), sync()];
        assert_eq!(wire.exchange(&frames), "2TDCZ");
    }
    // extended: pipelined, a portal in parts, without Describe
    let frames = [
        parse("", "select g from generate_series(1, 10) g"),
        bind("", "", false, &[], false),
        execute("", 4),
        execute("", 4),
        execute("", 4),
        sync(),
    ];
    assert_eq!(wire.exchange(&frames), "12DsDsDCZ");
    let mut many = Vec::new();
    for id in 10..30 {
        let id = format!("{id}");
        many.extend([
            parse("", "insert into ledger values ($1, 1, 'p')"),
            bind("", "", false, &[Some(id.as_bytes())], false),
        ]);
        many.extend([execute("", 0), sync()]);
    }
    wire.send(&many);
    for _ in 0..20 {
        assert_eq!(kinds(&wire.until(b'Z')), "12CZ");
    }
    assert_eq!(wire.exchange(&[close_statement("by_id"), sync()]), "3Z");
    // errors: simple, extended up to Sync, within a transaction, of the gate
    assert_eq!(wire.query("select 1/0"), "EZ");
    let frames = [parse("", "select nothing from nowhere"), bind("", "", false, &[], false), execute("", 0), sync()];
    assert_eq!(wire.exchange(&frames), "EZ");
    assert_eq!(wire.query("begin; select 1; select 1/0; select 2"), "CTDCEZ");
    assert_eq!(wire.query("select 1"), "EZ");
    assert_eq!(wire.query("rollback"), "CZ");
    assert_eq!(wire.query("select id from customers where card_number like '4%'"), "EZ");
    assert_eq!(wire.query("select upper(card_number), md5(ssn) from customers"), "TDCZ");
    assert_eq!(wire.query("select 'it goes on'"), "TDCZ");
    let frames =
        [parse("", "select id from customers order by email"), bind("", "", false, &[], false), execute("", 0), sync()];
    assert_eq!(wire.exchange(&frames), "EZ");
    // COPY out, in, given up
    assert_eq!(wire.query("copy payments to stdout"), "HdcCZ");
    assert_eq!(
        wire.query("copy (select g, repeat('x', 100) from generate_series(1, 5000) g) to stdout (format csv)"),
        "HdcCZ"
    );
    wire.send(&[query("copy ledger from stdin")]);
    wire.until(b'G');
    assert_eq!(wire.exchange(&[copy_data(b"100\t1\ta\n101\t1"), copy_data(b"\tb\n"), copy_done()]), "CZ");
    wire.send(&[query("copy ledger from stdin")]);
    wire.until(b'G');
    assert_eq!(wire.exchange(&[copy_data(b"102\t1\ta\n"), copy_fail("no more")]), "EZ");
    // the next COPY asked for before the last one is answered: its end is not the other's
    wire.send(&[query("copy ledger from stdin")]);
    wire.until(b'G');
    wire.send(&[copy_data(b"103\t1\ta\n"), copy_done(), query("copy ledger from stdin")]);
    assert_eq!(kinds(&wire.until(b'G')), "CZG");
    assert_eq!(wire.exchange(&[copy_data(b"104\t1\ta\n"), copy_done()]), "CZ");
    // two in one message
    wire.send(&[query("copy ledger from stdin; copy ledger from stdin")]);
    wire.until(b'G');
    wire.send(&[copy_data(b"105\t1\ta\n"), copy_done()]);
    assert_eq!(kinds(&wire.until(b'G')), "CG");
    assert_eq!(wire.exchange(&[copy_data(b"106\t1\ta\n"), copy_done()]), "CZ");
}

#[test]
fn the_recorded_frames_are_what_the_client_saw() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, "");
    postern.without_guardrails();
    let process = postern.start("up");
    let token = postern.token("raw-client", "agents");
    let mut record = Record::new(&postern);

    // an orderly session
    let mut client = Wire::connect(postern.port, "agent", "shop", &token);
    work(&mut client);
    client.send(&[terminate()]);
    client.drain();
    let events = record.next();
    assert_same("to the client", &frames::stream(&events, Direction::Server).unwrap(), &client.received);
    assert_same("from the client", &frames::stream(&events, Direction::Client).unwrap(), &client.sent);
    assert_eq!(reason(&events), CloseReason::ClientTerminated);
    let text = String::from_utf8_lossy(&client.received).into_owned();
    // every card begins so; fewer digits stand in some time in microseconds now and then
    for secret in ["4929333333", "private.example", "-45-"] {
        assert!(!text.contains(secret), "{secret} reached the client (MSK-1)");
    }
    assert!(text.contains("Customer 5") && text.contains("invoice 400"));
    let everything = support::plain(&postern.events());
    for secret in [token.as_str(), &postgres.password, "4929333333", "private.example", "-45-"] {
        assert!(!everything.contains(secret), "{secret} stands in an event (SCP-2, MSK-1)");
    }
    assert!(everything.contains("Customer 5") && everything.contains("invoice 400"), "nothing was searched");
    println!("{} bytes to the client and {} from it are recorded exactly", client.received.len(), client.sent.len());

    // one that the gate ends: its last word is recorded too
    let mut client = Wire::connect(postern.port, "agent", "shop", &token);
    client.query("select 1");
    client.send(&[frame(b'Y', b"what")]);
    client.drain();
    let events = record.next();
    assert_same("the last word", &frames::stream(&events, Direction::Server).unwrap(), &client.received);
    assert!(String::from_utf8_lossy(&client.received).contains("FATAL"));
    assert_eq!(reason(&events), CloseReason::ProtocolViolation);

    // one that goes away in the middle of an answer: the record has what was seen, and possibly what was under way
    let mut client = Wire::connect(postern.port, "agent", "shop", &token);
    client.send(&[query("select g, repeat('x', 1000) from generate_series(1, 200000) g")]);
    let (sent, received) = client.leave_after(5_000_000);
    let events = record.next();
    let recorded = frames::stream(&events, Direction::Server).unwrap();
    assert_same("seen before it went", &recorded[..received.len().min(recorded.len())], &received);
    assert_same("sent before it went", &frames::stream(&events, Direction::Client).unwrap(), &sent);
    assert_eq!(reason(&events), CloseReason::ClientGone);
    process.stop();
    postern.verified();
}

/// What a resource's section says of masking and guardrails, and that it keeps so much of results.
fn keeping(evidence: &str) -> String {
    format!(
        r#"result_evidence = {evidence}
guardrails = {{ off = ["guard:alter", "guard:drop", "guard:truncate", "guard:unbounded"] }}
masking = [
  {{ columns = ["public.customers.card_number"], label = "pan", method = "last4" }},
  {{ columns = ["public.customers.ssn"], label = "ssn", method = "redact" }},
  {{ columns = ["public.customers.email"], label = "email", method = "redact" }},
]"#
    )
}

/// Holds the recorded runs against what the client got: the kept ones byte for byte, the others by their digest, which end where
/// the next one begins. Gives the bytes that were kept, and how many were not.
fn compare(events: &[Event], received: &[u8]) -> (Vec<u8>, usize) {
    let Some(Body::SessionClosed(closed)) = events.last().map(|event| &event.body) else { panic!("no end") };
    assert_eq!(closed.bytes_out, received.len() as u64);
    let runs: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.body {
            Body::Frames(run) if run.direction == Direction::Server => Some(run),
            _ => None,
        })
        .collect();
    let ends = runs.iter().skip(1).map(|run| run.offset).chain([closed.bytes_out]);
    let (mut kept, mut left) = (Vec::new(), 0);
    for (run, end) in runs.iter().zip(ends) {
        let real = &received[usize::try_from(run.offset).unwrap()..usize::try_from(end).unwrap()];
        match run.payload.codec {
            PayloadCodec::Plain => {
                assert_same("what was kept", &run.payload.bytes, real);
                kept.extend_from_slice(real);
            }
            PayloadCodec::Digest => {
                let digest = ring::digest::digest(&ring::digest::SHA256, real);
                assert_eq!(run.payload.bytes, digest.as_ref(), "the digest of bytes {} to {end}", run.offset);
                left += real.len();
            }
            PayloadCodec::SealedZstd | PayloadCodec::SealedDigest => panic!("nothing is sealed here"),
        }
    }
    (kept, left)
}

/// The most rows of one answer among these frames, and how many answers with rows there are.
fn rows(stream: &[u8]) -> (usize, usize) {
    let (mut most, mut now, mut answers) = (0, 0, 0);
    for frame in frames::Frames::new(stream) {
        match frame.unwrap().tag {
            b'D' | b'd' => {
                answers += usize::from(now == 0);
                now += 1;
                most = most.max(now);
            }
            b'N' | b'S' => {}
            _ => now = 0,
        }
    }
    (most, answers)
}

#[test]
fn of_rows_that_a_resource_does_not_keep_the_record_has_digests() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, "");
    postern.add_resource(&postgres, "few", &keeping("{ first_rows = 3 }"));
    postern.add_resource(&postgres, "proofs", &keeping("\"digest\""));
    let process = postern.start("up");
    let token = postern.token("raw-client", "agents");
    let mut record = Record::new(&postern);
    for (resource, limit) in [("few", 3), ("proofs", 0)] {
        postgres.sql("delete from ledger");
        let mut client = Wire::connect(postern.port, "agent", resource, &token);
        work(&mut client);
        client.send(&[terminate()]);
        client.drain();
        let events = record.next();
        assert_same("from the client", &frames::stream(&events, Direction::Client).unwrap(), &client.sent);
        let (kept, left) = compare(&events, &client.received);
        let (real, answers) = rows(&client.received);
        let (most, kept_answers) = rows(&kept);
        assert!(real > 10_000 && answers > 10, "{real} rows, {answers} answers");
        assert_eq!(most, limit);
        assert_eq!(kept_answers, if limit == 0 { 0 } else { answers });
        assert!(left > 3_000_000 && kept.len() < 30_000, "{left} bytes left out, {} kept", kept.len());
        println!("{resource}: {} bytes kept, {left} proved by digests", kept.len());

        // who plays the session is told what is not there
        let id = events[0].session.to_string();
        let played = postern.run(&["session", "play", &id]);
        let told = played.lines().filter(|line| line.contains("kept as digests")).count();
        assert!(told > 8, "{played}");
        assert!(played.contains("19997 of them kept as digests") == (limit == 3), "{played}");
        assert!(played.contains("SELECT 20000") && played.contains("it goes on"), "{played}");
        // the last answers are found where they belong: nothing ended the reading before
        assert!(!played.contains("cannot be shown"), "{played}");
    }
    let everything = support::plain(&postern.events());
    assert!(!everything.contains("invoice 400") && everything.contains("application_name"));
    process.stop();
    postern.verified();
}
