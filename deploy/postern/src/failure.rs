//! How a command ends when it does not end well: what is printed, and which status.

use kit::config::Problems;
use std::process::ExitCode;

/// Why a command failed. The status is part of the interface: scripts and CI tell the cases apart by it.
#[derive(Debug)]
pub enum Failure {
    /// Status 1: it was tried and did not work.
    Failed(anyhow::Error),
    /// Status 3: the config is wrong; nothing was started.
    Config(Problems),
    /// Status 4: what was asked for is not there.
    NotFound(String),
    /// Status 5: it was checked and does not hold (verification, replayed answers).
    Unsound(String),
}

impl Failure {
    /// Prints it on standard error and gives the status.
    pub fn report(&self) -> ExitCode {
        let (status, text) = match self {
            // Every cause in one line, without a backtrace: the reader is an operator.
            Self::Failed(error) => (1, format!("{error:#}")),
            Self::Config(problems) => (3, problems.to_string()),
            Self::NotFound(text) => (4, text.clone()),
            Self::Unsound(text) => (5, text.clone()),
        };
        for line in text.lines() {
            eprintln!("postern: {line}");
        }
        ExitCode::from(status)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What `--help` says of the statuses.
pub const STATUSES: &str = "\
Status: 0 it worked; 1 it failed; 2 the command line is wrong; 3 the config is wrong; 4 what was asked for is not there;
        5 it was checked and does not hold (audit verify, loadtest replay, policy validate and test,
        doctor).";
