//! Reading across records is noted: `ledger.read`, at most one a caller, organization and minute.
//!
//! The note comes before the answer, and without it there is none: a reading that leaves no trace
//! is not given.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::command::{Command, NoteLedgerRead};
use crate::domain::event::ledger::LedgerReading;
use crate::domain::ids::{OrganizationId, Via};
use crate::web::call::Call;
use crate::web::problem::Problem;

/// Readings of one organization by one caller within so long are one.
const NOTED_EVERY_MS: i64 = 60_000;
/// Callers that are remembered: whoever comes when there are more is noted each time.
const CALLERS_MAX: usize = 10_000;

/// When callers were noted last, by the monotonic clock.
#[derive(Default)]
pub(crate) struct Noted(Mutex<BTreeMap<Reader, i64>>);

/// A reader, and the organization whose events it reads; `None` is all of them.
type Reader = (Via, Option<OrganizationId>);

impl Noted {
    /// Whether a caller has to be noted now; from here on it counts as noted.
    fn begins(&self, reader: Reader, now_ms: i64) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: &i64| now_ms - at < NOTED_EVERY_MS;
        if noted.get(&reader).is_some_and(is_recent) {
            return false;
        }
        if noted.len() >= CALLERS_MAX {
            noted.retain(|_, at| is_recent(at));
        }
        if noted.len() < CALLERS_MAX {
            noted.insert(reader, now_ms);
        }
        true
    }

    /// The note was refused.
    fn forget(&self, reader: Reader) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.remove(&reader);
    }
}

/// Notes a reading of an organization's events, or of all.
pub(crate) async fn note(
    noted: &Noted,
    call: &Call,
    organization: Option<OrganizationId>,
    what: LedgerReading,
) -> Result<(), Problem> {
    let reader = call.caller.authority.via.map(|via| (via, organization));
    let now_ms = call.app.ledger.monotonic_ms();
    if reader.is_some_and(|reader| !noted.begins(reader, now_ms)) {
        return Ok(());
    }
    let command = Command::NoteLedgerRead(NoteLedgerRead { organization, what });
    let submitted = call.submit(command, None).await;
    match (submitted, reader) {
        (Ok(_), _) => Ok(()),
        (Err(why), Some(reader)) => {
            noted.forget(reader);
            Err(why)
        }
        (Err(why), None) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::domain::ids::CredentialId;

    #[test]
    fn a_caller_is_noted_once_a_minute() {
        let noted = Noted::default();
        let of = |n, organization| (Via::Credential(CredentialId(Ulid(n))), organization);
        let caller = |n| of(n, None);
        assert!(noted.begins(caller(1), 1_000));
        assert!(!noted.begins(caller(1), 60_999));
        assert!(noted.begins(caller(2), 60_999));
        let acme = Some(OrganizationId(Ulid(1)));
        assert!(noted.begins(of(2, acme), 60_999));
        assert!(!noted.begins(of(2, acme), 61_000));
        assert!(noted.begins(caller(1), 61_000));
        noted.forget(caller(1));
        assert!(noted.begins(caller(1), 61_001));
        for n in 0..20_000 {
            assert!(noted.begins(caller(n), 200_000 + 61_000));
        }
        assert_eq!(noted.0.lock().unwrap().len(), CALLERS_MAX);
    }
}
