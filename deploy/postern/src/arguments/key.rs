//! `postern key`.

use super::{At, duration};
use clap::{Args, Subcommand};
use std::time::Duration;

/// Verbs of `key`; for operators.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Issue a key, and show it this once
    Create {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        new: NewKey,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
        /// Into the file of this node instead, which the other nodes do not know
        #[arg(long)]
        file: bool,
    },
    /// List keys, revoked and expired ones too
    Ls {
        #[command(flatten)]
        at: At,
        /// Those of this node's file instead
        #[arg(long)]
        file: bool,
    },
    /// Revoke a key: it opens nothing from now on, and its sessions end
    Revoke {
        #[command(flatten)]
        at: At,
        /// As postern key ls has it
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
        /// In this node's file instead
        #[arg(long)]
        file: bool,
    },
}

/// What a new key is to be.
#[derive(Debug, Args)]
pub struct NewKey {
    /// Whom it stands for
    #[arg(long)]
    pub subject: String,
    /// A group; again for more
    #[arg(long = "group")]
    pub groups: Vec<String>,
    /// A resource that it opens; again for more; without it all
    #[arg(long = "resource")]
    pub resources: Vec<String>,
    /// It stands for a person, not a program; it may not review all the same
    #[arg(long)]
    pub human: bool,
    /// How long it is good, at most 366d
    #[arg(long, default_value = "90d", value_parser = duration)]
    pub ttl: Duration,
}
