//! The checker: what clients saw, held against what the archive says. A pure function of the two.

use super::lines::{Archive, Line, What};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt,
};

/// What a client saw of one of its connections: every statement, in the order in which it sent them.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its name, which no other connection has.
    pub label: String,
    pub sent: Vec<Sent>,
}

/// A statement that a client sent, or meant to when the connection broke.
#[derive(Debug, Clone)]
pub struct Sent {
    pub id: u64,
    pub saw: Saw,
    pub row: Row,
}

/// What a client saw of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saw {
    /// The connection broke before the answer.
    Unknown,
    /// It did not run: an error came before it in the same message or window, or to its own Parse or Bind.
    Skipped,
    /// A command tag.
    Succeeded { tag: String },
    /// An error of the database's.
    Failed { sqlstate: String },
    /// An error of the gate's, which names the statement.
    Denied { sqlstate: String, statement: String },
}

/// What a client knows of the row that a statement inserts, whose id is the statement's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// It inserts none, or none as far as the client knows.
    Never,
    /// Nobody told whether it was committed.
    Unknown,
    /// It was committed.
    Stored,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Acknowledged, and not in the archive.
    Missing,
    /// In the archive more than once.
    Doubled,
    /// In another order than it was sent and answered.
    OutOfOrder,
    /// Ended in another way than the client saw.
    Outcome,
    /// In the archive, and sent by nobody, or on another connection.
    Stranger,
    /// A session's events do not fit each other (AUD-3, AUD-4).
    Session,
    /// A row of the database without its statement, or acknowledged and not there.
    Row,
}

pub const KINDS: [Kind; 7] =
    [Kind::Missing, Kind::Doubled, Kind::OutOfOrder, Kind::Outcome, Kind::Stranger, Kind::Session, Kind::Row];

#[derive(Debug, Clone)]
pub struct Finding {
    pub kind: Kind,
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, kind: Kind, text: String) {
        self.0.push(Finding { kind, text });
    }
}

/// How a statement ended, as the archive says.
struct Done {
    outcome: String,
    tag: String,
    sqlstate: Option<String>,
}

/// A statement of the archive.
struct Archived {
    number: u64,
    id: Option<u64>,
    denies: Option<bool>,
    done: Option<Done>,
}

/// A session of the archive.
struct Session {
    statements: Vec<Archived>,
    /// The numbers of its statements in the order in which they ended.
    ended: Vec<u64>,
}

/// Everything that is wrong: nothing, if what was acknowledged is there once, in order, with the outcome that the client
/// saw, and every session is whole.
pub fn check(seen: &[Connection], archive: &Archive) -> Vec<Finding> {
    let mut findings = Findings::default();
    let mut labelled: BTreeMap<&str, (&str, Session)> = BTreeMap::new();
    for (id, lines) in archive {
        let Some((label, session)) = assemble(id, lines, &mut findings) else { continue };
        match labelled.entry(label) {
            Entry::Occupied(other) => {
                findings.add(Kind::Doubled, format!("{label} is {} and {id}", other.get().0));
            }
            Entry::Vacant(free) => {
                free.insert((id, session));
            }
        }
    }
    for connection in seen {
        match labelled.remove(connection.label.as_str()) {
            Some((id, session)) => compare(connection, id, &session, &mut findings),
            None => {
                for sent in connection.sent.iter().filter(|sent| acknowledged(&sent.saw)) {
                    findings.add(Kind::Missing, format!("{}, with its session {}", sent.id, connection.label));
                }
            }
        }
    }
    for (label, (id, session)) in labelled {
        if session.statements.iter().any(|statement| statement.id.is_some()) {
            findings.add(Kind::Stranger, format!("{id}: no client knows of {label:?}"));
        }
    }
    findings.0
}

/// The client was told how it ended.
pub fn acknowledged(saw: &Saw) -> bool {
    !matches!(saw, Saw::Unknown | Saw::Skipped)
}

/// Reads a session's lines, which must fit each other. `None`: it is none of a client's.
fn assemble<'a>(id: &str, lines: &'a [Line], findings: &mut Findings) -> Option<(&'a str, Session)> {
    let mut wrong = |text: String| findings.add(Kind::Session, format!("{id}: {text}"));
    let mut statements: Vec<Archived> = Vec::new();
    let mut ended = Vec::new();
    let mut label = None;
    let mut closed = None;
    for (place, line) in (0u64..).zip(lines) {
        if line.sequence != place {
            wrong(format!("event {} where {place} should be", line.sequence));
        }
        if closed.is_some() {
            wrong(format!("{:?} after its end", line.what));
        }
        if label.is_none() && place > 0 {
            wrong(format!("{:?} before it was opened", line.what));
        }
        match &line.what {
            What::Opened { label: own } => {
                if label.replace(own.as_str()).is_some() {
                    wrong("opened twice".to_owned());
                }
            }
            What::Statement { number, id } => {
                if *number != statements.len() as u64 + 1 {
                    wrong(format!("statement {number} after {}", statements.len()));
                }
                statements.push(Archived { number: *number, id: *id, denies: None, done: None });
            }
            What::Verdict { number, denies, .. } => match statements.iter_mut().rev().find(|s| s.number == *number) {
                Some(statement) if statement.denies.is_none() => statement.denies = Some(*denies),
                _ => wrong(format!("a verdict of statement {number}, which waits for none")),
            },
            What::Completed { number, outcome, tag, sqlstate } => {
                ended.push(*number);
                match statements.iter_mut().rev().find(|s| s.number == *number) {
                    Some(statement) if statement.done.is_none() && statement.denies.is_some() => {
                        let (outcome, tag, sqlstate) = (outcome.clone(), tag.clone(), sqlstate.clone());
                        statement.done = Some(Done { outcome, tag, sqlstate });
                    }
                    _ => wrong(format!("an end of statement {number}, which does not run")),
                }
            }
            What::Closed { crashed, statements: total } => {
                if *total != statements.len() as u64 {
                    wrong(format!("closed with {total} statements, and has {}", statements.len()));
                }
                closed = Some(*crashed);
            }
            What::Gap => wrong("a gap".to_owned()),
            What::Other => {}
        }
    }
    match closed {
        None => wrong("never closed (AUD-4)".to_owned()),
        Some(crashed) => {
            for statement in &statements {
                if statement.denies.is_none() {
                    wrong(format!("statement {} has no verdict", statement.number));
                }
                if statement.done.is_none() && !crashed {
                    wrong(format!("statement {} never ended", statement.number));
                }
            }
        }
    }
    label.map(|label| (label, Session { statements, ended }))
}

