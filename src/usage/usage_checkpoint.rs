//! The checkpoint: what is known of every credential, as of an address of the stream.
//!
//! Owns one file. It is not the truth: without it, all segments are read again. It holds the
//! counters of credentials whose records have been dropped long ago, so it is written as carefully
//! as they deserve: under another name, synced, renamed. Little-endian, and the last 4 bytes are
//! the CRC32C of all before them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::RecordingGap;
use super::call_record::ByteReader;
use super::collapsed_calls::CollapsedCalls;
use super::outcome_byte::{outcome_byte, outcome_from_byte};
use super::retention_shares::{OrganizationCharges, ShareCharge};
use super::usage_stream::{StreamSegment, sync_folder};
use super::usage_table::{UsageEntry, UsageTable};
use crate::degraded::{DegradedParts, Part};
use crate::domain::ids::{CredentialId, OrganizationId, SecretId};
use crate::domain::time::Timestamp;
use crate::seal::cursor_key::CursorKey;

const MAGIC: [u8; 8] = *b"KLUSECP\0";
const FORMAT: u32 = 3;
/// Without the overflow, shares, and what is not kept.
const FORMAT_UNSHARED: u32 = 1;

/// What a checkpoint says beside its credentials.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct UsageCheckpointHead {
    /// Everything before this address of the stream is in it.
    pub(super) address: u64,
    /// Where the roll-ups that it points to end.
    pub(super) roll_ups_end: u64,
    pub(super) tracked_since: Timestamp,
    pub(super) gaps: Vec<RecordingGap>,
    /// Segments that were sealed before it.
    pub(super) segments: Vec<StreamSegment>,
    pub(super) roll_up_segments: Vec<StreamSegment>,
    /// Where the overflow ends, and its segments.
    pub(super) overflow_end: u64,
    pub(super) overflow_segments: Vec<StreamSegment>,
    /// The same of roll-ups.
    pub(super) roll_ups_overflow_end: u64,
    pub(super) roll_ups_overflow_segments: Vec<StreamSegment>,
    /// What organizations have taken of calls and of roll-ups.
    pub(super) organizations: [OrganizationCharges; 2],
    /// What cursors and ids are made with; none in an older form.
    pub(super) cursor_key: Option<CursorKey>,
}

fn checkpoint_path(folder: &Path) -> PathBuf {
    folder.join("checkpoint")
}

/// A writer that sums up what goes through it.
struct CrcWriter<W> {
    to: W,
    crc: u32,
    bytes: u64,
}

