//! One pass over a row: clear columns are copied as they are, hidden ones replaced.

use super::{Error, Plan, value};

/// Masks the body of one DataRow, appending the new body to `out`. Where it fails, `out` is as it was.
///
/// # Errors
/// [`Error::Count`] and [`Error::Malformed`]: the row does not fit its description, byte for byte.
pub fn row(plan: &Plan, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let before = out.len();
    let done = walk(plan, body, out);
    if done.is_err() {
        out.truncate(before);
    }
    done
}

fn walk(plan: &Plan, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or(Error::Malformed)?;
    let got = usize::from(u16::from_be_bytes(*count));
    if got != plan.cells.len() {
        return Err(Error::Count { got, expected: plan.cells.len() });
    }
    out.extend_from_slice(count);
    for cell in &plan.cells {
        let (head, after) = rest.split_first_chunk::<4>().ok_or(Error::Malformed)?;
        let length = i32::from_be_bytes(*head);
        rest = after;
        if length == -1 {
            out.extend_from_slice(head);
            continue;
        }
        let length = usize::try_from(length).map_err(|_| Error::Malformed)?;
        let (field, after) = rest.split_at_checked(length).ok_or(Error::Malformed)?;
        rest = after;
        let Some(cell) = cell else {
            out.extend_from_slice(head);
            out.extend_from_slice(field);
            continue;
        };
        let place = out.len();
        out.extend_from_slice(&[0xff; 4]);
        if value::hide(cell, plan.key.as_ref(), field, out).is_some() {
            let written = i32::try_from(out.len() - place - 4).map_err(|_| Error::Malformed)?;
            let slot = out.get_mut(place..place + 4).ok_or(Error::Malformed)?;
            slot.copy_from_slice(&written.to_be_bytes());
        } else {
            out.truncate(place + 4);
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(Error::Malformed) }
}
