//! The question language: text to a tree.
//!
//! ```text
//! who read card_number            who wrote customers.email         who touched hr.salaries       who was denied
//! identity:billing-bot verdict:deny        "delete from payments" -kind:select       (read:ssn OR read:pan) since:24h
//! time:2026-05-01..2026-05-31     rows:>100      duration:>1s
//! ```
//!
//! Terms that stand side by side must all hold; `OR` binds weaker than that; `NOT` or `-` before a term excludes it;
//! parentheses group; `"..."` is a phrase of the SQL text, a word without a field is a word of it. Constants are not in
//! the index, so that in a phrase they only hold their place.

use super::time;
use crate::schema::{NUMBERS, TERMS, plain_words};
use schemas::literals;
use std::iter::Peekable;
use std::ops::Bound;

/// Longest question in bytes.
pub const MAX_QUESTION_BYTES: usize = 4_096;
/// Deepest nesting of parentheses and negations.
const MAX_DEPTH: usize = 32;
/// Most terms of a question.
const MAX_TERMS: usize = 256;

/// A condition on documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Every document.
    All,
    /// A field holds a term.
    Term {
        /// One of [`TERMS`].
        field: &'static str,
        /// The value.
        value: String,
    },
    /// A number lies in a range.
    Number {
        /// One of [`NUMBERS`].
        field: &'static str,
        /// From.
        from: Bound<u64>,
        /// To.
        to: Bound<u64>,
    },
    /// The time lies in a range, in microseconds since 1970-01-01 UTC.
    Time {
        /// From.
        from: Bound<i64>,
        /// To.
        to: Bound<i64>,
    },
    /// These words stand in a row in the SQL text or in the reason.
    Words(Vec<String>),
    /// All hold.
    And(Vec<Condition>),
    /// One holds.
    Or(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
}

/// What somebody is said to have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Read a column or the rows of a relation; what was denied read nothing.
    Read,
    /// Tried to read: as [`Deed::Read`], denied ones too.
    TriedToRead,
    /// Wrote a column, or rows of a relation.
    Wrote,
    /// Touched a relation or column in any way, or tried to.
    Touched,
    /// Was denied.
    WasDenied,
}

/// A question that begins with `who`: its answer also counts by identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// What was done.
    pub deed: Deed,
    /// To what: a column or relation, as full as it was given; empty for [`Deed::WasDenied`].
    pub object: String,
}

/// A question, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What must hold.
    pub condition: Condition,
    /// The part of it that does not say what was touched: time, identity and the like. All of it where `who` is `None`.
    pub filters: Condition,
    /// Whether it asks who.
    pub who: Option<Who>,
}

/// The question cannot be understood. The text says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is too long.
    #[error("the question is longer than {MAX_QUESTION_BYTES} bytes")]
    TooLong,
    /// It has too many terms or is nested too deeply.
    #[error("the question has more than {MAX_TERMS} terms or is nested deeper than {MAX_DEPTH}")]
    TooComplex,
    /// There is no such field.
    #[error("there is no field {field:?}{}", nearest.map(|name| format!(", did you mean {name:?}?")).unwrap_or_default())]
    UnknownField {
        /// What was written.
        field: String,
        /// A known field that is like it.
        nearest: Option<&'static str>,
    },
    /// A value is not of the form that its field needs.
    #[error("{field}:{value} cannot be understood: {expected}")]
    Value {
        /// The field.
        field: String,
        /// What was written.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// A quote or parenthesis is not closed, or one closes nothing.
    #[error("{0} has no counterpart")]
    Unbalanced(char),
    /// An operator has nothing to work on.
    #[error("nothing follows {0:?}")]
    Nothing(String),
    /// After `who` comes a verb.
    #[error("after \"who\" comes: read X, wrote X, touched X, tried to read X, or was denied")]
    Who,
}

