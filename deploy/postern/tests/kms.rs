//! Keys that lie wrapped in their files: a gate signs with what a key management service unwraps, and no file has a key. The
//! service is a stand-in for the transit engine of Vault, over HTTPS, that really encrypts (AES-256-GCM).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use support::{Postern, Postgres, eventually, folder, free_port, secret_file};

const TOKEN: &str = "hvs.the-token-of-the-gate";

struct State {
    key: LessSafeKey,
    sealed: bool,
    allows: bool,
    /// Paths.
    asked: Vec<String>,
}

/// The stand-in.
struct Transit {
    folder: PathBuf,
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Transit {
    fn start(folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.join("vault.pem"), made.cert.pem()).unwrap();
        secret_file(folder, "vault-token", TOKEN);
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], private).unwrap();
        let (tls, listener) = (Arc::new(tls), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[0x5a; 32]).unwrap());
        let state = Arc::new(Mutex::new(State { key, sealed: false, allows: true, asked: Vec::new() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = ServerConnection::new(tls.clone()).unwrap();
                serve(StreamOwned::new(connection, stream), &shared);
            }
        });
        Self { folder: folder.to_owned(), port, state }
    }

    fn section(&self) -> String {
        let (token, ca) = (self.folder.join("vault-token"), self.folder.join("vault.pem"));
        let address = format!("https://localhost:{}", self.port);
        format!("[kms]\naddress = \"{address}\"\nkey = \"postern\"\ntoken_file = {token:?}\nca_file = {ca:?}\n")
    }

    fn set(&self, sealed: bool, allows: bool) {
        let mut state = self.state.lock().unwrap();
        (state.sealed, state.allows) = (sealed, allows);
    }

    /// What it makes of anything.
    fn encrypt(&self, plain: &[u8]) -> String {
        encrypt(&self.state.lock().unwrap().key, plain)
    }

    fn count(&self, path: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|asked| *asked == path).count()
    }
}

fn encrypt(key: &LessSafeKey, plain: &[u8]) -> String {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut nonce = [0; 12];
    SystemRandom::new().fill(&mut nonce).unwrap();
    let mut sealed = plain.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed).unwrap();
    format!("vault:v1:{}", BASE64_STANDARD.encode([&nonce[..], &sealed].concat()))
}

fn decrypt(key: &LessSafeKey, text: &str) -> Option<Vec<u8>> {
    let sealed = BASE64_STANDARD.decode(text.strip_prefix("vault:v1:")?).ok()?;
    let (nonce, rest) = sealed.split_at_checked(12)?;
    let mut rest = rest.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce.try_into().ok()?);
    Some(key.open_in_place(nonce, Aad::empty(), &mut rest).ok()?.to_vec())
}

