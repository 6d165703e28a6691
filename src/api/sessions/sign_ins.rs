//! What limits signing in, for all clients together.

use crate::api::sessions::attempts::Attempts;
use crate::api::sessions::passwords::Passwords;

/// Counts of attempts, and the queue of password hashes.
#[derive(Default)]
pub(crate) struct SignIns {
    pub(super) attempts: Attempts,
    pub(super) passwords: Passwords,
}
