//! `postern key`: API keys, for programs that cannot get tokens yet.

use crate::arguments::{Global, Key};
use crate::failure::Failure;
use crate::{config, output};
use anyhow::Context as _;
use identity::api_key::{Entry, New, Store};
use kit::Clock;
use schemas::IdentityKind;
use serde_json::json;

/// Makes, lists or revokes keys. Running gates see it within a second.
pub fn run(global: &Global, verb: &Key) -> Result<(), Failure> {
    let config = config::load(global)?;
    let path = config.identity.api_keys().context("API keys are not accepted here: set api_keys.enabled")?;
    let (store, clock) = (Store::new(path.to_owned()), Clock::system());
    match verb {
        Key::Create { subject, groups, resources, human, ttl } => {
            let kind = if *human { IdentityKind::Human } else { IdentityKind::Machine };
            let (groups, resources) = (groups.clone(), resources.clone());
            let made =
                store.create(New { subject: subject.clone(), kind, groups, resources, lifetime: *ttl }, &clock)?;
            // alone on standard output, so that a shell can take it; it is shown this once
            let text = || made.key.expose().clone();
            let value = || json!({"key": made.key.expose(), "id": made.entry.id, "expires": made.entry.expires});
            Ok(output::either(global.output, text, value)?)
        }
        Key::Ls => {
            let entries = store.list()?;
            let now = clock.now_seconds();
            let value = || entries.iter().map(|entry| shown(entry, now)).collect::<Vec<_>>().into();
            Ok(output::either(global.output, || table(&entries, now), value)?)
        }
        Key::Revoke { id } => {
            if !store.revoke(id, &clock)? {
                return Err(anyhow::anyhow!("there is no API key {id:?}: see postern key ls").into());
            }
            let text = || format!("{id} is revoked; sessions that it opened end within a second");
            Ok(output::either(global.output, text, || json!({"id": id, "state": "revoked"}))?)
        }
    }
}

fn state(entry: &Entry, now: i64) -> &'static str {
    match entry.revoked {
        Some(_) => "revoked",
        None if now >= entry.expires => "expired",
        None => "good",
    }
}

fn shown(entry: &Entry, now: i64) -> serde_json::Value {
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
    output::table(&["id", "state", "subject", "groups", "resources", "expires"], &rows)
}
