//! What a reviewer is shown of a held statement: who, what, on what, and why it is held.

use super::Measured;
use crate::{
    decide::Decision,
    frames::{Fields, frontend},
    redact,
    startup::Cancel,
};
use judge::{
    mask::detect::{self, Set},
    policy::Approval,
    sql::Misread,
};
use kit::visible;
use schemas::event::{Identity, Relation};
use serde::{Deserialize, Serialize};

/// Most bytes, as JSON, that reviewers are shown of one statement. What is larger is not held but denied: nobody may approve
/// what was not shown whole, and every node keeps it while it waits.
const MAX_SHOWN: usize = 256 << 10;

/// What stands in the place of a value that a reviewer may not see.
const HIDDEN: &str = "****";

/// A held statement, as reviewers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// `hld_...`.
    pub id: String,
    /// The statement, `stm_...`.
    pub statement: String,
    /// Its number in its session.
    pub number: u64,
    /// Its session, `ses_...`.
    pub session: String,
    /// Who sent it, on whose behalf, for which task.
    pub requester: Identity,
    /// The resource.
    pub resource: String,
    /// The database role that runs it.
    pub role: String,
    /// The node that holds it.
    pub node: String,
    /// The exact text, as [`visible::exact`] shows it.
    pub text: String,
    /// The texts behind EXECUTE and FETCH, likewise.
    pub runs: Vec<String>,
    /// Its bound values.
    pub values: Vec<Bound>,
    /// Its kinds, such as `DELETE`.
    pub kinds: Vec<String>,
    /// The relations that it touches, views followed.
    pub relations: Vec<Relation>,
    /// The columns that it touches, those that are hidden from it marked.
    pub columns: Vec<schemas::event::Column>,
    /// The functions that it calls, but for pure ones.
    pub functions: Vec<String>,
    /// The planner's estimate of the rows that it returns or writes.
    pub estimated_rows: Option<i64>,
    /// The planner's estimate of its cost.
    pub estimated_cost: Option<i64>,
    /// What it wrote where it was tried, where that is allowed.
    #[serde(default)]
    pub measured: Option<Measured>,
    /// The policies that hold it.
    pub policies: Vec<String>,
    /// Their version.
    pub policy_version: String,
    /// Why it is held.
    pub reason: String,
    /// It is in an open transaction, which keeps its locks meanwhile.
    pub in_transaction: bool,
    /// Who must agree.
    pub approvals: Vec<Needed>,
    /// What an approval releases.
    pub digest: String,
    /// When it was asked, microseconds since 1970.
    pub asked: i64,
    /// When it is denied, microseconds since 1970.
    pub expires: i64,
    /// The session's payloads are sealed, and so this is wherever it is kept.
    #[serde(skip)]
    pub sealed: bool,
    /// What its client sends to cancel it; nobody is shown that.
    #[serde(skip)]
    pub cancel: Option<Cancel>,
}

/// So many different members of a group must agree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Needed {
    /// The group.
    pub group: String,
    /// How many.
    pub count: u32,
}

impl From<&Approval> for Needed {
    fn from(approval: &Approval) -> Self {
        Self { group: approval.group.clone(), count: approval.count }
    }
}

/// An identity that is not known: it can be nobody's.
pub(super) fn nobody() -> Identity {
    Identity {
        kind: schemas::event::IdentityKind::Machine,
        subject: String::new(),
        issuer: String::new(),
        name: String::new(),
        groups: Vec::new(),
        on_behalf_of: Vec::new(),
        task: None,
    }
}

/// One bound value, as far as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The value: a text in quotes ([`visible::quoted`]), and what is no text, or hidden, bare; none for NULL.
    pub shown: Option<String>,
    /// Bytes that it has.
    pub bytes: usize,
}

/// Whether values of a statement may reach, or be compared with, what is classified: then none is shown.
fn is_classified(decision: &Decision) -> bool {
    let judgement = &decision.judgement;
    judgement.protected || judgement.columns.iter().any(|column| column.masked || column.label.is_some())
}

/// Why nobody can be shown what they would approve, for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unshown {
    /// Why.
    pub(super) why: String,
    /// What to do.
    pub(super) hint: &'static str,
}

impl Unshown {
    fn too_much(why: String) -> Self {
        Self { why, hint: "send it in smaller parts" }
    }

    /// Its values cannot be read.
    fn secret() -> Self {
        Self {
            why: "a password in it hides more than a word of it from reviewers".to_owned(),
            hint: "leave the password out, or choose one without brackets, semicolons and line breaks",
        }
    }

    pub(super) fn values() -> Self {
        Self::too_much("its values cannot be read".to_owned())
    }
}

impl Asked {
    /// As it is shown: what is not seen, or moves what is seen, is written out, and it is not more than reviewers are shown.
    ///
    /// # Errors
    /// [`Unshown`]: it is more, or a text reads differently from what runs.
    pub(super) fn shown(mut self) -> Result<Self, Unshown> {
        for text in std::iter::once(&mut self.text).chain(&mut self.runs) {
            if let Some(misread) = judge::sql::misread(text, visible::is_unseen) {
                return Err(unlike(misread));
            }
            *text = visible::exact(&redact::shown(text).ok_or_else(Unshown::secret)?);
        }
        let names = self.relations.iter_mut().map(|one| &mut one.name);
        let names = names.chain(self.columns.iter_mut().map(|one| &mut one.name)).chain(&mut self.functions);
        names.for_each(|name| *name = visible::line(name));
        self.fits()
    }

