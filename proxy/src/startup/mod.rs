//! The startup packet and the password message: what a stranger may say before it is known who it is.
//!
//! Between [`crate::tls`] (which finds out whether there is encryption) and authentication. Everything is read to the
//! exact byte, so that nothing that belongs to a later phase is ever held in a buffer of an earlier one. Parameters
//! pass by allow list: what is not on it could change what SQL means or what the role may do. There is no deadline in
//! here: the caller puts one over the whole start of a connection.
//!
//! Source: <https://www.postgresql.org/docs/18/protocol-message-formats.html>, PostgreSQL's `ProcessStartupPacket`.

mod options;
mod parameters;
pub mod sasl;
mod stream;

pub use stream::Stream;

use kit::Secret;
use rustls::pki_types::CertificateDer;
use schemas::event::Tls;
use std::{collections::BTreeMap, io};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A client whose startup packet was accepted. Who it is, is not known yet: `user` is a claim.
pub struct Started {
    /// The connection.
    pub stream: Stream,
    /// Its encryption; none where plaintext is allowed and was used.
    pub tls: Option<Tls>,
    /// The certificates that the client showed, its own first; nothing is known of their worth.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The `user` parameter.
    pub user: String,
    /// The `database` parameter; the user where it is absent, as in PostgreSQL.
    pub database: String,
    /// All accepted parameters by their PostgreSQL names, `user` and `database` among them.
    pub parameters: BTreeMap<String, String>,
    /// The protocol version that client and gate speak from here on.
    pub version: Version,
    /// How the client wishes to authenticate.
    pub wish: Wish,
}

/// How a client wishes to authenticate: `options` of `-c postern.auth=oauth`, or `password`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// It does not say: as the config has it.
    #[default]
    None,
    /// A token as the password.
    Password,
    /// By SASL OAUTHBEARER.
    Oauth,
}

/// A version of the protocol that the gate speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.0, since PostgreSQL 7.4.
    V3_0,
    /// 3.2, since PostgreSQL 18: longer keys in cancel requests.
    V3_2,
}

impl Version {
    /// As it stands in the startup packet.
    pub const fn code(self) -> u32 {
        match self {
            Self::V3_0 => 3 << 16,
            Self::V3_2 => (3 << 16) | 2,
        }
    }
}

/// A cancel request: which backend, and the key that entitles to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Cancel {
    /// The process id from BackendKeyData.
    pub backend_pid: i32,
    /// The key from BackendKeyData: 4 bytes, up to 256 in protocol 3.2.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cancel").field("backend_pid", &self.backend_pid).finish_non_exhaustive()
    }
}

/// The startup phase went wrong. The texts are for the client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("the connection failed during its start")]
    Connection(#[source] io::Error),
    /// The client closed the connection before it said what it wants.
    #[error("the client closed the connection during its start")]
    Gone,
    /// The client was asked for its password and closed the connection: psql does so to ask its user.
    #[error("the client closed the connection when it was asked for a token")]
    NoToken,
    /// The first four bytes are no possible length.
    #[error("invalid length of startup packet")]
    Length,
    /// The packet is not what its length says.
    #[error("invalid startup packet: {0}")]
    Malformed(&'static str),
    /// Another major version.
    #[error("unsupported frontend protocol {0}.{1}: this gate speaks 3.0 and 3.2")]
    Version(u16, u16),
    /// A parameter that the gate does not take.
    #[error("startup parameter {name:?} is not accepted: {reason}")]
    Parameter {
        /// Its name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// No `user`.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// Something else came where a password message must.
    #[error("expected a password message with the token, got message type {0:?}")]
    NotAPassword(char),
    /// A password message that is not one terminated text.
    #[error("malformed password message: {0}")]
    Password(&'static str),
    /// A SASL exchange that is not one.
    #[error("malformed OAUTHBEARER message: {0}")]
    Sasl(&'static str),
    /// A mechanism that was not offered.
    #[error("the client chose a SASL mechanism that was not offered: only OAUTHBEARER is")]
    Mechanism,
    /// A password message over the cap.
    #[error("the password message is larger than {MAX_PASSWORD_MESSAGE} bytes")]
    PasswordTooLarge,
}

impl Error {
    /// The SQLSTATE that the client is told.
    pub const fn sqlstate(&self) -> &'static str {
        match self {
            Self::Connection(_) | Self::Gone => "08006",
            Self::NoToken => "28P01",
            Self::Sasl(_) | Self::Mechanism => "08P01",
            Self::Length | Self::Malformed(_) | Self::NotAPassword(_) | Self::Password(_) | Self::PasswordTooLarge => {
                "08P01"
            }
            Self::Version(..) | Self::Parameter { .. } => "0A000",
            Self::NoUser => "28000",
        }
    }

    /// Whether nobody is there any more to be told.
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Gone | Self::NoToken)
    }
}

/// A startup packet, read and accepted.
pub(crate) struct Packet {
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) version: Version,
    pub(crate) wish: Wish,
}

