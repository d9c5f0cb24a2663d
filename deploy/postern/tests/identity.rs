//! Who somebody is, over the life of a session and of an issuer's keys: rotation fails nobody, a dropped key ends its
//! tokens, a session ends when its token does, issuers do not name each other's groups.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use support::{Issuer, Postern, Postgres, eventually, folder};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims(issuer: &Issuer, subject: &str, lifetime: u64) -> Value {
    json!({"iss": issuer.url(), "sub": subject, "aud": "postern", "iat": now(), "exp": now() + lifetime,
           "groups": ["agents"]})
}

/// One login and one statement, as any driver does it.
fn log_in(port: u16, token: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(port).user("agent").dbname("shop").password(token);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(|error| format!("{error:?}"))?;
        let driver = tokio::spawn(connection);
        let answer = client.simple_query("select 1").await.map_err(|error| format!("{error:?}"));
        drop(client);
        driver.await.unwrap().map_err(|error| format!("{error:?}"))?;
        answer.map(drop)
    })
}

#[test]
fn keys_rotate_while_fifty_clients_connect_and_a_dropped_one_ends_its_tokens() {
    const CLIENTS: usize = 50;
    const LOGINS: usize = 4;
    const AGE: u64 = 10;
    let folder = folder();
    let (postgres, issuer) = (Postgres::start(folder.path()), Issuer::start(folder.path()));
    let section = format!("{}jwks_max_age_seconds = {AGE}\n", issuer.section());
    let postern = Postern::configure(folder.path(), "gate", &postgres, &section);
    let _process = postern.start("up");
    let old = issuer.token("agent-rs");
    assert_eq!(postern.sql(&old, "select 1"), "1");

    let done = Arc::new(AtomicUsize::new(0));
    let issuer = Arc::new(issuer);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (done, issuer, port) = (done.clone(), issuer.clone(), postern.port);
            thread::spawn(move || {
                for _ in 0..LOGINS {
                    log_in(port, &issuer.token("agent-rs")).unwrap();
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for part in 1..=2 {
        eventually("a third of the logins", Duration::from_secs(60), || {
            (done.load(Ordering::SeqCst) >= part * CLIENTS * LOGINS / 3).then_some(())
        });
        issuer.post("/_rotate", &json!({}));
    }
    clients.into_iter().for_each(|client| client.join().expect("no login fails while the keys rotate"));
    assert_eq!(done.load(Ordering::SeqCst), CLIENTS * LOGINS);
    assert_eq!(postern.sql(&old, "select 1"), "1", "the first key is still published");

    issuer.post("/_rotate?drop=1", &json!({}));
    let dropped = Instant::now();
    let text = eventually("the dropped key's token is refused", Duration::from_secs(AGE + 5), || {
        log_in(postern.port, &old).err()
    });
    assert!(dropped.elapsed() <= Duration::from_secs(AGE + 1), "{:?}", dropped.elapsed());
    assert!(text.contains("28P01") && text.contains("key"), "{text}");
    assert_eq!(postern.sql(&issuer.token("agent-rs"), "select 1"), "1", "the new key's tokens are good");
}

#[test]
fn a_session_ends_with_its_token_in_the_middle_of_a_statement() {
    let folder = folder();
    let (postgres, issuer) = (Postgres::start(folder.path()), Issuer::start(folder.path()));
    let postern = Postern::configure(folder.path(), "gate", &postgres, &issuer.section());
    let _process = postern.start("up");
    let mut short = claims(&issuer, "sleeper", 6);
    short["jti"] = "token-17".into();
    short["task"] = "ticket-4711".into();
    short["act"] = json!({"sub": "planner", "act": {"sub": "scheduler"}});
    let expires = short["exp"].as_u64().unwrap();
    let output = postern.psql(&issuer.sign("RS256", &short), &["-v", "VERBOSITY=verbose", "-c", "select pg_sleep(60)"]);
    let ended = now();
    let text = String::from_utf8(output.stderr).unwrap();
    let (warning, fatal) = (text.find("WARNING:  01000: this session ends in").unwrap(), text.find("FATAL:  28000:"));
    assert!(fatal.is_some_and(|fatal| warning < fatal) && text.contains("has expired"), "{text}");
    assert!((expires..=expires + 2).contains(&ended), "it ended at {ended}, the token at {expires}");
    let running = "select count(*) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid()";
    eventually("the statement is cancelled", Duration::from_secs(5), || (postgres.sql(running) == "0").then_some(()));

    let events = eventually("the session's end is archived", Duration::from_secs(20), || {
        let events = postern.events();
        events.iter().any(|event| event["body"].get("SessionClosed").is_some()).then_some(events)
    });
    let find = |name: &str| events.iter().find_map(|event| event["body"].get(name)).unwrap();
    assert_eq!(find("SessionClosed")["reason"], "expired");
    assert_eq!(find("Completed")["outcome"], "abandoned");
    let opened = find("SessionOpened");
    assert_eq!(opened["identity"]["task"], "ticket-4711");
    assert_eq!(opened["identity"]["on_behalf_of"], json!(["planner", "scheduler"]));
    assert_eq!((opened["authentication"].as_str(), opened["credential"].as_str()), (Some("token"), Some("token-17")));
    assert_eq!(opened["expires"].as_u64().unwrap(), expires * 1_000_000);
    assert_eq!(postern.found("type:statement task:ticket-4711"), 1, "the index knows the task");
}

#[test]
fn issuers_stand_beside_each_other_and_do_not_name_each_others_groups() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("ci")).unwrap();
    let postgres = Postgres::start(folder.path());
    let (company, ci) = (Issuer::start(folder.path()), Issuer::start(&folder.path().join("ci")));
    let mapped = "groups_prefix = \"ci:\"\ngroups = [\"agents\"]\nsubject_claim = \"job.name\"\ntask_claim = \"run\"\n\
                  kind_claim = \"actor_type\"\nrequired_claims = { repository = \"acme/shop\" }\n";
    let more = format!("{}{}{mapped}", company.section(), ci.section());
    let postern = Postern::configure(folder.path(), "gate", &postgres, &more);
    let _process = postern.start("up");
    assert_eq!(postern.sql(&company.token("agent-rs"), "select 1"), "1");

    let mut job = claims(&ci, "ignored", 300);
    job["groups"] = json!(["auditor"]);
    job["job"] = json!({"name": "nightly"});
    job["run"] = "4711".into();
    job["actor_type"] = "human".into();
    let text = postern.refused(&ci.sign("RS256", &job), "select 1");
    assert!(text.contains("FATAL") && text.contains("`repository`") && text.contains("acme/shop"), "{text}");
    job["repository"] = "acme/shop".into();
    assert_eq!(postern.sql(&ci.sign("RS256", &job), "select 1"), "1");
    // the other issuer's key under this issuer's name
    let text = postern.refused(&company.sign("RS256", &job), "select 1");
    assert!(text.contains("signature"), "{text}");

    let opened = eventually("both sessions are archived", Duration::from_secs(20), || {
        let events = postern.events();
        let opened: Vec<Value> = events.iter().filter_map(|e| e["body"].get("SessionOpened").cloned()).collect();
        (opened.len() == 2).then_some(opened)
    });
    let identity = &opened[1]["identity"];
    assert_eq!(identity["issuer"], ci.url());
    assert_eq!((identity["subject"].as_str(), identity["kind"].as_str()), (Some("nightly"), Some("human")));
    assert_eq!(identity["groups"], json!(["ci:auditor", "agents"]));
    assert_eq!(identity["task"], "4711");
}
