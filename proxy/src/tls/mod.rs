//! The first bytes of a connection: finds out whether it is encrypted, and reads its startup packet.
//!
//! ```text
//! 0x16 ------------------------------------> TLS at once (ALPN "postgresql" required) -+
//! SSLRequest -> nothing behind it -> 'S' --> TLS --------------------------------------+-> startup packet
//! GSSENCRequest -> nothing behind it -> 'N', once, then any of the others              |   or cancel request
//! startup packet, cancel request ------------------------------------------------------+
//! ```
//!
//! Bytes behind SSLRequest would have been put there by somebody on the line, to be taken for the encrypted client's
//! (CVE-2021-23214). Here nothing can carry them over: exactly eight bytes are read, the socket is looked at before the
//! answer, and whatever comes later goes into the TLS handshake. After [`negotiate`] come authentication and the session.

mod certificate;
mod possession;

pub(crate) use certificate::read_chain;
pub use certificate::{Acceptor, Files};

use crate::startup::{self, Opening, Started, Stream};
use schemas::event::Tls;
use std::{io, path::PathBuf};
use tokio::{io::AsyncWriteExt, net::TcpStream};

pub use crate::startup::Cancel;

/// What a new connection turned out to be.
pub enum Negotiated {
    /// A client that wants a session.
    Started(Started),
    /// A cancel request: it wants nothing more, and is told nothing.
    Cancel(Cancel),
}

/// The start of a connection failed, or the acceptor could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("writing {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file has no certificate or no key.
    #[error("{} holds no usable {what} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Certificate or key.
        what: &'static str,
    },
    /// Certificate and key do not make a server.
    #[error("certificate and key cannot be used together")]
    Configuration(#[source] rustls::Error),
    /// The development certificate could not be made.
    #[error("making the development certificate")]
    Development(#[source] rcgen::Error),
    /// Bytes came behind the request for encryption.
    #[error("received unencrypted data after the request for encryption")]
    Buffered,
    /// The handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// TLS from the first byte, without the protocol's name.
    #[error("TLS without a request for it needs ALPN with the protocol \"postgresql\"")]
    NoProtocolName,
    /// A request for encryption came a second time, or within it.
    #[error("a request for encryption may not come {0}")]
    OutOfPlace(&'static str),
    /// No encryption, and it is required.
    #[error("this gate requires TLS")]
    Plaintext,
    /// The startup packet is no good.
    #[error(transparent)]
    Startup(#[from] startup::Error),
}

impl Error {
    /// The SQLSTATE that the client is told.
    pub const fn sqlstate(&self) -> &'static str {
        match self {
            Self::Read { .. }
            | Self::Write { .. }
            | Self::Pem { .. }
            | Self::Configuration(_)
            | Self::Development(_) => "XX000",
            Self::Buffered | Self::NoProtocolName | Self::OutOfPlace(_) => "08P01",
            Self::Handshake(_) => "08006",
            Self::Plaintext => "28000",
            Self::Startup(error) => error.sqlstate(),
        }
    }

    /// Whether the client went by itself before it asked for anything: a port scan, a load balancer's health check.
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Startup(error) if error.is_gone())
    }

    const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Plaintext => Some("connect with sslmode=require, or better verify-full"),
            Self::Startup(startup::Error::Parameter { .. }) => {
                Some("leave the parameter out, or SET it in the session")
            }
            _ => None,
        }
    }
}

/// Reads the start of a connection. A client that is refused has been told why, where it can still be told.
///
/// There is no deadline in here: the caller sets one. Cancel safe in that dropping it closes the connection.
///
/// # Errors
/// [`Error`].
pub async fn negotiate(socket: TcpStream, acceptor: &Acceptor) -> Result<Negotiated, Error> {
    let (mut stream, tls, opening) = encrypt(socket, acceptor).await?;
    match read(&mut stream, tls.is_some(), opening, acceptor).await {
        Ok(Read::Cancel(cancel)) => Ok(Negotiated::Cancel(cancel)),
        Ok(Read::Packet(packet)) => {
            let startup::Packet { user, database, parameters, version, wish } = packet;
            let certificates = stream.client_certificates();
            let started = Started { stream, tls, certificates, user, database, parameters, version, wish };
            Ok(Negotiated::Started(started))
        }
        Err(error) => Err(refuse(&mut stream, error).await),
    }
}

enum Read {
    Packet(startup::Packet),
    Cancel(Cancel),
}

