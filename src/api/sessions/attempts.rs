//! Guesses of passwords and links: failures make the next attempt wait.
//!
//! Wrong passwords slow down the pair of an account, as it was written, and a network of the
//! client, longer each time; they never lock an account for clients elsewhere. Accounts that do not
//! exist are treated alike. A network that fails at many accounts waits for the next minute. A
//! success forgets nothing: else a member of one organization could, by signing in there, guess at
//! a member with the same address in another. Everything here is in RAM and bounded: after a
//! restart guesses begin anew, at the speed of the hash.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::web::network::{ClientNetwork, NetworkWidth};

/// Failures of one client without a wait: typing errors.
const FREE_FAILURES: usize = 3;
/// The longest wait of one client: about a hundred guesses a day.
const WAIT_MS_MAX: i64 = 15 * 60 * 1_000;
/// The longest wait of a wider network, whose other clients wait for guesses that are not theirs.
const WIDE_WAIT_MS_MAX: i64 = 60 * 1_000;
/// After such a pause failures are forgotten.
const FORGOTTEN_AFTER_MS: i64 = 60 * 60 * 1_000;
/// Pairs that are remembered, and networks of a minute: at some 200 bytes each, 40 MB.
const PAIRS_MAX: usize = 100_000;

/// Failures of one client in a minute, at whatever accounts: an office behind one address has that
/// many typing errors, and guessing at one password each is slow.
const CLIENT_FAILURES_MAX: usize = 30;

const MINUTE_MS: i64 = 60 * 1_000;
/// Notes of failures in the log, of all pairs together: 60 a minute are some 60 MB a day.
const NOTES_PER_MINUTE_MAX: usize = 60;
/// The same of one client, so that it cannot keep the failures of others out of the log.
const CLIENT_NOTES_MAX: usize = 20;

/// An account as it was written and one network of a client, as a hash.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Pair {
    digest: [u8; 32],
    width: NetworkWidth,
}

impl Pair {
    fn new(account: &str, network: ClientNetwork) -> Self {
        let mut hash = Sha256::new();
        hash.update(network.to_bytes());
        hash.update(account.as_bytes());
        Self {
            digest: hash.finalize().into(),
            width: network.width,
        }
    }

