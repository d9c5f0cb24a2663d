//! What we depend on: only from crates.io, only under licences that go with ours, and nothing that is banned.

use super::layers::metadata;
use super::source::conclude;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::Path;

/// Licences that go with Apache-2.0. A package is accepted if one of its alternatives (all parts of it) is here.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "BSL-1.0",
    "0BSD",
    "Unlicense",
    "CDLA-Permissive-2.0", // webpki-roots: the list of certificate authorities, as data
    "MPL-2.0",             // file-level copyleft: used unchanged
];

/// Packages that must not come back, and what stands in their place.
const BANNED: &[(&str, &str)] = &[
    ("native-tls", "rustls"),
    ("openssl", "rustls; only librdkafka links OpenSSL, through openssl-sys"),
    ("aws-lc-rs", "ring: one cryptographic library"),
];

/// Checks every package of the lockfile.
pub fn check(root: &Path) -> Result<()> {
    let metadata = metadata(root, &[])?;
    let packages = metadata.get("packages").and_then(Value::as_array).context("cargo metadata names packages")?;
    conclude("deny", &packages.iter().filter_map(finding).collect::<Vec<_>>())
}

fn finding(package: &Value) -> Option<String> {
    let text = |key: &str| package.get(key).and_then(Value::as_str);
    let (name, version) = (text("name")?, text("version")?);
    let source = text("source")?; // ours have none
    if source != "registry+https://github.com/rust-lang/crates.io-index" {
        return Some(format!("{name} {version} comes from {source}"));
    }
    if let Some((_, instead)) = BANNED.iter().find(|(banned, _)| *banned == name) {
        return Some(format!("{name} {version} is banned; instead: {instead}"));
    }
    let licence = text("license").unwrap_or_default();
    (!accepted(licence)).then(|| format!("{name} {version} has the licence {licence:?}, which is not in the list"))
}

/// Reads an SPDX expression of the forms that occur: alternatives of parts, or parts of bracketed alternatives.
fn accepted(expression: &str) -> bool {
    let known = |licence: &str| LICENCES.contains(&licence.trim());
    if expression.contains('(') {
        let part = |part: &str| part.trim().trim_matches(['(', ')']).split(" OR ").any(known);
        return expression.split(" AND ").all(part);
    }
    expression.replace('/', " OR ").split(" OR ").any(|alternative| alternative.split(" AND ").all(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_are_judged() {
        for good in
            ["MIT", "MIT OR Apache-2.0", "MIT/Apache-2.0", "GPL-2.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"]
        {
            assert!(accepted(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND AGPL-3.0"] {
            assert!(!accepted(bad), "{bad}");
        }
    }

    #[test]
    fn sources_and_bans_are_judged() {
        let package = |name: &str, source: Option<&str>| json!({"name": name, "version": "1", "license": "MIT", "source": source});
        let registry = Some("registry+https://github.com/rust-lang/crates.io-index");
        assert_eq!(finding(&package("ours", None)), None);
        assert_eq!(finding(&package("good", registry)), None);
        assert!(finding(&package("far", Some("git+https://example.org/far"))).unwrap().contains("comes from"));
        assert!(finding(&package("native-tls", registry)).unwrap().contains("rustls"));
    }
}
