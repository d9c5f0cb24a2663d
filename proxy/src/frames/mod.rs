//! Frames of the PostgreSQL protocol, version 3: where one begins and ends, and what is in those that the gate must
//! understand. The only module that knows byte offsets.
//!
//! A frame is a type byte, a length (which counts itself, not the type) and a body. Nothing here copies: a frame is a
//! slice of the read buffer. Parsing is strict: a body must be exactly what its length says, no byte more, or the
//! session ends with 08P01. Source: <https://www.postgresql.org/docs/15/protocol-message-formats.html>.

pub mod backend;
pub mod frontend;
mod reader;

pub use reader::Reader;

/// Bytes of a frame's head: type and length.
pub const HEAD: usize = 5;

/// Largest frame that is held whole before it goes on: SQL text, Bind, row descriptions, masked rows. PostgreSQL takes
/// up to 1 GiB; what is larger than this here is refused with the reason.
pub const MAX_HELD_FRAME: usize = 64 << 20;

/// Largest error, notice, parameter status, notification: more than PostgreSQL sends in practice.
pub const MAX_REPORT_FRAME: usize = 1 << 20;

/// The peer did not speak the protocol. The session ends (08P01); nothing of the frame goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A type byte that the protocol does not have in this direction.
    #[error("unknown message type {0:?}")]
    UnknownType(char),
    /// A length below four, or one over the cap.
    #[error("message {kind:?} states a length of {length} bytes, the limit is {limit}")]
    Length {
        /// The type byte.
        kind: char,
        /// The stated length.
        length: usize,
        /// The cap for that type.
        limit: usize,
    },
    /// A body that is not what its type demands.
    #[error("message {kind:?} is malformed: {what}")]
    Malformed {
        /// The type byte.
        kind: char,
        /// What is wrong.
        what: &'static str,
    },
    /// A message that may not come now.
    #[error("message {kind:?} may not come {when}")]
    OutOfPlace {
        /// The type byte.
        kind: char,
        /// In which state.
        when: &'static str,
    },
}

/// The head of a frame: its type, and the bytes of the whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The type byte.
    pub kind: u8,
    /// Head and body.
    pub total: usize,
}

/// Reads a head at the front of `bytes`; `None` if it is not all there yet.
///
/// # Errors
/// [`Violation::Length`] for a length that cannot be.
pub fn head(bytes: &[u8]) -> Result<Option<Head>, Violation> {
    let Some(([kind, length @ ..], _)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if !(4..=0x4000_0000).contains(&length) {
        return Err(Violation::Length { kind: char::from(*kind), length, limit: 0x4000_0000 });
    }
    Ok(Some(Head { kind: *kind, total: length + 1 }))
}

/// Appends a frame.
pub fn put(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
}

/// Reads fields off the front of a body, strictly.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    kind: char,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Begins at the front of the body of a frame of type `kind`.
    pub fn of(kind: u8, body: &'a [u8]) -> Self {
        Self { kind: char::from(kind), rest: body }
    }

    fn malformed(&self, what: &'static str) -> Violation {
        Violation::Malformed { kind: self.kind, what }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// A string up to its NUL.
    ///
    /// # Errors
    /// [`Violation::Malformed`] without a NUL.
    pub fn text(&mut self) -> Result<&'a [u8], Violation> {
        let end = self.rest.iter().position(|b| *b == 0).ok_or_else(|| self.malformed("a string has no end"))?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(text)
    }

    /// A name: a string of UTF-8.
    ///
    /// # Errors
    /// [`Violation::Malformed`].
    pub fn name(&mut self) -> Result<&'a str, Violation> {
        let text = self.text()?;
        std::str::from_utf8(text).map_err(|_| self.malformed("a string is not UTF-8"))
    }

    /// A 16-bit count or format code.
    ///
    /// # Errors
    /// [`Violation::Malformed`] where the body ends before it.
    pub fn int16(&mut self) -> Result<i16, Violation> {
        self.chunk().map(i16::from_be_bytes)
    }

    /// A 32-bit number.
    ///
    /// # Errors
    /// [`Violation::Malformed`] where the body ends before it.
    pub fn int32(&mut self) -> Result<i32, Violation> {
        self.chunk().map(i32::from_be_bytes)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Violation::Malformed`] where the body ends before it.
    pub fn byte(&mut self) -> Result<u8, Violation> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or_else(|| self.malformed("it is too short"))?;
        self.rest = rest;
        Ok(*chunk)
    }

    /// A value with its length before it; `None` for NULL.
    ///
    /// # Errors
    /// [`Violation::Malformed`] for a length that goes beyond the body.
    pub fn value(&mut self) -> Result<Option<&'a [u8]>, Violation> {
        let length = self.int32()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| self.malformed("a value has a negative length"))?;
        let (value, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| self.malformed("a value is longer than the message"))?;
        self.rest = rest;
        Ok(Some(value))
    }

    /// A count that is not negative.
    ///
    /// # Errors
    /// [`Violation::Malformed`].
    pub fn count(&mut self) -> Result<usize, Violation> {
        usize::try_from(self.int16()?).map_err(|_| self.malformed("a count is negative"))
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`Violation::Malformed`] if bytes are left.
    pub fn end(&self) -> Result<(), Violation> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed("it has bytes left over")) }
    }
}
