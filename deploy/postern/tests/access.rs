//! Access that is asked for: refused without a grant, asked, answered by another, used, extended, revoked; broken glass;
//! identities that are disabled; sessions that are ended. Each takes effect at once, and each is an event.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use serde_json::Value;
use std::{process::Child, time::Duration};
use support::{Postern, Postgres, eventually, folder, sleeper};

const ACCESS: &str = r#"
[access]
operators = ["operators"]

[[access.roles]]
resource = "shop"
name = "billing-read"
requesters = ["bots"]
reviewers = ["dba"]
max_minutes = 60
break_glass_minutes = 5

[[access.roles]]
resource = "shop"
name = "payments"
reviewers = ["dba"]
approvals = 2
auto = [{ name = "brief", groups = ["trusted"], max_minutes = 2 }]

[[access.machine_reviewers]]
subject = "risk-bot"
issuer = "urn:postern:development"

[[access.standing]]
name = "the nightly report"
subjects = ["report"]
issuer = "urn:postern:development"
resource = "shop"
"#;

struct Site {
    postgres: Postgres,
    postern: Postern,
    _process: support::Process,
    _folder: tempfile::TempDir,
}

fn site() -> Site {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, ACCESS);
    postern.change("connect_groups = [\"agents\"]", "connect_groups = [\"agents\"]\naccess = \"request\"");
    postern.change("label = \"pan\",", "label = \"pan\", unmask_groups = [\"role:billing-read\"],");
    let process = postern.start("up");
    Site { postgres, postern, _process: process, _folder: folder }
}

impl Site {
    /// A token of a program if it is one of the agents or bots, of a person otherwise.
    fn token(&self, subject: &str, groups: &[&str]) -> String {
        let mut options = vec!["--subject", subject];
        groups.iter().for_each(|group| options.extend(["--group", group]));
        let program = groups.iter().any(|group| ["agents", "bots"].contains(group));
        self.postern.mint(&options, !program)
    }

    fn does(&self, token: &str, arguments: &[&str]) -> Value {
        self.postern.does(token, arguments)
    }

    fn may_not(&self, token: &str, arguments: &[&str]) -> String {
        self.postern.may_not(token, arguments)
    }

    fn sleeper(&self, token: &str) -> Child {
        sleeper::sleeper(&self.postern, &self.postgres, token)
    }

    fn ends(&self, sleeper: Child, act: impl FnOnce()) -> String {
        sleeper::ends(&self.postgres, sleeper, act)
    }

    /// Waits for events of a kind.
    fn events(&self, kind: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} {kind} in the archive"), Duration::from_secs(20), || {
            let events = self.postern.events();
            let found: Vec<_> = events.iter().filter_map(|event| event["body"].get(kind).cloned()).collect();
            (found.len() >= count).then_some(found)
        })
    }
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

