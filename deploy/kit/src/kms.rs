//! Keys that lie wrapped in their files, and that a key management service unwraps: section `[kms]`.
//!
//! A file of a key holds the key, or the text that the transit engine of HashiCorp Vault or OpenBao made of it, which begins
//! with `vault:v`. [`read_secret`] reads either. What is unwrapped is asked for once, at the start, stays in memory, and is
//! wiped when it is dropped; whoever has the disk, or a backup of it, has no key. Whoever has the running process has it: the
//! service does not sign, it unwraps.

use crate::secret::Secret;
use crate::vault::{self, Client, is_name};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::json;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a wrapped key begins with.
const WRAPPED: &[u8] = b"vault:v";

/// No key, wrapped or not, is larger.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// How long a start waits for a service that is away or sealed, and between two attempts.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_secs(1);

const MAX_TIMEOUT_SECONDS: u64 = 60;

/// Section `[kms]`. None of it can change while running.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Where the service is, such as `https://vault.internal:8200`; `http` only on this machine. _Default:_ none.
    pub address: Option<String>,
    /// Where its transit engine is mounted. _Default:_ `transit`.
    pub mount: String,
    /// The name of the key that wraps ours. _Default:_ none.
    pub key: Option<String>,
    /// File with the token, as Vault's agent keeps it; read again for each request. _Default:_ none.
    pub token_file: Option<PathBuf>,
    /// PEM file with the authorities that vouch for it. _Default:_ those of the web.
    pub ca_file: Option<PathBuf>,
    /// Its namespace. _Default:_ none.
    pub namespace: Option<String>,
    /// Seconds that it has for an answer; a start tries again for 20 seconds. 1 to 60. _Default:_ 5.
    pub request_timeout_seconds: u64,
}

impl Default for File {
    fn default() -> Self {
        Self {
            address: None,
            mount: "transit".to_owned(),
            key: None,
            token_file: None,
            ca_file: None,
            namespace: None,
            request_timeout_seconds: 5,
        }
    }
}

/// Who unwraps keys: a service, or nobody. Clones are cheap.
#[derive(Debug, Clone, Default)]
pub struct Kms(Option<Arc<Service>>);

#[derive(Debug)]
struct Service {
    client: Client,
    mount: String,
    key: String,
    patience: Duration,
}

/// A key could not be read from its file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("reading the key {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the key, which is not wrapped.
    #[error("the key {} is open to others than its owner (chmod 600)", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The file is no key's.
    #[error("{} is larger than 64 KiB, and no key", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is wrapped, and nobody is named who unwraps it.
    #[error("{} is wrapped by a key management service, and there is no section [kms] that names it", path.display())]
    NoKms {
        /// The file.
        path: PathBuf,
    },
    /// The service did not unwrap it.
    #[error("having {} unwrapped by the key management service", path.display())]
    Unwrap {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ServiceError,
    },
}

