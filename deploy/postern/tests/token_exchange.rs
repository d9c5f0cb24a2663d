//! Token exchange: a CI job gives its provider's token and gets a short one for this gate, with who acts for whom and what
//! for; it opens what it may open, on this node and on one that only knows the published keys, and is no way to more.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::{Issuer, Postern, Postgres, eventually, folder};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Asks the token endpoint: status and answer.
fn ask(postern: &Postern, form: &[(&str, &str)]) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("http://127.0.0.1:{}/oauth/token", postern.api);
    let mut answer = agent.post(url).send_form(form.iter().copied()).unwrap();
    (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
}

fn exchange(postern: &Postern, token: &str, more: &[(&str, &str)]) -> (u16, Value) {
    let form = [("grant_type", GRANT), ("subject_token", token), ("subject_token_type", JWT)];
    ask(postern, &[&form[..], more].concat())
}

#[test]
fn a_job_gets_a_short_token_for_its_provider_s() {
    let folder = folder();
    let (postgres, issuer) = (Postgres::start(folder.path()), Issuer::start(folder.path()));
    let own = "http://localhost:1/gate";
    let lifetime = "lifetime_seconds = 300\n";
    let section = format!("{}[token_exchange]\nissuer = \"{own}\"\n{lifetime}", issuer.section());
    let postern = Postern::configure(folder.path(), "gate", &postgres, &section);
    let process = postern.start("up");
    let claims = |subject: &str, seconds: u64| {
        json!({"iss": issuer.url(), "sub": subject, "aud": "postern", "iat": now(), "exp": now() + seconds,
               "groups": ["agents"]})
    };
    let job = issuer.sign("RS256", &claims("job", 3600));
    let agent = issuer.sign("ES256", &claims("agent", 3600));

    let actor = [("actor_token", agent.as_str()), ("actor_token_type", JWT)];
    let (status, answer) =
        exchange(&postern, &job, &[&actor[..], &[("scope", "resource:shop"), ("task", "build 17")]].concat());
    assert_eq!(status, 200, "{answer}");
    assert_eq!((answer["token_type"].as_str(), answer["expires_in"].as_u64()), (Some("Bearer"), Some(300)));
    let short = answer["access_token"].as_str().unwrap().to_owned();
    assert_eq!(postern.sql(&short, "select 1"), "1");

    // at the API it is good for as little: an auditor's token that was exchanged for one resource reads no other
    let mut auditor = claims("auditor", 3600);
    auditor["groups"] = json!(["agents", "auditor", "operators"]);
    let (_, answer) = exchange(&postern, &issuer.sign("RS256", &auditor), &[("scope", "resource:shop")]);
    let scoped = answer["access_token"].as_str().unwrap();
    assert_eq!(postern.ask(scoped, "/api/v1/sessions", None).0, 200);
    for path in ["/api/v1/sessions?resource=hr", "/api/v1/identities", "/api/v1/keys"] {
        let (status, said) = postern.ask(scoped, path, None);
        assert!(status == 403 && said["detail"].as_str().unwrap().contains("good for shop alone"), "{path}: {said}");
    }

    // it is no way to more: not longer, not again, not elsewhere, not with what is no token of an issuer
    let (_, answer) = exchange(&postern, &issuer.sign("RS256", &claims("job", 60)), &[]);
    assert!((50..=60).contains(&answer["expires_in"].as_u64().unwrap()), "{answer}");
    let (_, answer) = exchange(&postern, &job, &[("scope", "resource:hr")]);
    let text = postern.refused(answer["access_token"].as_str().unwrap(), "select 1");
    assert!(text.contains("not good for the resource \"shop\"") && text.contains("hr"), "{text}");
    let mut only = claims("job", 3600);
    only["may_act"] = json!({"sub": "somebody"});
    let only = issuer.sign("RS256", &only);
    let expired = issuer.sign("RS256", &json!({"iss": issuer.url(), "sub": "a", "aud": "postern", "exp": now() - 100}));
    let stranger = [("actor_token", expired.as_str()), ("actor_token_type", JWT)];
    for (token, more, code, why) in [
        (&short, &[][..], "invalid_grant", "exchanged already"),
        (&expired, &[], "invalid_grant", "expired"),
        (&"a.b.c".to_owned(), &[], "invalid_grant", "not a signed"),
        (&only, &actor, "invalid_grant", "may_act"),
        (&job, &stranger, "invalid_grant", "actor_token"),
        (&job, &[("audience", "another")], "invalid_target", "audience"),
        (&job, &[("scope", "admin")], "invalid_scope", "resource:<name>"),
        (&job, &[("task", "a"), ("task", "b")], "invalid_request", "twice"),
    ] {
        let (status, answer) = exchange(&postern, token, more);
        assert_eq!((status, answer["error"].as_str()), (400, Some(code)), "{answer}");
        assert!(answer["error_description"].as_str().unwrap().contains(why), "{answer}");
    }
    let (status, answer) = ask(&postern, &[("grant_type", "password")]);
    assert_eq!((status, answer["error"].as_str()), (400, Some("unsupported_grant_type")));

    // another node, which has the published keys and nothing else
    let metadata = format!("http://127.0.0.1:{}/.well-known/oauth-authorization-server", postern.api);
    let metadata: Value = ureq::get(metadata).call().unwrap().body_mut().read_json().unwrap();
    assert_eq!(metadata["issuer"], own);
    let keys = format!("jwks_url = \"http://127.0.0.1:{}/oauth/jwks\"\n", postern.api);
    let section = format!("[token_exchange]\nissuer = \"{own}\"\n{keys}");
    let second = Postern::configure(folder.path(), "second", &postgres, &section);
    let _second = second.start("up");
    assert_eq!(second.sql(&short, "select 1"), "1");
    let (status, answer) = exchange(&second, &job, &[]);
    assert_eq!((status, answer["error"].as_str()), (400, Some("invalid_request")), "it does not exchange: {answer}");

    let events = eventually("the session and the exchange are archived", Duration::from_secs(20), || {
        let events = postern.events();
        let has = |name: &str| events.iter().any(|event| event["body"].get(name).is_some());
        (has("SessionOpened") && has("Access")).then_some(events)
    });
    let find = |name: &str| events.iter().find_map(|event| event["body"].get(name)).unwrap();
    let opened = find("SessionOpened");
    let identity = &opened["identity"];
    assert_eq!((identity["subject"].as_str(), identity["task"].as_str()), (Some("job"), Some("build 17")));
    assert_eq!((&identity["on_behalf_of"], &identity["issuer"]), (&json!(["agent"]), &json!(issuer.url())));
    let access = find("Access");
    let query = access["query"].as_str().unwrap();
    assert_eq!((&access["identity"], access["path"].as_str()), (identity, Some("/oauth/token")));
    assert!(query.contains(opened["credential"].as_str().unwrap()), "{query}");
    let everything = format!("{}{}", support::plain(&events), process.output());
    for token in [&job, &agent, &short] {
        assert!(!everything.contains(token.as_str()), "a token stands in an event or a log");
    }
}
