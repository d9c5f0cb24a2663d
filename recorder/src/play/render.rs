//! A timeline on a terminal: one block of text for each entry, with the session's own pauses if they are wanted.
//!
//! Control characters of recorded text are escaped: a record must not drive the reader's terminal.

use super::{Entry, Told, What};
use schemas::event::{Identity, Outcome, VerdictKind};
use std::io::{self, Write};
use std::time::Duration;

/// How a timeline is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// How fast the session's own pauses pass: 1.0 as they were, 10.0 ten times as fast; `None` without pauses.
    pub speed: Option<f64>,
    /// No pause is longer than this.
    pub longest_pause: Duration,
    /// Rows of a result that are shown.
    pub rows: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { speed: None, longest_pause: Duration::from_secs(2), rows: 10 }
    }
}

/// Columns of a terminal that a value takes at most.
const VALUE_WIDTH: usize = 40;

/// Writes a timeline. Blocks the thread for its pauses.
///
/// # Errors
/// The writer's.
pub fn render(entries: &[Entry], out: &mut impl Write, options: Options) -> io::Result<()> {
    let mut at = 0;
    for entry in entries {
        if let Some(speed) = options.speed.filter(|speed| *speed > 0.0) {
            let micros = u64::try_from(entry.offset.saturating_sub(at)).unwrap_or_default();
            let pause = Duration::from_micros(micros).div_f64(speed.max(0.001));
            out.flush()?;
            std::thread::sleep(pause.min(options.longest_pause));
        }
        at = entry.offset;
        one(entry, out, options.rows)?;
    }
    out.flush()
}

fn one(entry: &Entry, out: &mut impl Write, rows: usize) -> io::Result<()> {
    let at = offset(entry.offset);
    match &entry.what {
        What::Opened(opened) => {
            writeln!(
                out,
                "{at}  opened   {} on {} as role {}",
                who(&opened.identity),
                line(&opened.resource),
                line(&opened.role)
            )?;
            writeln!(
                out,
                "{INDENT}from {} through {}, PostgreSQL {}",
                line(&opened.peer),
                line(&opened.node),
                line(&opened.server_version)
            )
        }
        What::Refused(refused) => {
            let who = refused.identity.as_ref().map(who);
            let who = who.or_else(|| refused.user.as_deref().map(line)).unwrap_or_else(|| "somebody".to_owned());
            writeln!(
                out,
                "{at}  refused  {who} from {}: {} ({})",
                line(&refused.peer),
                line(&refused.reason),
                line(&refused.sqlstate)
            )
        }
        What::Statement(told) => statement(&at, told, out, rows),
        What::Gap(gap) => writeln!(
            out,
            "{at}  gap      {} bytes {} to {}: {}",
            line(&gap.segment),
            gap.from,
            gap.to,
            line(&gap.detail)
        ),
        What::Access(access) => {
            let query = access.query.as_deref().map(|q| format!(" ({})", line(q))).unwrap_or_default();
            writeln!(
                out,
                "{at}  access   {} {} {}{query}: {}",
                who(&access.identity),
                line(&access.method),
                line(&access.path),
                access.status
            )
        }
        What::Control { text, .. } => writeln!(out, "{at}  control  {}", line(text)),
        What::Unreadable { reason } => {
            writeln!(out, "{at}  note     answers cannot be shown further: {}", line(reason))
        }
        What::Closed(closed) => {
            let detail = if closed.detail.is_empty() { String::new() } else { format!(": {}", line(&closed.detail)) };
            writeln!(out, "{at}  closed   {}{detail}", name(&closed.reason))?;
            writeln!(
                out,
                "{INDENT}{} statements, {} denied, {} rows, {} bytes in, {} bytes out",
                closed.statements, closed.denied, closed.rows, closed.bytes_in, closed.bytes_out
            )
        }
    }
}

const INDENT: &str = "              ";

