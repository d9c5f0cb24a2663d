//! Statements of the gate's own on a session's connection: how they are sent, and how their answers are kept from the client.
//!
//! In the extended protocol one is a run of Close, Parse, Bind, Execute and Close under names of the gate's own, so that
//! nothing of the client's is overwritten and nothing stays behind; the client's window goes on around it. Outside of a
//! window it is a simple message. What the server answers is collected in the [`Own`] that awaits it; an error in a window
//! is the window's: the client gets it, and what follows is skipped up to Sync.

use crate::frames::{self, Fields, Violation, backend};

/// The name of the gate's own statement and portal. A client that uses it loses what it meant by it, nothing else.
const NAME: &[u8] = b"postern own\0";

/// Closes in the run of one own statement: two before, since a failed window may have left the names, two behind.
const CLOSES: u8 = 4;

/// Rows of one own statement's answer.
const MAX_ROWS: usize = 20_000;

/// Bytes of one own statement's answer.
const MAX_BYTES: usize = 8 << 20;

/// What an own statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// BEGIN around statements that would commit by themselves.
    Begin,
    /// The counters before the first write of a transaction.
    Baseline,
    /// SET CONSTRAINTS ALL IMMEDIATE.
    Constraints,
    /// The counters before a commit.
    Reading,
    /// COMMIT of what [`Purpose::Begin`] opened.
    Commit,
    /// ROLLBACK of a transaction that may not commit.
    Rollback,
    /// What makes the client's transaction fail.
    Fail,
    /// EXPLAIN of what the client is about to run.
    Estimate,
    /// Sync behind what only parses, before a statement is held.
    Settle,
    /// A window of own statements that counts what a held one would write.
    Measure,
}

/// An own statement that the server owes an answer to.
#[derive(Debug)]
pub struct Own {
    /// What it is for.
    pub purpose: Purpose,
    /// The rows of its answer, in text.
    pub rows: Vec<Vec<Option<String>>>,
    /// It is a simple message, or a window with its Sync: ReadyForQuery ends its answer.
    pub simple: bool,
    /// The server's error: SQLSTATE.
    pub error: Option<String>,
    bytes: usize,
    closes: u8,
}

/// What an answer means for the own statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// More is to come.
    More,
    /// It is answered.
    Whole,
    /// The frame is none of its answer's: it takes the ordinary way.
    Other,
}

impl Own {
    /// One that was just sent.
    pub fn sent(purpose: Purpose, simple: bool) -> Self {
        Self { purpose, rows: Vec::new(), simple, error: None, bytes: 0, closes: 0 }
    }

    /// Takes one frame of the server.
    ///
    /// # Errors
    /// [`Violation`] for a frame that is malformed or out of place.
    pub fn take(&mut self, kind: u8, body: &[u8]) -> Result<Answered, Violation> {
        match kind {
            b'D' => self.row(body)?,
            b'1' | b'2' | b'T' | b'C' | b'n' => {}
            b'3' if !self.simple => {
                self.closes += 1;
                if self.closes == CLOSES {
                    return Ok(Answered::Whole);
                }
            }
            b'3' if self.purpose == Purpose::Measure => {}
            b'E' if self.simple => self.error = Some(backend::sqlstate(&backend::report(b'E', body)?)),
            b'Z' if self.simple => return Ok(Answered::Whole),
            b'N' | b'S' | b'A' | b'E' => return Ok(Answered::Other),
            other => {
                return Err(Violation::OutOfPlace { kind: char::from(other), when: "in an answer to the gate itself" });
            }
        }
        Ok(Answered::More)
    }

    fn row(&mut self, body: &[u8]) -> Result<(), Violation> {
        self.bytes += body.len();
        if self.rows.len() >= MAX_ROWS || self.bytes > MAX_BYTES {
            return Err(Violation::OutOfPlace { kind: 'D', when: "so often in an answer to the gate itself" });
        }
        let mut fields = Fields::of(b'D', body);
        let mut row = Vec::new();
        for _ in 0..fields.count()? {
            row.push(fields.value()?.map(|value| String::from_utf8_lossy(value).into_owned()));
        }
        fields.end()?;
        self.rows.push(row);
        Ok(())
    }
}

/// Appends an own statement of the extended protocol.
pub fn put_extended(out: &mut Vec<u8>, sql: &str) {
    // no types; no format codes, no values
    put_bound(out, sql, &[0; 2], &[0; 4]);
}

/// Appends an own statement of the extended protocol with parameters: their types as in Parse, their format codes and
/// values as in Bind.
pub fn put_bound(out: &mut Vec<u8>, sql: &str, types: &[u8], values: &[u8]) {
    let close = |out: &mut Vec<u8>| {
        for what in [b"S", b"P"] {
            frames::put(out, b'C', &[what, NAME].concat());
        }
    };
    close(out);
    frames::put(out, b'P', &[NAME, sql.as_bytes(), &[0], types].concat());
    // the answer in text
    frames::put(out, b'B', &[NAME, NAME, values, &[0; 2]].concat());
    frames::put(out, b'E', &[NAME, &[0, 0, 0, 0]].concat());
    close(out);
}

/// A simple message.
pub fn simple(sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frames::put(&mut out, b'Q', &[sql.as_bytes(), &[0]].concat());
    out
}
