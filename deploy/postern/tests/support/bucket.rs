//! A real S3 server (moto), and a proxy before it that fails as object stores do.

#![allow(dead_code, reason = "each test uses its part of it")]

use crate::support::{Process, cache, free_port, root, secret_file};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// The bucket that tests use.
pub const BUCKET: &str = "audit";

/// What its objects' names begin with.
pub const PREFIX: &str = "postern/site";

/// What the proxy does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Closes every connection.
    Refuse,
    /// Answers every request with this status.
    Answer(u16),
    /// Hands puts over and closes without their answers.
    SwallowPuts,
    /// Takes requests and answers nothing.
    Hang,
}

/// An S3 server with a bucket, behind a proxy.
pub struct S3 {
    pub proxy: Proxy,
    port: u16,
    recorder: [String; 2],
    administrator: [String; 2],
    secret_file: PathBuf,
    authority: Option<PathBuf>,
    _server: Process,
}

impl S3 {
    /// Starts it. From then on it checks signatures and rights.
    pub fn start(folder: &Path) -> Self {
        Self::serving(folder, Proxy::start, "plain", None)
    }

    /// Starts it with Object Lock, over TLS.
    pub fn locking(folder: &Path) -> Self {
        let authority = folder.join("authority.pem");
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&authority, key.cert.pem()).unwrap();
        let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![key.cert.der().clone()], private).unwrap();
        Self::serving(folder, |server| Proxy::encrypting(server, Some(Arc::new(config))), "lock", Some(authority))
    }

    fn serving(folder: &Path, proxy: impl FnOnce(u16) -> Proxy, lock: &str, authority: Option<PathBuf>) -> Self {
        let port = free_port();
        let mut command = Command::new(root().join("deploy/services/s3"));
        command.args(["start", "--port", &port.to_string()]);
        let mut server = Process::start("s3", &mut command, &folder.join("s3.log"));
        server.wait_for("takes connections", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let proxy = proxy(port);
        let url = format!("http://127.0.0.1:{port}");
        let keys = helper(&["setup", &url, BUCKET, lock], None);
        let keys: Vec<String> = keys.lines().map(str::to_owned).collect();
        let [id, secret, admin_id, admin_secret] = keys.try_into().unwrap();
        let secret_file = secret_file(folder, "s3-secret", &secret);
        let (recorder, administrator) = ([id, secret], [admin_id, admin_secret]);
        Self { proxy, port, recorder, administrator, secret_file, authority, _server: server }
    }

    /// The secret of the recorder's key, which must appear nowhere.
    pub fn secret(&self) -> &str {
        &self.recorder[1]
    }

    /// The id and the secret of a key that may do everything, deletion too.
    pub fn administrator(&self) -> (&str, &str) {
        (&self.administrator[0], &self.administrator[1])
    }

    /// The id of the recorder's key.
    pub fn recorder(&self) -> &str {
        &self.recorder[0]
    }

    /// The archive as a config names it; `more` are lines of `[archive.s3]`.
    pub fn section(&self, more: &str) -> String {
        let port = self.proxy.port;
        let (ca, endpoint) = match &self.authority {
            Some(path) => (format!("ca_file = {path:?}"), format!("endpoint = \"https://localhost:{port}\"")),
            None => (String::new(), format!("endpoint = \"http://127.0.0.1:{port}\"\nallow_http = true")),
        };
        let (key, file) = (&self.recorder[0], self.secret_file.display());
        format!(
            "[archive]\nurl = \"s3://{BUCKET}/{PREFIX}\"\ncheckpoint_seconds = 1\nrequest_timeout_seconds = 4\n\
             request_retries = 2\n{ca}\n[archive.s3]\n{endpoint}\naccess_key_id = \"{key}\"\n\
             secret_access_key_file = \"{file}\"\n{more}\n"
        )
    }

    /// Runs a verb of the helper as the administrator.
    pub fn administer(&self, arguments: &[&str]) -> String {
        let url = format!("http://127.0.0.1:{}", self.port);
        helper(&[&arguments[..1], &[&url, BUCKET], &arguments[1..]].concat(), Some(&self.administrator))
    }
}

fn helper(arguments: &[&str], key: Option<&[String; 2]>) -> String {
    let mut command = Command::new(cache().join("clients/venv/bin/python"));
    command.arg(root().join("deploy/postern/tests/clients/s3_bucket.py")).args(arguments);
    if let Some([id, secret]) = key {
        command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
    }
    let output = command.output().expect("deploy/test installs the clients");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A proxy that reads HTTP requests, each on a connection of its own towards the server.
pub struct Proxy {
    pub port: u16,
    mode: Arc<Mutex<Mode>>,
    harmed: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    fn start(server: u16) -> Self {
        Self::encrypting(server, None)
    }

    fn encrypting(server: u16, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy =
            Self { port, mode: Arc::new(Mutex::new(Mode::Pass)), harmed: Arc::default(), ended: Arc::default() };
        let (mode, harmed, ended) = (proxy.mode.clone(), proxy.harmed.clone(), proxy.ended.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let (mode, harmed, tls) = (mode.clone(), harmed.clone(), tls.clone());
                std::thread::spawn(move || {
                    let served = match tls {
                        None => serve(client, server, &mode, &harmed),
                        Some(config) => {
                            let connection = ServerConnection::new(config).unwrap();
                            serve(StreamOwned::new(connection, client), server, &mode, &harmed)
                        }
                    };
                    // a client that goes away is part of what is tested
                    served.unwrap_or_default();
                });
            }
        });
        proxy
    }

    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// Requests that did not get their answer so far.
    pub fn harmed(&self) -> u64 {
        self.harmed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(client: impl Read + Write, server: u16, mode: &Mutex<Mode>, harmed: &AtomicU64) -> io::Result<()> {
    let now = || *mode.lock().unwrap();
    let mut client = BufReader::new(client);
    if now() == Mode::Refuse {
        harmed.fetch_add(1, Ordering::SeqCst);
        return Ok(());
    }
    let Some((head, body)) = request(&mut client)? else { return Ok(()) };
    let is_put = head.starts_with("PUT ");
    let mode = now();
    let harms = match mode {
        Mode::Pass => false,
        Mode::SwallowPuts => is_put,
        Mode::Refuse | Mode::Answer(_) | Mode::Hang => true,
    };
    harmed.fetch_add(u64::from(harms), Ordering::SeqCst);
    match mode {
        Mode::Refuse => Ok(()),
        Mode::Answer(status) => {
            let text = "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>";
            let length = text.len();
            let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
            client.get_mut().write_all(answer.as_bytes())
        }
        Mode::Hang => {
            while now() == Mode::Hang {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            Ok(())
        }
        Mode::SwallowPuts if is_put => forward(server, &head, &body).map(drop),
        Mode::Pass | Mode::SwallowPuts => client.get_mut().write_all(&forward(server, &head, &body)?),
    }
}

/// Head and body of the next request; none where the client has no more.
fn request(reader: &mut impl BufRead) -> io::Result<Option<(String, Vec<u8>)>> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        let line = head[start..].trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((head, body)))
}

/// The server's whole answer. It closes behind it, which the client is told by it.
fn forward(server: u16, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    let (line, rest) = head.split_once("\r\n").unwrap();
    upstream.write_all(format!("{line}\r\nconnection: close\r\n{rest}").as_bytes())?;
    upstream.write_all(body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    Ok(answer)
}
