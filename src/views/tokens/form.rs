//! The stored form of a credential: its fields one after the other, in postcard.
//!
//! An owner is tagged within its JSON, which a compact format cannot read back; here it is a plain
//! enumeration. The compiler holds the fields equal to the record's.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::domain::ids::{
    CredentialId, OrganizationId, Owner, ProjectId, ServiceAccountId, UserId,
};
use crate::domain::kind::Kind;
use crate::domain::record::{Credential, Ended, Grant, Metadata, Secret, Stamp};
use crate::domain::time::Timestamp;

/// The bytes of a credential.
pub(super) fn write(record: &Credential) -> Result<Vec<u8>, postcard::Error> {
    struct Form<'a>(&'a Credential);

    impl Serialize for Form<'_> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            Fields::serialize(self.0, to)
        }
    }

    postcard::to_stdvec(&Form(record))
}

/// The credential of these bytes.
pub(super) fn read(bytes: &[u8]) -> Result<Arc<Credential>, postcard::Error> {
    let mut from = postcard::Deserializer::from_bytes(bytes);
    Fields::deserialize(&mut from).map(Arc::new)
}

#[derive(Deserialize, Serialize)]
#[serde(remote = "Credential")]
struct Fields {
    id: CredentialId,
    organization: OrganizationId,
    kind: Kind,
    #[serde(with = "PlainOwner")]
    owner: Owner,
    project: Option<ProjectId>,
    name: Box<str>,
    description: Option<Box<str>>,
    grant: Arc<Grant>,
    metadata: Option<Arc<Metadata>>,
    expires_at: Option<Timestamp>,
    disabled: bool,
    ended: Option<Arc<Ended>>,
    issued_via: Option<CredentialId>,
    secrets: Vec<Secret>,
    stamp: Stamp,
}

#[derive(Deserialize, Serialize)]
#[serde(remote = "Owner")]
enum PlainOwner {
    Organization(OrganizationId),
    User(UserId),
    ServiceAccount(ServiceAccountId),
}
