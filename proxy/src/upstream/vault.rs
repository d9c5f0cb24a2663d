//! Logins of Vault's database engine, over HTTP.
//!
//! `database/creds/ROLE` makes a new user with an end, whose lease is renewed when two thirds of it are over, until Vault gives
//! no more; then a new one is had. `database/static-creds/ROLE` is one user whose password Vault rotates. Every login looks
//! here, so that nothing needs a restart; a login that the database refuses is had anew once.

use super::credential::{Error, Login};
use kit::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Longest wait for Vault.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer.
const MAX_ANSWER: u64 = 64 << 10;

/// A static role's password is asked for again after this time at the latest.
const LONGEST: Duration = Duration::from_secs(3600);

/// A lease that is renewed to less than this is at its end.
const SHORTEST: Duration = Duration::from_secs(10);

/// A `vault` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where Vault is, such as `https://vault.internal:8200`; `http` only on this machine.
    pub address: String,
    /// The role of the database engine.
    pub role: String,
    /// Where the engine is mounted. _Default:_ `database`.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// It is a static role: one user, whose password Vault rotates. For leased roles it must be: what a user made, only that
    /// user can drop. _Default:_ false.
    #[serde(default)]
    pub static_role: bool,
    /// File with the token, as Vault's agent keeps it; read again for each request.
    pub token_file: PathBuf,
    /// Vault's namespace. _Default:_ none.
    pub namespace: Option<String>,
    /// PEM file with the authorities that vouch for Vault. _Default:_ those of the web.
    pub ca_file: Option<PathBuf>,
}

fn default_mount() -> String {
    "database".to_owned()
}

/// A login that Vault gave.
#[derive(Clone)]
struct Given {
    user: String,
    password: Arc<Secret<String>>,
    lease: Option<String>,
    /// When it was had or renewed.
    at: Instant,
    lasts: Duration,
}

/// Where logins come from.
pub struct Source {
    file: File,
    agent: ureq::Agent,
    given: Mutex<Option<Given>>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("address", &self.file.address).field("role", &self.file.role).finish()
    }
}

impl Source {
    /// Checks the section.
    pub(super) fn new(file: File) -> Result<Self, String> {
        let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        let after = |prefix: &&str| {
            file.address.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        };
        if !file.address.starts_with("https://") && !local.iter().any(after) {
            return Err("vault.address: must be https, or http on this machine: the token crosses it".to_owned());
        }
        let named =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        if !named(&file.role) || !named(&file.mount) {
            return Err("vault: role and mount are letters, digits, `-`, `_`, `.`, `/`".to_owned());
        }
        let roots = match &file.ca_file {
            Some(path) => {
                use ureq::tls::{PemItem, RootCerts, parse_pem};
                let text = std::fs::read(path).map_err(|error| format!("vault.ca_file: {error}"))?;
                let found: Vec<_> = parse_pem(&text)
                    .filter_map(|item| match item {
                        Ok(PemItem::Certificate(certificate)) => Some(certificate),
                        _ => None,
                    })
                    .collect();
                if found.is_empty() {
                    return Err("vault.ca_file: has no PEM certificate".to_owned());
                }
                RootCerts::from(found)
            }
            None => ureq::tls::RootCerts::WebPki,
        };
        let config = ureq::Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .tls_config(ureq::tls::TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(Self { file, agent: config.into(), given: Mutex::new(None) })
    }

    /// A login that is good now.
    pub(super) async fn login(self: &Arc<Self>) -> Result<Login, Error> {
        let known = self.given.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let given = match known {
            Some(given) if given.at.elapsed() < given.lasts * 2 / 3 => given,
            known => {
                let source = self.clone();
                // its HTTP client blocks
                let asked = tokio::task::spawn_blocking(move || source.fetch(known));
                let fresh = asked.await.map_err(|_| Error::Vault("the request broke down".to_owned()))??;
                *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
                fresh
            }
        };
        Ok(Login { user: given.user, password: Some(given.password) })
    }

    /// The database refused it.
    pub(super) fn forget(&self) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn fetch(&self, known: Option<Given>) -> Result<Given, Error> {
        if let Some((given, lease)) = known.and_then(|given| Some((given.clone(), given.lease?))) {
            let renewed = self.ask("sys/leases/renew", Some(&json!({ "lease_id": lease })));
            let lasts = renewed.ok().and_then(|answer| answer.get("lease_duration")?.as_u64()).map(Duration::from_secs);
            if let Some(lasts) = lasts.filter(|lasts| *lasts >= SHORTEST) {
                return Ok(Given { at: Instant::now(), lasts, ..given });
            }
            tracing::info!(role = %self.file.role, "a login of vault is at its end, a new one is had");
        }
        let kind = if self.file.static_role { "static-creds" } else { "creds" };
        let answer = self.ask(&format!("{}/{kind}/{}", self.file.mount, self.file.role), None)?;
        let text =
            |name: &str| answer.get("data")?.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let (Some(user), Some(password)) = (text("username"), text("password")) else {
            return Err(Error::Vault("its answer has no username and password".to_owned()));
        };
        let seconds = answer.pointer(if self.file.static_role { "/data/ttl" } else { "/lease_duration" });
        let lasts = seconds.and_then(Value::as_u64).map_or(LONGEST, Duration::from_secs).min(LONGEST);
        let renewable = answer.get("renewable").and_then(Value::as_bool) == Some(true);
        let lease =
            answer.get("lease_id").and_then(Value::as_str).filter(|id| renewable && !id.is_empty()).map(str::to_owned);
        Ok(Given { user, password: Arc::new(Secret::new(password)), lease, at: Instant::now(), lasts })
    }

    fn ask(&self, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let failed = |error: ureq::Error| Error::Vault(error.to_string());
        let token = Secret::from_file(&self.file.token_file).map_err(Error::File)?;
        let url = format!("{}/v1/{path}", self.file.address.trim_end_matches('/'));
        let namespace = self.file.namespace.as_deref();
        let mut answer = match body {
            None => {
                let mut request = self.agent.get(&url).header("X-Vault-Token", token.expose());
                if let Some(namespace) = namespace {
                    request = request.header("X-Vault-Namespace", namespace);
                }
                request.call().map_err(failed)?
            }
            Some(body) => {
                let mut request = self.agent.put(&url).header("X-Vault-Token", token.expose());
                if let Some(namespace) = namespace {
                    request = request.header("X-Vault-Namespace", namespace);
                }
                request.header("Content-Type", "application/json").send(body.to_string()).map_err(failed)?
            }
        };
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(Error::Vault(format!("it answered with status {status} for {path}")));
        }
        let text = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string().map_err(failed)?;
        serde_json::from_str(&text).map_err(|_| Error::Vault("its answer is no JSON".to_owned()))
    }
}
