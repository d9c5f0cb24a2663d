//! What may be shown in the place of a token as the password: a client certificate, an API key, a token by SASL
//! OAUTHBEARER; each refused with its reason when it is no good, and none of it in an event or a log.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};
use support::{Issuer, Postern, Postgres, cache, eventually, folder, secret_file};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes certificate and key for psql.
fn holder(folder: &Path, name: &str, ca: &Ca, serial: u64, change: impl FnOnce(&mut CertificateParams)) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from(serial));
    let id = format!("spiffe://example.org/agents/{name}");
    params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    fs::write(folder.join(format!("{name}.crt")), params.signed_by(&key, ca).unwrap().pem()).unwrap();
    secret_file(folder, &format!("{name}.key"), &key.serialize_pem());
}

fn revoke(folder: &Path, ca: &Ca, serials: &[u64]) {
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2024, 2, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2100, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    fs::write(folder.join("crl.pem"), list.signed_by(ca).unwrap().pem().unwrap()).unwrap();
}

fn with_certificate(postern: &Postern, folder: &Path, name: &str) -> Output {
    let mut command = Command::new("psql");
    command.envs(postern.environment("")).env_remove("PGPASSWORD").args(["-X", "-Atqw", "-c", "select 1"]);
    command.env("PGSSLCERT", folder.join(format!("{name}.crt"))).env("PGSSLKEY", folder.join(format!("{name}.key")));
    command.stdin(Stdio::null()).output().unwrap()
}

fn refusals(postern: &Postern, count: usize) -> Vec<Value> {
    eventually("the refusals are archived", Duration::from_secs(20), || {
        let events = postern.events();
        let refused: Vec<_> = events.into_iter().filter_map(|e| e["body"].get("SessionRefused").cloned()).collect();
        (refused.len() >= count).then_some(refused)
    })
}

#[test]
fn a_client_certificate_opens_a_session_and_one_that_is_no_good_is_told_why() {
    let folder = folder();
    let path = folder.path();
    let postgres = Postgres::start(path);
    let (ca, stranger) = (authority("ours"), authority("theirs"));
    fs::write(path.join("agents-ca.pem"), ca.pem()).unwrap();
    revoke(path, &ca, &[13]);
    holder(path, "good", &ca, 1, |_| {});
    holder(path, "revoked", &ca, 13, |_| {});
    holder(path, "expired", &ca, 2, |params| params.not_after = date_time_ymd(2024, 2, 1));
    holder(path, "stranger", &stranger, 3, |_| {});
    holder(path, "nobody", &ca, 4, |params| params.subject_alt_names.clear());
    let section = format!(
        "[client_certificates]\nca_file = {:?}\ncrl_file = {:?}\nidentities = [{{ name = \"spiffe://example.org/agents/*\", \
         groups = [\"agents\"] }}]\n",
        path.join("agents-ca.pem"),
        path.join("crl.pem")
    );
    let postern = Postern::configure(path, "gate", &postgres, &section);
    let _process = postern.start("up");
    let good = with_certificate(&postern, path, "good");
    assert_eq!(String::from_utf8_lossy(&good.stdout).trim(), "1", "{}", String::from_utf8_lossy(&good.stderr));
    let cases = [
        ("revoked", "has been revoked"),
        ("expired", "has expired"),
        ("stranger", "not of an authority that is accepted"),
        ("nobody", "of no identity"),
    ];
    for (name, why) in cases {
        let output = with_certificate(&postern, path, name);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains("FATAL") && text.contains(why), "{name}: {text}");
    }
    // who shows none sends a token, as ever
    assert_eq!(postern.sql(&postern.token("bot", "agents"), "select 1"), "1");
    for (event, (name, why)) in refusals(&postern, cases.len()).iter().zip(cases) {
        assert_eq!(event["sqlstate"], "28000", "{name}: {event}");
        assert!(event["reason"].as_str().unwrap().contains(why), "{name}: {event}");
    }
    let events = postern.events();
    let opened = events.iter().find_map(|event| event["body"].get("SessionOpened")).unwrap();
    assert_eq!((opened["authentication"].as_str(), opened["credential"].as_str()), (Some("certificate"), Some("01")));
    assert_eq!(opened["identity"]["subject"], "spiffe://example.org/agents/good");
    assert_eq!(opened["identity"]["issuer"], "spiffe://example.org");

    // a new list is in force without a restart, for what runs too
    let mut command = Command::new("psql");
    command.envs(postern.environment("")).env_remove("PGPASSWORD").args(["-X", "-c", "select pg_sleep(60)"]);
    command.env("PGSSLCERT", path.join("good.crt")).env("PGSSLKEY", path.join("good.key"));
    let mut sleeper = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let running = "select count(*) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid()";
    eventually("it sleeps", Duration::from_secs(10), || (postgres.sql(running) == "1").then_some(()));
    revoke(path, &ca, &[1, 13]);
    eventually("its session is out", Duration::from_secs(1), || sleeper.try_wait().unwrap());
    let said = String::from_utf8(sleeper.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("has been revoked"), "{said}");
    eventually("its statement is cancelled", Duration::from_secs(5), || (postgres.sql(running) == "0").then_some(()));
    eventually("the new list is in force", Duration::from_secs(5), || {
        let output = with_certificate(&postern, path, "good");
        String::from_utf8_lossy(&output.stderr).contains("has been revoked").then_some(())
    });
}

