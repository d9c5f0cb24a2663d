//! Where the gate's own login comes from: a file and Vault's database engine (a fake of its HTTP API that makes real users), each
//! rotated under a running gate.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{Postern, Postgres, eventually, folder, plain, secret_file};

#[test]
fn a_password_file_that_changes_is_taken_by_the_next_login() {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start(path);
    postgres.sql("create role gate login password 'first-secret'; grant select on customers to gate");
    let postern = Postern::configure(path, "gate", &postgres, "");
    secret_file(path, "gate-database-password", "first-secret");
    postern.change("user = \"postgres\"", "user = \"gate\"");
    let _process = postern.start("up");
    let token = postern.token("bot", "agents");
    assert_eq!(postern.sql(&token, "select session_user"), "gate");
    postgres.sql("alter role gate password 'second-secret'");
    assert!(!postern.psql(&token, &["-c", "select 1"]).status.success(), "the old one is no good");
    secret_file(path, "gate-database-password", "second-secret");
    assert_eq!(postern.sql(&token, "select session_user"), "gate");
}

/// What a fake of Vault was asked, in order: method, path, token.
type Asked = Arc<Mutex<Vec<(String, String, String)>>>;

struct Vault {
    port: u16,
    asked: Asked,
}

impl Vault {
    fn start(postgres: &Postgres) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Asked = Arc::default();
        let (seen, database, password) = (asked.clone(), postgres.port, postgres.password.clone());
        std::thread::spawn(move || {
            let mut users = 0;
            for stream in listener.incoming().map_while(Result::ok) {
                let sql = |text: &str| {
                    let mut psql = std::process::Command::new("psql");
                    psql.args([
                        "-XAtq",
                        "-h",
                        "127.0.0.1",
                        "-p",
                        &database.to_string(),
                        "-U",
                        "postgres",
                        "-d",
                        "shop",
                        "-c",
                        text,
                    ]);
                    assert!(psql.env("PGPASSWORD", &password).status().unwrap().success());
                };
                serve(stream, &seen, &mut users, &sql);
            }
        });
        Self { port, asked }
    }

    fn count(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(_, asked, _)| asked == path).count()
    }
}

/// One request of `database/creds` or `sys/leases/renew`, as Vault's documentation has them.
fn serve(mut stream: TcpStream, asked: &Asked, users: &mut u32, sql: &dyn Fn(&str)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let Some(first) = head.first() else { return };
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let header = |name: &str| {
        head.iter().find_map(|line| {
            line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned())
        })
    };
    let length: usize = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let token = header("x-vault-token").unwrap_or_default();
    asked.lock().unwrap().push((method.clone(), path.clone(), token.clone()));
    let (status, answer) = match (method.as_str(), path.as_str()) {
        _ if !token.starts_with("hvs.") => ("403 Forbidden", "{\"errors\":[\"permission denied\"]}".to_owned()),
        ("GET", "/v1/database/creds/agents") => {
            *users += 1;
            sql(&format!("create role \"v-{users}\" login password 'vaults-secret-{users}' in role readers"));
            let answer = format!(
                "{{\"request_id\":\"1\",\"lease_id\":\"database/creds/agents/{users}\",\"renewable\":true,\"lease_duration\":9,\
                 \"data\":{{\"username\":\"v-{users}\",\"password\":\"vaults-secret-{users}\"}}}}"
            );
            ("200 OK", answer)
        }
        ("PUT", "/v1/sys/leases/renew") => {
            let lease: serde_json::Value = serde_json::from_slice(&body).unwrap();
            // the first renewal is given, then the lease is at its end
            let lasts = if asked.lock().unwrap().iter().filter(|(m, ..)| m == "PUT").count() == 1 { 12 } else { 1 };
            ("200 OK", format!("{{\"lease_id\":{},\"renewable\":true,\"lease_duration\":{lasts}}}", lease["lease_id"]))
        }
        _ => ("404 Not Found", "{\"errors\":[]}".to_owned()),
    };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    );
    stream.write_all(text.as_bytes()).unwrap();
}

#[test]
fn logins_of_vault_are_renewed_replaced_and_had_anew_when_refused() {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start(path);
    postgres.sql("create role readers; grant select on customers to readers");
    let vault = Vault::start(&postgres);
    let token_file = secret_file(path, "vault-token", "hvs.first");
    let postern = Postern::configure(path, "gate", &postgres, "");
    let source = format!(
        "credential = {{ vault = {{ address = \"http://127.0.0.1:{}\", role = \"agents\", token_file = {token_file:?} }} }}",
        vault.port
    );
    let text = fs::read_to_string(&postern.config).unwrap();
    let line = text.lines().find(|line| line.starts_with("password_file = ")).unwrap().to_owned();
    postern.change(&line, &source);
    let _process = postern.start("up");
    let token = postern.token("bot", "agents");
    let user = || postern.sql(&token, "select session_user");
    assert_eq!(user(), "v-1");
    assert_eq!(vault.count("/v1/database/creds/agents"), 1, "one login serves all sessions");
    eventually("the lease is renewed", Duration::from_secs(30), || {
        assert_eq!(user(), "v-1");
        (vault.count("/v1/sys/leases/renew") == 1).then_some(())
    });
    // what the database does not take any more is had anew, in the same login; the token may have changed too
    secret_file(path, "vault-token", "hvs.second");
    postgres.sql("drop role \"v-1\"");
    assert_eq!(user(), "v-2");
    eventually("a lease at its end is replaced", Duration::from_secs(40), || (user() == "v-3").then_some(()));
    let asked = vault.asked.lock().unwrap().clone();
    assert!(
        asked.iter().any(|(.., token)| token == "hvs.first") && asked.last().unwrap().2 == "hvs.second",
        "{asked:?}"
    );
    // the record names the user, and nothing tells a password or the token (SCP-2)
    let events = postern.events();
    let told = plain(&events) + &fs::read_to_string(path.join("gate-up.log")).unwrap();
    assert!(told.contains("v-1"));
    for secret in ["vaults-secret", "hvs."] {
        assert!(!told.contains(secret), "{secret} was told");
    }
}
