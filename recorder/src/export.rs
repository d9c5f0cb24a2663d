//! Sessions in files for others: all events as JSON Lines or as an Avro container file; the statements as a table, for
//! spreadsheets (CSV) and for SQL (Parquet), or as events for a SIEM (OCSF).
//!
//! Exports hold what the events hold, and nothing more (MSK-1). What the forms are is in `docs/evidence.md`.

mod columns;
pub mod file;
pub mod folder;
mod ocsf;
mod stated;

use crate::archive::writer::{Container, sha256};
use crate::play::{self, What};
use parquet::errors::ParquetError;
use schemas::event::{Body, Identity};
use schemas::{Event, codec};
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far an export is; whoever shows it reads it meanwhile.
#[derive(Debug, Default)]
pub struct Progress {
    sessions: AtomicU64,
    events: AtomicU64,
}

impl Progress {
    /// Sessions that were read, at least in part, and events.
    pub fn now(&self) -> (u64, u64) {
        (self.sessions.load(Ordering::Relaxed), self.events.load(Ordering::Relaxed))
    }

    /// One more session, of so many events.
    pub fn read(&self, events: u64) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(events, Ordering::Relaxed);
    }

    /// So many altogether.
    pub(crate) fn reached(&self, sessions: usize, events: usize) {
        self.sessions.store(sessions as u64, Ordering::Relaxed);
        self.events.store(events as u64, Ordering::Relaxed);
    }
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object for each event. Payload bytes are base64, ids are text.
    Jsonl,
    /// An Avro Object Container File with the Event schema, zstandard blocks.
    Avro,
    /// One row for each statement, RFC 4180, with a header row. No cell is a formula to a spreadsheet.
    Csv,
    /// One row for each statement, Apache Parquet: typed, with lists of what it touches.
    Parquet,
    /// One OCSF event (class 6005, Datastore Activity) for each statement, as JSON Lines.
    Ocsf,
}

impl Format {
    /// What files of this form end in.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Avro => "avro",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Ocsf => "ocsf.jsonl",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "jsonl" => Ok(Self::Jsonl),
            "avro" => Ok(Self::Avro),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            "ocsf" => Ok(Self::Ocsf),
            other => Err(format!("{other:?} is not a format: jsonl, avro, csv, parquet or ocsf")),
        }
    }
}

