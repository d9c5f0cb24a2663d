//! Messages of the client after the startup phase.

use super::{Fields, MAX_HELD_FRAME, Violation};

/// A message of the client, borrowed from the read buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// `Q`: SQL text.
    Query(&'a [u8]),
    /// `P`: a statement to prepare.
    Parse {
        /// The statement's name, empty for the unnamed one.
        name: &'a str,
        /// SQL text.
        text: &'a [u8],
    },
    /// `B`: a portal to open.
    Bind {
        /// The portal's name, empty for the unnamed one.
        portal: &'a str,
        /// The prepared statement's name.
        statement: &'a str,
        /// Everything behind the names: format codes, parameters, result formats.
        parameters: &'a [u8],
        /// Result format codes, as they stand.
        formats: Formats<'a>,
    },
    /// `D`: describe a statement or a portal.
    Describe(Target<'a>),
    /// `E`: run a portal.
    Execute {
        /// The portal's name.
        portal: &'a str,
        /// Rows at most; 0 for all.
        limit: i32,
    },
    /// `C`: close a statement or a portal.
    Close(Target<'a>),
    /// `S`.
    Sync,
    /// `H`.
    Flush,
    /// `F`: call a function by its object id.
    FunctionCall,
    /// `d`.
    CopyData,
    /// `c`.
    CopyDone,
    /// `f`.
    CopyFail,
    /// `X`.
    Terminate,
}

/// The values of a Bind's parameters, without NULLs; of a malformed one those before the fault.
pub fn values(parameters: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut fields = Fields::of(b'B', parameters);
    let mut left = skip_codes(&mut fields).unwrap_or(0);
    std::iter::from_fn(move || {
        while left > 0 {
            left -= 1;
            if let Some(value) = fields.value().ok()? {
                return Some(value);
            }
        }
        None
    })
}

/// The format codes and values of a Bind's parameters, without the result formats; none if they are malformed.
pub fn bound(parameters: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields::of(b'B', parameters);
    for _ in 0..skip_codes(&mut fields).ok()? {
        fields.value().ok()?;
    }
    parameters.get(..parameters.len().checked_sub(fields.rest().len())?)
}

/// Reads over the format codes and gives the count of values.
fn skip_codes(fields: &mut Fields<'_>) -> Result<usize, Violation> {
    for _ in 0..fields.count()? {
        fields.int16()?;
    }
    fields.count()
}

/// What Describe and Close mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A prepared statement.
    Statement(&'a str),
    /// A portal.
    Portal(&'a str),
}

/// Result format codes of a Bind: none (all text), one for all, or one a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Formats<'a>(&'a [u8]);

impl Formats<'_> {
    /// The codes, as numbers.
    pub fn codes(&self) -> Vec<i16> {
        self.0.as_chunks::<2>().0.iter().map(|code| i16::from_be_bytes(*code)).collect()
    }
}

/// The largest frame of a type that is accepted, and whether it must be held whole.
///
/// # Errors
/// [`Violation::UnknownType`] for a type that clients do not send after the startup phase.
pub fn limit(kind: u8) -> Result<usize, Violation> {
    match kind {
        b'Q' | b'P' | b'B' | b'F' => Ok(MAX_HELD_FRAME),
        b'D' | b'E' | b'C' | b'f' => Ok(10_000),
        b'S' | b'H' | b'c' | b'X' => Ok(5),
        b'd' => Ok(0x4000_0001),
        other => Err(Violation::UnknownType(char::from(other))),
    }
}

/// Reads one message.
///
/// # Errors
/// [`Violation`]: the session ends.
pub fn parse(kind: u8, body: &[u8]) -> Result<Message<'_>, Violation> {
    let mut fields = Fields::of(kind, body);
    let message = match kind {
        b'Q' => Message::Query(fields.text()?),
        b'P' => {
            let (name, text) = (fields.name()?, fields.text()?);
            for _ in 0..fields.count()? {
                fields.int32()?;
            }
            Message::Parse { name, text }
        }
        b'B' => {
            let (portal, statement) = (fields.name()?, fields.name()?);
            let parameters = fields.rest();
            for _ in 0..fields.count()? {
                format(&mut fields)?;
            }
            for _ in 0..fields.count()? {
                fields.value()?;
            }
            let count = fields.count()?;
            let codes = fields.rest();
            for _ in 0..count {
                format(&mut fields)?;
            }
            Message::Bind { portal, statement, parameters, formats: Formats(codes) }
        }
        b'D' => Message::Describe(target(&mut fields)?),
        b'C' => Message::Close(target(&mut fields)?),
        b'E' => Message::Execute { portal: fields.name()?, limit: fields.int32()? },
        b'S' => Message::Sync,
        b'H' => Message::Flush,
        b'c' => Message::CopyDone,
        b'X' => Message::Terminate,
        b'F' => return Ok(Message::FunctionCall),
        b'd' => return Ok(Message::CopyData),
        b'f' => {
            fields.text()?;
            Message::CopyFail
        }
        other => return Err(Violation::UnknownType(char::from(other))),
    };
    fields.end()?;
    Ok(message)
}

/// The type of a parameter by the types as they stand in Parse; 0 where it is not said.
pub fn parameter_type(types: &[u8], place: usize) -> u32 {
    let all = types.get(2..).unwrap_or_default().as_chunks::<4>().0;
    all.get(place).map_or(0, |id| u32::from_be_bytes(*id))
}

fn format(fields: &mut Fields<'_>) -> Result<i16, Violation> {
    match fields.int16()? {
        code @ (0 | 1) => Ok(code),
        _ => Err(fields.malformed("a format code is neither 0 nor 1")),
    }
}

fn target<'a>(fields: &mut Fields<'a>) -> Result<Target<'a>, Violation> {
    match fields.byte()? {
        b'S' => Ok(Target::Statement(fields.name()?)),
        b'P' => Ok(Target::Portal(fields.name()?)),
        _ => Err(fields.malformed("it names neither a statement nor a portal")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn well_formed_messages_are_read() {
        assert_eq!(parse(b'Q', b"select 1\0"), Ok(Message::Query(b"select 1")));
        assert_eq!(
            parse(b'P', b"s\0select $1\0\0\x01\0\0\0\x17"),
            Ok(Message::Parse { name: "s", text: b"select $1" })
        );
        let bind = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\x01";
        let Ok(Message::Bind { portal: "p", statement: "s", parameters, formats }) = parse(b'B', bind) else {
            panic!()
        };
        assert_eq!(parameters, &bind[4..]);
        assert_eq!(formats.codes(), [1]);
        assert_eq!(bound(parameters), Some(&bind[4..bind.len() - 4]));
        assert_eq!(bound(b"\0\x02\0\0"), None);
        assert_eq!(parse(b'E', b"\0\0\0\0\x05"), Ok(Message::Execute { portal: "", limit: 5 }));
        assert_eq!(parse(b'D', b"Ss\0"), Ok(Message::Describe(Target::Statement("s"))));
        assert_eq!(parse(b'S', b""), Ok(Message::Sync));
    }

    #[test]
    fn hostile_bodies_are_refused() {
        let table: &[(u8, &[u8])] = &[
            (b'Q', b"select 1"),                           // no end
            (b'Q', b"select 1\0select 2\0"),               // a second query behind the first
            (b'P', b"s\0select 1\0\x7f\xff"),              // more types than bytes
            (b'P', b"s\0select 1\0\xff\xff"),              // a negative count
            (b'P', b"\xff\0select 1\0\0\0"),               // a name that is not UTF-8
            (b'B', b"\0\0\0\0\0\x01\0\0\0\x09x\0\0"),      // a value beyond the end
            (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"), // a length of -2
            (b'B', b"\0\0\0\x01\0\x02\0\0\0\0"),           // a format code of 2
            (b'B', b"\0\0\0\0\0\0\0\0\0"),                 // a byte too many
            (b'D', b"Xs\0"),                               // neither statement nor portal
            (b'E', b"\0\0\0\0"),                           // a limit cut short
            (b'S', b"\0"),                                 // a body where none may be
            (b'p', b"password\0"),                         // only in the startup phase
            (b'\0', b""),
        ];
        for (kind, body) in table {
            assert!(parse(*kind, body).is_err(), "{:?} {body:?}", char::from(*kind));
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(kind: u8, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read = parse(kind, &body);
            prop_assert!(limit(kind).is_ok() || read.is_err());
        }
    }
}
