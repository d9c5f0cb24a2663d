//! Rows: what a server might send for a statement, true to its description or not.

use crate::random::Random;
use judge::{
    mask::{self, Column},
    policy::{Bound, Judgement},
    sql::Facts,
};

/// Types that masks know, and some that they do not.
const TYPES: [u32; 26] = [
    16, 17, 18, 19, 20, 21, 23, 25, 114, 142, 700, 701, 869, 1009, 1015, 1042, 1043, 1082, 1114, 1184, 1186, 1700,
    2950, 3802, 3904, 99_999,
];

/// Values as text.
const VALUES: [&[u8]; 14] = [
    b"",
    b"4929731608452298",
    b"t",
    b"-12.5e3",
    b"{a,\"b\\\"c\",NULL,{x}}",
    b"[1,2)",
    b"2024-02-30",
    b"infinity",
    b"\\x00ff",
    b"{\"a\": [1, \"4929731608452298\"]}",
    b"10.0.0.1/8",
    b"\xff\xfe",
    b"a@b.example",
    b"DE89370400440532013000",
];

/// The plan of a statement's answer holds any row, or refuses it: a masked row is one that can be read again.
///
/// # Errors
/// What must not be.
pub fn check(judgement: &Judgement, facts: &Facts, bound: &Bound, random: &mut Random) -> Result<(), String> {
    let count = facts.outputs.as_ref().map_or_else(|| random.below(5), Vec::len).min(1600);
    let columns: Vec<Column> = (0..count)
        .map(|number| Column {
            name: String::new(),
            relation: if random.one_in(3) { 16_384 } else { 0 },
            attribute: i16::try_from(number).unwrap_or(0),
            type_id: random.pick(&TYPES).copied().unwrap_or(25),
            modifier: if random.one_in(4) { 10 } else { -1 },
            format: i16::from(random.one_in(2)),
        })
        .collect();
    let Ok(plan) = mask::plan(judgement, bound, &columns) else { return Ok(()) };
    let mut body = body(count, random);
    let mut out = b"before".to_vec();
    if random.one_in(2) {
        damage(&mut body, random);
    }
    match mask::row(&plan, &body, &mut out) {
        Err(_) if out != b"before" => return Err("a refused row left something behind".to_owned()),
        Err(_) => {}
        Ok(()) => {
            let mut again = Vec::new();
            let masked = out.get(6..).unwrap_or_default();
            mask::row(&plan, masked, &mut again).map_err(|error| format!("a masked row cannot be read: {error}"))?;
        }
    }
    Ok(())
}

fn body(count: usize, random: &mut Random) -> Vec<u8> {
    let mut body = u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    for _ in 0..count {
        if random.one_in(6) {
            body.extend((-1_i32).to_be_bytes());
            continue;
        }
        let value = random.pick(&VALUES).copied().unwrap_or_default();
        body.extend(u32::try_from(value.len()).unwrap_or(0).to_be_bytes());
        body.extend(value);
    }
    body
}

/// Changes bytes, and where lengths may stand, to the numbers that are hardest to get right.
pub fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let place = random.below(bytes.len().max(1));
        match random.below(5) {
            0 => bytes.truncate(place),
            1 => bytes.insert(place.min(bytes.len()), random.byte()),
            2 => {
                let hard = [0_i32, -1, -2, i32::MAX, i32::MIN, 4, 5, 65_536, 0x7fff_fffb];
                let number = random.pick(&hard).copied().unwrap_or(0).to_be_bytes();
                for (slot, byte) in bytes.iter_mut().skip(place).zip(number) {
                    *slot = byte;
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = random.byte();
                }
            }
        }
    }
}
