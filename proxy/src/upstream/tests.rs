//! Logging in at a real PostgreSQL 15, and at servers that misbehave.

use super::*;
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The pause between two looks at something that will come.
const POLL: Duration = Duration::from_millis(50);

struct Postgres {
    process: Child,
    folder: TempDir,
    port: u16,
}

impl Postgres {
    fn start() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = TempDir::new().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let roles = "create role u_scram login password 'pw-scram'; create role u_tls login password 'pw-tls';
            create role u_password login password 'pw-password'; create role u_trust login;
            create role u_path login password 'pw-path'; alter role u_path set search_path = 'hr, \"$user\"';
            create role u_refused login; create role u_sloppy login;
            alter role u_sloppy set standard_conforming_strings = off;
            set password_encryption = md5; create role u_md5 login password 'pw-md5';";
        let rules = "local all all trust\nhostssl all u_tls all scram-sha-256\nhost all u_scram all scram-sha-256\n\
            host all u_path all scram-sha-256\nhost all u_md5 all md5\nhost all u_password all password\n\
            host all u_trust all trust\nhost all u_sloppy all trust\n";
        std::fs::write(folder.path().join("roles.sql"), roles).unwrap();
        std::fs::write(folder.path().join("hba.conf"), rules).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/services/postgres");
        let process = Command::new(script)
            .args(["start", "--tls", "--dir"])
            .arg(folder.path())
            .arg("--load")
            .arg(folder.path().join("roles.sql"))
            .arg("-c")
            .arg(format!("hba_file={}/hba.conf", folder.path().display()))
            .args(["-c", "fsync=off"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("deploy/services/postgres starts");
        let mut postgres = Self { process, folder, port: 0 };
        let deadline = Instant::now() + Duration::from_secs(60);
        while postgres.port == 0 {
            assert!(postgres.process.try_wait().unwrap().is_none(), "PostgreSQL ended: is it installed?");
            assert!(Instant::now() < deadline, "PostgreSQL did not start");
            std::thread::sleep(POLL);
            let written = std::fs::read_to_string(postgres.folder.path().join("port")).ok();
            postgres.port = written.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
        }
        postgres
    }

    fn file(&self, user: &str, password: Option<&str>, tls: TlsMode) -> DatabaseFile {
        DatabaseFile {
            ca_file: Some(self.folder.path().join("server.crt")),
            ..file("127.0.0.1", self.port, user, password, tls)
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn file(host: &str, port: u16, user: &str, password: Option<&str>, tls: TlsMode) -> DatabaseFile {
    DatabaseFile {
        host: host.to_owned(),
        port,
        database: "app".to_owned(),
        user: user.to_owned(),
        password_file: None,
        credential: crate::upstream::CredentialFile::default(),
        password: password.map(|text| text.to_owned().into()),
        tls: Some(tls),
        ca_file: None,
        connect_timeout_seconds: 10,
        accept_any_version: false,
    }
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), future).await.unwrap() })
}

fn open(file: DatabaseFile, parameters: &[(&str, &str)]) -> Result<Upstream, Error> {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    run(async { connect(&file.check().unwrap(), &parameters).await })
}

fn refusal(file: DatabaseFile) -> Error {
    open(file, &[]).err().expect("it is refused")
}

