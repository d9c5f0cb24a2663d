//! One witness, over HTTP. Every call blocks for at most the time that the settings give a request.

use super::Settings;
use kit::{Secret, SecretError, http};
use serde::Deserialize;
use std::path::PathBuf;

/// A checkpoint, or what is said of one.
const ENVELOPE: &str = "application/vnd.dsse+json";

/// Largest answer: of a checkpoint.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Why a witness did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of certificate authorities cannot be used.
    #[error("preparing the client of the witness")]
    Authorities(#[source] http::Error),
    /// The token cannot be read.
    #[error("reading the token of the witness")]
    Token(#[source] SecretError),
    /// The request failed.
    #[error("asking the witness: {0}")]
    Request(String),
    /// It refused.
    #[error("the witness answered with status {status}: {said}")]
    Status {
        /// The status.
        status: u16,
        /// What it said, or the beginning of it.
        said: String,
    },
    /// It answered something else than what was asked for.
    #[error("the answer of the witness cannot be read: {0}")]
    Answer(String),
}

/// What became of a checkpoint that was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// The witness keeps it now.
    Kept,
    /// It had it already, byte for byte.
    Known,
    /// It has another one of this number, or this one does not lead on from its last: what it said.
    Refused(String),
}

#[derive(Deserialize)]
struct Last {
    number: u64,
}

/// Speaks to a witness. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
    token_file: Option<PathBuf>,
}

impl Client {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// [`Error::Authorities`].
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let agent = http::agent(settings.ca_file.as_deref(), settings.timeout).map_err(Error::Authorities)?;
        Ok(Self { agent, url: settings.url.clone(), token_file: settings.token_file.clone() })
    }

    /// The number of the last checkpoint that it keeps; `None` where it has none. Blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn last(&self) -> Result<Option<u64>, Error> {
        let Some(body) = self.get("/checkpoint")? else { return Ok(None) };
        let last: Last = serde_json::from_slice(&body).map_err(|error| Error::Answer(error.to_string()))?;
        Ok(Some(last.number))
    }

    /// A checkpoint that it keeps, byte for byte; `None` where it has none of this number. Blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn checkpoint(&self, number: u64) -> Result<Option<Vec<u8>>, Error> {
        self.get(&format!("/checkpoint/{number}"))
    }

    /// Hands over a checkpoint. Blocks.
    ///
    /// # Errors
    /// [`Error`]; whether it was taken is then not known, and it may be handed over again.
    pub fn put(&self, number: u64, bytes: &[u8]) -> Result<Put, Error> {
        let mut request = self.agent.put(format!("{}/checkpoint/{number}", self.url)).content_type(ENVELOPE);
        if let Some(token) = self.token()? {
            request = request.header("authorization", token.expose());
        }
        let (status, body) = answered(request.send(bytes))?;
        match status {
            201 => Ok(Put::Kept),
            200 => Ok(Put::Known),
            // of another form, by a key that it does not know, or not leading on: no later try is another
            400 | 403 | 409 => Ok(Put::Refused(said(&body))),
            _ => Err(Error::Status { status, said: said(&body) }),
        }
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(token) = self.token()? {
            request = request.header("authorization", token.expose());
        }
        let (status, body) = answered(request.call())?;
        match status {
            200 => Ok(Some(body)),
            404 => Ok(None),
            _ => Err(Error::Status { status, said: said(&body) }),
        }
    }

    fn token(&self) -> Result<Option<Secret<String>>, Error> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let token = Secret::from_file(path).map_err(Error::Token)?;
        Ok(Some(Secret::new(format!("Bearer {}", token.expose()))))
    }
}

type Answered = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

fn answered(answer: Answered) -> Result<(u16, Vec<u8>), Error> {
    let failed = |error: ureq::Error| Error::Request(http::described(&error));
    let mut answer = answer.map_err(failed)?;
    let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(failed)?;
    Ok((answer.status().as_u16(), body))
}

fn said(body: &[u8]) -> String {
    http::plain(&String::from_utf8_lossy(body))
}
