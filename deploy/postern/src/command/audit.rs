//! `postern audit search | verify`: who did what, and whether the record can be trusted.

use crate::arguments::{Audit, Global, Output};
use crate::command::block_on;
use crate::config::{self, Config};
use crate::failure::Failure;
use crate::output;
use indexer::search::{Question, Searcher, render};
use kit::Clock;
use recorder::archive::{Range, Reader};

/// Runs the verb.
pub fn run(global: &Global, verb: &Audit) -> Result<(), Failure> {
    let config = config::load(global)?;
    match verb {
        Audit::Search { question, since, until, limit } => {
            let mut question = question.join(" ");
            for (field, value) in [("since", since), ("until", until)] {
                if let Some(value) = value {
                    question = format!("({question}) {field}:\"{value}\"");
                }
            }
            search(global, &config, &question, *limit)
        }
        Audit::Verify => verify(global, &config),
    }
}

fn search(global: &Global, config: &Config, question: &str, limit: usize) -> Result<(), Failure> {
    let question = Question::parse(question, Clock::system().now_micros())?;
    let answer = Searcher::open(&config.index.directory).search(&question, limit, 0)?;
    let text = match global.output {
        Output::Json => render::json(&answer)?,
        Output::Text => render::table(&question, &answer),
    };
    Ok(output::line(text.trim_end())?)
}

fn verify(global: &Global, config: &Config) -> Result<(), Failure> {
    let reader = Reader::open(&config.archive)?;
    let report = block_on(async { Ok(reader.verify(Range::default()).await?) })?;
    let text = || {
        let holds = if report.holds() { "the archive holds" } else { "the archive does NOT hold" };
        let mut lines = vec![format!(
            "{holds}: {} batches, {} events, {} sessions ({} open), {} bytes",
            report.batches,
            report.events,
            report.sessions,
            report.open.len(),
            report.bytes
        )];
        lines.extend(report.findings.iter().map(|finding| {
            let event = finding.event.as_ref().map(|event| format!(", {event}")).unwrap_or_default();
            format!("partition {}, {}{event}: {:?}", finding.partition, finding.object, finding.fault)
        }));
        lines.join("\n")
    };
    output::either(global.output, text, || serde_json::json!({"holds": report.holds(), "report": report}))?;
    match report.holds() {
        true => Ok(()),
        false => Err(Failure::Unsound(format!("{} findings", report.found))),
    }
}
