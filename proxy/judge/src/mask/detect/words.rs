//! What mixes letters and digits: IBAN, national ids of letters, addresses.

use super::{Detector, Set, is_word, stands_alone};
use std::ops::Range;

/// Longest local part of an address that is looked for.
const LONGEST_LOCAL: usize = 64;

/// Fewest letters and digits of a word that is something by itself; the first group of an IBAN has four.
const SHORTEST_WORD: usize = 9;

/// Most letters before the first digit of anything that is looked for.
const LONGEST_LETTERS: usize = 16;

/// Longest domain.
const LONGEST_DOMAIN: usize = 255;

/// Tells IBANs and national ids; the spans may overlap.
pub(super) fn find(set: Set, value: &[u8], note: &mut dyn FnMut(Detector, Range<usize>)) {
    if !set.has(Detector::Iban) && !set.has(Detector::NationalId) {
        return;
    }
    let mut at = 0;
    while let Some(start) = value.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_alphanumeric)) {
        let start = at + start;
        let length = value.get(start..).unwrap_or_default().iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        let word = start..start + length;
        at = word.end;
        if set.has(Detector::Iban)
            && let Some(span) = iban(value, &word)
        {
            at = at.max(span.end);
            note(Detector::Iban, span);
            continue;
        }
        if set.has(Detector::NationalId)
            && let Some(span) = national_id(value, &word)
        {
            at = at.max(span.end);
            note(Detector::NationalId, span);
        }
    }
}

/// Whether something stands here whose first digit, or the first after its letters, this is.
pub(super) fn stands_at(set: Set, value: &[u8], digit: usize) -> bool {
    let word_at = |from: usize| {
        let length = value.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        from..from + length
    };
    let before = value.get(digit.saturating_sub(LONGEST_LETTERS)..digit).unwrap_or_default();
    let letters = before.iter().rev().take_while(|b| b.is_ascii_alphabetic()).count();
    let word = word_at(digit - letters);
    let spaces = before.iter().rev().take_while(|b| **b == b' ').count();
    if letters > 0 && word.len() < SHORTEST_WORD && word.len() != 4 {
        return false;
    }
    if set.has(Detector::Iban) && letters == 2 && iban(value, &word).is_some() {
        return true;
    }
    if !set.has(Detector::NationalId) {
        return false;
    }
    // two letters of their own word stand before spaces
    let spaced = spaces > 0 && digit >= spaces + 2;
    national_id(value, &word).is_some() || spaced && national_id(value, &(digit - spaces - 2..digit - spaces)).is_some()
}

/// Two letters, two digits, up to thirty of both; also in groups of four with spaces between.
fn iban(value: &[u8], word: &Range<usize>) -> Option<Range<usize>> {
    let head = value.get(word.start..word.start + 4)?;
    let [a, b, c, d] = head else { return None };
    let begins = a.is_ascii_alphabetic() && b.is_ascii_alphabetic() && c.is_ascii_digit() && d.is_ascii_digit();
    if !begins || word.start.checked_sub(1).and_then(|at| value.get(at)).is_some_and(|b| is_word(*b)) {
        return None;
    }
    if word.len() > 4 {
        return (stands_alone(value, word) && is_iban(value.get(word.clone())?)).then(|| word.clone());
    }
    // in groups: the longest run of groups that is one
    let (mut compact, mut end, mut found) = (head.to_vec(), word.end, None);
    while value.get(end) == Some(&b' ') && compact.len() <= 34 {
        let rest = value.get(end + 1..).unwrap_or_default();
        let length = rest.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        if !(1..=4).contains(&length) {
            break;
        }
        compact.extend_from_slice(rest.get(..length).unwrap_or_default());
        end += 1 + length;
        if is_iban(&compact) {
            found = Some(word.start..end);
        }
    }
    found
}

fn is_iban(text: &[u8]) -> bool {
    if !(15..=34).contains(&text.len()) {
        return false;
    }
    let (head, rest) = text.split_at(4);
    let modulus = rest.iter().chain(head).fold(0u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        letter => (sum * 100 + u32::from(letter.to_ascii_uppercase() - b'A') + 10) % 97,
    });
    modulus == 1
}

