//! Policies and classifications change under running sessions: the next statement is decided by the new ones, and files that
//! are wrong change nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use std::time::Duration;
use support::{Postern, Postgres, eventually, folder};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

const LIMIT: Duration = Duration::from_secs(20);

const SESSION: &str =
    "@id(\"a:session\") permit (principal in Group::\"agents\", action in Action::\"session\", resource);\n";
const READ: &str = "@id(\"a:read\") permit (principal in Group::\"agents\", action in Action::\"read\", resource);\n";
const CLEAR: &str =
    "@id(\"a:clear\") permit (principal in Group::\"agents\", action == Action::\"read_clear\", resource);\n";

/// The first value of the answer, or the error.
type Seen = Result<String, String>;

async fn first(client: &Client, sql: &str) -> Seen {
    match client.simple_query(sql).await {
        Ok(messages) => Ok(messages
            .iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
                _ => None,
            })
            .unwrap_or_default()),
        Err(error) => Err(error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())),
    }
}

#[test]
fn new_policies_hold_for_the_next_statement_of_a_running_session() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let policies = folder.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    let write = |text: &str| std::fs::write(policies.join("p.cedar"), text).unwrap();
    let columns = folder.path().join("columns.toml");
    std::fs::write(&columns, "").unwrap();
    write(&format!("{SESSION}{READ}"));
    let postern = Postern::configure(folder.path(), "gate", &postgres, "");
    let files = format!(
        "policies = [{:?}]\nclassification_file = {:?}\nmasking = [\n",
        policies.display().to_string(),
        columns.display().to_string()
    );
    postern.change("masking = [\n", &files);
    let process = postern.start("up");
    let token = postern.token("bot", "agents");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = format!("host=127.0.0.1 port={} user=agent dbname=shop password={token}", postern.port);
    let (client, connection) = runtime.block_on(tokio_postgres::connect(&config, NoTls)).unwrap();
    runtime.spawn(connection);
    let ask = |sql: &str| runtime.block_on(first(&client, sql));
    let wait = |what: &str, sql: &str, wanted: &dyn Fn(&Seen) -> bool| {
        eventually(what, LIMIT, || wanted(&ask(sql)).then_some(()));
    };
    let card = "select card_number from customers where id = 1";
    let write_memo = "update payments set memo = 'x' where id = 1";
    let masked = |seen: &Seen| seen.as_ref().is_ok_and(|card| card.starts_with("****"));
    let clear = |seen: &Seen| seen.as_ref().is_ok_and(|card| card.starts_with("4929"));
    let denied = |seen: &Seen| seen.as_ref().is_err_and(|text| text.contains("denied"));
    // a prepared statement is decided again as well
    let prepared = runtime.block_on(client.prepare("select card_number from customers where id = $1")).unwrap();
    let by_name = || runtime.block_on(client.query_one(&prepared, &[&1])).map(|row| row.get::<_, String>(0));
    assert!(masked(&ask(card)));
    assert!(by_name().unwrap().starts_with("****"));
    assert!(denied(&ask(write_memo)), "no policy permits it");

    write(&format!("{SESSION}{READ}{CLEAR}"));
    wait("the cards in clear", card, &clear);
    assert!(by_name().unwrap().starts_with("4929"));

    // wrong files: told, and nothing changes
    write("permit (principal, action, resource) when { context.nothing };");
    eventually("the log tells", LIMIT, || process.output().contains("policy files are wrong").then_some(()));
    assert!(clear(&ask(card)));
    assert!(denied(&ask(write_memo)));

    write(SESSION);
    wait("a denial", card, &denied);
    assert!(by_name().is_err());

    write(&format!("{SESSION}{READ}"));
    std::fs::write(&columns, "[[masking]]\ncolumns = [\"public.customers.name\"]\nmethod = \"null\"\n").unwrap();
    process.signal("-HUP");
    wait("a new classification", "select name from customers where id = 1", &|seen| seen == &Ok("NULL".to_owned()));
    assert!(masked(&ask(card)));
    process.stop();
}
