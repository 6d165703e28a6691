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
    fn from(&self, from: Bound<K>) -> impl Iterator<Item = (K, &Arc<V>)>
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

    fn from(&self, from: Bound<K>) -> impl Iterator<Item = (K, &Arc<V>)>
    where
        K: 'static,
        V: 'static,
    {
        let values = self.range((from, Bound::Unbounded));
        values.map(|(key, value)| (key.clone(), value))
    }

    fn count(&self) -> usize {
        self.len()
    }
}

/// A value that has its own key, which never changes.
pub trait Keyed<K> {
    fn key(&self) -> K;
}

/// Values of a full run. A look-up reads seven of them, and the tree above has one key a run.
const RUN: usize = 128;

/// Values in the order of their keys.
pub type Run<V> = Vec<Arc<V>>;

/// A map in runs of values, whose keys are read in the values themselves.
///
/// It takes 8 bytes a value where the keys of a neighbourhood come in order, as ULIDs do, and at
/// most twice that where they do not. A reader may keep a run: then it is copied before it is
/// changed.
#[derive(Debug)]
pub struct Runs<K, V> {
    /// Every run by a key that is not above its first value's. None is empty.
    runs: BTreeMap<K, Arc<Run<V>>>,
    len: usize,
}

impl<K, V> Default for Runs<K, V> {
    fn default() -> Self {
        Self {
            runs: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<K: Copy + Ord, V: Keyed<K>> Runs<K, V> {
    /// The run that holds the greatest key below `end`, and how many of its values are below it.
    pub fn run_below(&self, end: &K) -> Option<(&Arc<Run<V>>, usize)> {
        let runs = self.runs.range(..*end).rev();
        let mut below = runs.map(|(_, run)| (run, run.partition_point(|value| value.key() < *end)));
        below.find(|(_, count)| *count > 0)
    }

    /// The run in which `key` stands or has to stand, its own key moved below `key` if need be.
    fn run_mut(&mut self, key: &K) -> Option<&mut Run<V>> {
        let first = match self.runs.range(..=*key).next_back() {
            Some((first, _)) => *first,
            None => {
                let (_, run) = self.runs.pop_first()?;
                self.runs.insert(*key, run);
                *key
            }
        };
        self.runs.get_mut(&first).map(Arc::make_mut)
    }

    /// Puts a value into a run; gives back the upper part of one that is full. The run is cut
    /// behind the value, so that what comes next in the order of its neighbourhood fills the run.
    fn put_into(run: &mut Run<V>, at: usize, value: Arc<V>) -> Option<Run<V>> {
        if run.len() < RUN {
            if run.len() == run.capacity() {
                // Never beyond a full run.
                run.reserve_exact(run.len().clamp(1, RUN - run.len()));
            }
            run.insert(at, value);
            return None;
        }
        let mut upper = Vec::with_capacity(RUN);
        if at == run.len() {
            upper.push(value);
        } else {
            upper.extend(run.drain(at.max(RUN / 2)..));
            run.insert(at, value);
        }
        Some(upper)
    }
}

/// Where `key` stands in a run, or has to.
fn position<K: Ord, V: Keyed<K>>(run: &Run<V>, key: &K) -> Result<usize, usize> {
    match run.last() {
        Some(last) if last.key() < *key => Err(run.len()),
        Some(_) | None => run.binary_search_by(|value| value.key().cmp(key)),
    }
}

impl<K: Copy + Ord, V: Keyed<K>> Settled<K, V> for Runs<K, V> {
    fn get(&self, key: &K) -> Option<&Arc<V>> {
        let (_, run) = self.runs.range(..=*key).next_back()?;
        run.get(position(run, key).ok()?)
    }

    fn put(&mut self, key: K, value: Arc<V>) {
        let Some(run) = self.run_mut(&key) else {
            self.runs.insert(key, Arc::new(vec![value]));
            self.len = 1;
            return;
        };
        let at = match position(run, &key) {
            Ok(at) => return run.splice(at..=at, [value]).for_each(drop),
            Err(at) => at,
        };
        let upper = Self::put_into(run, at, value);
        self.len += 1;
        let first = upper.as_ref().and_then(|upper| upper.first());
        if let Some(first) = first.map(|value| value.key()) {
            self.runs
                .extend(upper.map(|upper| (first, Arc::new(upper))));
        }
    }

    fn take(&mut self, key: &K) {
        let Some(run) = self.run_mut(key) else {
            return;
        };
        let Ok(at) = position(run, key) else {
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

    fn from(&self, from: Bound<K>) -> impl Iterator<Item = (K, &Arc<V>)>
    where
        K: 'static,
        V: 'static,
    {
        let first = match from {
            Bound::Included(key) | Bound::Excluded(key) => self.runs.range(..=key).next_back(),
            Bound::Unbounded => None,
        };
        let first = first.map_or(Bound::Unbounded, |(first, _)| Bound::Included(*first));
        let below = move |value: &&Arc<V>| match from {
            Bound::Included(key) => value.key() < key,
            Bound::Excluded(key) => value.key() <= key,
            Bound::Unbounded => false,
        };
        let runs = self.runs.range((first, Bound::Unbounded));
        let values = runs.flat_map(|(_, run)| run.iter()).skip_while(below);
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

    impl Keyed<u32> for Numbered {
        fn key(&self) -> u32 {
            self.0
        }
    }

    fn all<M: Settled<u32, Numbered>>(map: &M, from: Bound<u32>) -> Vec<(u32, Arc<Numbered>)> {
        let all = map.from(from);
        all.map(|(key, value)| (key, Arc::clone(value))).collect()
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
            for end in 0..1_300 {
                let below = runs.run_below(&end).map(|(run, count)| Arc::clone(&run[count - 1]));
                let expected = map.range(..end).next_back().map(|(_, value)| Arc::clone(value));
                prop_assert_eq!(below, expected);
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
        assert!(runs.runs.values().all(|run| run.capacity() == RUN));
    }

    /// As when organizations take turns: each makes its records in order.
    #[test]
    fn runs_of_neighbourhoods_in_order_are_nearly_full() {
        let mut runs = Runs::default();
        for (at, neighbourhood) in (0..10_000).flat_map(|at| (0..7).map(move |of| (at, of))) {
            let key = neighbourhood * 100_000 + at;
            runs.put(key, Arc::new(Numbered(key, 0)));
        }
        assert!(runs.runs.len() <= 70_000_usize.div_ceil(RUN) + 2 * 7);
    }

    #[test]
    fn a_kept_run_is_not_changed() {
        let mut runs = Runs::default();
        for key in [1, 3] {
            runs.put(key, Arc::new(Numbered(key, 0)));
        }
        let kept = Arc::clone(runs.run_below(&9).unwrap().0);
        runs.put(2, Arc::new(Numbered(2, 0)));
        runs.take(&3);
        let keys = |run: &Run<Numbered>| run.iter().map(|value| value.0).collect::<Vec<_>>();
        assert_eq!(keys(&kept), [1, 3]);
        let (now, below) = runs.run_below(&2).unwrap();
        assert_eq!((keys(now), below), (vec![1, 2], 1));
    }
}
