use super::*;
use proptest::prelude::*;

fn all() -> Set {
    Detector::ALL.into_iter().collect()
}

fn found(set: Set, text: &str) -> Vec<&str> {
    let mut spans = Vec::new();
    find(set, text.as_bytes(), &mut spans);
    spans.into_iter().map(|span| &text[span]).collect()
}

#[test]
fn each_detector_finds_its_values_and_nothing_like_them() {
    use Detector::{Email, Iban, NationalId, Pan, Phone, Secret, Ssn};
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
    let github = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    // (detector, text, what is found)
    let cases: &[(Detector, &str, &[&str])] = &[
        (Pan, "refund to card 4929731608452298 by phone", &["4929731608452298"]),
        (Pan, "6011-9834-0572-1664, then 4111 1111 1111 1111", &["6011-9834-0572-1664", "4111 1111 1111 1111"]),
        (Pan, "amex 3714 496353 98431 or 371449635398431.", &["3714 496353 98431", "371449635398431"]),
        (Pan, "4929731608452298 4929731608452298", &["4929731608452298", "4929731608452298"]),
        (Pan, "no: 4111111111111112 41111111111111111 x4111111111111111 4111111111111111x", &[]),
        (Pan, "2024-01-02 03:04:05.123456 and 1700000000000", &[]),
        (Ssn, "{\"ssn\": \"536-90-4399\"}", &["536-90-4399"]),
        (Ssn, "078-05-1120, 219 09 9134", &["078-05-1120", "219 09 9134"]),
        (Ssn, "SSN: 536904399; number 536904399", &["536904399", "536904399"]),
        (Ssn, "part 123-45-6789x, 123-45-6789-1, 000-12-3456, 123-00-4567, 536904399", &[]),
        (NationalId, "12345678Z X1234567L", &["12345678Z", "X1234567L"]),
        (NationalId, "12345678A X1234567A", &[]),
        (NationalId, "CF RSSMRA85T10A562S, cpf 529.982.247-25", &["RSSMRA85T10A562S", "529.982.247-25"]),
        (NationalId, "CF RSSMRA85T10A562T, cpf 529.982.247-26", &[]),
        (NationalId, "id 11010519491231002X", &["11010519491231002X"]),
        (NationalId, "nir 255081416802538 or 2 55 08 14 168 025 38", &["255081416802538", "2 55 08 14 168 025 38"]),
        (NationalId, "aadhaar 2341 2341 2346, nino QQ123456C AB123456C", &["2341 2341 2346", "AB123456C"]),
        (
            Iban,
            "DE89370400440532013000 GB82 WEST 1234 5698 7654 32",
            &["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32"],
        ),
        (Iban, "DE88370400440532013000 DE44HRSECRET5001", &[]),
        (Email, "mail zephyr.quill77@secretmail.example, please", &["zephyr.quill77@secretmail.example"]),
        (Email, "ticket@v2 @home a@ @b.cd x@localhost", &[]),
        (Phone, "+44 20 7946 0958 or 415-555-0132", &["+44 20 7946 0958", "415-555-0132"]),
        (Phone, "10 20 30, 1-2-3, 2024-01-02", &[]),
        (Secret, "key AKIAIOSFODNN7EXAMPLE here", &["AKIAIOSFODNN7EXAMPLE"]),
        (Secret, &github, &[&github]),
        (Secret, jwt, &[jwt]),
        (Secret, "password = 'Zk8vQw93LmPx1t'", &["Zk8vQw93LmPx1t"]),
        (Secret, "{\"api_key\": \"9f8a7b6c5d4e3f2a1b0c\"}", &["9f8a7b6c5d4e3f2a1b0c"]),
        (Secret, "postgres://user:hunter2pass@db/shop", &["hunter2pass"]),
        (
            Secret,
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- after",
            &["-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"],
        ),
        (Secret, "xoxb-123456789012-abcdefABCDEF", &["xoxb-123456789012-abcdefABCDEF"]),
        (Secret, "the secret of the token is a password policy with keyboards", &[]),
        (Secret, "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----", &[]),
    ];
    for (detector, text, expected) in cases {
        assert_eq!(found(Set::default().with(*detector), text), *expected, "{detector:?} in {text:?}");
    }
}

