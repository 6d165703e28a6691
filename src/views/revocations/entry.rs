//! One entry of the feed: an event after which an earlier answer of a verification may be wrong.
//!
//! Pure: from an event to its entry, the same live and when the log is read again. An entry too
//! many costs a reader one verification; one too few would leave a dead credential accepted, so
//! that an event is in the table unless it certainly changes no answer.
//!
//! | event | effect | of |
//! |---|---|---|
//! | `catalogue.adopted` | changed | all |
//! | `member.role_changed`, `service_account.updated` | changed | the owner's |
//! | `member.removed`, `service_account.deleted` | ended | the owner's |
//! | `service_account.disabled` | disabled | the owner's |
//! | `service_account.enabled` | enabled | the owner's |
//! | `api_key.updated`, `api_key.scopes_edited` | changed | one |
//! | `api_key.rotated` | rotated | one |
//! | `api_key.disabled` | disabled | one |
//! | `api_key.enabled` | enabled | one |
//! | `api_key.revoked` | ended | one |
//! | all others | none | |
//!
//! Events that only create something have no entry (no client can have asked for a secret or
//! project that was not there), what a verification does not show (names of organizations and
//! projects, archives, use), and what is about signing in: sessions are not verified. Time makes no
//! entry either: a positive answer says in `valid_until` when it ends by itself.

use serde::{Serialize, Serializer};

use crate::domain::envelope::Event;
use crate::domain::event::Fact;
use crate::domain::ids::{CredentialId, OrganizationId, Owner, Subject};

/// What became of the credentials of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RevocationEffect {
    /// They ended, for good.
    Ended,
    /// They are refused until they are enabled again.
    Disabled,
    /// They may be accepted again: a negative answer may be wrong.
    Enabled,
    /// There is a new secret, and the old one ends now or soon.
    Rotated,
    /// What they may do, or until when, is another: any answer may be wrong.
    Changed,
}

impl RevocationEffect {
    /// The wire name.
    #[must_use]
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::Rotated => "rotated",
            Self::Changed => "changed",
        }
    }
}

impl Serialize for RevocationEffect {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.wire_name())
    }
}

/// Which credentials an entry is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AffectedCredentials {
    One(CredentialId),
    /// All of an owner. Named are those that were live, live or at the time of reading: what has
    /// ended in between has an entry of its own.
    OfOwner(Owner, Box<[CredentialId]>),
    /// Every credential of every organization.
    All,
}

/// One entry of the feed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevocationEntry {
    /// The event's.
    pub position: u64,
    /// The event's organization; `None` concerns all of them.
    pub organization: Option<OrganizationId>,
    /// What became of the credentials.
    pub effect: RevocationEffect,
    /// Which ones.
    pub affected: AffectedCredentials,
}

impl RevocationEntry {
    /// The entry of an event, if it has one. `live` names an owner's live credentials.
    pub fn from_event(
        event: &Event,
        live: impl FnOnce(Owner) -> Vec<CredentialId>,
    ) -> Option<Self> {
        let effect = effect_of(&event.fact)?;
        let of_owner = |owner| AffectedCredentials::OfOwner(owner, live(owner).into());
        let reach = match event.subject {
            Subject::Credential(id) => AffectedCredentials::One(id),
            Subject::Member(id) => of_owner(Owner::User(id)),
            Subject::ServiceAccount(id) => of_owner(Owner::ServiceAccount(id)),
            Subject::Ledger(_)
            | Subject::Organization(_)
            | Subject::Project(_)
            | Subject::Session(_)
            | Subject::WebhookEndpoint(_) => AffectedCredentials::All,
        };
        Some(Self {
            position: event.position,
            organization: event.organization.map(|place| place.id),
            effect,
            affected: reach,
        })
    }

