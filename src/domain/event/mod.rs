//! The facts: one type an event, and the table of their wire names and versions.
//!
//! Stored forms are frozen once written. A new version is a new row and a new type; the old type
//! stays, and is turned into the new one on reading.

pub mod endpoints;
mod expiry;
pub mod ledger;
pub(in crate::domain) mod older;

pub use expiry::{KeyExpired, KeyExpiring};

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::catalogue::CatalogueText;
use crate::domain::digest::Digest32;
use crate::domain::event::endpoints::{
    EndpointCreated, EndpointDeleted, EndpointDisabled, EndpointEnabled, EndpointFailing,
    EndpointSecretRotated, EndpointUpdated,
};
use crate::domain::event::ledger::{
    LedgerCheckpointed, LedgerRead, LedgerRestored, SigningKeyRotated, SubjectErased,
};
use crate::domain::ids::{
    CredentialId, EventId, LogId, Owner, Principal, ProjectId, SecretId, UserId,
};
use crate::domain::kind::Kind;
use crate::domain::personal::Personal;
use crate::domain::record::{Grant, Metadata, Secret};
use crate::domain::secret::{KeyHint, SecretHash};
use crate::domain::session::{SessionEnd, SignedInBy};
use crate::domain::time::Timestamp;

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $wire:literal $version:literal,)*) => {
        /// What happened.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Fact {
            $($(#[$doc])* $name($name),)*
        }

        impl Fact {
            /// Wire name and version of every type.
            pub const TYPES: &'static [(&'static str, u16)] = &[$(($wire, $version),)*];

            /// The wire name.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => $wire,)* }
            }

            /// The version in which it is written.
            #[must_use]
            pub const fn version(&self) -> u16 {
                match self { $(Self::$name(_) => $version,)* }
            }

            /// Reads the `data` of a stored event in the version that is written today; `older`
            /// reads all else.
            pub fn read<'de, D: Deserializer<'de>>(
                name: &str,
                version: u16,
                data: D,
                older: impl FnOnce(D) -> Result<Option<Self>, D::Error>,
            ) -> Result<Option<Self>, D::Error> {
                match (name, version) {
                    $(($wire, $version) => {
                        $name::deserialize(data).map(|read| Some(Self::$name(read)))
                    })*
                    (_, _) => older(data),
                }
            }
        }

        #[cfg(test)]
        impl Fact {
            pub(in crate::domain) fn schemas() -> Vec<crate::domain::tests::schemas::DataSchema> {
                vec![$(crate::domain::tests::schemas::DataSchema::of::<$name>($wire, $version),)*]
            }
        }

        $(impl From<$name> for Fact {
            fn from(data: $name) -> Self {
                Self::$name(data)
            }
        })*
    };
}

events! {
    /// The ledger was made.
    LedgerOpened = "ledger.opened" 1,
    /// A catalogue came into force.
    CatalogueAdopted = "catalogue.adopted" 1,
    /// An organization was made.
    OrganizationCreated = "organization.created" 1,
    /// Its name or token prefix changed.
    OrganizationUpdated = "organization.updated" 1,
    /// A project was made.
    ProjectCreated = "project.created" 1,
    /// Its name changed.
    ProjectUpdated = "project.updated" 1,
    /// It was put away.
    ProjectArchived = "project.archived" 1,
    /// It was taken out again.
    ProjectUnarchived = "project.unarchived" 1,
    /// A member joined.
    MemberAdded = "member.added" 1,
    /// A member's role changed.
    MemberRoleChanged = "member.role_changed" 2,
    /// A membership ended.
    MemberRemoved = "member.removed" 1,
    /// A service account was made.
    ServiceAccountCreated = "service_account.created" 1,
    /// Its name, description, role or scopes changed.
    ServiceAccountUpdated = "service_account.updated" 1,
    /// It was made inactive.
    ServiceAccountDisabled = "service_account.disabled" 1,
    /// It was made active again.
    ServiceAccountEnabled = "service_account.enabled" 1,
    /// It was deleted.
    ServiceAccountDeleted = "service_account.deleted" 1,
    /// A credential was made.
    KeyCreated = "api_key.created" 2,
    /// Its name, label, description, role, expiry, metadata or replacement changed.
    KeyUpdated = "api_key.updated" 2,
    /// Its scopes changed.
    KeyScopesEdited = "api_key.scopes_edited" 1,
    /// It got a new secret.
    KeyRotated = "api_key.rotated" 2,
    /// It was disabled.
    KeyDisabled = "api_key.disabled" 1,
    /// It was enabled again.
    KeyEnabled = "api_key.enabled" 1,
    /// It ended.
    KeyRevoked = "api_key.revoked" 1,
    /// A member got a link to sign in with.
    SignInLinkIssued = "member.sign_in_link_issued" 1,
    /// Somebody did not know a member's password.
    SignInFailed = "member.sign_in_failed" 1,
    /// A member set a password.
    PasswordSet = "member.password_set" 1,
    /// A member signed in.
    SessionStarted = "session.started" 1,
    /// A session ended.
    SessionEnded = "session.ended" 1,
    /// Somebody presented a secret of it that has ended.
    EndedSecretUsed = "api_key.ended_secret_used" 1,
    /// Whole segments of the usage history were sealed.
    UsageSealed = "usage.sealed" 1,
    /// Its time is nearly over.
    KeyExpiring = "api_key.expiring" 1,
    /// Its time is over.
    KeyExpired = "api_key.expired" 1,
    /// A webhook endpoint was made.
    EndpointCreated = "webhook_endpoint.created" 1,
    /// Its address, description, filter or order changed.
    EndpointUpdated = "webhook_endpoint.updated" 1,
    /// It got a new signing secret.
    EndpointSecretRotated = "webhook_endpoint.secret_rotated" 2,
    /// It was disabled.
    EndpointDisabled = "webhook_endpoint.disabled" 1,
    /// It was enabled again.
    EndpointEnabled = "webhook_endpoint.enabled" 1,
    /// It was deleted.
    EndpointDeleted = "webhook_endpoint.deleted" 1,
    /// Deliveries to it do nothing but fail.
    EndpointFailing = "webhook_endpoint.failing" 1,
    /// A signed checkpoint was told of.
    LedgerCheckpointed = "ledger.checkpointed" 1,
    /// Somebody read across records.
    LedgerRead = "ledger.read" 1,
    /// Another key signs checkpoints.
    SigningKeyRotated = "signing_key.rotated" 1,
    /// A person's values are gone.
    SubjectErased = "subject.erased" 1,
    /// The ledger was put back from an older copy.
    LedgerRestored = "ledger.restored" 1,
    /// A member's address or name changed.
    MemberUpdated = "member.updated" 1,
}

