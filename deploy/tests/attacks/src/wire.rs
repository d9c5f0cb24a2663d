//! A wire client without scruples: it sends any frame, and keeps everything that comes back.

use crate::{
    messages::{Bytes, Message},
    tls,
};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// How long a server may be silent before that counts as an answer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Startup's version 3.0.
const VERSION: i32 = 196_608;

/// What a connection may bring at most; beyond it the case fails.
const LARGEST: usize = 64 << 20;

/// Where to connect, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub database: String,
    pub password: String,
    pub application: String,
}

enum Stream {
    Plain(TcpStream),
    Encrypted(Box<tls::Encrypted>),
    None,
}

/// A connection.
pub struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    target: Target,
    pub messages: Vec<Message>,
    pub closed: bool,
    /// What cancels its statements.
    pub key: Option<(i32, i32)>,
}

impl Connection {
    /// Connects and says nothing but these bytes.
    pub fn raw(target: &Target, first: &[u8]) -> Result<Self> {
        let stream = TcpStream::connect((target.host.as_str(), target.port)).context("connecting")?;
        stream.set_nodelay(true).context("setting a socket up")?;
        let stream = Stream::Plain(stream);
        let mut connection =
            Self { stream, buffer: Vec::new(), target: target.clone(), messages: Vec::new(), closed: false, key: None };
        connection.send_raw(first);
        Ok(connection)
    }

    /// Connects and logs in, with these startup parameters on top; what becomes of it is in its messages.
    pub fn open(target: &Target, startup: &[(String, Value)]) -> Result<Self> {
        let mut version = VERSION;
        let mut parameters = vec![
            ("user".to_owned(), Value::from(target.user.clone())),
            ("database".to_owned(), Value::from(target.database.clone())),
            ("client_encoding".to_owned(), Value::from("UTF8")),
            ("application_name".to_owned(), Value::from(target.application.clone())),
        ];
        for (name, value) in startup {
            if name == "_version" {
                version = value.as_i64().and_then(|version| i32::try_from(version).ok()).unwrap_or(VERSION);
            } else if let Some(known) = parameters.iter_mut().find(|(known, _)| known == name) {
                known.1 = value.clone();
            } else {
                parameters.push((name.clone(), value.clone()));
            }
        }
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in parameters.iter().filter(|(_, value)| !value.is_null()) {
            body.extend(zero(name.as_bytes()));
            body.extend(zero(shown(value).as_bytes()));
        }
        body.push(0);
        let mut connection = Self::raw(target, &framed(&body))?;
        connection.log_in()?;
        Ok(connection)
    }

    fn log_in(&mut self) -> Result<()> {
        while let Message::Server(kind, body) = self.receive(PATIENCE) {
            match kind {
                b'R' => match Bytes(&body).i32() {
                    0 => {}
                    3 => self.send(b'p', &zero(self.target.password.clone().as_bytes())),
                    other => bail!("authentication {other} is not spoken: let the server trust or ask for a password"),
                },
                b'K' => {
                    let mut bytes = Bytes(&body);
                    self.key = Some((bytes.i32(), bytes.i32()));
                }
                b'Z' => return Ok(()),
                b'E' => {
                    self.closed = true;
                    return Ok(());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// One frame.
    pub fn send(&mut self, kind: u8, body: &[u8]) {
        let mut frame = vec![kind];
        frame.extend(framed(body));
        self.send_raw(&frame);
    }

    /// Any bytes.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Encrypted(stream) => stream.write_all(bytes),
            Stream::None => Err(ErrorKind::NotConnected.into()),
        };
        self.closed |= sent.is_err();
    }

    /// One byte from the connection as it is; empty at its end.
    pub fn byte(&mut self, timeout: Duration) -> std::io::Result<Vec<u8>> {
        let mut byte = [0];
        let Stream::Plain(stream) = &mut self.stream else { return Err(ErrorKind::NotConnected.into()) };
        stream.set_read_timeout(Some(timeout))?;
        let read = stream.read(&mut byte)?;
        Ok(byte.into_iter().take(read).collect())
    }

    /// Puts bytes back that were read too early.
    pub fn unread(&mut self, bytes: Vec<u8>) {
        self.buffer = bytes;
    }

    /// Goes on over TLS.
    pub fn encrypt(&mut self) -> Result<()> {
        if let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::None) {
            self.stream = Stream::Encrypted(Box::new(tls::wrap(stream)?));
        }
        Ok(())
    }

    /// The next message; it is kept too, if a server sent it.
    pub fn receive(&mut self, timeout: Duration) -> Message {
        loop {
            if let Some(message) = self.take() {
                self.messages.push(message.clone());
                return message;
            }
            match self.read(timeout) {
                Ok(0) => break,
                Ok(_) if self.buffer.len() > LARGEST => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Message::Timeout;
                }
                Err(_) => break,
            }
        }
        self.closed = true;
        Message::Closed
    }

