//! A client of the ledger's own: it writes down what it saw of every statement that it sent.

use super::{
    check::{Connection, Row, Saw, Sent},
    script::{self, Unit},
};
use crate::{
    support::eventually,
    wire::{frame, parse, sync, terminate},
};
use fastrand::Rng as Random;
use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Where the clients find the gates, and when they are to end.
pub struct Gates {
    pub ports: Vec<u16>,
    pub token: String,
    /// Everything works again: each client is to be served once more, then ends.
    pub healed: AtomicBool,
    /// Answered statements of all clients.
    pub answered: AtomicU64,
    /// Connections that came to be, and that did not.
    pub connected: AtomicU64,
    pub refused: AtomicU64,
    /// Why gates refused connections, and how often.
    pub refusals: Mutex<BTreeMap<String, u64>>,
    /// What no server may do: answers that fit nothing.
    pub oddities: Mutex<Vec<String>>,
}

impl Gates {
    pub fn new(ports: Vec<u16>, token: String) -> Self {
        Self {
            ports,
            token,
            healed: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refusals: Mutex::default(),
            oddities: Mutex::default(),
        }
    }

    /// How many statements were answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// How far the clients are.
    pub fn told(&self) -> String {
        let (answered, connected) = (self.answered(), self.connected.load(Relaxed));
        format!("{answered} answers, {connected} connections, {} failed to connect", self.refused.load(Relaxed))
    }
}

/// How long a client waits for an answer while faults come.
const PATIENCE: Duration = Duration::from_secs(5);

/// And when they do not.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

/// Statements of one client, at most.
pub const PER_CLIENT: u64 = 100_000_000;

/// Works until the gates are healed and have served it once more; everything that it saw.
pub fn work(client: u64, seed: u64, gates: &Arc<Gates>) -> Vec<Connection> {
    let mut random = Random::with_seed(seed ^ (client << 40));
    let mut ids = client * PER_CLIENT..(client + 1) * PER_CLIENT;
    let mut seen = Vec::new();
    loop {
        let healed = gates.healed.load(Relaxed);
        let label = format!("ledger-{client}-{}", seen.len());
        let sent = Vec::new();
        seen.push(Connection { label: label.clone(), sent });
        let connection = seen.last_mut().unwrap();
        let port = gates.ports[random.usize(..gates.ports.len())];
        let patience = if healed { LONG_PATIENCE } else { PATIENCE };
        match Socket::open(port, &label, &gates.token, patience) {
            Ok(socket) => {
                gates.connected.fetch_add(1, Relaxed);
                let mut session = Session { socket, connection, gates, transaction: b'I', open: Vec::new() };
                let done = session.run(&mut ids, &mut random, client, healed);
                if let Err(error) = &done
                    && error.kind() == io::ErrorKind::InvalidData
                {
                    gates.oddities.lock().unwrap().push(format!("{label}: {error}"));
                }
                if healed && done.is_ok() {
                    return seen;
                }
            }
            Err(error) => {
                gates.refused.fetch_add(1, Relaxed);
                *gates.refusals.lock().unwrap().entry(error.to_string()).or_default() += 1;
            }
        }
        std::thread::park_timeout(Duration::from_millis(random.u64(20..=400)));
    }
}

/// Waits until all clients have ended; each must be served once more.
pub fn finish(clients: Vec<std::thread::JoinHandle<Vec<Connection>>>, gates: &Gates) -> Vec<Connection> {
    gates.healed.store(true, Relaxed);
    eventually("each client is served once more after the faults", Duration::from_secs(180), || {
        clients.iter().all(std::thread::JoinHandle::is_finished).then_some(())
    });
    clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
}

struct Session<'a> {
    socket: Socket,
    connection: &'a mut Connection,
    gates: &'a Gates,
    /// As the last ReadyForQuery said.
    transaction: u8,
    /// Rows of the open transaction: places in what was sent.
    open: Vec<usize>,
}

