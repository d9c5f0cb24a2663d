//! `postern request`, `grant`, `identity`, `session kill`: who may do what, over the API of a running node.

use crate::arguments::{At, Global, Grant, IdentityVerb, Output, Request};
use crate::client::Client;
use crate::failure::Failure;
use crate::output;
use schemas::SessionId;
use serde_json::{Value, json};

/// Runs a verb of `request`.
pub fn request(global: &Global, verb: &Request) -> Result<(), Failure> {
    match verb {
        Request::Create { at, resource, role, r#for, reason, break_glass } => {
            let body = json!({"resource": resource, "role": role, "seconds": r#for.as_secs(), "reason": reason,
                              "break_glass": break_glass});
            let made = Client::new(global, at)?.post("/api/v1/requests", &body)?;
            show(global, &made, told)
        }
        Request::Ls { at, all } => {
            let path = if *all { "/api/v1/requests" } else { "/api/v1/requests?open=true" };
            let list = Client::new(global, at)?.get(path)?;
            show(global, &list, |list| {
                let headings = ["REQUEST", "STATE", "WHO", "RESOURCE", "ROLE", "FOR", "EXPIRES", "REASON"];
                table(&headings, list, "requests", |one| {
                    let who = text(one, "/requester/subject");
                    [
                        text(one, "/id"),
                        text(one, "/state"),
                        who,
                        text(one, "/resource"),
                        text(one, "/role"),
                        minutes(one),
                        text(one, "/expires"),
                        text(one, "/reason"),
                    ]
                    .to_vec()
                })
            })
        }
        Request::Show { at, id } => {
            let one = Client::new(global, at)?.get(&format!("/api/v1/requests/{id}"))?;
            show(global, &one, detail)
        }
        Request::Approve { at, id, reason } => review(global, at, id, true, reason),
        Request::Deny { at, id, reason } => review(global, at, id, false, reason),
        Request::Withdraw { at, id } => {
            let one = Client::new(global, at)?.post(&format!("/api/v1/requests/{id}/withdraw"), &json!({}))?;
            show(global, &one, told)
        }
    }
}

/// Answers what is shown now: if it is another by then, the answer does not count.
fn review(global: &Global, at: &At, id: &str, approve: bool, reason: &str) -> Result<(), Failure> {
    let client = Client::new(global, at)?;
    let shown = client.get(&format!("/api/v1/requests/{id}"))?;
    let body = json!({"approve": approve, "reason": reason, "digest": text(&shown, "/digest")});
    let one = client.post(&format!("/api/v1/requests/{id}/review"), &body)?;
    show(global, &one, told)
}

