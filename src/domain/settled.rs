//! The settled part of a staged map: an ordered map, and one for millions of records that name
//! their own key.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// An ordered map from keys to values that are shared with readers.
pub trait Settled<K, V>: Default {
    /// The value of a key.
    fn get(&self, key: &K) -> Option<&Arc<V>>;

    /// Puts a value in the place of the one that has the key, if any.
    fn put(&mut self, key: K, value: Arc<V>);

    /// Takes a value out.
    fn take(&mut self, key: &K);

    /// The values from a key on, in the order of their keys.
    fn from(&self, from: Bound<K>) -> impl Iterator<Item = (&K, &Arc<V>)>
    where
        K: 'static,
        V: 'static;

    /// How many values there are.
    fn count(&self) -> usize;
}

impl<K: Clone + Ord, V> Settled<K, V> for BTreeMap<K, Arc<V>> {
    fn get(&self, key: &K) -> Option<&Arc<V>> {
        self.get(key)
    }

    fn put(&mut self, key: K, value: Arc<V>) {
        self.insert(key, value);
    }

    fn take(&mut self, key: &K) {
        self.remove(key);
    }

    fn from(&self, from: Bound<K>) -> impl Iterator<Item = (&K, &Arc<V>)>
    where
        K: 'static,
        V: 'static,
    {
        self.range((from, Bound::Unbounded))
    }

    fn count(&self) -> usize {
        self.len()
    }
}

/// A value that has its own key, which never changes.
pub trait Keyed {
    type Key: Copy + Ord + 'static;

    fn key(&self) -> &Self::Key;
}

/// Values of a full run. A look-up reads seven of them, and the tree above has one key a run.
const RUN: usize = 128;

/// A map in runs of values, whose keys are read in the values themselves: 8 bytes a value where
/// keys come in order, as ULIDs do, and at most twice that where they do not.
#[derive(Debug)]
pub struct Runs<V: Keyed> {
    /// Every run by a key that is not above its first value's. None is empty.
    runs: BTreeMap<V::Key, Vec<Arc<V>>>,
    len: usize,
}

impl<V: Keyed> Default for Runs<V> {
    fn default() -> Self {
        Self {
            runs: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<V: Keyed> Runs<V> {
    /// Begins a run behind all others, so that runs in order are full to the brim.
    fn begin(&mut self, value: Arc<V>) {
        let first = *value.key();
        let mut run = Vec::with_capacity(RUN);
        run.push(value);
        self.runs.insert(first, run);
        self.len += 1;
    }

    /// The run in which `key` stands or has to stand, its own key moved below `key` if need be.
    fn run_mut(&mut self, key: &V::Key) -> Option<&mut Vec<Arc<V>>> {
        let first = match self.runs.range(..=*key).next_back() {
            Some((first, _)) => *first,
            None => {
                let (_, run) = self.runs.pop_first()?;
                self.runs.insert(*key, run);
                *key
            }
        };
        self.runs.get_mut(&first)
    }
}

impl<V: Keyed> Settled<V::Key, V> for Runs<V> {
    fn get(&self, key: &V::Key) -> Option<&Arc<V>> {
        let (_, run) = self.runs.range(..=*key).next_back()?;
        let at = run.binary_search_by(|value| value.key().cmp(key)).ok()?;
        run.get(at)
    }

    fn put(&mut self, key: V::Key, value: Arc<V>) {
        let last = self.runs.last_key_value().map(|(_, run)| run);
        let is_last = |value: &Arc<V>| *value.key() < key;
        if last.is_none_or(|run| run.len() >= RUN && run.last().is_some_and(is_last)) {
            self.begin(value);
            return;
        }
        let Some(run) = self.run_mut(&key) else {
            return;
        };
        let mut upper = None;
        match run.binary_search_by(|value| value.key().cmp(&key)) {
            Ok(at) => run.splice(at..=at, [value]).for_each(drop),
            Err(at) => {
                run.insert(at, value);
                if run.len() > RUN {
                    let mut half = Vec::with_capacity(RUN);
                    half.extend(run.drain(RUN / 2..));
                    run.shrink_to(RUN);
                    upper = Some(half);
                }
                self.len += 1;
            }
        }
        let first = upper.as_ref().and_then(|upper| upper.first());
        if let Some(first) = first.map(|value| *value.key()) {
            self.runs.extend(upper.map(|upper| (first, upper)));
        }
    }

    fn take(&mut self, key: &V::Key) {
        let Some(run) = self.run_mut(key) else {
            return;
        };
        let Ok(at) = run.binary_search_by(|value| value.key().cmp(key)) else {
            return;
        };
        drop(run.remove(at));
        let emptied = run.is_empty();
        self.len -= 1;
        let of_key = self.runs.range(..=*key).next_back();
        if let Some(first) = of_key.map(|(first, _)| *first).filter(|_| emptied) {
            self.runs.remove(&first);
        }
    }

    fn from(&self, from: Bound<V::Key>) -> impl Iterator<Item = (&V::Key, &Arc<V>)>
    where
        V: 'static,
    {
        let first = match from {
            Bound::Included(key) | Bound::Excluded(key) => self.runs.range(..=key).next_back(),
            Bound::Unbounded => None,
        };
        let first = first.map_or(Bound::Unbounded, |(first, _)| Bound::Included(*first));
        let below = move |value: &&Arc<V>| match from {
            Bound::Included(key) => *value.key() < key,
            Bound::Excluded(key) => *value.key() <= key,
            Bound::Unbounded => false,
        };
        let runs = self.runs.range((first, Bound::Unbounded));
        let values = runs.flat_map(|(_, run)| run).skip_while(below);
        values.map(|value| (value.key(), value))
    }

    fn count(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Numbered(u32, u32);

    impl Keyed for Numbered {
        type Key = u32;

        fn key(&self) -> &u32 {
            &self.0
        }
    }

    fn all<M: Settled<u32, Numbered>>(map: &M, from: Bound<u32>) -> Vec<(u32, Arc<Numbered>)> {
        let all = map.from(from);
        all.map(|(key, value)| (*key, Arc::clone(value))).collect()
    }

    proptest! {
        #[test]
        fn runs_are_a_map(
            changes in proptest::collection::vec((0..900_u32, any::<u32>(), 0..4_u8), 0..1_500),
            ascending in 0..700_u32,
        ) {
            let mut runs = Runs::default();
            let mut map = BTreeMap::new();
            for key in 500..500 + ascending {
                runs.put(key, Arc::new(Numbered(key, 0)));
                map.put(key, Arc::new(Numbered(key, 0)));
            }
            for (key, value, what) in changes {
                if what == 0 {
                    runs.take(&key);
                    Settled::<_, Numbered>::take(&mut map, &key);
                } else {
                    runs.put(key, Arc::new(Numbered(key, value)));
                    map.put(key, Arc::new(Numbered(key, value)));
                }
            }
            prop_assert_eq!(runs.count(), map.len());
            for key in 0..1_300 {
                prop_assert_eq!(Settled::get(&runs, &key), map.get(&key));
            }
            for from in (0..1_300).step_by(37) {
                for from in [Bound::Included(from), Bound::Excluded(from), Bound::Unbounded] {
                    prop_assert_eq!(all(&runs, from), all(&map, from));
                }
            }
        }
    }

    #[test]
    fn runs_in_order_are_full() {
        let mut runs = Runs::default();
        for key in 0..10_000 {
            runs.put(key, Arc::new(Numbered(key, 0)));
        }
        assert_eq!(runs.runs.len(), 10_000_usize.div_ceil(RUN));
    }
}
