//! Recorded protocol bytes, taken apart: a strict decoder that never panics, and the exact stream of one direction.
//!
//! It serves those who read a record ([`crate::play`], forensics, exports), not the gate: it copies freely and holds a
//! whole stream. Bytes may be hostile: every length is checked against what is there, and a frame that does not hold is
//! an error, never a guess.
//! Source: PostgreSQL documentation, "Message Formats".

use schemas::event::{Body, Direction, Event, PayloadCodec};
use serde::Serialize;

/// Recorded bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The recorded stream has a hole.
    #[error("the recorded stream goes on at byte {found}, after byte {expected}")]
    Hole {
        /// The byte that should come next.
        expected: u64,
        /// The byte that comes.
        found: u64,
    },
    /// A run is sealed, or only its digest was kept.
    #[error("the run at byte {offset} holds no plain bytes ({codec})")]
    NotPlain {
        /// Where the run begins in its stream.
        offset: u64,
        /// `sealed` or `digest only`.
        codec: &'static str,
    },
    /// A frame's length is impossible.
    #[error("the frame at byte {at} states a length of {length}")]
    Length {
        /// Where the frame begins.
        at: usize,
        /// What it states.
        length: i32,
    },
    /// The bytes end within a frame.
    #[error("the bytes end within the frame that begins at byte {at}")]
    Truncated {
        /// Where the frame begins.
        at: usize,
    },
    /// The content of a message is not of its form.
    #[error("a {message} message is malformed")]
    Message {
        /// The message.
        message: &'static str,
    },
}

/// The bytes of one direction, exactly as the client sent or received them after the startup phase.
///
/// # Errors
/// [`Error::Hole`] and [`Error::NotPlain`]: what cannot be given exactly is not given.
pub fn stream(events: &[Event], direction: Direction) -> Result<Vec<u8>, Error> {
    let (bytes, problem) = prefix(events, direction);
    problem.map_or(Ok(bytes), Err)
}

/// As [`stream`], but gives what comes before the first problem, with the problem.
pub fn prefix(events: &[Event], direction: Direction) -> (Vec<u8>, Option<Error>) {
    let mut bytes = Vec::new();
    for event in events {
        let Body::Frames(run) = &event.body else { continue };
        if run.direction != direction {
            continue;
        }
        let expected = bytes.len() as u64;
        if run.offset != expected {
            return (bytes, Some(Error::Hole { expected, found: run.offset }));
        }
        let codec = match run.payload.codec {
            PayloadCodec::Plain => {
                bytes.extend_from_slice(&run.payload.bytes);
                continue;
            }
            PayloadCodec::SealedZstd => "sealed",
            PayloadCodec::Digest | PayloadCodec::SealedDigest => "digest only",
        };
        return (bytes, Some(Error::NotPlain { offset: run.offset, codec }));
    }
    (bytes, None)
}

/// The bytes of one direction without the rows that the record does not keep.
#[derive(Debug, Default)]
pub struct Kept {
    /// What was kept, up to the first problem.
    pub bytes: Vec<u8>,
    /// Where in `bytes` rows are left out, ascending, and how many.
    pub left_out: Vec<(usize, u64)>,
    /// Why it does not go on.
    pub problem: Option<Error>,
}

/// The bytes of one direction, where rows may be left out. Only whole frames are left out: what is kept are frames.
pub fn kept(events: &[Event], direction: Direction) -> Kept {
    let mut kept = Kept::default();
    let (mut offset, mut unknown) = (0, false);
    for event in events {
        let Body::Frames(run) = &event.body else { continue };
        if run.direction != direction {
            continue;
        }
        // how long a run is that was left out, the next one says
        if run.offset != offset && !(unknown && run.offset > offset) {
            kept.problem = Some(Error::Hole { expected: offset, found: run.offset });
            return kept;
        }
        offset = run.offset;
        unknown = false;
        match run.payload.codec {
            PayloadCodec::Plain => {
                kept.bytes.extend_from_slice(&run.payload.bytes);
                offset += run.payload.bytes.len() as u64;
            }
            PayloadCodec::Digest | PayloadCodec::SealedDigest => {
                kept.left_out.push((kept.bytes.len(), u64::from(run.frames)));
                unknown = true;
            }
            PayloadCodec::SealedZstd => {
                kept.problem = Some(Error::NotPlain { offset, codec: "sealed" });
                return kept;
            }
        }
    }
    kept
}

