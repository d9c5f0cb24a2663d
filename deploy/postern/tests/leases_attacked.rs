//! Leased roles against agents that would stop leasing, keep roles that should go, or reach what no policy lets anybody name
//! (SCP-1): with every lock that they can take, in the name of a node, and as a role by itself, past the gate.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod leased;
mod support;

use leased::{GATE, LEASED, configure, end, harden, hold, none_left, send, traces};
use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use support::{Postern, Postgres, eventually, folder};

/// Two scopes, of which the second has a role only once somebody needs it, and loses it soon.
const SCOPES: &str = "scope_keep_seconds = 1
[[resources.lease.scopes]]
name = \"sales\"
groups = [\"agents\"]
grants = [{ tables = [\"public.customers\", \"public.payments\"] }]
[[resources.lease.scopes]]
name = \"support\"
groups = [\"support\"]
grants = [{ tables = [\"public.customers\", \"public.ledger\"], privileges = [\"select\", \"insert\"] }]
";

/// The owner in the names of leased roles, as the key of a lock.
const OWNERS: &str = "select ('x' || split_part(rolname, '_', 4))::bit(64)::bigint k from pg_roles \
                      where rolname like 'postern\\_lease\\_%'";

fn two_nodes(path: &Path, postgres: &Postgres) -> (Postern, Postern) {
    postgres.sql(GATE);
    let nodes = (configure(path, postgres, "one", SCOPES), configure(path, postgres, "other", SCOPES));
    for node in [&nodes.0, &nodes.1] {
        node.change("connect_groups = [\"agents\"]", "connect_groups = [\"agents\", \"support\"]");
    }
    nodes
}

/// A session through the gate that takes the advisory locks whose keys it knows or sees, exclusively, and keeps them; and that
/// calls itself what a node's connections are called.
fn lock_all(node: &Postern, token: &str, postgres: &Postgres) -> Child {
    let mut child = hold(node, token);
    // a key that once stood for scope roles; those of owners, whole and in halves
    send(&mut child, "select pg_try_advisory_lock(8101821198418210353);");
    for key in ["k", "(k >> 32)::int4, (k & 2147483647)::int4"] {
        for lock in ["pg_try_advisory_lock", "pg_try_advisory_lock_shared"] {
            send(&mut child, &format!("select {lock}({key}) from (select distinct k from ({OWNERS}) o) o;"));
        }
    }
    let owner = postgres.sql(
        "select split_part(rolname, '_', 4) from pg_roles where rolname like 'postern\\_lease\\_%' order by 1 limit 1",
    );
    send(&mut child, &format!("set application_name = 'postern leases {owner}';"));
    child
}

/// Advisory locks that leased roles hold.
const HELD: &str = "select count(*) from pg_locks l join pg_stat_activity a using (pid) \
     where l.locktype = 'advisory' and l.granted and a.usename like 'postern\\_lease\\_%'";

#[test]
fn an_agent_that_takes_every_lock_it_can_stops_no_lease_and_keeps_no_role() {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start(path);
    let (one, other) = two_nodes(path, &postgres);
    let (mut first, _second) = (one.start("up"), other.start("up"));
    let (token, theirs) = (one.token("bot", "agents"), other.token("bot", "agents"));
    // sessions of both nodes: their names tell the owners
    let dying: Vec<Child> = (0..3).map(|_| hold(&one, &token)).collect();
    let living: Vec<Child> = (0..2).map(|_| hold(&other, &theirs)).collect();
    eventually("five roles are leased", Duration::from_secs(20), || (postgres.sql(LEASED) == "5").then_some(()));
    let of_the_dead = postgres.sql(
        "select split_part(min(r.rolname), '_', 4) from pg_roles r join pg_auth_members m on m.member = r.oid \
         where r.rolname like 'postern\\_lease\\_%' group by split_part(r.rolname, '_', 4) having count(*) = 3",
    );
    let (greedy, spare) = (lock_all(&other, &theirs, &postgres), lock_all(&one, &token, &postgres));
    eventually("the agents hold what they took", Duration::from_secs(20), || {
        let held = postgres.sql(HELD).parse::<usize>().unwrap();
        (held >= 5 && postgres.sql(&format!("{HELD} and l.objid = 1701998129")) != "0").then_some(())
    });
    let named = "select count(*) from pg_stat_activity where application_name like 'postern leases %' \
                 and usename like 'postern\\_lease\\_%'";
    eventually("an agent bears a node's name", Duration::from_secs(10), || (postgres.sql(named) != "0").then_some(()));
    // roles are leased, and scope roles are made, as if nothing was
    let support = other.token("helper", "support");
    let began = Instant::now();
    assert_eq!(other.sql(&support, "select count(*) from ledger"), "0");
    assert_eq!(one.sql(&token, "select count(*) from payments"), "400");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // and dropped: an unused scope role too
    eventually("the scope role of support is gone", Duration::from_secs(60), || {
        (postgres.sql("select count(*) from pg_roles where rolname like 'postern\\_scope\\_support%'") == "0")
            .then_some(())
    });
    // a node dies, and an agent that lives elsewhere holds its locks and bears its name
    let mut impostor = hold(&other, &theirs);
    send(&mut impostor, &format!("set application_name = 'postern leases {of_the_dead}';"));
    let borne = format!(
        "select count(*) from pg_stat_activity where application_name = 'postern leases {of_the_dead}' \
                         and usename like 'postern\\_lease\\_%'"
    );
    eventually("an agent bears the name of the node", Duration::from_secs(10), || {
        (postgres.sql(&borne) != "0").then_some(())
    });
    first.kill();
    let left = format!("{LEASED} and rolname like '%\\_{of_the_dead}\\_%'");
    assert_ne!(postgres.sql(&left), "0");
    eventually("the dead node's roles are gone", Duration::from_secs(6), || (postgres.sql(&left) == "0").then_some(()));
    assert_ne!(postgres.sql(&borne), "0", "the impostor was there all the time");
    assert_eq!(other.sql(&theirs, "select 1"), "1");
    dying.into_iter().chain(living).chain([greedy, spare, impostor]).for_each(end);
    none_left(&postgres, Duration::from_secs(10));
}

/// Logs in as a role of an open session past the gate: its password is set by the superuser, since nobody knows the one that
/// it had.
struct Direct<'a> {
    postgres: &'a Postgres,
    role: String,
}

impl<'a> Direct<'a> {
    fn to(postgres: &'a Postgres, role: String) -> Self {
        postgres.sql(&format!("alter role \"{role}\" password 'known' connection limit -1"));
        Self { postgres, role }
    }

    fn command(&self) -> Command {
        let mut command = self.postgres.psql();
        command.args(["-XAtq", "-U", &self.role, "-v", "ON_ERROR_STOP=1"]).env("PGPASSWORD", "known");
        command
    }

    fn sql(&self, sql: &str) -> Output {
        self.command().args(["-c", sql]).output().unwrap()
    }
}

/// The roles that are leased just now.
fn roles(postgres: &Postgres, count: usize) -> Vec<String> {
    eventually("the roles are leased", Duration::from_secs(20), || {
        let names = postgres.sql("select rolname from pg_roles where rolname like 'postern\\_lease\\_%' order by oid");
        let names: Vec<String> = names.lines().map(str::to_owned).collect();
        (names.len() == count).then_some(names)
    })
}

#[test]
fn a_session_cannot_keep_the_role_of_another() {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start(path);
    postgres.sql(GATE);
    let postern = configure(path, &postgres, "gate", "");
    let _process = postern.start("up");
    let token = postern.token("bot", "agents");
    assert_eq!(postern.sql(&token, "select 1"), "1");
    none_left(&postgres, Duration::from_secs(5));
    let before = traces(&postgres);
    let (pinning, pinned) = (hold(&postern, &token), hold(&postern, &token));
    let names = roles(&postgres, 2);
    let direct = Direct::to(&postgres, names[0].clone());
    // rights in an open transaction hold the role as a lock does, and those that are committed depend on it
    let mut child = direct.command().stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    send(&mut child, "create temporary table kept(a int); create temporary table pin(a int);");
    send(&mut child, &format!("grant select on kept to \"{}\";", names[1]));
    send(&mut child, &format!("begin; grant select on pin to \"{}\";", names[1]));
    let locks = "select count(*) from pg_locks l join pg_stat_activity a using (pid) where l.locktype = 'object' \
         and l.classid = 'pg_authid'::regclass and a.usename like 'postern\\_lease\\_%'";
    eventually("the role is held", Duration::from_secs(10), || (postgres.sql(locks) != "0").then_some(()));
    let left = || {
        let all = ["pinning", "pinned"].iter().zip(&names);
        all.filter(|(_, name)| postgres.sql(&format!("{LEASED} and rolname = '{name}'")) == "1").count()
    };
    assert_eq!(left(), 2);
    // the other session ends, and then this one: whichever is first, neither role stays
    end(pinned);
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(postern.sql(&token, "select 1"), "1");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "leasing went on: {:?}", began.elapsed());
    eventually("the role that was held is gone", Duration::from_secs(6), || (left() <= 1).then_some(()));
    end(pinning);
    none_left(&postgres, Duration::from_secs(6));
    end(child);
    let after = traces(&postgres);
    let differ: Vec<&String> = before.symmetric_difference(&after).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

/// What every session can do where a column is closed and nothing else is said, through the gate and as its role past it.
fn columns(version: Option<&str>) {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start_version(path, version);
    postgres.sql("create view v_ssn as select id, name, ssn from customers; create view v_names as select id, name from customers");
    postgres.sql(GATE);
    let postern = configure(path, &postgres, "gate", "");
    postern.change("masking = [\n", "closed = [\"public.customers.ssn\"]\nmasking = [\n");
    harden(&postgres);
    let _process = postern.start("up");
    let token = postern.token("bot", "agents");
    for (sql, answer) in [
        ("select id, name, card_number, email from customers where id = 1", "1|Customer 1|****7919|****"),
        ("select count(*) from customers", "40"),
        ("select ctid, tableoid::regclass, name from customers where id = 1", "(0,1)|customers|Customer 1"),
        ("select name from customers where id = 1 for update", "Customer 1"),
        ("copy (select id, name from customers where id = 2) to stdout", "2\tCustomer 2"),
        ("copy payments(id, customer_id) from stdin", ""),
        ("update customers set name = 'Nadia' where id = 3 returning id, name", "3|Nadia"),
        (
            "begin; declare c cursor for select id from customers where id = 3 for update; fetch c; \
          update customers set name = 'Nora' where current of c; commit",
            "3",
        ),
        ("select id, name from v_ssn where id = 3", "3|Nora"),
        ("select * from v_names where id = 3", "3|Nora"),
        ("select * from payments where id = 1", "1|2|1.25|invoice 1"),
        ("delete from customers where id = 77", ""),
    ] {
        assert_eq!(postern.sql(&token, sql), answer, "{sql}");
    }
    for sql in [
        "select ssn from customers",
        "select * from customers",
        "select c from customers c",
        "select row_to_json(c) from customers c",
        "table customers",
        "copy customers to stdout",
        "copy (select * from customers) to stdout",
        "select id from customers where ssn is not null",
        "select id from customers order by ssn",
        "select count(ssn) from customers",
        "update customers set name = 'x' where id = 1 returning *",
        "update customers set ssn = 'x' where id = 1",
        "insert into customers values (99, 'x', 'x@x', '1', '1')",
        "copy customers from stdin",
        "select * from v_ssn",
        "select a.id from customers a join customers b using (ssn)",
        "declare c cursor for select * from customers",
        "prepare p as select * from customers",
        "create temporary table mine as select * from customers",
        "explain select ssn from customers",
    ] {
        let told = postern.refused(&token, sql);
        assert!(told.contains(".ssn is out of reach") && told.contains("42501"), "{sql}: {told}");
    }
    none_left(&postgres, Duration::from_secs(5));
    let open = hold(&postern, &token);
    let direct = Direct::to(&postgres, roles(&postgres, 1).remove(0));
    for sql in [
        "select id, name, email, card_number, region, balance, ctid, xmin from customers",
        "select count(*) from customers",
        "select name from customers where id = 1 for update",
        "update customers set name = 'x', region = 'eu' where id = 1",
        "select * from payments; update payments set memo = 'x' where id = 1",
        "select id, name from v_ssn",
    ] {
        let output = direct.sql(sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for sql in [
        "select ssn from customers",
        "select * from customers",
        "select c from customers c",
        "select count(*) from customers where ssn like '1%'",
        "copy customers to stdout",
        "copy customers(ssn) to stdout",
        "update customers set ssn = 'x'",
        "select ssn from v_ssn",
        "select * from v_ssn",
        // whether it can be written would tell what is masked
        "update customers set card_number = '1' where id = 1",
        "update customers set email = 'x@y' where id = 1",
        "insert into customers(id, name, email, ssn, card_number) values (99, 'x', 'x@x', '1', '1')",
        "select * from hr.salaries",
        "create view mine as select id from customers",
    ] {
        let output = direct.sql(sql);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains("permission denied"), "{sql}: {told}");
    }
    end(open);
    none_left(&postgres, Duration::from_secs(5));
}

#[test]
fn a_column_that_nobody_may_name_no_role_can_reach() {
    columns(support::version().as_deref());
}

#[test]
fn columns_on_the_oldest_server_and_on_the_newest() {
    for version in ["13", "18"] {
        columns(Some(version));
    }
}
