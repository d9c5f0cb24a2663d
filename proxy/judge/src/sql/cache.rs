//! Facts of texts seen before: a client that repeats itself costs one lookup.
//!
//! The key is all that facts depend on: the exact text (compared in full), the search_path, the catalog's epoch, and one
//! number of the caller's. Bounded in bytes: when half of the limit is full, the older half is let go (two generations),
//! so that a hit needs no list and no clock.

use super::Facts;
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
};

/// What facts depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    /// The message's text.
    pub text: &'a str,
    /// See [`super::Context::search_path`].
    pub search_path: &'a [String],
    /// See [`super::Catalog::epoch`].
    pub epoch: u64,
    /// Whatever else the caller's use of the facts depends on.
    pub extra: u64,
}

#[derive(Debug)]
struct Entry {
    text: Box<str>,
    search_path: Box<[String]>,
    epoch: u64,
    extra: u64,
    facts: Arc<[Arc<Facts>]>,
    bytes: usize,
}

impl Entry {
    fn is(&self, key: &Key<'_>) -> bool {
        self.epoch == key.epoch
            && self.extra == key.extra
            && *self.text == *key.text
            && *self.search_path == *key.search_path
    }
}

/// A bounded cache of facts. Not shared: one for each thread, or behind the caller's lock.
#[derive(Debug)]
pub struct Cache {
    limit: usize,
    hasher: RandomState,
    young: HashMap<u64, Entry>,
    old: HashMap<u64, Entry>,
    young_bytes: usize,
    old_bytes: usize,
}

impl Cache {
    /// An empty cache that keeps at most about `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            hasher: RandomState::new(),
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            old_bytes: 0,
        }
    }

    fn hash(&self, key: &Key<'_>) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The facts of this text under these conditions, if they are known.
    pub fn get(&mut self, key: &Key<'_>) -> Option<Arc<[Arc<Facts>]>> {
        let hash = self.hash(key);
        if let Some(entry) = self.young.get(&hash).filter(|entry| entry.is(key)) {
            return Some(Arc::clone(&entry.facts));
        }
        if !self.old.get(&hash).is_some_and(|entry| entry.is(key)) {
            return None;
        }
        let entry = self.old.remove(&hash)?;
        self.old_bytes = self.old_bytes.saturating_sub(entry.bytes);
        let facts = Arc::clone(&entry.facts);
        self.keep(hash, entry);
        Some(facts)
    }

    /// Keeps the facts of a text; they may be let go at any time. Facts larger than a quarter of the limit are not kept.
    pub fn insert(&mut self, key: &Key<'_>, facts: Arc<[Arc<Facts>]>) {
        let bytes = key.text.len() + facts.iter().map(|facts| weight(facts)).sum::<usize>() + 256;
        if bytes > self.limit / 4 {
            return;
        }
        let entry = Entry {
            text: key.text.into(),
            search_path: key.search_path.into(),
            epoch: key.epoch,
            extra: key.extra,
            facts,
            bytes,
        };
        let hash = self.hash(key);
        self.keep(hash, entry);
    }

    fn keep(&mut self, hash: u64, entry: Entry) {
        if self.young_bytes + entry.bytes > self.limit / 2 {
            self.old = std::mem::take(&mut self.young);
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
        self.young_bytes += entry.bytes;
        if let Some(before) = self.young.insert(hash, entry) {
            self.young_bytes = self.young_bytes.saturating_sub(before.bytes);
        }
    }

    /// The bytes that are kept now, by estimate.
    pub fn bytes(&self) -> usize {
        self.young_bytes + self.old_bytes
    }
}

/// About the bytes that facts take.
fn weight(facts: &Facts) -> usize {
    let outputs = facts.outputs.iter().flatten();
    size_of::<Facts>()
        + facts.relations.iter().map(|relation| relation.name.len() + 120).sum::<usize>()
        + facts.columns.len() * 32
        + (facts.stored.len() + facts.told.len()) * 24
        + facts.shadowed.values().map(|name| name.len() + 64).sum::<usize>()
        + facts.functions.iter().map(|name| name.len() + 48).sum::<usize>()
        + outputs.map(|output| output.name.len() + 64 + output.sources.len() * 24).sum::<usize>()
        + facts.effects.iter().map(effect_weight).sum::<usize>()
}

fn effect_weight(effect: &super::Effect) -> usize {
    use super::Effect;
    match effect {
        Effect::Prepare { inner, .. } | Effect::Declare { inner, .. } => 128 + weight(inner),
        Effect::Begin
        | Effect::Commit { .. }
        | Effect::Rollback { .. }
        | Effect::Savepoint
        | Effect::Execute { .. }
        | Effect::Deallocate { .. }
        | Effect::Fetch { .. }
        | Effect::Close { .. }
        | Effect::Discard
        | Effect::Set { .. }
        | Effect::ChangesCatalog
        | Effect::Notify => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_needs_the_same_text_path_epoch_and_extra() {
        let mut cache = Cache::new(1 << 20);
        let path = ["public".to_owned()];
        let key = Key { text: "select 1", search_path: &path, epoch: 1, extra: 0 };
        cache.insert(&key, Arc::from(Vec::new()));
        assert!(cache.get(&key).is_some());
        assert!(cache.get(&Key { text: "select 2", ..key }).is_none());
        assert!(cache.get(&Key { search_path: &[], ..key }).is_none());
        assert!(cache.get(&Key { epoch: 2, ..key }).is_none());
        assert!(cache.get(&Key { extra: 1, ..key }).is_none());
    }

    #[test]
    fn it_stays_within_its_limit_and_keeps_what_is_used() {
        let mut cache = Cache::new(64 << 10);
        let hot = Key { text: "hot", search_path: &[], epoch: 0, extra: 0 };
        cache.insert(&hot, Arc::from(Vec::new()));
        for number in 0..10_000 {
            let text = format!("select {number}");
            cache.insert(&Key { text: &text, ..hot }, Arc::from(Vec::new()));
            assert!(cache.get(&hot).is_some(), "after {number}");
            assert!(cache.bytes() <= 64 << 10);
        }
    }
}
