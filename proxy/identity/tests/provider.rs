//! Promise: a token of a real OpenID Connect provider proves who holds it, and nothing else does.
//!
//! The provider is npm's `oidc-provider`, started by `deploy/services/oidc`; it needs Node.js and, once, the npm registry.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the helpers of a test fail as the test does")]

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use identity::{
    Kind, Rejection, Verified, Verifier,
    config::{File, IssuerFile},
};
use kit::Clock;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

/// The pause between two looks at something that will come.
const POLL: Duration = Duration::from_millis(50);

struct Provider {
    process: Child,
    url: String,
}

impl Provider {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/services/oidc/oidc");
        let process = Command::new(script)
            .args(["start", "--port", &port.to_string(), "--audience", "postern"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("deploy/services/oidc/oidc starts");
        let mut provider = Self { process, url: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(60);
        while ureq::get(format!("{}/.well-known/openid-configuration", provider.url)).call().is_err() {
            assert!(provider.process.try_wait().unwrap().is_none(), "the provider ended: is Node.js installed?");
            assert!(Instant::now() < deadline, "the provider did not start");
            thread::sleep(POLL);
        }
        provider
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = ureq::post(format!("{}{path}", self.url)).send_json(body);
        answer.unwrap().body_mut().read_json().unwrap()
    }

    /// A token as a client gets it.
    fn token(&self, client: &str, secret: &str) -> String {
        let basic = base64::prelude::BASE64_STANDARD.encode(format!("{client}:{secret}"));
        let answer = ureq::post(format!("{}/token", self.url))
            .header("authorization", format!("Basic {basic}"))
            .send_form([("grant_type", "client_credentials")]);
        let answer: Value = answer.unwrap().body_mut().read_json().unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Any claims, signed with the provider's own keys.
    fn sign(&self, header: Value, claims: Value) -> String {
        let answer = self.post("/_sign", &json!({"header": header, "claims": claims}));
        answer["token"].as_str().unwrap().to_owned()
    }

    fn asked(&self) -> u64 {
        self.post("/_count", &json!({}))["asked"].as_u64().unwrap()
    }

    fn claims(&self) -> Value {
        let now = Clock::system().now_seconds();
        json!({"iss": self.url, "sub": "agent", "aud": "postern", "iat": now, "exp": now + 100_000, "groups": "a b"})
    }

    fn verifier(&self, clock: &Clock, change: impl FnOnce(&mut IssuerFile)) -> Verifier {
        let mut issuer =
            IssuerFile { issuer: self.url.clone(), audiences: vec!["postern".to_owned()], ..IssuerFile::default() };
        change(&mut issuer);
        let config = File { issuers: vec![issuer], ..File::default() }.check(Path::new("/nowhere")).unwrap();
        Verifier::with_clock(config, clock.clone()).unwrap()
    }

    fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Each call has a runtime of its own, as the gate's workers have.
fn verify(verifier: &Verifier, token: &str) -> Result<Verified, Rejection> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), verifier.verify(token)).await.expect("it answers in time")
    })
}

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

#[test]
fn tokens_of_the_provider_are_accepted() {
    let provider = Provider::start();
    let verifier = provider.verifier(&Clock::system(), |_| {});
    for (client, secret, groups) in [
        ("agent-rs", "s3cret-rs", vec!["analysts", "agents"]),
        ("agent-es", "s3cret-es", vec!["admins"]),
        ("agent-none", "s3cret-none", vec![]),
    ] {
        let token = provider.token(client, secret);
        for _ in 0..3 {
            let verified = verify(&verifier, &token).unwrap();
            assert_eq!(verified.identity.subject, client);
            assert_eq!(verified.identity.issuer, provider.url);
            assert_eq!(verified.identity.groups, groups);
            let remaining = verified.remaining().as_secs();
            assert!((200..=300).contains(&remaining), "{remaining}");
        }
    }
    assert_eq!(provider.asked(), 1);
}

