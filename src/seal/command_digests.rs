//! Keyed digests of commands, by which a repeated one is recognised.
//!
//! A digest of what is said about a person can be tried with guessed names and addresses, so it
//! takes that person's data key and is worth nothing once the key is destroyed.

use ulid::Ulid;

use super::SealError;
use super::key_store::KeyStore;
use super::secret::DataKeyId;
use super::wrapped_key::hmac_sha256;

/// Separates digests under a data key from everything else that the key is used for.
const DIGEST_LABEL: &[u8] = b"keyledger command digest 1";
/// Bytes of a keyed digest that name its holder; the other half distinguishes contents.
const HOLDER_BYTES: usize = 16;

impl KeyStore {
    /// The digest of a command's content: HMAC-SHA-256 under a key of this log alone.
    pub fn command_digest(&self, content: &[u8]) -> [u8; 32] {
        hmac_sha256(&self.digest, content)
    }

    /// The digest of a command about a data key's holder, made of [`Self::command_digest`]: the
    /// holder, then half an HMAC under the data key. Without the key it is the digest of nothing.
    /// `None` where the key is erased.
    ///
    /// # Errors
    /// Those of [`Self::data_key`].
    pub fn command_digest_about_holder(
        &self,
        holder: DataKeyId,
        digest: [u8; 32],
    ) -> Result<Option<[u8; 32]>, SealError> {
        let key = self.data_key(holder)?;
        Ok(key.map(|key| {
            let mut keyed = hmac_sha256(&key, &[DIGEST_LABEL, digest.as_slice()].concat());
            let (id, _) = keyed.split_at_mut(HOLDER_BYTES);
            id.copy_from_slice(&holder.ulid().0.to_be_bytes());
            keyed
        }))
    }

    /// Whether a stored digest, of either form, is that of the content with this
    /// [`Self::command_digest`]. A digest under an erased key matches no content.
    ///
    /// # Errors
    /// Those of [`Self::data_key`].
    pub fn matches_command_digest(
        &self,
        stored: [u8; 32],
        digest: [u8; 32],
    ) -> Result<bool, SealError> {
        if stored == digest {
            return Ok(true);
        }
        let (holder, _) = stored.split_at(HOLDER_BYTES);
        let holder = holder.try_into().map_or(0, u128::from_be_bytes);
        let holder = DataKeyId::new(Ulid(holder));
        Ok(self.command_digest_about_holder(holder, digest)? == Some(stored))
    }
}
