//! What time it is, as a value that is passed in, so that tests and replays are deterministic.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock: the system's, or one that a test moves by hand. Clones of a fixed clock move together.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The system's wall clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at this time until [`Clock::advance`] moves it.
    pub fn fixed(micros: i64) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(micros))))
    }

    /// Microseconds since 1970-01-01 UTC, the unit of every time in an event. A system clock set before 1970 reads 0.
    pub fn now_micros(&self) -> i64 {
        match &self.0 {
            Source::System => micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            Source::Fixed(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Whole seconds since 1970-01-01 UTC, the unit of the times in a token.
    pub fn now_seconds(&self) -> i64 {
        self.now_micros().div_euclid(1_000_000)
    }

    /// Moves a fixed clock forward. The system's clock goes by itself: there this does nothing.
    pub fn advance(&self, by: Duration) {
        if let Source::Fixed(now) = &self.0 {
            now.fetch_add(micros(by), Ordering::SeqCst);
        }
    }
}

/// Caps at the year 294,247, where an `i64` of microseconds ends.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_fixed_clock_move_together() {
        let clock = Clock::fixed(1_999_999);
        let other = clock.clone();
        assert_eq!((clock.now_micros(), clock.now_seconds()), (1_999_999, 1));
        other.advance(Duration::from_micros(1));
        assert_eq!((clock.now_micros(), clock.now_seconds()), (2_000_000, 2));
    }

    #[test]
    fn the_system_clock_agrees_with_the_system() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let now = u64::try_from(Clock::system().now_seconds()).unwrap();
        assert!((before..=before + 5).contains(&now));
    }
}
