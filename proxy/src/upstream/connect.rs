//! Reaches the server and encrypts the connection as configured.

use super::{Database, Error, Stream, tls};
use crate::accept;
use rustls::pki_types::ServerName;
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

/// A connection before the login.
pub(super) struct Opened {
    pub(super) stream: Stream,
    /// What binds a SCRAM login to this connection.
    pub(super) binding: Option<Vec<u8>>,
}

/// Connects, and encrypts if so configured.
pub(super) async fn open(database: &Database) -> Result<Opened, Error> {
    let failed = |source| Error::Connect { address: database.address(), source };
    if database.is_unix() {
        let stream = UnixStream::connect(database.address()).await.map_err(failed)?;
        return Ok(Opened { stream: Stream::Unix(stream), binding: None });
    }
    let stream = TcpStream::connect((database.host.as_str(), database.port)).await.map_err(failed)?;
    // a server that went away with its machine would else keep a session, and its role, as long as nobody writes
    accept::prepare(&stream).map_err(failed)?;
    match &database.tls {
        None => Ok(Opened { stream: Stream::Plain(stream), binding: None }),
        Some(config) => encrypt(stream, config.clone(), database).await,
    }
}

async fn encrypt(
    mut stream: TcpStream,
    config: Arc<rustls::ClientConfig>,
    database: &Database,
) -> Result<Opened, Error> {
    let failed = |source| Error::Handshake { address: database.address(), source };
    stream.write_all(&SSL_REQUEST).await.map_err(Error::Connection)?;
    // Exactly one byte: whatever else somebody put on the line goes into the handshake and breaks it (CVE-2021-23222).
    let mut answer = [0];
    stream.read_exact(&mut answer).await.map_err(Error::Connection)?;
    match answer {
        [b'S'] => {}
        [b'N'] => return Err(Error::NoTls { address: database.address() }),
        _ => return Err(Error::Protocol("an answer to SSLRequest that is neither yes nor no")),
    }
    let name = ServerName::try_from(database.host.clone()).map_err(|error| failed(io::Error::other(error)))?;
    let encrypted = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.map_err(failed)?;
    let (_, connection) = encrypted.get_ref();
    let certificate = connection.peer_certificates().and_then(|chain| chain.first());
    let binding = certificate.and_then(tls::server_end_point);
    Ok(Opened { stream: Stream::Tls(Box::new(encrypted)), binding })
}

/// Length 8, code 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
