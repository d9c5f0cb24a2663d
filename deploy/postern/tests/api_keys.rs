//! API keys as all nodes know them: issued by an operator in person and shown once, good for their resources at the gate and
//! at the API alike, no way to review or to administer, and out within a second when they or who they stand for are taken away.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use serde_json::{Value, json};
use std::{
    process::{Child, Command},
    time::Duration,
};
use support::{Postern, Postgres, eventually, folder, sleeper};

const SOON: Duration = Duration::from_secs(20);
struct Site {
    postgres: Postgres,
    postern: Postern,
    process: support::Process,
    root: String,
    folder: tempfile::TempDir,
}

/// A gate of two resources: `shop`, and `hr`, which is the same database by another name.
fn site() -> Site {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let more = r#"[api_keys]
enabled = true

[[access.roles]]
resource = "hr"
name = "clerk"
reviewers = ["dba"]

[[access.roles]]
resource = "shop"
name = "seller"
reviewers = ["dba"]
"#;
    let postern = Postern::configure(folder.path(), "gate", &postgres, more);
    postern.add_resource(&postgres, "hr", "");
    let process = postern.start("up");
    let root = postern.token("root", "operators");
    Site { postgres, postern, process, root, folder }
}

impl Site {
    fn create(&self, subject: &str, groups: &[&str], resources: &[&str]) -> Value {
        let mut arguments = vec!["key", "create", "--subject", subject, "--ttl", "1h", "--reason", "migration"];
        groups.iter().for_each(|group| arguments.extend(["--group", group]));
        resources.iter().for_each(|resource| arguments.extend(["--resource", resource]));
        self.postern.does(&self.root, &arguments)
    }

    fn sleeper(&self, token: &str) -> Child {
        sleeper::sleeper(&self.postern, &self.postgres, token)
    }

