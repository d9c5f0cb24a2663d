//! A session against a real PostgreSQL, recorded by a small forwarder, sent again: the answers are the same, a changed
//! database is noticed, latencies are counted.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "what goes wrong in a test's own parts should end it"
)]

use loadtest::{Options, replay};
use schemas::{
    Body, Event, Identity, IdentityKind, SessionId,
    event::{Direction, Frames, Payload, Protocol, SessionOpened, Statement, Verdict, VerdictKind},
};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const SCHEMA: &str = "create table t(id int primary key, v text, b bytea); insert into t values (1, 'one', '\\x01');";

/// A server of its own; ended with the value.
struct Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("loadtest").tempdir_in("/tmp").unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/services/postgres");
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let dir = folder.path().join("pg");
        let password = folder.path().join("password");
        std::fs::write(&password, "secret").unwrap();
        let child = Command::new(script)
            .args(["start", "--dir"])
            .arg(&dir)
            .arg("--password-file")
            .arg(&password)
            .args(["-c", "fsync=off"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { child, port: 0, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(60);
        while server.port == 0 {
            assert!(
                Instant::now() < deadline && server.child.try_wait().unwrap().is_none(),
                "the server did not start"
            );
            if let Ok(text) = std::fs::read_to_string(dir.join("port")) {
                server.port = text.trim().parse().unwrap_or(0);
            }
            std::thread::yield_now();
        }
        server
    }

    fn options(&self, speed: f64) -> Options {
        Options {
            target: format!("127.0.0.1:{}", self.port),
            user: "postgres".into(),
            password: "secret".into(),
            database: "app".into(),
            tls: None,
            speed,
            direct: true,
            timeout: Duration::from_secs(20),
        }
    }

    /// Runs SQL by a client that is not ours.
    fn restore(&self, sql: &str) {
        let port = self.port.to_string();
        let mut psql = Command::new("psql");
        psql.args(["-qXh", "127.0.0.1", "-p", &port, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-d", "app"]);
        psql.arg("-c")
            .arg(format!("drop table if exists t; {sql}"))
            .env("PGPASSWORD", "secret")
            .env("PGOPTIONS", "-c client_min_messages=error");
        assert!(psql.status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // the fast end; the process is this test's own
        let done = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(done.is_ok() && self.child.wait().is_ok());
    }
}

fn frame(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[kind][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), &body].concat()
}

fn query(sql: &str) -> Vec<u8> {
    frame(b'Q', &[sql.as_bytes(), &[0]])
}

/// Parse, Bind with one binary int4, Execute.
fn bound(sql: &str, value: i32) -> Vec<u8> {
    let parse = frame(b'P', &[&[0], sql.as_bytes(), &[0, 0, 0]]);
    let bind = frame(b'B', &[&[0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 4], &value.to_be_bytes(), &[0, 1, 0, 1]]);
    [parse, bind, frame(b'E', &[&[0], &[0; 4]])].concat()
}

fn sync() -> Vec<u8> {
    frame(b'S', &[])
}

/// What the client sends, each part answered before the next, with what ends the wait.
fn script() -> Vec<(Vec<u8>, u8)> {
    vec![
        (query("select id, v from t order by id"), b'Z'),
        ([bound("select v, b from t where id = $1", 1), sync()].concat(), b'Z'),
        (
            query("insert into t values (2, 'two'); update t set v = 'TWO' where id = 2; select v from t order by id"),
            b'Z',
        ),
        (query("copy t(id, v) from stdin"), b'G'),
        ([frame(b'd', &[b"3\tthree\n"]), frame(b'd', &[b"4\tfour\n"]), frame(b'c', &[])].concat(), b'Z'),
        (query("copy t to stdout"), b'Z'),
        (query("select 1/0"), b'Z'),
        // a pipeline whose second statement fails: the third is skipped
        (
            [
                bound("select v from t where id = $1", 2),
                bound("select 1/(id - 3) from t where id = $1", 3),
                bound("select v from t where id = $1", 4),
                sync(),
            ]
            .concat(),
            b'Z',
        ),
        // a pipeline of two transactions
        (
            [
                bound("delete from t where id = $1 returning v", 4),
                sync(),
                bound("select count(*) from t where id <> $1", 0),
                sync(),
            ]
            .concat(),
            b'Z',
        ),
        // COPY by the extended protocol: its first Sync is swallowed
        (
            [
                frame(b'P', &[&[0], b"copy t(id, v) from stdin", &[0, 0, 0]]),
                frame(b'B', &[&[0; 8]]),
                frame(b'E', &[&[0; 5]]),
                sync(),
            ]
            .concat(),
            b'G',
        ),
        ([frame(b'd', &[b"5\tfive\n"]), frame(b'c', &[]), sync()].concat(), b'Z'),
        (query("begin"), b'Z'),
        (query("select nothing"), b'Z'),
        (query("select 1"), b'Z'),
        (query("rollback"), b'Z'),
        (query("select v from t order by id"), b'Z'),
    ]
}

/// A forwarder between a client and the server that keeps both directions after login.
fn record(port: u16) -> Vec<Event> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let forwarder = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut runs: Vec<(Direction, Instant, Vec<u8>)> = Vec::new();
        client.set_nonblocking(true).unwrap();
        server.set_nonblocking(true).unwrap();
        let mut buffer = [0; 65536];
        loop {
            for direction in [Direction::Client, Direction::Server] {
                let (from, to) = if direction == Direction::Client {
                    (&mut client, &mut server)
                } else {
                    (&mut server, &mut client)
                };
                match from.read(&mut buffer) {
                    Ok(0) => return runs,
                    Ok(n) => {
                        to.set_nonblocking(false).unwrap();
                        to.write_all(&buffer[..n]).unwrap();
                        to.set_nonblocking(true).unwrap();
                        runs.push((direction, Instant::now(), buffer[..n].to_vec()));
                    }
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                }
            }
            std::thread::yield_now();
        }
    });
    let mut client = TcpStream::connect(at).unwrap();
    // a recording never has the login in it: it is cut off below
    let login = login(&mut client);
    for (bytes, until) in script() {
        client.write_all(&bytes).unwrap();
        let mut waits = bytes.windows(5).filter(|w| *w == [b'S', 0, 0, 0, 4]).count().max(1);
        while waits > 0 {
            waits -= usize::from(read_frame(&mut client).0 == until);
        }
    }
    client.write_all(&frame(b'X', &[])).unwrap();
    drop(client);
    events(forwarder.join().unwrap(), login)
}

fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4];
    stream.read_exact(&mut body).unwrap();
    (head[0], body)
}

/// Logs in; says how many bytes each direction carried.
fn login(stream: &mut TcpStream) -> [usize; 2] {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
    let mut sent = 0;
    let mut send = |stream: &mut TcpStream, bytes: Vec<u8>| {
        sent += bytes.len();
        stream.write_all(&bytes).unwrap();
    };
    let body = [&[0, 3, 0, 0][..], b"user\0postgres\0database\0app\0\0"].concat();
    send(stream, [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat());
    let mut scram = ScramSha256::new(b"secret", ChannelBinding::unsupported());
    let mut received = 0;
    loop {
        let (kind, body) = read_frame(stream);
        received += body.len() + 5;
        match (kind, body.get(3)) {
            (b'R', Some(10)) => {
                let first = scram.message();
                let length = u32::try_from(first.len()).unwrap().to_be_bytes();
                send(stream, frame(b'p', &[b"SCRAM-SHA-256\0", &length, first]));
            }
            (b'R', Some(11)) => {
                scram.update(&body[4..]).unwrap();
                send(stream, frame(b'p', &[scram.message()]));
            }
            (b'Z', _) => return [sent, received],
            (b'E', _) => panic!("{}", String::from_utf8_lossy(&body)),
            _ => {}
        }
    }
}

fn events(runs: Vec<(Direction, Instant, Vec<u8>)>, login: [usize; 2]) -> Vec<Event> {
    let begin = runs[0].1;
    let mut skip = login;
    let mut offsets = [0u64; 2];
    let mut bodies = vec![(0, Body::SessionOpened(opened()))];
    for (number, (sql, verdict)) in (1..).zip(judged()) {
        let text = Payload::plain(sql.as_bytes());
        let statement = Statement {
            number,
            protocol: Protocol::Simple,
            index: 0,
            text,
            prepared: String::new(),
            portal: String::new(),
            parameters: None,
            tokens: None,
        };
        bodies.push((0, Body::Statement(statement)));
        bodies.push((0, Body::Verdict(Verdict { number, ..verdict })));
    }
    for (direction, at, bytes) in runs {
        let side = usize::from(direction == Direction::Server);
        let cut = skip[side].min(bytes.len());
        skip[side] -= cut;
        if cut == bytes.len() {
            continue;
        }
        let time = i64::try_from((at - begin).as_micros()).unwrap();
        let payload = Payload::plain(&bytes[cut..]);
        bodies.push((time, Body::Frames(Frames { direction, offset: offsets[side], frames: 1, payload })));
        offsets[side] += (bytes.len() - cut) as u64;
    }
    let session = SessionId::from_bytes([1; 16]);
    (0..).zip(bodies).map(|(sequence, (time, body))| Event { session, sequence, time, body }).collect()
}

fn judged() -> Vec<(&'static str, Verdict)> {
    let verdict = |kind: &str, fingerprint: &str, verdict| Verdict {
        number: 0,
        verdict,
        reason: String::new(),
        policies: Vec::new(),
        policy_version: String::new(),
        kind: kind.to_owned(),
        read_only: false,
        opaque: false,
        relations: Vec::new(),
        columns: Vec::new(),
        functions: Vec::new(),
        fingerprint: fingerprint.to_owned(),
        flags: Vec::new(),
        shape: None,
    };
    vec![
        ("select id, v from t order by id", verdict("SELECT", "aa", VerdictKind::Mask)),
        ("select v, b from t where id = $1", verdict("SELECT", "bb", VerdictKind::Allow)),
    ]
}

fn opened() -> SessionOpened {
    SessionOpened {
        identity: Identity {
            kind: IdentityKind::Machine,
            subject: "bot".into(),
            issuer: "i".into(),
            name: "bot".into(),
            groups: Vec::new(),
            on_behalf_of: Vec::new(),
            task: None,
        },
        resource: "app".into(),
        database: "app".into(),
        role: "postgres".into(),
        node: "n".into(),
        peer: "p".into(),
        tls: None,
        parameters: BTreeMap::from([("application_name".into(), "recorded".into())]),
        server_version: "15".into(),
        backend_pid: 1,
        authentication: "token".into(),
        credential: None,
        expires: None,
        grant: None,
        roles: Vec::new(),
    }
}

#[test]
fn a_session_sent_again_is_answered_the_same() {
    let server = Server::start();
    server.restore(SCHEMA);
    let events = record(server.port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for speed in [1.0, 10.0, 0.0] {
        server.restore(SCHEMA);
        let report = runtime.block_on(replay(&events, &server.options(speed))).unwrap();
        assert_eq!((report.differing, report.masked, report.skipped), (0, 0, 0), "{report}");
        assert_eq!(report.equal, 15, "{report}");
        // each statement is measured, three in one message too, but for the one that a failed pipeline skips
        assert_eq!(report.total.count, 18, "{report}");
        assert_eq!(report.total.errors, 4, "{report}");
        assert!(report.shapes.iter().any(|s| s.shape == "SELECT aa" && s.latency.count == 1), "{report}");
        assert!(report.to_json().unwrap().contains("\"p999\""));
    }
    // a value that changed is a difference, in a masked answer it is one of the mask's
    server.restore(&format!("{SCHEMA} update t set v = 'changed' where id = 1"));
    let report = runtime.block_on(replay(&events, &server.options(0.0))).unwrap();
    assert_eq!(report.masked, 1, "{report}");
    assert!(report.differing >= 2 && report.differences[0].got.contains("changed"), "{report}");
    let mut wrong = server.options(0.0);
    wrong.password = "wrong".into();
    let refused = runtime.block_on(replay(&events, &wrong)).unwrap_err();
    assert!(refused.to_string().contains("28P01"), "{refused}");
}