#[test]
fn a_key_of_the_node_s_file_opens_its_resources_until_it_is_revoked_and_its_session_ends_then() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, "[api_keys]\nenabled = true\n");
    let process = postern.start("up");
    let create = |resource: &str| {
        let made = postern.run(&[
            "key",
            "create",
            "--file",
            "--subject",
            "legacy",
            "--group",
            "agents",
            "--resource",
            resource,
            "--ttl",
            "1h",
            "-o",
            "json",
        ]);
        serde_json::from_str::<Value>(&made).unwrap()
    };
    let (good, other) = (create("shop"), create("hr"));
    let text = |made: &Value, name: &str| made[name].as_str().unwrap().to_owned();
    let (key, id) = (text(&good, "key"), text(&good, "id"));
    assert_eq!(postern.sql(&key, "select 1"), "1");
    let refused = postern.refused(&text(&other, "key"), "select 1");
    assert!(refused.contains("not good for the resource \"shop\"") && refused.contains("hr"), "{refused}");
    let forged = format!("{}{}", &key[..key.len() - 4], "AAAA");
    assert!(postern.refused(&forged, "select 1").contains("not one of this gate's"));
    let listed = postern.run(&["key", "ls", "--file"]);
    assert!(listed.contains(&id) && listed.contains("good") && !listed.contains(&key), "{listed}");

    let mut command = Command::new("psql");
    command.envs(postern.environment(&key)).args(["-X", "-c", "select pg_sleep(60)"]);
    let sleeper = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let running = "select count(*) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid()";
    eventually("it sleeps", Duration::from_secs(10), || (postgres.sql(running) == "1").then_some(()));
    postern.run(&["key", "revoke", &id, "--file"]);
    let begun = std::time::Instant::now();
    let output = sleeper.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("has been revoked") && begun.elapsed() < Duration::from_secs(2), "{said}");
    assert!(postern.refused(&key, "select 1").contains("has been revoked"));
    assert!(postern.run(&["key", "ls", "--file"]).contains("revoked"));

    refusals(&postern, 3);
    let events = postern.events();
    let opened = events.iter().find_map(|event| event["body"].get("SessionOpened")).unwrap();
    assert_eq!((opened["authentication"].as_str(), opened["credential"].as_str()), (Some("api_key"), Some(&id[..])));
    assert!(events.iter().any(|event| event["body"]["SessionClosed"]["reason"] == "revoked"));
    let secret = key.splitn(3, '_').last().unwrap();
    let everything = format!("{}{}", support::plain(&events), process.output());
    assert!(!everything.contains(secret) && everything.contains(&id), "the key stands in an event or a log");
    let stored = fs::read_to_string(postern.data().join("keys/api-keys.json")).unwrap();
    assert!(!stored.contains(secret), "the key stands in its store");
}

/// A client of OAUTHBEARER, byte for byte.
struct Wire(TcpStream);

impl Wire {
    fn open(port: u16, options: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut packet = vec![0, 3, 0, 0];
        for text in ["user", "agent", "database", "shop", "options", options, ""] {
            packet.extend_from_slice(text.as_bytes());
            packet.push(0);
        }
        stream.write_all(&[&u32::try_from(packet.len() + 4).unwrap().to_be_bytes()[..], &packet].concat()).unwrap();
        Self(stream)
    }

    fn read(&mut self) -> (char, Vec<u8>) {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4];
        self.0.read_exact(&mut body).unwrap();
        (char::from(head[0]), body)
    }

    fn answer(&mut self, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).unwrap();
        self.0.write_all(&[&b"p"[..], &length.to_be_bytes(), body].concat()).unwrap();
    }

    fn initial(&mut self, auth: &str) {
        let response = format!("n,,\x01auth={auth}\x01\x01");
        let length = u32::try_from(response.len()).unwrap().to_be_bytes();
        self.answer(&[&b"OAUTHBEARER\0"[..], &length, response.as_bytes()].concat());
    }
}

