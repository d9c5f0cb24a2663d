//! Logs in: startup packet, authentication, the server's settings, ReadyForQuery.

use super::{Database, Error, Stream, Upstream, connect::Opened, credential::Login};
use crate::startup::message;
use postgres_protocol::authentication::{
    md5_hash,
    sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256},
};
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Logs in on a fresh connection.
pub(super) async fn login(
    opened: Opened,
    database: &Database,
    parameters: &BTreeMap<String, String>,
) -> Result<Upstream, Error> {
    let Opened { stream, binding } = opened;
    let mut line = Line { stream, read: Vec::new(), at: 0 };
    let own = database.credential.login(&database.user, &database.host, database.port).await;
    let own = own.map_err(Error::Credential)?;
    line.send(&startup_packet(&own.user, &database.database, parameters)).await?;
    authenticate(&mut line, &own, database.is_local(), binding).await?;
    let settings = read_settings(&mut line).await?;
    for (name, expected) in PINNED {
        let value = settings.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        if value != Some(expected) {
            return Err(Error::Setting { name, value: value.unwrap_or_default().to_owned(), expected });
        }
    }
    let version =
        settings.parameters.iter().find(|(name, _)| name == "server_version").map(|(_, value)| value.as_str());
    if !database.any_version && !major(version.unwrap_or_default()).is_some_and(|major| VERSIONS.contains(&major)) {
        return Err(Error::Version { version: version.unwrap_or_default().to_owned() });
    }
    let search_path = show_search_path(&mut line).await?;
    let early = line.read.get(line.at..).unwrap_or_default().to_vec();
    Ok(Upstream {
        stream: line.stream,
        user: own.user,
        parameters: settings.parameters,
        backend_pid: settings.backend_pid,
        cancel_key: settings.cancel_key,
        early,
        search_path,
    })
}

/// The gate's understanding of SQL text holds under these alone.
const PINNED: [(&str, &str); 2] = [("client_encoding", "UTF8"), ("standard_conforming_strings", "on")];

/// Major versions that the gate was tested with.
const VERSIONS: std::ops::RangeInclusive<u32> = 13..=18;

/// The major version of such as `15.20 (Debian 15.20-0+deb12u1)`, `18beta1`.
pub(crate) fn major(version: &str) -> Option<u32> {
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The agent's parameters, with the gate's own where it decides. Protocol 3.0: every server speaks it.
fn startup_packet(user: &str, database: &str, parameters: &BTreeMap<String, String>) -> Vec<u8> {
    let mut all: BTreeMap<&str, &str> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.insert("user", user);
    all.insert("database", database);
    all.insert("client_encoding", "UTF8");
    let mut body = (3u32 << 16).to_be_bytes().to_vec();
    for (name, value) in all {
        for text in [name, value] {
            body.extend(text.bytes().filter(|byte| *byte != 0));
            body.push(0);
        }
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).expect("parameters come from a packet of at most 10,000 bytes");
    [length.to_be_bytes().as_slice(), &body].concat()
}

async fn authenticate(line: &mut Line, own: &Login, local: bool, binding: Option<Vec<u8>>) -> Result<(), Error> {
    let password = || {
        let secret =
            own.password.as_ref().ok_or(Error::Method("the server asks for a password, and none is configured"));
        secret.map(|secret| secret.expose().as_bytes())
    };
    loop {
        let (method, data) = line.authentication().await?;
        match method {
            OK => return Ok(()),
            CLEARTEXT if matches!(line.stream, Stream::Tls(_)) || local => {
                line.send_password(password()?).await?;
            }
            CLEARTEXT => {
                return Err(Error::Method("the server asks for the password in clear over an open connection"));
            }
            MD5 => {
                let salt = data.try_into().map_err(|_| Error::Protocol("an MD5 request without salt"))?;
                let hash = md5_hash(own.user.as_bytes(), password()?, salt);
                line.send_password(hash.as_bytes()).await?;
            }
            SASL => scram(line, password()?, &data, binding.clone()).await?,
            _ => return Err(Error::Method("the server asks for a method that the gate does not have")),
        }
    }
}

/// SCRAM-SHA-256, bound to the TLS connection where both sides can (RFC 5802, RFC 7677). It ends before
/// AuthenticationOk, which the caller reads.
async fn scram(line: &mut Line, password: &[u8], offered: &[u8], binding: Option<Vec<u8>>) -> Result<(), Error> {
    let offers = |name: &str| offered.split(|byte| *byte == 0).any(|offer| offer == name.as_bytes());
    let (name, binding) = match binding {
        Some(binding) if offers(SCRAM_SHA_256_PLUS) => {
            (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(binding))
        }
        // "I could have": if the server could too, somebody took its offer away, and the server will notice.
        Some(_) if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
        None if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        _ => return Err(Error::Method("the server offers no SASL mechanism that the gate has")),
    };
    let mut exchange = ScramSha256::new(password, binding);
    let first = exchange.message();
    let mut body = name.as_bytes().to_vec();
    body.push(0);
    let length = u32::try_from(first.len()).expect("a SCRAM message is short");
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(first);
    line.send(&message(b'p', &body)).await?;
    let (SASL_CONTINUE, data) = line.authentication().await? else { return Err(OUT_OF_ORDER) };
    exchange.update(&data).map_err(Error::Scram)?;
    line.send(&message(b'p', exchange.message())).await?;
    let (SASL_FINAL, data) = line.authentication().await? else { return Err(OUT_OF_ORDER) };
    exchange.finish(&data).map_err(Error::Scram)
}

const OUT_OF_ORDER: Error = Error::Protocol("a SCRAM message out of order");

const OK: u32 = 0;
const CLEARTEXT: u32 = 3;
const MD5: u32 = 5;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

#[derive(Default)]
struct Settings {
    parameters: Vec<(String, String)>,
    backend_pid: i32,
    cancel_key: Vec<u8>,
}

async fn read_settings(line: &mut Line) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    loop {
        let (kind, body) = line.message().await?;
        match kind {
            b'S' if settings.parameters.len() < MAX_PARAMETERS => settings.parameters.push(two_texts(&body)?),
            b'K' => {
                let (pid, key) = body.split_first_chunk().ok_or(Error::Protocol("a short BackendKeyData"))?;
                settings.backend_pid = i32::from_be_bytes(*pid);
                settings.cancel_key = key.to_vec();
            }
            b'Z' => return Ok(settings),
            _ => return Err(Error::Protocol("a message that does not belong to the login")),
        }
    }
}

