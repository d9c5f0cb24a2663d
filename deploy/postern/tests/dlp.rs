//! An external provider of data loss prevention: rows of its columns wait for its answers, in order, and without an answer
//! nothing is shown. Presidio's own analyzer is understood.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use support::{Postern, Postgres, Process, folder};

/// A provider in the shape of Presidio's analyzer that finds the word `Zanzibar`; how it behaves depends on the texts.
struct Provider {
    url: String,
    requests: Arc<AtomicUsize>,
}

fn provider() -> Provider {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/analyze", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let counted = counted.clone();
            std::thread::spawn(move || serve(stream, &counted));
        }
    });
    Provider { url, requests }
}

fn serve(stream: TcpStream, counted: &AtomicUsize) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 0 && line != "\r\n" {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        if length == 0 || reader.read_exact(&mut body).is_err() {
            return;
        }
        counted.fetch_add(1, Ordering::SeqCst);
        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(asked["language"], "en");
        let texts: Vec<&str> = asked["text"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        if texts.iter().any(|text| text.contains("hang")) {
            // an answer that never comes: the connection stays open until the asker gives up
            let _end = reader.read(&mut [0]);
            return;
        }
        let status =
            if texts.iter().any(|text| text.contains("fail")) { "500 Internal Server Error" } else { "200 OK" };
        let found: Vec<serde_json::Value> = texts.iter().map(|text| find(text)).collect();
        let answer = serde_json::Value::from(found).to_string();
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
        if writer.write_all(format!("{head}{answer}").as_bytes()).is_err() {
            return;
        }
    }
}

/// Spans in characters, as Presidio counts them.
fn find(text: &str) -> serde_json::Value {
    let spans = text.match_indices("Zanzibar").map(|(at, word)| {
        let start = text[..at].chars().count();
        serde_json::json!({ "entity_type": "LOCATION", "start": start, "end": start + word.len(), "score": 0.85 })
    });
    serde_json::Value::from(spans.collect::<Vec<_>>())
}

fn gate(url: &str, more: &str) -> (Postern, String, Process, Postgres, tempfile::TempDir) {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql(
        "create table letters (id int primary key, body text, doc jsonb, other text);
         insert into letters select g, 'höre, letter ' || g || ' to Zanzibar — send', '{\"to\": \"Zanzibar\"}', 'Zanzibar'
           from generate_series(1, 5000) g;
         create table bad (id int primary key, body text); insert into bad values (1, 'this will hang'), (2, 'this will fail');
         create view v_letters as select id, upper(body) as loud, body as plain from letters",
    );
    let postern = Postern::configure(folder.path(), "gate", &postgres, "");
    let columns = r#"["public.letters.body", "public.letters.doc", "public.bad.body"]"#;
    let dlp = format!("dlp = {{ url = \"{url}\", columns = {columns}{more} }}\nmasking = [");
    let text = std::fs::read_to_string(&postern.config).unwrap().replace("masking = [", &dlp);
    std::fs::write(&postern.config, text).unwrap();
    let process = postern.start("up");
    let token = postern.token("agent", "agents");
    (postern, token, process, postgres, folder)
}

#[test]
fn rows_wait_for_the_provider_in_order() {
    let provider = provider();
    let (postern, token, _process, _postgres, _folder) = gate(&provider.url, ", timeout_milliseconds = 1500");
    let sql = |sql: &str| postern.sql(&token, sql);
    assert_eq!(
        sql("select body, doc, other from letters where id = 1"),
        "höre, letter 1 to **** — send|{\"to\": \"****\"}|Zanzibar"
    );
    let all = sql("select id, body from letters order by id");
    let expected: Vec<String> = (1..=5000).map(|n| format!("{n}|höre, letter {n} to **** — send")).collect();
    assert!(all.lines().eq(expected.iter().map(String::as_str)), "rows are missing, out of order or not masked");
    let requests = provider.requests.load(Ordering::SeqCst);
    assert!((79..400).contains(&requests), "{requests} requests for 5001 rows in batches of 64");
    // through a view and an expression
    assert_eq!(sql("select plain from v_letters where id = 2"), "höre, letter 2 to **** — send");
    assert_eq!(sql("select 'x ' || body from letters where id = 3"), "x höre, letter 3 to **** — send");
    assert_eq!(sql("select array_agg(body) is null, count(*) from letters"), "f|5000");
    // COPY does not wait: the whole value is hidden
    assert_eq!(sql("copy (select id, body from letters where id = 4) to stdout"), "4\t****");
    // nothing of the provider's columns: it is not asked
    let before = provider.requests.load(Ordering::SeqCst);
    assert_eq!(sql("select other from letters where id = 1"), "Zanzibar");
    assert_eq!(provider.requests.load(Ordering::SeqCst), before);
}

#[test]
fn without_an_answer_values_are_hidden_or_left_to_the_detectors() {
    let provider = provider();
    let (postern, token, _process, _postgres, _folder) = gate(&provider.url, ", timeout_milliseconds = 1500");
    assert_eq!(postern.sql(&token, "select body from bad order by id"), "****\n****");
    assert_eq!(postern.sql(&token, "select body from bad where id = 2"), "****");
    assert_eq!(postern.sql(&token, "select body from letters where id = 1"), "höre, letter 1 to **** — send");
    drop((_process, _postgres, _folder));
    let (postern, token, _process, postgres, _folder) =
        gate(&provider.url, ", timeout_milliseconds = 1500, on_failure = \"open\"");
    postgres.sql("update bad set body = body || ' 4929731608452298' where id = 2");
    assert_eq!(postern.sql(&token, "select body from bad order by id"), "this will hang\nthis will fail ****");
}

#[test]
fn presidio_is_understood() {
    let port = support::free_port();
    let scratch = folder();
    let mut command = Command::new(support::root().join("deploy/services/presidio/presidio"));
    command.args(["start", "--port", &port.to_string()]);
    let mut presidio = Process::start("presidio", &mut command, &scratch.path().join("presidio.log"));
    let health = format!("http://127.0.0.1:{port}/health");
    presidio.wait_for("answers", || ureq::get(&health).call().is_ok());
    let (postern, token, _process, postgres, _folder) =
        gate(&format!("http://127.0.0.1:{port}/analyze"), ", timeout_milliseconds = 30000");
    postgres.sql("update letters set body = 'äh, mail bob@example.com or call 192.168.3.4 now' where id = 1");
    assert_eq!(postern.sql(&token, "select body from letters where id = 1"), "äh, mail **** or call **** now");
    assert_eq!(postern.sql(&token, "select body from letters where id = 2"), "höre, letter 2 to Zanzibar — send");
}
