//! The command line. Noun, then verb; `-o json` wherever something is printed.

use crate::failure::STATUSES;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kit::config::Override;
use schemas::SessionId;
use std::path::PathBuf;
use std::time::Duration;

/// The guarded gate to PostgreSQL for agents that no person watches.
#[derive(Debug, Parser)]
#[command(name = "postern", version, after_help = STATUSES)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every subcommand takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Config file. Without it: postern.toml here, or else /etc/postern/postern.toml, or else defaults
    #[arg(short, long, global = true, value_name = "FILE", env = "POSTERN_CONFIG")]
    pub config: Option<PathBuf>,
    /// Sets one key, over environment and file: --set proxy.listen=0.0.0.0:6432
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    pub overrides: Vec<Override>,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs: one JSON value, or one a line where it is a stream.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: gate, log, recorder, indexer, API and console
    Up,
    /// Run the gate alone, in front of Kafka
    Proxy,
    /// Run the recorder alone: Kafka to archive
    Recorder,
    /// Run the indexer alone: Kafka to search index
    Indexer,
    /// Run the API and console alone
    Replay,
    /// Recorded sessions
    #[command(subcommand)]
    Session(Session),
    /// Access that is asked for and answered, over the API of a running node
    #[command(subcommand)]
    Request(Request),
    /// Access that was granted
    #[command(subcommand)]
    Grant(Grant),
    /// Identities that may do nothing
    #[command(subcommand)]
    Identity(IdentityVerb),
    /// The control plane of this node
    #[command(subcommand)]
    Control(ControlVerb),
    /// Questions about who did what, and proof of the record
    #[command(subcommand)]
    Audit(Audit),
    /// The raw events
    #[command(subcommand)]
    Events(Events),
    /// Captured sessions as load
    #[command(subcommand)]
    Loadtest(Loadtest),
    /// The config file
    #[command(subcommand)]
    Config(Config),
    /// Policies: check, try and explain them
    #[command(subcommand)]
    Policy(Policy),
    /// Statements that wait for a reviewer
    #[command(subcommand)]
    Review(Review),
    /// Tokens of the development issuer
    #[command(subcommand)]
    Token(Token),
    /// API keys, for programs that cannot get tokens yet
    #[command(subcommand)]
    Key(Key),
    /// Private keys of this node, wrapped by a key management service (the config says which, in kms)
    #[command(subcommand)]
    Kms(Kms),
    /// Ways past the gate, and rights that are too large, looked for in a resource's database
    Doctor {
        /// The resource; without it all
        #[arg(long)]
        resource: Option<String>,
        /// Look as this role, which may read more than the gate's
        #[arg(long = "as", value_name = "ROLE")]
        examiner: Option<String>,
        /// File with that role's password
        #[arg(long, value_name = "FILE", requires = "examiner")]
        password_file: Option<PathBuf>,
        /// A role that is meant to log in past the gate; again for more
        #[arg(long = "expect", value_name = "ROLE")]
        expected: Vec<String>,
    },
    /// Version of program and formats
    Version,
}

mod access;
mod custody;
mod key;
mod review;

pub use access::{At, ControlVerb, Grant, IdentityVerb, Request};
pub use custody::{Believed, Hold, HoldSelection, Retain, Signing};
pub use key::{Key, NewKey};
pub use review::{Answer, Review};

