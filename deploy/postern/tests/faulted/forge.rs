//! The checker is no decoration: of the real data of a run one line is dropped, doubled, swapped or altered, many times
//! at random, and each time the checker must say so.
//!
//! Twice over: the archive's lines as they stand, where the sequence numbers tell already; and whole statements by
//! somebody who writes the sequence and the statement numbers anew, so that only what clients saw can tell.

use super::{
    check::{Connection, KINDS, Kind, Saw, acknowledged, check},
    lines::{Archive, Line, What},
};
use fastrand::Rng as Random;
use std::collections::BTreeMap;

/// Picks of each way.
const PICKS: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Dropped,
    Doubled,
    Swapped,
    Altered,
}

const WAYS: [Way; 4] = [Way::Dropped, Way::Doubled, Way::Swapped, Way::Altered];

impl Way {
    /// What the checker must call it, of a statement that a client was told of.
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Dropped => &[Kind::Missing],
            Self::Doubled => &[Kind::Doubled],
            Self::Swapped => &[Kind::OutOfOrder],
            // the id too may be another one
            Self::Altered => &[Kind::Outcome, Kind::Missing],
        }
    }
}

/// Forges the data of a run in every way; what was not noticed fails the test.
pub fn everything_is_noticed(seen: &[Connection], archive: &Archive, seed: u64) {
    let mut random = Random::with_seed(seed);
    let by_label: BTreeMap<&str, &String> = archive
        .iter()
        .filter_map(|(id, lines)| match &lines.first()?.what {
            What::Opened { label } => Some((label.as_str(), id)),
            _ => None,
        })
        .collect();
    let told = |connection: &&Connection| connection.sent.iter().filter(|sent| acknowledged(&sent.saw)).count() > 1;
    let rich: Vec<&Connection> = seen.iter().filter(told).collect();
    assert!(rich.len() > 10, "too little was acknowledged to forge it");
    for (how, forge, named) in
        [("lines", line as Forge, false), ("statements, numbered anew", statement as Forge, true)]
    {
        for way in WAYS {
            let kinds = if named { way.kinds() } else { &KINDS };
            for pick in 0..PICKS {
                let connection = rich[random.usize(..rich.len())];
                let id = by_label[connection.label.as_str()];
                let mut forged = archive[id].clone();
                let what = forge(way, connection, &mut forged, &mut random);
                let before = archive[id].clone();
                assert_ne!(forged, before, "{how}, {way:?}, pick {pick}: nothing was forged: {what}");
                let one = std::slice::from_ref(connection);
                let honest = check(one, &Archive::from([(id.clone(), before)]));
                assert!(honest.is_empty(), "{}", honest[0]);
                let findings = check(one, &Archive::from([(id.clone(), forged)]));
                let noticed = findings.iter().any(|finding| kinds.contains(&finding.kind));
                assert!(noticed, "{how}, {way:?}, pick {pick}: not noticed: {what}, {}", connection.label);
            }
            println!("forged {how}, {way:?}: {PICKS} of {PICKS} noticed");
        }
    }
}

type Forge = fn(Way, &Connection, &mut Vec<Line>, &mut Random) -> String;

/// One line of a session, any one; an altered one is of a statement that the client was told of.
fn line(way: Way, connection: &Connection, lines: &mut Vec<Line>, random: &mut Random) -> String {
    let place = random.usize(..lines.len());
    match way {
        Way::Dropped => format!("{:?}", lines.remove(place)),
        Way::Doubled => {
            let copy = lines[place].clone();
            let text = format!("{copy:?}");
            lines.insert(random.usize(place..=lines.len()), copy);
            text
        }
        Way::Swapped => {
            let other = (place + 1 + random.usize(..lines.len() - 1)) % lines.len();
            lines.swap(place, other);
            format!("{place} and {other}")
        }
        Way::Altered => alter(connection, lines, random),
    }
}

