//! The table is read back by the reader of the same package; other people's readers are in `deploy/postern/tests/exports.rs`.

use super::*;
use crate::play::tests::session_with_everything;
use crate::testing::{numbered, opened, session, statement, whole};
use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use schemas::Body;
use schemas::event::{Payload, PayloadCodec, Usage, VerdictKind};

fn written(sessions: &[Vec<Event>]) -> SerializedFileReader<Bytes> {
    let mut bytes = Vec::new();
    let mut table = Table::new(&mut bytes).unwrap();
    sessions.iter().for_each(|events| table.session(events).unwrap());
    table.finish().unwrap();
    SerializedFileReader::new(Bytes::from(bytes)).unwrap()
}

fn rows(reader: &SerializedFileReader<Bytes>) -> Vec<Row> {
    reader.get_row_iter(None).unwrap().map(Result::unwrap).collect()
}

/// A column of a row, in words.
fn told(row: &Row, name: &str) -> String {
    let (_, field) = row.get_column_iter().find(|(column, _)| *column == name).unwrap();
    field.to_string()
}

#[test]
fn every_column_tells_what_the_events_say() {
    let reader = written(&[session_with_everything()]);
    let rows = rows(&reader);
    assert_eq!(rows.len(), 5);
    let row: Vec<String> = rows[0].get_column_iter().map(|(name, field)| format!("{name}={field}")).collect();
    assert_eq!(row.join("\n"), FIRST);
    assert_eq!(told(&rows[1], "outcome"), "\"denied\"");
    assert_eq!(told(&rows[2], "parameters"), "[\"\\x00000007\"]");
    for nothing in ["outcome", "rows", "verdict", "kind", "reason"] {
        assert_eq!(told(&rows[4], nothing), "null", "{nothing}");
    }
    assert_eq!(told(&rows[4], "columns"), "[]");
}

const FIRST: &str = r#"session="ses_11111111111171111111111111111101"
number=1
statement="stm_11111111111171111111111111111101_1"
time=2026-09-21 14:13:20.002000 +00:00
subject="billing-bot"
issuer="https://issuer.example"
identity_kind="machine"
identity_name="Billing bot"
groups=["agents"]
on_behalf_of=["ada@example.com"]
task=null
resource="shop"
database="shop_production"
role="gate"
node="gate-1"
peer="127.0.0.1:50000"
application="psql"
protocol="simple"
text="select name,
       card_number from customers"
text_codec="plain"
parameters=[]
kind="SELECT"
read_only=true
opaque=false
verdict="mask"
reason="card_number is masked for agents"
policies=["builtin"]
policy_version="0123456789abcdef"
relations=[{name: "public.customers", action: "select", indirect: false}]
columns=[{name: "public.customers.card_number", usage: "projected", masked: true, label: "pan"}]
functions=[]
flags=[]
fingerprint=null
hold=null
hold_outcome=null
reviews=[]
outcome="succeeded"
sqlstate=null
tag="SELECT 2"
rows=2
bytes=10
duration_us=1234
found=[]"#;

#[test]
fn lists_of_all_lengths_stay_with_their_rows() {
    let columns = |count: usize| -> Vec<Touched> {
        let column = |n: usize| Touched {
            name: format!("public.t.c{n}"),
            usage: Usage::Filtered,
            masked: n == 1,
            label: (n == 2).then(|| "pan".to_owned()),
        };
        (0..count).map(column).collect()
    };
    let lengths = [0, 3, 1, 0, 0, 2];
    let mut bodies = vec![opened()];
    for (number, length) in (1..).zip(lengths) {
        bodies.push(Body::Statement(statement(number, "select")));
        let verdict = crate::testing::verdict(number, VerdictKind::Allow);
        bodies.push(Body::Verdict(Verdict { columns: columns(length), ..verdict }));
    }
    let reader = written(&[numbered(session(1), bodies)]);
    for (row, length) in rows(&reader).iter().zip(lengths) {
        let (_, field) = row.get_column_iter().find(|(name, _)| *name == "columns").unwrap();
        let Field::ListInternal(list) = field else { panic!("{field} is no list") };
        assert_eq!(list.len(), length);
        for (n, column) in list.elements().iter().enumerate() {
            let label = if n == 2 { "\"pan\"" } else { "null" };
            let masked = n == 1;
            let expected =
                format!("{{name: \"public.t.c{n}\", usage: \"filtered\", masked: {masked}, label: {label}}}");
            assert_eq!(column.to_string(), expected);
        }
    }
}

#[test]
fn a_row_group_ends_when_it_is_full() {
    let sessions: Vec<Vec<Event>> = (0..4).map(|n| whole(session(n), GROUP_ROWS as u64 / 3)).collect();
    let reader = written(&sessions);
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [16_384, 5_460]);
    assert_eq!(rows(&reader).len(), 4 * (GROUP_ROWS / 3));

    let long = "x".repeat(1 << 20);
    let bodies = (1..=40).map(|number| Body::Statement(statement(number, &long)));
    let reader = written(&[numbered(session(1), bodies)]);
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [32, 8]);
}

#[test]
fn a_table_of_nothing_has_its_columns() {
    let reader = written(&[]);
    let schema = reader.metadata().file_metadata().schema();
    assert_eq!((schema.get_fields().len(), reader.metadata().num_row_groups()), (COLUMNS.len(), 0));
}

#[test]
fn what_cannot_be_read_is_no_text() {
    let sealed = |codec| Payload { codec, key: Some("key-1".into()), bytes: vec![0x28, 0xb5, 0x2f, 0xfd] };
    let mut one = statement(1, "");
    (one.text, one.parameters) = (sealed(PayloadCodec::SealedZstd), Some(sealed(PayloadCodec::SealedZstd)));
    let mut other = statement(2, "");
    (other.text, other.parameters) = (sealed(PayloadCodec::Digest), Some(Payload::plain([1])));
    let reader = written(&[numbered(session(1), [Body::Statement(one), Body::Statement(other)])]);
    for (row, codec) in rows(&reader).iter().zip(["\"sealed_zstd\"", "\"digest\""]) {
        let told: Vec<String> = ["text", "text_codec", "parameters", "subject"].map(|name| told(row, name)).into();
        assert_eq!(told, ["null", codec, "[]", "null"]);
    }
}
