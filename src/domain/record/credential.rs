//! A credential as it is kept, millions of times: packed into few bytes, and read by methods.
//!
//! What thousands of credentials have alike stands once, behind [`Common`]; what few credentials
//! have stands apart, behind [`Rare`]. To change a credential, unpack it, change that, and pack it.
//! Equal credentials are packed alike.

use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::{Ended, Grant, Metadata, NoSecret, Secret, Stamp, Status, Unpacked};
use crate::domain::ids::{CredentialId, OrganizationId, Owner, Principal, ProjectId, SecretId};
use crate::domain::kind::Kind;
use crate::domain::secret::{KeyHint, SecretHash};
use crate::domain::settled::Keyed;
use crate::domain::time::Timestamp;

/// A credential of any kind.
///
/// In the order of its fields, so that what a verification reads stands in one cache line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(into = "Unpacked", try_from = "Unpacked")]
#[repr(C)]
pub struct Credential {
    hash: SecretHash,
    rare: Option<Box<Rare>>,
    pub(super) common: Arc<Common>,
    /// [`NEVER`] where it does not expire.
    expires_at: SixBytes,
    secret: SecretId,
    id: CredentialId,
    hint: KeyHint,
    position: SixBytes,
    created_at: SixBytes,
    updated_at: SixBytes,
    version: u32,
    name: CompactString,
}

/// What many credentials have alike.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Common {
    organization: OrganizationId,
    owner: Owner,
    created_by: Option<Principal>,
    issued_via: Option<CredentialId>,
    project: Option<ProjectId>,
    kind: Kind,
    grant: Arc<Grant>,
    prefix: Arc<str>,
}

/// What few credentials have.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Rare {
    description: Option<Box<str>>,
    metadata: Option<Arc<Metadata>>,
    disabled: bool,
    /// [`UNCHANGED`] where it is as it was made.
    expiry_set_at: SixBytes,
    ended: Option<Arc<Ended>>,
    replaces: Option<CredentialId>,
    replaced_by: Option<CredentialId>,
    ended_use_noted_at: Option<Timestamp>,
    /// The secrets before the current one, oldest first.
    older: Vec<Secret>,
    /// When the current secret was made, where not with the credential.
    secret_created_at: Option<Timestamp>,
    /// When the current secret ends by itself.
    secret_ends_at: Option<Timestamp>,
}

/// A number below 2^48: a position, or an instant, which RFC 3339 ends before the year 10000
/// and 2^48 milliseconds after 10800.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct SixBytes([u8; 6]);

/// Later than any instant.
const NEVER: SixBytes = SixBytes([0xff; 6]);
/// Earlier than any event.
const UNCHANGED: SixBytes = SixBytes([0; 6]);

impl Credential {
    #[must_use]
    pub fn id(&self) -> CredentialId {
        self.id
    }

    #[must_use]
    pub fn organization(&self) -> OrganizationId {
        self.common.organization
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.common.kind
    }

