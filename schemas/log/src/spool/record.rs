//! A record of the journal: what is written, how it is told from damage.
//!
//! ```text
//! length u32 | crc u32 | sequence u64 | kind u8 | flags u8 | shard u16 | payload (length bytes)      little endian
//! ```
//!
//! `crc` is CRC32C of the payload, then of length, sequence, kind, flags and shard: the payload's part can be computed
//! before the sequence is known. `sequence` is dense over the whole journal, so that a lost record is noticed.

use schemas::seal::WrappedKey;
use schemas::{Epoch, Shard};

/// Bytes before the payload.
pub(crate) const HEADER: usize = 20;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One Event datum.
    Event,
    /// One Event datum behind the wrapped key of its session: [`keyed`].
    Keyed,
    /// One sealed batch, behind a [`Sealed`].
    Batch,
    /// What was open and where the chains stood when its segment began.
    Snapshot,
    /// The start of a node.
    Epoch,
    /// Stands where damage was; its sequence is that of the last record lost.
    Skip,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Event => 1,
            Self::Batch => 2,
            Self::Snapshot => 3,
            Self::Epoch => 4,
            Self::Skip => 5,
            Self::Keyed => 6,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Event,
            2 => Self::Batch,
            3 => Self::Snapshot,
            4 => Self::Epoch,
            5 => Self::Skip,
            6 => Self::Keyed,
            _ => return None,
        })
    }
}

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub sequence: u64,
    pub kind: Kind,
    pub shard: Shard,
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Bytes that it takes in the file.
    pub(crate) fn size(&self) -> usize {
        HEADER + self.payload.len()
    }

    /// The event's datum; `None` where it holds no event.
    pub(crate) fn datum(&self) -> Option<&[u8]> {
        match self.kind {
            Kind::Event => Some(self.payload),
            Kind::Keyed => split_keyed(self.payload).map(|(_, datum)| datum),
            Kind::Batch | Kind::Snapshot | Kind::Epoch | Kind::Skip => None,
        }
    }

    /// The key that travels with its event.
    pub(crate) fn key(&self) -> Option<WrappedKey> {
        let (key, _) = split_keyed(self.payload).filter(|_| self.kind == Kind::Keyed)?;
        serde_json::from_slice(key).ok()
    }
}

/// What stands before the datum of an event with a key: the length of the key, two bytes, and the key as JSON.
pub(crate) fn keyed(key: &WrappedKey) -> Option<Vec<u8>> {
    let key = serde_json::to_vec(key).ok()?;
    let length = u16::try_from(key.len()).ok()?;
    Some([&length.to_le_bytes()[..], &key].concat())
}

fn split_keyed(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = payload.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_le_bytes(*length).into())
}

/// The first half of a record's checksum.
pub(crate) fn payload_crc(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

/// Appends a record whose payload is `parts`, one after the other.
pub(crate) fn write(out: &mut Vec<u8>, sequence: u64, kind: Kind, shard: Shard, crc: u32, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length).expect("a segment is at most 1 GiB and a record lies in one");
    let shard = u16::try_from(shard).expect("the config allows at most 1024 shards");
    let tail = tail(length, sequence, kind.code(), shard);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c_append(crc, &tail).to_le_bytes());
    out.extend_from_slice(tail.get(4..).unwrap_or_default());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// The header's bytes that the checksum covers: length, sequence, kind, flags, shard.
fn tail(length: u32, sequence: u64, kind: u8, shard: u16) -> [u8; 16] {
    let mut tail = [0; 16];
    let (a, rest) = tail.split_at_mut(4);
    let (b, rest) = rest.split_at_mut(8);
    a.copy_from_slice(&length.to_le_bytes());
    b.copy_from_slice(&sequence.to_le_bytes());
    let shard = shard.to_le_bytes();
    rest.copy_from_slice(&[kind, 0, shard[0], shard[1]]);
    tail
}

/// What stands at a place of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A whole record.
    Record(Record<'a>),
    /// Zeros, or too little room for a record: nothing was written here.
    Nothing,
    /// Something else.
    Damage,
}

/// Length of the record whose header `bytes` begins with, header included; `None` for zeros and for nonsense.
pub(crate) fn size_at(header: &[u8; HEADER]) -> Option<usize> {
    let length = u32::from_le_bytes(*header.first_chunk()?);
    let kind = Kind::from_code(*header.get(16)?)?;
    if length == 0 && kind != Kind::Skip {
        return None;
    }
    usize::try_from(length).ok()?.checked_add(HEADER)
}

/// Reads the record at the beginning of `bytes`, which go to the end of the segment.
pub(crate) fn read(bytes: &[u8]) -> Found<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return if bytes.iter().all(|b| *b == 0) { Found::Nothing } else { Found::Damage };
    };
    if header.iter().all(|b| *b == 0) {
        return Found::Nothing;
    }
    record(header, rest).map_or(Found::Damage, Found::Record)
}