/// Verbs of `session`.
#[derive(Debug, Subcommand)]
pub enum Session {
    /// List sessions, latest first
    Ls {
        /// Only those of this subject or name
        #[arg(long)]
        identity: Option<String>,
        /// Only those on this database
        #[arg(long)]
        resource: Option<String>,
        /// Only those that have not ended
        #[arg(long)]
        open: bool,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// One session: who, where, when, how it ended
    Show { session: SessionId },
    /// What happened in a session, as its client saw it
    Play {
        session: SessionId,
        /// With the session's own pauses, this many times as fast; without it all at once
        #[arg(long)]
        speed: Option<f64>,
        /// Rows of each result
        #[arg(long, default_value_t = 10)]
        rows: usize,
    },
    /// End a running session at once, wherever it runs; for operators
    Kill {
        #[command(flatten)]
        at: At,
        session: SessionId,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Write sessions for others to read; with --bundle, so that they can be proved
    Export {
        /// The sessions; they go into one file, in this order
        #[arg(required = true, num_args = 1..)]
        sessions: Vec<SessionId>,
        #[command(flatten)]
        destination: Destination,
    },
}

/// The form and the place of an export.
#[derive(Debug, Args)]
pub struct Destination {
    /// jsonl or avro: all events; csv, parquet or ocsf: the statements
    #[arg(long, default_value = "jsonl")]
    pub format: recorder::export::Format,
    /// The file; without it standard output
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Write an evidence bundle, which is proved without Postern and without the archive
    #[arg(long, value_name = "FILE.zip", conflicts_with_all = ["format", "to"])]
    pub bundle: Option<PathBuf>,
    /// The folder: a file for each session, and sessions.jsonl, which lists them. Run again, it goes on where it ended
    #[arg(long, value_name = "DIR", conflicts_with_all = ["to", "bundle"])]
    pub into: Option<PathBuf>,
    /// With --into: an evidence bundle for each session
    #[arg(long, requires = "into", conflicts_with = "format")]
    pub bundles: bool,
}

/// Verbs of `audit`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Search: 'who read card_number', 'identity:billing-bot verdict:deny', or words of a statement
    Search {
        #[command(flatten)]
        asked: Asked,
        /// At most this many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Write every session in which something is found, as `session export` does; with --bundle, so that it can be proved
    Export {
        #[command(flatten)]
        asked: Asked,
        #[command(flatten)]
        destination: Destination,
    },
    /// Verify the archive: signatures, checkpoints, chains, roots, dense sequences, one end for each session
    Verify(AuditVerify),
    /// Print the token of a value that standard input holds: 'token:tok_...' finds the statements that named it
    Token,
    /// Print what a file of keys must say for this node's signatures to count
    Key,
    /// Print the last checkpoint of the archive, to be kept elsewhere
    Checkpoint,
    /// Legal holds: what is kept for a case, whatever the rules of retention say
    #[command(subcommand)]
    Hold(Hold),
    /// Dispose of what the rules of retention let go: [[archive.retention]] of the config
    Retain(Retain),
    /// List the custody log: what was held, and what was disposed of
    Custody(Believed),
}

/// A question to the index.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// The question: 'who read card_number'
    #[arg(required = true, num_args = 1..)]
    pub question: Vec<String>,
    /// Only statements at or after this day or time (UTC), or this long ago (90m, 24h, 7d)
    #[arg(long)]
    pub since: Option<String>,
    /// Only statements before this time, likewise
    #[arg(long)]
    pub until: Option<String>,
}

/// What `audit verify` is told.
#[derive(Debug, clap::Args)]
pub struct AuditVerify {
    /// File that says whose keys count, as `postern audit key` prints it on each node
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// A checkpoint that was kept elsewhere: the archive must have it
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Address of a witness: the archive must have the last checkpoint that it keeps
    #[arg(long, value_name = "URL")]
    pub witness: Option<String>,
    /// File with the bearer token that the witness asks for
    #[arg(long, value_name = "FILE", requires = "witness")]
    pub witness_token_file: Option<PathBuf>,
    /// The certificate authorities that vouch for the witness, PEM; without it those of the web
    #[arg(long, value_name = "FILE", requires = "witness")]
    pub witness_ca: Option<PathBuf>,
    /// Only this partition
    #[arg(long)]
    pub partition: Option<u32>,
    /// Only from this offset on
    #[arg(long, requires = "partition")]
    pub from: Option<u64>,
    /// Only up to this offset
    #[arg(long, requires = "partition")]
    pub to: Option<u64>,
}

/// Verbs of `events`.
#[derive(Debug, Subcommand)]
pub enum Events {
    /// Print events as they are archived
    Tail {
        /// Begin with the first event of the archive, not with the next that comes
        #[arg(long)]
        from_start: bool,
        /// End when everything that is there was printed
        #[arg(long)]
        no_follow: bool,
    },
}

/// Verbs of `kms`.
#[derive(Debug, Subcommand)]
pub enum Kms {
    /// Wrap a key: the file that is made can stand in the place of the key's own
    Wrap {
        /// The key, in a file that is open to its owner alone
        #[arg(long = "in", value_name = "FILE")]
        from: PathBuf,
        /// The file to make
        #[arg(long = "out", value_name = "FILE")]
        to: PathBuf,
    },
}

/// Verbs of `loadtest`.
#[derive(Debug, Subcommand)]
pub enum Loadtest {
    /// Send a captured session's client frames again and compare the answers
    Replay {
        /// The captured session
        #[arg(long)]
        session: SessionId,
        /// Where to: host:port, a gate or PostgreSQL itself
        #[arg(long)]
        target: String,
        /// 1 as recorded, 10 ten times as fast, 0 without pauses
        #[arg(long, default_value_t = 1.0)]
        speed: f64,
        /// User name at the target; without it the recorded one
        #[arg(long)]
        user: Option<String>,
        /// Database at the target; without it the recorded one
        #[arg(long)]
        database: Option<String>,
        /// File with the password, or the token
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// The target is PostgreSQL itself: denied statements are skipped, masked rows may differ
        #[arg(long)]
        direct: bool,
        /// Authorities that vouch for the target; without it this node's development certificate
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// Connect without TLS
        #[arg(long)]
        plaintext: bool,
    },
}

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Check the config and tell all that is wrong with it
    Check,
    /// Print a config file with every key, its default and what it does
    Example,
}

