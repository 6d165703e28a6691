//! Where passwords are hashed: on threads that may block, few at a time.
//!
//! A hash takes 19 MiB and tens of milliseconds of one core. What runs at once bounds both, so that
//! guesses cannot starve the rest of the service. Networks of clients take turns, a hash each, and
//! each has its share of the places to wait, so that guesses from a few networks neither delay nor
//! refuse other clients.

use std::net::IpAddr;
use std::sync::Arc;

use crate::api::sessions::hash_turns::HashTurns;
use crate::api::sessions::password_hash::{self, PASSWORD_SALT_BYTES, PasswordHashError};
use crate::domain::ids::OrganizationId;
use crate::domain::sign_in::Password;
use crate::web::network::ClientNetwork;
use crate::web::problem::Problem;
use crate::web::shares::{FairShares, Holder, Share, ShareLimits};

/// Threads that hash at once: 2 x 19 MiB, and at most two cores.
const RUNNING_MAX: usize = 2;
/// Requests that hash or wait, of all and of one client or organization. A sign-in takes up to
/// eight hashes.
const PLACES_MAX: ShareLimits = ShareLimits { all: 128, each: 8 };

/// The places and the turns.
#[derive(Debug)]
pub(crate) struct Passwords {
    places: FairShares,
    turns: HashTurns,
}

/// Whose password it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashClient {
    pub(crate) address: Option<IpAddr>,
    /// The organization, where the client has shown that it belongs to it.
    pub(crate) organization: Option<OrganizationId>,
}

impl HashClient {
    fn holders(self) -> impl Iterator<Item = Holder> {
        let organization = self.organization.map(|id| Holder::Tenant(Some(id)));
        let networks = Holder::of_address(self.address);
        networks.into_iter().chain(organization)
    }

    /// The widest of its networks: one that has many addresses has no more turns.
    fn network(self) -> ClientNetwork {
        let widest = ClientNetwork::all_of(self.address).last();
        widest.unwrap_or_else(|| ClientNetwork::of(self.address))
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            places: FairShares::new(PLACES_MAX),
            turns: HashTurns::new(RUNNING_MAX),
        }
    }
}

impl Passwords {
    /// The hash of a new password.
    pub(crate) async fn hash(
        &self,
        client: HashClient,
        password: Password,
        salt: [u8; PASSWORD_SALT_BYTES],
    ) -> Result<String, Problem> {
        let _place = self.place(client)?;
        self.run(client, move || {
            password_hash::hash_password(&password, &salt)
        })
        .await
    }

    /// Which hashes a password is behind. A place without a hash takes as long and is not.
    pub(crate) async fn is_behind(
        &self,
        client: HashClient,
        password: Password,
        stored: Vec<Option<String>>,
    ) -> Result<Vec<bool>, Problem> {
        let _place = self.place(client)?;
        let password = Arc::new(password);
        let mut fits = Vec::with_capacity(stored.len());
        for stored in stored {
            let password = Arc::clone(&password);
            let compare = move || password_hash::verify_password(&password, stored.as_deref());
            fits.push(self.run(client, compare).await?);
        }
        Ok(fits)
    }

    fn place(&self, client: HashClient) -> Result<Share, Problem> {
        let place = self.places.take(client.holders(), 1);
        place.ok_or_else(|| Problem::busy("too many passwords are waiting"))
    }

    async fn run<T: Send + 'static>(
        &self,
        client: HashClient,
        work: impl FnOnce() -> Result<T, PasswordHashError> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.turns.next(client.network()).await;
        let turn = turn.map_err(|why| Problem::internal("no turn for a hash", &why))?;
        let worked = tokio::task::spawn_blocking(move || {
            let outcome = work();
            // A client that has gone away gives its turn back only now.
            drop(turn);
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

    fn client(address: &str) -> HashClient {
        HashClient {
            address: Some(address.parse().unwrap()),
            organization: None,
        }
    }

    #[tokio::test]
    async fn one_client_takes_its_share_of_places_and_no_more() {
        let passwords = Passwords::default();
        let password = || Password::new("correct horse".to_owned());
        let (guesser, other) = (client("192.0.2.1"), client("192.0.2.2"));
        let taken: Vec<_> = (0..PLACES_MAX.each)
            .map(|_| passwords.place(guesser).unwrap())
            .collect();
        let refused = passwords.is_behind(guesser, password(), vec![None]).await;
        assert_eq!(refused.unwrap_err().code(), "queue_full");
        let hash = passwords
            .hash(other, password(), [1; PASSWORD_SALT_BYTES])
            .await;
        let hash = hash.unwrap();
        drop(taken);
        let stored = vec![None, Some(hash), None];
        let fits = passwords.is_behind(guesser, password(), stored).await;
        assert_eq!(fits.unwrap(), [false, true, false]);
        assert_eq!(passwords.places.in_use(), 0);
    }

    #[test]
    fn a_hundred_clients_that_guess_leave_a_place_for_one_more() {
        let passwords = Passwords::default();
        let place = |n: u8| passwords.place(client(&format!("192.0.2.{n}")));
        let held: Vec<_> = (0..100).map(|n| place(n).unwrap()).collect();
        assert_eq!((held.len(), place(100).is_ok()), (100, true));
    }
}