impl Question {
    /// Understands a question. `now` is in microseconds since 1970-01-01 UTC, for `since:24h`.
    ///
    /// # Errors
    /// [`Error`], to be shown to who asked.
    pub fn parse(text: &str, now: i64) -> Result<Self, Error> {
        if text.len() > MAX_QUESTION_BYTES {
            return Err(Error::TooLong);
        }
        let pieces = pieces(text)?;
        if pieces.len() > MAX_TERMS * 2 {
            return Err(Error::TooComplex);
        }
        let (who, rest) = who(&pieces)?;
        let mut parser = Parser { pieces: rest.iter().peekable(), now };
        let filters = parser.any(0)?;
        if parser.pieces.peek().is_some() {
            return Err(Error::Unbalanced(')'));
        }
        let condition = match &who {
            Some(who) => and(vec![who.condition(), filters.clone()]),
            None => filters.clone(),
        };
        Ok(Self { condition, filters, who })
    }
}

impl Who {
    fn condition(&self) -> Condition {
        let one = |field| Condition::Term { field, value: self.object.clone() };
        let statements = Condition::Term { field: "type", value: "statement".to_owned() };
        let denied = || {
            let of = |field, value: &str| Condition::Term { field, value: value.to_owned() };
            Condition::Or(vec![of("verdict", "deny"), of("outcome", "denied")])
        };
        match self.deed {
            Deed::Read => and(vec![Condition::Or(vec![one("read"), one("selected")]), not(denied())]),
            Deed::TriedToRead => Condition::Or(vec![one("read"), one("selected")]),
            Deed::Wrote => and(vec![Condition::Or(vec![one("wrote"), one("changed")]), not(denied())]),
            Deed::Touched => Condition::Or(vec![one("relation"), one("column")]),
            Deed::WasDenied => and(vec![statements, denied()]),
        }
    }
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn and(conditions: Vec<Condition>) -> Condition {
    let mut parts: Vec<Condition> = conditions.into_iter().filter(|part| *part != Condition::All).collect();
    match parts.len() {
        0 => Condition::All,
        1 => parts.remove(0),
        _ => Condition::And(parts),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Open,
    Close,
    Minus,
    /// `field:` before a word or phrase.
    Field(String),
    Word(String),
    Phrase(String),
}

/// Cuts a question into pieces.
fn pieces(text: &str) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = rest.get(first.len_utf8()..).unwrap_or_default();
        // a minus excludes only where a term begins
        match first {
            '(' | ')' => {
                pieces.push(if first == '(' { Piece::Open } else { Piece::Close });
                rest = after;
            }
            '-' if !matches!(pieces.last(), Some(Piece::Field(_)))
                && after.starts_with(|c: char| !c.is_whitespace()) =>
            {
                pieces.push(Piece::Minus);
                rest = after;
            }
            '"' => {
                let (inside, after) = after.split_once('"').ok_or(Error::Unbalanced('"'))?;
                pieces.push(Piece::Phrase(inside.to_owned()));
                rest = after;
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"')).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                match word.split_once(':').filter(|(field, _)| is_field(field)) {
                    Some((field, "")) => pieces.push(Piece::Field(field.to_owned())),
                    Some((field, value)) => {
                        pieces.push(Piece::Field(field.to_owned()));
                        pieces.push(Piece::Word(value.to_owned()));
                    }
                    None => pieces.push(Piece::Word(word.to_owned())),
                }
                rest = after;
            }
        }
        let before = rest.len();
        rest = rest.trim_start();
        if rest.len() != before
            && let Some(Piece::Field(field)) = pieces.last()
        {
            return Err(Error::Nothing(format!("{field}:")));
        }
    }
    Ok(pieces)
}

fn is_field(field: &str) -> bool {
    !field.is_empty() && field.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
}

