//! Ordinary clients work through the gate unmodified, with a token of a real OIDC provider as their password: psql,
//! psycopg, node-postgres, tokio-postgres, pgbench, pg_dump. What is masked stays masked for each of them (AUD-2, MSK-1).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};
use support::{Issuer, Postern, Postgres, cache, eventually, folder, root};

struct Gate {
    postern: Postern,
    token: String,
    postgres: Postgres,
    _processes: (support::Process, Issuer),
    folder: tempfile::TempDir,
}

fn gate() -> Gate {
    gate_with(|_| {})
}

fn gate_with(prepare: impl FnOnce(&Postern)) -> Gate {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let issuer = Issuer::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, &issuer.section());
    postern.log_in_as_an_ordinary_role(&postgres);
    // the provider's tokens alone open a session: none of the development issuer's
    postern.change("enabled = true", "enabled = false");
    prepare(&postern);
    let process = postern.start("up");
    let token = issuer.token("agent-rs");
    let served = postern.sql(&token, "show server_version");
    assert!(support::version().is_none_or(|version| served.starts_with(&version)), "{served}");
    Gate { postern, token, postgres, _processes: (process, issuer), folder }
}

#[test]
fn psql_works_with_its_own_commands() {
    let gate = gate();
    let masked = gate.postern.sql(&gate.token, "select card_number as c, ssn, email from customers where id = 1");
    assert!(masked.contains('*') && !masked.contains("4929") && !masked.contains("private.example"), "{masked}");
    assert_eq!(gate.postern.sql(&gate.token, "select name from customers where id = 2"), "Customer 2");

    let commands = ["\\d customers", "\\dt *.*", "\\dn+", "\\df", "\\l", "\\du", "\\di", "\\dv+", "\\d+ v_cards"];
    for command in commands {
        let output = gate.postern.psql(&gate.token, &["-c", command]);
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    let file = gate.folder.path().join("payments.csv");
    let copy = format!("\\copy payments to '{}' csv", file.display());
    gate.postern.sql(&gate.token, &copy);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 400);
    gate.postern.sql(&gate.token, "create table payments_copy (like payments)");
    let copy = format!("\\copy payments_copy from '{}' csv", file.display());
    gate.postern.sql(&gate.token, &copy);
    assert_eq!(gate.postern.sql(&gate.token, "select count(*) from payments_copy"), "400");
}

#[test]
fn psql_works_at_a_terminal() {
    let gate = gate();
    let mut command = Command::new("python3");
    command.arg(root().join("deploy/postern/tests/clients/psql_suite.py")).arg(gate.folder.path());
    let port = gate.postgres.port.to_string();
    let sleeping = "select count(*) from pg_stat_activity where query like 'select pg_sleep(60)%' and state = 'active'";
    let url = format!("postgresql://postgres:{}@127.0.0.1:{port}/shop?sslmode=disable", gate.postgres.password);
    command.args(["psql", "-XAtc", sleeping, &url]);
    run(&gate, command);
}

#[test]
fn psql_that_is_no_terminal_watches_and_is_cancelled_by_a_signal() {
    let gate = gate();
    let mut command = Command::new("psql");
    command.envs(gate.postern.environment(&gate.token)).args(["-XAt"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut watching = command.spawn().unwrap();
    watching.stdin.as_mut().unwrap().write_all(b"select 'seen' \\watch 0.1\n").unwrap();
    let lines = support::lines(watching.stdout.take().unwrap());
    let mut seen = 0;
    while seen < 3 {
        let line = lines.recv_timeout(Duration::from_secs(20)).expect("\\watch goes on");
        seen += usize::from(line == "seen");
    }
    watching.kill().unwrap();
    watching.wait().unwrap();

    let mut psql = Command::new("psql");
    psql.envs(gate.postern.environment(&gate.token));
    is_cancelled_by_a_signal(&gate, psql);
}

/// A psql that sleeps in the database and gets SIGINT.
fn is_cancelled_by_a_signal(gate: &Gate, mut psql: Command) {
    psql.args(["-XAt", "-c", "select pg_sleep(60)"]);
    psql.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = psql.spawn().unwrap();
    eventually("the statement runs", Duration::from_secs(20), || {
        let running = gate
            .postgres
            .sql("select count(*) from pg_stat_activity where query like 'select pg_sleep(60)%' and state = 'active'");
        (running == "1").then_some(())
    });
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("canceling statement due to user request"));
}

#[test]
fn the_newest_psql_speaks_the_newest_protocol() {
    let gate = gate();
    let psql = || {
        let mut psql = Command::new(support::newest_programs().join("psql"));
        psql.env("PGMINPROTOCOLVERSION", "3.2").env("PGMAXPROTOCOLVERSION", "3.2");
        // as PyPI has it, it is built without TLS
        psql.envs(gate.postern.environment(&gate.token)).env("PGSSLMODE", "disable");
        psql
    };
    let mut command = psql();
    let output = command.args(["-XAtc", "select card_number from customers where id = 1"]).output().unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains('*') && !said.contains("4929"), "{said}{error}");
    // its cancel requests carry a key of another length than those of 3.0
    is_cancelled_by_a_signal(&gate, psql());
}

