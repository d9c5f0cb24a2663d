use super::*;
use crate::play::tests::session_with_everything;

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
fn formats_have_names() {
    assert_eq!("csv".parse(), Ok(Format::Csv));
    assert!("xml".parse::<Format>().unwrap_err().contains("jsonl"));
}
