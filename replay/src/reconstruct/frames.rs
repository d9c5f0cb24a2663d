//! A direction's recorded stream, frame by frame, for people and programs that read JSON.
//!
//! Only the envelope is read here: type, length, bytes. What a frame says is the timeline's business.

use schemas::event::Direction;
use serde::Serialize;

/// One frame of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// Where it begins in the stream, in bytes.
    pub offset: usize,
    /// Its type's letter.
    pub tag: char,
    /// Its type's name in PostgreSQL's documentation.
    pub name: &'static str,
    /// Its whole length, in bytes.
    pub length: usize,
    /// What follows the length field.
    #[serde(with = "schemas::codec::blob")]
    pub payload: Vec<u8>,
}

/// Splits a stream into frames, and what is left at its end: an unfinished frame, or bytes that are none.
pub fn split(direction: Direction, stream: &[u8]) -> (Vec<Frame>, &[u8]) {
    let mut frames = Vec::new();
    let mut rest = stream;
    while let Some((tag, length)) = header(rest) {
        let Some((frame, after)) = rest.split_at_checked(length) else { break };
        frames.push(Frame {
            offset: stream.len() - rest.len(),
            tag: char::from(tag),
            name: name(direction, tag),
            length,
            payload: frame.get(HEADER..).unwrap_or_default().to_vec(),
        });
        rest = after;
    }
    (frames, rest)
}

/// The type's letter, and the length field, which counts itself but not the letter.
const HEADER: usize = 5;

fn header(bytes: &[u8]) -> Option<(u8, usize)> {
    let (tag, rest) = bytes.split_first()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_add(1)?;
    (length >= HEADER).then_some((*tag, length))
}

fn name(direction: Direction, tag: u8) -> &'static str {
    match (direction, tag) {
        (Direction::Client, b'B') => "Bind",
        (Direction::Client, b'C') => "Close",
        (Direction::Client, b'D') => "Describe",
        (Direction::Client, b'E') => "Execute",
        (Direction::Client, b'F') => "FunctionCall",
        (Direction::Client, b'H') => "Flush",
        (Direction::Client, b'P') => "Parse",
        (Direction::Client, b'Q') => "Query",
        (Direction::Client, b'S') => "Sync",
        (Direction::Client, b'X') => "Terminate",
        (Direction::Client, b'f') => "CopyFail",
        (_, b'c') => "CopyDone",
        (_, b'd') => "CopyData",
        (Direction::Server, b'1') => "ParseComplete",
        (Direction::Server, b'2') => "BindComplete",
        (Direction::Server, b'3') => "CloseComplete",
        (Direction::Server, b'A') => "NotificationResponse",
        (Direction::Server, b'C') => "CommandComplete",
        (Direction::Server, b'D') => "DataRow",
        (Direction::Server, b'E') => "ErrorResponse",
        (Direction::Server, b'G') => "CopyInResponse",
        (Direction::Server, b'H') => "CopyOutResponse",
        (Direction::Server, b'I') => "EmptyQueryResponse",
        (Direction::Server, b'N') => "NoticeResponse",
        (Direction::Server, b'S') => "ParameterStatus",
        (Direction::Server, b'T') => "RowDescription",
        (Direction::Server, b'V') => "FunctionCallResponse",
        (Direction::Server, b'W') => "CopyBothResponse",
        (Direction::Server, b'Z') => "ReadyForQuery",
        (Direction::Server, b'n') => "NoData",
        (Direction::Server, b's') => "PortalSuspended",
        (Direction::Server, b't') => "ParameterDescription",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_the_rest_are_the_stream() {
        let stream = b"Q\0\0\0\x0eselect 1;\0S\0\0\0\x04X\0\0";
        let (frames, rest) = split(Direction::Client, stream);
        let seen: Vec<_> = frames.iter().map(|f| (f.offset, f.name, f.length, f.payload.as_slice())).collect();
        assert_eq!(seen, [(0, "Query", 15, b"select 1;\0".as_slice()), (15, "Sync", 5, b"".as_slice())]);
        assert_eq!(rest, b"X\0\0");
    }

    #[test]
    fn hostile_lengths_end_the_list() {
        for stream in [b"Q\0\0\0\x03".as_slice(), b"Q\xff\xff\xff\xff...", b"Q\0\0\0\0"] {
            assert_eq!(split(Direction::Client, stream), (vec![], stream));
        }
    }
}
