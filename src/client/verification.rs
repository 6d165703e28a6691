//! What is asked about a credential, and what is answered.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What was asked, token and requirements: SHA-256.
pub(super) type Asked = [u8; 32];

/// What to verify.
#[derive(Clone, Serialize)]
pub struct Ask {
    key: String,
    required_scopes: Vec<String>,
    project_id: Option<String>,
    any_project: bool,
    organization_id: Option<String>,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("required_scopes", &self.required_scopes)
            .field("project_id", &self.project_id)
            .finish_non_exhaustive()
    }
}

impl Ask {
    /// Asks about a presented secret.
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

    /// It must have this scope too.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.required_scopes.push(scope.into());
        self
    }

    /// It is used on this project.
    #[must_use]
    pub fn project(mut self, id: impl Into<String>) -> Self {
        self.project_id = Some(id.into());
        self
    }

    /// One that is bound to a project will do though none is named.
    #[must_use]
    pub fn any_project(mut self) -> Self {
        self.any_project = true;
        self
    }

    /// It must be of this organization.
    #[must_use]
    pub fn organization(mut self, id: impl Into<String>) -> Self {
        self.organization_id = Some(id.into());
        self
    }

    /// What stands for the question in the cache: everything that the answer depends on.
    pub(super) fn digest(&self) -> Asked {
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

/// An answer.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Verified {
    /// Whether the secret is accepted. Nothing else decides.
    pub valid: bool,
    /// Why, or why not: `valid`, `revoked`, `insufficient_scope` and so on.
    pub code: String,
    /// Everything up to this position of the ledger has been taken into account.
    pub position: u64,
    /// When a positive answer ends by itself, RFC 3339.
    pub valid_until: Option<String>,
    /// The credential, unless it is unknown.
    pub key: Option<VerifiedKey>,
    /// Whether it was remembered rather than asked for.
    #[serde(skip)]
    pub remembered: bool,
}

/// What is told of a credential; of an ended one, only what it is.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct VerifiedKey {
    /// `key_...`
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Its organization.
    pub organization_id: String,
    /// The one project that it works on.
    pub project_id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its scopes.
    pub scopes: Option<Vec<String>>,
    /// Its role.
    pub role: Option<String>,
    /// Who it acts for.
    pub owner: Option<VerifiedOwner>,
    /// The secret that was presented.
    pub secret_id: String,
    /// When it expires, RFC 3339.
    pub expires_at: Option<String>,
    /// Its owner's pairs.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Who a credential acts for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct VerifiedOwner {
    /// `organization`, `user` or `service_account`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id.
    pub id: String,
}
