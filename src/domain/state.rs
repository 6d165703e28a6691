//! The state that decisions are made on: every record, and the indexes that rules need.
//!
//! `apply` is the only way to change it, live and in replay alike. Changes are staged; the writer
//! settles them when the batch is durable or abandons them. Nothing here is ever shown to a reader:
//! views get the records that [`State::settle`] hands out.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::access::{Authority, OwnerStanding};
use super::catalogue::{Catalogue, InvalidCatalogue};
use super::command::Actor;
use super::digest::Digest32;
use super::expiry::{Seen, Turn};
use super::ids::{
    CredentialId, EndpointId, EventId, OrganizationId, Owner, ProjectId, ServiceAccountId,
    SessionId, Subject, UserId,
};
use super::ledger_head::LedgerHead;
use super::live_credentials::LiveCredentials;
use super::record::{
    Credential, Member, Organization, OrganizationHead, Project, ServiceAccount, Shared, Stamp,
    Status, WebhookEndpoint,
};
use super::rejection::Rejection;
use super::session::{Session, SignInChanges, SignInMeans};
use super::settled::Runs;
use super::slugs::Slugs;
use super::staged::Staged;
use super::time::Timestamp;

/// How many commands with an idempotency key are remembered: at 80 bytes each, 80 MB.
pub const COMMANDS_REMEMBERED: usize = 1_000_000;

/// Counts that limits are checked against.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Members that have not been removed.
    pub members: u64,
    /// Owners among them.
    pub owners: u64,
    /// Projects, archived ones too.
    pub projects: u64,
    /// Service accounts that have not been deleted.
    pub service_accounts: u64,
    /// Webhook endpoints that have not been deleted.
    pub endpoints: u64,
}

/// A command that was answered.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Remembered {
    /// Keyed hash of its body.
    pub digest: Digest32,
    /// Position of its first event.
    pub first: u64,
    /// Position of its last event.
    pub last: u64,
}

/// What stands once in a ledger, as it was before anything was staged.
#[derive(Debug)]
pub(super) struct Before {
    ledger: LedgerHead,
    catalogue: Arc<Catalogue>,
    last_at: Option<Timestamp>,
    last_id: Option<EventId>,
}

/// Every record as of the newest event.
#[derive(Debug, Default)]
pub struct State {
    pub(super) ledger: LedgerHead,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) last_at: Option<Timestamp>,
    pub(super) last_id: Option<EventId>,
    pub(super) before: Option<Before>,
    pub(super) organizations: Staged<OrganizationId, Organization>,
    pub(super) heads: Staged<OrganizationId, OrganizationHead>,
    pub(super) projects: Staged<ProjectId, Project>,
    pub(super) members: Staged<UserId, Member>,
    pub(super) accounts: Staged<ServiceAccountId, ServiceAccount>,
    pub(super) credentials: Staged<CredentialId, Credential, Runs<CredentialId, Credential>>,
    pub(super) counts: Staged<OrganizationId, Counts>,
    /// Addresses of members, folded.
    pub(super) emails: Staged<(OrganizationId, String), UserId>,
    /// Names of live service accounts, folded.
    pub(super) account_names: Staged<(OrganizationId, String), ServiceAccountId>,
    /// Slugs of all service accounts.
    pub(super) slugs: Slugs,
    /// Names of live credentials of the kinds whose names are unique.
    pub(super) key_names: Staged<(Owner, String), CredentialId>,
    /// Which credentials are live, by owner and organization.
    pub(super) live: LiveCredentials,
    /// Sessions that have not been ended.
    pub(super) sessions: Staged<SessionId, Session>,
    /// The same by their member.
    pub(super) sessions_of: Staged<(UserId, SessionId), ()>,
    /// Sessions that the staged events have ended.
    pub(super) sessions_ended: Vec<Arc<Session>>,
    /// Links and passwords.
    pub(super) sign_ins: Staged<UserId, SignInMeans>,
    pub(super) endpoints: Staged<EndpointId, WebhookEndpoint>,
    pub(super) commands: Staged<Digest32, Remembered>,
    /// Remembered commands by the position of their first event.
    pub(super) commands_order: BTreeMap<u64, Digest32>,
    pub(super) commands_staged: Vec<(u64, Digest32)>,
    pub(super) shared: Shared,
}

