//! Searched values: what detectors find in them is replaced where it stands, so that the rest of a text stays readable.

use super::{Plan, array::MOST_DIMENSIONS, detect, detect::Set, kind::Search, row::Shown};
use std::ops::Range;

/// Whether a value may hold something: most do not, and are not looked at again.
pub(super) fn may(plan: &Plan, how: Search, field: &[u8]) -> bool {
    // hexadecimal digits show nothing of what they stand for
    how == Search::Bytes || detect::suspicious(plan.detectors, field)
}

/// Appends the value without what is found in it.
pub(super) fn search(
    set: Set,
    how: Search,
    binary: bool,
    field: &[u8],
    out: &mut Vec<u8>,
    spans: &mut Vec<Range<usize>>,
) -> Shown {
    match (how, binary) {
        (Search::Array, true) => array(set, field, out, spans),
        (Search::Bytes, false) => {
            let Some(bytes) = super::value::hexadecimal(field) else { return Shown::Same };
            hidden_whole(set, &bytes, spans)
        }
        (Search::Bytes | Search::Opaque, true) => hidden_whole(set, field, spans),
        (Search::Jsonb, true) => {
            let Some((version, text)) = field.split_first() else { return Shown::Same };
            let place = out.len();
            out.push(*version);
            let shown = text_of(set, true, text, out, spans);
            if shown != Shown::Written {
                out.truncate(place);
            }
            shown
        }
        (Search::Json | Search::Jsonb, _) => text_of(set, true, field, out, spans),
        (Search::Plain, _) | (Search::Array | Search::Opaque, false) => text_of(set, false, field, out, spans),
    }
}

fn hidden_whole(set: Set, bytes: &[u8], spans: &mut Vec<Range<usize>>) -> Shown {
    spans.clear();
    detect::find(set, bytes, spans);
    if spans.is_empty() { Shown::Same } else { Shown::Null }
}

/// Appends a text without what is found in it.
pub(super) fn text_of(set: Set, json: bool, text: &[u8], out: &mut Vec<u8>, spans: &mut Vec<Range<usize>>) -> Shown {
    spans.clear();
    detect::find(set, text, spans);
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
fn array(set: Set, field: &[u8], out: &mut Vec<u8>, spans: &mut Vec<Range<usize>>) -> Shown {
    spans.clear();
    detect::find(set, field, spans);
    if spans.is_empty() {
        return Shown::Same;
    }
    let place = out.len();
    if elements(set, field, out, spans).is_some() {
        return Shown::Written;
    }
    out.truncate(place);
    Shown::Null
}

fn elements(set: Set, field: &[u8], out: &mut Vec<u8>, spans: &mut Vec<Range<usize>>) -> Option<()> {
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
        match text_of(set, false, element, out, spans) {
            Shown::Same => out.extend_from_slice(element),
            Shown::Written => {}
            Shown::Null => continue,
        }
        let written = i32::try_from(out.len() - place - 4).ok()?;
        out.get_mut(place..place + 4)?.copy_from_slice(&written.to_be_bytes());
    }
    Some(())
}
