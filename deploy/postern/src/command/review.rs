//! `postern review ls | show | approve | deny`: held statements, over the API of any node.

#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by a name that it lacks is null")]

use crate::arguments::{Answer, Global, Review};
use crate::client::Client;
use crate::failure::Failure;
use crate::output;
use serde_json::{Value, json};

/// Runs the verb.
pub fn run(global: &Global, verb: &Review) -> Result<(), Failure> {
    match verb {
        Review::Ls { all, at } => list(global, &Client::new(global, at)?, *all),
        Review::Show { hold, at } => {
            let hold = Client::new(global, at)?.get(&path(hold))?;
            Ok(output::either(global.output, || shown(&hold), || hold.clone())?)
        }
        Review::Approve(given) => answer(global, given, true),
        Review::Deny(given) => answer(global, given, false),
    }
}

fn path(hold: &str) -> String {
    // an id has no character that a path would read otherwise; others are refused by the API
    let safe: String = hold.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    format!("/api/v1/holds/{safe}")
}

fn list(global: &Global, api: &Client, all: bool) -> Result<(), Failure> {
    let list = api.get(if all { "/api/v1/holds" } else { "/api/v1/holds?open=true" })?;
    let headings = ["HOLD", "EXPIRES", "STATE", "IDENTITY", "RESOURCE", "APPROVALS", "STATEMENT"];
    let rows: Vec<Vec<String>> = list["holds"].as_array().into_iter().flatten().map(row).collect();
    Ok(output::either(global.output, || output::table(&headings, &rows), || list["holds"].clone())?)
}

fn row(hold: &Value) -> Vec<String> {
    let given = hold["reviews"].as_array().map_or(0, |all| all.iter().filter(|one| one["approved"] == true).count());
    let statement: String = word(&hold["shown"]["text"]).chars().take(60).collect();
    let mut row = ["id", "expires", "state"].map(|key| word(&hold[key])).to_vec();
    row.push(word(&hold["requester"]["subject"]));
    row.push(word(&hold["resource"]));
    row.push(format!("{given} of {}", hold["approvals"]));
    row.push(statement);
    row
}

/// A value for a terminal.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => output::plain(text),
        Value::Array(all) => all.iter().map(word).collect::<Vec<_>>().join(", "),
        other => output::plain(&other.to_string()),
    }
}

/// A text line by line, each after a margin that none of it can imitate.
fn in_lines(text: &str) -> impl Iterator<Item = String> {
    // not str::lines, which drops what stands before the end of a line
    text.split('\n').map(|line| format!("  | {}", output::plain(line)))
}

/// All that a reviewer decides by.
fn shown(hold: &Value) -> String {
    let seen = &hold["shown"];
    let who = &hold["requester"];
    let relation = |one: &Value| format!("{} ({})", word(&one["name"]), word(&one["actions"]));
    let column = |one: &Value| {
        let masked = if one["masked"] == true { ", masked" } else { "" };
        format!("{} ({}{masked})", word(&one["name"]), word(&one["usage"]))
    };
    let each = |list: &Value, show: &dyn Fn(&Value) -> String| {
        list.as_array().into_iter().flatten().map(show).collect::<Vec<_>>().join(", ")
    };
    let value = |one: &Value| one["shown"].as_str().map_or_else(|| "NULL".to_owned(), output::plain);
    let review = |one: &Value| {
        let what = if one["approved"] == true { "approved" } else { "denied" };
        format!("{what} by {}: {}", word(&one["reviewer"]["subject"]), word(&one["reason"]))
    };
    let written = |one: &Value| {
        format!(
            "{}: {} inserted, {} updated, {} deleted",
            word(&one["table"]),
            one["inserted"],
            one["updated"],
            one["deleted"]
        )
    };
    let measured = &seen["measured"];
    let counted = match (&measured["counted"], &measured["not_counted"]) {
        (Value::Array(all), _) if all.is_empty() => "no rows written".to_owned(),
        (all @ Value::Array(_), _) => each(all, &written),
        (_, Value::String(why)) => format!("no: {}", output::plain(why)),
        _ => "no".to_owned(),
    };
    let transaction = if seen["in_transaction"] == true { "open: it keeps its locks meanwhile" } else { "none" };
    let lines = [
        ("hold", word(&hold["id"])),
        ("state", format!("{}, expires {}", word(&hold["state"]), word(&hold["expires"]))),
        ("from", format!("{} ({}), {}", word(&who["subject"]), word(&who["kind"]), word(&who["issuer"]))),
        ("through", word(&who["on_behalf_of"])),
        ("task", word(&who["task"])),
        ("resource", format!("{}, as the role {}", word(&hold["resource"]), word(&hold["role"]))),
        ("why", word(&seen["reason"])),
        ("policies", format!("{} (version {})", word(&seen["policies"]), word(&hold["policy_version"]))),
        ("needs", format!("{} of {}", hold["approvals"], word(&hold["reviewers"]))),
        ("answers", each(&hold["reviews"], &review)),
        ("relations", each(&seen["relations"], &relation)),
        ("columns", each(&seen["columns"], &column)),
        ("functions", word(&seen["functions"])),
        ("estimate", format!("{} rows, cost {}", word(&seen["estimated_rows"]), word(&seen["estimated_cost"]))),
        ("counted", counted),
        ("transaction", transaction.to_owned()),
        ("digest", word(&hold["digest"])),
        ("statement", String::new()),
    ];
    let mut lines: Vec<String> =
        lines.iter().map(|(name, text)| format!("{name:<11} {text}").trim_end().to_owned()).collect();
    // the exact text, line by line
    lines.extend(in_lines(seen["text"].as_str().unwrap_or_default()));
    // and what it runs of what was prepared before
    for text in seen["runs"].as_array().into_iter().flatten() {
        lines.push("runs".to_owned());
        lines.extend(in_lines(text.as_str().unwrap_or_default()));
    }
    // and every value, whole: what is approved is approved with them
    let values = seen["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !values.is_empty() {
        lines.push("values".to_owned());
    }
    lines.extend(values.iter().enumerate().map(|(place, one)| format!("  ${} = {}", place + 1, value(one))));
    lines.join("\n")
}

fn answer(global: &Global, given: &Answer, approve: bool) -> Result<(), Failure> {
    let client = Client::new(global, &given.at)?;
    let digest = match &given.digest {
        Some(digest) => digest.clone(),
        // what waits under this id cannot change
        None => word(&client.get(&path(&given.hold))?["digest"]),
    };
    let body = json!({"approve": approve, "digest": digest, "reason": given.reason});
    let hold = client.post(&format!("{}/review", path(&given.hold)), &body)?;
    Ok(output::either(global.output, || format!("{} is {}", word(&hold["id"]), word(&hold["state"])), || hold.clone())?)
}