/// Reads `who read X` off the front.
fn who(pieces: &[Piece]) -> Result<(Option<Who>, &[Piece]), Error> {
    let word = |at: usize| match pieces.get(at) {
        Some(Piece::Word(word)) => Some(word.to_lowercase()),
        _ => None,
    };
    if word(0).as_deref() != Some("who") {
        return Ok((None, pieces));
    }
    let words = [word(1), word(2), word(3)];
    let [first, second, third] = words.each_ref().map(|word| word.as_deref().unwrap_or_default());
    let (deed, at) = match (first, second, third) {
        ("was", "denied", _) => (Deed::WasDenied, 3),
        ("is" | "got", "denied", _) => (Deed::WasDenied, 3),
        ("tried", "to", "read") => (Deed::TriedToRead, 4),
        ("read" | "reads" | "saw" | "selected", _, _) => (Deed::Read, 2),
        ("wrote" | "writes" | "changed" | "modified", _, _) => (Deed::Wrote, 2),
        ("touched" | "touches" | "used", _, _) => (Deed::Touched, 2),
        _ => return Err(Error::Who),
    };
    if deed == Deed::WasDenied {
        return Ok((Some(Who { deed, object: String::new() }), pieces.get(at..).unwrap_or_default()));
    }
    let object = match pieces.get(at) {
        Some(Piece::Word(word) | Piece::Phrase(word)) => word.trim_end_matches('?').to_owned(),
        _ => return Err(Error::Who),
    };
    Ok((Some(Who { deed, object }), pieces.get(at + 1..).unwrap_or_default()))
}

struct Parser<'a> {
    pieces: Peekable<std::slice::Iter<'a, Piece>>,
    now: i64,
}

impl Parser<'_> {
    fn is_word(&mut self, word: &str) -> bool {
        matches!(self.pieces.peek(), Some(Piece::Word(found)) if found == word)
    }

    fn any(&mut self, depth: usize) -> Result<Condition, Error> {
        let mut parts = vec![self.all(depth)?];
        while self.is_word("OR") {
            self.pieces.next();
            parts.push(self.all(depth)?);
        }
        match parts.len() {
            1 => Ok(parts.remove(0)),
            _ if parts.contains(&Condition::All) => Err(Error::Nothing("OR".to_owned())),
            _ => Ok(Condition::Or(parts)),
        }
    }

    fn all(&mut self, depth: usize) -> Result<Condition, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::TooComplex);
        }
        let mut parts = Vec::new();
        loop {
            if self.is_word("AND") {
                self.pieces.next();
                if parts.is_empty() || matches!(self.pieces.peek(), None | Some(Piece::Close)) {
                    return Err(Error::Nothing("AND".to_owned()));
                }
            }
            if matches!(self.pieces.peek(), None | Some(Piece::Close)) || self.is_word("OR") {
                return Ok(and(parts));
            }
            parts.push(self.one(depth)?);
        }
    }

    fn one(&mut self, depth: usize) -> Result<Condition, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::TooComplex);
        }
        match self.pieces.next() {
            Some(Piece::Open) => {
                let inside = self.any(depth + 1)?;
                match self.pieces.next() {
                    Some(Piece::Close) => Ok(inside),
                    _ => Err(Error::Unbalanced('(')),
                }
            }
            Some(Piece::Minus) => self.one(depth + 1).map(not),
            Some(Piece::Word(word)) if word == "NOT" => self.one(depth + 1).map(not),
            Some(Piece::Word(word)) => Ok(words(word)),
            Some(Piece::Phrase(phrase)) => Ok(words(phrase)),
            Some(Piece::Field(field)) => match self.pieces.next() {
                Some(Piece::Word(value) | Piece::Phrase(value)) => self.field(field, value),
                _ => Err(Error::Nothing(format!("{field}:"))),
            },
            Some(Piece::Close) => Err(Error::Unbalanced(')')),
            None => Err(Error::Nothing("NOT".to_owned())),
        }
    }

    fn field(&self, name: &str, value: &str) -> Result<Condition, Error> {
        let lower = name.to_lowercase();
        let name = match lower.as_str() {
            "written" => "wrote",
            "policies" => "policy",
            "groups" => "group",
            "statement" => "id",
            other => other,
        };
        if let Some((field, _, _)) = TERMS.iter().find(|(known, _, _)| *known == name) {
            return Ok(Condition::Term { field, value: value.to_owned() });
        }
        let wrong = |expected| Error::Value { field: name.to_owned(), value: value.to_owned(), expected };
        match name {
            "time" => time::range(value).map(|(from, to)| Condition::Time { from, to }).ok_or_else(|| wrong(TIME)),
            "since" | "until" => {
                let at = time::instant(value, self.now).ok_or_else(|| wrong(SINCE))?;
                Ok(match name {
                    "since" => Condition::Time { from: Bound::Included(at), to: Bound::Unbounded },
                    _ => Condition::Time { from: Bound::Unbounded, to: Bound::Excluded(at) },
                })
            }
            _ => {
                let known = NUMBERS.iter().find(|(known, _)| *known == name);
                let (field, _) = known.ok_or_else(|| unknown(name))?;
                let (from, to) = number_range(field, value).ok_or_else(|| wrong(number_form(field)))?;
                Ok(Condition::Number { field, from, to })
            }
        }
    }
}

