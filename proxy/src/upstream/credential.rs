//! Where the gate's own login comes from: each login asks anew, so that what rotates is taken without a restart.

use super::{rds, vault};
use kit::{Secret, SecretError};
use serde::Deserialize;
use std::{fmt, path::PathBuf, sync::Arc};

/// A `credential` section: one source, or none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CredentialFile {
    /// File with the password, one line; it is read again for each login. _Default:_ none.
    pub password_file: Option<PathBuf>,
    /// Environment variable with the password. _Default:_ none.
    pub environment: Option<String>,
    /// Tokens of AWS RDS. _Default:_ none.
    pub rds: Option<rds::File>,
    /// Logins of Vault's database engine. _Default:_ none.
    pub vault: Option<vault::File>,
}

/// There is no login now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("reading the gate's own credential")]
    File(#[source] SecretError),
    /// No token can be made.
    #[error("making a token of RDS: {0}")]
    Rds(&'static str),
    /// Vault gives none.
    #[error("asking vault for a login: {0}")]
    Vault(String),
}

/// Where a password comes from. Clones are cheap; `Debug` shows no secret.
#[derive(Clone)]
pub enum Credential {
    /// The server trusts the gate's address or socket.
    None,
    /// This one.
    Fixed(Arc<Secret<String>>),
    /// What the file holds when it is needed.
    File(Arc<PathBuf>),
    /// A token, made for each login.
    Rds(Arc<rds::Source>),
    /// Vault's, user and password.
    Vault(Arc<vault::Source>),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Fixed(_) => "Fixed(..)",
            Self::File(_) => "File(..)",
            Self::Rds(_) => "Rds(..)",
            Self::Vault(_) => "Vault(..)",
        })
    }
}

impl CredentialFile {
    /// There is no source.
    pub fn is_empty(&self) -> bool {
        self.password_file.is_none() && self.environment.is_none() && self.rds.is_none() && self.vault.is_none()
    }

    /// Checks the section, and reads what it names.
    ///
    /// # Errors
    /// Every problem, each beginning with its field. None shows a secret.
    pub fn check(self) -> Result<Credential, Vec<String>> {
        let mut found = Vec::new();
        let mut problems = Vec::new();
        if let Some(file) = self.password_file {
            // one that cannot be read now is told now
            match Secret::from_file(&file) {
                Ok(_) => found.push(Credential::File(Arc::new(file))),
                Err(error) => problems.push(format!("password_file: {}", crate::chain(&error))),
            }
        }
        if let Some(name) = self.environment {
            match std::env::var(&name) {
                Ok(value) if !value.is_empty() => found.push(Credential::Fixed(Arc::new(Secret::new(value)))),
                _ => problems.push(format!("environment: {name} is not set")),
            }
        }
        match self.rds.map(rds::Source::new) {
            Some(Ok(source)) => found.push(Credential::Rds(Arc::new(source))),
            Some(Err(problem)) => problems.push(problem),
            None => {}
        }
        match self.vault.map(vault::Source::new) {
            Some(Ok(source)) => found.push(Credential::Vault(Arc::new(source))),
            Some(Err(problem)) => problems.push(problem),
            None => {}
        }
        if found.len() + problems.len() > 1 {
            problems.push("give one source".to_owned());
        }
        if problems.is_empty() { Ok(found.pop().unwrap_or(Credential::None)) } else { Err(problems) }
    }
}

/// What one login uses.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Option<Arc<Secret<String>>>,
}

impl Credential {
    /// What to log in with now; `user` unless the source has a name of its own.
    pub(super) async fn login(&self, user: &str, host: &str, port: u16) -> Result<Login, Error> {
        let password = match self {
            Self::None => None,
            Self::Fixed(secret) => Some(secret.clone()),
            Self::File(path) => {
                let read = Secret::from_file(path.as_ref()).map_err(Error::File)?;
                Some(Arc::new(read))
            }
            Self::Rds(source) => Some(source.token(host, port, user, crate::record::now() / 1_000_000)?),
            Self::Vault(source) => return source.login().await,
        };
        Ok(Login { user: user.to_owned(), password })
    }

    /// The database refused the login. True where the next one may be another.
    pub(super) fn refused(&self) -> bool {
        match self {
            Self::Vault(source) => {
                source.forget();
                true
            }
            Self::None | Self::Fixed(_) | Self::File(_) | Self::Rds(_) => false,
        }
    }
}
