//! Reading one segment from the beginning: which of its bytes are records, which are damage, where it ends.

use super::record::{self, Found, HEADER, Record};

/// Bytes that are no record, or a place where records are missing (`from == to`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    /// First byte, from the beginning of the file.
    pub from: usize,
    /// Byte after the last.
    pub to: usize,
    /// The sequence that a record there would have had.
    pub expected: u64,
    /// The sequence of the record behind it.
    pub found: u64,
}

/// What a segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// How many records.
    pub records: u64,
    /// Damage with a record behind it.
    pub damage: Vec<Damage>,
    /// Byte after the last record.
    pub end: usize,
    /// Whether anything but zeros stands behind the last record.
    pub torn: bool,
}

/// How far ahead a sequence may jump and still be believed.
const MAX_JUMP: u64 = 1 << 32;

/// Reads a segment. `expected` is the sequence of the next record (`None` at the very beginning), and is moved on.
pub(crate) fn scan(bytes: &[u8], expected: &mut Option<u64>, mut visit: impl FnMut(usize, &Record<'_>)) -> Scanned {
    let mut scanned = Scanned::default();
    loop {
        let at = scanned.end;
        let rest = bytes.get(at..).unwrap_or_default();
        let (skipped, record) = match record::read(rest) {
            Found::Record(record) if believable(*expected, &record) => (0, record),
            _ => match resume(rest, *expected) {
                Some((skipped, record)) => (skipped, record),
                None => {
                    scanned.torn = rest.iter().any(|byte| *byte != 0);
                    return scanned;
                }
            },
        };
        let wanted = expected.unwrap_or(record.sequence);
        let stands_for_lost = record.kind == record::Kind::Skip;
        if skipped > 0 || (record.sequence != wanted && !stands_for_lost) {
            let damage = Damage { from: at, to: at + skipped, expected: wanted, found: record.sequence };
            scanned.damage.push(damage);
        }
        visit(at + skipped, &record);
        *expected = Some(record.sequence + 1);
        scanned.records += 1;
        scanned.end = at + skipped + record.size();
    }
}

fn believable(expected: Option<u64>, record: &Record<'_>) -> bool {
    expected.is_none_or(|expected| (expected..expected.saturating_add(MAX_JUMP)).contains(&record.sequence))
}

/// Finds the next record behind damage.
fn resume(rest: &[u8], expected: Option<u64>) -> Option<(usize, Record<'_>)> {
    for (at, header) in rest.windows(HEADER).enumerate().skip(1) {
        let plausible = header.first_chunk().and_then(record::size_at).is_some_and(|size| size <= rest.len() - at);
        if !plausible {
            continue;
        }
        match record::read(rest.get(at..).unwrap_or_default()) {
            Found::Record(record) if believable(expected, &record) => return Some((at, record)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::record::Kind;

    fn journal() -> Vec<u8> {
        let mut out = Vec::new();
        for (sequence, payload) in (1u64..).zip([&b"first"[..], b"second", b"third"]) {
            record::write(&mut out, sequence, Kind::Event, 0, record::payload_crc(&[payload]), &[payload]);
        }
        out.resize(200, 0);
        out
    }

    fn sequences(bytes: &[u8]) -> (Vec<u64>, Scanned) {
        let mut found = Vec::new();
        let scanned = scan(bytes, &mut Some(1), |_, record| found.push(record.sequence));
        (found, scanned)
    }

    #[test]
    fn a_whole_segment_has_no_damage() {
        let (found, scanned) = sequences(&journal());
        assert_eq!(found, [1, 2, 3]);
        assert_eq!(scanned, Scanned { records: 3, damage: vec![], end: 76, torn: false });
    }

    #[test]
    fn a_cut_at_every_byte_leaves_the_records_before_it() {
        for cut in 0..76 {
            let mut bytes = journal();
            bytes[cut..].fill(0);
            let (found, scanned) = sequences(&bytes);
            let whole = [25, 51, 76].iter().filter(|end| **end <= cut).count();
            assert_eq!(found.len(), whole, "cut at {cut}");
            assert!(scanned.damage.is_empty());
        }
    }

    #[test]
    fn a_flipped_bit_in_the_middle_is_damage_and_at_the_end_a_torn_tail() {
        for byte in 0..76 {
            let mut bytes = journal();
            bytes[byte] ^= 0x10;
            let (found, scanned) = sequences(&bytes);
            assert_eq!(found.len(), 2, "byte {byte}");
            assert_eq!(scanned.damage.len(), usize::from(byte < 51));
            assert_eq!(scanned.torn, byte >= 51);
        }
    }

    #[test]
    fn a_record_that_is_missing_without_a_trace_is_noticed() {
        let mut bytes = journal();
        bytes.drain(25..51);
        let (found, scanned) = sequences(&bytes);
        assert_eq!(found, [1, 3]);
        assert_eq!(scanned.damage, [Damage { from: 25, to: 25, expected: 2, found: 3 }]);
    }
}
