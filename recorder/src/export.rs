//! Sessions in files for others: all events as JSON Lines or as an Avro container file, or a table of the statements.

use crate::archive::writer::Container;
use crate::play::{self, What};
use schemas::event::{Body, Identity};
use schemas::{Event, codec};
use std::io::{self, Write};
use std::str::FromStr;

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object for each event. Payload bytes are base64, ids are text.
    Jsonl,
    /// An Avro Object Container File with the Event schema, zstandard blocks.
    Avro,
    /// One row for each statement, RFC 4180, with a header row.
    Csv,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "jsonl" => Ok(Self::Jsonl),
            "avro" => Ok(Self::Avro),
            "csv" => Ok(Self::Csv),
            other => Err(format!("{other:?} is not a format: jsonl, avro or csv")),
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
pub fn export(events: &[Event], format: Format, out: &mut impl Write) -> Result<(), Error> {
    match format {
        Format::Jsonl => events.iter().try_for_each(|event| json_line(event, out))?,
        Format::Avro => avro(events, out)?,
        Format::Csv => {
            csv_header(out)?;
            csv_rows(events, out)?;
        }
    }
    out.flush().map_err(Error::Write)
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

fn avro(events: &[Event], out: &mut impl Write) -> Result<(), Error> {
    let seed = crate::archive::writer::sha256(events.first().map_or(&[], |event| event.session.as_bytes()));
    let mut container = Container::new(&seed, codec::Version::Present);
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
    out.write_all(&container.into_bytes()).map_err(Error::Write)
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

/// The first row of the table of statements.
pub(crate) fn csv_header(out: &mut impl Write) -> Result<(), Error> {
    record(&COLUMNS.map(str::to_owned), out)
}

/// A row for each statement of a session.
pub(crate) fn csv_rows(events: &[Event], out: &mut impl Write) -> Result<(), Error> {
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

fn record(cells: &[String], out: &mut impl Write) -> Result<(), Error> {
    let quoted = cells.iter().map(|cell| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    });
    let line = quoted.collect::<Vec<_>>().join(",") + "\r\n";
    out.write_all(line.as_bytes()).map_err(Error::Write)
}

#[cfg(test)]
mod tests;