    /// Who it acts for.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.common.owner
    }

    /// The one project that it works on.
    #[must_use]
    pub fn project(&self) -> Option<ProjectId> {
        self.common.project
    }

    /// Its name or label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// In words for people.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.rare.as_ref()?.description.as_deref()
    }

    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.common.grant
    }

    /// The owner's pairs.
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        self.rare.as_ref()?.metadata.as_deref()
    }

    /// When it expires.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        (self.expires_at != NEVER).then(|| self.expires_at.instant())
    }

    /// When its expiry was last set: at first when it was made.
    #[must_use]
    pub fn expiry_set_at(&self) -> Timestamp {
        let changed = self.expiry_changed_at();
        changed.unwrap_or_else(|| self.created_at.instant())
    }

    fn expiry_changed_at(&self) -> Option<Timestamp> {
        let changed = self.rare.as_ref()?.expiry_set_at;
        (changed != UNCHANGED).then(|| changed.instant())
    }

    /// Disabled until enabled again.
    #[must_use]
    pub fn disabled(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.disabled)
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        self.rare.as_ref()?.ended.as_deref()
    }

    /// The credential that made it.
    #[must_use]
    pub fn issued_via(&self) -> Option<CredentialId> {
        self.common.issued_via
    }

    /// The one that it was made to replace.
    #[must_use]
    pub fn replaces(&self) -> Option<CredentialId> {
        self.rare.as_ref()?.replaces
    }

    /// The newest one that was made to replace it.
    #[must_use]
    pub fn replaced_by(&self) -> Option<CredentialId> {
        self.rare.as_ref()?.replaced_by
    }

    /// When it was last noted that an ended secret of it was presented.
    #[must_use]
    pub fn ended_use_noted_at(&self) -> Option<Timestamp> {
        self.rare.as_ref()?.ended_use_noted_at
    }

    /// Version, position, origin.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp {
            version: self.version,
            position: self.position.number(),
            created_by: self.common.created_by,
            created_at: self.created_at.instant(),
            updated_at: self.updated_at(),
        }
    }

    /// When its last event happened.
    #[must_use]
    pub fn updated_at(&self) -> Timestamp {
        self.updated_at.instant()
    }

    /// The current secret.
    #[must_use]
    pub fn secret(&self) -> Secret {
        let rare = self.rare.as_deref();
        Secret {
            id: self.secret,
            hash: self.hash,
            prefix: Arc::clone(&self.common.prefix),
            hint: self.hint,
            created_at: rare
                .and_then(|rare| rare.secret_created_at)
                .unwrap_or_else(|| self.created_at.instant()),
            ends_at: rare.and_then(|rare| rare.secret_ends_at),
        }
    }

    /// The current secret's id.
    #[must_use]
    pub fn secret_id(&self) -> SecretId {
        self.secret
    }

    /// The current secret's hash.
    #[must_use]
    pub fn secret_hash(&self) -> &SecretHash {
        &self.hash
    }

    /// When the current secret ends by itself; only an older one does, but for imports.
    #[must_use]
    pub fn secret_ends_at(&self) -> Option<Timestamp> {
        self.rare.as_ref()?.secret_ends_at
    }

    /// The secrets before the current one, oldest first.
    #[must_use]
    pub fn older_secrets(&self) -> &[Secret] {
        self.rare.as_ref().map_or(&[], |rare| &rare.older)
    }

    /// All secrets, oldest first; the last one is the current one.
    pub fn secrets(&self) -> impl DoubleEndedIterator<Item = Secret> {
        let older = self.older_secrets().iter().cloned();
        older.chain([self.secret()])
    }

    /// How many there are.
    #[must_use]
    pub fn secrets_len(&self) -> usize {
        self.older_secrets().len() + 1
    }

    /// The status at `now`; an ending outweighs an expiry, an expiry a disabling.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        if self.ended().is_some() {
            Status::Revoked
        } else if self.expires_at().is_some_and(|at| at <= now) {
            Status::Expired
        } else if self.disabled() {
            Status::Disabled
        } else {
            Status::Active
        }
    }

    /// Whether it has not ended, by anybody or by time.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        match self.status(now) {
            Status::Active | Status::Disabled => true,
            Status::Expired | Status::Revoked => false,
        }
    }

    /// The same with its fields open.
    #[must_use]
    pub fn unpacked(&self) -> Unpacked {
        let rare = self.rare.as_deref();
        Unpacked {
            id: self.id,
            organization: self.common.organization,
            kind: self.common.kind,
            owner: self.common.owner,
            project: self.common.project,
            name: self.name.clone(),
            description: rare.and_then(|rare| rare.description.clone()),
            grant: Arc::clone(&self.common.grant),
            metadata: rare.and_then(|rare| rare.metadata.clone()),
            expires_at: self.expires_at(),
            expiry_set_at: self.expiry_changed_at(),
            disabled: self.disabled(),
            ended: rare.and_then(|rare| rare.ended.clone()),
            issued_via: self.common.issued_via,
            replaces: self.replaces(),
            replaced_by: self.replaced_by(),
            ended_use_noted_at: self.ended_use_noted_at(),
            secrets: self.secrets().collect(),
            stamp: self.stamp(),
        }
    }
}

impl SixBytes {
    fn new(number: u64) -> Self {
        let [a, b, c, d, e, f, 0, 0] = number.to_le_bytes() else {
            return NEVER;
        };
        Self([a, b, c, d, e, f])
    }

    fn at(instant: Timestamp) -> Self {
        Self::new(u64::try_from(instant.0).unwrap_or(0))
    }