#[test]
fn oauthbearer_as_libpq_speaks_it() {
    let folder = folder();
    let (postgres, issuer) = (Postgres::start(folder.path()), Issuer::start(folder.path()));
    let postern = Postern::configure(folder.path(), "gate", &postgres, &issuer.section());
    postern.change("allow_plaintext = true", "allow_plaintext = true\noauth_scope = \"db:read\"");
    let process = postern.start("up");
    let token = issuer.token("agent-rs");

    // every way to fail: where to get a token, then the error
    for (auth, why) in [("", "no token yet"), ("Bearer aaaa.bbbb.cccc", "not a signed")] {
        let mut wire = Wire::open(postern.port, "-c postern.auth=oauth");
        assert_eq!(wire.read(), ('R', b"\0\0\0\x0aOAUTHBEARER\0\0".to_vec()));
        wire.initial(auth);
        let (kind, body) = wire.read();
        assert_eq!((kind, &body[..4]), ('R', &[0, 0, 0, 11][..]));
        let status: Value = serde_json::from_slice(&body[4..]).unwrap();
        assert_eq!(status["status"], "invalid_token");
        assert_eq!(status["openid-configuration"], format!("{}/.well-known/openid-configuration", issuer.url()));
        assert_eq!(status["scope"], "db:read");
        wire.answer(b"\x01");
        let (kind, body) = wire.read();
        assert!(kind == 'E' && String::from_utf8_lossy(&body).contains(why), "{}", String::from_utf8_lossy(&body));
    }
    let mut wire = Wire::open(postern.port, "--postern.auth=oauth");
    wire.read();
    wire.initial(&format!("Bearer {token}"));
    assert_eq!(wire.read(), ('R', vec![0, 0, 0, 0]));
    drop(wire);
    for wrong in [&b"SCRAM-SHA-256\0\0\0\0\0"[..], b"OAUTHBEARER\0\0\0\0\x09n,,", b"OAUTHBEARER", b""] {
        let mut wire = Wire::open(postern.port, "-c postern.auth=oauth");
        wire.read();
        wire.answer(wrong);
        let (kind, body) = wire.read();
        assert!(kind == 'E' && body.windows(6).any(|part| part == b"C08P01"), "{wrong:?}");
    }
    // who does not ask for it is asked for a password, and other options stay refused
    assert_eq!(Wire::open(postern.port, "").read(), ('R', vec![0, 0, 0, 3]));
    assert_eq!(Wire::open(postern.port, "-c postern.auth=password").read(), ('R', vec![0, 0, 0, 3]));
    assert_eq!(Wire::open(postern.port, "-c postern.auth=oauth -c log_statement=none").read().0, 'E');

    // libpq 18 itself: without TLS, as PyPI builds it
    let programs = support::newest_programs();
    let python = cache().join("clients/venv/bin/python");
    let run = |token: &str| {
        let conninfo = format!("host=127.0.0.1 port={} user=agent dbname=shop sslmode=disable", postern.port);
        let script = support::root().join("deploy/postern/tests/clients/oauth.py");
        let libpq = programs.join("../lib/libpq.so.5");
        let output = Command::new(&python).arg(script).arg(libpq).args([&conninfo, &issuer.url(), token]).output();
        let output = output.unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    };
    let (entered, text) = run(&token);
    assert!(entered && text.contains("answer 42") && text.contains("scope db:read"), "{text}");
    let discovery = format!("discovery {}/.well-known/openid-configuration", issuer.url());
    assert!(text.contains(&discovery) && text.contains("libpq 18"), "{text}");
    let (entered, text) = run(&postern.token("bot", "nobody"));
    assert!(!entered && text.contains("FATAL"), "{text}");

    let opened = eventually("the sessions are archived", Duration::from_secs(20), || {
        let events = postern.events();
        let opened: Vec<Value> = events.iter().filter_map(|e| e["body"].get("SessionOpened").cloned()).collect();
        (opened.len() == 2).then_some(opened)
    });
    assert!(opened.iter().all(|one| one["authentication"] == "oauthbearer"), "{opened:?}");
    let everything = format!("{}{}", support::plain(&postern.events()), process.output());
    assert!(!everything.contains(&token), "the token stands in an event or a log");
}