impl Session<'_> {
    /// Sends batches of statements until it is enough, and leaves in one way or another.
    fn run(
        &mut self,
        ids: &mut std::ops::Range<u64>,
        random: &mut Random,
        client: u64,
        healed: bool,
    ) -> io::Result<()> {
        self.socket.write(&[parse(script::PREPARED, script::INSERT_BOUND), sync()].concat())?;
        self.answers(&[Unit::new(false, vec![])], &[])?;
        let batches = if healed { 10 } else { random.u64(1..=200) };
        let ends = Instant::now() + Duration::from_secs(30);
        for _ in 0..batches {
            let batch = script::batch(ids, random, client);
            let first = self.connection.sent.len();
            for unit in &batch.units {
                for statement in &unit.statements {
                    let row = if statement.inserts { Row::Unknown } else { Row::Never };
                    self.connection.sent.push(Sent { id: statement.id, saw: Saw::Unknown, row });
                }
            }
            let places: Vec<usize> = (first..self.connection.sent.len()).collect();
            if batch.stepwise {
                let mut next = 0;
                for unit in &batch.units {
                    self.socket.write(&unit.bytes)?;
                    self.answers(std::slice::from_ref(unit), &places[next..next + unit.statements.len()])?;
                    next += unit.statements.len();
                }
            } else {
                let bytes: Vec<u8> = batch.units.iter().flat_map(|unit| unit.bytes.iter().copied()).collect();
                self.socket.write(&bytes)?;
                self.answers(&batch.units, &places)?;
            }
            let late = !healed && (self.gates.healed.load(Relaxed) || Instant::now() > ends);
            if late {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(random.u64(5..=100)));
        }
        // some leave without a word
        if random.u64(..3) > 0 { self.socket.write(&terminate()) } else { Ok(()) }
    }

    /// Reads the answers to some units whose statements lie at these places.
    fn answers(&mut self, units: &[Unit], places: &[usize]) -> io::Result<()> {
        let mut places = places.iter().copied();
        for unit in units {
            let mut waiting: std::collections::VecDeque<usize> = places.by_ref().take(unit.statements.len()).collect();
            let (mut failed, mut tag) = (false, String::new());
            // in the extended protocol a statement runs once its Bind is done; what fails before is no end of it
            let mut runs = unit.simple;
            loop {
                let (kind, body) = self.socket.message()?;
                match kind {
                    b'C' => {
                        let place = waiting.pop_front().ok_or_else(|| odd("a tag for no statement"))?;
                        tag = text(&body);
                        if self.connection.sent[place].row == Row::Unknown {
                            self.open.push(place);
                        }
                        self.saw(place, Saw::Succeeded { tag: tag.clone() });
                        runs = unit.simple;
                    }
                    b'E' => {
                        let report = Report::read(&body);
                        if report.severity != "ERROR" {
                            // the session's end, and no statement's
                            return Err(io::ErrorKind::ConnectionAborted.into());
                        }
                        let place = waiting.pop_front().filter(|_| !failed);
                        let place = place.ok_or_else(|| odd(&format!("an error for no statement: {report:?}")))?;
                        failed = true;
                        self.connection.sent[place].row = Row::Never;
                        let saw = report.saw();
                        self.saw(place, if runs || matches!(saw, Saw::Denied { .. }) { saw } else { Saw::Skipped });
                        for place in waiting.drain(..) {
                            self.connection.sent[place].row = Row::Never;
                            self.saw(place, Saw::Skipped);
                        }
                    }
                    b'Z' => {
                        if !waiting.is_empty() {
                            return Err(odd("ready, with answers missing"));
                        }
                        self.ready(*body.first().ok_or_else(|| odd("an empty ReadyForQuery"))?, failed, &tag);
                        break;
                    }
                    b'2' => runs = true,
                    b'1' | b'3' | b'T' | b'D' | b'n' | b't' | b'N' | b'S' => {}
                    other => return Err(odd(&format!("a message of type {:?}", char::from(other)))),
                }
            }
        }
        Ok(())
    }

    fn saw(&mut self, place: usize, saw: Saw) {
        self.connection.sent[place].saw = saw;
        self.gates.answered.fetch_add(1, Relaxed);
    }

    /// A unit is answered: where no transaction is open any more, it is known what became of rows.
    fn ready(&mut self, transaction: u8, failed: bool, tag: &str) {
        self.transaction = transaction;
        if transaction == b'I' {
            let row = if failed || tag == "ROLLBACK" { Row::Never } else { Row::Stored };
            for place in self.open.drain(..) {
                self.connection.sent[place].row = row;
            }
        }
    }
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).trim_end_matches('\0').to_owned()
}

/// An ErrorResponse.
#[derive(Debug, Default)]
struct Report {
    severity: String,
    sqlstate: String,
    message: String,
    detail: String,
}

impl Report {
    fn read(body: &[u8]) -> Self {
        let mut report = Self::default();
        for field in body.split(|byte| *byte == 0) {
            match field.split_first() {
                Some((b'V', value)) => report.severity = text(value),
                Some((b'C', value)) => report.sqlstate = text(value),
                Some((b'M', value)) => report.message = text(value),
                Some((b'D', value)) => report.detail = text(value),
                _ => {}
            }
        }
        report
    }

    /// The gate names the statement that it denies.
    fn saw(self) -> Saw {
        let sqlstate = self.sqlstate;
        match self.detail.split_once(", statement ") {
            Some((decided, named)) if decided.starts_with("Decided by policy ") => {
                Saw::Denied { sqlstate, statement: named.trim_end_matches('.').to_owned() }
            }
            _ => Saw::Failed { sqlstate },
        }
    }
}

/// A connection that may break at any time.
struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    read: usize,
}

impl Socket {
    /// Logs in by password.
    fn open(port: u16, label: &str, token: &str, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        let mut socket = Self { stream, buffer: Vec::new(), read: 0 };
        let mut packet = 196_608u32.to_be_bytes().to_vec();
        for text in ["user", "agent", "database", "shop", "application_name", label, ""] {
            packet.extend_from_slice(text.as_bytes());
            packet.push(0);
        }
        let length = u32::try_from(packet.len() + 4).unwrap().to_be_bytes();
        socket.write(&[&length[..], &packet].concat())?;
        loop {
            match socket.message()? {
                (b'R', body) if body == 3u32.to_be_bytes() => {
                    socket.write(&frame(b'p', &[token.as_bytes(), &[0]].concat()))?;
                }
                (b'E', body) => {
                    let Report { sqlstate, message, .. } = Report::read(&body);
                    return Err(io::Error::other(format!("{sqlstate} {message}")));
                }
                (b'Z', _) => return Ok(socket),
                _ => {}
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            let unread = &self.buffer[self.read..];
            if let Some(head) = unread.first_chunk::<5>() {
                let total = usize::try_from(u32::from_be_bytes(head[1..].try_into().unwrap())).unwrap() + 1;
                if let Some(message) = unread.get(5..total) {
                    let message = (head[0], message.to_vec());
                    self.read += total;
                    return Ok(message);
                }
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            let mut piece = [0; 16 << 10];
            let count = self.stream.read(&mut piece)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&piece[..count]);
        }
    }
}
