//! Roll-ups: how often a credential was used in one hour, by outcome, endpoint and address.
//!
//! Owns the counts of the hour that is running and the form in which they are written, as records
//! of a second stream. A credential may have several records for one hour; they are added up when
//! they are read. Little-endian: `bytes u32 | previous u64 | credential 16 | hour u32 | outcomes
//! 11 x u32 | shed u32`, then the endpoints (u8 of them, each u16 and bytes, count u32) and the
//! addresses (the same). Of a person's credential, 255, the person 16 and the nonce and the text of
//! both, sealed, take their place; nothing follows the person where the person's key is gone.

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;

use super::VerificationCode;
use super::call_record::{ByteReader, CallRecord, NO_ADDRESS};
use super::personal_sealer::{PersonalSealContext, PersonalSealer, SealedPart};
use super::retention_shares::CallPlacement;
use crate::domain::ids::{CredentialId, OrganizationId, UserId};
use crate::domain::time::Timestamp;

/// Endpoints and addresses of one hour that are counted apart; the rest are summed up.
const APART_MAX: usize = 32;
/// Endpoints of calls beyond a share, including those that are counted already.
const APART_OF_OVERFLOW_MAX: usize = 8;
/// The value that sums up the rest.
pub(super) const OTHER_VALUES: &str = "(other)";
/// The value for calls from an unknown address.
pub(super) const UNKNOWN_ADDRESS: &str = "(unknown)";
/// Marks sealed values in the place of their number, which is 33 at most.
const SEALED: u8 = u8::MAX;
const OUTCOMES: usize = 11;
const PREVIOUS_AT: usize = 4;
pub(super) const HOUR_MS: i64 = 60 * 60 * 1_000;

/// The counts of one credential in one hour.
///
/// In the order in which a call touches them: of the waits for memory that counting a call of a
/// random credential takes, each line of the cache that is not needed saves one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[repr(C)]
pub(super) struct HourTally {
    /// Hours since the Unix epoch.
    pub(super) hour: u32,
    outcomes: [u32; OUTCOMES],
    shed: u32,
    /// The address that came first, `None` within where there was none.
    address: Option<(Option<IpAddr>, u32)>,
    /// The endpoint that came first, with a hash of it: most credentials have few, and their texts
    /// need not be fetched to be told apart.
    endpoint: Option<(u64, Box<str>, u32)>,
    /// Calls of endpoints and from addresses beyond those that are counted apart.
    endpoints_other: u32,
    addresses_other: u32,
    endpoints: Vec<(u64, Box<str>, u32)>,
    addresses: Vec<(Option<IpAddr>, u32)>,
    /// The member whose credential it is, once a call has said so.
    person: Option<UserId>,
    /// Whose share it takes.
    pub(super) organization: OrganizationId,
}

/// A roll-up as it is read back.
#[derive(Debug)]
pub(super) struct RollUpRecord<'a> {
    pub(super) previous: u64,
    pub(super) credential: CredentialId,
    pub(super) hour: u32,
    pub(super) outcomes: [u32; OUTCOMES],
    pub(super) shed: u32,
    pub(super) values: StoredRollUpValues<'a>,
}

