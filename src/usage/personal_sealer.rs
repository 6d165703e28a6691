//! What calls say of persons, sealed under each person's own data key.
//!
//! Owns the sealing of calls and roll-ups of credentials that a member owns: nothing that says
//! where the member was reaches the disk but sealed, so that it is erased with the key. Where the
//! key is gone nothing of it is written, or read. Flows: the writing thread seals after counting
//! and before appending, readers open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::call_record::CallRecord;
use crate::clock::Entropy;
use crate::domain::ids::{CredentialId, UserId};
use crate::seal::sealed_value::{SEAL_NONCE_BYTES, decrypt, encrypt};
use crate::seal::{DataKeyId, KeyStore, SecretKey};

/// Random bytes of a nonce, drawn at each start; the rest is counted.
const NONCE_RANDOM_BYTES: usize = 16;
/// Bytes by which sealing makes a text longer: its nonce and its tag.
pub(super) const SEAL_OVERHEAD_BYTES: usize = SEAL_NONCE_BYTES + 16;

/// Where a sealed text is; it does not open elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct PersonalSealContext {
    /// Whose key it is sealed under.
    pub(super) person: UserId,
    /// The credential that was used.
    pub(super) credential: CredentialId,
    /// Of a call or of an hour's counts, and which.
    pub(super) part: SealedPart,
}

/// What a sealed text is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum SealedPart {
    /// A call at this instant.
    Call(i64),
    /// The counts of this hour.
    Hour(u32),
}

/// Seals and opens.
#[derive(Debug)]
pub(super) struct PersonalSealer {
    /// None where there is no ledger: then nothing of persons is kept.
    keys: Option<Arc<KeyStore>>,
    log_id: [u8; 16],
    nonce_random: [u8; NONCE_RANDOM_BYTES],
    next_nonce: AtomicU64,
}

impl PersonalSealer {
    pub(super) fn new(keys: Option<Arc<KeyStore>>, log_id: [u8; 16]) -> Self {
        Self {
            keys,
            log_id,
            nonce_random: Entropy::system().random_bytes(),
            next_nonce: AtomicU64::new(0),
        }
    }

    /// The nonce and the sealed text; empty where the person's key is gone.
    pub(super) fn seal_text(&self, place: PersonalSealContext, plain: &[u8]) -> Vec<u8> {
        let Some(key) = self.key(place.person) else {
            return Vec::new();
        };
        let number = self.next_nonce.fetch_add(1, Ordering::Relaxed);
        let mut nonce = [0; SEAL_NONCE_BYTES];
        let (random, counted) = nonce.split_at_mut(NONCE_RANDOM_BYTES);
        random.copy_from_slice(&self.nonce_random);
        counted.copy_from_slice(&number.to_le_bytes());
        let mut sealed = nonce.to_vec();
        sealed.extend(encrypt(&key, nonce, plain, &self.associated_data(place)));
        sealed
    }

    /// What was sealed; `None` where the person's key is gone, or where it is of another place.
    pub(super) fn open_text(&self, place: PersonalSealContext, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<SEAL_NONCE_BYTES>()?;
        let key = self.key(place.person)?;
        decrypt(&key, *nonce, text, &self.associated_data(place))
    }

    /// The texts of a call, where they are sealed and can be opened.
    pub(super) fn open_call_texts(&self, call: &CallRecord<'_>) -> Option<Vec<u8>> {
        let (place, sealed) = call.sealed_texts()?;
        self.open_text(place, sealed)
    }

    /// A person's key. One that cannot be read seals nothing; the ledger reports it.
    fn key(&self, person: UserId) -> Option<Arc<SecretKey>> {
        let keys = self.keys.as_ref()?;
        keys.data_key(DataKeyId::new(person.ulid())).ok().flatten()
    }

    fn associated_data(&self, place: PersonalSealContext) -> Vec<u8> {
        let of = match place.part {
            SealedPart::Call(at) => [b"call".as_slice(), &at.to_le_bytes()].concat(),
            SealedPart::Hour(hour) => [b"hour".as_slice(), &hour.to_le_bytes()].concat(),
        };
        let credential = place.credential.ulid().0.to_le_bytes();
        [self.log_id.as_slice(), b"usage", &credential, &of].concat()
    }
}
