//! From an address to a session that is ready for queries.

use crate::{
    Error, Options,
    wire::{self, Frame},
};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use std::collections::BTreeMap;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
};

/// Protocol 3.0.
const PROTOCOL: u32 = 3 << 16;
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const SCRAM: &str = "SCRAM-SHA-256";

/// Startup parameters of the recorded session that are sent again.
const PARAMETERS: &[&str] =
    &["application_name", "client_encoding", "options", "DateStyle", "TimeZone", "extra_float_digits"];

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Reads whole frames.
pub(crate) struct Reader {
    half: ReadHalf<Box<dyn Stream>>,
    buffer: Vec<u8>,
    start: usize,
    target: String,
}

impl Reader {
    /// The next frame.
    pub(crate) async fn next(&mut self) -> Result<Frame, Error> {
        loop {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            if let Some((frame, size)) = wire::take(rest).map_err(Error::Protocol)? {
                self.start += size;
                return Ok(frame);
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let read = self.half.read_buf(&mut self.buffer).await;
            match read.map_err(|source| io("read from", &self.target, source))? {
                0 => return Err(io("read from", &self.target, std::io::ErrorKind::UnexpectedEof.into())),
                _ => continue,
            }
        }
    }
}

/// Both halves of a session.
pub(crate) struct Session {
    pub(crate) reader: Reader,
    pub(crate) writer: WriteHalf<Box<dyn Stream>>,
}

pub(crate) fn io(doing: &'static str, target: &str, source: std::io::Error) -> Error {
    Error::Io { doing, target: target.to_owned(), source }
}

/// Opens a session.
pub(crate) async fn connect(options: &Options, recorded: &BTreeMap<String, String>) -> Result<Session, Error> {
    let target = &options.target;
    let failed = |source| io("connect to", target, source);
    let mut socket = TcpStream::connect(target).await.map_err(failed)?;
    socket.set_nodelay(true).map_err(failed)?;
    let stream: Box<dyn Stream> = match &options.tls {
        None => Box::new(socket),
        Some(tls) => {
            socket.write_all(&SSL_REQUEST).await.map_err(failed)?;
            if socket.read_u8().await.map_err(failed)? != b'S' {
                return Err(Error::Protocol("it does not offer TLS"));
            }
            let host = target.rsplit_once(':').map_or(target.as_str(), |(host, _)| host).trim_matches(['[', ']']);
            let name = rustls::pki_types::ServerName::try_from(host.to_owned())
                .map_err(|_| Error::Protocol("its name is no name that a certificate could have"))?;
            Box::new(tokio_rustls::TlsConnector::from(tls.clone()).connect(name, socket).await.map_err(failed)?)
        }
    };
    let (half, writer) = tokio::io::split(stream);
    let reader = Reader { half, buffer: Vec::new(), start: 0, target: target.clone() };
    let mut session = Session { reader, writer };
    session.writer.write_all(&startup(options, recorded)).await.map_err(failed)?;
    authenticate(&mut session, options).await?;
    Ok(session)
}

fn startup(options: &Options, recorded: &BTreeMap<String, String>) -> Vec<u8> {
    let mut body = PROTOCOL.to_be_bytes().to_vec();
    let own = [("user", &options.user), ("database", &options.database)];
    let again = recorded.iter().filter(|(name, _)| PARAMETERS.contains(&name.as_str()));
    for (name, value) in own.into_iter().chain(again.map(|(name, value)| (name.as_str(), value))) {
        for text in [name, value.as_str()] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &body].concat()
}

async fn authenticate(session: &mut Session, options: &Options) -> Result<(), Error> {
    let mut scram: Option<ScramSha256> = None;
    loop {
        let frame = session.reader.next().await?;
        match frame.kind {
            b'R' => {
                let (code, rest) =
                    frame.body.split_first_chunk::<4>().ok_or(Error::Protocol("an authentication message"))?;
                let answer = match i32::from_be_bytes(*code) {
                    0 => continue,
                    3 => [options.password.as_bytes(), &[0]].concat(),
                    10 => {
                        if !wire::texts(rest).any(|mechanism| mechanism == SCRAM) {
                            return Err(Error::Authentication(10));
                        }
                        let first = ScramSha256::new(options.password.as_bytes(), ChannelBinding::unsupported());
                        let length = u32::try_from(first.message().len()).unwrap_or(u32::MAX).to_be_bytes();
                        let message = [SCRAM.as_bytes(), &[0], &length, first.message()].concat();
                        scram = Some(first);
                        message
                    }
                    11 => {
                        let scram = scram.as_mut().ok_or(Error::Authentication(11))?;
                        scram.update(rest).map_err(|source| io("log in to", &options.target, source))?;
                        scram.message().to_vec()
                    }
                    12 => {
                        let scram = scram.as_mut().ok_or(Error::Authentication(12))?;
                        scram.finish(rest).map_err(|source| io("log in to", &options.target, source))?;
                        continue;
                    }
                    other => return Err(Error::Authentication(other)),
                };
                let mut bytes = Vec::new();
                Frame::new(b'p', answer).put(&mut bytes);
                let sent = session.writer.write_all(&bytes).await;
                sent.map_err(|source| io("send to", &options.target, source))?;
            }
            b'E' => return Err(Error::Refused { sqlstate: frame.field(b'C'), message: frame.field(b'M') }),
            b'Z' => return Ok(()),
            _ => {}
        }
    }
}
