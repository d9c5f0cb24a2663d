//! COPY from the client into masked columns: what a mask shows may not be stored in the place of what it hides.

use super::{Error, Piece, Rows, rows};
use crate::{
    mask::guard::Guard,
    sql::{CopyFormat, CopyLayout},
};

/// The rows of one COPY from the client.
#[derive(Debug)]
pub struct Inbound {
    rows: Rows,
    /// For each value of a row, what may not be written there.
    guards: Vec<Option<Guard>>,
    scratch: Vec<u8>,
}

impl Inbound {
    /// Begins; `None` where no value is guarded.
    pub fn new(format: &CopyFormat, guards: Vec<Option<Guard>>) -> Option<Self> {
        let any = guards.iter().any(Option::is_some);
        any.then(|| Self { rows: Rows::new(format.clone()), guards, scratch: Vec::new() })
    }

    /// Looks at the body of a CopyData frame. Says whether a row that is whole now would store a placeholder.
    ///
    /// # Errors
    /// [`Error`]: the data cannot be walked.
    pub fn push(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        let Self { rows, guards, scratch } = self;
        let mut stores = false;
        rows.push(bytes, |format, piece| {
            let Piece::Row(bytes) = piece else { return Ok(()) };
            stores |= match format.layout {
                CopyLayout::Binary => binary(guards, bytes)?,
                CopyLayout::Text | CopyLayout::Csv => line(guards, format, bytes, scratch),
            };
            Ok(())
        })?;
        Ok(stores)
    }

    /// Looks at what is left when the client says that there is no more: a last line may lack its end.
    ///
    /// # Errors
    /// As [`Inbound::push`].
    pub fn end(&mut self) -> Result<bool, Error> {
        if self.rows.end().is_ok() { Ok(false) } else { self.push(b"\n") }
    }
}

fn line(guards: &[Option<Guard>], format: &CopyFormat, bytes: &[u8], scratch: &mut Vec<u8>) -> bool {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let body = body.strip_suffix(b"\r").unwrap_or(body);
    rows::fields(format, body).zip(guards).any(|(raw, guard)| {
        guard.as_ref().is_some_and(|guard| {
            // what does not decode, the server refuses
            raw != format.null.as_bytes()
                && rows::decode(format, raw, scratch).is_some()
                && guard.refuses_value(scratch)
        })
    })
}

fn binary(guards: &[Option<Guard>], bytes: &[u8]) -> Result<bool, Error> {
    let mut rest = bytes.get(2..).ok_or(Error::Malformed)?;
    let mut stores = false;
    for guard in guards {
        let Some((head, after)) = rest.split_first_chunk::<4>() else { break };
        rest = after;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*head)) else { continue };
        let (value, after) = rest.split_at_checked(length).ok_or(Error::Malformed)?;
        rest = after;
        stores |= guard.as_ref().is_some_and(|guard| guard.refuses_value(value));
    }
    Ok(stores)
}
