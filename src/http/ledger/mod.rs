//! The ledger itself, for who checks it: the published tree, receipts, stored events.
//!
//! Owns the form of these answers and nothing else: what is published comes from `tiles`, what is
//! stored from the log, byte for byte. The tree shows how many events there are and how fast they
//! come, and is open to all unless the operator closes it; payloads are for those who may read the
//! ledger, each its own organization's.

pub(super) mod checkpoints;
pub(super) mod events;
pub(super) mod noted;
pub(super) mod past;
pub(super) mod proofs;
pub(super) mod tree;

use super::call::Call;
use super::problem::Problem;
use crate::tiles::NoReceipt;

/// What has not been published yet will be within a second or two.
fn not_published() -> Problem {
    Problem::unavailable(
        "not_published",
        "no published checkpoint covers that yet; one comes every second",
    )
}

impl From<NoReceipt> for Problem {
    fn from(why: NoReceipt) -> Self {
        match why {
            NoReceipt::NotPublished => not_published(),
            NoReceipt::NoCheckpoint(_) | NoReceipt::Beyond(_) => {
                Self::invalid_query("size", why.to_string())
            }
            NoReceipt::Tree(why) => Self::internal("the tree could not be read", &why),
        }
    }
}

/// Reads of files: off the async threads.
async fn off_thread<T: Send + 'static>(
    call: &Call,
    read: impl FnOnce(&crate::ledger::Ledger) -> T + Send + 'static,
) -> Result<T, Problem> {
    super::past::off_thread(call, read).await
}