async fn exchange(upstream: &mut Upstream, sql: &str) -> String {
    let query = crate::startup::message(b'Q', &[sql.as_bytes(), &[0]].concat());
    upstream.stream.write_all(&query).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"Z\0\0\0\x05I") {
        assert_ne!(upstream.stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

use TlsMode::{Disable, Require, VerifyCa, VerifyFull};

#[test]
fn every_way_to_log_in_works_and_a_wrong_password_does_not() {
    let postgres = Postgres::start();
    for (user, password, tls) in [
        ("u_scram", Some("pw-scram"), Disable),
        ("u_scram", Some("pw-scram"), Require),
        ("u_tls", Some("pw-tls"), VerifyCa),
        ("u_tls", Some("pw-tls"), VerifyFull),
        ("u_md5", Some("pw-md5"), Disable),
        ("u_md5", Some("pw-md5"), Require),
        ("u_password", Some("pw-password"), Disable),
        ("u_password", Some("pw-password"), VerifyFull),
        ("u_trust", None, Disable),
        ("u_trust", None, Require),
    ] {
        let agents =
            [("user", "mallory"), ("database", "postgres"), ("client_encoding", "LATIN1"), ("TimeZone", "UTC")];
        let upstream =
            open(postgres.file(user, password, tls), &agents).unwrap_or_else(|e| panic!("{user} {tls:?}: {e}"));
        assert_eq!(matches!(upstream.stream, Stream::Tls(_)), tls != Disable);
        let socket = match &upstream.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(socket) => socket.get_ref().0,
            Stream::Unix(_) => panic!("a Unix socket"),
        };
        assert!(socket2::SockRef::from(socket).keepalive().unwrap(), "nobody would notice that the server is gone");
        assert_eq!(upstream.parameter("session_authorization"), Some(user));
        assert_eq!(upstream.parameter("client_encoding"), Some("UTF8"));
        assert_eq!(upstream.parameter("TimeZone"), Some("UTC"));
        assert_eq!(upstream.search_path, "\"$user\", public");
        assert!(upstream.backend_pid > 0 && upstream.cancel_key.len() == 4 && upstream.early.is_empty());
        if password.is_some() {
            for (wrong, code) in [(Some("pw-wrong"), "28000"), (None, "28000")] {
                let error = refusal(postgres.file(user, wrong, tls));
                assert_eq!(error.sqlstate(), code, "{user} {tls:?}: {error}");
                let all = format!("{error:?} {} {}", crate::chain(&error), error.to_client());
                assert!(!all.contains("pw-"), "{all}");
                assert!(!error.to_client().contains(user));
            }
        }
    }
    let upstream = open(postgres.file("u_path", Some("pw-path"), Disable), &[]).unwrap();
    assert_eq!(upstream.search_path, "\"hr, \"\"$user\"\"\"");
    let socket = file(&postgres.folder.path().display().to_string(), postgres.port, "u_trust", None, Disable);
    assert!(matches!(open(socket, &[]).unwrap().stream, Stream::Unix(_)));
}

#[test]
fn refusals_are_told_without_names() {
    let postgres = Postgres::start();
    let cases = [
        (refusal(postgres.file("u_tls", Some("pw-tls"), Disable)), "28000", "refused the gate's own login"),
        (refusal(postgres.file("u_refused", None, Require)), "28000", "refused the gate's own login"),
        (
            refusal(DatabaseFile { database: "nowhere".to_owned(), ..postgres.file("u_trust", None, Disable) }),
            "08004",
            "3D000",
        ),
        (refusal(postgres.file("u_sloppy", None, Disable)), "08004", "standard_conforming_strings"),
        (
            open(postgres.file("u_trust", None, Disable), &[("TimeZone", "Nowhere/At All")]).err().unwrap(),
            "22023",
            "parameter",
        ),
        (
            refusal(DatabaseFile {
                host: "localhost".to_owned(),
                ca_file: Some(other_authority(&postgres)),
                ..postgres.file("u_tls", Some("pw-tls"), VerifyFull)
            }),
            "08004",
            "that it trusts",
        ),
        (
            refusal(DatabaseFile {
                ca_file: Some(other_authority(&postgres)),
                ..postgres.file("u_tls", Some("pw-tls"), VerifyCa)
            }),
            "08004",
            "that it trusts",
        ),
    ];
    for (error, sqlstate, text) in cases {
        let told = error.to_client();
        assert_eq!(error.sqlstate(), sqlstate, "{error}");
        assert!(told.contains(text) && !told.contains("u_") && !told.contains("127.0.0.1"), "{told}");
    }
}

fn other_authority(postgres: &Postgres) -> PathBuf {
    let path = postgres.folder.path().join("other.crt");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&path, made.cert.pem()).unwrap();
    path
}

#[test]
fn a_cancel_request_ends_a_statement() {
    let postgres = Postgres::start();
    for tls in [Disable, VerifyFull] {
        let database = postgres.file("u_trust", None, tls).check().unwrap();
        run(async {
            let mut upstream = connect(&database, &BTreeMap::new()).await.unwrap();
            let (pid, key) = (upstream.backend_pid, upstream.cancel_key.clone());
            let canceller = async {
                let mut watcher = connect(&database, &BTreeMap::new()).await.unwrap();
                let sql = format!(
                    "select count(*) from pg_stat_activity where pid = {pid} and query ~ 'sleep' and state = 'active'"
                );
                let one = "\0\0\0\x011";
                while !exchange(&mut watcher, &sql).await.contains(one) {}
                // a wrong key has no effect: the statement still runs
                cancel(&database, pid, b"none").await.unwrap();
                assert!(exchange(&mut watcher, &sql).await.contains(one));
                cancel(&database, pid, &key).await.unwrap();
            };
            let (answer, ()) = tokio::join!(exchange(&mut upstream, "select pg_sleep(20)"), canceller);
            assert!(answer.contains("57014"), "{answer}");
        });
    }
}

