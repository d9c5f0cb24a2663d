//! Where a database is and how the gate logs in: the connection's part of a `[[resources]]` section.

use super::{Credential, CredentialFile, tls};
use kit::Secret;
use rustls::ClientConfig;
use serde::Deserialize;
use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

/// How the connection to the server is encrypted; the names are libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Not at all.
    Disable,
    /// Encrypted, to whomever: it keeps listeners out, not impostors.
    Require,
    /// The certificate is vouched for by `ca_file`.
    VerifyCa,
    /// And it is for this host.
    VerifyFull,
}

/// Where a database is, as the file says. It is flattened into a `[[resources]]` section.
#[derive(Debug, Clone, Deserialize)]
pub struct DatabaseFile {
    /// Host name or address; a folder that begins with `/` holds a Unix socket. _Default: `127.0.0.1`._
    #[serde(default = "default_host")]
    pub host: String,
    /// Port. _Default: 5432._
    #[serde(default = "default_port")]
    pub port: u16,
    /// The database's name on its server.
    pub database: String,
    /// The role that the gate logs in as.
    pub user: String,
    /// File with its password, one line. _Default: none, for servers that trust the gate's address or socket._
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The password itself; meant for `POSTERN_` variables, a file is better. _Default: none._
    #[serde(default)]
    pub password: Option<Secret<String>>,
    /// Another source of it. _Default: none._
    #[serde(default)]
    pub credential: CredentialFile,
    /// `disable`, `require`, `verify-ca` or `verify-full`. _Default: `verify-full`; for this machine `disable`._
    #[serde(default)]
    pub tls: Option<TlsMode>,
    /// PEM file with the authorities that vouch for the server. Required by `verify-ca` and `verify-full`.
    /// _Default: none._
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Longest time to open a connection, login included, seconds, 1 to 300. _Default: 10._
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_seconds: u64,
    /// Take a server of any version, not only of those that the gate was tested with. _Default: false._
    #[serde(default)]
    pub accept_any_version: bool,
}

fn default_host() -> String {
    "127.0.0.1".to_owned()
}

const fn default_port() -> u16 {
    5432
}

const fn default_connect_timeout() -> u64 {
    10
}

/// Where a database is and how the gate logs in, checked. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Database {
    /// Host, address, or the folder of a Unix socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The database's name on its server.
    pub database: String,
    /// The role that the gate logs in as.
    pub user: String,
    /// The longest time to open a connection.
    pub connect_timeout: Duration,
    pub(super) any_version: bool,
    pub(super) credential: Credential,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Database {
    /// The same database, for another role.
    pub fn as_role(&self, user: &str, credential: Credential) -> Self {
        Self { user: user.to_owned(), credential, ..self.clone() }
    }

    /// The same database, whatever version its server is of: for looking at it.
    pub(crate) fn of_any_version(self) -> Self {
        Self { any_version: true, ..self }
    }

    /// Host and port, for logs.
    pub fn address(&self) -> String {
        if self.is_unix() {
            format!("{}/.s.PGSQL.{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(super) fn is_unix(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Whether what is sent stays on this machine.
    pub(super) fn is_local(&self) -> bool {
        is_local(&self.host)
    }
}

fn is_local(host: &str) -> bool {
    host.starts_with('/') || host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl DatabaseFile {
    /// Checks the settings and reads the files that they name.
    ///
    /// # Errors
    /// Every problem at once, each beginning with its field. No problem shows a secret.
    pub fn check(self) -> Result<Database, Vec<String>> {
        let mut problems = Vec::new();
        for (field, value) in [("host", &self.host), ("database", &self.database), ("user", &self.user)] {
            if value.is_empty() || value.contains('\0') {
                problems.push(format!("{field}: is empty or has a NUL"));
            }
        }
        if !(1..=300).contains(&self.connect_timeout_seconds) {
            problems.push("connect_timeout_seconds: is not within 1 to 300".to_owned());
        }
        let mut source = self.credential;
        if self.password_file.is_some() {
            if !source.is_empty() {
                problems.push("password_file: give it or credential, not both".to_owned());
            }
            source = CredentialFile { password_file: self.password_file, ..CredentialFile::default() };
        }
        let credential = match (self.password, source.is_empty()) {
            (Some(_), false) => {
                problems.push("password: give it or password_file, not both".to_owned());
                Credential::None
            }
            (Some(password), true) => Credential::Fixed(Arc::new(password)),
            (None, _) => source.check().unwrap_or_else(|more| {
                problems.extend(more);
                Credential::None
            }),
        };
        let mode = self.tls.unwrap_or(if is_local(&self.host) { TlsMode::Disable } else { TlsMode::VerifyFull });
        let tls = if mode != TlsMode::Disable && self.host.starts_with('/') {
            problems.push("tls: PostgreSQL does not encrypt Unix sockets".to_owned());
            None
        } else {
            tls::client(mode, self.ca_file.as_deref()).unwrap_or_else(|text| {
                problems.push(text);
                None
            })
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Database {
            host: self.host,
            port: self.port,
            database: self.database,
            user: self.user,
            connect_timeout: Duration::from_secs(self.connect_timeout_seconds),
            any_version: self.accept_any_version,
            credential,
            tls,
        })
    }
}
