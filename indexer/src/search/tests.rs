//! What questions find, in a real index of a made-up gate's traffic.

use super::*;
use crate::consume::tests::index;
use crate::testing::{Bus, Script, batches, traffic};
use kit::Shutdown;
use schemas::event::{Access, Body, SessionRefused, Usage, VerdictKind};

fn searched(logs: Vec<Vec<bytes::Bytes>>) -> (tempfile::TempDir, Searcher) {
    let folder = tempfile::tempdir().unwrap();
    index(folder.path(), &mut Bus::new(logs, Shutdown::new()));
    let searcher = Searcher::open(folder.path().join("index"));
    (folder, searcher)
}

fn ask(searcher: &Searcher, text: &str) -> Answer {
    searcher.search(&Question::parse(text, i64::MAX / 2).unwrap(), 100, 0).unwrap()
}

#[test]
fn questions_find_what_they_mean() {
    let (_folder, searcher) = searched(traffic(5));
    for (text, total) in [
        ("", 60),
        ("type:session", 12),
        ("type:statement", 48),
        ("who read card_number", 12),
        ("who read CUSTOMERS.Card_Number", 12),
        ("who read public.customers.card_number", 12),
        ("who read number", 0),
        ("who read hr.salaries", 0),
        ("who tried to read hr.salaries", 12),
        ("who touched hr.salaries", 12),
        ("who read customers", 24),
        ("who wrote customers.email", 12),
        ("who wrote card_number", 0),
        ("who was denied", 12),
        ("who was denied identity:ci", 4),
        ("identity:billing-bot verdict:deny", 4),
        ("identity:\"billing-bot (agent)\" verdict:deny", 4),
        ("masked:card_number clear:email", 0),
        ("masked:card_number OR clear:email", 24),
        ("type:statement -verdict:deny", 36),
        ("-verdict:deny", 48),
        ("group:agents outcome:running", 2),
        ("\"where name = 'somebody else'\"", 12),
        ("\"where id = 77\"", 24),
        ("\"id where\"", 0),
        ("salaries closed", 12),
        ("Ada", 0),
        ("rows:>=2 type:statement", 18),
        ("rows:2", 12),
        ("duration:>3ms type:statement", 18),
        ("sqlstate:42501", 12),
        ("peer:127.0.0.1 type:session", 12),
        ("label:pan", 24),
        ("time:2026-01-01", 60),
        ("time:2026-01-02..", 0),
        ("changed:customers state:done", 10),
    ] {
        assert_eq!(ask(&searcher, text).total, total, "{text}");
    }
}

#[test]
fn who_is_counted_by_identity() {
    let mut script = Script::new(1, "billing-bot");
    script.reads(1, "public.customers.card_number", true);
    script.reads(2, "public.customers.card_number", false);
    script.reads(3, "public.customers.card_number", true);
    let mut other = Script::new(2, "report-bot");
    other.reads(1, "public.customers.card_number", true);
    let logs = vec![batches(0, &script.events, 3), batches(1, &other.events, 100)];
    let (_folder, searcher) = searched(logs);
    let answer = ask(&searcher, "who read card_number");
    let counts: Vec<_> =
        answer.identities.iter().map(|one| (one.subject.as_str(), one.count, one.masked, one.clear)).collect();
    assert_eq!(counts, [("billing-bot", 3, 2, 1), ("report-bot", 1, 1, 0)]);
    assert_eq!(answer.identities[0].issuer, "https://issuer.example");
    assert!(answer.identities[0].first < answer.identities[0].last);
    assert!(answer.hits.is_sorted_by(|a, b| a.time >= b.time));
    let question = Question::parse("who read card_number", 0).unwrap();
    let text = render::table(&question, &answer);
    for part in ["billing-bot", "public.customers.card_number", "projected", "masked", "clear", &answer.hits[0].id] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let read: Answer = serde_json::from_str(&render::json(&answer).unwrap()).unwrap();
    assert_eq!(read, answer);
}

