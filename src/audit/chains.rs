//! The chains that run through the log: each organization's, each record's, and time.
//!
//! Owns the check that every event stands where it says and follows the one that it names. Must
//! never parse more of a payload than its beginning. It holds some 60 bytes for each organization
//! and record that it has seen, whatever the number of their events.

use std::collections::BTreeMap;

use super::verdict::{Finding, Kind};
use crate::domain::heading::Whereabouts;
use crate::domain::ids::{OrganizationId, Subject};
use crate::merkle::Hash;

/// Bytes of an instant as this program writes it.
const INSTANT_BYTES: usize = 24;

/// How far each chain has come.
#[derive(Debug, Default)]
pub(super) struct Chains {
    organizations: BTreeMap<OrganizationId, (u64, Hash)>,
    versions: BTreeMap<Subject, u32>,
    last_at: [u8; INSTANT_BYTES],
}

impl Chains {
    /// Takes the next event of the log and gives its whereabouts.
    pub(super) fn take<'a>(
        &mut self,
        position: u64,
        payload: &'a [u8],
        commitment: &Hash,
    ) -> Result<Whereabouts<'a>, Finding> {
        let refuse = |kind, what: String| Finding::new(kind, what).at_position(position);
        let found = Whereabouts::of(payload).ok_or_else(|| {
            let what = "its beginning is not that of an event";
            refuse(Kind::EventForm, what.to_owned())
        })?;
        if found.position != position {
            let what = format!("it says that its position is {}", found.position);
            return Err(refuse(Kind::EventPosition, what));
        }
        let at: Result<[u8; INSTANT_BYTES], _> = found.occurred_at.as_bytes().try_into();
        let at = at.map_err(|_length| {
            let what = format!("its time is {:?}", found.occurred_at);
            refuse(Kind::EventForm, what)
        })?;
        if at < self.last_at {
            let what = format!("it happened at {}, before the last one", found.occurred_at);
            return Err(refuse(Kind::EventTime, what));
        }
        self.last_at = at;
        let version = self.versions.entry(found.subject).or_default();
        *version += 1;
        if *version != found.subject_version {
            let (subject, said) = (found.subject, found.subject_version);
            let what = format!("it is event {said} of {subject}, where {version} must stand");
            return Err(refuse(Kind::SubjectVersion, what));
        }
        if let Some((organization, sequence, previous)) = found.chain {
            let before = self.organizations.get_mut(&organization);
            let next = before.as_ref().map_or(0, |(last, _)| last + 1);
            if sequence != next {
                let what =
                    format!("it is event {sequence} of {organization}, where {next} must stand");
                return Err(refuse(Kind::OrganizationSequence, what));
            }
            let named = previous.map(|digest| digest.0);
            if named != before.as_ref().map(|(_, commitment)| *commitment) {
                let what = format!("it does not follow the event before it of {organization}");
                return Err(refuse(Kind::OrganizationPrevious, what));
            }
            let here = (sequence, *commitment);
            match before {
                Some(before) => *before = here,
                None => drop(self.organizations.insert(organization, here)),
            }
        }
        Ok(found)
    }

    /// How many organizations have been seen.
    pub(super) fn organizations(&self) -> usize {
        self.organizations.len()
    }
}
