use super::*;
use crate::testing::{numbered, session};
use proptest::prelude::*;
use schemas::event::{Frames as Run, Payload};

pub(crate) fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

fn run(direction: Direction, offset: usize, bytes: &[u8]) -> Body {
    Body::Frames(Run { direction, offset: offset as u64, frames: 0, payload: Payload::plain(bytes) })
}

#[test]
fn runs_of_one_direction_are_its_stream() {
    let (client, server) = (b"Q\0\0\0\x05\0".to_vec(), frame(b'Z', b"I"));
    let events = numbered(
        session(1),
        [
            run(Direction::Client, 0, &client[..2]),
            run(Direction::Server, 0, &server[..3]),
            run(Direction::Client, 2, &client[2..]),
            run(Direction::Server, 3, &server[3..]),
        ],
    );
    assert_eq!(stream(&events, Direction::Client).unwrap(), client);
    assert_eq!(stream(&events, Direction::Server).unwrap(), server);
    let hole = [events[0].clone(), events[1].clone(), events[3].clone()];
    assert_eq!(stream(&hole[1..], Direction::Server).unwrap(), server);
    let hole = &events[2..];
    assert_eq!(stream(hole, Direction::Client), Err(Error::Hole { expected: 0, found: 2 }));
    let sealed = Payload { codec: PayloadCodec::Digest, key: None, bytes: vec![1] };
    let kept = Run { direction: Direction::Client, offset: 0, frames: 1, payload: sealed };
    let events = numbered(session(1), [Body::Frames(kept)]);
    assert!(matches!(stream(&events, Direction::Client), Err(Error::NotPlain { offset: 0, .. })));
}

#[test]
fn frames_are_taken_apart_and_hostile_lengths_refused() {
    let stream = [frame(b'C', b"SELECT 1\0"), frame(b'Z', b"I")].concat();
    let read: Vec<_> = Frames::new(&stream).collect::<Result<_, _>>().unwrap();
    assert_eq!(read, [Frame { tag: b'C', body: b"SELECT 1\0" }, Frame { tag: b'Z', body: b"I" }]);
    for (bytes, error) in [
        (&b"Z"[..], Error::Truncated { at: 0 }),
        (b"Z\0\0\0", Error::Truncated { at: 0 }),
        (b"Z\0\0\0\x05", Error::Truncated { at: 0 }),
        (b"Z\0\0\0\x03", Error::Length { at: 0, length: 3 }),
        (b"Z\xff\xff\xff\xff", Error::Length { at: 0, length: -1 }),
        (b"Z\x80\0\0\0", Error::Length { at: 0, length: i32::MIN }),
        (b"Z\0\0\0\x04Z\x7f\xff\xff\xff", Error::Truncated { at: 5 }),
    ] {
        assert_eq!(Frames::new(bytes).last(), Some(Err(error)), "{bytes:?}");
    }
}

#[test]
fn hostile_messages_are_refused() {
    for body in
        [&b"\xff\xff"[..], b"\0\x01", b"\0\x01\0\0\0\x05a", b"\0\x01\xff\xff\xff\xfe", b"\0\0x", b"\x7f\xff\0\0\0\0"]
    {
        assert!(data_row(body).is_err(), "{body:?}");
    }
    assert_eq!(data_row(b"\0\x02\xff\xff\xff\xff\0\0\0\x01a").unwrap(), [None, Some(&b"a"[..])]);
    for body in [&b""[..], b"\0\x01a\0", b"\0\x01aaaaaaaaaaaaaaaaaaaaaaaaa", b"\xff\xffa\0"] {
        assert!(row_description(body).is_err(), "{body:?}");
    }
    for body in [&b""[..], b"SELECT 1", b"SELECT 1\0x"] {
        assert!(command_complete(body).is_err(), "{body:?}");
    }
    for body in [&b""[..], b"C42501", b"C42501\0", b"\0x"] {
        assert!(diagnostic(body).is_err(), "{body:?}");
    }
    let error = diagnostic(b"SFEHLER\0VERROR\0C42501\0Mno\0Hask\0\0").unwrap();
    assert_eq!((&*error.severity, &*error.code, error.hint.as_deref()), ("ERROR", "42501", Some("ask")));
    let two = bound(b"\0\x01\0\x01\0\x02\0\0\0\x01a\xff\xff\xff\xff\0\0").unwrap();
    assert_eq!(two.values, [(true, Some(b"a".to_vec())), (true, None)]);
    for body in [&b"\0\x03\0\0\0\0\0\0\0\x02"[..], b"\0\x01\0\x02\0\0\0\0", b"\0\0\0\0\0\0x", b"\0\0\0\x01\0\0"] {
        assert!(bound(body).is_err(), "{body:?}");
    }
}

#[test]
fn binary_values_are_shown() {
    for (bytes, oid, text) in [
        (&[0, 0, 0, 42][..], 23, "42"),
        (&[0xff, 0xff], 21, "-1"),
        (&[1], 16, "t"),
        (b"abc", 25, "abc"),
        (&[0, 0, 42], 23, "\\x00002a"),
        (&[1, 2], 17, "\\x0102"),
    ] {
        assert_eq!(shown(bytes, oid, true), text);
    }
    assert_eq!(shown(b"\xff", 17, false), "\u{fffd}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut count = 0;
        for frame in Frames::new(&bytes) {
            count += 1;
            if let Ok(frame) = frame {
                prop_assert!(frame.body.len() <= bytes.len());
            }
        }
        prop_assert!(count <= bytes.len());
        let _: [bool; 5] = [
            row_description(&bytes).is_ok(), data_row(&bytes).is_ok(), command_complete(&bytes).is_ok(),
            diagnostic(&bytes).is_ok(), bound(&bytes).is_ok(),
        ];
    }

    #[test]
    fn what_is_framed_returns(frames in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..20)), 0..10)) {
        let stream: Vec<u8> = frames.iter().flat_map(|(tag, body)| frame(*tag, body)).collect();
        let read: Vec<(u8, Vec<u8>)> = Frames::new(&stream).map(|f| f.map(|f| (f.tag, f.body.to_vec())).unwrap()).collect();
        prop_assert_eq!(read, frames);
    }
}
