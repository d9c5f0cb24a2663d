//! Searched values: what detectors find in them is replaced where it stands, so that the rest of a text stays readable.

use super::{
    Plan,
    array::MOST_DIMENSIONS,
    detect,
    detect::{Detector, Set},
    findings,
    kind::Search,
    row::Shown,
};

/// Whether a value may hold something: most do not, and are not looked at again.
#[inline]
pub(super) fn may(plan: &Plan, how: Search, binary: bool, field: &[u8]) -> bool {
    match how {
        // hexadecimal digits show nothing of what they stand for
        Search::Bytes => true,
        Search::Integer | Search::Numeric => {
            plan.detectors.has(Detector::Pan) && whole(how, binary, field).is_some_and(detect::is_card_number)
        }
        _ => detect::suspicious(plan.detectors, field),
    }
}

/// Appends the value without what is found in it.
pub(super) fn search(
    set: Set,
    how: Search,
    binary: bool,
    field: &[u8],
    out: &mut Vec<u8>,
    search: &mut findings::Search,
) -> Shown {
    match (how, binary) {
        (Search::Array, true) => array(set, field, out, search),
        (Search::Bytes, false) => {
            let Some(bytes) = super::value::hexadecimal(field) else { return Shown::Same };
            hidden_whole(set, &bytes, search)
        }
        (Search::Bytes | Search::Opaque, true) => hidden_whole(set, field, search),
        (Search::Jsonb, true) => {
            let Some((version, text)) = field.split_first() else { return Shown::Same };
            let place = out.len();
            out.push(*version);
            let shown = text_of(set, true, text, out, search);
            if shown != Shown::Written {
                out.truncate(place);
            }
            shown
        }
        (Search::Json | Search::Jsonb, _) => text_of(set, true, field, out, search),
        // what may() said of a number is all that there is to say
        (Search::Integer | Search::Numeric, _) => {
            if !whole(how, binary, field).is_some_and(detect::is_card_number) {
                return Shown::Same;
            }
            search.found = Set::default().with(Detector::Pan).and(set);
            if search.found.is_empty() { Shown::Same } else { Shown::Null }
        }
        (Search::Plain, _) | (Search::Array | Search::Opaque, false) => text_of(set, false, field, out, search),
    }
}

fn hidden_whole(set: Set, bytes: &[u8], search: &mut findings::Search) -> Shown {
    search.spans.clear();
    search.found = detect::find(set, bytes, &mut search.spans);
    if search.spans.is_empty() { Shown::Same } else { Shown::Null }
}

/// Appends a text without what is found in it.
fn text_of(set: Set, json: bool, text: &[u8], out: &mut Vec<u8>, search: &mut findings::Search) -> Shown {
    let findings::Search { spans, found, .. } = search;
    spans.clear();
    *found = found.or(detect::find(set, text, spans));
    if spans.is_empty() {
        return Shown::Same;
    }
    if spans.len() > detect::MAX_HITS {
        return Shown::Null;
    }
    if json {
        detect::replace_json(text, spans, out);
    } else {
        detect::replace(text, spans, out);
    }
    Shown::Written
}

/// An array in binary: its head, then each element with its length. NULL where it does not read so.
fn array(set: Set, field: &[u8], out: &mut Vec<u8>, search: &mut findings::Search) -> Shown {
    search.spans.clear();
    let found = detect::find(set, field, &mut search.spans);
    if search.spans.is_empty() {
        return Shown::Same;
    }
    let place = out.len();
    if elements(set, field, out, search).is_some() {
        return Shown::Written;
    }
    search.found = found;
    out.truncate(place);
    Shown::Null
}

fn elements(set: Set, field: &[u8], out: &mut Vec<u8>, search: &mut findings::Search) -> Option<()> {
    let number = |at: usize| field.get(at..)?.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes));
    let dimensions = usize::try_from(number(0)?).ok().filter(|count| *count <= MOST_DIMENSIONS)?;
    let mut at = 12 + 8 * dimensions;
    out.extend_from_slice(field.get(..at)?);
    while at < field.len() {
        let length = number(at)?;
        let head = at;
        at += 4;
        if length == -1 {
            out.extend_from_slice(field.get(head..at)?);
            continue;
        }
        let length = usize::try_from(length).ok()?;
        let element = field.get(at..at.checked_add(length)?)?;
        at += length;
        let place = out.len();
        out.extend_from_slice(&[0xff; 4]);
        match text_of(set, false, element, out, search) {
            Shown::Same => out.extend_from_slice(element),
            Shown::Written => {}
            Shown::Null => continue,
        }
        let written = i32::try_from(out.len() - place - 4).ok()?;
        out.get_mut(place..place + 4)?.copy_from_slice(&written.to_be_bytes());
    }
    Some(())
}

