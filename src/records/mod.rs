//! Records as clients see them: one type a record, the same wherever it is shown.
//!
//! Owns the public JSON forms, which have neither a secret nor a hash. Must never decide, nor know
//! who asks. Records flow in from views and from folds of the log, their forms out to answers and
//! to the bodies of webhooks.

mod checkpoint;
mod past;
mod session;
mod used;
mod webhook_endpoint;

pub(crate) use checkpoint::CheckpointRecord;
pub(crate) use past::{AcceptedRecord, DeedRecord, DifferenceRecord, DoerRecord};
pub(crate) use session::SessionRecord;
pub(crate) use used::{NOT_TRACKED, Use};
pub(crate) use webhook_endpoint::{ENDPOINT_STATUSES, IssuedEndpoint, WebhookEndpointRecord};

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::config::PublicUrl;
use crate::domain::ids::{
    CredentialId, OrganizationId, Owner, Principal, ServiceAccountId, UserId,
};
use crate::domain::kind::Kind;
use crate::domain::record::{
    Credential, Member, Metadata, Organization, Project, ServiceAccount, Stamp,
};
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::ledger::Answer;
use crate::views::Views;

/// An organization.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrganizationRecord {
    id: String,
    name: String,
    /// What its new tokens begin with.
    token_prefix: String,
    #[serde(flatten)]
    origin: Origin,
}

/// A project.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProjectRecord {
    id: String,
    organization_id: String,
    name: String,
    archived: bool,
    #[serde(flatten)]
    origin: Origin,
}

/// A member.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemberRecord {
    id: String,
    organization_id: String,
    /// Null where it has been erased.
    email: Option<String>,
    name: Option<String>,
    role: String,
    /// `active` or `removed`.
    status: &'static str,
    /// When the person was erased: address, name and network are gone for good.
    erased_at: Option<String>,
    /// In the answer that made it, for a member's session or the platform alone; else null.
    sign_in_url: Option<String>,
    #[serde(flatten)]
    origin: Origin,
}

/// A service account.
#[derive(Serialize, ToSchema)]
pub(crate) struct ServiceAccountRecord {
    id: String,
    organization_id: String,
    name: String,
    /// Made from the first name, never changed.
    slug: String,
    description: String,
    role: Option<String>,
    scopes: Option<Vec<String>>,
    is_active: bool,
    /// `active`, `disabled` or `deleted`.
    status: &'static str,
    #[serde(flatten)]
    origin: Origin,
}

/// What every record has.
#[derive(Serialize, ToSchema)]
struct Origin {
    /// Counts the record's events; its `ETag`.
    version: u32,
    created_by: Option<String>,
    created_at: String,
    updated_at: String,
}

/// A credential: what every kind has.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyRecord {
    id: String,
    kind: &'static str,
    /// `active`, `disabled`, `expired` or `revoked`.
    status: &'static str,
    is_active: bool,
    organization_id: String,
    project_id: Option<String>,
    owner: OwnerRecord,
    name: String,
    /// The name, of the kinds that call it a label.
    label: Option<String>,
    description: String,
    scopes: Vec<String>,
    role: Option<String>,
    preset: Option<String>,
    /// The preset of a project token or the role of an access token, as their surfaces call it.
    scope: Option<String>,
    /// Of an access token: the address of the member behind it, and the ULID of its id.
    token_id: Option<String>,
    /// The token, masked but for its first 10 characters.
    token: String,
    /// The first 12 characters of the token.
    key_prefix: String,
    /// The last 4 characters of the token.
    key_hint: String,
    #[schema(value_type = MetadataPairs)]
    metadata: Metadata,
    expires_at: Option<String>,
    /// When it was last accepted here.
    last_used_at: Option<String>,
    /// When it was last used elsewhere, as a gateway has reported.
    last_reported_at: Option<String>,
    /// `used`, `never_used`, or `not_tracked` where nobody can say.
    usage_status: &'static str,
    /// The credential that made it.
    issued_via: Option<String>,
    /// The one that it was made to replace.
    replaces: Option<String>,
    /// The newest one that was made to replace it.
    replaced_by: Option<String>,
    secrets: Vec<SecretRecord>,
    ended: Option<EndedRecord>,
    #[serde(flatten)]
    origin: Origin,
}

/// Who a credential acts for.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnerRecord {
    /// `organization`, `user` or `service_account`.
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
}

/// The pairs that a credential carries: at most 4,096 bytes, names and values together.
#[derive(ToSchema)]
#[schema(as = Metadata)]
#[expect(dead_code, reason = "describes what is a map of texts")]
pub(crate) struct MetadataPairs(BTreeMap<String, String>);

/// One secret of a credential, without the secret.
#[derive(Serialize, ToSchema)]
struct SecretRecord {
    id: String,
    created_at: String,
    valid_until: Option<String>,
    last_used_at: Option<String>,
}