fn serve(stream: StreamOwned<ServerConnection, TcpStream>, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        // one that speaks no TLS, or does not believe us
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let found = head.iter().filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let path = head[0].split(' ').nth(1).unwrap().to_owned();
    let mut state = state.lock().unwrap();
    let refused = |text: &str| json!({ "errors": [text] });
    let (status, answer) = match (head[0].split(' ').next().unwrap(), path.as_str()) {
        _ if state.sealed => (503, refused("Vault is sealed")),
        _ if header("x-vault-token") != TOKEN || !state.allows => (403, refused("permission denied")),
        ("POST", "/v1/transit/encrypt/postern") => {
            let plain = BASE64_STANDARD.decode(body["plaintext"].as_str().unwrap()).unwrap();
            (200, json!({"data": {"ciphertext": encrypt(&state.key, &plain), "key_version": 1}}))
        }
        ("POST", "/v1/transit/decrypt/postern") => match decrypt(&state.key, body["ciphertext"].as_str().unwrap()) {
            Some(plain) => (200, json!({"data": {"plaintext": BASE64_STANDARD.encode(plain)}})),
            None => (400, refused("invalid ciphertext")),
        },
        _ => (404, json!({"errors": []})),
    };
    state.asked.push(path);
    drop(state);
    let text = answer.to_string();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    let mut stream = reader.into_inner();
    stream.write_all((head + &text).as_bytes()).unwrap();
    stream.conn.send_close_notify();
    // who asked may be gone
    drop(stream.flush());
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A node whose three keys were made plain, then wrapped, and its lines for a reader.
struct Site {
    folder: tempfile::TempDir,
    postern: Postern,
    transit: Transit,
    lines: String,
    plain: Vec<Vec<u8>>,
    _postgres: Postgres,
}

impl Site {
    fn new() -> Self {
        let folder = folder();
        let path = folder.path();
        let postgres = Postgres::start(path);
        let transit = Transit::start(path);
        let key = |name: &str| path.join(name).display().to_string();
        let more = format!(
            "[log]\nsigning_key = '{}'\n[archive]\ncheckpoint_seconds = 1\nsigning_key = '{}'\n[control]\nsigning_key = '{}'\n{}",
            key("batches.key"),
            key("checkpoints.key"),
            key("control.key"),
            transit.section()
        );
        let postern = Postern::configure(path, "postern", &postgres, &more);
        let lines = postern.run(&["audit", "key"]) + &postern.run(&["control", "key"]);
        let mut plain = Vec::new();
        for name in ["batches", "checkpoints", "control"] {
            let (from, to) = (key(&format!("{name}.key")), key(&format!("{name}.wrapped")));
            plain.push(fs::read(&from).unwrap());
            let told = postern.run(&["kms", "wrap", "--in", &from, "--out", &to]);
            assert!(told.contains(&format!("{to} holds the key of {from}, wrapped")), "{told}");
            fs::remove_file(&from).unwrap();
            postern.change(&from, &to);
        }
        Self { folder, postern, transit, lines, plain, _postgres: postgres }
    }

    /// What a command that must fail says.
    fn failing(&self, arguments: &[&str], status: i32) -> String {
        let output = self.postern.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", text(&output));
        text(&output)
    }
}

/// Every file below a folder, but for the database's.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() && !path.ends_with("postgres") {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_gate_signs_with_keys_that_lie_wrapped_and_no_file_has_them() {
    let site = Site::new();
    let lines = site.postern.run(&["audit", "key"]) + &site.postern.run(&["control", "key"]);
    assert_eq!(lines, site.lines, "the public keys are the same");
    let keys = site.folder.path().join("keys.txt");
    fs::write(&keys, site.postern.run(&["audit", "key"])).unwrap();

    let before = site.transit.count("/v1/transit/decrypt/postern");
    let process = site.postern.start("up");
    // the recorder's may be asked for when the gate is ready already
    let asked = || site.transit.count("/v1/transit/decrypt/postern") - before;
    eventually("each key is asked for", Duration::from_secs(30), || (asked() >= 3).then_some(()));
    // from then on it needs nobody
    site.transit.set(true, false);
    let token = site.postern.token("billing-bot", "agents");
    for _ in 0..3 {
        site.postern.sql(&token, "select id, name from customers order by id limit 3");
    }
    eventually("a checkpoint is made", Duration::from_secs(30), || {
        site.postern.command(&["audit", "checkpoint"]).output().unwrap().status.success().then_some(())
    });
    process.stop();
    assert_eq!(asked(), 3, "each once, at the start");
    let verified = site.postern.run(&["audit", "verify", "--keys", keys.to_str().unwrap()]);
    assert!(verified.contains("signed by keys that you believe") && verified.contains("0 batches came after it"));

    // neither a whole key nor its seed, as it is or as text, is anywhere; nor is the token, but in its own file
    let searched = files(site.folder.path());
    assert!(searched.len() > 20, "{searched:?}");
    let needles: Vec<Vec<u8>> = site
        .plain
        .iter()
        .flat_map(|key| {
            let seed = key[16..48].to_vec();
            let text = BASE64_STANDARD.encode(key).into_bytes();
            [seed, text[24..60].to_vec()]
        })
        .collect();
    let holding = |needle: &[u8]| -> Vec<&PathBuf> {
        let has = |path: &&PathBuf| fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle);
        searched.iter().filter(has).collect()
    };
    assert_eq!(holding(TOKEN.as_bytes()), [&site.folder.path().join("vault-token")]);
    for needle in needles {
        assert!(holding(&needle).is_empty(), "{:?} has a key", holding(&needle));
    }
}

