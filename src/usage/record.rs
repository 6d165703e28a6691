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

use super::outcome::{outcome_byte, outcome_of};
use super::personal::{Place, PlaceOf, SEAL_BYTES};
use super::texts::{ENDPOINT_MAX, METHOD_MAX, REQUEST_ID_MAX, Texts, USER_AGENT_MAX};
use super::{Call, Outcome, PastCall};
use crate::domain::ids::{CredentialId, OrganizationId, SecretId, UserId};
use crate::domain::time::Timestamp;

/// Bytes of a record before its variable part.
pub(super) const FIXED: usize = 44;
/// The longest record: all texts at their bounds.
pub(super) const RECORD_BYTES_MAX: usize = FIXED
    + 80
    + 8
    + 10
    + SEALED_LONGER
    + ENDPOINT_MAX
    + METHOD_MAX
    + REQUEST_ID_MAX
    + USER_AGENT_MAX
    + SCOPES_BYTES_MAX;
/// Bytes by which sealing makes a record longer.
pub(super) const SEALED_LONGER: usize = 2 + SEAL_BYTES;
/// Where the kind stands.
const KIND_AT: usize = 2;
/// Where the address of the record before stands.
const PREVIOUS_AT: usize = 4;
/// Where the credential stands.
const CREDENTIAL_AT: usize = 12;
/// Where the flags stand.
const FLAGS_AT: usize = 42;
/// No record before.
pub(super) const NOWHERE: u64 = 0;

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

/// Stands for the organization in records that have none, as older programs wrote.
const NO_ORGANIZATION: OrganizationId = OrganizationId(Ulid(0));

/// Calls of one credential whose detail was shed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shed {
    pub(super) organization: OrganizationId,
    pub(super) credential: CredentialId,
    pub(super) secret: Option<SecretId>,
    pub(super) outcome: Outcome,
    pub(super) reported: bool,
    pub(super) count: u32,
    /// When the last of them was made.
    pub(super) at: Timestamp,
}

/// What counting needs of a record, read in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted<'a> {
    pub(super) organization: OrganizationId,
    pub(super) credential: CredentialId,
    pub(super) secret: Option<SecretId>,
    pub(super) outcome: Outcome,
    pub(super) reported: bool,
    pub(super) at: Timestamp,
    pub(super) calls: u32,
    /// Of a call whose detail is there.
    pub(super) detail: Option<Detail<'a>>,
}

/// What a call has beside its counts, read in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detail<'a> {
    pub(super) previous: u64,
    /// Of the overflow: the credential's newest kept record before this one.
    pub(super) kept: Option<u64>,
    pub(super) status: u16,
    pub(super) duration_us: u32,
    /// The member whose credential it is.
    pub(super) person: Option<UserId>,
    pub(super) reporter: Option<CredentialId>,
    pub(super) texts: StoredTexts<'a>,
    /// Where they begin and end in the record.
    texts_at: (usize, usize),
    scopes: &'a [u8],
}

/// The texts of a call as they are stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum StoredTexts<'a> {
    Plain(Texts<'a>),
    /// With the flags that say which are there.
    Sealed(u16, &'a [u8]),
}

/// Appends a call.
pub(super) fn put_call(to: &mut Vec<u8>, call: &Call<'_>) {
    let start = to.len();
    let texts = Texts::of(call);
    let flag = |has: bool, bit: u16| if has { bit } else { 0 };
    let flags = HAS_ORGANIZATION
        | texts.flags()
        | flag(call.secret.is_some(), HAS_SECRET)
        | flag(call.person.is_some(), HAS_PERSON)
        | flag(call.reporter.is_some(), HAS_REPORTER);
    put_fixed(
        to,
        (CALL, call.outcome, call.credential, call.at),
        (call.duration_us, call.status, flags),
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
    texts.put(to);
    put_scopes(to, call.scopes);
    put_length(to, start);
}

/// Appends what is left of calls whose detail was shed.
pub(super) fn put_shed(to: &mut Vec<u8>, shed: &Shed) {
    let start = to.len();
    let secret = if shed.secret.is_some() { HAS_SECRET } else { 0 };
    let reporter = if shed.reported { HAS_REPORTER } else { 0 };
    put_fixed(
        to,
        (SHED, shed.outcome, shed.credential, shed.at),
        (shed.count, 0, secret | reporter | HAS_ORGANIZATION),
    );
    if let Some(secret) = shed.secret {
        to.extend_from_slice(&secret.ulid().0.to_le_bytes());
    }
    to.extend_from_slice(&shed.organization.ulid().0.to_le_bytes());
    put_length(to, start);
}

/// Appends a call that goes to the overflow: `record` with the credential's newest kept record.
pub(super) fn put_overflow(to: &mut Vec<u8>, record: &[u8], kept: u64) {
    let start = to.len();
    let Some((fixed, rest)) = record.split_at_checked(FIXED) else {
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
pub(super) fn put_sealed(
    to: &mut Vec<u8>,
    (record, detail): (&[u8], &Detail<'_>),
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

fn put_fixed(
    to: &mut Vec<u8>,
    (kind, outcome, credential, at): (u8, Outcome, CredentialId, Timestamp),
    (duration, status, flags): (u32, u16, u16),
) {
    to.extend_from_slice(&[0, 0, kind, outcome_byte(outcome)]);
    to.extend_from_slice(&NOWHERE.to_le_bytes());
    to.extend_from_slice(&credential.ulid().0.to_le_bytes());
    to.extend_from_slice(&at.0.to_le_bytes());
    to.extend_from_slice(&duration.to_le_bytes());
    to.extend_from_slice(&status.to_le_bytes());
    to.extend_from_slice(&flags.to_le_bytes());
}

fn put_length(to: &mut [u8], start: usize) {
    let bytes = u16::try_from(to.len() - start).unwrap_or(u16::MAX);
    if let Some(place) = to.get_mut(start..start + 2) {
        place.copy_from_slice(&bytes.to_le_bytes());
    }
}

/// A text of at most 255 bytes.
pub(super) fn put_short(to: &mut Vec<u8>, text: &str) {
    to.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    to.extend_from_slice(text.as_bytes());
}

/// A text of at most 65,535 bytes.
pub(super) fn put_long(to: &mut Vec<u8>, text: &str) {
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
            put_short(to, scope);
            count += 1;
        }
    }
    if let Some(place) = to.get_mut(start) {
        *place = count;
    }
}

/// The length of the record that begins `bytes`, if a whole one does.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let (length, _) = bytes.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length));
    (FIXED..=bytes.len()).contains(&length).then_some(length)
}

/// Whose the record is that begins `bytes`.
pub(super) fn credential(bytes: &[u8]) -> Option<CredentialId> {
    let id = bytes.get(CREDENTIAL_AT..)?.first_chunk()?;
    Some(CredentialId(Ulid(u128::from_le_bytes(*id))))
}

/// Sets the address of the credential's record before this one.
pub(super) fn set_previous(record: &mut [u8], previous: u64) {
    if let Some(place) = record.get_mut(PREVIOUS_AT..PREVIOUS_AT + 8) {
        place.copy_from_slice(&previous.to_le_bytes());
    }
}

/// Takes bytes from the front.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(slice)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn instant(&mut self) -> Option<Timestamp> {
        self.array()
            .map(|bytes| Timestamp(i64::from_le_bytes(bytes)))
    }

    pub(super) fn ulid(&mut self) -> Option<Ulid> {
        self.array().map(|bytes| Ulid(u128::from_le_bytes(bytes)))
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        std::str::from_utf8(self.slice(length)?).ok()
    }

    pub(super) fn short(&mut self) -> Option<&'a str> {
        let length = usize::from(self.u8()?);
        self.text(length)
    }

    pub(super) fn long(&mut self) -> Option<&'a str> {
        let length = usize::from(self.u16()?);
        self.text(length)
    }
}

