//! The custody of the archive: `postern audit hold`, `postern audit retain`.

use clap::{Args, Subcommand, ValueEnum};
use schemas::SessionId;
use schemas::event::IdentityKind;
use std::path::PathBuf;

/// Verbs of `audit hold`.
#[derive(Debug, Subcommand)]
pub enum Hold {
    /// Keep what is meant, now and later, until the case is released; for a case that is placed already, keep this too
    Place {
        /// The case's name
        case: String,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        selection: HoldSelection,
        #[command(flatten)]
        signing: Signing,
        #[command(flatten)]
        believed: Believed,
    },
    /// Keep nothing for a case any more
    Release {
        /// The case's name
        case: String,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        signing: Signing,
        #[command(flatten)]
        believed: Believed,
    },
    /// List the holds that are in force
    Ls {
        #[command(flatten)]
        believed: Believed,
    },
}

/// What a hold keeps: sessions that meet every condition that is given.
#[derive(Debug, Args)]
pub struct HoldSelection {
    /// This session; again for more
    #[arg(long = "session", value_name = "SESSION")]
    pub sessions: Vec<SessionId>,
    /// Sessions of this subject or name, or on behalf of it; again for more
    #[arg(long = "subject", value_name = "SUBJECT")]
    pub subjects: Vec<String>,
    /// Sessions of people, or of programs
    #[arg(long, value_enum)]
    pub kind: Option<Kind>,
    /// Sessions of an identity in this group; again for more
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Sessions of identities of this issuer; again for more
    #[arg(long = "issuer", value_name = "ISSUER")]
    pub issuers: Vec<String>,
    /// Sessions on this resource; again for more
    #[arg(long = "resource", value_name = "RESOURCE")]
    pub resources: Vec<String>,
    /// Sessions that ended at or after this time (RFC 3339), or run
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Sessions that began before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Everything
    #[arg(long)]
    pub everything: bool,
}

/// A kind of identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// People.
    Human,
    /// Programs.
    Machine,
}

impl From<Kind> for IdentityKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Human => Self::Human,
            Kind::Machine => Self::Machine,
        }
    }
}

/// Who stands for an entry of the custody log.
#[derive(Debug, Args)]
pub struct Signing {
    /// Who does it; without it the user of this machine
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// Whose entries and checkpoints count.
#[derive(Debug, Args)]
pub struct Believed {
    /// File that says whose checkpoints and custody entries count, as `postern audit key` prints it on each node; without it
    /// those of this node alone
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// A checkpoint that was kept elsewhere: the archive must have it
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
}

/// `audit retain`.
#[derive(Debug, Args)]
pub struct Retain {
    /// Say what would be disposed of, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub believed: Believed,
    #[command(flatten)]
    pub signing: Signing,
}
