//! The first bytes on real sockets: what psql does, and what attackers do.

use super::*;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{ServerName, pem::PemObject},
};
use std::{future::Future, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpListener,
};

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.unwrap() })
}

fn acceptor(folder: &Path, allow_plaintext: bool) -> Acceptor {
    Acceptor::new(&Files::Development { folder: folder.to_owned() }, allow_plaintext).unwrap()
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

const SSL: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];
const STARTUP: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0a\0\0";
const CANCEL: &[u8] = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07key!";

/// What the gate makes of these bytes, and what it answers.
fn plain(allow_plaintext: bool, bytes: &[u8]) -> (Result<Negotiated, Error>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let acceptor = acceptor(folder.path(), allow_plaintext);
    run(async {
        let (mut client, gate) = pair().await;
        client.write_all(bytes).await.unwrap();
        let client = async {
            let mut answer = Vec::new();
            client.shutdown().await.unwrap();
            client.read_to_end(&mut answer).await.map(|_| answer)
        };
        let gate = async { negotiate(gate, &acceptor).await };
        let (outcome, answer) =
            tokio::join!(gate, async { tokio::time::timeout(Duration::from_secs(2), client).await });
        (outcome, answer.map(Result::unwrap).unwrap_or_default())
    })
}

fn sqlstate(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.split('\0').find_map(|field| field.strip_prefix('C')).unwrap_or_default().to_owned()
}

#[test]
fn plaintext_is_refused_with_a_hint_unless_it_is_allowed() {
    let (outcome, answer) = plain(false, STARTUP);
    assert!(matches!(outcome, Err(Error::Plaintext)));
    assert_eq!(sqlstate(&answer), "28000");
    assert!(String::from_utf8_lossy(&answer).contains("sslmode=require"));
    let (outcome, _) = plain(true, STARTUP);
    let Ok(Negotiated::Started(started)) = outcome else { panic!("it is allowed") };
    assert_eq!((started.user.as_str(), started.tls), ("a", None));
}

#[test]
fn a_cancel_request_needs_no_encryption_and_gets_no_answer() {
    let (outcome, answer) = plain(false, CANCEL);
    let Ok(Negotiated::Cancel(cancel)) = outcome else { panic!("a cancel request") };
    assert_eq!((cancel.backend_pid, cancel.key.as_slice(), answer.len()), (7, &b"key!"[..], 0));
}

#[test]
fn gss_is_declined_once() {
    let (outcome, answer) = plain(true, &[&GSS[..], STARTUP].concat());
    assert!(matches!(outcome, Err(Error::Buffered)), "nothing may be sent before the answer");
    assert_eq!(sqlstate(&answer), "08P01");
    let folder = tempfile::tempdir().unwrap();
    let acceptor = acceptor(folder.path(), true);
    for (second, started) in [(STARTUP, true), (&GSS[..], false)] {
        run(async {
            let (mut client, gate) = pair().await;
            let client = async {
                client.write_all(&GSS).await.unwrap();
                let mut answer = [0];
                client.read_exact(&mut answer).await.unwrap();
                assert_eq!(answer, *b"N");
                client.write_all(second).await.unwrap();
                client.shutdown().await.unwrap();
                client
            };
            let (outcome, _client) = tokio::join!(negotiate(gate, &acceptor), client);
            assert_eq!(matches!(outcome, Ok(Negotiated::Started(_))), started);
            assert!(started || matches!(outcome, Err(Error::OutOfPlace(_))));
        });
    }
}

/// Somebody on the line puts a startup packet behind the client's SSLRequest, to be taken for the encrypted one's
/// (CVE-2021-23214).
#[test]
fn attack_bytes_behind_the_request_for_encryption_end_the_connection() {
    for behind in [&b"\0"[..], STARTUP, &SSL, b"\x16\x03\x01"] {
        let (outcome, answer) = plain(true, &[&SSL[..], behind].concat());
        assert!(matches!(outcome, Err(Error::Buffered)));
        assert_eq!((answer[0], sqlstate(&answer).as_str()), (b'E', "08P01"), "and no `S` before it");
    }
}