    /// How many ids it holds, for limits: an entry without any counts as one.
    #[must_use]
    pub fn id_count_at_least_one(&self) -> usize {
        match &self.affected {
            AffectedCredentials::One(_) | AffectedCredentials::All => 1,
            AffectedCredentials::OfOwner(_, keys) => keys.len().max(1),
        }
    }
}

/// What an event does to the answers about credentials; `None`: nothing.
pub(super) const fn effect_of(fact: &Fact) -> Option<RevocationEffect> {
    match fact {
        Fact::CatalogueAdopted(_)
        | Fact::MemberRoleChanged(_)
        | Fact::ServiceAccountUpdated(_)
        | Fact::KeyUpdated(_)
        | Fact::KeyScopesEdited(_) => Some(RevocationEffect::Changed),
        Fact::MemberRemoved(_) | Fact::ServiceAccountDeleted(_) | Fact::KeyRevoked(_) => {
            Some(RevocationEffect::Ended)
        }
        Fact::ServiceAccountDisabled(_) | Fact::KeyDisabled(_) => Some(RevocationEffect::Disabled),
        Fact::ServiceAccountEnabled(_) | Fact::KeyEnabled(_) => Some(RevocationEffect::Enabled),
        Fact::KeyRotated(_) => Some(RevocationEffect::Rotated),
        Fact::LedgerOpened(_)
        | Fact::OrganizationCreated(_)
        | Fact::OrganizationUpdated(_)
        | Fact::ProjectCreated(_)
        | Fact::ProjectUpdated(_)
        | Fact::ProjectArchived(_)
        | Fact::ProjectUnarchived(_)
        | Fact::MemberAdded(_)
        | Fact::MemberUpdated(_)
        | Fact::ServiceAccountCreated(_)
        | Fact::KeyCreated(_)
        | Fact::SignInLinkIssued(_)
        | Fact::SignInFailed(_)
        | Fact::PasswordSet(_)
        | Fact::SessionStarted(_)
        | Fact::SessionEnded(_)
        | Fact::EndedSecretUsed(_)
        | Fact::UsageSealed(_)
        | Fact::KeyExpiring(_)
        | Fact::KeyExpired(_)
        | Fact::EndpointCreated(_)
        | Fact::EndpointUpdated(_)
        | Fact::EndpointSecretRotated(_)
        | Fact::EndpointDisabled(_)
        | Fact::EndpointEnabled(_)
        | Fact::EndpointDeleted(_)
        | Fact::EndpointFailing(_)
        | Fact::LedgerCheckpointed(_)
        | Fact::LedgerRead(_)
        | Fact::SigningKeyRotated(_)
        | Fact::SubjectErased(_)
        | Fact::LedgerRestored(_) => None,
    }
}

/// Types that never have an entry, as named in a stored payload: most events of a log are
/// these, and reading it again passes them by unparsed.
const WITHOUT_ENTRY: [&str; 32] = [
    "ledger.opened",
    "organization.created",
    "organization.updated",
    "project.created",
    "project.updated",
    "project.archived",
    "project.unarchived",
    "member.added",
    "member.updated",
    "service_account.created",
    "api_key.created",
    "member.sign_in_link_issued",
    "member.sign_in_failed",
    "member.password_set",
    "session.started",
    "session.ended",
    "api_key.ended_secret_used",
    "usage.sealed",
    "api_key.expiring",
    "api_key.expired",
    "webhook_endpoint.created",
    "webhook_endpoint.updated",
    "webhook_endpoint.secret_rotated",
    "webhook_endpoint.disabled",
    "webhook_endpoint.enabled",
    "webhook_endpoint.deleted",
    "webhook_endpoint.failing",
    "ledger.checkpointed",
    "ledger.read",
    "signing_key.rotated",
    "subject.erased",
    "ledger.restored",
];

/// Whether events of this type may have an entry; one that is unknown may.
#[must_use]
pub fn may_be_in_feed(name: &str) -> bool {
    !WITHOUT_ENTRY.contains(&name)
}