/// One statement of a session that the client was told of, with its verdict and its end; everything numbered anew.
fn statement(way: Way, connection: &Connection, lines: &mut Vec<Line>, random: &mut Random) -> String {
    let told = told(connection, lines);
    let (number, saw) = told[random.usize(..told.len())].clone();
    match way {
        Way::Dropped => lines.retain(|line| number_of(&line.what) != Some(number)),
        Way::Doubled => {
            let copies: Vec<Line> =
                lines.iter().filter(|line| number_of(&line.what) == Some(number)).cloned().collect();
            let end = lines.iter().rposition(|line| number_of(&line.what) == Some(number)).unwrap() + 1;
            // a number of its own, behind all others
            let fresh = lines.iter().filter_map(|line| number_of(&line.what)).max().unwrap() + 1;
            for (place, mut copy) in (end..).zip(copies) {
                *number_in(&mut copy.what).unwrap() = fresh;
                lines.insert(place, copy);
            }
        }
        Way::Swapped => {
            let other = told.iter().map(|(other, _)| *other).filter(|other| *other != number);
            let others: Vec<u64> = other.collect();
            let other = others[random.usize(..others.len())];
            let trade = |line: &mut Line| {
                if let Some(own) = number_in(&mut line.what) {
                    *own = if *own == number {
                        other
                    } else if *own == other {
                        number
                    } else {
                        *own
                    };
                }
            };
            // each takes the other's place in the order, with what it says
            let (mine, others): (Vec<usize>, Vec<usize>) = (places(lines, number), places(lines, other));
            for (mine, other) in mine.iter().zip(&others) {
                lines.swap(*mine, *other);
            }
            lines.iter_mut().for_each(trade);
        }
        Way::Altered => return alter(connection, lines, random),
    }
    renumber(lines);
    format!("statement {number}, {saw:?}")
}

/// The statements of a session that the client was told of: their numbers, and what it saw.
fn told(connection: &Connection, lines: &[Line]) -> Vec<(u64, Saw)> {
    let saw: BTreeMap<u64, &Saw> = connection.sent.iter().map(|sent| (sent.id, &sent.saw)).collect();
    let of = |line: &Line| match &line.what {
        What::Statement { number, id: Some(id) } if acknowledged(saw[id]) => Some((*number, saw[id].clone())),
        _ => None,
    };
    lines.iter().filter_map(of).collect()
}

/// Changes what one line says of a statement that the client was told of.
fn alter(connection: &Connection, lines: &mut [Line], random: &mut Random) -> String {
    let told = told(connection, lines);
    let (number, _) = told[random.usize(..told.len())];
    let places = places(lines, number);
    let line = &mut lines[places[random.usize(..places.len())]];
    let before = format!("{line:?}");
    match &mut line.what {
        What::Statement { id, .. } => *id = id.map(|id| if random.u64(..2) == 0 { id + 1 } else { id ^ (1 << 20) }),
        What::Verdict { denies, .. } => *denies = !*denies,
        What::Completed { outcome, tag, sqlstate, .. } => match random.u64(..3) {
            0 => {
                let outcomes = ["succeeded", "failed", "denied", "abandoned", "suspended"];
                let others: Vec<&str> = outcomes.into_iter().filter(|other| other != outcome).collect();
                *outcome = others[random.usize(..others.len())].to_owned();
            }
            1 => match tag.pop() {
                Some(last) => tag.push(if last == '7' { '8' } else { '7' }),
                None => tag.push_str("INSERT 0 1"),
            },
            _ => {
                *sqlstate = match sqlstate {
                    None => Some("23505".to_owned()),
                    Some(_) if random.u64(..2) == 0 => None,
                    Some(state) => Some(if state == "23505" { "23503".to_owned() } else { "23505".to_owned() }),
                };
            }
        },
        _ => unreachable!("a line of a statement"),
    }
    format!("{before} became {line:?}")
}

fn places(lines: &[Line], number: u64) -> Vec<usize> {
    (0..lines.len()).filter(|place| number_of(&lines[*place].what) == Some(number)).collect()
}

fn number_of(what: &What) -> Option<u64> {
    number_in(&mut what.clone()).copied()
}

fn number_in(what: &mut What) -> Option<&mut u64> {
    match what {
        What::Statement { number, .. } | What::Verdict { number, .. } | What::Completed { number, .. } => Some(number),
        What::Opened { .. } | What::Closed { .. } | What::Gap | What::Other => None,
    }
}

/// Writes sequence numbers, statement numbers and the count at the end anew.
fn renumber(lines: &mut [Line]) {
    let mut numbers: BTreeMap<u64, u64> = BTreeMap::new();
    for (sequence, line) in (0u64..).zip(lines.iter_mut()) {
        line.sequence = sequence;
        let next = numbers.len() as u64 + 1;
        if let What::Statement { number, .. } = &line.what {
            numbers.entry(*number).or_insert(next);
        }
    }
    for line in lines.iter_mut() {
        if let Some(number) = number_in(&mut line.what) {
            *number = numbers.get(number).copied().unwrap_or(*number);
        }
        if let What::Closed { statements, .. } = &mut line.what {
            *statements = numbers.len() as u64;
        }
    }
}
