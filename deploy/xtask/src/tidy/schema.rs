//! Rules about the Avro schemas: a field without a doc is a field that nobody may rely on.

use super::super::source::File;
use serde_json::Value;

/// Every record, enum and field of every schema has a `doc`.
pub fn documented_fields(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let schemas = files.iter().filter(|file| file.path.ends_with(".avsc") && file.path.starts_with("schemas/avro/"));
    for file in schemas {
        match serde_json::from_str(file.text.as_deref().unwrap_or_default()) {
            Ok(schema) => walk(&file.path, &schema, &mut findings),
            Err(error) => findings.push(format!("{}: not JSON: {error}", file.path)),
        }
    }
    findings
}

fn walk(path: &str, schema: &Value, findings: &mut Vec<String>) {
    let undocumented = |value: &Value| text(value, "doc").is_none_or(|doc| doc.trim().is_empty());
    match schema {
        Value::Array(union) => union.iter().for_each(|branch| walk(path, branch, findings)),
        Value::Object(object) => {
            let name = text(schema, "name").unwrap_or("?");
            if matches!(text(schema, "type"), Some("record" | "enum")) && undocumented(schema) {
                findings.push(format!("{path}: {name} has no doc"));
            }
            for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                if undocumented(field) {
                    findings.push(format!("{path}: {name}.{} has no doc", text(field, "name").unwrap_or("?")));
                }
                field.get("type").into_iter().for_each(|inner| walk(path, inner, findings));
            }
            for inner in ["items", "values", "type"] {
                object
                    .get(inner)
                    .filter(|inner| !inner.is_string())
                    .into_iter()
                    .for_each(|inner| walk(path, inner, findings));
            }
        }
        _ => {}
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::super::files;
    use super::*;

    #[test]
    fn a_field_without_a_doc_is_found_at_any_depth() {
        let schema = r#"{"type":"record","name":"A","doc":"a","fields":[{"name":"x","type":"long","doc":" "},
            {"name":"y","doc":"y","type":["null",{"type":"array","items":{"type":"record","name":"B","fields":[]}}]}]}"#;
        let found = documented_fields(&files(&[("schemas/avro/a.avsc", schema)]));
        assert_eq!(found, ["schemas/avro/a.avsc: A.x has no doc", "schemas/avro/a.avsc: B has no doc"]);
    }
}
