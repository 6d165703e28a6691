//! Where passwords are hashed: on threads that may block, few at a time.
//!
//! A hash takes 19 MiB and tens of milliseconds of one core. What is let in at once bounds both, so
//! that guesses cannot starve the rest of the service.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::domain::sign_in::Password;
use crate::http::problem::Problem;
use crate::seal::password::{self, HashError, SALT_BYTES};

/// Hashes at once: 2 x 19 MiB, and at most two cores.
const RUNNING_MAX: usize = 2;
/// Hashes that run or wait: the last one waits some two seconds.
const PLACES_MAX: usize = 64;

/// The places.
#[derive(Debug)]
pub(in crate::http) struct Passwords {
    running: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            places: Arc::new(Semaphore::new(PLACES_MAX)),
        }
    }
}

impl Passwords {
    /// The hash of a new password.
    pub(super) async fn hash(
        &self,
        password: Password,
        salt: [u8; SALT_BYTES],
    ) -> Result<String, Problem> {
        self.run(move || password::hash(&password, &salt)).await
    }

    /// Whether a password is the one behind a hash. Without a hash it takes as long and is not.
    pub(super) async fn is_behind(
        &self,
        password: Password,
        stored: Option<String>,
    ) -> Result<bool, Problem> {
        self.run(move || password::is_behind(&password, stored.as_deref()))
            .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_full| Problem::busy("too many passwords are waiting"))?;
        let running = Arc::clone(&self.running).acquire_owned().await;
        let running = running.map_err(|why| Problem::internal("no place for a hash", &why))?;
        let worked = tokio::task::spawn_blocking(move || {
            let outcome = work();
            // A client that has gone away gives its place back only now.
            drop((running, place));
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

    #[tokio::test]
    async fn more_passwords_than_places_are_refused_at_once() {
        let passwords = Passwords::default();
        let password = || Password::new("correct horse".to_owned());
        let all = u32::try_from(PLACES_MAX).unwrap();
        let places = Arc::clone(&passwords.places).acquire_many_owned(all);
        let places = places.await.unwrap();
        let refused = passwords.is_behind(password(), None).await.unwrap_err();
        assert_eq!(refused.code(), "queue_full");
        drop(places);
        let hash = passwords.hash(password(), [1; SALT_BYTES]).await.unwrap();
        assert!(passwords.is_behind(password(), Some(hash)).await.unwrap());
    }
}
