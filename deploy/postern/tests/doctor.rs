//! `postern doctor`: finds each weakness that is planted in a hardened database, by its name and alone, and nothing without them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use support::{Postern, Postgres, eventually, folder, root, secret_file};

const GATE: &str = "
    create role gate login createrole password 'the-gates-own-secret';
    grant connect, temporary on database shop to gate with grant option;
    grant usage on schema public to gate with grant option;
    grant select, insert, update, delete on all tables in schema public to gate with grant option";

struct World {
    postgres: Postgres,
    postern: Postern,
    password: PathBuf,
}

impl World {
    fn new(path: &Path, version: Option<&str>) -> Self {
        let postgres = Postgres::start_version(path, version);
        postgres.sql(GATE);
        let postern = Postern::configure(path, "gate", &postgres, "[resources.lease]\ngrace_seconds = 6\n");
        secret_file(path, "gate-database-password", "the-gates-own-secret");
        postern.change("user = \"postgres\"", "user = \"gate\"");
        let password = secret_file(path, "superuser-password", &postgres.password);
        let world = Self { postgres, postern, password };
        world.hba("host all all 127.0.0.1/32 scram-sha-256\n");
        world
    }

    fn hba(&self, text: &str) {
        fs::write(self.postgres.folder.join("data/pg_hba.conf"), text).unwrap();
        self.postgres.sql("select pg_reload_conf()");
    }

    fn script(&self, name: &str) {
        let script = root().join("deploy/config").join(name);
        let output = self.postgres.psql().args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}");
    }

    fn doctor(&self, more: &[&str]) -> (i32, Value) {
        let mut arguments = vec!["doctor", "--resource", "shop", "-o", "json"];
        arguments.extend(more);
        let output = self.postern.command(&arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), value["resources"][0].clone())
    }

    /// What a superuser finds.
    fn found(&self, more: &[&str]) -> Vec<String> {
        let mut arguments = vec!["--as", "postgres", "--password-file", self.password.to_str().unwrap()];
        arguments.extend(more);
        let (status, report) = self.doctor(&arguments);
        assert_eq!(report["unexamined"], serde_json::json!([]), "{report}");
        let found = names(&report);
        assert_eq!(status, if found.is_empty() { 0 } else { 5 }, "{report}");
        found
    }

    /// One of each kind, planted together: none hides another.
    fn all_at_once(&self) {
        // a superuser may make roles whatever else it may, so that one weakness would be two others' cure
        let mut names: Vec<&str> =
            PLANTED.iter().map(|(name, ..)| *name).filter(|name| *name != "gate-superuser").collect();
        names.dedup();
        assert!(names.len() >= 10, "{names:?}");
        let chosen: Vec<_> =
            names.iter().map(|name| PLANTED.iter().find(|(planted, ..)| planted == name).unwrap()).collect();
        chosen.iter().for_each(|(_, plant, _)| drop(self.postgres.sql(plant)));
        let mut found = self.found(&[]);
        found.sort();
        names.sort();
        assert_eq!(found, names);
        chosen.iter().rev().for_each(|(_, _, undo)| drop(self.postgres.sql(undo)));
        assert_eq!(self.found(&[]), Vec::<String>::new());
    }

    /// Every right that somebody has.
    fn rights(&self) -> String {
        self.postgres.sql(
            "select string_agg(what || ' ' || acl, e'\\n' order by what) from ( \
               select 'c' || c.oid::regclass as what, (select array_agg((a.grantee, a.privilege_type, a.is_grantable)::text order by (a.grantee, a.privilege_type, a.is_grantable)::text) from aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a)::text as acl from pg_class c where c.relkind in ('r', 'v', 'm', 'p') \
               union all select 'p' || p.oid::regprocedure, (select array_agg((a.grantee, a.privilege_type, a.is_grantable)::text order by (a.grantee, a.privilege_type, a.is_grantable)::text) from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a)::text from pg_proc p \
               union all select 'n' || nspname, (select array_agg((a.grantee, a.privilege_type, a.is_grantable)::text order by (a.grantee, a.privilege_type, a.is_grantable)::text) from aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a)::text from pg_namespace \
               union all select 'l' || lanname, (select array_agg((a.grantee, a.privilege_type, a.is_grantable)::text order by (a.grantee, a.privilege_type, a.is_grantable)::text) from aclexplode(coalesce(lanacl, acldefault('l', lanowner))) a)::text from pg_language \
               union all select 'd' || datname, (select array_agg((a.grantee, a.privilege_type, a.is_grantable)::text order by (a.grantee, a.privilege_type, a.is_grantable)::text) from aclexplode(coalesce(datacl, acldefault('d', datdba))) a)::text from pg_database where datname = 'shop' \
             ) x where what not like '%pg_temp%' and what not like '%pg_toast%'",
        )
    }
}

fn names(report: &Value) -> Vec<String> {
    report["findings"].as_array().unwrap().iter().map(|one| one["check"].as_str().unwrap().to_owned()).collect()
}