/// How a credential ended.
#[derive(Serialize, ToSchema)]
struct EndedRecord {
    at: String,
    event_id: String,
    reason: Option<String>,
}

/// A credential with the secret that this answer alone carries.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedKey {
    pub(crate) key: KeyRecord,
    /// The secret; null in a replay of an earlier answer.
    pub(crate) raw_key: Option<String>,
}

/// The statuses of members.
pub(crate) const MEMBER_STATUSES: [&str; 2] = ["active", "removed"];
/// The statuses of service accounts.
pub(crate) const ACCOUNT_STATUSES: [&str; 3] = ["active", "disabled", "deleted"];

/// The status of a member.
pub(crate) fn member_status(record: &Member) -> &'static str {
    if record.removed { "removed" } else { "active" }
}

/// The status of a service account.
pub(crate) fn account_status(record: &ServiceAccount) -> &'static str {
    match (record.deleted, record.disabled) {
        (true, _) => "deleted",
        (false, true) => "disabled",
        (false, false) => "active",
    }
}

/// Where it is looked up who made a record: in the views, or in what was folded of the past.
#[derive(Clone, Copy)]
pub(crate) enum Makers<'a> {
    Views(&'a Views),
    Past(&'a State),
}

impl<'a> From<&'a Views> for Makers<'a> {
    fn from(views: &'a Views) -> Self {
        Self::Views(views)
    }
}

impl<'a> From<&'a State> for Makers<'a> {
    fn from(state: &'a State) -> Self {
        Self::Past(state)
    }
}

impl Makers<'_> {
    fn member(self, of: OrganizationId, id: UserId) -> Option<Arc<Member>> {
        match self {
            Self::Views(views) => views.directory.member(of, id),
            Self::Past(state) => state.member(id).cloned(),
        }
    }

    fn account(self, of: OrganizationId, id: ServiceAccountId) -> Option<Arc<ServiceAccount>> {
        match self {
            Self::Views(views) => views.directory.service_account(of, id),
            Self::Past(state) => state.account(id).cloned(),
        }
    }

    fn credential(self, of: OrganizationId, id: CredentialId) -> Option<Arc<Credential>> {
        match self {
            Self::Views(views) => views.credentials.get(of, id),
            Self::Past(state) => state.credential(id).cloned(),
        }
    }
}

/// Secrets that a record lists, newest ones: history has the rest.
const SECRETS_SHOWN_MAX: usize = 10;

impl From<&Stamp> for Origin {
    fn from(stamp: &Stamp) -> Self {
        Self {
            version: stamp.version,
            created_by: stamp.created_by.map(|by| by.to_string()),
            created_at: stamp.created_at.to_string(),
            updated_at: stamp.updated_at.to_string(),
        }
    }
}

impl From<&Arc<Organization>> for OrganizationRecord {
    fn from(record: &Arc<Organization>) -> Self {
        Self {
            id: record.id.to_string(),
            name: record.name.clone(),
            token_prefix: record.token_prefix.clone(),
            origin: Origin::from(&record.stamp),
        }
    }
}

impl From<&Arc<Project>> for ProjectRecord {
    fn from(record: &Arc<Project>) -> Self {
        Self {
            id: record.id.to_string(),
            organization_id: record.organization.to_string(),
            name: record.name.clone(),
            archived: record.archived,
            origin: Origin::from(&record.stamp),
        }
    }
}

impl From<&Arc<Member>> for MemberRecord {
    fn from(record: &Arc<Member>) -> Self {
        let name = record.name.as_ref().and_then(|name| name.text());
        Self {
            id: record.id.to_string(),
            organization_id: record.organization.to_string(),
            email: record.email.text().map(str::to_owned),
            name: name.map(str::to_owned),
            role: record.role.clone(),
            status: member_status(record),
            erased_at: record.erased_at.map(|at| at.to_string()),
            sign_in_url: None,
            origin: Origin::from(&record.stamp),
        }
    }
}

impl MemberRecord {
    /// The record with the link that the answer alone carries.
    #[must_use]
    pub(crate) fn with_link(mut self, answer: &Answer, public_url: &PublicUrl) -> Self {
        let token = answer.sign_in.as_ref();
        self.sign_in_url = token.map(|token| public_url.sign_in_url(token));
        self
    }
}

impl From<&Arc<ServiceAccount>> for ServiceAccountRecord {
    fn from(record: &Arc<ServiceAccount>) -> Self {
        let status = account_status(record);
        Self {
            id: record.id.to_string(),
            organization_id: record.organization.to_string(),
            name: record.name.clone(),
            slug: record.slug.clone(),
            description: record.description.clone().unwrap_or_default(),
            role: record.role.clone(),
            scopes: record.scopes.clone(),
            is_active: status == "active",
            status,
            origin: Origin::from(&record.stamp),
        }
    }
}

