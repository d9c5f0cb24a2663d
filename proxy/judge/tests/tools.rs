//! Ordinary tools go on where columns are masked: the statements that they send, recorded from a PostgreSQL 15 server with
//! `log_statement = all`, are judged against the catalog that they were made for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

#[path = "support/postgres.rs"]
mod postgres;

use judge::{
    policy::{self, Cache, Rules, Subject, decide},
    sql::{self, Context, Limits},
};
use postgres::Postgres;
use schemas::event::VerdictKind;
use std::collections::BTreeMap;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

fn rules() -> Rules {
    serde_json::from_value(serde_json::json!({
        "connect_groups": ["agents"],
        // pgbench sets up its tables, Django migrates
        "guardrails_off": ["guard:alter", "guard:drop", "guard:truncate", "guard:unbounded"],
        "masking": [
            {"columns": ["public.customers.card_number", "public.card_events.card_number"], "label": "pan"},
            {"columns": ["public.customers.email", "public.customers.ssn", "public.customers.ssn_digits"]},
            {"columns": ["hr.salaries.salary", "hr.salaries.iban"]},
        ],
    }))
    .unwrap()
}

#[test]
fn what_tools_send_is_allowed() {
    let server = Postgres::start();
    assert!(server.psql("postgres", &[], "CREATE DATABASE bypass").1);
    server.file("bypass", &format!("{DATA}/../../../../deploy/tests/attacks/schema.sql"));
    let catalog = server.catalog("bypass");
    let bound = rules().bind(&catalog);
    assert!(bound.protects() && bound.unknown().next().is_none());
    let path = ["public".to_owned()];
    let context = Context { catalog: &catalog, search_path: &path, limits: Limits::default(), tripwire: true };
    let (subject, mut cache) = (Subject::of_groups(&["agents"]), Cache::default());
    let (mut tools, mut denied) = (BTreeMap::<String, usize>::new(), Vec::new());
    for line in std::fs::read_to_string(format!("{DATA}/tools.jsonl")).unwrap().lines() {
        let sent: serde_json::Value = serde_json::from_str(line).unwrap();
        let (tool, text) = (sent["tool"].as_str().unwrap(), sent["sql"].as_str().unwrap());
        *tools.entry(tool.to_owned()).or_default() += 1;
        for facts in sql::analyze(text, &context).unwrap() {
            let judgement = decide(&facts, &bound, &subject, &policy::Context::default(), &mut cache);
            if matches!(judgement.verdict, VerdictKind::Deny | VerdictKind::Hold) {
                denied.push(format!("{tool} {:?} {}: {text}", judgement.policies, judgement.reason));
            }
        }
    }
    println!("{tools:?}");
    assert!(tools.len() >= 4 && tools.values().all(|count| *count > 30), "{tools:?}");
    assert!(denied.is_empty(), "{} denied:\n{}", denied.len(), denied.join("\n\n"));
}
