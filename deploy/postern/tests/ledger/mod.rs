//! The ledger: what clients saw acknowledged, held against what the archive says.
//!
//! pgbench runs a script whose every statement is unique and logs every transaction that it saw completed. Whatever
//! happened to the gate meanwhile, each of those must be in the archive once, in order, with its outcome.

#![allow(dead_code, reason = "each test uses its part of it")]

use super::support::{Postern, Postgres, program};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

/// Transactions of one client of one run that pgbench logged as completed, by the id that its statement carries.
pub type Acknowledged = Vec<u64>;

/// One run of pgbench against the gate: every client inserts rows with ids of its own.
pub struct Run {
    child: std::process::Child,
    prefix: PathBuf,
    number: u64,
}

/// Between two looks at the archive: reading all of it costs the processes under test their cores.
const PAUSE: Duration = Duration::from_millis(300);

/// Ids of one client within a run.
const PER_CLIENT: u64 = 1_000_000;

/// Ids of one run.
const PER_RUN: u64 = 100 * PER_CLIENT;

impl Run {
    pub fn start(postern: &Postern, token: &str, folder: &Path, number: u64, seconds: u32) -> Self {
        let script = folder.join("ledger.sql");
        let text = format!(
            "\\set i :i + 1\n\\set id :run * {PER_RUN} + :client_id * {PER_CLIENT} + :i\n\
             insert into ledger values (:id, :client_id, 'ledger');\n"
        );
        fs::write(&script, text).unwrap();
        let prefix = folder.join(format!("run-{number}"));
        let protocol = if number.is_multiple_of(2) { "simple" } else { "extended" };
        let child = program("pgbench")
            .envs(postern.environment(token))
            .args([
                "-n",
                "-M",
                protocol,
                "-c",
                "4",
                "-j",
                "2",
                "-T",
                &seconds.to_string(),
                "-D",
                "i=0",
                "-D",
                &format!("run={number}"),
            ])
            .args(["-l", "--log-prefix"])
            .arg(&prefix)
            .arg("-f")
            .arg(&script)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, prefix, number }
    }

    /// Waits for pgbench's end and reads what it saw completed.
    pub fn acknowledged(mut self) -> Vec<Acknowledged> {
        let _status = self.child.wait().unwrap();
        let mut clients: BTreeMap<u64, u64> = BTreeMap::new();
        let folder = self.prefix.parent().unwrap();
        let name = self.prefix.file_name().unwrap().to_str().unwrap().to_owned() + ".";
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with(&name) {
                for line in fs::read_to_string(&path).unwrap().lines() {
                    let mut words = line.split(' ');
                    let client: u64 = words.next().unwrap().parse().unwrap();
                    *clients.entry(client).or_default() += 1;
                }
            }
        }
        let base = self.number * PER_RUN;
        clients
            .into_iter()
            .map(|(client, count)| (1..=count).map(|i| base + client * PER_CLIENT + i).collect())
            .collect()
    }
}

/// What the archive says of the ledger's statements: id -> the events' places and outcomes, in the archive's order.
#[derive(Debug, Default)]
pub struct Archived {
    /// For each id: session, statement number, outcome of each time that it stands there.
    pub statements: BTreeMap<u64, Vec<(String, u64, Option<String>)>>,
    /// Sessions that opened, with how often they closed.
    pub sessions: BTreeMap<String, u32>,
    /// All events.
    pub events: usize,
}

impl Archived {
    /// Statements of the ledger, each time that one stands there.
    pub fn count(&self) -> usize {
        self.statements.values().map(Vec::len).sum()
    }

    /// What is not there yet of these, if anything: a statement with its outcome, a session's end.
    fn missing(&self, acknowledged: &[Acknowledged]) -> Option<String> {
        let ended = |id: &u64| self.statements.get(id).is_some_and(|found| found.iter().all(|f| f.2.is_some()));
        let mut open = self.sessions.iter().filter(|(_, closed)| **closed == 0);
        match (acknowledged.iter().flatten().find(|id| !ended(id)), open.next()) {
            (Some(id), _) => Some(format!("statement {id} with its outcome")),
            (None, Some((session, _))) => Some(format!("the end of {session}")),
            (None, None) => None,
        }
    }
}

/// Waits until everything acknowledged is archived and every session is closed, then checks all of it: the events of
/// each session, the acknowledged statements, chain and sequences by `audit verify`, and search.
pub fn complete(postern: &Postern, acknowledged: &[Acknowledged], limit: Duration) -> Archived {
    let start = Instant::now();
    let archived = loop {
        let archived = read(postern);
        match archived.missing(acknowledged) {
            None => break archived,
            Some(what) => assert!(start.elapsed() < limit, "not in the archive after {limit:?}: {what}"),
        }
        std::thread::park_timeout(PAUSE);
    };
    for (session, count) in &archived.sessions {
        assert_eq!(*count, 1, "{session} has {count} SessionClosed events (AUD-4)");
    }
    check(acknowledged, &archived);
    let report = postern.verified();
    assert_eq!(report["open"].as_array().map(Vec::len), Some(0), "{report}");
    println!(
        "archive: {} events, {} sessions, {} statements of the ledger; audit verify: {} batches, {} events, holds",
        archived.events,
        archived.sessions.len(),
        archived.count(),
        report["batches"],
        report["events"]
    );
    archived
}

