//! Statements as events of the Open Cybersecurity Schema Framework, for a SIEM: class 6005, Datastore Activity, with the
//! profile `security_control`, which says what a policy did about them.
//!
//! One event for each statement. What the class has no place for stands under `unmapped`, by our own names; bound values are
//! left out. `docs/evidence.md` has the table of what comes from where.

use super::stated::{Stated, stated};
use super::{Error, timestamp};
use schemas::Event;
use schemas::event::{HoldOutcome, IdentityKind, Outcome, SessionOpened, Verdict, VerdictKind};
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;

/// The version of OCSF that events are of. Later minor versions only add to it.
const VERSION: &str = "1.5.0";
const CLASS: u32 = 6005;

/// Writes an event for each statement of a session, one a line.
pub(super) fn lines(events: &[Event], out: &mut impl Write) -> Result<(), Error> {
    for statement in stated(events) {
        let mut line = serde_json::to_vec(&event(&statement)?).map_err(Error::Json)?;
        line.push(b'\n');
        out.write_all(&line).map_err(Error::Write)?;
    }
    Ok(())
}

/// A number of the schema and its caption.
type Choice = (u32, &'static str);

fn event(stated: &Stated<'_>) -> Result<Value, Error> {
    let mut event = serde_json::Map::new();
    for part in [class(stated)?, control(stated), datastore(stated)] {
        if let Value::Object(attributes) = without_nulls(part) {
            event.extend(attributes);
        }
    }
    Ok(Value::Object(event))
}

/// What every event has: which it is, when it was, who did it, how it ended.
fn class(stated: &Stated<'_>) -> Result<Value, Error> {
    let activity = activity(stated.verdict);
    let severity = severity(stated);
    let status = status(stated.completed.map(|completed| completed.outcome));
    let end = stated.completed.map(|completed| stated.time.saturating_add_unsigned(completed.duration));
    Ok(json!({
        "metadata": metadata(stated)?,
        "category_uid": CLASS / 1_000, "category_name": "Application Activity",
        "class_uid": CLASS, "class_name": "Datastore Activity",
        "activity_id": activity.0, "activity_name": if activity.0 == OTHER { kind(stated) } else { activity.1 },
        "type_uid": CLASS * 100 + activity.0, "type_name": format!("Datastore Activity: {}", activity.1),
        "severity_id": severity.0, "severity": severity.1,
        "status_id": status.0, "status": status.1,
        "status_code": stated.completed.and_then(|completed| completed.sqlstate.as_ref()),
        "status_detail": reason(stated),
        "message": message(stated),
        "time": millis(stated.time), "start_time": millis(stated.time), "end_time": end.map(millis),
        "duration": end.map(|end| millis(end) - millis(stated.time)), "timezone_offset": 0,
        "actor": actor(stated),
        "observables": observables(stated.session()),
        "unmapped": unmapped(stated),
    }))
}

fn metadata(stated: &Stated<'_>) -> Result<Value, Error> {
    Ok(json!({
        "version": VERSION,
        "product": {"name": "Postern", "vendor_name": "Postern", "version": env!("CARGO_PKG_VERSION")},
        "profiles": ["security_control"],
        "uid": stated.id().to_string(),
        "correlation_uid": stated.session.to_string(),
        "sequence": stated.statement.number,
        "log_name": "postern.events",
        "log_provider": "Postern",
        "original_time": timestamp(stated.time)?,
    }))
}

/// The profile `security_control`: what policies did about it.
fn control(stated: &Stated<'_>) -> Value {
    let (action, disposition) = action(stated);
    let policies = stated.verdict.map(policies).unwrap_or_default();
    json!({
        "action_id": action.0, "action": action.1,
        "disposition_id": disposition.0, "disposition": disposition.1,
        "is_alert": severity(stated).0 >= MEDIUM,
        "policy": policies.first().and_then(|authorization| authorization.get("policy")),
        "authorizations": policies,
    })
}

/// What the class itself has: from where, on what, by which query.
fn datastore(stated: &Stated<'_>) -> Value {
    let table = stated.verdict.and_then(|v| v.relations.iter().find(|r| !r.indirect).or(v.relations.first()));
    let resource: Choice = if table.is_some() { (3, "Table") } else { (1, "Database") };
    let reads = matches!(activity(stated.verdict), (1 | 4, _));
    let query = stated.text().map(|text| {
        let bytes = stated.completed.filter(|_| reads).map(|completed| completed.bytes);
        json!({"uid": stated.id().to_string(), "query_string": text, "query_time": millis(stated.time), "bytes": bytes})
    });
    json!({
        "src_endpoint": source(stated.session()),
        "dst_endpoint": destination(stated.session()),
        "type_id": resource.0, "type": resource.1,
        "database": database(stated.session()),
        "table": table.map(|relation| json!({"name": relation.name})),
        "query_info": query,
    })
}

fn kind<'a>(stated: &Stated<'a>) -> &'a str {
    stated.verdict.map_or("UNKNOWN", |verdict| verdict.kind.as_str())
}