/// What is planted, and what takes it away again.
const PLANTED: &[(&str, &str, &str)] = &[
    ("gate-superuser", "alter role gate superuser", "alter role gate nosuperuser"),
    ("gate-superuser", "alter role gate bypassrls", "alter role gate nobypassrls"),
    ("gate-superuser", "alter role gate replication", "alter role gate noreplication"),
    ("gate-member", "grant pg_read_server_files to gate", "revoke pg_read_server_files from gate"),
    ("gate-member", "create role middle; grant pg_read_all_data to middle; grant middle to gate", "drop role middle"),
    ("public-database", "grant temporary on database shop to public", "revoke temporary on database shop from public"),
    ("public-database", "grant create on database shop to public", "revoke create on database shop from public"),
    ("public-schema", "grant create on schema public to public", "revoke create on schema public from public"),
    (
        "public-function",
        "create function peek() returns text language sql security definer as 'select ssn from public.customers limit 1'; \
         grant execute on function peek() to public",
        "drop function peek()",
    ),
    (
        "text-function",
        "grant execute on function query_to_xml(text, boolean, boolean, text) to public",
        "revoke execute on function query_to_xml(text, boolean, boolean, text) from public",
    ),
    (
        "outside",
        "grant execute on function pg_read_file(text) to gate",
        "revoke execute on function pg_read_file(text) from gate",
    ),
    (
        "outside",
        "create extension dblink; grant execute on function dblink_connect(text) to gate",
        "drop extension dblink",
    ),
    ("language", "grant usage on language plpgsql to public", "revoke usage on language plpgsql from public"),
    ("public-protected", "grant select (ssn) on customers to public", "revoke select (ssn) on customers from public"),
    ("public-protected", "grant select on v_cards to public", "revoke select on v_cards from public"),
    ("direct-reader", "create role app login; grant select on customers to app", "drop owned by app; drop role app"),
    ("log-values", "alter database shop set log_statement = 'all'", "alter database shop reset log_statement"),
    ("log-values", "alter database shop set log_min_duration_statement = 0", "alter database shop reset all"),
    ("password-md5", "alter database shop set password_encryption = 'md5'", "alter database shop reset all"),
    (
        "default-privileges",
        "alter default privileges in schema public grant select on tables to public",
        "alter default privileges in schema public revoke select on tables from public",
    ),
    (
        "leases-left",
        "do $$ begin execute format('create role %I login', 'postern_lease_' || (select lpad(to_hex(oid::bigint), 8, '0') \
         from pg_database where datname = 'shop') || '_00000000000000aa_00000000000000bb'); end $$",
        "do $$ declare r text; begin for r in select rolname from pg_roles where rolname like 'postern\\_lease\\_%' loop \
         execute format('drop role %I', r); end loop; end $$",
    ),
    (
        "scope-drift",
        "do $$ begin execute format('grant select on hr.salaries to %I', (select rolname from pg_roles where rolname like \
         'postern\\_scope\\_%')); end $$",
        "do $$ begin execute format('revoke select on hr.salaries from %I', (select rolname from pg_roles where rolname like \
         'postern\\_scope\\_%')); end $$",
    ),
    ("lease-incapable", "alter role gate nocreaterole", "alter role gate createrole"),
];

#[test]
fn doctor_finds_each_planted_weakness_and_nothing_on_a_hardened_database() {
    let folder = folder();
    let world = World::new(folder.path(), support::version().as_deref());
    let before = world.rights();
    let soft = world.found(&[]);
    for name in ["public-database", "text-function", "language"] {
        assert!(soft.contains(&name.to_owned()), "{name} in {soft:?}");
    }
    world.script("harden.sql");
    assert_eq!(world.found(&[]), Vec::<String>::new());
    // a session, so that there is a scope role, and agents can still work
    let process = world.postern.start("up");
    let token = world.postern.token("bot", "agents");
    assert_eq!(world.postern.sql(&token, "select count(*) from customers"), "40");
    process.stop();
    assert_eq!(world.found(&[]), Vec::<String>::new());
    for (name, plant, undo) in PLANTED {
        world.postgres.sql(plant);
        assert_eq!(world.found(&[]), [*name], "{plant}");
        if *name == "direct-reader" {
            assert_eq!(world.found(&["--expect", "app"]), Vec::<String>::new());
        }
        world.postgres.sql(undo);
        assert_eq!(world.found(&[]), Vec::<String>::new(), "{undo}");
    }
    world.all_at_once();
    world.hba("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n");
    assert_eq!(world.found(&[]), ["hba-trust"]);
    world.hba("host all all 127.0.0.1/32 scram-sha-256\n");
    let mut past = world.postgres.psql().args(["-XAtq"]).stdin(Stdio::piped()).spawn().unwrap();
    eventually("a session past the gate is seen", Duration::from_secs(10), || {
        (world.found(&[]) == ["bypass-session"]).then_some(())
    });
    assert_eq!(world.found(&["--expect", "postgres"]), Vec::<String>::new());
    past.kill().unwrap();
    past.wait().unwrap();
    eventually("it is gone", Duration::from_secs(10), || world.found(&[]).is_empty().then_some(()));
    // the gate's own role may not read pg_hba.conf: that is said, not passed over
    let (status, report) = world.doctor(&[]);
    assert_eq!((status, names(&report)), (0, Vec::new()), "{report}");
    assert_eq!(report["unexamined"][0]["check"], "hba-trust", "{report}");
    // the script may run again, and what it took comes back
    world.script("harden.sql");
    assert_eq!(world.found(&[]), Vec::<String>::new());
    world.postgres.sql(
        // as the gate's role, which granted: what others granted, DROP OWNED leaves
        "grant usage on language plpgsql to gate; set role gate; \
         do $$ declare r text; begin for r in select rolname from pg_roles where rolname like 'postern\\_scope\\_%' loop \
         execute format('grant %I to gate; drop owned by %I; drop role %I', r, r, r); end loop; end $$; \
         reset role; revoke usage on language plpgsql from gate",
    );
    world.script("unharden.sql");
    assert_eq!(world.rights(), before);
    assert_eq!(world.found(&[]), soft);
}

#[test]
fn doctor_says_that_a_server_is_too_old() {
    let folder = folder();
    let world = World::new(folder.path(), Some("12"));
    let (status, report) = world.doctor(&["--as", "postgres", "--password-file", world.password.to_str().unwrap()]);
    assert_eq!(status, 5);
    assert!(names(&report).contains(&"version".to_owned()), "{report}");
}
