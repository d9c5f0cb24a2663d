//! The startup phase in memory: what drivers send, and what attackers send.

use super::*;
use proptest::prelude::*;
use tokio::io::duplex;

fn packet(code: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(&[name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
    }
    body.push(0);
    framed(&body)
}

fn framed(body: &[u8]) -> Vec<u8> {
    [u32::try_from(body.len() + 4).unwrap().to_be_bytes().as_slice(), body].concat()
}

const V3_0: u32 = 3 << 16;

/// Reads a startup packet from these bytes; also what the gate answered and what it left unread.
fn start(bytes: &[u8]) -> (Result<Packet, Error>, Vec<u8>, usize) {
    run(async {
        let (mut client, mut gate) = duplex(1 << 20);
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let outcome = match Opening::read(&mut gate).await {
            Ok(opening) => opening.startup(&mut gate).await,
            Err(error) => Err(error),
        };
        let mut unread = Vec::new();
        gate.read_to_end(&mut unread).await.unwrap();
        drop(gate);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        (outcome, answer, unread.len())
    })
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_secs(10), future).await.unwrap() })
}

#[test]
fn what_drivers_send_is_accepted() {
    let cases: [(&str, &[(&str, &str)]); 6] = [
        ("psql", &[("user", "a"), ("database", "d"), ("application_name", "psql"), ("client_encoding", "UTF8")]),
        (
            "pgjdbc",
            &[
                ("user", "a"),
                ("database", "d"),
                ("client_encoding", "UTF8"),
                ("DateStyle", "ISO"),
                ("TimeZone", "Europe/Berlin"),
                ("extra_float_digits", "3"),
            ],
        ),
        ("asyncpg", &[("client_encoding", "'utf-8'"), ("user", "a"), ("database", "d"), ("jit", "off")]),
        ("node-postgres", &[("user", "a"), ("database", "d"), ("statement_timeout", "5000"), ("options", "")]),
        (
            "psycopg with options",
            &[
                ("user", "a"),
                ("options", "-c search_path=nowhere -c search-path=hr,\\ public --Statement_Timeout=5s -c jit=off"),
                ("jit", "on"),
            ],
        ),
        ("by hand", &[("user", "a"), ("SEARCH_PATH", "hr, public"), ("timezone", "UTC")]),
    ];
    for (driver, parameters) in cases {
        let (outcome, answer, unread) = start(&packet(V3_0, parameters));
        let packet = outcome.unwrap_or_else(|error| panic!("{driver}: {error}"));
        assert_eq!((packet.user.as_str(), packet.version), ("a", Version::V3_0), "{driver}");
        assert_eq!((answer.len(), unread), (0, 0), "{driver}");
    }
    let by_hand = packet(V3_0, cases[5].1);
    let (outcome, ..) = start(&packet(V3_0, cases[4].1));
    let packet = outcome.unwrap();
    assert_eq!(packet.parameters["search_path"], "hr, public");
    assert_eq!((&*packet.parameters["statement_timeout"], &*packet.parameters["jit"]), ("5s", "on"));
    let (outcome, ..) = start(&by_hand);
    let packet = outcome.unwrap();
    assert_eq!(packet.database, "a");
    assert_eq!(packet.parameters["search_path"], "hr, public");
    assert_eq!(packet.parameters["TimeZone"], "UTC");
}

