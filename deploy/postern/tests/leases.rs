//! Leased roles (SCP-1, SCP-2): each session runs as a role of its own that has what the policies need and no more, and that is
//! gone after the session, whatever ended it, a node's death among it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod leased;
mod support;

use leased::{GATE, LEASED, configure, end, harden, hold, long, none_left, send, traces};
use std::{
    fs,
    process::Child,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};
use support::{Postern, Postgres, eventually, folder, plain, secret_file};

#[test]
fn a_session_runs_as_a_role_of_its_own_that_goes_with_it() {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start(path);
    postgres.sql(GATE);
    let postern = configure(path, &postgres, "gate", "");
    let process = postern.start("up");
    let token = postern.token("bot", "agents");
    let who = postern.sql(&token, "select session_user, current_user, current_setting('is_superuser')");
    assert!(who.starts_with("postern_lease_") && who.ends_with("|off"), "{who}");
    assert_eq!(postern.sql(&token, "select card_number from customers where id = 1"), "****7919");
    // what the gate's role cannot grant, the session cannot do
    assert!(postern.refused(&token, "select * from hr.salaries").contains("42501"));
    none_left(&postgres, Duration::from_secs(5));
    let before = postgres.sql("select rolname from pg_roles where rolname not like 'postern\\_scope\\_%' order by 1");
    // every way out: an error, a client that is killed in a statement, one that is killed in a transaction
    let sessions = long(100, 1_000);
    for number in 0..sessions {
        match number % 10 {
            0 => drop(postern.psql(&token, &["-c", "select 1 / 0"])),
            1 | 2 => {
                let mut child = hold(&postern, &token);
                send(&mut child, if number % 10 == 1 { "select pg_sleep(600);" } else { "begin; select 1;" });
                eventually("the session has begun", Duration::from_secs(20), || {
                    let there = "select count(*) from pg_stat_activity where usename like 'postern\\_lease\\_%'";
                    (postgres.sql(there) != "0").then_some(())
                });
                end(child);
            }
            _ => assert_eq!(postern.sql(&token, "select 1"), "1"),
        }
    }
    none_left(&postgres, Duration::from_secs(10));
    // shutdown, with sessions open
    let open: Vec<Child> = (0..5).map(|_| hold(&postern, &token)).collect();
    eventually("five roles are leased", Duration::from_secs(20), || (postgres.sql(LEASED) == "5").then_some(()));
    process.stop();
    none_left(&postgres, Duration::from_secs(1));
    open.into_iter().for_each(end);
    let after = postgres.sql("select rolname from pg_roles where rolname not like 'postern\\_scope\\_%' order by 1");
    assert_eq!(before, after);
    assert_eq!(postgres.sql("select count(*) from pg_roles where rolname like 'postern\\_scope\\_policy\\_%'"), "1");
    // the record says as which role each session ran, and no password is in it or in a log
    let events = postern.events();
    let roles: Vec<&str> = events.iter().filter_map(|event| event["body"]["SessionOpened"]["role"].as_str()).collect();
    assert!(roles.len() >= sessions && roles.iter().all(|role| role.starts_with("postern_lease_")), "{roles:?}");
    let logs = fs::read_to_string(path.join("gate-up.log")).unwrap() + &plain(&events);
    for secret in ["the-gates-own-secret", "SCRAM-SHA-256$"] {
        assert!(!logs.contains(secret), "{secret} was told");
    }
}

/// So many sessions, four at a time; how many of them went well.
fn sessions(postern: &Postern, token: &str, count: usize) -> usize {
    let well = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for one in 0..4 {
            let well = &well;
            scope.spawn(move || {
                for _ in (one..count).step_by(4) {
                    let output = postern.psql(token, &["-Atqc", "select 1"]);
                    well.fetch_add(usize::from(output.status.success()), Ordering::Relaxed);
                }
            });
        }
    });
    well.into_inner()
}