#[test]
fn attack_tokens_are_refused_with_a_reason_and_without_the_token() {
    let provider = Provider::start();
    let verifier = provider.verifier(&Clock::system(), |issuer| issuer.clock_skew_seconds = 30);
    let now = Clock::system().now_seconds();
    let with = |name: &str, value: Value| {
        let mut claims = provider.claims();
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.to_owned(), value),
        };
        provider.sign(json!({"alg": "RS256"}), claims)
    };
    // the control: what is changed below is what makes the difference
    let good = with("jti", json!("x"));
    assert_eq!(verify(&verifier, &good).unwrap().identity.groups, ["a", "b"]);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let payload = message.split_once('.').unwrap().1;

    let jwks: Value = ureq::get(format!("{}/jwks", provider.url)).call().unwrap().body_mut().read_json().unwrap();
    let key = |alg: &str| jwks["keys"].as_array().unwrap().iter().find(|key| key["alg"] == alg).unwrap().clone();
    let hmac = |secret: &[u8]| {
        let message = format!("{}.{payload}", part(&json!({"alg": "HS256", "kid": key("RS256")["kid"]})));
        let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    };
    let foreign = |kid: &Value| {
        use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as ES256, EcdsaKeyPair};
        let random = ring::rand::SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ES256, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ES256, document.as_ref(), &random).unwrap();
        let message = format!("{}.{payload}", part(&json!({"alg": "ES256", "kid": kid})));
        let signature = pair.sign(&random, message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    };
    let modulus = BASE64_URL_SAFE_NO_PAD.decode(key("RS256")["n"].as_str().unwrap()).unwrap();
    let none = |alg: &str| format!("{}.{payload}", part(&json!({"alg": alg, "kid": key("RS256")["kid"]})));

    let cases = [
        ("expired", with("exp", json!(now - 31)), Kind::Expired, "28000", "expired"),
        ("no expiry", with("exp", Value::Null), Kind::Expired, "28000", "no expiry"),
        ("expiry as text", with("exp", json!("9999999999")), Kind::Claims, "28000", "`exp`"),
        ("not yet valid", with("nbf", json!(now + 120)), Kind::NotYetValid, "28000", "not valid yet"),
        ("issued in the future", with("iat", json!(now + 120)), Kind::NotYetValid, "28000", "`iat`"),
        ("another audience", with("aud", json!(["elsewhere", "postern2"])), Kind::Audience, "28000", "postern"),
        ("no audience", with("aud", Value::Null), Kind::Audience, "28000", "audience"),
        ("another issuer", with("iss", json!(format!("{}/", provider.url))), Kind::Issuer, "28000", &provider.url),
        ("no issuer", with("iss", Value::Null), Kind::Issuer, "28000", "issuer"),
        ("no subject", with("sub", Value::Null), Kind::Claims, "28000", "subject"),
        ("empty subject", with("sub", json!("")), Kind::Claims, "28000", "`sub`"),
        ("control characters", with("sub", json!("a\u{1b}[2J")), Kind::Claims, "28000", "`sub`"),
        ("groups of another type", with("groups", json!({"admins": true})), Kind::Claims, "28000", "`groups`"),
        ("alg none", format!("{}.", none("none")), Kind::Algorithm, "28000", "RS256"),
        ("alg None", format!("{}.AAAA", none("None")), Kind::Algorithm, "28000", "RS256"),
        ("hmac with the modulus", hmac(&modulus), Kind::Algorithm, "28000", "algorithm"),
        ("hmac with the JWK", hmac(key("RS256").to_string().as_bytes()), Kind::Algorithm, "28000", "algorithm"),
        ("PS256, not allowed", format!("{}.{signature}", none("PS256")), Kind::Algorithm, "28000", "algorithm"),
        ("ES256 over an RSA key", foreign(&key("RS256")["kid"]), Kind::Algorithm, "28000", "fit the key"),
        ("foreign key, known id", foreign(&key("ES256")["kid"]), Kind::Signature, "28P01", "signature"),
        ("foreign key, unknown id", foreign(&json!("mine")), Kind::UnknownKey, "28P01", "publishes"),
        ("signature cut off", message.to_owned() + ".", Kind::Signature, "28P01", "signature"),
        (
            "signature of another",
            format!("{}.{signature}", none("RS256").replace(payload, &part(&provider.claims()))),
            Kind::Signature,
            "28P01",
            "signature",
        ),
        ("a password", "hunter2".to_owned(), Kind::Malformed, "28P01", "JSON Web Token"),
        ("nothing", String::new(), Kind::Malformed, "28P01", "no token"),
        ("17 KiB", format!("{message}.{}", "A".repeat(17 << 10)), Kind::Malformed, "28P01", "larger"),
    ];
    for (name, token, kind, sqlstate, text) in cases {
        for attempt in ["first", "again"] {
            let rejection = verify(&verifier, &token).expect_err(name);
            let shown = rejection.to_string();
            assert_eq!(rejection.kind(), kind, "{name}, {attempt}: {shown}");
            assert_eq!(rejection.sqlstate(), sqlstate, "{name}");
            assert!(shown.contains(text), "{name}: {shown}");
            for piece in token.split('.').filter(|piece| piece.len() > 6) {
                assert!(!shown.contains(piece), "{name}: {shown}");
            }
        }
    }
    assert!(verify(&verifier, &good).is_ok());
}