/// One message: a type byte, a length, a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The type byte.
    pub tag: u8,
    /// What comes after the length.
    pub body: &'a [u8],
}

/// The frames of a stream, in order. Ends after an error.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    /// Takes a stream apart that begins with a frame.
    pub fn new(stream: &'a [u8]) -> Self {
        Self { rest: stream, at: 0 }
    }

    /// Where the next frame begins in the stream.
    pub fn position(&self) -> usize {
        self.at
    }

    fn frame(&mut self) -> Result<Frame<'a>, Error> {
        let at = self.at;
        let truncated = || Error::Truncated { at };
        let (tag, rest) = self.rest.split_first().ok_or_else(truncated)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        let length = i32::from_be_bytes(*length);
        let body = usize::try_from(length).ok().and_then(|n| n.checked_sub(4)).ok_or(Error::Length { at, length })?;
        let (body, rest) = rest.split_at_checked(body).ok_or_else(truncated)?;
        self.rest = rest;
        self.at += body.len() + 5;
        Ok(Frame { tag: *tag, body })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = self.frame();
        if frame.is_err() {
            self.rest = &[];
        }
        Some(frame)
    }
}

/// Reads a message's fields from its front.
struct Cursor<'a> {
    rest: &'a [u8],
    message: &'static str,
}

impl<'a> Cursor<'a> {
    fn new(rest: &'a [u8], message: &'static str) -> Self {
        Self { rest, message }
    }

    fn bad(&self) -> Error {
        Error::Message { message: self.message }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (chunk, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.bad())?;
        self.rest = rest;
        Ok(*chunk)
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or_else(|| self.bad())?;
        self.rest = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> Result<i16, Error> {
        self.chunk().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, Error> {
        self.chunk().map(i32::from_be_bytes)
    }

    /// A count of items of at least `size` bytes each: never more than the bytes that are there can hold.
    fn count(&mut self, size: usize) -> Result<usize, Error> {
        let count = usize::from(self.i16()?.cast_unsigned());
        if count.saturating_mul(size) > self.rest.len() { Err(self.bad()) } else { Ok(count) }
    }

    fn string(&mut self) -> Result<String, Error> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or_else(|| self.bad())?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn value(&mut self) -> Result<Option<&'a [u8]>, Error> {
        match self.i32()? {
            -1 => Ok(None),
            length => self.take(usize::try_from(length).map_err(|_| self.bad())?).map(Some),
        }
    }

    fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.bad()) }
    }
}

/// A column of a RowDescription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The relation that it comes from; 0 where it is no column.
    pub table: u32,
    /// Its attribute number there.
    pub attribute: i16,
    /// The type's OID.
    pub type_oid: u32,
    /// Whether values come in binary.
    pub binary: bool,
}

/// Reads a RowDescription (`T`).
///
/// # Errors
/// [`Error::Message`].
pub fn row_description(body: &[u8]) -> Result<Vec<Field>, Error> {
    let mut cursor = Cursor::new(body, "RowDescription");
    let count = cursor.count(19)?;
    let mut fields = Vec::with_capacity(count);
    for _ in 0..count {
        let name = cursor.string()?;
        let table = cursor.i32()?.cast_unsigned();
        let attribute = cursor.i16()?;
        let type_oid = cursor.i32()?.cast_unsigned();
        cursor.take(6)?; // size and modifier of the type
        let binary = cursor.i16()? == 1;
        fields.push(Field { name, table, attribute, type_oid, binary });
    }
    cursor.end().map(|()| fields)
}

/// Reads a DataRow (`D`): its values, `None` for NULL.
///
/// # Errors
/// [`Error::Message`].
pub fn data_row(body: &[u8]) -> Result<Vec<Option<&[u8]>>, Error> {
    let mut cursor = Cursor::new(body, "DataRow");
    let count = cursor.count(4)?;
    let values = (0..count).map(|_| cursor.value()).collect::<Result<_, _>>()?;
    cursor.end().map(|()| values)
}