/// Runs a verb of `grant`.
pub fn grant(global: &Global, verb: &Grant) -> Result<(), Failure> {
    match verb {
        Grant::Ls { at, all } => {
            let path = if *all { "/api/v1/grants" } else { "/api/v1/grants?live=true" };
            let list = Client::new(global, at)?.get(path)?;
            show(global, &list, |list| {
                let headings = ["GRANT", "STATE", "WHO", "RESOURCE", "ROLE", "UNTIL", "BY", "REASON"];
                table(&headings, list, "grants", |one| {
                    let by = one.get("by").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
                    let by = output::plain(&by.collect::<Vec<_>>().join(","));
                    let who = text(one, "/identity/subject");
                    [
                        text(one, "/id"),
                        text(one, "/state"),
                        who,
                        text(one, "/resource"),
                        text(one, "/role"),
                        text(one, "/until"),
                        by,
                        text(one, "/reason"),
                    ]
                    .to_vec()
                })
            })
        }
        Grant::Revoke { at, id, reason } => {
            let one =
                Client::new(global, at)?.post(&format!("/api/v1/grants/{id}/revoke"), &json!({"reason": reason}))?;
            show(global, &one, |one| {
                format!("{} is {}; sessions that rest on it end", text(one, "/id"), text(one, "/state"))
            })
        }
        Grant::Extend { at, id, r#for, reason } => {
            let body = json!({"seconds": r#for.as_secs(), "reason": reason});
            let one = Client::new(global, at)?.post(&format!("/api/v1/grants/{id}/extend"), &body)?;
            show(global, &one, |one| match one.get("until") {
                Some(_) => format!("{} lasts until {}", text(one, "/id"), text(one, "/until")),
                None => told(one),
            })
        }
    }
}

/// Runs a verb of `identity`.
pub fn identity(global: &Global, verb: &IdentityVerb) -> Result<(), Failure> {
    let (at, subject, issuer, reason, path, done) = match verb {
        IdentityVerb::Ls { at } => {
            let list = Client::new(global, at)?.get("/api/v1/identities")?;
            return show(global, &list, |list| {
                let headings = ["SUBJECT", "ISSUER", "DISABLED", "BY", "REASON"];
                table(&headings, list, "disabled", |one| {
                    ["/subject", "/issuer", "/time", "/by", "/reason"].map(|path| text(one, path)).to_vec()
                })
            });
        }
        IdentityVerb::Disable { at, subject, issuer, reason } => {
            (at, subject, issuer, reason, "disable", "is disabled; its sessions end")
        }
        IdentityVerb::Enable { at, subject, issuer, reason } => (at, subject, issuer, reason, "enable", "is enabled"),
    };
    let path = format!("/api/v1/identities/{}/{path}", encoded(subject));
    let answer = Client::new(global, at)?.post(&path, &json!({"issuer": issuer, "reason": reason}))?;
    let unseen =
        "no session of that name is in the archive: look whether it is written right; whoever comes by it is refused";
    show(global, &answer, |answer| format!("{} {done}{}", output::plain(subject), note(answer, unseen)))
}

/// `postern session kill`.
pub fn kill(global: &Global, at: &At, session: SessionId, reason: &str) -> Result<(), Failure> {
    let path = format!("/api/v1/sessions/{session}/kill");
    let answer = Client::new(global, at)?.post(&path, &json!({"reason": reason}))?;
    let unseen = "no such session is in the archive: it began a moment ago, or the id is not right";
    show(global, &answer, |answer| format!("{session} ends{}", note(answer, unseen)))
}

/// What is to be said of a name that nobody has seen.
fn note(answer: &Value, unseen: &str) -> String {
    if answer.get("seen").and_then(Value::as_bool) == Some(false) { format!("\nNOTE: {unseen}") } else { String::new() }
}

fn show(global: &Global, value: &Value, text: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
    match global.output {
        Output::Json => Ok(output::line(&value.to_string())?),
        Output::Text => Ok(output::line(&text(value))?),
    }
}

/// A request in one line, with what to do next.
fn told(one: &Value) -> String {
    let (id, state) = (text(one, "/id"), text(one, "/state"));
    let next = match (state.as_str(), one.get("grant").and_then(Value::as_str)) {
        ("waiting", _) => {
            let reviewers = one.get("reviewers").and_then(Value::as_array).into_iter().flatten();
            let reviewers: Vec<&str> = reviewers.filter_map(Value::as_str).collect();
            format!(": somebody of {} answers with postern request approve {id}", output::plain(&reviewers.join(", ")))
        }
        (_, Some(grant)) => format!(": {grant}"),
        _ => String::new(),
    };
    format!("{id} is {state}{next}")
}

fn detail(one: &Value) -> String {
    let mut lines: Vec<String> =
        ["id", "state", "resource", "role", "reason", "kind", "rule", "extends", "time", "expires", "grant", "digest"]
            .iter()
            .map(|name| format!("{name:<11} {}", text(one, &format!("/{name}"))))
            .collect();
    lines.insert(2, format!("{:<11} {} ({})", "who", text(one, "/requester/subject"), text(one, "/requester/issuer")));
    lines.push(format!("{:<11} {}", "for", minutes(one)));
    lines.push(format!("{:<11} {}", "approvals", one.get("approvals").map(Value::to_string).unwrap_or_default()));
    for review in one.get("reviews").and_then(Value::as_array).into_iter().flatten() {
        let approved = review.get("approved").and_then(Value::as_bool).unwrap_or_default();
        let what = if approved { "approved" } else { "denied" };
        lines.push(format!(
            "{:<11} {} by {}: {}",
            "review",
            what,
            text(review, "/reviewer/subject"),
            text(review, "/reason")
        ));
    }
    lines.join("\n")
}

fn table(headings: &[&str], value: &Value, list: &str, row: impl Fn(&Value) -> Vec<String>) -> String {
    let rows: Vec<Vec<String>> = value.get(list).and_then(Value::as_array).into_iter().flatten().map(row).collect();
    output::table(headings, &rows)
}

fn text(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).map_or_else(|| "-".to_owned(), output::plain)
}

fn minutes(one: &Value) -> String {
    let seconds = one.get("seconds").and_then(Value::as_i64).unwrap_or_default();
    if seconds % 60 == 0 { format!("{}m", seconds / 60) } else { format!("{seconds}s") }
}

/// Percent-encodes all but what RFC 3986 reserves nothing for.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_part_of_a_path() {
        assert_eq!(encoded("repo:acme/shop:ref"), "repo%3Aacme%2Fshop%3Aref");
        assert_eq!(encoded("ada@example.com"), "ada%40example.com");
    }
}
