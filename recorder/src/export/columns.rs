//! A table of the statements as Apache Parquet, for those who ask with SQL of their own.
//!
//! ```text
//! statement --[`COLUMNS`]--> cells --> leaves (values, definition and repetition levels) --> a row group
//! ```
//!
//! What a statement touches are real lists: `columns` has one record for each column and use, so that "who read
//! card_number, masked or clear" is one `UNNEST`. Columns are only ever added, and at the end; `docs/evidence.md` explains
//! them. A row group is written when it is full, so that memory does not grow with the table.

use super::stated::{Stated, stated};
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use schemas::Event;
use schemas::event::{Column as Touched, Found, Relation, Reviewed, Verdict};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;

/// Rows of a row group: enough for columns to compress well, few enough for readers to skip.
const GROUP_ROWS: usize = 16_384;

/// Bytes of a row group before compression: what the writer may hold.
const GROUP_BYTES: usize = 32 << 20;

/// One value.
enum Cell {
    Missing,
    Text(String),
    Number(i64),
    Flag(bool),
}

/// What a value is.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    /// Microseconds since 1970-01-01 UTC.
    Time,
    Flag,
}

use Kind::{Flag, Number, Text, Time};

/// The values of a list, for one row.
type Cells = fn(&Stated<'_>) -> Vec<Cell>;

/// A column of the table.
enum Column {
    /// A value in each row.
    Needed(&'static str, Kind, fn(&Stated<'_>) -> Cell),
    /// A value, or none.
    One(&'static str, Kind, fn(&Stated<'_>) -> Cell),
    /// A list of texts.
    Texts(&'static str, Cells),
    /// A list of records: each field gives its values, and all fields equally many.
    Records(&'static str, &'static [(&'static str, Kind, Cells)]),
}

use Column::{Needed, One, Records, Texts};

/// The table. Only ever appended to.
const COLUMNS: &[Column] = &[
    Needed("session", Text, |s| text(s.session)),
    Needed("number", Number, |s| count(s.statement.number)),
    Needed("statement", Text, |s| text(s.id())),
    Needed("time", Time, |s| Cell::Number(s.time)),
    One("subject", Text, |s| some(s.session().map(|o| &o.identity.subject))),
    One("issuer", Text, |s| some(s.session().map(|o| &o.identity.issuer))),
    One("identity_kind", Text, |s| s.session().map_or(Cell::Missing, |o| word(&o.identity.kind))),
    One("identity_name", Text, |s| some(s.session().map(|o| &o.identity.name))),
    Texts("groups", |s| s.session().map_or_else(Vec::new, |o| texts(&o.identity.groups))),
    Texts("on_behalf_of", |s| s.session().map_or_else(Vec::new, |o| texts(&o.identity.on_behalf_of))),
    One("task", Text, |s| some(s.session().and_then(|o| o.identity.task.as_ref()))),
    One("resource", Text, |s| some(s.session().map(|o| &o.resource))),
    One("database", Text, |s| some(s.session().map(|o| &o.database))),
    One("role", Text, |s| some(s.session().map(|o| &o.role))),
    One("node", Text, |s| some(s.session().map(|o| &o.node))),
    One("peer", Text, |s| some(s.session().map(|o| &o.peer))),
    One("application", Text, |s| some(s.session().and_then(|o| o.parameters.get("application_name")))),
    Needed("protocol", Text, |s| word(&s.statement.protocol)),
    One("text", Text, |s| some(s.text())),
    Needed("text_codec", Text, |s| word(&s.statement.text.codec)),
    Texts("parameters", |s| s.parameters().into_iter().map(some).collect()),
    One("kind", Text, |s| some(s.verdict.map(|v| &v.kind))),
    One("read_only", Flag, |s| flag(s.verdict.map(|v| v.read_only))),
    One("opaque", Flag, |s| flag(s.verdict.map(|v| v.opaque))),
    One("verdict", Text, |s| s.verdict.map_or(Cell::Missing, |v| word(&v.verdict))),
    One("reason", Text, |s| some(s.verdict.map(|v| &v.reason).filter(|reason| !reason.is_empty()))),
    Texts("policies", |s| verdict(s, |v| &v.policies, |policy| text(policy))),
    One("policy_version", Text, |s| some(s.verdict.map(|v| &v.policy_version))),
    Records(
        "relations",
        &[
            ("name", Text, |s| actions(s, |relation, _| text(&relation.name))),
            ("action", Text, |s| actions(s, |_, action| some(action))),
            ("indirect", Flag, |s| actions(s, |relation, _| Cell::Flag(relation.indirect))),
        ],
    ),
    Records(
        "columns",
        &[
            ("name", Text, |s| touched(s, |column| text(&column.name))),
            ("usage", Text, |s| touched(s, |column| word(&column.usage))),
            ("masked", Flag, |s| touched(s, |column| Cell::Flag(column.masked))),
            ("label", Text, |s| touched(s, |column| some(column.label.as_ref()))),
        ],
    ),
    Texts("functions", |s| verdict(s, |v| &v.functions, |function| text(function))),
    Texts("flags", |s| verdict(s, |v| &v.flags, |flag| text(flag))),
    One("fingerprint", Text, |s| some(s.verdict.map(|v| &v.fingerprint).filter(|print| !print.is_empty()))),
    One("hold", Text, |s| some(s.held.map(|held| &held.request))),
    One("hold_outcome", Text, |s| s.hold_ended.map_or(Cell::Missing, |ended| word(&ended.outcome))),
    Records(
        "reviews",
        &[
            ("subject", Text, |s| reviews(s, |r| some(r.reviewer.as_ref().map(|who| &who.subject)))),
            ("issuer", Text, |s| reviews(s, |r| some(r.reviewer.as_ref().map(|who| &who.issuer)))),
            ("approved", Flag, |s| reviews(s, |r| Cell::Flag(r.approved))),
            ("reason", Text, |s| reviews(s, |r| text(&r.reason))),
        ],
    ),
    One("outcome", Text, |s| s.completed.map_or(Cell::Missing, |c| word(&c.outcome))),
    One("sqlstate", Text, |s| some(s.completed.and_then(|c| c.sqlstate.as_ref()))),
    One("tag", Text, |s| some(s.completed.map(|c| &c.tag).filter(|tag| !tag.is_empty()))),
    One("rows", Number, |s| s.completed.map_or(Cell::Missing, |c| count(c.rows))),
    One("bytes", Number, |s| s.completed.map_or(Cell::Missing, |c| count(c.bytes))),
    One("duration_us", Number, |s| s.completed.map_or(Cell::Missing, |c| count(c.duration))),
    Records(
        "found",
        &[
            ("detector", Text, |s| found(s, |found| text(&found.detector))),
            ("column", Text, |s| found(s, |found| text(&found.column))),
            ("values", Number, |s| found(s, |found| count(found.values))),
        ],
    ),
];

fn text(value: impl ToString) -> Cell {
    Cell::Text(value.to_string())
}

fn texts(values: &[String]) -> Vec<Cell> {
    values.iter().map(text).collect()
}

fn some(value: Option<impl ToString>) -> Cell {
    value.map_or(Cell::Missing, text)
}

fn flag(value: Option<bool>) -> Cell {
    value.map_or(Cell::Missing, Cell::Flag)
}

/// A count as it stands in an event, which has no larger ones.
fn count(value: u64) -> Cell {
    Cell::Number(value.cast_signed())
}

/// An enumeration's value, spelled as in the events.
fn word(value: &impl Serialize) -> Cell {
    some(serde_json::to_value(value).ok().as_ref().and_then(|value| value.as_str()))
}

fn verdict<T>(stated: &Stated<'_>, list: fn(&Verdict) -> &Vec<T>, cell: fn(&T) -> Cell) -> Vec<Cell> {
    stated.verdict.map_or_else(Vec::new, |verdict| list(verdict).iter().map(cell).collect())
}

fn touched(stated: &Stated<'_>, cell: fn(&Touched) -> Cell) -> Vec<Cell> {
    verdict(stated, |verdict| &verdict.columns, cell)
}

/// One for each relation and action; for a relation that nothing is done to, one without an action.
fn actions(stated: &Stated<'_>, cell: fn(&Relation, Option<&String>) -> Cell) -> Vec<Cell> {
    let relations = stated.verdict.map_or(&[][..], |verdict| verdict.relations.as_slice());
    let of = |relation: &Relation| -> Vec<Cell> {
        match relation.actions.as_slice() {
            [] => vec![cell(relation, None)],
            actions => actions.iter().map(|action| cell(relation, Some(action))).collect(),
        }
    };
    relations.iter().flat_map(of).collect()
}

fn reviews(stated: &Stated<'_>, cell: fn(&Reviewed) -> Cell) -> Vec<Cell> {
    stated.reviews.iter().map(|reviewed| cell(reviewed)).collect()
}

fn found(stated: &Stated<'_>, cell: fn(&Found) -> Cell) -> Vec<Cell> {
    stated.completed.map_or_else(Vec::new, |completed| completed.found.iter().map(cell).collect())
}

impl Kind {
    /// A field of this kind, in Parquet's notation.
    fn field(self, repetition: &str, name: &str) -> String {
        let (physical, logical) = match self {
            Text => ("binary", " (STRING)"),
            Number => ("int64", ""),
            Time => ("int64", " (TIMESTAMP(MICROS,true))"),
            Flag => ("boolean", ""),
        };
        format!("{repetition} {physical} {name}{logical};")
    }
}

/// The table in Parquet's notation.
fn message() -> String {
    let mut text = "message statements {".to_owned();
    for column in COLUMNS {
        let field = match column {
            Needed(name, kind, _) => kind.field("required", name),
            One(name, kind, _) => kind.field("optional", name),
            Texts(name, _) => list(name, &Text.field("optional", "element")),
            Records(name, fields) => {
                let fields: String = fields.iter().map(|(name, kind, _)| kind.field("optional", name)).collect();
                list(name, &format!("required group element {{ {fields} }}"))
            }
        };
        write!(text, " {field}").expect("writing to a String cannot fail");
    }
    text + " }"
}

fn list(name: &str, element: &str) -> String {
    format!("required group {name} (LIST) {{ repeated group list {{ {element} }} }}")
}

/// The values of one leaf of the table, as Parquet wants them: those that are there, and where they stand.
struct Leaf {
    values: Values,
    /// How much of the way to each value is there.
    definitions: Vec<i16>,
    /// 1 for what goes on with a list, 0 for what begins a row.
    repetitions: Vec<i16>,
    place: Place,
}

enum Values {
    Texts(Vec<ByteArray>),
    Numbers(Vec<i64>),
    Flags(Vec<bool>),
}

/// Where in the table a leaf is: how many definition levels it has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Needed,
    Optional,
    Listed,
}

impl Leaf {
    fn new(kind: Kind, place: Place) -> Self {
        let values = match kind {
            Text => Values::Texts(Vec::new()),
            Number | Time => Values::Numbers(Vec::new()),
            Flag => Values::Flags(Vec::new()),
        };
        Self { values, definitions: Vec::new(), repetitions: Vec::new(), place }
    }

    fn all() -> Vec<Self> {
        let leaves = |column: &Column| match column {
            Needed(_, kind, _) => vec![Self::new(*kind, Place::Needed)],
            One(_, kind, _) => vec![Self::new(*kind, Place::Optional)],
            Texts(..) => vec![Self::new(Text, Place::Listed)],
            Records(_, fields) => fields.iter().map(|(_, kind, _)| Self::new(*kind, Place::Listed)).collect(),
        };
        COLUMNS.iter().flat_map(leaves).collect()
    }

    /// Takes a value; gives its bytes. One of another kind is none.
    fn put(&mut self, cell: Cell, repetition: i16) -> usize {
        let bytes = match (&mut self.values, cell) {
            (Values::Texts(values), Cell::Text(text)) => {
                let bytes = text.len() + size_of::<ByteArray>();
                values.push(ByteArray::from(text.into_bytes()));
                Some(bytes)
            }
            (Values::Numbers(values), Cell::Number(number)) => {
                values.push(number);
                Some(size_of::<i64>())
            }
            (Values::Flags(values), Cell::Flag(flag)) => {
                values.push(flag);
                Some(1)
            }
            (_, Cell::Missing | Cell::Text(_) | Cell::Number(_) | Cell::Flag(_)) => None,
        };
        let deepest = match self.place {
            Place::Needed => 0,
            Place::Optional => 1,
            Place::Listed => 2,
        };
        self.level(if bytes.is_some() { deepest } else { deepest - 1 }, repetition);
        bytes.unwrap_or_default()
    }

    fn list(&mut self, cells: Vec<Cell>) -> usize {
        if cells.is_empty() {
            self.level(0, 0);
        }
        cells.into_iter().enumerate().map(|(place, cell)| self.put(cell, i16::from(place > 0))).sum()
    }

    fn level(&mut self, definition: i16, repetition: i16) {
        self.definitions.push(definition);
        self.repetitions.push(repetition);
    }

    /// Writes what it has as a column chunk.
    fn write(&self, writer: &mut ColumnWriter<'_>) -> Result<usize, ParquetError> {
        let definitions = (self.place != Place::Needed).then_some(self.definitions.as_slice());
        let repetitions = (self.place == Place::Listed).then_some(self.repetitions.as_slice());
        match (&self.values, writer) {
            (Values::Texts(values), ColumnWriter::ByteArrayColumnWriter(writer)) => {
                writer.write_batch(values, definitions, repetitions)
            }
            (Values::Numbers(values), ColumnWriter::Int64ColumnWriter(writer)) => {
                writer.write_batch(values, definitions, repetitions)
            }
            (Values::Flags(values), ColumnWriter::BoolColumnWriter(writer)) => {
                writer.write_batch(values, definitions, repetitions)
            }
            _ => Err(ParquetError::General("a column is of another type than its values".to_owned())),
        }
    }
}

/// A table in the making.
pub(super) struct Table<W: Write + Send> {
    file: SerializedFileWriter<W>,
    leaves: Vec<Leaf>,
    rows: usize,
    bytes: usize,
}

impl<W: Write + Send> Table<W> {
    pub(super) fn new(out: W) -> Result<Self, ParquetError> {
        let schema = Arc::new(parse_message_type(&message())?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_created_by(concat!("postern ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let file = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
        Ok(Self { file, leaves: Leaf::all(), rows: 0, bytes: 0 })
    }

    /// Appends the statements of a session.
    pub(super) fn session(&mut self, events: &[Event]) -> Result<(), ParquetError> {
        for statement in stated(events) {
            self.row(&statement);
            if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
                self.group()?;
            }
        }
        Ok(())
    }

    fn row(&mut self, statement: &Stated<'_>) {
        let mut leaves = self.leaves.iter_mut();
        let put = |leaf: Option<&mut Leaf>, cell: Cell| leaf.map_or(0, |leaf| leaf.put(cell, 0));
        for column in COLUMNS {
            self.bytes += match column {
                Needed(_, _, cell) | One(_, _, cell) => put(leaves.next(), cell(statement)),
                Texts(_, cells) => leaves.next().map_or(0, |leaf| leaf.list(cells(statement))),
                Records(_, fields) => {
                    fields.iter().zip(&mut leaves).map(|((_, _, cells), leaf)| leaf.list(cells(statement))).sum()
                }
            };
        }
        self.rows += 1;
    }

    fn group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        for leaf in std::mem::replace(&mut self.leaves, Leaf::all()) {
            let missing = || ParquetError::General("the table has fewer columns than its rows".to_owned());
            let mut column = group.next_column()?.ok_or_else(missing)?;
            leaf.write(column.untyped())?;
            column.close()?;
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    /// Writes what is left, and the footer.
    pub(super) fn finish(mut self) -> Result<(), ParquetError> {
        if self.rows > 0 {
            self.group()?;
        }
        self.file.finish().map(drop)
    }
}

#[cfg(test)]
mod tests;
