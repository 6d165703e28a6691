//! Asking the rules first: whether a new ledger would take its first organization.
//!
//! Nothing is written. A refusal that came after the folder was made would leave a ledger there
//! that nobody has a key to.

use ulid::Ulid;

use super::exit::Stop;
use super::operator::operator_request;
use crate::clock::Clock;
use crate::domain::catalogue::Catalogue;
use crate::domain::command::{Actor, Command, OpenLedger, Request};
use crate::domain::decide::{Change, Facts, decide};
use crate::domain::digest::{Digest32, Nonce16};
use crate::domain::envelope::{ActorStamp, ActorType, Event};
use crate::domain::ids::LogId;
use crate::domain::state::State;
use crate::domain::time::Timestamp;

/// Refuses what the rules would refuse of a ledger's first command after its opening.
pub(super) fn rehearse(
    request: &Request,
    catalogue: &Catalogue,
    clock: &Clock,
) -> Result<(), Stop> {
    debug_assert_eq!(request.actor, Actor::Operator);
    let facts = Facts {
        now: Timestamp(clock.now_ms()),
        first_event: Ulid::nil(),
        ids: [Ulid::nil(); 4],
        random: [0; 32],
        link_random: [0; 32],
    };
    let state = opened(catalogue, &facts)?;
    match decide(&state, request, &facts) {
        Ok(_) => Ok(()),
        Err(why) => {
            let field = match why.reason().field {
                Some("name") => "--organization ".to_owned(),
                Some(field) => format!("--{} ", field.replace('_', "-")),
                None => String::new(),
            };
            Err(Stop::refused(format!("{field}{why}")))
        }
    }
}

/// A state like that of a ledger that has just been opened, in memory alone.
fn opened(catalogue: &Catalogue, facts: &Facts) -> Result<State, Stop> {
    let open = operator_request(Command::OpenLedger(OpenLedger {
        log_id: LogId([0; 16]),
        origin: String::new(),
        vkey: String::new(),
        catalogue: catalogue.clone(),
    }));
    let mut state = State::default();
    let decision = decide(&state, &open, facts).map_err(anyhow::Error::from)?;
    for (position, change) in (0..).zip(decision.changes) {
        let event = event(&state, position, change, facts);
        let applied = state.apply(&event, Digest32([0; 32]));
        applied.map_err(anyhow::Error::from)?;
    }
    Ok(state)
}

fn event(state: &State, position: u64, change: Change, facts: &Facts) -> Event {
    Event {
        position,
        id: facts.event_id(0),
        occurred_at: facts.now,
        organization: None,
        subject: change.subject,
        subject_version: state.version(change.subject) + 1,
        actor: ActorStamp {
            kind: ActorType::Operator,
            id: None,
            via: None,
            network: None,
        },
        request_id: None,
        command_id: None,
        command_digest: None,
        nonce: Nonce16([0; 16]),
        fact: change.fact,
    }
}
