//! What is known of the use of a credential's secrets: when each was used, whether it ever was.

use std::sync::Arc;

use super::UsageHistory;
use super::usage_table::UsageEntry;
use crate::domain::ids::{CredentialId, SecretId};
use crate::domain::time::Timestamp;

impl UsageHistory {
    /// When one of its secrets was last used.
    #[must_use]
    pub fn secret_last_used_at(
        &self,
        credential: CredentialId,
        secret: SecretId,
    ) -> Option<Timestamp> {
        let key: Arc<UsageEntry> = self.shared.keys.get(credential)?;
        key.lock_usage().secret_last_used_at(secret)
    }

    /// Whether it is known that no one has presented a secret that was made at `made`, neither with
    /// success nor without. Waits for what was recorded before: off the async threads.
    #[must_use]
    pub fn is_secret_known_unpresented(
        &self,
        credential: CredentialId,
        secret: SecretId,
        made: Timestamp,
    ) -> bool {
        if made < self.tracked_since() || self.gaps().iter().any(|gap| gap.to >= made) {
            return false;
        }
        self.wait_until_settled();
        let Some(key) = self.shared.keys.get(credential) else {
            return true;
        };
        let rest = key.lock_usage();
        rest.presented_secrets().all(|(known, _)| *known != secret)
    }
}
