//! What is made of digits: cards, social security numbers, national ids with check digits, telephone numbers.

use super::{Detector, Set, is_word, stands_alone};
use std::ops::Range;

/// Groups that one number may be written in.
const MOST_GROUPS: usize = 6;

/// Fewest digits of anything that is looked for.
const FEWEST_DIGITS: usize = 8;

/// Most digits of anything that is looked for.
const MOST_DIGITS: usize = 19;

/// Digits in a row.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    start: usize,
    end: usize,
}

impl Group {
    fn len(self) -> usize {
        self.end - self.start
    }
}

/// What was recognized, and where.
type Recognized = (Detector, Range<usize>);

/// Tells what is found; the spans may overlap.
pub(super) fn find(set: Set, value: &[u8], note: &mut dyn FnMut(Detector, Range<usize>)) {
    let mut at = 0;
    while let Some(start) = next_digit(value, at) {
        if start.checked_sub(1).and_then(|before| value.get(before)).is_some_and(|b| is_word(*b)) {
            // in the middle of a word, such as a hash
            at = start + value.get(start..).unwrap_or_default().iter().take_while(|b| is_word(**b)).count();
            continue;
        }
        let (groups, count) = groups(value, start);
        let groups = groups.get(..count).unwrap_or_default();
        at = groups.first().map_or(start + 1, |first| first.end);
        if let Some((detector, span)) = enough(groups).then(|| longest(set, value, groups)).flatten() {
            at = at.max(span.end);
            note(detector, span);
        }
    }
}

/// Whether as many digits as anything has stand here, with single separators between them.
pub(super) fn many_from(value: &[u8], start: usize) -> bool {
    let (mut digits, mut separated) = (0, false);
    for byte in value.get(start..).unwrap_or_default() {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                separated = false;
                if digits == FEWEST_DIGITS {
                    return true;
                }
            }
            b' ' | b'-' | b'.' if !separated => separated = true,
            _ => return false,
        }
    }
    false
}

/// Whether something begins with this digit, the first of its row.
pub(super) fn begins(set: Set, value: &[u8], start: usize) -> bool {
    if start.checked_sub(1).and_then(|before| value.get(before)).is_some_and(|b| is_word(*b)) {
        return false;
    }
    let (groups, count) = groups(value, start);
    let groups = groups.get(..count).unwrap_or_default();
    enough(groups) && longest(set, value, groups).is_some()
}

fn enough(groups: &[Group]) -> bool {
    groups.iter().map(|group| group.len()).sum::<usize>() >= FEWEST_DIGITS
}

fn next_digit(value: &[u8], from: usize) -> Option<usize> {
    let offset = value.get(from..)?.iter().position(u8::is_ascii_digit)?;
    Some(from + offset)
}