fn reason<'a>(stated: &Stated<'a>) -> Option<&'a str> {
    stated.verdict.map(|verdict| verdict.reason.as_str()).filter(|reason| !reason.is_empty())
}

/// What the schema has no number for.
const OTHER: u32 = 99;

/// Milliseconds since 1970-01-01 UTC.
fn millis(micros: i64) -> i64 {
    micros.div_euclid(1_000)
}

/// What was done to the data, by the statement's kind, which is a command tag.
fn activity(verdict: Option<&Verdict>) -> Choice {
    let Some(verdict) = verdict else { return (0, "Unknown") };
    let copied_in = || verdict.relations.iter().any(|relation| relation.actions.iter().any(|a| a == "copy_in"));
    let first = verdict.kind.split(' ').next().unwrap_or_default();
    match (first, verdict.kind.as_str()) {
        ("UNKNOWN" | "", _) => (0, "Unknown"),
        ("CREATE", _) | (_, "SELECT INTO") => (6, "Create"),
        ("SELECT", _) => (4, "Query"),
        ("COPY", _) if copied_in() => (5, "Write"),
        ("COPY" | "SHOW", _) => (1, "Read"),
        ("INSERT", _) => (5, "Write"),
        ("UPDATE" | "MERGE" | "ALTER", _) => (2, "Update"),
        ("DELETE" | "TRUNCATE" | "DROP", _) => (7, "Delete"),
        _ => (OTHER, "Other"),
    }
}

/// What the policies did about it, and how that came out.
fn action(stated: &Stated<'_>) -> (Choice, Choice) {
    const DENIED: (Choice, Choice) = ((2, "Denied"), (2, "Blocked"));
    if stated.completed.is_some_and(|completed| completed.outcome == Outcome::Denied) {
        return DENIED;
    }
    let ended = stated.hold_ended.map(|ended| ended.outcome);
    match (stated.verdict.map(|verdict| verdict.verdict), ended) {
        (None, _) => ((0, "Unknown"), (0, "Unknown")),
        (Some(VerdictKind::Deny), _) => DENIED,
        (Some(VerdictKind::Mask), _) => ((4, "Modified"), (OTHER, "Masked")),
        (Some(VerdictKind::Allow | VerdictKind::Hold), Some(HoldOutcome::Released)) => {
            ((1, "Allowed"), (8, "Approved"))
        }
        (Some(VerdictKind::Allow), _) => ((1, "Allowed"), (1, "Allowed")),
        (Some(VerdictKind::Hold), None) => ((OTHER, "Held"), (14, "Delayed")),
        (
            Some(VerdictKind::Hold),
            Some(HoldOutcome::Denied | HoldOutcome::Expired | HoldOutcome::Withdrawn | HoldOutcome::Refused),
        ) => DENIED,
    }
}

/// How much it matters: where the parsers differ, what ran may not be what was judged, and somebody must look.
fn severity(stated: &Stated<'_>) -> Choice {
    let tripwire = |verdict: &Verdict| verdict.flags.iter().any(|flag| flag.starts_with("tripwire:"));
    match stated.verdict {
        Some(verdict) if tripwire(verdict) => (MEDIUM, "Medium"),
        Some(verdict) if matches!(verdict.verdict, VerdictKind::Deny | VerdictKind::Hold) => (2, "Low"),
        _ => (1, "Informational"),
    }
}

/// The severity from which on an event is an alert.
const MEDIUM: u32 = 3;

fn status(outcome: Option<Outcome>) -> Choice {
    match outcome {
        None => (0, "Unknown"),
        // a part of the rows was taken, as the client wished
        Some(Outcome::Succeeded | Outcome::Suspended) => (1, "Success"),
        Some(Outcome::Failed | Outcome::Denied) => (2, "Failure"),
        Some(Outcome::Abandoned) => (OTHER, "Abandoned"),
    }
}

/// Each policy that decided, with its version.
fn policies(verdict: &Verdict) -> Vec<Value> {
    let authorization = |policy: &String| {
        let policy = json!({"name": policy, "uid": policy, "version": verdict.policy_version, "is_applied": true});
        json!({"decision": verdict.verdict, "policy": policy})
    };
    verdict.policies.iter().map(authorization).collect()
}

fn message(stated: &Stated<'_>) -> String {
    let who = stated.session().map_or("somebody", |opened| opened.identity.subject.as_str());
    let on = stated.session().map_or("a database", |opened| opened.resource.as_str());
    let verdict = stated.verdict.map(|verdict| json!(verdict.verdict));
    let verdict = verdict.as_ref().and_then(Value::as_str).unwrap_or("no verdict recorded");
    let because = reason(stated).map(|reason| format!(", {reason}")).unwrap_or_default();
    format!("{who}: {} on {on}: {verdict}{because}", kind(stated))
}

