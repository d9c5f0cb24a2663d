//! `postern session ls | show | play | export`: recorded sessions, read from the archive.

use crate::arguments::{Global, Output, Session};
use crate::command::{block_on, export};
use crate::failure::Failure;
use crate::{config, output};
use recorder::archive::{self, Filter, Reader};
use recorder::play;
use recorder::sessions::SessionSummary;
use schemas::{Event, SessionId};
use std::io;

/// Runs the verb.
pub fn run(global: &Global, verb: &Session) -> Result<(), Failure> {
    let reader = || Ok::<_, Failure>(Reader::open(&config::load(global)?.archive)?);
    match verb {
        Session::Ls { identity, resource, open, limit } => {
            let open = open.then_some(true);
            let filter = Filter {
                identity: identity.clone(),
                resource: resource.clone(),
                open,
                limit: *limit,
                ..Filter::default()
            };
            list(global, &reader()?, filter)
        }
        Session::Show { session } => show(global, &reader()?, *session),
        Session::Play { session, speed, rows } => play(global, &reader()?, *session, *speed, *rows),
        // it asks a running node, and no archive
        Session::Kill { at, session, reason } => super::access::kill(global, at, *session, reason),
        Session::Export { sessions, destination } => {
            export::run(global, &reader()?, &export::Wanted::Named(sessions), destination)
        }
    }
}

fn list(global: &Global, reader: &Reader, filter: Filter) -> Result<(), Failure> {
    let sessions = block_on(async { Ok(reader.sessions(filter).await?) })?;
    if global.output == Output::Json {
        return Ok(output::line(&serde_json::to_string(&sessions)?)?);
    }
    let headings = ["SESSION", "OPENED", "STATUS", "IDENTITY", "RESOURCE", "STATEMENTS", "DENIED", "ROWS"];
    let rows: Vec<Vec<String>> = sessions.iter().map(row).collect();
    Ok(output::line(&output::table(&headings, &rows))?)
}

fn row(session: &SessionSummary) -> Vec<String> {
    vec![
        session.session.to_string(),
        output::time(session.opened),
        format!("{:?}", session.status).to_lowercase(),
        output::plain(session.identity.as_ref().map_or("-", |identity| identity.subject.as_str())),
        output::plain(session.resource.as_deref().unwrap_or("-")),
        session.statements.to_string(),
        session.denied.to_string(),
        session.rows.to_string(),
    ]
}

fn show(global: &Global, reader: &Reader, session: SessionId) -> Result<(), Failure> {
    let (summary, disposed) = block_on(async {
        let summary = reader.summary(session).await.map_err(unknown)?;
        // a log that does not hold says nothing, and hides nothing of what the manifests say
        Ok((summary, reader.disposed(session).await))
    })?;
    if global.output == Output::Json {
        let mut value = serde_json::to_value(&summary)?;
        if let Some(object) = value.as_object_mut() {
            match &disposed {
                Ok(None) => {}
                Ok(Some(disposed)) => drop(object.insert("disposed".to_owned(), serde_json::to_value(disposed)?)),
                Err(error) => drop(object.insert("record".to_owned(), error.to_string().into())),
            }
        }
        return Ok(output::line(&value.to_string())?);
    }
    let identity = summary.identity.as_ref();
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let ended = match (summary.closed, &summary.reason) {
        (Some(closed), Some(reason)) => format!("{} ({reason:?})", output::time(closed)),
        (Some(closed), None) => output::time(closed),
        (None, _) => "-".to_owned(),
    };
    let found = summary.found.iter().map(|(detector, values)| format!("{detector}: {values}"));
    let found = if summary.found.is_empty() {
        "-".to_owned()
    } else {
        format!("{} values, hidden", found.collect::<Vec<_>>().join(", "))
    };
    let lines = [
        ("session", summary.session.to_string()),
        ("status", format!("{:?}", summary.status).to_lowercase()),
        ("identity", identity.map_or_else(|| "-".to_owned(), |i| format!("{} ({}), {}", i.subject, i.name, i.issuer))),
        ("groups", identity.map_or_else(String::new, |identity| identity.groups.join(", "))),
        ("resource", text(&summary.resource)),
        ("role", text(&summary.role)),
        ("node", text(&summary.node)),
        ("client", format!("{} {}", text(&summary.peer), text(&summary.application))),
        ("opened", output::time(summary.opened)),
        ("ended", ended),
        ("detail", text(&summary.detail)),
        ("statements", format!("{}, {} denied", summary.statements, summary.denied)),
        ("rows", summary.rows.to_string()),
        ("found", found),
        ("events", summary.events.to_string()),
    ];
    let disposed = match disposed {
        Ok(disposed) => disposed.map(|disposed| ("record", disposed.to_string())),
        Err(error) => Some(("record", format!("whether it is whole cannot be told: {error}"))),
    };
    let lines: Vec<String> =
        lines.iter().chain(&disposed).map(|(name, value)| format!("{name:<11} {}", output::plain(value))).collect();
    Ok(output::line(&lines.join("\n"))?)
}

fn play(global: &Global, reader: &Reader, session: SessionId, speed: Option<f64>, rows: usize) -> Result<(), Failure> {
    let events = block_on(events(reader, session))?;
    let entries = play::play(&events);
    if global.output == Output::Json {
        return Ok(output::line(&serde_json::to_string(&entries)?)?);
    }
    let options = play::Options { speed, rows, ..play::Options::default() };
    Ok(play::render(&entries, &mut io::stdout().lock(), options)?)
}

/// A session's events. Of what stays sealed it says why, beside what the command prints.
pub(super) async fn events(reader: &Reader, session: SessionId) -> Result<Vec<Event>, Failure> {
    let events = reader.events(session).await.map_err(unknown)?;
    if let Some(why) = reader.why_sealed(session, &events).await? {
        eprintln!("postern: what {session} said is sealed: {why}");
    }
    Ok(events)
}

/// A session that the archive does not hold, or does not hold any more, is told apart from an archive that cannot be read.
pub(super) fn unknown(error: archive::Error) -> Failure {
    match error {
        archive::Error::UnknownSession(_) | archive::Error::Deleted(_) => Failure::NotFound(error.to_string()),
        other => other.into(),
    }
}
