//! The one list of developers' commands: `cargo xtask <command>`. `deploy/test` and CI call the same ones.

mod commands;
mod deny;
mod layers;
mod source;
mod tidy;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Developers' commands of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Format everything; with --check only say what is not formatted.
    Fmt {
        #[arg(long)]
        check: bool,
    },
    /// Formatting, clippy with warnings as errors, layers, tidy.
    Lint,
    /// Who imports whom, against the table in DESIGN.
    Layers,
    /// House rules that need a program.
    Tidy,
    /// Licences, sources and bans of what is depended on.
    Deny,
    /// Documentation, private items too, with warnings as errors.
    Doc,
    /// All tests of the workspace; arguments after -- go to `cargo test`.
    Test {
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// The corpus of attacks against the gate, logged in as the tables' owner; see `cargo xtask attacks --help`.
    #[command(disable_help_flag = true)]
    Attacks {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Statements and frames made by mutation, through facts, policy, masking and the readers of frames; see
    /// `cargo xtask fuzz --help`.
    #[command(disable_help_flag = true)]
    Fuzz {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The statements of PostgreSQL's own regression tests, through the gate; see `cargo xtask regress --help`.
    #[command(disable_help_flag = true)]
    Regress {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Benchmarks of the workspace.
    Bench,
    /// The schemas agree with the types, and every byte once written still decodes.
    Schema,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without anyhow's backtrace: what was found is printed above.
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints every failure and ends with the number of them.
fn all<const N: usize>(results: [Result<()>; N]) -> Result<()> {
    let failures: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    for failure in &failures {
        eprintln!("xtask: {failure:#}");
    }
    ensure!(failures.is_empty(), "{} of {N} checks failed", failures.len());
    Ok(())
}

fn run(command: Command) -> Result<()> {
    let root = source::root()?;
    match command {
        Command::Fmt { check } => commands::fmt(&root, check),
        // all of them, whatever the first says: one run shows everything
        Command::Lint => {
            all([commands::fmt(&root, true), layers::check(&root), tidy::check(&root), commands::clippy(&root)])
        }
        Command::Layers => layers::check(&root),
        Command::Tidy => tidy::check(&root),
        Command::Deny => deny::check(&root),
        Command::Doc => commands::doc(&root),
        Command::Test { arguments } => commands::test(&root, &arguments),
        Command::Attacks { arguments } => commands::program(&root, "attacks", &arguments),
        Command::Fuzz { arguments } => commands::program(&root, "fuzz", &arguments),
        Command::Regress { arguments } => commands::program(&root, "regress", &arguments),
        Command::Bench => commands::bench(&root),
        Command::Schema => commands::schema(&root),
    }
}