#[test]
fn attack_parameters_are_refused_by_name() {
    for (name, value, text) in [
        ("replication", "database", "replication"),
        ("replication", "false", "replication"),
        ("options", "-c session_replication_role=replica", "session_replication_role"),
        ("options", "-c role=postgres", "not on this gate's list"),
        ("options", "-c jit=off -c session-authorization=postgres", "session_authorization"),
        ("options", "-c user=b", "not on this gate's list"),
        ("options", "-c jit=off -O", "options"),
        ("options", "-c client-encoding=SJIS", "UTF8"),
        ("options", "-c search_path=a\\\nb", "control"),
        ("client_encoding", "SJIS", "UTF8"),
        ("client_encoding", "", "UTF8"),
        ("standard_conforming_strings", "off", "must be on"),
        ("backslash_quote", "on", "not on this gate's list"),
        ("session_authorization", "postgres", "not on this gate's list"),
        ("role", "postgres", "not on this gate's list"),
        ("plpgsql.extra_warnings", "all", "not on this gate's list"),
        ("User", "b", "not on this gate's list"),
        ("application_name", "a\nb", "control"),
        ("TIMEZONE", "UTC", "twice"),
        ("user", "b", "twice"),
    ] {
        let parameters = [("user", "a"), ("TimeZone", "UTC"), (name, value)];
        let (outcome, ..) = start(&packet(V3_0, &parameters));
        let error = outcome.expect_err(name);
        assert!(matches!(error, Error::Parameter { .. }) && error.to_string().contains(text), "{name}: {error}");
        assert_eq!(error.sqlstate(), "0A000");
    }
    assert!(matches!(start(&packet(V3_0, &[("database", "d")])).0, Err(Error::NoUser)));
    assert!(matches!(start(&packet(V3_0, &[("user", ""), ("database", "d")])).0, Err(Error::NoUser)));
}

#[test]
fn attack_malformed_packets_are_refused() {
    let good = packet(V3_0, &[("user", "a")]);
    assert!(start(&good).0.is_ok());
    let code = V3_0.to_be_bytes();
    for (name, bytes, sqlstate) in [
        ("no terminator", framed(&[&code[..], b"user\0a\0"].concat()), "08P01"),
        ("bytes behind the terminator", framed(&[&code[..], b"user\0a\0\0x"].concat()), "08P01"),
        ("a name without a value", framed(&[&code[..], b"user\0"].concat()), "08P01"),
        ("not UTF-8", framed(&[&code[..], b"user\0\xff\0\0"].concat()), "08P01"),
        ("an unprintable name", framed(&[&code[..], b"user\0a\0x\x1b\0v\0\0"].concat()), "08P01"),
        ("length 7", [&7u32.to_be_bytes()[..], &code].concat(), "08P01"),
        ("length 0", [&0u32.to_be_bytes()[..], &code].concat(), "08P01"),
        ("length 10,001", [&10_001u32.to_be_bytes()[..], &code, &[0; 9993]].concat(), "08P01"),
        ("length 4 GiB", [&u32::MAX.to_be_bytes()[..], &code].concat(), "08P01"),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "08P01"),
        ("protocol 2.0", packet(2 << 16, &[]), "0A000"),
        ("protocol 4.0", packet(4 << 16, &[("user", "a")]), "0A000"),
        ("cut off in the head", good[..5].to_vec(), "08006"),
        ("cut off in the body", good[..12].to_vec(), "08006"),
    ] {
        let (outcome, answer, _) = start(&bytes);
        assert_eq!(outcome.expect_err(name).sqlstate(), sqlstate, "{name}");
        assert!(answer.is_empty(), "{name}");
    }
    let long = "x".repeat(9970);
    let at_the_limit = packet(V3_0, &[("user", "a"), ("search_path", &long)]);
    assert!(
        matches!(start(&at_the_limit).0, Err(Error::Parameter { .. })),
        "the packet is read, the value is too long"
    );
}

#[test]
fn what_comes_after_the_packet_stays_unread() {
    let bytes = [packet(V3_0, &[("user", "a")]), b"Q\0\0\0\x0dSELECT 1\0".to_vec()].concat();
    let (outcome, _, unread) = start(&bytes);
    assert!(outcome.is_ok());
    assert_eq!(unread, 14);
}

#[test]
fn newer_protocols_and_options_are_negotiated_down() {
    for (code, options, version, answered) in [
        (V3_0, &[][..], Version::V3_0, false),
        (V3_0 | 2, &[][..], Version::V3_2, false),
        (V3_0 | 1, &[][..], Version::V3_0, true),
        (V3_0 | 3, &[][..], Version::V3_2, true),
        (V3_0 | 9999, &[][..], Version::V3_2, true),
        (V3_0, &[("_pq_.x", "1"), ("_pq_.yy", "")][..], Version::V3_0, true),
    ] {
        let parameters = [&[("user", "a")][..], options].concat();
        let (outcome, answer, _) = start(&packet(code, &parameters));
        assert_eq!(outcome.unwrap().version, version);
        let mut body = version.code().to_be_bytes().to_vec();
        body.extend_from_slice(&u32::try_from(options.len()).unwrap().to_be_bytes());
        options.iter().for_each(|(name, _)| body.extend_from_slice(&[name.as_bytes(), &[0]].concat()));
        assert_eq!(answer, if answered { message(b'v', &body) } else { Vec::new() }, "{code:x}");
    }
}

