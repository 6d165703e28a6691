//! Webhook endpoints: what signs their deliveries is on the disk in sealed form alone, opens again
//! after every kind of start, and is blank once its own data key is gone.

use std::sync::Arc;

use super::company::{Company, create_organization, organization};
use super::{Setup, World, idempotency, submission};
use crate::domain::command::{
    Actor, Command, CreateEndpoint, EnableEndpoint, EndpointTarget, NoteEndpointFailing,
    RotateEndpointSecret, StopEndpoint, StopReason, UpdateEndpoint,
};
use crate::domain::event::Fact;
use crate::domain::ids::{OrganizationId, Subject};
use crate::domain::record::{EnabledFrom, SignatureScheme, WebhookEndpoint};
use crate::ledger::key_holder::data_key;
use crate::ledger::{Answer, Record, Submission};

fn new_endpoint(organization: OrganizationId, url: &str) -> CreateEndpoint {
    CreateEndpoint {
        organization,
        url: url.to_owned(),
        description: Some("Chat".to_owned()),
        event_types: vec!["api_key.*".to_owned()],
        project: None,
        ordered: false,
        signature: SignatureScheme::V1,
        secret: None,
    }
}

fn record(answer: &Answer) -> Arc<WebhookEndpoint> {
    let Record::WebhookEndpoint(record) = &answer.records[0] else {
        panic!("{answer:?}");
    };
    Arc::clone(record)
}

fn target(record: &WebhookEndpoint) -> EndpointTarget {
    EndpointTarget {
        organization: record.organization,
        endpoint: record.id,
    }
}

fn secret(answer: &Answer) -> String {
    answer.endpoint_secret.as_ref().unwrap().reveal().to_owned()
}

fn rotation(target: EndpointTarget) -> Command {
    Command::RotateEndpointSecret(RotateEndpointSecret {
        target,
        overlap_seconds: 86_400,
        secret: None,
    })
}

impl Company<'_> {
    /// Everything happens to one endpoint that can happen to one; another signs by a key pair.
    pub(super) fn endpoints(&mut self) {
        let organization = self.organization;
        let made = new_endpoint(organization, "https://hooks.example/keys");
        let made = self.run(Actor::Operator, Command::CreateEndpoint(made));
        let target = target(&record(&made));
        let edit = Command::UpdateEndpoint(UpdateEndpoint {
            url: Some("https://other.example/keys".to_owned()),
            event_types: Some(vec!["api_key.revoked".to_owned(), "member.*".to_owned()]),
            ..UpdateEndpoint::of(target)
        });
        let moved = self.run(Actor::Operator, edit);
        let rotated = self.run(Actor::Operator, rotation(target));
        for (name, answer) in [
            ("endpoint", made),
            ("endpoint, moved", moved),
            ("endpoint, rotated", rotated),
        ] {
            self.tokens.push((name.to_owned(), secret(&answer)));
        }
        let since = record(&self.run(Actor::Operator, Command::DisableEndpoint(target)));
        let enable = Command::EnableEndpoint(EnableEndpoint {
            target,
            from: EnabledFrom::Now,
        });
        self.run(Actor::Operator, enable);
        let note = Command::NoteEndpointFailing(NoteEndpointFailing {
            organization,
            endpoint: target.endpoint,
            percent: 90,
            since: since.stamp.updated_at,
        });
        self.run(Actor::System, note);
        let stop = Command::StopEndpoint(StopEndpoint {
            organization,
            endpoint: target.endpoint,
            because: StopReason::Failing,
            status_code: Some(503),
        });
        self.run(Actor::System, stop);
        let pair = Command::CreateEndpoint(CreateEndpoint {
            signature: SignatureScheme::V1a,
            ordered: true,
            ..new_endpoint(organization, "https://pair.example/keys")
        });
        self.run(Actor::Operator, pair);
        let gone = Command::CreateEndpoint(new_endpoint(organization, "https://gone.example"));
        let gone = self.run(Actor::Operator, gone);
        self.tokens
            .push(("endpoint, deleted".to_owned(), secret(&gone)));
        let gone = self::target(&record(&gone));
        self.run(Actor::Operator, Command::DeleteEndpoint(gone));
    }
}

/// What the directory has of an endpoint's secrets, newest first.
fn secrets(world: &World, target: EndpointTarget) -> Vec<Option<String>> {
    let directory = &world.ledger.views().directory;
    let record = directory.webhook_endpoint(target.organization, target.endpoint);
    let record = record.unwrap();
    let all = directory.all_webhook_endpoints();
    assert!(all.iter().any(|endpoint| Arc::ptr_eq(endpoint, &record)));
    let secrets = record.secrets.iter();
    secrets
        .map(|secret| secret.key.text().map(str::to_owned))
        .collect()
}

#[test]
fn a_secret_opens_after_every_start_and_is_blank_without_its_own_data_key() {
    for events_between_snapshots in [500_000, 1] {
        let mut setup = Setup::new(1);
        setup.events_between_snapshots = events_between_snapshots;
        let world = setup.create();
        let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
        let made = world.run(Command::CreateEndpoint(new_endpoint(
            of,
            "https://a.example",
        )));
        let target = target(&record(&made));
        let rotated = world.run(rotation(target));
        let expected = [Some(secret(&rotated)), Some(secret(&made))];
        assert_eq!(secrets(&world, target), expected);
        world.key(of, "one more");
        let world = world.restarted();
        assert_eq!(secrets(&world, target), expected);
        let world = world.crashed().open();
        assert_eq!(secrets(&world, target), expected);

        let old = record(&made).secrets[0].id;
        let keys = world.ledger.keys();
        assert!(keys.data_key(data_key(old.0)).unwrap().is_some());
        keys.destroy_data_key(data_key(old.0)).unwrap();
        let world = world.restarted();
        let [newest, _] = expected;
        assert_eq!(secrets(&world, target), [newest, None]);
        let events = world
            .ledger
            .events_of(Subject::WebhookEndpoint(target.endpoint), 0, 9);
        let events = events.unwrap();
        let Fact::EndpointCreated(created) = &events[0].event.fact else {
            panic!("{events:?}");
        };
        assert_eq!(created.secret.key.text(), None);
    }
}

#[test]
fn each_secret_is_sealed_under_a_data_key_of_its_own_in_its_own_event() {
    let world = World::new(2);
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let made = world.run(Command::CreateEndpoint(new_endpoint(
        of,
        "https://a.example",
    )));
    let endpoint = record(&made);
    let rotated = record(&world.run(rotation(target(&endpoint))));
    for held in &rotated.secrets {
        let sealed = held.key.sealed().unwrap();
        assert_eq!(sealed.key_id, data_key(held.id.0));
    }
    assert_ne!(rotated.secrets[0].sealed_by, rotated.secrets[1].sealed_by);
}

#[test]
fn a_repeated_command_shows_the_same_endpoint_and_no_secret() {
    let world = World::new(3);
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let create = || Submission {
        idempotency: Some(idempotency(1, 1)),
        ..submission(
            Actor::Operator,
            Command::CreateEndpoint(new_endpoint(of, "https://a.example")),
        )
    };
    let first = world.ledger.submit_blocking(create()).unwrap();
    world.run(rotation(target(&record(&first))));
    let again = world.ledger.submit_blocking(create()).unwrap();
    assert!(again.replayed && again.endpoint_secret.is_none());
    assert!(first.endpoint_secret.is_some());
    assert_eq!(record(&again), record(&first), "as it was then");
}
