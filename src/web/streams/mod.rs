//! What goes on for long: how many streams and long polls there may be, and who may have them.
//!
//! Owns the places ([`Streams`]), the access of a caller who was let in ([`StreamAccess`]), and how
//! events get to a connection ([`Line`]). Must never go on for a caller who has ended, or who would
//! be shown something else now. Events flow from those who follow a feed to their connections.

mod access;
mod line;

use std::time::Duration;

use crate::ledger::turns::Tenant;
use crate::web::problem::Problem;
use crate::web::shares::{FairShares, Holder, Share, ShareLimits};

pub(crate) use access::StreamAccess;
pub(crate) use line::{Line, Over, resumed};

/// Streams of a sort that are open at once: each wakes for every entry, some 10 microseconds.
const STREAMS_MAX: usize = 256;
/// Streams of one organization, while the others leave three times as many free.
const STREAMS_EACH_MAX: usize = 64;
/// How often it is looked whether a caller still stands: a second is promised.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How many streams are open, and whose.
pub(crate) struct Streams(FairShares);

impl Default for Streams {
    fn default() -> Self {
        Self(FairShares::new(ShareLimits {
            all: STREAMS_MAX,
            each: STREAMS_EACH_MAX,
        }))
    }
}

impl Streams {
    pub(crate) fn open(&self, of: Tenant) -> Result<Share, Problem> {
        self.0.take([Holder::Tenant(of)], 1).ok_or_else(|| {
            Problem::unavailable(
                "streams_exhausted",
                "too many streams of this organization are open; close one or retry later",
            )
        })
    }
}