    fn number(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    fn instant(self) -> Timestamp {
        let [a, b, c, d, e, f] = self.0;
        Timestamp(i64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }
}

impl Secret {
    /// When this secret stops being accepted: the earlier of its own end and the credential's.
    #[must_use]
    pub fn valid_until(&self, credential: &Credential) -> Option<Timestamp> {
        let ended = credential.ended().map(|ended| ended.at);
        [self.ends_at, credential.expires_at(), ended]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Keyed<CredentialId> for Credential {
    fn key(&self) -> CredentialId {
        self.id
    }
}

impl From<Credential> for Unpacked {
    fn from(credential: Credential) -> Self {
        credential.unpacked()
    }
}

impl TryFrom<Unpacked> for Credential {
    type Error = NoSecret;

    fn try_from(mut open: Unpacked) -> Result<Self, NoSecret> {
        let secret = open.secrets.pop().ok_or(NoSecret)?;
        let rare = Rare {
            description: open.description,
            metadata: open.metadata,
            disabled: open.disabled,
            expiry_set_at: open.expiry_set_at.map_or(UNCHANGED, SixBytes::at),
            ended: open.ended,
            replaces: open.replaces,
            replaced_by: open.replaced_by,
            ended_use_noted_at: open.ended_use_noted_at,
            older: open.secrets,
            secret_created_at: (secret.created_at != open.stamp.created_at)
                .then_some(secret.created_at),
            secret_ends_at: secret.ends_at,
        };
        Ok(Self {
            hash: secret.hash,
            expires_at: open.expires_at.map_or(NEVER, SixBytes::at),
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
            common: Arc::new(Common {
                organization: open.organization,
                owner: open.owner,
                created_by: open.stamp.created_by,
                issued_via: open.issued_via,
                project: open.project,
                kind: open.kind,
                grant: open.grant,
                prefix: secret.prefix,
            }),
            secret: secret.id,
            id: open.id,
            hint: secret.hint,
            version: open.stamp.version,
            position: SixBytes::new(open.stamp.position),
            created_at: SixBytes::at(open.stamp.created_at),
            updated_at: SixBytes::at(open.stamp.updated_at),
            name: open.name,
        })
    }
}

impl Common {
    pub(super) fn interned_mut(&mut self) -> (&mut Arc<Grant>, &mut Arc<str>) {
        (&mut self.grant, &mut self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ulid::Ulid;

    fn secret(id: u128, created_at: i64, ends_at: Option<i64>) -> Secret {
        Secret {
            id: SecretId(Ulid(id)),
            hash: SecretHash([7; 32]),
            prefix: "rfk".into(),
            hint: KeyHint(*b"hint"),
            created_at: Timestamp(created_at),
            ends_at: ends_at.map(Timestamp),
        }
    }

    #[test]
    fn what_is_packed_is_unpacked_again() {
        let organization = OrganizationId(Ulid(1));
        let plain = Unpacked {
            id: CredentialId(Ulid(2)),
            organization,
            kind: Kind::Organization,
            owner: Owner::Organization(organization),
            project: None,
            name: "a name of more than twenty-four bytes".into(),
            description: None,
            grant: Arc::default(),
            metadata: None,
            expires_at: None,
            expiry_set_at: None,
            disabled: false,
            ended: None,
            issued_via: None,
            replaces: None,
            replaced_by: None,
            ended_use_noted_at: None,
            secrets: vec![secret(3, 5, None)],
            stamp: Stamp {
                version: 1,
                position: 9,
                created_by: None,
                created_at: Timestamp(5),
                updated_at: Timestamp(5),
            },
        };
        let rotated = Unpacked {
            project: Some(ProjectId(Ulid(4))),
            description: Some("in words".into()),
            metadata: Some(Arc::new(Metadata::from([("a".into(), "b".into())]))),
            expires_at: Some(Timestamp(1_000)),
            expiry_set_at: Some(Timestamp(90)),
            disabled: true,
            ended_use_noted_at: Some(Timestamp(95)),
            secrets: vec![secret(3, 5, Some(80)), secret(6, 70, Some(90))],
            ..plain.clone()
        };
        for open in [plain.clone(), rotated] {
            let packed = Credential::try_from(open.clone()).unwrap();
            assert_eq!(packed.unpacked(), open);
            assert_eq!(packed.secrets().collect::<Vec<_>>(), open.secrets);
            assert_eq!(packed.secrets_len(), open.secrets.len());
        }
        let none = Unpacked {
            secrets: Vec::new(),
            ..plain
        };
        assert_eq!(Credential::try_from(none), Err(NoSecret));
    }

    #[test]
    fn a_credential_is_small() {
        // With the two counts of its `Arc` and the word before each block: 160.
        assert_eq!(size_of::<Credential>(), 136);
        assert_eq!(size_of::<Rare>(), 152);
    }

    #[test]
    fn six_bytes_hold_every_position_and_instant_of_ours() {
        let latest = Timestamp::parse("9999-12-31T23:59:59.999Z").unwrap();
        for instant in [Timestamp(0), latest] {
            assert_eq!(SixBytes::at(instant).instant(), instant);
        }
        for number in [0, 1, 0x1234_5678_9abc, (1 << 48) - 2] {
            assert_eq!(SixBytes::new(number).number(), number);
        }
        assert_eq!(SixBytes::new(1 << 48), NEVER);
    }
}
