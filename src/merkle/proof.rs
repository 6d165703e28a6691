//! Inclusion and consistency proofs (RFC 6962 sections 2.1.1 and 2.1.2, RFC 9162 for checking).
//!
//! Owns which hashes a proof is made of and how it is checked. Must never know where hashes come
//! from: the caller passes a function from a perfect subtree to its root. Checking
//! needs nothing but the proof.

pub use super::subtree::Subtree;
use super::tree::{Hash, TreeHead, node_hash};

/// Hashes of a proof at most: one a level of a tree of 2^63 leaves, and one for the old root.
pub const PROOF_HASHES_MAX: usize = 64;

/// Why something is not proven.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProofError {
    /// No tree of that size has that leaf.
    #[error("a tree of {size} leaves has no leaf {index}")]
    IndexOutOfRange {
        /// The leaf.
        index: u64,
        size: u64,
    },
    /// A tree does not shrink.
    #[error("a tree of {from} leaves is not an older one of {to}")]
    SizesReversed {
        /// The older size.
        from: u64,
        /// The newer size.
        to: u64,
    },
    /// Too few or too many hashes.
    #[error("the proof has {found} hashes and is for another size or index")]
    WrongLength {
        /// How many there are.
        found: usize,
    },
    /// It leads to another root.
    #[error("the proof does not lead to the expected root")]
    RootMismatch,
}

/// A proof that a leaf is in a tree: the hashes beside its way up, from the leaf to the root.
///
/// # Errors
/// [`ProofError::IndexOutOfRange`] as the inner one; outside of it what `root_of` fails with.
pub fn prove_inclusion<E>(
    index: u64,
    size: u64,
    mut root_of: impl FnMut(Subtree) -> Result<Hash, E>,
) -> Result<Result<Vec<Hash>, ProofError>, E> {
    if index >= size {
        return Ok(Err(ProofError::IndexOutOfRange { index, size }));
    }
    let mut hashes = Vec::new();
    let mut range = 0..size;
    // From the root down: the half without the leaf is a hash of the proof.
    while range.end - range.start > 1 {
        let middle = range.start + split(range.end - range.start);
        let (keep, other) = if index < middle {
            (range.start..middle, middle..range.end)
        } else {
            (middle..range.end, range.start..middle)
        };
        hashes.push(root_of_range(other.start, other.end, &mut root_of)?);
        range = keep;
    }
    hashes.reverse();
    Ok(Ok(hashes))
}

/// A proof that a tree is the beginning of a larger one. Between equal sizes it is empty, and so it
/// is from the empty tree, which is the beginning of any.
///
/// # Errors
/// [`ProofError::SizesReversed`] as the inner one; outside of it what `root_of` fails with.
pub fn prove_consistency<E>(
    from: u64,
    to: u64,
    mut root_of: impl FnMut(Subtree) -> Result<Hash, E>,
) -> Result<Result<Vec<Hash>, ProofError>, E> {
    if from > to {
        return Ok(Err(ProofError::SizesReversed { from, to }));
    }
    if from == 0 || from == to {
        return Ok(Ok(Vec::new()));
    }
    let mut hashes = Vec::new();
    let mut range = 0..to;
    // The old tree's right edge is followed down to where it ends with a perfect subtree.
    loop {
        let size = range.end - range.start;
        if from == range.end {
            if range.start > 0 {
                hashes.push(root_of_range(range.start, range.end, &mut root_of)?);
            }
            break;
        }
        let middle = range.start + split(size);
        let (keep, other) = if from <= middle {
            (range.start..middle, middle..range.end)
        } else {
            (middle..range.end, range.start..middle)
        };
        hashes.push(root_of_range(other.start, other.end, &mut root_of)?);
        range = keep;
    }
    hashes.reverse();
    Ok(Ok(hashes))
}