#[test]
fn refusals_and_accesses_are_found_without_what_was_asked() {
    let mut refused = Script::bare(7);
    refused.push(Body::SessionRefused(SessionRefused {
        node: "gate-1".into(),
        peer: "10.0.0.9:4000".into(),
        user: Some("agent".into()),
        resource: None,
        sqlstate: "28000".into(),
        reason: "the token has expired".into(),
        identity: None,
    }));
    let mut access = Script::bare(8);
    access.push(Body::Access(Access {
        identity: crate::testing::identity("auditor"),
        node: "gate-1".into(),
        peer: "10.0.0.9:4001".into(),
        method: "GET".into(),
        path: "/api/v1/search".into(),
        query: Some("4111111111111111".into()),
        status: 200,
    }));
    let events = [refused.events, access.events].concat();
    let (folder, searcher) = searched(vec![batches(0, &events, 10)]);
    assert_eq!(ask(&searcher, "type:refused token expired sqlstate:28000").total, 1);
    let found = ask(&searcher, "type:access identity:auditor");
    assert_eq!(found.hits[0].text.as_deref(), Some("GET /api/v1/search"));
    assert!(!contains(folder.path(), b"4111111111111111"));
}

/// MSK-1: a value that the client sent is in no file of the index, in none of its forms.
#[test]
fn no_constant_reaches_the_index() {
    let mut script = Script::new(1, "billing-bot");
    for (number, text) in (1..).zip([
        "select * from t where card = 'zqsecretqz'",
        "select $$zqsecretqz$$ -- zqsecretqz",
        "select \"zqsecret qz\", e'\\'zqsecretqz'",
        "select 'unfinished zqsecretqz",
    ]) {
        script.statement(number, text);
        script.verdict(number, VerdictKind::Allow, &[("public.t.card", Usage::Filtered, false)]);
    }
    script.statement(9, "selct zqsecretqz");
    script.push(Body::Verdict(schemas::event::Verdict {
        number: 9,
        verdict: VerdictKind::Deny,
        reason: "syntax error at or near \"zqsecretqz\"".into(),
        policies: vec![],
        policy_version: String::new(),
        kind: "UNKNOWN".into(),
        read_only: false,
        opaque: true,
        relations: vec![],
        columns: vec![],
        functions: vec![],
        fingerprint: String::new(),
        flags: vec![],
        shape: None,
    }));
    let (folder, searcher) = searched(vec![batches(0, &script.events, 100)]);
    assert_eq!(ask(&searcher, "type:statement").total, 5);
    let hits = ask(&searcher, "").hits;
    assert!(!serde_json::to_string(&hits).unwrap().contains("zqsecret"));
    assert_eq!(ask(&searcher, "zqsecretqz").total, 0);
    assert!(contains(folder.path(), b"unsecret") || !contains(folder.path(), b"zqsecret"));
}

/// Whether any file of a folder holds the bytes (terms are not compressed; stored documents are, and are read above).
fn contains(folder: &std::path::Path, bytes: &[u8]) -> bool {
    let files = std::fs::read_dir(folder.join("index")).unwrap();
    files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .any(|file| file.windows(bytes.len()).any(|at| at == bytes))
}

#[test]
fn an_index_that_is_not_there_yet_is_opened_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let searcher = Searcher::open(folder.path().join("index"));
    let question = Question::parse("type:session", 0).unwrap();
    assert!(matches!(searcher.search(&question, 10, 0), Err(Error::Absent { .. })));
    index(folder.path(), &mut Bus::new(traffic(5), Shutdown::new()));
    assert_eq!(searcher.search(&question, 10, 0).unwrap().total, 12);
    let id = searcher.search(&question, 1, 0).unwrap().hits[0].id.clone();
    assert_eq!(searcher.find(&id).unwrap().unwrap().id, id);
    assert!(matches!(searcher.search(&question, MAX_LIMIT + 1, 0), Err(Error::Page)));
}

#[test]
fn pages_follow_each_other() {
    let (_folder, searcher) = searched(traffic(5));
    let question = Question::parse("type:statement", 0).unwrap();
    let mut ids: Vec<String> = Vec::new();
    for offset in (0..48).step_by(10) {
        ids.extend(searcher.search(&question, 10, offset).unwrap().hits.into_iter().map(|hit| hit.id));
    }
    assert_eq!(ids.len(), 48);
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 48);
}
