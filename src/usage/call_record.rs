//! The form of one record of the stream, to the byte.
//!
//! A record, little-endian: `bytes u16 | kind u8 | outcome u8 | previous u64 | credential 16 |
//! at i64 | duration u32 (us) | status u16 | flags u16`, 44 bytes, then what the flags say is
//! there: secret 16, organization 16, person 16, reporter 16; then the texts: address 4 or 16, the
//! endpoint (u16 and its bytes), the method (u8), the request's id (u8), the client's name (u16);
//! then the scopes (u8 of them, each u8). The texts of a person's calls are sealed on the disk: a
//! length (u16), the nonce and the sealed text, or nothing where the person's key is gone.
//! `previous` is the address of the credential's record before this one, set when the record gets
//! its own address. Kind 1 is a call; kind 2 counts calls whose detail is not kept, has its count
//! in the place of the duration and ends after the organization. Kind 3 is a call of the overflow,
//! with the address of the credential's newest kept record (u64) behind the 44 bytes.

use ulid::Ulid;

use super::call_texts::{
    CallTexts, ENDPOINT_BYTES_MAX, METHOD_BYTES_MAX, REQUEST_ID_BYTES_MAX, USER_AGENT_BYTES_MAX,
};
use super::outcome_byte::{outcome_byte, outcome_from_byte};
use super::personal_sealer::{PersonalSealContext, SEAL_OVERHEAD_BYTES, SealedPart};
use super::{CredentialCall, StoredCall, VerificationCode};
use crate::domain::ids::{CredentialId, OrganizationId, SecretId, UserId};
use crate::domain::time::Timestamp;

/// Bytes of a record before its variable part.
pub(super) const RECORD_FIXED_BYTES: usize = 44;
/// The longest record: all texts at their bounds.
pub(super) const RECORD_BYTES_MAX: usize = RECORD_FIXED_BYTES
    + 80
    + 8
    + 10
    + RECORD_SEAL_BYTES
    + ENDPOINT_BYTES_MAX
    + METHOD_BYTES_MAX
    + REQUEST_ID_BYTES_MAX
    + USER_AGENT_BYTES_MAX
    + SCOPES_BYTES_MAX;
/// Bytes by which sealing makes a record longer.
pub(super) const RECORD_SEAL_BYTES: usize = 2 + SEAL_OVERHEAD_BYTES;
/// The offset of the kind.
const KIND_AT: usize = 2;
/// The offset of the address of the record before.
const PREVIOUS_AT: usize = 4;
/// The offset of the credential.
const CREDENTIAL_AT: usize = 12;
/// The offset of the flags.
const FLAGS_AT: usize = 42;
/// No record before.
pub(super) const NO_ADDRESS: u64 = 0;

/// Scopes of one record, and the bytes of them with their lengths.
const SCOPES_MAX: usize = 32;
const SCOPES_BYTES_MAX: usize = 1_024;

const CALL: u8 = 1;
const SHED: u8 = 2;
const OVERFLOW: u8 = 3;

const HAS_SECRET: u16 = 1;
const HAS_REPORTER: u16 = 2;
// 4 to 32 are of the texts.
const HAS_ORGANIZATION: u16 = 64;
const HAS_PERSON: u16 = 128;
const IS_SEALED: u16 = 256;

/// The organization of records that have none, as older versions wrote.
const NO_ORGANIZATION: OrganizationId = OrganizationId(Ulid(0));

/// Calls of one credential whose detail was shed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ShedCount {
    pub(super) organization: OrganizationId,
    pub(super) credential: CredentialId,
    pub(super) secret: Option<SecretId>,
    pub(super) outcome: VerificationCode,
    pub(super) reported: bool,
    pub(super) count: u32,
    /// When the last of them was made.
    pub(super) at: Timestamp,
}

/// What counting needs of a record, read in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallRecord<'a> {
    pub(super) organization: OrganizationId,
    pub(super) credential: CredentialId,
    pub(super) secret: Option<SecretId>,
    pub(super) outcome: VerificationCode,
    pub(super) reported: bool,
    pub(super) at: Timestamp,
    pub(super) calls: u32,
    /// Of a call whose detail is there.
    pub(super) detail: Option<CallDetail<'a>>,
}

/// What a call has beside its counts, read in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallDetail<'a> {
    pub(super) previous_address: u64,
    /// Of the overflow: the credential's newest kept record before this one.
    pub(super) newest_kept_address: Option<u64>,
    pub(super) status: u16,
    pub(super) duration_us: u32,
    /// The member whose credential it is.
    pub(super) person: Option<UserId>,
    pub(super) reporter: Option<CredentialId>,
    pub(super) texts: StoredCallTexts<'a>,
    /// Where they begin and end in the record.
    texts_at: (usize, usize),
    scopes: &'a [u8],
}

