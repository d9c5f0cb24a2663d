//! What exports say of a session, and that they say no more.

use super::*;
use crate::play::tests::session_with_everything;
use crate::testing::{session, whole};

fn exported(format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    export(&session_with_everything(), format, &mut out).unwrap();
    out
}

#[test]
fn json_lines_return_as_the_same_events() {
    let text = String::from_utf8(exported(Format::Jsonl)).unwrap();
    let read: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, session_with_everything());
}

#[test]
fn an_avro_export_is_read_by_another_library() {
    let bytes = exported(Format::Avro);
    let reader = apache_avro::Reader::new(&bytes[..]).unwrap();
    assert_eq!(reader.count(), session_with_everything().len());
    let mut none = Vec::new();
    export(&[], Format::Avro, &mut none).unwrap();
    assert_eq!(apache_avro::Reader::new(&none[..]).unwrap().count(), 0);
}

#[test]
fn a_table_of_statements_is_quoted() {
    let text = String::from_utf8(exported(Format::Csv)).unwrap();
    let mut lines = text.split("\r\n");
    assert_eq!(lines.next().unwrap(), COLUMNS.join(","));
    assert_eq!(
        lines.next().unwrap(),
        "ses_11111111111171111111111111111101,1,2026-09-21T14:13:20.002000Z,billing-bot,shop,mask,\
         card_number is masked for agents,public.customers,public.customers.card_number,,succeeded,SELECT 2,2,1234,,\
         \"select name,\n       card_number from customers\","
    );
    assert_eq!(lines.count(), 5);
}

#[test]
fn no_cell_is_a_formula() {
    for (text, expected) in [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-- a comment\nselect 1", "\"'-- a comment\nselect 1\""),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\tx", "'\tx"),
        ("\r=1", "\"'\r=1\""),
        (" \u{a0}\u{0}=HYPERLINK(\"http://x\",1)", "\"' \u{a0}\u{0}=HYPERLINK(\"\"http://x\"\",1)\""),
        ("＝1", "'＝1"),
        ("select -1", "select -1"),
        ("a=b", "a=b"),
        ("'=1", "'=1"),
        ("", ""),
    ] {
        assert_eq!(cell(text), expected, "{text:?}");
    }
}

#[test]
fn several_sessions_go_into_one_file() {
    let sessions = [whole(session(1), 3), whole(session(2), 2)];
    let written = |format| {
        let mut out = Vec::new();
        let mut exporter = Exporter::new(format, &mut out).unwrap();
        sessions.iter().for_each(|events| exporter.session(events).unwrap());
        exporter.finish().unwrap();
        out
    };
    let avro = written(Format::Avro);
    let records: Vec<_> = apache_avro::Reader::new(&avro[..]).unwrap().map(Result::unwrap).collect();
    assert_eq!(records.len(), sessions.concat().len());
    let lines = |format| String::from_utf8(written(format)).unwrap().lines().count();
    assert_eq!((lines(Format::Jsonl), lines(Format::Csv), lines(Format::Ocsf)), (19, 6, 5));
    assert!(written(Format::Parquet).starts_with(b"PAR1"));
}

#[test]
fn formats_have_names() {
    assert_eq!("csv".parse(), Ok(Format::Csv));
    assert_eq!(("parquet".parse(), "ocsf".parse()), (Ok(Format::Parquet), Ok(Format::Ocsf)));
    assert!("xml".parse::<Format>().unwrap_err().contains("jsonl"));
}
