//! Messages of the server after the startup phase.

use super::{Fields, MAX_HELD_FRAME, MAX_REPORT_FRAME, Violation, put};

/// What ReadyForQuery says of the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transaction {
    /// `I`: none is open.
    #[default]
    Idle,
    /// `T`: one is open.
    Open,
    /// `E`: one is open and has failed.
    Failed,
}

/// The largest frame of a type that is accepted.
///
/// # Errors
/// [`Violation::UnknownType`] for a type that servers do not send after the startup phase.
pub fn limit(kind: u8) -> Result<usize, Violation> {
    match kind {
        b'D' | b'd' => Ok(0x4000_0001),
        b'T' | b't' | b'G' | b'H' => Ok(MAX_HELD_FRAME),
        b'E' | b'N' | b'S' | b'A' | b'C' => Ok(MAX_REPORT_FRAME),
        b'1' | b'2' | b'3' | b'I' | b'n' | b's' | b'c' => Ok(5),
        b'Z' => Ok(6),
        other => Err(Violation::UnknownType(char::from(other))),
    }
}

/// Reads ReadyForQuery.
///
/// # Errors
/// [`Violation::Malformed`].
pub fn ready(body: &[u8]) -> Result<Transaction, Violation> {
    match body {
        b"I" => Ok(Transaction::Idle),
        b"T" => Ok(Transaction::Open),
        b"E" => Ok(Transaction::Failed),
        _ => Err(Violation::Malformed { kind: 'Z', what: "its status is unknown" }),
    }
}

/// One column of a RowDescription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name, as the client sees it.
    pub name: String,
    /// The object id of the relation that it comes from; 0 for none.
    pub relation: u32,
    /// The attribute number there; 0 for none.
    pub attribute: i16,
    /// The type's object id.
    pub type_id: u32,
    /// The type modifier.
    pub modifier: i32,
    /// 0 for text, 1 for binary.
    pub format: i16,
}

/// Reads RowDescription.
///
/// # Errors
/// [`Violation::Malformed`].
pub fn row_description(body: &[u8]) -> Result<Vec<Field>, Violation> {
    let mut fields = Fields::of(b'T', body);
    let count = fields.count()?;
    let mut columns = Vec::with_capacity(count.min(1664));
    for _ in 0..count {
        let name = String::from_utf8_lossy(fields.text()?).into_owned();
        let relation = fields.int32()?.cast_unsigned();
        let attribute = fields.int16()?;
        let type_id = fields.int32()?.cast_unsigned();
        fields.int16()?;
        let modifier = fields.int32()?;
        let format = fields.int16()?;
        columns.push(Field { name, relation, attribute, type_id, modifier, format });
    }
    fields.end()?;
    Ok(columns)
}

/// Reads CommandComplete's tag, and the number of rows that it states.
///
/// # Errors
/// [`Violation::Malformed`].
pub fn command_tag(body: &[u8]) -> Result<(&str, u64), Violation> {
    let mut fields = Fields::of(b'C', body);
    let tag = fields.name()?;
    fields.end()?;
    let rows = tag.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
    Ok((tag, rows))
}

/// Reads ParameterStatus.
///
/// # Errors
/// [`Violation::Malformed`].
pub fn parameter_status(body: &[u8]) -> Result<(&str, &str), Violation> {
    let mut fields = Fields::of(b'S', body);
    let pair = (fields.name()?, fields.name()?);
    fields.end()?;
    Ok(pair)
}

/// Reads the fields of ErrorResponse or NoticeResponse, in order.
///
/// # Errors
/// [`Violation::Malformed`].
pub fn report(kind: u8, body: &[u8]) -> Result<Vec<(u8, String)>, Violation> {
    let mut fields = Fields::of(kind, body);
    let mut all = Vec::new();
    loop {
        match fields.byte()? {
            0 => break,
            code => all.push((code, String::from_utf8_lossy(fields.text()?).into_owned())),
        }
    }
    fields.end()?;
    Ok(all)
}

/// The SQLSTATE among a report's fields.
pub fn sqlstate(report: &[(u8, String)]) -> String {
    report.iter().find(|(code, _)| *code == b'C').map_or_else(|| "XX000".to_owned(), |(_, text)| text.clone())
}

/// Appends an ErrorResponse (`E`) or NoticeResponse (`N`) with these fields.
pub fn put_report(out: &mut Vec<u8>, kind: u8, fields: &[(u8, String)]) {
    let mut body = Vec::new();
    for (code, text) in fields {
        body.push(*code);
        body.extend(text.bytes().filter(|b| *b != 0));
        body.push(0);
    }
    body.push(0);
    put(out, kind, &body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_row_description_is_read() {
        let body = b"\0\x01x\0\0\0\x40\0\0\x05\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\x01";
        let fields = row_description(body).unwrap();
        assert_eq!(
            fields,
            [Field { name: "x".into(), relation: 0x4000, attribute: 5, type_id: 25, modifier: -1, format: 1 }]
        );
        assert!(row_description(&body[..body.len() - 1]).is_err());
    }

    #[test]
    fn tags_state_their_rows() {
        assert_eq!(command_tag(b"INSERT 0 5\0"), Ok(("INSERT 0 5", 5)));
        assert_eq!(command_tag(b"BEGIN\0"), Ok(("BEGIN", 0)));
        assert!(command_tag(b"SELECT 1").is_err());
    }

    proptest! {
        #[test]
        fn no_body_panics(kind: u8, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let outcomes = [
                ready(&body).is_ok(), row_description(&body).is_ok(), command_tag(&body).is_ok(),
                parameter_status(&body).is_ok(), report(kind, &body).is_ok(),
            ];
            prop_assert!(outcomes.len() == 5);
        }

        #[test]
        fn reports_return(texts in proptest::collection::vec("[^\0]{0,40}", 0..10)) {
            let fields: Vec<(u8, String)> = texts.into_iter().map(|t| (b'M', t)).collect();
            let mut frame = Vec::new();
            put_report(&mut frame, b'E', &fields);
            prop_assert_eq!(report(b'E', &frame[5..]).unwrap(), fields);
        }
    }
}