/// The texts of a call as they are stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum StoredCallTexts<'a> {
    Plain(CallTexts<'a>),
    /// With the flags that say which are there.
    Sealed(u16, &'a [u8]),
}

/// Appends a call.
pub(super) fn put_call(to: &mut Vec<u8>, call: &CredentialCall<'_>) {
    let start = to.len();
    let texts = CallTexts::truncated_from(call);
    let flag = |has: bool, bit: u16| if has { bit } else { 0 };
    let flags = HAS_ORGANIZATION
        | texts.presence_flags()
        | flag(call.secret.is_some(), HAS_SECRET)
        | flag(call.person.is_some(), HAS_PERSON)
        | flag(call.reporter.is_some(), HAS_REPORTER);
    put_fixed(
        to,
        &FixedFields {
            kind: CALL,
            outcome: call.outcome,
            credential: call.credential,
            at: call.at,
            duration_us_or_count: call.duration_us,
            status: call.status,
            flags,
        },
    );
    if let Some(secret) = call.secret {
        to.extend_from_slice(&secret.ulid().0.to_le_bytes());
    }
    to.extend_from_slice(&call.organization.ulid().0.to_le_bytes());
    if let Some(person) = call.person {
        to.extend_from_slice(&person.ulid().0.to_le_bytes());
    }
    if let Some(reporter) = call.reporter {
        to.extend_from_slice(&reporter.ulid().0.to_le_bytes());
    }
    texts.put_texts(to);
    put_scopes(to, call.scopes);
    put_length(to, start);
}

/// Appends what is left of calls whose detail was shed.
pub(super) fn put_shed_count(to: &mut Vec<u8>, shed: &ShedCount) {
    let start = to.len();
    let secret = if shed.secret.is_some() { HAS_SECRET } else { 0 };
    let reporter = if shed.reported { HAS_REPORTER } else { 0 };
    put_fixed(
        to,
        &FixedFields {
            kind: SHED,
            outcome: shed.outcome,
            credential: shed.credential,
            at: shed.at,
            duration_us_or_count: shed.count,
            status: 0,
            flags: secret | reporter | HAS_ORGANIZATION,
        },
    );
    if let Some(secret) = shed.secret {
        to.extend_from_slice(&secret.ulid().0.to_le_bytes());
    }
    to.extend_from_slice(&shed.organization.ulid().0.to_le_bytes());
    put_length(to, start);
}

/// Appends a call that goes to the overflow: `record` with the credential's newest kept record.
pub(super) fn put_overflow_call(to: &mut Vec<u8>, record: &[u8], kept: u64) {
    let start = to.len();
    let Some((fixed, rest)) = record.split_at_checked(RECORD_FIXED_BYTES) else {
        return;
    };
    to.extend_from_slice(fixed);
    to.extend_from_slice(&kept.to_le_bytes());
    to.extend_from_slice(rest);
    if let Some(kind) = to.get_mut(start + KIND_AT) {
        *kind = OVERFLOW;
    }
    put_length(to, start);
}

/// Appends a person's call with its texts sealed by `seal`, which may leave nothing of them.
pub(super) fn put_sealed_call(
    to: &mut Vec<u8>,
    record: &[u8],
    detail: &CallDetail<'_>,
    seal: impl FnOnce(&[u8]) -> Vec<u8>,
) {
    let start = to.len();
    let (from, end) = detail.texts_at;
    let (Some(before), Some(texts)) = (record.get(..from), record.get(from..end)) else {
        return;
    };
    to.extend_from_slice(before);
    let sealed = seal(texts);
    to.extend_from_slice(
        &u16::try_from(sealed.len())
            .unwrap_or(u16::MAX)
            .to_le_bytes(),
    );
    to.extend_from_slice(&sealed);
    to.extend_from_slice(detail.scopes);
    let flags = to
        .get_mut(start + FLAGS_AT..)
        .and_then(<[u8]>::first_chunk_mut);
    if let Some(flags) = flags {
        *flags = (u16::from_le_bytes(*flags) | IS_SEALED).to_le_bytes();
    }
    put_length(to, start);
}

/// The fixed part of a record; its length and the previous address are set later.
struct FixedFields {
    kind: u8,
    outcome: VerificationCode,
    credential: CredentialId,
    at: Timestamp,
    duration_us_or_count: u32,
    status: u16,
    flags: u16,
}

fn put_fixed(to: &mut Vec<u8>, fields: &FixedFields) {
    to.extend_from_slice(&[0, 0, fields.kind, outcome_byte(fields.outcome)]);
    to.extend_from_slice(&NO_ADDRESS.to_le_bytes());
    to.extend_from_slice(&fields.credential.ulid().0.to_le_bytes());
    to.extend_from_slice(&fields.at.0.to_le_bytes());
    to.extend_from_slice(&fields.duration_us_or_count.to_le_bytes());
    to.extend_from_slice(&fields.status.to_le_bytes());
    to.extend_from_slice(&fields.flags.to_le_bytes());
}

fn put_length(to: &mut [u8], start: usize) {
    let bytes = u16::try_from(to.len() - start).unwrap_or(u16::MAX);
    if let Some(place) = to.get_mut(start..start + 2) {
        place.copy_from_slice(&bytes.to_le_bytes());
    }
}

/// A text of at most 255 bytes.
pub(super) fn put_short_text(to: &mut Vec<u8>, text: &str) {
    to.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    to.extend_from_slice(text.as_bytes());
}

/// A text of at most 65,535 bytes.
pub(super) fn put_long_text(to: &mut Vec<u8>, text: &str) {
    let bytes = u16::try_from(text.len()).unwrap_or(u16::MAX);
    to.extend_from_slice(&bytes.to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}

fn put_scopes(to: &mut Vec<u8>, scopes: &[&str]) {
    let start = to.len();
    to.push(0);
    let mut count = 0_u8;
    for scope in scopes.iter().take(SCOPES_MAX) {
        let fits = scope.len() <= usize::from(u8::MAX)
            && to.len() - start + scope.len() < SCOPES_BYTES_MAX;
        if fits {
            put_short_text(to, scope);
            count += 1;
        }
    }
    if let Some(place) = to.get_mut(start) {
        *place = count;
    }
}

/// The length of the record that begins `bytes`, if a whole one does.
pub(super) fn record_length(bytes: &[u8]) -> Option<usize> {
    let (length, _) = bytes.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length));
    (RECORD_FIXED_BYTES..=bytes.len())
        .contains(&length)
        .then_some(length)
}