/// The first eight bytes of a startup packet or of a request in its place: length and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) length: u32,
    pub(crate) code: u32,
}

impl Opening {
    /// Reads exactly eight bytes.
    pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Self, Error> {
        let mut bytes = [0; 8];
        exact(stream, &mut bytes).await?;
        let [a, b, c, d, e, f, g, h] = bytes;
        Ok(Self { length: u32::from_be_bytes([a, b, c, d]), code: u32::from_be_bytes([e, f, g, h]) })
    }

    /// Reads the rest, as long as the length says, if that is within `limit`.
    async fn rest<S: AsyncRead + Unpin>(self, stream: &mut S, limit: usize) -> Result<Vec<u8>, Error> {
        let length = usize::try_from(self.length).map_err(|_| Error::Length)?;
        if !(8..=limit).contains(&length) {
            return Err(Error::Length);
        }
        let mut rest = vec![0; length - 8];
        exact(stream, &mut rest).await?;
        Ok(rest)
    }

    /// Reads the rest of a cancel request.
    pub(crate) async fn cancel<S: AsyncRead + Unpin>(self, stream: &mut S) -> Result<Cancel, Error> {
        let rest = self.rest(stream, MAX_CANCEL_REQUEST).await?;
        let (pid, key) = rest.split_first_chunk().ok_or(Error::Length)?;
        if key.len() < MIN_CANCEL_KEY {
            return Err(Error::Length);
        }
        Ok(Cancel { backend_pid: i32::from_be_bytes(*pid), key: key.to_vec() })
    }

    /// Reads the rest of a startup packet and says what the gate takes of it; where the client asked for more than the
    /// gate speaks, tells it what they have in common.
    pub(crate) async fn startup<S>(self, stream: &mut S) -> Result<Packet, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let [major_high, major_low, minor_high, minor_low] = self.code.to_be_bytes();
        let major = u16::from_be_bytes([major_high, major_low]);
        let minor = u16::from_be_bytes([minor_high, minor_low]);
        let rest = self.rest(stream, MAX_STARTUP_PACKET).await?;
        if major != 3 {
            return Err(Error::Version(major, minor));
        }
        let version = if minor >= 2 { Version::V3_2 } else { Version::V3_0 };
        let mut packet = parameters::read(&rest, version)?;
        let unknown = std::mem::take(&mut packet.unknown_options);
        if version.code() != self.code || !unknown.is_empty() {
            let message = negotiate_protocol_version(version, &unknown);
            stream.write_all(&message).await.map_err(Error::Connection)?;
            stream.flush().await.map_err(Error::Connection)?;
        }
        Ok(packet.packet)
    }
}

/// NegotiateProtocolVersion: the newest version of ours that is not newer than the client's, and the options that we
/// do not know. As PostgreSQL does, the version is sent whole, major and minor.
fn negotiate_protocol_version(version: Version, unknown: &[String]) -> Vec<u8> {
    let mut body = version.code().to_be_bytes().to_vec();
    // A startup packet of 10,000 bytes has fewer.
    body.extend_from_slice(&u32::try_from(unknown.len()).unwrap_or(u32::MAX).to_be_bytes());
    for name in unknown {
        body.extend_from_slice(name.as_bytes());
        body.push(0);
    }
    message(b'v', &body)
}

