//! The two events of every answer, written without the way over serde: Frames and Completed.
//!
//! They are a third of a short statement's own cost otherwise. Tests hold that these bytes are those that the schema gives
//! by the ordinary way ([`super::encode`]).

use super::{Error, MAX_EVENT_BYTES, template::Run};
use crate::event::{Completed, Direction, FramesEventRef, Outcome, PayloadRef};

/// Places in the union of `event.avsc`.
const FRAMES: i64 = 4;
const COMPLETED: i64 = 7;

/// Most bytes of an event's numbers and markers: eight of at most ten bytes, and the session.
const FIXED: usize = 96;

/// Appends the datum of one Frames event.
///
/// # Errors
/// [`Error::TooLarge`]; the buffer is then as it was.
pub fn encode_frames(event: &FramesEventRef<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    let body = &event.body;
    within("a run of frames", body.payload.bytes.len() + body.payload.key.map_or(0, str::len))?;
    out.extend_from_slice(event.session.as_bytes());
    put_long(event.sequence.cast_signed(), out);
    put_long(event.time, out);
    put_long(FRAMES, out);
    put_long(
        match body.direction {
            Direction::Client => 0,
            Direction::Server => 1,
        },
        out,
    );
    put_long(body.offset.cast_signed(), out);
    put_long(body.frames.into(), out);
    put_payload(&body.payload, out);
    Ok(())
}

/// Appends the datum of one Completed event; the number is that of the event, not of the run.
///
/// # Errors
/// [`Error::TooLarge`]; the buffer is then as it was.
pub fn encode_completed(run: &Run, completed: &Completed, out: &mut Vec<u8>) -> Result<(), Error> {
    let found = completed.found.iter().map(|found| found.detector.len() + found.column.len() + 30).sum::<usize>();
    within("an outcome", completed.tag.len() + completed.sqlstate.as_ref().map_or(0, String::len) + found)?;
    out.extend_from_slice(run.session.as_bytes());
    put_long(run.sequence.cast_signed(), out);
    put_long(run.time, out);
    put_long(COMPLETED, out);
    put_long(completed.number.cast_signed(), out);
    put_long(
        match completed.outcome {
            Outcome::Succeeded => 0,
            Outcome::Failed => 1,
            Outcome::Denied => 2,
            Outcome::Suspended => 3,
            Outcome::Abandoned => 4,
        },
        out,
    );
    put_bytes(completed.tag.as_bytes(), out);
    for number in [completed.rows, completed.bytes, completed.duration] {
        put_long(number.cast_signed(), out);
    }
    match &completed.sqlstate {
        None => put_long(0, out),
        Some(sqlstate) => {
            put_long(1, out);
            put_bytes(sqlstate.as_bytes(), out);
        }
    }
    if !completed.found.is_empty() {
        put_long(i64::try_from(completed.found.len()).unwrap_or(i64::MAX), out);
        for found in &completed.found {
            put_bytes(found.detector.as_bytes(), out);
            put_bytes(found.column.as_bytes(), out);
            put_long(found.values.cast_signed(), out);
        }
    }
    put_long(0, out);
    Ok(())
}

fn within(what: &'static str, bytes: usize) -> Result<(), Error> {
    let bytes = bytes + FIXED;
    if bytes > MAX_EVENT_BYTES { Err(Error::TooLarge { what, bytes, limit: MAX_EVENT_BYTES }) } else { Ok(()) }
}

/// A Payload: its codec, its key's id where it has one, the bytes.
pub(super) fn put_payload(payload: &PayloadRef<'_>, out: &mut Vec<u8>) {
    put_long(payload.codec as i64, out);
    match payload.key {
        None => put_long(0, out),
        Some(key) => {
            put_long(1, out);
            put_bytes(key.as_bytes(), out);
        }
    }
    put_bytes(payload.bytes, out);
}

/// An Avro long: zigzag, seven bits a byte, lowest first.
pub(super) fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let low = (rest & 0x7f).to_le_bytes();
        rest >>= 7;
        let [byte, ..] = low;
        if rest == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_long(i64::try_from(bytes.len()).unwrap_or(i64::MAX), out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode;
    use crate::event::{Body, Event, Found, Frames, FramesRef, Payload, PayloadCodec};
    use crate::id::SessionId;
    use proptest::prelude::*;

    const MAX: u64 = i64::MAX.cast_unsigned();

    proptest! {
        #[test]
        fn the_direct_way_writes_what_the_schema_says(
            session: [u8; 16], sequence in 0..MAX, time: i64, numbers in [0..MAX, 0..MAX, 0..MAX, 0..MAX],
            frames in 0..i32::MAX.cast_unsigned(), payload in proptest::collection::vec(any::<u8>(), 0..300),
            tag in "[A-Z ]{0,80}", sqlstate in proptest::option::of("[0-9A-Z]{5}"), which in 0..5usize,
            found in proptest::collection::vec(("[a-z]{0,9}", "[a-z_]{0,70}", 0..MAX), 0..4),
        ) {
            let session = SessionId::from_bytes(session);
            let direction = if which % 2 == 0 { Direction::Client } else { Direction::Server };
            let all = [Outcome::Succeeded, Outcome::Failed, Outcome::Denied, Outcome::Suspended, Outcome::Abandoned];
            let [number, rows, bytes, duration] = numbers;
            let told = |(detector, column, values)| Found { detector, column, values };
            let found: Vec<Found> = found.into_iter().map(told).collect();
            let completed = Completed { number, outcome: all[which], tag, rows, bytes, duration, sqlstate, found };

            let (mut fast, mut plain) = (Vec::new(), Vec::new());
            let (codec, key) = match which {
                0 => (PayloadCodec::Plain, None),
                1 => (PayloadCodec::Digest, None),
                _ => (PayloadCodec::SealedZstd, Some("00112233445566778899aabbccddeeff".to_owned())),
            };
            let payload = Payload { codec, key, bytes: payload };
            let body = FramesRef { direction, offset: number, frames, payload: (&payload).into() };
            encode_frames(&FramesEventRef { session, sequence, time, body }, &mut fast).unwrap();
            encode_completed(&Run { session, sequence, time, number }, &completed, &mut fast).unwrap();
            let body = Body::Frames(Frames { direction, offset: number, frames, payload });
            encode(&Event { session, sequence, time, body }, &mut plain).unwrap();
            encode(&Event { session, sequence, time, body: Body::Completed(completed) }, &mut plain).unwrap();
            prop_assert_eq!(fast, plain);
        }
    }
}
