//! The ledger as a whole: checkpoints that are told, readings that are noted, another signing key.

use super::usage::{by_the_program, noted_by_the_program};
use super::{Change, Decision, Facts, admit, by_the_operator, checks};
use crate::domain::access::{Action, Authority, may};
use crate::domain::catalogue::PLATFORM;
use crate::domain::command::{
    NoteCheckpoint, NoteLedgerRead, RecordRestore, Request, RotateSigningKey,
};
use crate::domain::event::Fact;
use crate::domain::event::ledger::{
    LedgerCheckpointed, LedgerRead, LedgerRestored, SigningKeyRotated,
};
use crate::domain::ids::Subject;
use crate::domain::rejection::Rejection;
use crate::domain::state::State;

/// Longest note of a checkpoint: an origin of 255 bytes twice as a name, a size, a root and two
/// signatures of 68 bytes come to less than half of it.
const CHECKPOINT_BYTES_MAX: usize = 4_096;
/// Longest verifier key: an origin of 255 bytes, 8 of its id, 44 of the key, in whole hundreds.
const VKEY_CHARS_MAX: usize = 400;
/// Longest overlap of two signing keys: whoever verifies looks at the ledger once a year at least.
const OVERLAP_DAYS_MAX: u32 = 365;
/// Most signing keys of one ledger: one a month for eight years.
const SIGNING_KEYS_MAX: usize = 100;
/// Most positions that one restore gives up: at some 500 bytes each, 5 GB.
pub const POSITIONS_GIVEN_UP_MAX: u64 = 10_000_000;
/// Most restores of one ledger: each lost something.
const RESTORES_MAX: usize = 100;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Tells what the ledger was, once for each size and never backwards.
pub(super) fn note_checkpoint(
    state: &State,
    request: &Request,
    command: &NoteCheckpoint,
) -> Result<Decision, Rejection> {
    by_the_program(request)?;
    let subject = ledger(state)?;
    let known = state.ledger();
    if known
        .checkpointed
        .is_some_and(|noted| command.size <= noted.size)
    {
        return Err(Rejection::CheckpointAlreadyRecorded);
    }
    if command.size == 0 || command.size > known.events {
        return Err(Rejection::CheckpointSizeInvalid {
            events: known.events,
        });
    }
    if command.checkpoint.len() > CHECKPOINT_BYTES_MAX {
        return Err(Rejection::FieldTooLong {
            field: "checkpoint",
            max: CHECKPOINT_BYTES_MAX,
            unit: "bytes",
        });
    }
    let told = LedgerCheckpointed {
        size: command.size,
        root: command.root,
        checkpoint: command.checkpoint.clone(),
    };
    Ok(noted_by_the_program(None, subject, told.into()))
}

/// Notes that somebody reads across records: the one who asks.
pub(super) fn note_read(
    state: &State,
    request: &Request,
    command: NoteLedgerRead,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let subject = ledger(state)?;
    let access = match command.organization {
        Some(organization) => admit(state, request, facts, Action::ReadLedger, organization)?,
        None => {
            let authority = state.authority(request.actor, facts.now)?;
            may(authority, state.catalogue(), Action::ReadLedger, None)?
        }
    };
    let authority = access.authority();
    // The events of all organizations are read by who may act in all of them.
    if command.organization.is_none() && !authority.platform {
        return Err(Rejection::Forbidden { needs: PLATFORM });
    }
    let read = LedgerRead {
        organization_id: command.organization,
        what: command.what,
    };
    Ok(of_ledger(subject, vec![read.into()], authority.clone()))
}

/// Another signing key. The one before it may sign beside it for a while; those before that one
/// end at once, so that never more than two sign.
pub(super) fn rotate_signing_key(
    state: &State,
    request: &Request,
    command: &RotateSigningKey,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let authority = by_the_operator(state, request, facts)?;
    let subject = ledger(state)?;
    let vkeys = &state.ledger().vkeys;
    checks::line("vkey", &command.vkey, VKEY_CHARS_MAX)?;
    if command.overlap_days > OVERLAP_DAYS_MAX {
        return Err(Rejection::SigningOverlapTooLong {
            max: OVERLAP_DAYS_MAX,
        });
    }
    let newest = vkeys.last().ok_or(Rejection::NotFound {
        what: "signing key",
    })?;
    if newest.vkey == command.vkey {
        return Ok(of_ledger(subject, vec![], authority));
    }
    if vkeys.iter().any(|known| known.vkey == command.vkey) {
        return Err(Rejection::SigningKeyReused);
    }
    if vkeys.len() >= SIGNING_KEYS_MAX {
        return Err(Rejection::LimitReached {
            what: "signing keys",
            max: SIGNING_KEYS_MAX as u64,
        });
    }
    let overlap_ms = i64::from(command.overlap_days) * DAY_MS;
    let rotated = SigningKeyRotated {
        vkey: command.vkey.clone(),
        previous_vkey: newest.vkey.clone(),
        overlap_until: facts.now.plus_ms(overlap_ms),
    };
    Ok(of_ledger(subject, vec![rotated.into()], authority))
}

/// Gives up positions that lost events may have had, a piece at a time: the same command again goes
/// on with a restore that is under way.
pub(super) fn record_restore(
    state: &State,
    request: &Request,
    command: RecordRestore,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let authority = by_the_operator(state, request, facts)?;
    let subject = ledger(state)?;
    let known = state.ledger();
    let restore = match known.unfinished_restore() {
        Some(under_way) => under_way,
        None => begin_restore(state, command)?,
    };
    let left = restore.resumes_at + 1 - known.events;
    let events = (0..left.min(command.at_once)).map(|_| restore.into());
    Ok(of_ledger(subject, events.collect(), authority))
}

fn begin_restore(state: &State, command: RecordRestore) -> Result<LedgerRestored, Rejection> {
    let known = state.ledger();
    if !(1..=POSITIONS_GIVEN_UP_MAX).contains(&command.positions) {
        return Err(Rejection::PositionsOutOfRange {
            max: POSITIONS_GIVEN_UP_MAX,
        });
    }
    if known.restores.len() >= RESTORES_MAX {
        return Err(Rejection::LimitReached {
            what: "restores of a ledger",
            max: RESTORES_MAX as u64,
        });
    }
    Ok(LedgerRestored {
        size: known.events,
        resumes_at: known.events + command.positions,
    })
}

fn ledger(state: &State) -> Result<Subject, Rejection> {
    let log_id = state.ledger().log_id;
    log_id
        .map(Subject::Ledger)
        .ok_or(Rejection::NotFound { what: "ledger" })
}

fn of_ledger(subject: Subject, facts: Vec<Fact>, authority: Authority) -> Decision {
    let change = |fact| Change {
        organization: None,
        subject,
        fact,
    };
    Decision {
        changes: facts.into_iter().map(change).collect(),
        subject,
        token: None,
        sign_in: None,
        endpoint_secret: None,
        authority,
    }
}
