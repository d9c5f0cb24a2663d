//! `postern review`.

use super::At;
use clap::{Args, Subcommand};

/// Verbs of `review`.
#[derive(Debug, Subcommand)]
pub enum Review {
    /// List held statements that wait
    Ls {
        #[command(flatten)]
        at: At,
        /// Those that were answered or ended too
        #[arg(long)]
        all: bool,
    },
    /// Show one: who sent it, its text and values, what it touches, why it waits
    Show {
        #[command(flatten)]
        at: At,
        /// As postern review ls has it, or the notice that its client got
        hold: String,
    },
    /// Let it run, once
    Approve(Answer),
    /// Deny it
    Deny(Answer),
}

/// An answer.
#[derive(Debug, Args)]
pub struct Answer {
    #[command(flatten)]
    pub at: At,
    /// As postern review ls has it
    pub hold: String,
    /// Why, for the client and the record
    #[arg(long, default_value = "")]
    pub reason: String,
    /// What was shown, as postern review show has it; without it, what is shown now
    #[arg(long)]
    pub digest: Option<String>,
}