/// The groups of digits from `start` on with one same separator, a space, a hyphen or a point, between them.
fn groups(value: &[u8], start: usize) -> ([Group; MOST_GROUPS], usize) {
    let mut groups = [Group::default(); MOST_GROUPS];
    let (mut at, mut separator, mut count) = (start, None, 0);
    for group in &mut groups {
        let length = value.get(at..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
        if length == 0 {
            break;
        }
        *group = Group { start: at, end: at + length };
        count += 1;
        let next = value.get(at + length).copied();
        if !next.is_some_and(|b| matches!(b, b' ' | b'-' | b'.') && separator.is_none_or(|s| s == b)) {
            break;
        }
        separator = next;
        at += length + 1;
    }
    (groups, count)
}

/// The longest thing that begins with the first group.
fn longest(set: Set, value: &[u8], groups: &[Group]) -> Option<Recognized> {
    let first = *groups.first()?;
    for count in (1..=groups.len()).rev() {
        let part = groups.get(..count)?;
        let span = first.start..part.last()?.end;
        let mut digits = [0u8; MOST_DIGITS];
        let total: usize = part.iter().map(|group| group.len()).sum();
        if total > MOST_DIGITS || value.get(span.end).is_some_and(|b| is_word(*b) && !b.eq_ignore_ascii_case(&b'x')) {
            continue;
        }
        let source = part.iter().flat_map(|group| value.get(group.start..group.end).unwrap_or_default());
        for (to, from) in digits.iter_mut().zip(source) {
            *to = from - b'0';
        }
        let digits = digits.get(..total)?;
        if let Some(recognized) = recognize(set, value, part, span, digits) {
            return Some(recognized);
        }
    }
    None
}

fn recognize(set: Set, value: &[u8], groups: &[Group], span: Range<usize>, digits: &[u8]) -> Option<Recognized> {
    let mut lengths = [0; MOST_GROUPS];
    for (length, group) in lengths.iter_mut().zip(groups) {
        *length = group.len();
    }
    let lengths = lengths.get(..groups.len())?;
    let separator = value.get(groups.first()?.end).copied().filter(|_| groups.len() > 1);
    let alone = stands_alone(value, &span);
    if set.has(Detector::Pan) && alone && is_card_shape(lengths) && is_card(digits) {
        return Some((Detector::Pan, span));
    }
    if set.has(Detector::Ssn) && alone && is_ssn(value, &span, lengths, separator, digits) {
        return Some((Detector::Ssn, span));
    }
    if set.has(Detector::NationalId)
        && let Some(span) = national_id(value, &span, lengths, separator, digits, alone)
    {
        return Some((Detector::NationalId, span));
    }
    if set.has(Detector::Phone) && alone {
        return phone(value, span, lengths).map(|span| (Detector::Phone, span));
    }
    None
}

fn is_card_shape(lengths: &[usize]) -> bool {
    match lengths {
        [all] => (13..=19).contains(all),
        [4, 6, 5 | 4] | [4, 4, 4, 1..=4] | [4, 4, 4, 4, 1..=3] => true,
        _ => false,
    }
}

/// Begins as the numbers of an issuer do, has a length that they have, and passes Luhn.
pub(super) fn is_card(digits: &[u8]) -> bool {
    let leading = digits.iter().take(4).fold(0u32, |sum, digit| sum * 10 + u32::from(*digit));
    let fits = matches!(
        (leading, digits.len()),
        (4000..=4999, 13 | 16 | 19)
            | (5100..=5599 | 2221..=2720, 16)
            | (3400..=3499 | 3700..=3799, 15)
            | (3000..=3099 | 3600..=3699 | 3800..=3999, 14..=19)
            | (3528..=3589 | 6000..=6999 | 5000..=5099 | 5600..=5899 | 2200..=2204, 16..=19)
    );
    fits && luhn(digits)
}

pub(super) fn luhn(digits: &[u8]) -> bool {
    let double = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 =
        digits.iter().rev().enumerate().map(|(n, d)| u32::from(if n % 2 == 1 { double(*d) } else { *d })).sum();
    sum.is_multiple_of(10)
}

fn is_ssn(value: &[u8], span: &Range<usize>, lengths: &[usize], separator: Option<u8>, digits: &[u8]) -> bool {
    let number = digits.iter().fold(0u32, |sum, digit| sum.wrapping_mul(10).wrapping_add(u32::from(*digit)));
    let issued = !matches!(number / 1_000_000, 0 | 666) && number / 10_000 % 100 != 0 && number % 10_000 != 0;
    match (lengths, separator) {
        ([3, 2, 4], Some(b'-' | b' ')) => issued && !continues(value, span),
        ([9], _) => issued && named_before(value, span.start, &["ssn", "social"]),
        _ => false,
    }
}

/// One of the words stands shortly before.
fn named_before(value: &[u8], start: usize, words: &[&str]) -> bool {
    let near = value.get(start.saturating_sub(24)..start).unwrap_or_default().to_ascii_lowercase();
    words.iter().any(|word| near.windows(word.len()).any(|w| w == word.as_bytes()))
}

/// The number goes on with more groups, such as a part number does.
fn continues(value: &[u8], span: &Range<usize>) -> bool {
    let joins = |at: Option<usize>, beyond: Option<usize>| {
        let separator = at.and_then(|at| value.get(at)).is_some_and(|b| matches!(b, b'-' | b'.'));
        separator && beyond.and_then(|at| value.get(at)).is_some_and(u8::is_ascii_digit)
    };
    joins(Some(span.end), Some(span.end + 1)) || joins(span.start.checked_sub(1), span.start.checked_sub(2))
}

fn national_id(
    value: &[u8],
    span: &Range<usize>,
    lengths: &[usize],
    separator: Option<u8>,
    digits: &[u8],
    alone: bool,
) -> Option<Range<usize>> {
    let found = match (lengths, separator) {
        // CN: 17 digits and a check character, which may be X
        ([18], _) => alone && cn(digits, digits.get(17).copied()),
        ([17], _) if value.get(span.end).is_some_and(|b| b.eq_ignore_ascii_case(&b'x')) => {
            let wider = span.start..span.end + 1;
            return (stands_alone(value, &wider) && cn(digits, Some(10))).then_some(wider);
        }
        // FR: 13 digits and a key of two
        ([15], _) | ([1, 2, 2, 2, 3, 3], Some(b' ')) => {
            let key = value.get(span.end..span.end + 3).filter(|_| lengths.len() == 6);
            if let Some([b' ', a @ b'0'..=b'9', b @ b'0'..=b'9']) = key {
                let wider = span.start..span.end + 3;
                let whole: Vec<u8> = digits.iter().copied().chain([a - b'0', b - b'0']).collect();
                return (stands_alone(value, &wider) && fr(&whole)).then_some(wider);
            }
            alone && fr(digits)
        }
        // BR: ddd.ddd.ddd-dd
        ([3, 3, 3], Some(b'.')) => {
            if let Some([b'-', a @ b'0'..=b'9', b @ b'0'..=b'9']) = value.get(span.end..span.end + 3) {
                let wider = span.start..span.end + 3;
                let whole: Vec<u8> = digits.iter().copied().chain([a - b'0', b - b'0']).collect();
                return (stands_alone(value, &wider) && br(&whole)).then_some(wider);
            }
            false
        }
        // IN: dddd dddd dddd
        ([4, 4, 4], Some(b' ' | b'-')) => alone && digits.first().is_some_and(|d| *d > 1) && verhoeff(digits),
        _ => false,
    };
    found.then(|| span.clone())
}

fn cn(digits: &[u8], check: Option<u8>) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let year = digits.iter().skip(6).take(4).fold(0u32, |sum, d| sum * 10 + u32::from(*d));
    let sum: u32 = digits.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(*digit) * weight).sum();
    (1900..=2099).contains(&year) && check.map(u32::from) == Some((12 - sum % 11) % 11)
}

