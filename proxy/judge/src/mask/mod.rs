//! What the answer hides: a plan per answer, and the methods that hide a value in the type and format of its column.
//!
//! ```text
//! Judgement + Bound + RowDescription --plan--> Plan --row (DataRow)--> DataRow     scrub_report: errors and notices
//! ```
//!
//! A column's origin by RowDescription is united with the lineage from the text; the strictest method holds. A column
//! that has neither, in a statement that touches protected data, is redacted. A column's NULL
//! stays NULL, an expression's does not: it could answer a question about the value. What takes the place
//! of a value is one that a driver can decode in that type and format; where a type has no honest one, it is NULL:
//!
//! | type | redact | last4 | hash | fake |
//! |---|---|---|---|---|
//! | text, varchar, bpchar, name, unknown, refcursor | `****` | `****` and up to four | 16 digits | same shape |
//! | `"char"` | `*` | `*` | NULL | NULL |
//! | numeric | NULL | last digits | as fake | same digits before and behind the point |
//! | float4, float8 | NULL | NULL | as fake | same size |
//! | date, timestamp, timestamptz | NULL | NULL | as fake | a day of 1960 to 1999 |
//! | inet, cidr | NULL | NULL | as fake | an address of 240.0.0.0/4 or 2001:db8::/32 |
//! | int8, int4 | NULL | last digits | a number | same length |
//! | int2 | NULL | last digits | NULL | same length |
//! | json, jsonb | `"****"` | `"****"` | `"16 digits"` | `"****"` |
//! | xml | `****` | `****` | 16 digits | `****` |
//! | bytea | `****` in bytes | as redact | 8 bytes | as hash |
//! | uuid | nil uuid | nil uuid | a uuid | a uuid |
//! | arrays of text | `{****}` | `{****}` | `{16 digits}` | `{****}` |
//! | citext, domains | as the type that they stand on |
//! | all others: bool, money, time, interval, enums, macaddr, ranges, composites, other arrays, other types of extensions | NULL | NULL | NULL | NULL |
//!
//! Values of `varchar(n)` stay within n. `hash` and `fake` are keyed and deterministic, so that equal values stay equal.

mod address;
mod array;
pub mod copy;
pub mod detect;
pub mod external;
pub mod findings;
pub mod guard;
mod kind;
mod moment;
mod numeric;
mod report;
mod row;
mod search;
mod value;

pub use report::{scrub_report, shown_state};
pub use row::row;

use crate::policy::{Bound, Judgement};
use crate::sql::ColumnId;
use kind::Kind;
use ring::hmac;
use serde::Deserialize;

/// How a value is hidden, from the mildest to the strictest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The last four letters or digits stay; of a short value, no more than a quarter.
    Last4,
    /// A made-up value of the same shape, the same for the same value. Card numbers of it fail the check digit.
    Fake,
    /// A keyed pseudonym, the same for the same value.
    Hash,
    /// A fixed placeholder.
    #[default]
    Redact,
    /// NULL.
    Null,
}

/// One column as RowDescription describes it, with the format in which its values will come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The relation that it is a column of; 0 for none.
    pub relation: u32,
    /// Its number there; 0 for none.
    pub attribute: i16,
    /// Its type's id in `pg_type`; a domain's base type.
    pub type_id: u32,
    /// The type's modifier, such as a length; -1 for none.
    pub modifier: i32,
    /// 0 for text, 1 for binary.
    pub format: i16,
}

/// What is wrong with a description or a row. The session cannot go on: what cannot be walked cannot be masked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The answer has another number of columns than its text says.
    #[error("the answer has {described} columns, its text says {expected}")]
    Columns {
        /// By RowDescription.
        described: usize,
        /// By the statement's text.
        expected: usize,
    },
    /// A format that the protocol does not have.
    #[error("column {column} comes in the unknown format {format}")]
    Format {
        /// Its number, from 0.
        column: usize,
        /// The format code.
        format: i16,
    },
    /// A row with another number of columns than its description.
    #[error("the row has {got} columns, its description {expected}")]
    Count {
        /// Of the row.
        got: usize,
        /// Of the description.
        expected: usize,
    },
    /// A row of COPY that is longer than can be held.
    #[error("a row of COPY has {bytes} bytes and more, the limit is {}", copy::MAX_ROW)]
    TooLarge {
        /// What was held of it.
        bytes: usize,
    },
    /// A row that ends too early or too late, or has an impossible length.
    #[error("the row is malformed")]
    Malformed,
}

#[derive(Debug, Clone)]
struct Cell {
    method: Method,
    kind: Kind,
    binary: bool,
    /// Characters that the type can hold.
    room: Option<usize>,
    /// No column as it stands: an expression of the client's own making, which may be NULL for some values only.
    computed: bool,
}

/// What becomes of the values of one column.
#[derive(Debug, Clone)]
enum Treatment {
    /// They pass as they are.
    Clear,
    /// Each is hidden.
    Hide(Cell),
    /// Each is searched for what detectors know.
    Search { how: kind::Search, binary: bool },
    /// Of each an external provider is asked.
    Ask { how: kind::Search, binary: bool },
}

impl Treatment {
    /// Whether a NULL is hidden too: `nullif(card_number, '4111...')` asks a question that its being NULL answers.
    fn hides_null(&self) -> bool {
        matches!(self, Self::Hide(cell) if cell.computed)
    }
}

