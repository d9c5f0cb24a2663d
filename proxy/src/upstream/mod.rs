//! The gate's own connection to PostgreSQL. The only module that holds the database credential (SCP-2).
//!
//! ```text
//! connect -> encrypt (SSLRequest, TLS) -> login (SCRAM, MD5, password, trust) -> settings checked -> Upstream
//! ```
//!
//! The credential goes from the configuration into the login and nowhere else: errors carry neither it nor what the
//! server says beyond its SQLSTATE to the agent. The session's encoding and its reading of string constants are pinned,
//! since the gate's understanding of SQL depends on them: a server that reports something else is refused.

mod config;
mod connect;
mod credential;
mod login;
mod rds;
mod stream;
mod tls;
mod vault;

pub use config::{Database, DatabaseFile, TlsMode};
pub use credential::{Credential, CredentialFile};
pub(crate) use login::major;
pub use stream::Stream;

use std::{collections::BTreeMap, io};

/// A connection to the database, logged in and idle.
pub struct Upstream {
    /// The connection.
    pub stream: Stream,
    /// What the server reported of its settings, in its order.
    pub parameters: Vec<(String, String)>,
    /// The role that it is logged in as.
    pub user: String,
    /// The process id of the backend.
    pub backend_pid: i32,
    /// The key that entitles to cancel its statements.
    pub cancel_key: Vec<u8>,
    /// Bytes that the server sent after it was ready (a notice), already read from the stream.
    pub early: Vec<u8>,
    /// What `SHOW search_path` says.
    pub search_path: String,
}

