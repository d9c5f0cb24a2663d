//! Carries a case's steps out, over as many connections as it names.

use crate::{
    messages::Message,
    needles::unhex,
    wire::{Connection, PATIENCE, Target, shown},
};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Codes of the requests that come in the place of a startup packet.
const CANCEL: i32 = 80_877_102;
const TLS: i64 = 80_877_103;

/// After attempts that a server may well answer with silence.
const SHORT: Duration = Duration::from_secs(10);

/// Everything that was said, and how long it took.
pub fn run(steps: &[Value], target: &Target) -> Result<(Vec<Message>, Duration)> {
    let start = Instant::now();
    let mut run =
        Run { target, connections: BTreeMap::new(), order: Vec::new(), current: "a".to_owned(), all: Vec::new() };
    for step in steps {
        run.step(step)?;
    }
    for name in run.order {
        if let Some(connection) = run.connections.remove(&name) {
            run.all.extend(connection.messages);
            if connection.closed {
                run.all.push(Message::Closed);
            }
        }
    }
    Ok((run.all, start.elapsed()))
}

struct Run<'a> {
    target: &'a Target,
    connections: BTreeMap<String, Connection>,
    /// The connections' names as they came up.
    order: Vec<String>,
    current: String,
    all: Vec<Message>,
}