#[test]
fn a_rotation_fails_nobody_and_is_fetched_once() {
    let provider = Provider::start();
    let verifier = provider.verifier(&Clock::system(), |_| {});
    let old = provider.token("agent-rs", "s3cret-rs");
    assert!(verify(&verifier, &old).is_ok());
    provider.post("/_rotate", &json!({}));
    let new = provider.token("agent-rs", "s3cret-rs");
    let begin = Barrier::new(50);
    thread::scope(|scope| {
        for number in 0..50 {
            let (verifier, begin) = (verifier.clone(), &begin);
            let token = if number % 2 == 0 { &old } else { &new };
            scope.spawn(move || {
                begin.wait();
                verify(&verifier, token).unwrap();
            });
        }
    });
    let asked = provider.asked();
    assert!((2..=3).contains(&asked), "{asked}");
}

#[test]
fn a_cold_start_and_a_flood_of_unknown_keys_ask_the_issuer_once() {
    let provider = Provider::start();
    let verifier = provider.verifier(&Clock::system(), |_| {});
    let token = provider.token("agent-es", "s3cret-es");
    thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| verify(&verifier, &token).unwrap());
        }
    });
    assert_eq!(provider.asked(), 1);
    let forged: Vec<String> = (0..30)
        .map(|n| provider.sign(json!({"alg": "ES256", "kid": format!("unknown-{n}")}), provider.claims()))
        .collect();
    for _ in 0..2 {
        thread::scope(|scope| {
            for token in &forged {
                scope.spawn(|| assert_eq!(verify(&verifier, token).unwrap_err().kind(), Kind::UnknownKey));
            }
        });
    }
    let asked = provider.asked();
    assert!((2..=3).contains(&asked), "{asked}");
    assert!(verify(&verifier, &token).is_ok());
}

/// A server that publishes what it is told to.
fn published(text: &Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let text = text.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            let body = text.lock().unwrap().clone();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
            stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
        }
    });
    url
}

