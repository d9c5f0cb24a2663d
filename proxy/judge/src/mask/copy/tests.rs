use super::*;
use crate::mask::{Method, detect, guard::Guard};
use proptest::prelude::*;

fn format(layout: CopyLayout) -> CopyFormat {
    let csv = layout == CopyLayout::Csv;
    CopyFormat {
        layout,
        delimiter: if csv { b',' } else { b'\t' },
        null: if csv { String::new() } else { "\\N".to_owned() },
        quote: b'"',
        escape: b'"',
        force_quote: false,
        header: false,
        targets: Vec::new(),
    }
}

fn plan_of(wishes: &[(Wish, u32)], binary: bool) -> Rc<Plan> {
    let columns: Vec<Column> = wishes
        .iter()
        .map(|(_, type_id)| Column {
            name: String::new(),
            relation: 5,
            attribute: 1,
            type_id: *type_id,
            modifier: -1,
            format: i16::from(binary),
        })
        .collect();
    let wishes: Vec<Wish> = wishes.iter().map(|wish| wish.0).collect();
    let detectors = detect::USUAL.into_iter().collect();
    Rc::new(Plan::new(&wishes, &columns, Some(&[7; 32]), detectors).unwrap())
}

const HIDE: Wish = Wish::Hide(Method::Redact);

fn run(plan: &Rc<Plan>, format: &CopyFormat, pieces: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let mut stream = Stream::new(plan.clone(), format.clone());
    let mut out = Vec::new();
    for piece in pieces {
        stream.push(piece, &mut out)?;
    }
    stream.end()?;
    Ok(out)
}

#[test]
fn lines_are_masked_in_every_layout() {
    let plan = plan_of(&[(Wish::Show, 23), (HIDE, 25), (Wish::Search(kind::Search::Plain), 25)], false);
    let csv = format(CopyLayout::Csv);
    let odd = CopyFormat {
        delimiter: b'|',
        quote: b'\'',
        escape: b'\\',
        null: "nil".to_owned(),
        header: true,
        force_quote: true,
        ..csv.clone()
    };
    let star = CopyFormat { delimiter: b'*', ..format(CopyLayout::Text) };
    let cases: &[(&CopyFormat, &str, &str)] = &[
        (&format(CopyLayout::Text), "1\tsecret\tok\n2\t\\N\ta\\tb\n", "1\t****\tok\n2\t\\N\ta\\tb\n"),
        (&format(CopyLayout::Text), "1\ta\\nb\\\\\tcard 4929731608452298\\\\\n", "1\t****\tcard ****\\\\\n"),
        (&star, "1*secret*ok\n", "1*\\*\\*\\*\\**ok\n"),
        (&csv, "1,secret,ok\n2,,\"\"\n", "1,****,ok\n2,,\"\"\n"),
        (&csv, "1,\"a,\n\"\"b\",\"x \"\"536-90-4399\"\"\"\n", "1,****,\"x \"\"****\"\"\"\n"),
        (&odd, "id|c|note\n1|'se\\'c|\nret'|'ok\\\\'\n2|nil|x\n", "id|c|note\n1|'****'|'ok\\\\'\n2|nil|x\n"),
    ];
    for (format, text, expected) in cases {
        let whole = run(&plan, format, &[text.as_bytes()]).unwrap();
        assert_eq!(String::from_utf8(whole).unwrap(), *expected, "{text:?}");
        for cut in 1..text.len() {
            let (a, b) = text.as_bytes().split_at(cut);
            assert_eq!(run(&plan, format, &[a, b]).unwrap(), expected.as_bytes(), "{text:?} cut at {cut}");
        }
    }
}

#[test]
fn what_does_not_fit_ends_the_copy() {
    let plan = plan_of(&[(Wish::Show, 23), (HIDE, 25)], false);
    let text = format(CopyLayout::Text);
    for broken in ["1\n", "1\t2\t3\n", "1\tsecret", "\n"] {
        assert!(run(&plan, &text, &[broken.as_bytes()]).is_err(), "{broken:?}");
    }
    assert!(run(&plan, &format(CopyLayout::Csv), &[b"1,\"secret\n"]).is_err());
    let plan = plan_of(&[(HIDE, 25)], true);
    let binary = format(CopyLayout::Binary);
    for broken in [&b"PGCOPX\n\xff\r\n\0"[..], b"1\n", b"PGCOPY\n\xff\r\n\0\0\x01\0\0\0\0\0\0", b""] {
        assert!(run(&plan, &binary, &[broken]).is_err(), "{broken:?}");
    }
}

