//! Events of webhook endpoints.

use super::{WRONG_SUBJECT, new_stamp, organization_of, owned, touch};
use crate::domain::envelope::Event;
use crate::domain::event::Fact;
use crate::domain::event::endpoints::{
    EndpointCreated, EndpointEnabled, EndpointSecretRotated, EndpointUpdated,
};
use crate::domain::ids::EndpointId;
use crate::domain::record::{EnabledFrom, EndpointStatus, FailingNotice, WebhookEndpoint};
use crate::domain::state::State;

impl State {
    pub(super) fn apply_to_endpoint(
        &mut self,
        id: EndpointId,
        event: &Event,
        fact: &Fact,
    ) -> Result<(), &'static str> {
        if let Fact::EndpointCreated(data) = fact {
            return self.endpoint_created(id, event, data);
        }
        let mut record = owned(self.endpoints.get(&id))?;
        touch(&mut record.stamp, event);
        if let Fact::EndpointUpdated(data) = fact {
            updated(&mut record, event, data);
        } else if let Fact::EndpointSecretRotated(data) = fact {
            rotated(&mut record, event, data);
        } else if let Fact::EndpointDisabled(data) = fact {
            record.status = EndpointStatus::Disabled(data.because);
        } else if let Fact::EndpointEnabled(data) = fact {
            enabled(&mut record, event, data);
        } else if let Fact::EndpointDeleted(_) = fact {
            record.status = EndpointStatus::Deleted;
            self.count(record.organization, |counts| {
                counts.endpoints = counts.endpoints.saturating_sub(1);
            });
        } else if let Fact::EndpointFailing(data) = fact {
            record.failing = Some(FailingNotice {
                percent: data.percent,
                since: data.since,
            });
        } else {
            return Err(WRONG_SUBJECT);
        }
        self.endpoints.set(id, record);
        Ok(())
    }

    fn endpoint_created(
        &mut self,
        id: EndpointId,
        event: &Event,
        data: &EndpointCreated,
    ) -> Result<(), &'static str> {
        let organization = organization_of(event)?;
        let record = WebhookEndpoint {
            id,
            organization,
            project: data.project_id,
            url: data.url.clone(),
            description: data.description.clone(),
            event_types: data.event_types.clone(),
            ordered: data.ordered,
            signature: data.signature,
            secrets: vec![data.secret.record(event.id, event.occurred_at)],
            status: EndpointStatus::Active,
            from: event.position + 1,
            failing: None,
            stamp: new_stamp(event, data.created_by),
        };
        self.endpoints.set(id, record);
        self.count(organization, |counts| counts.endpoints += 1);
        Ok(())
    }
}

fn updated(record: &mut WebhookEndpoint, event: &Event, data: &EndpointUpdated) {
    record.url.clone_from(&data.url);
    record.description.clone_from(&data.description);
    record.event_types.clone_from(&data.event_types);
    record.ordered = data.ordered;
    if let Some(secret) = &data.secret {
        record.secrets = vec![secret.record(event.id, event.occurred_at)];
    }
}

/// Secrets that may sign beside a new one: the one before it, and the one that has signed longest.
const EARLIER_SECRETS_MAX: usize = 2;

/// What a receiver knows is the newest secret, or the one before if a rotation's answer was lost:
/// after several of those it is the one that has signed longest.
fn rotated(record: &mut WebhookEndpoint, event: &Event, data: &EndpointSecretRotated) {
    let secrets = &mut record.secrets;
    if !data.earlier_kept {
        secrets.truncate(1);
    }
    for earlier in &mut *secrets {
        let end = data.previous_valid_until;
        earlier.ends_at = Some(earlier.ends_at.map_or(end, |own| own.min(end)));
    }
    secrets.retain(|earlier| earlier.signs_at(event.occurred_at));
    while secrets.len() > EARLIER_SECRETS_MAX {
        secrets.remove(1);
    }
    secrets.insert(0, data.secret.record(event.id, event.occurred_at));
}

fn enabled(record: &mut WebhookEndpoint, event: &Event, data: &EndpointEnabled) {
    record.status = EndpointStatus::Active;
    record.failing = None;
    match data.from {
        EnabledFrom::WhereItStopped => {}
        EnabledFrom::Now => record.from = event.position + 1,
    }
}
