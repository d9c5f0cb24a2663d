//! How much each party has under way, so that none takes all places.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Places, some for each party, and some in all. Clones share them.
#[derive(Debug)]
pub(crate) struct Crowd<K> {
    each: usize,
    all: usize,
    taken: Arc<Mutex<Taken<K>>>,
}

#[derive(Debug)]
struct Taken<K> {
    by: HashMap<K, usize>,
    all: usize,
}

/// A place; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place<K: Hash + Eq> {
    taken: Arc<Mutex<Taken<K>>>,
    party: K,
}

impl<K: Hash + Eq + Clone> Crowd<K> {
    /// With so many places for each party, and so many in all.
    pub(crate) fn new(each: usize, all: usize) -> Self {
        Self { each, all, taken: Arc::new(Mutex::new(Taken { by: HashMap::new(), all: 0 })) }
    }

    /// A place for this party, if it may have one more.
    pub(crate) fn enter(&self, party: K) -> Option<Place<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by.get(&party).copied().unwrap_or(0);
        if own >= self.each || taken.all >= self.all {
            return None;
        }
        taken.by.insert(party.clone(), own + 1);
        taken.all += 1;
        Some(Place { taken: self.taken.clone(), party })
    }
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.by.get_mut(&self.party) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.by.remove(&self.party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_party_does_not_take_the_places_of_others() {
        let crowd = Crowd::new(2, 3);
        let (one, two) = (crowd.enter("a").unwrap(), crowd.enter("a").unwrap());
        assert!(crowd.enter("a").is_none());
        let other = crowd.enter("b").unwrap();
        assert!(crowd.enter("c").is_none(), "all places are taken");
        drop(one);
        assert!(crowd.enter("c").is_some());
        drop((two, other));
        let taken = crowd.taken.lock().unwrap();
        assert!(taken.by.is_empty() && taken.all == 0, "nothing is kept of who has left");
    }
}
