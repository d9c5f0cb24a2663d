//! The files of the repository, as git knows them: what is ignored is not looked at.

use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file: its path from the root, with `/`, and its text (none: not UTF-8).
pub struct File {
    pub path: String,
    pub text: Option<String>,
}

/// The workspace's root.
pub fn root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(own.ancestors().nth(2).context("xtask lies two folders below the root")?.to_owned())
}

/// Every file that is in git or new and not ignored.
pub fn files(root: &Path) -> Result<Vec<File>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let output = Command::new("git").args(list).current_dir(root).output().context("running git ls-files")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).context("file names are UTF-8")?;
    let mut files = Vec::new();
    for name in names.split_terminator('\0') {
        match std::fs::read(root.join(name)) {
            Ok(bytes) => files.push(File { path: name.to_owned(), text: String::from_utf8(bytes).ok() }),
            // Deleted but not yet committed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {name}")),
        }
    }
    Ok(files)
}

/// The line's code, without a comment at its end or the line if it is one. Rough: `//` inside a string ends it too.
pub fn code(line: &str) -> &str {
    let mut rest = 0;
    while let Some(found) = line.get(rest..).and_then(|tail| tail.find("//")) {
        let at = rest + found;
        // `://` is part of an address, not a comment.
        if !line.get(..at).is_some_and(|head| head.ends_with(':')) {
            return line.get(..at).unwrap_or(line);
        }
        rest = at + 2;
    }
    line
}

/// The number of the line from which on a file is tests: a `mod tests {` at its end; lines count from 1.
pub fn tests_begin(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let begins =
        |pair: &[&str]| matches!(pair, [cfg, module] if cfg.trim() == "#[cfg(test)]" && module.contains("mod tests {"));
    lines.windows(2).position(begins).map_or(usize::MAX, |index| index + 1)
}

/// Whether a whole file is test code: a `tests` folder, or a module file called `tests.rs`.
pub fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/benches/")
}

/// Prints what was found and fails if there is anything.
pub fn conclude(rule: &str, findings: &[String]) -> Result<()> {
    for finding in findings {
        eprintln!("{rule}: {finding}");
    }
    ensure!(findings.is_empty(), "{rule}: {} findings", findings.len());
    println!("{rule}: clean");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_told_from_addresses() {
        assert_eq!(code("let a = 1; // why"), "let a = 1; ");
        assert_eq!(code("let a = \"http://x\"; // why"), "let a = \"http://x\"; ");
        assert_eq!(code("/// doc"), "");
    }

    #[test]
    fn the_tests_of_a_file_are_found() {
        assert_eq!(tests_begin("fn a() {}\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(tests_begin("#[cfg(test)]\nmod tests;\nfn a() {}\n"), usize::MAX);
        assert!(
            is_test("schemas/src/codec/tests.rs") && is_test("proxy/tests/copy.rs") && !is_test("proxy/src/copy.rs")
        );
    }
}
