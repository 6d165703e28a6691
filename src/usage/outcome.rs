//! The byte of an outcome, in records and checkpoints alike.

use super::Outcome;

/// Outcomes by their precedence, which is the order of [`Outcome::ALL`] for ever.
pub(super) fn outcome_byte(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Malformed => 0,
        Outcome::NotFound => 1,
        Outcome::Revoked => 2,
        Outcome::Rotated => 3,
        Outcome::Expired => 4,
        Outcome::Disabled => 5,
        Outcome::OwnerInactive => 6,
        Outcome::WrongOrganization => 7,
        Outcome::WrongProject => 8,
        Outcome::InsufficientScope => 9,
        Outcome::Valid => 10,
    }
}

pub(super) fn outcome_of(byte: u8) -> Option<Outcome> {
    Outcome::ALL.get(usize::from(byte)).copied()
}
