//! The nouns of access: `request`, `grant`, `identity`, `control`.

use super::duration;
use clap::{Args, Subcommand};
use std::time::Duration;

/// Which API, and as whom.
#[derive(Clone, Args)]
pub struct At {
    /// The API of a running node, http(s)://host:port; without it that of the config
    #[arg(long, value_name = "URL", env = "POSTERN_API")]
    pub api: Option<String>,
    /// A token of yours
    #[arg(long, env = "POSTERN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

impl std::fmt::Debug for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("At").field("api", &self.api).finish_non_exhaustive()
    }
}

/// Verbs of `request`.
#[derive(Debug, Subcommand)]
pub enum Request {
    /// Ask for access
    Create {
        #[command(flatten)]
        at: At,
        /// The registered database
        #[arg(long)]
        resource: String,
        /// A role of it
        #[arg(long)]
        role: String,
        /// For how long: 90s, 30m, 8h
        #[arg(long, value_parser = duration)]
        r#for: Duration,
        /// Why
        #[arg(long)]
        reason: String,
        /// In an emergency: at once, for a short time, with an alarm and a review afterwards
        #[arg(long)]
        break_glass: bool,
    },
    /// List requests that you made or may answer
    Ls {
        #[command(flatten)]
        at: At,
        /// Answered and expired ones too
        #[arg(long)]
        all: bool,
    },
    /// One request, whole
    Show {
        #[command(flatten)]
        at: At,
        id: String,
    },
    /// Agree; never to your own
    Approve {
        #[command(flatten)]
        at: At,
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Say no
    Deny {
        #[command(flatten)]
        at: At,
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take your own request back
    Withdraw {
        #[command(flatten)]
        at: At,
        id: String,
    },
}

/// Verbs of `grant`.
#[derive(Debug, Subcommand)]
pub enum Grant {
    /// List grants that you hold or may revoke
    Ls {
        #[command(flatten)]
        at: At,
        /// Ended ones too
        #[arg(long)]
        all: bool,
    },
    /// End a grant and the sessions that rest on it, at once
    Revoke {
        #[command(flatten)]
        at: At,
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let a grant last longer: its holder asks for review, a reviewer extends it at once
    Extend {
        #[command(flatten)]
        at: At,
        id: String,
        /// How long from the approval on: 30m, 8h
        #[arg(long, value_parser = duration)]
        r#for: Duration,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// Verbs of `identity`; for operators.
#[derive(Debug, Subcommand)]
pub enum IdentityVerb {
    /// List disabled identities
    Ls {
        #[command(flatten)]
        at: At,
    },
    /// Disable an identity: its sessions end, and it gets no others
    Disable {
        #[command(flatten)]
        at: At,
        subject: String,
        /// Of this issuer alone; without it whoever vouches for the subject
        #[arg(long)]
        issuer: Option<String>,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Enable it again, with the issuer that it was disabled with
    Enable {
        #[command(flatten)]
        at: At,
        subject: String,
        /// The issuer, as it was disabled
        #[arg(long)]
        issuer: Option<String>,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// Verbs of `control`.
#[derive(Debug, Subcommand)]
pub enum ControlVerb {
    /// Print this node's name and public key, for control.trusted_keys of the others
    Key,
}
