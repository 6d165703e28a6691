//! The byte of an outcome, in records and checkpoints alike.

use super::VerificationCode;

/// Outcomes by their precedence, which is the order of [`VerificationCode::ALL`] for ever.
pub(super) fn outcome_byte(outcome: VerificationCode) -> u8 {
    match outcome {
        VerificationCode::Malformed => 0,
        VerificationCode::NotFound => 1,
        VerificationCode::Revoked => 2,
        VerificationCode::Rotated => 3,
        VerificationCode::Expired => 4,
        VerificationCode::Disabled => 5,
        VerificationCode::OwnerInactive => 6,
        VerificationCode::WrongOrganization => 7,
        VerificationCode::WrongProject => 8,
        VerificationCode::InsufficientScope => 9,
        VerificationCode::Valid => 10,
    }
}

pub(super) fn outcome_from_byte(byte: u8) -> Option<VerificationCode> {
    VerificationCode::ALL.get(usize::from(byte)).copied()
}
