//! `postern audit search | export | verify | key | checkpoint`: who did what, and whether the record can be trusted.

use crate::arguments::{Asked, Audit, AuditVerify, Destination, Global, Output};
use crate::command::{block_on, export::Wanted};
use crate::config::{self, Config};
use crate::failure::Failure;
use crate::output::{self, Shown};
use crate::process;
use anyhow::Context as _;
use indexer::search::{Document, Question, Searcher, render as answers};
use kit::Clock;
use kit::config::{Problem, Problems};
use recorder::archive::audit::Request;
use recorder::archive::{Checkpoint, Range, Reader, Report, Trust, checkpoint, trust};
use recorder::witness::{Client, Settings};
use schemas::chain::hexadecimal;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Runs the verb.
pub fn run(global: &Global, verb: &Audit) -> Result<(), Failure> {
    let config = config::load(global)?;
    match verb {
        Audit::Search { asked, limit } => search(global, &config, &narrowed(asked), *limit),
        Audit::Export { asked, destination } => export(global, &config, &narrowed(asked), destination),
        Audit::Verify(asked) => verify(&config, global, asked),
        Audit::Token => token(&config, global),
        Audit::Key => key(&config, global),
        Audit::Checkpoint => checkpoint(&config),
        Audit::Hold(verb) => super::custody::hold(&config, global, verb),
        Audit::Retain(asked) => super::custody::retain(&config, global, asked),
        Audit::Custody(believed) => super::custody::list(&config, global, believed),
    }
}

/// The question of a command line, within its times.
fn narrowed(asked: &Asked) -> String {
    let times = [("since", &asked.since), ("until", &asked.until)];
    times.into_iter().fold(asked.question.join(" "), |question, (field, value)| match value {
        Some(value) => format!("({question}) {field}:\"{value}\""),
        None => question,
    })
}

/// Writes the sessions of every statement that a question finds.
fn export(global: &Global, config: &Config, question: &str, destination: &Destination) -> Result<(), Failure> {
    let parsed = Question::parse(question, Clock::system().now_micros())?;
    let searcher = Searcher::open(&config.index.directory);
    let mut sessions = BTreeSet::new();
    for page in 0.. {
        let answer = searcher.search(&parsed, PAGE, page * PAGE)?;
        let of_sessions =
            answer.hits.iter().filter(|hit| matches!(hit.document, Document::Statement | Document::Session));
        sessions.extend(of_sessions.map(|hit| hit.session));
        if answer.hits.len() < PAGE {
            break;
        }
    }
    if sessions.is_empty() {
        return Err(Failure::NotFound(format!("nothing is found by {question:?}")));
    }
    let sessions = sessions.into_iter().collect::<Vec<_>>();
    super::export::run(global, &Reader::open(&config.archive)?, &Wanted::Found(&sessions, question), destination)
}

/// Hits of a search that are asked for at once.
const PAGE: usize = 1_000;

fn search(global: &Global, config: &Config, question: &str, limit: usize) -> Result<(), Failure> {
    let question = Question::parse(question, Clock::system().now_micros())?;
    let answer = Searcher::open(&config.index.directory).search(&question, limit, 0)?;
    let text = match global.output {
        Output::Json => answers::json(&answer)?,
        Output::Text => answers::table(&question, &answer),
    };
    Ok(output::line(text.trim_end())?)
}

/// Longest value that has a token: PostgreSQL's own limit of a value, of which no statement has more.
const MAX_VALUE_BYTES: u64 = 1 << 30;

fn token(config: &Config, global: &Global) -> Result<(), Failure> {
    let Some(tokens) = &config.tokens else {
        let text = "must be set: tokens are made under a key";
        return Err(Failure::Config(Problems(vec![Problem::new("tokens.key_file", text)])));
    };
    let mut value = Vec::new();
    // a value on a command line would stand in the history of the shell, and in the list of processes
    std::io::stdin().lock().take(MAX_VALUE_BYTES).read_to_end(&mut value).context("reading the value")?;
    let value = value.strip_suffix(b"\n").unwrap_or(&value);
    let least = schemas::tokens::MIN_BYTES;
    let token = tokens.of(value).with_context(|| format!("a value of fewer than {least} bytes has no token"))?;
    Ok(output::either(global.output, || token.clone(), || serde_json::json!({ "token": token }))?)
}

