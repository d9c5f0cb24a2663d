//! Tokens of a real OIDC provider: good ones open a session; every bad one is refused with 28000 or 28P01, a text that
//! says why, no trace of the token, and an event. The database's password stands in none of it either (SCP-2).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use std::time::Duration;
use support::{Issuer, Postern, Postgres, eventually, folder};

/// Any token, signed with a provider's present keys.
fn signed(issuer: &Issuer, algorithm: &str, claims: serde_json::Value) -> String {
    let body = serde_json::json!({"header": {"alg": algorithm, "typ": "at+jwt"}, "claims": claims});
    let mut response = ureq::post(format!("{}/_sign", issuer.url())).send_json(body).unwrap();
    let answer: serde_json::Value = response.body_mut().read_json().unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

/// The claims of a token.
fn claims(token: &str) -> serde_json::Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// A token that says that it is not signed, and is not.
fn unsigned(token: &str) -> String {
    let token = forged(token, |header, _| header["alg"] = "none".into());
    token.rsplit_once('.').unwrap().0.to_owned() + "."
}

/// Changes the claims of a token, keeping its signature.
fn forged(token: &str, change: impl Fn(&mut serde_json::Value, &mut serde_json::Value)) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let read = |part: &str| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let (mut header, mut claims) = (read(parts[0]), read(parts[1]));
    change(&mut header, &mut claims);
    let write = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", write(&header), write(&claims), parts[2])
}

#[test]
fn tokens_of_a_real_provider_open_sessions_and_bad_ones_are_refused() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let issuer = Issuer::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, &issuer.section());
    let process = postern.start("up");

    let good = issuer.token("agent-rs");
    assert_eq!(postern.sql(&good, "select 1"), "1");

    std::fs::create_dir(folder.path().join("other")).unwrap();
    let wrong_group = issuer.token("agent-es");
    let text = postern.refused(&wrong_group, "select 1");
    assert!(text.contains("agents") || text.contains("group"), "{text}");

    // another provider with keys of the same names: what it signs in the name of the first proves nothing
    let other = Issuer::start(&folder.path().join("other"));
    let claims = claims(&good);
    let with = |name: &str, value: serde_json::Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        changed
    };
    let soon_ago = claims["iat"].as_i64().unwrap() - 3600;
    // each with a word of the reason that its holder must be told, and the SQLSTATE
    let cases: Vec<(&str, String, &str, &str)> = vec![
        ("expired", signed(&issuer, "RS256", with("exp", soon_ago.into())), "expired", "28000"),
        ("audience", signed(&issuer, "RS256", with("aud", "another".into())), "meant for", "28000"),
        ("issuer", signed(&issuer, "ES256", with("iss", "http://127.0.0.1:1".into())), "issuer", "28000"),
        ("another's key", signed(&other, "RS256", claims.clone()), "signature", "28P01"),
        ("changed", forged(&good, |_, claims| claims["sub"] = "somebody-else".into()), "signature", "28P01"),
        ("unknown key", forged(&good, |header, _| header["kid"] = "nobody".into()), "key", "28P01"),
        ("alg none", unsigned(&good), "algorithm", "28000"),
        ("HS256", forged(&good, |header, _| header["alg"] = "HS256".into()), "algorithm", "28000"),
        ("not a token", "correct horse battery staple".to_owned(), "not a signed", "28P01"),
    ];
    for (name, token, why, state) in &cases {
        let text = postern.refused(token, "select 1");
        assert!(text.contains("FATAL") && text.contains(why), "{name}: {text}");
        assert!(!text.contains(token.as_str()), "{name}: {text}");
        println!("{name}: {state} {}", text.lines().next().unwrap_or_default());
    }

    let refused = eventually("the refusals are archived", Duration::from_secs(20), || {
        let events = postern.events();
        let refused: Vec<_> = events.into_iter().filter_map(|e| e["body"].get("SessionRefused").cloned()).collect();
        (refused.len() > cases.len()).then_some(refused)
    });
    // psql asks for a password only when it has none: each refusal is one event, the first that of the wrong group
    assert_eq!(refused.len(), cases.len() + 1, "{refused:?}");
    assert_eq!(refused[0]["sqlstate"], "42501");
    assert_eq!(refused[0]["identity"]["groups"][0], "admins");
    for (event, (name, _, why, state)) in refused[1..].iter().zip(&cases) {
        assert_eq!(event["sqlstate"], *state, "{name}: {event}");
        assert!(event["reason"].as_str().unwrap().contains(why), "{name}: {event}");
    }
    let everything = format!("{}{}", support::plain(&postern.events()), process.output());
    for (name, token, ..) in &cases {
        assert!(!everything.contains(token.as_str()), "{name}: the token stands in an event or a log");
    }
    assert!(!everything.contains(&good), "a good token stands in an event or a log");
    assert!(everything.contains("SessionOpened") && everything.contains("SessionRefused"), "nothing was searched");
    assert!(!everything.contains(&postgres.password), "SCP-2: the database's password stands in an event or a log");
}
