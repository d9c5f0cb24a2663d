//! Reads the server's recorded frames and gives each statement its answer.
//!
//! An answer ends with CommandComplete, EmptyQueryResponse, PortalSuspended or ErrorResponse. Statements are answered in
//! order, so that the next answer of the kind that a Completed event states is that statement's; answers in between
//! (the error of a Parse that was never executed, BEGIN and COMMIT of the gate's own) belong to none.

use super::{ROWS, Telling, Told, cut};
use crate::frames::{self, Diagnostic, Error, Field, Frames};
use schemas::Event;
use schemas::event::{Body, Completed, Direction, Outcome};
use std::collections::BTreeMap;

/// One answer of the server.
#[derive(Debug, Default)]
struct Answer {
    fields: Option<Vec<Field>>,
    rows: Vec<Vec<Option<Vec<u8>>>>,
    copied: Vec<String>,
    copies: bool,
    notices: Vec<Diagnostic>,
    left_out: u64,
    end: End,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    Open,
    Complete(String),
    Empty,
    Suspended,
    Failed(Diagnostic),
}

/// Answers that are looked through for a statement's own: those in between are few (preparations that failed).
const LOOK_AHEAD: usize = 256;

impl Answer {
    fn is_of(&self, completed: &Completed) -> bool {
        match (&self.end, completed.outcome) {
            (End::Complete(tag), Outcome::Succeeded) => *tag == completed.tag,
            (End::Empty, Outcome::Succeeded) => completed.tag.is_empty(),
            (End::Suspended, Outcome::Suspended) => true,
            (End::Failed(error), Outcome::Failed | Outcome::Denied) => {
                completed.sqlstate.as_ref().is_none_or(|code| *code == error.code)
            }
            _ => false,
        }
    }
}

/// Gives the statements their answers; says why, if the frames cannot be read to their end.
pub(super) fn fill(events: &[Event], telling: &mut Telling) -> Option<String> {
    let frames::Kept { bytes, left_out, problem } = frames::kept(events, Direction::Server);
    let (mut answers, broken) = read(&bytes, &left_out);
    let mut described: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    let mut last: Vec<Field> = Vec::new();
    let mut next = 0;
    for event in events {
        let Body::Completed(completed) = &event.body else { continue };
        let ahead = answers.get(next..).unwrap_or_default();
        let Some(skipped) = ahead.iter().take(LOOK_AHEAD).position(|answer| answer.is_of(completed)) else { continue };
        for fields in ahead.iter().take(skipped).filter_map(|answer| answer.fields.as_ref()) {
            last.clone_from(fields);
        }
        let Some(answer) = answers.get_mut(next + skipped).map(std::mem::take) else { continue };
        next += skipped + 1;
        let bound = telling.binds.get(&completed.number).cloned();
        let Some(told) = telling.told(completed.number) else { continue };
        if let Some(fields) = &answer.fields {
            described.insert(told.prepared.clone(), fields.clone());
            last.clone_from(fields);
        }
        // a simple statement and the unnamed one have no name to be known by: their rows must fit
        let named = || described.get(&told.prepared).filter(|_| !told.prepared.is_empty() || !answer.rows.is_empty());
        let known = answer.fields.as_ref().or_else(named);
        let known = known.filter(|fields| fits(fields, &answer));
        // without a row nothing shows that the last columns are these
        let known = known.map_or(if answer.rows.is_empty() { &[][..] } else { &last }, Vec::as_slice).to_vec();
        give(told, answer, &known, bound.as_ref());
    }
    problem.or(broken).map(|error| error.to_string())
}

fn fits(fields: &[Field], answer: &Answer) -> bool {
    answer.rows.first().is_none_or(|row| row.len() == fields.len())
}

fn give(told: &mut Told, answer: Answer, fields: &[Field], bound: Option<&frames::Bound>) {
    told.notices = answer.notices;
    told.left_out = answer.left_out;
    if let End::Failed(error) = answer.end {
        told.error = Some(error);
    }
    if !answer.copied.is_empty() || (answer.copies && answer.left_out > 0) {
        told.columns = vec!["copy".to_owned()];
        told.rows = answer.copied.into_iter().map(|line| vec![Some(cut(&line))]).collect();
        return;
    }
    let width = answer.rows.first().map(Vec::len);
    if answer.fields.is_none() && width.is_none() && answer.left_out == 0 {
        return; // no rows and no description of its own: INSERT, SET, or an empty result of a prepared statement
    }
    let fields = if width.is_none_or(|width| width == fields.len()) { fields } else { &[] };
    told.columns = match width {
        Some(width) if fields.is_empty() => (1..=width).map(|n| format!("column{n}")).collect(),
        _ => fields.iter().map(|field| field.name.clone()).collect(),
    };
    told.rows = answer.rows.iter().map(|row| shown(row, fields, bound)).collect();
}

fn shown(row: &[Option<Vec<u8>>], fields: &[Field], bound: Option<&frames::Bound>) -> Vec<Option<String>> {
    let value = |(index, value): (usize, &Option<Vec<u8>>)| {
        let field = fields.get(index);
        // A statement's description says text for every column: the Bind decides.
        let binary = bound.map_or_else(|| field.is_some_and(|f| f.binary), |bound| bound.binary_result(index));
        value.as_ref().map(|bytes| cut(&frames::shown(bytes, field.map_or(0, |f| f.type_oid), binary)))
    };
    row.iter().enumerate().map(value).collect()
}

/// Takes the stream apart into answers, as far as it holds. `left_out` says where rows are left out of it, and how many.
fn read(stream: &[u8], left_out: &[(usize, u64)]) -> (Vec<Answer>, Option<Error>) {
    let mut answers = Vec::new();
    let mut answer = Answer::default();
    let mut left_out = left_out.iter().peekable();
    let mut frames = Frames::new(stream);
    loop {
        while let Some((_, rows)) = left_out.next_if(|(at, _)| *at <= frames.position()) {
            answer.left_out += rows;
        }
        let Some(frame) = frames.next() else { break };
        let taken = frame.and_then(|frame| take(frame, &mut answer));
        match taken {
            Ok(false) => {}
            Ok(true) => answers.push(std::mem::take(&mut answer)),
            Err(error) => return (answers, Some(error)),
        }
    }
    (answers, None)
}

/// Takes one frame; true if the answer ends with it.
fn take(frame: frames::Frame<'_>, answer: &mut Answer) -> Result<bool, Error> {
    match frame.tag {
        b'T' => answer.fields = Some(frames::row_description(frame.body)?),
        b'D' if answer.rows.len() < ROWS => {
            let row = frames::data_row(frame.body)?;
            answer.rows.push(row.into_iter().map(|value| value.map(<[u8]>::to_vec)).collect());
        }
        b'H' => answer.copies = true,
        b'd' if answer.copied.len() < ROWS => {
            answer.copied.push(String::from_utf8_lossy(frame.body).trim_end_matches('\n').to_owned());
        }
        b'N' => answer.notices.push(frames::diagnostic(frame.body)?),
        b'C' => answer.end = End::Complete(frames::command_complete(frame.body)?),
        b'I' => answer.end = End::Empty,
        b's' => answer.end = End::Suspended,
        b'E' => answer.end = End::Failed(frames::diagnostic(frame.body)?),
        _ => {}
    }
    Ok(matches!(frame.tag, b'C' | b'I' | b's' | b'E'))
}
