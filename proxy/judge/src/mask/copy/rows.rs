//! Cuts COPY data into rows and rows into values, in the layouts that COPY has.

use super::{Error, MAX_ROW};
use crate::sql::{CopyFormat, CopyLayout};

/// What a binary COPY begins with.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Longest extension of a binary COPY's head.
const MAX_EXTENSION: usize = 1 << 16;

/// A whole piece of the stream.
pub(super) enum Piece<'a> {
    /// No values: the head, the header line, the end.
    Head(&'a [u8]),
    /// A row; in binary the count of its values and the values, as in a DataRow.
    Row(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Rows,
    Done,
}

/// A stream that is cut into rows.
#[derive(Debug)]
pub(super) struct Rows {
    format: CopyFormat,
    state: State,
    held: Vec<u8>,
    /// Bytes of `held` that were looked at for a line's end, and whether they end inside of quotes, after an escape.
    seen: usize,
    inside: bool,
    escaped: bool,
}

impl Rows {
    pub(super) fn new(format: CopyFormat) -> Self {
        let begins = format.layout == CopyLayout::Binary || format.header;
        let state = if begins { State::Head } else { State::Rows };
        Self { format, state, held: Vec::new(), seen: 0, inside: false, escaped: false }
    }

    /// Takes bytes, and gives each piece that is whole now.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&CopyFormat, Piece<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut held = std::mem::take(&mut self.held);
        // most pieces are whole rows, and need not be held
        let direct = held.is_empty();
        if !direct {
            held.extend_from_slice(bytes);
        }
        let all = if direct { bytes } else { held.as_slice() };
        let mut done = 0;
        while let Some(rest) = all.get(done..).filter(|rest| !rest.is_empty()) {
            let Some((length, head)) = self.next(rest)? else { break };
            let piece = rest.get(..length).ok_or(Error::Malformed)?;
            each(&self.format, if head { Piece::Head(piece) } else { Piece::Row(piece) })?;
            done += length;
        }
        if all.len() - done > MAX_ROW {
            return Err(Error::TooLarge { bytes: all.len() - done });
        }
        if direct {
            held.extend_from_slice(bytes.get(done..).unwrap_or_default());
        } else {
            held.drain(..done);
        }
        self.held = held;
        Ok(())
    }

    /// Nothing is left over.
    pub(super) fn end(&self) -> Result<(), Error> {
        let whole = self.state == State::Done
            || self.state == State::Rows && self.format.layout != CopyLayout::Binary
            // a header that never came: nothing came at all
            || self.state == State::Head && self.format.layout != CopyLayout::Binary;
        if self.held.is_empty() && whole { Ok(()) } else { Err(Error::Malformed) }
    }

    /// The length of the next piece and whether it is no row; `None` where it is not whole yet.
    fn next(&mut self, rest: &[u8]) -> Result<Option<(usize, bool)>, Error> {
        if self.format.layout == CopyLayout::Binary {
            return self.binary(rest);
        }
        let Some(length) = self.line(rest) else { return Ok(None) };
        let head = self.state == State::Head;
        self.state = State::Rows;
        Ok(Some((length, head)))
    }

    /// The length of a line with its end.
    fn line(&mut self, rest: &[u8]) -> Option<usize> {
        let csv = self.format.layout == CopyLayout::Csv;
        let (quote, escape) = (self.format.quote, self.format.escape);
        for (at, &byte) in rest.iter().enumerate().skip(self.seen) {
            if byte == b'\n' && !self.inside {
                (self.seen, self.escaped) = (0, false);
                return Some(at + 1);
            }
            if !csv {
                continue;
            }
            if self.escaped {
                self.escaped = false;
            } else if self.inside && byte == escape && escape != quote {
                self.escaped = true;
            } else if byte == quote {
                self.inside = !self.inside;
            }
        }
        self.seen = rest.len();
        None
    }

    fn binary(&mut self, rest: &[u8]) -> Result<Option<(usize, bool)>, Error> {
        match self.state {
            State::Head => {
                let known = rest.len().min(SIGNATURE.len());
                if rest.get(..known) != SIGNATURE.get(..known) {
                    return Err(Error::Malformed);
                }
                let (Some(flags), Some(extension)) = (number(rest, 11), number(rest, 15)) else { return Ok(None) };
                let extension = usize::try_from(extension).ok().filter(|length| *length <= MAX_EXTENSION);
                // no flag is known that changes how rows are read
                let (0, Some(extension)) = (flags, extension) else { return Err(Error::Malformed) };
                if rest.len() < 19 + extension {
                    return Ok(None);
                }
                self.state = State::Rows;
                Ok(Some((19 + extension, true)))
            }
            State::Rows => {
                let Some(count) = rest.first_chunk::<2>().map(|bytes| i16::from_be_bytes(*bytes)) else {
                    return Ok(None);
                };
                if count == -1 {
                    self.state = State::Done;
                    return Ok(Some((2, true)));
                }
                let count = u16::try_from(count).map_err(|_| Error::Malformed)?;
                let mut at = 2;
                for _ in 0..count {
                    let Some(length) = number(rest, at) else { return Ok(None) };
                    at += 4;
                    if length != -1 {
                        at += usize::try_from(length).map_err(|_| Error::Malformed)?;
                    }
                    if at > rest.len() {
                        return Ok(None);
                    }
                }
                Ok(Some((at, false)))
            }
            State::Done => Err(Error::Malformed),
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes))
}

