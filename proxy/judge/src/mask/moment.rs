//! Days and moments: another day, between 1960 and 1999, the same for the same moment in text and binary.
//!
//! Text is read in the ISO style only, with whatever offset it states; in another `DateStyle` it becomes NULL.

use super::{Method, value::number};
use ring::hmac;

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL's binary formats begin.
const EPOCH: i64 = 10_957;

/// Days that are made up: forty years before PostgreSQL's epoch.
const RANGE: u64 = 14_610;

const DAY: i64 = 86_400_000_000;

/// Appends what takes the place of a `date`.
pub(super) fn hide_date(
    method: Method,
    key: Option<&hmac::Key>,
    field: &[u8],
    binary: bool,
    out: &mut Vec<u8>,
) -> Option<()> {
    let days = if binary {
        i64::from(Some(i32::from_be_bytes(field.try_into().ok()?)).filter(|d| !matches!(*d, i32::MAX | i32::MIN))?)
    } else {
        let (days, rest) = read_day(std::str::from_utf8(field).ok()?)?;
        rest.is_empty().then_some(days)?
    };
    let made = day(method, key, days, days)?;
    if binary {
        out.extend_from_slice(&i32::try_from(made).ok()?.to_be_bytes());
    } else {
        out.extend_from_slice(write_day(made).as_bytes());
    }
    Some(())
}

/// Appends what takes the place of a `timestamp` or `timestamptz`.
pub(super) fn hide_timestamp(
    method: Method,
    key: Option<&hmac::Key>,
    field: &[u8],
    zone: bool,
    binary: bool,
    out: &mut Vec<u8>,
) -> Option<()> {
    let moment = if binary {
        Some(i64::from_be_bytes(field.try_into().ok()?)).filter(|m| !matches!(*m, i64::MAX | i64::MIN))?
    } else {
        read_moment(std::str::from_utf8(field).ok()?, zone)?
    };
    let made = day(method, key, moment, moment.div_euclid(DAY))?;
    if binary {
        out.extend_from_slice(&(made * DAY).to_be_bytes());
    } else {
        let zone = if zone { "+00" } else { "" };
        out.extend_from_slice(format!("{} 00:00:00{zone}", write_day(made)).as_bytes());
    }
    Some(())
}

/// Another day than `real`, in days from PostgreSQL's epoch.
fn day(method: Method, key: Option<&hmac::Key>, value: i64, real: i64) -> Option<i64> {
    let (Method::Hash | Method::Fake, Some(key)) = (method, key) else { return None };
    let chance = number(key, format!("day {value}").as_bytes()) % RANGE;
    let made = i64::try_from(chance).ok()? - i64::try_from(RANGE).ok()?;
    Some(if made == real { made - 1 } else { made })
}

/// Days from PostgreSQL's epoch, and what follows.
fn read_day(text: &str) -> Option<(i64, &str)> {
    let (year, rest) = text.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (date, rest) = rest.split_at_checked(digits)?;
    if year.len() < 4 || year.len() > 6 || month.len() != 2 || date.len() != 2 || rest.contains("BC") {
        return None;
    }
    Some((days_of(year.parse().ok()?, month.parse().ok()?, date.parse().ok()?) - EPOCH, rest))
}

/// Microseconds from PostgreSQL's epoch, in UTC.
fn read_moment(text: &str, zone: bool) -> Option<i64> {
    let (days, rest) = read_day(text)?;
    let clock = rest.strip_prefix(' ')?;
    let end = clock.find(['+', '-']).unwrap_or(clock.len());
    let (clock, offset) = clock.split_at_checked(end)?;
    if offset.is_empty() == zone {
        return None;
    }
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let seconds = seconds_of(clock)?;
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let offset = match offset.split_at_checked(1) {
        Some((sign, offset)) => seconds_of(offset)? * if sign == "-" { -1 } else { 1 },
        None => 0,
    };
    Some(days * DAY + (seconds - offset) * 1_000_000 + micros)
}

/// `HH`, `HH:MM` or `HH:MM:SS`.
fn seconds_of(clock: &str) -> Option<i64> {
    let mut seconds = 0;
    for (part, unit) in clock.split(':').zip([3600, 60, 1, 0]) {
        let number: i64 = part.parse().ok().filter(|n| (0..=60).contains(n) && unit > 0)?;
        seconds += number * unit;
    }
    Some(seconds)
}

/// Days from 1970-01-01, by the proleptic Gregorian calendar (Howard Hinnant's `days_from_civil`).
fn days_of(year: i64, month: i64, date: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + date - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `YYYY-MM-DD` of days from PostgreSQL's epoch.
fn write_day(days: i64) -> String {
    let days = days + EPOCH + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_are_read_as_postgresql_writes_them() {
        assert_eq!(read_moment("2000-01-01 00:00:00", false), Some(0));
        assert_eq!(read_moment("2000-01-01 02:00:00.5+02", true), Some(500_000));
        assert_eq!(read_moment("1999-12-31 23:30:00-00:30", true), Some(0));
        assert_eq!(read_moment("2000-01-01 00:00:00", true), None);
        assert_eq!(read_moment("infinity", true), None);
        assert_eq!(read_day("0044-03-15 BC"), None);
    }

    proptest! {
        #[test]
        fn days_survive_their_text(days in -700_000i64..2_000_000) {
            let text = write_day(days);
            prop_assert_eq!(read_day(&text), Some((days, "")));
        }
    }
}
