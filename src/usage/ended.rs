//! Presentations of ended secrets, until the ledger is told of them.

use std::collections::BTreeMap;

use super::record::Counted;
use super::{EndedUse, Outcome, Shared};
use crate::domain::ids::CredentialId;

/// Credentials whose ended secrets were presented and that the ledger has not been told of.
const ENDED_USES_MAX: usize = 100_000;

/// Notes a call that an ended secret was presented with.
pub(super) fn note_ended(shared: &Shared, counted: &Counted<'_>) {
    let ended = match counted.outcome {
        Outcome::Revoked | Outcome::Rotated | Outcome::Expired => !counted.reported,
        Outcome::Malformed
        | Outcome::NotFound
        | Outcome::Disabled
        | Outcome::OwnerInactive
        | Outcome::WrongOrganization
        | Outcome::WrongProject
        | Outcome::InsufficientScope
        | Outcome::Valid => false,
    };
    if ended {
        let mut uses = shared.ended_uses();
        let used = EndedUse {
            credential: counted.credential,
            secret: counted.secret,
            outcome: counted.outcome,
            count: u64::from(counted.calls),
            first_at: counted.at,
            last_at: counted.at,
        };
        add_ended(&mut uses, used);
    }
}

/// Adds uses of an ended secret to those of the same credential.
pub(super) fn add_ended(uses: &mut BTreeMap<CredentialId, EndedUse>, used: EndedUse) {
    if let Some(known) = uses.get_mut(&used.credential) {
        known.count = known.count.saturating_add(used.count);
        if used.last_at >= known.last_at {
            known.secret = used.secret;
            known.outcome = used.outcome;
        }
        known.first_at = known.first_at.min(used.first_at);
        known.last_at = known.last_at.max(used.last_at);
    } else if uses.len() < ENDED_USES_MAX {
        uses.insert(used.credential, used);
    }
}
