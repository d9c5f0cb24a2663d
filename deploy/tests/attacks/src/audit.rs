//! The record must say what a case touched: the Verdicts of its sessions name it, or say that they cannot.

use crate::{
    case::Case,
    outcome::{Kind, Outcome},
};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the record says of one case.
#[derive(Debug, Default)]
struct Recorded {
    /// `schema.relation` and `schema.relation.column`.
    names: BTreeSet<String>,
    /// Columns that have a label.
    labelled: BTreeSet<String>,
    /// A statement whose Verdict says that it is not known what it reaches, or that was not understood.
    opaque: bool,
    /// A connection or a statement was turned away before it was looked at.
    refused: bool,
}

/// Turns a pass into a miss where the record does not name what it must.
pub fn check(cases: &[Case], results: &mut [Outcome], events: &[Value]) -> Result<()> {
    let recorded = collect(events)?;
    let nothing = Recorded::default();
    for (case, outcome) in cases.iter().zip(results) {
        // a refused connection has no application name: it stands under the user that it asked for
        let mut names_of = std::iter::once(case.id.as_str()).chain(case.steps.iter().filter_map(asked_user));
        let recorded = names_of.find_map(|name| recorded.get(name)).unwrap_or(&nothing);
        let missing: Vec<&str> =
            case.audit_must_name.iter().map(String::as_str).filter(|name| !names(case, recorded, name)).collect();
        if outcome.result == Kind::Pass && !missing.is_empty() {
            outcome.result = Kind::AuditMiss;
            outcome.detail =
                Some(format!("{} not in the record, which names {:?}", missing.join(", "), recorded.names));
        }
    }
    Ok(())
}

/// The user that a step's startup packet names.
fn asked_user(step: &Value) -> Option<&str> {
    step.get("startup")?.get("user")?.as_str()
}

/// A case asks for one column by habit, whatever its text reads. So what it asks for must be in the record where the
/// text names that column, of whichever relation; else any labelled column or relation answers; and a text that reads
/// nothing of the kind (a setting, say) needs no answer.
fn names(case: &Case, recorded: &Recorded, name: &str) -> bool {
    if recorded.names.contains(name) || recorded.opaque || recorded.refused {
        return true;
    }
    let text = without_literals(&case.text().to_lowercase());
    let column = name.rsplit('.').next().unwrap_or(name);
    let relation = name.rsplit('.').nth(1).unwrap_or(name);
    if text.contains(column) {
        recorded.labelled.iter().any(|labelled| labelled.ends_with(&format!(".{column}")))
    } else {
        !text.contains(relation) || !recorded.names.is_empty()
    }
}

/// The text without what stands in single quotes.
fn without_literals(text: &str) -> String {
    text.split('\'').step_by(2).collect::<Vec<_>>().join(" ")
}

/// By `application_name`, which the runner sets to the case's id.
fn collect(events: &[Value]) -> Result<BTreeMap<String, Recorded>> {
    let mut sessions: BTreeMap<&str, String> = BTreeMap::new();
    let mut all: BTreeMap<String, Recorded> = BTreeMap::new();
    for event in events {
        let session = event.get("session").and_then(Value::as_str).context("an event names its session")?;
        let Some((kind, body)) = body(event) else { continue };
        if matches!(kind, "SessionOpened" | "SessionRefused") {
            let user = body.get("user").and_then(Value::as_str).map(str::to_owned);
            let case = application(body).or(user).unwrap_or_default();
            all.entry(case.clone()).or_default().refused |= kind == "SessionRefused";
            sessions.insert(session, case);
        } else if kind == "Verdict" {
            let case = sessions.get(session).context("a session opens before its statements")?;
            add(all.entry(case.clone()).or_default(), body);
        }
    }
    Ok(all)
}

fn add(recorded: &mut Recorded, verdict: &Value) {
    let list = |key: &str| verdict.get(key).and_then(Value::as_array).into_iter().flatten();
    let name = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
    recorded.names.extend(list("relations").filter_map(name));
    recorded.names.extend(list("columns").filter_map(name));
    let labelled = |column: &&Value| column.get("label").is_some_and(|label| !label.is_null());
    recorded.labelled.extend(list("columns").filter(labelled).filter_map(name));
    let unknown = verdict.get("kind").and_then(Value::as_str) == Some("UNKNOWN");
    recorded.opaque |= unknown || verdict.get("opaque").and_then(Value::as_bool) == Some(true);
}

/// The event's name and fields, however the envelope holds them.
pub(crate) fn body(event: &Value) -> Option<(&str, &Value)> {
    let body = event.get("body")?.as_object()?;
    let (kind, body) = body.iter().next()?;
    Some((kind.rsplit('.').next().unwrap_or(kind), body))
}

pub(crate) fn application(opened: &Value) -> Option<String> {
    let parameters = opened.get("parameters")?;
    parameters.get("application_name").and_then(Value::as_str).map(str::to_owned)
}
