//! `postern key`: API keys, for programs that cannot get tokens yet. Over the API of any node, so that all nodes know them; with
//! `--file` those of this node's own file.

use crate::arguments::{Global, Key, NewKey};
use crate::client::Client;
use crate::failure::Failure;
use crate::{config, output};
use anyhow::Context as _;
use identity::api_key::{Entry, New, Store};
use kit::Clock;
use schemas::IdentityKind;
use serde_json::{Value, json};

/// Makes, lists or revokes keys. Running nodes know it within a second.
pub fn run(global: &Global, verb: &Key) -> Result<(), Failure> {
    match verb {
        Key::Create { new, file: true, .. } => create_in_file(global, new),
        Key::Ls { file: true, .. } => list_file(global),
        Key::Revoke { id, file: true, .. } => revoke_in_file(global, id),
        Key::Create { at, new, reason, .. } => {
            let body = json!({"subject": new.subject, "groups": new.groups, "resources": new.resources,
                              "human": new.human, "seconds": new.ttl.as_secs(), "reason": reason});
            let made = Client::new(global, at)?.post("/api/v1/keys", &body)?;
            // alone on standard output, so that a shell can take it; it is shown this once
            Ok(output::either(global.output, || text(&made, "key"), || made.clone())?)
        }
        Key::Ls { at, .. } => {
            let list = Client::new(global, at)?.get("/api/v1/keys")?;
            let keys = list.get("keys").cloned().unwrap_or_default();
            let rows = || keys.as_array().into_iter().flatten().map(row).collect::<Vec<_>>();
            Ok(output::either(global.output, || output::table(&HEADINGS, &rows()), || keys.clone())?)
        }
        Key::Revoke { at, id, reason, .. } => {
            // an id has no character that a path would read otherwise; others are refused by the API
            let safe: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
            let revoked =
                Client::new(global, at)?.post(&format!("/api/v1/keys/{safe}/revoke"), &json!({"reason": reason}))?;
            let told =
                || format!("{} is {}; its sessions end, on every node", text(&revoked, "id"), text(&revoked, "state"));
            Ok(output::either(global.output, told, || revoked.clone())?)
        }
    }
}

/// Headings of the list.
const HEADINGS: [&str; 6] = ["id", "state", "subject", "groups", "resources", "expires"];

fn text(value: &Value, name: &str) -> String {
    output::plain(value.get(name).and_then(Value::as_str).unwrap_or_default())
}

fn row(key: &Value) -> Vec<String> {
    let list = |name: &str| {
        let all = key.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        output::plain(&all.collect::<Vec<_>>().join(","))
    };
    let resources = Some(list("resources")).filter(|all| !all.is_empty()).unwrap_or_else(|| "all".to_owned());
    let [id, state, subject, expires] = ["id", "state", "subject", "expires"].map(|name| text(key, name));
    vec![id, state, subject, list("groups"), resources, expires]
}

fn store(global: &Global) -> Result<Store, Failure> {
    let config = config::load(global)?;
    let path = config.identity.api_keys().context("API keys are not accepted here: set api_keys.enabled")?;
    Ok(Store::new(path.to_owned()))
}

fn create_in_file(global: &Global, new: &NewKey) -> Result<(), Failure> {
    let kind = if new.human { IdentityKind::Human } else { IdentityKind::Machine };
    let (groups, resources) = (new.groups.clone(), new.resources.clone());
    let new = New { subject: new.subject.clone(), kind, groups, resources, lifetime: new.ttl };
    let made = store(global)?.create(new, &Clock::system())?;
    let text = || made.key.expose().clone();
    let value = || json!({"key": made.key.expose(), "id": made.entry.id, "expires": made.entry.expires});
    Ok(output::either(global.output, text, value)?)
}

fn list_file(global: &Global) -> Result<(), Failure> {
    let entries = store(global)?.list()?;
    let now = Clock::system().now_seconds();
    let value = || entries.iter().map(|entry| shown(entry, now)).collect::<Vec<_>>().into();
    Ok(output::either(global.output, || table(&entries, now), value)?)
}

fn revoke_in_file(global: &Global, id: &str) -> Result<(), Failure> {
    if !store(global)?.revoke(id, &Clock::system())? {
        return Err(anyhow::anyhow!("there is no API key {id:?} in the file: see postern key ls --file").into());
    }
    let text = || format!("{id} is revoked; sessions that it opened on this node end within a second");
    Ok(output::either(global.output, text, || json!({"id": id, "state": "revoked"}))?)
}

fn state(entry: &Entry, now: i64) -> &'static str {
    match entry.revoked {
        Some(_) => "revoked",
        None if now >= entry.expires => "expired",
        None => "good",
    }
}

fn shown(entry: &Entry, now: i64) -> Value {
    json!({"id": entry.id, "subject": entry.subject, "kind": entry.kind, "groups": entry.groups,
           "resources": entry.resources, "created": entry.created, "expires": entry.expires,
           "revoked": entry.revoked, "state": state(entry, now)})
}

fn table(entries: &[Entry], now: i64) -> String {
    let row = |entry: &Entry| {
        let resources = if entry.resources.is_empty() { "all".to_owned() } else { entry.resources.join(",") };
        let until = output::time(entry.expires.saturating_mul(1_000_000));
        let (state, subject) = (state(entry, now).to_owned(), output::plain(&entry.subject));
        vec![entry.id.clone(), state, subject, output::plain(&entry.groups.join(",")), resources, until]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    output::table(&HEADINGS, &rows)
}
