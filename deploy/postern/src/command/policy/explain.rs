//! `postern policy explain`: what would become of a statement, every question that it puts to the policies, and who answers.

use super::table::{File, asker, moment};
use super::trial::{Ground, Tried, word};
use crate::arguments::{Global, Who};
use crate::failure::Failure;
use crate::{config, output};
use anyhow::anyhow;
use judge::policy::{self, Asked, Context};
use serde_json::{Value, json};
use std::path::Path;

/// Runs the verb.
pub fn run(
    global: &Global,
    sql: &str,
    resource: Option<&str>,
    tables: Option<&Path>,
    who: &Who,
) -> Result<(), Failure> {
    let now = match &who.at {
        Some(text) => moment(text)?,
        None => proxy::resource::now().now,
    };
    let (estimated_rows, estimated_cost) = (who.estimated_rows, who.estimated_cost);
    let context = Context { now, approved: who.approved, estimated_rows, estimated_cost };
    let subject = asker(&who.subject, &who.groups, who.human, &who.application_name);
    let explained = |ground: &Ground<'_>| {
        let tried = ground.try_out(sql, &subject, &context);
        let asked: Vec<Vec<Asked>> = tried
            .statements
            .iter()
            .map(|(facts, _)| policy::explain(facts, ground.bound, &subject, &context))
            .collect();
        output::either(global.output, || text(&tried, &asked), || value(&tried, &asked))
    };
    if let Some(name) = resource {
        let config = config::load(global)?;
        let view = proxy::resource::read_once(super::registered(&config, name)?)
            .map_err(|reason| anyhow!("cannot read the catalog of {name}: {reason}"))?;
        let ground = Ground { catalog: view.catalog(), bound: view.bound(), search_path: &who.search_path };
        return Ok(explained(&ground)?);
    }
    let Some(path) = tables else { return Err(Failure::NotFound("name --resource or --tables".to_owned())) };
    let file = File::read(path)?;
    let (catalog, bound) = file.ground(path)?;
    let ground = Ground { catalog: &catalog, bound: &bound, search_path: file.search_path() };
    Ok(explained(&ground)?)
}

fn answer(asked: &Asked) -> &'static str {
    match (asked.allowed, asked.indirect && asked.policies.is_empty()) {
        (true, _) => "allowed",
        (false, true) => "not asked for",
        (false, false) => "denied",
    }
}

fn text(tried: &Tried, asked: &[Vec<Asked>]) -> String {
    let mut lines = vec![format!("{} by {}", word(tried.verdict), tried.policies.join(", "))];
    if !tried.reason.is_empty() {
        lines.push(format!("reason: {}", tried.reason));
        lines.push(format!("hint: {}", tried.hint));
    }
    if !tried.masked.is_empty() {
        lines.push(format!("masked: {}", tried.masked.iter().cloned().collect::<Vec<_>>().join(", ")));
    }
    for ((facts, _), asked) in tried.statements.iter().zip(asked) {
        lines.push(String::new());
        lines.push(facts.kind.clone());
        let rows: Vec<Vec<String>> = asked
            .iter()
            .map(|one| {
                let object = if one.object.is_empty() { "the resource" } else { &one.object };
                let by = if one.policies.is_empty() { "no policy".to_owned() } else { one.policies.join(", ") };
                vec![one.action.clone(), object.to_owned(), answer(one).to_owned(), by]
            })
            .collect();
        lines.push(output::table(&["action", "object", "answer", "by"], &rows));
    }
    lines.join("\n")
}

fn value(tried: &Tried, asked: &[Vec<Asked>]) -> Value {
    let statements: Vec<Value> = tried
        .statements
        .iter()
        .zip(asked)
        .map(|((facts, judgement), asked)| {
            let questions: Vec<Value> = asked
                .iter()
                .map(|one| {
                    json!({"action": one.action, "object": one.object, "indirect": one.indirect,
                           "answer": answer(one), "policies": one.policies})
                })
                .collect();
            json!({"kind": facts.kind, "verdict": word(judgement.verdict), "opaque": facts.opaque,
                   "unbounded": facts.unbounded_write, "questions": questions})
        })
        .collect();
    json!({"verdict": word(tried.verdict), "policies": tried.policies, "reason": tried.reason, "hint": tried.hint,
           "masked": tried.masked, "statements": statements})
}
