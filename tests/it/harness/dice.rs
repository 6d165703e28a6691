//! Chance that can be had again: a seed, printed with every failure.

use keyledger::clock::Entropy;

/// A source of chance.
#[derive(Debug)]
pub(crate) struct Dice(Entropy);

impl Dice {
    /// The chance of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Entropy::seeded(seed))
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        u64::from_le_bytes(self.0.random_bytes()) % end
    }
}

/// The seed in `KEYLEDGER_TEST_SEED`, or a new one; it is printed, and shown when the test fails.
#[allow(clippy::disallowed_methods, reason = "a test's own setting")]
pub(crate) fn seed() -> u64 {
    let given = std::env::var("KEYLEDGER_TEST_SEED").ok();
    let seed = match given {
        Some(text) => text.parse().unwrap(),
        None => u64::from_le_bytes(Entropy::system().random_bytes()),
    };
    println!("KEYLEDGER_TEST_SEED={seed}");
    seed
}