#[test]
fn other_beginnings_are_told_what_is_wrong() {
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "08P01"),
        (b"\0\0\0\x10\0\x02\0\0user\0a\0\0", "0A000"),
        (b"\0\0\0\x09\x04\xd2\x16\x2f\0", "08P01"),
        (b"\0\0\0\x08\0\x03\0\0", "08P01"),
    ] {
        let (outcome, answer) = plain(true, bytes);
        assert!(outcome.is_err());
        assert_eq!(sqlstate(&answer), expected, "{bytes:?}");
    }
    for gone in [&b""[..], b"\0\0\0", &STARTUP[..10]] {
        let (outcome, answer) = plain(true, gone);
        let Err(error) = outcome else { panic!("nothing was asked for") };
        assert!(error.is_gone() && answer.is_empty());
    }
}

fn client_config(folder: &Path, alpn: Option<&[u8]>) -> Arc<ClientConfig> {
    let pem = std::fs::read(folder.join("gate-development.crt")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.into_iter().map(<[u8]>::to_vec).collect();
    Arc::new(config)
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = vec![0; 1024];
    let count = stream.read(&mut answer).await.unwrap_or_default();
    answer.truncate(count);
    answer
}

/// Connects with TLS and sends these bytes through it: the gate's view, and its answer.
fn encrypted(request: bool, alpn: Option<&[u8]>, bytes: &'static [u8]) -> (Result<Negotiated, Error>, Option<Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let acceptor = acceptor(folder.path(), false);
    let config = client_config(folder.path(), alpn);
    run(async {
        let (mut client, gate) = pair().await;
        let client = async {
            if request {
                assert_eq!(ask(&mut client, &SSL).await, b"S");
            }
            let name = ServerName::try_from("localhost").unwrap();
            let mut client = tokio_rustls::TlsConnector::from(config).connect(name, client).await.ok()?;
            let expects_answer = tokio::time::timeout(Duration::from_millis(300), ask(&mut client, bytes)).await;
            Some(expects_answer.unwrap_or_default())
        };
        tokio::join!(negotiate(gate, &acceptor), client)
    })
}

#[test]
fn tls_by_request_and_at_once() {
    for (request, alpn) in [(true, None), (true, Some(&b"postgresql"[..])), (false, Some(&b"postgresql"[..]))] {
        let (outcome, _) = encrypted(request, alpn, STARTUP);
        let Ok(Negotiated::Started(started)) = outcome else { panic!("request {request}") };
        let tls = started.tls.unwrap();
        assert_eq!(tls.version, "TLSv1.3");
        assert!(tls.cipher.starts_with("TLS_") && tls.cipher.contains("_SHA"), "{}", tls.cipher);
        let (outcome, _) = encrypted(request, alpn, CANCEL);
        assert!(matches!(outcome, Ok(Negotiated::Cancel(_))));
    }
}

#[test]
fn tls_at_once_needs_the_protocols_name() {
    let (outcome, answer) = encrypted(false, None, STARTUP);
    assert!(matches!(outcome, Err(Error::NoProtocolName)));
    assert_eq!(sqlstate(&answer.unwrap()), "08P01");
    for request in [false, true] {
        let (outcome, _) = encrypted(request, Some(b"http/1.1"), STARTUP);
        assert!(matches!(outcome, Err(Error::Handshake(_))));
    }
}

#[test]
fn encryption_within_encryption_is_refused() {
    let (outcome, answer) = encrypted(true, None, &SSL);
    assert!(matches!(outcome, Err(Error::OutOfPlace(_))));
    assert_eq!(sqlstate(&answer.unwrap()), "08P01");
}

#[test]
fn silent_and_slow_clients_do_not_keep_others_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let acceptor = acceptor(folder.path(), true);
    run(async {
        let mut silent = Vec::new();
        let tasks = tokio::task::LocalSet::new();
        tasks
            .run_until(async {
                for number in 0..50 {
                    let (mut client, gate) = pair().await;
                    // some say nothing, some a byte, some stop within the handshake
                    let said: &[u8] = [&b""[..], b"\0", &SSL, b"\x16\x03"][number % 4];
                    client.write_all(said).await.unwrap();
                    silent.push(client);
                    let acceptor = acceptor.clone();
                    tokio::task::spawn_local(async move { negotiate(gate, &acceptor).await.is_ok() });
                }
                let (mut client, gate) = pair().await;
                client.write_all(STARTUP).await.unwrap();
                let started = tokio::time::timeout(Duration::from_secs(5), negotiate(gate, &acceptor)).await.unwrap();
                assert!(matches!(started, Ok(Negotiated::Started(_))));
            })
            .await;
    });
}

