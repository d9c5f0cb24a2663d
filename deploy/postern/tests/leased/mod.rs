//! What tests of leased roles have in common: a gate with a role that may make them, and what is left of them.

#![allow(dead_code, reason = "each test uses its part of it")]

use crate::support::{self, Postern, Postgres, eventually, secret_file};
use std::{
    collections::BTreeSet,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

pub const LEASED: &str = "select count(*) from pg_roles where rolname like 'postern\\_lease\\_%'";

/// How much: a little in every run, all of it where `POSTERN_TEST_LONG` is set.
pub fn long<T>(short: T, long: T) -> T {
    if std::env::var_os("POSTERN_TEST_LONG").is_some() { long } else { short }
}

/// A role as the documentation asks for: it may make roles and grant what agents may get, and is no superuser.
pub const GATE: &str = "
    create role gate login createrole password 'the-gates-own-secret';
    grant connect, temporary on database shop to gate with grant option;
    grant usage on schema public to gate with grant option;
    grant select, insert, update, delete on all tables in schema public to gate with grant option;
    grant execute on all functions in schema public to gate with grant option;";

pub fn configure(path: &Path, postgres: &Postgres, name: &str, lease: &str) -> Postern {
    let postern = Postern::configure(path, name, postgres, &format!("[resources.lease]\ngrace_seconds = 6\n{lease}"));
    secret_file(path, &format!("{name}-database-password"), "the-gates-own-secret");
    postern.change("user = \"postgres\"", "user = \"gate\"");
    postern
}

pub fn none_left(postgres: &Postgres, limit: Duration) {
    eventually("all leased roles are gone", limit, || (postgres.sql(LEASED) == "0").then_some(()));
}

/// A client that holds its session open until it is told to end.
pub fn hold(postern: &Postern, token: &str) -> Child {
    let mut command = Command::new("psql");
    command.envs(postern.environment(token)).args(["-XAtq"]).stdin(Stdio::piped()).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().unwrap()
}

/// Has a client that is held send something.
pub fn send(child: &mut Child, sql: &str) {
    child.stdin.as_mut().unwrap().write_all(format!("{sql}\n").as_bytes()).unwrap();
}

pub fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Every row in which a role can leave a trace.
pub fn traces(postgres: &Postgres) -> BTreeSet<String> {
    postgres.sql(include_str!("../traces.sql")).lines().map(str::to_owned).collect()
}

pub fn harden(postgres: &Postgres) {
    let script = support::root().join("deploy/config/harden.sql");
    let output = postgres.psql().args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
