//! Sets of scopes, a bit each.

/// A set of scopes of one catalogue, a bit each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ScopeSet {
    low: u128,
    high: u128,
}

impl ScopeSet {
    pub(super) fn insert(&mut self, bit: u8) {
        match bit {
            0..=127 => self.low |= 1 << bit,
            128..=255 => self.high |= 1 << (bit - 128),
        }
    }

    pub(super) fn contains(self, bit: u8) -> bool {
        match bit {
            0..=127 => self.low & (1 << bit) != 0,
            128..=255 => self.high & (1 << (bit - 128)) != 0,
        }
    }

    /// What both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            low: self.low & other.low,
            high: self.high & other.high,
        }
    }

    /// What either holds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            low: self.low | other.low,
            high: self.high | other.high,
        }
    }

    /// What this holds and `other` does not.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self {
            low: self.low & !other.low,
            high: self.high & !other.high,
        }
    }

    /// Whether this holds all of `other`.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        other.without(self) == Self::default()
    }
}
