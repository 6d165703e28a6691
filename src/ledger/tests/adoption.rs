//! A catalogue of one's own through every kind of stop.

use super::company::{create_organization, found, organization};
use super::image::image;
use super::{Setup, World, api_key, refusal};
use crate::domain::catalogue::{Catalogue, CatalogueText};
use crate::domain::command::{Actor, AdoptCatalogue, Command};
use crate::ledger::Answer;

fn adopt(world: &World, change: impl FnOnce(&mut CatalogueText)) -> Answer {
    let mut text = world.ledger.views().index.catalogue().text().clone();
    change(&mut text);
    let catalogue = Catalogue::check(text).unwrap();
    world.run(Command::AdoptCatalogue(AdoptCatalogue { catalogue }))
}

#[test]
fn an_adopted_catalogue_is_in_force_after_every_stop() {
    let mut setup = Setup::new(31);
    setup.events_between_snapshots = 5;
    let mut world = setup.create();
    let tokens = found(&mut world);
    let events = world.events();
    let answer = adopt(&world, |text| {
        for scope in &mut text.scopes {
            scope.keep = scope.name == "cases:read";
        }
        for role in &mut text.roles {
            role.owner |= role.name == "administrator";
        }
        for preset in &mut text.presets {
            preset.keep = true;
            preset.scopes = vec!["cases:read".to_owned()];
        }
    });
    assert_eq!(answer.position, events);
    assert_eq!(world.events(), events + 1);
    // The same again is no event.
    assert_eq!(adopt(&world, |_| {}).position, events);
    assert_eq!(world.events(), events + 1);
    let made = world.run(create_organization("Next", "next@example.com"));
    let organization = organization(&made);
    let refused = world.try_submit(Actor::Operator, api_key(organization, "new"));
    assert!(refusal(refused).contains("UnknownScope"));

    let live = image(&world, &tokens);
    let world = world.restarted();
    assert_eq!(image(&world, &tokens), live, "after a stop");
    let world = world.crashed().open();
    assert_eq!(image(&world, &tokens), live, "after a crash");
    let catalogue = world.ledger.views().index.catalogue();
    assert!(!catalogue.offers_scope("cases:read") && catalogue.is_owner("administrator"));
    let setup = world.stopped();
    for part in ["snapshots", "views"] {
        std::fs::remove_dir_all(setup.folder().path().join(part)).unwrap();
    }
    let world = setup.open();
    assert_eq!(image(&world, &tokens), live, "from the log alone");
}
