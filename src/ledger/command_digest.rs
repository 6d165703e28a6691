//! The digests by which a repeated command is recognised.
//!
//! A command about a member says what can be guessed, such as an address or a name. Its digest
//! takes the member's own data key, so that an erasure reaches it.

use super::key_holder::data_key;
use crate::domain::digest::Digest32;
use crate::domain::ids::UserId;
use crate::error_chain::error_chain;
use crate::seal::KeyStore;

/// The digest of a command as its events carry it; `None` without the member's key.
pub(super) fn keyed(keys: &KeyStore, digest: Digest32, member: Option<UserId>) -> Option<Digest32> {
    let Some(member) = member else {
        return Some(digest);
    };
    let keyed = keys.command_digest_about_holder(data_key(member.0), digest.0);
    keyed.ok().flatten().map(Digest32)
}

/// Whether a command is the remembered one. After an erasure this cannot be known, and is denied.
pub(super) fn is_same(keys: &KeyStore, remembered: Digest32, digest: Digest32) -> bool {
    let same = keys.matches_command_digest(remembered.0, digest.0);
    same.unwrap_or_else(|why| {
        let why = error_chain(&why);
        tracing::warn!(why, "an idempotency key cannot be compared");
        false
    })
}
