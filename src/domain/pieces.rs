//! The state in pieces: what a snapshot holds, and how it becomes a state again.
//!
//! Pieces are taken while writing goes on. Each record carries the position of its last change, so
//! a replay from the snapshot's own position leaves alone what a record holds already; all indexes
//! are made anew from the records. Personal values are in here in their sealed form alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::catalogue::{CatalogueText, InvalidCatalogue};
use super::digest::Digest32;
use super::envelope::Event;
use super::event::ledger::LedgerRestored;
use super::expiry::Turn;
use super::ids::{
    CredentialId, EndpointId, EventId, LogId, OrganizationId, ProjectId, ServiceAccountId,
    SessionId, UserId,
};
use super::ledger_head::{Checkpointed, LedgerHead, LedgerKey};
use super::record::{
    Credential, Member, Organization, OrganizationHead, Project, ServiceAccount, WebhookEndpoint,
};
use super::session::{Session, SignInMeans};
use super::state::{Remembered, State};
use super::time::Timestamp;

/// What stands once in a ledger.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Once {
    log_id: Option<LogId>,
    origin: String,
    version: u32,
    usage_sealed_to: u64,
    timed_to: Option<Turn>,
    events: u64,
    checkpointed: Option<Checkpointed>,
    vkeys: Arc<Vec<LedgerKey>>,
    restores: Arc<Vec<LedgerRestored>>,
    /// As JSON: the stored form leaves out what snapshots' own encoding could not miss.
    catalogue: String,
    last_at: Option<Timestamp>,
    last_id: Option<EventId>,
}

/// One record of a state.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Piece {
    /// An organization.
    Organization(Arc<Organization>),
    /// The end of its chain.
    Head(Arc<OrganizationHead>),
    /// A project.
    Project(Arc<Project>),
    /// A member.
    Member(Arc<Member>),
    /// A service account.
    Account(Arc<ServiceAccount>),
    /// A credential.
    Credential(Arc<Credential>),
    /// A remembered command.
    Command(Digest32, Arc<Remembered>),
    /// A session.
    Session(Arc<Session>),
    /// A member's link and password.
    SignIn(Arc<SignInMeans>),
    /// A webhook endpoint.
    Endpoint(Arc<WebhookEndpoint>),
}

/// How far the pieces of a state have been taken.
#[derive(Clone, Debug)]
pub enum Taken {
    /// Nothing yet, or up to this organization.
    Organizations(Option<OrganizationId>),
    /// Up to this chain.
    Heads(Option<OrganizationId>),
    /// Up to this project.
    Projects(Option<ProjectId>),
    /// Up to this member.
    Members(Option<UserId>),
    /// Up to this service account.
    Accounts(Option<ServiceAccountId>),
    /// Up to this credential.
    Credentials(Option<CredentialId>),
    /// Up to this session.
    Sessions(Option<SessionId>),
    /// Up to this member's link and password.
    SignIns(Option<UserId>),
    /// Up to this webhook endpoint.
    Endpoints(Option<EndpointId>),
    /// Up to this command.
    Commands(Option<Digest32>),
    /// Everything.
    All,
}

impl Piece {
    /// The position of the newest event that the piece shows.
    #[must_use]
    pub fn position(&self) -> u64 {
        match self {
            Self::Organization(record) => record.stamp.position,
            Self::Head(head) => head.position,
            Self::Project(record) => record.stamp.position,
            Self::Member(record) => record.stamp.position,
            Self::Account(record) => record.stamp.position,
            Self::Credential(record) => record.stamp().position,
            Self::Command(_, remembered) => remembered.last,
            Self::Session(record) => record.stamp.position,
            Self::SignIn(means) => means.position,
            Self::Endpoint(record) => record.stamp.position,
        }
    }
}

impl State {
    /// What stands once, as of now.
    #[must_use]
    pub fn once(&self) -> Once {
        Once {
            log_id: self.ledger.log_id,
            origin: self.ledger.origin.clone(),
            version: self.ledger.version,
            usage_sealed_to: self.ledger.usage_sealed_to,
            timed_to: self.ledger.timed_to,
            events: self.ledger.events,
            checkpointed: self.ledger.checkpointed,
            vkeys: Arc::clone(&self.ledger.vkeys),
            restores: Arc::clone(&self.ledger.restores),
            catalogue: self.catalogue.text().to_json(),
            last_at: self.last_at,
            last_id: self.last_id,
        }
    }