fn actor(stated: &Stated<'_>) -> Value {
    let session = stated.session.to_string();
    let Some((began, opened)) = stated.opened else { return json!({"session": {"uid": session}}) };
    let identity = &opened.identity;
    let (kind, caption) = match identity.kind {
        IdentityKind::Human => (1, "User"),
        IdentityKind::Machine => (OTHER, "Machine"),
    };
    json!({
        "user": {
            "uid": identity.subject,
            "name": identity.subject,
            "full_name": identity.name,
            "type_id": kind,
            "type": caption,
            "groups": identity.groups.iter().map(|group| json!({"name": group})).collect::<Vec<_>>(),
        },
        "session": {
            "uid": session,
            "issuer": identity.issuer,
            "created_time": millis(began),
            "expiration_time": opened.expires.map(millis),
            "credential_uid": opened.credential,
            "is_remote": true,
        },
        "app_name": opened.parameters.get("application_name"),
    })
}

/// The client's address, where it is one.
fn address(opened: Option<&SessionOpened>) -> Option<SocketAddr> {
    opened.and_then(|opened| opened.peer.parse().ok())
}

fn source(opened: Option<&SessionOpened>) -> Value {
    match address(opened) {
        Some(address) => json!({"ip": address.ip().to_canonical().to_string(), "port": address.port()}),
        None => json!({"name": opened.map_or("unknown", |opened| opened.peer.as_str())}),
    }
}

/// The database behind the gate: events name it, and not its address.
fn destination(opened: Option<&SessionOpened>) -> Value {
    json!({
        "svc_name": "postgresql",
        "name": opened.map(|opened| &opened.resource),
        "proxy_endpoint": opened.map(|opened| json!({"name": opened.node, "svc_name": "postern"})),
    })
}

fn database(opened: Option<&SessionOpened>) -> Value {
    let name = opened.map_or("unknown", |opened| opened.database.as_str());
    json!({"name": name, "uid": opened.map(|opened| &opened.resource), "type_id": 1, "type": "Relational"})
}

/// What somebody who investigates looks for in all events.
fn observables(opened: Option<&SessionOpened>) -> Vec<Value> {
    let user = opened.map(|opened| {
        json!({"name": "actor.user.name", "type_id": 4, "type": "User Name", "value": opened.identity.subject})
    });
    let ip = address(opened).map(|address| {
        let value = address.ip().to_canonical().to_string();
        json!({"name": "src_endpoint.ip", "type_id": 2, "type": "IP Address", "value": value})
    });
    user.into_iter().chain(ip).collect()
}

/// What the class has no attribute for, by the names of the events.
fn unmapped(stated: &Stated<'_>) -> Value {
    let opened = stated.session();
    let (verdict, completed) = (stated.verdict, stated.completed);
    json!({
        "number": stated.statement.number,
        "protocol": stated.statement.protocol,
        "text_codec": stated.statement.text.codec,
        "kind": verdict.map(|v| &v.kind),
        "verdict": verdict.map(|v| v.verdict),
        "read_only": verdict.map(|v| v.read_only),
        "opaque": verdict.map(|v| v.opaque),
        "relations": verdict.map(|v| &v.relations),
        "columns": verdict.map(|v| &v.columns),
        "functions": verdict.map(|v| &v.functions),
        "flags": verdict.map(|v| &v.flags),
        "fingerprint": verdict.map(|v| &v.fingerprint),
        "outcome": completed.map(|c| c.outcome),
        "tag": completed.map(|c| &c.tag),
        "rows": completed.map(|c| c.rows),
        "bytes": completed.map(|c| c.bytes),
        "found": completed.map(|c| &c.found),
        "hold": stated.held.map(|held| &held.request),
        "hold_outcome": stated.hold_ended.map(|ended| ended.outcome),
        "reviews": stated.reviews.iter().map(|review| {
            let reviewer = review.reviewer.as_ref();
            json!({"subject": reviewer.map(|r| &r.subject), "issuer": reviewer.map(|r| &r.issuer),
                   "approved": review.approved, "reason": review.reason})
        }).collect::<Vec<_>>(),
        "role": opened.map(|o| &o.role),
        "node": opened.map(|o| &o.node),
        "server_version": opened.map(|o| &o.server_version),
        "authentication": opened.map(|o| &o.authentication),
        "grant": opened.and_then(|o| o.grant.as_ref()),
        "roles": opened.map(|o| &o.roles),
        "on_behalf_of": opened.map(|o| &o.identity.on_behalf_of),
        "task": opened.and_then(|o| o.identity.task.as_ref()),
    })
}

/// An attribute without a value is left out: the schema knows no null.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let there = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(there.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
