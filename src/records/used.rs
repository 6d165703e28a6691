//! What a record of a credential tells of its use.

use crate::domain::catalogue::Catalogue;
use crate::domain::ids::{CredentialId, SecretId};
use crate::domain::record::Credential;
use crate::domain::time::Timestamp;
use crate::usage::{CredentialUsage, UsageHistory};

/// What a record of a credential tells of its use.
pub(crate) struct Use {
    usage: CredentialUsage,
    status: &'static str,
    stream: Option<(UsageHistory, CredentialId)>,
}

impl Use {
    /// Of a credential as it is now.
    pub(crate) fn of(stream: Option<&UsageHistory>, credential: &Credential) -> Self {
        let Some(stream) = stream else {
            return Self::untold();
        };
        let usage = stream.usage_of(credential.id());
        let used = usage.last_used_at.is_some() || usage.last_reported_at.is_some();
        let status = if used {
            "used"
        } else if credential.stamp().created_at >= stream.tracked_since() {
            "never_used"
        } else {
            NOT_TRACKED
        };
        Self {
            usage,
            status,
            stream: Some((stream.clone(), credential.id())),
        }
    }

    /// Of a credential as it was once: the past of its use is not in the ledger.
    pub(crate) fn untold() -> Self {
        Self {
            usage: CredentialUsage::default(),
            status: NOT_TRACKED,
            stream: None,
        }
    }

    pub(crate) fn last_used_at(&self) -> Option<Timestamp> {
        self.usage.last_used_at
    }

    pub(crate) fn last_reported_at(&self) -> Option<Timestamp> {
        self.usage.last_reported_at
    }

    /// When one of its secrets was last used.
    pub(crate) fn secret_last_used_at(&self, secret: SecretId) -> Option<Timestamp> {
        let (stream, credential) = self.stream.as_ref()?;
        stream.secret_last_used_at(*credential, secret)
    }

    /// The scopes of the credential that no accepted call has exercised. One that covers others is
    /// exercised with any of them.
    pub(crate) fn never_exercised(
        &self,
        catalogue: &Catalogue,
        credential: &Credential,
    ) -> Vec<String> {
        let Some((stream, id)) = &self.stream else {
            return Vec::new();
        };
        let exercised = stream.exercised_scopes(*id);
        let covers = |scope: &str| {
            let covered = catalogue.expand([scope]);
            let known = |used: &String| used == scope || catalogue.holds(covered, used);
            exercised.iter().any(known)
        };
        let scopes = credential.grant().scopes.iter();
        scopes.filter(|scope| !covers(scope)).cloned().collect()
    }

    /// `used`, `never_used` or `not_tracked`.
    pub(crate) fn status(&self) -> &'static str {
        self.status
    }
}

/// Nobody can say whether it was used.
pub(crate) const NOT_TRACKED: &str = "not_tracked";