async fn read(stream: &mut Stream, encrypted: bool, opening: Opening, acceptor: &Acceptor) -> Result<Read, Error> {
    match opening.code {
        // Clients before libpq 17 send cancel requests without encryption always; the key is the proof.
        CANCEL_REQUEST => Ok(Read::Cancel(opening.cancel(stream).await?)),
        SSL_REQUEST | GSS_REQUEST => {
            Err(Error::OutOfPlace(if encrypted { "within an encrypted connection" } else { "twice" }))
        }
        _ if !encrypted && !acceptor.allows_plaintext() => Err(Error::Plaintext),
        _ => Ok(Read::Packet(opening.startup(stream).await?)),
    }
}

/// Encrypts the connection if the client asks for it, and reads the first eight bytes of what follows.
async fn encrypt(mut socket: TcpStream, acceptor: &Acceptor) -> Result<(Stream, Option<Tls>, Opening), Error> {
    let mut first = [0];
    if socket.peek(&mut first).await.map_err(startup::Error::Connection)? == 0 {
        return Err(startup::Error::Gone.into());
    }
    if first == [TLS_HANDSHAKE] {
        return handshake(socket, acceptor, true).await;
    }
    let mut asked_gss = false;
    loop {
        let opening = Opening::read(&mut socket).await?;
        let is_request = opening.length == REQUEST_LENGTH && matches!(opening.code, SSL_REQUEST | GSS_REQUEST);
        if !is_request || (opening.code == GSS_REQUEST && asked_gss) {
            return Ok((Stream::Plain(socket), None, opening));
        }
        if something_behind(&socket)? {
            return Err(refuse(&mut Stream::Plain(socket), Error::Buffered).await);
        }
        if opening.code == SSL_REQUEST {
            answer(&mut socket, b"S").await?;
            return handshake(socket, acceptor, false).await;
        }
        asked_gss = true;
        answer(&mut socket, b"N").await?;
    }
}

async fn answer(socket: &mut TcpStream, answer: &[u8; 1]) -> Result<(), Error> {
    Ok(socket.write_all(answer).await.map_err(startup::Error::Connection)?)
}

/// Asks the kernel, not the runtime, whose knowledge of the socket may be a moment old.
fn something_behind(socket: &TcpStream) -> Result<bool, Error> {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match socket2::SockRef::from(socket).peek(&mut byte) {
        Ok(count) => Ok(count > 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(startup::Error::Connection(error).into()),
    }
}

async fn handshake(
    socket: TcpStream,
    acceptor: &Acceptor,
    direct: bool,
) -> Result<(Stream, Option<Tls>, Opening), Error> {
    let encrypted =
        tokio_rustls::TlsAcceptor::from(acceptor.current()).accept(socket).await.map_err(Error::Handshake)?;
    let (_, connection) = encrypted.get_ref();
    let tls = describe(connection);
    let named = connection.alpn_protocol() == Some(certificate::PROTOCOL);
    let mut stream = Stream::Tls(Box::new(encrypted));
    if direct && !named {
        return Err(refuse(&mut stream, Error::NoProtocolName).await);
    }
    let opening = Opening::read(&mut stream).await?;
    Ok((stream, Some(tls), opening))
}

fn describe(connection: &rustls::ServerConnection) -> Tls {
    use rustls::ProtocolVersion;
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "unknown",
    };
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    // rustls marks the suites of TLS 1.3; their IANA names have no such mark
    Tls { version: version.to_owned(), cipher: cipher.replacen("TLS13_", "TLS_", 1) }
}

/// Tells the client why, if it is still there, and hands the error on.
async fn refuse(stream: &mut Stream, error: Error) -> Error {
    if !error.is_gone()
        && let Err(source) = startup::fatal(stream, error.sqlstate(), &error.to_string(), error.hint()).await
    {
        tracing::debug!(error = %source, "a refused client did not take the reason");
    }
    error
}

/// `NEGOTIATE_SSL_CODE` of PostgreSQL.
const SSL_REQUEST: u32 = 80_877_103;

/// `NEGOTIATE_GSS_CODE`.
const GSS_REQUEST: u32 = 80_877_104;

/// `CANCEL_REQUEST_CODE`.
const CANCEL_REQUEST: u32 = 80_877_102;

/// A request for encryption has nothing but its length and code.
const REQUEST_LENGTH: u32 = 8;

/// The first byte of a TLS handshake record; a startup packet that began so would have 369 MB.
const TLS_HANDSHAKE: u8 = 0x16;

#[cfg(test)]
mod tests;