/// Events could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The writer refused.
    #[error("writing an export")]
    Write(#[source] io::Error),
    /// An event cannot be put into JSON.
    #[error("writing an event as JSON")]
    Json(#[source] serde_json::Error),
    /// An event cannot be put into Avro.
    #[error("writing an event as Avro")]
    Avro(#[source] codec::Error),
    /// The table of statements cannot be written.
    #[error("writing statements as Parquet")]
    Parquet(#[source] ParquetError),
    /// A time is beyond the calendar.
    #[error("a time of {0} microseconds cannot be written")]
    Time(i64),
}

/// Bytes of events in one Avro block.
const BLOCK_BYTES: usize = 256 << 10;

/// Writes the events of one session, in the order of their sequence.
///
/// # Errors
/// [`Error`]; the output is then incomplete.
pub fn export(events: &[Event], format: Format, out: &mut (impl Write + Send)) -> Result<(), Error> {
    let mut exporter = Exporter::new(format, out)?;
    exporter.session(events)?;
    exporter.finish()
}

/// An export in the making: session after session goes into one file, and no more than one is held in memory beside what
/// the form itself holds back (256 KiB of an Avro block, 32 MiB of a Parquet row group).
pub struct Exporter<W: Write + Send>(Form<W>);

enum Form<W: Write + Send> {
    Jsonl(W),
    /// The file so far, as far as it was not given away; none before the first session.
    Avro(W, Option<Container>),
    Csv(W),
    Parquet(Box<columns::Table<W>>),
    Ocsf(W),
}

impl<W: Write + Send> Exporter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(format: Format, mut out: W) -> Result<Self, Error> {
        Ok(Self(match format {
            Format::Jsonl => Form::Jsonl(out),
            Format::Avro => Form::Avro(out, None),
            Format::Csv => {
                record(&COLUMNS.map(str::to_owned), &mut out)?;
                Form::Csv(out)
            }
            Format::Parquet => Form::Parquet(Box::new(columns::Table::new(out).map_err(Error::Parquet)?)),
            Format::Ocsf => Form::Ocsf(out),
        }))
    }

    /// Appends a session: its events, in the order of their sequence.
    ///
    /// # Errors
    /// [`Error`]; the file is then incomplete.
    pub fn session(&mut self, events: &[Event]) -> Result<(), Error> {
        match &mut self.0 {
            Form::Jsonl(out) => events.iter().try_for_each(|event| json_line(event, out)),
            Form::Avro(out, container) => {
                let container = container.get_or_insert_with(|| begun(events));
                avro(events, container)?;
                out.write_all(&container.drain()).map_err(Error::Write)
            }
            Form::Csv(out) => csv_rows(events, out),
            Form::Parquet(table) => table.session(events).map_err(Error::Parquet),
            Form::Ocsf(out) => ocsf::lines(events, out),
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Error`]; the file is then incomplete.
    pub fn finish(self) -> Result<(), Error> {
        match self.0 {
            Form::Jsonl(mut out) | Form::Csv(mut out) | Form::Ocsf(mut out) => out.flush().map_err(Error::Write),
            Form::Avro(mut out, container) => {
                let rest = container.unwrap_or_else(|| begun(&[])).drain();
                out.write_all(&rest).and_then(|()| out.flush()).map_err(Error::Write)
            }
            Form::Parquet(table) => table.finish().map_err(Error::Parquet),
        }
    }
}

/// Writes one event as one line of JSON.
///
/// # Errors
/// [`Error::Json`], [`Error::Write`].
pub fn json_line(event: &Event, out: &mut impl Write) -> Result<(), Error> {
    let mut line = serde_json::to_vec(event).map_err(Error::Json)?;
    line.push(b'\n');
    out.write_all(&line).map_err(Error::Write)
}

/// A container file whose sync marker follows from its first session.
fn begun(events: &[Event]) -> Container {
    let seed = sha256(events.first().map_or(&[], |event| event.session.as_bytes()));
    Container::new(&seed, codec::Version::Present)
}

fn avro(events: &[Event], container: &mut Container) -> Result<(), Error> {
    let (mut datums, mut count) = (Vec::new(), 0);
    for event in events {
        codec::encode(event, &mut datums).map_err(Error::Avro)?;
        count += 1;
        if datums.len() >= BLOCK_BYTES {
            container.splice(count, &codec::compress(&datums).map_err(Error::Avro)?);
            datums.clear();
            count = 0;
        }
    }
    if count > 0 {
        container.splice(count, &codec::compress(&datums).map_err(Error::Avro)?);
    }
    Ok(())
}

const COLUMNS: [&str; 17] = [
    "session",
    "number",
    "time",
    "identity",
    "resource",
    "verdict",
    "reason",
    "relations",
    "masked_columns",
    "found",
    "outcome",
    "tag",
    "rows",
    "duration_us",
    "sqlstate",
    "text",
    "parameters",
];

/// A row for each statement of a session.
fn csv_rows(events: &[Event], out: &mut impl Write) -> Result<(), Error> {
    let opened = events.iter().find_map(|event| match &event.body {
        Body::SessionOpened(opened) => Some(opened),
        _ => None,
    });
    let session = events.first().map(|event| event.session.to_string()).unwrap_or_default();
    let identity = opened.map(|o| &o.identity).map(subject).unwrap_or_default();
    let resource = opened.map(|o| o.resource.clone()).unwrap_or_default();
    for entry in play::play(events) {
        let What::Statement(told) = entry.what else { continue };
        let parameters: Vec<_> = told.parameters.iter().map(|p| p.as_deref().unwrap_or("NULL")).collect();
        let found: Vec<_> = told.found.iter().map(|f| format!("{}:{}:{}", f.detector, f.column, f.values)).collect();
        record(
            &[
                session.clone(),
                told.number.to_string(),
                timestamp(entry.time)?,
                identity.clone(),
                resource.clone(),
                named(&told.verdict)?,
                told.reason,
                told.relations.join(" "),
                told.masked.join(" "),
                found.join(" "),
                named(&told.outcome)?,
                told.tag,
                told.row_count.to_string(),
                told.duration.map(|d| d.to_string()).unwrap_or_default(),
                told.sqlstate.unwrap_or_default(),
                told.text,
                parameters.join(" "),
            ],
            out,
        )?;
    }
    Ok(())
}

fn subject(identity: &Identity) -> String {
    identity.subject.clone()
}

fn named(value: &Option<impl serde::Serialize>) -> Result<String, Error> {
    let value = serde_json::to_value(value).map_err(Error::Json)?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

/// RFC 3339 in UTC, with microseconds.
pub fn timestamp(micros: i64) -> Result<String, Error> {
    let time =
        time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).map_err(|_| Error::Time(micros))?;
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    time.format(format).map_err(|_| Error::Time(micros))
}

/// The day of a time, in UTC: `2026-09-23`.
pub(crate) fn date(micros: i64) -> String {
    let time = timestamp(micros).unwrap_or_default();
    time.split_once('T').map_or_else(|| format!("{micros} us after 1970"), |(day, _)| day.to_owned())
}

fn record(cells: &[String], out: &mut impl Write) -> Result<(), Error> {
    let line = cells.iter().map(|text| cell(text)).collect::<Vec<_>>().join(",") + "\r\n";
    out.write_all(line.as_bytes()).map_err(Error::Write)
}

/// A cell of RFC 4180. What a spreadsheet would run has an apostrophe before it: a statement, a name or a value is what
/// somebody else wrote.
fn cell(text: &str) -> String {
    let guard = if is_formula(text) { "'" } else { "" };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{guard}{}\"", text.replace('"', "\"\"")),
        false => format!("{guard}{text}"),
    }
}

/// Whether a spreadsheet would take it for more than text; some skip blanks before a formula, and read wide signs as signs.
fn is_formula(text: &str) -> bool {
    let shown = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    text.starts_with(['\t', '\r']) || shown.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
}

#[cfg(test)]
mod tests;
