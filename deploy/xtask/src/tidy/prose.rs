//! Rules about what stands in documents: invariants by number, and nothing of the machine that somebody wrote on.

use super::super::source::{File, is_test, tests_begin};
use std::collections::BTreeSet;

/// Invariants that no test can name yet, and why.
const UNTESTED: &[(&str, &str)] =
    &[("SCP-1", "leased roles are not built yet: the gate logs in as one configured role")];

/// Where the invariants are explained.
const PAGE: &str = "ARCHITECTURE.md";

/// Every invariant number in code is explained in ARCHITECTURE.md, and every one that is explained is named by a test.
pub fn invariants(files: &[File]) -> Vec<String> {
    let page = files.iter().find(|file| file.path == PAGE).and_then(|file| file.text.as_deref()).unwrap_or_default();
    let explained = numbers(page);
    let (mut findings, mut tested) = (Vec::new(), BTreeSet::new());
    for file in files.iter().filter(|file| file.path.ends_with(".rs") && !file.path.starts_with("deploy/xtask/")) {
        let text = file.text.as_deref().unwrap_or_default();
        for number in numbers(text).difference(&explained) {
            findings.push(format!("{}: {number} is not explained in {PAGE}", file.path));
        }
        let from = if is_test(&file.path) { 0 } else { tests_begin(text) };
        tested.extend(text.lines().skip(from).flat_map(numbers));
    }
    for number in explained.difference(&tested).filter(|number| !UNTESTED.iter().any(|(known, _)| known == *number)) {
        findings.push(format!("{PAGE}: {number} is named by no test"));
    }
    findings
}

/// The invariant numbers in a text, in either spelling (`AUD-1`, `AUD_1`).
fn numbers(text: &str) -> BTreeSet<String> {
    const FAMILIES: [&str; 6] = ["AUD", "SCP", "MSK", "ARC", "IDX", "CTL"];
    let mut found = BTreeSet::new();
    for family in FAMILIES {
        for (at, _) in text.match_indices(family) {
            let rest = text.get(at + family.len()..).unwrap_or_default();
            let Some(rest) = rest.strip_prefix(['-', '_']) else { continue };
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if !digits.is_empty() {
                found.insert(format!("{family}-{digits}"));
            }
        }
    }
    found
}

/// No path of a developer's machine in anything that is kept.
pub fn machine_paths(files: &[File]) -> Vec<String> {
    let forbidden = ["work", "home"].map(|folder| format!("/{folder}/"));
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path != "Cargo.lock") {
        for (index, line) in file.text.iter().flat_map(|text| text.lines()).enumerate() {
            let found = forbidden.iter().find(|path| {
                // The start of a path, not the middle of an address or of a relative one.
                line.match_indices(path.as_str()).any(|(at, _)| {
                    line.get(..at).is_some_and(|before| {
                        !before.ends_with(|c: char| c.is_alphanumeric() || ".-_}~*>)".contains(c))
                    })
                })
            });
            findings.extend(found.map(|path| format!("{}:{}: {path}...", file.path, index + 1)));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::files;
    use super::*;

    #[test]
    fn numbers_are_held_against_the_page_and_the_tests() {
        let files = files(&[
            ("ARCHITECTURE.md", "AUD-1, AUD-2, SCP-1"),
            ("a/src/a.rs", "//! AUD-1, AUD_9\n#[cfg(test)]\nmod tests {\n// AUD_1\n}\n"),
        ]);
        assert_eq!(
            invariants(&files),
            ["a/src/a.rs: AUD-9 is not explained in ARCHITECTURE.md", "ARCHITECTURE.md: AUD-2 is named by no test"]
        );
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        let home = format!("cd /{}/me\n", "home");
        let other = format!("https://example.org/{0}/x\n../{0}/x\n/srv/x\n", "work");
        let files = files(&[("a.md", &home), ("b.md", &other)]);
        assert_eq!(machine_paths(&files).len(), 1);
    }
}
