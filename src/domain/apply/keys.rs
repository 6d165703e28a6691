//! Events of credentials, and the indexes of their names and owners.

use std::sync::Arc;

use super::{UNKNOWN_SUBJECT, WRONG_SUBJECT, new_stamp, organization_of, touch};
use crate::domain::canonical::canonical_line;
use crate::domain::envelope::Event;
use crate::domain::event::{Fact, KeyCreated, KeyRevoked, KeyRotated, KeyUpdated};
use crate::domain::ids::CredentialId;
use crate::domain::record::{Credential, Ended, Grant, Metadata, NoSecret, Unpacked};
use crate::domain::state::State;
use crate::domain::time::Timestamp;

impl State {
    pub(super) fn key_created(
        &mut self,
        id: CredentialId,
        event: &Event,
        data: &KeyCreated,
    ) -> Result<(), &'static str> {
        let organization = organization_of(event)?;
        let prefix = self.shared.prefix(&data.secret.prefix);
        let record = Unpacked {
            id,
            organization,
            kind: data.kind,
            owner: data.owner,
            project: data.project_id,
            name: data.name.as_str().into(),
            description: data.description.as_deref().map(Into::into),
            grant: self.shared.grant(&data.grant),
            metadata: shared_metadata(&data.metadata),
            expires_at: data.expires_at,
            expiry_set_at: None,
            disabled: false,
            ended: None,
            issued_via: data.issued_via,
            replaces: data.replaces,
            replaced_by: None,
            ended_use_noted_at: None,
            secrets: vec![data.secret.record(prefix, event.occurred_at)],
            stamp: new_stamp(event, data.created_by),
        };
        let (owner, at) = (record.owner, event.occurred_at);
        let record = self.put_key(record)?;
        self.live.forget_expired(owner, organization, at);
        self.index_live(&record, at);
        Ok(())
    }

    pub(super) fn apply_to_key(
        &mut self,
        id: CredentialId,
        event: &Event,
        fact: &Fact,
    ) -> Result<(), &'static str> {
        let known = Arc::clone(self.credentials.get(&id).ok_or(UNKNOWN_SUBJECT)?);
        let mut record = known.unpacked();
        touch(&mut record.stamp, event);
        if let Fact::KeyUpdated(data) = fact {
            if data.expires_at != record.expires_at {
                record.expiry_set_at = Some(event.occurred_at);
            }
            self.key_updated(&mut record, data);
        } else if let Fact::KeyScopesEdited(data) = fact {
            let grant = Grant {
                scopes: data.scopes.clone(),
                ..(*record.grant).clone()
            };
            record.grant = self.shared.grant(&grant);
        } else if let Fact::KeyRotated(data) = fact {
            let prefix = self.shared.prefix(&data.secret.prefix);
            rotate(&mut record, event, (data, prefix));
        } else if let Fact::KeyDisabled(_) = fact {
            record.disabled = true;
        } else if let Fact::KeyEnabled(_) = fact {
            record.disabled = false;
        } else if let Fact::KeyRevoked(data) = fact {
            self.key_revoked(&mut record, event, data);
        } else if let Fact::EndedSecretUsed(_) = fact {
            record.ended_use_noted_at = Some(event.occurred_at);
        } else if let Fact::KeyExpiring(_) | Fact::KeyExpired(_) = fact {
            // A notice: what it tells of follows from the record as it is.
        } else {
            return Err(WRONG_SUBJECT);
        }
        let record = self.put_key(record)?;
        let expiry_moved = record.expires_at() != known.expires_at();
        if known.ended().is_none() && (record.ended().is_some() || expiry_moved) {
            self.live.remove(&known);
        }
        if record.ended().is_none() && expiry_moved {
            self.live.add(&record, event.occurred_at);
        }
        Ok(())
    }

    fn put_key(&mut self, record: Unpacked) -> Result<Arc<Credential>, &'static str> {
        let packed = self.shared.pack(record);
        let packed = packed.map_err(|NoSecret| "it leaves no secret")?;
        Ok(self.credentials.set(packed.id(), packed))
    }

    fn key_updated(&mut self, record: &mut Unpacked, data: &KeyUpdated) {
        if record.kind.rules().unique_name {
            self.free_key_name(record);
            self.key_names
                .set((record.owner, canonical_line(&data.name)), record.id);
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
            record.grant = self.shared.grant(&grant);
        }
    }

    fn key_revoked(&mut self, record: &mut Unpacked, event: &Event, data: &KeyRevoked) {
        let reason = data.reason.clone();
        record.ended = Some(Arc::new(Ended {
            at: event.occurred_at,
            event: event.id,
            reason,
        }));
        self.free_key_name(record);
    }

    /// Frees the name of a credential, unless a later one has taken it since it expired.
    fn free_key_name(&mut self, record: &Unpacked) {
        let name = (record.owner, canonical_line(&record.name));
        if self
            .key_names
            .get(&name)
            .is_some_and(|holder| **holder == record.id)
        {
            self.key_names.remove(name);
        }
    }

    /// The indexes of a credential that has not ended.
    pub(in crate::domain) fn index_live(&mut self, record: &Credential, now: Timestamp) {
        self.live.add(record, now);
        if record.kind().rules().unique_name {
            let name = (record.owner(), canonical_line(record.name()));
            self.key_names.set(name, record.id());
        }
    }
}

/// A rotation ends the secrets before the previous one at once, unless it keeps the ends that they
/// were promised; none is ever prolonged.
fn rotate(record: &mut Unpacked, event: &Event, (data, prefix): (&KeyRotated, Arc<str>)) {
    let current = record.secrets.len().saturating_sub(1);
    for (index, secret) in record.secrets.iter_mut().enumerate() {
        let end = if index == current {
            data.previous_valid_until
        } else if data.earlier_kept {
            continue;
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
