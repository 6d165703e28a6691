//! Another key signs: beside the old one for a while, then alone, and never one that is lost.

use std::fs;

use super::company::{create_organization, organization};
use super::{DAY_MS, World};
use crate::clock::Entropy;
use crate::domain::event::Fact;
use crate::ledger::boot::BootError;
use crate::ledger::signing::{Signers, SignersError};
use crate::merkle::{Checkpoint, Note, NoteVerifier};

const ORIGIN: &str = "keyledger.example/log";

fn rotate(world: &World, overlap_days: u32) -> Vec<String> {
    let mut entropy = Entropy::seeded(world.events());
    let keys = world.ledger.rotate_signing_key(overlap_days, &mut entropy);
    let keys = keys.unwrap();
    keys.iter().map(|key| key.vkey.clone()).collect()
}

/// The newest note, once it covers everything.
fn note(world: &World) -> String {
    let tiles = world.ledger.tiles();
    loop {
        match tiles.newest_published() {
            Some(newest) if newest.checkpoint.size == world.events() => {
                return newest.note.to_string();
            }
            Some(_) | None => std::thread::yield_now(),
        }
    }
}

/// Which of the keys have signed a note.
fn signed_by(note: &str, vkeys: &[String]) -> Vec<usize> {
    let signatures = Note::parse(note).unwrap().signatures().len();
    let keys = vkeys.iter().map(|vkey| NoteVerifier::parse(vkey).unwrap());
    let verifies = |key: &NoteVerifier| {
        Checkpoint::from_verified_note(note, ORIGIN, std::slice::from_ref(key)).is_ok()
    };
    let found = keys.enumerate().filter(|(_, key)| verifies(key));
    let found: Vec<usize> = found.map(|(index, _)| index).collect();
    assert_eq!(found.len(), signatures, "{note}");
    found
}

#[test]
fn both_keys_sign_until_the_overlap_is_over_and_then_the_new_one_alone() {
    let world = World::new(1);
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let old = world.ledger.vkeys()[0].to_owned();
    let vkeys = rotate(&world, 30);
    assert_eq!(vkeys[0], old);
    // What runs on signs as it did: it has not told anybody of the new key yet.
    assert_eq!(signed_by(&note(&world), &vkeys), [0]);

    let mut world = world.restarted();
    world.key(of, "one");
    assert_eq!(signed_by(&note(&world), &vkeys), [0, 1]);
    assert_eq!(world.ledger.vkeys(), [&vkeys[1], &vkeys[0]]);
    world.later(30 * DAY_MS - 1);
    world.key(of, "two");
    assert_eq!(signed_by(&note(&world), &vkeys), [0, 1]);
    world.later(1);
    world.key(of, "three");
    assert_eq!(signed_by(&note(&world), &vkeys), [1]);
    assert_eq!(world.ledger.vkeys(), [&vkeys[1]]);

    // The floor is a note of the new key alone by now, and after a rotation without an overlap one
    // of a key that signs no more.
    let world = world.restarted();
    let vkeys = rotate(&world, 0);
    assert_eq!(signed_by(&note(&world), &vkeys), [1]);
    let world = world.restarted();
    world.key(of, "four");
    assert_eq!(signed_by(&note(&world), &vkeys), [2]);
    let next = world.ledger.reader().next_position();
    let events = (0..next).map(|position| world.ledger.event(position).unwrap().event);
    let told = events.filter_map(|event| {
        let Fact::SigningKeyRotated(data) = event.fact else {
            return None;
        };
        Some((data.previous_vkey, data.vkey))
    });
    let pairs = vkeys
        .windows(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()));
    assert_eq!(told.collect::<Vec<_>>(), pairs.collect::<Vec<_>>());
}

#[test]
fn a_key_whose_event_a_crash_prevented_signs_nothing_and_is_the_next_one() {
    let world = World::new(2);
    let keys = world.ledger.keys();
    let made = keys
        .signing_key_or_create(2, &mut Entropy::seeded(9))
        .unwrap();
    let world = world.restarted();
    world.run(create_organization("Acme", "ann@acme.example"));
    let old = world.ledger.vkeys()[0].to_owned();
    assert_eq!(world.ledger.vkeys().len(), 1);
    assert_eq!(signed_by(&note(&world), &[old]), [0]);
    let vkeys = rotate(&world, 7);
    let taken = NoteVerifier::parse(&vkeys[1]).unwrap().to_string();
    let key = crate::merkle::NoteSigner::new(ORIGIN, &made.to_bytes()).unwrap();
    assert_eq!(key.verifier().to_string(), taken);
}

#[test]
fn a_ledger_whose_newest_key_is_lost_does_not_start() {
    let world = World::new(3);
    let vkeys = rotate(&world, 30);
    let setup = world.stopped();
    let file = setup.folder().keys().join("signing-2");
    let kept = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let Err(BootError::Signers(why @ SignersError::Lost { .. })) = setup.try_open() else {
        panic!("it started");
    };
    assert!(why.to_string().contains(&vkeys[1]), "{why}");
    fs::write(&file, kept).unwrap();
    assert_eq!(setup.open().ledger.vkeys().len(), 2);
}

#[test]
fn the_old_key_signs_for_the_event_that_names_the_new_one_even_after_a_crash() {
    let world = World::new(4);
    let vkeys = rotate(&world, 0);
    let world = world.restarted();
    let size = world.events();
    let state = world.ledger.state.lock().unwrap();
    let sign = |signed| {
        let mut signers = Signers::of(state.ledger(), world.ledger.keys(), signed).unwrap();
        let checkpoint = |size| Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root: [7; 32],
        };
        let now = world.ledger.now();
        let first = signers.sign(&checkpoint(size), now).unwrap();
        signers.kept(size);
        let second = signers.sign(&checkpoint(size + 1), now).unwrap();
        [first, second].map(|note| signed_by(&note, &vkeys))
    };
    // Nothing that was kept covers the event: a crash came first.
    for signed in [0, size - 1] {
        assert_eq!(sign(signed), [vec![0, 1], vec![1]], "{signed}");
    }
    assert_eq!(sign(size), [vec![1], vec![1]]);
}
