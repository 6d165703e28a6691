//! How fast one organization may make records: a bucket of creations that fills at a steady rate.
//!
//! One organization cannot fill the log or the lanes for the others. Refused commands cost nothing
//! of it, and nothing that ends or narrows is counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::problem::Problem;
use crate::domain::command::Command;
use crate::domain::ids::OrganizationId;

/// Creations of one organization in a second, in the long run: a million in a quarter of an hour.
pub(super) const PER_SECOND: i64 = 1_000;
/// Creations at once: ten seconds' worth, for who brings many.
pub(super) const AT_ONCE: i64 = 10_000;
/// Organizations that are remembered: full buckets are forgotten.
const BUCKETS_MAX: usize = 100_000;
const MS: i64 = 1_000;

/// The buckets, by organization.
#[derive(Default)]
pub(super) struct Quotas(Mutex<BTreeMap<OrganizationId, Bucket>>);

/// What is left, in thousandths of a creation, as of an instant.
#[derive(Clone, Copy)]
struct Bucket {
    left: i64,
    at_ms: i64,
}

impl Bucket {
    const FULL: i64 = AT_ONCE * MS;

    /// What is left at `now_ms`.
    fn filled(self, now_ms: i64) -> i64 {
        let new = now_ms.saturating_sub(self.at_ms).saturating_mul(PER_SECOND);
        self.left.saturating_add(new.max(0)).min(Self::FULL)
    }
}

impl Quotas {
    /// Takes a creation of an organization, or says how long to wait for the next.
    pub(super) fn take(&self, organization: OrganizationId, now_ms: i64) -> Result<(), Problem> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| bucket.filled(now_ms) < Bucket::FULL);
        }
        let known = buckets.get(&organization);
        let left = known.map_or(Bucket::FULL, |bucket| bucket.filled(now_ms));
        if left < MS {
            let wait_ms = (MS - left).div_euclid(PER_SECOND) + 1;
            let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(1));
            return Err(Problem::too_many_creations(wait));
        }
        let bucket = Bucket {
            left: left - MS,
            at_ms: now_ms,
        };
        buckets.insert(organization, bucket);
        Ok(())
    }
}

/// Whether a command makes a record or a secret.
pub(super) fn creates(command: &Command) -> bool {
    match command {
        Command::CreateProject(_)
        | Command::AddMember(_)
        | Command::CreateServiceAccount(_)
        | Command::CreateKey(_)
        | Command::RotateKey(_)
        | Command::ReplaceKey(_)
        | Command::IssueSignInLink(_)
        | Command::CreateEndpoint(_)
        | Command::UpdateEndpoint(_)
        | Command::RotateEndpointSecret(_) => true,
        Command::OpenLedger(_)
        | Command::AdoptCatalogue(_)
        | Command::CreateOrganization(_)
        | Command::UpdateOrganization(_)
        | Command::UpdateProject(_)
        | Command::ChangeMemberRole(_)
        | Command::RemoveMember(_)
        | Command::EraseMember(_)
        | Command::UpdateServiceAccount(_)
        | Command::DeleteServiceAccount(_)
        | Command::UpdateKey(_)
        | Command::DisableKey(_)
        | Command::EnableKey(_)
        | Command::RevokeKey(_)
        | Command::RevokeItself(_)
        | Command::SignIn(_)
        | Command::NoteSignInFailure(_)
        | Command::SignOut(_)
        | Command::SetPassword(_)
        | Command::NoteEndedSecretUse(_)
        | Command::SealUsage(_)
        | Command::NoteExpiries(_)
        | Command::EnableEndpoint(_)
        | Command::DisableEndpoint(_)
        | Command::DeleteEndpoint(_)
        | Command::NoteEndpointFailing(_)
        | Command::StopEndpoint(_)
        | Command::NoteCheckpoint(_)
        | Command::NoteLedgerRead(_)
        | Command::RotateSigningKey(_)
        | Command::RecordRestore(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organization_makes_as_many_as_its_bucket_holds_and_then_at_a_steady_rate() {
        let (acme, globex) = (OrganizationId(ulid::Ulid(1)), OrganizationId(ulid::Ulid(2)));
        let quotas = Quotas::default();
        let took = |organization, now_ms| {
            let taken = (0..AT_ONCE + 10).take_while(|_| quotas.take(organization, now_ms).is_ok());
            taken.count()
        };
        assert_eq!(took(acme, 5_000), 10_000);
        assert_eq!(took(acme, 5_000), 0);
        assert_eq!(took(acme, 5_001), 1);
        assert_eq!(took(acme, 5_500), 499);
        // A clock set back gives nothing.
        assert_eq!(took(acme, 4_000), 0);
        assert_eq!(took(globex, 5_500), 10_000);
        assert_eq!(took(acme, 60_000), 10_000);
    }
}
