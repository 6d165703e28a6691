//! Guesses of passwords and links: failures make who fails wait.
//!
//! After wrong passwords the pair of an account, as it was written, and a client's address waits,
//! longer each time; nobody can lock somebody else out. Accounts that do not exist are treated
//! alike. An address that fails at many accounts waits for the next minute. Everything here is in
//! RAM and bounded: after a restart guesses begin anew, at the speed of the hash.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Failures without a wait: typing errors.
const FREE_FAILURES: u32 = 3;
/// The longest wait: about a hundred guesses a day for one pair.
const WAIT_MS_MAX: i64 = 15 * 60 * 1_000;
/// After such a pause failures are forgotten.
const FORGOTTEN_AFTER_MS: i64 = 60 * 60 * 1_000;
/// Pairs that are remembered, and networks of a minute: at some 200 bytes each, 20 MB.
const PAIRS_MAX: usize = 100_000;

/// Failures of one address in a minute, at whatever accounts: an office behind one address has that
/// many typing errors, and guessing at one password each is slow.
const ADDRESS_FAILURES_MAX: u32 = 30;

const MINUTE_MS: i64 = 60 * 1_000;
/// Notes of failures in the log, of all pairs together: 60 a minute are some 60 MB a day.
const NOTES_PER_MINUTE_MAX: u32 = 60;

/// Where a client is, as far as it is limited: a client of IPv6 has 64 bits to choose from.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Network(u128);

impl Network {
    pub(super) fn of(address: Option<IpAddr>) -> Self {
        Self(match address {
            Some(IpAddr::V4(address)) => address.to_ipv6_mapped().to_bits(),
            Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
                Some(_) => address.to_bits(),
                None => address.to_bits() >> 64 << 64,
            },
            None => 0,
        })
    }
}

/// An account as it was written and a client's address, as a hash.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Pair([u8; 32]);

impl Pair {
    /// The pair of an account's folded name and a network.
    pub(super) fn new(account: &str, network: Network) -> Self {
        let mut hash = Sha256::new();
        hash.update(network.0.to_be_bytes());
        hash.update(account.as_bytes());
        Self(hash.finalize().into())
    }
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last_ms: i64,
    /// No attempt before.
    until_ms: i64,
    /// Failures since the last note.
    unnoted: u32,
    noted_ms: Option<i64>,
}

/// What is remembered of attempts.
#[derive(Debug, Default)]
pub(in crate::http) struct Attempts(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    pairs: BTreeMap<Pair, Failures>,
    /// The same by the time of the last attempt, for those to be forgotten first.
    by_age: BTreeSet<(i64, Pair)>,
    minute: i64,
    /// Of this minute.
    notes: u32,
    /// Failures of this minute.
    of_networks: BTreeMap<Network, u32>,
}

/// The wait after so many failures: 1, 2, 4 ... seconds.
fn wait_ms(failures: u32) -> i64 {
    match failures.checked_sub(FREE_FAILURES) {
        None | Some(0) => 0,
        Some(n) => 1_000_i64
            .checked_shl(n - 1)
            .filter(|wait| (1..=WAIT_MS_MAX).contains(wait))
            .unwrap_or(WAIT_MS_MAX),
    }
}