/// Whose the record is that begins `bytes`.
pub(super) fn record_credential(bytes: &[u8]) -> Option<CredentialId> {
    let id = bytes.get(CREDENTIAL_AT..)?.first_chunk()?;
    Some(CredentialId(Ulid(u128::from_le_bytes(*id))))
}

/// Sets the address of the credential's record before this one.
pub(super) fn set_previous_record(record: &mut [u8], previous: u64) {
    if let Some(place) = record.get_mut(PREVIOUS_AT..PREVIOUS_AT + 8) {
        place.copy_from_slice(&previous.to_le_bytes());
    }
}

/// Takes bytes from the front.
pub(super) struct ByteReader<'a>(pub(super) &'a [u8]);

impl<'a> ByteReader<'a> {
    pub(super) fn read_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn read_slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(slice)
    }

    pub(super) fn read_u8(&mut self) -> Option<u8> {
        self.read_array::<1>().map(|[byte]| byte)
    }

    pub(super) fn read_u16(&mut self) -> Option<u16> {
        self.read_array().map(u16::from_le_bytes)
    }

    pub(super) fn read_u32(&mut self) -> Option<u32> {
        self.read_array().map(u32::from_le_bytes)
    }

    pub(super) fn read_u64(&mut self) -> Option<u64> {
        self.read_array().map(u64::from_le_bytes)
    }

    pub(super) fn read_instant(&mut self) -> Option<Timestamp> {
        self.read_array()
            .map(|bytes| Timestamp(i64::from_le_bytes(bytes)))
    }

    pub(super) fn read_ulid(&mut self) -> Option<Ulid> {
        self.read_array()
            .map(|bytes| Ulid(u128::from_le_bytes(bytes)))
    }

    fn read_text(&mut self, length: usize) -> Option<&'a str> {
        std::str::from_utf8(self.read_slice(length)?).ok()
    }

    pub(super) fn read_short_text(&mut self) -> Option<&'a str> {
        let length = usize::from(self.read_u8()?);
        self.read_text(length)
    }

    pub(super) fn read_long_text(&mut self) -> Option<&'a str> {
        let length = usize::from(self.read_u16()?);
        self.read_text(length)
    }
}