/// A server that reads the first packet, answers these bytes and then waits, or closes.
fn server(answer: &'static [u8], close: bool) -> (u16, std::thread::JoinHandle<()>) {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut packet = [0; 1024];
        assert!(socket.read(&mut packet).unwrap() >= 8);
        socket.write_all(answer).unwrap();
        if !close {
            // until the gate goes
            while socket.read(&mut packet).is_ok_and(|count| count > 0) {}
        }
    });
    (port, thread)
}

#[test]
fn attack_servers_that_misbehave_are_not_believed() {
    for (name, answer, close, tls, sqlstate) in [
        ("no TLS", &b"N"[..], false, Require, "08004"),
        ("no TLS, and a login without it", b"NR\0\0\0\x08\0\0\0\0", false, Require, "08004"),
        ("an error in clear", b"E\0\0\0\x05\0", false, Require, "08004"),
        ("clear bytes behind yes", b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", false, Require, "08004"),
        ("endless", b"R\x7f\xff\xff\xff\0\0\0\0", false, Disable, "08004"),
        ("length 3", b"R\0\0\0\x03", false, Disable, "08004"),
        ("rows before login", b"D\0\0\0\x06\0\0", false, Disable, "08004"),
        ("another method", b"R\0\0\0\x08\0\0\0\x07", false, Disable, "28000"),
        ("SCRAM without a mechanism of ours", b"R\0\0\0\x0d\0\0\0\x0aNTLM\0\0", false, Disable, "28000"),
        ("ready without settings", b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", false, Disable, "08004"),
        ("gone", b"", true, Disable, "08001"),
        ("gone within a message", b"R\0\0\0\x08\0\0", true, Disable, "08001"),
        ("silent", b"", false, Disable, "08001"),
    ] {
        let (port, thread) = server(answer, close);
        let database = DatabaseFile { connect_timeout_seconds: 1, ..file("127.0.0.1", port, "u", Some("pw-u"), tls) };
        let error = refusal(database);
        assert_eq!(error.sqlstate(), sqlstate, "{name}: {error}");
        assert!(!format!("{error:?}").contains("pw-u"), "{name}");
        thread.join().unwrap();
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(refusal(file("127.0.0.1", free, "u", None, Disable)).sqlstate(), "08001");
}

/// A login without a password, and the settings of a server of that version, but no answer to what follows.
const OLD: &[u8] = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x19client_encoding\0UTF8\0S\0\0\0\x23standard_conforming_strings\0on\0\
    S\0\0\0\x19server_version\x0012.22\0Z\0\0\0\x05I";

#[test]
fn a_server_of_an_unknown_version_is_refused_unless_the_config_says_otherwise() {
    for (accept, state) in [(false, "08004"), (true, "08001")] {
        let (port, thread) = server(OLD, false);
        let database = DatabaseFile {
            accept_any_version: accept,
            connect_timeout_seconds: 1,
            ..file("127.0.0.1", port, "u", None, Disable)
        };
        let error = refusal(database);
        assert_eq!(error.sqlstate(), state, "{error}");
        assert_eq!(matches!(&error, Error::Version { version } if version == "12.22"), !accept, "{error:?}");
        thread.join().unwrap();
    }
    let read = ["15.20 (Debian 15.20-0+deb12u1)", "18beta1", "13.23", "9.6.24", "", "devel"].map(login::major);
    assert_eq!(read, [Some(15), Some(18), Some(13), Some(9), None, None]);
}

#[test]
fn every_problem_of_the_settings_is_reported_at_once() {
    let bad = DatabaseFile {
        user: String::new(),
        password_file: Some(PathBuf::from("/nowhere")),
        connect_timeout_seconds: 0,
        ..file("db.example", 5432, "u", None, VerifyFull)
    };
    let problems = bad.check().unwrap_err().join("\n");
    for field in ["user: ", "password_file: ", "connect_timeout_seconds: ", "ca_file: "] {
        assert!(problems.contains(field), "{problems}");
    }
    let remote = DatabaseFile { tls: None, ..file("db.example", 5432, "u", None, Disable) };
    assert!(
        remote.check().unwrap_err().join("").contains("ca_file"),
        "other machines are verified unless said otherwise"
    );
    let secret = file("127.0.0.1", 5432, "u", Some("pw-u"), Disable);
    assert!(!format!("{secret:?} {:?}", secret.clone().check().unwrap()).contains("pw-u"));
}