impl Run<'_> {
    fn connection(&mut self, name: &str) -> Result<&mut Connection> {
        if !self.connections.contains_key(name) {
            let connection = Connection::open(self.target, &[])?;
            self.put(name, connection);
        }
        self.connections.get_mut(name).context("a connection that was just made")
    }

    fn put(&mut self, name: &str, connection: Connection) {
        self.connections.insert(name.to_owned(), connection);
        if !self.order.iter().any(|known| known == name) {
            self.order.push(name.to_owned());
        }
    }

    fn step(&mut self, step: &Value) -> Result<()> {
        let current = self.current.clone();
        if let Some(startup) = step.get("startup").and_then(Value::as_object) {
            let mut target = self.target.clone();
            let other = |key: &str| step.get("dsn").and_then(|dsn| dsn.get(key)).map(shown);
            target.password = other("password").unwrap_or(target.password);
            target.user = other("user").unwrap_or(target.user);
            target.database = other("dbname").unwrap_or(target.database);
            let startup: Vec<_> = startup.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            self.put(&current, Connection::open(&target, &startup)?);
        }
        if let Some(name) = step.get("conn").and_then(Value::as_str) {
            name.clone_into(&mut self.current);
        }
        if step.get("ssl_inject").is_some() {
            self.inject(step)?;
        }
        if let Some(bytes) = hex(step, "raw_first") {
            let mut connection = Connection::raw(self.target, &bytes)?;
            connection.until(1, None, SHORT);
            let current = self.current.clone();
            self.put(&current, connection);
        }
        if let Some(cancel) = step.get("cancel") {
            self.cancel(cancel)?;
        }
        if let Some(seconds) = step.get("sleep").and_then(Value::as_f64) {
            std::thread::park_timeout(Duration::from_secs_f64(seconds));
        }
        if ["q", "x", "raw", "qhex", "send_only", "bytes"].iter().any(|key| step.get(key).is_some())
            && !self.send(step)?
        {
            return Ok(());
        }
        if let Some(count) = step.get("read").and_then(Value::as_i64) {
            let current = self.current.clone();
            self.connection(&current)?.until(count, None, PATIENCE);
        }
        self.take();
        Ok(())
    }

    fn take(&mut self) {
        if let Some(connection) = self.connections.get_mut(&self.current) {
            self.all.append(&mut connection.messages);
        }
    }

    /// False: the connection is closed, and the step ends.
    fn send(&mut self, step: &Value) -> Result<bool> {
        let current = self.current.clone();
        let patience = step.get("timeout").and_then(Value::as_f64).map(Duration::from_secs_f64);
        let copy = step.get("copy").cloned();
        let list = |key: &str| step.get(key).cloned().unwrap_or_else(|| json!([]));
        let connection = self.connection(&current)?;
        if connection.closed {
            self.take();
            return Ok(false);
        }
        if let Some(text) = step.get("q") {
            connection.message(&json!(["Q", text]));
            connection.until(1, copy.as_ref(), patience.unwrap_or(PATIENCE));
        }
        if let Some(bytes) = hex(step, "qhex") {
            connection.send(b'Q', &crate::wire::zero(&bytes));
            connection.until(1, None, PATIENCE);
        }
        if let Some(text) = step.get("x") {
            let rows = step.get("max_rows").cloned().unwrap_or_else(|| json!(0));
            for message in [
                json!(["P", "", text, list("oids")]),
                json!(["D", "S", ""]),
                json!(["B", "", "", list("params"), list("rfmt")]),
                json!(["E", "", rows]),
                json!(["S"]),
            ] {
                connection.message(&message);
            }
            connection.until(1, copy.as_ref(), PATIENCE);
        }
        if let Some(messages) = step.get("raw").and_then(Value::as_array) {
            messages.iter().for_each(|message| connection.message(message));
            let ends = |message: &&Value| matches!(message.get(0).and_then(Value::as_str), Some("S" | "Q" | "F"));
            let counted = i64::try_from(messages.iter().filter(ends).count()).unwrap_or(i64::MAX);
            let ready = step.get("ready").and_then(Value::as_i64).unwrap_or(counted);
            connection.until(ready, copy.as_ref(), patience.unwrap_or(PATIENCE));
        }
        if let Some(messages) = step.get("send_only").and_then(Value::as_array) {
            messages.iter().for_each(|message| connection.message(message));
        }
        if let Some(bytes) = hex(step, "bytes") {
            connection.send_raw(&bytes);
            connection.until(1, None, patience.unwrap_or(SHORT));
        }
        Ok(true)
    }

    fn cancel(&mut self, cancel: &Value) -> Result<()> {
        let victim = cancel.get("of").and_then(Value::as_str).unwrap_or("a").to_owned();
        let (pid, mut key) = self.connection(&victim)?.key.unwrap_or((0, 0));
        if cancel.get("wrong").and_then(Value::as_bool) == Some(true) {
            key ^= 0x5a_5a5a;
        }
        let packet: Vec<u8> = [16, CANCEL, pid, key].iter().flat_map(|number: &i32| number.to_be_bytes()).collect();
        drop(Connection::raw(self.target, &packet)?);
        std::thread::park_timeout(Duration::from_millis(400));
        Ok(())
    }

    /// A request for encryption with a whole session in plaintext right behind it.
    fn inject(&mut self, step: &Value) -> Result<()> {
        let code = step.get("code").and_then(Value::as_i64).unwrap_or(TLS);
        let code = i32::try_from(code).context("a request's code")?;
        let query = [step.get("ssl_inject").map(shown).unwrap_or_default().as_bytes(), &[0]].concat();
        let names = format!("user\0{}\0database\0{}\0\0", self.target.user, self.target.database);
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
        let packet = [
            &8_i32.to_be_bytes(),
            &code.to_be_bytes(),
            &length(names.len() + 8),
            &196_608_i32.to_be_bytes(),
            names.as_bytes(),
            b"Q",
            &length(query.len() + 4),
            &query,
        ]
        .concat();
        let mut connection = Connection::raw(self.target, &packet)?;
        match connection.byte(SHORT) {
            Err(_) => self.all.push(Message::Closed),
            Ok(byte) => {
                self.all.push(Message::Byte(byte.clone()));
                match byte.first() {
                    Some(b'S') => {
                        connection.encrypt()?;
                        while connection.receive(SHORT).server().is_some() {}
                    }
                    Some(b'E') => {
                        connection.unread(byte);
                        connection.until(1, None, SHORT);
                    }
                    Some(_) | None => connection.until(2, None, SHORT),
                }
            }
        }
        let current = self.current.clone();
        self.put(&current, connection);
        Ok(())
    }
}

fn hex(step: &Value, key: &str) -> Option<Vec<u8>> {
    unhex(step.get(key)?.as_str()?)
}
