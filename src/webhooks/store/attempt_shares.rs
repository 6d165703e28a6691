//! What each endpoint's attempts take of the file, and who gives way when there are too many.
//!
//! Owns the table of counts, which changes in the transaction that adds or removes the attempts.
//! Must never look at an attempt: the counts alone say whose are too many.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition};
use ulid::Ulid;

use super::DeliveryStoreError;
use crate::domain::ids::{EndpointId, OrganizationId};

/// The organization of an endpoint, and how many of its attempts are kept.
pub(super) const COUNTS: TableDefinition<'_, u128, (u128, u64)> = TableDefinition::new("counts");

type CountsTable<'t> = Table<'t, u128, (u128, u64)>;

/// Attempts that are kept of one endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct EndpointAttemptCount {
    pub(super) organization: OrganizationId,
    pub(super) endpoint: EndpointId,
    pub(super) attempts: u64,
}

/// Counts attempts that are added. Who owns the endpoint is known by then.
pub(super) fn count_added(
    counts: &mut CountsTable<'_>,
    (organization, endpoint): (OrganizationId, EndpointId),
) -> Result<(), DeliveryStoreError> {
    let key = endpoint.ulid().0;
    let before = counts.get(key)?.map_or(0, |found| found.value().1);
    counts.insert(key, (organization.ulid().0, before.saturating_add(1)))?;
    Ok(())
}

/// Counts attempts that are removed.
pub(super) fn count_removed(
    counts: &mut CountsTable<'_>,
    endpoint: EndpointId,
    attempts: u64,
) -> Result<(), DeliveryStoreError> {
    let key = endpoint.ulid().0;
    let Some((organization, before)) = counts.get(key)?.map(|found| found.value()) else {
        return Ok(());
    };
    if before > attempts {
        counts.insert(key, (organization, before - attempts))?;
    } else {
        counts.remove(key)?;
    }
    Ok(())
}

/// What every endpoint holds.
pub(super) fn read_counts(
    reading: &ReadTransaction,
) -> Result<Vec<EndpointAttemptCount>, DeliveryStoreError> {
    let mut held = Vec::new();
    for row in reading.open_table(COUNTS)?.iter()? {
        let (endpoint, found) = row?;
        let (organization, attempts) = found.value();
        held.push(EndpointAttemptCount {
            organization: OrganizationId(Ulid(organization)),
            endpoint: EndpointId(Ulid(endpoint.value())),
            attempts,
        });
    }
    Ok(held)
}

/// How many attempts each endpoint has to give up so that `room` holds the rest. The room is
/// shared evenly by organizations, and what an organization gets by its endpoints; what one does
/// not need is left to those who need more, so that nobody gives up any below an even share.
pub(super) fn surplus_by_endpoint(
    held: &[EndpointAttemptCount],
    room: u64,
) -> Vec<(EndpointId, u64)> {
    let mut organizations: BTreeMap<OrganizationId, Vec<EndpointAttemptCount>> = BTreeMap::new();
    for one in held {
        organizations
            .entry(one.organization)
            .or_default()
            .push(*one);
    }
    let total = |held: &Vec<EndpointAttemptCount>| held.iter().map(|one| one.attempts).sum();
    let share = even_share(organizations.values().map(total).collect(), room);
    let mut surplus = Vec::new();
    for held in organizations.into_values() {
        let own = even_share(held.iter().map(|one| one.attempts).collect(), share);
        let over = held.iter().filter(|one| one.attempts > own);
        surplus.extend(over.map(|one| (one.endpoint, one.attempts - own)));
    }
    surplus
}

/// The largest share with which all fit into `room`, when each takes what it needs and no more
/// than the share.
fn even_share(mut needs: Vec<u64>, room: u64) -> u64 {
    needs.sort_unstable();
    let mut left = room;
    let mut sharing = needs.len() as u64;
    for need in needs {
        if need.saturating_mul(sharing) > left {
            return left / sharing;
        }
        left -= need;
        sharing -= 1;
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_needs_less_than_an_even_share_keeps_all() {
        // Organization, endpoint, attempts, and how many of them stay.
        for (room, held) in [
            (10, vec![(1, 1, 4, 4), (2, 2, 6, 6)]),
            (10, vec![(1, 1, 900, 9), (2, 2, 1, 1)]),
            (10, vec![(1, 1, 900, 5), (2, 2, 900, 5)]),
            (10, vec![(1, 1, 900, 2), (1, 2, 3, 2), (2, 3, 5, 5)]),
            (12, vec![(1, 1, 900, 5), (1, 2, 1, 1), (2, 3, 900, 6)]),
            // Many endpoints are no larger a share.
            (
                12,
                vec![(1, 1, 9, 2), (1, 2, 9, 2), (1, 3, 9, 2), (2, 4, 6, 6)],
            ),
            (0, vec![(1, 1, 3, 0)]),
            (5, vec![]),
        ] {
            let of = |organization, endpoint, attempts| EndpointAttemptCount {
                organization: OrganizationId(Ulid(organization)),
                endpoint: EndpointId(Ulid(endpoint)),
                attempts,
            };
            let all: Vec<_> = held.iter().map(|(o, e, n, _)| of(*o, *e, *n)).collect();
            let given: BTreeMap<_, _> = surplus_by_endpoint(&all, room).into_iter().collect();
            for (organization, endpoint, attempts, stays) in held {
                let one = of(organization, endpoint, attempts);
                let gives = given.get(&one.endpoint).copied().unwrap_or(0);
                assert_eq!(attempts - gives, stays, "{room} {one:?}");
            }
        }
    }
}