fn record<'a>(header: &[u8; HEADER], rest: &'a [u8]) -> Option<Record<'a>> {
    let size = size_at(header)?;
    let payload = rest.get(..size - HEADER)?;
    let stored = u32::from_le_bytes(header.get(4..8)?.try_into().ok()?);
    let mut covered = [0; 16];
    let (length, others) = covered.split_at_mut(4);
    length.copy_from_slice(header.get(..4)?);
    others.copy_from_slice(header.get(8..)?);
    let [_, _, _, _, _, _, _, _, _, _, _, _, kind, flags, low, high] = covered;
    if flags != 0 || crc32c::crc32c_append(crc32c::crc32c(payload), &covered) != stored {
        return None;
    }
    let sequence = u64::from_le_bytes(covered.get(4..12)?.try_into().ok()?);
    Some(Record { sequence, kind: Kind::from_code(kind)?, shard: u16::from_le_bytes([low, high]).into(), payload })
}

/// What stands before a batch's bytes in its record: enough for recovery to go on without decoding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The record sequence of its first event.
    pub first: u64,
    /// The record sequence of its last event: those of the shard between are in it too.
    pub through: u64,
    /// The batch's own sequence.
    pub batch: u64,
    /// The epoch in its header.
    pub epoch: Epoch,
    /// The hash of its header.
    pub hash: schemas::chain::Digest,
}

impl Sealed {
    /// Bytes of it.
    pub(crate) const BYTES: usize = 64;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES);
        for number in [self.first, self.through, self.batch, self.epoch] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.hash);
        out
    }

    /// Splits a Batch record's payload.
    pub(crate) fn split(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (first, rest) = payload.split_first_chunk()?;
        let (through, rest) = rest.split_first_chunk()?;
        let (batch, rest) = rest.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let number = u64::from_le_bytes;
        let (first, through) = (number(*first), number(*through));
        Some((Self { first, through, batch: number(*batch), epoch: number(*epoch), hash: *hash }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(sequence: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, sequence, Kind::Event, 3, payload_crc(&[payload]), &[payload]);
        out
    }

    #[test]
    fn a_record_of_parts_reads_back_as_one() {
        let mut out = Vec::new();
        write(&mut out, 9, Kind::Batch, 700, payload_crc(&[b"ab", b"c"]), &[b"ab", b"c"]);
        assert_eq!(read(&out), Found::Record(Record { sequence: 9, kind: Kind::Batch, shard: 700, payload: b"abc" }));
    }

    #[test]
    fn an_event_and_its_key_come_apart_again() {
        let (_, key) = schemas::seal::Kek::new(&[1; 32]).draw(schemas::SessionId::generate()).unwrap();
        let (mut out, prefix) = (Vec::new(), keyed(&key).unwrap());
        write(&mut out, 9, Kind::Keyed, 1, payload_crc(&[&prefix, b"datum"]), &[&prefix, b"datum"]);
        let Found::Record(found) = read(&out) else { panic!("{out:?}") };
        assert_eq!((found.datum(), found.key()), (Some(&b"datum"[..]), Some(key)));
        let short = Record { payload: &[9, 0, 1], ..found };
        assert_eq!((short.datum(), short.key()), (None, None));
    }

    #[test]
    fn zeros_are_nothing_and_nonsense_is_damage() {
        assert_eq!(read(&[0; 100]), Found::Nothing);
        assert_eq!(read(&[0; 3]), Found::Nothing);
        assert_eq!(read(&[0, 0, 1]), Found::Damage);
        assert_eq!(read(&[7; 100]), Found::Damage);
    }

    #[test]
    fn the_prefix_of_a_batch_returns() {
        let sealed = Sealed { first: 1, through: 1, batch: 2, epoch: 3, hash: [4; 32] };
        let mut bytes = sealed.encode();
        assert_eq!(bytes.len(), Sealed::BYTES);
        bytes.push(9);
        assert_eq!(Sealed::split(&bytes), Some((sealed, &[9u8][..])));
        assert_eq!(Sealed::split(&bytes[..50]), None);
    }

    proptest! {
        #[test]
        fn every_flipped_bit_is_noticed(payload in prop::collection::vec(any::<u8>(), 1..200), bit in any::<prop::sample::Index>()) {
            let mut bytes = one(5, &payload);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes.extend_from_slice(&[0; 64]);
            prop_assert_eq!(read(&bytes), Found::Damage);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Found::Record(record) = read(&bytes) {
                prop_assert!(record.size() <= bytes.len());
            }
        }
    }
}