/// Asks for a clear-text password and reads it: the token.
///
/// # Errors
/// [`Error`]: the client went, or sent something else than one password message.
pub async fn read_token(stream: &mut Stream) -> Result<Secret<String>, Error> {
    write_auth_request(stream).await?;
    read_password(stream).await
}

/// Writes AuthenticationCleartextPassword: every driver answers it with the password as it is.
///
/// # Errors
/// [`Error::Connection`].
pub async fn write_auth_request<S: AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Error> {
    stream.write_all(&message(b'R', &[0, 0, 0, 3])).await.map_err(Error::Connection)?;
    stream.flush().await.map_err(Error::Connection)
}

/// Reads one password message, to the exact byte: text, one NUL, and nothing behind it.
///
/// # Errors
/// [`Error::NoToken`] if the client closed the connection, [`Error::NotAPassword`], [`Error::Password`],
/// [`Error::PasswordTooLarge`], [`Error::Connection`].
pub async fn read_password<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Secret<String>, Error> {
    let bytes = read_answer(stream).await?;
    let (end, text) = bytes.expose().split_last().ok_or(Error::Password("it is empty"))?;
    if *end != 0 || text.contains(&0) {
        return Err(Error::Password("it is not one NUL-terminated text"));
    }
    let text = std::str::from_utf8(text).map_err(|_| Error::Password("it is not UTF-8"))?;
    Ok(Secret::new(text.to_owned()))
}

/// Reads the body of one message of the type that carries passwords and SASL answers.
async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Secret<Vec<u8>>, Error> {
    let mut head = [0; 5];
    exact(stream, &mut head).await.map_err(|error| if error.is_gone() { Error::NoToken } else { error })?;
    let [kind, length @ ..] = head;
    if kind != b'p' {
        return Err(Error::NotAPassword(char::from(kind)));
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_PASSWORD_MESSAGE {
        return Err(Error::PasswordTooLarge);
    }
    let body = length.checked_sub(4).ok_or(Error::Password("its length is impossible"))?;
    let mut bytes = vec![0; body];
    exact(stream, &mut bytes).await?;
    // In custody from here on, so that it is wiped on every way out.
    Ok(Secret::new(bytes))
}

/// Tells the client why it is refused, and closes. It waits a moment for the client to take the words: closing over
/// unread bytes would reset the connection, and the words would be lost.
///
/// # Errors
/// The connection's: the client was gone.
pub async fn fatal<S>(stream: &mut S, sqlstate: &str, text: &str, hint: Option<&str>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut body = Vec::new();
    let fields =
        [(b'S', Some("FATAL")), (b'V', Some("FATAL")), (b'C', Some(sqlstate)), (b'M', Some(text)), (b'H', hint)];
    for (field, value) in fields {
        let Some(value) = value else { continue };
        body.push(field);
        body.extend(value.bytes().filter(|byte| *byte != 0));
        body.push(0);
    }
    body.push(0);
    stream.write_all(&message(b'E', &body)).await?;
    stream.shutdown().await?;
    let mut sink = [0; 1024];
    let mut left = MAX_LINGER_BYTES;
    let drain = async {
        while left > 0 {
            match stream.read(&mut sink).await {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    };
    // Running out of time is as good an end as any: the words were sent.
    tokio::time::timeout(LINGER, drain).await.or(Ok(()))
}

/// One message: type, length, body.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("messages of the startup phase are short");
    let mut bytes = Vec::with_capacity(body.len() + 5);
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

async fn exact<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut [u8]) -> Result<(), Error> {
    match stream.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Error::Gone),
        Err(error) => Err(Error::Connection(error)),
    }
}

/// PostgreSQL's own limit (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_STARTUP_PACKET: usize = 10_000;

/// A token of the largest size that is verified, twice: what is larger is told so and not just cut off.
const MAX_PASSWORD_MESSAGE: usize = 32 * 1024;

/// Length, code, process id and a key of 256 bytes (protocol 3.2).
const MAX_CANCEL_REQUEST: usize = 12 + 256;

/// The key of protocol 3.0.
const MIN_CANCEL_KEY: usize = 4;

/// A refused client gets this long to read why.
const LINGER: std::time::Duration = std::time::Duration::from_millis(500);

/// And may still have sent this much.
const MAX_LINGER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;