/// The key management service did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is none.
    #[error("there is no section [kms] that names one")]
    None,
    /// It refused, or cannot be asked.
    #[error("asking it")]
    Vault(#[source] vault::Error),
    /// It answered something else.
    #[error("its answer has no {0}")]
    Answer(&'static str),
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Plaintext {
    plaintext: Secret<String>,
}

#[derive(Deserialize)]
struct Ciphertext {
    ciphertext: String,
}

impl File {
    /// Checks the section. Without `address`, `key` and the rest there is no service.
    ///
    /// # Errors
    /// Every problem at once, each naming its key.
    pub fn check(self) -> Result<Kms, Vec<String>> {
        let mut problems = Vec::new();
        if !(1..=MAX_TIMEOUT_SECONDS).contains(&self.request_timeout_seconds) {
            problems.push("kms.request_timeout_seconds: must be 1 to 60".to_owned());
        }
        if !is_name(&self.mount) {
            problems.push("kms.mount: is letters, digits, `-`, `_`, `.`, `/`".to_owned());
        }
        let timeout = Duration::from_secs(self.request_timeout_seconds);
        let service = match (&self.address, &self.key, &self.token_file) {
            (None, None, None) if self.ca_file.is_none() && self.namespace.is_none() => None,
            (Some(address), Some(key), Some(token_file)) => {
                if !is_name(key) || key.contains('/') {
                    problems.push("kms.key: is letters, digits, `-`, `_`, `.`".to_owned());
                }
                let (namespace, ca_file) = (self.namespace.as_deref(), self.ca_file.as_deref());
                match Client::new(address, token_file, namespace, ca_file, timeout) {
                    Ok(client) => {
                        Some(Service { client, mount: self.mount.clone(), key: key.clone(), patience: PATIENCE })
                    }
                    Err(problem) => {
                        problems.push(format!("kms.{problem}"));
                        None
                    }
                }
            }
            _ => {
                problems.push("kms: address, key and token_file belong together".to_owned());
                None
            }
        };
        if problems.is_empty() { Ok(Kms(service.map(Arc::new))) } else { Err(problems) }
    }
}

impl Kms {
    /// Nobody: what is wrapped cannot be read.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether there is no service.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Wraps a secret: gives the text that [`read_secret`] has unwrapped. Blocks.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn wrap(&self, secret: &Secret<Vec<u8>>) -> Result<String, ServiceError> {
        let service = self.0.as_deref().ok_or(ServiceError::None)?;
        let plaintext = Secret::new(BASE64_STANDARD.encode(secret.expose()));
        let body = Secret::new(json!({ "plaintext": plaintext.expose() }).to_string());
        let answer: Answer<Ciphertext> = service.ask("encrypt", body.expose(), "ciphertext")?;
        let text = answer.data.ciphertext;
        if is_wrapped(text.as_bytes()) { Ok(text) } else { Err(ServiceError::Answer("ciphertext")) }
    }

    /// Unwraps what [`Kms::wrap`] made, or what the service itself did. Blocks; waits for a service that is away or sealed
    /// for 20 seconds.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn unwrap_text(&self, text: &str) -> Result<Secret<Vec<u8>>, ServiceError> {
        let service = self.0.as_deref().ok_or(ServiceError::None)?;
        let answer: Answer<Plaintext> =
            service.ask("decrypt", &json!({ "ciphertext": text }).to_string(), "plaintext")?;
        let decoded = BASE64_STANDARD.decode(answer.data.plaintext.expose());
        decoded.map(Secret::new).map_err(|_| ServiceError::Answer("plaintext in base64"))
    }
}

impl Service {
    fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        verb: &str,
        body: &str,
        what: &'static str,
    ) -> Result<Answer<T>, ServiceError> {
        let path = format!("{}/{verb}/{}", self.mount, self.key);
        let begun = Instant::now();
        let answer = loop {
            match self.client.post(&path, body) {
                Ok(answer) => break answer,
                Err(error) if error.passes() && begun.elapsed() < self.patience => {
                    let reason = told(&error);
                    tracing::warn!(reason, "the key management service does not answer as it should, trying again");
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(ServiceError::Vault(error)),
            }
        };
        // the parser's own words may repeat the answer
        serde_json::from_str(answer.expose()).map_err(|_| ServiceError::Answer(what))
    }
}

fn told(error: &vault::Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}

/// Whether bytes are a wrapped key, not the key itself.
pub fn is_wrapped(bytes: &[u8]) -> bool {
    bytes.starts_with(WRAPPED) && std::str::from_utf8(bytes).is_ok()
}

/// Reads a key from its file: the key itself, byte for byte, in a file that is open to its owner alone; or, from a file that
/// holds a wrapped one, what the service unwraps it to, of whatever length. It is in memory alone, and wiped when it is
/// dropped. Blocks; see [`Kms::unwrap_text`].
///
/// # Errors
/// [`Error`]; none of them shows anything of the key.
pub fn read_secret(path: &Path, kms: &Kms) -> Result<Secret<Vec<u8>>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let open = file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0;
    // more than any key has: a vector that grows leaves copies behind
    let mut bytes = Vec::with_capacity(4 << 10);
    let outcome = file.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes);
    let held = Secret::new(bytes);
    if outcome.map_err(failed)? as u64 > MAX_KEY_BYTES {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    if !is_wrapped(held.expose()) {
        return if open { Err(Error::Open { path: path.to_owned() }) } else { Ok(held) };
    }
    if kms.0.is_none() {
        return Err(Error::NoKms { path: path.to_owned() });
    }
    let text = String::from_utf8_lossy(held.expose());
    kms.unwrap_text(text.trim_end()).map_err(|source| Error::Unwrap { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
