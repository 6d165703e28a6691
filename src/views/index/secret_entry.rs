//! What the index keeps of one secret: a handle of 24 bytes on the record that it is a secret of.
//!
//! The record holds the whole hash, and the whole of it is compared: two secrets cannot share an
//! entry, even if chosen to collide. Every change of a record puts new entries for all its secrets,
//! so that all say the same and none keeps an old record alive.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use papaya::Equivalent;

use crate::domain::ids::SecretId;
use crate::domain::record::{Credential, Secret};
use crate::domain::secret::SecretHash;
use crate::domain::time::Timestamp;

use super::grant_rights::GrantRights;
use super::shown_credential::ShownCredential;
use super::verification_code::VerificationCode;

/// One secret.
pub(super) struct SecretEntry {
    pub(super) credential: Arc<Credential>,
    pub(super) rights: Arc<GrantRights>,
    /// Which of its secrets, the oldest being 0.
    number: u32,
}

impl SecretEntry {
    /// One entry for every secret of a record.
    pub(super) fn entries_of<'a>(
        credential: &'a Arc<Credential>,
        worth: &'a Arc<GrantRights>,
    ) -> impl Iterator<Item = Self> + 'a {
        let numbers = (0_u32..).take(credential.secrets_len());
        numbers.map(|number| Self {
            credential: Arc::clone(credential),
            rights: Arc::clone(worth),
            number,
        })
    }

    fn hash(&self) -> &SecretHash {
        match self.older() {
            Some(older) => &older.hash,
            None => self.credential.secret_hash(),
        }
    }

    pub(super) fn secret_id(&self) -> SecretId {
        match self.older() {
            Some(older) => older.id,
            None => self.credential.secret_id(),
        }
    }

    /// When the secret ends by itself; most never do.
    fn ends_at(&self) -> Option<Timestamp> {
        match self.older() {
            Some(older) => older.ends_at,
            None => self.credential.secret_ends_at(),
        }
    }

    /// The secret, unless it is the current one.
    fn older(&self) -> Option<&Secret> {
        let number = usize::try_from(self.number).unwrap_or(usize::MAX);
        self.credential.older_secrets().get(number)
    }

    /// The first reason by status or time, but for the owner, not to accept it.
    pub(super) fn refusal_code(&self, now: Timestamp) -> Option<VerificationCode> {
        let credential = &self.credential;
        if credential.ended().is_some() {
            Some(VerificationCode::Revoked)
        } else if self
            .ends_at()
            .is_some_and(|at| at <= now.max(credential.updated_at()))
        {
            // Time never goes back behind the last event, whenever `now` was read.
            Some(VerificationCode::Rotated)
        } else if credential.expires_at().is_some_and(|at| at <= now) {
            Some(VerificationCode::Expired)
        } else if credential.disabled() {
            Some(VerificationCode::Disabled)
        } else {
            None
        }
    }

    /// The earlier of the credential's expiry and the secret's own end.
    pub(super) fn valid_until(&self) -> Option<Timestamp> {
        let ends = [self.credential.expires_at(), self.ends_at()];
        ends.into_iter().flatten().min()
    }

    /// What is shown of it once it has ended: no names, no rights.
    pub(super) fn ended_credential(&self) -> ShownCredential {
        ShownCredential::Ended {
            id: self.credential.id(),
            kind: self.credential.kind(),
            organization: self.credential.organization(),
            owner: self.credential.owner(),
            secret: self.secret_id(),
        }
    }
}

impl PartialEq for SecretEntry {
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

impl Eq for SecretEntry {}

impl Hash for SecretEntry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.hash().0);
    }
}

/// The hash of a secret that is looked for.
pub(super) struct SoughtHash(pub(super) SecretHash);

impl Hash for SoughtHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0.0);
    }
}

impl Equivalent<SecretEntry> for SoughtHash {
    fn equivalent(&self, entry: &SecretEntry) -> bool {
        self.0 == *entry.hash()
    }
}

/// Finds the place of a hash by half of it. The hash of an imported secret can have been chosen by
/// trial, so that the place depends on a key of this process as well.
#[derive(Clone, Debug)]
pub(super) struct SecretHashBuilder([u64; 2]);

impl Default for SecretHashBuilder {
    fn default() -> Self {
        let random = RandomState::new();
        Self([0_u8, 1].map(|number| random.hash_one(number)))
    }
}

impl BuildHasher for SecretHashBuilder {
    type Hasher = SecretHasher;

    fn build_hasher(&self) -> SecretHasher {
        SecretHasher {
            key: self.0,
            place: 0,
        }
    }
}

/// The place of one hash.
pub(super) struct SecretHasher {
    key: [u64; 2],
    place: u64,
}

impl Hasher for SecretHasher {
    fn write(&mut self, hash: &[u8]) {
        let half = hash
            .first_chunk::<16>()
            .map_or(0, |half| u128::from_le_bytes(*half));
        let [low, high] = self.key;
        let (first, second) = halves(half);
        let (first, second) = halves(u128::from(first ^ low) * u128::from(second ^ high));
        self.place ^= first ^ second;
    }

    fn finish(&self) -> u64 {
        self.place
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the halves of a word are what is wanted"
)]
fn halves(word: u128) -> (u64, u64) {
    (word as u64, (word >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<SecretEntry>() <= 24);
    }
}
