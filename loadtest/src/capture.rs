//! From the events of a session to what is sent again: its exchanges.

use crate::{
    Error,
    wire::{self, Frame, texts},
};
use schemas::{
    Body, Event,
    event::{Direction, PayloadCodec, Protocol, Verdict, VerdictKind},
};
use std::collections::{BTreeMap, HashMap};

/// A statement's shape: what its latencies are gathered under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Kind and fingerprint.
    pub(crate) shape: String,
    pub(crate) denied: bool,
    pub(crate) masked: bool,
}

/// A frame of the client, and when it came, in microseconds since the first.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) frame: Frame,
    pub(crate) at: u64,
}

/// What the client sent up to the message that ReadyForQuery answers, and that answer as it was recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exchange {
    pub(crate) sent: Vec<Sent>,
    pub(crate) answer: Vec<Frame>,
    /// In the order in which their answers end.
    pub(crate) statements: Vec<Statement>,
    /// It ends with a message that ReadyForQuery answers.
    pub(crate) answered: bool,
    /// For differences: its SQL text.
    pub(crate) text: String,
}

/// A session to send again.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) parameters: BTreeMap<String, String>,
}

/// Reads the exchanges out of a session's events, in their order.
pub(crate) fn read(events: &[Event]) -> Result<Capture, Error> {
    let mut capture = Capture::default();
    let mut known = Known::default();
    let (mut client, mut server) = (Stream::default(), Stream::default());
    let mut texts: HashMap<u64, (Protocol, String)> = HashMap::new();
    for event in events {
        match &event.body {
            Body::SessionOpened(opened) => capture.parameters = opened.parameters.clone(),
            Body::Frames(frames) => {
                if frames.payload.codec != PayloadCodec::Plain {
                    return Err(Error::Capture("its frames are sealed, or kept as digests only"));
                }
                let stream = if frames.direction == Direction::Client { &mut client } else { &mut server };
                stream.add(event.time, frames.offset, &frames.payload.bytes)?;
            }
            Body::Statement(statement) => {
                texts.insert(statement.number, (statement.protocol, statement.text.to_text()));
            }
            Body::Verdict(verdict) => {
                if let Some((_, text)) = texts.remove(&verdict.number) {
                    known.add(text, verdict);
                }
            }
            _ => {}
        }
    }
    let answers = answers(server.frames()?);
    capture.exchanges = exchanges(client.frames()?, answers, &mut known);
    Ok(capture)
}

/// One direction's bytes, and where each run began.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    runs: Vec<(usize, i64)>,
}

impl Stream {
    fn add(&mut self, time: i64, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        if u64::try_from(self.bytes.len()).ok() != Some(offset) {
            return Err(Error::Capture("a run of frames is missing"));
        }
        self.runs.push((self.bytes.len(), time));
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn frames(&self) -> Result<Vec<(Frame, u64)>, Error> {
        let first = self.runs.first().map_or(0, |run| run.1);
        let (mut start, mut frames) = (0, Vec::new());
        while let Some((frame, size)) =
            wire::take(self.bytes.get(start..).unwrap_or_default()).map_err(Error::Capture)?
        {
            let run = self.runs.partition_point(|(begin, _)| *begin <= start).saturating_sub(1);
            let time = self.runs.get(run).map_or(first, |run| run.1);
            frames.push((frame, u64::try_from(time - first).unwrap_or(0)));
            start += size;
        }
        Ok(frames)
    }
}

/// The server's frames up to each ReadyForQuery; what comes before the client's first message belongs to no exchange.
fn answers(frames: Vec<(Frame, u64)>) -> Vec<Vec<Frame>> {
    let mut answers = vec![Vec::new()];
    for (frame, _) in frames {
        let ends = frame.kind == b'Z';
        if let Some(last) = answers.last_mut() {
            last.push(frame);
        }
        if ends {
            answers.push(Vec::new());
        }
    }
    let greeting = answers
        .first()
        .is_some_and(|a| a.last().is_some_and(|f| f.kind == b'Z') && a.iter().all(|f| b"SZNK".contains(&f.kind)));
    if greeting {
        answers.remove(0);
    }
    answers
}

/// The shapes of the statements that were seen, by text.
#[derive(Default)]
struct Known {
    shapes: HashMap<String, Statement>,
    /// Texts in the order in which they came, for messages of several.
    order: Vec<String>,
    prepared: HashMap<String, String>,
    portals: HashMap<String, String>,
}

impl Known {
    fn add(&mut self, text: String, verdict: &Verdict) {
        let statement = Statement {
            shape: format!("{} {}", verdict.kind, verdict.fingerprint).trim_end().to_owned(),
            denied: matches!(verdict.verdict, VerdictKind::Deny),
            masked: verdict.verdict == VerdictKind::Mask,
        };
        self.order.push(text.clone());
        self.shapes.insert(text, statement);
    }

