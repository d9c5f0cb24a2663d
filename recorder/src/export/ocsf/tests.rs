//! What a statement becomes as an OCSF event. Whether it holds under OCSF's own schema: `deploy/postern/tests/exports.rs`.

use super::*;
use crate::play::tests::session_with_everything;
use crate::testing::{completed, numbered, opened, session, statement, verdict};
use schemas::Body;
use schemas::event::{HoldEnded, Payload, PayloadCodec, Relation};

fn told(events: &[Event]) -> Vec<Value> {
    let mut out = Vec::new();
    lines(events, &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A session of one statement, with what is said of it.
fn one(bodies: impl IntoIterator<Item = Body>) -> Value {
    let begun = [opened(), Body::Statement(statement(1, "select 1"))];
    told(&numbered(session(1), begun.into_iter().chain(bodies))).remove(0)
}

fn of_kind(kind: &str, actions: &[&str]) -> Value {
    let actions = actions.iter().map(|action| (*action).to_owned()).collect();
    let relations = vec![Relation { name: "public.t".into(), actions, indirect: false }];
    one([Body::Verdict(Verdict { kind: kind.into(), relations, ..verdict(1, VerdictKind::Allow) })])
}

#[test]
fn every_kind_of_statement_has_an_activity() {
    for (kind, actions, id, name) in [
        ("SELECT", "select", 4, "Query"),
        ("COPY", "copy_out", 1, "Read"),
        ("COPY", "copy_in", 5, "Write"),
        ("COPY", "select", 1, "Read"),
        ("SHOW", "", 1, "Read"),
        ("INSERT", "insert", 5, "Write"),
        ("UPDATE", "update", 2, "Update"),
        ("MERGE", "update", 2, "Update"),
        ("ALTER TABLE", "alter", 2, "Update"),
        ("DELETE", "delete", 7, "Delete"),
        ("TRUNCATE TABLE", "truncate", 7, "Delete"),
        ("DROP TABLE", "drop", 7, "Delete"),
        ("CREATE TABLE AS", "create", 6, "Create"),
        ("SELECT INTO", "create", 6, "Create"),
        ("EXPLAIN", "select", 99, "EXPLAIN"),
        ("BEGIN", "", 99, "BEGIN"),
        ("UNKNOWN", "", 0, "Unknown"),
        ("", "", 0, "Unknown"),
    ] {
        let event = of_kind(kind, &[actions]);
        assert_eq!((&event["activity_id"], &event["activity_name"]), (&json!(id), &json!(name)), "{kind} {actions}");
        assert_eq!(event["type_uid"], 600_500 + id);
    }
    assert_eq!(one([])["activity_id"], 0);
}

#[test]
fn what_policies_did_and_what_came_of_it() {
    let verdict = |kind| Some(Body::Verdict(verdict(1, kind)));
    let outcome = |outcome, sqlstate| Some(completed(1, outcome, "", 0, sqlstate));
    let hold = |outcome| {
        let (request, reason, digest) = ("hld_1".to_owned(), String::new(), String::new());
        Some(Body::HoldEnded(HoldEnded { number: 1, request, outcome, reason, digest }))
    };
    use {HoldOutcome as Hold, Outcome as End, VerdictKind as Is};
    for (bodies, action, disposition, status) in [
        (vec![], "Unknown", "Unknown", "Unknown"),
        (vec![verdict(Is::Allow)], "Allowed", "Allowed", "Unknown"),
        (vec![verdict(Is::Allow), outcome(End::Succeeded, None)], "Allowed", "Allowed", "Success"),
        (vec![verdict(Is::Allow), outcome(End::Suspended, None)], "Allowed", "Allowed", "Success"),
        (vec![verdict(Is::Allow), outcome(End::Failed, Some("22012"))], "Allowed", "Allowed", "Failure"),
        (vec![verdict(Is::Allow), outcome(End::Abandoned, None)], "Allowed", "Allowed", "Abandoned"),
        (vec![verdict(Is::Allow), outcome(End::Denied, Some("42501"))], "Denied", "Blocked", "Failure"),
        (vec![verdict(Is::Mask), outcome(End::Succeeded, None)], "Modified", "Masked", "Success"),
        (vec![verdict(Is::Deny), outcome(End::Denied, Some("42501"))], "Denied", "Blocked", "Failure"),
        (vec![verdict(Is::Hold)], "Held", "Delayed", "Unknown"),
        (vec![verdict(Is::Hold), hold(Hold::Expired)], "Denied", "Blocked", "Unknown"),
        (vec![verdict(Is::Hold), hold(Hold::Released)], "Allowed", "Approved", "Unknown"),
        (vec![verdict(Is::Hold), hold(Hold::Released), verdict(Is::Allow)], "Allowed", "Approved", "Unknown"),
    ] {
        let event = one(bodies.iter().flatten().cloned());
        let got = ["action", "disposition", "status"].map(|name| event[name].as_str().unwrap());
        assert_eq!(got, [action, disposition, status], "{bodies:?}");
    }
    let denied = one([verdict(Is::Deny), outcome(End::Denied, Some("42501"))].into_iter().flatten());
    assert_eq!((&denied["severity_id"], &denied["is_alert"]), (&json!(2), &json!(false)));
    assert_eq!(denied["status_code"], "42501");
}

#[test]
fn a_suspicion_is_an_alert() {
    let flags = vec!["tripwire:parsers_differ".to_owned()];
    let event = one([Body::Verdict(Verdict { flags, ..verdict(1, VerdictKind::Allow) })]);
    assert_eq!((&event["severity_id"], &event["is_alert"]), (&json!(3), &json!(true)));
}

#[test]
fn an_event_says_who_where_and_what() {
    let event = told(&session_with_everything()).remove(0);
    let at = |pointer: &str| event.pointer(pointer).unwrap_or(&Value::Null).clone();
    for (pointer, expected) in [
        ("/metadata/uid", json!("stm_11111111111171111111111111111101_1")),
        ("/metadata/correlation_uid", json!("ses_11111111111171111111111111111101")),
        ("/metadata/original_time", json!("2026-09-21T14:13:20.002000Z")),
        ("/time", json!(1_790_000_000_002_i64)),
        ("/duration", json!(1)),
        ("/end_time", json!(1_790_000_000_003_i64)),
        ("/actor/user/uid", json!("billing-bot")),
        ("/actor/user/type", json!("Machine")),
        ("/actor/session/issuer", json!("https://issuer.example")),
        ("/actor/app_name", json!("psql")),
        ("/src_endpoint", json!({"ip": "127.0.0.1", "port": 50_000})),
        ("/dst_endpoint/proxy_endpoint/name", json!("gate-1")),
        ("/database/name", json!("shop_production")),
        ("/database/uid", json!("shop")),
        ("/table/name", json!("public.customers")),
        ("/query_info/query_string", json!("select name,\n       card_number from customers")),
        ("/query_info/bytes", json!(10)),
        ("/policy/name", json!("builtin")),
        ("/status_detail", json!("card_number is masked for agents")),
        ("/message", json!("billing-bot: SELECT on shop: mask, card_number is masked for agents")),
        ("/unmapped/columns/0/masked", json!(true)),
        ("/unmapped/rows", json!(2)),
    ] {
        assert_eq!(at(pointer), expected, "{pointer}");
    }
    assert!(!event.to_string().contains("null"));
}

#[test]
fn what_is_missing_is_left_out_and_what_is_needed_is_there() {
    let mut sealed = statement(1, "");
    sealed.text = Payload { codec: PayloadCodec::SealedZstd, key: Some("key-1".into()), bytes: vec![1] };
    let event = told(&numbered(session(1), [Body::Statement(sealed)])).remove(0);
    assert_eq!(event.get("query_info"), None, "it needs a text");
    assert_eq!(event["src_endpoint"], json!({"name": "unknown"}));
    assert_eq!(event["database"]["name"], "unknown");
    assert_eq!(event["actor"], json!({"session": {"uid": session(1).to_string()}}));
    assert_eq!(event["unmapped"]["text_codec"], "sealed_zstd");
}

#[test]
fn addresses_are_told_apart_from_names() {
    let source = |peer: &str| {
        let Body::SessionOpened(mut opened) = opened() else { panic!("it opens") };
        opened.peer = peer.into();
        source(Some(&opened))
    };
    assert_eq!(source("[::1]:5000"), json!({"ip": "::1", "port": 5000}));
    assert_eq!(source("[::ffff:10.0.0.1]:5000"), json!({"ip": "10.0.0.1", "port": 5000}));
    assert_eq!(source("somewhere"), json!({"name": "somewhere"}));
}