impl KeyRecord {
    /// The record as it stands at `now`.
    pub(crate) fn new<'a>(
        makers: impl Into<Makers<'a>>,
        (record, used): (&Credential, &Use),
        now: Timestamp,
    ) -> Self {
        let makers = makers.into();
        let labelled = record.kind().name_field() == "label";
        let status = record.status(now).name();
        let current = record.secret();
        let prefix = current.shown_prefix();
        let secrets = record.secrets().rev().take(SECRETS_SHOWN_MAX);
        Self {
            id: record.id().to_string(),
            kind: record.kind().name(),
            status,
            is_active: status == "active",
            organization_id: record.organization().to_string(),
            project_id: record.project().map(|id| id.to_string()),
            owner: OwnerRecord::from(record.owner()),
            name: record.name().to_owned(),
            label: labelled.then(|| record.name().to_owned()),
            description: record.description().unwrap_or_default().to_owned(),
            scopes: record.grant().scopes.clone(),
            role: record.grant().role.clone(),
            preset: record.grant().preset.clone(),
            scope: scope(record),
            token_id: (record.kind() == Kind::Access).then(|| token_id(makers, record)),
            token: masked(&prefix),
            key_prefix: prefix,
            key_hint: current.hint.to_string(),
            metadata: record.metadata().cloned().unwrap_or_default(),
            expires_at: record.expires_at().map(|at| at.to_string()),
            last_used_at: used.last_used_at().map(|at| at.to_string()),
            last_reported_at: used.last_reported_at().map(|at| at.to_string()),
            usage_status: used.status(),
            issued_via: record.issued_via().map(|id| id.to_string()),
            replaces: record.replaces().map(|id| id.to_string()),
            replaced_by: record.replaced_by().map(|id| id.to_string()),
            secrets: secrets
                .map(|secret| SecretRecord {
                    id: secret.id.to_string(),
                    created_at: secret.created_at.to_string(),
                    valid_until: secret.valid_until(record).map(|at| at.to_string()),
                    last_used_at: used.secret_last_used_at(secret.id).map(|at| at.to_string()),
                })
                .collect(),
            ended: record.ended().map(|ended| EndedRecord {
                at: ended.at.to_string(),
                event_id: ended.event.to_string(),
                reason: ended.reason.clone(),
            }),
            origin: Origin::from(&record.stamp()),
        }
    }
}

/// What the surface of a kind calls the scope, in the singular.
fn scope(record: &Credential) -> Option<String> {
    let grant = record.grant();
    match record.kind() {
        Kind::Project => grant.preset.clone(),
        Kind::Access => grant.role.clone(),
        Kind::Organization | Kind::Personal | Kind::ServiceAccount | Kind::Admin => None,
    }
}

/// Characters of a token that its masked form shows, and dots that stand for the rest.
const UNMASKED_CHARS: usize = 10;
const MASK: &str = "..........";

fn masked(prefix: &str) -> String {
    let shown: String = prefix.chars().take(UNMASKED_CHARS).collect();
    format!("{shown}{MASK}")
}

/// Steps from a credential to the member behind it: over a service account or a credential to who
/// made that one, and so on.
const STEPS_TO_MEMBER_MAX: usize = 8;
/// Who stands behind a token when nobody does: the operator, or a person who was erased.
const NOBODY: &str = "nobody";

/// `<e-mail of the member behind it>_<ulid>`, put together on reading and nowhere stored.
fn token_id(makers: Makers<'_>, record: &Credential) -> String {
    let email = email_behind(makers, record).unwrap_or_else(|| NOBODY.to_owned());
    format!("{email}_{}", record.id().ulid())
}

fn email_behind(makers: Makers<'_>, record: &Credential) -> Option<String> {
    let organization = record.organization();
    let mut maker = record.stamp().created_by?;
    for _ in 0..STEPS_TO_MEMBER_MAX {
        maker = match maker {
            Principal::User(id) => {
                let member = makers.member(organization, id)?;
                return member.email.text().map(str::to_owned);
            }
            Principal::ServiceAccount(id) => {
                let account = makers.account(organization, id)?;
                account.stamp.created_by?
            }
            Principal::Credential(id) => {
                let key = makers.credential(organization, id)?;
                key.stamp().created_by?
            }
        };
    }
    None
}

impl From<Owner> for OwnerRecord {
    fn from(owner: Owner) -> Self {
        let kind = match owner {
            Owner::Organization(_) => "organization",
            Owner::User(_) => "user",
            Owner::ServiceAccount(_) => "service_account",
        };
        Self {
            kind,
            id: owner.to_string(),
        }
    }
}