    fn fits(self) -> Result<Self, Unshown> {
        let written = serde_json::to_vec(&self);
        let bytes =
            written.map_err(|error| Unshown::too_much(format!("it cannot be shown to reviewers: {error}")))?.len();
        if bytes > MAX_SHOWN {
            return Err(Unshown::too_much(format!(
                "text and values have {bytes} bytes, and reviewers can be shown {MAX_SHOWN} of one statement"
            )));
        }
        Ok(self)
    }
}

fn unlike(misread: Misread) -> Unshown {
    match misread {
        Misread::Return => Unshown {
            why: "a carriage return ends a comment or stands in it, and the rest would be read as part of it"
                .to_owned(),
            hint: "end lines with a line feed, or leave the comment out",
        },
        Misread::Unseen(c) => Unshown {
            why: format!(
                "U+{:04X} stands outside of a string constant, which is not seen or moves what is seen",
                u32::from(c)
            ),
            hint: "leave that character out",
        },
    }
}

/// The values of a Bind, as reviewers see them: all of them, and each whole. Where any may be a protected one, none is
/// shown; others go through the detectors. None where they cannot be read: nobody could say what would be approved.
pub(super) fn values(decision: &Decision, types: &[u8], parameters: &[u8], detectors: Set) -> Option<Vec<Bound>> {
    let hidden = is_classified(decision);
    let mut fields = Fields::of(b'B', parameters);
    let codes = fields.count().ok()?;
    let codes: Vec<i16> = (0..codes).map(|_| fields.int16().ok()).collect::<Option<_>>()?;
    let count = fields.count().ok()?;
    let mut shown = Vec::new();
    for place in 0..count {
        let value = fields.value().ok()?;
        let binary = match codes.as_slice() {
            [] => false,
            [one] => *one == 1,
            all => all.get(place) == Some(&1),
        };
        let text = value.map(|value| {
            if hidden {
                return Some(HIDDEN.to_owned());
            }
            let clean = |text: String| detect::clean(detectors, &text).map_or(text, |(clean, _)| clean);
            let said = if binary { of_binary(frontend::parameter_type(types, place), value) } else { of_text(value) };
            Some(match said {
                Said::Text(text) => visible::quoted(&redact::value(&clean(text))?),
                Said::Bare(text) => visible::line(&clean(text)),
            })
        });
        // what a secret would hide of a value cannot be shown whole
        let text = match text {
            Some(None) => return None,
            other => other.flatten(),
        };
        shown.push(Bound { shown: text, bytes: value.map_or(0, <[u8]>::len) });
    }
    Some(shown)
}

/// A value in words: only what is a text stands in quotes, so that nothing else looks like it.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Text(String),
    Bare(String),
}

/// Bytes that are no text are shown as what they are: two values never look the same.
fn of_text(value: &[u8]) -> Said {
    match std::str::from_utf8(value) {
        Ok(text) => Said::Text(text.to_owned()),
        Err(_) => Said::Bare(format!("\\x{}", hexadecimal(value))),
    }
}

/// The usual types by their id; of others the bytes, and what they are as a number.
fn of_binary(type_id: u32, value: &[u8]) -> Said {
    let number = match *value {
        [a, b] => Some(i64::from(i16::from_be_bytes([a, b]))),
        [a, b, c, d] => Some(i64::from(i32::from_be_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => Some(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    };
    Said::Bare(match (type_id, number, value) {
        (20 | 21 | 23 | 26, Some(number), _) => number.to_string(),
        (16, _, [flag]) => (*flag != 0).to_string(),
        (18 | 19 | 25 | 114 | 1042 | 1043, _, _) => return of_text(value),
        (_, Some(number), _) => format!("\\x{} ({number} as a number)", hexadecimal(value)),
        _ => match std::str::from_utf8(value) {
            Ok(text) if !text.chars().any(char::is_control) => {
                format!("\\x{} ({} as text)", hexadecimal(value), visible::quoted(text))
            }
            _ => format!("\\x{}", hexadecimal(value)),
        },
    })
}

fn hexadecimal(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_values_are_read_by_their_type() {
        let bare = |text: &str| Said::Bare(text.to_owned());
        assert_eq!(of_binary(23, &42i32.to_be_bytes()), bare("42"));
        assert_eq!(of_binary(0, &42i32.to_be_bytes()), bare("\\x0000002a (42 as a number)"));
        assert_eq!(of_binary(25, b"text"), Said::Text("text".to_owned()));
        assert_eq!(of_binary(16, &[1]), bare("true"));
        assert_eq!(of_binary(0, b"hello"), bare("\\x68656c6c6f ('hello' as text)"));
        assert_eq!(frontend::parameter_type(&[0, 2, 0, 0, 0, 23, 0, 0, 0, 25], 1), 25);
    }

    #[test]
    fn bytes_that_are_no_text_do_not_look_like_others() {
        assert_eq!(of_text(b"a\xffb"), Said::Bare("\\x61ff62".to_owned()));
        assert_eq!(of_text(b"\\x61ff62"), Said::Text("\\x61ff62".to_owned()));
        assert_eq!(of_binary(25, b"\xfe"), Said::Bare("\\xfe".to_owned()));
        let long = vec![7; 5_000];
        assert_eq!(of_binary(17, &long), Said::Bare(format!("\\x{}", "07".repeat(5_000))), "each byte is shown");
    }
}
