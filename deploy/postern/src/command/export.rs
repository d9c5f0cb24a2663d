//! `session export` and `audit export`: sessions into one file, into a bundle that proves them, or each into a file of a folder.

use crate::arguments::{Destination, Global};
use crate::command::{block_on, session};
use crate::failure::Failure;
use crate::output::{self, Shown};
use kit::Clock;
use recorder::archive::Reader;
use recorder::bundle;
use recorder::export::file::WholeFile;
use recorder::export::folder::{Content, Exported, Folder};
use recorder::export::{Exporter, Format, Progress};
use schemas::SessionId;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// The sessions that are to be written, in this order.
pub enum Wanted<'a> {
    /// Asked for by their ids: each must be there.
    Named(&'a [SessionId]),
    /// Found by this question: of those that are gone it is said so.
    Found(&'a [SessionId], &'a str),
}

impl Wanted<'_> {
    /// Each once.
    fn sessions(&self) -> Vec<SessionId> {
        let (Self::Named(sessions) | Self::Found(sessions, _)) = self;
        let mut seen = BTreeSet::new();
        sessions.iter().filter(|session| seen.insert(**session)).copied().collect()
    }

    fn question(&self) -> Option<&str> {
        match self {
            Self::Named(_) => None,
            Self::Found(_, question) => Some(question),
        }
    }
}

/// Writes sessions in the form and to the place that were asked for.
pub fn run(global: &Global, reader: &Reader, wanted: &Wanted<'_>, destination: &Destination) -> Result<(), Failure> {
    let Destination { format, to, bundle: proved, into, bundles } = destination;
    let content = if *bundles { Content::Bundle } else { Content::Export(*format) };
    // one runtime for all: a store's connections do not outlive theirs
    block_on(async {
        let reader = &reader.at_rest().await?;
        if let Some(path) = into {
            return folder(global, reader, wanted, (path, content)).await;
        }
        let (present, left_out) = present(reader, wanted).await?;
        match (proved, to) {
            (Some(path), _) => bundle(global, reader, &present, path).await?,
            (None, Some(path)) => {
                let mut file = WholeFile::create(path)?;
                write(reader, &present, *format, &mut file).await?;
                file.finish()?;
            }
            (None, None) => write(reader, &present, *format, io::BufWriter::new(io::stdout())).await?,
        }
        listed("left out", &left_out);
        Ok(())
    })
}

/// Which of the sessions are there, and why the others are not.
async fn present(
    reader: &Reader,
    wanted: &Wanted<'_>,
) -> Result<(Vec<SessionId>, BTreeMap<SessionId, String>), Failure> {
    let mut sessions = wanted.sessions();
    let absent = reader.absent(&sessions.iter().copied().collect()).await?;
    sessions.retain(|session| !absent.contains_key(session));
    let demanded = matches!(wanted, Wanted::Named(_)) || sessions.is_empty();
    match absent.first_key_value() {
        Some((session, why)) if demanded => Err(Failure::NotFound(format!("{session}: {why}"))),
        _ => Ok((sessions, absent.into_iter().map(|(session, why)| (session, why.to_string())).collect())),
    }
}

/// Most sessions that are listed for people.
const LISTED: usize = 20;

/// Says of sessions why they are not in it, beside what the command prints.
fn listed(what: &str, sessions: &BTreeMap<SessionId, String>) {
    for (session, why) in sessions.iter().take(LISTED) {
        eprintln!("postern: {what}: {session}: {}", output::plain(why));
    }
    if sessions.len() > LISTED {
        eprintln!("postern: {what}: {} more", sessions.len() - LISTED);
    }
}

/// Shows how far it is with so many sessions.
fn shown(progress: &Arc<Progress>, total: usize) -> Option<Shown> {
    let progress = progress.clone();
    Shown::begin(move || {
        let (sessions, events) = progress.now();
        format!("{sessions} of {total} sessions, {events} events")
    })
}

/// Writes one session after the other; only one is in memory at a time.
async fn write(reader: &Reader, sessions: &[SessionId], format: Format, out: impl Write + Send) -> Result<(), Failure> {
    let progress = Arc::new(Progress::default());
    let _shown = shown(&progress, sessions.len());
    let mut exporter = Exporter::new(format, out)?;
    for one in sessions {
        let events = session::events(reader, *one).await?;
        exporter.session(&events)?;
        progress.read(events.len() as u64);
    }
    Ok(exporter.finish()?)
}

/// Writes a bundle of sessions, and says how it is proved.
async fn bundle(global: &Global, reader: &Reader, sessions: &[SessionId], path: &Path) -> Result<(), Failure> {
    let (now, progress) = (Clock::system().now_micros(), Arc::new(Progress::default()));
    let mut file = WholeFile::create(path)?;
    let shown = shown(&progress, sessions.len());
    let written = bundle::write(reader, sessions, now, &progress, &mut file).await.map_err(|error| match error {
        bundle::Error::Archive(error) => session::unknown(error),
        other => other.into(),
    })?;
    file.finish()?;
    drop(shown);
    let text = || {
        let some = |sessions: &[SessionId], what: &str| match sessions.len() {
            0 => String::new(),
            some => format!("{some} {what}"),
        };
        let open = match some(&written.open, "had not ended at the checkpoint") {
            open if open.is_empty() => open,
            open => format!(" ({open})"),
        };
        let left_out = some(&written.left_out, "sessions that began after the last checkpoint are left out\n");
        let sealed = some(&written.sealed, "sessions stay sealed: their keys are not here\n");
        let incomplete = some(&written.incomplete, "sessions lack events: postern audit verify\n");
        format!(
            "{}: {} sessions{open}, {} events, proved up to checkpoint {}\n{left_out}{sealed}{incomplete}to prove it without Postern: \
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

/// Writes a file for each session, and goes on where an earlier run ended.
async fn folder(
    global: &Global,
    reader: &Reader,
    wanted: &Wanted<'_>,
    (path, content): (&Path, Content),
) -> Result<(), Failure> {
    let sessions: BTreeSet<SessionId> = wanted.sessions().into_iter().collect();
    let mut folder = Folder::open(path, content, wanted.question())?;
    let (now, progress) = (Clock::system().now_micros(), Arc::new(Progress::default()));
    let shown = shown(&progress, sessions.len());
    let exported = folder.export(reader, &sessions, now, &progress).await?;
    drop(shown);
    let Exported { written, kept, partial, sealed, left_out, failed } = &exported;
    let text = || {
        let parts = [
            (partial.len(), "of them not whole yet"),
            (left_out.len(), "left out"),
            (failed.len(), "that cannot be read"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
        format!("{}: {written} sessions written, {kept} were there{}", path.display(), parts.collect::<String>())
    };
    output::either(global.output, text, || serde_json::json!(exported))?;
    listed("sealed", sealed);
    listed("left out", left_out);
    listed("cannot be read", failed);
    if !failed.is_empty() {
        let what = format!("{} sessions cannot be read; run postern audit verify", failed.len());
        return Err(Failure::Failed(anyhow::anyhow!(what)));
    }
    match (wanted, left_out.first_key_value()) {
        (Wanted::Named(_), Some(_)) => {
            Err(Failure::NotFound(format!("{} of the sessions are left out", left_out.len())))
        }
        _ => Ok(()),
    }
}