/// What to hide of each column of one answer.
#[derive(Debug, Clone)]
pub struct Plan {
    cells: Vec<Treatment>,
    key: Option<hmac::Key>,
    detectors: detect::Set,
    /// Names of the columns that are searched, at their places.
    names: Vec<String>,
}

impl Plan {
    /// Nothing is hidden: rows may pass as they are.
    pub fn is_identity(&self) -> bool {
        self.cells.iter().all(|cell| matches!(cell, Treatment::Clear))
    }

    /// For an answer without columns.
    pub fn empty() -> Self {
        Self { cells: Vec::new(), key: None, detectors: detect::Set::default(), names: Vec::new() }
    }

    /// How each column is hidden, in order.
    pub fn methods(&self) -> impl Iterator<Item = Option<Method>> {
        self.cells.iter().map(|cell| match cell {
            Treatment::Hide(cell) => Some(cell.method),
            Treatment::Clear | Treatment::Search { .. } | Treatment::Ask { .. } => None,
        })
    }

    /// Whether each column is searched, in order.
    pub fn searched(&self) -> impl Iterator<Item = bool> {
        self.cells.iter().map(|cell| matches!(cell, Treatment::Search { .. }))
    }

    fn new(wishes: &[Wish], columns: &[Column], key: Option<&[u8; 32]>, detectors: detect::Set) -> Result<Self, Error> {
        let mut cells = Vec::with_capacity(columns.len());
        for (number, (column, wish)) in columns.iter().zip(wishes).enumerate() {
            if !(0..=1).contains(&column.format) {
                return Err(Error::Format { column: number, format: column.format });
            }
            let binary = column.format == 1;
            cells.push(match *wish {
                Wish::Show => Treatment::Clear,
                Wish::Search(how) => Treatment::Search { how, binary },
                Wish::Ask(how) => Treatment::Ask { how, binary },
                Wish::Hide(method) => Treatment::Hide(Cell {
                    method,
                    kind: Kind::of(column.type_id),
                    binary,
                    room: kind::room(column.type_id, column.modifier),
                    computed: column.relation == 0,
                }),
            });
        }
        let searched = |cell: &Treatment| matches!(cell, Treatment::Search { .. } | Treatment::Ask { .. });
        let mut names = Vec::new();
        if cells.iter().any(searched) {
            let named = columns.iter().zip(&cells);
            names.extend(named.map(|(column, cell)| if searched(cell) { column.name.clone() } else { String::new() }));
        }
        Ok(Self { cells, names, key: key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key)), detectors })
    }
}

/// What is to become of a column, before its type and format are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Show,
    Hide(Method),
    Search(kind::Search),
    Ask(kind::Search),
}

/// Whether rows of a statement must be walked at all: something is hidden, or searched for.
pub fn walks(judgement: &Judgement, bound: &Bound) -> bool {
    judgement.verdict == schemas::event::VerdictKind::Mask
        || !bound.detectors(&judgement.exempt).is_empty()
        || bound.asks_any()
}

/// What is looked for in errors, notices and notifications that an identity is sent.
pub fn detectors(judgement: &Judgement, bound: &Bound) -> detect::Set {
    bound.detectors(&judgement.exempt)
}

/// Makes the plan for an answer.
///
/// # Errors
/// [`Error::Columns`] where a statement that touches protected data answers with other columns than its text says, and
/// [`Error::Format`].
pub fn plan(judgement: &Judgement, bound: &Bound, columns: &[Column]) -> Result<Plan, Error> {
    let outputs = judgement.outputs.as_deref();
    if let Some(outputs) = outputs
        && outputs.len() != columns.len()
        && judgement.protected
    {
        return Err(Error::Columns { described: columns.len(), expected: outputs.len() });
    }
    let fitting = outputs.filter(|outputs| outputs.len() == columns.len());
    let detectors = bound.detectors(&judgement.exempt);
    let wishes: Vec<Wish> = columns
        .iter()
        .enumerate()
        .map(|(number, column)| {
            let origin = ColumnId { relation: column.relation, attribute: column.attribute };
            let by_origin = (column.relation != 0).then(|| bound.method(origin, &judgement.exempt)).flatten();
            let output = fitting.and_then(|outputs| outputs.get(number));
            let by_lineage = output.and_then(|output| output.method);
            let clear =
                bound.knows(column.relation) && !bound.is_opaque(origin) || output.is_some_and(|output| output.known);
            let unknown = (judgement.protected && !clear).then_some(Method::Redact);
            let asked = bound.asks(origin) || output.is_some_and(|output| output.asked);
            wish(by_origin.max(by_lineage).max(unknown), origin, asked, column.type_id, bound, detectors)
        })
        .collect();
    Plan::new(&wishes, columns, bound.key(), detectors)
}

/// A column is hidden by a method, or searched, or shown.
fn wish(
    method: Option<Method>,
    origin: ColumnId,
    asked: bool,
    type_id: u32,
    bound: &Bound,
    detectors: detect::Set,
) -> Wish {
    if let Some(method) = method {
        return Wish::Hide(method);
    }
    match kind::Search::of(type_id, origin.relation != 0) {
        Some((how, family)) if asked && family != detect::Family::Number => Wish::Ask(how),
        Some((how, family)) if !detectors.is_empty() && bound.searches(origin, family) => Wish::Search(how),
        _ => Wish::Show,
    }
}

#[cfg(test)]
mod tests;
