//! Sessions across stops: what was idle stays dead, what was not goes on, what ended is ended.

use super::company::{create_organization, organization};
use super::{Setup, World};
use crate::domain::command::{Actor, Command, IssueSignInLink, SignIn, SignInProof, SignOut};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::session::{IDLE_MS, SESSION_MS};
use crate::domain::sign_in::OpaqueToken;
use crate::ledger::Record;

/// Acme and its owner.
fn acme(world: &World) -> (OrganizationId, UserId) {
    let made = world.run(create_organization("Acme", "ann@acme.example"));
    let Record::Member(ann) = &made.records[1] else {
        panic!("{made:?}");
    };
    (organization(&made), ann.id)
}

fn link(world: &World, (organization, member): (OrganizationId, UserId)) -> OpaqueToken {
    let command = Command::IssueSignInLink(IssueSignInLink {
        organization,
        member,
    });
    world.run(command).sign_in.unwrap()
}

fn sign_in(world: &World, of: (OrganizationId, UserId)) -> OpaqueToken {
    let (organization, member) = of;
    let proof = SignInProof::Link(link(world, of).hash());
    let command = Command::SignIn(SignIn {
        organization,
        member,
        proof,
    });
    world.submit(Actor::Anonymous, command).sign_in.unwrap()
}

/// Whether a session's token is accepted; that is a use of it.
fn accepted(world: &World, token: &OpaqueToken) -> bool {
    let views = world.ledger.views();
    let catalogue = views.index.catalogue();
    let found =
        views
            .sessions
            .authenticate_and_touch(token.reveal(), &catalogue, world.ledger.now());
    found.is_some()
}

#[test]
fn a_restart_revives_no_session_and_forgets_that_one_was_used() {
    let mut world = World::new(1);
    let ann = acme(&world);
    let (used, idle) = (sign_in(&world, ann), sign_in(&world, ann));
    world.later(IDLE_MS / 2);
    let young = sign_in(&world, ann);
    assert!(accepted(&world, &used));
    world.later(IDLE_MS / 2);
    assert!(accepted(&world, &used) && accepted(&world, &young));
    assert!(!accepted(&world, &idle));
    // What the log can prove is when a session began.
    for restart in [World::restarted, |world: World| world.crashed().open()] {
        world = restart(world);
        assert!(!accepted(&world, &idle) && !accepted(&world, &used));
        assert!(accepted(&world, &young));
    }
    // A clock that is set back revives nothing either.
    world.hands.set_wall_ms(super::START_MS);
    assert!(!accepted(&world, &idle) && !accepted(&world, &used));
}

#[test]
fn what_has_ended_is_not_in_a_snapshot_either() {
    for events_between_snapshots in [1, 500_000] {
        let mut setup = Setup::new(2);
        setup.events_between_snapshots = events_between_snapshots;
        let world = setup.create();
        let ann = acme(&world);
        let (out, stays) = (sign_in(&world, ann), sign_in(&world, ann));
        let session = world
            .ledger
            .views()
            .sessions
            .live_sessions_of_member(ann.1, world.ledger.now());
        let ids: Vec<_> = session.iter().map(|seen| seen.session.id).collect();
        let command = Command::SignOut(SignOut {
            organization: ann.0,
            session: ids[1],
        });
        world.submit(Actor::Session(ids[0]), command);
        assert!(!accepted(&world, &out) && accepted(&world, &stays));
        let unused = link(&world, ann);
        let world = world.restarted();
        assert!(!accepted(&world, &out) && accepted(&world, &stays));
        let sessions = &world.ledger.views().sessions;
        let now = world.ledger.now();
        assert!(sessions.sign_in_means_by_link(unused.hash(), now).is_some());
        assert!(sessions.sign_in_means_by_link(out.hash(), now).is_none());
    }
}

#[test]
fn a_session_ends_after_its_time_however_it_is_used() {
    let mut world = World::new(3);
    let ann = acme(&world);
    let token = sign_in(&world, ann);
    for _ in 0..SESSION_MS / IDLE_MS * 2 - 1 {
        world.later(IDLE_MS / 2);
        assert!(accepted(&world, &token));
    }
    world.later(IDLE_MS / 2);
    assert!(!accepted(&world, &token));
}