/// Parses a record; `None` if the bytes are not one.
pub(super) fn parse_record(record: &[u8]) -> Option<CallRecord<'_>> {
    let mut from = ByteReader(record);
    from.read_u16()?;
    let (kind, outcome) = (from.read_u8()?, outcome_from_byte(from.read_u8()?)?);
    let previous = from.read_u64()?;
    let credential = CredentialId(from.read_ulid()?);
    let at = from.read_instant()?;
    let (duration, status, flags) = (from.read_u32()?, from.read_u16()?, from.read_u16()?);
    let has = |bit: u16| flags & bit != 0;
    let kept = match kind {
        OVERFLOW => Some(from.read_u64()?),
        _ => None,
    };
    let secret = match has(HAS_SECRET) {
        true => Some(SecretId(from.read_ulid()?)),
        false => None,
    };
    let organization = match has(HAS_ORGANIZATION) {
        true => OrganizationId(from.read_ulid()?),
        false => NO_ORGANIZATION,
    };
    let counted = CallRecord {
        organization,
        credential,
        secret,
        outcome,
        reported: has(HAS_REPORTER),
        at,
        calls: if kind == SHED { duration } else { 1 },
        detail: None,
    };
    match kind {
        SHED => return Some(counted),
        CALL | OVERFLOW => {}
        _ => return None,
    }
    let person = match has(HAS_PERSON) {
        true => Some(UserId(from.read_ulid()?)),
        false => None,
    };
    let reporter = match has(HAS_REPORTER) {
        true => Some(CredentialId(from.read_ulid()?)),
        false => None,
    };
    let texts_from = record.len() - from.0.len();
    let texts = match has(IS_SEALED) {
        true => {
            let length = usize::from(from.read_u16()?);
            StoredCallTexts::Sealed(flags, from.read_slice(length)?)
        }
        false => StoredCallTexts::Plain(CallTexts::read_texts(&mut from, flags)?),
    };
    let detail = CallDetail {
        previous_address: previous,
        newest_kept_address: kept,
        status,
        duration_us: duration,
        person,
        reporter,
        texts,
        texts_at: (texts_from, record.len() - from.0.len()),
        scopes: from.0,
    };
    Some(CallRecord {
        detail: Some(detail),
        ..counted
    })
}

impl<'a> CallDetail<'a> {
    /// The scopes that the call exercised.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &'a str> {
        let mut from = ByteReader(self.scopes);
        let count = from.read_u8().unwrap_or(0);
        (0..count).map_while(move |_| from.read_short_text())
    }

    /// The texts, unless they are sealed.
    pub(super) fn plain_texts(&self) -> Option<&CallTexts<'a>> {
        match &self.texts {
            StoredCallTexts::Plain(texts) => Some(texts),
            StoredCallTexts::Sealed(..) => None,
        }
    }
}

impl<'a> CallRecord<'a> {
    /// The texts that are sealed, and where.
    pub(super) fn sealed_texts(&self) -> Option<(PersonalSealContext, &'a [u8])> {
        let detail = self.detail.as_ref()?;
        match detail.texts {
            StoredCallTexts::Plain(_) => None,
            StoredCallTexts::Sealed(_, sealed) => Some((self.seal_context(detail.person?), sealed)),
        }
    }

    /// Where texts of a person's call are sealed.
    pub(super) fn seal_context(&self, person: UserId) -> PersonalSealContext {
        PersonalSealContext {
            person,
            credential: self.credential,
            part: SealedPart::Call(self.at.0),
        }
    }

    /// The same with texts that have been opened.
    pub(super) fn with_opened_texts(mut self, opened: Option<&'a [u8]>) -> Self {
        if let (Some(detail), Some(opened)) = (&mut self.detail, opened)
            && let StoredCallTexts::Sealed(flags, _) = detail.texts
            && let Some(texts) = CallTexts::read_texts(&mut ByteReader(opened), flags)
        {
            detail.texts = StoredCallTexts::Plain(texts);
        }
        self
    }

    /// The call as it is shown under an id; `None` of calls whose detail is not kept.
    pub(super) fn to_stored_call(self, id: Ulid) -> Option<StoredCall> {
        let detail = self.detail.as_ref()?;
        let texts = detail.plain_texts().copied().unwrap_or_default();
        Some(StoredCall {
            id: format!("usage_{id}"),
            credential: self.credential,
            secret: self.secret,
            at: self.at,
            outcome: self.outcome,
            status: detail.status,
            duration_us: detail.duration_us,
            endpoint: texts.endpoint.to_owned(),
            method: texts.method.to_owned(),
            request_id: texts.request_id.map(str::to_owned),
            ip: texts.ip,
            user_agent: texts.user_agent.map(str::to_owned),
            reporter: detail.reporter,
        })
    }
}