/// Reads a CommandComplete (`C`): its tag.
///
/// # Errors
/// [`Error::Message`].
pub fn command_complete(body: &[u8]) -> Result<String, Error> {
    let mut cursor = Cursor::new(body, "CommandComplete");
    let tag = cursor.string()?;
    cursor.end().map(|()| tag)
}

/// The fields of an error or a notice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// `ERROR`, `NOTICE`, ....
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The place in the text, in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
}

/// Reads an ErrorResponse (`E`) or a NoticeResponse (`N`).
///
/// # Errors
/// [`Error::Message`].
pub fn diagnostic(body: &[u8]) -> Result<Diagnostic, Error> {
    let mut cursor = Cursor::new(body, "ErrorResponse");
    let mut read = Diagnostic::default();
    loop {
        let [kind] = cursor.chunk::<1>()?;
        if kind == 0 {
            return cursor.end().map(|()| read);
        }
        let text = cursor.string()?;
        match kind {
            b'S' if read.severity.is_empty() => read.severity = text,
            b'V' => read.severity = text, // not translated, unlike S
            b'C' => read.code = text,
            b'M' => read.message = text,
            b'D' => read.detail = Some(text),
            b'H' => read.hint = Some(text),
            b'P' => read.position = Some(text),
            _ => {}
        }
    }
}

/// The values that a Bind message carries, as a Statement event keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The values with whether each is binary; `None` for NULL.
    pub values: Vec<(bool, Option<Vec<u8>>)>,
    /// Whether the result columns are to come in binary: none, one for all, or one each.
    pub results: Vec<bool>,
}

impl Bound {
    /// Whether a result column comes in binary.
    pub fn binary_result(&self, column: usize) -> bool {
        match self.results.as_slice() {
            [] => false,
            [all] => *all,
            each => each.get(column).copied().unwrap_or(false),
        }
    }
}

/// Reads format codes, parameters and result formats as they stand in a Bind message.
///
/// # Errors
/// [`Error::Message`].
pub fn bound(bytes: &[u8]) -> Result<Bound, Error> {
    let mut cursor = Cursor::new(bytes, "Bind");
    let formats = formats(&mut cursor)?;
    let count = cursor.count(4)?;
    if formats.len() > 1 && formats.len() != count {
        return Err(cursor.bad());
    }
    let mut values = Vec::with_capacity(count);
    for index in 0..count {
        let binary = if formats.len() == 1 { formats.first() } else { formats.get(index) };
        values.push((binary.copied().unwrap_or(false), cursor.value()?.map(<[u8]>::to_vec)));
    }
    let results = self::formats(&mut cursor)?;
    cursor.end().map(|()| Bound { values, results })
}

fn formats(cursor: &mut Cursor<'_>) -> Result<Vec<bool>, Error> {
    let count = cursor.count(2)?;
    (0..count)
        .map(|_| match cursor.i16()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(cursor.bad()),
        })
        .collect()
}

/// A value for people: text as it is, a binary number or boolean in digits, other binary in hexadecimal.
pub fn shown(bytes: &[u8], type_oid: u32, binary: bool) -> String {
    const BOOL: u32 = 16;
    const INT8: u32 = 20;
    const INT2: u32 = 21;
    const INT4: u32 = 23;
    const TEXT: [u32; 6] = [18, 19, 25, 114, 1042, 1043];
    const FLOAT4: u32 = 700;
    const FLOAT8: u32 = 701;
    if !binary || TEXT.contains(&type_oid) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    match (type_oid, bytes) {
        (BOOL, [0]) => "f".to_owned(),
        (BOOL, [1]) => "t".to_owned(),
        (INT2, [a, b]) => i16::from_be_bytes([*a, *b]).to_string(),
        (INT4, [a, b, c, d]) => i32::from_be_bytes([*a, *b, *c, *d]).to_string(),
        (FLOAT4, [a, b, c, d]) => f32::from_be_bytes([*a, *b, *c, *d]).to_string(),
        (INT8, [a, b, c, d, e, f, g, h]) => i64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]).to_string(),
        (FLOAT8, [a, b, c, d, e, f, g, h]) => f64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]).to_string(),
        _ => format!("\\x{}", schemas::chain::hexadecimal(bytes)),
    }
}

#[cfg(test)]
pub(crate) mod tests;
