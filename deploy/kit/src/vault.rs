//! HashiCorp Vault and OpenBao, over HTTP: the part that their engines share. Database logins and keys are asked for with it.
//!
//! The client blocks. The token is read again for each request, as Vault's agent renews it in its file. Nothing that is said of
//! a failure holds a token or an answer's secret.

use crate::http::{self, check_url};
use crate::secret::{Secret, SecretError};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest answer.
const MAX_ANSWER_BYTES: u64 = 256 << 10;

/// Why Vault did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token cannot be read.
    #[error("reading its token")]
    Token(#[source] SecretError),
    /// No answer came.
    #[error("{address}: {reason}")]
    Request {
        /// Where it was asked.
        address: String,
        /// Why.
        reason: String,
    },
    /// It refused.
    #[error("it answered with status {status} for {path}{}", meaning(*.status, .said))]
    Status {
        /// The status.
        status: u16,
        /// What it was asked for.
        path: String,
        /// What it said.
        said: String,
    },
}

/// What an operator does about it, and what it said.
fn meaning(status: u16, said: &str) -> String {
    let known = match status {
        403 => ": the token is no good, or its policies do not allow it",
        404 => ": there is no such mount, key or role",
        503 => ": it is sealed, or being serviced",
        _ => "",
    };
    let said = if said.is_empty() { String::new() } else { format!(" (it said: {said})") };
    format!("{known}{said}")
}

impl Error {
    /// It may work later: Vault is away, sealed, or has too much to do.
    pub fn passes(&self) -> bool {
        match self {
            Self::Token(_) => false,
            Self::Request { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
        }
    }
}

/// Where a Vault is, and as whom it is asked.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    address: String,
    token_file: PathBuf,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<String>,
}

type Answered = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

impl Client {
    /// Checks where it is, and asks nothing yet.
    ///
    /// # Errors
    /// What is wrong, beginning with the key: `address` or `ca_file`.
    pub fn new(
        address: &str,
        token_file: &Path,
        namespace: Option<&str>,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, String> {
        check_url(address, false).map_err(|problem| format!("address: {problem}: a token crosses it"))?;
        let named = |error: http::Error| match error {
            http::Error::Read { source, .. } => format!("ca_file: {source}"),
            http::Error::NoCertificate { .. } => "ca_file: has no PEM certificate".to_owned(),
        };
        let agent = http::agent(ca_file, timeout).map_err(named)?;
        let address = address.trim_end_matches('/').to_owned();
        Ok(Self { agent, address, token_file: token_file.to_owned(), namespace: namespace.map(str::to_owned) })
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What a path below `/v1/` answers, JSON as text. Blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn get(&self, path: &str) -> Result<Secret<String>, Error> {
        let request = self.agent.get(self.url(path));
        self.answer(path, self.headed(request)?.call())
    }

    /// What it answers to this JSON. Blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn put(&self, path: &str, body: &str) -> Result<Secret<String>, Error> {
        let request = self.agent.put(self.url(path)).content_type("application/json");
        self.answer(path, self.headed(request)?.send(body))
    }

    /// As [`Client::put`], with the method that some paths ask for.
    ///
    /// # Errors
    /// [`Error`].
    pub fn post(&self, path: &str, body: &str) -> Result<Secret<String>, Error> {
        let request = self.agent.post(self.url(path)).content_type("application/json");
        self.answer(path, self.headed(request)?.send(body))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.address)
    }

    fn headed<B>(&self, request: ureq::RequestBuilder<B>) -> Result<ureq::RequestBuilder<B>, Error> {
        let token = Secret::from_file(&self.token_file).map_err(Error::Token)?;
        let request = request.header("X-Vault-Token", token.expose()).header("X-Vault-Request", "true");
        Ok(match &self.namespace {
            Some(namespace) => request.header("X-Vault-Namespace", namespace),
            None => request,
        })
    }

    fn answer(&self, path: &str, answer: Answered) -> Result<Secret<String>, Error> {
        let failed =
            |error: ureq::Error| Error::Request { address: self.address.clone(), reason: http::described(&error) };
        let mut answer = answer.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string().map(Secret::new);
        if status != 200 {
            // an answer that is no JSON is a proxy's
            let refusal = text.ok().and_then(|text| serde_json::from_str::<Refusal>(text.expose()).ok());
            let said = http::plain(&refusal.map(|refusal| refusal.errors.join("; ")).unwrap_or_default());
            return Err(Error::Status { status, path: path.to_owned(), said });
        }
        text.map_err(failed)
    }
}

/// Whether this may be a mount, key or role, as a part of a path.
pub fn is_name(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    !text.is_empty() && text.chars().all(known) && !text.split('/').any(|part| part.is_empty() || part == "..")
}
