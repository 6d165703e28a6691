//! Applying events: the one fold, live and in replay alike.
//!
//! An event changes the one record that is its subject. Applying never fails for reasons of rules:
//! what stands in the log has happened. It fails only where an event names a record that no earlier
//! event made, which no log of ours does.

mod endpoints;
mod keys;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::canonical::{address_key, name_key};
use crate::domain::digest::Digest32;
use crate::domain::envelope::Event;
use crate::domain::event::ledger::SigningKeyRotated;
use crate::domain::event::{
    Fact, MemberAdded, MemberUpdated, ServiceAccountCreated, ServiceAccountUpdated,
};
use crate::domain::expiry::Turn;
use crate::domain::ids::{OrganizationId, Principal, ProjectId, ServiceAccountId, Subject, UserId};
use crate::domain::ledger_head::{Checkpointed, LedgerKey};
use crate::domain::record::{
    Member, Organization, OrganizationHead, Project, ServiceAccount, Stamp,
};
use crate::domain::state::{Counts, Remembered, State};

/// An event that does not fit the events before it.
#[derive(Debug, thiserror::Error)]
#[error("event {position} ({name}) does not fit: {why}")]
pub struct Misfit {
    pub position: u64,
    /// Its type.
    pub name: &'static str,
    /// What is wrong.
    pub why: &'static str,
}

impl State {
    /// Stages what an event changes. `commitment` is SHA-256 of its payload.
    pub fn apply(&mut self, event: &Event, commitment: Digest32) -> Result<(), Misfit> {
        self.begin();
        self.apply_means(event);
        // A snapshot taken while writing went on may be ahead of its own position.
        if self.holds(event) {
            self.apply_place(event, commitment);
            return Ok(());
        }
        self.apply_fact(event).map_err(|why| Misfit {
            position: event.position,
            name: event.fact.name(),
            why,
        })?;
        self.apply_place(event, commitment);
        Ok(())
    }

    /// What an event changes beside its subject: the time, the notices given, its
    /// organization's chain, its command.
    fn apply_place(&mut self, event: &Event, commitment: Digest32) {
        self.last_at = self.last_at.max(Some(event.occurred_at));
        self.last_id = self.last_id.max(Some(event.id));
        self.ledger.timed_to = self.ledger.timed_to.max(Turn::of(event));
        self.ledger.events = self.ledger.events.max(event.position + 1);
        if let Some(place) = event.organization
            && self
                .head(place.id)
                .is_none_or(|head| head.position < event.position)
        {
            let head = OrganizationHead {
                id: place.id,
                sequence: place.sequence,
                commitment: commitment.0,
                position: event.position,
            };
            self.heads.set(place.id, head);
        }
        let (Some(command), Some(digest)) = (event.command_id, event.command_digest) else {
            return;
        };
        let last = event.position;
        let known = self.commands.get(&command);
        if known.is_some_and(|known| known.last >= last) {
            return;
        }
        let first = known
            .filter(|known| known.last + 1 == last)
            .map_or(last, |known| known.first);
        if first == last {
            self.commands_staged.push((first, command));
        }
        self.commands.set(
            command,
            Remembered {
                digest,
                first,
                last,
            },
        );
    }