    /// The wait after so many failures: none, then 1, 2, 4 ... seconds.
    fn wait_ms(self, failures: u32) -> i64 {
        let free = self.width.limit(FREE_FAILURES);
        let free = u32::try_from(free).unwrap_or(u32::MAX);
        let longest = match self.width {
            NetworkWidth::One => WAIT_MS_MAX,
            NetworkWidth::Site | NetworkWidth::Provider => WIDE_WAIT_MS_MAX,
        };
        match failures.checked_sub(free) {
            None | Some(0) => 0,
            Some(n) => 1_000_i64
                .checked_shl(n - 1)
                .filter(|wait| (1..=longest).contains(wait))
                .unwrap_or(longest),
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Failures {
    count: u32,
    last_ms: i64,
    /// No attempt before.
    until_ms: i64,
    /// Failures since the last note.
    unnoted: u32,
    noted_ms: Option<i64>,
}

impl Failures {
    const fn none(now_ms: i64) -> Self {
        Self {
            count: 0,
            last_ms: now_ms,
            until_ms: now_ms,
            unnoted: 0,
            noted_ms: None,
        }
    }
}

/// An attempt that has begun. It counts as failed unless [`Attempts::undo`] takes it back.
#[derive(Debug)]
pub(crate) struct Begun {
    address: Option<IpAddr>,
    /// Its pairs, the narrowest network first.
    pairs: Vec<BegunPair>,
}

#[derive(Debug)]
struct BegunPair {
    pair: Pair,
    before: Option<Failures>,
    after: Failures,
}

/// What is remembered of attempts.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    pairs: BTreeMap<Pair, Failures>,
    /// The same by the time of the last attempt, for those to be forgotten first.
    by_age: BTreeSet<(i64, Pair)>,
    minute: i64,
    /// Of this minute.
    notes: usize,
    notes_of_networks: BTreeMap<ClientNetwork, usize>,
    /// Failures of this minute.
    of_networks: BTreeMap<ClientNetwork, usize>,
}

impl Attempts {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt of a client as failed, or says how long to wait.
    pub(crate) fn admit(&self, address: Option<IpAddr>, now_ms: i64) -> Result<(), Duration> {
        let mut book = self.lock();
        book.turn(now_ms);
        let is_full = ClientNetwork::all_of(address).any(|network| {
            let failures = book.of_networks.get(&network);
            failures.is_some_and(|failures| *failures >= network.width.limit(CLIENT_FAILURES_MAX))
        });
        if is_full {
            let wait_ms = MINUTE_MS - now_ms.rem_euclid(MINUTE_MS);
            return Err(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)));
        }
        for network in ClientNetwork::all_of(address) {
            // A network for which there is no room is limited by the places for hashes alone.
            if book.of_networks.len() < PAIRS_MAX || book.of_networks.contains_key(&network) {
                *book.of_networks.entry(network).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Takes an attempt of a client back: it has not failed.
    pub(crate) fn take_back(&self, address: Option<IpAddr>) {
        let mut book = self.lock();
        for network in ClientNetwork::all_of(address) {
            if let Some(failures) = book.of_networks.get_mut(&network) {
                *failures = failures.saturating_sub(1);
            }
        }
    }

    /// Begins an attempt at an account, or says how long to wait. It counts as failed at once, so
    /// that many at once do not pass as one.
    pub(crate) fn begin(
        &self,
        account: &str,
        address: Option<IpAddr>,
        now_ms: i64,
    ) -> Result<Begun, Duration> {
        let mut book = self.lock();
        let pairs = ClientNetwork::all_of(address).map(|network| {
            let pair = Pair::new(account, network);
            let before = book.pairs.get(&pair).copied();
            (pair, before)
        });
        let pairs: Vec<_> = pairs.collect();
        let until_ms = pairs.iter().filter_map(|(_, before)| *before);
        let until_ms = until_ms.map(|before| before.until_ms).max();
        if let Some(until_ms) = until_ms.filter(|until_ms| *until_ms > now_ms) {
            let wait_ms = u64::try_from(until_ms - now_ms).unwrap_or(0);
            return Err(Duration::from_millis(wait_ms));
        }
        let begun = pairs.into_iter().map(|(pair, before)| {
            let known = before.filter(|known| now_ms - known.last_ms < FORGOTTEN_AFTER_MS);
            let mut after = known.unwrap_or_else(|| Failures::none(now_ms));
            after.count = after.count.saturating_add(1);
            after.until_ms = now_ms + pair.wait_ms(after.count);
            after.last_ms = now_ms;
            book.put(pair, after);
            BegunPair {
                pair,
                before,
                after,
            }
        });
        let pairs = begun.collect();
        Ok(Begun { address, pairs })
    }

    /// Ends an attempt that was no wrong guess: as if it had not begun.
    pub(crate) fn undo(&self, begun: &Begun) {
        let mut book = self.lock();
        for begun in &begun.pairs {
            match (book.pairs.get(&begun.pair).copied(), begun.before) {
                (None, _) => {}
                // Others have begun since: their waits stay.
                (Some(mut failures), _) if failures != begun.after => {
                    failures.count = failures.count.saturating_sub(1);
                    book.put(begun.pair, failures);
                }
                (Some(_), Some(before)) => book.put(begun.pair, before),
                (Some(_), None) => book.remove(begun.pair),
            }
        }
    }

    /// The same of an attempt that succeeded: it has not failed at its network either.
    pub(crate) fn succeeded(&self, begun: &Begun) {
        self.undo(begun);
        self.take_back(begun.address);
    }

    /// Ends an attempt that failed; gives the number of failures if it is time to note them.
    pub(crate) fn failed(&self, begun: &Begun, now_ms: i64) -> Option<u32> {
        let pair = begun.pairs.first()?.pair;
        let mut book = self.lock();
        let mut failures = *book.pairs.get(&pair)?;
        failures.unnoted = failures.unnoted.saturating_add(1);
        let due = failures.noted_ms.is_none_or(|at| now_ms - at >= MINUTE_MS);
        let note = due && book.may_note(begun.address, now_ms);
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
            self.notes_of_networks.clear();
        }
    }

    fn may_note(&mut self, address: Option<IpAddr>, now_ms: i64) -> bool {
        self.turn(now_ms);
        let is_full = ClientNetwork::all_of(address).any(|network| {
            let notes = self.notes_of_networks.get(&network);
            notes.is_some_and(|notes| *notes >= network.width.limit(CLIENT_NOTES_MAX))
        });
        if is_full || self.notes >= NOTES_PER_MINUTE_MAX {
            return false;
        }
        self.notes += 1;
        for network in ClientNetwork::all_of(address) {
            *self.notes_of_networks.entry(network).or_default() += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "192.0.2.1";
    const OTHER: &str = "192.0.2.2";

    fn at(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    fn begin(attempts: &Attempts, address: &str, now_ms: i64) -> Result<Begun, Duration> {
        attempts.begin("ann", at(address), now_ms)
    }

    #[test]
    fn a_network_that_fails_at_many_accounts_waits_for_the_next_minute() {
        for (others, admitted) in [
            (ONE, 30),
            ("2001:db8::1", 30),
            // Of a /56, and of a /48, in which each client has failed less than it may.
            ("2001:db8:0:N::1", 45),
            ("2001:db8:0:N00::1", 60),
            ("2001:db8:N::1", 1_000),
        ] {
            let attempts = Attempts::default();
            let address = |n: usize| at(&others.replace('N', &format!("{:x}", n % 40)));
            let passed = (0..1_000).filter(|n| attempts.admit(address(*n), 15_000).is_ok());
            assert_eq!(passed.count(), admitted, "{others}");
            let wait = attempts.admit(address(0), 15_000).err();
            let expected = (admitted < 1_000).then_some(Duration::from_secs(45));
            assert_eq!(wait, expected, "{others}");
            attempts.admit(at(OTHER), 15_000).unwrap();
            attempts.admit(address(0), MINUTE_MS).unwrap();
        }
    }

    #[test]
    fn what_succeeds_does_not_count() {
        let attempts = Attempts::default();
        for now in 0..100 {
            attempts.admit(at(ONE), now).unwrap();
            let begun = begin(&attempts, ONE, now).unwrap();
            attempts.succeeded(&begun);
        }
        let book = attempts.lock();
        assert!(book.pairs.is_empty() && book.by_age.is_empty());
        assert_eq!(book.of_networks.values().sum::<usize>(), 0);
    }

    #[test]
    fn each_failure_makes_its_own_pair_wait_longer() {
        let attempts = Attempts::default();
        let mut now = 0;
        for expected in [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            begin(&attempts, ONE, now).unwrap();
            if expected > 0 {
                let wait = begin(&attempts, ONE, now).unwrap_err();
                assert_eq!(wait, Duration::from_secs(expected));
                now += i64::try_from(expected).unwrap() * 1_000;
                assert!(begin(&attempts, ONE, now - 1).is_err());
            }
        }
        assert!(begin(&attempts, OTHER, now).is_ok());
        assert!(attempts.begin("bob", at(ONE), now).is_ok());
        // A success forgets no failure.
        let begun = begin(&attempts, ONE, now).unwrap();
        attempts.succeeded(&begun);
        begin(&attempts, ONE, now).unwrap();
        let wait = begin(&attempts, ONE, now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(900));
        let later = now + FORGOTTEN_AFTER_MS;
        begin(&attempts, ONE, later).unwrap();
        begin(&attempts, ONE, later).unwrap();
    }

    #[test]
    fn clients_wait_for_guesses_from_their_own_networks() {
        for (others, waits_s) in [
            ("2001:db8::2", Some(900)),
            ("2001:db8:0:1::1", Some(60)),
            ("2001:db8:0:100::1", Some(60)),
            ("2001:db8:1::1", None),
            ("192.0.2.1", None),
        ] {
            let attempts = Attempts::default();
            let mut now = 0;
            for _ in 0..20 {
                while let Err(wait) = begin(&attempts, "2001:db8::1", now) {
                    now += i64::try_from(wait.as_millis()).unwrap();
                }
            }
            let wait = begin(&attempts, others, now).err();
            assert_eq!(wait, waits_s.map(Duration::from_secs), "{others}");
        }
    }

    #[test]
    fn many_attempts_at_once_do_not_pass_as_one() {
        let attempts = Attempts::default();
        let begun: Vec<_> = (0..100)
            .filter_map(|_| begin(&attempts, ONE, 0).ok())
            .collect();
        assert_eq!(begun.len(), 4);
        // What is taken back leaves the others' failures and waits.
        attempts.undo(&begun[0]);
        assert!(begin(&attempts, ONE, 999).is_err());
        begin(&attempts, ONE, 1_000).unwrap();
        let wait = begin(&attempts, ONE, 1_000).unwrap_err();
        assert_eq!(wait, Duration::from_secs(1));
    }

    #[test]
    fn failures_are_noted_once_a_minute_and_not_without_bound() {
        let attempts = Attempts::default();
        let fail_from = |address: &str, account: &str, at_ms| {
            let begun = attempts.begin(account, at(address), at_ms).unwrap();
            attempts.failed(&begun, at_ms)
        };
        let fail = |account: &str, at_ms| fail_from(ONE, account, at_ms);
        assert_eq!(fail("ann", 0), Some(1));
        assert_eq!((fail("ann", 1), fail("ann", 2)), (None, None));
        assert_eq!(fail("ann", MINUTE_MS), Some(3));
        let others = (1_000..1_100).map(|n| n.to_string());
        let noted = others.filter(|other| fail(other, 2 * MINUTE_MS).is_some());
        assert_eq!(noted.count(), CLIENT_NOTES_MAX);
        // Another client's are noted all the same, as long as there is room for any.
        let clients = (0..100).map(|n| format!("198.51.100.{n}"));
        let noted = clients.filter(|one| fail_from(one, "bob", 2 * MINUTE_MS).is_some());
        assert_eq!(noted.count(), NOTES_PER_MINUTE_MAX - CLIENT_NOTES_MAX);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let attempts = Attempts::default();
        for n in 0..PAIRS_MAX + 10 {
            let now = i64::try_from(n).unwrap();
            attempts.begin(&n.to_string(), at(ONE), now).unwrap();
        }
        let book = attempts.lock();
        assert_eq!(
            (book.pairs.len(), book.by_age.len()),
            (PAIRS_MAX, PAIRS_MAX)
        );
    }
}
