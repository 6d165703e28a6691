//! The notices against a naive list: whatever happens, each is given once, and none is missed.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::{DAY_MS, Setup, revoke, target};
use super::{HOUR_MS, LEADS, Watched};
use crate::domain::command::{Command, Expiry};
use crate::domain::ids::CredentialId;
use crate::domain::time::Timestamp;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A key that expires after so many quarters of a day; 0: never.
    Create(u8),
    /// Another expiry.
    Move(u8, u8),
    Revoke(u8),
    Disable(u8),
    /// So many hours go by.
    Pass(u8),
    Look,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => any::<u8>().prop_map(Op::Create),
        2 => any::<(u8, u8)>().prop_map(|(which, quarters)| Op::Move(which, quarters)),
        1 => any::<u8>().prop_map(Op::Revoke),
        1 => any::<u8>().prop_map(Op::Disable),
        4 => (0_u8..80).prop_map(Op::Pass),
        6 => Just(Op::Look),
        1 => Just(Op::Restart),
    ]
}

/// What the naive list knows of a key.
struct Known {
    key: CredentialId,
    name: String,
    expires_at: Option<Timestamp>,
    since: Timestamp,
    live: bool,
}

#[derive(Default)]
struct Model {
    keys: Vec<Known>,
    told: BTreeSet<(Timestamp, CredentialId)>,
}

impl Model {
    /// What is told at `now`, in order: of each key the latest notice that is due, if it is new.
    fn look(&mut self, now: Timestamp, began: Timestamp) -> Vec<String> {
        let mut due = Vec::new();
        for known in self.keys.iter().filter(|known| known.live) {
            let Some(expires_at) = known.expires_at else {
                continue;
            };
            let notices = LEADS.iter().map(|days| i64::from(*days)).chain([0]);
            let instants = notices.map(|days| (expires_at.plus_ms(-days * DAY_MS), days));
            let mut open = instants.filter(|(at, _)| *at > known.since && *at <= now);
            let Some((at, days)) = open.next_back() else {
                continue;
            };
            if self.told.insert((at, known.key)) {
                let what = match days {
                    0 => "api_key.expired".to_owned(),
                    days => format!("expires in {days} days"),
                };
                due.push((at, known.key, format!("{} {what}", known.name)));
            }
        }
        due.sort();
        let hours = (now.0 - began.0) / HOUR_MS;
        let (day, hour) = (hours / 24, hours % 24);
        due.into_iter()
            .map(|(_, _, line)| format!("day {day}, {hour} h: {line}"))
            .collect()
    }
}

fn expiry(now: Timestamp, quarters: u8) -> (Expiry, Option<Timestamp>) {
    match quarters {
        0..30 => (Expiry::Never, None),
        _ => {
            let at = now.plus_ms(i64::from(quarters - 29) * 6 * HOUR_MS);
            (Expiry::At(at), Some(at))
        }
    }
}

/// Does the same to both; the looks are compared.
fn happens(acme: &mut Watched, model: &mut Model, op: Op) {
    let now = acme.world.ledger.now();
    let count = model.keys.len();
    let known = |which: u8| usize::from(which).checked_rem(count);
    match op {
        Op::Create(quarters) => {
            let (expiry, expires_at) = expiry(now, quarters);
            let name = format!("key {count}");
            let key = acme.key(&name, expiry);
            model.keys.push(Known {
                key,
                name,
                expires_at,
                since: now,
                live: true,
            });
        }
        Op::Move(which, quarters) => {
            let Some(at) = known(which) else { return };
            let known = &mut model.keys[at];
            // What has ended is not edited.
            if !known.live || known.expires_at.is_some_and(|at| at <= now) {
                return;
            }
            let (expiry, expires_at) = expiry(now, quarters);
            acme.set_expiry(known.key, expiry);
            if known.expires_at != expires_at {
                (known.expires_at, known.since) = (expires_at, now);
            }
        }
        Op::Revoke(which) => {
            let Some(at) = known(which) else { return };
            acme.world.run(revoke(acme.of, model.keys[at].key));
            model.keys[at].live = false;
        }
        Op::Disable(which) => {
            let Some(at) = known(which) else { return };
            let disable = Command::DisableKey(target(acme.of, model.keys[at].key));
            // What has ended cannot be, which changes nothing.
            drop(
                acme.world
                    .try_submit(crate::domain::command::Actor::Operator, disable),
            );
        }
        Op::Pass(hours) => acme.later(i64::from(hours) * HOUR_MS),
        Op::Look => assert_eq!(acme.told(), model.look(now, acme.began)),
        Op::Restart => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_notice_is_given_once_and_none_is_missed(
        ops in prop::collection::vec(op(), 1..80),
        events_between_snapshots in 2_u64..60,
    ) {
        let mut setup = Setup::new(110);
        setup.events_between_snapshots = events_between_snapshots;
        let mut acme = Watched::of(setup);
        let mut model = Model::default();
        for op in ops {
            if matches!(op, Op::Restart) {
                acme = acme.restarted();
            }
            happens(&mut acme, &mut model, op);
        }
        happens(&mut acme, &mut model, Op::Pass(255));
        happens(&mut acme, &mut model, Op::Look);
    }
}