impl<W: Write> CrcWriter<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.bytes += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    fn u64(&mut self, number: u64) -> io::Result<()> {
        self.put(&number.to_le_bytes())
    }

    fn count(&mut self, length: usize) -> io::Result<()> {
        self.put(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes())
    }

    fn instant(&mut self, at: Timestamp) -> io::Result<()> {
        self.put(&at.0.to_le_bytes())
    }

    fn charge(&mut self, charge: ShareCharge) -> io::Result<()> {
        self.u64(charge.bytes)?;
        self.put(&charge.at_ms.to_le_bytes())
    }

    fn segments(&mut self, segments: &[StreamSegment]) -> io::Result<()> {
        self.count(segments.len())?;
        for segment in segments {
            self.u64(segment.first)?;
            self.u64(segment.end)?;
            self.u64(segment.records)?;
            let (earliest, latest) = segment.span.unwrap_or_default();
            self.instant(earliest)?;
            self.instant(latest)?;
            self.put(&[
                u8::from(segment.span.is_some()),
                u8::from(segment.digest.is_some()),
            ])?;
            self.put(&segment.digest.unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Writes a checkpoint; how many bytes it has.
pub(super) fn write_checkpoint(
    folder: &Path,
    head: &UsageCheckpointHead,
    keys: &UsageTable,
) -> io::Result<u64> {
    let new = folder.join("checkpoint.new");
    let file = File::create(&new)?;
    let mut to = CrcWriter {
        to: BufWriter::with_capacity(1 << 20, file),
        crc: 0,
        bytes: 0,
    };
    to.put(&MAGIC)?;
    to.put(&FORMAT.to_le_bytes())?;
    to.u64(head.address)?;
    to.u64(head.roll_ups_end)?;
    to.instant(head.tracked_since)?;
    to.count(head.gaps.len())?;
    for gap in &head.gaps {
        to.instant(gap.from)?;
        to.instant(gap.to)?;
    }
    to.segments(&head.segments)?;
    to.segments(&head.roll_up_segments)?;
    to.u64(head.overflow_end)?;
    to.segments(&head.overflow_segments)?;
    to.u64(head.roll_ups_overflow_end)?;
    to.segments(&head.roll_ups_overflow_segments)?;
    to.put(&head.cursor_key.unwrap_or_default().0)?;
    for organizations in &head.organizations {
        to.count(organizations.len())?;
        for (id, charge) in organizations {
            to.put(&id.ulid().0.to_le_bytes())?;
            to.charge(*charge)?;
        }
    }
    let names = keys.lock_scope_names().names.clone();
    to.count(names.len())?;
    for name in &names {
        to.count(name.len())?;
        to.put(name.as_bytes())?;
    }
    to.count(keys.len())?;
    let mut written = Ok(());
    keys.for_each(|id, key| {
        if written.is_ok() {
            written = put_key(&mut to, id, key);
        }
    });
    written?;
    let crc = to.crc;
    to.to.write_all(&crc.to_le_bytes())?;
    let bytes = to.bytes;
    let file = to.to.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(new, checkpoint_path(folder))?;
    sync_folder(folder)?;
    Ok(bytes)
}

fn put_key<W: Write>(to: &mut CrcWriter<W>, id: CredentialId, key: &UsageEntry) -> io::Result<()> {
    to.put(&id.ulid().0.to_le_bytes())?;
    for number in [
        &key.newest,
        &key.newest_roll_up,
        &key.accepted,
        &key.denied,
        &key.reported,
    ] {
        to.u64(number.load(Ordering::Acquire))?;
    }
    for at in [&key.last_used, &key.last_reported] {
        to.put(&at.load(Ordering::Acquire).to_le_bytes())?;
    }
    let rest = key.lock_usage();
    to.count(rest.presented_secrets().count())?;
    for (secret, at) in rest.presented_secrets() {
        to.put(&secret.ulid().0.to_le_bytes())?;
        to.instant(*at)?;
    }
    to.count(rest.scopes.len())?;
    for scope in &rest.scopes {
        to.put(&scope.to_le_bytes())?;
    }
    to.u64(key.newest_overflow.load(Ordering::Acquire))?;
    to.charge(rest.charge)?;
    to.u64(key.newest_roll_up_overflow.load(Ordering::Acquire))?;
    to.charge(rest.roll_up_charge)?;
    to.count(rest.collapsed.len())?;
    for one in &rest.collapsed {
        to.put(&[outcome_byte(one.outcome), u8::from(one.reported)])?;
        // No secret has the id 0.
        let secret = one.secret.map_or(0, |secret| secret.ulid().0);
        to.put(&secret.to_le_bytes())?;
        to.u64(one.calls)?;
        to.instant(one.first_at)?;
        to.instant(one.last_at)?;
    }
    Ok(())
}

/// Reads the checkpoint of a folder; `None` if there is no whole one.
/// A damaged one is set aside.
pub(super) fn read_or_set_aside(
    folder: &Path,
    degraded: &DegradedParts,
) -> io::Result<Option<(UsageCheckpointHead, UsageTable)>> {
    let bytes = match fs::read(checkpoint_path(folder)) {
        Ok(bytes) => bytes,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    let whole = bytes
        .split_last_chunk::<4>()
        .filter(|(covered, crc)| crc32c::crc32c(covered) == u32::from_le_bytes(**crc));
    let keys = UsageTable::default();
    let read = whole.and_then(|(covered, _)| parse(covered, &keys));
    if read.is_none() {
        let why = "it is damaged; all calls that are kept are counted again, and those that were \
            counted without detail are missing";
        degraded.set_aside(Part::Usage, &checkpoint_path(folder), why)?;
    }
    Ok(read.map(|head| (head, keys)))
}

fn parse(covered: &[u8], keys: &UsageTable) -> Option<UsageCheckpointHead> {
    let mut from = ByteReader(covered);
    if from.read_array::<8>()? != MAGIC {
        return None;
    }
    let is_shared = match from.read_u32()? {
        FORMAT => true,
        FORMAT_UNSHARED => false,
        _ => return None,
    };
    let mut head = UsageCheckpointHead {
        address: from.read_u64()?,
        roll_ups_end: from.read_u64()?,
        tracked_since: from.read_instant()?,
        ..UsageCheckpointHead::default()
    };
    for _ in 0..from.read_u32()? {
        head.gaps.push(RecordingGap {
            from: from.read_instant()?,
            to: from.read_instant()?,
        });
    }
    head.segments = parse_segments(&mut from)?;
    head.roll_up_segments = parse_segments(&mut from)?;
    if is_shared {
        head.overflow_end = from.read_u64()?;
        head.overflow_segments = parse_segments(&mut from)?;
        head.roll_ups_overflow_end = from.read_u64()?;
        head.roll_ups_overflow_segments = parse_segments(&mut from)?;
        head.cursor_key = Some(CursorKey(from.read_array()?));
        for organizations in &mut head.organizations {
            for _ in 0..from.read_u32()? {
                organizations.insert(OrganizationId(from.read_ulid()?), parse_charge(&mut from)?);
            }
        }
    }
    for _ in 0..from.read_u32()? {
        let length = usize::try_from(from.read_u32()?).ok()?;
        let name = std::str::from_utf8(from.read_slice(length)?).ok()?;
        keys.lock_scope_names().number_for(name)?;
    }
    for _ in 0..from.read_u32()? {
        parse_key(&mut from, keys, is_shared)?;
    }
    from.0.is_empty().then_some(head)
}

fn parse_charge(from: &mut ByteReader<'_>) -> Option<ShareCharge> {
    Some(ShareCharge {
        bytes: from.read_u64()?,
        at_ms: from.read_instant()?.0,
    })
}

fn parse_segments(from: &mut ByteReader<'_>) -> Option<Vec<StreamSegment>> {
    let count = from.read_u32()?;
    let one = |_| {
        let (first, end, records) = (from.read_u64()?, from.read_u64()?, from.read_u64()?);
        let span = (from.read_instant()?, from.read_instant()?);
        let (has_span, has_digest) = (from.read_u8()? != 0, from.read_u8()? != 0);
        let digest = from.read_array::<32>()?;
        Some(StreamSegment {
            first,
            end,
            records,
            span: has_span.then_some(span),
            digest: has_digest.then_some(digest),
        })
    };
    (0..count).map(one).collect()
}

fn parse_key(from: &mut ByteReader<'_>, keys: &UsageTable, is_shared: bool) -> Option<()> {
    let key = keys.get_or_insert(CredentialId(from.read_ulid()?));
    for number in [
        &key.newest,
        &key.newest_roll_up,
        &key.accepted,
        &key.denied,
        &key.reported,
    ] {
        number.store(from.read_u64()?, Ordering::Release);
    }
    for at in [&key.last_used, &key.last_reported] {
        at.store(from.read_instant()?.0, Ordering::Release);
    }
    let mut rest = key.lock_usage();
    for _ in 0..from.read_u32()? {
        let secret = SecretId(from.read_ulid()?);
        rest.note_secret_use(secret, from.read_instant()?);
    }
    let scopes = from.read_u32()?;
    rest.scopes = (0..scopes)
        .map(|_| from.read_u16())
        .collect::<Option<_>>()?;
    if !is_shared {
        return Some(());
    }
    key.newest_overflow
        .store(from.read_u64()?, Ordering::Release);
    rest.charge = parse_charge(from)?;
    let newest = &key.newest_roll_up_overflow;
    newest.store(from.read_u64()?, Ordering::Release);
    rest.roll_up_charge = parse_charge(from)?;
    for _ in 0..from.read_u32()? {
        let (outcome, reported) = (outcome_from_byte(from.read_u8()?)?, from.read_u8()? != 0);
        let secret = Some(SecretId(from.read_ulid()?));
        rest.collapsed.push(CollapsedCalls {
            outcome,
            secret: secret.filter(|secret| secret.ulid().0 != 0),
            reported,
            calls: from.read_u64()?,
            first_at: from.read_instant()?,
            last_at: from.read_instant()?,
        });
    }
    Some(())
}
