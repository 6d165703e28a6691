//! RFC 6962 hashing and the frontier: the few subtree roots from which the whole root follows.
//!
//! Owns the arithmetic of the tree. Must never keep leaves: what it holds is at most 64 hashes,
//! so that it can be carried in a snapshot. Commitments go in, roots come out.

use sha2::{Digest, Sha256};

use super::subtree::Subtree;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The size of a tree and the root over all its leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TreeHead {
    pub size: u64,
    pub root: Hash,
}

impl TreeHead {
    #[must_use]
    pub const fn new(size: u64, root: Hash) -> Self {
        Self { size, root }
    }
}

/// The hash of a leaf: `SHA-256(0x00 || entry)`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0x00])
        .chain_update(entry)
        .finalize()
        .into()
}

/// The hash of an inner node: `SHA-256(0x01 || left || right)`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([0x01])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// The right edge of a tree of known size (a compact range that begins at 0).
///
/// It holds the roots of the perfect subtrees into which the size falls apart in binary, the
/// largest first: one hash for every bit that is set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

/// The parts given do not form a frontier.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a tree of {size} leaves has {} frontier hashes, not {given}", size.count_ones())]
pub struct FrontierError {
    /// The size that was given.
    pub size: u64,
    /// How many hashes were given.
    pub given: usize,
}

impl Frontier {
    /// The frontier of the empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: 0,
            hashes: Vec::new(),
        }
    }

    /// Puts together what [`Frontier::size`] and [`Frontier::subtree_roots`] gave.
    ///
    /// # Errors
    /// When the number of hashes does not fit the size. That the hashes are the right ones can be
    /// seen only by comparing the root with one that is trusted.
    pub fn from_parts(size: u64, hashes: Vec<Hash>) -> Result<Self, FrontierError> {
        if u32::try_from(hashes.len()) == Ok(size.count_ones()) {
            Ok(Self { size, hashes })
        } else {
            Err(FrontierError {
                size,
                given: hashes.len(),
            })
        }
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, the largest first.
    #[must_use]
    pub fn subtree_roots(&self) -> &[Hash] {
        &self.hashes
    }

    /// Adds one leaf whose entry is a 32-byte commitment: amortized two hashes.
    pub fn append_commitment(&mut self, commitment: &Hash) {
        self.append_leaf(leaf_hash(commitment));
    }

    /// Adds one leaf by its leaf hash.
    pub fn append_leaf(&mut self, leaf: Hash) {
        self.append_leaf_visiting(leaf, |_subtree, _root| {});
    }

    /// The same, showing the root of every perfect subtree that the leaf completes, the leaf itself
    /// first.
    pub fn append_leaf_visiting(&mut self, leaf: Hash, mut show: impl FnMut(Subtree, &Hash)) {
        let mut root = leaf;
        let mut subtree = Subtree {
            level: 0,
            index: self.size,
        };
        show(subtree, &root);
        for _ in 0..self.size.trailing_ones() {
            // There is one hash for each bit that is set, so the trailing ones are all there.
            let Some(left) = self.hashes.pop() else { break };
            root = node_hash(&left, &root);
            subtree.level += 1;
            subtree.index /= 2;
            show(subtree, &root);
        }
        self.hashes.push(root);
        self.size += 1;
    }

    /// Adds `2^level` leaves by the root of the perfect subtree over them. `false` where no such
    /// subtree begins at this size, or the tree would have too many leaves.
    #[must_use]
    pub fn try_append_subtree(&mut self, level: u32, root: Hash) -> bool {
        let Some(leaves) = 1_u64.checked_shl(level) else {
            return false;
        };
        let Some(size) = self.size.checked_add(leaves) else {
            return false;
        };
        if !self.size.is_multiple_of(leaves) {
            return false;
        }
        let mut root = root;
        for _ in 0..(self.size >> level).trailing_ones() {
            let Some(left) = self.hashes.pop() else { break };
            root = node_hash(&left, &root);
        }
        self.hashes.push(root);
        self.size = size;
        true
    }

    /// The root of the whole tree: at most 63 hashes.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut edge = self.hashes.iter().rev();
        match edge.next() {
            None => Sha256::digest([]).into(),
            Some(smallest) => edge.fold(*smallest, |right, left| node_hash(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use proptest::prelude::*;

    use super::*;

    /// RFC 6962 section 2.1 word for word, to compare the frontier with.
    fn tree_hash(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => *leaf,
            more => {
                let split = more.len().next_power_of_two() / 2;
                node_hash(&tree_hash(&more[..split]), &tree_hash(&more[split..]))
            }
        }
    }

    #[test]
    fn roots_equal_those_of_other_implementations() {
        let known = [
            (0, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
            (1, "ZzTbOxm2Tcg3A/mh9K7naX37KS+04IJ8xj+KNRsbNgk="),
            (2, "P9HVoFmrFxo0X5kSyDwt2LeTO06VDmdJvIPbsfQ8y94="),
            (3, "2y7/5k02NSvNTCYL3g4RODEMn3e4nUxXV4ZS+bGFtjA="),
            (7, "gTvaOkIAD4KUtqlU6oN5LC3vrmUkbvdgr5/dU699Rjg="),
            (255, "+JfNHKaEEa3PfJbW/48qOCD7j4dTJregzNXnzSQB+Mo="),
            (256, "Y8VrZGVg3gZKiDIXIpNoRVIPLIZj49wB5id/5ggxFnk="),
            (257, "yoRwt/7lWzpAg70/uK+wp0sMNlotrvPZaQEiEdpFSIw="),
            (300, "xjG65k7alGDy52MOsmQmoQ8rG/qzfMK2yiLe0qj8tO8="),
        ];
        let mut frontier = Frontier::new();
        for size in 0..=300_u64 {
            if let Some((_, root)) = known.iter().find(|(at, _)| *at == size) {
                assert_eq!(STANDARD.encode(frontier.root()), *root, "size {size}");
            }
            frontier.append_leaf(leaf_hash(format!("event-{size}").as_bytes()));
        }
    }

    #[test]
    fn parts_must_fit_the_size() {
        let mut frontier = Frontier::new();
        for entry in 0..11_u8 {
            frontier.append_commitment(&[entry; 32]);
        }
        let parts = frontier.subtree_roots().to_vec();
        assert_eq!(Frontier::from_parts(11, parts.clone()), Ok(frontier));
        assert_eq!(
            Frontier::from_parts(12, parts),
            Err(FrontierError { size: 12, given: 3 })
        );
    }

    proptest! {
        #[test]
        fn the_frontier_agrees_with_the_definition(
            entries in prop::collection::vec(any::<[u8; 32]>(), 0..200),
        ) {
            let mut frontier = Frontier::new();
            let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
            for entry in &entries {
                frontier.append_commitment(entry);
            }
            prop_assert_eq!(frontier.root(), tree_hash(&leaves));
            let parts = (frontier.size(), frontier.subtree_roots().to_vec());
            prop_assert_eq!(Frontier::from_parts(parts.0, parts.1), Ok(frontier));
        }
    }
}
