//! A receiver of webhooks: keeps what comes, answers as it is told, and presses buttons as Slack does.

#![allow(dead_code, reason = "each test uses its part of it")]

use ring::hmac;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// One POST.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The block with the buttons.
    pub fn actions(&self) -> Option<Value> {
        self.json()["blocks"].as_array().unwrap().iter().find(|block| block["type"] == "actions").cloned()
    }

    /// The `action_id` of each button.
    pub fn buttons(&self) -> Vec<String> {
        let actions = self.actions().map(|block| block["elements"].as_array().unwrap().clone()).unwrap_or_default();
        actions.iter().map(|button| button["action_id"].as_str().unwrap().to_owned()).collect()
    }

    /// It is signed with this secret, now.
    pub fn is_signed(&self, secret: &str) -> bool {
        let time = self.header("x-slack-request-timestamp");
        let fresh = (now() - time.parse::<i64>().unwrap()).abs() < 60;
        fresh && self.header("x-slack-signature") == signature(secret, time, &self.body)
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

pub fn signature(secret: &str, time: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("v0:{time}:{body}").as_bytes());
    tag.as_ref().iter().fold("v0=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[derive(Default)]
struct Told {
    received: Vec<Received>,
    /// Status and further header lines of the next answers; 200 where there are none, 0 for one that never comes.
    answers: VecDeque<(u16, String)>,
}

/// An HTTP server that lasts as long as the test.
#[derive(Clone)]
pub struct Receiver {
    pub port: u16,
    told: Arc<Mutex<Told>>,
}

impl Receiver {
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let receiver = Self { port: listener.local_addr().unwrap().port(), told: Arc::default() };
        let serving = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let one = serving.clone();
                std::thread::spawn(move || one.serve(stream));
            }
        });
        receiver
    }

    fn serve(&self, stream: TcpStream) {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut reader = BufReader::new(&stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let path = lines[0].split(' ').nth(1).unwrap().to_owned();
        let headers: BTreeMap<String, String> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let mut told = self.told.lock().unwrap();
        told.received.push(Received { path, headers, body: String::from_utf8(body).unwrap() });
        let (status, more) = told.answers.pop_front().unwrap_or((200, String::new()));
        drop(told);
        if status == 0 {
            return std::thread::park_timeout(Duration::from_secs(120));
        }
        let answer = format!("HTTP/1.1 {status} said\r\ncontent-length: 2\r\nconnection: close\r\n{more}\r\nok");
        // whoever asked may be gone
        drop((&stream).write_all(answer.as_bytes()));
    }

    /// What the next attempts get.
    pub fn will_answer(&self, answers: &[(u16, &str)]) {
        self.told.lock().unwrap().answers =
            answers.iter().map(|(status, more)| (*status, (*more).to_owned())).collect();
    }

    pub fn received(&self) -> Vec<Received> {
        self.told.lock().unwrap().received.clone()
    }

    /// The messages, without outcomes.
    pub fn messages(&self) -> Vec<Received> {
        self.received().into_iter().filter(|one| one.path == "/hook").collect()
    }

    /// So many messages, once they are there; never more.
    pub fn wait(&self, count: usize) -> Vec<Received> {
        super::eventually(&format!("{count} messages"), Duration::from_secs(30), || {
            let messages = self.messages();
            assert!(messages.len() <= count, "{messages:#?}");
            (messages.len() == count).then_some(messages)
        })
    }
}

static PRESSES: AtomicU64 = AtomicU64::new(0);

/// What Slack sends when a user presses a button of a message.
pub fn press(message: &Received, user: &str, action: &str, port: u16) -> String {
    let block = message.actions().unwrap();
    let value = block["elements"][0]["value"].clone();
    // of its own in each press, as at Slack
    let trigger = PRESSES.fetch_add(1, Ordering::Relaxed);
    let payload = json!({
        "type": "block_actions", "trigger_id": trigger.to_string(), "user": {"id": user, "username": user}, "team": {"id": "T1"},
        "response_url": format!("http://127.0.0.1:{port}/actions/{user}"),
        "actions": [{"type": "button", "action_id": action, "block_id": block["block_id"], "value": value}],
    });
    let encoded: String = payload.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("payload={encoded}")
}

/// Posts a form to an address, signed at a time; gives the status and what was said.
pub fn post(url: &str, body: &str, secret: &str, time: i64) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-slack-request-timestamp", time.to_string())
        .header("x-slack-signature", signature(secret, &time.to_string(), body));
    let mut answer = request.send(body).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
}
