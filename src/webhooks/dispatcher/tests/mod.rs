//! A ledger, its dispatcher, and receivers on loopback; the clock is set by hand.

mod filters;
mod world;

use serde_json::Value;

use crate::domain::ids::{DeliveryId, EndpointId};
use crate::domain::record::{EnabledFrom, EndpointStatus};
use crate::domain::webhook_signature::{SigningKey, signature};
use crate::webhooks::queue::UnreadRange;
use crate::webhooks::retry_schedule::RETRY_DELAYS_MS;
use crate::webhooks::store::AttemptQuery;
use crate::webhooks::{RequestedAttempt, RequestedAttemptRefusal, Webhooks};
use world::*;

/// The dispatcher works while commands wait for the disk.
fn block_on<F: Future<Output = ()>>(test: F) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

#[test]
fn an_event_arrives_signed_with_the_record_as_it_was_after_it() {
    block_on(async {
        let world = World::new();
        let mut receiver = Receiver::start().await;
        let (_, secret) = world.endpoint(&receiver, &["api_key.*"], false);
        let position = world.create_key("CI pipeline");
        let delivery = receiver.next().await;
        let body = delivery.json();
        let keys: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["data", "id", "sequence", "timestamp", "type"]);
        assert_eq!(body["type"], "api_key.created");
        assert_eq!(body["sequence"], position);
        assert_eq!(body["data"]["name"], "CI pipeline");
        assert_eq!(body["data"]["version"], 1);
        let (id, at) = (
            delivery.header("webhook-id"),
            delivery.header("webhook-timestamp"),
        );
        assert_eq!(body["id"], id);
        assert_eq!(at, (START_MS / 1_000).to_string());
        let keys = [SigningKey::parse(&secret).unwrap()];
        let expected = signature(&keys, id, at.parse().unwrap(), &delivery.body);
        assert_eq!(delivery.header("webhook-signature"), expected);
    });
}

#[test]
fn what_the_ledger_is_goes_to_whoever_asks_for_it() {
    block_on(async {
        let world = World::new();
        let (mut auditor, mut other) = (Receiver::start().await, Receiver::start().await);
        world.endpoint(&auditor, &["ledger.checkpointed"], false);
        world.endpoint(&other, &["api_key.*"], false);
        let position = world.create_key("CI pipeline");
        let tiles = world.ledger.tiles();
        assert!(tiles.wait_until_published(position, PATIENCE).await);
        let published = tiles.newest_published().unwrap();
        let told = world
            .ledger
            .announce_checkpoint(position, world.organization)
            .await
            .unwrap()
            .unwrap();
        let body = auditor.next().await.json();
        assert_eq!(body["type"], "ledger.checkpointed");
        assert_eq!(body["sequence"], told.position);
        assert_eq!(body["data"]["size"], published.checkpoint.size);
        assert_eq!(body["data"]["checkpoint"], *published.note);
        // The key's event was the newest of the organization.
        let payload = world.ledger.reader().read_payload(position).unwrap();
        let newest = hex::encode(crate::domain::envelope::commitment(&payload).0);
        assert_eq!(body["data"]["organization_commitment"], newest);
        world.create_key("another");
        assert_eq!(other.names(2).await, ["api_key.created"; 2]);
    });
}

#[test]
fn days_of_failures_are_told_of_then_end_in_a_disabled_endpoint_that_loses_nothing() {
    block_on(async {
        let world = World::new();
        let (mut bad, mut good) = (Receiver::start().await, Receiver::start().await);
        bad.answers(500);
        let (endpoint, _) = world.endpoint(&bad, &["api_key.*"], true);
        // It did not ask for events of endpoints; those that warn come all the same.
        world.endpoint(&good, &["api_key.revoked"], false);
        world.create_key("first");
        for (attempt, delay) in (1..).zip(RETRY_DELAYS_MS) {
            bad.next().await;
            world
                .until(endpoint, |world| world.failed() == attempt)
                .await;
            world.clock.advance_ms(delay + delay / 5 + 1);
            world.webhooks().backlog(endpoint).await;
        }
        // The tenth and last attempt was 75 hours and more after the first.
        bad.next().await;
        let dead =
            |world: &World| world.webhooks().metrics().attempts_by_outcome()[2] == ("dead", 1);
        world.until(endpoint, dead).await;
        assert_eq!(good.names(2).await, ["webhook_endpoint.failing"; 2]);

        // What follows fails as well, until the five days are over.
        world.create_key("later");
        for failed in 11..=13 {
            bad.next().await;
            world
                .until(endpoint, |world| world.failed() == failed)
                .await;
            if failed == 12 {
                assert_eq!(good.next().await.name(), "webhook_endpoint.failing");
            }
            world.clock.advance_ms(20 * HOUR_MS);
            world.webhooks().backlog(endpoint).await;
        }
        let disabled = |world: &World| world.status(endpoint) != EndpointStatus::Active;
        world.until(endpoint, disabled).await;
        let told = good.next().await.json();
        assert_eq!(told["type"], "webhook_endpoint.disabled");
        let record = &told["data"];
        assert_eq!(record["id"], endpoint.to_string());
        assert_eq!(record["disabled_because"], "failing");
        assert_eq!(record["url"], format!("http://{}", bad.address));

        // Enabled where it stopped, it gets all that was outstanding and what has happened since.
        while bad.deliveries.try_recv().is_ok() {}
        let last = world.create_key("meanwhile");
        bad.answers(204);
        world.enable(endpoint, EnabledFrom::WhereItStopped);
        let mut sequences = Vec::new();
        loop {
            let sequence = bad.next().await.json()["sequence"].as_u64().unwrap();
            sequences.push(sequence);
            if sequence == last {
                break;
            }
        }
        assert!(
            sequences.len() >= 2 && sequences.is_sorted(),
            "{sequences:?}"
        );
    });
}