fn national_id(value: &[u8], word: &Range<usize>) -> Option<Range<usize>> {
    if !stands_alone(value, word) {
        return None;
    }
    let text = value.get(word.clone())?;
    let found = match text.len() {
        9 => es(text) || uk(text),
        16 => it(text),
        2 => {
            // UK with spaces: AB 12 34 56 C
            let spaced = value.get(word.start..word.start + 13)?;
            let compact: Vec<u8> = spaced.iter().copied().filter(|b| *b != b' ').collect();
            let wider = word.start..word.start + 13;
            return (compact.len() == 9 && uk(&compact) && stands_alone(value, &wider)).then_some(wider);
        }
        _ => false,
    };
    found.then(|| word.clone())
}

/// DNI: eight digits and a letter; NIE: X, Y or Z in the place of the first digit.
fn es(text: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let Some((first, rest)) = text.split_first() else { return false };
    let Some((letter, digits)) = rest.split_last() else { return false };
    let lead = match first {
        b'0'..=b'9' => u32::from(first - b'0'),
        b'X' | b'Y' | b'Z' => u32::from(first - b'X'),
        _ => return false,
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let number = digits.iter().fold(lead, |sum, d| sum * 10 + u32::from(d - b'0'));
    usize::try_from(number % 23).ok().and_then(|n| LETTERS.get(n)) == Some(letter)
}

/// NINO: two letters, six digits, A to D.
fn uk(text: &[u8]) -> bool {
    let [a, b, digits @ .., last] = text else { return false };
    let first = a.is_ascii_uppercase() && !b"DFIQUV".contains(a);
    let second = b.is_ascii_uppercase() && !b"DFIOQUV".contains(b);
    let reserved = matches!((a, b), (b'B' | b'N', b'G' | b'K') | (b'G', b'B') | (b'T', b'N') | (b'Z', b'Z'));
    first && second && !reserved && digits.len() == 6 && digits.iter().all(u8::is_ascii_digit) && b"ABCD".contains(last)
}

/// Codice fiscale: sixteen letters and digits, the last a check letter. Letters may stand in the place of its digits, but
/// a word of letters alone is none.
fn it(text: &[u8]) -> bool {
    // what a character at an odd place counts, in the order 0-9 and A-Z
    const DIGITS: [u32; 10] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21];
    const LETTERS: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let Some((check, body)) = text.split_last() else { return false };
    let names = body.iter().take(6).all(u8::is_ascii_uppercase) && body.get(8).is_some_and(u8::is_ascii_uppercase);
    let sum: Option<u32> = body
        .iter()
        .enumerate()
        .map(|(place, byte)| {
            let index = match byte {
                b'0'..=b'9' => usize::from(byte - b'0'),
                b'A'..=b'Z' => usize::from(byte - b'A'),
                _ => return None,
            };
            if place % 2 == 1 {
                return u32::try_from(index).ok();
            }
            if byte.is_ascii_digit() { DIGITS.get(index).copied() } else { LETTERS.get(index).copied() }
        })
        .sum();
    let digits = body.iter().any(u8::is_ascii_digit);
    names && digits && check.is_ascii_uppercase() && sum.is_some_and(|sum| sum % 26 == u32::from(check - b'A'))
}

/// Tells addresses.
pub(super) fn emails(value: &[u8], note: &mut dyn FnMut(Range<usize>)) {
    let mut from = 0;
    while let Some(offset) = value.get(from..).and_then(|rest| rest.iter().position(|b| *b == b'@')) {
        let at = from + offset;
        from = at + 1;
        if let Some(span) = email(value, at) {
            note(span);
        }
    }
}

/// The address that has its `@` here.
pub(super) fn email(value: &[u8], at: usize) -> Option<Range<usize>> {
    let local = |b: &&u8| is_word(**b) || matches!(b, b'.' | b'%' | b'+' | b'-' | b'\'');
    let before = value.get(at.saturating_sub(LONGEST_LOCAL)..at).unwrap_or_default();
    let length = before.iter().rev().take_while(local).count();
    let after = value.get(at + 1..(at + 1 + LONGEST_DOMAIN).min(value.len())).unwrap_or_default();
    let reach = after.iter().take_while(|b| is_word(**b) || matches!(b, b'.' | b'-')).count();
    let domain = after.get(..reach).unwrap_or_default();
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    let last = domain.rsplit(|b| *b == b'.').next().unwrap_or_default();
    let top =
        last.len() >= 2 && last.len() < domain.len() && last.iter().all(|b| b.is_ascii_alphabetic() || *b >= 0x80)
            || last.starts_with(b"xn--");
    (length > 0 && top && domain.first().is_some_and(|b| is_word(*b))).then(|| at - length..at + 1 + domain.len())
}