/// Verbs of `policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Check policies against the schema: those of the config's resources, or the files that are named
    Validate {
        /// Files in Cedar's language, or folders of them
        files: Vec<PathBuf>,
        /// Only those of this resource
        #[arg(long, conflicts_with = "files")]
        resource: Option<String>,
    },
    /// Run table tests
    Test {
        /// Files of tests, or folders of them (*.test.toml)
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Under the policies and the live catalog of this resource, in the place of what the files say
        #[arg(long)]
        resource: Option<String>,
    },
    /// Say what would become of a statement, and which policies decide it
    Explain {
        /// The statement
        sql: String,
        /// Under the policies and the live catalog of this resource
        #[arg(long, required_unless_present = "tables")]
        resource: Option<String>,
        /// Under the policies and tables of this file of tests
        #[arg(long, value_name = "FILE", conflicts_with = "resource")]
        tables: Option<PathBuf>,
        /// Who sends it
        #[command(flatten)]
        who: Who,
    },
    /// Print the guardrails that ship
    Guardrails,
    /// Print the schema that policies are checked against
    Schema,
}

/// Who sends a statement, and when.
#[derive(Debug, Args)]
pub struct Who {
    /// A group of the identity; again for more
    #[arg(long = "group")]
    pub groups: Vec<String>,
    /// Its subject
    #[arg(long, default_value = "agent")]
    pub subject: String,
    /// It is a person, not a program
    #[arg(long)]
    pub human: bool,
    /// The session's application name
    #[arg(long, default_value = "")]
    pub application_name: String,
    /// When, as RFC 3339; without it now
    #[arg(long)]
    pub at: Option<String>,
    /// A reviewer agreed
    #[arg(long)]
    pub approved: bool,
    /// The planner's estimate of its rows; without it, it was not asked
    #[arg(long)]
    pub estimated_rows: Option<i64>,
    /// The planner's estimate of its cost
    #[arg(long)]
    pub estimated_cost: Option<i64>,
    /// The schemas of the search path
    #[arg(long, default_value = "public", value_delimiter = ',')]
    pub search_path: Vec<String>,
}

/// Verbs of `token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Mint a token of the development issuer
    Mint {
        /// Who it is for
        #[arg(long)]
        subject: String,
        /// A group; again for more
        #[arg(long = "group")]
        groups: Vec<String>,
        /// On behalf of whom; again for a chain, the nearest first
        #[arg(long = "actor")]
        actors: Vec<String>,
        /// The task that it works on
        #[arg(long)]
        task: Option<String>,
        /// It stands for a person, not a program
        #[arg(long)]
        human: bool,
        /// How long it is valid: 90s, 15m, 8h
        #[arg(long, default_value = "1h", value_parser = duration)]
        ttl: Duration,
    },
}

/// Reads `90s`, `15m`, `8h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 90s, 15m, 8h or 7d");
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("8h", 28_800), ("7d", 604_800)] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds);
        }
        for text in ["", "1", "h", "-1h", "1w", "é", "99999999999999999999s", "999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
