//! Value detectors: a net behind lineage for free text, JSON and error texts, where no rule names the column.
//!
//! ```text
//! Settings (config) + labels --active--> Set --find (bytes)--> spans, which masking replaces by `****`
//! ```
//!
//! A detector knows values by their form and, where there is one, by their check digit. They never stand in the place of
//! a rule: a value that an expression cut, reversed or encoded looks like nothing.
//!
//! | detector | what it finds |
//! |---|---|
//! | `pan` | card numbers of 13 to 19 digits, plain or in the usual groups, that begin as an issuer's do and pass Luhn |
//! | `ssn` | US social security numbers in groups of 3-2-4; 9 digits after a word that says so |
//! | `national_id` | ES DNI and NIE, FR NIR, IT codice fiscale, BR CPF, CN resident id, IN Aadhaar, by check digit; UK NINO by form |
//! | `iban` | IBANs, by modulus 97 |
//! | `email` | addresses |
//! | `phone` | international numbers with `+`, US numbers in groups |
//! | `secret` | keys and tokens: AWS, GitHub, GitLab, Slack, Stripe, Google, OpenAI, npm, PyPI, SendGrid, JWT, private keys, passwords in URLs, values of high entropy after `password=` and the like |

mod digits;
mod glance;
mod secrets;
mod words;

use aho_corasick::AhoCorasick;
use serde::Deserialize;
use std::{ops::Range, sync::OnceLock};

/// Hits in one value beyond which it is hidden as a whole.
pub const MAX_HITS: usize = 1 << 16;

/// Fewest digits of a value in which numbers are looked for: those of a national insurance number.
const FEWEST_DIGITS: usize = 6;

/// Shortest value that can hold anything that is looked for: an address.
const SHORTEST: usize = 6;

/// Shortest value that can hold anything else: a letter and eight digits.
const SHORTEST_NUMBER: usize = 9;

/// One kind of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// Card numbers.
    Pan,
    /// US social security numbers.
    Ssn,
    /// National ids of other countries.
    NationalId,
    /// Bank accounts.
    Iban,
    /// Addresses.
    Email,
    /// Telephone numbers.
    Phone,
    /// Keys, tokens and passwords.
    Secret,
}

impl Detector {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Pan, Self::Ssn, Self::NationalId, Self::Iban, Self::Email, Self::Phone, Self::Secret];

    /// The word that stands for it in the configuration; also the label of rules that hide the same.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pan => "pan",
            Self::Ssn => "ssn",
            Self::NationalId => "national_id",
            Self::Iban => "iban",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Secret => "secret",
        }
    }
}

/// A set of detectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Set(u8);

impl Set {
    /// No detector.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a detector is in it.
    pub fn has(self, detector: Detector) -> bool {
        self.0 & (1 << detector as u8) != 0
    }

    /// With a detector more.
    #[must_use]
    pub fn with(self, detector: Detector) -> Self {
        Self(self.0 | (1 << detector as u8))
    }

    /// What is in one of them.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The detectors in it.
    pub fn iter(self) -> impl Iterator<Item = Detector> {
        Detector::ALL.into_iter().filter(move |detector| self.has(*detector))
    }

    /// Only what is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn digits(self) -> bool {
        self.has(Detector::Pan)
            || self.has(Detector::Ssn)
            || self.has(Detector::NationalId)
            || self.has(Detector::Iban)
            || self.has(Detector::Phone)
    }
}

impl FromIterator<Detector> for Set {
    fn from_iter<I: IntoIterator<Item = Detector>>(detectors: I) -> Self {
        detectors.into_iter().fold(Self::default(), Self::with)
    }
}

/// `[resources.detectors]`: what is looked for in values that no rule names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Detectors: `pan`, `ssn`, `national_id`, `iban`, `email`, `phone`, `secret`; an empty list turns them off.
    /// _Default:_ where a masking rule holds for the identity `pan`, `ssn`, `national_id`, `iban` and `secret`, and each
    /// other that is the label of a rule; elsewhere none.
    pub on: Option<Vec<Detector>>,
    /// Columns whose values are not searched, as `schema.table.column`. _Default:_ none.
    pub skip: Vec<String>,
    /// Types of columns that are searched: `text`, `json`, `number` (card numbers in bigint and numeric), `other`
    /// (arrays and rows of text, types of extensions).
    /// _Default:_ all of them.
    pub types: Option<Vec<Family>>,
}

/// Types of columns, as far as searching tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// `text`, `varchar`, `char`, `citext`, `xml`.
    Text,
    /// `json`, `jsonb`.
    Json,
    /// `bigint`, `numeric`: whole numbers of 15 or 16 digits that are card numbers.
    Number,
    /// Arrays and rows of text, types of extensions and of one's own.
    Other,
}

impl Settings {
    /// Whether values of such a type are searched.
    pub fn searches(&self, family: Family) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(&family))
    }
}

/// What is on without settings, wherever a rule holds.
pub const USUAL: [Detector; 5] = [Detector::Pan, Detector::Ssn, Detector::NationalId, Detector::Iban, Detector::Secret];

