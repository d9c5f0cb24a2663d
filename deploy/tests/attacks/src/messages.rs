//! What a server says, taken apart as far as the cases need it.

use std::collections::BTreeMap;

/// One thing that happened on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A server message: its type and its body.
    Server(u8, Vec<u8>),
    /// One byte that answers a request for encryption.
    Byte(Vec<u8>),
    /// Nothing came in time.
    Timeout,
    /// The connection is closed.
    Closed,
}

impl Message {
    /// Its type and body, if it is a server's message.
    pub fn server(&self) -> Option<(u8, &[u8])> {
        match self {
            Self::Server(kind, body) => Some((*kind, body)),
            Self::Byte(_) | Self::Timeout | Self::Closed => None,
        }
    }
}

/// Takes big-endian numbers and bytes off the front; zeros and nothing where they are missing.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(count.min(self.0.len()));
        self.0 = tail;
        head
    }

    pub fn i16(&mut self) -> i16 {
        self.take(2).try_into().map(i16::from_be_bytes).unwrap_or(0)
    }

    pub fn i32(&mut self) -> i32 {
        self.take(4).try_into().map(i32::from_be_bytes).unwrap_or(0)
    }

    /// Up to the next NUL.
    pub fn text(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let text = self.take(end);
        self.take(1);
        text
    }
}

/// The values of a row; `None` is NULL.
pub type Row = Vec<Option<Vec<u8>>>;

/// The rows of each result, in order.
pub fn rows(messages: &[Message]) -> Vec<Vec<Row>> {
    let mut results: Vec<Vec<Row>> = Vec::new();
    for (kind, body) in messages.iter().filter_map(Message::server) {
        match kind {
            b'T' => results.push(Vec::new()),
            b'D' => {
                let row = row(body);
                match results.last_mut() {
                    Some(result) => result.push(row),
                    None => results.push(vec![row]),
                }
            }
            _ => {}
        }
    }
    results
}

fn row(body: &[u8]) -> Row {
    let mut bytes = Bytes(body);
    let fields = bytes.i16();
    let mut row = Row::new();
    for _ in 0..fields {
        row.push(usize::try_from(bytes.i32()).ok().map(|length| bytes.take(length).to_vec()));
    }
    row
}

/// The fields of an error or a notice.
pub fn fields(body: &[u8]) -> BTreeMap<char, String> {
    body.split(|byte| *byte == 0)
        .filter_map(|field| {
            let (kind, text) = field.split_first()?;
            Some((char::from(*kind), String::from_utf8_lossy(text).into_owned()))
        })
        .collect()
}

/// A field of an error; empty where it is missing.
pub fn field(body: &[u8], kind: char) -> String {
    fields(body).remove(&kind).unwrap_or_default()
}

/// As ISO 8859-1, in lower case: one byte a character, so that binary values can be searched like text.
pub fn lower(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .map(|byte| match byte {
            b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => byte | 0x20,
            other => *other,
        })
        .collect()
}
