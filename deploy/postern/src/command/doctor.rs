//! `postern doctor`: ways past the gate, and rights that are too large.

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{config, output};
use anyhow::anyhow;
use proxy::doctor::{Report, examine};
use proxy::upstream::CredentialFile;
use serde_json::{Value, json};
use std::path::Path;

/// Runs the command.
pub fn run(
    global: &Global,
    resource: Option<&str>,
    examiner: Option<(&str, Option<&Path>)>,
    expected: &[String],
) -> Result<(), Failure> {
    let config = config::load(global)?;
    let wanted: Vec<_> =
        config.proxy.resources.iter().filter(|one| resource.is_none_or(|name| one.name == name)).collect();
    if wanted.is_empty() {
        return Err(Failure::NotFound(format!("the config has no resource {:?}", resource.unwrap_or("at all"))));
    }
    let mut found = 0;
    let (mut texts, mut values) = (Vec::new(), Vec::new());
    for one in wanted {
        let examiner = match examiner {
            None => None,
            Some((user, file)) => {
                let file = CredentialFile { password_file: file.map(Path::to_owned), ..CredentialFile::default() };
                let credential = file.check().map_err(|problems| anyhow!(problems.join("; ")))?;
                Some((user.to_owned(), credential))
            }
        };
        let report = examine(one, examiner, expected)
            .map_err(|reason| anyhow!("the database of {} cannot be examined: {reason}", one.name))?;
        found += report.findings.len();
        texts.push(text(&one.name, &report));
        values.push(value(&one.name, &report));
    }
    output::either(global.output, || texts.join("\n\n"), || json!({"sound": found == 0, "resources": values}))?;
    if found > 0 {
        return Err(Failure::Unsound(format!("{found} checks found something")));
    }
    Ok(())
}

fn text(resource: &str, report: &Report) -> String {
    let mut lines = vec![format!(
        "{resource}: {} checks found something, {} found nothing, {} could not look; {} leased roles in use",
        report.findings.len(),
        report.passed.len(),
        report.unexamined.len(),
        report.leased
    )];
    for finding in &report.findings {
        lines.push(format!("\n{}: {}", finding.check, finding.problem));
        lines.extend(finding.objects.iter().map(|object| format!("    {}", output::plain(object))));
        if finding.count > finding.objects.len() {
            lines.push(format!("    and {} more", finding.count - finding.objects.len()));
        }
        lines.push(format!("  -> {}", finding.remedy));
    }
    for (check, why) in &report.unexamined {
        lines.push(format!("\n{check}: not examined: {}; see --as", output::plain(why)));
    }
    lines.join("\n")
}

fn value(resource: &str, report: &Report) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|one| {
            json!({"check": one.check, "problem": one.problem, "objects": one.objects, "count": one.count,
                   "remedy": one.remedy})
        })
        .collect();
    let unexamined: Vec<Value> =
        report.unexamined.iter().map(|(check, why)| json!({"check": check, "why": why})).collect();
    json!({"resource": resource, "findings": findings, "passed": report.passed, "unexamined": unexamined,
           "leased": report.leased})
}
