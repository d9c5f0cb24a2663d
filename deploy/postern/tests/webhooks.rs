//! Webhooks with a real gate, a real database and a receiver on a real socket: what waits is told, signed, and told again
//! until it is taken; what comes back by a button is a review like any other, or refused for a reason of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

#[path = "support/receiver.rs"]
mod receiver;
mod support;

use receiver::{Received, Receiver, now, post, press};
use serde_json::{Value, json};
use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use support::{Kafka, Postern, Postgres, Process, eventually, folder, free_port, secret_file};

const SOON: Duration = Duration::from_secs(20);
const OUT: &str = "the secret that signs messages";
const IN: &str = "the secret that signs answers";

const POLICIES: &str = r#"
@id("team:all") permit (principal, action, resource);
@id("team:stock") @hold("data-owners") @reason("stock is counted")
forbid (principal, action == Action::"delete", resource == Table::"public.stock")
unless { context.approved };
@id("team:vault") @hold("data-owners") @approvals("2") @reason("two must agree")
forbid (principal, action == Action::"delete", resource == Table::"public.vault")
unless { context.approved };
@id("team:customers") @hold("data-owners") @reason("customers are people")
forbid (principal, action == Action::"update", resource == Table::"public.customers")
unless { context.approved };
"#;

const ACCESS: &str = r#"
[[access.roles]]
resource = "shop"
name = "billing-read"
reviewers = ["data-owners"]
break_glass_minutes = 5
"#;

struct Scene {
    postern: Postern,
    token: String,
    postgres: Postgres,
    folder: tempfile::TempDir,
}

/// A `[[webhooks]]` for a receiver at this port.
fn webhook(folder: &std::path::Path, name: &str, port: u16, more: &str) -> String {
    let (out, back) = (secret_file(folder, "out.secret", OUT), secret_file(folder, "in.secret", IN));
    let reviewer = |user: &str, subject: &str| {
        format!(
            r#"{{ user = "{user}", subject = "{subject}", issuer = "postern-development", groups = ["data-owners"] }}"#
        )
    };
    let reviewers = [reviewer("UOLGA", "olga"), reviewer("UOTTO", "otto"), reviewer("UBOT", "stock-bot")].join(", ");
    format!(
        "[[webhooks]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:{port}/hook\"\nsecret_file = \"{}\"\n{more}\n\
         answers = {{ signing_secret_file = \"{}\", team = \"T1\", response_url = \"http://127.0.0.1:{port}/\", \
         reviewers = [{reviewers}] }}\n",
        out.display(),
        back.display(),
    )
}

fn scene(webhooks: impl FnOnce(&std::path::Path) -> String) -> Scene {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql(
        "create table stock (id int primary key, note text); insert into stock select g, 'n' from generate_series(1, 100) g;
         create table vault as select 1 as id; analyze",
    );
    let policies = folder.path().join("team.cedar");
    fs::write(&policies, POLICIES).unwrap();
    let more = format!("policies = [\"{}\"]\n{ACCESS}\n{}", policies.display(), webhooks(folder.path()));
    let postern = Postern::configure(folder.path(), "gate", &postgres, &more);
    postern.without_guardrails();
    postern.change("[holds]\nenabled = false\n", "[holds]\nconsole = \"https://postern.example\"\n");
    let token = postern.token("stock-bot", "agents");
    Scene { postern, token, postgres, folder }
}