fn verify(config: &Config, global: &Global, asked: &AuditVerify) -> Result<(), Failure> {
    let reader = Reader::open(&config.archive)?;
    let named = |path: &Path| format!("reading {}", path.display());
    let trust: Option<Trust> = match &asked.keys {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| named(path))?;
            Some(text.parse().with_context(|| named(path))?)
        }
        None => None,
    };
    let kept = match &asked.checkpoint {
        Some(path) => Some(fs::read(path).with_context(|| named(path))?.trim_ascii_end().to_vec()),
        None => None,
    };
    // before the archive is listed: what the witness has then was in it
    let witnessed = asked.witness.as_deref().map(|url| witnessed(config, url, asked)).transpose()?;
    let range = Range { partition: asked.partition, from: asked.from.unwrap_or(0), to: asked.to };
    let (number, witnessed) = witnessed.unzip();
    let request = Request { range, trust, kept, witnessed, progress: Arc::default() };
    let progress = request.progress.clone();
    let progress = Shown::begin(move || {
        let [manifests, done, bytes] =
            [&progress.manifests, &progress.done, &progress.bytes].map(|number| number.load(Ordering::Relaxed));
        format!("{done} of {manifests} manifests, {} MiB", bytes >> 20)
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(reader.audit(request));
    drop(progress);
    let report = report?;
    output::either(
        global.output,
        || render(&report, number),
        || serde_json::json!({"holds": report.holds(), "report": report, "witness": number}),
    )?;
    match report.holds() {
        true => Ok(()),
        false => Err(Failure::Unsound(format!("{} findings", report.found))),
    }
}

/// What the witness that the command line names keeps last.
fn witnessed(config: &Config, url: &str, asked: &AuditVerify) -> Result<(u64, Vec<u8>), Failure> {
    let url = url.trim_end_matches('/').to_owned();
    // plain HTTP only where the config has it so for this witness
    let plain = config.archive.witness.as_ref().is_some_and(|witness| witness.url == url);
    kit::http::check_url(&url, plain).map_err(|problem| anyhow::anyhow!("--witness {problem}"))?;
    let (token_file, ca_file) = (asked.witness_token_file.clone(), asked.witness_ca.clone());
    Ok(last_of(&Settings { url, token_file, ca_file, timeout: WITNESS_TIMEOUT })?)
}

/// The last checkpoint that a witness keeps, and its number. That it has none is an error: it then proves nothing.
pub(super) fn last_of(witness: &Settings) -> anyhow::Result<(u64, Vec<u8>)> {
    let client = Client::new(witness)?;
    let number = client.last()?.context("the witness keeps no checkpoint yet: it can prove nothing")?;
    let missing = || format!("the witness does not give checkpoint {number}, which it says is its last");
    let bytes = client.checkpoint(number)?.with_context(missing)?;
    let named = Checkpoint::open(&bytes).map(|(checkpoint, _)| checkpoint.number);
    anyhow::ensure!(named == Ok(number), "the witness gives as its last checkpoint, {number}, something else");
    Ok((number, bytes))
}

/// How long a witness has for each answer.
const WITNESS_TIMEOUT: Duration = Duration::from_secs(30);

fn render(report: &Report, witnessed: Option<u64>) -> String {
    let holds = if report.holds() { "the archive holds" } else { "the archive does NOT hold" };
    let mut lines = vec![format!(
        "{holds}: {} batches, {} events, {} sessions ({} open), {} bytes",
        report.batches,
        report.events,
        report.sessions,
        report.open.len(),
        report.bytes
    )];
    lines.push(match report.attested {
        true => format!("{} batches are signed by keys that you believe", report.signed),
        false => format!(
            "{} batches are signed, by the keys that they name: give --keys to know by whom (postern audit key)",
            report.signed
        ),
    });
    lines.push(match report.last_checkpoint {
        None => "no checkpoint covers it: its end could be missing".to_owned(),
        Some((number, time)) => format!(
            "{} checkpoints, the last is {number} at {}; {} batches came after it",
            report.checkpoints,
            output::time(time),
            report.uncovered
        ),
    });
    if let Some(number) = witnessed.filter(|_| report.holds()) {
        lines.push(format!("a witness keeps checkpoint {number}, and the archive has it"));
    }
    if report.custody > 0 {
        lines.push(format!(
            "{} entries of the custody log; deleted by retention: {} objects with {} events, of which headers, chains and \
             signatures were checked; keys of {} sessions erased",
            report.custody, report.deleted, report.deleted_events, report.shredded
        ));
    }
    if report.orphans > 0 {
        lines.push(format!("{} objects were never committed and are read by nobody", report.orphans));
    }
    lines.extend(report.findings.iter().map(|finding| {
        let place = finding.offset.map(|offset| format!(", offset {offset}")).unwrap_or_default();
        let batch = finding.batch.as_ref().map(|b| format!(", batch {} of {}/{}", b.sequence, b.node, b.shard));
        let event = finding.event.as_ref().map(|event| format!(", {event}")).unwrap_or_default();
        let aside = finding.quarantine.as_ref().map(|name| format!("; kept as {name}")).unwrap_or_default();
        // what it names may be written by whom it accuses
        let batch = batch.unwrap_or_default();
        output::plain(&format!("{}{place}{batch}{event}: {}{aside}", finding.object, finding.detail))
    }));
    if report.found > report.findings.len() as u64 {
        lines.push(format!("and {} more", report.found - report.findings.len() as u64));
    }
    lines.join("\n")
}

/// Prints what a reader's file of keys must say for this node's signatures to count; makes the keys where there are none.
fn key(config: &Config, global: &Global) -> Result<(), Failure> {
    let public = |path: &Path| process::signer(path, &config.kms).map(|signer| *signer.public());
    let batches = config.log_key.as_deref().map(public).transpose()?;
    let checkpoints = config.archive.checkpoint_interval.map(|_| public(&config.archive_key)).transpose()?;
    let text = || trust::lines(&config.node, batches.as_ref(), checkpoints.as_ref());
    let json = || {
        let keys = (batches.map(|key| hexadecimal(&key)), checkpoints.map(|key| hexadecimal(&key)));
        serde_json::json!({"node": config.node, "batches": keys.0, "checkpoints": keys.1})
    };
    Ok(output::either(global.output, text, json)?)
}

/// Prints the last checkpoint, byte for byte, to be kept where nobody who holds the archive can reach it.
fn checkpoint(config: &Config) -> Result<(), Failure> {
    let store = config.archive.store()?;
    let last = block_on(async { Ok(checkpoint::last(&*store).await?) })?;
    let missing = || {
        let every = "one is made every archive.checkpoint_seconds, and when the recorder ends";
        Failure::NotFound(format!("the archive has no checkpoint yet: {every}"))
    };
    let (_, bytes) = last.ok_or_else(missing)?;
    std::io::stdout().lock().write_all(&bytes)?;
    Ok(())
}