#[test]
fn cancel_requests_have_keys_of_4_to_256_bytes() {
    let cancel = |key: usize| {
        let bytes = framed(&[&80_877_102u32.to_be_bytes()[..], &7i32.to_be_bytes(), &vec![5; key]].concat());
        run(async {
            let mut input = bytes.as_slice();
            Opening::read(&mut input).await?.cancel(&mut input).await
        })
    };
    for key in [4, 32, 256] {
        let cancel = cancel(key).unwrap();
        assert_eq!((cancel.backend_pid, cancel.key.len()), (7, key));
        assert!(!format!("{cancel:?}").contains('5'));
    }
    for key in [0, 3, 257] {
        assert!(matches!(cancel(key), Err(Error::Length)), "{key}");
    }
}

fn password(bytes: &[u8]) -> (Result<String, Error>, usize) {
    run(async {
        let mut input = bytes;
        let outcome = read_password(&mut input).await.map(|secret| secret.expose().clone());
        (outcome, input.len())
    })
}

#[test]
fn a_password_message_is_one_text() {
    let good = message(b'p', b"token\0");
    assert_eq!(password(&good).0.unwrap(), "token");
    let (outcome, unread) = password(&[good.clone(), b"Q\0\0\0\x05\0".to_vec()].concat());
    assert_eq!((outcome.unwrap().as_str(), unread), ("token", 6));
    let largest = vec![b'x'; MAX_PASSWORD_MESSAGE - 5];
    assert!(password(&message(b'p', &[&largest[..], &[0]].concat())).0.is_ok());
    for (name, bytes, sqlstate) in [
        ("no terminator", message(b'p', b"token"), "08P01"),
        ("two texts", message(b'p', b"a\0b\0"), "08P01"),
        ("empty body", message(b'p', b""), "08P01"),
        ("not UTF-8", message(b'p', b"\xff\0"), "08P01"),
        ("length 3", b"p\0\0\0\x03".to_vec(), "08P01"),
        ("too large", b"p\0\x01\0\0".to_vec(), "08P01"),
        ("length 4 GiB", b"p\xff\xff\xff\xff".to_vec(), "08P01"),
        ("a query", message(b'Q', b"select 1\0"), "08P01"),
        ("nothing", Vec::new(), "28P01"),
        ("cut off", good[..7].to_vec(), "08006"),
    ] {
        let error = password(&bytes).0.expect_err(name);
        assert_eq!(error.sqlstate(), sqlstate, "{name}: {error}");
        assert!(!error.to_string().contains("oken\0"), "{name}");
    }
}

#[test]
fn one_byte_at_a_time_is_read_the_same() {
    run(async {
        let (mut client, mut gate) = duplex(1);
        let bytes = [packet(V3_0, &[("user", "a"), ("database", "d")]), message(b'p', b"token\0")].concat();
        let writer = async {
            for byte in bytes {
                client.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let reader = async {
            let packet = Opening::read(&mut gate).await.unwrap().startup(&mut gate).await.unwrap();
            (packet.database, read_password(&mut gate).await.unwrap().expose().clone())
        };
        let ((), read) = tokio::join!(writer, reader);
        assert_eq!(read, ("d".to_owned(), "token".to_owned()));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn attack_random_bytes_never_panic_nor_start(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let framed = framed(&[&V3_0.to_be_bytes()[..], &bytes].concat());
        let (outcome, ..) = start(&framed);
        prop_assert!(outcome.is_err() || bytes.starts_with(b"user\0") || bytes.windows(6).any(|w| w == b"\0user\0"));
        let (_, unread) = password(&bytes);
        prop_assert!(unread <= bytes.len());
        let (_, unread) = password(&message(b'p', &bytes));
        prop_assert_eq!(unread, 0);
    }
}