impl Scene {
    fn psql(&self, sql: &str) -> Child {
        let mut command = Command::new("psql");
        command.envs(self.postern.environment(&self.token)).args(["-XAtq", "-c", sql]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn url(&self, webhook: &str) -> String {
        format!("http://127.0.0.1:{}/api/v1/hooks/slack/{webhook}", self.postern.api)
    }

    fn press(&self, message: &Received, user: &str, action: &str, receiver: &Receiver) -> (u16, Value) {
        post(&self.url("ops"), &press(message, user, action, receiver.port), IN, now())
    }

    fn api(&self, token: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.postern.ask(token, path, body)
    }

    /// The messages that operators see, once they are in this state.
    fn told(&self, state: &str, count: usize) -> Vec<Value> {
        let operator = self.postern.token("root", "operators");
        eventually(&format!("{count} messages are {state}"), SOON, || {
            let (status, list) = self.api(&operator, "/api/v1/webhooks", None);
            assert_eq!(status, 200, "{list}");
            let messages = list["messages"].as_array().unwrap().clone();
            (messages.len() == count && messages.iter().all(|one| one["state"] == state)).then_some(messages)
        })
    }

    fn ask(&self, token: &str, break_glass: bool) -> String {
        let body = json!({"resource": "shop", "role": "billing-read", "seconds": 60, "reason": "ticket 12",
                          "break_glass": break_glass});
        let (status, request) = self.api(token, "/api/v1/requests", Some(&body));
        assert_eq!(status, 201, "{request}");
        request["id"].as_str().unwrap().to_owned()
    }

    fn left(&self) -> String {
        self.postgres.sql("select count(*) from stock")
    }

    fn metric(&self, line: &str) -> bool {
        let mut answer = ureq::get(format!("http://127.0.0.1:{}/metrics", self.postern.metrics)).call().unwrap();
        answer.body_mut().read_to_string().unwrap().lines().any(|one| one.starts_with(line))
    }
}

fn texts(child: Child) -> (String, String) {
    let output = child.wait_with_output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

const APPROVE: &str = "postern_approve";
const DENY: &str = "postern_deny";

/// CTL-1: what a button approves is released once; what does not come from a known reviewer, now and once, is not.
#[test]
fn a_held_statement_is_told_and_a_button_releases_it() {
    let receiver = Receiver::start(0);
    let scene = scene(|folder| webhook(folder, "ops", receiver.port, ""));
    let _process = scene.postern.start("up");
    let psql = scene.psql("delete from stock where id <= 10 and note <> '<!channel>' returning id");
    let message = receiver.wait(1).remove(0);
    assert!(message.is_signed(OUT) && !message.is_signed(IN), "{message:#?}");
    let about = message.actions().unwrap()["elements"][0]["value"].as_str().unwrap().to_owned();
    assert_eq!(message.header("postern-delivery"), format!("ops/{about}"));
    assert_eq!(message.header("postern-attempt"), "1");
    assert_eq!(message.buttons(), [APPROVE, DENY, "postern_open"]);
    let said = message.json();
    let fallback = said["text"].as_str().unwrap();
    assert!(fallback.contains("stock-bot asks to run DELETE on shop"), "{fallback}");
    for part in ["delete from stock where id <= 10 and note <> '<!channel>'", "stock is counted", "public.stock"] {
        assert!(message.body.contains(part), "{part} in {}", message.body);
    }
    assert!(message.body.contains(&format!("https://postern.example/#/holds/{about}")), "{}", message.body);

    // each is refused for its own reason, and nothing is released
    let url = scene.url("ops");
    let body = press(&message, "UOLGA", APPROVE, receiver.port);
    let detail = |(status, said): (u16, Value)| (status, said["detail"].as_str().unwrap_or_default().to_owned());
    let (status, text) = detail(post(&url, &body, OUT, now()));
    assert!(status == 401 && text.contains("not that of the configured secret"), "{status} {text}");
    let (status, text) = detail(post(&url, &body, IN, now() - 301));
    assert!(status == 401 && text.contains("more than five minutes"), "{status} {text}");
    assert_eq!(post(&scene.url("other"), &body, IN, now()).0, 404);
    let elsewhere = body.replace("%54%31", "%54%39");
    assert_ne!(elsewhere, body);
    let (status, said) = post(&url, &elsewhere, IN, now());
    assert!(status == 200 && said["text"].as_str().unwrap().contains("workspace"), "{said}");
    let (status, said) = scene.press(&message, "UEVE", APPROVE, &receiver);
    assert_eq!((status, &said["response_type"]), (200, &json!("ephemeral")));
    assert!(said["text"].as_str().unwrap().contains("UEVE is no reviewer"), "{said}");
    let (status, said) = scene.press(&message, "UBOT", APPROVE, &receiver);
    assert_eq!((status, &said["response_type"]), (200, &json!("ephemeral")));
    assert!(said["text"].as_str().unwrap().contains("the requester may not answer"), "{said}");
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let unsigned = agent.post(&url).header("content-type", "application/x-www-form-urlencoded").send(&body).unwrap();
    assert_eq!(unsigned.status().as_u16(), 401);
    assert_eq!(scene.left(), "100");

    let signed_at = now();
    let (status, said) = post(&url, &body, IN, signed_at);
    assert_eq!((status, &said["replace_original"]), (200, &json!(true)), "{said}");
    let outcome = said.to_string();
    assert!(outcome.contains("approved by olga: by the webhook ops, as its user UOLGA"), "{outcome}");
    assert!(!outcome.contains(APPROVE), "the buttons are gone: {outcome}");
    let (out, err) = texts(psql);
    assert_eq!(out.lines().count(), 10, "{out}{err}");
    assert_eq!(scene.left(), "90");
    // the outcome goes to the address that came with the answer, as that of a button must
    eventually("the outcome comes back", SOON, || {
        let outcomes = receiver.received();
        let is_outcome = |one: &&Received| one.path == "/actions/UOLGA" && one.json()["replace_original"] == true;
        outcomes.iter().find(is_outcome).map(drop)
    });
    let (status, text) = detail(post(&url, &body, IN, signed_at));
    assert!(status == 409 && text.contains("replay"), "{status} {text}");
    let (status, said) = scene.press(&message, "UOTTO", DENY, &receiver);
    assert!(status == 200 && said["text"].as_str().unwrap().contains("does not count"), "{said}");
    // who, by what, and what did not count: all of it is in the record
    eventually("the record has all of it", SOON, || {
        let events = scene.postern.events();
        let reviews: Vec<&Value> = events.iter().filter_map(|event| event["body"].get("AccessReviewed")).collect();
        let accesses = events.iter().filter_map(|event| event["body"].get("Access")).filter(|access| {
            access["path"] == "/api/v1/hooks/slack/ops" && access["query"].as_str().unwrap().contains(&about)
        });
        let counted = reviews.iter().filter(|one| one["refused"].is_null() && one["approved"] == true);
        let by: Vec<&Value> = counted.map(|one| &one["reason"]).collect();
        (by == [&json!("by the webhook ops, as its user UOLGA")] && reviews.len() == 3 && accesses.count() == 3)
            .then_some(())
    });
    assert_eq!(scene.told("delivered", 1)[0]["about"], json!(about));
    for result in ["signature", "old", "unsigned", "replayed", "unknown_user", "counted", "refused"] {
        let line = format!("replay_webhook_answers_total{{webhook=\"ops\",result=\"{result}\"}}");
        assert!(scene.metric(&line), "{line}");
    }
}

/// What the gate hides from reviewers no message has, and a message that does not show all approves nothing.
#[test]
fn messages_hide_what_reviewers_may_not_see_and_two_are_two() {
    let receiver = Receiver::start(0);
    let silent = Receiver::start(0);
    let scene = scene(|folder| {
        let other = webhook(folder, "silent", silent.port, "text = false\nabout = [\"hold\"]");
        format!("{}{other}", webhook(folder, "ops", receiver.port, ""))
    });
    let _process = scene.postern.start("up");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = format!("host=127.0.0.1 port={} user=agent dbname=shop", scene.postern.port);
        let mut config: tokio_postgres::Config = config.parse().unwrap();
        let (client, connection) = config.password(&scene.token).connect(tokio_postgres::NoTls).await.unwrap();
        let _connection = tokio::spawn(connection);
        let run = tokio::spawn(async move {
            client.execute("update customers set ssn = $1 where id = $2", &[&"hidden-4711", &1i32]).await
        });
        let message = tokio::task::block_in_place(|| receiver.wait(1).remove(0));
        assert!(message.body.contains("update customers set ssn = $1"), "{}", message.body);
        assert!(message.body.contains("$1 = ****"), "{}", message.body);
        assert!(!message.body.contains("hidden-4711"), "{}", message.body);
        let other = tokio::task::block_in_place(|| silent.wait(1).remove(0));
        assert!(
            !other.body.contains("update customers") && other.body.contains("customers are people"),
            "{}",
            other.body
        );
        assert_eq!(other.buttons(), [DENY, "postern_open"]);
        // a button that was not there
        let url = scene.url("silent");
        let (_, said) =
            tokio::task::block_in_place(|| post(&url, &press(&other, "UOLGA", APPROVE, silent.port), IN, now()));
        assert!(said["text"].as_str().unwrap().contains("does not show all"), "{said}");
        let (_, said) =
            tokio::task::block_in_place(|| post(&url, &press(&other, "UOLGA", DENY, silent.port), IN, now()));
        assert!(said.to_string().contains("It is denied."), "{said}");
        let error = run.await.unwrap().unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains("olga denied it"), "{error:?}");
    });
    // what does not fit a message is cut, the message says so, and approving is for where all of it is shown
    let list: Vec<String> = (1..=900).map(|id| id.to_string()).collect();
    let psql = scene.psql(&format!("delete from stock where id in ({})", list.join(", ")));
    let large = receiver.wait(2).remove(1);
    silent.wait(2); // before it is answered: of what is over nobody is told
    assert_eq!(large.buttons(), [DENY, "postern_open"]);
    assert!(large.body.contains("does not show all of what would be approved"), "{}", large.body);
    let (_, said) = scene.press(&large, "UOLGA", APPROVE, &receiver);
    assert!(said["text"].as_str().unwrap().contains("does not show all"), "{said}");
    scene.press(&large, "UOLGA", DENY, &receiver);
    assert!(texts(psql).1.contains("olga denied it"));
    // two must agree: the buttons stay for the second
    let psql = scene.psql("delete from vault");
    let message = receiver.wait(3).remove(2);
    let (_, said) = scene.press(&message, "UOLGA", APPROVE, &receiver);
    assert!(said["replace_original"] == true && said.to_string().contains(APPROVE), "{said}");
    let (_, said) = scene.press(&message, "UOLGA", APPROVE, &receiver);
    assert!(said["text"].as_str().unwrap().contains("answered already"), "{said}");
    assert_eq!(scene.postgres.sql("select count(*) from vault"), "1");
    let (_, said) = scene.press(&message, "UOTTO", APPROVE, &receiver);
    assert!(said["replace_original"] == true && !said.to_string().contains(APPROVE), "{said}");
    texts(psql);
    assert_eq!(scene.postgres.sql("select count(*) from vault"), "0");
    // access is asked for, and taken in an emergency: of both `ops` is told, and of neither `silent`
    let (bot, oncall) = (scene.postern.token("bot", "agents"), scene.postern.token("oncall", "agents"));
    let asked = scene.ask(&bot, false);
    let message = receiver.wait(4).remove(3);
    assert!(message.body.contains("bot asks for billing-read on shop") && message.body.contains("ticket 12"));
    let (_, said) = scene.press(&message, "UOLGA", APPROVE, &receiver);
    assert!(said.to_string().contains("It is granted."), "{said}");
    assert_eq!(scene.api(&bot, &format!("/api/v1/requests/{asked}"), None).1["state"], "granted");
    let taken = scene.ask(&oncall, true);
    let message = receiver.wait(5).remove(4);
    assert!(message.json()["text"].as_str().unwrap().starts_with("ALERT: oncall broke the glass"), "{}", message.body);
    let (_, said) = scene.press(&message, "UOLGA", DENY, &receiver);
    assert!(said.to_string().contains("It is denied."), "{said}");
    assert_eq!(scene.api(&oncall, &format!("/api/v1/requests/{taken}"), None).1["state"], "denied");
    assert_eq!(silent.messages().len(), 3, "three holds");
}

