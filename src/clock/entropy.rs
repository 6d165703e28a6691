//! Random bytes and new ids: the one reader of the operating system's random source.
//!
//! Owns what was drawn and not yet handed out, and wipes what was. Ids increase whatever the clock
//! does. It must never be asked twice for the same bytes, the seeded one of tests apart.

use std::fmt;

use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};
use ulid::Ulid;
use zeroize::{Zeroize, Zeroizing};

/// Random bytes drawn from the operating system at once: those of five commands.
const DRAWN_AT_ONCE: usize = 512;

/// Where random bytes and new ids come from.
pub struct Entropy {
    source: Source,
    last: Ulid,
}

enum Source {
    System(Box<Drawn>),
    /// SHA-256 over a seed and a counter: the same bytes under every version of every crate.
    Seeded {
        seed: u64,
        blocks: u64,
    },
}

impl Entropy {
    /// The operating system's random source.
    pub fn system() -> Self {
        Self::from_source(Source::System(Box::default()))
    }

    /// The same bytes for the same seed, for tests and fixtures. Never for real keys.
    pub fn seeded(seed: u64) -> Self {
        Self::from_source(Source::Seeded { seed, blocks: 0 })
    }

    fn from_source(source: Source) -> Self {
        Self {
            source,
            last: Ulid::nil(),
        }
    }

    /// Fills `bytes` with random ones.
    ///
    /// # Panics
    /// When the operating system has no random source: nothing may be issued without one.
    pub fn fill_random(&mut self, bytes: &mut [u8]) {
        match &mut self.source {
            Source::System(drawn) => drawn.fill(bytes),
            Source::Seeded { seed, blocks } => {
                for chunk in bytes.chunks_mut(32) {
                    let mut block = Sha256::new();
                    block.update(seed.to_le_bytes());
                    block.update(blocks.to_le_bytes());
                    *blocks += 1;
                    for (to, from) in chunk.iter_mut().zip(block.finalize()) {
                        *to = from;
                    }
                }
            }
        }
    }

    /// `N` random bytes.
    pub fn random_bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill_random(&mut bytes);
        bytes
    }

    /// A new ULID of the time `ms`, greater than every one before it: in the same millisecond,
    /// or after the clock went back, it is the last one plus one.
    pub fn next_ulid(&mut self, ms: i64) -> Ulid {
        let ms = u64::try_from(ms).unwrap_or(0);
        let next = if ms > self.last.timestamp_ms() {
            self.ulid_of(ms)
        } else {
            match self.last.increment() {
                Ok(next) => next,
                Err(overflowed) => self.ulid_of(overflowed.timestamp_ms()),
            }
        };
        assert!(next > self.last, "48 bits of milliseconds end in 10889");
        self.last = next;
        next
    }

    /// Makes every later ULID greater than `seen`, an id that is in the log already.
    pub fn continue_ulids_after(&mut self, seen: Ulid) {
        self.last = self.last.max(seen);
    }

    fn ulid_of(&mut self, ms: u64) -> Ulid {
        Ulid::from_parts(ms, u128::from_le_bytes(self.random_bytes()))
    }
}

/// Random bytes of the operating system, drawn many at once: a command takes them four times. What
/// is handed out is wiped here.
struct Drawn {
    bytes: Zeroizing<[u8; DRAWN_AT_ONCE]>,
    used: usize,
}

impl Default for Drawn {
    fn default() -> Self {
        Self {
            bytes: Zeroizing::new([0; DRAWN_AT_ONCE]),
            used: DRAWN_AT_ONCE,
        }
    }
}

impl Drawn {
    fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.used == DRAWN_AT_ONCE {
                SysRng
                    .try_fill_bytes(&mut *self.bytes)
                    .expect("the operating system's random source answers");
                self.used = 0;
            }
            let left = self.bytes.get_mut(self.used..).unwrap_or_default();
            let count = left.len().min(bytes.len());
            let (to, rest) = bytes.split_at_mut(count);
            let (from, _) = left.split_at_mut(count);
            to.copy_from_slice(from);
            from.zeroize();
            self.used += count;
            bytes = rest;
        }
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entropy").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_700_000_000_000;

    #[test]
    fn ulids_increase_whatever_the_clock_does() {
        for mut entropy in [Entropy::system(), Entropy::seeded(1)] {
            let mut last = entropy.next_ulid(START_MS);
            assert_eq!(i64::try_from(last.timestamp_ms()).unwrap(), START_MS);
            for ms in [START_MS, START_MS, START_MS - 9, -1, START_MS + 1, i64::MIN] {
                let next = entropy.next_ulid(ms);
                assert!(next > last, "{ms}");
                last = next;
            }
            let full = Ulid::from_parts(last.timestamp_ms() + 5, u128::MAX);
            entropy.continue_ulids_after(full);
            let next = entropy.next_ulid(START_MS);
            assert_eq!(next.timestamp_ms(), full.timestamp_ms() + 1);
        }
    }

    #[test]
    fn bytes_drawn_at_once_are_handed_out_once() {
        let mut entropy = Entropy::system();
        let few: Vec<[u8; 24]> = (0..100).map(|_| entropy.random_bytes()).collect();
        let many: [u8; 3 * DRAWN_AT_ONCE] = entropy.random_bytes();
        let all = few.iter().flatten().chain(&many);
        let all: Vec<u8> = all.copied().collect();
        let pieces: std::collections::BTreeSet<&[u8]> = all.chunks_exact(8).collect();
        assert_eq!(pieces.len(), all.len() / 8);
        let Source::System(drawn) = &entropy.source else {
            panic!("this is the system's");
        };
        assert!(drawn.bytes[..drawn.used].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn seeded_bytes_are_pinned() {
        let mut entropy = Entropy::seeded(7);
        let first: [u8; 40] = entropy.random_bytes();
        let again: [u8; 40] = Entropy::seeded(7).random_bytes();
        let next: [u8; 40] = entropy.random_bytes();
        assert_eq!(first, again);
        assert_ne!(first, next);
        assert_eq!(hex::encode(&first[..8]), "76108f84396dc2d7");
        assert_ne!(first, Entropy::seeded(8).random_bytes());
        assert_ne!(
            Entropy::system().random_bytes::<16>(),
            Entropy::system().random_bytes()
        );
    }
}