/// The values of a line, as they stand in it.
pub(super) fn fields<'a>(format: &CopyFormat, line: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let (delimiter, quote, escape) = (format.delimiter, format.quote, format.escape);
    let csv = format.layout == CopyLayout::Csv;
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let (mut inside, mut escaped) = (false, false);
        let end = line.iter().position(|&byte| {
            if escaped {
                escaped = false;
                return false;
            }
            if csv {
                if inside && byte == escape && escape != quote {
                    escaped = true;
                } else if byte == quote {
                    inside = !inside;
                }
            } else if byte == b'\\' {
                escaped = true;
            }
            byte == delimiter && !inside
        });
        let (field, after) = match end {
            Some(end) => (line.get(..end).unwrap_or_default(), line.get(end + 1..)),
            None => (line, None),
        };
        rest = after;
        Some(field)
    })
}

/// Puts the value that a field stands for into `value`, and says whether it was quoted; `None` where it is malformed.
pub(super) fn decode(format: &CopyFormat, raw: &[u8], value: &mut Vec<u8>) -> Option<bool> {
    value.clear();
    if format.layout == CopyLayout::Text {
        unescape(raw, value)?;
        return Some(false);
    }
    let mut quoted = false;
    let (mut inside, mut bytes) = (false, raw.iter().copied().peekable());
    while let Some(byte) = bytes.next() {
        if inside && byte == format.escape && bytes.peek().is_some_and(|b| *b == format.quote || *b == format.escape) {
            value.push(bytes.next()?);
        } else if byte == format.quote {
            inside = !inside;
            quoted = true;
        } else {
            value.push(byte);
        }
    }
    (!inside).then_some(quoted)
}

/// As PostgreSQL reads COPY's text, octal and hexadecimal digits too.
fn unescape(raw: &[u8], value: &mut Vec<u8>) -> Option<()> {
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            value.push(byte);
            continue;
        }
        let (&letter, after) = rest.split_first()?;
        rest = after;
        let digits = |radix: u32, most: usize, rest: &[u8]| {
            let count = rest.iter().take(most).take_while(|b| char::from(**b).is_digit(radix)).count();
            let number = rest.iter().take(count).filter_map(|b| char::from(*b).to_digit(radix));
            (count, number.fold(0u32, |sum, digit| sum * radix + digit))
        };
        let (skip, plain) = match letter {
            b'b' => (0, 8),
            b'f' => (0, 12),
            b'n' => (0, b'\n'),
            b'r' => (0, b'\r'),
            b't' => (0, b'\t'),
            b'v' => (0, 11),
            b'0'..=b'7' => {
                let (count, number) = digits(8, 2, rest);
                (
                    count,
                    u8::try_from((u32::from(letter - b'0') * 8u32.pow(u32::try_from(count).ok()?) + number) & 0xff)
                        .ok()?,
                )
            }
            b'x' => match digits(16, 2, rest) {
                (0, _) => (0, b'x'),
                (count, number) => (count, u8::try_from(number).ok()?),
            },
            other => (0, other),
        };
        value.push(plain);
        rest = rest.get(skip..)?;
    }
    Some(())
}

/// Appends a value as a field.
pub(super) fn encode(format: &CopyFormat, value: &[u8], quoted: bool, out: &mut Vec<u8>) {
    if format.layout == CopyLayout::Text {
        for &byte in value {
            match byte {
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                b'\\' => out.extend_from_slice(b"\\\\"),
                _ if byte == format.delimiter => out.extend_from_slice(&[b'\\', byte]),
                _ => out.push(byte),
            }
        }
        return;
    }
    let special = |b: &u8| *b == format.delimiter || *b == format.quote || matches!(b, b'\n' | b'\r');
    if !quoted && !value.iter().any(special) && value != format.null.as_bytes() && value != b"\\." {
        out.extend_from_slice(value);
        return;
    }
    out.push(format.quote);
    for &byte in value {
        if byte == format.quote || byte == format.escape {
            out.push(format.escape);
        }
        out.push(byte);
    }
    out.push(format.quote);
}
