use super::*;
use proptest::prelude::*;

const KEY: [u8; 32] = [7; 32];

fn column(type_id: u32, modifier: i32, format: i16) -> Column {
    Column { name: "c".into(), relation: 5, attribute: 1, type_id, modifier, format }
}

fn plan_of(columns: &[(Option<Method>, u32, i32, i16)]) -> Plan {
    let methods: Vec<_> = columns.iter().map(|c| c.0.map_or(Wish::Show, Wish::Hide)).collect();
    let described: Vec<_> = columns.iter().map(|c| column(c.1, c.2, c.3)).collect();
    Plan::new(&methods, &described, Some(&KEY), detect::Set::default()).unwrap()
}

fn body(fields: &[Option<Vec<u8>>]) -> Vec<u8> {
    let mut bytes = u16::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
    for field in fields {
        match field {
            None => bytes.extend((-1i32).to_be_bytes()),
            Some(field) => {
                bytes.extend(i32::try_from(field.len()).unwrap().to_be_bytes());
                bytes.extend(field);
            }
        }
    }
    bytes
}

fn fields(mut body: &[u8]) -> Vec<Option<Vec<u8>>> {
    let count = u16::from_be_bytes(body[..2].try_into().unwrap());
    body = &body[2..];
    let all = (0..count)
        .map(|_| {
            let length = i32::from_be_bytes(body[..4].try_into().unwrap());
            body = &body[4..];
            let length = usize::try_from(length).ok()?;
            let field = body[..length].to_vec();
            body = &body[length..];
            Some(field)
        })
        .collect();
    assert!(body.is_empty());
    all
}

fn hidden(method: Method, type_id: u32, modifier: i32, format: i16, value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    row(&plan_of(&[(Some(method), type_id, modifier, format)]), &body(&[Some(value.to_vec())]), &mut out).unwrap();
    fields(&out).remove(0)
}

