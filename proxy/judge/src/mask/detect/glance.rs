//! One look at a value, eight bytes at a time: whether anything that is looked for is in it.
//!
//! Every form that a detector knows has a place that is rare in text: a digit that begins a word, or that follows its first
//! one, two or three letters; a mark such as `_`, `:` or `/`; two capitals that begin a word; an `@`. Those places are found
//! with arithmetic on eight bytes at once, without a branch for each byte, and only there the detectors' own functions are
//! asked. So most values are left after some nanoseconds. `false` is said only where no detector finds anything.

use super::{Detector, FEWEST_DIGITS, Set, digits, secrets, words};

/// The same bit of eight bytes.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The highest bit of eight bytes: here, where a byte is of a class.
const HIGH: u64 = ONES << 7;

/// Where bytes of a class stand among eight: the highest bit of each.
#[derive(Debug, Clone, Copy, Default)]
struct Classes {
    digit: u64,
    letter: u64,
    capital: u64,
    /// As [`super::is_word`].
    word: u64,
    /// The first of a word.
    start: u64,
}

/// Eight bytes, the first in the lowest place.
#[derive(Debug, Clone, Copy)]
struct Eight {
    bytes: u64,
    low: u64,
    ascii: u64,
}

impl Eight {
    fn new(bytes: u64) -> Self {
        Self { bytes, low: bytes & !HIGH, ascii: !bytes & HIGH }
    }

    /// Where the lower seven bits of a byte are at least this; no byte carries into the next.
    fn least(low: u64, byte: u8) -> u64 {
        low + ONES * (0x80 - u64::from(byte))
    }

    fn is(self, byte: u8) -> u64 {
        !((self.low ^ (ONES * u64::from(byte))) + (HIGH - ONES)) & self.ascii
    }

    fn digit(self) -> u64 {
        Self::least(self.low, b'0') & !Self::least(self.low, b'9' + 1) & self.ascii
    }

    fn capital(self) -> u64 {
        Self::least(self.low, b'A') & !Self::least(self.low, b'Z' + 1) & self.ascii
    }

    fn classes(self, before: &Classes) -> Classes {
        let digit = self.digit();
        let folded = self.low | (ONES << 5);
        let letter = Self::least(folded, b'a') & !Self::least(folded, b'z' + 1) & self.ascii;
        // the bit that tells small letters from capitals, moved to the highest place
        let capital = letter & !(self.bytes << 2);
        let word = digit | letter | self.is(b'_') | (self.bytes & HIGH);
        Classes { digit, letter, capital, word, start: word & !behind::<1>(word, before.word) }
    }

    /// `-`, `.`, `/`, `:`, `;`, `<`, `=` and `_`.
    fn marks(self, digit: u64) -> u64 {
        Self::least(self.low, b'-') & !Self::least(self.low, b'=' + 1) & !digit & self.ascii | self.is(b'_')
    }
}

/// Where a class stands N bytes before.
fn behind<const N: u32>(now: u64, before: u64) -> u64 {
    now << (8 * N) | before >> (64 - 8 * N)
}

/// Digits that begin a word, and the first digits of words that begin with letters as ids do: one capital, two letters, or
/// three capitals and more.
fn numbers_of(now: &Classes, before: &Classes) -> u64 {
    let first = now.digit & !behind::<1>(now.digit, before.digit);
    let begins = !behind::<1>(now.word, before.word);
    let one = behind::<1>(now.letter, before.letter);
    let two = behind::<2>(now.letter, before.letter);
    let after_one = behind::<1>(now.capital, before.capital) & !behind::<2>(now.word, before.word);
    let after_two = one & two & !behind::<3>(now.word, before.word);
    let capitals = behind::<1>(now.capital, before.capital)
        & behind::<2>(now.capital, before.capital)
        & behind::<3>(now.capital, before.capital);
    first & (begins | after_one | after_two | capitals)
}

/// Capitals that are the second letter of a word, or the third behind two letters.
fn capitals(now: &Classes, before: &Classes) -> u64 {
    let starts = behind::<1>(now.start, before.start) | behind::<2>(now.start, before.start);
    now.capital & behind::<1>(now.letter, before.letter) & starts
}

/// What bytes a value has, before it is looked at where they stand.
#[derive(Debug, Clone, Copy, Default)]
struct Survey {
    /// How many digits.
    digits: u64,
    /// Marks and capitals, without which there is no secret.
    marks: u64,
    /// `@`.
    signs: u64,
}

