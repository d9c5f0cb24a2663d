//! The commands that only call cargo.

use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;

fn cargo(root: &Path, arguments: &[&str]) -> Command {
    // The toolchain that runs this is the one that is meant.
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root);
    command
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("running {shown}"))?;
    ensure!(status.success(), "{shown} ended with {status}");
    Ok(())
}

/// Formats, or checks that all is formatted.
pub fn fmt(root: &Path, check: bool) -> Result<()> {
    let arguments: &[&str] = if check { &["fmt", "--all", "--check"] } else { &["fmt", "--all"] };
    run(&mut cargo(root, arguments))
}

/// Clippy over everything, tests too. The flag goes to our packages alone, so that nothing else is compiled again.
pub fn clippy(root: &Path) -> Result<()> {
    run(&mut cargo(
        root,
        &["clippy", "--locked", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"],
    ))
}

/// The documentation of our packages. With the examples, dependencies have the features that they have for clippy and
/// tests: without, many of them would be checked once more.
pub fn doc(root: &Path) -> Result<()> {
    let what = ["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"];
    let targets = ["--lib", "--bins", "--examples"];
    // private items are documented, so they may be linked to
    let flags = "-D warnings -A rustdoc::private_intra_doc_links";
    run(cargo(root, &[what.as_slice(), &targets].concat()).env("RUSTDOCFLAGS", flags))
}

/// All tests.
pub fn test(root: &Path, arguments: &[String]) -> Result<()> {
    run(cargo(root, &["test", "--locked", "--workspace"]).args(arguments))
}

/// All benchmarks.
pub fn bench(root: &Path) -> Result<()> {
    run(&mut cargo(root, &["bench", "--locked", "--workspace", "--benches"]))
}

/// The schemas' own tests: files against types, and the corpus of every version.
pub fn schema(root: &Path) -> Result<()> {
    run(&mut cargo(root, &["test", "--locked", "-p", "schemas"]))
}

/// Runs a program of the package of attacks: `attacks`, against the gate that `POSTERN_BINARY` names or that is built for
/// it, `fuzz` or `regress`. They are built as for the tests of the workspace, so that nothing is compiled again.
pub fn program(root: &Path, name: &str, arguments: &[String]) -> Result<()> {
    let given = std::env::var_os("POSTERN_BINARY").is_some();
    let tests: &[&str] = if given { &["--test", "programs"] } else { &["--test", "programs", "--test", "doctor"] };
    let build = ["test", "--locked", "--quiet", "--workspace", "--no-run"];
    run(&mut cargo(root, &[build.as_slice(), tests].concat()))?;
    let metadata = super::layers::metadata(root, &["--no-deps"])?;
    let target = metadata.get("target_directory").and_then(serde_json::Value::as_str);
    let built = Path::new(target.context("cargo metadata names the target folder")?).join("debug");
    let mut command = Command::new(built.join(name));
    if !given {
        command.env("POSTERN_BINARY", built.join("postern"));
    }
    run(command.args(arguments).current_dir(root))
}
