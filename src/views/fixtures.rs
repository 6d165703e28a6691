//! Records for the tests of views, made by hand.

use std::sync::Arc;

use ulid::Ulid;

use crate::domain::access::Authority;
use crate::domain::catalogue::Catalogue;
use crate::domain::ids::{CredentialId, EventId, OrganizationId, Owner, SecretId};
use crate::domain::kind::Kind;
use crate::domain::record::{Credential, Ended, Grant, Secret, Stamp, Unpacked};
use crate::domain::secret::Token;
use crate::domain::time::Timestamp;

use super::index::{VerificationIndex, VerificationQuery, VerificationResult};

pub(super) fn stamp(version: u32, at: Timestamp) -> Stamp {
    Stamp {
        version,
        position: 0,
        created_by: None,
        created_at: at,
        updated_at: at,
    }
}

/// The token of a secret, the same every time.
pub(super) fn token(id: SecretId) -> String {
    let token = Token::compose(
        "rfk",
        id,
        &[id.ulid().to_bytes(), id.ulid().to_bytes()]
            .concat()
            .try_into()
            .unwrap(),
    );
    token.reveal().to_owned()
}

pub(super) fn secret(id: u128, at: Timestamp) -> Secret {
    let id = SecretId(Ulid(id));
    let token = Token::compose(
        "rfk",
        id,
        &[id.ulid().to_bytes(), id.ulid().to_bytes()]
            .concat()
            .try_into()
            .unwrap(),
    );
    Secret {
        id,
        hash: token.hash(),
        prefix: "rfk".into(),
        hint: token.hint(),
        created_at: at,
        ends_at: None,
    }
}

/// Credential `id` of organization `of`, made at 0, with one secret of the same number.
pub(super) fn credential(of: u128, id: u128) -> Unpacked {
    let organization = OrganizationId(Ulid(of));
    Unpacked {
        id: CredentialId(Ulid(id)),
        organization,
        kind: Kind::Organization,
        owner: Owner::Organization(organization),
        project: None,
        name: format!("Key {id}").into(),
        description: None,
        grant: Arc::new(grant(&["issues:read"])),
        metadata: None,
        expires_at: None,
        expiry_set_at: None,
        disabled: false,
        ended: None,
        issued_via: None,
        replaces: None,
        replaced_by: None,
        ended_use_noted_at: None,
        secrets: vec![secret(id, Timestamp(0))],
        stamp: stamp(1, Timestamp(0)),
    }
}

pub(super) fn packed(record: &Unpacked) -> Arc<Credential> {
    Arc::new(record.clone().try_into().unwrap())
}

pub(super) fn grant(scopes: &[&str]) -> Grant {
    Grant {
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..Grant::default()
    }
}

pub(super) fn ended(at: Timestamp) -> Arc<Ended> {
    Arc::new(Ended {
        at,
        event: EventId(Ulid(1)),
        reason: None,
    })
}

/// Verifies for the operator at 1, asking for nothing in particular.
pub(super) fn verify_as_operator(index: &VerificationIndex, key: &str) -> VerificationResult {
    let authority = Authority::operator(&Catalogue::default());
    let ask = VerificationQuery {
        authority: &authority,
        key,
        required_scopes: &[],
        project: None,
        any_project: false,
        organization: None,
    };
    index.verify(&ask, Timestamp(1))
}