/// The records that a batch changed, as they are after it.
#[derive(Debug, Default)]
pub struct Changes {
    /// A newly adopted catalogue.
    pub catalogue: Option<Arc<Catalogue>>,
    pub organizations: Vec<Arc<Organization>>,
    pub projects: Vec<Arc<Project>>,
    pub members: Vec<Arc<Member>>,
    pub accounts: Vec<Arc<ServiceAccount>>,
    pub credentials: Vec<Arc<Credential>>,
    /// Sessions, links and passwords.
    pub sign_ins: SignInChanges,
    pub endpoints: Vec<Arc<WebhookEndpoint>>,
    /// The newest event with which all this stands so.
    pub newest: Option<Seen>,
    /// The last notice of an expiry that has been given by then.
    pub timed_to: Option<Turn>,
    /// The ends of the chains of organizations that have had an event.
    pub heads: Vec<Arc<OrganizationHead>>,
}

impl State {
    #[must_use]
    pub fn ledger(&self) -> &LedgerHead {
        &self.ledger
    }

    /// The catalogue in force.
    #[must_use]
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// When the newest event happened.
    #[must_use]
    pub fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    /// The newest event's id; no id in the log is greater.
    #[must_use]
    pub fn last_id(&self) -> Option<EventId> {
        self.last_id
    }

    /// The newest event.
    #[must_use]
    pub fn newest(&self) -> Option<Seen> {
        let (id, at) = (self.last_id?, self.last_at?);
        Some(Seen { id, at })
    }

    #[must_use]
    pub fn organization(&self, id: OrganizationId) -> Option<&Arc<Organization>> {
        self.organizations.get(&id)
    }

    /// The end of an organization's chain; `None` before its first event.
    #[must_use]
    pub fn head(&self, id: OrganizationId) -> Option<&Arc<OrganizationHead>> {
        self.heads.get(&id)
    }

    #[must_use]
    pub fn project(&self, id: ProjectId) -> Option<&Arc<Project>> {
        self.projects.get(&id)
    }

    /// A member, removed ones too.
    #[must_use]
    pub fn member(&self, id: UserId) -> Option<&Arc<Member>> {
        self.members.get(&id)
    }

    /// The members who were erased, of all organizations.
    pub fn erased_members(&self) -> impl Iterator<Item = UserId> {
        let members = self.members.settled_after(None);
        let erased = members.filter(|(_, member)| member.erased_at.is_some());
        erased.map(|(id, _)| id)
    }

    /// A service account, deleted ones too.
    #[must_use]
    pub fn account(&self, id: ServiceAccountId) -> Option<&Arc<ServiceAccount>> {
        self.accounts.get(&id)
    }

    /// A credential, ended ones too.
    #[must_use]
    pub fn credential(&self, id: CredentialId) -> Option<&Arc<Credential>> {
        self.credentials.get(&id)
    }