    fn apply_fact(&mut self, event: &Event) -> Result<(), &'static str> {
        match (event.subject, &event.fact) {
            (Subject::Ledger(_), fact) => self.apply_to_ledger(event, fact),
            (Subject::Organization(id), fact) => self.apply_to_organization(id, event, fact),
            (Subject::Project(id), fact) => self.apply_to_project(id, event, fact),
            (Subject::Member(id), fact) => self.apply_to_member(id, event, fact),
            (Subject::ServiceAccount(id), fact) => self.apply_to_account(id, event, fact),
            (Subject::Credential(id), Fact::KeyCreated(data)) => self.key_created(id, event, data),
            (Subject::Credential(id), fact) => self.apply_to_key(id, event, fact),
            (Subject::Session(id), fact) => self.apply_to_session(id, event, fact),
            (Subject::WebhookEndpoint(id), fact) => self.apply_to_endpoint(id, event, fact),
        }
    }

    fn apply_to_ledger(&mut self, event: &Event, fact: &Fact) -> Result<(), &'static str> {
        if let Fact::LedgerOpened(data) = fact {
            self.ledger.log_id = Some(data.log_id);
            self.ledger.origin.clone_from(&data.origin);
            self.ledger.vkeys = Arc::new(vec![LedgerKey {
                vkey: data.vkey.clone(),
                named_at: event.position,
                signs_until: None,
            }]);
        } else if let Fact::CatalogueAdopted(data) = fact {
            self.adopt(data.catalogue.clone())
                .map_err(|_why| "its catalogue is not valid")?;
            self.count_owners();
        } else if let Fact::UsageSealed(data) = fact {
            self.ledger.usage_sealed_to = data.to;
        } else if let Fact::LedgerCheckpointed(data) = fact {
            self.ledger.checkpointed = Some(Checkpointed {
                size: data.size,
                at: event.occurred_at,
            });
        } else if let Fact::SigningKeyRotated(data) = fact {
            self.signing_key_rotated(event, data);
        } else if let Fact::LedgerRestored(data) = fact {
            // All events of one restore say the same.
            if self.ledger.restores.last() != Some(data) {
                Arc::make_mut(&mut self.ledger.restores).push(*data);
            }
        } else if !matches!(fact, Fact::LedgerRead(_)) {
            return Err(WRONG_SUBJECT);
        }
        self.ledger.version += 1;
        Ok(())
    }

    /// The key before the new one signs on until its overlap ends, and none that is older.
    fn signing_key_rotated(&mut self, event: &Event, data: &SigningKeyRotated) {
        let at = event.occurred_at;
        let vkeys = Arc::make_mut(&mut self.ledger.vkeys);
        for key in vkeys.iter_mut() {
            key.signs_until = Some(key.signs_until.map_or(data.overlap_until, |t| t.min(at)));
        }
        vkeys.push(LedgerKey {
            vkey: data.vkey.clone(),
            named_at: event.position,
            signs_until: None,
        });
    }

    fn apply_to_organization(
        &mut self,
        id: OrganizationId,
        event: &Event,
        fact: &Fact,
    ) -> Result<(), &'static str> {
        let record = if let Fact::OrganizationCreated(data) = fact {
            Organization {
                id,
                name: data.name.clone(),
                token_prefix: data.token_prefix.clone(),
                stamp: new_stamp(event, data.created_by),
            }
        } else if let Fact::OrganizationUpdated(data) = fact {
            let mut record = owned(self.organizations.get(&id))?;
            touch(&mut record.stamp, event);
            if let Some(name) = &data.name {
                record.name.clone_from(name);
            }
            if let Some(prefix) = &data.token_prefix {
                record.token_prefix.clone_from(prefix);
            }
            record
        } else {
            return Err(WRONG_SUBJECT);
        };
        self.organizations.set(id, record);
        Ok(())
    }

    fn apply_to_project(
        &mut self,
        id: ProjectId,
        event: &Event,
        fact: &Fact,
    ) -> Result<(), &'static str> {
        if let Fact::ProjectCreated(data) = fact {
            let organization = organization_of(event)?;
            let stamp = new_stamp(event, data.created_by);
            let name = data.name.clone();
            self.projects.set(
                id,
                Project {
                    id,
                    organization,
                    name,
                    archived: false,
                    stamp,
                },
            );
            self.count(organization, |counts| counts.projects += 1);
            return Ok(());
        }
        let mut record = owned(self.projects.get(&id))?;
        touch(&mut record.stamp, event);
        if let Fact::ProjectUpdated(data) = fact {
            record.name.clone_from(&data.name);
        } else if let Fact::ProjectArchived(_) = fact {
            record.archived = true;
        } else if let Fact::ProjectUnarchived(_) = fact {
            record.archived = false;
        } else {
            return Err(WRONG_SUBJECT);
        }
        self.projects.set(id, record);
        Ok(())
    }

    fn apply_to_member(
        &mut self,
        id: UserId,
        event: &Event,
        fact: &Fact,
    ) -> Result<(), &'static str> {
        if let Fact::MemberAdded(data) = fact {
            return self.member_added(id, event, data);
        }
        let mut record = owned(self.members.get(&id))?;
        touch(&mut record.stamp, event);
        let was_owner = self.catalogue.is_owner(&record.role);
        if let Fact::MemberRoleChanged(data) = fact {
            record.role.clone_from(&data.role);
            let is_owner = self.catalogue.is_owner(&data.role);
            self.count(record.organization, |counts| {
                counts.owners =
                    (counts.owners + u64::from(is_owner)).saturating_sub(u64::from(was_owner));
            });
        } else if let Fact::MemberRemoved(_) = fact {
            record.removed = true;
            self.count(record.organization, |counts| {
                counts.members = counts.members.saturating_sub(1);
                counts.owners = counts.owners.saturating_sub(u64::from(was_owner));
            });
            self.free_address(&record);
        } else if let Fact::MemberUpdated(data) = fact {
            self.member_updated(&mut record, event, data);
        } else if let Fact::SubjectErased(_) = fact {
            // Before its data key is gone, and after: the same.
            record.erased_at = Some(event.occurred_at);
            record.email.open(None);
            if let Some(name) = &mut record.name {
                name.open(None);
            }
        } else if !is_about_signing_in(fact) {
            return Err(WRONG_SUBJECT);
        }
        self.members.set(id, record);
        Ok(())
    }

    fn member_added(
        &mut self,
        id: UserId,
        event: &Event,
        data: &MemberAdded,
    ) -> Result<(), &'static str> {
        let organization = organization_of(event)?;
        let is_owner = self.catalogue.is_owner(&data.role);
        let record = Member {
            id,
            organization,
            email: data.email.clone(),
            name: data.name.clone(),
            role: data.role.clone(),
            removed: false,
            erased_at: None,
            sealed_by: event.id,
            stamp: new_stamp(event, data.created_by),
        };
        self.hold_address(&record);
        self.members.set(id, record);
        self.count(organization, |counts| {
            counts.members += 1;
            counts.owners += u64::from(is_owner);
        });
        Ok(())
    }

    fn member_updated(&mut self, record: &mut Member, event: &Event, data: &MemberUpdated) {
        self.free_address(record);
        record.email.clone_from(&data.email);
        record.name.clone_from(&data.name);
        record.sealed_by = event.id;
        self.hold_address(record);
    }

    /// Notes whose a member's address is. An erased one is nobody's.
    pub(in crate::domain) fn hold_address(&mut self, record: &Member) {
        let Some(email) = record.email.text() else {
            return;
        };
        let address = (record.organization, address_key(email));
        let holder = self.emails.get(&address);
        let holder = holder.and_then(|holder| self.members.get(holder));
        // Behind a snapshot, a member may hold the address that got it by a later event.
        if holder.is_none_or(|holder| holder.stamp.position <= record.stamp.position) {
            self.emails.set(address, record.id);
        }
    }

    /// Frees the address of a member, unless a later one has taken it.
    fn free_address(&mut self, record: &Member) {
        let Some(email) = record.email.text() else {
            return;
        };
        let address = (record.organization, address_key(email));
        let holder = self.emails.get(&address);
        if holder.is_some_and(|holder| **holder == record.id) {
            self.emails.remove(address);
        }
    }

    fn apply_to_account(
        &mut self,
        id: ServiceAccountId,
        event: &Event,
        fact: &Fact,
    ) -> Result<(), &'static str> {
        if let Fact::ServiceAccountCreated(data) = fact {
            return self.account_created(id, event, data);
        }
        let mut record = owned(self.accounts.get(&id))?;
        touch(&mut record.stamp, event);
        if let Fact::ServiceAccountUpdated(data) = fact {
            self.account_updated(&mut record, data);
        } else if let Fact::ServiceAccountDisabled(_) = fact {
            record.disabled = true;
        } else if let Fact::ServiceAccountEnabled(_) = fact {
            record.disabled = false;
        } else if let Fact::ServiceAccountDeleted(_) = fact {
            record.deleted = true;
            self.free_account_name(&record);
            self.count(record.organization, |counts| {
                counts.service_accounts = counts.service_accounts.saturating_sub(1);
            });
        } else {
            return Err(WRONG_SUBJECT);
        }
        self.accounts.set(id, record);
        Ok(())
    }

    fn account_created(
        &mut self,
        id: ServiceAccountId,
        event: &Event,
        data: &ServiceAccountCreated,
    ) -> Result<(), &'static str> {
        let organization = organization_of(event)?;
        self.account_names
            .set((organization, name_key(&data.name)), id);
        self.slugs.take(organization, &data.slug, id);
        let record = ServiceAccount {
            id,
            organization,
            name: data.name.clone(),
            slug: data.slug.clone(),
            description: data.description.clone(),
            role: data.role.clone(),
            scopes: data.scopes.clone(),
            disabled: false,
            deleted: false,
            stamp: new_stamp(event, data.created_by),
        };
        self.accounts.set(id, record);
        self.count(organization, |counts| counts.service_accounts += 1);
        Ok(())
    }

    fn account_updated(&mut self, record: &mut ServiceAccount, data: &ServiceAccountUpdated) {
        self.free_account_name(record);
        record.name.clone_from(&data.name);
        record.description.clone_from(&data.description);
        record.role.clone_from(&data.role);
        record.scopes.clone_from(&data.scopes);
        self.hold_account_name(record);
    }

    /// Notes whose the name of a service account is.
    pub(in crate::domain) fn hold_account_name(&mut self, record: &ServiceAccount) {
        let name = (record.organization, name_key(&record.name));
        let holder = self.account_names.get(&name);
        let holder = holder.and_then(|holder| self.accounts.get(holder));
        // Behind a snapshot, an account may hold the name that got it by a later event.
        if holder.is_none_or(|holder| holder.stamp.position < record.stamp.position) {
            self.account_names.set(name, record.id);
        }
    }

    /// Frees the name of a service account, unless a later one has taken it.
    fn free_account_name(&mut self, record: &ServiceAccount) {
        let name = (record.organization, name_key(&record.name));
        let holder = self.account_names.get(&name);
        if holder.is_some_and(|holder| **holder == record.id) {
            self.account_names.remove(name);
        }
    }

    pub(super) fn count(&mut self, organization: OrganizationId, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts(organization);
        change(&mut counts);
        self.counts.set(organization, counts);
    }

    /// Who is an owner is the catalogue's word: under another one they are counted anew.
    fn count_owners(&mut self) {
        let organizations = self.organizations.seen().map(|record| (record.id, 0));
        let mut owners: BTreeMap<OrganizationId, u64> = organizations.collect();
        for member in self.members.seen().filter(|member| !member.removed) {
            let is_owner = self.catalogue.is_owner(&member.role);
            *owners.entry(member.organization).or_default() += u64::from(is_owner);
        }
        for (organization, owners) in owners {
            if self.counts(organization).owners != owners {
                self.count(organization, |counts| counts.owners = owners);
            }
        }
    }
}

/// Whether a member's event changes nothing of its record but the version.
fn is_about_signing_in(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::SignInLinkIssued(_) | Fact::SignInFailed(_) | Fact::PasswordSet(_)
    )
}

const WRONG_SUBJECT: &str = "its type does not belong to its subject";
const UNKNOWN_SUBJECT: &str = "its subject is unknown";

fn organization_of(event: &Event) -> Result<OrganizationId, &'static str> {
    event
        .organization
        .map(|place| place.id)
        .ok_or("it belongs to no organization")
}

fn owned<T: Clone>(record: Option<&Arc<T>>) -> Result<T, &'static str> {
    record
        .map(|record| (**record).clone())
        .ok_or(UNKNOWN_SUBJECT)
}

fn new_stamp(event: &Event, created_by: Option<Principal>) -> Stamp {
    Stamp {
        version: event.subject_version,
        position: event.position,
        created_by,
        created_at: event.occurred_at,
        updated_at: event.occurred_at,
    }
}

fn touch(stamp: &mut Stamp, event: &Event) {
    stamp.version = event.subject_version;
    stamp.position = event.position;
    stamp.updated_at = event.occurred_at;
}