/// Servers before 18 do not report it, and it decides what names mean.
async fn show_search_path(line: &mut Line) -> Result<String, Error> {
    line.send(&message(b'Q', b"SHOW search_path\0")).await?;
    let mut path = None;
    loop {
        let (kind, body) = line.message().await?;
        match kind {
            b'D' => path = Some(one_column(&body)?),
            b'T' | b'C' | b'S' => {}
            b'Z' => return path.ok_or(Error::Protocol("no answer to SHOW search_path")),
            _ => return Err(Error::Protocol("a message that does not belong to the answer of SHOW")),
        }
    }
}

fn one_column(body: &[u8]) -> Result<String, Error> {
    let malformed = Error::Protocol("a malformed answer to SHOW");
    let Some(([0, 1, a, b, c, d], value)) = body.split_first_chunk() else { return Err(malformed) };
    if usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])) != Ok(value.len()) {
        return Err(malformed);
    }
    String::from_utf8(value.to_vec()).map_err(|_| malformed)
}

fn two_texts(body: &[u8]) -> Result<(String, String), Error> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let mut parts = body.split(|byte| *byte == 0);
    match (parts.next().and_then(text), parts.next().and_then(text), parts.next(), parts.next()) {
        (Some(name), Some(value), Some([]), None) => Ok((name, value)),
        _ => Err(Error::Protocol("a malformed ParameterStatus")),
    }
}

/// The connection with what was read of it ahead.
struct Line {
    stream: Stream,
    read: Vec<u8>,
    at: usize,
}

impl Line {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).await.map_err(Error::Connection)?;
        self.stream.flush().await.map_err(Error::Connection)
    }

    async fn send_password(&mut self, password: &[u8]) -> Result<(), Error> {
        let body = kit::Secret::new([password, &[0]].concat());
        let bytes = kit::Secret::new(message(b'p', body.expose()));
        self.send(bytes.expose()).await
    }

    /// The next authentication request: its code and data.
    async fn authentication(&mut self) -> Result<(u32, Vec<u8>), Error> {
        match self.message().await? {
            (b'R', body) => {
                let (code, data) = body.split_first_chunk().ok_or(Error::Protocol("a short authentication request"))?;
                Ok((u32::from_be_bytes(*code), data.to_vec()))
            }
            (b'v', _) => Err(Error::Protocol("the server does not speak protocol 3.0 without conditions")),
            _ => Err(Error::Protocol("a message that does not belong to authentication")),
        }
    }

    /// The next message that is not a notice. An error of the server is ours.
    async fn message(&mut self) -> Result<(u8, Vec<u8>), Error> {
        for _ in 0..MAX_NOTICES {
            let (kind, body) = self.any_message().await?;
            match kind {
                b'N' => {}
                b'E' => return Err(refused(&body)),
                _ => return Ok((kind, body)),
            }
        }
        Err(Error::Protocol("too many notices during the login"))
    }

    async fn any_message(&mut self) -> Result<(u8, Vec<u8>), Error> {
        loop {
            let unread = self.read.get(self.at..).unwrap_or_default();
            if let Some(([kind, length @ ..], rest)) = unread.split_first_chunk::<5>() {
                let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                let Some(body) = length.checked_sub(4).filter(|_| length <= MAX_MESSAGE) else {
                    return Err(Error::Protocol("a message of impossible length"));
                };
                if let Some(body) = rest.get(..body) {
                    let message = (*kind, body.to_vec());
                    self.at += 1 + length;
                    return Ok(message);
                }
            }
            self.read.drain(..self.at);
            self.at = 0;
            if self.stream.read_buf(&mut self.read).await.map_err(Error::Connection)? == 0 {
                return Err(Error::Connection(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

fn refused(body: &[u8]) -> Error {
    let field = |wanted: u8| {
        let found = body.split(|byte| *byte == 0).filter_map(<[u8]>::split_first).find(|(kind, _)| **kind == wanted);
        let text = found.map(|(_, text)| String::from_utf8_lossy(text).into_owned());
        text.map(|text| text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect::<String>())
    };
    // Five letters or digits, or it is not one: the code goes into texts for agents.
    let is_code = |code: &String| code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let sqlstate = field(b'C').filter(is_code).unwrap_or_else(|| "XX000".to_owned());
    Error::Refused { sqlstate, text: field(b'M').unwrap_or_default() }
}

/// During the login the server sends short messages: the longest are errors and notices.
const MAX_MESSAGE: usize = 64 * 1024;

/// Login triggers and settings raise a few.
const MAX_NOTICES: usize = 100;

/// PostgreSQL reports 13 to 15; extensions add some.
const MAX_PARAMETERS: usize = 256;

/// Of the server's error text in the log.
const MAX_TEXT: usize = 500;