/// Waits until search finds what the archive holds, no more and no less.
pub fn search_agrees(postern: &Postern, archived: &Archived) {
    let count = archived.count() as u64;
    let mut found = 0;
    let start = Instant::now();
    while found != count {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "search finds {found} statements, the archive holds {count}"
        );
        found = postern.found("wrote:public.ledger.id");
    }
    println!("search finds the same {found} statements");
}

/// Reads every event of the archive and checks what must hold of each session at any time.
pub fn read(postern: &Postern) -> Archived {
    let mut archived = Archived::default();
    let mut sequences: BTreeMap<String, u64> = BTreeMap::new();
    let mut running: BTreeMap<(String, u64), u64> = BTreeMap::new();
    for event in postern.events() {
        archived.events += 1;
        let session = event["session"].as_str().unwrap().to_owned();
        let sequence = event["sequence"].as_u64().unwrap();
        let next = sequences.entry(session.clone()).or_default();
        assert_eq!(sequence, *next, "the sequence of {session} is not dense (AUD-3)");
        *next += 1;
        let (kind, body) = event["body"].as_object().unwrap().iter().next().unwrap();
        match kind.as_str() {
            "SessionOpened" => {
                archived.sessions.insert(session, 0);
            }
            "SessionClosed" => *archived.sessions.get_mut(&session).unwrap() += 1,
            "Statement" => {
                let number = body["number"].as_u64().unwrap();
                if let Some(id) = ledger_id(body) {
                    archived.statements.entry(id).or_default().push((session.clone(), number, None));
                    running.insert((session, number), id);
                }
            }
            "Completed" => {
                let number = body["number"].as_u64().unwrap();
                if let Some(id) = running.remove(&(session.clone(), number)) {
                    let outcome = body["outcome"].as_str().unwrap().to_owned();
                    let entry = archived.statements.get_mut(&id).unwrap().last_mut().unwrap();
                    assert!(entry.2.is_none(), "statement {id} has two outcomes");
                    entry.2 = Some(outcome);
                }
            }
            "Gap" => panic!("recovery found a gap: {body}"),
            _ => {}
        }
    }
    archived
}

fn ledger_id(statement: &serde_json::Value) -> Option<u64> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let text = String::from_utf8(BASE64_STANDARD.decode(statement["text"]["bytes"].as_str()?).ok()?).ok()?;
    if !text.starts_with("insert into ledger") {
        return None;
    }
    if let Some(parameters) = statement["parameters"]["bytes"].as_str() {
        // extended mode: the first parameter is the id, in text
        let bytes = BASE64_STANDARD.decode(parameters).ok()?;
        let formats = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        let first = 2 + formats * 2 + 2;
        let length = usize::try_from(i32::from_be_bytes(bytes[first..first + 4].try_into().ok()?)).ok()?;
        return std::str::from_utf8(&bytes[first + 4..first + 4 + length]).ok()?.parse().ok();
    }
    text.split(['(', ',']).nth(1)?.trim().parse().ok()
}

/// Holds what clients saw against the archive: missing 0, doubled 0, out of order 0, another outcome 0.
pub fn check(acknowledged: &[Acknowledged], archived: &Archived) {
    let mut count = 0;
    for client in acknowledged {
        let mut last: Option<(&str, u64)> = None;
        for id in client {
            let found = archived
                .statements
                .get(id)
                .unwrap_or_else(|| panic!("acknowledged statement {id} is not in the archive"));
            assert_eq!(found.len(), 1, "statement {id} stands {} times in the archive", found.len());
            let (session, number, outcome) = &found[0];
            assert_eq!(outcome.as_deref(), Some("succeeded"), "statement {id}");
            if let Some((session_before, number_before)) = last {
                assert!(session != session_before || *number > number_before, "statement {id} is out of order");
            }
            last = Some((session, *number));
            count += 1;
        }
    }
    assert!(count > 0, "no client saw anything completed: the test shows nothing");
    println!("{count} acknowledged statements are in the archive once, in order, with their outcome");
}

/// Whatever reached the database is in the archive, acknowledged or not (AUD-1, AUD-5).
pub fn nothing_forwarded_unrecorded(postgres: &Postgres, archived: &Archived) {
    let rows = postgres.sql("select id from ledger where id >= 0 order by id");
    let missing: Vec<&str> =
        rows.lines().filter(|id| !archived.statements.contains_key(&id.parse::<u64>().unwrap())).collect();
    assert!(missing.is_empty(), "{} rows were written by no archived statement, such as {}", missing.len(), missing[0]);
    println!("each of {} rows in the database was written by an archived statement", rows.lines().count());
}

/// How often the processes killed themselves at each fault point.
pub fn hits(log: &Path) -> BTreeMap<String, u32> {
    let mut hits = BTreeMap::new();
    for line in fs::read_to_string(log).unwrap_or_default().lines() {
        *hits.entry(line.trim().to_owned()).or_default() += 1;
    }
    hits
}