    fn take(&mut self) -> Option<Message> {
        let (kind, rest) = self.buffer.split_first()?;
        let length = usize::try_from(u32::from_be_bytes(rest.get(..4)?.try_into().ok()?)).ok()?;
        let body = rest.get(4..length)?.to_vec();
        let message = Message::Server(*kind, body);
        self.buffer.drain(..length.saturating_add(1));
        Some(message)
    }

    fn read(&mut self, timeout: Duration) -> std::io::Result<usize> {
        let mut bytes = [0; 16 << 10];
        let read = match &mut self.stream {
            Stream::Plain(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.read(&mut bytes)?
            }
            Stream::Encrypted(stream) => {
                stream.sock.set_read_timeout(Some(timeout))?;
                stream.read(&mut bytes)?
            }
            Stream::None => 0,
        };
        self.buffer.extend(bytes.iter().take(read));
        Ok(read)
    }

    /// Reads until the server was ready so many times; feeds COPY with `copy`.
    pub fn until(&mut self, mut ready: i64, copy: Option<&Value>, timeout: Duration) {
        while ready > 0 && !self.closed {
            match self.receive(timeout) {
                Message::Server(b'Z', _) => ready -= 1,
                Message::Server(b'G', _) => self.feed(copy),
                Message::Server(b'W', _) => {
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_secs(1) {
                        if self.receive(Duration::from_millis(300)).server().is_none() {
                            break;
                        }
                    }
                    return;
                }
                Message::Server(..) => {}
                Message::Timeout => {
                    self.messages.push(Message::Timeout);
                    return;
                }
                Message::Closed | Message::Byte(_) => return,
            }
        }
    }

    fn feed(&mut self, copy: Option<&Value>) {
        match copy {
            None | Some(Value::Null) => self.send(b'f', b"no data\0"),
            Some(Value::Array(messages)) => messages.iter().for_each(|message| self.message(message)),
            Some(text) => {
                self.send(b'd', shown(text).as_bytes());
                self.send(b'c', b"");
            }
        }
    }

    /// A frame as the corpus writes it: `["Q", "SELECT 1"]`.
    pub fn message(&mut self, message: &Value) {
        let part = |place: usize| message.get(place).map(shown).unwrap_or_default();
        let list = |place: usize| message.get(place).and_then(Value::as_array).cloned().unwrap_or_default();
        let number = |place: usize| message.get(place).and_then(Value::as_i64).unwrap_or(0);
        let kind = part(0).bytes().next().unwrap_or(0);
        let body = match kind {
            b'P' => {
                let mut body = [zero(part(1).as_bytes()), zero(part(2).as_bytes())].concat();
                body.extend(count(list(3).len()));
                body.extend(list(3).iter().flat_map(|oid| low(oid.as_i64().unwrap_or(0))));
                body
            }
            b'B' => {
                let mut body = [zero(part(1).as_bytes()), zero(part(2).as_bytes()), count(0).to_vec()].concat();
                body.extend(values(&list(3)));
                body.extend(count(list(4).len()));
                body.extend(list(4).iter().flat_map(|format| tiny(format.as_i64().unwrap_or(0))));
                body
            }
            b'D' | b'C' => [part(1).into_bytes(), zero(part(2).as_bytes())].concat(),
            b'E' => [zero(part(1).as_bytes()), low(number(2)).to_vec()].concat(),
            b'd' => part(1).into_bytes(),
            b'F' => {
                let oid = part(1).parse().unwrap_or(0);
                let mut body = [low(oid).to_vec(), count(0).to_vec()].concat();
                body.extend(values(&list(2)));
                body.extend(tiny(number(3)));
                body
            }
            b'Q' | b'f' => zero(part(1).as_bytes()),
            _ => Vec::new(),
        };
        self.send(kind, &body);
    }
}

/// A text as it is, anything else as JSON.
pub fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// With its length in front.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len().saturating_add(4)).unwrap_or(u32::MAX);
    [length.to_be_bytes().as_slice(), body].concat()
}

/// With a NUL behind.
pub fn zero(bytes: &[u8]) -> Vec<u8> {
    [bytes, &[0]].concat()
}

fn count(items: usize) -> [u8; 2] {
    u16::try_from(items).unwrap_or(u16::MAX).to_be_bytes()
}

/// The number's lower four bytes.
fn low(number: i64) -> [u8; 4] {
    let [.., a, b, c, d] = number.to_be_bytes();
    [a, b, c, d]
}

fn tiny(number: i64) -> [u8; 2] {
    let [.., a, b] = number.to_be_bytes();
    [a, b]
}

/// Their number, and each with its length.
fn values(values: &[Value]) -> Vec<u8> {
    let mut body = count(values.len()).to_vec();
    for value in values {
        if value.is_null() {
            body.extend((-1_i32).to_be_bytes());
        } else {
            let text = shown(value);
            body.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            body.extend(text.as_bytes());
        }
    }
    body
}
