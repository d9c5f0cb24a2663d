//! The page of a bundle for people: what happened, in a file that a browser shows without a network and without scripts.

use super::Written;
use crate::archive::checkpoint::Checkpoint;
use crate::export::timestamp;
use crate::play::{self, Entry, Told, What};
use kit::visible;
use schemas::{Event, SessionId};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#1a1a1a}\
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}table{border-collapse:collapse;width:100%}\
td,th{border-bottom:1px solid #ddd;padding:.35em .6em;text-align:left;vertical-align:top}\
th{font-weight:600}code,pre{font:13px/1.4 ui-monospace,monospace}pre{white-space:pre-wrap;margin:0}\
.deny{color:#a11}.note{color:#555}";

/// The page.
pub(super) fn html(
    sessions: &BTreeMap<SessionId, Vec<Event>>,
    written: &Written,
    checkpoint: &Checkpoint,
    created: i64,
) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Evidence bundle</title>\n<style>{STYLE}</style>\n\
         <h1>Evidence bundle</h1>\n\
         <p>Made {}. {} sessions, {} events. They are proved up to checkpoint {} of {}, by the recorder of <code>{}</code>.</p>\n\
         <p class=\"note\">This page was written from the events of this bundle and is proved by nothing but them. To prove \
         them, without Postern: <code>postern-verify bundle FILE.zip --keys KEYS</code>, with public keys that did not come with \
         this file. Values that were hidden from the client are not in the record, and not here.</p>\n",
        when(created),
        written.sessions.len(),
        written.events,
        checkpoint.number,
        when(checkpoint.time),
        shown(&checkpoint.node),
    );
    for (session, events) in sessions {
        one(&mut page, session, events, written).expect("writing to a String cannot fail");
    }
    page.push_str("</html>\n");
    page
}

fn one(page: &mut String, session: &SessionId, events: &[Event], written: &Written) -> std::fmt::Result {
    writeln!(page, "<h2><code>{session}</code></h2>")?;
    if written.open.contains(session) {
        writeln!(page, "<p class=\"note\">It had not ended at the checkpoint: what came later is not here.</p>")?;
    }
    writeln!(page, "<table><tr><th>time</th><th>what</th><th>outcome</th></tr>")?;
    for entry in play::play(events) {
        let (what, outcome) = told(&entry);
        writeln!(page, "<tr><td>{}</td><td>{what}</td><td>{outcome}</td></tr>", when(entry.time))?;
    }
    writeln!(page, "</table>")
}

/// What happened, and what came of it.
fn told(entry: &Entry) -> (String, String) {
    match &entry.what {
        What::Opened(opened) => (
            format!(
                "opened by {} ({}), from {}, on {} as role {}",
                shown(&opened.identity.subject),
                shown(&opened.identity.issuer),
                shown(&opened.peer),
                shown(&opened.resource),
                shown(&opened.role)
            ),
            String::new(),
        ),
        What::Refused(refused) => (format!("refused: {}", shown(&refused.reason)), shown(&refused.sqlstate)),
        What::Statement(statement) => (asked(statement), came(statement)),
        What::Gap(_) => ("a part of the log could not be read".to_owned(), String::new()),
        What::Access(access) => (format!("an auditor asked: {}", shown(&format!("{access:?}"))), String::new()),
        What::Control { event, text } => (format!("{event}: {}", shown(text)), String::new()),
        What::Unreadable { reason } => {
            (format!("the frames cannot be shown from here on: {}", shown(reason)), String::new())
        }
        What::Closed(closed) => (
            format!("closed: {}", shown(&format!("{:?}", closed.reason))),
            format!("{} bytes in, {} bytes out", closed.bytes_in, closed.bytes_out),
        ),
    }
}

fn asked(statement: &Told) -> String {
    let mut cell = format!("<pre>{}</pre>", lines(&statement.text));
    let mut note = |name: &str, values: &[String]| {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|value| shown(value)).collect();
            cell.push_str(&format!("<div class=\"note\">{name}: {}</div>", values.join(", ")));
        }
    };
    let parameters: Vec<String> =
        statement.parameters.iter().map(|value| value.clone().unwrap_or_else(|| "NULL".to_owned())).collect();
    note("parameters", &parameters);
    note("touches", &statement.relations);
    note("hidden from the client", &statement.masked);
    cell
}

fn came(statement: &Told) -> String {
    let verdict = statement.verdict.map(|verdict| format!("{verdict:?}").to_lowercase()).unwrap_or_default();
    let outcome = match (&statement.error, statement.tag.as_str()) {
        (Some(error), _) => shown(&error.message),
        (None, "") => String::new(),
        (None, tag) => format!("{}, {} rows", shown(tag), statement.row_count),
    };
    let class = if verdict == "deny" { " class=\"deny\"" } else { "" };
    format!("<div{class}>{verdict}</div><div>{outcome}</div><div class=\"note\">{}</div>", shown(&statement.reason))
}

fn when(micros: i64) -> String {
    timestamp(micros).unwrap_or_else(|_| format!("{micros} us"))
}

/// What somebody else wrote, in one line, as text of a page.
fn shown(text: &str) -> String {
    escaped(&visible::line(text))
}

/// Likewise, with its lines.
fn lines(text: &str) -> String {
    escaped(&visible::lines(text))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
