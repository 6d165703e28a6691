//! Roots of chosen parts of a tree, found in one pass over its leaves.
//!
//! Owns the two steps of every proof that is made from a log alone: ask which subtrees it is made
//! of, then read the leaves once. Must never know what a proof is for. It holds a hash for each
//! subtree that was asked for.

use std::collections::BTreeMap;
use std::convert::Infallible;

use crate::merkle::{Frontier, Hash, Subtree};

/// Subtrees, and the roots that have been found so far.
#[derive(Debug, Default)]
pub(super) struct Subtrees {
    roots: BTreeMap<Subtree, Option<Hash>>,
    tree: Frontier,
}

/// A subtree that has not been found: the leaves ended before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotFound;

impl Subtrees {
    /// Notes a subtree; the hash that it gives stands in its place.
    pub(super) fn want(&mut self, subtree: Subtree) -> Result<Hash, Infallible> {
        self.roots.entry(subtree).or_default();
        Ok([0; 32])
    }

    /// Takes the next leaf.
    pub(super) fn take(&mut self, leaf: Hash) {
        let roots = &mut self.roots;
        self.tree.append_leaf_visiting(leaf, |subtree, root| {
            if let Some(found) = roots.get_mut(&subtree) {
                *found = Some(*root);
            }
        });
    }

    /// The root of a subtree that was wanted.
    pub(super) fn root(&self, subtree: Subtree) -> Result<Hash, NotFound> {
        self.roots.get(&subtree).copied().flatten().ok_or(NotFound)
    }

    /// The tree over all leaves so far.
    pub(super) const fn tree(&self) -> &Frontier {
        &self.tree
    }
}
