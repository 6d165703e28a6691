//! Events as earlier programs wrote them, turned into what they mean today.
//!
//! Owns the old forms, which are never written again. Where they hold a type of today, a change of
//! that type gives them one of their own here. Stored bytes stay as they are; only what is read
//! from them is new.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::domain::event::endpoints::{EndpointSecretRotated, NewEndpointSecret};
use crate::domain::event::{
    Fact, KeyCreated, KeyRotated, KeyUpdated, MemberRoleChanged, NewSecret,
};
use crate::domain::ids::{CredentialId, Owner, Principal, ProjectId};
use crate::domain::kind::Kind;
use crate::domain::record::{Grant, Metadata};
use crate::domain::time::Timestamp;

/// Reads the `data` of an older version; `None` if there is no such type or version.
pub(in crate::domain) fn older<'de, D: Deserializer<'de>>(
    name: &str,
    version: u16,
    data: D,
) -> Result<Option<Fact>, D::Error> {
    match (name, version) {
        ("api_key.created", 1) => {
            KeyCreatedV1::deserialize(data).map(|old| Some(KeyCreated::from(old).into()))
        }
        ("api_key.updated", 1) => {
            KeyUpdatedV1::deserialize(data).map(|old| Some(KeyUpdated::from(old).into()))
        }
        ("api_key.rotated", 1) => {
            KeyRotatedV1::deserialize(data).map(|old| Some(KeyRotated::from(old).into()))
        }
        ("member.role_changed", 1) => MemberRoleChangedV1::deserialize(data)
            .map(|old| Some(MemberRoleChanged::from(old).into())),
        ("webhook_endpoint.secret_rotated", 1) => {
            let old = EndpointSecretRotatedV1::deserialize(data);
            old.map(|old| Some(EndpointSecretRotated::from(old).into()))
        }
        (_, _) => IgnoredAny::deserialize(data).map(|IgnoredAny| None),
    }
}

#[cfg(test)]
pub(in crate::domain) fn schemas() -> Vec<crate::domain::tests::schemas::DataSchema> {
    use crate::domain::tests::schemas::DataSchema;
    vec![
        DataSchema::of::<KeyCreatedV1>("api_key.created", 1),
        DataSchema::of::<KeyUpdatedV1>("api_key.updated", 1),
        DataSchema::of::<KeyRotatedV1>("api_key.rotated", 1),
        DataSchema::of::<MemberRoleChangedV1>("member.role_changed", 1),
        DataSchema::of::<EndpointSecretRotatedV1>("webhook_endpoint.secret_rotated", 1),
    ]
}

/// `api_key.created` 1: before credentials could replace each other.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
struct KeyCreatedV1 {
    kind: Kind,
    owner: Owner,
    project_id: Option<ProjectId>,
    name: String,
    description: Option<String>,
    grant: Grant,
    expires_at: Option<Timestamp>,
    metadata: Metadata,
    created_by: Option<Principal>,
    issued_via: Option<CredentialId>,
    secret: NewSecret,
}

impl From<KeyCreatedV1> for KeyCreated {
    fn from(old: KeyCreatedV1) -> Self {
        Self {
            kind: old.kind,
            owner: old.owner,
            project_id: old.project_id,
            name: old.name,
            description: old.description,
            grant: old.grant,
            expires_at: old.expires_at,
            metadata: old.metadata,
            created_by: old.created_by,
            issued_via: old.issued_via,
            replaces: None,
            secret: old.secret,
        }
    }
}

/// `api_key.updated` 1: the same.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
struct KeyUpdatedV1 {
    changed: Vec<String>,
    name: String,
    description: Option<String>,
    role: Option<String>,
    expires_at: Option<Timestamp>,
    metadata: Metadata,
}

impl From<KeyUpdatedV1> for KeyUpdated {
    fn from(old: KeyUpdatedV1) -> Self {
        Self {
            changed: old.changed,
            name: old.name,
            description: old.description,
            role: old.role,
            expires_at: old.expires_at,
            metadata: old.metadata,
            replaced_by: None,
        }
    }
}

/// `api_key.rotated` 1: when every rotation ended all secrets but the newest.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
struct KeyRotatedV1 {
    /// The new secret.
    secret: NewSecret,
    /// When the one before it stops being accepted.
    previous_valid_until: Timestamp,
}

impl From<KeyRotatedV1> for KeyRotated {
    fn from(old: KeyRotatedV1) -> Self {
        Self {
            secret: old.secret,
            previous_valid_until: old.previous_valid_until,
            earlier_kept: false,
        }
    }
}

/// `member.role_changed` 1: when a password outlasted every change of the role.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
struct MemberRoleChangedV1 {
    /// The new role's name.
    role: String,
}

impl From<MemberRoleChangedV1> for MemberRoleChanged {
    fn from(old: MemberRoleChangedV1) -> Self {
        Self {
            role: old.role,
            password_ended: false,
        }
    }
}

/// `webhook_endpoint.secret_rotated` 1: when every rotation ended all secrets but the newest.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
struct EndpointSecretRotatedV1 {
    /// The new secret.
    secret: NewEndpointSecret,
    /// Until when the one before it signs too.
    previous_valid_until: Timestamp,
}

impl From<EndpointSecretRotatedV1> for EndpointSecretRotated {
    fn from(old: EndpointSecretRotatedV1) -> Self {
        Self {
            secret: old.secret,
            previous_valid_until: old.previous_valid_until,
            earlier_kept: false,
        }
    }
}
