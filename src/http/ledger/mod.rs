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

use std::time::Duration;

use super::call::Call;
use super::problem::Problem;
use crate::tiles::NoReceipt;

/// How long a read waits for the checkpoint that covers its events: there is one every second.
const WITHIN: Duration = Duration::from_secs(2);

/// What has not been published yet will be within a second or two.
fn not_published() -> Problem {
    Problem::unavailable(
        "not_published",
        "no published checkpoint covers that yet; one comes every second",
    )
}

/// Waits until a published checkpoint covers the event at a position.
async fn covered(call: &Call, position: u64) -> Result<(), Problem> {
    let tiles = call.app.ledger.tiles();
    let size = tiles.published().map_or(0, |newest| newest.checkpoint.size);
    if size > position {
        return Ok(());
    }
    let _waiting = call.app.past.wait_for_checkpoint(call)?;
    match tiles.wait_for(position, WITHIN).await {
        true => Ok(()),
        false => Err(not_published()),
    }
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
