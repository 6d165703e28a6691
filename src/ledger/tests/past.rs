//! Pasts of whole organizations take no more RAM than they may.

use super::company::{create_organization, organization};
use super::{World, target};
use crate::domain::command::UpdateKey;
use crate::ledger::history::HistoryError;
use crate::ledger::past::Pace;
use crate::ledger::turns::Turn;

#[test]
fn a_past_holds_as_much_as_its_records_whatever_was_done_to_them() {
    let world = World::new(1);
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let held = |from, may_hold: &mut (dyn FnMut(usize) -> bool + Send)| {
        let turn = &mut Turn::alone();
        let mut pace = Pace { turn, may_hold };
        let span = (from, world.events());
        world.ledger.differences(of, span, &mut pace).map(drop)
    };
    let bytes = |from| {
        let mut most = 0;
        let read = held(from, &mut |bytes| {
            most = bytes;
            true
        });
        read.unwrap();
        most
    };

    let empty = bytes(world.events());
    let keys: Vec<_> = (0..100).map(|n| world.key(of, &format!("{n}")).0).collect();
    let filled = bytes(world.events());
    let each = (filled - empty) / keys.len();
    assert!((700..2_000).contains(&each), "{each} bytes for each key");

    let before_edits = world.events();
    for n in 0..300 {
        world.run(UpdateKey {
            name: Some(format!("edited {n}")),
            ..UpdateKey::of(target(of, keys[0].id()))
        });
    }
    let edited = bytes(world.events());
    assert!(edited - filled < 1_000, "{edited} {filled}");
    // What was done between two moments is told event by event.
    let told = bytes(before_edits) - edited;
    assert!((300 * 300..300 * 600).contains(&told), "{told}");

    let refused = held(world.events(), &mut |bytes| bytes < filled);
    assert!(matches!(refused, Err(HistoryError::NoRoom)), "{refused:?}");
}