#[test]
fn a_receiver_that_fails_is_asked_again_and_one_that_says_no_is_not() {
    let (receiver, other) = (Receiver::start(0), Receiver::start(0));
    let scene = scene(|folder| {
        format!("{}{}", webhook(folder, "ops", receiver.port, ""), webhook(folder, "other", other.port, ""))
    });
    let process = scene.postern.start("up");
    let bot = scene.postern.token("bot", "agents");
    receiver.will_answer(&[(500, ""), (503, "retry-after: 2\r\n"), (200, "")]);
    let asked = scene.ask(&bot, false);
    let attempts = receiver.wait(3);
    let ids: Vec<&str> = attempts.iter().map(|one| one.header("postern-delivery")).collect();
    assert!(ids.iter().all(|id| *id == format!("ops/{asked}")), "{ids:?}");
    let numbers: Vec<&str> = attempts.iter().map(|one| one.header("postern-attempt")).collect();
    assert_eq!(numbers, ["1", "2", "3"]);
    assert!(attempts.iter().all(|one| one.is_signed(OUT)), "each is signed at its own time");
    let time = |one: &Received| one.header("x-slack-request-timestamp").parse::<i64>().unwrap();
    assert!(time(&attempts[2]) - time(&attempts[1]) >= 2, "the receiver asked for two seconds");
    assert_eq!(other.wait(1).len(), 1, "the other receiver was not kept waiting");
    let told = scene.told("delivered", 2);
    let ops = told.iter().find(|one| one["webhook"] == "ops").unwrap();
    assert_eq!((&ops["attempts"], &ops["node"]), (&json!(3), &json!("gate")));

    receiver.will_answer(&[(403, "")]);
    let second = scene.ask(&bot, false);
    let operator = scene.postern.token("root", "operators");
    let failed = eventually("it is given up", SOON, || {
        let (_, list) = scene.api(&operator, "/api/v1/webhooks?delivered=false", None);
        list["messages"].as_array().unwrap().iter().find(|one| one["state"] == "failed").cloned()
    });
    assert_eq!((&failed["about"], &failed["attempts"]), (&json!(second), &json!(1)));
    assert_eq!(failed["reason"], "the receiver answered with status 403");
    assert!(scene.postern.process_log().contains("a message to a webhook was given up"));
    assert!(scene.metric("replay_webhook_attempts_total{webhook=\"ops\",outcome=\"Failed\"} 1"));
    let (status, _) = scene.api(&bot, "/api/v1/webhooks", None);
    assert_eq!(status, 403, "for operators alone");

    // what was delivered or given up is not told again after a start
    process.stop();
    let _process = scene.postern.start("up");
    let third = scene.ask(&bot, false);
    let last = receiver.wait(5).remove(4);
    assert_eq!(last.header("postern-delivery"), format!("ops/{third}"));
}

