//! One POST to a receiver, and what its answer means: taken, to be tried again, or never.
//!
//! The client blocks, so that each attempt has a thread of its own, which ends with the attempt; how many there are at
//! once is the caller's to bound. Nothing of the address, which may be a secret, stands in what is said of a failure.

use super::config::{Place, Webhook, check_url};
use super::sign::{Key, MIN_SECRET_BYTES, SIGNATURE, TIMESTAMP};
use kit::{Secret, SecretError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The header with the id of a message: `<webhook>/<hold or request>`, the same in every attempt.
pub const DELIVERY: &str = "postern-delivery";
/// The header with the number of the attempt, from 1.
pub const ATTEMPT: &str = "postern-attempt";

/// A webhook cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// One of its secrets cannot be read.
    #[error("preparing the webhook {name:?}")]
    Secret {
        /// Which webhook.
        name: String,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// A secret can be guessed.
    #[error("the webhook {name:?}: the secret in {} has less than {MIN_SECRET_BYTES} bytes", path.display())]
    Short {
        /// Which webhook.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// The file with the address holds none.
    #[error("the webhook {name:?}: the address in {} {reason}", path.display())]
    Url {
        /// Which webhook.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of authorities cannot be read.
    #[error("the webhook {name:?}: reading {}", path.display())]
    Authorities {
        /// Which webhook.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds no certificate.
    #[error("the webhook {name:?}: {} holds no PEM certificate", path.display())]
    NoAuthorities {
        /// Which webhook.
        name: String,
        /// The file.
        path: PathBuf,
    },
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) retry: Retry,
    /// In words, without the address.
    pub(super) reason: String,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// The receiver will never take it.
    Never,
    /// After a while.
    Later,
    /// Not before this time is over.
    After(Duration),
}

/// The receiver's answer matters up to here.
const MAX_ANSWER_BYTES: u64 = 64 << 10;
/// No receiver is waited for longer between two attempts.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Sends to one receiver.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    agent: Agent,
    url: Secret<String>,
    token: Option<Secret<String>>,
    key: Key,
    timeout: Duration,
}

/// Reads a key from its file.
pub(super) fn key(name: &str, path: &Path) -> Result<Key, OpenError> {
    let secret = secret(name, path)?;
    Key::new(&secret).ok_or_else(|| OpenError::Short { name: name.to_owned(), path: path.to_owned() })
}

fn secret(name: &str, path: &Path) -> Result<Secret<String>, OpenError> {
    Secret::from_file(path).map_err(|source| OpenError::Secret { name: name.to_owned(), source })
}

impl Sender {
    pub(super) fn open(webhook: &Webhook) -> Result<Self, OpenError> {
        let name = &webhook.name;
        let url = match &webhook.place {
            Place::Url(url) => Secret::new(url.clone()),
            Place::File(path) => {
                let url = secret(name, path)?;
                check_url(url.expose()).map_err(|reason| OpenError::Url {
                    name: name.clone(),
                    path: path.clone(),
                    reason,
                })?;
                url
            }
        };
        let roots = match &webhook.ca_file {
            Some(path) => RootCerts::from(authorities(name, path)?),
            None => RootCerts::WebPki,
        };
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(webhook.timeout))
            .max_idle_connections(0)
            // no proxy from the environment: what is trusted is in the config alone
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")))
            .build();
        let token = webhook.token_file.as_deref().map(|path| secret(name, path)).transpose()?;
        let key = key(name, &webhook.secret_file)?;
        Ok(Self { agent: config.into(), url, token, key, timeout: webhook.timeout })
    }

    /// Sends a message, signed at this second.
    pub(super) async fn send(&self, body: Vec<u8>, id: String, attempt: u32, now: i64) -> Result<(), Failure> {
        let sender = self.clone();
        apart(move || {
            let mut request = sender
                .agent
                .post(sender.url.expose())
                .content_type(JSON)
                .header(TIMESTAMP, now.to_string())
                .header(SIGNATURE, sender.key.sign(now, &body))
                .header(DELIVERY, &id)
                .header(ATTEMPT, attempt.to_string());
            if let Some(token) = &sender.token {
                request = request.header("authorization", format!("Bearer {}", token.expose()));
            }
            sender.outcome(request.send(&body))
        })
        .await
    }

    /// Sends an outcome to the address that came with an answer.
    pub(super) async fn respond(&self, url: String, body: Vec<u8>) -> Result<(), Failure> {
        let sender = self.clone();
        apart(move || sender.outcome(sender.agent.post(&url).content_type(JSON).send(&body))).await
    }

    fn outcome(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(), Failure> {
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(Failure { retry: Retry::Later, reason: self.described(&error) }),
        };
        let status = answer.status().as_u16();
        let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()).and_then(retry_after);
        let later = after.map_or(Retry::Later, Retry::After);
        let reason = format!("the receiver answered with status {status}");
        match status {
            200..=299 => {
                let text = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
                said(text.as_deref().unwrap_or_default(), later)
            }
            408 | 429 | 500.. => Err(Failure { retry: later, reason }),
            _ => Err(Failure { retry: Retry::Never, reason }),
        }
    }

    /// The library's own words may name the address.
    fn described(&self, error: &ureq::Error) -> String {
        match error {
            ureq::Error::Timeout(_) => format!("the receiver did not answer within {} s", self.timeout.as_secs()),
            ureq::Error::HostNotFound => "the receiver's name is not known".to_owned(),
            ureq::Error::Io(error) => format!("the connection failed: {}", error.kind()),
            ureq::Error::ConnectionFailed => "the connection failed".to_owned(),
            ureq::Error::Tls(reason) => format!("TLS failed: {reason}"),
            ureq::Error::Rustls(error) => format!("TLS failed: {error}"),
            _ => "the request failed".to_owned(),
        }
    }
}

