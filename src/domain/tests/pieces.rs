//! A state taken in pieces while writing goes on, and the events since: the same state again.

use proptest::prelude::*;

use super::acme::Acme;
use super::history::{Step, crowded, request, step};
use super::{TAG, fingerprint, read};
use crate::domain::command::{Actor, DeleteServiceAccount, RemoveMember};
use crate::domain::envelope::commitment;
use crate::domain::ids::ServiceAccountId;
use crate::domain::pieces::{Once, Piece, Taken};
use crate::domain::state::State;

/// A snapshot in the making.
struct Snapshot {
    position: usize,
    once: Once,
    taken: Taken,
    pieces: Vec<Piece>,
}

impl Snapshot {
    fn begin(acme: &Acme) -> Self {
        Self {
            position: acme.log.len(),
            once: acme.state.once(),
            taken: Taken::Organizations(None),
            pieces: Vec::new(),
        }
    }

    fn take(&mut self, acme: &Acme, max: usize) {
        let (pieces, taken) = acme.state.pieces(&self.taken, max);
        self.pieces.extend(pieces);
        self.taken = taken;
    }

    fn finish(&mut self, acme: &Acme) {
        while !matches!(self.taken, Taken::All) {
            self.take(acme, 3);
        }
    }

    /// The state of the stored pieces and of the events since.
    fn reopened(&self, acme: &Acme) -> State {
        let mut state = State::from_once(self.once.clone()).unwrap();
        for piece in &self.pieces {
            let bytes = postcard::to_stdvec(piece).unwrap();
            let mut piece: Piece = postcard::from_bytes(&bytes).unwrap();
            if let Piece::Member(member) = &mut piece {
                let member = std::sync::Arc::make_mut(member);
                // Who was erased stays so, whether the key is still there or not.
                let values = [Some(&mut member.email), member.name.as_mut()];
                for value in values
                    .into_iter()
                    .flatten()
                    .filter(|_| member.erased_at.is_none())
                {
                    let text = value
                        .sealed()
                        .unwrap()
                        .ciphertext
                        .strip_suffix(&TAG)
                        .unwrap();
                    let text = String::from_utf8(text.to_vec()).unwrap();
                    value.open(Some(text));
                }
            }
            if let Piece::SignIn(means) = &mut piece
                && let Some(password) = &mut std::sync::Arc::make_mut(means).password
            {
                let text = password
                    .hash
                    .sealed()
                    .unwrap()
                    .ciphertext
                    .strip_suffix(&TAG)
                    .unwrap();
                let text = String::from_utf8(text.to_vec()).unwrap();
                password.hash.open(Some(text));
            }
            if let Piece::Endpoint(endpoint) = &mut piece {
                for secret in &mut std::sync::Arc::make_mut(endpoint).secrets {
                    let text = secret.key.sealed().unwrap().ciphertext.strip_suffix(&TAG);
                    let text = String::from_utf8(text.unwrap().to_vec()).unwrap();
                    secret.key.open(Some(text));
                }
            }
            assert!(piece.position() < acme.log.len() as u64);
            state.restore(piece);
        }
        state.restored();
        for payload in &acme.log[self.position..] {
            state.apply(&read(payload), commitment(payload)).unwrap();
            state.settle();
        }
        state
    }

    #[track_caller]
    fn check(&self, acme: &Acme) {
        assert_eq!(fingerprint(&self.reopened(acme)), fingerprint(&acme.state));
    }
}

/// Acme, all of whose commands carry an idempotency key.
fn acme() -> Acme {
    let mut acme = Acme::new();
    acme.keyed = true;
    acme
}

fn rename(acme: &mut Acme, account: ServiceAccountId, name: &str) {
    let mut edit = acme.edit_account(account);
    edit.name = Some(name.to_owned());
    acme.when(Actor::Operator, edit).accepted();
}

