//! The routes: who may ask, what is answered, what is refused, and that nothing is read unrecorded.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where something is not as it should be"
)]

mod support;

use axum::body::Body;
use axum::http::Request;
use replay::config::File;
use replay::sources::{Archive, Later, Record, Unavailable};
use schemas::event::{Access, Body as EventBody};
use schemas::{Event, SessionId};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Bench, NOW, bench, bench_with, sample};

fn work(rest: &str) -> String {
    format!("/api/v1/sessions/{}{rest}", sample::id(1))
}

fn accesses(bench: &Bench) -> Vec<Access> {
    let access = |event: Event| match event.body {
        EventBody::Access(access) => access,
        other => panic!("{other:?} is no access"),
    };
    bench.ledger.events().into_iter().map(access).collect()
}

#[tokio::test]
async fn without_a_valid_token_nothing_is_shown() {
    let bench = bench();
    let cases = [
        (None, r#"Bearer realm="postern""#),
        (Some("Bearer not-a-token"), r#"Bearer realm="postern", error="invalid_token""#),
        (Some("Basic b2xnYTpzZWNyZXQ="), r#"Bearer realm="postern", error="invalid_token""#),
        (Some("Bearer "), r#"Bearer realm="postern", error="invalid_token""#),
    ];
    for path in
        ["/api/v1/sessions", "/api/v1/search?q=x", &work(""), &work("/timeline"), &work("/frames"), &work("/events")]
    {
        for (given, challenge) in cases {
            let request =
                given.into_iter().fold(Request::get(path), |request, value| request.header("authorization", value));
            let answered = bench.send(request).await;
            assert_eq!((answered.status, answered.header("www-authenticate")), (401, challenge), "{path} {given:?}");
            assert!(!String::from_utf8_lossy(&answered.body).contains("not-a-token"));
        }
    }
    assert!(bench.ledger.events().is_empty(), "nobody is known who could be recorded");
    assert!(
        bench.registry.encode().contains("replay_requests_total{answer=\"Unauthenticated\"} 24"),
        "{}",
        bench.registry.encode()
    );
}

#[tokio::test]
async fn two_tokens_are_none() {
    let token = format!("Bearer {}", sample::AUDITOR);
    let request = Request::get("/api/v1/sessions").header("authorization", &token).header("authorization", &token);
    assert_eq!(bench().send(request).await.status, 401);
}

#[tokio::test]
async fn who_is_no_auditor_is_told_the_group_and_is_recorded() {
    let bench = bench();
    let request = Request::get(work("/timeline")).header("authorization", format!("bearer {}", sample::STRANGER));
    let answered = bench.send(request).await;
    assert_eq!(answered.status, 403);
    assert_eq!(answered.json()["detail"], "billing-bot is not in the group auditor.");
    let access = &accesses(&bench)[0];
    assert_eq!((access.identity.subject.as_str(), access.status), ("billing-bot", 403));
}

#[tokio::test]
async fn every_access_is_an_event_of_its_own() {
    let bench = bench();
    bench.ask("/api/v1/search?q=who%20read%20card_number&limit=5").await;
    bench.ask(&work("/timeline")).await;
    bench.ask("/api/v1/sessions/ses_00000000000000000000000000000000").await;
    bench.ask("/api/v1/sessions?limit=0").await;
    let events = bench.ledger.events();
    assert!(events.iter().all(|event| event.sequence == 0 && event.time == NOW));
    let ids: std::collections::BTreeSet<SessionId> = events.iter().map(|event| event.session).collect();
    assert_eq!(ids.len(), 4);
    let seen: Vec<_> = accesses(&bench).into_iter().map(|a| (a.method, a.path, a.query, a.status)).collect();
    let get = || "GET".to_owned();
    assert_eq!(
        seen,
        [
            (get(), "/api/v1/search".to_owned(), Some("q=who%20read%20card_number&limit=5".to_owned()), 200),
            (get(), work("/timeline"), None, 200),
            (get(), "/api/v1/sessions/ses_00000000000000000000000000000000".to_owned(), None, 404),
            (get(), "/api/v1/sessions".to_owned(), Some("limit=0".to_owned()), 400),
        ]
    );
    let access = &accesses(&bench)[0];
    assert_eq!((access.identity.subject.as_str(), access.node.as_str()), ("olga", "console-1"));
}

#[tokio::test]
async fn without_a_record_there_is_no_answer() {
    let bench = bench();
    bench.ledger.break_down();
    for path in [work("/timeline"), work("/frames?format=raw"), "/api/v1/search?q=x".to_owned()] {
        let answered = bench.ask(&path).await;
        assert_eq!((answered.status, answered.json()["title"].as_str()), (503, Some("Your access cannot be recorded")));
        assert!(!String::from_utf8_lossy(&answered.body).contains("Lovelace"));
    }
    assert!(bench.registry.encode().contains("replay_unrecorded_answers_total 3"));
}

/// A log whose disk is slow: it says when a record is durable.
#[derive(Default)]
struct Slow {
    durable: tokio::sync::Notify,
    asked: Mutex<Vec<Event>>,
}

impl Record for Slow {
    fn record(&self, event: Event) -> Later<'_, Result<(), Unavailable>> {
        self.asked.lock().unwrap().push(event);
        Box::pin(async {
            self.durable.notified().await;
            Ok(())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_waits_until_the_record_is_durable() {
    let slow = Arc::new(Slow::default());
    let record = slow.clone();
    let bench = bench_with(File::default(), |parts| replay::Parts { record, ..parts });
    let path = work("/timeline");
    let mut asked = std::pin::pin!(bench.ask(&path));
    assert!(tokio::time::timeout(Duration::from_secs(5), &mut asked).await.is_err(), "answered before it was durable");
    assert_eq!(slow.asked.lock().unwrap().len(), 1);
    slow.durable.notify_one();
    assert_eq!(asked.await.status, 200);
    // and one that never becomes durable is no answer at all
    assert_eq!(bench.ask(&path).await.status, 503);
}

#[tokio::test]
async fn the_list_is_filtered_and_paged() {
    let bench = bench();
    let ids = |answer: &Value| -> Vec<String> {
        answer["sessions"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
    };
    let all: Vec<String> = (1..=4).map(|n| sample::id(n).to_string()).collect();
    assert_eq!(ids(&bench.ask("/api/v1/sessions").await.json()), all);
    for (query, expected) in [
        ("identity=billing-bot", &all[..1]),
        ("resource=warehouse", &all[2..3]),
        ("open=true", &all[2..3]),
        ("identity=nobody", &[]),
        ("since=2026-11-21T01:00:00Z", &all[..1]),
        ("until=2026-11-20T23:00:00%2B00:00&identity=", &all[3..]),
    ] {
        assert_eq!(ids(&bench.ask(&format!("/api/v1/sessions?{query}")).await.json()), expected, "{query}");
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for _ in 0..4 {
        let page = bench.ask(&format!("/api/v1/sessions?limit=1{cursor}")).await.json();
        seen.extend(ids(&page));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn a_session_is_told_as_its_client_saw_it() {
    let bench = bench();
    assert_eq!(bench.ask(&work("")).await.json()["identity"]["name"], "billing-bot");
    let timeline = bench.ask(&work("/timeline")).await.json();
    let first = &timeline["steps"][0];
    assert_eq!(first["decision"]["verdict"], "mask");
    assert_eq!(first["answers"][0]["columns"][2], json!({"name": "card_number", "masked": true}));
    assert_eq!(first["answers"][0]["rows"][0][2], "************4242");
    assert_eq!(first["time"], "2026-11-21T01:40:00.180000Z");
    assert_eq!(timeline["steps"][2]["outcome"]["sqlstate"], "42501");
}

#[tokio::test]
async fn frames_come_byte_for_byte_or_one_by_one() {
    let bench = bench();
    let raw = bench.ask(&work("/frames?direction=client&format=raw")).await;
    assert_eq!(raw.body, b"Q\0\0\0\x0eselect 1;\0X\0\0\0\x04");
    assert_eq!(raw.header("content-type"), "application/octet-stream");
    assert!(raw.header("content-disposition").starts_with("attachment; filename=\"ses_"));
    let json = bench.ask(&work("/frames")).await.json();
    let names: Vec<_> = json["frames"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["DataRow", "CommandComplete", "ReadyForQuery"]);
    assert_eq!((json["bytes"].as_u64(), json["rest"].as_str()), (Some(32), Some("")));
}

#[tokio::test]
async fn events_are_paged_by_sequence() {
    let bench = bench();
    let first = bench.ask(&work("/events?limit=2")).await.json();
    assert_eq!((first["events"][0]["type"].as_str(), first["next_cursor"].as_str()), (Some("Frames"), Some("2")));
    assert_eq!(first["events"][0]["body"]["payload"]["bytes"], "UQAAAA5zZWxlY3QgMTsA");
    let last = bench.ask(&work("/events?limit=2&cursor=2")).await.json();
    assert_eq!((last["events"].as_array().unwrap().len(), last["next_cursor"].as_str()), (1, None));
}

#[tokio::test]
async fn a_question_is_answered_and_paged() {
    let bench = bench();
    let found = bench.ask("/api/v1/search?q=who+read+card_number&limit=2").await.json();
    assert_eq!((found["query"].as_str(), found["who"][0]["masked"].as_u64()), (Some("who read card_number"), Some(2)));
    assert_eq!(found["next_offset"], 2);
    let rest = bench.ask("/api/v1/search?q=who+read+card_number&limit=2&offset=2").await.json();
    assert_eq!((rest["hits"].as_array().unwrap().len(), &rest["next_offset"]), (1, &Value::Null));
}

#[tokio::test]
async fn hostile_requests_are_refused_in_words() {
    let bench = bench();
    let zeros = "ses_00000000000000000000000000000000";
    let long = "x".repeat(5_000);
    let cases = [
        ("/api/v1/sessions/ses_zz".to_owned(), 400),
        ("/api/v1/sessions/..%2f..%2fetc%2fpasswd".to_owned(), 400),
        ("/api/v1/sessions/%ff%fe".to_owned(), 400),
        (format!("/api/v1/sessions/{zeros}%00"), 400),
        (format!("/api/v1/sessions/{zeros}"), 404),
        (format!("/api/v1/sessions/{zeros}/timeline"), 404),
        (format!("/api/v1/sessions/{zeros}/events"), 404),
        (format!("/api/v1/sessions/{zeros}/frames?format=raw"), 404),
        ("/api/v1/sessions?limit=-1".to_owned(), 400),
        ("/api/v1/sessions?limit=501".to_owned(), 400),
        ("/api/v1/sessions?limit=99999999999999999999".to_owned(), 400),
        ("/api/v1/sessions?cursor=%3Cscript%3E".to_owned(), 400),
        ("/api/v1/sessions?since=yesterday".to_owned(), 400),
        ("/api/v1/sessions?identiy=x".to_owned(), 400),
        ("/api/v1/sessions?open=true&open=false".to_owned(), 400),
        ("/api/v1/search".to_owned(), 400),
        ("/api/v1/search?q=%20".to_owned(), 400),
        ("/api/v1/search?q=nonsense:1".to_owned(), 400),
        ("/api/v1/search?q=a&offset=10001".to_owned(), 400),
        (format!("/api/v1/search?q={long}"), 414),
        (work("/frames?direction=sideways"), 400),
        (work("/events?cursor=-1"), 400),
    ];
    for (path, status) in cases {
        let answered = bench.ask(&path).await;
        assert_eq!(answered.status, status, "{path}: {}", String::from_utf8_lossy(&answered.body));
        assert_eq!(answered.header("content-type"), "application/problem+json", "{path}");
        assert!(!answered.json()["action"].as_str().unwrap().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn bodies_and_other_methods_are_refused() {
    let bench = bench();
    let request =
        || Request::builder().uri("/api/v1/sessions").header("authorization", format!("Bearer {}", sample::AUDITOR));
    let with_body = request().header("content-length", "3");
    assert_eq!(bench.send_with(with_body, Body::from("abc")).await.status, 413);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answered = bench.send(request().method(method)).await;
        assert_eq!((answered.status, answered.header("content-type")), (405, "application/problem+json"), "{method}");
    }
    assert_eq!(bench.send(Request::get("/api/v2/sessions")).await.status, 404);
}

/// An archive that never answers.
struct Stuck;

impl Archive for Stuck {
    fn sessions<'a>(
        &'a self,
        _: &'a replay::sources::Filter,
    ) -> Later<'a, Result<replay::sources::Sessions, Unavailable>> {
        Box::pin(std::future::pending())
    }
    fn session(&self, _: SessionId) -> Later<'_, Result<Option<replay::reconstruct::Session>, Unavailable>> {
        Box::pin(async { Err(Unavailable::failed("reading the archive", "/var/lib/postern is gone")) })
    }
    fn timeline(
        &self,
        _: SessionId,
        _: usize,
    ) -> Later<'_, Result<Option<replay::reconstruct::Timeline>, Unavailable>> {
        Box::pin(std::future::pending())
    }
    fn events(
        &self,
        _: SessionId,
        _: u64,
        _: usize,
    ) -> Later<'_, Result<Option<replay::sources::Events>, Unavailable>> {
        Box::pin(async { Ok(None) })
    }
    fn frames(
        &self,
        _: SessionId,
        _: schemas::event::Direction,
        limit: usize,
    ) -> Later<'_, Result<Option<Vec<u8>>, Unavailable>> {
        Box::pin(async move { Err(Unavailable::TooLarge { limit }) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_hangs_or_fails_is_a_recorded_503() {
    let file = File { concurrent_requests: 1, ..File::default() };
    let bench = bench_with(file, |parts| replay::Parts { archive: Arc::new(Stuck), ..parts });
    let path = work("/timeline");
    let (slow, refused) = tokio::join!(bench.ask(&path), bench.ask("/api/v1/sessions"));
    assert_eq!((slow.status, slow.json()["title"].as_str()), (503, Some("The answer took too long")));
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    let failed = bench.ask(&work("")).await;
    assert_eq!(failed.status, 503);
    assert!(!String::from_utf8_lossy(&failed.body).contains("/var/lib"), "paths are for the operator's log");
    assert_eq!(bench.ask(&work("/frames")).await.status, 422);
    let statuses: Vec<_> = accesses(&bench).into_iter().map(|access| access.status).collect();
    assert_eq!(statuses, [503, 503, 422]);
    assert_eq!(bench.send(Request::get("/readyz")).await.status, 503);
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_sent() {
    let file = File { answer_limit_bytes: 1 << 20, ..File::default() };
    let mut found = sample::oracle();
    found.0.hits[0].text = "x".repeat(2 << 20);
    let bench = bench_with(file, |parts| replay::Parts { search: Arc::new(found), ..parts });
    assert_eq!(bench.ask("/api/v1/search?q=x").await.status, 422);
}

#[tokio::test]
async fn health_and_the_console_are_open_and_nothing_else_is_loaded() {
    let bench = bench();
    assert_eq!(bench.send(Request::get("/healthz")).await.status, 200);
    assert_eq!(bench.send(Request::get("/readyz")).await.body, b"archive: ok\nready\n");
    let page = bench.send(Request::get("/")).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    for path in ["/", "/console/console.js", "/api/v1/sessions", "/nothing"] {
        let answered = bench.send(Request::get(path)).await;
        let policy = answered.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{path}");
        assert_eq!(answered.header("x-content-type-options"), "nosniff");
        let kept = answered.header("cache-control");
        assert_eq!(
            kept,
            if path.starts_with("/api") || path == "/nothing" { "no-store" } else { "no-cache" },
            "{path}"
        );
    }
    bench.shutdown.trigger();
    assert_eq!(bench.send(Request::get("/readyz")).await.status, 503);
    assert!(bench.ledger.events().is_empty());
}

#[tokio::test]
async fn the_description_and_the_routes_are_the_same() {
    let served = bench().send(Request::get("/api/v1/openapi.json")).await.json();
    let mut described: Vec<_> = served["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut routed = replay::api::paths();
    described.sort_unstable();
    routed.sort_unstable();
    assert_eq!(described, routed);
    // The checker itself can say no.
    let wrong = |value| support::schema::check(&served, &json!({"$ref": "#/components/schemas/Column"}), &value, "$");
    assert_eq!(wrong(json!({"name": "a", "usage": null, "masked": true})), Vec::<String>::new());
    assert_eq!(wrong(json!({"name": 1, "usage": "eaten", "extra": 0})).len(), 4);
}

/// A credential that is good for some resources reads the record of these alone.
#[tokio::test]
async fn a_scoped_token_reads_the_record_of_its_resources_alone() {
    let all = bench().ask("/api/v1/sessions").await.json();
    let resource = all["sessions"][0]["resource"].as_str().unwrap().to_owned();
    let with = |scope: &str| {
        let mut doorman = sample::doorman();
        doorman.0.get_mut(sample::AUDITOR).unwrap().resources = Some(vec![scope.to_owned()]);
        bench_with(File::default(), |parts| replay::Parts { authenticate: Arc::new(doorman), ..parts })
    };
    let own = with(&resource);
    let list = own.ask("/api/v1/sessions").await.json();
    let is_own = |one: &&Value| one["resource"] == *resource;
    let sessions = all["sessions"].as_array().unwrap();
    assert_eq!(list["sessions"].as_array().unwrap().len(), sessions.iter().filter(is_own).count());
    assert_eq!(own.ask("/api/v1/sessions?resource=elsewhere").await.status, 403);
    let other = with("elsewhere");
    assert_eq!(other.ask("/api/v1/sessions").await.json()["sessions"], json!([]));
    let id = sessions.iter().find(is_own).unwrap()["id"].as_str().unwrap();
    for path in ["", "/timeline", "/frames", "/events"] {
        let path = format!("/api/v1/sessions/{id}{path}");
        assert_eq!((own.ask(&path).await.status, other.ask(&path).await.status), (200, 404), "{path}");
    }
    let hits = |bench: Bench| async move { bench.ask("/api/v1/search?q=x").await.json()["hits"].clone() };
    assert!(!hits(own).await.as_array().unwrap().is_empty());
    assert_eq!(hits(other).await, json!([]));
}