impl Attempts {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an attempt of a network, or says how long to wait. It counts as failed until it is
    /// taken back.
    pub(super) fn admit(&self, network: Network, now_ms: i64) -> Result<(), Duration> {
        let mut book = self.lock();
        book.turn(now_ms);
        if book.of_networks.len() >= PAIRS_MAX && !book.of_networks.contains_key(&network) {
            // There is no room for more this minute: those that are counted stay limited.
            return Ok(());
        }
        let failures = book.of_networks.entry(network).or_default();
        if *failures >= ADDRESS_FAILURES_MAX {
            let wait_ms = MINUTE_MS - now_ms.rem_euclid(MINUTE_MS);
            return Err(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)));
        }
        *failures += 1;
        Ok(())
    }

    /// Takes an attempt of a network back: it has not failed.
    pub(super) fn take_back(&self, network: Network) {
        if let Some(failures) = self.lock().of_networks.get_mut(&network) {
            *failures = failures.saturating_sub(1);
        }
    }

    /// Begins an attempt, or says how long to wait. It counts as failed until it has succeeded, so
    /// that many at once do not pass as one.
    pub(super) fn begin(&self, pair: Pair, now_ms: i64) -> Result<(), Duration> {
        let mut book = self.lock();
        let known = book.pairs.get(&pair).copied();
        let known = known.filter(|known| now_ms - known.last_ms < FORGOTTEN_AFTER_MS);
        let mut failures = known.unwrap_or(Failures {
            count: 0,
            last_ms: now_ms,
            until_ms: now_ms,
            unnoted: 0,
            noted_ms: None,
        });
        if failures.until_ms > now_ms {
            let wait_ms = u64::try_from(failures.until_ms - now_ms).unwrap_or(0);
            return Err(Duration::from_millis(wait_ms));
        }
        failures.count = failures.count.saturating_add(1);
        failures.until_ms = now_ms + wait_ms(failures.count);
        failures.last_ms = now_ms;
        book.put(pair, failures);
        Ok(())
    }

    /// Ends an attempt in which nothing was compared, as if it had not begun.
    pub(super) fn undo(&self, pair: Pair) {
        let mut book = self.lock();
        let Some(mut failures) = book.pairs.get(&pair).copied() else {
            return;
        };
        failures.count = failures.count.saturating_sub(1);
        failures.until_ms = failures.last_ms;
        book.put(pair, failures);
    }

    /// Ends an attempt that succeeded: all is forgotten.
    pub(super) fn succeeded(&self, pair: Pair) {
        self.lock().remove(pair);
    }

    /// Ends an attempt that failed; gives the number of failures if it is time to note them.
    pub(super) fn failed(&self, pair: Pair, now_ms: i64) -> Option<u32> {
        let mut book = self.lock();
        let mut failures = *book.pairs.get(&pair)?;
        failures.unnoted = failures.unnoted.saturating_add(1);
        let due = failures.noted_ms.is_none_or(|at| now_ms - at >= MINUTE_MS);
        let note = due && book.has_room_for_note(now_ms);
        let unnoted = failures.unnoted;
        if note {
            failures.noted_ms = Some(now_ms);
            failures.unnoted = 0;
        }
        book.put(pair, failures);
        note.then_some(unnoted)
    }
}