/// The endpoints and addresses of a roll-up as they are stored.
#[derive(Debug)]
pub(super) enum StoredRollUpValues<'a> {
    Plain(RollUpValues<'a>),
    /// Under the key of a person.
    Sealed(UserId, &'a [u8]),
}

/// The endpoints and addresses of a roll-up, with how many calls each has.
#[derive(Debug)]
pub(super) struct RollUpValues<'a> {
    pub(super) endpoints: Vec<(&'a str, u32)>,
    pub(super) addresses: Vec<(&'a str, u32)>,
}

/// The hour of an instant.
pub(super) fn hour_of(at: Timestamp) -> u32 {
    u32::try_from(at.0.div_euclid(HOUR_MS)).unwrap_or(0)
}

impl HourTally {
    /// An hour without a call.
    pub(super) fn new(hour: u32, organization: OrganizationId) -> Self {
        Self {
            hour,
            organization,
            outcomes: [0; OUTCOMES],
            shed: 0,
            person: None,
            endpoint: None,
            endpoints: Vec::new(),
            address: None,
            addresses: Vec::new(),
            endpoints_other: 0,
            addresses_other: 0,
        }
    }

    /// Counts a record of its hour, which goes to a lane; by how many bytes that makes it longer,
    /// about.
    pub(super) fn add_record(&mut self, counted: &CallRecord<'_>, lane: CallPlacement) -> usize {
        let outcome = usize::from(super::outcome_byte::outcome_byte(counted.outcome));
        if let Some(count) = self.outcomes.get_mut(outcome) {
            *count = count.saturating_add(counted.calls);
        }
        if lane == CallPlacement::Collapsed {
            self.shed = self.shed.saturating_add(counted.calls);
        }
        let Some(detail) = &counted.detail else {
            return 0;
        };
        self.person = self.person.or(detail.person);
        let Some(texts) = detail.plain_texts() else {
            self.endpoints_other = self.endpoints_other.saturating_add(1);
            self.addresses_other = self.addresses_other.saturating_add(1);
            return 0;
        };
        self.add_address(texts.ip) + self.add_endpoint(texts.endpoint, endpoints_max(lane))
    }

    fn add_endpoint(&mut self, endpoint: &str, apart_max: usize) -> usize {
        let hash = hash_of(endpoint);
        let mut known = self.endpoint.iter_mut().chain(&mut self.endpoints);
        if let Some((_, _, count)) = known.find(|(known, _, _)| *known == hash) {
            *count = count.saturating_add(1);
            return 0;
        }
        if apart_max == 0 {
            self.endpoints_other = self.endpoints_other.saturating_add(1);
            return 0;
        }
        if self.endpoint.is_none() {
            self.endpoint = Some((hash, endpoint.into(), 1));
        } else if self.endpoints.len() < apart_max {
            self.endpoints.push((hash, endpoint.into(), 1));
        } else {
            self.endpoints_other = self.endpoints_other.saturating_add(1);
            return 0;
        }
        endpoint.len() + 32
    }

    fn add_address(&mut self, ip: Option<IpAddr>) -> usize {
        let mut known = self.address.iter_mut().chain(&mut self.addresses);
        if let Some((_, count)) = known.find(|(known, _)| *known == ip) {
            *count = count.saturating_add(1);
            return 0;
        }
        if self.address.is_none() {
            self.address = Some((ip, 1));
        } else if self.addresses.len() < APART_MAX {
            self.addresses.push((ip, 1));
        } else {
            self.addresses_other = self.addresses_other.saturating_add(1);
            return 0;
        }
        24
    }

    fn endpoints(&self) -> Vec<(&str, u32)> {
        let known = self.endpoint.iter().chain(&self.endpoints);
        let known = known.map(|(_, text, count)| (&**text, *count));
        let other = (self.endpoints_other > 0).then_some((OTHER_VALUES, self.endpoints_other));
        known.chain(other).collect()
    }

    fn addresses(&self) -> Vec<(String, u32)> {
        let text = |ip: &Option<IpAddr>| {
            ip.map_or_else(|| UNKNOWN_ADDRESS.to_owned(), |ip| ip.to_string())
        };
        let known = self.address.iter().chain(&self.addresses);
        let known = known.map(|(ip, count)| (text(ip), *count));
        let other =
            (self.addresses_other > 0).then(|| (OTHER_VALUES.to_owned(), self.addresses_other));
        known.chain(other).collect()
    }

    /// Appends it as a record, which goes to the disk where it is given what seals.
    pub(super) fn put_roll_up(
        &self,
        to: &mut Vec<u8>,
        credential: CredentialId,
        personal: Option<&PersonalSealer>,
    ) {
        let start = to.len();
        to.extend_from_slice(&[0; 4]);
        to.extend_from_slice(&NO_ADDRESS.to_le_bytes());
        to.extend_from_slice(&credential.ulid().0.to_le_bytes());
        to.extend_from_slice(&self.hour.to_le_bytes());
        for count in self.outcomes {
            to.extend_from_slice(&count.to_le_bytes());
        }
        to.extend_from_slice(&self.shed.to_le_bytes());
        match (self.person, personal) {
            (Some(person), Some(personal)) => {
                let mut plain = Vec::new();
                self.put_values(&mut plain);
                to.push(SEALED);
                to.extend_from_slice(&person.ulid().0.to_le_bytes());
                let place = seal_context(person, credential, self.hour);
                to.extend_from_slice(&personal.seal_text(place, &plain));
            }
            (Some(_) | None, _) => self.put_values(to),
        }
        let bytes = u32::try_from(to.len() - start).unwrap_or(u32::MAX);
        if let Some(place) = to.get_mut(start..start + 4) {
            place.copy_from_slice(&bytes.to_le_bytes());
        }
    }

    fn put_values(&self, to: &mut Vec<u8>) {
        put_counts(to, self.endpoints().into_iter());
        let addresses = self.addresses();
        let addresses = addresses.iter();
        put_counts(to, addresses.map(|(text, count)| (text.as_str(), *count)));
    }
}

/// Where the values of an hour are sealed.
fn seal_context(person: UserId, credential: CredentialId, hour: u32) -> PersonalSealContext {
    PersonalSealContext {
        person,
        credential,
        part: SealedPart::Hour(hour),
    }
}

/// Endpoints of one hour that are counted apart. What has no share of the kept calls adds few texts
/// to the counts, or none: they too are kept for long.
fn endpoints_max(lane: CallPlacement) -> usize {
    match lane {
        CallPlacement::Kept => APART_MAX,
        CallPlacement::Overflow => APART_OF_OVERFLOW_MAX,
        CallPlacement::Collapsed => 0,
    }
}

/// Distinguishes texts of one tally. Two of 33 that share 64 bits would be counted as one.
fn hash_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

fn put_counts<'a>(to: &mut Vec<u8>, counts: impl ExactSizeIterator<Item = (&'a str, u32)>) {
    to.push(u8::try_from(counts.len()).unwrap_or(u8::MAX));
    for (text, count) in counts {
        let bytes = u16::try_from(text.len()).unwrap_or(u16::MAX);
        to.extend_from_slice(&bytes.to_le_bytes());
        to.extend_from_slice(text.as_bytes());
        to.extend_from_slice(&count.to_le_bytes());
    }
}

