//! A time of the week, such as `Mon-Fri 08:00-18:00`, in UTC.

use std::str::FromStr;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60;

/// Days of the week and hours of the day, in UTC. Hours that end before they begin go on after midnight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    days: [bool; 7],
    /// Minutes of the day.
    from: i64,
    to: i64,
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a window such as `Mon-Fri 08:00-18:00` or `Sat,Sun 00:00-24:00` (UTC)");
        let (days, hours) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let day = |name: &str| DAYS.iter().position(|day| name.trim().eq_ignore_ascii_case(day)).ok_or_else(wrong);
        let mut chosen = [false; 7];
        for part in days.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
            // Fri-Mon goes over the end of the week
            let count = (last + 7 - first) % 7 + 1;
            for (at, one) in chosen.iter_mut().enumerate() {
                *one |= (at + 7 - first) % 7 < count;
            }
        }
        let (from, to) = hours.split_once('-').ok_or_else(wrong)?;
        let (from, to) = (minutes(from).ok_or_else(wrong)?, minutes(to).ok_or_else(wrong)?);
        if from == to || from == DAY {
            return Err(wrong());
        }
        Ok(Self { days: chosen, from, to })
    }
}

fn minutes(text: &str) -> Option<i64> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let sum = hours * 60 + minutes;
    ((0..=24).contains(&hours) && (0..60).contains(&minutes) && sum <= DAY).then_some(sum)
}

impl Window {
    /// When the window that is open at this time closes, microseconds since 1970-01-01 UTC; none where it is closed.
    pub fn until(&self, now: i64) -> Option<i64> {
        let minute = now.div_euclid(MINUTE);
        let (day, of_day) = (minute.div_euclid(DAY), minute.rem_euclid(DAY));
        // 1970-01-01 was a Thursday
        let is_on = |day: i64| {
            usize::try_from((day + 3).rem_euclid(7)).ok().and_then(|day| self.days.get(day)).copied().unwrap_or(false)
        };
        let overnight = self.to <= self.from;
        let end = if is_on(day) && of_day >= self.from && (overnight || of_day < self.to) {
            if overnight { (day + 1) * DAY + self.to } else { day * DAY + self.to }
        } else if overnight && is_on(day - 1) && of_day < self.to {
            day * DAY + self.to
        } else {
            return None;
        };
        Some(end * MINUTE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minutes since Monday, 1970-01-05.
    fn at(day: i64, hours: i64, minutes: i64) -> i64 {
        ((4 + day) * DAY + hours * 60 + minutes) * MINUTE
    }

    #[test]
    fn a_window_is_open_on_its_days_and_hours() {
        let window: Window = "Mon-Fri 08:00-18:00".parse().unwrap();
        assert_eq!(window.until(at(0, 8, 0)), Some(at(0, 18, 0)));
        assert_eq!(window.until(at(4, 17, 59)), Some(at(4, 18, 0)));
        for closed in [at(0, 7, 59), at(4, 18, 0), at(5, 12, 0), at(6, 12, 0)] {
            assert_eq!(window.until(closed), None);
        }
        let night: Window = "fri 22:00-06:00".parse().unwrap();
        assert_eq!(night.until(at(4, 23, 0)), Some(at(5, 6, 0)));
        assert_eq!(night.until(at(5, 5, 59)), Some(at(5, 6, 0)));
        assert_eq!(night.until(at(5, 6, 0)), None);
        assert_eq!(night.until(at(5, 23, 0)), None);
        let weekend: Window = "Sat,Sun 00:00-24:00".parse().unwrap();
        assert_eq!(weekend.until(at(6, 23, 59)), Some(at(7, 0, 0)));
        let over: Window = "Sun-Mon 09:00-10:00".parse().unwrap();
        assert!(over.until(at(0, 9, 30)).is_some() && over.until(at(6, 9, 30)).is_some());
        assert!(over.until(at(1, 9, 30)).is_none());
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "Mon",
            "Mon 08:00",
            "Mon 8-9",
            "Foo 08:00-09:00",
            "Mon 08:00-25:00",
            "Mon 08:60-09:00",
            "Mon 08:00-08:00",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text:?}");
        }
    }
}