macro_rules! data {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
        #[cfg_attr(test, derive(utoipa::ToSchema))]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* })*
    };
}

data! {
    /// `ledger.opened`: its identity, for ever.
    LedgerOpened {
        /// The log's id, as in every segment.
        log_id: LogId,
        /// The origin of its checkpoints.
        origin: String,
        /// The verifier key of its first signing key.
        vkey: String,
    }

    /// `catalogue.adopted`: the whole catalogue.
    CatalogueAdopted {
        /// All of it, so that a replay needs no file.
        catalogue: CatalogueText,
    }

    /// `organization.created`.
    OrganizationCreated {
        /// Its name.
        name: String,
        /// What its tokens begin with.
        token_prefix: String,
        /// Who made it.
        created_by: Option<Principal>,
    }

    /// `organization.updated`: what is null did not change.
    OrganizationUpdated {
        /// The new name.
        name: Option<String>,
        /// The new prefix.
        token_prefix: Option<String>,
    }

    /// `project.created`.
    ProjectCreated {
        /// Its name.
        name: String,
        /// Who made it.
        created_by: Option<Principal>,
    }

    /// `project.updated`.
    ProjectUpdated {
        /// The new name.
        name: String,
    }

    /// `project.archived`.
    ProjectArchived {}

    /// `project.unarchived`.
    ProjectUnarchived {}

    /// `member.added`: the person's values are sealed under a key of their own.
    MemberAdded {
        /// The e-mail address, sealed.
        email: Personal,
        /// The name, sealed.
        name: Option<Personal>,
        /// The role's name.
        role: String,
        /// Who added the member.
        created_by: Option<Principal>,
    }

    /// `member.updated`: address and name as they are afterwards, both sealed anew.
    MemberUpdated {
        /// What changed: email, name.
        changed: Vec<String>,
        /// The e-mail address, sealed.
        email: Personal,
        /// The name, sealed.
        name: Option<Personal>,
    }

    /// `member.role_changed`.
    MemberRoleChanged {
        /// The new role's name.
        role: String,
        /// Whether the member's password ended with it: the new role allows more than the old one.
        password_ended: bool,
    }

    /// `member.removed`: the member's tokens end in the same batch.
    MemberRemoved {}

    /// `service_account.created`.
    ServiceAccountCreated {
        /// Its name.
        name: String,
        /// Made from the name, never changed.
        slug: String,
        /// In words.
        description: Option<String>,
        /// The role's name.
        role: Option<String>,
        /// What its tokens may carry.
        scopes: Option<Vec<String>>,
        /// Who made it.
        created_by: Option<Principal>,
    }

    /// `service_account.updated`: the whole of what can be edited, as it is afterwards.
    ServiceAccountUpdated {
        /// What changed.
        changed: Vec<String>,
        /// The name.
        name: String,
        /// The description.
        description: Option<String>,
        /// The role's name.
        role: Option<String>,
        /// The scopes.
        scopes: Option<Vec<String>>,
    }

    /// `service_account.disabled`.
    ServiceAccountDisabled {}

    /// `service_account.enabled`.
    ServiceAccountEnabled {}

    /// `service_account.deleted`: its tokens end in the same batch.
    ServiceAccountDeleted {}

    /// A secret as it is stored.
    NewSecret {
        /// `sec_` and the ULID that stands in the token.
        id: SecretId,
        /// SHA-256 of the token.
        hash: SecretHash,
        /// What the token begins with.
        prefix: String,
        /// The token's last four characters.
        hint: KeyHint,
    }

    /// `api_key.created`.
    KeyCreated {
        /// Its kind.
        kind: Kind,
        /// Who it acts for.
        owner: Owner,
        /// The one project that it works on.
        project_id: Option<ProjectId>,
        /// Its name or label.
        name: String,
        /// In words.
        description: Option<String>,
        /// Scopes, role or preset.
        grant: Grant,
        /// When it expires.
        expires_at: Option<Timestamp>,
        /// The owner's pairs.
        metadata: Metadata,
        /// Who made it.
        created_by: Option<Principal>,
        /// The credential that made it.
        issued_via: Option<CredentialId>,
        /// The one that it was made to replace.
        replaces: Option<CredentialId>,
        /// The first secret.
        secret: NewSecret,
    }

    /// `api_key.updated`: the whole of what can be edited, as it is afterwards.
    KeyUpdated {
        /// What changed: name, label, description, role, expiry, metadata, `replaced_by`.
        changed: Vec<String>,
        /// The name or label.
        name: String,
        /// The description.
        description: Option<String>,
        /// The role's name, of an access token.
        role: Option<String>,
        /// The expiry.
        expires_at: Option<Timestamp>,
        /// The pairs.
        metadata: Metadata,
        /// The newest one that was made to replace it.
        replaced_by: Option<CredentialId>,
    }

    /// `api_key.scopes_edited`.
    KeyScopesEdited {
        /// The scopes afterwards.
        scopes: Vec<String>,
    }

    /// `api_key.rotated`.
    KeyRotated {
        /// The new secret.
        secret: NewSecret,
        /// When the one before it stops being accepted.
        previous_valid_until: Timestamp,
        /// Whether the secrets before that one keep the ends that they were promised; else they
        /// end with the rotation.
        earlier_kept: bool,
    }

    /// `api_key.disabled`.
    KeyDisabled {}

    /// `api_key.enabled`.
    KeyEnabled {}

    /// `api_key.revoked`.
    KeyRevoked {
        /// Why, in a person's words.
        reason: Option<String>,
        /// The event that this one follows from, in a cascade.
        cause: Option<EventId>,
    }

    /// `member.sign_in_link_issued`: it ends the link before.
    SignInLinkIssued {
        /// SHA-256 of the link's token.
        hash: SecretHash,
        /// When it can no longer be used.
        expires_at: Timestamp,
    }

    /// `member.sign_in_failed`: at most one a minute for one address of the network.
    SignInFailed {
        /// Attempts since the last such event.
        failures: u32,
    }

    /// `member.password_set`: all the member's sessions end in the same batch.
    PasswordSet {
        /// Its argon2id hash, sealed under the person's key.
        password: Personal,
    }

    /// `session.started`; one that began by a link has used it.
    SessionStarted {
        /// The member.
        user_id: UserId,
        /// SHA-256 of its token.
        hash: SecretHash,
        /// What the member signed in with.
        by: SignedInBy,
        /// When its time is over.
        expires_at: Timestamp,
    }

    /// `session.ended`.
    SessionEnded {
        /// Why.
        reason: SessionEnd,
        /// The event that this one follows from, in a cascade.
        cause: Option<EventId>,
    }

    /// `api_key.ended_secret_used`: at most one an hour for a credential.
    EndedSecretUsed {
        /// The secret that was presented last.
        secret_id: SecretId,
        /// Why it is not accepted.
        code: EndedCode,
        /// How often ended secrets of the credential were presented since the last such event.
        uses: u64,
        /// When for the first time.
        first_at: Timestamp,
        /// When for the last time.
        last_at: Timestamp,
    }

    /// `usage.sealed`: what anchors the usage history in the log.
    UsageSealed {
        /// Address in the usage stream at which the first of the segments begins.
        from: u64,
        /// Address at which the last of them ends.
        to: u64,
        /// How many segments.
        segments: u32,
        /// How many records are in them.
        records: u64,
        /// The instant of the earliest record.
        first_at: Timestamp,
        /// The instant of the latest one.
        last_at: Timestamp,
        /// SHA-256 of the segments' SHA-256 digests, in their order.
        digest: Digest32,
    }
}

/// Why a secret that has ended is not accepted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EndedCode {
    /// The credential was ended.
    Revoked,
    /// A rotation ended the secret.
    Rotated,
    /// The credential's time is over.
    Expired,
}

impl NewSecret {
    /// The secret as the record keeps it.
    #[must_use]
    pub fn record(&self, prefix: Arc<str>, created_at: Timestamp) -> Secret {
        Secret {
            id: self.id,
            hash: self.hash,
            prefix,
            hint: self.hint,
            created_at,
            ends_at: None,
        }
    }
}
