//! Writing roll-ups: tallies of hours that are over become records of two streams.
//!
//! Those within their credentials' and organizations' shares are kept for certain, the others in
//! the overflow; a summary adds up both. Each is linked to the one before of its credential in its
//! stream, as calls are. Where the disk refuses, nothing changes, and what was not written stays
//! with the caller.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use super::stream_blocks::{BLOCK_BYTES_MAX, BlockRecords};
use super::usage_stream::UsageStream;
use super::usage_table::{ClosedTally, CountingState, UsageEntry};
use super::{Shared, hour_tally};
use crate::domain::time::Timestamp;

/// Roll-ups of one stream that are written together.
#[derive(Default)]
struct RollUpBlock {
    bytes: Vec<u8>,
    /// The tallies, each with where its record begins.
    tallies: Vec<(ClosedTally, usize)>,
}

/// Writes tallies as roll-ups; those that are written are taken out.
pub(super) fn write_roll_ups(shared: &Shared, counting: &mut CountingState) -> io::Result<()> {
    let mut waiting = mem::take(&mut counting.closed_tallies).into_iter();
    let mut outcome = Ok(());
    while outcome.is_ok() && waiting.len() > 0 {
        let (mut kept, mut beyond) = (RollUpBlock::default(), RollUpBlock::default());
        while kept.bytes.len() + beyond.bytes.len() <= BLOCK_BYTES_MAX / 4
            && let Some((id, tally)) = waiting.next()
        {
            let mut record = Vec::new();
            tally.put_roll_up(&mut record, id, Some(&shared.personal));
            let key = shared.keys.get_or_insert(id);
            let own = &mut key.lock_usage().roll_up_charge;
            let is_kept =
                counting
                    .roll_up_shares
                    .try_charge(own, tally.organization, record.len() as u64, 1);
            let block = if is_kept { &mut kept } else { &mut beyond };
            block.tallies.push(((id, tally), block.bytes.len()));
            block.bytes.extend_from_slice(&record);
        }
        outcome = kept.append(shared, &mut shared.roll_ups(), |key| &key.newest_roll_up);
        if outcome.is_err() {
            give_back(shared, counting, &kept);
            counting.closed_tallies.extend(kept.tallies());
        } else {
            let mut stream = shared.roll_ups_overflow();
            outcome = beyond.append(shared, &mut stream, |key| &key.newest_roll_up_overflow);
        }
        if outcome.is_err() {
            counting.closed_tallies.extend(beyond.tallies());
        }
    }
    counting.closed_tallies.extend(waiting);
    outcome
}

/// Gives back what roll-ups that could not be written have taken of the shares.
fn give_back(shared: &Shared, counting: &mut CountingState, block: &RollUpBlock) {
    let ends = block.tallies.iter().skip(1).map(|(_, begin)| *begin);
    let ends = ends.chain([block.bytes.len()]);
    for (((id, tally), begin), end) in block.tallies.iter().zip(ends) {
        let key = shared.keys.get_or_insert(*id);
        let own = &mut key.lock_usage().roll_up_charge;
        let bytes = (end - begin) as u64;
        counting
            .roll_up_shares
            .refund(own, tally.organization, bytes);
    }
}

impl RollUpBlock {
    fn tallies(self) -> impl Iterator<Item = ClosedTally> {
        self.tallies.into_iter().map(|(closed, _)| closed)
    }

    /// Appends it, each roll-up linked to the one before of its credential.
    fn append(
        &mut self,
        shared: &Shared,
        stream: &mut UsageStream,
        newest: fn(&UsageEntry) -> &AtomicU64,
    ) -> io::Result<()> {
        let hours = self.tallies.iter();
        let hours =
            hours.map(|((_, tally), _)| Timestamp(i64::from(tally.hour) * hour_tally::HOUR_MS));
        let span = (hours.clone().min(), hours.max());
        let (Some(earliest), Some(latest)) = span else {
            return Ok(());
        };
        let begin = stream.make_room(self.bytes.len())?;
        let mut links = Vec::with_capacity(self.tallies.len());
        for ((id, _), at) in &self.tallies {
            let key = shared.keys.get_or_insert(*id);
            let before = newest(&key).swap(begin + *at as u64, Ordering::AcqRel);
            hour_tally::set_previous_roll_up(self.bytes.get_mut(*at..).unwrap_or_default(), before);
            links.push((key, before));
        }
        let appended = stream.append_block(BlockRecords {
            bytes: &self.bytes,
            count: u32::try_from(self.tallies.len()).unwrap_or(u32::MAX),
            span: (earliest, latest),
        });
        if appended.is_err() {
            for (key, before) in links.into_iter().rev() {
                newest(&key).store(before, Ordering::Release);
            }
        }
        appended
    }
}
