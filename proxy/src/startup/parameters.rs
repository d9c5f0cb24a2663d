//! The parameters of a startup packet, by allow list.

use super::{
    Error, Packet, Version,
    options::{self, Options},
};
use std::collections::BTreeMap;

/// The packet, and the protocol options that it asks for and the gate does not have.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) packet: Packet,
    pub(super) unknown_options: Vec<String>,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Parameters are a stranger's: a confused client may put its token anywhere.
        f.debug_struct("Packet").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Parameters that set how values look and how long things may take. None of them changes what a statement means, but
/// for `search_path`, which the gate follows. Drivers send these by themselves, or people set them in every driver.
const ACCEPTED: [&str; 18] = [
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "DateStyle",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "IntervalStyle",
    "jit",
    "lock_timeout",
    "search_path",
    "standard_conforming_strings",
    "statement_timeout",
    "TimeZone",
    "transaction_timeout",
];

/// Reads what follows length and version: `name NUL value NUL` any number of times, and one NUL.
pub(super) fn read(bytes: &[u8], version: Version) -> Result<Read, Error> {
    let mut parameters = BTreeMap::new();
    let mut unknown_options = Vec::new();
    let mut options: Option<Options> = None;
    let mut rest = bytes;
    loop {
        let name = text(&mut rest)?;
        if name.is_empty() {
            break;
        }
        let value = text(&mut rest)?;
        if name.starts_with("_pq_.") {
            unknown_options.push(printable(name)?.to_owned());
            continue;
        }
        if name == "options" {
            if value.len() > MAX_VALUE_BYTES || options.replace(options::read(value)?).is_some() {
                return Err(refused(name, "it is too long, or given twice"));
            }
            continue;
        }
        let name = accept(printable(name)?, value)?;
        if parameters.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(refused(name, "it is given twice"));
        }
    }
    if !rest.is_empty() {
        return Err(Error::Malformed("expected terminator as last byte"));
    }
    let options = options.unwrap_or_default();
    let mut more = BTreeMap::new();
    for (name, value) in options.settings {
        // as in PostgreSQL the last one counts, and a parameter of the packet's own more than any
        more.insert(setting(printable(&name)?, &value)?.to_owned(), value);
    }
    for (name, value) in more {
        parameters.entry(name).or_insert(value);
    }
    let wish = options.wish.unwrap_or_default();
    let user = parameters.get("user").filter(|user| !user.is_empty()).cloned().ok_or(Error::NoUser)?;
    let database = parameters.get("database").filter(|name| !name.is_empty()).unwrap_or(&user).clone();
    parameters.insert("database".to_owned(), database.clone());
    Ok(Read { packet: Packet { user, database, parameters, version, wish }, unknown_options })
}

/// The parameter's name as PostgreSQL spells it.
fn accept(name: &str, value: &str) -> Result<&'static str, Error> {
    plain(name, value)?;
    // These three are not settings: PostgreSQL compares their names exactly.
    match name {
        "user" => Ok("user"),
        "database" => Ok("database"),
        "replication" => Err(refused(name, "this gate does not carry the replication protocol")),
        _ => setting(name, value),
    }
}

/// The name as PostgreSQL spells it of a setting that the gate takes.
fn setting(name: &str, value: &str) -> Result<&'static str, Error> {
    plain(name, value)?;
    let Some(known) = ACCEPTED.iter().find(|known| known.eq_ignore_ascii_case(name)) else {
        return Err(refused(name, "it is not on this gate's list"));
    };
    match *known {
        "client_encoding" if !is_utf8(value) => Err(refused(known, "only UTF8 is")),
        "standard_conforming_strings" if !is_on(value) => Err(refused(known, "it must be on")),
        known => Ok(known),
    }
}

fn plain(name: &str, value: &str) -> Result<(), Error> {
    if value.len() > MAX_VALUE_BYTES || value.chars().any(char::is_control) {
        return Err(refused(name, "its value is too long or has control characters"));
    }
    Ok(())
}

/// As drivers spell it: `UTF8`, `utf-8`, `'utf-8'` (asyncpg), `unicode`.
fn is_utf8(value: &str) -> bool {
    let bare = value.trim_matches('\'').replace(['-', '_'], "");
    bare.eq_ignore_ascii_case("utf8") || bare.eq_ignore_ascii_case("unicode")
}

fn is_on(value: &str) -> bool {
    ["on", "true", "1", "yes"].iter().any(|on| on.eq_ignore_ascii_case(value))
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Error> {
    let end = rest.iter().position(|byte| *byte == 0).ok_or(Error::Malformed("a text has no end"))?;
    let (text, after) = rest.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    std::str::from_utf8(text).map_err(|_| Error::Malformed("a text is not UTF-8"))
}

/// Names go into messages and logs.
fn printable(name: &str) -> Result<&str, Error> {
    if name.len() <= MAX_NAME_BYTES && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(name)
    } else {
        Err(Error::Malformed("a parameter's name is too long or not printable"))
    }
}

pub(super) fn refused(name: &str, reason: &'static str) -> Error {
    Error::Parameter { name: name.to_owned(), reason }
}

/// PostgreSQL's names have up to 63 bytes; settings of extensions add a prefix.
const MAX_NAME_BYTES: usize = 128;

/// Longer than any search path in use; each value stands in the session's first event.
const MAX_VALUE_BYTES: usize = 2048;
