//! Checks an answer against `openapi.json`: the part of JSON Schema that the description uses, and no other keyword.

use super::Answered;
use serde_json::Value;

/// Fails unless the description has this path with this status and media type, and its schema admits the body.
/// Paths of the console are not in it.
pub fn conforms(path: &str, answered: &Answered) {
    let document: Value = serde_json::from_str(replay::api::OPENAPI).unwrap();
    let described = document["paths"].as_object().unwrap();
    let Some((_, item)) = described.iter().find(|(template, _)| fits(template, path)) else { return };
    if answered.status == 405 {
        return; // says of a method that it is not there
    }
    let response = &item["get"]["responses"][answered.status.to_string()];
    assert!(response.is_object(), "{path}: status {} is not described", answered.status);
    let kind = answered.header("content-type").split(';').next().unwrap_or_default().to_owned();
    let schema = &response["content"][&kind]["schema"];
    assert!(schema.is_object(), "{path}: {} as {kind} is not described", answered.status);
    if kind.ends_with("json") {
        let wrong = check(&document, schema, &answered.json(), "$");
        assert!(wrong.is_empty(), "{path}: {wrong:#?}");
    }
}

fn fits(template: &str, path: &str) -> bool {
    let (a, b): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    a.len() == b.len() && a.iter().zip(&b).all(|(part, given)| part == given || part.starts_with('{'))
}

/// What of a value the schema does not admit.
pub fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        match keyword.as_str() {
            "description" | "format" | "contentMediaType" | "pattern" | "maximum" => {}
            "$ref" => {
                let target = document
                    .pointer(rule.as_str().unwrap().trim_start_matches('#'))
                    .expect("a reference leads somewhere");
                wrong.extend(check(document, target, value, at));
            }
            "oneOf" => {
                let fitting =
                    rule.as_array().unwrap().iter().filter(|one| check(document, one, value, at).is_empty()).count();
                if fitting != 1 {
                    wrong.push(format!("{at}: fits {fitting} of the alternatives: {value}"));
                }
            }
            "type" => {
                let names: Vec<_> = rule.as_array().map_or_else(|| vec![rule], |all| all.iter().collect());
                if !names.iter().any(|name| is(value, name.as_str().unwrap())) {
                    wrong.push(format!("{at}: is no {rule}: {value}"));
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => {
                wrong.push(format!("{at}: {value} is not among {rule}"))
            }
            "minimum" if value.as_i64().is_some_and(|n| n < rule.as_i64().unwrap()) => {
                wrong.push(format!("{at}: {value}"))
            }
            "enum" | "minimum" => {}
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    wrong.extend(check(document, rule, item, &format!("{at}[{index}]")));
                }
            }
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    match rule.get(name) {
                        Some(schema) => wrong.extend(check(document, schema, field, &format!("{at}.{name}"))),
                        None => wrong.push(format!("{at}.{name} is not described")),
                    }
                }
            }
            "required" => {
                let missing =
                    rule.as_array().unwrap().iter().filter(|name| value.get(name.as_str().unwrap()).is_none());
                wrong.extend(missing.map(|name| format!("{at}: {name} is missing")));
            }
            "additionalProperties" => assert_eq!(rule, false),
            other => panic!("the description uses {other}, which this test does not know"),
        }
    }
    wrong
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