#[test]
fn kill_9_of_a_node_leaves_no_role_and_no_grant_after_the_grace() {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start(path);
    postgres.sql(GATE);
    let (one, other) = (configure(path, &postgres, "one", ""), configure(path, &postgres, "other", ""));
    let bare = traces(&postgres);
    let (mut first, _second) = (one.start("up"), other.start("up"));
    let (token, theirs) = (one.token("bot", "agents"), other.token("bot", "agents"));
    // all roles of one start of one node have a beginning in common
    let role = one.sql(&token, "select session_user");
    let of_the_dead = format!("{LEASED} and starts_with(rolname::text, '{}')", role.rsplit_once('_').unwrap().0);
    assert_eq!(sessions(&other, &theirs, 1), 1);
    none_left(&postgres, Duration::from_secs(5));
    let before = traces(&postgres);
    // what it was granted by column says by whom, too
    let of_scope = |row: &str| row.contains("postern_scope_policy_") || row.ends_with(" on gate a");
    let scope: Vec<&String> = before.difference(&bare).filter(|row| !of_scope(row)).collect();
    assert!(scope.is_empty(), "besides the one scope role there is {scope:?}");
    // a thousand sessions, of which some are open as the node dies
    let part = long(250, 2_500);
    assert_eq!((sessions(&one, &token, part), sessions(&other, &theirs, part)), (part, part));
    let mut dying: Vec<Child> = (0..long(40, 200)).map(|_| hold(&one, &token)).collect();
    // one of them is in a statement that does not notice that its client is gone
    send(&mut dying[0], "select pg_sleep(600);");
    let living: Vec<Child> = (0..3).map(|_| hold(&other, &theirs)).collect();
    let all = dying.len() + living.len();
    eventually("all roles are leased", Duration::from_secs(60), || {
        (postgres.sql(LEASED).parse::<usize>().unwrap() >= all).then_some(())
    });
    // and some are just being opened or closed
    std::thread::scope(|scope| {
        let (on_one, on_other) =
            (scope.spawn(|| sessions(&one, &token, part)), scope.spawn(|| sessions(&other, &theirs, part)));
        std::thread::park_timeout(Duration::from_millis(200));
        first.kill();
        let killed = Instant::now();
        eventually("the dead node's roles are gone", Duration::from_secs(6), || {
            (postgres.sql(&of_the_dead) == "0").then_some(())
        });
        eprintln!("roles of the dead node were gone after {:.1} s of a grace of 6", killed.elapsed().as_secs_f64());
        on_one.join().unwrap();
        assert_eq!(on_other.join().unwrap(), part, "the living node goes on");
    });
    let _first = one.start("up");
    assert_eq!(sessions(&one, &token, part), part);
    dying.into_iter().chain(living).for_each(end);
    none_left(&postgres, Duration::from_secs(10));
    let after = traces(&postgres);
    let differ: Vec<&String> = before.symmetric_difference(&after).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

#[test]
fn roles_of_a_database_that_is_gone_go_too() {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start(path);
    postgres.sql(GATE);
    postgres.sql("create database other template shop");
    let (gone, stays) =
        (configure(path, &postgres, "gone", ""), configure(path, &postgres, "stays", "scope_keep_seconds = 1\n"));
    gone.change("database = \"shop\"", "database = \"other\"");
    let before = traces(&postgres);
    let mut process = gone.start("up");
    let open = hold(&gone, &gone.token("bot", "agents"));
    eventually("a role is leased", Duration::from_secs(20), || (postgres.sql(LEASED) == "1").then_some(()));
    process.kill();
    postgres.sql("drop database other with (force)");
    end(open);
    assert_eq!(postgres.sql(LEASED), "1");
    let _process = stays.start("up");
    none_left(&postgres, Duration::from_secs(20));
    // the scope role too, and with it all that names a role
    eventually("nothing is left", Duration::from_secs(60), || traces(&postgres).is_subset(&before).then_some(()));
}

#[test]
fn eight_clients_lease_at_once_without_a_failure() {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start(path);
    postgres.sql(GATE);
    let (one, other) = (configure(path, &postgres, "one", ""), configure(path, &postgres, "other", ""));
    let (mut first, second) = (one.start("up"), other.start("up"));
    let (token, theirs) = (one.token("bot", "agents"), other.token("bot", "agents"));
    assert_eq!((one.sql(&token, "select 1"), other.sql(&theirs, "select 1")), ("1".to_owned(), "1".to_owned()));
    none_left(&postgres, Duration::from_secs(5));
    let before = traces(&postgres);
    let (count, down, over) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let time = Duration::from_secs(long(60, 600));
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (count, down, over) = (&count, &down, &over);
            let (node, token) = if client % 2 == 0 { (&one, &token) } else { (&other, &theirs) };
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let output = node.psql(token, &["-Atqc", "select 1"]);
                    // nobody is at home on the node that is dead, and on none but that
                    if client % 2 == 0 && down.load(Ordering::SeqCst) {
                        std::thread::park_timeout(Duration::from_millis(100));
                        continue;
                    }
                    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n", "{:?}", output.stderr);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::park_timeout(time / 2);
        down.store(true, Ordering::SeqCst);
        first.kill();
        std::thread::park_timeout(time / 8);
        first = one.start("up");
        // those that found nobody are done
        eventually("the node is back", Duration::from_secs(30), || {
            one.psql(&token, &["-Atqc", "select 1"]).status.success().then_some(())
        });
        std::thread::park_timeout(Duration::from_secs(1));
        down.store(false, Ordering::SeqCst);
        std::thread::park_timeout(time * 3 / 8);
        over.store(true, Ordering::Relaxed);
    });
    let count = count.into_inner();
    eprintln!("{count} sessions in {} s", time.as_secs());
    assert!(count > 200, "{count}");
    none_left(&postgres, Duration::from_secs(20));
    let after = traces(&postgres);
    let differ: Vec<&String> = before.symmetric_difference(&after).collect();
    assert!(differ.is_empty(), "{differ:?}");
    first.stop();
    second.stop();
    let log = fs::read_to_string(postgres.folder.parent().unwrap().join("postgres.log")).unwrap();
    assert!(!log.contains("tuple concurrently"), "grants met");
    assert!(!log.contains("authentication failed"), "a login failed");
}

