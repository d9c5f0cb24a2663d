//! Times in JSON and in requests: RFC 3339 in UTC with microseconds, `2026-11-21T02:40:00.123456Z`.

use serde::Serializer;
use time::format_description::{BorrowedFormatItem, well_known::Rfc3339};
use time::macros::format_description;
use time::{Date, OffsetDateTime, UtcOffset};

const WRITTEN: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
const DAY: &[BorrowedFormatItem<'static>] = format_description!("[year]-[month]-[day]");
const NANOS: i128 = 1_000;

/// The text of a time in microseconds since 1970-01-01 UTC. One beyond the year 9999 is shown as the number it is.
pub fn text(micros: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * NANOS)
        .ok()
        .and_then(|moment| moment.format(WRITTEN).ok())
        .unwrap_or_else(|| micros.to_string())
}

/// Reads RFC 3339, or a day (its first moment in UTC), as microseconds since 1970-01-01 UTC.
pub fn parse(text: &str) -> Option<i64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .or_else(|| Some(Date::parse(text, DAY).ok()?.midnight().assume_offset(UtcOffset::UTC)))?;
    i64::try_from(moment.unix_timestamp_nanos() / NANOS).ok()
}

/// Serde for a time.
pub(crate) fn serialize<S: Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*micros))
}

/// Serde for a time that may not have come yet.
pub(crate) mod optional {
    use serde::Serializer;

    pub(crate) fn serialize<S: Serializer>(micros: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        match micros {
            Some(micros) => serializer.serialize_some(&super::text(*micros)),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        for micros in [0, 1_795_228_800_123_456, -1] {
            assert_eq!(parse(&text(micros)), Some(micros), "{}", text(micros));
        }
        assert_eq!(text(1_795_228_800_123_456), "2026-11-21T02:40:00.123456Z");
        assert_eq!(parse("1970-01-02"), Some(86_400_000_000));
        assert_eq!(parse("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(text(i64::MAX), i64::MAX.to_string());
    }
}