impl Book {
    fn put(&mut self, pair: Pair, failures: Failures) {
        self.remove(pair);
        self.by_age.insert((failures.last_ms, pair));
        self.pairs.insert(pair, failures);
        while self.pairs.len() > PAIRS_MAX {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                return;
            };
            self.pairs.remove(&oldest);
        }
    }

    fn remove(&mut self, pair: Pair) {
        if let Some(old) = self.pairs.remove(&pair) {
            self.by_age.remove(&(old.last_ms, pair));
        }
    }

    /// Forgets what was counted in an earlier minute.
    fn turn(&mut self, now_ms: i64) {
        let minute = now_ms.div_euclid(MINUTE_MS);
        if minute != self.minute {
            (self.minute, self.notes) = (minute, 0);
            self.of_networks.clear();
        }
    }

    fn has_room_for_note(&mut self, now_ms: i64) -> bool {
        self.turn(now_ms);
        self.notes += 1;
        self.notes <= NOTES_PER_MINUTE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(account: &str, address: &str) -> Pair {
        Pair::new(account, network(address))
    }

    fn network(address: &str) -> Network {
        Network::of(Some(address.parse().unwrap()))
    }

    #[test]
    fn a_network_that_fails_at_many_accounts_waits_for_the_next_minute() {
        let attempts = Attempts::default();
        let (one, other) = (network("192.0.2.1"), network("192.0.2.2"));
        for _ in 0..ADDRESS_FAILURES_MAX {
            attempts.admit(one, 15_000).unwrap();
            // What succeeds does not count.
            attempts.admit(other, 15_000).unwrap();
            attempts.take_back(other);
        }
        let wait = attempts.admit(one, 15_000).unwrap_err();
        assert_eq!(wait, Duration::from_secs(45));
        attempts.admit(other, 15_000).unwrap();
        attempts.admit(one, MINUTE_MS).unwrap();
    }

    #[test]
    fn each_failure_makes_its_own_pair_wait_longer() {
        let attempts = Attempts::default();
        let (ann, elsewhere) = (pair("ann", "192.0.2.1"), pair("ann", "192.0.2.2"));
        let mut now = 0;
        for expected in [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            attempts.begin(ann, now).unwrap();
            if expected > 0 {
                let wait = attempts.begin(ann, now).unwrap_err();
                assert_eq!(wait, Duration::from_secs(expected));
                now += i64::try_from(expected).unwrap() * 1_000;
                assert!(attempts.begin(ann, now - 1).is_err());
            }
        }
        assert!(attempts.begin(elsewhere, now).is_ok());
        attempts.begin(ann, now).unwrap();
        attempts.succeeded(ann);
        for _ in 0..3 {
            attempts.begin(ann, now).unwrap();
        }
        attempts.begin(ann, now).unwrap();
        assert!(attempts.begin(ann, now).is_err());
        attempts.begin(ann, now + FORGOTTEN_AFTER_MS).unwrap();
        attempts.begin(ann, now + FORGOTTEN_AFTER_MS).unwrap();
    }

    #[test]
    fn many_attempts_at_once_do_not_pass_as_one() {
        let attempts = Attempts::default();
        let ann = pair("ann", "192.0.2.1");
        let passed = (0..100).filter(|_| attempts.begin(ann, 0).is_ok());
        assert_eq!(passed.count(), 4);
    }

    #[test]
    fn a_client_of_ipv6_is_its_network() {
        let one = pair("ann", "2001:db8::1");
        for (address, same) in [
            ("2001:db8::2", true),
            ("2001:db8:0:0:ffff::1", true),
            ("2001:db8:0:1::1", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(pair("ann", address) == one, same, "{address}");
        }
        assert!(pair("ann", "::ffff:192.0.2.1") == pair("ann", "192.0.2.1"));
        assert!(pair("ann", "192.0.2.2") != pair("ann", "192.0.2.1"));
        assert!(pair("bob", "2001:db8::1") != one);
    }

    #[test]
    fn failures_are_noted_once_a_minute_and_not_without_bound() {
        let attempts = Attempts::default();
        let ann = pair("ann", "192.0.2.1");
        let fail = |pair, at| {
            attempts.begin(pair, at).unwrap();
            attempts.failed(pair, at)
        };
        assert_eq!(fail(ann, 0), Some(1));
        assert_eq!((fail(ann, 1), fail(ann, 2)), (None, None));
        assert_eq!(fail(ann, MINUTE_MS), Some(3));
        let others = (1_000..1_100).map(|n| pair(&format!("{n}"), "192.0.2.1"));
        let noted = others.filter(|other| fail(*other, 2 * MINUTE_MS).is_some());
        assert_eq!(noted.count(), NOTES_PER_MINUTE_MAX as usize);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let attempts = Attempts::default();
        for n in 0..PAIRS_MAX + 10 {
            let other = pair(&n.to_string(), "192.0.2.1");
            attempts.begin(other, i64::try_from(n).unwrap()).unwrap();
        }
        let book = attempts.lock();
        assert_eq!(
            (book.pairs.len(), book.by_age.len()),
            (PAIRS_MAX, PAIRS_MAX)
        );
    }
}