#[test]
fn psycopg_works() {
    let gate = gate_with(Postern::without_guardrails);
    let mut command = Command::new(cache().join("clients/venv/bin/python"));
    command.arg(root().join("deploy/postern/tests/clients/psycopg_suite.py"));
    run(&gate, command);
}

#[test]
fn node_postgres_works() {
    let gate = gate_with(Postern::without_guardrails);
    let mut command = Command::new("node");
    // modules are looked up from where the script is: it runs from the folder that `npm ci` filled
    let script = cache().join("clients/node_suite.mjs");
    std::fs::copy(root().join("deploy/postern/tests/clients/node_suite.mjs"), &script).unwrap();
    command.arg(script);
    run(&gate, command);
}

fn run(gate: &Gate, mut command: Command) {
    let output =
        command.envs(gate.postern.environment(&gate.token)).output().expect("deploy/test installs the clients");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("all passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn pgbench_works_in_all_three_protocol_modes() {
    let gate = gate_with(Postern::without_guardrails);
    let environment = gate.postern.environment(&gate.token);
    let pgbench = |arguments: &[&str]| {
        let output = support::program("pgbench").envs(environment.clone()).args(arguments).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    };
    pgbench(&["-i", "-s", "1", "-q"]);
    for mode in ["simple", "extended", "prepared"] {
        let text = pgbench(&["-M", mode, "-c", "4", "-t", "50"]);
        assert!(text.contains("number of transactions actually processed: 200/200"), "{text}");
    }
}

#[test]
fn pg_dump_of_a_table_works() {
    let gate = gate();
    let output = support::program("pg_dump")
        .envs(gate.postern.environment(&gate.token))
        .args(["-t", "payments"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dump = String::from_utf8(output.stdout).unwrap();
    assert!(dump.contains("CREATE TABLE public.payments") && dump.contains("invoice 400"));
    let masked = support::program("pg_dump")
        .envs(gate.postern.environment(&gate.token))
        .args(["-t", "customers", "--data-only"])
        .output()
        .unwrap();
    assert!(masked.status.success(), "{}", String::from_utf8_lossy(&masked.stderr));
    let dump = String::from_utf8(masked.stdout).unwrap();
    assert!(dump.contains("Customer 40") && dump.contains("****") && !dump.contains("4929"), "{dump}");
}

#[test]
fn tokio_postgres_works() {
    let gate = gate();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = format!(
            "host=127.0.0.1 port={} user=agent dbname=shop password={} sslmode=disable",
            gate.postern.port, gate.token
        );
        let (client, connection) = tokio_postgres::connect(&settings, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let row = client
            .query_one("select id, name, card_number, balance::float8 from customers where id = $1", &[&3])
            .await
            .unwrap();
        assert_eq!(row.get::<_, i32>(0), 3);
        assert!(row.get::<_, &str>(2).contains('*'));
        let statement = client.prepare("select $1::int8 + 1").await.unwrap();
        let (a, b, c) = tokio::join!(
            client.query_one(&statement, &[&1i64]),
            client.query_one(&statement, &[&2i64]),
            client.query_one(&statement, &[&3i64])
        );
        assert_eq!([a, b, c].map(|row| row.unwrap().get::<_, i64>(0)), [2, 3, 4]);
        let denied = client.query("select id from customers where email = 'x'", &[]).await.unwrap_err();
        assert_eq!(denied.code().unwrap().code(), "42501");
        let cancel = client.cancel_token();
        let mut sleeping = Box::pin(client.batch_execute("select pg_sleep(60)"));
        let ended = loop {
            // a request that comes before the statement runs cancels nothing: it is made again
            match tokio::time::timeout(Duration::from_millis(100), &mut sleeping).await {
                Ok(ended) => break ended,
                Err(_) => cancel.cancel_query(tokio_postgres::NoTls).await.unwrap(),
            }
        };
        assert_eq!(ended.unwrap_err().code().unwrap().code(), "57014");
        drop(sleeping);
        drop(client);
        connection.await.unwrap().unwrap();
    });
}
