//! `postern session ls | show | play | export`: recorded sessions, read from the archive.

use crate::arguments::{Destination, Global, Output, Session};
use crate::command::block_on;
use crate::failure::Failure;
use crate::{config, output};
use anyhow::Context as _;
use kit::Clock;
use recorder::archive::{self, Filter, Reader};
use recorder::bundle;
use recorder::export::{Exporter, Format};
use recorder::play;
use recorder::sessions::SessionSummary;
use schemas::{Event, SessionId};
use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::Path;

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
        Session::Export { sessions, destination } => export(global, &reader()?, sessions, destination),
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
async fn events(reader: &Reader, session: SessionId) -> Result<Vec<Event>, Failure> {
    let events = reader.events(session).await.map_err(unknown)?;
    if let Some(why) = reader.why_sealed(session, &events).await? {
        eprintln!("postern: what {session} said is sealed: {why}");
    }
    Ok(events)
}

/// Writes sessions in the form and to the place that were asked for.
pub fn export(
    global: &Global,
    reader: &Reader,
    sessions: &[SessionId],
    Destination { format, to, bundle: proved }: &Destination,
) -> Result<(), Failure> {
    match (proved, to) {
        (Some(path), _) => bundle(global, reader, sessions, path),
        (None, Some(path)) => whole(path, |file| write(reader, sessions, *format, file)),
        (None, None) => write(reader, sessions, *format, io::BufWriter::new(io::stdout())),
    }
}

/// Writes one session after the other, each once; only one is in memory at a time.
fn write(reader: &Reader, sessions: &[SessionId], format: Format, out: impl io::Write + Send) -> Result<(), Failure> {
    block_on(async {
        let mut exporter = Exporter::new(format, out)?;
        let mut seen = BTreeSet::new();
        for session in sessions.iter().filter(|session| seen.insert(**session)) {
            exporter.session(&events(reader, *session).await?)?;
        }
        Ok(exporter.finish()?)
    })
}

/// Writes a bundle of sessions, and says how it is proved.
fn bundle(global: &Global, reader: &Reader, sessions: &[SessionId], path: &Path) -> Result<(), Failure> {
    let now = Clock::system().now_micros();
    let written = whole(path, |file| {
        block_on(async {
            bundle::write(reader, sessions, now, file).await.map_err(|error| match error {
                bundle::Error::Archive(error) => unknown(error),
                other => other.into(),
            })
        })
    })?;
    let text = || {
        let open = match written.open.len() {
            0 => String::new(),
            some => format!(" ({some} had not ended at the checkpoint)"),
        };
        let left_out = match written.left_out.len() {
            0 => String::new(),
            some => format!("\nleft out: {some} sessions that began after the last checkpoint"),
        };
        format!(
            "{}: {} sessions{open}, {} events, proved up to checkpoint {}{left_out}\nto prove it without Postern: \
             deploy/verify/postern-verify bundle {} --keys KEYS",
            path.display(),
            written.sessions.len(),
            written.events,
            written.checkpoint,
            path.display(),
        )
    };
    Ok(output::either(global.output, text, || serde_json::json!(written))?)
}

/// Writes a file beside its name and moves it there, so that a file of that name is always whole.
fn whole<T>(
    path: &Path,
    write: impl FnOnce(&mut io::BufWriter<std::fs::File>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let unfinished = path.with_added_extension("unfinished");
    let file = std::fs::File::create(&unfinished).with_context(|| format!("creating {}", unfinished.display()))?;
    let mut file = io::BufWriter::new(file);
    let written = write(&mut file).inspect_err(|_| drop(std::fs::remove_file(&unfinished)))?;
    file.flush()
        .and_then(|()| file.get_ref().sync_all())
        .with_context(|| format!("writing {}", unfinished.display()))?;
    std::fs::rename(&unfinished, path).with_context(|| format!("naming {}", path.display()))?;
    Ok(written)
}

/// A session that the archive does not hold, or does not hold any more, is told apart from an archive that cannot be read.
fn unknown(error: archive::Error) -> Failure {
    match error {
        archive::Error::UnknownSession(_) | archive::Error::Deleted(_) => Failure::NotFound(error.to_string()),
        other => other.into(),
    }
}
