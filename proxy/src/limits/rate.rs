//! What each identity uses of a resource on this node: sessions at once, and statements a second by a token bucket.

use super::Limits;
use schemas::Identity;
use std::{
    collections::HashMap,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Identities that are remembered before those that use nothing are forgotten.
const MANY: usize = 10_000;

type Key = (String, String);

/// Who uses how much.
#[derive(Debug, Default)]
pub struct Usage(Mutex<HashMap<Key, One>>);

#[derive(Debug)]
struct One {
    sessions: usize,
    bucket: Arc<Mutex<Bucket>>,
}

/// Statements that may run now. It fills with the limit's rate, up to one second's worth.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn fill(&mut self, rate: NonZeroU32, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * f64::from(rate.get())).min(f64::from(rate.get()));
        self.filled = now;
    }

    /// Takes so many tokens, or says how long to wait for them. A message with more statements than a second's worth
    /// takes a full bucket, and leaves it in debt.
    fn take(&mut self, count: u32, rate: NonZeroU32, now: Instant) -> Result<(), Duration> {
        self.fill(rate, now);
        let needed = f64::from(count.min(rate.get()));
        // a token that is all but there is there: waiting as told must suffice
        if self.tokens + 1e-6 >= needed {
            self.tokens -= f64::from(count);
            return Ok(());
        }
        Err(Duration::from_secs_f64((needed - self.tokens) / f64::from(rate.get())))
    }
}

/// A session's place among those of its identity; dropping it gives it back.
#[derive(Debug)]
pub struct Seat {
    usage: Arc<Usage>,
    key: Key,
    bucket: Arc<Mutex<Bucket>>,
    rate: Option<NonZeroU32>,
}

impl Usage {
    /// Takes a place for a session of this identity.
    ///
    /// # Errors
    /// The limit, where the identity has that many.
    pub fn enter(self: &Arc<Self>, identity: &Identity, limits: &Limits) -> Result<Seat, NonZeroUsize> {
        let key = (identity.issuer.clone(), identity.subject.clone());
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MANY {
            // a bucket that had a second to fill is like a new one
            all.retain(|_, one| one.sessions > 0 || !one.is_full(now));
        }
        let one = all.entry(key.clone()).or_insert_with(|| One {
            sessions: 0,
            bucket: Arc::new(Mutex::new(Bucket { tokens: f64::from(u32::MAX), filled: now })),
        });
        if let Some(limit) = limits.sessions_per_identity.filter(|limit| one.sessions >= limit.get()) {
            return Err(limit);
        }
        one.sessions += 1;
        let bucket = one.bucket.clone();
        drop(all);
        Ok(Seat { usage: self.clone(), key, bucket, rate: limits.statements_per_second })
    }
}

impl One {
    fn is_full(&self, now: Instant) -> bool {
        let bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.tokens >= 0.0 && now.saturating_duration_since(bucket.filled) >= Duration::from_secs(1)
    }
}

impl Seat {
    /// Counts statements that are about to run.
    ///
    /// # Errors
    /// The limit, and how long to wait.
    pub fn take(&self, count: usize, now: Instant) -> Result<(), (NonZeroU32, Duration)> {
        let Some(rate) = self.rate else { return Ok(()) };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(count, rate, now).map_err(|wait| (rate, wait))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.usage.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = all.get_mut(&self.key) {
            one.sessions = one.sessions.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::event::IdentityKind;

    fn identity(subject: &str) -> Identity {
        Identity {
            kind: IdentityKind::Machine,
            subject: subject.to_owned(),
            issuer: "test".to_owned(),
            name: subject.to_owned(),
            groups: Vec::new(),
            on_behalf_of: Vec::new(),
            task: None,
        }
    }

    #[test]
    fn sessions_of_an_identity_share_their_rate_and_leaving_gives_no_new_one() {
        let limits = Limits { statements_per_second: NonZeroU32::new(5), ..Limits::default() };
        let usage = Arc::new(Usage::default());
        let now = Instant::now();
        let (a, b) = (usage.enter(&identity("a"), &limits).unwrap(), usage.enter(&identity("a"), &limits).unwrap());
        assert!((0..5).all(|n| [&a, &b][n % 2].take(1, now).is_ok()));
        let (limit, wait) = b.take(1, now).unwrap_err();
        assert_eq!(limit.get(), 5);
        assert!(wait > Duration::from_millis(150) && wait < Duration::from_millis(250), "{wait:?}");
        drop((a, b));
        let again = usage.enter(&identity("a"), &limits).unwrap();
        assert!(again.take(1, now).is_err());
        assert!(again.take(1, now + wait).is_ok(), "waiting as told is enough");
        assert!(usage.enter(&identity("b"), &limits).unwrap().take(5, now).is_ok(), "another identity has its own");
        assert!(again.take(50, now + Duration::from_secs(60)).is_ok(), "more than a second's worth at once");
        assert!(again.take(1, now + Duration::from_secs(65)).is_err(), "and its debt");
    }

    #[test]
    fn sessions_are_counted_for_each_identity() {
        let limits = Limits { sessions_per_identity: NonZeroUsize::new(2), ..Limits::default() };
        let usage = Arc::new(Usage::default());
        let seats = [usage.enter(&identity("a"), &limits).unwrap(), usage.enter(&identity("a"), &limits).unwrap()];
        assert_eq!(usage.enter(&identity("a"), &limits).unwrap_err().get(), 2);
        assert!(usage.enter(&identity("b"), &limits).is_ok());
        drop(seats);
        assert!(usage.enter(&identity("a"), &limits).is_ok());
    }
}
