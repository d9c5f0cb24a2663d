//! Rules about Rust files.

use super::super::source::{File, code, is_test, tests_begin};

/// Files that may be longer than [`MAX_LINES`], and why.
const LONG: &[(&str, &str)] = &[];

/// Past this a reader loses the thread: split by what the parts promise.
const MAX_LINES: usize = 500;

fn rust(files: &[File]) -> impl Iterator<Item = (&str, &str)> {
    files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .filter_map(|file| Some((file.path.as_str(), file.text.as_deref()?)))
}

/// Every source file says what question it answers.
pub fn module_documentation(files: &[File]) -> Vec<String> {
    let sources = rust(files).filter(|(path, _)| path.contains("src/") && !is_test(path));
    let bare = sources.filter(|(_, text)| !text.starts_with("//! "));
    bare.map(|(path, _)| format!("{path}: begins without a module doc (//!)")).collect()
}

/// No giant files.
pub fn length(files: &[File]) -> Vec<String> {
    let long = rust(files)
        .filter(|(path, text)| text.lines().count() > MAX_LINES && !LONG.iter().any(|(known, _)| known == path));
    long.map(|(path, text)| format!("{path}: {} lines, more than {MAX_LINES}", text.lines().count())).collect()
}

/// Nothing half done, nothing switched off.
pub fn left_open(files: &[File]) -> Vec<String> {
    const OPEN: [&str; 5] = ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "FIXME"];
    let mut findings = Vec::new();
    for (path, text) in rust(files).filter(|(path, _)| !path.starts_with(OWN)) {
        for (index, line) in text.lines().enumerate() {
            findings.extend(
                OPEN.iter().filter(|open| line.contains(**open)).map(|open| format!("{path}:{}: {open}", index + 1)),
            );
        }
    }
    findings
}

/// A test waits for what it expects, with a deadline: it does not sleep and hope. The pause between two looks is named
/// for what it is (`sleep(POLL)`), so that any other sleep stands out.
pub fn sleeping_tests(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in rust(files).filter(|(path, _)| !path.starts_with(OWN)) {
        let from = if is_test(path) { 0 } else { tests_begin(text) };
        for (index, line) in text.lines().enumerate().filter(|(index, _)| *index >= from) {
            // SQL that makes the server wait is what a test is about, not how it waits
            let code = code(line).replace("pg_sleep(", "");
            if code.contains("sleep(") && !code.to_lowercase().contains("poll") && !line.contains("fn ") {
                findings.push(format!("{path}:{}: a test that sleeps; poll with a deadline (sleep(POLL))", index + 1));
            }
        }
    }
    findings
}

/// Log texts begin in lower case and end without a full stop: they are searched for, not read as prose.
pub fn log_texts(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in rust(files).filter(|(path, _)| !path.starts_with(OWN)) {
        let code: Vec<&str> = text.lines().map(code).collect();
        let code = code.join("\n");
        for name in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
            for (at, _) in code.match_indices(name) {
                let before = code.get(..at).unwrap_or_default();
                if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                    continue; // another macro whose name ends so
                }
                let Some(message) = message(code.get(at + name.len()..).unwrap_or_default()) else { continue };
                let line = before.matches('\n').count() + 1;
                if starts_like_a_sentence(message) {
                    findings.push(format!("{path}:{line}: log text begins in upper case: {message:?}"));
                }
                if message.ends_with('.') && !message.ends_with("..") {
                    findings.push(format!("{path}:{line}: log text ends with a full stop: {message:?}"));
                }
            }
        }
    }
    findings
}

/// The text of a log call: its last string that is not a field's value. `arguments` begins behind the bracket.
fn message(arguments: &str) -> Option<&str> {
    let (mut depth, mut last, mut rest) = (1_i32, None, 0);
    let bytes = arguments.as_bytes();
    while let Some(byte) = bytes.get(rest) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b'"' => {
                let end = end_of_string(bytes, rest + 1)?;
                let before = arguments.get(..rest)?.trim_end();
                if depth == 1 && !before.ends_with('=') {
                    last = arguments.get(rest + 1..end);
                }
                rest = end;
            }
            _ => {}
        }
        if depth == 0 {
            return last;
        }
        rest += 1;
    }
    None
}

fn end_of_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at),
            _ => at += 1,
        }
    }
}

/// An upper-case letter before a lower-case one; `TLS` and `SQL` are names.
fn starts_like_a_sentence(message: &str) -> bool {
    let mut characters = message.chars();
    characters.next().is_some_and(char::is_uppercase) && characters.next().is_some_and(char::is_lowercase)
}

