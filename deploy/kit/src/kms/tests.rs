//! A key management service that unwraps, refuses, is sealed, is away for a while or for good, or answers nonsense: what
//! becomes of a key, and what an operator reads.

use super::*;
use std::error::Error as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

/// Statuses of the next answers, and bodies in the place of those that it would give.
type Plan = Arc<Mutex<Vec<(u16, &'static str)>>>;

struct Fake {
    port: u16,
    plan: Plan,
    /// First lines, tokens and namespaces.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fake = Self { port: listener.local_addr().unwrap().port(), plan: Plan::default(), asked: Arc::default() };
        let (plan, asked) = (fake.plan.clone(), fake.asked.clone());
        std::thread::spawn(move || {
            listener.incoming().map_while(Result::ok).for_each(|stream| serve(stream, &plan, &asked));
        });
        fake
    }

    fn kms(&self, folder: &Path, patience: Duration) -> Kms {
        let token_file = folder.join("token");
        fs::write(&token_file, "hvs.secret-token\n").unwrap();
        let address = format!("http://127.0.0.1:{}/", self.port);
        let client = Client::new(&address, &token_file, Some("audit"), None, Duration::from_secs(5)).unwrap();
        Kms(Some(Arc::new(Service { client, mount: "tra/nsit".to_owned(), key: "postern".to_owned(), patience })))
    }

    fn plan(&self, answers: &[(u16, &'static str)]) {
        *self.plan.lock().unwrap() = answers.to_vec();
    }
}

/// "Wraps" by base64 once more: that it is sealed is the business of the real one.
fn serve(mut stream: TcpStream, plan: &Plan, asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut size) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        let lower = line.trim().to_lowercase();
        if let Some(text) = lower.strip_prefix("content-length: ") {
            size = text.parse().unwrap();
        }
        if head.is_empty() || lower.starts_with("x-vault-token") || lower.starts_with("x-vault-namespace") {
            head.push(line.trim().to_owned());
        }
    }
    let mut body = vec![0; size];
    reader.read_exact(&mut body).unwrap();
    asked.lock().unwrap().push(head.join(" "));
    let planned = { plan.lock().unwrap().pop() };
    let (status, answer) = planned.map_or_else(
        || {
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let answer = match body["plaintext"].as_str() {
                Some(plain) => json!({"data": {"ciphertext": format!("vault:v1:{}", BASE64_STANDARD.encode(plain))}}),
                None => {
                    let text = body["ciphertext"].as_str().unwrap().strip_prefix("vault:v1:").unwrap();
                    let plain = String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap();
                    json!({"data": {"plaintext": plain}})
                }
            };
            (200, answer.to_string())
        },
        |(status, text)| (status, text.to_owned()),
    );
    let text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
    // who asked may be gone
    drop(stream.write_all(text.as_bytes()));
}

fn private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn chain(error: &Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[test]
fn what_was_wrapped_is_read_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, path) = (Fake::start(), folder.path().join("key"));
    let kms = fake.kms(folder.path(), Duration::ZERO);
    for key in [b"\x00\xffthirty-two bytes of a symmetric".to_vec(), vec![7; 83], Vec::new()] {
        let text = kms.wrap(&Secret::new(key.clone())).unwrap();
        for ended in [text.clone(), format!("{text}\n")] {
            private(&path, ended.as_bytes());
            assert_eq!(*read_secret(&path, &kms).unwrap().expose(), key);
        }
        // a wrapped key may be open to others
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(*read_secret(&path, &kms).unwrap().expose(), key);
    }
    let asked = fake.asked.lock().unwrap();
    let head = |verb: &str| format!("POST /v1/tra/nsit/{verb}/postern HTTP/1.1 x-vault-token: hvs.secret-token");
    assert_eq!(asked[0], format!("{} x-vault-namespace: audit", head("encrypt")));
    assert_eq!(asked[1], format!("{} x-vault-namespace: audit", head("decrypt")));
}

#[test]
fn a_plain_key_needs_nobody_and_must_be_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    private(&path, b"\x30\x51 any bytes\n");
    assert_eq!(read_secret(&path, &Kms::none()).unwrap().expose(), b"\x30\x51 any bytes\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(read_secret(&path, &Kms::none()), Err(Error::Open { .. })));
    private(&path, &vec![b'x'; 64 << 10]);
    assert!(read_secret(&path, &Kms::none()).is_ok());
    private(&path, &vec![b'x'; (64 << 10) + 1]);
    assert!(matches!(read_secret(&path, &Kms::none()), Err(Error::TooLarge { .. })));
    assert!(matches!(read_secret(Path::new("/nowhere"), &Kms::none()), Err(Error::Read { .. })));
    // `vault:v` and no text is a key like any other
    private(&path, b"vault:v\xff\xfe");
    assert!(read_secret(&path, &Kms::none()).is_ok());
}