#[test]
fn a_receiver_that_hangs_delays_nothing_else() {
    let (receiver, other) = (Receiver::start(0), Receiver::start(0));
    let scene = scene(|folder| {
        let slow = webhook(folder, "ops", receiver.port, "timeout_seconds = 8");
        format!("{slow}{}", webhook(folder, "other", other.port, ""))
    });
    let _process = scene.postern.start("up");
    let bot = scene.postern.token("bot", "agents");
    receiver.will_answer(&[(0, "")]);
    let begun = Instant::now();
    let first = scene.ask(&bot, false);
    receiver.wait(1);
    let second = scene.ask(&bot, false);
    let messages = receiver.wait(2);
    other.wait(2);
    assert!(begun.elapsed() < Duration::from_secs(8), "nobody waited for the first: {:?}", begun.elapsed());
    assert!(messages[0].header("postern-delivery").ends_with(&first), "{messages:?}");
    assert!(messages[1].header("postern-delivery").ends_with(&second), "{messages:?}");
    let again = receiver.wait(3).remove(2);
    assert_eq!((again.header("postern-delivery"), again.header("postern-attempt")), (&*format!("ops/{first}"), "2"));
    assert!(begun.elapsed() >= Duration::from_secs(8), "it had its time: {:?}", begun.elapsed());
    scene.told("delivered", 4);
}

