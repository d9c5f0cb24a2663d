//! MSK-1, SCP-2: passwords, keys and tokens that statements name stand in no event, file, log or metric, whatever becomes of the
//! statement; the database gets them as they were sent.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;
mod wire;

use std::{fs, time::Duration};
use support::{Postern, Postgres, eventually, files::holding, folder};
use wire::*;

/// What must be found nowhere.
const SECRET: &str = "Xq7Tangerine";

/// Statements that name it, with what becomes of them: allowed, failed in the database, denied, not understood.
fn statements() -> Vec<String> {
    [
        "create role somebody login password '{}'",
        "alter role postgres /* for now */ password $${}$$",
        "do $$ begin execute 'alter role nobody password ''{}'''; end $$",
        "create user mapping for postgres server nowhere options (user 'u', password '{}')",
        "create subscription s connection 'host=127.0.0.1 password={} user=u' publication p",
        "select * from dblink('host=127.0.0.1 password={}', 'select 1') as t(a int)",
        "select dblink_connect('postgresql://u:{}@127.0.0.1/shop')",
        "select length('host=h password={} user=u')",
        "select length('postgresql://u:{}@127.0.0.1/shop')",
        "select length('{{\"user\": \"u\", \"api_key\": \"{}\"}}')",
        "select 1 -- password: {}",
        "set app.password = '{}'",
        "select nothing as password where token = '{}'",
        "alter role postgres password '{}' '{}' nonsense",
        "alter role postgres passwort '{}' password '{}",
        "create role a password '{}'; create role b password '{}'; select",
    ]
    .map(|text| text.replace("{{", "{").replace("}}", "}").replace("{}", SECRET))
    .into()
}

fn run(client: &mut Wire) {
    for text in statements() {
        client.query(&text);
        client.exchange(&[parse("", &text), bind("", "", false, &[], false), execute("", 0), sync()]);
    }
    // what the database got is what was sent
    client.send(&[query(&format!("select length('password={SECRET}')"))]);
    let answer = client.until(b'Z');
    let row = answer.iter().find(|(kind, _)| *kind == b'D').unwrap();
    assert!(String::from_utf8_lossy(&row.1).ends_with("21"), "{row:?}");
    // a value of a parameter, in text and in binary, and one that fails and is quoted by PostgreSQL
    let value = format!("host=127.0.0.1 password={SECRET}");
    for binary in [false, true] {
        let values = [Some(value.as_bytes())];
        let frames =
            [parse("", "select length($1::text)"), bind("", "", binary, &values, false), execute("", 0), sync()];
        assert_eq!(client.exchange(&frames), "12DCZ");
        let frames = [parse("", "select $1::int"), bind("", "", false, &values, false), execute("", 0), sync()];
        assert!(client.exchange(&frames).contains('E'));
    }
    let quoted = format!("select 'password={SECRET}'::int");
    assert_eq!(client.query(&quoted), "EZ");
}

#[test]
fn secrets_in_statements_stand_nowhere() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, "");
    postern.without_guardrails();
    let process = postern.start_with("up", &[("POSTERN_LOGGING_FILTER", "debug")]);
    let token = postern.token("careless", "agents");
    let mut client = Wire::connect(postern.port, "agent", "shop", &token);
    run(&mut client);
    client.send(&[terminate()]);
    client.drain();
    let mut metrics = ureq::get(format!("http://127.0.0.1:{}/metrics", postern.metrics)).call().unwrap();
    assert!(!metrics.body_mut().read_to_string().unwrap().contains(SECRET));
    // open ones too, killed before their end: what the spool keeps of them is searched as it lies there
    let mut client = Wire::connect(postern.port, "agent", "shop", &token);
    run(&mut client);
    let mut process = process;
    process.kill();
    let search = |what: &str| {
        let mut found = holding(&postern.data(), what);
        found.extend(
            fs::read_to_string(postern.folder.join("gate-up.log")).unwrap().contains(what).then(|| "log".into()),
        );
        found
    };
    assert_eq!(search(SECRET), Vec::<String>::new());
    // the search can find: the spool holds statements as they are
    assert!(!search("user mapping for postgres server nowhere").is_empty());

    let process = postern.start("up");
    let events = eventually("both sessions are archived", Duration::from_secs(30), || {
        let events = support::plain(&postern.events());
        (events.matches("SessionClosed").count() == 2).then_some(events)
    });
    assert!(!events.contains(SECRET), "{}", events.lines().find(|line| line.contains(SECRET)).unwrap());
    for struck in ["password '************'", "password=************", "u:************@", "token = '************'"] {
        assert!(events.contains(struck), "{struck}");
    }
    process.stop();
    postern.verified();
}