#[test]
fn what_the_service_says_instead_reads_well() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, path) = (Fake::start(), folder.path().join("key"));
    private(&path, b"vault:v1:aGVsbG8=");
    let kms = fake.kms(folder.path(), Duration::ZERO);
    let told = |answer: (u16, &'static str)| {
        fake.plan(&[answer]);
        chain(&read_secret(&path, &kms).unwrap_err())
    };
    let refused = told((403, r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#));
    assert!(refused.contains("status 403 for tra/nsit/decrypt/postern: the token is no good"), "{refused}");
    assert!(
        refused.contains("permission denied") && refused.contains("key unwrapped by the key management"),
        "{refused}"
    );
    let sealed = told((503, r#"{"errors":["Vault is sealed"]}"#));
    assert!(sealed.contains("status 503") && sealed.contains("it is sealed"), "{sealed}");
    assert!(told((404, "<html>")).contains("there is no such mount, key or role"));
    assert!(told((400, r#"{"errors":["invalid ciphertext: no prefix"]}"#)).contains("no prefix"));
    assert!(told((302, "")).contains("status 302"), "a redirect is not followed: the token would go along");
    for (answer, what) in [("{}", "no plaintext"), (r#"{"data":{"plaintext":"%s3cr3t"}}"#, "no plaintext in base64")] {
        let told = told((200, answer));
        assert!(told.contains(what) && !told.contains("s3cr3t"), "{told}");
    }
    let none = chain(&read_secret(&path, &Kms::none()).unwrap_err());
    assert!(none.contains("is wrapped by a key management service, and there is no section [kms]"), "{none}");
    fs::remove_file(folder.path().join("token")).unwrap();
    let token = chain(&read_secret(&path, &kms).unwrap_err());
    assert!(token.contains("reading its token: reading the secret file"), "{token}");
    let unwrapped = kms.wrap(&Secret::new(vec![1])).unwrap_err().to_string();
    assert!(!unwrapped.contains("hvs."), "{unwrapped}");
}

#[test]
fn who_is_away_or_sealed_is_waited_for_and_not_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, path) = (Fake::start(), folder.path().join("key"));
    private(&path, b"vault:v1:YUdWc2JHOD0=");
    let kms = fake.kms(folder.path(), PAUSE * 3);
    fake.plan(&[(503, "{}"), (429, "{}")]);
    assert_eq!(read_secret(&path, &kms).unwrap().expose(), b"hello");
    assert_eq!(fake.asked.lock().unwrap().len(), 3);
    // a refusal is not asked for again
    fake.plan(&[(403, "{}")]);
    assert!(read_secret(&path, &kms).is_err());
    assert_eq!(fake.asked.lock().unwrap().len(), 4);
    // nobody listens
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = Fake { port: closed, ..Fake::start() }.kms(folder.path(), PAUSE);
    let begun = Instant::now();
    let told = chain(&read_secret(&path, &away).unwrap_err());
    assert!(told.contains(&format!("http://127.0.0.1:{closed}: the connection failed")), "{told}");
    assert!(begun.elapsed() >= PAUSE && begun.elapsed() < PAUSE * 6, "{:?}", begun.elapsed());
}

#[test]
fn what_is_wrong_with_the_section_is_told() {
    let check = |file: File| file.check().map(|kms| kms.is_none()).map_err(|problems| problems.join("\n"));
    let whole = File {
        address: Some("https://vault.internal:8200".into()),
        key: Some("postern".into()),
        token_file: Some("/run/vault/token".into()),
        ..File::default()
    };
    assert_eq!(check(File::default()), Ok(true));
    assert_eq!(check(whole.clone()), Ok(false));
    let problems = |file: File| check(file).unwrap_err();
    for part in [
        File { key: None, ..whole.clone() },
        File { token_file: None, ..whole.clone() },
        File { address: None, ..whole.clone() },
        File { namespace: Some("a".into()), ..File::default() },
    ] {
        assert_eq!(problems(part), "kms: address, key and token_file belong together");
    }
    let http = File { address: Some("http://vault.internal".into()), ..whole.clone() };
    assert_eq!(problems(http), "kms.address: must be https, or http on this machine: a token crosses it");
    let all = File {
        key: Some("../sys/raw".into()),
        mount: "a//b".into(),
        ca_file: Some("/nowhere".into()),
        request_timeout_seconds: 0,
        ..whole
    };
    let told = problems(all);
    for key in ["kms.key", "kms.mount", "kms.ca_file", "kms.request_timeout_seconds"] {
        assert!(told.contains(key), "{told}");
    }
}
