//! The ledger itself, for who checks it: the published tree, receipts, stored events.
//!
//! Owns the form of these answers and nothing else: what is published comes from `tiles`, what is
//! stored from the log, byte for byte. The tree shows how many events there are and how fast they
//! come, and is open to all unless the operator closes it; payloads are for those who may read the
//! ledger, each its own organization's.

pub(crate) mod as_of;
pub(crate) mod checkpoints;
pub(crate) mod moment;
pub(crate) mod noted;
pub(crate) mod position;
pub(crate) mod proofs;
pub(crate) mod stored_events;
pub(crate) mod tiles;

use std::time::Duration;

use crate::domain::access::Action;
use crate::domain::ids::OrganizationId;
use crate::tiles::ProofUnavailable;
use crate::web::app::App;
use crate::web::auth::Caller;
use crate::web::call::Call;
use crate::web::problem::Problem;

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
    let size = tiles
        .newest_published()
        .map_or(0, |newest| newest.checkpoint.size);
    if size > position {
        return Ok(());
    }
    let _waiting = call
        .app
        .past
        .wait_for_checkpoint(call.caller.authority.organization)?;
    match tiles.wait_until_published(position, WITHIN).await {
        true => Ok(()),
        false => Err(not_published()),
    }
}

impl From<ProofUnavailable> for Problem {
    fn from(why: ProofUnavailable) -> Self {
        match why {
            ProofUnavailable::NotPublished => not_published(),
            ProofUnavailable::UnknownCheckpoint(_) | ProofUnavailable::OutOfRange(_) => {
                Self::invalid_query("size", why.to_string())
            }
            ProofUnavailable::Tree(why) => Self::internal("the tree could not be read", &why),
        }
    }
}

/// Whether a caller may still read the stored events of an organization, or those of all.
fn may_read_ledger(
    organization: Option<OrganizationId>,
) -> impl Fn(&App, &Caller) -> Result<bool, Problem> {
    move |app, caller| match organization {
        Some(organization) => {
            caller.may(app, Action::ReadLedger, organization)?;
            Ok(true)
        }
        None => {
            caller.may_at_home(app, Action::ReadLedger)?;
            Ok(caller.authority.platform)
        }
    }
}
