//! Questions as people write them, what they mean, and what is wrong with the others.

use super::*;
use proptest::prelude::*;

const NOW: i64 = 1_767_225_600_000_000; // 2026-01-01
const HOUR: i64 = 3_600_000_000;

fn condition(text: &str) -> Condition {
    Question::parse(text, NOW).unwrap_or_else(|error| panic!("{text}: {error}")).condition
}

fn term(field: &'static str, value: &str) -> Condition {
    Condition::Term { field, value: value.to_owned() }
}

fn phrase(words: &[&str]) -> Condition {
    Condition::Words(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn conditions_are_read_as_written() {
    for (text, expected) in [
        ("", Condition::All),
        ("identity:billing-bot", term("identity", "billing-bot")),
        (
            "Identity:billing-bot verdict:deny",
            Condition::And(vec![term("identity", "billing-bot"), term("verdict", "deny")]),
        ),
        ("written:a policies:b", Condition::And(vec![term("wrote", "a"), term("policy", "b")])),
        ("kind:\"create table\"", term("kind", "create table")),
        ("identity:spiffe://a/b", term("identity", "spiffe://a/b")),
        ("a OR b c", Condition::Or(vec![phrase(&["a"]), Condition::And(vec![phrase(&["b"]), phrase(&["c"])])])),
        ("(a OR b) AND c", Condition::And(vec![Condition::Or(vec![phrase(&["a"]), phrase(&["b"])]), phrase(&["c"])])),
        ("-kind:select", not(term("kind", "select"))),
        ("NOT (a OR b)", not(Condition::Or(vec![phrase(&["a"]), phrase(&["b"])]))),
        ("identity:-", term("identity", "-")),
        ("\"delete from payments where id = 5\"", phrase(&["delete", "from", "payments", "where", "id", "?"])),
        ("\"name = 'Ada'\"", phrase(&["name", "?"])),
        // many digits in a row, as one id in a few has
        ("hld_01a1fd0fd66272912345678984b9a2c9", phrase(&["hld_01a1fd0fd66272912345678984b9a2c9"])),
        ("\"grt_01a1fd0fd66272912345678984b9a2c9\"", phrase(&["grt_01a1fd0fd66272912345678984b9a2c9"])),
        ("token has expired", Condition::And(vec![phrase(&["token"]), phrase(&["has"]), phrase(&["expired"])])),
        ("rows:>100", Condition::Number { field: "rows", from: Bound::Excluded(100), to: Bound::Unbounded }),
        ("rows:5", Condition::Number { field: "rows", from: Bound::Included(5), to: Bound::Included(5) }),
        ("rows:1..9", Condition::Number { field: "rows", from: Bound::Included(1), to: Bound::Included(9) }),
        (
            "duration:>=1s",
            Condition::Number { field: "duration", from: Bound::Included(1_000_000), to: Bound::Unbounded },
        ),
        (
            "duration:<20ms",
            Condition::Number { field: "duration", from: Bound::Unbounded, to: Bound::Excluded(20_000) },
        ),
        ("since:24h", Condition::Time { from: Bound::Included(NOW - 24 * HOUR), to: Bound::Unbounded }),
        ("until:2026-01-01", Condition::Time { from: Bound::Unbounded, to: Bound::Excluded(NOW) }),
        (
            "time:2026-01-01..2026-01-02",
            Condition::Time { from: Bound::Included(NOW), to: Bound::Excluded(NOW + 48 * HOUR) },
        ),
        ("time:2026-01-01", Condition::Time { from: Bound::Included(NOW), to: Bound::Excluded(NOW + 24 * HOUR) }),
        ("time:2026-01-01T01:00..", Condition::Time { from: Bound::Included(NOW + HOUR), to: Bound::Unbounded }),
        (
            "time:..2026-01-01T01:00:00Z",
            Condition::Time { from: Bound::Unbounded, to: Bound::Excluded(NOW + HOUR + 1_000_000) },
        ),
    ] {
        assert_eq!(condition(text), expected, "{text}");
    }
}

#[test]
fn who_asks_by_verb() {
    for (text, deed, object) in [
        ("who read card_number", Deed::Read, "card_number"),
        ("Who read card_number?", Deed::Read, "card_number"),
        ("who wrote customers.email since:1h", Deed::Wrote, "customers.email"),
        ("who touched hr.salaries", Deed::Touched, "hr.salaries"),
        ("who tried to read ssn", Deed::TriedToRead, "ssn"),
        ("who was denied identity:ci", Deed::WasDenied, ""),
    ] {
        let question = Question::parse(text, NOW).unwrap();
        assert_eq!(question.who, Some(Who { deed, object: object.to_owned() }), "{text}");
    }
    let question = Question::parse("who read ssn identity:ci", NOW).unwrap();
    assert_eq!(question.filters, term("identity", "ci"));
    assert!(matches!(question.condition, Condition::And(parts) if parts.len() == 2));
}

#[test]
fn what_is_not_understood_is_explained() {
    for (text, expected) in [
        ("identiy:a", "there is no field \"identiy\", did you mean \"identity\"?"),
        ("xyzzyplugh:a", "there is no field \"xyzzyplugh\""),
        ("rows:many", "rows:many cannot be understood: give a number, or such as >100, <=5, or 10..20"),
        ("time:yesterday", &format!("time:yesterday cannot be understood: {TIME}")),
        ("(a", "( has no counterpart"),
        ("a)", ") has no counterpart"),
        ("\"a", "\" has no counterpart"),
        ("a AND", "nothing follows \"AND\""),
        ("a OR", "nothing follows \"OR\""),
        ("NOT", "nothing follows \"NOT\""),
        ("identity:", "nothing follows \"identity:\""),
        ("identity: a", "nothing follows \"identity:\""),
        ("who", "after \"who\" comes: read X, wrote X, touched X, tried to read X, or was denied"),
        ("who read", "after \"who\" comes: read X, wrote X, touched X, tried to read X, or was denied"),
    ] {
        assert_eq!(Question::parse(text, NOW).unwrap_err().to_string(), *expected, "{text}");
    }
    assert_eq!(Question::parse(&"(".repeat(100), NOW), Err(Error::TooComplex));
    assert_eq!(Question::parse(&"a ".repeat(1_000), NOW), Err(Error::TooComplex));
    assert_eq!(Question::parse(&"a".repeat(5_000), NOW), Err(Error::TooLong));
}

proptest! {
    #[test]
    fn any_question_is_answered_or_refused(text in r#"(\PC|[()":-]|AND |OR |NOT |who |read |time:|rows:|\.\.){0,40}"#, now: i64) {
        if let Ok(question) = Question::parse(&text, now) {
            let fields = crate::schema::Fields::new();
            drop(crate::search::query::query(&question.condition, &fields));
        }
    }
}