/// Where a provider signs with a key before it publishes it, its tokens are good as soon as it does.
#[test]
fn a_key_that_comes_after_its_first_token_is_accepted_within_seconds() {
    let provider = Provider::start();
    let keys = || ureq::get(format!("{}/jwks", provider.url)).call().unwrap().body_mut().read_to_string().unwrap();
    let text = Arc::new(Mutex::new(keys()));
    let url = published(&text);
    let verifier = provider.verifier(&Clock::system(), |issuer| issuer.jwks_url = Some(url));
    assert!(verify(&verifier, &provider.token("agent-rs", "s3cret-rs")).is_ok());
    provider.post("/_rotate", &json!({}));
    let early = provider.token("agent-rs", "s3cret-rs");
    assert_eq!(verify(&verifier, &early).unwrap_err().kind(), Kind::UnknownKey);
    *text.lock().unwrap() = keys();
    let published = Instant::now();
    while let Err(rejection) = verify(&verifier, &early) {
        assert_eq!(rejection.kind(), Kind::UnknownKey);
        assert!(published.elapsed() < Duration::from_secs(6), "{:?}", published.elapsed());
        thread::sleep(POLL);
    }
}

#[test]
fn a_removed_key_is_refused_after_its_age_cached_tokens_too() {
    let provider = Provider::start();
    let clock = Clock::fixed(Clock::system().now_micros());
    let verifier = provider.verifier(&clock, |_| {});
    let token = provider.sign(json!({"alg": "RS256"}), provider.claims());
    assert!(verify(&verifier, &token).is_ok());
    provider.post("/_rotate?drop=1", &json!({}));
    clock.advance(Duration::from_secs(200));
    assert!(verify(&verifier, &token).is_ok());
    clock.advance(Duration::from_secs(101));
    assert_eq!(verify(&verifier, &token).unwrap_err().kind(), Kind::UnknownKey);
}

#[test]
fn while_the_issuer_is_down_held_keys_serve_for_a_time() {
    let mut provider = Provider::start();
    let clock = Clock::fixed(Clock::system().now_micros());
    let verifier = provider.verifier(&clock, |issuer| issuer.jwks_stale_limit_seconds = 1000);
    let held = provider.sign(json!({"alg": "ES256"}), provider.claims());
    let fresh = provider.sign(json!({"alg": "RS256"}), provider.claims());
    assert!(verify(&verifier, &held).is_ok());
    provider.stop();
    clock.advance(Duration::from_secs(1200));
    assert!(verify(&verifier, &held).is_ok());
    assert!(verify(&verifier, &fresh).is_ok());
    clock.advance(Duration::from_secs(101));
    for token in [&held, &fresh] {
        let rejection = verify(&verifier, token).unwrap_err();
        assert_eq!((rejection.kind(), rejection.sqlstate()), (Kind::Unavailable, "28000"));
        assert!(rejection.to_string().contains("cannot be fetched"), "{rejection}");
    }
}

#[test]
fn an_issuer_that_misbehaves_is_not_believed() {
    let provider = Provider::start();
    let token = provider.token("agent-rs", "s3cret-rs");
    for (mode, text) in [
        ("jwks500", "status 500"),
        ("redirect", "status 302"),
        ("other-issuer", "states another issuer"),
        ("jwksslow", "requesting"),
    ] {
        provider.post(&format!("/_break?mode={mode}"), &json!({}));
        let verifier = provider.verifier(&Clock::system(), |issuer| issuer.timeout_seconds = 1);
        let rejection = verify(&verifier, &token).unwrap_err();
        assert_eq!(rejection.kind(), Kind::Unavailable, "{mode}");
        assert!(rejection.to_string().contains(text), "{mode}: {rejection}");
    }
    provider.post("/_break?mode=ok", &json!({}));
    let verifier =
        provider.verifier(&Clock::system(), |issuer| issuer.jwks_url = Some(format!("{}/jwks", provider.url)));
    assert!(verify(&verifier, &token).is_ok());
    let verifier = provider.verifier(&Clock::system(), |issuer| issuer.algorithms = vec!["EdDSA".to_owned()]);
    assert_eq!(verify(&verifier, &token).unwrap_err().kind(), Kind::Algorithm);
}
