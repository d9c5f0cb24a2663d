//! What a run leaves behind: no protected value that the database returned, and no credential, in archive, spool, index, log,
//! events or metrics; of what the agent itself sent, nothing in index, log or metrics (MSK-1, SCP-2).

use crate::{
    case::Case,
    needles::Scanner,
    world::{Keeping, World},
};
use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Looks everywhere; each place where something stands, and what it is.
///
/// # Errors
/// Something cannot be read, or there was nothing to look at.
pub fn search(
    world: &World,
    cases: &[Case],
    scanner: &Scanner,
    events: &[Value],
    metrics: &str,
) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    ensure!(scanner.any(b"a card: 4929731608452298").is_some(), "the search finds nothing");
    let log = world.log();
    ensure!(metrics.contains("postern_"), "no metrics were read");
    ensure!(!log.is_empty(), "no log was read");
    for (place, text) in [("the metrics", metrics), ("the log", &log)] {
        found.extend(scanner.any(text.as_bytes()).map(|needle| format!("{place}: {needle}")));
    }
    let documents = documents(world)?;
    ensure!(documents.len() > cases.len(), "the index holds {} documents of {} cases", documents.len(), cases.len());
    for text in &documents {
        found.extend(scanner.any(text.as_bytes()).map(|needle| format!("the index, {text}: {needle}")));
    }
    let credentials = world.credentials();
    for name in ["archive", "index", "spool"] {
        let folder = world.node().join(name);
        let mut files = 0;
        walk(&folder, &mut |path, bytes| {
            files += 1;
            let place = path.display();
            if name == "index" {
                found.extend(scanner.any(bytes).map(|needle| format!("{place}: {needle}")));
            }
            found.extend(credential(bytes, &credentials).map(|what| format!("{place}: {what}")));
        })?;
        ensure!(files > 0, "{} is empty", folder.display());
    }
    for place in [("the metrics", metrics.as_bytes()), ("the log", log.as_bytes())] {
        found.extend(credential(place.1, &credentials).map(|what| format!("{}: {what}", place.0)));
    }
    if world.keeping() == Keeping::Sealed {
        sealed(world, scanner, &mut found)?;
    }
    of_events(cases, scanner, events, (world.keeping(), &credentials), &mut found);
    Ok(found.into_iter().collect())
}

/// With sealed payloads no file of the node holds any such value, whoever sent it: neither as its bytes stand nor within
/// what is compressed there.
fn sealed(world: &World, scanner: &Scanner, found: &mut BTreeSet<String>) -> Result<()> {
    let (mut frames, mut sessions) = (0, 0);
    walk(&world.node(), &mut |path, bytes| {
        let place = path.display();
        found.extend(scanner.any(bytes).map(|needle| format!("{place}, sealed: {needle}")));
        for (at, _) in bytes.windows(ZSTD.len()).enumerate().filter(|(_, window)| *window == ZSTD) {
            let rest = bytes.get(at..).unwrap_or_default();
            // what only looks like a frame does not expand
            let Ok(expanded) = zstd::bulk::decompress(frame(rest), MAX_EXPANDED) else { continue };
            frames += 1;
            sessions += usize::from(expanded.windows(8).any(|window| window == b"attacked"));
            found.extend(scanner.any(&expanded).map(|needle| format!("{place}, sealed, expanded: {needle}")));
        }
    })?;
    ensure!(frames > 0 && sessions > 0, "the search of {frames} compressed pieces does not see what is in them");
    Ok(())
}

/// RFC 8878: the magic number of a frame.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const MAX_EXPANDED: usize = 8 << 20;

/// The frame at the beginning of some bytes, or all of them.
fn frame(bytes: &[u8]) -> &[u8] {
    let size = zstd::zstd_safe::find_frame_compressed_size(bytes).unwrap_or(bytes.len());
    bytes.get(..size).unwrap_or(bytes)
}

/// Every document of the index, as JSON.
fn documents(world: &World) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for verdict in ["verdict:allow", "verdict:mask", "verdict:deny", "-verdict:allow -verdict:mask -verdict:deny"] {
        let answer = world.run(&["audit", "search", "--limit", "10000", "-o", "json", "--", verdict])?;
        let answer: Value = serde_json::from_str(&answer).context("the index answers in JSON")?;
        let hits = answer.get("hits").and_then(Value::as_array).context("hits")?;
        let total = answer.get("total").and_then(Value::as_u64).context("their number")?;
        ensure!(hits.len() as u64 == total, "{} of {total} documents were read", hits.len());
        documents.extend(hits.iter().map(Value::to_string));
    }
    Ok(documents)
}

fn of_events(
    cases: &[Case],
    scanner: &Scanner,
    events: &[Value],
    (keeping, credentials): (Keeping, &[(&'static str, String)]),
    found: &mut BTreeSet<String>,
) {
    // a case may have a value come back that the agent may see: what is looked for there, the case says
    let open: BTreeSet<&str> = cases.iter().filter(|case| !case.universal).map(|case| case.id.as_str()).collect();
    let mut of_session: BTreeMap<&str, String> = BTreeMap::new();
    for event in events {
        let session = event.get("session").and_then(Value::as_str).unwrap_or_default();
        let Some((kind, body)) = crate::audit::body(event) else { continue };
        if kind == "SessionOpened" {
            of_session.insert(session, crate::audit::application(body).unwrap_or_default());
        }
        let case = of_session.get(session).map(String::as_str).unwrap_or_default();
        let place = format!("event {kind} of {case}");
        let mut payloads = Vec::new();
        let rest = without_payloads(event, &mut payloads);
        found.extend(credential(rest.to_string().as_bytes(), credentials).map(|what| format!("{place}: {what}")));
        for bytes in &payloads {
            found.extend(credential(bytes, credentials).map(|what| format!("{place}: {what}")));
        }
        found.extend(scanner.any(rest.to_string().as_bytes()).map(|needle| format!("{place}: {needle}")));
        let to_client = kind == "Frames" && body.get("direction").and_then(Value::as_str) == Some("server");
        // an answer may have what its agent may see, or asked to have back
        let none = if to_client { !open.contains(case) } else { keeping == Keeping::NoValues };
        if none {
            for bytes in &payloads {
                found.extend(scanner.any(bytes).map(|needle| format!("{place}: {needle}")));
            }
        }
    }
}

/// The event without the bytes of its payloads, which go to `found`.
fn without_payloads(value: &Value, found: &mut Vec<Vec<u8>>) -> Value {
    match value {
        Value::Object(object) => {
            let bytes = object.get("bytes").and_then(Value::as_str).filter(|_| object.contains_key("codec"));
            if let Some(bytes) = bytes.and_then(|bytes| BASE64_STANDARD.decode(bytes).ok()) {
                found.push(bytes);
                return Value::Null;
            }
            Value::Object(object.iter().map(|(key, value)| (key.clone(), without_payloads(value, found))).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(|value| without_payloads(value, found)).collect()),
        other => other.clone(),
    }
}

fn credential(bytes: &[u8], credentials: &[(&'static str, String)]) -> Option<&'static str> {
    let holds = |secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    credentials.iter().find(|(_, secret)| holds(secret)).map(|(what, _)| *what)
}

fn walk(folder: &Path, with: &mut impl FnMut(&Path, &[u8])) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry.context("reading a folder")?.path();
        if path.is_dir() {
            walk(&path, with)?;
        } else {
            with(&path, &fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
        }
    }
    Ok(())
}
