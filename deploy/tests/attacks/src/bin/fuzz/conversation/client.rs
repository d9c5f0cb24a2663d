//! What a client sends: runs of messages that belong together, and sometimes what does not.

use super::FORBIDDEN;
use crate::random::Random;
use proxy::frames;

/// Statements that the rules allow.
pub const ALLOWED: [&str; 29] = [
    "select id from customers",
    "select id, card_number from customers",
    "select card_number from customers where id = $1",
    "select name, upper(card_number) from customers",
    "select * from (select id, card_number from customers) s limit 5",
    "insert into scratch (id, v) values (1, 'x')",
    "update scratch set v = 'y' where id = 1",
    "delete from scratch where id = 1",
    "delete from scratch where id = 1 returning id",
    "begin",
    "commit",
    "rollback",
    "savepoint a",
    "rollback to a",
    "copy customers (id, card_number) to stdout",
    "copy customers (id, card_number) to stdout (format csv)",
    "copy scratch (id, v) from stdin",
    "prepare p as select card_number from customers",
    "execute p",
    "deallocate p",
    "declare c cursor with hold for select id, card_number from customers",
    "fetch all from c",
    "close c",
    "select 1; select id, card_number from customers",
    "select id from customers; delete from scratch where id = 2",
    "begin; update scratch set v = 'z' where id = 3; commit",
    "set search_path = public",
    "show search_path",
    "",
];

/// Those of them that write, alone in a message.
pub const WRITES: [&str; 4] = [
    "insert into scratch (id, v) values (1, 'x')",
    "update scratch set v = 'y' where id = 1",
    "delete from scratch where id = 1",
    "begin; update scratch set v = 'z' where id = 3; commit",
];

/// Statements that are denied whatever stands around them.
const DENIED: [&str; 8] = [
    "select id from customers where card_number = 'forbidden'",
    "select id from customers order by card_number || 'forbidden'",
    "insert into scratch (v) select card_number || 'forbidden' from customers",
    "set standard_conforming_strings = off /* forbidden */",
    "copy customers to stdout (encoding 'latin1') /* forbidden */",
    "select id from customers; copy customers to stdout (encoding 'latin1') /* forbidden */",
    "this is no SQL: forbidden",
    "select pg_read_file('forbidden')",
];

/// Names of statements and portals.
const NAMES: [&str; 4] = ["", "a", "p", "c"];

/// The frames of one session's client, whole.
pub fn messages(random: &mut Random) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for _ in 0..=random.below(10) {
        match random.below(8) {
            0..=2 => all.push(query(text(random))),
            3..=5 => window(&mut all, random),
            6 => copy(&mut all, random),
            _ => all.push(any(random)),
        }
    }
    if random.one_in(3) {
        all.push(frame(b'X', &[]));
    }
    all
}

/// A simple message.
pub fn query(text: &str) -> Vec<u8> {
    frame(b'Q', &[text.as_bytes(), &[0]].concat())
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frames::put(&mut frame, kind, body);
    frame
}

fn text(random: &mut Random) -> &'static str {
    let from: &[&str] = if random.one_in(4) { &DENIED } else { &ALLOWED };
    debug_assert!(DENIED.iter().all(|text| text.contains(FORBIDDEN)));
    random.pick(from).copied().unwrap_or_default()
}

fn name(random: &mut Random) -> &'static str {
    if random.one_in(2) { "" } else { random.pick(&NAMES).copied().unwrap_or_default() }
}

/// Parse, Bind, Describe, Execute of one statement or several, and mostly Sync.
fn window(all: &mut Vec<Vec<u8>>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let (statement, portal) = (name(random), name(random));
        if !random.one_in(6) {
            all.push(parse(statement, text(random), random));
        }
        if random.one_in(4) {
            all.push(frame(b'D', &[b"S", statement.as_bytes(), &[0]].concat()));
        }
        if !random.one_in(8) {
            all.push(bind(portal, statement, random));
        }
        if random.one_in(2) {
            all.push(frame(b'D', &[b"P", portal.as_bytes(), &[0]].concat()));
        }
        let limit = if random.one_in(5) { 1_u32 } else { 0 };
        for _ in 0..=random.below(2) {
            all.push(frame(b'E', &[portal.as_bytes(), &[0], &limit.to_be_bytes()].concat()));
        }
        match random.below(6) {
            0 => all.push(frame(b'C', &[b"S", statement.as_bytes(), &[0]].concat())),
            1 => all.push(frame(b'C', &[b"P", portal.as_bytes(), &[0]].concat())),
            2 => all.push(frame(b'H', &[])),
            _ => {}
        }
    }
    if !random.one_in(10) {
        all.push(frame(b'S', &[]));
    }
}

fn parse(name: &str, text: &str, random: &mut Random) -> Vec<u8> {
    let types: &[u8] = if random.one_in(3) { &[0, 1, 0, 0, 0, 23] } else { &[0, 0] };
    frame(b'P', &[name.as_bytes(), &[0], text.as_bytes(), &[0], types].concat())
}

fn bind(portal: &str, statement: &str, random: &mut Random) -> Vec<u8> {
    // format codes, one value or none, format codes of the answer
    let values: &[u8] = match random.below(4) {
        0 => &[0, 0, 0, 1, 0, 0, 0, 1, b'1', 0, 0],
        1 => &[0, 1, 0, 1, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1, 0, 1, 0, 1],
        2 => &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0],
        _ => &[0, 0, 0, 0, 0, 0],
    };
    frame(b'B', &[portal.as_bytes(), &[0], statement.as_bytes(), &[0], values].concat())
}

/// COPY FROM STDIN with its rows.
fn copy(all: &mut Vec<Vec<u8>>, random: &mut Random) {
    all.push(query("copy scratch (id, v) from stdin"));
    for _ in 0..random.below(4) {
        let rows: &[&[u8]] = &[b"1\tx\n", b"2\t", b"****2298\n", b"\\.\n", b"3\ty\n4\tz\n", b""];
        all.push(frame(b'd', random.pick(rows).copied().unwrap_or_default()));
    }
    match random.below(5) {
        0 => all.push(frame(b'f', b"no\0")),
        1 => {}
        _ => all.push(frame(b'c', &[])),
    }
}

/// A message that stands where it happens to.
fn any(random: &mut Random) -> Vec<u8> {
    match random.below(9) {
        0 => frame(b'd', b"1\tx\n"),
        1 => frame(b'c', &[]),
        2 => frame(b'f', b"no\0"),
        3 => frame(b'H', &[]),
        4 => frame(b'S', &[]),
        5 => frame(b'F', b"\0\0\x04\xd2\0\0\0\0\0\0"),
        6 => frame(b'E', &[name(random).as_bytes(), &[0; 5]].concat()),
        7 => bind(name(random), name(random), random),
        _ => frame(b'C', &[b"S", name(random).as_bytes(), &[0]].concat()),
    }
}
