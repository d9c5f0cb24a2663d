//! Who may import whom: DESIGN's table over `cargo metadata`, and who may name the packages that carry the system.

use super::source::{self, File, code, conclude};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A package of ours and which of ours it may depend on. What stands later may not be imported by what stands earlier.
const ALLOWED: &[(&str, &[&str])] = &[
    ("schemas", &[]),
    ("event-log", &["schemas"]),
    ("kit", &[]),
    ("judge", &["schemas"]),
    ("identity", &["schemas", "kit"]),
    ("control", &["schemas", "event-log", "kit", "identity"]),
    ("proxy", &["schemas", "event-log", "kit", "judge", "identity", "control"]),
    ("recorder", &["schemas", "event-log", "kit"]),
    ("indexer", &["schemas", "event-log", "kit", "recorder"]),
    ("replay", &["schemas", "event-log", "kit", "judge", "identity", "control", "recorder", "indexer"]),
    ("loadtest", &["schemas", "recorder"]),
    (
        "postern",
        &[
            "schemas",
            "event-log",
            "kit",
            "judge",
            "identity",
            "control",
            "proxy",
            "recorder",
            "indexer",
            "replay",
            "loadtest",
        ],
    ),
    ("attacks", &["judge", "proxy"]),
    ("xtask", &[]),
];

/// A package of others, which of ours may depend on it, and where its name may stand in code.
struct Named {
    package: &'static str,
    by: &'static [&'static str],
    within: &'static [&'static str],
}

const NAMED: &[Named] = &[
    Named { package: "rdkafka", by: &["event-log"], within: &["schemas/log/"] },
    Named { package: "pg_query", by: &["judge"], within: &["proxy/judge/src/sql/"] },
    Named { package: "cedar-policy", by: &["judge"], within: &["proxy/judge/src/policy/"] },
    Named { package: "tantivy", by: &["indexer"], within: &["indexer/"] },
    Named { package: "axum", by: &["kit", "replay"], within: &["deploy/kit/src/metrics.rs", "replay/"] },
];

/// Checks both tables.
pub fn check(root: &Path) -> Result<()> {
    let metadata = metadata(root, &["--no-deps"])?;
    let mut findings = edges(&metadata)?;
    findings.extend(names(&source::files(root)?));
    conclude("layers", &findings)
}

/// What cargo knows of the workspace.
pub fn metadata(root: &Path, arguments: &[&str]) -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked"]).args(arguments).current_dir(root);
    let output = command.output().context("running cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("reading what cargo metadata said")
}

fn edges(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata.get("packages").and_then(Value::as_array).context("cargo metadata names packages")?;
    let ours: Vec<&str> = packages.iter().filter_map(|package| name(package)).collect();
    let mut findings = Vec::new();
    for package in packages {
        let from = name(package).context("a package has a name")?;
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == from) else {
            findings.push(format!("the package {from} is not in the table: say in DESIGN and here whom it may import"));
            continue;
        };
        for dependency in package.get("dependencies").and_then(Value::as_array).into_iter().flatten() {
            let to = name(dependency).unwrap_or_default();
            let kind = dependency.get("kind").and_then(Value::as_str).unwrap_or("normal");
            if ours.contains(&to) && to != from && !allowed.contains(&to) {
                findings.push(format!("{from} may not import {to} ({kind} dependency)"));
            }
            if let Some(named) = NAMED.iter().find(|named| named.package == to && !named.by.contains(&from)) {
                findings.push(format!("{from} may not depend on {to}: only {} may", named.by.join(", ")));
            }
        }
    }
    Ok(findings)
}

fn name(object: &Value) -> Option<&str> {
    object.get("name").and_then(Value::as_str)
}

fn names(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        for (index, line) in file.text.iter().flat_map(|text| text.lines()).enumerate() {
            for named in NAMED {
                let spelt = format!("{}::", named.package.replace('-', "_"));
                if mentions(code(line), &spelt) && !named.within.iter().any(|place| file.path.starts_with(place)) {
                    let places = named.within.join(", ");
                    findings.push(format!("{}:{}: {spelt} outside {places}", file.path, index + 1));
                }
            }
        }
    }
    findings
}

/// Whether a path begins with this crate: not the end of another name, not inside a string.
fn mentions(code: &str, spelt: &str) -> bool {
    code.match_indices(spelt).any(|(at, _)| {
        let before = code.get(..at).unwrap_or_default();
        !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') && before.matches('"').count() % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_forbidden_edge_is_found() {
        let package = |name: &str, to: &[&str]| {
            let dependencies: Vec<_> = to.iter().map(|to| json!({"name": to, "kind": null})).collect();
            json!({"name": name, "dependencies": dependencies})
        };
        let metadata = json!({"packages": [package("schemas", &["event-log", "serde"]), package("event-log", &["schemas"]),
            package("replay", &["tantivy"]), package("new", &[])]});
        let findings = edges(&metadata).unwrap();
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings[0].starts_with("schemas may not import event-log"));
        assert!(findings[1].starts_with("replay may not depend on tantivy"));
        assert!(findings[2].starts_with("the package new is not in the table"));
    }

    #[test]
    fn a_name_out_of_place_is_found() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: Some(text.to_owned()) };
        let files = [
            file(
                "proxy/src/a.rs",
                "// pg_query::parse\nuse pg_query::parse;\nlet t = \"tantivy::x\";\nmy_axum::x();\n",
            ),
            file("proxy/judge/src/sql/parse.rs", "use pg_query::parse;\n"),
        ];
        assert_eq!(names(&files), ["proxy/src/a.rs:2: pg_query:: outside proxy/judge/src/sql/"]);
    }

    #[test]
    fn this_workspace_is_layered() {
        let root = source::root().unwrap();
        assert_eq!(edges(&metadata(&root, &["--no-deps"]).unwrap()).unwrap(), Vec::<String>::new());
    }
}
