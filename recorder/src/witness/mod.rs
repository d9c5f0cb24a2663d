//! An external witness: somebody else who keeps the checkpoints, so that nobody who holds the archive and its keys can cut
//! the archive off, or write another one, unseen.
//!
//! ```text
//! PUT url/checkpoint/NUMBER   the envelope, byte for byte    201 it keeps it    200 it had it    409 it has another one,
//!                                                            or this one does not lead on from its last
//! GET url/checkpoint          {"number":N} of its last       404 it has none
//! GET url/checkpoint/NUMBER   the envelope
//! ```
//!
//! [`Client`] speaks it, [`tell`] hands over what the archive has. `deploy/verify/postern-witness` is a witness that anybody
//! can run. Nothing of what it has is remembered here: it is asked, and gets what is missing, in order. It is never in the way
//! of the recording.

mod client;
mod teller;

pub use client::{Client, Error, Put};
pub(crate) use teller::tell;

use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Section `[archive.witness]`. None of it can change while running.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Where the witness is, such as `https://witness.example.org`. _Default:_ none.
    pub url: Option<String>,
    /// File with the bearer token that it asks for; read again for each request. _Default:_ none.
    pub token_file: Option<PathBuf>,
    /// The certificate authorities that vouch for it, PEM. _Default:_ those of the web (webpki-roots).
    pub ca_file: Option<PathBuf>,
    /// Seconds that it has for an answer. What it does not take is sent again. 1 to 600. _Default:_ 10.
    pub request_timeout_seconds: u64,
    /// Lets the address be `http://` beyond this machine: who is in between can read the token. _Default:_ false.
    pub allow_http: bool,
}

impl Default for File {
    fn default() -> Self {
        Self { url: None, token_file: None, ca_file: None, request_timeout_seconds: 10, allow_http: false }
    }
}

/// Where a witness is, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// See [`File::url`]; without a slash at its end.
    pub url: String,
    /// See [`File::token_file`].
    pub token_file: Option<PathBuf>,
    /// See [`File::ca_file`].
    pub ca_file: Option<PathBuf>,
    /// See [`File::request_timeout_seconds`].
    pub timeout: Duration,
}

const MAX_TIMEOUT_SECONDS: u64 = 600;

impl File {
    /// Parses the section. `None`: there is no witness.
    pub(crate) fn check(self, problems: &mut Vec<String>) -> Option<Settings> {
        let before = problems.len();
        if !(1..=MAX_TIMEOUT_SECONDS).contains(&self.request_timeout_seconds) {
            problems.push("archive.witness.request_timeout_seconds: must be 1 to 600".to_owned());
        }
        let Some(url) = self.url else {
            if self.token_file.is_some() || self.ca_file.is_some() || self.allow_http {
                problems.push("archive.witness.url: must be set, where other keys of it are".to_owned());
            }
            return None;
        };
        if let Err(problem) = kit::http::check_url(&url, self.allow_http) {
            problems.push(format!("archive.witness.url: {problem}"));
        }
        let timeout = Duration::from_secs(self.request_timeout_seconds);
        let url = url.trim_end_matches('/').to_owned();
        let settings = Settings { url, token_file: self.token_file, ca_file: self.ca_file, timeout };
        (problems.len() == before).then_some(settings)
    }
}

#[cfg(test)]
mod tests;
