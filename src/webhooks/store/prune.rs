//! Removing attempts: those that are too old, and those of who holds more than an even share.

use std::collections::BTreeMap;

use redb::{ReadableTable, ReadableTableMetadata};

use super::attempt_shares::{self, COUNTS};
use super::{
    ATTEMPTS, ATTEMPTS_OF, DELIVERIES, DeliveryStore, DeliveryStoreError, decode_row, delivery_rows,
};
use crate::domain::ids::EndpointId;
use crate::domain::time::Timestamp;
use crate::webhooks::delivery::AttemptRecord;

/// Attempts that are kept: with 4 KB of answer each, 2 GB; usually a tenth of it.
const ATTEMPTS_MAX: u64 = 500_000;
/// Attempts that one call of [`DeliveryStore::prune_attempts`] removes.
const PRUNED_MAX: usize = 20_000;

impl DeliveryStore {
    /// Removes attempts that began before `cutoff`, oldest first, then those beyond what is kept,
    /// of who holds more than an even share; whether there are more to remove.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn prune_attempts(&self, cutoff: Timestamp) -> Result<bool, DeliveryStoreError> {
        self.catch_damage(|| self.prune_to_room(cutoff, ATTEMPTS_MAX))
    }

    /// Costs what it removes: attempts are numbered as they end, so that old ones come first, and
    /// nothing that stays is read but the first that is not old.
    pub(super) fn prune_to_room(
        &self,
        cutoff: Timestamp,
        room: u64,
    ) -> Result<bool, DeliveryStoreError> {
        let mut doomed = self.outdated_attempts(cutoff)?;
        if doomed.len() < PRUNED_MAX {
            self.add_surplus(&mut doomed, room)?;
        }
        if doomed.is_empty() {
            return Ok(false);
        }
        let writing = self.begin_write()?;
        {
            let mut attempts = writing.open_table(ATTEMPTS)?;
            let mut of = writing.open_table(ATTEMPTS_OF)?;
            let mut deliveries = writing.open_table(DELIVERIES)?;
            let mut counts = writing.open_table(COUNTS)?;
            for (number, endpoint) in &doomed {
                let removed: Option<AttemptRecord> = decode_row(attempts.remove(*number)?)?;
                of.remove((endpoint.ulid().0, *number))?;
                attempt_shares::count_removed(&mut counts, *endpoint, 1)?;
                if let Some(removed) = removed {
                    delivery_rows::remove_attempt(
                        &mut deliveries,
                        (*endpoint, removed.delivery),
                        *number,
                    )?;
                }
            }
        }
        writing.commit()?;
        Ok(doomed.len() == PRUNED_MAX)
    }

    /// The first attempts, as long as they began before `cutoff`.
    fn outdated_attempts(
        &self,
        cutoff: Timestamp,
    ) -> Result<BTreeMap<u64, EndpointId>, DeliveryStoreError> {
        let reading = self.begin_read()?;
        let mut doomed = BTreeMap::new();
        for attempt in reading.open_table(ATTEMPTS)?.iter()? {
            let (number, attempted) = attempt?;
            let attempted: AttemptRecord = postcard::from_bytes(attempted.value())?;
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
    ) -> Result<(), DeliveryStoreError> {
        let reading = self.begin_read()?;
        if reading.open_table(ATTEMPTS)?.len()? - doomed.len() as u64 <= room {
            return Ok(());
        }
        let mut held = attempt_shares::read_counts(&reading)?;
        for one in &mut held {
            let gone = doomed
                .values()
                .filter(|endpoint| **endpoint == one.endpoint);
            one.attempts = one.attempts.saturating_sub(gone.count() as u64);
        }
        let of = reading.open_table(ATTEMPTS_OF)?;
        for (endpoint, attempts) in attempt_shares::surplus_by_endpoint(&held, room) {
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