/// Whether the set may find anything in a value; `false` is certain. Most values end here.
#[inline]
pub fn suspicious(set: Set, value: &[u8]) -> bool {
    let shortest = if set.has(Detector::Email) { SHORTEST } else { SHORTEST_NUMBER };
    value.len() >= shortest && glance::glance(set, value)
}

/// Whether a whole number is a card number: of 15 or 16 digits, as nearly all cards have, so that few other numbers are.
pub(super) fn is_card_number(number: u64) -> bool {
    const LEAST: u64 = 100_000_000_000_000;
    let mut digits = [0u8; 16];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    let all = if number < 10 * LEAST { digits.get(1..) } else { Some(digits.as_slice()) };
    number >= LEAST && rest == 0 && all.is_some_and(digits::is_card)
}

/// Appends the spans of what is found, in order and without overlaps; says which detectors found it. Allocates only
/// where something is.
pub fn find(set: Set, value: &[u8], spans: &mut Vec<Range<usize>>) -> Set {
    if suspicious(set, value) { find_all(set, value, spans) } else { Set::default() }
}

/// The same without a look at the value before: every detector goes through all of it.
fn find_all(set: Set, value: &[u8], spans: &mut Vec<Range<usize>>) -> Set {
    let (before, mut found) = (spans.len(), Set::default());
    let mut note = |detector: Detector, span: Range<usize>| {
        found = found.with(detector);
        spans.push(span);
    };
    if set.digits() && value.iter().filter(|byte| byte.is_ascii_digit()).count() >= FEWEST_DIGITS {
        digits::find(set, value, &mut note);
        words::find(set, value, &mut note);
    }
    if set.has(Detector::Email) {
        words::emails(value, &mut |span| note(Detector::Email, span));
    }
    if set.has(Detector::Secret) && value.len() >= secrets::SHORTEST {
        secrets::find(value, &mut |span| note(Detector::Secret, span));
    }
    unite(before, spans);
    found
}

/// Sorts what was appended and joins what overlaps.
pub(super) fn unite(before: usize, spans: &mut Vec<Range<usize>>) {
    let mut found = spans.split_off(before);
    found.sort_by_key(|span| span.start);
    for span in found {
        match spans.get_mut(before..).and_then(<[_]>::last_mut) {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => spans.push(span),
        }
    }
}

/// Replaces what is found by `****`, and says which detectors found it; `None` where there is nothing.
pub fn clean(set: Set, text: &str) -> Option<(String, Set)> {
    let mut spans = Vec::new();
    let found = find(set, text.as_bytes(), &mut spans);
    if spans.is_empty() {
        return None;
    }
    let mut clean = Vec::with_capacity(text.len());
    replace(text.as_bytes(), &spans, &mut clean);
    Some((String::from_utf8_lossy(&clean).into_owned(), found))
}

/// Appends the value with `****` in the place of each span.
pub(super) fn replace(value: &[u8], spans: &[Range<usize>], out: &mut Vec<u8>) {
    let mut from = 0;
    for span in spans {
        out.extend_from_slice(value.get(from..span.start).unwrap_or_default());
        out.extend_from_slice(b"****");
        from = span.end;
    }
    out.extend_from_slice(value.get(from..).unwrap_or_default());
}

/// Appends JSON text with `****` in the place of each span; a number that holds one becomes the string `"****"`.
pub(super) fn replace_json(value: &[u8], spans: &[Range<usize>], out: &mut Vec<u8>) {
    let (mut from, mut inside, mut escaped, mut seen) = (0, false, false, 0);
    for span in spans {
        if span.start < from {
            continue; // it lies in a number that was replaced
        }
        for byte in value.get(seen..span.start).unwrap_or_default() {
            match (byte, inside, escaped) {
                (_, true, true) => escaped = false,
                (b'\\', true, false) => escaped = true,
                (b'"', _, _) => inside = !inside,
                _ => {}
            }
        }
        seen = span.start;
        let (mut start, mut end) = (span.start, span.end);
        if !inside {
            let part = |b: &u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
            start -= value.get(from..start).unwrap_or_default().iter().rev().take_while(|b| part(b)).count();
            end += value.get(end..).unwrap_or_default().iter().take_while(|b| part(b)).count();
        }
        out.extend_from_slice(value.get(from..start).unwrap_or_default());
        out.extend_from_slice(if inside { b"****" } else { b"\"****\"" });
        from = end;
        seen = seen.max(if inside { span.start } else { end });
    }
    out.extend_from_slice(value.get(from..).unwrap_or_default());
}

/// A searcher that is built once.
pub(super) fn searcher(
    place: &'static OnceLock<AhoCorasick>,
    patterns: &'static [&'static str],
) -> &'static AhoCorasick {
    place.get_or_init(|| AhoCorasick::new(patterns).expect("a few short words fit an automaton"))
}

/// A letter, a digit or an underscore, of any alphabet.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Nothing that belongs to a word stands right before or after.
pub(super) fn stands_alone(value: &[u8], span: &Range<usize>) -> bool {
    let before = span.start.checked_sub(1).and_then(|at| value.get(at));
    !before.is_some_and(|b| is_word(*b)) && !value.get(span.end).is_some_and(|b| is_word(*b))
}

#[cfg(test)]
mod tests;