/// The largest power of two below `size`, which is at least 2.
const fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// The root over the leaves from `start` to before `end`, where `start` is a multiple of the
/// smallest power of two that is not below their number.
fn root_of_range<E>(
    start: u64,
    end: u64,
    root_of: &mut impl FnMut(Subtree) -> Result<Hash, E>,
) -> Result<Hash, E> {
    let size = end - start;
    if size.is_power_of_two() {
        let level = size.trailing_zeros();
        return root_of(Subtree {
            level,
            index: start >> level,
        });
    }
    let middle = start + split(size);
    let left = root_of_range(start, middle, root_of)?;
    let right = root_of_range(middle, end, root_of)?;
    Ok(node_hash(&left, &right))
}

/// The root over the first `size` leaves, from its perfect subtrees.
///
/// # Errors
/// What `root_of` fails with.
pub fn tree_root<E>(
    size: u64,
    mut root_of: impl FnMut(Subtree) -> Result<Hash, E>,
) -> Result<Hash, E> {
    if size == 0 {
        return Ok(super::Frontier::new().root());
    }
    root_of_range(0, size, &mut root_of)
}

/// Checks that `leaf` is the leaf `index` of a tree.
///
/// # Errors
/// Any of [`ProofError`].
pub fn check_inclusion(
    proof: &[Hash],
    index: u64,
    leaf: Hash,
    tree: TreeHead,
) -> Result<(), ProofError> {
    let TreeHead { size, root } = tree;
    if index >= size {
        return Err(ProofError::IndexOutOfRange { index, size });
    }
    let mut hash = leaf;
    let at_the_root = climb(index, size - 1, proof, |sibling, side| {
        hash = match side {
            Side::Left => node_hash(sibling, &hash),
            Side::Right => node_hash(&hash, sibling),
        };
    });
    if !at_the_root {
        return Err(ProofError::WrongLength { found: proof.len() });
    }
    (hash == root).then_some(()).ok_or(ProofError::RootMismatch)
}

/// Checks that the tree `old` is the beginning of the tree `new`.
///
/// # Errors
/// Any of [`ProofError`].
pub fn check_consistency(proof: &[Hash], old: TreeHead, new: TreeHead) -> Result<(), ProofError> {
    let (from, to) = (old.size, new.size);
    let (old, new) = (old.root, new.root);
    let wrong_length = ProofError::WrongLength { found: proof.len() };
    if from > to {
        return Err(ProofError::SizesReversed { from, to });
    }
    if from == to || from == 0 {
        if !proof.is_empty() {
            return Err(wrong_length);
        }
        let empty = super::Frontier::new().root();
        let same = if from == to { old == new } else { old == empty };
        return same.then_some(()).ok_or(ProofError::RootMismatch);
    }
    // A perfect old tree is a node of the new one, and its root replaces the first hash.
    let whole = [old];
    let first: &[Hash] = if from.is_power_of_two() { &whole } else { &[] };
    let mut hashes = first.iter().chain(proof);
    let start = *hashes.next().ok_or(wrong_length)?;
    let (mut at, mut last) = (from - 1, to - 1);
    while at % 2 == 1 {
        at /= 2;
        last /= 2;
    }
    let (mut old_root, mut new_root) = (start, start);
    let at_the_root = climb(at, last, hashes, |sibling, side| match side {
        Side::Left => {
            old_root = node_hash(sibling, &old_root);
            new_root = node_hash(sibling, &new_root);
        }
        // The old tree ends before it.
        Side::Right => new_root = node_hash(&new_root, sibling),
    });
    if !at_the_root {
        return Err(wrong_length);
    }
    (old_root == old && new_root == new)
        .then_some(())
        .ok_or(ProofError::RootMismatch)
}

/// On which side of the node the sibling is.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// Goes from the node `at` of a level whose last node is `last` up to the root, a sibling a step
/// (RFC 9162, 2.1.3.2 and 2.1.4.2); false when there are too few siblings, or too many.
fn climb<'proof>(
    mut at: u64,
    mut last: u64,
    siblings: impl IntoIterator<Item = &'proof Hash>,
    mut step: impl FnMut(&Hash, Side),
) -> bool {
    for sibling in siblings {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            step(sibling, Side::Left);
            while at.is_multiple_of(2) && at != 0 {
                at /= 2;
                last /= 2;
            }
        } else {
            step(sibling, Side::Right);
        }
        at /= 2;
        last /= 2;
    }
    last == 0
}
