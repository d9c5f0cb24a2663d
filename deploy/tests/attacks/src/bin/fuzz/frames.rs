//! Frames of both directions, whole and damaged.

use crate::{random::Random, rows::damage};
use proxy::frames::{self, HEAD, Reader, backend, frontend};

/// Bodies that are right, with their types.
const CLIENT: [(u8, &[u8]); 16] = [
    (b'Q', b"SELECT 1\0"),
    (b'P', b"s\0SELECT $1\0\0\x01\0\0\0\x17"),
    (b'B', b"p\0s\0\0\x01\0\0\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\x01"),
    (b'D', b"Sname\0"),
    (b'D', b"P\0"),
    (b'E', b"p\0\0\0\0\x05"),
    (b'C', b"Pp\0"),
    (b'S', b""),
    (b'H', b""),
    (b'X', b""),
    (b'd', b"1\tx\n"),
    (b'c', b""),
    (b'f', b"no\0"),
    (b'F', b"\0\0\x04\xd2\0\0\0\0\0\0"),
    (b'p', b"secret\0"),
    (b'z', b"unknown"),
];

const SERVER: [(u8, &[u8]); 12] = [
    (b'T', b"\0\x01name\0\0\0\x40\0\0\x01\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"),
    (b'D', b"\0\x02\0\0\0\x01x\xff\xff\xff\xff"),
    (b'C', b"SELECT 5\0"),
    (b'E', b"SERROR\0C42501\0Mno\0\0"),
    (b'N', b"SNOTICE\0C00000\0Mso\0\0"),
    (b'Z', b"I"),
    (b'S', b"TimeZone\0UTC\0"),
    (b'A', b"\0\0\0\x01channel\0payload\0"),
    (b'G', b"\0\0\x01\0\0"),
    (b'H', b"\x01\0\x01\0\x01"),
    (b't', b"\0\x01\0\0\0\x17"),
    (b'1', b""),
];

/// Puts frames through the readers in pieces; every frame is at most as long as what was sent.
///
/// # Errors
/// What must not be.
pub fn check(random: &mut Random) -> Result<bool, String> {
    let client = random.one_in(2);
    let mut stream = Vec::new();
    for _ in 0..=random.below(6) {
        let from: &[(u8, &[u8])] = if client { &CLIENT } else { &SERVER };
        let (kind, body) = random.pick(from).copied().unwrap_or((b'S', b""));
        let mut body = body.to_vec();
        if random.one_in(2) {
            damage(&mut body, random);
        }
        frames::put(&mut stream, kind, &body);
    }
    if random.one_in(2) {
        damage(&mut stream, random);
    }
    let mut reader = Reader::default();
    let mut rest = stream.as_slice();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(random.below(40) + 1));
        let room = reader.room(piece.len());
        if room.len() < piece.len() {
            return Err("the reader has no room for what was asked".to_owned());
        }
        for (slot, byte) in room.iter_mut().zip(piece) {
            *slot = *byte;
        }
        reader.filled(piece.len());
        rest = after;
        if !walk(&mut reader, client)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// False: the stream is refused.
fn walk(reader: &mut Reader, client: bool) -> Result<bool, String> {
    loop {
        let unread = reader.unread();
        let Ok(head) = frames::head(unread) else { return Ok(false) };
        let Some(head) = head else { return Ok(true) };
        let limit = if client { frontend::limit(head.kind) } else { backend::limit(head.kind) };
        let Ok(limit) = limit else { return Ok(false) };
        if head.total > limit {
            return Ok(false);
        }
        if head.total < HEAD {
            return Err(format!("a frame of {} bytes", head.total));
        }
        let Some(frame) = unread.get(..head.total) else { return Ok(true) };
        let body = frame.get(HEAD..).unwrap_or_default();
        let good = if client { client_frame(head.kind, body) } else { server_frame(head.kind, body) };
        if !good {
            return Ok(false);
        }
        reader.consume(head.total);
    }
}

fn client_frame(kind: u8, body: &[u8]) -> bool {
    let Ok(message) = frontend::parse(kind, body) else { return false };
    if let frontend::Message::Bind { parameters, formats, .. } = message {
        let taken: usize = frontend::values(parameters).map(<[u8]>::len).sum();
        return taken <= body.len() && formats.codes().len() <= body.len();
    }
    true
}

fn server_frame(kind: u8, body: &[u8]) -> bool {
    match kind {
        b'T' => backend::row_description(body).is_ok(),
        b'C' => backend::command_tag(body).is_ok(),
        b'Z' => backend::ready(body).is_ok(),
        b'S' => backend::parameter_status(body).is_ok(),
        b'E' | b'N' => backend::report(kind, body).is_ok_and(|report| {
            let mut out = Vec::new();
            backend::put_report(&mut out, kind, &judge::mask::scrub_report(&report));
            !backend::sqlstate(&report).is_empty()
        }),
        _ => true,
    }
}
