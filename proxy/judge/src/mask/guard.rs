//! The write-back guard: what a mask shows may not be stored in the place of what it hides.
//!
//! An agent that reads a row, changes one column and writes the row back would destroy every masked value of it. A write
//! into a masked column is refused if a constant of its text, a parameter or a row of COPY looks like a placeholder:
//! four stars, alone or with the last four, an address `@example.invalid`, and for columns under `hash` sixteen
//! hexadecimal digits or a uuid of version 8. A made-up value (`fake`) and NULL look like any other, and are not noticed.

use super::{Method, copy::Inbound};
use crate::{
    policy::{Bound, Judgement},
    sql::{ColumnId, Facts, Placeholders},
};
use schemas::event::{Usage, VerdictKind};
use std::collections::BTreeSet;

/// What may not be written into masked columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    pseudonyms: bool,
}

impl Guard {
    fn of<'a>(columns: impl Iterator<Item = &'a ColumnId>, bound: &Bound, exempt: &[bool]) -> Option<Self> {
        let methods: BTreeSet<Method> = columns.filter_map(|column| bound.method(*column, exempt)).collect();
        (!methods.is_empty()).then(|| Self { pseudonyms: methods.contains(&Method::Hash) })
    }

    #[cfg(test)]
    pub(super) fn new(pseudonyms: bool) -> Self {
        Self { pseudonyms }
    }

    fn refuses(self, found: Placeholders) -> bool {
        found.stars || self.pseudonyms && found.pseudonym
    }

    /// Whether a value, in text or binary, looks like a placeholder.
    pub fn refuses_value(self, value: &[u8]) -> bool {
        // longer ones are no placeholders; addresses and arrays of one are short
        if value.len() > LONGEST {
            return false;
        }
        let mut found = Placeholders::default();
        found.note(value);
        // jsonb in binary has a version first
        if let Some((1, text)) = value.split_first() {
            found.note(text);
        }
        // one text in a binary array: its head has 20 bytes and the length of the element four
        if value.starts_with(&[0, 0, 0, 1, 0, 0, 0, 0]) {
            found.note(value.get(24..).unwrap_or_default());
        }
        self.refuses(found) || self.pseudonyms && is_made_up_uuid(value)
    }
}

/// Longest value that is compared with placeholders.
const LONGEST: usize = 512;

/// Version 8, variant 1, as `hash` makes them: nothing else makes these.
fn is_made_up_uuid(value: &[u8]) -> bool {
    match value.len() {
        16 => value.get(6).is_some_and(|b| b >> 4 == 8) && value.get(8).is_some_and(|b| b >> 6 == 2),
        36 => value.get(14) == Some(&b'8') && value.get(8) == Some(&b'-') && value.get(13) == Some(&b'-'),
        _ => false,
    }
}

/// What a statement writes that is masked for the identity.
fn written(facts: &Facts, bound: &Bound, exempt: &[bool]) -> Option<Guard> {
    let columns = facts.columns.iter().filter(|used| used.usage == Usage::Written).map(|used| &used.column);
    Guard::of(columns, bound, exempt)
}

/// What the parameters of a statement may not be, whichever of these facts it has. Where a constant of its text is a
/// placeholder already, of EXECUTE or of what it runs, the judgement becomes a denial.
pub fn judge<'a>(
    facts: impl Iterator<Item = &'a Facts> + Clone,
    judgement: &mut Judgement,
    bound: &Bound,
) -> Option<Guard> {
    let guards = facts.clone().filter_map(|facts| written(facts, bound, &judgement.exempt));
    let guard = guards.reduce(|a, b| Guard { pseudonyms: a.pseudonyms || b.pseudonyms })?;
    let found = facts.fold(Placeholders::default(), |all, facts| Placeholders {
        stars: all.stars || facts.placeholders.stars,
        pseudonym: all.pseudonym || facts.placeholders.pseudonym,
    });
    if guard.refuses(found) && judgement.verdict != VerdictKind::Deny {
        judgement.verdict = VerdictKind::Deny;
        judgement.reason = "it would store the placeholder of a mask in a masked column".to_owned();
        judgement.hint = "leave the masked columns out of what is written, or write their real values".to_owned();
        judgement.policies = vec!["builtin:placeholder".to_owned()];
    }
    Some(guard)
}

/// What the rows of a COPY from the client may not hold; an error where they cannot be walked.
///
/// # Errors
/// [`super::Error::Malformed`] where it writes masked columns and its layout is not known.
pub fn of_copy(facts: &Facts, judgement: &Judgement, bound: &Bound) -> Result<Option<Inbound>, super::Error> {
    if written(facts, bound, &judgement.exempt).is_none() {
        return Ok(None);
    }
    let format = facts.copy.as_ref().ok_or(super::Error::Malformed)?;
    let guards = format.targets.iter().map(|columns| Guard::of(columns.iter(), bound, &judgement.exempt)).collect();
    Ok(Inbound::new(format, guards))
}