fn fr(digits: &[u8]) -> bool {
    let number = |part: &[u8]| part.iter().fold(0u64, |sum, d| sum * 10 + u64::from(*d));
    let Some((body, key)) = digits.split_at_checked(13) else { return false };
    key.len() == 2 && matches!(body.first(), Some(1 | 2)) && 97 - number(body) % 97 == number(key)
}

fn br(digits: &[u8]) -> bool {
    let check = |count: usize| {
        let sum: usize = digits.iter().take(count).enumerate().map(|(n, d)| usize::from(*d) * (count + 1 - n)).sum();
        (sum * 10 % 11) % 10
    };
    let same = digits.windows(2).all(|pair| pair.first() == pair.last());
    digits.len() == 11
        && !same
        && digits.get(9).is_some_and(|d| usize::from(*d) == check(9))
        && digits.get(10).is_some_and(|d| usize::from(*d) == check(10))
}

fn verhoeff(digits: &[u8]) -> bool {
    // the dihedral group of order ten, and the permutation for each place
    const PLACES: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let times = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a - 5 + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let folded = digits.iter().rev().enumerate().fold(0, |sum, (place, digit)| {
        let permuted = PLACES.get(place % 8).and_then(|row| row.get(usize::from(*digit))).copied().unwrap_or_default();
        times(sum, permuted)
    });
    folded == 0
}

fn phone(value: &[u8], span: Range<usize>, lengths: &[usize]) -> Option<Range<usize>> {
    let total: usize = lengths.iter().sum();
    let before = span.start.checked_sub(1).and_then(|at| value.get(at)).copied();
    if before == Some(b'+') && (8..=15).contains(&total) {
        return Some(span.start - 1..span.end);
    }
    let us = matches!(lengths, [3, 3, 4] | [1, 3, 3, 4]) && value.get(span.start).is_some_and(|b| *b > b'0');
    us.then_some(span)
}