    /// Takes up to `max` settled records after those that `taken` names.
    #[must_use]
    pub fn pieces(&self, taken: &Taken, max: usize) -> (Vec<Piece>, Taken) {
        macro_rules! take {
            ($from:ident, $after:ident, $here:ident, $next:expr, $piece:expr) => {{
                let found: Vec<_> = self.$from.settled_after(*$after).take(max).collect();
                let after = if found.len() < max {
                    $next
                } else {
                    Taken::$here(found.last().map(|(key, _)| *key))
                };
                let pieces = found.into_iter();
                (
                    pieces.map(|(k, v)| $piece(k, Arc::clone(v))).collect(),
                    after,
                )
            }};
            ($from:ident, $after:ident, $here:ident => $next:ident, $piece:ident) => {
                take!($from, $after, $here, Taken::$next(None), |_, v| {
                    Piece::$piece(v)
                })
            };
        }
        match taken {
            Taken::Organizations(after) => {
                take!(organizations, after, Organizations => Heads, Organization)
            }
            Taken::Heads(after) => take!(heads, after, Heads => Projects, Head),
            Taken::Projects(after) => take!(projects, after, Projects => Members, Project),
            Taken::Members(after) => take!(members, after, Members => Accounts, Member),
            Taken::Accounts(after) => take!(accounts, after, Accounts => Credentials, Account),
            Taken::Credentials(after) => {
                take!(credentials, after, Credentials => Sessions, Credential)
            }
            Taken::Sessions(after) => take!(sessions, after, Sessions => SignIns, Session),
            Taken::SignIns(after) => take!(sign_ins, after, SignIns => Endpoints, SignIn),
            Taken::Endpoints(after) => take!(endpoints, after, Endpoints => Commands, Endpoint),
            Taken::Commands(after) => {
                take!(commands, after, Commands, Taken::All, Piece::Command)
            }
            Taken::All => (Vec::new(), Taken::All),
        }
    }

    /// The settled credentials after `after`, in the order of their ids.
    pub fn credentials_after(
        &self,
        after: Option<CredentialId>,
    ) -> impl Iterator<Item = &Arc<Credential>> {
        let settled = self.credentials.settled_after(after);
        settled.map(|(_, record)| record)
    }

    /// A state with what stands once, and no record yet.
    pub fn from_once(once: Once) -> Result<Self, InvalidCatalogue> {
        let mut state = Self::default();
        state.adopt(CatalogueText::from_json(&once.catalogue)?)?;
        state.ledger = LedgerHead {
            log_id: once.log_id,
            origin: once.origin,
            version: once.version,
            usage_sealed_to: once.usage_sealed_to,
            timed_to: once.timed_to,
            events: once.events,
            checkpointed: once.checkpointed,
            vkeys: once.vkeys,
            restores: once.restores,
        };
        state.last_at = once.last_at;
        state.last_id = once.last_id;
        Ok(state)
    }

    /// Puts a record in its place, with the indexes that follow from it. Personal values come
    /// opened.
    pub fn restore(&mut self, piece: Piece) {
        match piece {
            Piece::Organization(record) => self.organizations.restore(record.id, record),
            Piece::Head(head) => self.heads.restore(head.id, head),
            Piece::Project(record) => {
                self.count(record.organization, |counts| counts.projects += 1);
                self.projects.restore(record.id, record);
            }
            Piece::Member(record) => self.restore_member(record),
            Piece::Account(record) => self.restore_account(record),
            Piece::Credential(record) => self.restore_credential(record),
            Piece::Command(command, remembered) => {
                self.commands_staged.push((remembered.first, command));
                self.commands.restore(command, remembered);
            }
            Piece::Session(record) => {
                self.sessions_of.set((record.user, record.id), ());
                self.sessions.restore(record.id, record);
            }
            Piece::SignIn(means) => self.sign_ins.restore(means.user, means),
            Piece::Endpoint(record) => {
                if !record.is_deleted() {
                    self.count(record.organization, |counts| counts.endpoints += 1);
                }
                self.endpoints.restore(record.id, record);
            }
        }
    }

    /// Ends the restoring: what follows from the records is settled.
    pub fn restored(&mut self) {
        drop(self.settle());
    }

    fn restore_member(&mut self, record: Arc<Member>) {
        if !record.removed {
            let is_owner = self.catalogue.is_owner(&record.role);
            self.count(record.organization, |counts| {
                counts.members += 1;
                counts.owners += u64::from(is_owner);
            });
            self.hold_address(&record);
        }
        self.members.restore(record.id, record);
    }

    fn restore_account(&mut self, record: Arc<ServiceAccount>) {
        self.slugs
            .take(record.organization, &record.slug, record.id);
        if !record.deleted {
            self.hold_account_name(&record);
            self.count(record.organization, |counts| counts.service_accounts += 1);
        }
        self.accounts.restore(record.id, record);
    }

    fn restore_credential(&mut self, mut record: Arc<Credential>) {
        if let Some(owned) = Arc::get_mut(&mut record) {
            self.shared.share(owned);
        }
        if record.ended().is_none() {
            let now = self.last_at.unwrap_or_default();
            self.index_live(&record, now);
        }
        self.credentials.restore(record.id(), record);
    }

    /// Whether the state holds what an event did already: a snapshot is taken while writing goes
    /// on, so a record may be ahead of the snapshot's position.
    #[must_use]
    pub(super) fn holds(&self, event: &Event) -> bool {
        let stamp = self.stamp(event.subject);
        stamp.is_some_and(|stamp| stamp.position >= event.position)
    }
}
