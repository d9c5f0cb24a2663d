//! Logins of Vault's database engine, over HTTP.
//!
//! `database/creds/ROLE` makes a new user with an end, whose lease is renewed when two thirds of it are over, until Vault gives
//! no more; then a new one is had. `database/static-creds/ROLE` is one user whose password Vault rotates. Every login looks
//! here, so that nothing needs a restart; a login that the database refuses is had anew once.

use super::credential::{Error, Login};
use kit::Secret;
use kit::vault::{self, Client, is_name};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Longest wait for Vault.
const TIMEOUT: Duration = Duration::from_secs(5);

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
    client: Client,
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
        if !is_name(&file.role) || !is_name(&file.mount) {
            return Err("vault: role and mount are letters, digits, `-`, `_`, `.`, `/`".to_owned());
        }
        let (namespace, ca_file) = (file.namespace.as_deref(), file.ca_file.as_deref());
        let client = Client::new(&file.address, &file.token_file, namespace, ca_file, TIMEOUT);
        let client = client.map_err(|problem| format!("vault.{problem}"))?;
        Ok(Self { file, client, given: Mutex::new(None) })
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
        let answer = match body {
            None => self.client.get(path),
            Some(body) => self.client.put(path, &body.to_string()),
        };
        let answer = answer.map_err(|error| match error {
            vault::Error::Token(source) => Error::File(source),
            error => Error::Vault(error.to_string()),
        })?;
        serde_json::from_str(answer.expose()).map_err(|_| Error::Vault("its answer is no JSON".to_owned()))
    }
}