#[test]
fn a_receiver_that_is_down_gets_it_when_it_comes_also_after_a_restart() {
    let port = free_port();
    let scene = scene(|folder| webhook(folder, "ops", port, ""));
    let process = scene.postern.start("up");
    let bot = scene.postern.token("bot", "agents");
    let asked = scene.ask(&bot, false);
    let operator = scene.postern.token("root", "operators");
    let reason = eventually("an attempt failed", SOON, || {
        let (_, list) = scene.api(&operator, "/api/v1/webhooks?delivered=false", None);
        list["messages"][0]["reason"].as_str().map(str::to_owned)
    });
    assert!(reason.contains("connection refused"), "{reason}");
    assert!(!reason.contains(&port.to_string()), "the address may be a secret: {reason}");
    process.stop();
    let mut process = scene.postern.start("up");
    process.kill();
    let _process = scene.postern.start("up");
    let receiver = Receiver::start(port);
    let message = receiver.wait(1).remove(0);
    assert_eq!(message.header("postern-delivery"), format!("ops/{asked}"));
    assert!(message.header("postern-attempt").parse::<u32>().unwrap() > 1, "{message:?}");
    scene.told("delivered", 1);
}

/// The receiver of the documentation.
#[test]
fn the_documented_receiver_checks_signatures() {
    let page = fs::read_to_string(support::root().join("docs/approvals.md")).unwrap();
    let script = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    let port = free_port();
    let scene = scene(|folder| webhook(folder, "ops", port, ""));
    let _process = scene.postern.start("up");
    let start = |secret: &str, name: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", &script]).env("SECRET", secret).env("PORT", port.to_string());
        let log = scene.folder.path().join(name);
        let mut process = Process::start("the documented receiver", &mut command, &log);
        process.wait_for("listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        process
    };
    let mut wrong = start("another secret of somebody else", "wrong.log");
    let bot = scene.postern.token("bot", "agents");
    let asked = scene.ask(&bot, false);
    scene.told("failed", 1);
    assert!(!wrong.output().contains("ops/req_"), "{}", wrong.output());
    wrong.kill();
    let right = start(OUT, "right.log");
    let second = scene.ask(&bot, false);
    assert_ne!(asked, second);
    eventually("it believes what is signed", SOON, || {
        right.output().contains(&format!("ops/{second} {{")).then_some(())
    });
}

