//! Removing attempts: those that are too old, and those of who holds more than an even share.

use std::collections::BTreeMap;

use redb::{ReadableTable, ReadableTableMetadata};

use super::shares::{self, COUNTS};
use super::{ATTEMPTS, ATTEMPTS_OF, DELIVERIES, Store, StoreError, row, rows};
use crate::domain::ids::EndpointId;
use crate::domain::time::Timestamp;
use crate::webhooks::delivery::Attempted;

/// Attempts that are kept: with 4 KB of answer each, 2 GB; usually a tenth of it.
const ATTEMPTS_MAX: u64 = 500_000;
/// Attempts that one call of [`Store::prune`] removes.
const PRUNED_MAX: usize = 20_000;

impl Store {
    /// Removes attempts that began before `cutoff`, oldest first, then those beyond what is kept,
    /// of who holds more than an even share; whether there are more to remove.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn prune(&self, cutoff: Timestamp) -> Result<bool, StoreError> {
        self.guarded(|| self.prune_to(cutoff, ATTEMPTS_MAX))
    }

    /// Costs what it removes: attempts are numbered as they end, so that old ones come first, and
    /// nothing that stays is read but the first that is not old.
    pub(super) fn prune_to(&self, cutoff: Timestamp, room: u64) -> Result<bool, StoreError> {
        let mut doomed = self.outdated(cutoff)?;
        if doomed.len() < PRUNED_MAX {
            self.add_surplus(&mut doomed, room)?;
        }
        if doomed.is_empty() {
            return Ok(false);
        }
        let writing = self.writing()?;
        {
            let mut attempts = writing.open_table(ATTEMPTS)?;
            let mut of = writing.open_table(ATTEMPTS_OF)?;
            let mut deliveries = writing.open_table(DELIVERIES)?;
            let mut counts = writing.open_table(COUNTS)?;
            for (number, endpoint) in &doomed {
                let removed: Option<Attempted> = row(attempts.remove(*number)?)?;
                of.remove((endpoint.ulid().0, *number))?;
                shares::subtract(&mut counts, *endpoint, 1)?;
                if let Some(removed) = removed {
                    rows::forget(&mut deliveries, (*endpoint, removed.delivery), *number)?;
                }
            }
        }
        writing.commit()?;
        Ok(doomed.len() == PRUNED_MAX)
    }

    /// The first attempts, as long as they began before `cutoff`.
    fn outdated(&self, cutoff: Timestamp) -> Result<BTreeMap<u64, EndpointId>, StoreError> {
        let reading = self.reading()?;
        let mut doomed = BTreeMap::new();
        for attempt in reading.open_table(ATTEMPTS)?.iter()? {
            let (number, attempted) = attempt?;
            let attempted: Attempted = postcard::from_bytes(attempted.value())?;
            if attempted.at >= cutoff || doomed.len() == PRUNED_MAX {
                break;
            }
            doomed.insert(number.value(), attempted.endpoint);
        }
        Ok(doomed)
    }

    /// Adds the oldest attempts of endpoints that hold more than their share, where there are more
    /// than `room` in all.
    fn add_surplus(
        &self,
        doomed: &mut BTreeMap<u64, EndpointId>,
        room: u64,
    ) -> Result<(), StoreError> {
        let reading = self.reading()?;
        if reading.open_table(ATTEMPTS)?.len()? - doomed.len() as u64 <= room {
            return Ok(());
        }
        let mut held = shares::all(&reading)?;
        for one in &mut held {
            let gone = doomed
                .values()
                .filter(|endpoint| **endpoint == one.endpoint);
            one.attempts = one.attempts.saturating_sub(gone.count() as u64);
        }
        let of = reading.open_table(ATTEMPTS_OF)?;
        for (endpoint, attempts) in shares::surplus(&held, room) {
            let key = endpoint.ulid().0;
            let mut left = attempts;
            for number in of.range((key, 0)..=(key, u64::MAX))? {
                if left == 0 || doomed.len() == PRUNED_MAX {
                    break;
                }
                let (_, number) = number?.0.value();
                if doomed.insert(number, endpoint).is_none() {
                    left -= 1;
                }
            }
        }
        Ok(())
    }
}