fn shown(method: Method, type_id: u32, value: &str) -> Option<String> {
    hidden(method, type_id, -1, 0, value.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn whether_an_expression_is_null_does_not_show() {
    for (type_id, format) in [(25, 0), (25, 1), (1700, 0), (3802, 0), (3802, 1), (17, 0), (2950, 1), (1009, 0), (16, 0)]
    {
        let expression = Column { relation: 0, ..column(type_id, -1, format) };
        let wishes = [Wish::Hide(Method::Redact)];
        let plan = Plan::new(&wishes, &[expression], None, detect::Set::default()).unwrap();
        let answers = [None, Some(b"{4929}".to_vec()), Some(Vec::new())].map(|value| {
            let mut out = Vec::new();
            row(&plan, &body(&[value]), &mut out).unwrap();
            out
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "type {type_id}: {answers:?}");
    }
    // a column's NULL is one that is stored
    assert_eq!(fields(&masked_null(column(25, -1, 0)))[0], None);
}

fn masked_null(column: Column) -> Vec<u8> {
    let plan = Plan::new(&[Wish::Hide(Method::Redact)], &[column], None, detect::Set::default()).unwrap();
    let mut out = Vec::new();
    row(&plan, &body(&[None]), &mut out).unwrap();
    out
}

#[test]
fn text_is_hidden_by_each_method() {
    let card = "4539 1488 0343 6467";
    for text in [25, 1043, 1042, 19, 705] {
        assert_eq!(shown(Method::Redact, text, card).unwrap(), "****");
        assert_eq!(shown(Method::Last4, text, card).unwrap(), "****6467");
        assert_eq!(shown(Method::Null, text, card), None);
    }
    assert_eq!(shown(Method::Last4, 25, "078-05-1120").unwrap(), "****20");
    assert_eq!(shown(Method::Last4, 25, "abc").unwrap(), "****");
    let hash = shown(Method::Hash, 25, card).unwrap();
    assert!(hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(hash, shown(Method::Hash, 1042, "4539 1488 0343 6467   ").unwrap());
    assert_ne!(hash, shown(Method::Hash, 25, "4539 1488 0343 6468").unwrap());
}

#[test]
fn a_made_up_value_has_the_shape_and_is_no_card() {
    for n in 0..200u32 {
        let card = format!("4539-1488-0343-{n:04}");
        let made = shown(Method::Fake, 25, &card).unwrap();
        assert_eq!(made, shown(Method::Fake, 25, &card).unwrap());
        if made != "****" {
            assert_eq!(
                made.chars().map(|c| c == '-').collect::<Vec<_>>(),
                card.chars().map(|c| c == '-').collect::<Vec<_>>()
            );
            let digits = made.chars().rev().filter_map(|c| c.to_digit(10)).enumerate();
            let sum: u32 = digits.map(|(n, d)| if n % 2 == 1 { d * 2 / 10 + d * 2 % 10 } else { d }).sum();
            assert_ne!(sum % 10, 0, "{made}");
        }
    }
    let email = shown(Method::Fake, 25, "ada.lovelace@example.org").unwrap();
    assert!(email.ends_with("@example.invalid") && !email.contains("ada"), "{email}");
}

#[test]
fn without_a_key_pseudonyms_are_redacted() {
    let plan = Plan::new(&[Wish::Hide(Method::Hash)], &[column(25, -1, 0)], None, detect::Set::default()).unwrap();
    let mut out = Vec::new();
    row(&plan, &body(&[Some(b"secret".to_vec())]), &mut out).unwrap();
    assert_eq!(fields(&out)[0].as_deref(), Some(b"****".as_slice()));
}

#[test]
fn other_types_get_what_a_driver_can_decode() {
    assert_eq!(hidden(Method::Redact, 23, -1, 1, &7i32.to_be_bytes()), None);
    assert_eq!(shown(Method::Last4, 20, "4539148803436467").unwrap(), "6467");
    assert_eq!(
        hidden(Method::Last4, 20, -1, 1, &4_539_148_803_436_467i64.to_be_bytes()).unwrap(),
        6467i64.to_be_bytes()
    );
    for method in [Method::Hash, Method::Fake] {
        let text: i64 = shown(method, 20, "4539148803436467").unwrap().parse().unwrap();
        assert_eq!(hidden(method, 20, -1, 1, &4_539_148_803_436_467i64.to_be_bytes()).unwrap(), text.to_be_bytes());
        let small: i32 = shown(method, 23, "-123456").unwrap().parse().unwrap();
        assert_eq!(hidden(method, 23, -1, 1, &(-123_456i32).to_be_bytes()).unwrap(), small.to_be_bytes());
    }
    assert_eq!(shown(Method::Redact, 114, "{\"a\":1}").unwrap(), "\"****\"");
    assert_eq!(hidden(Method::Redact, 3802, -1, 1, b"\x01{}").unwrap(), b"\x01\"****\"");
    assert_eq!(shown(Method::Redact, 17, "\\xdeadbeef").unwrap(), "\\x2a2a2a2a");
    assert_eq!(
        shown(Method::Redact, 2950, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6").unwrap(),
        "00000000-0000-0000-0000-000000000000"
    );
    let uuid = shown(Method::Hash, 2950, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6").unwrap();
    assert!(uuid.len() == 36 && uuid.as_bytes()[14] == b'8', "{uuid}");
    assert_eq!(shown(Method::Redact, 1009, "{a,b}").unwrap(), "{****}");
    let array = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, b'*', b'*', b'*', b'*'];
    assert_eq!(hidden(Method::Redact, 1009, -1, 1, &[]).unwrap(), array);
    for other in [700, 701, 1700, 1082, 1114, 1184, 869] {
        for method in [Method::Redact, Method::Last4] {
            assert_eq!(hidden(method, other, -1, 0, b"1"), None);
        }
        // what does not read as its type says
        for method in [Method::Hash, Method::Fake] {
            assert_eq!(hidden(method, other, -1, 0, b"infinity"), None);
            assert_eq!(hidden(method, other, -1, 1, b"\xff"), None);
        }
    }
    for other in [16, 3904, 1007, 2249, 99_999] {
        for method in [Method::Redact, Method::Last4, Method::Hash, Method::Fake] {
            assert_eq!(hidden(method, other, -1, 0, b"1"), None);
        }
    }
}

#[test]
fn a_value_stays_within_its_type() {
    assert_eq!(hidden(Method::Hash, 1043, 4 + 6, 0, b"abcdefghij").unwrap().len(), 6);
    assert_eq!(hidden(Method::Last4, 1043, 4 + 6, 0, b"4539148803436467").unwrap(), b"****");
    assert_eq!(hidden(Method::Redact, 1042, 4 + 2, 0, b"ab").unwrap(), b"**");
}

#[test]
fn a_malformed_row_is_refused_and_leaves_nothing() {
    let plan = plan_of(&[(Some(Method::Redact), 25, -1, 0), (None, 25, -1, 0)]);
    let good = body(&[Some(b"secret".to_vec()), Some(b"clear".to_vec())]);
    let mut out = b"before".to_vec();
    for end in 0..good.len() {
        assert!(row(&plan, &good[..end], &mut out).is_err(), "cut at {end}");
        assert_eq!(out, b"before");
    }
    assert_eq!(row(&plan, &[&good[..], &[0]].concat(), &mut out), Err(Error::Malformed));
    assert_eq!(row(&plan, &body(&[None]), &mut out), Err(Error::Count { got: 1, expected: 2 }));
    let mut negative = good.clone();
    negative[2..6].copy_from_slice(&(-2i32).to_be_bytes());
    assert_eq!(row(&plan, &negative, &mut out), Err(Error::Malformed));
    row(&plan, &good, &mut out).unwrap();
    assert_eq!(&out[..6], b"before");
}

#[test]
fn reports_keep_state_and_class_only() {
    let fields = |code: &str| {
        [
            (b'S', "ERROR"),
            (b'V', "ERROR"),
            (b'C', code),
            (b'M', "value 4539"),
            (b'D', "Key (card)=(4539)"),
            (b'H', "4539"),
            (b'W', "4539"),
            (b's', "4539"),
            (b't', "4539"),
            (b'c', "4539"),
            (b'n', "4539"),
            (b'q', "4539"),
            (b'P', "4539"),
        ]
        .map(|(code, text)| (code, text.to_owned()))
    };
    for (state, shown) in [("23505", "23505"), ("22P02", "22000"), ("99999", "XX000"), ("45390", "XX000")] {
        let scrubbed = scrub_report(&fields(state));
        assert_eq!(scrubbed.iter().find(|f| f.0 == b'C').unwrap().1, shown);
        assert!(scrubbed.iter().filter(|f| f.0 != b'C').all(|f| !f.1.contains("4539")), "{scrubbed:?}");
        assert_eq!(scrubbed.iter().map(|f| f.0).collect::<Vec<_>>(), b"SVCMH");
    }
    assert_eq!(scrub_report(&fields("4539x"))[2].1, "XX000");
}

fn method() -> impl Strategy<Value = Option<Method>> {
    prop_oneof![
        Just(None),
        Just(Some(Method::Last4)),
        Just(Some(Method::Fake)),
        Just(Some(Method::Hash)),
        Just(Some(Method::Redact)),
        Just(Some(Method::Null)),
    ]
}

proptest! {
    #[test]
    fn rows_stay_rows_and_hidden_values_do_not_show(
        columns in proptest::collection::vec(
            (method(), prop::sample::select(vec![25u32, 1043, 20, 23, 21, 114, 3802, 17, 2950, 1009, 1700, 18, 142]), 0i16..2,
             proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)), "[0-9a-zA-Z@. -]{0,30}", any::<bool>()),
            0..8),
    ) {
        let plan = plan_of(&columns.iter().map(|c| (c.0, c.1, -1, c.2)).collect::<Vec<_>>());
        let given: Vec<Option<Vec<u8>>> =
            columns.iter().map(|c| if c.5 { Some(c.4.clone().into_bytes()) } else { c.3.clone() }).collect();
        let mut out = Vec::new();
        row(&plan, &body(&given), &mut out).unwrap();
        let got = fields(&out);
        prop_assert_eq!(got.len(), given.len());
        for ((column, before), after) in columns.iter().zip(&given).zip(&got) {
            match (column.0, before, after) {
                (None, ..) | (_, None, _) => prop_assert_eq!(before, after),
                (Some(_), Some(before), Some(after)) => {
                    // the four that last4 keeps may follow stars
                    let shows = before.windows(5).any(|w| !w.contains(&b'*') && after.windows(5).any(|o| o == w));
                    prop_assert!(!shows, "{:?} {:?}", before, after);
                }
                (Some(_), Some(_), None) => {}
            }
        }
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let plan = plan_of(&[(Some(Method::Fake), 25, -1, 0), (None, 25, -1, 0)]);
        let mut out = Vec::new();
        if row(&plan, &bytes, &mut out).is_err() {
            prop_assert!(out.is_empty());
        }
    }
}
