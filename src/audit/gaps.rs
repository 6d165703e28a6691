//! The parts of a tree that are not shown, each by one hash.
//!
//! Owns how a gap between two leaves falls apart into perfect subtrees, the largest that fit, from
//! left to right. With the leaves that are shown and these hashes anybody computes the root;
//! nothing is told of what is in the gaps but how many leaves they hold.

use crate::merkle::{Hash, Subtree, node_hash};

/// A gap as far as its leaves have come.
#[derive(Debug, Default)]
pub(super) struct Gap {
    next: u64,
    parts: Vec<(Subtree, Hash)>,
}

impl Gap {
    /// Takes the next leaf of the gap.
    pub(super) fn take(&mut self, leaf: Hash) {
        let mut part = Subtree {
            level: 0,
            index: self.next,
        };
        let mut root = leaf;
        // Two siblings that both lie in the gap are one.
        while part.index % 2 == 1
            && let Some((left, hash)) = self.parts.last()
            && left.level == part.level
            && left.index + 1 == part.index
        {
            root = node_hash(hash, &root);
            part = Subtree {
                level: part.level + 1,
                index: part.index / 2,
            };
            self.parts.pop();
        }
        self.parts.push((part, root));
        self.next += 1;
    }

    /// Ends the gap before a leaf that is shown, and gives its hashes.
    pub(super) fn end(&mut self) -> Vec<Hash> {
        self.next += 1;
        self.parts.drain(..).map(|(_, root)| root).collect()
    }

    /// The hashes of the last gap, behind which nothing is shown.
    pub(super) fn last(self) -> Vec<Hash> {
        self.parts.into_iter().map(|(_, root)| root).collect()
    }
}

/// The subtrees into which the leaves from `start` to before `end` fall apart.
pub(super) fn parts(start: u64, end: u64) -> impl Iterator<Item = Subtree> {
    let mut at = start;
    std::iter::from_fn(move || {
        let left = end.checked_sub(at).filter(|left| *left > 0)?;
        let fits = left.ilog2();
        let level = match at {
            0 => fits,
            at => at.trailing_zeros().min(fits),
        };
        let index = at >> level;
        at += 1 << level;
        Some(Subtree { level, index })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{Frontier, leaf_hash};

    #[test]
    fn shown_leaves_and_hashes_of_gaps_give_the_root() {
        let leaf = |n: u64| leaf_hash(&n.to_be_bytes());
        for size in 0..40_u64 {
            let mut whole = Frontier::new();
            (0..size).for_each(|n| whole.append_leaf(leaf(n)));
            for pattern in 0..64_u64 {
                let is_shown = |n: u64| pattern >> (n * 5 % 6) & 1 == 1;
                let mut gap = Gap::default();
                let mut hashes = Vec::new();
                for n in 0..size {
                    if is_shown(n) {
                        hashes.extend(gap.end());
                    } else {
                        gap.take(leaf(n));
                    }
                }
                hashes.extend(gap.last());
                let mut hashes = hashes.into_iter();
                let mut tree = Frontier::new();
                let shown = (0..size).filter(|n| is_shown(*n)).map(Some);
                for end in shown.chain([None]) {
                    for part in parts(tree.size(), end.unwrap_or(size)) {
                        let root = hashes.next().unwrap();
                        assert!(tree.try_append_subtree(part.level, root));
                    }
                    if let Some(n) = end {
                        tree.append_leaf(leaf(n));
                    }
                }
                assert_eq!((tree, hashes.next()), (whole.clone(), None));
            }
        }
    }
}
