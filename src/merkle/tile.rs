//! Tiles: the tree in pieces that clients can fetch and cache (C2SP tlog-tiles v0.1.0).
//!
//! Owns the names of tiles and the arithmetic of what is in them. Must never read or write one:
//! coordinates and hashes come in, names and hashes go out. A tile of level 0 holds 256 leaf
//! hashes, one of level L the roots of 256 tiles of the level below; an entry bundle holds the 256
//! entries themselves. Tiles at the right edge are partial and hold fewer.

use std::fmt;

use super::tree::{Hash, node_hash};

/// Hashes of a full tile.
pub const TILE_WIDTH: usize = 256;
/// The same, where positions are counted.
pub const TILE_ENTRIES: u64 = 256;
/// Bytes of a full tile of hashes.
pub const TILE_BYTES: usize = TILE_WIDTH * size_of::<Hash>();
/// Levels of the binary tree that one level of tiles spans: 2^8 = 256.
pub const TILE_HEIGHT: u32 = 8;
/// The highest level of tiles that the specification knows.
pub const TILE_LEVEL_MAX: u8 = 63;
/// Levels of tiles that a tree of less than 2^64 leaves has: 256^8 = 2^64.
pub const TILE_LEVELS: u8 = 8;
/// Bytes of one of our entries in a bundle: its length as a `uint16`, and a commitment.
pub const BUNDLE_ENTRY_BYTES: usize = 2 + size_of::<Hash>();

/// What a tile holds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TileKind {
    /// Hashes of this level.
    Hashes(u8),
    Entries,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TileId {
    /// What it holds.
    pub kind: TileKind,
    /// Which of its level, from the left.
    pub index: u64,
    /// How many hashes or entries: 1 to 256; with 256 it is full and never changes.
    pub width: u16,
}

impl TileId {
    /// A full tile of hashes.
    #[must_use]
    pub const fn full_hash_tile(level: u8, index: u64) -> Self {
        Self {
            kind: TileKind::Hashes(level),
            index,
            width: 256,
        }
    }

    /// A full bundle of entries.
    #[must_use]
    pub const fn full_bundle(index: u64) -> Self {
        Self {
            kind: TileKind::Entries,
            index,
            width: 256,
        }
    }

    /// Whether it is full.
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.width == 256
    }

    /// Whether a tree of `size` leaves has it: no tile reaches beyond what has been published.
    #[must_use]
    pub fn is_within_tree(self, size: u64) -> bool {
        let level = match self.kind {
            TileKind::Entries => 0,
            TileKind::Hashes(level) => level,
        };
        let shift = u32::from(level) * TILE_HEIGHT;
        let at_level = size.checked_shr(shift).unwrap_or(0);
        let end = u128::from(self.index) * 256 + u128::from(self.width);
        end <= u128::from(at_level)
    }

    /// Reads a path below `tile/`: `<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`. Each tile has one
    /// spelling; any other is no tile's.
    #[must_use]
    pub fn parse_path(path: &str) -> Option<Self> {
        let (level, rest) = path.split_once('/')?;
        let kind = match level {
            "entries" => TileKind::Entries,
            digits => {
                let level = decimal(digits)?;
                let level = u8::try_from(level).ok()?;
                (level <= TILE_LEVEL_MAX).then_some(TileKind::Hashes(level))?
            }
        };
        let (index, width) = match rest.split_once(".p/") {
            None => (rest, 256),
            Some((index, width)) => {
                let width = u16::try_from(decimal(width)?).ok()?;
                (index, (1..=255).contains(&width).then_some(width)?)
            }
        };
        let index = parse_index(index)?;
        Some(Self { kind, index, width })
    }
}

/// The path below `tile/`.
impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => f.write_str("entries/")?,
            TileKind::Hashes(level) => write!(f, "{level}/")?,
        }
        let mut groups = Vec::new();
        let mut rest = self.index;
        loop {
            groups.push(rest % 1_000);
            rest /= 1_000;
            if rest == 0 {
                break;
            }
        }
        while let Some(group) = groups.pop() {
            let more = !groups.is_empty();
            let (before, after) = if more { ("x", "/") } else { ("", "") };
            write!(f, "{before}{group:03}{after}")?;
        }
        if !self.is_full() {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// A decimal number without a sign or leading zeros.
fn decimal(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let spelled_once = digits == "0" || !digits.starts_with('0');
    (plain && spelled_once).then(|| digits.parse().ok())?
}

/// `x001/x234/067`: groups of three digits, all but the last after an `x`, none too many.
fn parse_index(path: &str) -> Option<u64> {
    let mut index: u64 = 0;
    let mut groups = path.split('/').peekable();
    let mut is_first = true;
    while let Some(group) = groups.next() {
        let is_last = groups.peek().is_none();
        let digits = if is_last {
            group
        } else {
            group.strip_prefix('x')?
        };
        if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let value: u64 = digits.parse().ok()?;
        if is_first && !is_last && value == 0 {
            return None;
        }
        index = index.checked_mul(1_000)?.checked_add(value)?;
        is_first = false;
    }
    Some(index)
}

/// The root over a power of two of neighboring hashes of one level.
#[must_use]
pub fn root_of_hashes(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [one] => Some(*one),
        more if more.len().is_power_of_two() => {
            let (left, right) = more.split_at(more.len() / 2);
            Some(node_hash(&root_of_hashes(left)?, &root_of_hashes(right)?))
        }
        _ => None,
    }
}

