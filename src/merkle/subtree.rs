//! A subtree that is full, by its place in the tree.

/// A perfect subtree: the leaves from `index * 2^level` on, `2^level` of them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Subtree {
    /// How many levels of the binary tree are below its root.
    pub level: u32,
    /// Which of its level, from the left.
    pub index: u64,
}
