//! `postern review ls | show | approve | deny`: held statements, over the API of any node.

use crate::arguments::{ApiAccess, Global, Review};
use crate::failure::Failure;
use crate::{config, output};
use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use std::time::Duration;

/// Longest wait for an answer of the API.
const TIMEOUT: Duration = Duration::from_secs(40);

/// Runs the verb.
pub fn run(global: &Global, verb: &Review) -> Result<(), Failure> {
    match verb {
        Review::Ls { all, access } => list(global, &Api::open(global, access)?, *all),
        Review::Show { hold, access } => {
            let hold = Api::open(global, access)?.get(&path(hold))?;
            Ok(output::either(global.output, || shown(&hold), || hold.clone())?)
        }
        Review::Approve { hold, reason, digest, access } => {
            answer(global, &Api::open(global, access)?, hold, true, reason, digest.as_deref())
        }
        Review::Deny { hold, reason, digest, access } => {
            answer(global, &Api::open(global, access)?, hold, false, reason, digest.as_deref())
        }
    }
}

fn path(hold: &str) -> String {
    // an id has no character that a path would read otherwise; others are refused by the API
    let safe: String = hold.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    format!("/api/v1/holds/{safe}")
}

fn list(global: &Global, api: &Api, all: bool) -> Result<(), Failure> {
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
    let value = |one: &Value| if one["shown"].is_null() { "NULL".to_owned() } else { word(&one["shown"]) };
    let review = |one: &Value| {
        let what = if one["approved"] == true { "approved" } else { "denied" };
        format!("{what} by {}: {}", word(&one["reviewer"]["subject"]), word(&one["reason"]))
    };
    let transaction = if seen["in_transaction"] == true { "open: it keeps its locks meanwhile" } else { "none" };
    let lines = [
        ("hold", word(&hold["id"])),
        ("state", format!("{}, expires {}", word(&hold["state"]), word(&hold["expires"]))),
        ("from", format!("{} ({}), {}", word(&who["subject"]), word(&who["kind"]), word(&who["issuer"]))),
        ("acts for", word(&who["on_behalf_of"])),
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
        ("transaction", transaction.to_owned()),
        ("values", each(&seen["values"], &value)),
        ("runs", word(&seen["runs"])),
        ("digest", word(&hold["digest"])),
        ("statement", String::new()),
    ];
    let mut lines: Vec<String> = lines.iter().map(|(name, text)| format!("{name:<11} {text}").trim_end().to_owned()).collect();
    // the exact text, line by line
    let text = seen["text"].as_str().unwrap_or_default();
    lines.extend(text.lines().map(|line| format!("  {}", output::plain(line))));
    lines.join("\n")
}

fn answer(
    global: &Global,
    api: &Api,
    hold: &str,
    approve: bool,
    reason: &str,
    digest: Option<&str>,
) -> Result<(), Failure> {
    let digest = match digest {
        Some(digest) => digest.to_owned(),
        // what is open under this id cannot change: the digest is part of it
        None => word(&api.get(&path(hold))?["digest"]),
    };
    let body = json!({"approve": approve, "digest": digest, "reason": reason});
    let hold = api.post(&format!("{}/review", path(hold)), &body)?;
    Ok(output::either(global.output, || format!("{} is {}", word(&hold["id"]), word(&hold["state"])), || hold.clone())?)
}

/// The API of a node, with somebody's token.
struct Api {
    agent: ureq::Agent,
    url: String,
    bearer: String,
}

impl Api {
    fn open(global: &Global, access: &ApiAccess) -> Result<Self, Failure> {
        let url = match &access.api {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", config::load(global)?.api.listen),
        };
        let token = access.token.as_deref().map(str::trim).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| anyhow!("no token: give --token or POSTERN_TOKEN"))?;
        let agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build().into();
        Ok(Self { agent, url, bearer: format!("Bearer {token}") })
    }

    fn get(&self, path: &str) -> Result<Value, Failure> {
        let answer = self.agent.get(format!("{}{path}", self.url)).header("authorization", &self.bearer).call();
        self.read(answer)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("authorization", &self.bearer);
        self.read(request.send_json(body))
    }

    fn read(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, Failure> {
        let mut answer = answer.with_context(|| format!("asking {}", self.url))?;
        let status = answer.status().as_u16();
        let body: Value = answer.body_mut().read_json().with_context(|| format!("reading the answer of {}", self.url))?;
        match status {
            200..=299 => Ok(body),
            404 => Err(Failure::NotFound(problem(&body))),
            _ => Err(anyhow!(problem(&body)).into()),
        }
    }
}

fn problem(body: &Value) -> String {
    let parts = ["title", "detail", "action"].map(|key| body[key].as_str().unwrap_or_default());
    output::plain(parts.join(" ").trim())
}