const TIME: &str = "give a day, a time such as 2026-05-01T12:00, or a range such as 2026-05-01..2026-05-31, all in UTC";
const SINCE: &str = "give a span such as 30m, 24h or 7d, or a day or time in UTC";

fn number_form(field: &str) -> &'static str {
    match field {
        "duration" => "give a span such as >1s, <=20ms, or 1s..10s",
        _ => "give a number, or such as >100, <=5, or 10..20",
    }
}

fn unknown(field: &str) -> Error {
    let names = TERMS.iter().map(|(name, _, _)| *name).chain(NUMBERS.iter().map(|(name, _)| *name));
    let scored = names
        .chain(["time", "since", "until", "statement"])
        .map(|name| (strsim::damerau_levenshtein(field, name), name));
    let nearest = scored.min().filter(|(distance, _)| *distance <= MAX_DISTANCE).map(|(_, name)| name);
    Error::UnknownField { field: field.to_owned(), nearest }
}

/// Further away a name is no misspelling but another word.
const MAX_DISTANCE: usize = 3;

/// Words of a phrase, cut as the SQL text was; as plain words where it is not sound SQL.
fn words(text: &str) -> Condition {
    let words = literals::remove(text).map(|text| text.words).unwrap_or_else(|| plain_words(text));
    if words.is_empty() { Condition::All } else { Condition::Words(words) }
}

fn number_range(field: &str, value: &str) -> Option<(Bound<u64>, Bound<u64>)> {
    let one = |text: &str| match field {
        "duration" => time::span(text).and_then(|span| u64::try_from(span).ok()),
        _ => text.parse().ok(),
    };
    if let Some(rest) = value.strip_prefix(">=") {
        return Some((Bound::Included(one(rest)?), Bound::Unbounded));
    }
    if let Some(rest) = value.strip_prefix('>') {
        return Some((Bound::Excluded(one(rest)?), Bound::Unbounded));
    }
    if let Some(rest) = value.strip_prefix("<=") {
        return Some((Bound::Unbounded, Bound::Included(one(rest)?)));
    }
    if let Some(rest) = value.strip_prefix('<') {
        return Some((Bound::Unbounded, Bound::Excluded(one(rest)?)));
    }
    match value.split_once("..") {
        Some((from, to)) => {
            let bound =
                |text: &str| if text.is_empty() { Some(Bound::Unbounded) } else { one(text).map(Bound::Included) };
            Some((bound(from)?, bound(to)?))
        }
        None => one(value.strip_prefix('=').unwrap_or(value)).map(|one| (Bound::Included(one), Bound::Included(one))),
    }
}

#[cfg(test)]
mod tests;