fn binary(rows: &[&[Option<&[u8]>]]) -> Vec<u8> {
    let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for row in rows {
        bytes.extend(u16::try_from(row.len()).unwrap().to_be_bytes());
        for value in *row {
            bytes.extend(value.map_or(-1, |v| i32::try_from(v.len()).unwrap()).to_be_bytes());
            bytes.extend(value.unwrap_or_default());
        }
    }
    bytes.extend([0xff, 0xff]);
    bytes
}

#[test]
fn binary_rows_are_masked_in_any_pieces() {
    let plan = plan_of(&[(Wish::Show, 23), (HIDE, 25), (HIDE, NONE)], true);
    let text = binary(&[
        &[Some(&[0, 0, 0, 1]), Some(b"secret"), Some(b"\0\x01\0\x02")],
        &[None, None, None],
        &[Some(&[0, 0, 0, 2]), Some(b""), None],
    ]);
    let expected = binary(&[
        &[Some(&[0, 0, 0, 1]), Some(b"****"), None],
        &[None, None, None],
        &[Some(&[0, 0, 0, 2]), Some(b"****"), None],
    ]);
    let format = format(CopyLayout::Binary);
    for cut in 0..text.len() {
        let (a, b) = text.split_at(cut);
        assert_eq!(run(&plan, &format, &[a, b]).unwrap(), expected, "cut at {cut}");
    }
}

#[test]
fn placeholders_are_noticed_on_the_way_in() {
    let guard = |pseudonyms| Some(Guard::new(pseudonyms));
    let csv = CopyFormat { header: true, ..format(CopyLayout::Csv) };
    let stores = |format: &CopyFormat, text: &str| {
        let mut inbound = Inbound::new(format, vec![None, guard(false), guard(true)]).unwrap();
        inbound.push(text.as_bytes()).unwrap() | inbound.end().unwrap()
    };
    let text = format(CopyLayout::Text);
    assert!(stores(&text, "1\t****\tx\n"));
    assert!(stores(&text, "1\tx\t****1234"));
    assert!(stores(&text, "1\tx\t0123456789abcdef\r\n"));
    assert!(stores(&csv, "a,b,c\n1,\"****\",x"));
    assert!(!stores(&text, "****\t0123456789abcdef\tx\n2\t\\N\t\\N\n\\.\n"));
    assert!(!stores(&csv, "****,****,****\n1,x,y\n"));
    let mut inbound = Inbound::new(&format(CopyLayout::Binary), vec![None, guard(false)]).unwrap();
    assert!(inbound.push(&binary(&[&[Some(b"****"), Some(b"x")], &[None, Some(b"****12")]])).unwrap());
    assert!(Inbound::new(&csv, vec![None, None]).is_none());
}

proptest! {
    #[test]
    fn a_value_survives_its_layout(value in proptest::collection::vec(1u8..128, 0..40), quoted: bool, csv: bool) {
        let format = format(if csv { CopyLayout::Csv } else { CopyLayout::Text });
        let (mut line, mut back) = (Vec::new(), Vec::new());
        rows::encode(&format, &value, quoted, &mut line);
        let fields: Vec<&[u8]> = rows::fields(&format, &line).collect();
        prop_assert_eq!(fields.len(), 1);
        rows::decode(&format, fields[0], &mut back).unwrap();
        prop_assert_eq!(back, value);
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), layout in 0usize..3) {
        let layout = [CopyLayout::Text, CopyLayout::Csv, CopyLayout::Binary][layout];
        let plan = plan_of(&[(HIDE, 25), (Wish::Search(kind::Search::Jsonb), 3802)], layout == CopyLayout::Binary);
        let outcome = run(&plan, &format(layout), &[&bytes]);
        prop_assert!(outcome.is_ok() || outcome.is_err());
    }
}
