//! Where passwords are hashed: on threads that may block, few at a time.
//!
//! A hash takes 19 MiB and tens of milliseconds of one core. What is let in at once bounds both, so
//! that guesses cannot starve the rest of the service; each client and organization has its share
//! of the places, so that guesses from a few networks leave places for other clients.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::domain::sign_in::Password;
use crate::http::problem::Problem;
use crate::http::shares::{FairShares, Holder, ShareLimits};
use crate::seal::password::{self, HashError, SALT_BYTES};

/// Threads that hash at once: 2 x 19 MiB, and at most two cores.
const RUNNING_MAX: usize = 2;
/// Hashes that run or wait, of all and of one client or organization: the last one waits some three
/// seconds. A sign-in takes up to eight.
const HASHES_MAX: ShareLimits = ShareLimits { all: 256, each: 64 };

/// The places.
#[derive(Debug)]
pub(in crate::http) struct Passwords {
    running: Arc<Semaphore>,
    places: FairShares,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            places: FairShares::new(HASHES_MAX),
        }
    }
}

impl Passwords {
    /// The hash of a new password.
    pub(super) async fn hash(
        &self,
        holders: Vec<Holder>,
        password: Password,
        salt: [u8; SALT_BYTES],
    ) -> Result<String, Problem> {
        self.run(holders, 1, move || password::hash(&password, &salt))
            .await
    }

    /// Which hashes a password is behind. A place without a hash takes as long and is not.
    pub(super) async fn is_behind(
        &self,
        holders: Vec<Holder>,
        password: Password,
        stored: Vec<Option<String>>,
    ) -> Result<Vec<bool>, Problem> {
        self.run(holders, stored.len(), move || {
            let stored = stored.iter();
            stored
                .map(|stored| password::is_behind(&password, stored.as_deref()))
                .collect()
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        holders: Vec<Holder>,
        hashes: usize,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, Problem> {
        let places = self.places.take(holders, hashes);
        let places = places.ok_or_else(|| Problem::busy("too many passwords are waiting"))?;
        let running = Arc::clone(&self.running).acquire_owned().await;
        let running = running.map_err(|why| Problem::internal("no place for a hash", &why))?;
        let worked = tokio::task::spawn_blocking(move || {
            let outcome = work();
            // A client that has gone away gives its places back only now.
            drop((running, places));
            outcome
        });
        let outcome = worked.await;
        let outcome = outcome.map_err(|why| Problem::internal("a hash panicked", &why))?;
        outcome.map_err(|why| Problem::internal("a password could not be hashed", &why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Vec<Holder> {
        Holder::of_address(Some(address.parse().unwrap()))
    }

    #[tokio::test]
    async fn one_client_takes_its_share_of_places_and_no_more() {
        let passwords = Passwords::default();
        let password = || Password::new("correct horse".to_owned());
        let (guesser, other) = (client("192.0.2.1"), client("192.0.2.2"));
        let taken = passwords
            .places
            .take(guesser.clone(), HASHES_MAX.each)
            .unwrap();
        let refused = passwords
            .is_behind(guesser.clone(), password(), vec![None])
            .await;
        assert_eq!(refused.unwrap_err().code(), "queue_full");
        let hash = passwords.hash(other, password(), [1; SALT_BYTES]).await;
        let hash = hash.unwrap();
        drop(taken);
        let stored = vec![None, Some(hash), None];
        let fits = passwords.is_behind(guesser, password(), stored).await;
        assert_eq!(fits.unwrap(), [false, true, false]);
        assert_eq!(passwords.places.in_use(), 0);
    }
}
