//! The request of a verification, and its result.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 of a request, token and requirements: the key of the cache.
pub(super) type RequestDigest = [u8; 32];

/// A presented secret, and what the credential must have.
#[derive(Clone, Serialize)]
pub struct VerificationRequest {
    key: String,
    required_scopes: Vec<String>,
    project_id: Option<String>,
    any_project: bool,
    organization_id: Option<String>,
}

impl fmt::Debug for VerificationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationRequest")
            .field("required_scopes", &self.required_scopes)
            .field("project_id", &self.project_id)
            .finish_non_exhaustive()
    }
}

impl VerificationRequest {
    /// A request for a presented secret, without requirements.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            required_scopes: Vec::new(),
            project_id: None,
            any_project: false,
            organization_id: None,
        }
    }

    /// The credential must have this scope too; more calls add more scopes.
    #[must_use]
    pub fn require_scope(mut self, scope: impl Into<String>) -> Self {
        self.required_scopes.push(scope.into());
        self
    }

    /// The credential is used on this project.
    #[must_use]
    pub fn for_project(mut self, id: impl Into<String>) -> Self {
        self.project_id = Some(id.into());
        self
    }

    /// Accepts a credential that is bound to a project although the request names none.
    #[must_use]
    pub fn allow_any_project(mut self) -> Self {
        self.any_project = true;
        self
    }

    /// The credential must belong to this organization.
    #[must_use]
    pub fn require_organization(mut self, id: impl Into<String>) -> Self {
        self.organization_id = Some(id.into());
        self
    }

    /// Everything that the result depends on.
    pub(super) fn digest(&self) -> RequestDigest {
        let mut digest = Sha256::new();
        let mut part = |text: Option<&str>| {
            digest.update([u8::from(text.is_some())]);
            let text = text.unwrap_or_default();
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text.as_bytes());
        };
        part(Some(&self.key));
        part(self.project_id.as_deref());
        part(self.organization_id.as_deref());
        part(self.any_project.then_some(""));
        for scope in &self.required_scopes {
            part(Some(scope));
        }
        digest.finalize().into()
    }
}

/// The result of a verification.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Verification {
    /// Whether the secret is accepted. Nothing else decides.
    pub valid: bool,
    /// Why, or why not: `valid`, `revoked`, `insufficient_scope` and so on.
    pub code: String,
    /// The position of the newest ledger event that the result takes into account.
    pub position: u64,
    /// When a positive result stops being valid by itself, RFC 3339.
    pub valid_until: Option<String>,
    /// The credential, unless it is unknown.
    pub key: Option<VerifiedCredential>,
    /// Whether it came from the cache rather than from the server.
    #[serde(skip)]
    pub from_cache: bool,
}

/// The verified credential; of one that has ended, only what identifies it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct VerifiedCredential {
    /// `key_...`
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// The id of its organization.
    pub organization_id: String,
    /// The one project that it is bound to.
    pub project_id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its scopes.
    pub scopes: Option<Vec<String>>,
    /// Its role.
    pub role: Option<String>,
    /// The member, account or organization that it acts for.
    pub owner: Option<CredentialOwner>,
    /// The id of the secret that was presented.
    pub secret_id: String,
    /// When it expires, RFC 3339.
    pub expires_at: Option<String>,
    /// Its metadata, set by its owner.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// The member, account or organization that a credential acts for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct CredentialOwner {
    /// `organization`, `user` or `service_account`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id.
    pub id: String,
}
