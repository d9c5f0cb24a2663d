//! 100,000 statements through a real gate, then `who read card_number` at the API, by an auditor of a real OIDC provider:
//! every statement is counted, once, and the latency is printed. `loadtest/bench/search` runs it as a measurement.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use std::time::{Duration, Instant};
use support::{Issuer, Postern, Postgres, eventually, folder};

/// One run of the script.
const SCRIPT: &str = "\\set id random(1, 40)
\\startpipeline
select card_number from customers where id = :id
select name, region from customers where id = :id
select upper(card_number) as c, balance from customers where id = :id
select amount from payments where id = :id
select id, pan from v_cards where id = :id
select c.name, p.amount from payments p join customers c on c.id = p.customer_id where p.id = :id
select name, card_number, ssn from customers order by id limit 2
update payments set memo = 'seen' where id = :id
select memo from payments where id = :id
select count(*) from payments where customer_id = :id
\\endpipeline
";
/// Its statements, and those of them that read card_number: directly, in an expression, through a view, among others.
const STATEMENTS: u64 = 10;
const READ_CARD: u64 = 4;

/// Runs of the script by each of the clients: 100,000 statements.
const CLIENTS: u64 = 8;
const RUNS: u64 = 1_250;

/// Requests that are timed.
const REQUESTS: usize = 50;

struct Api {
    url: String,
    token: String,
}

impl Api {
    fn search(&self, question: &str) -> (serde_json::Value, Duration) {
        let began = Instant::now();
        let mut response = ureq::get(format!("{}/api/v1/search", self.url))
            .query("q", question)
            .header("authorization", format!("Bearer {}", self.token))
            .call()
            .unwrap();
        let answer = response.body_mut().read_json().unwrap();
        (answer, began.elapsed())
    }
}

fn load(folder: &std::path::Path, postern: &Postern, token: &str) {
    let script = folder.join("agents.sql");
    let text: String = SCRIPT
        .lines()
        .map(|line| if line.starts_with('\\') { format!("{line}\n") } else { format!("{line};\n") })
        .collect();
    std::fs::write(&script, text).unwrap();
    let output = support::program("pgbench")
        .envs(postern.environment(token))
        .args(["-n", "-M", "prepared", "-j", "2", "-c", &CLIENTS.to_string(), "-t", &RUNS.to_string(), "-f"])
        .arg(&script)
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let all = CLIENTS * RUNS;
    assert!(output.status.success() && text.contains(&format!("processed: {all}/{all}")), "{text}");
}

#[test]
fn a_hundred_thousand_statements_are_searched_at_the_api() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let issuer = Issuer::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, &issuer.section());
    let _process = postern.start("up");

    let began = Instant::now();
    load(folder.path(), &postern, &issuer.token("agent-rs"));
    let loaded = began.elapsed();
    let all = CLIENTS * RUNS * STATEMENTS;
    let api = Api { url: format!("http://127.0.0.1:{}", postern.api), token: issuer.token("auditor") };
    let mut last = 0;
    eventually("every statement is found", Duration::from_secs(60), || {
        let (answer, _) = api.search("identity:agent-rs outcome:succeeded type:statement");
        last = answer["total"].as_u64().unwrap();
        (last >= all).then_some(())
    });
    println!("{all} statements recorded in {loaded:.1?}, all found after {:.1?}", began.elapsed());
    assert_eq!(last, all);

    let (who, first) = api.search("who read card_number");
    let read = CLIENTS * RUNS * READ_CARD;
    assert_eq!(who["total"].as_u64(), Some(read), "{who}");
    assert_eq!(who["who"][0]["identity"], "agent-rs", "{}", who["who"]);
    assert_eq!(who["who"][0]["statements"].as_u64(), Some(read), "{}", who["who"]);
    assert_eq!(who["who"][0]["masked"].as_u64(), Some(read), "{}", who["who"]);
    assert_eq!(who["who"][0]["clear"].as_u64(), Some(0), "{}", who["who"]);
    println!("who read card_number: {read} of {all} statements; the first request took {first:.1?}");

    for question in ["who read card_number", "who read amount", "who wrote payments", "verdict:mask seen"] {
        let mut times: Vec<Duration> = (0..REQUESTS).map(|_| api.search(question).1).collect();
        times.sort_unstable();
        let at = |share: usize| times[(REQUESTS * share / 100).min(REQUESTS - 1)];
        println!(
            "{question}: over {REQUESTS} requests p50 {:.1?}, p99 {:.1?}, max {:.1?}",
            at(50),
            at(99),
            times[REQUESTS - 1]
        );
    }
}
