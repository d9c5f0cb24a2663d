//! The relations that PostgreSQL's planner names for a statement.

use crate::relay::Server;
use anyhow::Result;
use judge::sql::Facts;
use std::collections::BTreeSet;

/// Whether EXPLAIN can be asked.
pub fn has_plan(facts: &Facts) -> bool {
    matches!(facts.kind.as_str(), "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "VALUES" | "DECLARE CURSOR")
}

/// `schema.name` of each; none where the server does not plan it.
pub fn relations(text: &str, server: &mut Server) -> Result<Option<Vec<String>>> {
    let within = server.status == b'T';
    if within && server.ask("SAVEPOINT postern_regress")?.is_none() {
        return Ok(None);
    }
    let answer = server.ask(&format!("EXPLAIN (VERBOSE, FORMAT JSON) {text}"))?;
    if within {
        if answer.is_none() {
            server.ask("ROLLBACK TO SAVEPOINT postern_regress")?;
        }
        server.ask("RELEASE SAVEPOINT postern_regress")?;
    }
    let Some(rows) = answer else { return Ok(None) };
    let plan: String = rows.into_iter().flatten().flatten().collect();
    let Ok(plan) = serde_json::from_str(&plan) else { return Ok(None) };
    let mut found = BTreeSet::new();
    collect(&plan, &mut found);
    Ok(Some(found.into_iter().collect()))
}

fn collect(plan: &serde_json::Value, found: &mut BTreeSet<String>) {
    match plan {
        serde_json::Value::Object(node) => {
            let text = |key: &str| node.get(key).and_then(serde_json::Value::as_str);
            if let (Some(schema), Some(relation)) = (text("Schema"), text("Relation Name")) {
                found.insert(format!("{schema}.{relation}"));
            }
            node.values().for_each(|value| collect(value, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}