/// Slack's methods answer with status 200 and `{"ok": false, "error": "..."}`.
fn said(text: &str, later: Retry) -> Result<(), Failure> {
    let answer: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    if answer.get("ok").and_then(serde_json::Value::as_bool) != Some(false) {
        return Ok(());
    }
    let error = answer.get("error").and_then(serde_json::Value::as_str).unwrap_or_default();
    let known: String = error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
    let passing = ["ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable"];
    let retry = if passing.contains(&known.as_str()) { later } else { Retry::Never };
    Err(Failure { retry, reason: format!("the receiver said: {known}") })
}

/// Seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    const DATE: &[BorrowedFormatItem<'static>] =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let seconds = match text.trim().parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = time::PrimitiveDateTime::parse(text.trim(), DATE).ok()?.assume_utc();
            u64::try_from((date - OffsetDateTime::now_utc()).whole_seconds()).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// Runs what blocks on a thread of its own. One that is not waited for any more ends by its timeout.
async fn apart(work: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> Result<(), Failure> {
    let (sender, done) = tokio::sync::oneshot::channel();
    let body = move || {
        // who waited may be gone with the shutdown
        drop(sender.send(work()));
    };
    let later = |reason: String| Failure { retry: Retry::Later, reason };
    let thread = std::thread::Builder::new().name("webhook".to_owned()).spawn(body);
    thread.map_err(|error| later(format!("no thread for the attempt: {}", error.kind())))?;
    done.await.unwrap_or_else(|_| Err(later("the attempt broke off".to_owned())))
}

fn authorities(name: &str, path: &Path) -> Result<Vec<Certificate<'static>>, OpenError> {
    let unread = |source| OpenError::Authorities { name: name.to_owned(), path: path.to_owned(), source };
    let pem = std::fs::read(path).map_err(unread)?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let found: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    if found.is_empty() {
        return Err(OpenError::NoAuthorities { name: name.to_owned(), path: path.to_owned() });
    }
    Ok(found)
}

const JSON: &str = "application/json; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_says_when_to_come_back() {
        assert_eq!(retry_after(" 30 "), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("Sat, 06 Nov 2094 08:49:37 GMT"), Some(MAX_RETRY_AFTER));
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn slacks_methods_say_no_with_status_200() {
        assert_eq!(said("ok", Retry::Later), Ok(()));
        assert_eq!(said(r#"{"ok": true}"#, Retry::Later), Ok(()));
        let failed = |text: &str| said(text, Retry::Later).unwrap_err();
        assert_eq!(failed(r#"{"ok": false, "error": "channel_not_found"}"#).retry, Retry::Never);
        assert_eq!(
            failed(r#"{"ok": false, "error": "channel_not_found"}"#).reason,
            "the receiver said: channel_not_found"
        );
        assert_eq!(failed(r#"{"ok": false, "error": "ratelimited"}"#).retry, Retry::Later);
        assert_eq!(failed(r#"{"ok": false, "error": "<b>\n"}"#).reason, "the receiver said: b");
    }
}
