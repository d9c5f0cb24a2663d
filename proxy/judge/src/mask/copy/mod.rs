//! Rows of COPY: masked on the way out, looked at on the way in.
//!
//! COPY has no RowDescription. The statement's text says what its columns are, in order; the catalog says their types; the
//! options say how a row is laid out. [`Rows`] cuts a stream of CopyData into rows, whatever pieces it comes in.
//!
//! ```text
//! CopyFormat + outputs --plan--> Plan --Stream::push (CopyData)--> whole masked rows
//! ```
//!
//! What does not read as the options say is an [`Error`], and the session ends: what cannot be walked cannot be masked.
//! A value whose type is not known (an expression's) is hidden as text; in binary it becomes NULL.

mod inbound;
mod rows;

pub use inbound::Inbound;
use rows::{Piece, Rows};

use super::{
    Column, Error, Plan, Treatment, Wish,
    external::Answer,
    findings::{Findings, Search},
    kind, row,
    row::Shown,
    wish,
};
use crate::{
    policy::{Bound, Judgement},
    sql::{Catalog, ColumnId, CopyFormat, CopyLayout, Facts},
};
use schemas::event::Found;
use std::rc::Rc;

/// Bytes of a row that may be held until the rest of it comes.
pub const MAX_ROW: usize = 64 << 20;

/// A column whose type is not known: searched and hidden as text.
const UNKNOWN: u32 = 705;

/// A type that has no honest placeholder, so that its hidden values are NULL.
const NONE: u32 = 0;

/// Makes the plan for a COPY to the client; `columns` and `binary` are what CopyOutResponse says.
///
/// # Errors
/// [`Error::Columns`] where the server sends other columns than the text says, [`Error::Malformed`] where the layout is
/// another than the options say or is not known.
pub fn plan(
    judgement: &Judgement,
    facts: &Facts,
    bound: &Bound,
    catalog: &Catalog,
    columns: usize,
    binary: bool,
) -> Result<(Plan, CopyFormat), Error> {
    let format = facts.copy.clone().ok_or(Error::Malformed)?;
    if (format.layout == CopyLayout::Binary) != binary {
        return Err(Error::Malformed);
    }
    let detectors = bound.detectors(&judgement.exempt);
    let outputs = judgement.outputs.as_deref();
    if outputs.is_some_and(|outputs| outputs.len() != columns) {
        return Err(Error::Columns { described: columns, expected: outputs.map_or(0, <[_]>::len) });
    }
    let mut wishes = Vec::with_capacity(columns);
    let mut described = Vec::with_capacity(columns);
    for number in 0..columns {
        let output = facts.outputs.as_ref().and_then(|all| all.get(number));
        let direct = output.filter(|output| output.direct && !output.opaque);
        let (origin, known) = match direct.map(|output| output.sources.iter().collect::<Vec<_>>()) {
            Some(sources) => (sources.first().map(|c| **c), type_of(&sources, catalog)),
            None => (None, None),
        };
        let origin = origin.unwrap_or(ColumnId { relation: 0, attribute: 0 });
        let rule = outputs.and_then(|all| all.get(number));
        let unknown = judgement.protected && rule.is_none_or(|rule| !rule.known);
        let method = rule.and_then(|rule| rule.method).max(unknown.then_some(super::Method::Redact));
        let type_id = known.unwrap_or(if binary { NONE } else { UNKNOWN });
        // in binary anything may be text
        let searched = if known.is_none() { UNKNOWN } else { type_id };
        let asked = rule.is_some_and(|rule| rule.asked);
        let mut wish = wish(method, origin, asked, searched, bound, detectors);
        if binary && known.is_none() {
            wish = match wish {
                Wish::Search(_) => Wish::Search(kind::Search::Opaque),
                Wish::Ask(_) => Wish::Ask(kind::Search::Opaque),
                other => other,
            };
        }
        wishes.push(wish);
        described.push(Column {
            name: output.map(|output| output.name.clone()).unwrap_or_default(),
            relation: origin.relation,
            attribute: origin.attribute,
            type_id,
            modifier: -1,
            format: i16::from(binary),
        });
    }
    Ok((Plan::new(&wishes, &described, bound.key(), detectors)?, format))
}

