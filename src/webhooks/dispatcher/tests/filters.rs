//! What an endpoint does not ask for any more.

use super::*;
use crate::webhooks::delivery::DeliveryStatus;

#[test]
fn what_was_in_the_line_before_a_filter_changed_goes_nowhere() {
    for restarted in [false, true] {
        block_on(async {
            let mut world = World::new();
            let (mut old, mut new) = (Receiver::start().await, Receiver::start().await);
            old.answers(500);
            let (endpoint, _) = world.endpoint(&old, &["api_key.*"], false);
            let position = world.create_key("CI");
            let sent = old.next().await.json();
            let event = sent["id"].as_str().unwrap().parse().unwrap();
            world.until(endpoint, |world| world.failed() == 1).await;
            // Where the courier has not seen the change, the record of the start counts.
            if restarted {
                world.stop().await;
            }
            world.update(endpoint, None, Some(&["service_account.*"]));
            world.update(endpoint, Some(new.url()), None);
            if restarted {
                world.start();
            }
            world.clock.advance_ms(HOUR_MS);
            let delivery = crate::webhooks::delivery::delivery_id(endpoint, event);
            let store = world.webhooks().store().clone();
            let skipped = move |world: &World| {
                world.clock.advance_ms(1_000);
                let found = store.find_delivery(endpoint, delivery).unwrap();
                found.is_some_and(|(found, _)| found.standing == DeliveryStatus::Skipped)
            };
            world.until(endpoint, skipped).await;
            let webhooks = world.webhooks();
            let overview = webhooks.backlog(endpoint).await.unwrap();
            assert_eq!((overview.pending, overview.unread_events), (0, 0));
            // Neither a replay nor a delivery once more gets around the filter.
            let range = UnreadRange {
                to: Some(position + 1),
                ..UnreadRange::since(position)
            };
            assert_eq!(webhooks.start_replay(endpoint, range).await, Some(true));
            let again = RequestedAttempt::Redelivery { event, position };
            assert!(
                webhooks
                    .begin_requested_attempt(endpoint, again)
                    .await
                    .unwrap()
                    .is_ok()
            );
            webhooks.wait_until_idle().await;
            assert!(
                webhooks
                    .begin_requested_attempt(endpoint, RequestedAttempt::Ping)
                    .await
                    .unwrap()
                    .is_ok()
            );
            assert_eq!(new.next().await.name(), "ping", "the first that comes");
        });
    }
}
