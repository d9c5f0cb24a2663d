//! The database itself, past the gate: sets cases up, verifies, puts everything back.

use crate::{
    messages::{Message, Row, field, rows},
    wire::{Connection, Target},
};
use anyhow::{Context as _, Result, ensure};
use regex::Regex;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// The database that cases run in, and the one that it is made from.
pub const DATABASE: &str = "bypass";
/// See [`DATABASE`].
pub const TEMPLATE: &str = "bypass_tpl";
/// The role that the gate logs in as: the owner of everything, so that no missing right does the gate's work.
pub const OWNER: &str = "app_owner";

/// Longest time of one statement.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a new database is tried while an old one is still in use.
const ATTEMPTS: usize = 50;

/// A superuser's connection.
pub struct Admin {
    target: Target,
    connection: Option<Connection>,
    oids: BTreeMap<String, String>,
}

impl Admin {
    pub fn new(mut target: Target) -> Self {
        "attacks-admin".clone_into(&mut target.application);
        Self { target, connection: None, oids: BTreeMap::new() }
    }

    /// Runs SQL; the rows of its last result.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.closed => connection,
            _ => Connection::open(&self.target, &[])?,
        };
        let rows = query(&mut connection, sql);
        self.connection = Some(connection);
        rows
    }

    /// The first value of the first row.
    pub fn one(&mut self, sql: &str) -> Result<Option<String>> {
        let rows = self.query(sql)?;
        let value = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// The database as the template has it.
    pub fn reset(&mut self) -> Result<()> {
        self.connection = None;
        let mut server = Connection::open(&Target { database: "postgres".to_owned(), ..self.target.clone() }, &[])?;
        query(&mut server, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")?;
        query(&mut server, &format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"))?;
        let create = format!("CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}");
        let mut made = Ok(Vec::new());
        for _ in 0..ATTEMPTS {
            made = query(&mut server, &create);
            if made.is_ok() {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        made.context("making the database anew")?;
        query(&mut server, &format!("ALTER ROLE agent_masked IN DATABASE {DATABASE} SET search_path=masked,public"))?;
        query(&mut server, &format!("GRANT CREATE ON DATABASE {DATABASE} TO {OWNER}"))?;
        Ok(())
    }

    /// A value with its placeholders filled in.
    pub fn substitute(&mut self, value: &Value) -> Result<Value> {
        Ok(match value {
            Value::String(text) => Value::String(self.substitute_text(text)?),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.substitute(item)).collect::<Result<_>>()?),
            Value::Object(object) => {
                let each = object.iter().map(|(key, value)| Ok((key.clone(), self.substitute(value)?)));
                Value::Object(each.collect::<Result<_>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    /// A text with its placeholders filled in: where the database is, the role there, and object ids.
    pub fn substitute_text(&mut self, text: &str) -> Result<String> {
        let mut text = text
            .replace("{db_host}", &self.target.host)
            .replace("{db_port}", &self.target.port.to_string())
            .replace("{db_name}", DATABASE)
            .replace("{user}", OWNER);
        let pattern = Regex::new(r"\{(regprocedure|regclass|regproc):([^}]+)\}").context("a pattern")?;
        while let Some(found) = pattern.captures(&text) {
            let (whole, kind, name) = (found.get(0), found.get(1), found.get(2));
            let whole = whole.context("a match")?.as_str().to_owned();
            let (kind, name) = (kind.context("a kind")?.as_str(), name.context("a name")?.as_str());
            let oid = match self.oids.get(&whole) {
                Some(oid) => oid.clone(),
                None => self.one(&format!("SELECT '{name}'::{kind}::oid"))?.context("an object id")?,
            };
            self.oids.insert(whole.clone(), oid.clone());
            text = text.replace(&whole, &oid);
        }
        Ok(text)
    }
}

fn query(connection: &mut Connection, sql: &str) -> Result<Vec<Row>> {
    connection.messages.clear();
    connection.message(&json!(["Q", sql]));
    connection.until(1, None, PATIENCE);
    let errors = connection.messages.iter().filter_map(Message::server).filter(|(kind, _)| *kind == b'E');
    if let Some((_, body)) = errors.into_iter().next() {
        anyhow::bail!("{}: {}", sql.chars().take(100).collect::<String>(), field(body, 'M'));
    }
    ensure!(!connection.closed, "{sql}: the server closed the connection");
    Ok(rows(&connection.messages).pop().unwrap_or_default())
}
