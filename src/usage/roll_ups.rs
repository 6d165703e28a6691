//! Writing roll-ups: tallies of hours that are over become records of the second stream.
//!
//! Each is linked to the one before of its credential, as calls are. Where the disk refuses,
//! nothing changes, and what was not written stays with who asked.

use std::io;
use std::sync::atomic::Ordering;

use super::keys::Closed;
use super::stream::{BLOCK_BYTES_MAX, Records};
use super::{Shared, tally};
use crate::domain::time::Timestamp;

/// Writes tallies as roll-ups, each linked to the one before of its credential; those that are
/// written are taken out.
pub(super) fn write_roll_ups(shared: &Shared, closed: &mut Vec<Closed>) -> io::Result<()> {
    while !closed.is_empty() {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for (id, tally) in closed.iter() {
            if bytes.len() > BLOCK_BYTES_MAX / 4 {
                break;
            }
            places.push(bytes.len());
            tally.put(&mut bytes, *id, Some(&shared.personal));
        }
        write_roll_up_block(shared, &mut bytes, (closed, &places))?;
        closed.drain(..places.len());
    }
    Ok(())
}

/// Appends one block of roll-ups, whose records begin at `places`.
fn write_roll_up_block(
    shared: &Shared,
    bytes: &mut [u8],
    (closed, places): (&[Closed], &[usize]),
) -> io::Result<()> {
    let hours = closed.iter().take(places.len());
    let hours = hours.map(|(_, tally)| Timestamp(i64::from(tally.hour) * tally::HOUR_MS));
    let span = (hours.clone().min(), hours.max());
    let (Some(earliest), Some(latest)) = span else {
        return Ok(());
    };
    let mut roll_ups = shared.roll_ups();
    let begin = roll_ups.prepare(bytes.len())?;
    let mut links = Vec::with_capacity(places.len());
    for ((id, _), at) in closed.iter().zip(places) {
        let key = shared.keys.entry(*id);
        let newest = &key.newest_roll_up;
        let before = newest.swap(begin + *at as u64, Ordering::AcqRel);
        tally::set_previous(bytes.get_mut(*at..).unwrap_or_default(), before);
        links.push((key, before));
    }
    let appended = roll_ups.append(Records {
        bytes,
        count: u32::try_from(places.len()).unwrap_or(u32::MAX),
        span: (earliest, latest),
    });
    if appended.is_err() {
        for (key, before) in links.into_iter().rev() {
            key.newest_roll_up.store(before, Ordering::Release);
        }
    }
    appended
}