#[test]
fn what_was_not_delivered_before_a_stop_is_delivered_after_it() {
    block_on(async {
        let mut world = World::new();
        let mut receiver = Receiver::start().await;
        world.endpoint(&receiver, &["api_key.created"], true);
        let first = world.create_key("first");
        assert_eq!(receiver.next().await.json()["sequence"], first);
        world.stop().await;
        let second = world.create_key("second");
        world.start();
        let third = world.create_key("third");
        let sequence = |delivery: Delivery| delivery.json()["sequence"].clone();
        assert_eq!(sequence(receiver.next().await), second);
        assert_eq!(sequence(receiver.next().await), third);

        // Without what was kept of deliveries, all comes again, and nothing is lost.
        world.stop().await;
        std::fs::remove_dir_all(world.deliveries()).unwrap();
        world.start();
        for expected in [first, second, third] {
            assert_eq!(sequence(receiver.next().await), expected);
        }
    });
}

#[test]
fn an_endpoint_that_is_gone_is_disabled_at_once() {
    block_on(async {
        let world = World::new();
        let mut receiver = Receiver::start().await;
        receiver.answers(410);
        let (endpoint, _) = world.endpoint(&receiver, &["api_key.*"], false);
        world.create_key("first");
        receiver.next().await;
        let disabled = |world: &World| world.status(endpoint) != EndpointStatus::Active;
        world.until(endpoint, disabled).await;
        let gone = EndpointStatus::Disabled(crate::domain::record::DisabledBecause::Gone);
        assert_eq!(world.status(endpoint), gone);
        // From now on: what it said no to is not brought again.
        receiver.answers(204);
        world.enable(endpoint, EnabledFrom::Now);
        let next = world.create_key("next");
        assert_eq!(receiver.next().await.json()["sequence"], next);
    });
}

async fn request_attempt(
    webhooks: &Webhooks,
    endpoint: EndpointId,
    requested: RequestedAttempt,
) -> Result<DeliveryId, RequestedAttemptRefusal> {
    let answer = webhooks.begin_requested_attempt(endpoint, requested).await;
    answer.unwrap()
}

#[test]
fn trials_are_marked_as_tests_and_replays_bring_what_was_there() {
    block_on(async {
        let world = World::new();
        let mut receiver = Receiver::start().await;
        let (endpoint, _) = world.endpoint(&receiver, &["api_key.created"], false);
        let webhooks = world.webhooks();
        for n in 0..10 {
            let trial = request_attempt(webhooks, endpoint, RequestedAttempt::Ping).await;
            let ping = receiver.next().await;
            assert_eq!(ping.header("webhook-test"), "true", "{n}");
            let body = ping.json();
            assert_eq!(
                (&body["type"], &body["test"]),
                (&"ping".into(), &true.into())
            );
            assert_eq!(body["sequence"], Value::Null);
            assert_eq!(body["data"]["id"], endpoint.to_string());
            assert!(trial.is_ok());
        }
        let refused = request_attempt(webhooks, endpoint, RequestedAttempt::Ping).await;
        let too_soon = RequestedAttemptRefusal::RateLimited { after_s: 61 };
        assert_eq!(refused, Err(too_soon));

        let positions = [world.create_key("first"), world.create_key("second")];
        let sequence = |delivery: &Delivery| delivery.json()["sequence"].as_u64().unwrap();
        let mut first: Vec<_> = vec![receiver.next().await, receiver.next().await];
        first.sort_by_key(sequence);
        let range = UnreadRange {
            to: Some(positions[1] + 1),
            ..UnreadRange::since(positions[0])
        };
        // What is on its way is not brought twice.
        world.until(endpoint, |world| world.ended() == 12).await;
        assert_eq!(webhooks.start_replay(endpoint, range).await, Some(true));
        let mut again: Vec<_> = vec![receiver.next().await, receiver.next().await];
        again.sort_by_key(sequence);
        for (first, again) in first.iter().zip(&again) {
            assert_eq!(first.body, again.body);
            assert_eq!(first.header("webhook-id"), again.header("webhook-id"));
        }

        // Once more, by hand; both attempts stand with the one delivery.
        let body = first[0].json();
        let event = body["id"].as_str().unwrap().parse().unwrap();
        world.until(endpoint, |world| world.ended() == 14).await;
        let trial = RequestedAttempt::Redelivery {
            event,
            position: positions[0],
        };
        let delivery = request_attempt(webhooks, endpoint, trial).await.unwrap();
        assert_eq!(receiver.next().await.header("webhook-redelivery"), "true");
        world.until(endpoint, |world| world.ended() == 15).await;
        world.clock.advance_ms(1_000);
        let store = webhooks.store().clone();
        let made = move |_: &World| {
            let found = store.find_delivery(endpoint, delivery).unwrap();
            found.is_some_and(|(_, made)| made.len() == 3)
        };
        world.until(endpoint, made).await;
        let ask = AttemptQuery {
            limit: 100,
            ..AttemptQuery::default()
        };
        let page = webhooks.store().list_attempts(endpoint, &ask).unwrap();
        assert_eq!(page.attempts.len(), 15);
        // What answers from a network inside is not kept.
        let mut attempts = page.attempts.iter();
        assert!(attempts.all(|(_, attempt)| attempt.response.is_empty()));
    });
}