/// Over Kafka every node knows what is to be told: one of them tells it, and another takes the answer.
#[test]
fn of_two_nodes_one_tells_and_the_other_takes_the_answer_or_its_place() {
    let (folder, receiver) = (folder(), Receiver::start(0));
    let postgres = Postgres::start(folder.path());
    let kafka = Kafka::start(folder.path());
    let broker = format!("[kafka]\nbrokers = [\"127.0.0.1:{}\"]\npartitions = 2\n{ACCESS}", kafka.port);
    let more = format!("{broker}\n{}", webhook(folder.path(), "ops", receiver.port, "timeout_seconds = 1"));
    let nodes = ["replay-1", "replay-2"].map(|name| Postern::configure(folder.path(), name, &postgres, &more));
    let bot = nodes[0].token("bot", "agents");
    let target = folder.path().join("replay-2");
    fs::create_dir_all(&target).unwrap();
    let keys = folder.path().join("replay-1/keys");
    assert!(Command::new("cp").arg("-a").arg(&keys).arg(target).status().unwrap().success());
    fs::remove_file(folder.path().join("replay-2/keys/control.pk8")).unwrap_or_default();
    let keys = [0, 1].map(|node: usize| nodes[node].run(&["control", "key"]).trim().to_owned());
    for (node, other) in [(0, 1), (1, 0)] {
        let mut text = fs::read_to_string(&nodes[node].config).unwrap();
        text.push_str(&format!("[control]\ntrusted_keys = {{ {} }}\n", keys[other]));
        fs::write(&nodes[node].config, text).unwrap();
    }
    let mut processes = [nodes[0].start("replay"), nodes[1].start("replay")];
    let scenes = |node: usize| format!("http://127.0.0.1:{}/api/v1", nodes[node].api);
    let body = json!({"resource": "shop", "role": "billing-read", "seconds": 60, "reason": "ticket"});
    let mut last = None;
    for number in 1..=10 {
        let bearer = format!("Bearer {bot}");
        eventually("the request is taken", SOON, || {
            let request = ureq::post(format!("{}/requests", scenes(number % 2))).header("authorization", &bearer);
            request.send_json(&body).ok().map(drop)
        });
        last = receiver.wait(number).pop();
    }
    let last = last.unwrap();
    let operator = nodes[0].token("root", "operators");
    let list = |node: usize| -> Value {
        let request =
            ureq::get(format!("{}/webhooks", scenes(node))).header("authorization", format!("Bearer {operator}"));
        request.call().unwrap().body_mut().read_json().unwrap()
    };
    let told = eventually("all are recorded", SOON, || {
        let messages = list(1)["messages"].as_array().unwrap().clone();
        messages.iter().all(|one| one["state"] == "delivered" && one["attempts"] == 1).then_some(messages)
    });
    assert_eq!((told.len(), receiver.messages().len()), (10, 10), "each once");
    let teller = told.iter().find(|one| last.header("postern-delivery").ends_with(one["about"].as_str().unwrap()));
    let other = if teller.unwrap()["node"] == "replay-1" { 1 } else { 0 };
    let url = format!("{}/hooks/slack/ops", scenes(other));
    let (status, said) = post(&url, &press(&last, "UOLGA", APPROVE, receiver.port), IN, now());
    assert!(status == 200 && said.to_string().contains("It is granted."), "{status} {said}");

    // the node that tries dies: the other takes over once it is free to
    receiver.will_answer(&[(500, ""); 100]);
    let request = ureq::post(format!("{}/requests", scenes(0))).header("authorization", format!("Bearer {bot}"));
    let asked: Value = request.send_json(&body).unwrap().body_mut().read_json().unwrap();
    let state = |node: usize| {
        let messages = list(node)["messages"].as_array().unwrap().clone();
        messages.into_iter().find(|one| one["about"] == asked["id"])
    };
    let trying = eventually("an attempt failed", SOON, || state(0).filter(|one| one["reason"].is_string()));
    let (dies, lives) = if trying["node"] == "replay-1" { (0, 1) } else { (1, 0) };
    processes[dies].kill();
    receiver.will_answer(&[]);
    let told = eventually("the other delivers it", Duration::from_secs(60), || {
        state(lives).filter(|one| one["state"] == "delivered")
    });
    assert_eq!(told["node"], nodes[lives].name);
    let last = receiver.messages().pop().unwrap();
    assert_eq!(last.header("postern-delivery"), format!("ops/{}", asked["id"].as_str().unwrap()));
}