/// The hashes of a tile's bytes; `None` where they do not divide into hashes.
#[must_use]
pub fn parse_tile_hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.to_vec())
}

/// A bundle of commitments: each with its length before it.
#[must_use]
pub fn encode_bundle(commitments: &[Hash]) -> Vec<u8> {
    const LENGTH: [u8; 2] = 32_u16.to_be_bytes();
    let mut bytes = Vec::with_capacity(commitments.len() * BUNDLE_ENTRY_BYTES);
    for commitment in commitments {
        bytes.extend_from_slice(&LENGTH);
        bytes.extend_from_slice(commitment);
    }
    bytes
}

/// The commitments in a bundle's bytes; `None` where they are not a bundle of such.
#[must_use]
pub fn parse_bundle(bundled: &[u8]) -> Option<Vec<Hash>> {
    let (entries, rest) = bundled.as_chunks::<BUNDLE_ENTRY_BYTES>();
    let entry = |entry: &[u8; BUNDLE_ENTRY_BYTES]| {
        let (length, commitment) = entry.split_first_chunk::<2>()?;
        let commitment = Hash::try_from(commitment).ok()?;
        (*length == 32_u16.to_be_bytes()).then_some(commitment)
    };
    rest.is_empty()
        .then(|| entries.iter().map(entry).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(kind: TileKind, index: u64, width: u16) -> TileId {
        TileId { kind, index, width }
    }

    #[test]
    fn names_are_those_of_the_specification() {
        for (path, expected) in [
            ("0/000", tile(TileKind::Hashes(0), 0, 256)),
            ("0/x001/x234/067", tile(TileKind::Hashes(0), 1_234_067, 256)),
            ("1/x001/000.p/17", tile(TileKind::Hashes(1), 1_000, 17)),
            ("63/999.p/255", tile(TileKind::Hashes(63), 999, 255)),
            ("entries/x001/234", tile(TileKind::Entries, 1_234, 256)),
            ("entries/273.p/112", tile(TileKind::Entries, 273, 112)),
        ] {
            assert_eq!(TileId::parse_path(path), Some(expected));
            assert_eq!(expected.to_string(), path);
        }
        let last = tile(TileKind::Hashes(0), u64::MAX, 256);
        assert_eq!(TileId::parse_path(&last.to_string()), Some(last));
    }

    #[test]
    fn no_tile_has_a_second_name() {
        for path in [
            "",
            "0",
            "0/",
            "0/0",
            "0/0000",
            "00/000",
            "01/000",
            "+1/000",
            "64/000",
            "256/000",
            "0/x000/001",
            "0/x001",
            "0/001/002",
            "0/x001/x002",
            "0/X001/002",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/",
            "0/000.p",
            "0/000.p/1.p/1",
            "0/000/",
            "/0/000",
            "entries/00a",
            "data/000",
            "8/0/000",
            "0/x018/x446/x744/x073/x709/x551/616",
        ] {
            assert_eq!(TileId::parse_path(path), None, "{path:?}");
        }
    }

    #[test]
    fn a_tree_of_70_000_leaves_has_the_tiles_of_the_specification() {
        let within = |kind, index, width| tile(kind, index, width).is_within_tree(70_000);
        let hashes = TileKind::Hashes;
        for (kind, index, width) in [
            (hashes(0), 272, 256),
            (hashes(0), 273, 112),
            (hashes(1), 0, 256),
            (hashes(1), 1, 17),
            (hashes(2), 0, 1),
            (TileKind::Entries, 272, 256),
            (TileKind::Entries, 273, 112),
        ] {
            assert!(within(kind, index, width), "{kind:?} {index} {width}");
            let beyond = if width == 256 {
                (index + 1, 256)
            } else {
                (index, width + 1)
            };
            assert!(!within(kind, beyond.0, beyond.1), "{kind:?} {beyond:?}");
        }
        assert!(!within(hashes(3), 0, 1));
        assert!(!within(hashes(63), 0, 1));
        assert!(!tile(hashes(0), 0, 1).is_within_tree(0));
    }

    #[test]
    fn bundles_are_read_as_they_are_made() {
        let commitments = [[1; 32], [2; 32]];
        let bytes = encode_bundle(&commitments);
        assert_eq!(bytes.len(), 68);
        assert_eq!(&bytes[..3], &[0, 32, 1]);
        assert_eq!(parse_bundle(&bytes), Some(commitments.to_vec()));
        assert_eq!(parse_bundle(&bytes[..67]), None);
        let mut longer = bytes;
        longer[1] = 33;
        assert_eq!(parse_bundle(&longer), None);
    }
}