#[test]
fn a_new_certificate_is_used_after_reload() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(folder.path().join("c.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("k.pem"), made.signing_key.serialize_pem()).unwrap();
    };
    write("one.example");
    let files = Files::Given { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
    let acceptor = Acceptor::new(&files, false).unwrap();
    let before = acceptor.current();
    write("two.example");
    acceptor.reload().unwrap();
    let after = acceptor.current();
    assert!(!Arc::ptr_eq(&before, &after));
    std::fs::write(folder.path().join("k.pem"), "no key").unwrap();
    assert!(matches!(acceptor.reload(), Err(Error::Pem { what: "private key", .. })));
    assert!(Arc::ptr_eq(&after, &acceptor.current()), "the one in use stays");
}

#[test]
fn the_development_certificate_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| acceptor(folder.path(), false));
        }
    });
    let before = std::fs::read(folder.path().join("gate-development.crt")).unwrap();
    acceptor(folder.path(), false);
    assert_eq!(before, std::fs::read(folder.path().join("gate-development.crt")).unwrap());
    use std::os::unix::fs::PermissionsExt;
    let key = std::fs::metadata(folder.path().join("gate-development.pem")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// psql itself, in each of its modes, up to the request for its password.
#[test]
fn psql_gets_as_far_as_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let acceptor = acceptor(folder.path(), false);
    let root = folder.path().join("gate-development.crt");
    for (mode, reaches) in [("verify-full", true), ("require", true), ("prefer", true), ("disable", false)] {
        let (token, stderr) = run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let text = format!(
                "host=localhost hostaddr=127.0.0.1 port={port} user=a dbname=d sslmode={mode} password=the-token"
            );
            let root = root.clone();
            let psql = tokio::task::spawn_blocking(move || {
                std::process::Command::new("psql")
                    .arg(format!("{text} sslrootcert={}", root.display()))
                    .args(["-c", "select 1"])
                    .output()
                    .expect("psql is installed")
            });
            let (socket, _) = listener.accept().await.unwrap();
            let token = match negotiate(socket, &acceptor).await {
                Ok(Negotiated::Started(mut started)) => {
                    assert_eq!(started.database, "d");
                    let token = crate::startup::read_token(&mut started.stream).await.unwrap();
                    crate::startup::fatal(&mut started.stream, "28000", "no entry", Some("a hint")).await.unwrap();
                    Some(token.expose().clone())
                }
                Ok(Negotiated::Cancel(_)) => panic!("not a cancel request"),
                Err(error) => {
                    assert!(matches!(error, Error::Plaintext), "{error}");
                    None
                }
            };
            drop(listener);
            (token, String::from_utf8(psql.await.unwrap().stderr).unwrap())
        });
        assert_eq!(token.as_deref(), reaches.then_some("the-token"), "{mode}: {stderr}");
        assert!(stderr.contains(if reaches { "no entry" } else { "requires TLS" }), "{mode}: {stderr}");
        assert!(stderr.contains(if reaches { "a hint" } else { "sslmode=require" }), "{mode}: {stderr}");
    }
}