impl Survey {
    fn of(whole: &[[u8; 8]], last: Option<Eight>) -> Self {
        let mut survey = Self::default();
        // a counter for each of the eight places, which must not run over
        for part in whole.chunks(usize::from(u8::MAX) - 1) {
            let mut counts = 0;
            for bytes in part {
                survey.add(Eight::new(u64::from_le_bytes(*bytes)), &mut counts);
            }
            survey.digits += counts.to_le_bytes().into_iter().map(u64::from).sum::<u64>();
        }
        if let Some(last) = last {
            let mut counts = 0;
            survey.add(last, &mut counts);
            survey.digits += counts.to_le_bytes().into_iter().map(u64::from).sum::<u64>();
        }
        survey
    }

    #[inline]
    fn add(&mut self, eight: Eight, counts: &mut u64) {
        let digit = eight.digit();
        *counts += digit >> 7;
        self.marks |= eight.marks(digit) | eight.capital();
        self.signs |= eight.is(b'@');
    }
}

/// Whether a detector of the set may find anything in a value of at least four bytes.
#[inline]
pub(super) fn glance(set: Set, value: &[u8]) -> bool {
    let (whole, rest) = value.as_chunks::<8>();
    let last = (!rest.is_empty()).then(|| Eight::new(tail(value, rest.len())));
    let survey = Survey::of(whole, last);
    let numbers = set.digits() && survey.digits >= FEWEST_DIGITS as u64;
    let secrets = set.has(Detector::Secret) && value.len() >= secrets::SHORTEST && survey.marks != 0;
    let emails = set.has(Detector::Email) && survey.signs != 0;
    let wanted = |on: bool| if on { HIGH } else { 0 };
    match (numbers, secrets || emails) {
        (false, false) => false,
        (true, false) => places(set, value, last, |now, before, _| numbers_of(now, before)),
        (on, _) => {
            let (numbers, secrets, emails) = (wanted(on), wanted(secrets), wanted(emails));
            places(set, value, last, |now, before, eight| {
                numbers_of(now, before) & numbers
                    | (capitals(now, before) | eight.marks(now.digit)) & secrets
                    | eight.is(b'@') & emails
            })
        }
    }
}

/// Whether a detector finds something at one of the places that are found so.
#[inline]
fn places(set: Set, value: &[u8], last: Option<Eight>, find: impl Fn(&Classes, &Classes, Eight) -> u64) -> bool {
    let mut before = Classes::default();
    let mut base = 0;
    for bytes in value.as_chunks::<8>().0 {
        let eight = Eight::new(u64::from_le_bytes(*bytes));
        let now = eight.classes(&before);
        let found = find(&now, &before, eight);
        if found != 0 && any_at(set, value, base, found) {
            return true;
        }
        before = now;
        base += 8;
    }
    let Some(eight) = last else { return false };
    let found = find(&eight.classes(&before), &before, eight);
    found != 0 && any_at(set, value, base, found)
}

/// The last bytes of a value, fewer than eight, with zeros behind; read together with what stands before them.
fn tail(value: &[u8], count: usize) -> u64 {
    if let Some(last) = value.last_chunk::<8>() {
        return u64::from_le_bytes(*last) >> (8 * (8 - count));
    }
    match (value.first_chunk::<4>(), value.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << (8 * (count - 4))
        }
        // nothing that is looked for is that short
        _ => 0,
    }
}

/// Whether something is looked for that has its rare place at one of these.
fn any_at(set: Set, value: &[u8], base: usize, mut places: u64) -> bool {
    while places != 0 {
        let at = base + places.trailing_zeros() as usize / 8;
        places &= places - 1;
        if stands_at(set, value, at) {
            return true;
        }
    }
    false
}

/// The classes of eight bytes, for tests: digits, letters, capitals, words, marks, `@`.
#[cfg(test)]
pub(super) fn classes_of(bytes: [u8; 8]) -> [u64; 6] {
    let eight = Eight::new(u64::from_le_bytes(bytes));
    let Classes { digit, letter, capital, word, .. } = eight.classes(&Classes::default());
    [digit, letter, capital, word, eight.marks(digit), eight.is(b'@')]
}

/// Whether something that is looked for has its rare place here.
fn stands_at(set: Set, value: &[u8], at: usize) -> bool {
    match value.get(at) {
        Some(b'0'..=b'9') => {
            let near = |back: usize| at.checked_sub(back).and_then(|before| value.get(before));
            let in_word = near(1).is_some_and(u8::is_ascii_alphabetic);
            if in_word {
                return value.get(at + 1).is_some_and(u8::is_ascii_alphanumeric) && words::stands_at(set, value, at);
            }
            let spaced = near(1) == Some(&b' ') && near(2).is_some_and(|b| b.is_ascii_uppercase() || *b == b' ');
            let many = digits::many_from(value, at);
            many && digits::begins(set, value, at) || (spaced || many) && words::stands_at(set, value, at)
        }
        Some(b'@') => words::email(value, at).is_some(),
        _ => secrets::stands_at(value, at),
    }
}