/// The one type that all sources of a value have.
fn type_of(sources: &[&ColumnId], catalog: &Catalog) -> Option<u32> {
    let mut types = sources.iter().map(|column| catalog.column_type(**column));
    let first = types.next()??;
    types.all(|other| other == Some(first)).then_some(first)
}

/// The rows of one COPY to the client.
#[derive(Debug)]
pub struct Stream {
    plan: Rc<Plan>,
    rows: Rows,
    work: Work,
}

/// What is kept from value to value.
#[derive(Debug, Default)]
struct Work {
    decoded: Vec<u8>,
    shown: Vec<u8>,
    search: Search,
    findings: Findings,
}

impl Stream {
    /// Begins.
    pub fn new(plan: Rc<Plan>, format: CopyFormat) -> Self {
        Self { plan, rows: Rows::new(format), work: Work::default() }
    }

    /// What was found in its rows, for the record.
    pub fn found(&self) -> Vec<Found> {
        self.work.findings.told(Some(&self.plan))
    }

    /// Nothing is hidden: the data may pass as it is.
    pub fn is_identity(&self) -> bool {
        self.plan.is_identity()
    }

    /// Takes the body of a CopyData frame; appends the rows that are whole now, masked. Returns how many they are.
    ///
    /// # Errors
    /// [`Error`]: the data does not read as the options say. What was appended must not be shown.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<u64, Error> {
        let mut count = 0;
        let Self { plan, rows, work } = self;
        rows.push(bytes, |format, piece| match piece {
            Piece::Head(bytes) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Piece::Row(bytes) => {
                count += 1;
                match format.layout {
                    CopyLayout::Binary => row::masked(plan, bytes, &mut || Answer::Hide, &mut work.findings, out),
                    CopyLayout::Text | CopyLayout::Csv => line(plan, format, bytes, out, work),
                }
            }
        })?;
        Ok(count)
    }

    /// The server says that there is no more.
    ///
    /// # Errors
    /// [`Error::Malformed`] where a row is not whole.
    pub fn end(&self) -> Result<(), Error> {
        self.rows.end()
    }
}

/// Masks one line of text or csv, with its end.
fn line(plan: &Plan, format: &CopyFormat, bytes: &[u8], out: &mut Vec<u8>, work: &mut Work) -> Result<(), Error> {
    let body = bytes.strip_suffix(b"\n").ok_or(Error::Malformed)?;
    // psql's end mark of old clients
    if format.layout == CopyLayout::Text && body == b"\\." {
        out.extend_from_slice(bytes);
        return Ok(());
    }
    let mut fields = rows::fields(format, body);
    let Work { decoded, shown, search, findings } = work;
    for (number, cell) in plan.cells.iter().enumerate() {
        let raw = match fields.next() {
            Some(raw) => raw,
            // a row without columns is an empty line
            None => return Err(Error::Count { got: number, expected: plan.cells.len() }),
        };
        if number > 0 {
            out.push(format.delimiter);
        }
        let null = raw == format.null.as_bytes() && !format.is_ambiguous();
        if matches!(cell, Treatment::Clear) || null && !cell.hides_null() {
            out.extend_from_slice(raw);
            continue;
        }
        let raw = if null { b"".as_slice() } else { raw };
        let quoted = rows::decode(format, raw, decoded).ok_or(Error::Malformed)?;
        shown.clear();
        let what = row::show(plan, cell, decoded, &mut || Answer::Hide, shown, search);
        search.note(number, findings);
        match what {
            Shown::Same => out.extend_from_slice(raw),
            Shown::Null => out.extend_from_slice(format.null.as_bytes()),
            Shown::Written => {
                // that a hidden value needed quotes would tell something of it
                let quoted = if matches!(cell, Treatment::Hide(_)) { format.force_quote } else { quoted };
                rows::encode(format, shown, quoted, out);
            }
        }
    }
    let left = fields.next().is_some() && !(plan.cells.is_empty() && body.is_empty());
    if left {
        return Err(Error::Count { got: plan.cells.len() + 1, expected: plan.cells.len() });
    }
    out.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests;
