//! The parameters of a startup packet, by allow list.

use super::{Error, Packet, Version, Wish};
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
    let mut wish = Wish::None;
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
        if name == "options"
            && let Some(wished) = wish_of(value)
        {
            wish = wished;
            continue;
        }
        if let Some(name) = accept(printable(name)?, value)?
            && parameters.insert(name.to_owned(), value.to_owned()).is_some()
        {
            return Err(refused(name, "it is given twice"));
        }
    }
    if !rest.is_empty() {
        return Err(Error::Malformed("expected terminator as last byte"));
    }
    let user = parameters.get("user").filter(|user| !user.is_empty()).cloned().ok_or(Error::NoUser)?;
    let database = parameters.get("database").filter(|name| !name.is_empty()).unwrap_or(&user).clone();
    parameters.insert("database".to_owned(), database.clone());
    Ok(Read { packet: Packet { user, database, parameters, version, wish }, unknown_options })
}

/// The parameter's name as PostgreSQL spells it; none for one that says nothing.
fn accept(name: &str, value: &str) -> Result<Option<&'static str>, Error> {
    if value.len() > MAX_VALUE_BYTES || value.chars().any(char::is_control) {
        return Err(refused(name, "its value is too long or has control characters"));
    }
    // These four are not settings: PostgreSQL compares their names exactly.
    match name {
        "user" => return Ok(Some("user")),
        "database" => return Ok(Some("database")),
        "replication" => return Err(refused(name, "this gate does not carry the replication protocol")),
        "options" if value.trim().is_empty() => return Ok(None),
        "options" => {
            return Err(refused(
                name,
                "command-line options cannot be checked, but for -c postern.auth=oauth or password; give each parameter by itself",
            ));
        }
        _ => {}
    }
    let Some(known) = ACCEPTED.iter().find(|known| known.eq_ignore_ascii_case(name)) else {
        return Err(refused(name, "it is not on this gate's list"));
    };
    match *known {
        "client_encoding" if !is_utf8(value) => Err(refused(known, "only UTF8 is")),
        "standard_conforming_strings" if !is_on(value) => Err(refused(known, "it must be on")),
        known => Ok(Some(known)),
    }
}

/// The one command-line option that the gate takes: it is for the gate, and goes no further.
fn wish_of(options: &str) -> Option<Wish> {
    let setting = options.trim();
    let setting = setting.strip_prefix("--").or_else(|| setting.strip_prefix("-c").map(str::trim_start))?;
    match setting.split_once('=')? {
        ("postern.auth", "oauth") => Some(Wish::Oauth),
        ("postern.auth", "password") => Some(Wish::Password),
        _ => None,
    }
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

fn refused(name: &str, reason: &'static str) -> Error {
    Error::Parameter { name: name.to_owned(), reason }
}

/// PostgreSQL's names have up to 63 bytes; settings of extensions add a prefix.
const MAX_NAME_BYTES: usize = 128;

/// Longer than any search path in use; each value stands in the session's first event.
const MAX_VALUE_BYTES: usize = 2048;