/// Reads a record; `None` if it is none.
pub(super) fn read(record: &[u8]) -> Option<Counted<'_>> {
    let mut from = Bytes(record);
    from.u16()?;
    let (kind, outcome) = (from.u8()?, outcome_of(from.u8()?)?);
    let previous = from.u64()?;
    let credential = CredentialId(from.ulid()?);
    let at = from.instant()?;
    let (duration, status, flags) = (from.u32()?, from.u16()?, from.u16()?);
    let has = |bit: u16| flags & bit != 0;
    let kept = match kind {
        OVERFLOW => Some(from.u64()?),
        _ => None,
    };
    let secret = match has(HAS_SECRET) {
        true => Some(SecretId(from.ulid()?)),
        false => None,
    };
    let organization = match has(HAS_ORGANIZATION) {
        true => OrganizationId(from.ulid()?),
        false => NO_ORGANIZATION,
    };
    let counted = Counted {
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
        true => Some(UserId(from.ulid()?)),
        false => None,
    };
    let reporter = match has(HAS_REPORTER) {
        true => Some(CredentialId(from.ulid()?)),
        false => None,
    };
    let texts_from = record.len() - from.0.len();
    let texts = match has(IS_SEALED) {
        true => {
            let length = usize::from(from.u16()?);
            StoredTexts::Sealed(flags, from.slice(length)?)
        }
        false => StoredTexts::Plain(Texts::take(&mut from, flags)?),
    };
    let detail = Detail {
        previous,
        kept,
        status,
        duration_us: duration,
        person,
        reporter,
        texts,
        texts_at: (texts_from, record.len() - from.0.len()),
        scopes: from.0,
    };
    Some(Counted {
        detail: Some(detail),
        ..counted
    })
}

impl<'a> Detail<'a> {
    /// The scopes that the call exercised.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &'a str> {
        let mut from = Bytes(self.scopes);
        let count = from.u8().unwrap_or(0);
        (0..count).map_while(move |_| from.short())
    }

    /// The texts, unless they are sealed.
    pub(super) fn texts(&self) -> Option<&Texts<'a>> {
        match &self.texts {
            StoredTexts::Plain(texts) => Some(texts),
            StoredTexts::Sealed(..) => None,
        }
    }
}

impl<'a> Counted<'a> {
    /// The texts that are sealed, and where.
    pub(super) fn sealed(&self) -> Option<(Place, &'a [u8])> {
        let detail = self.detail.as_ref()?;
        match detail.texts {
            StoredTexts::Plain(_) => None,
            StoredTexts::Sealed(_, sealed) => Some((self.place(detail.person?), sealed)),
        }
    }

    /// Where texts of a person's call are sealed.
    pub(super) fn place(&self, person: UserId) -> Place {
        Place {
            person,
            credential: self.credential,
            of: PlaceOf::Call(self.at.0),
        }
    }

    /// The same with texts that have been opened.
    pub(super) fn with_texts(mut self, opened: Option<&'a [u8]>) -> Self {
        if let (Some(detail), Some(opened)) = (&mut self.detail, opened)
            && let StoredTexts::Sealed(flags, _) = detail.texts
            && let Some(texts) = Texts::take(&mut Bytes(opened), flags)
        {
            detail.texts = StoredTexts::Plain(texts);
        }
        self
    }

    /// The call as it is shown under an id; `None` of calls whose detail is not kept.
    pub(super) fn call(&self, id: Ulid) -> Option<PastCall> {
        let detail = self.detail.as_ref()?;
        let texts = detail.texts().copied().unwrap_or_default();
        Some(PastCall {
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
