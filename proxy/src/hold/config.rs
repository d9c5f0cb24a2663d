//! The `[holds]` section.

use serde::Deserialize;
use std::{num::NonZeroUsize, time::Duration};

/// Longest time that a statement may be held, seconds: a day.
const MAX_SECONDS: u64 = 86_400;

/// The `[holds]` section: statements that wait for a reviewer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Held statements wait for a reviewer; otherwise, and where no control plane is configured, they are denied at once.
    /// _Default:_ true.
    pub enabled: bool,
    /// Seconds after which a held statement is denied. _Default:_ 900.
    pub expires_seconds: u64,
    /// Seconds after which one in an open transaction is denied, and the transaction aborted, since it keeps its locks
    /// meanwhile. _Default:_ 60.
    pub expires_in_transaction_seconds: u64,
    /// Statements that one node holds at once; more are denied. _Default:_ 1000.
    pub max_held: NonZeroUsize,
    /// Of these, statements of one identity: one that asks for much leaves room for others. _Default:_ 100.
    pub max_held_per_identity: NonZeroUsize,
    /// Where reviewers find the console, for the notice that the client gets: `https://postern.example.com`. _Default:_
    /// none; the notice has the command.
    pub console: Option<String>,
}

impl Default for File {
    fn default() -> Self {
        let number = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self {
            enabled: true,
            expires_seconds: 900,
            expires_in_transaction_seconds: 60,
            max_held: number(1000),
            max_held_per_identity: number(100),
            console: None,
        }
    }
}

/// How statements are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// See [`File::expires_seconds`].
    pub expires: Duration,
    /// See [`File::expires_in_transaction_seconds`].
    pub expires_in_transaction: Duration,
    /// See [`File::max_held`].
    pub max_held: NonZeroUsize,
    /// See [`File::max_held_per_identity`].
    pub max_held_per_identity: NonZeroUsize,
    /// See [`File::console`], without a slash at its end.
    pub console: Option<String>,
}

impl File {
    /// Checks the section; none where holds are denials.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(self) -> Result<Option<Settings>, Vec<String>> {
        let mut problems = Vec::new();
        let seconds = [
            ("expires_seconds", self.expires_seconds),
            ("expires_in_transaction_seconds", self.expires_in_transaction_seconds),
        ];
        for (key, seconds) in seconds {
            if !(1..=MAX_SECONDS).contains(&seconds) {
                problems.push(format!("holds.{key} must be 1 to {MAX_SECONDS}"));
            }
        }
        let console = self.console.map(|url| url.trim_end_matches('/').to_owned());
        if console.as_ref().is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            problems.push("holds.console must begin with https:// or http://".to_owned());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(self.enabled.then(|| Settings {
            expires: Duration::from_secs(self.expires_seconds),
            expires_in_transaction: Duration::from_secs(self.expires_in_transaction_seconds),
            max_held: self.max_held,
            max_held_per_identity: self.max_held_per_identity,
            console,
        }))
    }
}