#[test]
fn what_is_ordinary_is_left_alone() {
    for text in [
        "invoice 8",
        "550e8400-e29b-41d4-a716-446655440000",
        "2024-01-02T03:04:05.678901+00:00",
        "PostgreSQL 15.14 (Debian 15.14-0+deb12u1) on x86_64-pc-linux-gnu",
        "note 5d41402abc4b2a76b9719d911017c592",
        "order 1234567890123456, sku 000-12-34567",
        "10.0.0.255:5432, 192.168.100.200",
        "CREATE TABLE public.customers (id int PRIMARY KEY, token text)",
        "999999999999.99",
    ] {
        let usual: Set = USUAL.into_iter().collect();
        assert_eq!(found(usual, text), [""; 0], "{text}");
    }
}

#[test]
fn json_stays_json() {
    let cases = [
        (r#"{"pan": "5491837204617583", "tier": "silver"}"#, r#"{"pan": "****", "tier": "silver"}"#),
        (r#"{"pan": 5491837204617583, "n": 1}"#, r#"{"pan": "****", "n": 1}"#),
        (r#"[5491837204617583.00, -5491837204617583]"#, r#"["****", "****"]"#),
        (r#"{"a\"b": "x 536-90-4399 y \\", "c": 4111111111111111}"#, r#"{"a\"b": "x **** y \\", "c": "****"}"#),
    ];
    for (text, expected) in cases {
        let (mut spans, mut out) = (Vec::new(), Vec::new());
        find(all(), text.as_bytes(), &mut spans);
        replace_json(text.as_bytes(), &spans, &mut out);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, expected);
        serde_json::from_str::<serde_json::Value>(&out).unwrap();
    }
}

/// Texts made of what is looked for, of pieces and near misses of it, and of what stands between.
fn adversarial() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "4929731608452298",
        "4929 7316 0845 2298",
        "3714 496353 98431",
        "4111-1111-1111-1111",
        "411111111111111",
        "1",
        "536-90-4399",
        "536904399",
        "ssn",
        "social no",
        "219 09 9134",
        "12345678Z",
        "X1234567L",
        "x1234567L",
        "QQ123456C",
        "AB123456C",
        "AB 12 34 56 C",
        "AB  12 3456C",
        "RSSMRA85T10A562S",
        "RSSMRA85T10A562T",
        "529.982.247-25",
        "2341 2341 2346",
        "11010519491231002X",
        "255081416802538",
        "2 55 08 14 168 025 38",
        "DE89370400440532013000",
        "gb82west12345698765432",
        "GB82 WEST 1234 5698 7654 32",
        "MT84MALT011000012345MTLCAST001S",
        "mt84 malt 0110 0001 2345 mtlc ast0 01s",
        "DE89",
        "a.b@c.de",
        "zephyr.quill77@secretmail.example",
        "@",
        "a@b",
        "xn--p1ai",
        "+44 20 7946 0958",
        "415-555-0132",
        "+",
        "1 415 555 0132",
        "AKIAIOSFODNN7EXAMPLE",
        "AKIA",
        "ASIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "ghp_",
        "a1B2c3D4e5F6a1B2c3D4e5F6a1B2c3D4e5F6",
        "github_pat_",
        "glpat-",
        "xoxb-123456789012-abcdefABCDEF",
        "xox",
        "sk_live_",
        "rk_test_",
        "whsec_",
        "sk-",
        "npm_",
        "pypi-",
        "SG.",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "eyJ",
        "-----BEGIN RSA PRIVATE KEY-----",
        "-----END RSA PRIVATE KEY-----",
        "://",
        "postgres://u:hunter2@db/x",
        "hooks.slack.com/",
        "services/T00/B00/XX",
        "password",
        "Passw",
        "secret",
        "TOKEN",
        "api_key",
        "apikey",
        "api-key",
        "AccountKey",
        "access_key",
        "_id",
        "=",
        ":",
        "\": \"",
        "' => '",
        " := ",
        "Zk8vQw93LmPx1t",
        "9f8a7b6c5d4e3f2a1b0c",
        "aaaaaaaaaaaaaaaa1",
        "note",
        " ",
        "  ",
        "-",
        ".",
        "_",
        ",",
        "\n",
        "\"",
        "\\",
        "é",
        "漢",
        "x",
        "A",
        "ab",
        "0",
        "42",
        "{",
        "}",
        "/",
        "5d41402abc4b2a76b9719d911017c592",
        "2026-05-06 07:08:09.123456+00",
        "550e8400-e29b-41d4-a716-446655440000",
    ];
    let whole = proptest::sample::select(PIECES).prop_map(str::to_owned);
    let cut = (proptest::sample::select(PIECES), any::<proptest::sample::Index>(), any::<bool>()).prop_map(
        |(piece, at, head)| {
            let at = piece.floor_char_boundary(at.index(piece.len()));
            let (before, after) = piece.split_at(at);
            if head { before } else { after }.to_owned()
        },
    );
    let part = prop_oneof![6 => whole, 2 => cut, 1 => "[a-zA-Z0-9 ]{0,12}", 1 => "[ -~]{0,6}"];
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn same_as_all(set: Set, value: &[u8]) -> Result<(), TestCaseError> {
    let (mut glanced, mut all) = (Vec::new(), Vec::new());
    let by = (find(set, value, &mut glanced), find_all(set, value, &mut all));
    prop_assert_eq!(by.0, by.1);
    prop_assert_eq!(by.0.is_empty(), all.is_empty());
    prop_assert_eq!(glanced, all, "{:?}", String::from_utf8_lossy(value));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_glance_misses_nothing_in_adversarial_text(text in adversarial(), detectors in 1u8..128) {
        same_as_all(Set(detectors), text.as_bytes())?;
        for detector in Detector::ALL {
            same_as_all(Set::default().with(detector), text.as_bytes())?;
        }
    }

    #[test]
    fn a_glance_misses_nothing_in_text_and_bytes(text in "[0-9A-Z@a-z .:=_/-]{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        same_as_all(all(), text.as_bytes())?;
        same_as_all(all(), &bytes)?;
    }
}

#[test]
fn each_class_of_bytes_is_told_in_each_place() {
    for place in 0..8 {
        for byte in 0..=u8::MAX {
            let mut bytes = [b'\n'; 8];
            bytes[place] = byte;
            let classes = glance::classes_of(bytes);
            let here = |is: bool| if is { 1u64 << (8 * place + 7) } else { 0 };
            let expected = [
                here(byte.is_ascii_digit()),
                here(byte.is_ascii_alphabetic()),
                here(byte.is_ascii_uppercase()),
                here(is_word(byte)),
                here(matches!(byte, b'-' | b'.' | b'/' | b':' | b';' | b'<' | b'=' | b'_')),
                here(byte == b'@'),
            ];
            assert_eq!(classes, expected, "{byte} at {place}");
        }
    }
}

#[test]
fn long_values_of_many_near_misses_take_no_time() {
    // each of them begins something at every few bytes, which once was followed to the end of the value each time
    let all = all();
    for piece in ["password=", "sk-", "a:", "://", "-----BEGIN ", "4111 ", "eyJ.", "AB12", "@a", "xoxb-", "GB82 "] {
        let text = piece.repeat((1 << 20) / piece.len());
        let start = std::time::Instant::now();
        find(all, text.as_bytes(), &mut Vec::new());
        let took = start.elapsed();
        assert!(took.as_secs() < 20, "{piece}: {took:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut spans = Vec::new();
        find(all(), &bytes, &mut spans);
        let mut last = 0;
        for span in &spans {
            prop_assert!(last <= span.start && span.start < span.end && span.end <= bytes.len());
            last = span.end;
        }
    }

    #[test]
    fn text_like_values_does_no_harm(text in "[0-9 .@+eyJAKIA_:/-]{0,80}") {
        let mut spans = Vec::new();
        find(all(), text.as_bytes(), &mut spans);
        prop_assert!(spans.iter().all(|span| text.is_char_boundary(span.start) && text.is_char_boundary(span.end)));
    }

    #[test]
    fn a_card_is_found_in_any_text(before in "[a-z ]{0,30}", after in "[a-z ,.]{0,30}") {
        let text = format!("{before} 4929731608452298 {after}");
        prop_assert!(!found(Set::default().with(Detector::Pan), &text).is_empty());
    }
}
