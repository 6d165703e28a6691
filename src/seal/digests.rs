//! Keyed digests of commands, by which a repeated one is recognised.
//!
//! A digest of what is said about a person can be tried with guessed names and addresses, so it
//! takes that person's data key and is worth nothing once the key is destroyed.

use ulid::Ulid;

use super::SealError;
use super::keys::KeyStore;
use super::secret::DataKeyId;
use super::wrapped::keyed_hash;

/// Separates digests under a data key from everything else that the key is used for.
const DIGEST_LABEL: &[u8] = b"keyledger command digest 1";
/// Bytes of a keyed digest that name its holder; as many are left to tell contents apart.
const HOLDER_BYTES: usize = 16;

impl KeyStore {
    /// The digest of a command's content: HMAC-SHA-256 under a key of this log alone.
    pub fn digest(&self, content: &[u8]) -> [u8; 32] {
        keyed_hash(&self.digest, content)
    }

    /// The digest of a command about a data key's holder, made of [`Self::digest`]: the holder,
    /// then half an HMAC under the data key. Without the key it is the digest of nothing. `None`
    /// where the key is erased.
    ///
    /// # Errors
    /// Those of [`Self::data_key`].
    pub fn digest_for(
        &self,
        holder: DataKeyId,
        digest: [u8; 32],
    ) -> Result<Option<[u8; 32]>, SealError> {
        let key = self.data_key(holder)?;
        Ok(key.map(|key| {
            let mut keyed = keyed_hash(&key, &[DIGEST_LABEL, digest.as_slice()].concat());
            let (id, _) = keyed.split_at_mut(HOLDER_BYTES);
            id.copy_from_slice(&holder.ulid().0.to_be_bytes());
            keyed
        }))
    }

    /// Whether a stored digest, of either form, is that of the content with this [`Self::digest`].
    /// A digest under an erased key matches no content.
    ///
    /// # Errors
    /// Those of [`Self::data_key`].
    pub fn is_same_digest(&self, stored: [u8; 32], digest: [u8; 32]) -> Result<bool, SealError> {
        if stored == digest {
            return Ok(true);
        }
        let (holder, _) = stored.split_at(HOLDER_BYTES);
        let holder = holder.try_into().map_or(0, u128::from_be_bytes);
        let holder = DataKeyId::new(Ulid(holder));
        Ok(self.digest_for(holder, digest)? == Some(stored))
    }
}
