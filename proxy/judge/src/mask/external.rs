//! Columns that an external provider looks at: what it is asked of a row, and what its answers hide.
//!
//! A row is walked twice: [`questions`] gives the texts of its asked values, in order; once there are answers, [`answered`]
//! masks it with one for each. Without an answer a value is hidden whole, and so are asked columns in COPY.

use super::{Error, Plan, Treatment, detect, findings, findings::Findings, kind::Search, row, row::Shown};
use std::{collections::VecDeque, ops::Range};

/// What the provider says of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These bytes of it are protected.
    Spans(Vec<Range<usize>>),
    /// Nothing is known, and nothing is shown.
    Hide,
    /// Nothing is known, and only the detectors hold.
    Unknown,
}

impl Plan {
    /// Some values must be asked for.
    pub fn asks(&self) -> bool {
        self.cells.iter().any(|cell| matches!(cell, Treatment::Ask { .. }))
    }
}

/// Appends the texts of a row that the provider is asked about, in order.
///
/// # Errors
/// As [`super::row()`].
pub fn questions(plan: &Plan, body: &[u8], texts: &mut Vec<String>) -> Result<(), Error> {
    let mut rest = body.get(2..).ok_or(Error::Malformed)?;
    for cell in &plan.cells {
        let (head, after) = rest.split_first_chunk::<4>().ok_or(Error::Malformed)?;
        rest = after;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*head)) else { continue };
        let (field, after) = rest.split_at_checked(length).ok_or(Error::Malformed)?;
        rest = after;
        if let Treatment::Ask { how, binary } = cell {
            texts.push(String::from_utf8_lossy(text_of(*how, *binary, field)).into_owned());
        }
    }
    Ok(())
}

/// Masks a row as [`super::row()`] does, with one answer for each of its questions, and counts what is found.
///
/// # Errors
/// As [`super::row()`].
pub fn answered(
    plan: &Plan,
    body: &[u8],
    answers: &mut VecDeque<Answer>,
    findings: &mut Findings,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    row::masked(plan, body, &mut || answers.pop_front().unwrap_or(Answer::Hide), findings, out)
}

/// The part of a value that is its text.
fn text_of(how: Search, binary: bool, field: &[u8]) -> &[u8] {
    field.get(usize::from(how == Search::Jsonb && binary)..).unwrap_or_default()
}

/// Appends an asked value as its answer leaves it.
pub(super) fn show(
    plan: &Plan,
    (how, binary): (Search, bool),
    field: &[u8],
    answer: Answer,
    out: &mut Vec<u8>,
    search: &mut findings::Search,
) -> Shown {
    let text = text_of(how, binary, field);
    search.provider = matches!(&answer, Answer::Spans(spans) if !spans.is_empty());
    let mut spans = match answer {
        Answer::Hide => std::iter::once(0..text.len()).collect(),
        Answer::Unknown => Vec::new(),
        Answer::Spans(spans) => spans,
    };
    let given = spans.len();
    if spans.iter().any(|span| span.start > span.end || span.end > text.len()) {
        return Shown::Null;
    }
    search.found = detect::find(plan.detectors, text, &mut spans);
    if given > 0 {
        detect::unite(0, &mut spans);
    }
    let whole = spans.first().is_some_and(|span| *span == (0..text.len()));
    match how {
        _ if spans.is_empty() => Shown::Same,
        Search::Plain => {
            detect::replace(text, &spans, out);
            Shown::Written
        }
        Search::Json | Search::Jsonb => {
            out.extend_from_slice(field.get(..field.len() - text.len()).unwrap_or_default());
            if whole {
                out.extend_from_slice(b"\"****\"");
            } else {
                detect::replace_json(text, &spans, out);
            }
            Shown::Written
        }
        // what has more than text in it is not cut
        Search::Array | Search::Bytes | Search::Opaque | Search::Integer | Search::Numeric => Shown::Null,
    }
}
