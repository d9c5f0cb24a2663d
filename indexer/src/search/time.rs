//! Times and spans of a question, and times as an answer shows them. All in UTC.

use std::ops::Bound;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
const CLOCK: &[BorrowedFormatItem<'_>] =
    format_description!("[hour]:[minute][optional [:[second][optional [.[subsecond]]]]]");
const SHOWN: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

const SECOND: i64 = 1_000_000;
const MICROSECONDS_OF_DAY: i64 = 86_400 * SECOND;

/// A span such as `24h`, in microseconds.
pub(super) fn span(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => SECOND,
        "m" | "min" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => MICROSECONDS_OF_DAY,
        "w" => 7 * MICROSECONDS_OF_DAY,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit)
}

/// A day, a time, or a span back from now.
pub(super) fn instant(text: &str, now: i64) -> Option<i64> {
    match span(text) {
        Some(span) => now.checked_sub(span),
        None => one(text).map(|(from, _)| from),
    }
}

/// A day, a time, or a range of either. A range's last day counts whole.
pub(super) fn range(text: &str) -> Option<(Bound<i64>, Bound<i64>)> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let from = match from {
        "" => Bound::Unbounded,
        text => Bound::Included(one(text)?.0),
    };
    let to = match to {
        "" => Bound::Unbounded,
        text => Bound::Excluded(one(text)?.1),
    };
    Some((from, to))
}

/// The first microsecond of what is named, and the one after its last.
fn one(text: &str) -> Option<(i64, i64)> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (day, clock) = match text.split_once('T') {
        Some((day, clock)) => (day, Some(clock)),
        None => (text, None),
    };
    let day = Date::parse(day, DAY).ok()?;
    let Some(clock) = clock else {
        let from = micros(PrimitiveDateTime::new(day, Time::MIDNIGHT))?;
        return Some((from, from + MICROSECONDS_OF_DAY));
    };
    let from = micros(PrimitiveDateTime::new(day, Time::parse(clock, CLOCK).ok()?))?;
    let length = match (clock.matches(':').count(), clock.contains('.')) {
        (_, true) => 1,
        (1, _) => 60 * SECOND,
        _ => SECOND,
    };
    Some((from, from + length))
}

fn micros(at: PrimitiveDateTime) -> Option<i64> {
    i64::try_from(at.assume_utc().unix_timestamp_nanos() / 1_000).ok()
}

/// A time as people read it, to the millisecond; the bare number where it is none.
pub(super) fn shown(micros: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok();
    at.and_then(|at| at.format(SHOWN).ok()).unwrap_or_else(|| micros.to_string())
}

/// A span as people read it.
pub(super) fn shown_span(micros: u64) -> String {
    let part = |unit: u64, name: &str| format!("{}.{}{name}", micros / unit, micros % unit * 10 / unit);
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..1_000_000 => part(1_000, "ms"),
        1_000_000..60_000_000 => part(1_000_000, "s"),
        _ => format!("{}m{}s", micros / 60_000_000, micros % 60_000_000 / 1_000_000),
    }
}
