//! Deterministic fuzzing: statements made by mutation of the corpus and of PostgreSQL's regression scripts go through
//! facts, policy and masking; frames with changed bytes and lengths go through the readers of both directions; whole
//! sessions of messages, in pieces, go through the gate between a client and a server that are made up. No case may
//! panic, end the process, or take longer or more memory than a limit.
//!
//! Case N of a seed is always the same: what is found is found again with `--seed` and `--first`.

mod conversation;
mod frames;
mod random;
mod rows;
mod statements;

use anyhow::{Context as _, Result};
use attacks::{
    admin::{Admin, TEMPLATE},
    case,
    wire::Target,
    world,
};
use clap::Parser;
use judge::sql::{
    Catalog,
    catalog::{QUERIES, Rows},
};
use random::Random;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// Looks for statements and frames that the gate cannot cope with.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask fuzz")]
struct Arguments {
    /// How many cases; half are statements, one in 16 is a whole session, the others are frames and rows.
    #[arg(long, default_value_t = 20_000)]
    cases: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first case.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// A folder with more SQL to begin with, such as PostgreSQL's `src/test/regress/sql`.
    #[arg(long)]
    scripts: Option<PathBuf>,
    /// Print every case before it runs: the last one printed is the one that ended the process.
    #[arg(long)]
    trace: bool,
}

/// Longest time of one case. The limits of a statement's size and depth hold it far below this, even in a debug build on
/// a busy machine.
const SLOW: Duration = Duration::from_secs(5);

/// Most memory of the process, pages of 4 KiB: 1.5 GiB.
const PAGES: u64 = 1536 << 8;

/// One case of so many is a session, which takes a hundred times as long as the others.
const SESSION: u64 = 16;

/// How many cases between looks at the memory.
const LOOK: u64 = 1000;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<u64> {
    let rows = catalog()?;
    let catalog = Catalog::build(1, &rows).context("building a snapshot")?;
    let subject = statements::Subject::new(catalog, texts(arguments.scripts.as_deref())?);
    let mut sessions = conversation::Subject::new(rows);
    // a panic is reported with its case; the usual message would come thousands of times
    std::panic::set_hook(Box::new(|_| {}));
    let (mut failures, mut understood, mut lived, mut slowest) = (0, 0, 0, Duration::ZERO);
    for number in arguments.first..arguments.first.saturating_add(arguments.cases) {
        let mut random = Random::new(arguments.seed, number);
        let statement = number % 2 == 0;
        let text = if statement { subject.statement(&mut random) } else { String::new() };
        if arguments.trace {
            eprintln!("{number}: {text}");
        }
        let start = Instant::now();
        let session = number % SESSION == 1;
        let ended = catch_unwind(AssertUnwindSafe(|| match (statement, session) {
            (true, _) => subject.check(&text, &mut random),
            (false, true) => sessions.check(&mut random),
            (false, false) => frames::check(&mut random),
        }));
        let time = start.elapsed();
        slowest = slowest.max(time);
        let problem = match ended {
            Err(panic) => Some(format!("panic: {}", words(panic.as_ref()))),
            Ok(Err(problem)) => Some(problem),
            Ok(Ok(_)) if time > SLOW => Some(format!("took {time:?}")),
            Ok(Ok(good)) => {
                understood += u64::from(good && statement);
                lived += u64::from(good && session);
                None
            }
        };
        if let Some(problem) = problem {
            failures += 1;
            println!("case {number}: {problem}: {}", text.chars().take(2000).collect::<String>());
        }
        if number % LOOK == 0 && pages()? > PAGES {
            println!("case {number}: the process has {} pages", pages()?);
            failures += 1;
            break;
        }
    }
    sessions.close();
    println!(
        "{} cases of seed {}, {failures} of them failed; {understood} statements understood; {lived} of {} sessions \
         without an end of the gate's; slowest {slowest:?}; {} MiB at the end",
        arguments.cases,
        arguments.seed,
        arguments.cases / SESSION,
        pages()? >> 8
    );
    Ok(failures)
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Resident pages of this process.
fn pages() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("reading the memory's size")?;
    text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).context("the memory's size")
}

/// The corpus' schema as PostgreSQL has it.
fn catalog() -> Result<Vec<Rows>> {
    let folder = tempfile::Builder::new().prefix("postern-fuzz").tempdir().context("making a folder")?;
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).context("opening a folder")?;
    let schema = world::folder().join("schema.sql");
    let (_server, port) = world::postgres(folder.path(), None, TEMPLATE, Some(&schema))?;
    let mut admin = Admin::new(Target {
        host: "127.0.0.1".to_owned(),
        port,
        user: "postgres".to_owned(),
        database: TEMPLATE.to_owned(),
        password: String::new(),
        application: String::new(),
    });
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    let mut results = Vec::new();
    for (_, sql) in QUERIES {
        let rows = admin.query(sql)?.into_iter();
        results.push(rows.map(|row| row.into_iter().map(|value| value.map(text)).collect()).collect());
    }
    Ok(results)
}

/// What mutation begins with.
fn texts(scripts: Option<&Path>) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for name in ["corpus.jsonl", "more.jsonl"] {
        for case in case::read(&world::folder().join(name))? {
            texts.extend(case.sql);
            texts.extend(case.steps.iter().filter_map(|step| step.get("q")?.as_str().map(str::to_owned)));
        }
    }
    if let Some(folder) = scripts {
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .with_context(|| format!("reading {}", folder.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect();
        files.sort();
        for file in files {
            let Ok(text) = std::fs::read_to_string(&file) else { continue };
            let clean: Vec<&str> = text.lines().filter(|line| !line.starts_with(['\\', '-'])).collect();
            texts.extend(clean.join("\n").split(";\n").map(str::trim).filter(|text| text.len() > 8).map(str::to_owned));
        }
    }
    Ok(texts)
}
