//! Printing: a table for people, JSON for programs.

use crate::arguments::Output;
use serde_json::Value;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Prints a line. A reader that goes away (`| head`) is no failure.
pub fn line(text: &str) -> Result<(), io::Error> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result,
    }
}

/// Prints the text or the value, as asked for.
pub fn either(output: Output, text: impl FnOnce() -> String, value: impl FnOnce() -> Value) -> Result<(), io::Error> {
    match output {
        Output::Text => line(&text()),
        Output::Json => line(&value().to_string()),
    }
}

/// Lays out rows under headings, each column as wide as its widest cell.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let layout = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![layout(&mut headings.iter().copied())];
    lines.extend(rows.iter().map(|row| layout(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// A time of an event, as RFC 3339 in UTC, to the millisecond.
pub fn time(micros: i64) -> String {
    let millis = i128::from(micros.div_euclid(1_000)) * 1_000_000;
    let formatted = OffsetDateTime::from_unix_timestamp_nanos(millis).ok().and_then(|time| time.format(&Rfc3339).ok());
    formatted.unwrap_or_else(|| format!("{micros} us"))
}

/// Makes what somebody else wrote (a name, a statement) safe for a terminal, in one line: what is not seen, or moves what is
/// seen, is written out.
pub fn plain(text: &str) -> String {
    kit::visible::line(text)
}

/// Shows on a terminal how far something is, on standard error; elsewhere nothing.
pub struct Shown {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Shown {
    /// Begins to show this text. It ends when it is dropped, and leaves nothing on the terminal.
    pub fn begin(text: impl Fn() -> String + Send + 'static) -> Option<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        io::stderr().is_terminal().then(|| {
            let thread = std::thread::spawn(move || {
                while !told.load(Ordering::Acquire) {
                    std::thread::park_timeout(BETWEEN_LINES);
                    eprint!("\r{}\x1b[K", text());
                }
                eprint!("\r\x1b[K");
            });
            Self { ended, thread: Some(thread) }
        })
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // it only prints
            drop(thread.join());
        }
    }
}

/// Between two lines of progress.
const BETWEEN_LINES: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let rows = [
            vec!["a".to_owned(), "long cell".to_owned(), "x".to_owned()],
            vec!["bb".to_owned(), String::new(), String::new()],
        ];
        assert_eq!(table(&["id", "name", ""], &rows), "id  name\na   long cell  x\nbb");
    }

    #[test]
    fn times_and_texts_are_readable() {
        assert_eq!(time(1_700_000_000_123_456), "2023-11-14T22:13:20.123Z");
        assert_eq!(plain("a\u{1b}[31m\nb\u{202e}"), "a\\u{1b}[31m\\u{a}b\\u{202e}");
    }
}
