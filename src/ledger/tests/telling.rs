//! What the ledger is, told once an hour.

use super::World;
use crate::domain::event::Fact;
use crate::workers::checkpoints::CheckpointAnnouncer;

const HOUR_MS: i64 = 60 * 60 * 1_000;

fn told(world: &World) -> Vec<u64> {
    let next = world.ledger.reader().next_position();
    let events = (0..next).map(|position| world.ledger.event(position).unwrap().event);
    let mut sizes = Vec::new();
    for event in events {
        if let Fact::LedgerCheckpointed(told) = event.fact {
            sizes.push(told.size);
        }
    }
    sizes
}

/// Waits until all that has happened is published.
pub(super) fn published(world: &World) {
    let next = world.ledger.reader().next_position();
    while world
        .ledger
        .tiles()
        .newest_published()
        .is_none_or(|p| p.checkpoint.size < next)
    {
        std::thread::yield_now();
    }
}

#[test]
fn a_checkpoint_is_told_of_once_an_hour_also_where_nothing_happens() {
    let mut world = World::new(1);
    let mut announcer = CheckpointAnnouncer::new(world.ledger.clone());
    published(&world);
    announcer.announce_due();
    assert!(told(&world).is_empty());
    world.later(HOUR_MS - 1);
    announcer.announce_due();
    assert!(told(&world).is_empty());
    world.later(1);
    announcer.announce_due();
    announcer.announce_due();
    let first = told(&world);
    assert_eq!(first.len(), 1);
    published(&world);
    world.later(HOUR_MS);
    announcer.announce_due();
    assert_eq!(told(&world), [first[0], first[0] + 1]);
}

#[test]
fn after_a_restart_the_hour_goes_on() {
    let mut world = World::new(1);
    published(&world);
    world.later(HOUR_MS);
    CheckpointAnnouncer::new(world.ledger.clone()).announce_due();
    world.later(HOUR_MS / 2);
    let world = world.restarted();
    published(&world);
    CheckpointAnnouncer::new(world.ledger.clone()).announce_due();
    assert_eq!(told(&world).len(), 1);
    let mut world = world;
    world.later(HOUR_MS / 2);
    CheckpointAnnouncer::new(world.ledger.clone()).announce_due();
    assert_eq!(told(&world).len(), 2);
}