/// Modules that would hold anything.
pub fn vague_names(files: &[File]) -> Vec<String> {
    const VAGUE: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "misc", "manager", "prelude"];
    let vague = rust(files)
        .filter(|(path, _)| path.split('/').any(|part| VAGUE.contains(&part.strip_suffix(".rs").unwrap_or(part))));
    vague.map(|(path, _)| format!("{path}: a name that says nothing; name it for what it holds")).collect()
}

/// The walk over PostgreSQL's tree names every node: an arm for whatever else there is would let a node of a later grammar
/// pass unseen. Clippy (`wildcard_enum_match_arm`) does not look into an `Option`, this does. Over words and numbers such an
/// arm says so: `// no node: ...`.
pub fn default_arms(files: &[File]) -> Vec<String> {
    const WALK: &str = "proxy/judge/src/sql/walk/";
    const OPEN: [&str; 7] =
        ["_ =>", "_ if ", "Some(_) =>", "Some(other) =>", "None | Some(_) =>", "| _ =>", "other =>"];
    let mut findings = Vec::new();
    for (path, text) in rust(files).filter(|(path, _)| path.starts_with(WALK) && !is_test(path)) {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.contains("// no node: ")) {
            let code = code(line).trim_start();
            if OPEN.iter().any(|open| code.starts_with(open)) {
                findings.push(format!("{path}:{}: an arm for every other node; name them (any_node!)", index + 1));
            }
        }
    }
    findings
}

/// The rules' own files spell what they forbid.
const OWN: &str = "deploy/xtask/";

#[cfg(test)]
mod tests {
    use super::super::files;
    use super::*;

    #[test]
    fn module_documentation_and_length_are_looked_at() {
        let long = format!("//! Doc.\n{}", "x\n".repeat(500));
        let files = files(&[
            ("a/src/a.rs", "fn a() {}\n"),
            ("a/src/b.rs", "//! Doc.\n"),
            ("a/tests/c.rs", "fn c() {}\n"),
            ("a/src/d.rs", &long),
        ]);
        assert_eq!(module_documentation(&files), ["a/src/a.rs: begins without a module doc (//!)"]);
        assert_eq!(length(&files), ["a/src/d.rs: 501 lines, more than 500"]);
    }

    #[test]
    fn what_is_left_open_is_found() {
        let files = files(&[("a/src/a.rs", "fn a() { todo!() }\n#[ignore]\n"), ("a/src/b.rs", "// nothing to do\n")]);
        assert_eq!(left_open(&files), ["a/src/a.rs:1: todo!(", "a/src/a.rs:2: #[ignore"]);
    }

    #[test]
    fn only_sleeps_in_tests_that_do_not_poll_are_found() {
        let inside = "fn a() { sleep(1) }\n#[cfg(test)]\nmod tests {\n    sleep(ONE);\n    sleep(POLL);\n}\n";
        let files =
            files(&[("a/src/a.rs", inside), ("a/tests/b.rs", "thread::sleep(d)\n"), ("a/src/c.rs", "sleep(1)\n")]);
        let found = sleeping_tests(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a/src/a.rs:4:") && found[1].starts_with("a/tests/b.rs:1:"));
    }

    #[test]
    fn log_texts_are_read_out_of_their_calls() {
        let text = "warn!(a = \"Upper\", b = f(\"Not\", 1), \"Listening on\\n{x}\");\ninfo!(%x, \"TLS is on\");\n\
                    error!(\n    \"it broke.\"\n);\nmy_info!(\"Other\");\ndebug!(\"fine\");\n";
        let found = log_texts(&files(&[("a/src/a.rs", text)]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|f| f.starts_with("a/src/a.rs:1: log text begins")), "{found:?}");
        assert!(found.iter().any(|f| f.starts_with("a/src/a.rs:3: log text ends")), "{found:?}");
    }

    #[test]
    fn default_arms_in_the_walk_are_found() {
        let text = "match a {\n    _ => b,\n    _ => c, // no node: a word\n    Some(_) => d,\n    // _ => e\n}\n";
        let found =
            default_arms(&files(&[("proxy/judge/src/sql/walk/a.rs", text), ("proxy/judge/src/sql/b.rs", text)]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("proxy/judge/src/sql/walk/a.rs:2:") && found[1].contains("a.rs:4:"));
    }

    #[test]
    fn vague_modules_are_found() {
        assert_eq!(
            vague_names(&files(&[("a/src/utils.rs", ""), ("a/src/common/x.rs", ""), ("a/src/pipe.rs", "")])).len(),
            2
        );
    }
}
