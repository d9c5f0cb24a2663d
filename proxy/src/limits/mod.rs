//! Limits of a resource on what one identity and one statement may take: sessions at once, statements a second, time,
//! rows and bytes of an answer.
//!
//! Sessions and rates are counted for an identity over all its sessions on this node. Time is PostgreSQL's own
//! `statement_timeout`, set when the session starts and kept from being raised: what runs longer fails with 57014, as if
//! cancelled. An answer larger than its limit is cut off, and its statement fails ([`cut`]).

pub(crate) mod cut;
mod rate;

pub use rate::{Seat, Usage};

use crate::{
    conversation::Conversation,
    decide::{Decision, Refused, Simple},
};
use judge::sql::Effect;
use serde::Deserialize;
use std::{
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    time::{Duration, Instant},
};

/// `limits` of a resource. Each is absent unless it is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Sessions that one identity may have at once on this node. _Default:_ no limit.
    pub sessions_per_identity: Option<NonZeroUsize>,
    /// Statements that one identity may run in a second, over all its sessions on this node; as many may come at once.
    /// _Default:_ no limit.
    pub statements_per_second: Option<NonZeroU32>,
    /// Milliseconds that one statement may take; sessions may set a shorter `statement_timeout`. _Default:_ no limit.
    pub statement_milliseconds: Option<NonZeroU32>,
    /// Rows that one statement may return. _Default:_ no limit.
    pub rows_per_statement: Option<NonZeroU64>,
    /// Bytes that the rows of one statement may have together. _Default:_ no limit.
    pub bytes_per_statement: Option<NonZeroU64>,
}

impl Limits {
    /// The statement_timeout that a session begins with, given what its client asks for.
    pub fn timeout(&self, asked: Option<&str>) -> Option<String> {
        let limit = self.statement_milliseconds?;
        let asked = asked.and_then(milliseconds).filter(|asked| *asked > 0 && *asked <= u64::from(limit.get()));
        Some(asked.unwrap_or(u64::from(limit.get())).to_string())
    }

    /// Why a statement may not run for what it does to the session's settings.
    pub(crate) fn refuses(&self, decision: &Decision) -> Option<Refused> {
        let limit = self.statement_milliseconds?;
        let effects = decision.facts.iter().flat_map(|facts| facts.effects.iter().map(move |effect| (facts, effect)));
        let raises = |value: Option<&str>, kind: &str| match value {
            Some(value) => milliseconds(value).is_none_or(|value| value == 0 || value > u64::from(limit.get())),
            // SET ... TO DEFAULT and RESET return to what the session began with
            None => !matches!(kind, "SET" | "RESET"),
        };
        let found = effects.into_iter().any(|(facts, effect)| match effect {
            Effect::Set { name, value, .. } if name == "statement_timeout" => raises(value.as_deref(), &facts.kind),
            _ => false,
        });
        found.then(|| {
            let reason =
                format!("statements of this resource may take {limit} ms, and statement_timeout may not be longer");
            refused("42501", "limit:time", &reason, "set a shorter one, or leave it as it is")
        })
    }

    /// Why an answer of this size may not go on: the limit, the reason, a hint.
    pub(crate) fn exceeded(&self, rows: u64, bytes: u64) -> Option<(&'static str, String, &'static str)> {
        if let Some(limit) = self.rows_per_statement.filter(|limit| rows > limit.get()) {
            let reason = format!("a statement of this resource may return {limit} rows, and this one returns more");
            return Some(("limit:rows", reason, "add a LIMIT or a narrower WHERE"));
        }
        let limit = self.bytes_per_statement.filter(|limit| bytes > limit.get())?;
        let reason =
            format!("the rows of a statement of this resource may have {limit} bytes, and this one's have more");
        Some(("limit:bytes", reason, "choose fewer rows or columns"))
    }
}

impl Conversation {
    /// Why a simple message may not run now, and for which of its statements.
    pub(crate) fn limits_message(&self, decided: &[Simple], now: Instant) -> Option<(usize, Refused)> {
        let settings = decided
            .iter()
            .enumerate()
            .find_map(|(place, statement)| self.limits.refuses(&statement.decision).map(|refused| (place, refused)));
        settings.or_else(|| self.limits_rate(decided.len(), now).map(|refused| (0, refused)))
    }

    /// Why an Execute may not run now.
    pub(crate) fn limits_run(&self, decision: &Decision, now: Instant) -> Option<Refused> {
        if self.budget_comes_back() {
            return None;
        }
        self.limits.refuses(decision).or_else(|| self.limits_rate(1, now))
    }

    fn limits_rate(&self, count: usize, now: Instant) -> Option<Refused> {
        let (limit, wait) = self.seat.as_ref()?.take(count, now).err()?;
        Some(too_soon(limit, wait))
    }
}

/// The refusal that a limit is.
pub(crate) fn refused(sqlstate: &'static str, policy: &str, reason: &str, hint: &str) -> Refused {
    Refused::Because { sqlstate, reason: reason.to_owned(), hint: hint.to_owned(), policy: policy.to_owned() }
}

/// A statement that comes too soon.
pub(crate) fn too_soon(limit: NonZeroU32, wait: Duration) -> Refused {
    let reason = format!("this identity may run {limit} statements a second on this resource");
    let hint = format!("try again in {} ms", wait.as_millis().max(1));
    refused("53400", "limit:rate", &reason, &hint)
}

/// Reads a time as PostgreSQL does for statement_timeout: a number, with a unit or in milliseconds. What it does not
/// read for sure is `None`.
fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim().trim_matches('\'').trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let factor = match unit.trim_start() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // a leading zero would be octal to PostgreSQL
    if number > 0 && text.starts_with('0') {
        return None;
    }
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_postgresql_reads_them() {
        for (text, expected) in [
            ("5000", Some(5000)),
            ("5s", Some(5000)),
            (" '2 min' ", Some(120_000)),
            ("0", Some(0)),
            ("1h", Some(3_600_000)),
            ("010", None),
            ("0x10", None),
            ("1e9", None),
            ("1.5s", None),
            ("", None),
            ("-1", None),
            ("5 us", None),
        ] {
            assert_eq!(milliseconds(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_session_begins_with_the_limit_or_less() {
        let limits = Limits { statement_milliseconds: NonZeroU32::new(2000), ..Limits::default() };
        assert_eq!(limits.timeout(None).as_deref(), Some("2000"));
        assert_eq!(limits.timeout(Some("1s")).as_deref(), Some("1000"));
        assert_eq!(limits.timeout(Some("0")).as_deref(), Some("2000"));
        assert_eq!(limits.timeout(Some("1h")).as_deref(), Some("2000"));
        assert_eq!(Limits::default().timeout(Some("1h")), None);
    }

    #[test]
    fn answers_may_have_as_much_as_the_limit() {
        let limits = Limits {
            rows_per_statement: NonZeroU64::new(10),
            bytes_per_statement: NonZeroU64::new(100),
            ..Limits::default()
        };
        assert_eq!(limits.exceeded(10, 100), None);
        assert!(limits.exceeded(11, 1).unwrap().1.contains("10 rows"));
        assert!(limits.exceeded(1, 101).unwrap().1.contains("100 bytes"));
    }
}
