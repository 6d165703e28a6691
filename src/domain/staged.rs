//! Maps with an overlay: changes are staged, then settled when their batch is durable, or dropped.
//!
//! `decide` reads through the overlay, so that commands of one batch see each other; nobody outside
//! the writer ever sees a staged value.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Bound;
use std::sync::Arc;

use super::settled::Settled;

/// A map whose newest changes are not yet settled.
#[derive(Debug)]
pub struct Staged<K, V, M = BTreeMap<K, Arc<V>>> {
    settled: M,
    staged: BTreeMap<K, Option<Arc<V>>>,
}

impl<K, V, M: Default> Default for Staged<K, V, M> {
    fn default() -> Self {
        Self {
            settled: M::default(),
            staged: BTreeMap::new(),
        }
    }
}

impl<K: Clone + Ord + 'static, V: 'static, M: Settled<K, V>> Staged<K, V, M> {
    /// The value as the next command sees it.
    pub fn get(&self, key: &K) -> Option<&Arc<V>> {
        match self.staged.get(key) {
            Some(staged) => staged.as_ref(),
            None => self.settled.get(key),
        }
    }

    /// Whether the next command sees a value.
    pub fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Stages a value.
    pub fn set(&mut self, key: K, value: V) -> Arc<V> {
        let value = Arc::new(value);
        self.staged.insert(key, Some(Arc::clone(&value)));
        value
    }

    /// Stages an absence.
    pub fn remove(&mut self, key: K) {
        self.staged.insert(key, None);
    }

    /// Makes what is staged permanent, and hands out the values that changed.
    pub fn settle(&mut self) -> Vec<Arc<V>> {
        let mut changed = Vec::with_capacity(self.staged.len());
        for (key, value) in mem::take(&mut self.staged) {
            match value {
                Some(value) => {
                    self.settled.put(key, Arc::clone(&value));
                    changed.push(value);
                }
                None => {
                    self.settled.take(&key);
                }
            }
        }
        changed
    }

    /// Drops what is staged.
    pub fn abandon(&mut self) {
        self.staged.clear();
    }

    /// Puts a value straight among the settled ones: for loading a snapshot.
    pub fn restore(&mut self, key: K, value: Arc<V>) {
        self.settled.put(key, value);
    }

    /// All settled values, in key order.
    pub fn settled(&self) -> Vec<Arc<V>> {
        let values = self.settled.from(Bound::Unbounded);
        values.map(|(_, value)| Arc::clone(value)).collect()
    }

    /// All settled values after `after`, in key order.
    pub fn settled_after(&self, after: Option<K>) -> impl Iterator<Item = (K, &Arc<V>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.settled.from(from)
    }

    /// All values as the next command sees them: what is staged comes after what is settled.
    pub fn seen(&self) -> impl Iterator<Item = &Arc<V>> {
        let settled = self.settled.from(Bound::Unbounded);
        let settled = settled.filter(|(key, _)| !self.staged.contains_key(key));
        let staged = self.staged.values().filter_map(Option::as_ref);
        settled.map(|(_, value)| value).chain(staged)
    }

    /// The keys from `from` on that the next command sees, in order, while `keep` holds.
    pub fn keys_from(&self, from: &K, keep: impl Fn(&K) -> bool) -> Vec<K> {
        let mut keys: Vec<K> = self
            .settled
            .from(Bound::Included(from.clone()))
            .map(|(key, _)| key)
            .take_while(&keep)
            .filter(|key| !self.staged.contains_key(key))
            .collect();
        let settled = keys.len();
        let staged = self.staged.range(from..).take_while(|(key, _)| keep(key));
        keys.extend(
            staged
                .filter(|(_, value)| value.is_some())
                .map(|(key, _)| key.clone()),
        );
        if keys.len() > settled {
            keys.sort();
        }
        keys
    }

    /// How many values are settled.
    pub fn len(&self) -> usize {
        self.settled.count()
    }

    /// Whether nothing is settled.
    pub fn is_empty(&self) -> bool {
        self.settled.count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_staged_is_seen_then_settled_or_dropped() {
        let mut map: Staged<_, _> = Staged::default();
        map.set(1, "one");
        map.set(2, "two");
        assert_eq!(map.settle().len(), 2);
        map.set(3, "three");
        map.remove(1);
        assert_eq!(map.keys_from(&0, |_| true), [2, 3]);
        assert!(!map.contains(&1) && map.contains(&3));
        assert_eq!(
            map.seen().map(|value| **value).collect::<Vec<_>>(),
            ["two", "three"]
        );
        map.abandon();
        assert_eq!(map.keys_from(&0, |_| true), [1, 2]);
        assert_eq!(map.len(), 2);
    }
}