    fn of(&self, text: &str) -> Statement {
        let unknown = || Statement { shape: "(not judged)".to_owned(), denied: false, masked: false };
        self.shapes.get(text).cloned().unwrap_or_else(unknown)
    }

    /// The statements of a simple message.
    fn message(&self, text: &str) -> Vec<Statement> {
        if let Some(one) = self.shapes.get(text) {
            return vec![one.clone()];
        }
        // each statement of a message of several is recorded with its part of the text
        let mut rest = text;
        let mut found = Vec::new();
        for part in self.order.iter().filter(|part| !part.is_empty()) {
            if let Some((_, after)) = rest.split_once(part.as_str()) {
                found.push(self.of(part));
                rest = after;
            }
        }
        if found.is_empty() { vec![self.of(text)] } else { found }
    }

    /// Follows names; says which statement an Execute runs.
    fn follow(&mut self, frame: &Frame) -> Option<Statement> {
        let mut parts = texts(&frame.body);
        let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match frame.kind {
            b'P' => {
                self.prepared.insert(first, second);
            }
            b'B' => {
                let text = self.prepared.get(&second).cloned().unwrap_or_default();
                self.portals.insert(first, text);
            }
            b'E' => return Some(self.of(self.portals.get(&first).map_or("", String::as_str))),
            _ => {}
        }
        None
    }
}

fn exchanges(frames: Vec<(Frame, u64)>, answers: Vec<Vec<Frame>>, known: &mut Known) -> Vec<Exchange> {
    let mut answers = answers.into_iter();
    let mut answer = answers.next().unwrap_or_default();
    let mut done: Vec<Exchange> = Vec::new();
    let mut open = Exchange::default();
    for (frame, at) in frames {
        let kind = frame.kind;
        if kind == b'X' {
            continue;
        }
        // the rows of a COPY belong to the message that began it, which is complete already
        if let (b'd' | b'c' | b'f', true, Some(last)) = (kind, open.sent.is_empty(), done.last_mut()) {
            last.sent.push(Sent { frame, at });
            continue;
        }
        match kind {
            b'Q' => {
                open.text = frame.text();
                open.statements.extend(known.message(&open.text));
            }
            b'P' => open.text = texts(&frame.body).nth(1).unwrap_or_default(),
            _ => {}
        }
        open.statements.extend(known.follow(&frame));
        let copied = open.sent.iter().any(|s| matches!(s.frame.kind, b'c' | b'f'));
        open.sent.push(Sent { frame, at });
        // PostgreSQL ignores a Sync that comes while it reads the rows of a COPY
        let swallowed = kind == b'S' && !copied && answer.iter().any(|f| f.kind == b'G');
        if matches!(kind, b'Q' | b'S') && !swallowed {
            open.answered = true;
            open.answer = std::mem::replace(&mut answer, answers.next().unwrap_or_default());
            done.push(std::mem::take(&mut open));
        }
    }
    if !open.sent.is_empty() {
        done.push(open);
    }
    done
}