/// Digits that a number of 16 has in base 10000, and the place of the first of them.
const GROUPS: usize = 4;

/// The value of a whole number of at most 16 digits; `None` for others.
fn whole(how: Search, binary: bool, field: &[u8]) -> Option<u64> {
    match (how, binary) {
        (Search::Integer, true) => u64::try_from(i64::from_be_bytes(field.try_into().ok()?)).ok(),
        (Search::Numeric, true) => {
            // how many digits there are, the place of the first, the sign, how many to show
            let (head, digits) = field.split_first_chunk::<8>()?;
            let [_, count, 0, 3, 0, 0, ..] = *head else { return None };
            let digits = digits.as_chunks::<2>().0;
            if usize::from(count) != digits.len() || digits.len() > GROUPS {
                return None;
            }
            let padded = digits.iter().map(|digit| u64::from(u16::from_be_bytes(*digit))).chain([0; GROUPS]);
            Some(padded.take(GROUPS).fold(0, |sum, digit| sum * 10_000 + digit))
        }
        _ => {
            if field.len() < 15 {
                return None;
            }
            let point = field.iter().position(|byte| *byte == b'.').unwrap_or(field.len());
            let (digits, rest) = field.split_at_checked(point)?;
            let whole = digits.len() <= 16 && rest.iter().skip(1).all(|byte| *byte == b'0');
            whole.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_number_is_known_in_numbers_of_both_formats() {
        let set = Set::default().with(Detector::Pan);
        let hides = |how, binary, field: &[u8]| {
            let mut search = findings::Search::default();
            let shown = super::search(set, how, binary, field, &mut Vec::new(), &mut search);
            assert_eq!(shown == Shown::Null, search.found.has(Detector::Pan));
            shown == Shown::Null
        };
        for (text, card) in [
            ("4929731608452298", true),
            ("371449635398431", true),
            ("4929731608452298.00", true),
            ("4929731608452299", false),
            ("4929731608452298.01", false),
            ("-4929731608452298", false),
            ("1700000000000000", false),
            ("49297316084522980", false),
            ("4222222222222", false),
            ("999999999999.99", false),
            ("NaN", false),
            ("", false),
        ] {
            assert_eq!(hides(Search::Numeric, false, text.as_bytes()), card, "{text}");
            if let Ok(number) = text.parse::<i64>() {
                assert_eq!(hides(Search::Integer, false, text.as_bytes()), card, "{text}");
                assert_eq!(hides(Search::Integer, true, &number.to_be_bytes()), card, "{text}");
            }
        }
        // as PostgreSQL sends numeric: 4929 7316 0845 2298; 371 4496 3539 8431; with a fraction; negative
        let numeric = |head: [u16; 4], digits: &[u16]| -> Vec<u8> {
            head.iter().chain(digits).flat_map(|part| part.to_be_bytes()).collect()
        };
        for (field, card) in [
            (numeric([4, 3, 0, 0], &[4929, 7316, 845, 2298]), true),
            (numeric([4, 3, 0, 2], &[4929, 7316, 845, 2298]), true),
            (numeric([4, 3, 0, 0], &[371, 4496, 3539, 8431]), true),
            (numeric([5, 3, 0, 2], &[4929, 7316, 845, 2298, 100]), false),
            (numeric([4, 3, 0x4000, 0], &[4929, 7316, 845, 2298]), false),
            (numeric([4, 2, 0, 4], &[4929, 7316, 845, 2298]), false),
            (numeric([1, 3, 0, 0], &[4000]), false),
            (numeric([0, 0, 0xc000, 0], &[]), false),
        ] {
            assert_eq!(hides(Search::Numeric, true, &field), card, "{field:?}");
        }
    }
}