/// Holds what a client saw of a connection against its session.
fn compare(connection: &Connection, session: &str, archived: &Session, findings: &mut Findings) {
    let label = &connection.label;
    let places: BTreeMap<u64, usize> = connection.sent.iter().enumerate().map(|(n, sent)| (sent.id, n)).collect();
    let mut found: BTreeMap<u64, &Archived> = BTreeMap::new();
    let mut last = None;
    for statement in &archived.statements {
        let Some(id) = statement.id else {
            findings.add(Kind::Stranger, format!("{label}: statement {} has no id of the ledger's", statement.number));
            continue;
        };
        let Some(place) = places.get(&id) else {
            findings.add(Kind::Stranger, format!("{label}: {id} was not sent there"));
            continue;
        };
        if found.insert(id, statement).is_some() {
            findings.add(Kind::Doubled, format!("{label}: {id}"));
        } else if last.is_some_and(|last| last > *place) {
            findings.add(Kind::OutOfOrder, format!("{label}: {id}"));
        }
        last = last.max(Some(*place));
    }
    // the answers came in the order of the statements, so these have ended in it
    let told: BTreeSet<u64> =
        connection.sent.iter().filter(|sent| acknowledged(&sent.saw)).map(|sent| sent.id).collect();
    let numbers: BTreeSet<u64> = found.iter().filter(|(id, _)| told.contains(id)).map(|(_, s)| s.number).collect();
    let ended: Vec<u64> = archived.ended.iter().copied().filter(|number| numbers.contains(number)).collect();
    if let Some(pair) = ended.windows(2).find(|pair| pair[0] >= pair[1]) {
        findings.add(Kind::OutOfOrder, format!("{label}: statement {} ended before {}", pair[0], pair[1]));
    }
    for sent in &connection.sent {
        let statement = found.get(&sent.id);
        if let Some(text) = differs(sent, session, statement.copied()) {
            let kind = if statement.is_none() { Kind::Missing } else { Kind::Outcome };
            findings.add(kind, format!("{label}: {} {text}, the client saw {:?}", sent.id, sent.saw));
        }
    }
}

/// What the archive says instead of what the client saw.
fn differs(sent: &Sent, session: &str, archived: Option<&Archived>) -> Option<String> {
    let Some(statement) = archived else { return acknowledged(&sent.saw).then(|| "is not there".to_owned()) };
    let done = statement.done.as_ref();
    let is = |outcome: &str, tag: &str, sqlstate: Option<&str>| {
        done.is_some_and(|done| done.outcome == outcome && done.tag == tag && done.sqlstate.as_deref() == sqlstate)
    };
    let denied = statement.denies == Some(true);
    let fits = match &sent.saw {
        Saw::Unknown => true,
        // one that was denied before the earlier error was known keeps that end, which nobody was told
        Saw::Skipped if denied => done.is_some_and(|done| done.outcome == "denied" && done.tag.is_empty()),
        Saw::Skipped => is("abandoned", "", None),
        Saw::Succeeded { tag } => is("succeeded", tag, None) && !denied,
        Saw::Failed { sqlstate } => is("failed", "", Some(sqlstate)) && !denied,
        Saw::Denied { sqlstate, statement: named } => {
            let digits = session.trim_start_matches("ses_");
            is("denied", "", Some(sqlstate)) && denied && *named == format!("stm_{digits}_{}", statement.number)
        }
    };
    if fits {
        return None;
    }
    let end = done.map(|done| (done.outcome.as_str(), done.tag.as_str(), done.sqlstate.as_deref()));
    Some(format!("is statement {} of {session}, denied: {denied}, end: {end:?}", statement.number))
}

/// Holds the database's rows against both: each was written by an archived statement, what a client saw committed is
/// there, and what it saw fail, denied or rolled back is not.
pub fn rows(seen: &[Connection], archive: &Archive, rows: &BTreeSet<u64>) -> Vec<Finding> {
    let mut findings = Findings::default();
    let recorded: BTreeSet<u64> = archive.values().flatten().filter_map(|line| statement_id(&line.what)).collect();
    for id in rows.difference(&recorded) {
        findings.add(Kind::Row, format!("row {id} was written by no archived statement"));
    }
    for sent in seen.iter().flat_map(|connection| &connection.sent) {
        let there = rows.contains(&sent.id);
        match sent.row {
            Row::Stored if !there => findings.add(Kind::Row, format!("{} was committed and is not there", sent.id)),
            Row::Never if there => {
                findings.add(Kind::Row, format!("{} is there, and the client saw {:?}", sent.id, sent.saw))
            }
            Row::Never | Row::Unknown | Row::Stored => {}
        }
    }
    findings.0
}

fn statement_id(what: &What) -> Option<u64> {
    match what {
        What::Statement { id, .. } => *id,
        _ => None,
    }
}
