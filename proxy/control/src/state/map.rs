//! An ordered map whose clones share what has not changed: each record that counts makes a new state for readers, and the
//! state of ten thousand holds must not be copied for one of them.
//!
//! Entries lie in chunks of at most [`MOST`]; a change copies one chunk and the list of chunks.

use std::sync::Arc;

/// Entries of one chunk.
const MOST: usize = 128;

/// The map.
#[derive(Debug)]
pub(super) struct Map<K, V> {
    /// In order, none empty.
    chunks: Vec<Arc<Vec<(K, V)>>>,
    length: usize,
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), length: self.length }
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), length: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Map<K, V> {
    pub(super) const fn len(&self) -> usize {
        self.length
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The first chunk that may hold this key, or one behind the last.
    fn place(&self, key: &K) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|(last, _)| last < key))
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let chunk = self.chunks.get(self.place(key))?;
        let at = chunk.binary_search_by(|(one, _)| one.cmp(key)).ok()?;
        chunk.get(at).map(|(_, value)| value)
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.place(key);
        let chunk = self.chunks.get_mut(place)?;
        let at = chunk.binary_search_by(|(one, _)| one.cmp(key)).ok()?;
        Arc::make_mut(chunk).get_mut(at).map(|(_, value)| value)
    }

    /// Puts a value in, in the place of one that was there.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.chunks.is_empty() {
            self.chunks.push(Arc::default());
        }
        // behind the last chunk is its end
        let place = self.place(&key).min(self.chunks.len() - 1);
        let Some(chunk) = self.chunks.get_mut(place).map(Arc::make_mut) else { return };
        match chunk.binary_search_by(|(one, _)| one.cmp(&key)) {
            Ok(at) => {
                if let Some(entry) = chunk.get_mut(at) {
                    entry.1 = value;
                }
            }
            Err(at) => {
                chunk.insert(at, (key, value));
                self.length += 1;
            }
        }
        if chunk.len() > MOST {
            let upper = chunk.split_off(MOST / 2);
            self.chunks.insert(place + 1, Arc::new(upper));
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.place(key);
        let chunk = self.chunks.get_mut(place)?;
        let at = chunk.binary_search_by(|(one, _)| one.cmp(key)).ok()?;
        let chunk = Arc::make_mut(chunk);
        let (_, value) = chunk.remove(at);
        if chunk.is_empty() {
            self.chunks.remove(place);
        }
        self.length -= 1;
        Some(value)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|(key, value)| (key, value))
    }

    pub(super) fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The first entry.
    pub(super) fn first(&self) -> Option<(&K, &V)> {
        self.chunks.first()?.first().map(|(key, value)| (key, value))
    }

    /// The first entry from this key on.
    pub(super) fn first_from(&self, key: &K) -> Option<(&K, &V)> {
        let chunk = self.chunks.get(self.place(key))?;
        let at = chunk.partition_point(|(one, _)| one < key);
        chunk.get(at).map(|(key, value)| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_is_an_ordered_map_and_clones_stay_as_they_were() {
        let (mut map, mut model) = (Map::default(), BTreeMap::new());
        let mut kept = Vec::new();
        let mut random = 1u64;
        for round in 0..20_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = (random >> 33) % 1500;
            match random % 5 {
                0 | 1 => assert_eq!(map.remove(&key), model.remove(&key)),
                2 => {
                    assert_eq!(map.get_mut(&key).map(|value| *value += 1), model.get_mut(&key).map(|value| *value += 1))
                }
                _ => {
                    map.insert(key, round);
                    model.insert(key, round);
                }
            }
            assert_eq!((map.len(), map.get(&key)), (model.len(), model.get(&key)));
            if round % 4000 == 0 {
                assert!(map.iter().eq(model.iter()) && map.iter().rev().eq(model.iter().rev()));
                assert_eq!(map.first(), model.iter().next());
                assert_eq!(map.first_from(&key), model.range(key..).next());
                kept.push((map.clone(), model.clone()));
            }
        }
        assert!(kept.iter().all(|(map, model)| map.iter().eq(model.iter())), "clones are not changed");
        assert!(map.chunks.iter().all(|chunk| (1..=MOST).contains(&chunk.len())));
    }

    #[test]
    fn a_change_copies_one_chunk() {
        let mut map = Map::default();
        (0..10_000u64).for_each(|key| map.insert(key, key));
        let before = map.clone();
        map.insert(10_000, 0);
        map.remove(&5_000);
        if let Some(value) = map.get_mut(&7_000) {
            *value += 1;
        }
        let same = |chunk: &Arc<Vec<(u64, u64)>>| before.chunks.iter().any(|other| Arc::ptr_eq(chunk, other));
        let copied = map.chunks.iter().filter(|chunk| !same(chunk)).count();
        assert_eq!((copied, map.chunks.len() > 100), (3, true), "of {} chunks", map.chunks.len());
    }
}