    fn ends(&self, sleeper: Child, act: impl FnOnce()) -> String {
        sleeper::ends(&self.postgres, sleeper, act)
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

#[test]
fn a_key_is_issued_in_person_shown_once_and_out_at_once() {
    let site = site();
    let postern = &site.postern;
    let told = postern.may_not(&postern.token("eve", "dba"), &["key", "create", "--subject", "x"]);
    assert!(told.contains("Only members of operators"), "{told}");
    let made = site.create("legacy", &["agents"], &["shop"]);
    let (key, id) = (text(&made, "key"), text(&made, "id"));
    assert_eq!(postern.sql(&key, "select 1"), "1");
    let listed = postern.does(&site.root, &["key", "ls"]);
    assert_eq!((&listed[0]["id"], &listed[0]["state"], &listed[0]["by"]), (&json!(id), &json!("good"), &json!("root")));
    assert!(!listed.to_string().contains(&key) && listed[0].get("key").is_none(), "{listed}");
    let other = site.create("elsewhere", &["agents"], &["hr"]);
    let refused = postern.refused(&text(&other, "key"), "select 1");
    assert!(refused.contains("not good for the resource \"shop\"") && refused.contains("hr"), "{refused}");
    let forged = format!("{}{}", &key[..key.len() - 4], "AAAA");
    assert!(postern.refused(&forged, "select 1").contains("not one of this gate's"));

    let sleeper = site.sleeper(&key);
    let told = site.ends(sleeper, || {
        drop(postern.does(&site.root, &["key", "revoke", &id, "--reason", "it leaked"]));
    });
    assert!(told.contains(&format!("the API key {id} was revoked by root: it leaked")), "{told}");
    assert!(postern.refused(&key, "select 1").contains("has been revoked"));
    assert!(postern.may_not(&site.root, &["key", "revoke", &id]).contains("revoked already"));
    assert!(postern.may_not(&site.root, &["key", "revoke", "0000"]).contains("No such key"));

    let second = text(&site.create("legacy", &["agents"], &["shop"]), "key");
    let sleeper = site.sleeper(&second);
    let disable = ["identity", "disable", "legacy", "--issuer", "urn:postern:api-key", "--reason", "owner left"];
    let told = site.ends(sleeper, || drop(postern.does(&site.root, &disable)));
    assert!(told.contains("legacy was disabled by root: owner left"), "{told}");
    assert!(postern.refused(&second, "select 1").contains("was disabled"));

    // what was revoked stays so, and what was issued stays good
    let third = text(&site.create("other", &["agents"], &[]), "key");
    site.process.stop();
    let process = postern.start("up");
    assert!(postern.refused(&key, "select 1").contains("has been revoked"));
    assert_eq!(postern.sql(&third, "select 1"), "1");

    let events = eventually("the record has all of it", SOON, || {
        let events = postern.events();
        let count = |name: &str| events.iter().filter(|event| event["body"].get(name).is_some()).count();
        (count("AccessGranted") == 4 && count("AccessEnded") == 1).then_some(events)
    });
    let find = |name: &str| events.iter().find_map(|event| event["body"].get(name)).unwrap();
    let (granted, ended) = (find("AccessGranted"), find("AccessEnded"));
    let named = format!("api-key:{id}");
    assert_eq!((&granted["grant"], &granted["by"]), (&json!(named), &json!(["root"])));
    assert_eq!((&granted["identity"]["subject"], &granted["resource"]), (&json!("legacy"), &json!("shop")));
    assert_eq!((&ended["grant"], &ended["by"]["subject"]), (&json!(named), &json!("root")));
    // no secret of a key is anywhere but with whom it was given to
    let secret = key.splitn(3, '_').last().unwrap();
    let mut everything = format!("{}{}", support::plain(&events), process.output());
    for entry in std::fs::read_dir(postern.data().join("control")).unwrap() {
        everything.push_str(&String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
    assert!(!everything.contains(secret) && everything.contains(&id), "the key stands in a record, an event or a log");
    postern.verified();
    drop(site.folder);
}

/// A key that is good for one resource reads, asks for and does what concerns that one, whatever groups it has.
#[test]
fn a_key_is_good_for_its_resource_at_the_api_too() {
    let site = site();
    let postern = &site.postern;
    let all = ["agents", "auditor", "dba", "operators"];
    let key = text(&site.create("legacy", &all, &["shop"]), "key");
    let whole = text(&site.create("wide", &all, &[]), "key");
    postern.sql(&key, "select count(*) from customers");
    let mut command = Command::new("psql");
    command.envs(postern.environment(&whole)).env("PGDATABASE", "hr");
    assert!(command.args(["-XAtq", "-c", "select count(*) from customers"]).status().unwrap().success());
    let sessions = eventually("both sessions are archived", SOON, || {
        let (status, list) = postern.ask(&whole, "/api/v1/sessions", None);
        assert_eq!(status, 200, "{list}");
        let sessions = list["sessions"].as_array().unwrap().clone();
        (sessions.len() == 2).then_some(sessions)
    });
    let of = |resource: &str| text(sessions.iter().find(|one| one["resource"] == resource).unwrap(), "id");
    let (own, other) = (of("shop"), of("hr"));
    let get = |path: &str| postern.ask(&key, path, None);

    let (status, list) = get("/api/v1/sessions");
    assert_eq!(
        (status, list["sessions"].as_array().unwrap().len(), text(&list["sessions"][0], "id")),
        (200, 1, own.clone())
    );
    assert_eq!(get("/api/v1/sessions?resource=hr").0, 403);
    for part in ["", "/timeline", "/frames", "/events"] {
        assert_eq!(get(&format!("/api/v1/sessions/{own}{part}")).0, 200, "{part}");
        let (status, said) = get(&format!("/api/v1/sessions/{other}{part}"));
        assert_eq!(status, 404, "{part}: {said}");
    }
    let found = |key: &str| postern.ask(key, "/api/v1/search?q=customers%20type:statement", None).1;
    eventually("the index has both", SOON, || (found(&whole)["total"] == 2).then_some(()));
    let found = found(&key);
    assert_eq!((&found["total"], &found["hits"][0]["resource"]), (&json!(1), &json!("shop")), "{found}");

    // it asks for roles of its own resource, and sees no request of another
    let ask = |token: &str, resource: &str, role: &str| {
        let body = json!({"resource": resource, "role": role, "seconds": 60, "reason": "why"});
        postern.ask(token, "/api/v1/requests", Some(&body))
    };
    assert_eq!(ask(&key, "hr", "clerk").0, 403);
    assert_eq!(ask(&key, "shop", "seller").0, 201);
    let bot = postern.token("bot", "agents");
    let (hr, shop) = (ask(&bot, "hr", "clerk").1, ask(&bot, "shop", "seller").1);
    assert_eq!(get("/api/v1/requests").1["requests"].as_array().unwrap().len(), 2);
    assert_eq!(get(&format!("/api/v1/requests/{}", text(&hr, "id"))).0, 404);
    // and answers none, of its own resource neither; nor does a key that is good for all
    for (token, request, status) in [(&key, &hr, 404), (&key, &shop, 403), (&whole, &hr, 403), (&whole, &shop, 403)] {
        let body = json!({"approve": true, "digest": request["digest"]});
        let path = format!("/api/v1/requests/{}/review", text(request, "id"));
        let (given, said) = postern.ask(token, &path, Some(&body));
        assert_eq!(given, status, "{said}");
        assert!(
            status == 404 || text(&said, "detail").contains("an API key does not prove that a person is there"),
            "{said}"
        );
    }
    // what concerns all resources is not for it
    let none = json!({});
    let issue = json!({"subject": "more", "seconds": 60});
    for (path, body) in [
        ("/api/v1/identities", None),
        ("/api/v1/webhooks", None),
        ("/api/v1/keys", None),
        ("/api/v1/keys", Some(&issue)),
        ("/api/v1/identities/bot/disable", Some(&none)),
        (&*format!("/api/v1/sessions/{own}/kill"), Some(&none)),
    ] {
        let (status, said) = postern.ask(&key, path, body);
        assert!(status == 403 && text(&said, "detail").contains("good for shop alone"), "{path}: {status} {said}");
    }
    let (status, said) = postern.ask(&whole, "/api/v1/keys", Some(&issue));
    assert!(status == 403 && text(&said, "detail").contains("only a person"), "a key makes no keys: {said}");
    drop((site.process, site.folder));
}