#[test]
fn access_is_asked_for_answered_by_another_used_extended_and_revoked() {
    let site = site();
    let (bot, ada) = (site.token("bot", &["bots", "agents", "dba"]), site.token("ada", &["dba"]));
    let told = site.postern.refused(&bot, "select 1");
    let command = "postern request create --resource shop --role billing-read --for 30m --reason \"...\"";
    assert!(told.contains("has no grant for \"shop\"") && told.contains(command), "{told}");
    let create = [
        "request",
        "create",
        "--resource",
        "shop",
        "--role",
        "billing-read",
        "--for",
        "30m",
        "--reason",
        "ticket 4711",
    ];
    let asked = site.does(&bot, &create);
    assert_eq!((&asked["state"], &asked["kind"]), (&"waiting".into(), &"reviewed".into()));
    let told = site.may_not(&bot, &["request", "approve", id(&asked)]);
    assert!(told.contains("the requester may not answer"), "{told}");
    let told = site.may_not(&site.token("eve", &["agents"]), &["request", "approve", id(&asked)]);
    assert!(told.contains("No such request"), "who may not answer does not see it: {told}");
    assert_eq!(site.does(&ada, &["request", "ls"])["requests"].as_array().unwrap().len(), 1);
    site.postern.refused(&bot, "select 1");
    let granted = site.does(&ada, &["request", "approve", id(&asked), "--reason", "looks right"]);
    assert_eq!(granted["state"], "granted");
    let grant = granted["grant"].as_str().unwrap().to_owned();
    let told = site.may_not(&site.token("bob", &["dba"]), &["request", "approve", id(&asked)]);
    assert!(told.contains("it is granted already"), "{told}");

    // the role reaches the policy, for its holder alone
    let card = "select card_number from customers order by id limit 1";
    let clear = site.postgres.sql(card);
    assert_eq!(site.postern.sql(&bot, card), clear);
    site.postern.refused(&site.token("other-bot", &["bots", "agents"]), "select 1");
    let report = site.token("report", &["agents"]);
    assert_ne!(site.postern.sql(&report, card), clear, "standing access without the role");
    // an issuer's group of that name is no role
    site.postern.refused(&site.token("liar", &["agents", "role:billing-read"]), "select 1");

    let sleeper = site.sleeper(&bot);
    let until = site.does(&bot, &["grant", "ls"])["grants"][0]["until"].clone();
    let more = site.does(&bot, &["grant", "extend", &grant, "--for", "45m", "--reason", "not done yet"]);
    assert_eq!(more["state"], "waiting", "the holder asks, others review");
    site.does(&ada, &["request", "approve", id(&more)]);
    assert!(site.does(&bot, &["grant", "ls"])["grants"][0]["until"].as_str() > until.as_str());
    assert_eq!(sleeper::sleeping(&site.postgres), 1, "the session goes on");

    let told = site.ends(sleeper, || drop(site.does(&ada, &["grant", "revoke", &grant, "--reason", "done"])));
    assert!(told.contains(&format!("the grant {grant} was revoked by ada: done")), "{told}");
    site.postern.refused(&bot, "select 1");

    assert_eq!(site.events("AccessRequested", 2)[0]["reason"], "ticket 4711");
    let reviews = site.events("AccessReviewed", 4);
    assert!(reviews[0]["refused"].as_str().unwrap().contains("the requester may not answer"), "{reviews:#?}");
    assert_eq!(site.events("AccessGranted", 2)[1]["extended"], true);
    assert_eq!(site.events("AccessEnded", 1)[0]["grant"], *grant);
    let closed = site.events("SessionClosed", 3);
    assert!(closed.iter().any(|closed| closed["reason"] == "revoked"), "{closed:#?}");
    let opened = site.events("SessionOpened", 3);
    assert!(opened.iter().any(|one| one["grant"] == *grant && one["roles"][0] == "billing-read"), "{opened:#?}");
    site.postern.verified();
}

#[test]
fn two_people_rules_and_broken_glass() {
    let site = site();
    let bot = site.token("bot", &["bots", "trusted"]);
    let [ada, bob] = ["ada", "bob"].map(|name| site.token(name, &["dba"]));
    let create = |role: &str, time: &str| {
        ["request", "create", "--resource", "shop", "--role", role, "--for", time, "--reason", "why"].map(str::to_owned)
    };
    let ask = |role: &str, time: &str, more: &[&str]| {
        let arguments = create(role, time);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        site.does(&bot, &arguments)
    };
    let asked = ask("payments", "30m", &[]);
    assert_eq!(site.does(&ada, &["request", "approve", id(&asked)])["state"], "waiting", "one of two");
    let told = site.may_not(&ada, &["request", "approve", id(&asked)]);
    assert!(told.contains("ada has answered already"), "{told}");
    assert_eq!(site.does(&bob, &["request", "deny", id(&asked), "--reason", "no"])["state"], "denied");
    site.postern.refused(&bot, "select 1");

    let brief = ask("payments", "2m", &[]);
    assert_eq!((&brief["state"], &brief["rule"]), (&"granted".into(), &"brief".into()));
    site.postern.sql(&bot, "select 1");
    site.does(&bot, &["grant", "revoke", brief["grant"].as_str().unwrap()]);
    site.postern.refused(&bot, "select 1");

    let too_long = create("billing-read", "10m");
    let too_long: Vec<&str> = too_long.iter().map(String::as_str).chain(["--break-glass"]).collect();
    assert!(site.may_not(&bot, &too_long).contains("at most 5 minutes"));
    let glass = ask("billing-read", "5m", &["--break-glass"]);
    assert_eq!(glass["state"], "granted, to be reviewed");
    let sleeper = site.sleeper(&bot);
    assert_eq!(site.events("Alarm", 1)[0]["kind"], "break_glass");
    assert_eq!(site.does(&ada, &["request", "ls"])["requests"][0]["id"], glass["id"], "it stays open for a review");
    let told =
        site.ends(sleeper, || drop(site.does(&ada, &["request", "deny", id(&glass), "--reason", "no emergency"])));
    assert!(told.contains("was revoked by ada: no emergency"), "{told}");
    site.postern.verified();
}