#[test]
fn who_refuses_is_sealed_or_away_is_told_and_nothing_starts() {
    let site = Site::new();
    let path = site.folder.path();
    site.transit.set(false, false);
    for command in [&["audit", "key"][..], &["control", "key"], &["up"]] {
        let told = site.failing(command, 1);
        assert!(
            told.contains("status 403 for transit/decrypt/postern: the token is no good, or its policies"),
            "{told}"
        );
        assert!(told.contains(".wrapped unwrapped by the key management service") && !told.contains("hvs."), "{told}");
    }
    site.transit.set(false, true);

    // a start waits a while for one that is sealed, and goes on when it is not any more
    site.transit.set(true, true);
    let process = site.postern.launch("up", &[]);
    eventually("it is told", Duration::from_secs(15), || {
        site.postern.process_log().contains("key management service does not answer as it should").then_some(())
    });
    assert!(!site.postern.is_ready());
    site.transit.set(false, true);
    eventually("it runs", Duration::from_secs(30), || site.postern.is_ready().then_some(()));
    process.stop();

    // and not for ever: sealed, and nobody there, both at once
    site.transit.set(true, true);
    let begun = Instant::now();
    let away = format!("kms.address=https://localhost:{}", free_port());
    std::thread::scope(|scope| {
        let sealed = scope.spawn(|| site.failing(&["audit", "key"], 1));
        let gone = scope.spawn(|| site.failing(&["--set", &away, "audit", "key"], 1));
        let (sealed, gone) = (sealed.join().unwrap(), gone.join().unwrap());
        assert!(sealed.contains("status 503") && sealed.contains("it is sealed, or being serviced"), "{sealed}");
        assert!(gone.contains("the connection failed"), "{gone}");
    });
    assert!((15..60).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    site.transit.set(false, true);

    // what it unwraps is no key, cannot be unwrapped, or is wrapped for nobody that is named
    let other = path.join("other.wrapped").display().to_string();
    let set = format!("log.signing_key={other}");
    fs::write(&other, site.transit.encrypt(b"thirty-two bytes, but no PKCS #8")).unwrap();
    let told = site.failing(&["--set", &set, "audit", "key"], 1);
    assert!(told.contains("other.wrapped is not an Ed25519 key in PKCS #8"), "{told}");
    fs::write(&other, "vault:v1:AAAA").unwrap();
    let told = site.failing(&["--set", &set, "audit", "key"], 1);
    assert!(told.contains("status 400") && told.contains("invalid ciphertext"), "{told}");
    let text = fs::read_to_string(&site.postern.config).unwrap().replace(&site.transit.section(), "");
    fs::write(&site.postern.config, text).unwrap();
    let told = site.failing(&["audit", "key"], 1);
    assert!(told.contains("is wrapped by a key management service, and there is no section [kms]"), "{told}");
    let batches = path.join("batches.wrapped").display().to_string();
    let told = site.failing(&["kms", "wrap", "--in", &batches, "--out", &other], 3);
    assert!(told.contains("kms.address: must be set"), "{told}");
}

#[test]
fn wrapping_writes_over_nothing_and_wraps_nothing_twice() {
    let site = Site::new();
    let at = |name: &str| site.folder.path().join(name).display().to_string();
    let told = site.failing(&["kms", "wrap", "--in", &at("batches.wrapped"), "--out", &at("twice")], 1);
    assert!(told.contains("batches.wrapped is wrapped already"), "{told}");
    let seed = secret_file(site.folder.path(), "seed", "0123456789abcdef0123456789abcdef").display().to_string();
    let told = site.failing(&["kms", "wrap", "--in", &seed, "--out", &at("batches.wrapped")], 1);
    assert!(told.contains("making") && told.contains("File exists"), "{told}");
    site.transit.set(false, false);
    let told = site.failing(&["kms", "wrap", "--in", &seed, "--out", &at("seed.wrapped")], 1);
    assert!(told.contains("status 403 for transit/encrypt/postern"), "{told}");
    assert!(!Path::new(&at("seed.wrapped")).exists() && !Path::new(&at("twice")).exists());
}
