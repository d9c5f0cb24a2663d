//! One pass over a row: runs of clear columns are copied as they are, hidden ones replaced, searched ones where something
//! is found.

use super::{
    Error, Plan, Treatment,
    external::{self, Answer},
    findings::{Findings, Search},
    search, value,
};

/// What stands in the place of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// It stands as it is; nothing was appended.
    Same,
    /// What was appended.
    Written,
    /// NULL; nothing was appended.
    Null,
}

/// Masks the body of one DataRow, appending the new body to `out`. Where it fails, `out` is as it was.
///
/// # Errors
/// [`Error::Count`] and [`Error::Malformed`]: the row does not fit its description, byte for byte.
pub fn row(plan: &Plan, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    masked(plan, body, &mut || Answer::Hide, &mut Findings::default(), out)
}

/// Masks a row; `answer` gives what the provider said of the next value that it was asked about.
pub(super) fn masked(
    plan: &Plan,
    body: &[u8],
    answer: &mut dyn FnMut() -> Answer,
    findings: &mut Findings,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let before = out.len();
    let done = walk(plan, body, answer, findings, out);
    if done.is_err() {
        out.truncate(before);
    }
    done
}

fn walk(
    plan: &Plan,
    body: &[u8],
    answer: &mut dyn FnMut() -> Answer,
    findings: &mut Findings,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let (count, _) = body.split_first_chunk::<2>().ok_or(Error::Malformed)?;
    let got = usize::from(u16::from_be_bytes(*count));
    if got != plan.cells.len() {
        return Err(Error::Count { got, expected: plan.cells.len() });
    }
    let mut search = Search::default();
    // `copied`: everything before it is in `out`, as it was or replaced
    let (mut copied, mut at) = (0, 2);
    for (column, cell) in plan.cells.iter().enumerate() {
        let head = body.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Error::Malformed)?;
        let length = i32::from_be_bytes(*head);
        let begin = at + 4;
        if length == -1 && !cell.hides_null() {
            at = begin;
            continue;
        }
        let length = if length == -1 { 0 } else { usize::try_from(length).map_err(|_| Error::Malformed)? };
        let field = body.get(begin..).and_then(|rest| rest.get(..length)).ok_or(Error::Malformed)?;
        let passes = match cell {
            Treatment::Clear => true,
            Treatment::Search { how, binary } => !search::may(plan, *how, *binary, field),
            Treatment::Hide(_) | Treatment::Ask { .. } => false,
        };
        if !passes {
            out.extend_from_slice(body.get(copied..at).ok_or(Error::Malformed)?);
            let place = out.len();
            out.extend_from_slice(&[0xff; 4]);
            let shown = show(plan, cell, field, answer, out, &mut search);
            search.note(column, findings);
            match shown {
                Shown::Same => {
                    out.truncate(place);
                    copied = at;
                }
                Shown::Null => {
                    out.truncate(place + 4);
                    copied = begin + length;
                }
                Shown::Written => {
                    let written = i32::try_from(out.len() - place - 4).map_err(|_| Error::Malformed)?;
                    let slot = out.get_mut(place..place + 4).ok_or(Error::Malformed)?;
                    slot.copy_from_slice(&written.to_be_bytes());
                    copied = begin + length;
                }
            }
        }
        at = begin + length;
    }
    if at != body.len() {
        return Err(Error::Malformed);
    }
    out.extend_from_slice(body.get(copied..).ok_or(Error::Malformed)?);
    Ok(())
}

/// Appends what takes the place of one value.
pub(super) fn show(
    plan: &Plan,
    treatment: &Treatment,
    field: &[u8],
    answer: &mut dyn FnMut() -> Answer,
    out: &mut Vec<u8>,
    search: &mut Search,
) -> Shown {
    match treatment {
        Treatment::Clear => Shown::Same,
        Treatment::Hide(cell) => match value::hide(cell, plan.key.as_ref(), field, out) {
            Some(()) => Shown::Written,
            None => Shown::Null,
        },
        Treatment::Ask { how, binary } => external::show(plan, (*how, *binary), field, answer(), out, search),
        Treatment::Search { how, binary } => search::search(plan.detectors, *how, *binary, field, out, search),
    }
}
