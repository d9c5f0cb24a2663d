//! A client with its own socket: it sends exactly the frames that it is told to, and keeps every byte of both ways.

#![allow(dead_code, reason = "each test uses its part of it")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Longest wait for a message.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection after its startup phase.
pub struct Wire {
    socket: TcpStream,
    /// What it sends to cancel: process id and key.
    key: Vec<u8>,
    /// What was sent, without startup packet and password.
    pub sent: Vec<u8>,
    /// What came, without authentication messages and BackendKeyData.
    pub received: Vec<u8>,
}

impl Wire {
    /// Logs in by cleartext password, in plaintext, and reads up to the first ReadyForQuery.
    pub fn connect(port: u16, user: &str, database: &str, password: &str) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut wire = Self { socket, key: Vec::new(), sent: Vec::new(), received: Vec::new() };
        let mut packet = 196_608u32.to_be_bytes().to_vec();
        for text in ["user", user, "database", database, "application_name", "wire", ""] {
            packet.extend_from_slice(text.as_bytes());
            packet.push(0);
        }
        let length = u32::try_from(packet.len() + 4).unwrap().to_be_bytes();
        wire.socket.write_all(&[&length[..], &packet].concat()).unwrap();
        loop {
            let (kind, body) = wire.message();
            match kind {
                b'R' if body == 3u32.to_be_bytes() => {
                    let answer = frame(b'p', &[password.as_bytes(), &[0]].concat());
                    wire.socket.write_all(&answer).unwrap();
                }
                b'R' => assert_eq!(body, 0u32.to_be_bytes(), "another way to log in"),
                b'K' => wire.key = body.clone(),
                _ => wire.received.extend(frame(kind, &body)),
            }
            match kind {
                b'Z' => return wire,
                b'E' => panic!("refused: {}", String::from_utf8_lossy(&body)),
                _ => {}
            }
        }
    }

    /// Sends a cancel request for this session to the gate at a port, and waits until it was taken.
    pub fn cancel_at(&self, port: u16) {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = u32::try_from(self.key.len() + 8).unwrap().to_be_bytes();
        socket.write_all(&[&length[..], &80_877_102u32.to_be_bytes(), &self.key].concat()).unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap(), 0, "nothing is said of it");
    }

    fn message(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 5];
        self.socket.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        self.socket.read_exact(&mut body).unwrap();
        (head[0], body)
    }

    pub fn send(&mut self, frames: &[Vec<u8>]) {
        let bytes = frames.concat();
        self.socket.write_all(&bytes).unwrap();
        self.sent.extend(bytes);
    }

    /// Reads messages up to one of this kind.
    pub fn until(&mut self, kind: u8) -> Vec<(u8, Vec<u8>)> {
        let mut messages = Vec::new();
        loop {
            let (came, body) = self.message();
            self.received.extend(frame(came, &body));
            messages.push((came, body));
            if came == kind {
                return messages;
            }
        }
    }

    /// Sends and reads up to ReadyForQuery; the kinds of what came.
    pub fn exchange(&mut self, frames: &[Vec<u8>]) -> String {
        self.send(frames);
        kinds(&self.until(b'Z'))
    }

    /// A simple message and the kinds of its answer.
    pub fn query(&mut self, sql: &str) -> String {
        self.exchange(&[query(sql)])
    }

    /// Reads to the end of the connection.
    pub fn drain(&mut self) {
        self.socket.read_to_end(&mut self.received).unwrap();
    }

    /// Reads this many bytes and goes away without a word.
    pub fn leave_after(mut self, bytes: usize) -> (Vec<u8>, Vec<u8>) {
        let mut part = vec![0; bytes];
        self.socket.read_exact(&mut part).unwrap();
        self.received.extend(part);
        (self.sent, self.received)
    }
}

/// The kinds of messages, runs of rows as one.
pub fn kinds(messages: &[(u8, Vec<u8>)]) -> String {
    let mut kinds: Vec<u8> = messages.iter().map(|m| m.0).filter(|kind| *kind != b'S').collect();
    kinds.dedup_by(|a, b| a == b && matches!(a, b'D' | b'd'));
    String::from_utf8(kinds).unwrap()
}

pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

pub fn query(sql: &str) -> Vec<u8> {
    frame(b'Q', &[sql.as_bytes(), &[0]].concat())
}

pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    frame(b'P', &[name.as_bytes(), &[0], sql.as_bytes(), &[0, 0, 0]].concat())
}

/// Values and results in text or binary, all alike.
pub fn bind(portal: &str, name: &str, binary: bool, values: &[Option<&[u8]>], results_binary: bool) -> Vec<u8> {
    let mut body = [portal.as_bytes(), &[0], name.as_bytes(), &[0, 0, 1, 0, u8::from(binary)]].concat();
    body.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        match value {
            None => body.extend((-1i32).to_be_bytes()),
            Some(value) => {
                body.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend_from_slice(value);
            }
        }
    }
    body.extend([0, 1, 0, u8::from(results_binary)]);
    frame(b'B', &body)
}

pub fn describe_portal(name: &str) -> Vec<u8> {
    frame(b'D', &[b"P", name.as_bytes(), &[0]].concat())
}

pub fn describe_statement(name: &str) -> Vec<u8> {
    frame(b'D', &[b"S", name.as_bytes(), &[0]].concat())
}

pub fn execute(portal: &str, rows: u32) -> Vec<u8> {
    frame(b'E', &[portal.as_bytes(), &[0], &rows.to_be_bytes()].concat())
}

pub fn close_statement(name: &str) -> Vec<u8> {
    frame(b'C', &[b"S", name.as_bytes(), &[0]].concat())
}

pub fn sync() -> Vec<u8> {
    frame(b'S', &[])
}

pub fn copy_data(bytes: &[u8]) -> Vec<u8> {
    frame(b'd', bytes)
}

pub fn copy_done() -> Vec<u8> {
    frame(b'c', &[])
}

pub fn copy_fail(reason: &str) -> Vec<u8> {
    frame(b'f', &[reason.as_bytes(), &[0]].concat())
}

pub fn terminate() -> Vec<u8> {
    frame(b'X', &[])
}