/// Sets the address of the credential's roll-up before this one.
pub(super) fn set_previous_roll_up(record: &mut [u8], previous: u64) {
    if let Some(place) = record.get_mut(PREVIOUS_AT..PREVIOUS_AT + 8) {
        place.copy_from_slice(&previous.to_le_bytes());
    }
}

/// Parses a roll-up; `None` if the bytes are not one.
pub(super) fn parse_roll_up(record: &[u8]) -> Option<RollUpRecord<'_>> {
    let mut from = ByteReader(record);
    from.read_u32()?;
    let previous = from.read_u64()?;
    let credential = CredentialId(from.read_ulid()?);
    let hour = from.read_u32()?;
    let mut outcomes = [0; OUTCOMES];
    for count in &mut outcomes {
        *count = from.read_u32()?;
    }
    Some(RollUpRecord {
        previous,
        credential,
        hour,
        outcomes,
        shed: from.read_u32()?,
        values: match from.0.split_first() {
            Some((&SEALED, rest)) => {
                from.0 = rest;
                StoredRollUpValues::Sealed(UserId(from.read_ulid()?), from.0)
            }
            Some(_) | None => StoredRollUpValues::Plain(read_values(from)?),
        },
    })
}

fn read_values(mut from: ByteReader<'_>) -> Option<RollUpValues<'_>> {
    Some(RollUpValues {
        endpoints: read_counts(&mut from)?,
        addresses: read_counts(&mut from)?,
    })
}

fn read_counts<'a>(from: &mut ByteReader<'a>) -> Option<Vec<(&'a str, u32)>> {
    let count = from.read_u8()?;
    (0..count)
        .map(|_| Some((from.read_long_text()?, from.read_u32()?)))
        .collect()
}

impl RollUpRecord<'_> {
    /// Gives its values to `take`, opened where they are sealed and can be.
    pub(super) fn with_values(
        &self,
        personal: &PersonalSealer,
        take: impl FnOnce(&RollUpValues<'_>),
    ) {
        match &self.values {
            StoredRollUpValues::Plain(values) => take(values),
            StoredRollUpValues::Sealed(person, sealed) => {
                let place = seal_context(*person, self.credential, self.hour);
                let opened = personal.open_text(place, sealed);
                if let Some(values) = opened
                    .as_deref()
                    .and_then(|text| read_values(ByteReader(text)))
                {
                    take(&values);
                }
            }
        }
    }

    /// The calls by their outcome.
    pub(super) fn nonzero_outcomes(&self) -> impl Iterator<Item = (VerificationCode, u32)> {
        let counts = VerificationCode::ALL.into_iter().zip(self.outcomes);
        counts.filter(|(_, count)| *count > 0)
    }
}