/// What the role of an open session can do when somebody logs in as it directly, past the gate: with its own secret it could
/// once, before the session; here the superuser gives it a known one.
fn alone(version: Option<&str>) {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start_version(path, version);
    postgres.sql(GATE);
    let scopes = "[[resources.lease.scopes]]\nname = \"sales\"\ngroups = [\"agents\"]\ngrants = [\n\
        { tables = [\"public.customers\"], columns = [\"id\", \"name\", \"card_number\"] },\n\
        { tables = [\"public.pay*\"], privileges = [\"select\", \"insert\"] } ]\n";
    let postern = configure(path, &postgres, "gate", scopes);
    harden(&postgres);
    let _process = postern.start("up");
    let token = postern.token("bot", "agents");
    let open = hold(&postern, &token);
    let role = eventually("a role is leased", Duration::from_secs(20), || {
        Some(postgres.sql("select rolname from pg_roles where rolname like 'postern\\_lease\\_%'"))
            .filter(|r| !r.is_empty())
    });
    let flags = "select rolcanlogin, rolinherit, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolconnlimit, \
                 rolvaliduntil < now() + interval '200 s' from pg_roles where rolname = ";
    assert_eq!(postgres.sql(&format!("{flags}'{role}'")), "t|t|f|f|f|f|f|1|t");
    let verifier = postgres.sql(&format!("select left(rolpassword, 16) from pg_authid where rolname = '{role}'"));
    assert_eq!(verifier, "SCRAM-SHA-256$1:");
    let member = format!(
        "select string_agg(r.rolname || m.admin_option, ' ') from pg_auth_members m join pg_roles r on r.oid = m.roleid \
         where m.member = (select oid from pg_roles where rolname = '{role}')"
    );
    let member = postgres.sql(&member);
    assert!(
        member.starts_with("postern_scope_sales_") && member.ends_with("false") && !member.contains(' '),
        "{member}"
    );
    postgres.sql(&format!("alter role \"{role}\" password 'known' connection limit -1"));
    let direct = |sql: &str| {
        let mut command = postgres.psql();
        command.args(["-XAtq", "-U", &role, "-v", "ON_ERROR_STOP=1", "-c", sql]).env("PGPASSWORD", "known");
        command.output().unwrap()
    };
    for sql in [
        "select id, name, card_number from customers limit 1",
        "select count(*) from payments",
        "insert into payments(id, customer_id, amount) values (90001, 1, 1)",
    ] {
        let output = direct(sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for sql in [
        "select * from hr.salaries",
        "select ssn from customers",
        "select email from customers",
        "select * from customers",
        "select count(*) from customers where ssn like '1%'",
        "update customers set name = 'x'",
        "delete from payments",
        "select * from ledger",
        "select * from v_cards",
        "create table mine(a int)",
        "create temporary table mine(a int)",
        "do $$ begin end $$",
        "create role other",
        "set role gate",
        "set role postgres",
        "select pg_read_file('/etc/passwd')",
        "select query_to_xml('select 1', true, true, '')",
        "copy customers to program 'true'",
        "select lo_from_bytea(0, 'x')",
    ] {
        let output = direct(sql);
        assert!(!output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stdout));
    }
    end(open);
    none_left(&postgres, Duration::from_secs(5));
}

#[test]
fn a_leased_role_alone_reaches_nothing_but_its_scope() {
    alone(support::version().as_deref());
}

#[test]
fn leases_on_the_oldest_server_and_on_the_newest() {
    for version in ["13", "18"] {
        alone(Some(version));
    }
}

#[test]
fn what_a_session_made_goes_with_it_or_to_its_owner() {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start(path);
    postgres.sql(GATE);
    postgres.sql(
        "create role keeper nologin; grant keeper to gate; grant create on schema public to gate with grant option",
    );
    let make =
        "create table notes(a int); insert into notes values (1); create temporary table scratch(a int); select 1";
    let keeping = configure(path, &postgres, "keeping", "owned = \"reassign\"\nowner = \"keeper\"\n");
    let process = keeping.start("up");
    let token = keeping.token("bot", "agents");
    assert_eq!(keeping.sql(&token, make), "1");
    none_left(&postgres, Duration::from_secs(5));
    let owners = "select string_agg(tableowner, ' ') from pg_tables where tablename in ('notes', 'scratch')";
    assert_eq!(postgres.sql(owners), "keeper");
    process.stop();
    postgres.sql("drop table notes");
    let dropping = configure(path, &postgres, "dropping", "owned = \"drop\"\n");
    let process = dropping.start("up");
    let token = dropping.token("bot", "agents");
    assert_eq!(dropping.sql(&token, make), "1");
    none_left(&postgres, Duration::from_secs(5));
    assert_eq!(postgres.sql(owners), "");
    process.stop();
    // other rights have another scope role, and the one that nobody uses any more goes
    let scopes = "select count(*) from pg_roles where rolname like 'postern\\_scope\\_%'";
    let before = postgres.sql(scopes);
    dropping.change("owned = \"drop\"", "scope_keep_seconds = 1");
    postgres.sql("create table another(a int); grant select on another to gate with grant option");
    let process = dropping.start("up");
    assert_eq!(dropping.sql(&dropping.token("bot", "agents"), "select count(*) from another"), "0");
    eventually("unused scope roles are gone", Duration::from_secs(60), || (postgres.sql(scopes) == "0").then_some(()));
    assert_eq!(before, "1", "one for each version of the rights");
    process.stop();
    // without a way for it, nothing can be made that stays
    // (before 15 everybody may make tables there, until it is hardened)
    postgres.sql("revoke create on schema public from public");
    let none = configure(path, &postgres, "none", "");
    let _process = none.start("up");
    let token = none.token("bot", "agents");
    assert!(none.refused(&token, "create table notes(a int)").contains("42501"));
    assert_eq!(none.sql(&token, "create temporary table scratch(a int); select 1"), "1");
}

#[test]
fn where_no_role_can_be_made_a_session_is_refused_or_runs_as_the_configured_one() {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start(path);
    postgres.sql(
        "create role gate login password 'the-gates-own-secret'; create role static login password 'static-secret'; \
                  grant select on customers to static",
    );
    let postern = configure(path, &postgres, "gate", "");
    let process = postern.start("up");
    let token = postern.token("bot", "agents");
    let output = postern.psql(&token, &["-c", "select 1"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("the gate's role may not make") && told.contains("postern doctor"), "{told}");
    process.stop();
    let secret = secret_file(path, "gate-own", "the-gates-own-secret");
    secret_file(path, "gate-database-password", "static-secret");
    postern.change("user = \"gate\"", "user = \"static\"");
    let more = format!(
        "grace_seconds = 6\nfallback = \"static\"\nuser = \"gate\"\ncredential = {{ password_file = {secret:?} }}\n"
    );
    postern.change("grace_seconds = 6\n", &more);
    let process = postern.start("up");
    assert_eq!(postern.sql(&postern.token("bot", "agents"), "select session_user"), "static");
    process.stop();
    // groups without a scope get no role, whatever the fallback
    let text = fs::read_to_string(&postern.config).unwrap();
    fs::write(&postern.config, text + "[[resources.lease.scopes]]\nname = \"other\"\ngroups = [\"others\"]\n").unwrap();
    let _process = postern.start("up");
    assert!(postern.refused(&postern.token("bot", "agents"), "select 1").contains("none of your groups has a scope"));
}
