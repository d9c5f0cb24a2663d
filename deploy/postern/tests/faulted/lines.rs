//! What the archive says, line by line: each event that matters to the ledger, as `postern events tail` prints it.

use crate::support::Postern;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::Stdio,
};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub sequence: u64,
    pub what: What,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A session of a client began; `label` is what the client called its connection.
    Opened { label: String },
    /// A statement came; `id` is the ledger's.
    Statement { number: u64, id: Option<u64> },
    /// It was decided.
    Verdict { number: u64, denies: bool, writes_ledger: bool },
    /// It ended.
    Completed { number: u64, outcome: String, tag: String, sqlstate: Option<String> },
    /// The session ended.
    Closed { crashed: bool, statements: u64 },
    /// Recovery could not read something.
    Gap,
    /// Anything else.
    Other,
}

/// The lines of each session in the archive's order, by the session's id.
pub type Archive = BTreeMap<String, Vec<Line>>;

/// What begins the ledger's mark in a statement's text.
pub const MARK: &str = "/* ledger ";

/// What the mark says where the first bound value is the id.
pub const BOUND: &str = "bound";

/// Reads every event of the archive; how many there are beside.
pub fn read(postern: &Postern) -> (Archive, usize) {
    let mut command = postern.command(&["events", "tail", "--from-start", "--no-follow", "-o", "json"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut archive = Archive::new();
    let mut count = 0;
    for text in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&text.unwrap()).unwrap();
        let line = Line { sequence: event["sequence"].as_u64().unwrap(), what: what(&event["body"]) };
        archive.entry(event["session"].as_str().unwrap().to_owned()).or_default().push(line);
        count += 1;
    }
    assert!(child.wait().unwrap().success());
    // what is no session of a client's: refused connections, what auditors and the access plane did
    archive.retain(|_, lines| lines.iter().any(|line| line.what != What::Other));
    (archive, count)
}

fn what(body: &Value) -> What {
    let (kind, body) = body.as_object().unwrap().iter().next().unwrap();
    let number = || body["number"].as_u64().unwrap();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    match kind.as_str() {
        "SessionOpened" => {
            What::Opened { label: body["parameters"]["application_name"].as_str().unwrap_or_default().to_owned() }
        }
        "Statement" => What::Statement { number: number(), id: id(body) },
        "Verdict" => {
            let written = |column: &Value| column["name"] == "public.ledger.id" && column["usage"] == "written";
            What::Verdict {
                number: number(),
                // nobody answers a hold here
                denies: body["verdict"] == "deny" || body["verdict"] == "hold",
                writes_ledger: body["columns"].as_array().unwrap().iter().any(written),
            }
        }
        "Completed" => What::Completed {
            number: number(),
            outcome: text("outcome"),
            tag: text("tag"),
            sqlstate: body["sqlstate"].as_str().map(str::to_owned),
        },
        "SessionClosed" => {
            What::Closed { crashed: body["reason"] == "node_crashed", statements: body["statements"].as_u64().unwrap() }
        }
        "Gap" => What::Gap,
        _ => What::Other,
    }
}

/// The ledger's id of a statement: in its text, or its first bound value.
fn id(statement: &Value) -> Option<u64> {
    let text = String::from_utf8(BASE64_STANDARD.decode(statement["text"]["bytes"].as_str()?).ok()?).ok()?;
    let mark = text.split_once(MARK)?.1.split_once(" */")?.0;
    if mark != BOUND {
        return mark.parse().ok();
    }
    let bytes = BASE64_STANDARD.decode(statement["parameters"]["bytes"].as_str()?).ok()?;
    let formats = usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]));
    let first = 2 + formats * 2 + 2;
    let length = usize::try_from(i32::from_be_bytes(bytes.get(first..first + 4)?.try_into().ok()?)).ok()?;
    std::str::from_utf8(bytes.get(first + 4..first + 4 + length)?).ok()?.parse().ok()
}