fn statement(at: &str, told: &Told, out: &mut impl Write, rows: usize) -> io::Result<()> {
    let verdict = told.verdict.map_or("?", |verdict| match verdict {
        VerdictKind::Allow => "allow",
        VerdictKind::Mask => "mask",
        VerdictKind::Hold => "hold",
        VerdictKind::Deny => "deny",
    });
    let mut text = told.text.trim().lines();
    writeln!(out, "{at}  #{:<4} {verdict:<5} {}", told.number, text.next().map(line).unwrap_or_default())?;
    for more in text {
        writeln!(out, "{INDENT}      {}", line(more))?;
    }
    if !told.parameters.is_empty() {
        let values = (1..).zip(&told.parameters).map(|(n, value)| format!("${n} = {}", shown(value.as_deref())));
        writeln!(out, "{INDENT}with {}", values.collect::<Vec<_>>().join(", "))?;
    }
    if !told.reason.is_empty() {
        writeln!(out, "{INDENT}because {} [{}]", line(&told.reason), line(&told.policies.join(", ")))?;
    }
    if !told.masked.is_empty() {
        writeln!(out, "{INDENT}masked {}", line(&told.masked.join(", ")))?;
    }
    if !told.found.is_empty() {
        let found = told.found.iter().map(|found| format!("{} in {} ({})", found.detector, found.column, found.values));
        writeln!(out, "{INDENT}found and hid {}", line(&found.collect::<Vec<_>>().join(", ")))?;
    }
    if let Some(held) = &told.held {
        writeln!(out, "{INDENT}held for {} ({})", line(&held.reviewers.join(", ")), line(&held.request))?;
    }
    if let Some(reviewed) = &told.reviewed {
        let reviewer = reviewed.reviewer.as_ref().map_or_else(|| "nobody".to_owned(), who);
        let answer = if reviewed.approved { "approved" } else { "denied" };
        writeln!(out, "{INDENT}{answer} by {reviewer}: {}", line(&reviewed.reason))?;
    }
    for notice in &told.notices {
        writeln!(out, "{INDENT}{}: {}", line(&notice.severity), line(&notice.message))?;
    }
    table(told, out, rows)?;
    outcome(told, out)
}

fn outcome(told: &Told, out: &mut impl Write) -> io::Result<()> {
    if let Some(error) = &told.error {
        writeln!(out, "{INDENT}{} {}: {}", line(&error.severity), line(&error.code), line(&error.message))?;
        for more in [&error.detail, &error.hint].into_iter().flatten() {
            writeln!(out, "{INDENT}{}", line(more))?;
        }
    }
    let duration = told.duration.map(|micros| format!(" in {}", elapsed(micros))).unwrap_or_default();
    match told.outcome {
        None => writeln!(out, "{INDENT}-> no outcome recorded"),
        Some(Outcome::Succeeded) => writeln!(out, "{INDENT}-> {}{duration}", line(&told.tag)),
        Some(other) => {
            let code = told.sqlstate.as_deref().map(|code| format!(" ({})", line(code))).unwrap_or_default();
            writeln!(out, "{INDENT}-> {}{code}{duration}", name(&other))
        }
    }
}

fn table(told: &Told, out: &mut impl Write, rows: usize) -> io::Result<()> {
    if told.columns.is_empty() {
        return match told.left_out {
            0 => Ok(()),
            rows => writeln!(out, "{INDENT}| {rows} kept as digests"),
        };
    }
    let header: Vec<String> = told.columns.iter().map(|column| shown(Some(column))).collect();
    let body: Vec<Vec<String>> =
        told.rows.iter().take(rows).map(|row| row.iter().map(|value| shown(value.as_deref())).collect()).collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in &body {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in std::iter::once(&header).chain(&body) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{INDENT}| {}", cells.collect::<Vec<_>>().join(" | ").trim_end())?;
    }
    let more = told.row_count.saturating_sub(body.len() as u64);
    match (more, told.left_out) {
        (0, _) => Ok(()),
        (_, 0) => writeln!(out, "{INDENT}| ... {more} more"),
        (_, left_out) => writeln!(out, "{INDENT}| ... {more} more, {left_out} of them kept as digests"),
    }
}

fn shown(value: Option<&str>) -> String {
    let Some(value) = value else { return "NULL".to_owned() };
    let text = line(value);
    match text.char_indices().nth(VALUE_WIDTH) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Text of a record on one line, without anything that a terminal would act on.
fn line(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if c == '\t' {
            line.push(' ');
        } else if hidden(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}

fn who(identity: &Identity) -> String {
    let mut text = line(&identity.subject);
    if identity.name != identity.subject && !identity.name.is_empty() {
        text = format!("{text} ({})", line(&identity.name));
    }
    for actor in &identity.on_behalf_of {
        text = format!("{text} through {}", line(actor));
    }
    if let Some(task) = &identity.task {
        text = format!("{text}, task {}", line(task));
    }
    text
}

/// The name of an enum's value, as it stands in the schema.
fn name(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name.replace('_', " "),
        _ => "unknown".to_owned(),
    }
}

fn offset(micros: i64) -> String {
    let millis = micros / 1_000;
    format!("{:>3}:{:02}.{:03}", millis / 60_000, millis / 1_000 % 60, millis % 1_000)
}

fn elapsed(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}
