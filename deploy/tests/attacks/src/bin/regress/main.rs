//! PostgreSQL's own regression statements through `judge::sql`: psql runs each script against a scratch server, through a
//! relay that looks at every statement before the server does.
//!
//! Of each: facts come without a panic; the facts of what the server then accepts name no relation that is not there; and
//! where EXPLAIN (VERBOSE) has a plan, the facts name every relation that the plan names.

mod plan;
mod relay;
mod snapshot;
mod tally;

use anyhow::{Context as _, Result, ensure};
use attacks::world;
use clap::Parser;
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Mutex,
};

/// Puts the statements of scripts through the facts.
#[derive(Debug, Parser)]
#[command(name = "regress")]
struct Arguments {
    /// The folder `src/test/regress` of PostgreSQL's source.
    #[arg(long)]
    source: PathBuf,
    /// The folder of the server's programs.
    #[arg(long)]
    postgres: Option<PathBuf>,
    /// Scripts without `.sql`, in order, after `test_setup`. Default: the whole schedule.
    scripts: Vec<String>,
    /// Print each finding's statement whole.
    #[arg(long)]
    verbose: bool,
}

/// The least share of accepted statements that must be understood.
const UNDERSTOOD: f64 = 0.999;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("regress: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let source = arguments.source.canonicalize().context("the folder of the regression tests")?;
    let scripts = if arguments.scripts.is_empty() { schedule(&source)? } else { arguments.scripts.clone() };
    let folder = tempfile::Builder::new().prefix("postern-regress").tempdir().context("making a folder")?;
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).context("opening a folder")?;
    let (_server, port) = world::postgres(folder.path(), arguments.postgres.as_deref(), "regression", None)?;
    // the server itself reads and writes files there
    for name in ["data", "results"] {
        copy(&source.join(name), &folder.path().join(name))?;
    }
    let tally = Mutex::new(tally::Tally::new(arguments.verbose));
    let setup = (scripts.first().map(String::as_str) != Some("test_setup")).then(|| "test_setup".to_owned());
    for script in setup.iter().chain(&scripts) {
        script_through(&source, folder.path(), port, script, &tally).with_context(|| script.clone())?;
    }
    Ok(tally::lock(&tally).print(UNDERSTOOD))
}

/// The files of a folder, if it is there, into one that everybody may use.
fn copy(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir(to).with_context(|| format!("creating {}", to.display()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o777)).context("opening a folder")?;
    let Ok(files) = std::fs::read_dir(from) else { return Ok(()) };
    for file in files {
        let file = file.context("reading a folder")?.path();
        if let Some(name) = file.file_name().filter(|_| file.is_file()) {
            std::fs::copy(&file, to.join(name)).with_context(|| format!("copying {}", file.display()))?;
        }
    }
    Ok(())
}

/// The schedule's scripts in order, as one after the other.
fn schedule(source: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(source.join("parallel_schedule")).context("reading the schedule")?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("test: "));
    let all: Vec<String> = lines.flat_map(str::split_whitespace).map(str::to_owned).collect();
    ensure!(all.len() > 100, "the schedule names its scripts");
    Ok(all)
}

fn script_through(source: &Path, folder: &Path, port: u16, script: &str, tally: &Mutex<tally::Tally>) -> Result<()> {
    let file = source.join("sql").join(format!("{script}.sql"));
    ensure!(file.exists(), "{} is not there", file.display());
    let listener = TcpListener::bind("127.0.0.1:0").context("listening")?;
    let address = listener.local_addr().context("an address")?;
    listener.set_nonblocking(true).context("a listener")?;
    let mut psql = Command::new("psql")
        .args(["-X", "-q", "-a", "-h", "127.0.0.1", "-U", "postgres", "-d", "regression", "-f"])
        .arg(&file)
        .args(["-p", &address.port().to_string()])
        .env("PGSSLMODE", "disable")
        .env("PGGSSENCMODE", "disable")
        .env("PGTZ", "PST8PDT")
        .env("PGDATESTYLE", "Postgres, MDY")
        .env("PG_ABS_SRCDIR", folder)
        .env("PG_ABS_BUILDDIR", folder)
        .env("PG_LIBDIR", "/nowhere")
        .env("PG_DLSUFFIX", ".so")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting psql")?;
    tally::lock(tally).script(script);
    // `\c` opens a connection before it closes the one that it had
    std::thread::scope(|relays| {
        loop {
            match listener.accept() {
                Ok((client, _)) => {
                    client.set_nonblocking(false).context("a connection")?;
                    relays.spawn(move || {
                        if let Err(error) = relay::run(client, port, tally) {
                            tally::lock(tally).note(&format!("{script}: {error:#}"));
                        }
                    });
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if psql.try_wait().context("waiting for psql")?.is_some() {
                        return Ok(());
                    }
                    std::thread::park_timeout(std::time::Duration::from_millis(2));
                }
                Err(error) => return Err(error).context("accepting psql"),
            }
        }
    })
}
