//! Tokens of a real OIDC provider: good ones open a session; every bad one is refused with 28000 or 28P01, a text that
//! says why, no trace of the token, and an event.

mod support;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use std::time::Duration;
use support::{Issuer, Postern, Postgres, eventually, folder};

fn fetch(issuer: &Issuer, client: &str, secret: &str) -> String {
    let credentials = base64::prelude::BASE64_STANDARD.encode(format!("{client}:{secret}"));
    let mut response = ureq::post(format!("{}/token", issuer.url()))
        .header("authorization", format!("Basic {credentials}"))
        .send_form([("grant_type", "client_credentials")])
        .unwrap();
    let answer: serde_json::Value = response.body_mut().read_json().unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
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
    let more = format!(
        "[[issuers]]\nissuer = \"{url}\"\naudiences = [\"postern\"]\nalgorithms = [\"RS256\", \"ES256\"]\n",
        url = issuer.url()
    );
    let postern = Postern::configure(folder.path(), "gate", &postgres, &more);
    let _process = postern.start("up");

    let good = fetch(&issuer, "agent-rs", "s3cret-rs");
    assert_eq!(postern.sql(&good, "select 1"), "1");

    let wrong_group = fetch(&issuer, "agent-es", "s3cret-es");
    let text = postern.refused(&wrong_group, "select 1");
    assert!(text.contains("agents") || text.contains("group"), "{text}");

    let soon_ago = 1_000_000_000;
    let cases: Vec<(&str, String)> = vec![
        ("expired", forged(&good, |_, claims| claims["exp"] = soon_ago.into())),
        ("audience", forged(&good, |_, claims| claims["aud"] = "another".into())),
        ("signature", forged(&good, |_, claims| claims["sub"] = "somebody-else".into())),
        ("alg none", {
            let token = forged(&good, |header, _| header["alg"] = "none".into());
            token.rsplit_once('.').unwrap().0.to_owned() + "."
        }),
        ("HS256", forged(&good, |header, _| header["alg"] = "HS256".into())),
        ("issuer", forged(&good, |_, claims| claims["iss"] = "http://127.0.0.1:1".into())),
        ("not a token", "correct horse battery staple".to_owned()),
    ];
    for (name, token) in &cases {
        let output = postern.psql(token, &["-c", "select 1"]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{name} was accepted");
        assert!(!text.contains(token.as_str()) && text.contains("FATAL"), "{name}: {text}");
    }

    let refused = eventually("the refusals are archived", Duration::from_secs(20), || {
        let events = postern.events();
        let refused: Vec<_> = events.into_iter().filter_map(|e| e["body"].get("SessionRefused").cloned()).collect();
        (refused.len() > cases.len()).then_some(refused)
    });
    for event in &refused {
        let state = event["sqlstate"].as_str().unwrap();
        assert!(["28000", "28P01", "42501"].contains(&state), "{event}");
    }
    let everything = format!("{refused:?}{}", std::fs::read_to_string(folder.path().join("up.log")).unwrap());
    for (name, token) in &cases {
        assert!(!everything.contains(token.as_str()), "{name}: the token stands in an event or a log");
    }
    assert!(!everything.contains(&good), "a good token stands in an event or a log");
}