    /// A webhook endpoint, deleted ones too.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Arc<WebhookEndpoint>> {
        self.endpoints.get(&id)
    }

    /// A session that has not ended, or that the staged events have.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Arc<Session>> {
        let ended = || self.sessions_ended.iter().find(|session| session.id == id);
        self.sessions.get(&id).or_else(ended)
    }

    /// The sessions of a member that have not been ended, oldest first.
    #[must_use]
    pub fn sessions_of(&self, user: UserId) -> Vec<&Session> {
        let first = (user, SessionId(ulid::Ulid(0)));
        let keys = self.sessions_of.keys_from(&first, |(of, _)| *of == user);
        let ids = keys.into_iter().map(|(_, id)| id);
        ids.filter_map(|id| self.sessions.get(&id).map(|session| &**session))
            .collect()
    }

    /// What a member can sign in with.
    #[must_use]
    pub fn sign_in_means(&self, user: UserId) -> Option<&Arc<SignInMeans>> {
        self.sign_ins.get(&user)
    }

    #[must_use]
    pub fn counts(&self, id: OrganizationId) -> Counts {
        self.counts
            .get(&id)
            .map(|counts| **counts)
            .unwrap_or_default()
    }

    /// A command answered before.
    #[must_use]
    pub fn remembered(&self, command: &Digest32) -> Option<&Arc<Remembered>> {
        self.commands.get(command)
    }

    /// The version of a record: its count of events, 0 before the first.
    #[must_use]
    pub fn version(&self, subject: Subject) -> u32 {
        match subject {
            Subject::Ledger(_) => self.ledger.version,
            Subject::Organization(_)
            | Subject::Project(_)
            | Subject::Member(_)
            | Subject::ServiceAccount(_)
            | Subject::Credential(_)
            | Subject::Session(_)
            | Subject::WebhookEndpoint(_) => self.stamp(subject).map_or(0, |stamp| stamp.version),
        }
    }

    /// The stamp of a record; the ledger itself has none.
    pub(super) fn stamp(&self, subject: Subject) -> Option<Stamp> {
        match subject {
            Subject::Ledger(_) => None,
            Subject::Organization(id) => self.organization(id).map(|record| record.stamp),
            Subject::Project(id) => self.project(id).map(|record| record.stamp),
            Subject::Member(id) => self.member(id).map(|record| record.stamp),
            Subject::ServiceAccount(id) => self.account(id).map(|record| record.stamp),
            Subject::Credential(id) => self.credential(id).map(|record| record.stamp()),
            Subject::Session(id) => self.session(id).map(|record| record.stamp),
            Subject::WebhookEndpoint(id) => self.endpoint(id).map(|record| record.stamp),
        }
    }

    /// How a credential's owner stands.
    #[must_use]
    pub fn standing(&self, owner: Owner) -> OwnerStanding<'_> {
        match owner {
            Owner::Organization(_) => OwnerStanding::Organization,
            Owner::User(id) => self
                .member(id)
                .map_or(OwnerStanding::Unknown, |m| OwnerStanding::Member(m)),
            Owner::ServiceAccount(id) => {
                self.account(id).map_or(OwnerStanding::Unknown, |account| {
                    OwnerStanding::ServiceAccount(account)
                })
            }
        }
    }

    /// The actor's authority at `now`, unless it has ended since it was presented.
    pub fn authority(&self, actor: Actor, now: Timestamp) -> Result<Authority, Rejection> {
        let (credential, secret) = match actor {
            Actor::Operator => return Ok(Authority::operator(&self.catalogue)),
            Actor::Anonymous | Actor::System => return Err(Rejection::CredentialNotAccepted),
            Actor::Session(id) => return self.session_authority(id, now),
            Actor::Bearer { credential, secret } => (self.credential(credential), secret),
        };
        let credential = credential.ok_or(Rejection::CredentialNotAccepted)?;
        let secret = credential.secrets().find(|known| known.id == secret);
        let live = secret.is_some_and(|secret| secret.ends_at.is_none_or(|at| at > now));
        let standing = self.standing(credential.owner());
        if live && credential.status(now) == Status::Active && standing.is_active() {
            Ok(Authority::of_credential(
                credential,
                &standing,
                &self.catalogue,
            ))
        } else {
            Err(Rejection::CredentialNotAccepted)
        }
    }

    fn session_authority(&self, id: SessionId, now: Timestamp) -> Result<Authority, Rejection> {
        let session = self.session(id).filter(|session| session.is_live(now));
        let member = session.and_then(|session| self.member(session.user));
        let member = member.filter(|member| !member.removed);
        let member = member.ok_or(Rejection::CredentialNotAccepted)?;
        Ok(Authority::of_session(id, member, &self.catalogue))
    }

    /// The credentials of a member or a service account that are live at `now`, oldest first. What
    /// has expired has ended by itself.
    #[must_use]
    pub fn live_credentials_of(&self, owner: Owner, now: Timestamp) -> Vec<CredentialId> {
        self.live.of_owner(owner, now)
    }

    /// Makes what is staged permanent and hands out what changed.
    pub fn settle(&mut self) -> Changes {
        let heads = self.heads.settle();
        self.counts.settle();
        self.emails.settle();
        self.account_names.settle();
        self.slugs.settle();
        self.key_names.settle();
        self.live.settle();
        self.sessions_of.settle();
        self.commands_order
            .extend(mem::take(&mut self.commands_staged));
        while self.commands_order.len() > COMMANDS_REMEMBERED {
            if let Some((_, oldest)) = self.commands_order.pop_first() {
                self.commands.remove(oldest);
            }
        }
        self.commands.settle();
        let mut sessions = self.sessions.settle();
        sessions.append(&mut self.sessions_ended);
        let means = self.sign_ins.settle();
        let before = self.before.take();
        let adopted = before.is_some_and(|old| !Arc::ptr_eq(&old.catalogue, &self.catalogue));
        Changes {
            catalogue: adopted.then(|| Arc::clone(&self.catalogue)),
            organizations: self.organizations.settle(),
            projects: self.projects.settle(),
            members: self.members.settle(),
            accounts: self.accounts.settle(),
            credentials: self.credentials.settle(),
            sign_ins: SignInChanges { sessions, means },
            endpoints: self.endpoints.settle(),
            newest: self.newest(),
            timed_to: self.ledger.timed_to,
            heads,
        }
    }

    /// Notes what stands once in a ledger, before the first event since the last batch changes it.
    pub(super) fn begin(&mut self) {
        if self.before.is_none() {
            self.before = Some(Before {
                ledger: self.ledger.clone(),
                catalogue: Arc::clone(&self.catalogue),
                last_at: self.last_at,
                last_id: self.last_id,
            });
        }
    }

    /// Drops what is staged.
    pub fn abandon(&mut self) {
        if let Some(before) = self.before.take() {
            self.ledger = before.ledger;
            self.catalogue = before.catalogue;
            self.last_at = before.last_at;
            self.last_id = before.last_id;
        }
        self.organizations.abandon();
        self.heads.abandon();
        self.projects.abandon();
        self.members.abandon();
        self.accounts.abandon();
        self.credentials.abandon();
        self.counts.abandon();
        self.emails.abandon();
        self.account_names.abandon();
        self.slugs.abandon();
        self.key_names.abandon();
        self.live.abandon();
        self.sessions.abandon();
        self.sessions_of.abandon();
        self.sessions_ended.clear();
        self.sign_ins.abandon();
        self.endpoints.abandon();
        self.commands.abandon();
        self.commands_staged.clear();
    }

    /// Puts a catalogue in force.
    pub(super) fn adopt(
        &mut self,
        text: super::catalogue::CatalogueText,
    ) -> Result<(), InvalidCatalogue> {
        self.catalogue = Arc::new(Catalogue::check(text)?);
        Ok(())
    }

    /// Every settled record: what the views in RAM are built from at start.
    #[must_use]
    pub fn everything(&self) -> Changes {
        Changes {
            catalogue: Some(Arc::clone(&self.catalogue)),
            organizations: self.organizations.settled(),
            projects: self.projects.settled(),
            members: self.members.settled(),
            accounts: self.accounts.settled(),
            credentials: self.credentials.settled(),
            sign_ins: SignInChanges {
                sessions: self.sessions.settled(),
                means: self.sign_ins.settled(),
            },
            endpoints: self.endpoints.settled(),
            newest: self.newest(),
            timed_to: self.ledger.timed_to,
            heads: self.heads.settled(),
        }
    }
}
