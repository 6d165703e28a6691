//! Presentations of ended secrets, until they are noted in the ledger.

use std::collections::BTreeMap;
use std::mem;

use super::call_record::CallRecord;
use super::{EndedSecretUsage, Shared, VerificationCode};
use crate::domain::ids::{CredentialId, OrganizationId};

/// Credentials whose ended secrets were presented and that are not noted in the ledger yet: of all
/// organizations, and of one.
const ENDED_USES_MAX: usize = 100_000;
const OF_ONE_ORGANIZATION_MAX: usize = ENDED_USES_MAX / 16;

/// Uses of ended secrets, one entry a credential.
#[derive(Debug, Default)]
pub(super) struct EndedSecretUsages {
    uses: BTreeMap<CredentialId, EndedSecretUsage>,
    organizations: BTreeMap<OrganizationId, usize>,
}

/// Notes a call that an ended secret was presented with.
pub(super) fn note_if_ended_secret(shared: &Shared, counted: &CallRecord<'_>) {
    let ended = match counted.outcome {
        VerificationCode::Revoked | VerificationCode::Rotated | VerificationCode::Expired => {
            !counted.reported
        }
        VerificationCode::Malformed
        | VerificationCode::NotFound
        | VerificationCode::Disabled
        | VerificationCode::OwnerInactive
        | VerificationCode::WrongOrganization
        | VerificationCode::WrongProject
        | VerificationCode::InsufficientScope
        | VerificationCode::Valid => false,
    };
    if ended {
        let mut uses = shared.ended_uses();
        let used = EndedSecretUsage {
            organization: counted.organization,
            credential: counted.credential,
            secret: counted.secret,
            outcome: counted.outcome,
            count: u64::from(counted.calls),
            first_at: counted.at,
            last_at: counted.at,
        };
        uses.add(used);
    }
}

impl EndedSecretUsages {
    /// Adds uses of an ended secret to those of the same credential.
    pub(super) fn add(&mut self, used: EndedSecretUsage) {
        let all = self.uses.len();
        if let Some(known) = self.uses.get_mut(&used.credential) {
            known.count = known.count.saturating_add(used.count);
            if used.last_at >= known.last_at {
                known.secret = used.secret;
                known.outcome = used.outcome;
            }
            known.first_at = known.first_at.min(used.first_at);
            known.last_at = known.last_at.max(used.last_at);
            return;
        }
        let own = self.organizations.entry(used.organization).or_default();
        if all < ENDED_USES_MAX && *own < OF_ONE_ORGANIZATION_MAX {
            *own += 1;
            self.uses.insert(used.credential, used);
        }
    }

    /// Takes all, those of different organizations in turns.
    pub(super) fn take_all_in_turns(&mut self) -> Vec<EndedSecretUsage> {
        let mut turns: BTreeMap<OrganizationId, usize> = BTreeMap::new();
        let uses = mem::take(self).uses.into_values();
        let turn = |used: EndedSecretUsage| {
            let turn = turns.entry(used.organization).or_default();
            *turn += 1;
            (*turn, used)
        };
        let mut uses: Vec<_> = uses.map(turn).collect();
        uses.sort_by_key(|(turn, _)| *turn);
        uses.into_iter().map(|(_, used)| used).collect()
    }
}