#[test]
fn a_name_that_passed_on_while_a_snapshot_was_taken_stays_with_its_last_holder() {
    let mut acme = acme();
    let first = acme.account("first", None, None);
    let second = acme.account("second", None, None);
    let mut snapshot = Snapshot::begin(&acme);
    while !matches!(snapshot.taken, Taken::Accounts(Some(id)) if id == first) {
        assert!(!matches!(snapshot.taken, Taken::All));
        snapshot.take(&acme, 1);
    }
    // The first account is taken as it was. Behind it, two names pass to the second one.
    rename(&mut acme, first, "between");
    rename(&mut acme, first, "last");
    rename(&mut acme, second, "first");
    rename(&mut acme, second, "between");
    snapshot.finish(&acme);
    snapshot.check(&acme);
}

#[test]
fn a_name_or_address_freed_while_a_snapshot_was_taken_stays_with_its_new_holder() {
    let mut acme = acme();
    let organization = acme.organization;
    let account = acme.account("bot", None, None);
    let (member, _) = acme.member("carl@acme.example", "viewer");
    let mut snapshot = Snapshot::begin(&acme);
    while !matches!(snapshot.taken, Taken::Members(Some(id)) if id == member) {
        snapshot.take(&acme, 1);
    }
    let remove = RemoveMember {
        organization,
        member,
    };
    acme.when(Actor::Operator, remove).accepted();
    acme.member("Carl@acme.example", "engineer");
    while !matches!(snapshot.taken, Taken::Accounts(Some(id)) if id == account) {
        snapshot.take(&acme, 1);
    }
    let delete = DeleteServiceAccount {
        organization,
        account,
    };
    acme.when(Actor::Operator, delete).accepted();
    acme.account("Bot", None, None);
    snapshot.finish(&acme);
    snapshot.check(&acme);
    let mut again = acme.add_member("carl@acme.example", "viewer");
    again.name = Some("Another".to_owned());
    let refused = acme.when(Actor::Operator, again).code();
    assert_eq!(refused, "email_taken");
}

/// Plays steps; between them it takes the pieces that `takes` tells.
fn play(mut acme: Acme, steps: &[(Step, u8)], begin: usize) -> (Acme, Snapshot) {
    let mut snapshot = Snapshot::begin(&acme);
    for (number, (step, take)) in steps.iter().enumerate() {
        if number == begin {
            snapshot = Snapshot::begin(&acme);
        }
        acme.later(step.gap());
        let request = request(&acme, step);
        acme.stage(&request);
        // What is staged is in no piece.
        if take % 2 == 0 {
            snapshot.take(&acme, usize::from(take / 2) + 1);
        }
        acme.state.settle();
        if take % 2 == 1 {
            snapshot.take(&acme, usize::from(take / 2) + 1);
        }
    }
    snapshot.finish(&acme);
    (acme, snapshot)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_snapshot_taken_while_writing_goes_on_replays_to_the_live_state(
        steps in prop::collection::vec((step(), 0_u8..8), 1..60),
        begin in 0_usize..30,
        later in prop::collection::vec(step(), 0..10),
    ) {
        let (mut acme, snapshot) = play(crowded(acme()), &steps, begin);
        for step in &later {
            acme.later(step.gap());
            let request = request(&acme, step);
            acme.stage(&request);
            acme.state.settle();
        }
        prop_assert_eq!(fingerprint(&snapshot.reopened(&acme)), fingerprint(&acme.state));
        prop_assert_eq!(fingerprint(&acme.replayed()), fingerprint(&acme.state));
    }
}

#[test]
fn commands_are_forgotten_in_the_order_in_which_they_came() {
    let mut acme = acme();
    let mut snapshot = Snapshot::begin(&acme);
    while !matches!(snapshot.taken, Taken::Commands(Some(_))) {
        acme.key(&["cases:read"]);
        snapshot.take(&acme, 3);
    }
    // Some commands are taken, others missed; all of them are older than the last ones.
    for name in ["a", "b", "c", "d"] {
        acme.project(name);
        snapshot.take(&acme, 1);
    }
    snapshot.finish(&acme);
    snapshot.check(&acme);
}
