//! Events of credentials, and the indexes of their names and owners.

use std::sync::Arc;

use super::{WRONG_SUBJECT, new_stamp, organization_of, owned, touch};
use crate::domain::envelope::Event;
use crate::domain::event::{Fact, KeyCreated, KeyRevoked, KeyRotated, KeyUpdated};
use crate::domain::ids::{CredentialId, Owner};
use crate::domain::record::{Credential, Ended, Grant, Metadata};
use crate::domain::state::State;

impl State {
    pub(super) fn key_created(
        &mut self,
        id: CredentialId,
        event: &Event,
        data: &KeyCreated,
    ) -> Result<(), &'static str> {
        let organization = organization_of(event)?;
        let prefix = self.shared_prefix(&data.secret.prefix);
        let record = Credential {
            id,
            organization,
            kind: data.kind,
            owner: data.owner,
            project: data.project_id,
            name: data.name.as_str().into(),
            description: data.description.as_deref().map(Into::into),
            grant: self.shared_grant(&data.grant),
            metadata: shared_metadata(&data.metadata),
            expires_at: data.expires_at,
            disabled: false,
            ended: None,
            issued_via: data.issued_via,
            replaces: data.replaces,
            replaced_by: None,
            secrets: vec![data.secret.record(prefix, event.occurred_at)],
            stamp: new_stamp(event, data.created_by),
        };
        self.index_live(&record);
        self.credentials.set(id, record);
        self.count(organization, |counts| counts.live_credentials += 1);
        Ok(())
    }

    pub(super) fn apply_to_key(
        &mut self,
        id: CredentialId,
        event: &Event,
        fact: &Fact,
    ) -> Result<(), &'static str> {
        let mut record = owned(self.credentials.get(&id))?;
        touch(&mut record.stamp, event);
        if let Fact::KeyUpdated(data) = fact {
            self.key_updated(&mut record, data);
        } else if let Fact::KeyScopesEdited(data) = fact {
            let grant = Grant {
                scopes: data.scopes.clone(),
                ..(*record.grant).clone()
            };
            record.grant = self.shared_grant(&grant);
        } else if let Fact::KeyRotated(data) = fact {
            let prefix = self.shared_prefix(&data.secret.prefix);
            rotate(&mut record, event, (data, prefix));
        } else if let Fact::KeyDisabled(_) = fact {
            record.disabled = true;
        } else if let Fact::KeyEnabled(_) = fact {
            record.disabled = false;
        } else if let Fact::KeyRevoked(data) = fact {
            self.key_revoked(&mut record, event, data);
        } else {
            return Err(WRONG_SUBJECT);
        }
        self.credentials.set(id, record);
        Ok(())
    }

    fn key_updated(&mut self, record: &mut Credential, data: &KeyUpdated) {
        if record.kind.rules().unique_name {
            self.free_key_name(record);
            self.key_names
                .set((record.owner, data.name.clone()), record.id);
        }
        record.name = data.name.as_str().into();
        record.description = data.description.as_deref().map(Into::into);
        record.expires_at = data.expires_at;
        record.metadata = shared_metadata(&data.metadata);
        record.replaced_by = data.replaced_by;
        if data.role != record.grant.role {
            let grant = Grant {
                role: data.role.clone(),
                ..(*record.grant).clone()
            };
            record.grant = self.shared_grant(&grant);
        }
    }

    fn key_revoked(&mut self, record: &mut Credential, event: &Event, data: &KeyRevoked) {
        let reason = data.reason.clone();
        record.ended = Some(Arc::new(Ended {
            at: event.occurred_at,
            event: event.id,
            reason,
        }));
        if ends_with_owner(record.owner) {
            self.owned.remove((record.owner, record.id));
        }
        self.free_key_name(record);
        self.count(record.organization, |counts| {
            counts.live_credentials = counts.live_credentials.saturating_sub(1);
        });
    }

    /// Frees the name of a credential, unless a later one has taken it since it expired.
    fn free_key_name(&mut self, record: &Credential) {
        let name = (record.owner, record.name.to_string());
        if self
            .key_names
            .get(&name)
            .is_some_and(|holder| **holder == record.id)
        {
            self.key_names.remove(name);
        }
    }

    /// The indexes that a live credential stands in.
    pub(in crate::domain) fn index_live(&mut self, record: &Credential) {
        if ends_with_owner(record.owner) {
            self.owned.set((record.owner, record.id), ());
        }
        if record.kind.rules().unique_name {
            let name = (record.owner, record.name.to_string());
            self.key_names.set(name, record.id);
        }
    }

    /// Equal prefixes share their memory.
    pub(in crate::domain) fn shared_prefix(&mut self, prefix: &str) -> Arc<str> {
        if let Some(known) = self.prefixes.get(prefix) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = prefix.into();
        self.prefixes.insert(prefix.into(), Arc::clone(&shared));
        shared
    }

    /// Equal grants share their memory.
    pub(in crate::domain) fn shared_grant(&mut self, grant: &Grant) -> Arc<Grant> {
        if let Some(known) = self.grants.get(grant) {
            return Arc::clone(known);
        }
        let shared = Arc::new(grant.clone());
        self.grants.insert(grant.clone(), Arc::clone(&shared));
        shared
    }
}

/// Whether credentials of this owner end with it.
fn ends_with_owner(owner: Owner) -> bool {
    match owner {
        Owner::Organization(_) => false,
        Owner::User(_) | Owner::ServiceAccount(_) => true,
    }
}

/// A rotation ends the secrets before the previous one at once; none is ever prolonged.
fn rotate(record: &mut Credential, event: &Event, (data, prefix): (&KeyRotated, Arc<str>)) {
    let current = record.secrets.len().saturating_sub(1);
    for (index, secret) in record.secrets.iter_mut().enumerate() {
        let end = if index == current {
            data.previous_valid_until
        } else {
            event.occurred_at
        };
        secret.ends_at = Some(secret.ends_at.map_or(end, |at| at.min(end)));
    }
    record
        .secrets
        .push(data.secret.record(prefix, event.occurred_at));
}

fn shared_metadata(metadata: &Metadata) -> Option<Arc<Metadata>> {
    (!metadata.is_empty()).then(|| Arc::new(metadata.clone()))
}
