//! Clients that are slow to send: who sends nothing more, or a byte now and then, keeps nobody else out, and is cut off.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where something is not as it should be"
)]

#[path = "../examples/sample/mod.rs"]
mod sample;

use kit::{Shutdown, metrics::Registry};
use replay::memory::Ledger;
use replay::{Parts, Server, config::File, telemetry::Telemetry};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Longest that an answer may take on a busy machine, if nobody is in its way.
const SOON: Duration = Duration::from_secs(5);

struct Site {
    address: SocketAddr,
    shutdown: Shutdown,
    serving: Option<thread::JoinHandle<()>>,
}

/// The API on a real socket, with 64 places as by default.
fn site(change: impl FnOnce(&mut File)) -> Site {
    let mut file = File { listen: "127.0.0.1:0".to_owned(), drain_ms: 200, ..File::default() };
    change(&mut file);
    let server = Server::bind(file.check("console-1").unwrap()).unwrap();
    let (address, shutdown) = (server.address(), Shutdown::new());
    let parts = Parts {
        archive: Arc::new(sample::shelf()),
        search: Arc::new(sample::oracle()),
        authenticate: Arc::new(sample::doorman()),
        record: Arc::new(Ledger::default()),
        verifier: None,
        exchanger: None,
        plane: None,
        hooks: None,
    };
    let told = shutdown.clone();
    let serving = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(server.serve(parts, Telemetry::new(&Registry::new()), told)).unwrap();
    });
    Site { address, shutdown, serving: Some(serving) }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shutdown.trigger();
        let serving = self.serving.take().unwrap();
        assert!(serving.join().is_ok() || thread::panicking(), "the server ends well");
    }
}

impl Site {
    fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    /// A POST of which most of the body never comes.
    fn slow(&self, path: &str, token: Option<&str>) -> TcpStream {
        let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let kind = "content-type: application/x-www-form-urlencoded";
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\n{authorization}{kind}\r\ncontent-length: 1000\r\n\r\na="
        ))
    }

    /// What an auditor gets meanwhile, and how long it took.
    fn auditor(&self) -> Duration {
        let begun = Instant::now();
        let head = format!("GET /api/v1/sessions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}", sample::AUDITOR);
        let said = said(self.send(&format!("{head}\r\nconnection: close\r\n\r\n")));
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        begun.elapsed()
    }
}

/// All that comes until the end.
fn said(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // a connection that is cut off may be reset
    let ended = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset), "{text}");
    text
}

#[test]
fn a_hundred_slow_bodies_of_one_identity_keep_nobody_else_out() {
    let site = site(|file| file.receive_ms = 2_000);
    let begun = Instant::now();
    let mut slow: Vec<TcpStream> = (0..100).map(|_| site.slow("/api/v1/requests", Some(sample::STRANGER))).collect();
    // those beyond its share are told so at once
    let late = slow.split_off(16);
    let told: Vec<String> = late
        .into_iter()
        .map(|mut stream| {
            let mut start = [0; 12];
            stream.read_exact(&mut start).unwrap();
            String::from_utf8_lossy(&start).into_owned()
        })
        .collect();
    assert!(told.iter().all(|one| one == "HTTP/1.1 429"), "{told:?}");
    assert!(site.auditor() < SOON && begun.elapsed() < Duration::from_millis(1_900), "they are under way still");
    // and the others are cut off in time
    for stream in slow {
        let said = said(stream);
        assert!(said.starts_with("HTTP/1.1 408") && said.contains("api.receive_ms"), "{said}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(site.auditor() < SOON);
}

#[test]
fn slow_bodies_of_strangers_keep_nobody_out() {
    let site = site(|file| file.receive_ms = 2_000);
    let slow: Vec<TcpStream> = (0..100).map(|_| site.slow("/oauth/token", None)).collect();
    assert!(site.auditor() < SOON);
    // a path that needs a token refuses who has none without waiting for more
    let said_of =
        said(site.send("POST /api/v1/requests HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 9\r\n\r\n"));
    assert!(said_of.starts_with("HTTP/1.1 401"), "{said_of}");
    drop(slow);
}

/// Behind a proxy all strangers are one address: how many it may have is a setting, and each route has places of its own.
#[test]
fn strangers_of_one_address_have_so_many_places_as_the_settings_say() {
    let site = site(|file| {
        file.receive_ms = 2_000;
        file.strangers_per_address = 40;
    });
    let mut slow: Vec<TcpStream> = (0..41).map(|_| site.slow("/oauth/token", None)).collect();
    // one of them is beyond the limit, and is told so while the others are under way
    let begun = Instant::now();
    let mut refused = 0;
    for stream in &mut slow {
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        // temporarily_unavailable, and a body that did not come
        match &start {
            b"HTTP/1.1 503" => refused += 1,
            other => assert_eq!(other, b"HTTP/1.1 400"),
        }
    }
    assert_eq!(refused, 1);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn heads_that_never_end_and_idle_connections_are_closed() {
    let site = site(|file| {
        file.receive_ms = 1_000;
        file.connections_per_address = 50;
    });
    let begun = Instant::now();
    let mut unending = site.send("GET /healthz HTTP/1.1\r\nhost: a\r\nx: ");
    let idle: Vec<TcpStream> = (0..49).map(|_| site.send("")).collect();
    // one address has its share: another connection of it is closed at once, not kept waiting
    let beyond = TcpStream::connect(site.address).unwrap();
    beyond.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(said(beyond), "");
    for _ in 0..3 {
        // a byte now and then gains nothing
        thread::park_timeout(Duration::from_millis(200));
        unending.write_all(b"a").unwrap();
    }
    for stream in idle {
        said(stream);
    }
    said(unending);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(15), "{took:?}");
    assert!(site.auditor() < SOON);
}