impl Upstream {
    /// A setting that the server reported.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// The gate could not open the database. `Display` and its sources are for the log; [`Error::to_client`] is for agents.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there, or the network is down.
    #[error("connecting to {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It took longer than the configured time.
    #[error("connecting to {address} took longer than {seconds} s")]
    Timeout {
        /// Where.
        address: String,
        /// The limit.
        seconds: u64,
    },
    /// The server does not encrypt, and it must.
    #[error("the server at {address} does not offer TLS, and the configuration requires it")]
    NoTls {
        /// Where.
        address: String,
    },
    /// The handshake failed: the certificate, mostly.
    #[error("the TLS handshake with {address} failed")]
    Handshake {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection failed during the login.
    #[error("the connection failed during the login")]
    Connection(#[source] io::Error),
    /// There is nothing to log in with.
    #[error("finding the gate's own login")]
    Credential(#[source] credential::Error),
    /// The server does not speak the protocol as the gate knows it.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
    /// The server asks for a way to authenticate that the gate does not have or does not use unencrypted.
    #[error("authentication: {0}")]
    Method(&'static str),
    /// The SCRAM exchange failed: the server does not know the password.
    #[error("the server did not prove that it knows the password (SCRAM)")]
    Scram(#[source] io::Error),
    /// The server refused.
    #[error("the server refused the connection with {sqlstate}: {text}")]
    Refused {
        /// Its SQLSTATE.
        sqlstate: String,
        /// Its text: for the log alone, it names the role.
        text: String,
    },
    /// The server is of a version that the gate does not know.
    #[error("the server is PostgreSQL {version:?}, and the gate knows 13 to 18: see accept_any_version")]
    Version {
        /// What it says.
        version: String,
    },
    /// A setting that the gate depends on has another value.
    #[error("the server reports {name} = {value:?}, and the gate depends on {expected:?}")]
    Setting {
        /// Which.
        name: &'static str,
        /// The value.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
}

impl Error {
    /// The SQLSTATE that the agent is told.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Connection(_) => "08001",
            Self::NoTls { .. } | Self::Handshake { .. } | Self::Protocol(_) => "08004",
            Self::Setting { .. } | Self::Version { .. } => "08004",
            Self::Method(_) | Self::Scram(_) | Self::Credential(_) => "28000",
            Self::Refused { sqlstate, .. } => match sqlstate.as_str() {
                code if code.starts_with("28") => "28000",
                "22023" => "22023",
                _ => "08004",
            },
        }
    }

    /// What the agent is told: nothing of roles, addresses or credentials.
    pub fn to_client(&self) -> String {
        match self {
            Self::Connect { .. } | Self::Connection(_) => "the gate cannot reach the database server".to_owned(),
            Self::Timeout { .. } => "the database server did not answer the gate in time".to_owned(),
            Self::NoTls { .. } | Self::Handshake { .. } => {
                "the gate cannot open an encrypted connection to the database server that it trusts".to_owned()
            }
            Self::Protocol(_) => "the database server does not speak the protocol that the gate expects".to_owned(),
            Self::Setting { name, .. } => format!("the database has a value of {name} that the gate cannot work with"),
            Self::Version { .. } => "the database server is of a version that the gate was not tested with".to_owned(),
            Self::Credential(_) => "the gate has no password for the database server now".to_owned(),
            Self::Method(_) | Self::Scram(_) => "the gate and the database server cannot authenticate".to_owned(),
            Self::Refused { sqlstate, .. } => match sqlstate.as_str() {
                code if code.starts_with("28") => "the database server refused the gate's own login".to_owned(),
                "22023" => "the database server refused a startup parameter's value (22023)".to_owned(),
                "53300" => "the database server has no connection left (53300)".to_owned(),
                code => format!("the database server refused the connection ({code})"),
            },
        }
    }
}

/// Opens a connection with these startup parameters: `user` and `database` among them are the agent's claims and are
/// replaced by the gate's, `client_encoding` by UTF8.
///
/// # Errors
/// [`Error`]. It takes at most the configured time.
pub async fn connect(database: &Database, parameters: &BTreeMap<String, String>) -> Result<Upstream, Error> {
    let once = || async {
        let opened = connect::open(database).await?;
        login::login(opened, database, parameters).await
    };
    limited(database, async {
        match once().await {
            Err(Error::Refused { sqlstate, .. }) if sqlstate.starts_with("28") && database.credential.refused() => {
                once().await
            }
            other => other,
        }
    })
    .await
}

/// A connection, encrypted as configured, on which nobody logged in yet. The server waits for that as long as its
/// `authentication_timeout` says; dropping this ends it.
pub struct Reached(connect::Opened);

/// Opens a connection while it is not known yet who logs in on it: the server's process starts meanwhile.
///
/// # Errors
/// [`Error`]. It takes at most the configured time.
pub async fn reach(database: &Database) -> Result<Reached, Error> {
    limited(database, async { connect::open(database).await.map(Reached) }).await
}

/// Logs in on such a connection, to the same server; `database` says as whom. Parameters are those of [`connect()`].
///
/// # Errors
/// [`Error`]. It takes at most the configured time.
pub async fn log_in(
    reached: Reached,
    database: &Database,
    parameters: &BTreeMap<String, String>,
) -> Result<Upstream, Error> {
    limited(database, login::login(reached.0, database, parameters)).await
}

/// Asks the server to cancel what the backend does, over a connection of its own, and waits until the server closed it.
///
/// # Errors
/// [`Error`]: the request did not arrive. PostgreSQL does not say whether it had an effect.
pub async fn cancel(database: &Database, backend_pid: i32, key: &[u8]) -> Result<(), Error> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    limited(database, async {
        let mut stream = connect::open(database).await?.stream;
        let length = u32::try_from(key.len() + 12).map_err(|_| Error::Protocol("a cancel key is too long"))?;
        let mut request = length.to_be_bytes().to_vec();
        request.extend_from_slice(&CANCEL_REQUEST.to_be_bytes());
        request.extend_from_slice(&backend_pid.to_be_bytes());
        request.extend_from_slice(key);
        stream.write_all(&request).await.map_err(Error::Connection)?;
        stream.flush().await.map_err(Error::Connection)?;
        // The server answers nothing: it closes when the signal is sent. A reset says the same.
        let mut nothing = [0; 16];
        match stream.read(&mut nothing).await {
            Ok(0) | Err(_) => Ok(()),
            Ok(_) => Err(Error::Protocol("an answer to a cancel request")),
        }
    })
    .await
}

async fn limited<T>(database: &Database, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let limit = database.connect_timeout;
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(Error::Timeout { address: database.address(), seconds: limit.as_secs() }))
}

/// `CANCEL_REQUEST_CODE` of PostgreSQL.
const CANCEL_REQUEST: u32 = 80_877_102;

#[cfg(test)]
mod tests;
