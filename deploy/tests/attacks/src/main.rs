//! The runner of the corpus: `cargo xtask attacks`.

use anyhow::{Context as _, Result};
use attacks::{admin, audit, case, needles, outcome, report, residue, world};
use clap::Parser;
use std::{path::PathBuf, process::ExitCode};

/// Attacks the gate with a corpus of cases.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask attacks")]
struct Arguments {
    /// Cases, one JSON object a line; may be given several times. Default: corpus.jsonl and more.jsonl of this folder.
    #[arg(long)]
    corpus: Vec<PathBuf>,
    /// The folder of the PostgreSQL server's programs. Default: the newest that is installed, 15 where it is there.
    #[arg(long)]
    postgres: Option<PathBuf>,
    /// The gate. Default: what `POSTERN_BINARY` names.
    #[arg(long)]
    postern: Option<PathBuf>,
    /// Only this family.
    #[arg(long)]
    family: Option<String>,
    /// Only these cases, with commas.
    #[arg(long, value_delimiter = ',')]
    id: Vec<String>,
    /// Known failures: exactly these may fail, and all of them must.
    #[arg(long)]
    expected: Option<PathBuf>,
    /// All results, as JSON, into this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// With sealed payloads: then what the agents sent stands in no file either.
    #[arg(long)]
    sealed: bool,
    /// With a record that keeps no values: then what the agents sent stands in none of it.
    #[arg(long, conflicts_with = "sealed")]
    no_values: bool,
    /// Every case, not only those that fail.
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("attacks: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let folder = world::folder();
    let files = if arguments.corpus.is_empty() {
        ["corpus.jsonl", "more.jsonl"].map(|name| folder.join(name)).to_vec()
    } else {
        arguments.corpus.clone()
    };
    let mut cases = Vec::new();
    for file in &files {
        cases.extend(case::read(file)?);
    }
    cases.retain(|case| arguments.family.as_ref().is_none_or(|family| *family == case.family));
    cases.retain(|case| arguments.id.is_empty() || arguments.id.contains(&case.id));
    let expected = arguments.expected.as_deref().map(report::Expected::read).transpose()?;

    let keeping = match (arguments.sealed, arguments.no_values) {
        (true, _) => world::Keeping::Sealed,
        (_, true) => world::Keeping::NoValues,
        _ => world::Keeping::All,
    };
    let mut world = world::World::start(arguments.postgres.as_deref(), arguments.postern.as_deref(), keeping)?;
    let scanner = needles::Scanner::new(&mut admin::Admin::new(world.target()))?;
    let mut results = attack(&world, &cases, &scanner, arguments.verbose)?;
    let metrics = world.metrics()?;
    let events = world.end()?;
    audit::check(&cases, &mut results, &events)?;
    let residue = residue::search(&world, &cases, &scanner, &events, &metrics)?;
    for found in &residue {
        println!("left behind: {found}");
    }
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&results).context("writing results as JSON")?;
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(report::print(&results, expected.as_ref()) && residue.is_empty())
}

fn attack(
    world: &world::World,
    cases: &[case::Case],
    scanner: &needles::Scanner,
    verbose: bool,
) -> Result<Vec<outcome::Outcome>> {
    let mut admin = admin::Admin::new(world.target());
    admin.reset()?;
    let mut results = Vec::new();
    for case in cases {
        let outcome = outcome::run(case, &mut admin, world, scanner);
        for sql in &case.teardown {
            // what a case did not make cannot be taken away
            if let Err(error) = admin.substitute_text(sql).and_then(|sql| admin.query(&sql))
                && verbose
            {
                eprintln!("{}: teardown: {error:#}", case.id);
            }
        }
        if case.reset && (outcome.did || outcome.result == outcome::Kind::RunnerError) {
            admin.reset()?;
        }
        if verbose {
            println!("{}", outcome.line());
        }
        results.push(outcome);
    }
    Ok(results)
}