#[test]
fn the_disabled_and_the_killed_are_out_at_once() {
    let site = site();
    let (report, root) = (site.token("report", &["agents", "auditor"]), site.token("root", &["operators"]));
    let sleeper = site.sleeper(&report);
    let told = site.may_not(&report, &["identity", "disable", "report"]);
    assert!(told.contains("Only members of operators"), "{told}");
    let disable = ["identity", "disable", "report", "--reason", "key leaked"];
    let told = site.ends(sleeper, || drop(site.does(&root, &disable)));
    assert!(told.contains("report was disabled by root: key leaked"), "{told}");
    assert!(site.postern.refused(&report, "select 1").contains("report was disabled by root: key leaked"));
    assert!(site.may_not(&report, &["request", "ls"]).contains("report was disabled"), "the API refuses it as well");
    assert_eq!(site.does(&root, &["identity", "ls"])["disabled"][0]["subject"], "report");
    site.does(&root, &["identity", "enable", "report"]);
    site.postern.sql(&report, "select 1");

    let open = || {
        let list = site.postern.run(&["session", "ls", "--open", "-o", "json"]);
        serde_json::from_str::<Vec<Value>>(&list).unwrap()
    };
    eventually("the others are closed", Duration::from_secs(20), || open().is_empty().then_some(()));
    let sleeper = site.sleeper(&report);
    let session = eventually("the session is in the archive", Duration::from_secs(20), || {
        Some(open().first()?["session"].as_str()?.to_owned())
    });
    let kill = ["session", "kill", &session, "--reason", "runs wild"];
    let told = site.ends(sleeper, || assert_eq!(site.does(&root, &kill)["seen"], true));
    assert!(told.contains("this session was ended by root: runs wild"), "{told}");
    site.postern.sql(&report, "select 1");
    // a name that nobody has seen is taken all the same, and it is said
    let unseen = |arguments: &[&str]| {
        let output = site.postern.command(arguments).env("POSTERN_TOKEN", &root).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(site.does(&root, &["identity", "disable", "root", "--issuer", "https://other.example"])["seen"], false);
    let told = unseen(&["identity", "disable", "reprot"]);
    assert!(told.contains("reprot is disabled") && told.contains("NOTE: no session of that name"), "{told}");
    assert!(
        site.postern.refused(&site.token("reprot", &["agents"]), "select 1").contains("reprot was disabled by root")
    );
    let told = unseen(&["session", "kill", "ses_00000000000000000000000000000001"]);
    assert!(told.contains("ends") && told.contains("NOTE: no such session"), "{told}");
    let revoked = site.events("Revoked", 6);
    let kinds: Vec<_> = revoked.iter().map(|one| (one["kind"].as_str().unwrap(), one["restored"] == true)).collect();
    let last = [("identity", false), ("identity", false), ("session", false)];
    assert_eq!(kinds, [("identity", false), ("identity", true), ("session", false), last[0], last[1], last[2]]);
    site.postern.verified();
}

/// Whoever acts for a reviewer, a program and an API key answer nothing, whatever groups they have; each refusal is an event.
#[test]
fn nobody_reviews_through_a_person() {
    let site = site();
    let create =
        ["request", "create", "--resource", "shop", "--role", "billing-read", "--for", "5m", "--reason", "why"];
    let asked = site.does(&site.token("bot", &["bots"]), &create);
    let of = |subject: &str, options: &[&str], human| {
        site.postern
            .mint(&[&["--subject", subject, "--group", "dba", "--group", "operators"][..], options].concat(), human)
    };
    let through = of("ada", &["--actor", "assistant"], true);
    let program = of("some-bot", &[], false);
    for (token, why) in [(&through, "whoever acts for somebody"), (&program, "a program may not")] {
        for verb in ["approve", "deny"] {
            let told = site.may_not(token, &["request", verb, id(&asked)]);
            assert!(told.contains("only a person may answer") && told.contains(why), "{told}");
        }
        // what gives rights is a person's, what takes them away is any operator's
        let told = site.may_not(token, &["key", "create", "--subject", "x", "--group", "agents"]);
        assert!(told.contains(why), "{told}");
        site.does(token, &["identity", "disable", "eve"]);
        assert!(site.may_not(token, &["identity", "enable", "eve"]).contains(why));
        site.does(&of("ada", &[], true), &["identity", "enable", "eve"]);
    }
    assert_eq!(site.does(&of("ada", &[], true), &["request", "show", id(&asked)])["state"], "waiting");
    let reviews = site.events("AccessReviewed", 4);
    assert!(reviews.iter().all(|one| one["refused"].as_str().unwrap().contains("only a person")), "{reviews:#?}");
    // the config may name one
    let named = of("risk-bot", &[], false);
    assert_eq!(site.does(&named, &["request", "approve", id(&asked)])["state"], "granted");
}
