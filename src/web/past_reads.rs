//! What reads of the past hold for long: memory, and places to wait in, with a share for each
//! organization and each address.

use std::net::IpAddr;

use crate::ledger::history::HistoryError;
use crate::ledger::past::Pace;
use crate::ledger::turns::{NoTurn, Tenant, Turn};
use crate::web::problem::Problem;
use crate::web::shares::{FairShares, Holder, Share, ShareLimits};

/// Readings of whole pasts that callers of one organization have at once.
const AT_ONCE_MAX: usize = 2;
/// The same of all organizations.
const AT_ONCE_IN_ALL_MAX: usize = 12;
/// Bytes of the records that such readings of one organization hold, and of those that come from
/// one address: some 250,000 credentials.
const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The same of all: with a third of what is free, the first organization has all of its own.
const HELD_BYTES_IN_ALL_MAX: usize = 3 * HELD_BYTES_MAX;
/// Requests of one organization that wait for a checkpoint: they are among the
/// 4,096 that read at all.
const WAITING_MAX: usize = 256;
/// The same of all organizations.
const WAITING_IN_ALL_MAX: usize = 2_048;
/// The same of all addresses.
const TILES_IN_ALL_MAX: usize = 512;

/// Reads of published tiles that come from one address: as many as a client makes side by side.
pub(crate) const TILES_MAX: usize = 64;

/// What reads of the past hold for long.
pub(crate) struct PastReads {
    /// Pasts of whole organizations that are in RAM.
    whole: FairShares,
    /// Bytes of their records.
    bytes: FairShares,
    /// Places of those who wait for a checkpoint.
    waiting: FairShares,
    /// Places of those who read tiles.
    tiles: FairShares,
}

impl Default for PastReads {
    fn default() -> Self {
        Self {
            whole: FairShares::new(ShareLimits {
                all: AT_ONCE_IN_ALL_MAX,
                each: AT_ONCE_MAX,
            }),
            bytes: FairShares::new(ShareLimits {
                all: HELD_BYTES_IN_ALL_MAX,
                each: HELD_BYTES_MAX,
            }),
            waiting: FairShares::new(ShareLimits {
                all: WAITING_IN_ALL_MAX,
                each: WAITING_MAX,
            }),
            tiles: FairShares::new(ShareLimits {
                all: TILES_IN_ALL_MAX,
                each: TILES_MAX,
            }),
        }
    }
}

/// A past of a whole organization, in RAM until this is dropped.
pub(crate) struct HeldPast {
    bytes: Share,
    _place: Share,
}

impl HeldPast {
    /// Reads it in turns, and no more than its organization and its address may hold.
    pub(crate) fn reading<T>(
        &mut self,
        turn: &mut Turn,
        read: impl FnOnce(&mut Pace<'_>) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        let bytes = &mut self.bytes;
        read(&mut Pace {
            turn,
            may_hold: &mut |held| bytes.grow(held.saturating_sub(bytes.amount())),
        })
    }
}

impl PastReads {
    /// A place for one reading of an organization's past, which holds nothing yet.
    pub(crate) fn begin(
        &self,
        tenant: Tenant,
        address: Option<IpAddr>,
    ) -> Result<HeldPast, Problem> {
        let place = self.whole.take([Holder::Tenant(tenant)], 1);
        let address = Holder::of_address(address);
        let holders = address.into_iter().chain([Holder::Tenant(tenant)]);
        Ok(HeldPast {
            bytes: self.bytes.empty(holders),
            _place: place.ok_or_else(busy)?,
        })
    }

    /// A place to wait for a checkpoint, which takes up to two seconds.
    pub(crate) fn wait_for_checkpoint(&self, tenant: Tenant) -> Result<Share, Problem> {
        let share = self.waiting.take([Holder::Tenant(tenant)], 1);
        share.ok_or_else(busy)
    }

    /// A place to read tiles, which need no credential.
    pub(crate) fn read_tiles(&self, address: Option<IpAddr>) -> Result<Share, Problem> {
        let share = self.tiles.take(Holder::of_address(address), 1);
        share.ok_or_else(|| {
            Problem::unavailable(
                "past_busy",
                "too many reads of tiles are waiting; retry later",
            )
        })
    }
}

/// Too much of an organization's own is being read.
pub(crate) fn busy() -> Problem {
    Problem::unavailable(
        "past_busy",
        "too many historical reads of this organization are running; retry later",
    )
}

impl From<NoTurn> for Problem {
    fn from(why: NoTurn) -> Self {
        match why {
            NoTurn::Busy => busy(),
            NoTurn::Panicked(why) => Self::internal("a read of the past panicked", &why),
        }
    }
}
