//! A denied statement is an ordinary error: whatever a client had under way, the messages that it gets and the state that
//! it is left in are those that PostgreSQL itself gives for a statement that fails there; what was written stays or goes
//! as PostgreSQL decides. Each case runs twice, through the gate with a denied statement and directly with a failing one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use std::process::Command;
use support::{Postern, Postgres, folder, root};
use wire::*;

/// A message of a client. `{T}` stands for a table of the side's own, `{D}` for the statement that is denied at the gate
/// and fails in PostgreSQL, `{C}` for such a COPY.
#[derive(Clone, Copy)]
enum M {
    /// Query.
    Q(&'static str),
    /// Parse: name, text.
    P(&'static str, &'static str),
    /// Bind: portal, statement.
    B(&'static str, &'static str),
    /// Describe a portal.
    D(&'static str),
    /// Describe a statement.
    Ds(&'static str),
    /// Execute.
    E(&'static str),
    /// Close a statement.
    Cs(&'static str),
    /// Flush.
    H,
    /// Sync.
    S,
}
use M::*;

/// What is sent at once, and how many ReadyForQuery answer it.
type Step = (&'static [M], usize);

const INSERT: M = P("", "insert into {T} values (default)");

/// A name, and what is sent.
const CASES: &[(&str, &[Step])] = &[
    ("alone", &[(&[Q("{D}")], 1), (&[Q("insert into {T} values (default)")], 1)]),
    (
        "in a transaction",
        &[
            (&[Q("begin")], 1),
            (&[Q("insert into {T} values (default)")], 1),
            (&[Q("{D}")], 1),
            (&[Q("select 1")], 1),
            (&[Q("commit")], 1),
        ],
    ),
    (
        "in a transaction, then back to a savepoint",
        &[
            (&[Q("begin; insert into {T} values (default); savepoint a")], 1),
            (&[Q("insert into {T} values (default)")], 1),
            (&[Q("{D}")], 1),
            (&[Q("rollback to a")], 1),
            (&[Q("commit")], 1),
        ],
    ),
    (
        "in a failed transaction",
        &[(&[Q("begin")], 1), (&[Q("select 1/0")], 1), (&[Q("{D}")], 1), (&[Q("rollback")], 1)],
    ),
    ("COPY", &[(&[Q("begin")], 1), (&[Q("{C}")], 1), (&[Q("rollback")], 1), (&[Q("{C}")], 1)]),
    (
        "COPY in the extended protocol",
        &[(&[INSERT, B("", ""), E(""), P("", "{C}"), B("", ""), E(""), S], 1), (&[Q("select 1")], 1)],
    ),
    (
        "Parse, with its whole window behind it",
        &[(&[P("", "{D}"), B("", ""), D(""), E(""), S], 1), (&[P("", "select 1"), B("", ""), E(""), S], 1)],
    ),
    ("Parse, and the rest after its answer", &[(&[P("a", "{D}"), S], 1), (&[B("", "a"), E(""), S], 1)]),
    (
        "a denied Parse of the unnamed statement frees it",
        &[(&[P("", "select 1"), S], 1), (&[P("", "{D}"), S], 1), (&[B("", ""), E(""), S], 1)],
    ),
    (
        "a denied Parse of a named one leaves the unnamed one",
        &[(&[P("", "select 1"), S], 1), (&[P("a", "{D}"), S], 1), (&[B("", ""), E(""), S], 1)],
    ),
    ("Describe of what was denied", &[(&[P("a", "{D}"), Ds("a"), S], 1), (&[Ds("a"), S], 1), (&[Q("select 1")], 1)]),
    ("Execute of what was denied", &[(&[P("", "{D}"), B("p", ""), S], 1), (&[E("p"), S], 1), (&[Q("select 1")], 1)]),
    (
        "in the middle of a pipeline: earlier writes of the implicit transaction go",
        &[
            (&[INSERT, B("", ""), E(""), P("", "{D}"), B("", ""), E(""), INSERT, B("", ""), E(""), S], 1),
            (&[INSERT, B("", ""), E(""), S], 1),
        ],
    ),
    (
        "between two Syncs of one pipeline",
        &[(
            &[
                INSERT,
                B("", ""),
                E(""),
                S,
                P("", "{D}"),
                B("", ""),
                D(""),
                E(""),
                S,
                INSERT,
                B("", ""),
                E(""),
                S,
                P("", "select 1"),
                B("", ""),
                D(""),
                E(""),
                S,
            ],
            4,
        )],
    ),
    (
        "in a pipeline inside of a transaction",
        &[
            (
                &[
                    P("", "begin"),
                    B("", ""),
                    E(""),
                    INSERT,
                    B("", ""),
                    E(""),
                    S,
                    P("", "{D}"),
                    B("", ""),
                    E(""),
                    S,
                    INSERT,
                    B("", ""),
                    E(""),
                    S,
                ],
                3,
            ),
            (&[P("", "commit"), B("", ""), E(""), S], 1),
        ],
    ),
    (
        "a pipeline with Flush",
        &[
            (&[INSERT, B("", ""), E(""), H, P("", "{D}"), H, B("", ""), E(""), Q("select 1"), S], 1),
            (&[Q("select 1")], 1),
        ],
    ),
    (
        "a pipeline that goes on with simple messages",
        &[(&[P("", "{D}"), S, Q("insert into {T} values (default)"), Q("{D}"), Q("select 1")], 4)],
    ),
    (
        "a prepared statement stays usable",
        &[
            (&[P("i", "insert into {T} values (default)"), S], 1),
            (&[B("", "i"), E(""), P("x", "{D}"), B("", "x"), E(""), S], 1),
            (&[B("", "i"), E(""), Cs("i"), S], 1),
            (&[B("", "i"), E(""), S], 1),
        ],
    ),
];

/// A simple message is judged whole: PostgreSQL itself would have run what stands before the failure, in a transaction
/// that then rolls back; at the gate nothing of it runs. Both leave the same state.
const MESSAGES: &[(&str, &str)] = &[
    ("first", "{D}; insert into {T} values (default)"),
    ("last", "insert into {T} values (default); {D}"),
    ("middle", "insert into {T} values (default); {D}; insert into {T} values (default)"),
];

struct Side {
    wire: Wire,
    table: &'static str,
    denied: &'static str,
    copy: &'static str,
}

impl Side {
    fn text(&self, text: &str) -> String {
        text.replace("{T}", self.table).replace("{D}", self.denied).replace("{C}", self.copy)
    }

    fn frame(&self, message: M) -> Vec<u8> {
        match message {
            Q(text) => query(&self.text(text)),
            P(name, text) => parse(name, &self.text(text)),
            B(portal, name) => bind(portal, name, false, &[], false),
            D(portal) => describe_portal(portal),
            Ds(name) => describe_statement(name),
            E(portal) => execute(portal, 0),
            Cs(name) => close_statement(name),
            H => frame(b'H', &[]),
            S => sync(),
        }
    }

    /// The kinds of what came, with the transaction's state behind each `Z`; and the errors.
    fn run(&mut self, (messages, readies): &Step) -> (String, Vec<Vec<u8>>) {
        let frames: Vec<Vec<u8>> = messages.iter().map(|message| self.frame(*message)).collect();
        self.wire.send(&frames);
        let (mut kinds, mut errors) = (String::new(), Vec::new());
        for _ in 0..*readies {
            for (kind, body) in self.wire.until(b'Z') {
                match kind {
                    b'S' => continue,
                    b'E' => errors.push(body.clone()),
                    _ => {}
                }
                kinds.push(char::from(kind));
                if kind == b'Z' {
                    kinds.push(char::from(body[0]).to_ascii_lowercase());
                }
            }
        }
        (kinds, errors)
    }
}

/// A field of an ErrorResponse.
fn field(report: &[u8], code: u8) -> String {
    let found = report.split(|byte| *byte == 0).find(|field| field.first() == Some(&code));
    found.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
}

struct Scene {
    postern: Postern,
    token: String,
    postgres: Postgres,
    _process: support::Process,
    _folder: tempfile::TempDir,
}

fn scene(more: &str) -> Scene {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql("create table gate_rows (id serial primary key); create table own_rows (id serial primary key)");
    let postern = Postern::configure(folder.path(), "gate", &postgres, more);
    let process = postern.start("up");
    let token = postern.token("denied-bot", "agents");
    Scene { postern, token, postgres, _process: process, _folder: folder }
}

impl Scene {
    /// The database itself takes the test's plain way to log in.
    fn direct(&self) -> Wire {
        self.postgres.sql("create role twin superuser login password 'twin'");
        let hba = self.postgres.sql("show hba_file");
        let text = std::fs::read_to_string(&hba).unwrap();
        std::fs::write(&hba, format!("host all twin 127.0.0.1/32 password\n{text}")).unwrap();
        self.postgres.sql("select pg_reload_conf()");
        Wire::connect(self.postgres.port, "twin", "shop", "twin")
    }

    fn count(&self, table: &str) -> String {
        self.postgres.sql(&format!("select count(*) from {table}"))
    }
}

#[test]
fn a_denial_leaves_both_sides_as_a_failure_leaves_them() {
    leaves_both_sides_alike("");
}

/// A budget puts statements of the gate's own between the client's: neither answers nor states differ.
#[test]
fn a_denial_leaves_both_sides_alike_under_a_budget() {
    leaves_both_sides_alike("budget = { rows_per_transaction = 100000, rows_per_session = 1000000 }");
}

fn leaves_both_sides_alike(more: &str) {
    let scene = scene(more);
    let mut gate = Side {
        wire: Wire::connect(scene.postern.port, "agent", "shop", &scene.token),
        table: "gate_rows",
        denied: "select id from customers where ssn = 'x'",
        copy: "copy (select id from customers where ssn = 'x') to stdout",
    };
    let mut own = Side {
        wire: scene.direct(),
        table: "own_rows",
        denied: "select nothing_of_that_name from customers",
        copy: "copy customers to stdout and on",
    };
    for (name, steps) in CASES {
        let mut denials = 0;
        for (place, step) in steps.iter().enumerate() {
            let (expected, _) = own.run(step);
            let (kinds, errors) = gate.run(step);
            assert_eq!(kinds, expected, "{name}, step {place}");
            denials += errors.iter().filter(|error| field(error, b'C') == "42501").count();
        }
        assert!(denials > 0, "{name}: nothing was denied");
        assert_eq!(scene.count("gate_rows"), scene.count("own_rows"), "{name}: what was written");
    }
    // a Bind that is denied, of a statement that was not: PostgreSQL would find out at Execute
    assert_eq!(gate.run(&(&[Q("begin; declare c cursor for select 1")], 1)).0, "CCZt");
    assert_eq!(gate.run(&(&[P("f", "fetch c"), B("", "f"), E(""), S], 1)).0, "12DCZt");
    assert_eq!(gate.run(&(&[Q("close c")], 1)).0, "CZt");
    assert_eq!(gate.run(&(&[B("", "f"), D(""), E(""), S], 1)).0, "EZe");
    assert_eq!(gate.run(&(&[Q("rollback")], 1)).0, "CZi");
    for (name, text) in MESSAGES {
        let step: Step = (&[Q("select 1")], 1);
        gate.wire.send(&[query(&gate.text(text))]);
        assert_eq!(kinds(&gate.wire.until(b'Z')), "EZ", "{name}: nothing of the message ran");
        own.wire.send(&[query(&own.text(text))]);
        let last = own.wire.until(b'Z');
        assert_eq!(last.last().unwrap().1, b"I");
        assert_eq!(gate.run(&step).0, own.run(&step).0);
        assert_eq!(scene.count("gate_rows"), scene.count("own_rows"), "{name}: what was written");
    }
}

#[test]
fn a_denial_says_what_an_agent_needs() {
    let scene = scene("");
    let mut wire = Wire::connect(scene.postern.port, "agent", "shop", &scene.token);
    for (statement, policy, state) in [
        ("select id from customers where ssn = 'x'", "builtin:filter", "42501"),
        ("copy (select id from customers where ssn = 'x') to stdout", "builtin:filter", "42501"),
        ("set standard_conforming_strings = off", "builtin:setting", "42501"),
        ("selec 1", "builtin:grammar", "42601"),
    ] {
        wire.send(&[query(statement)]);
        let answer = wire.until(b'Z');
        let (kind, report) = &answer[0];
        assert_eq!((*kind, field(report, b'C').as_str(), field(report, b'S').as_str()), (b'E', state, "ERROR"));
        let detail = field(report, b'D');
        assert!(detail.contains(policy) && detail.contains("stm_"), "{statement}: {detail}");
        assert!(!field(report, b'M').is_empty() && !field(report, b'H').is_empty(), "{statement}: no reason or hint");
    }
    assert_eq!(wire.query("select 1"), "TDCZ");

    // psql goes on behind a denial, and stops at it where it is told to stop at errors
    let denied = "select id from customers where ssn = 'x'";
    let output = scene.postern.psql(&scene.token, &["-At", "-c", denied, "-c", "select 'goes on'"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("goes on"));
    let text = scene.postern.refused(&scene.token, denied);
    for part in ["ERROR:  42501", "DETAIL:", "HINT:", "stm_"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    let output =
        scene.postern.psql(&scene.token, &["-At", "-c", "begin", "-c", denied, "-c", "select 1", "-c", "commit"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("current transaction is aborted"), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("ROLLBACK"));
}

fn client(scene: &Scene, mut command: Command) {
    let output =
        command.envs(scene.postern.environment(&scene.token)).output().expect("deploy/test installs the clients");
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("all passed"), "{text}\n{said}");
}

fn cache() -> std::path::PathBuf {
    std::env::var_os("POSTERN_CACHE")
        .map_or_else(|| std::path::PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/postern"), Into::into)
}

#[test]
fn psycopg_sees_an_ordinary_error() {
    let scene = scene("");
    let mut command = Command::new(cache().join("clients/venv/bin/python"));
    command.arg(root().join("deploy/postern/tests/clients/psycopg_denials.py"));
    client(&scene, command);
}

#[test]
fn jdbc_sees_an_ordinary_error() {
    let scene = scene("");
    let mut command = Command::new("java");
    command.arg("-cp").arg(cache().join("clients/java/postgresql.jar"));
    command.arg(root().join("deploy/postern/tests/clients/JdbcDenials.java"));
    client(&scene, command);
}
