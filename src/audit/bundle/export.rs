//! Writes a bundle from a folder, also beside a server.
//!
//! Owns the passes over the log: one to measure, one a member to write. What is exported is held
//! against the newest checkpoint that the folder keeps; events behind it wait for the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use memchr::memmem::Finder;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    CHECKPOINT, CHECKPOINTS, Chosen, EVENTS, FORMAT, GUIDE, HASHES, MANIFEST, Manifest, PERSONAL,
    ProvenCheckpoint, VKEY,
};
use crate::audit::archive::Writing;
use crate::audit::gaps::Gap;
use crate::audit::keys::Named;
use crate::audit::past::FoldError;
use crate::audit::reading::Reading;
use crate::audit::subtrees::Subtrees;
use crate::domain::event_schemas::event_schemas;
use crate::domain::heading::Whereabouts;
use crate::ledger::boot::Folder;
use crate::log::{CheckpointStoreError, Disk, LogReadError, SignedCheckpoint, read_checkpoints};
use crate::merkle::leaf_hash;
use crate::merkle::proof::prove_consistency;
use crate::seal::{DataKeyId, SealError};

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file cannot be written.
    #[error("the bundle cannot be written")]
    Io(#[from] io::Error),
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Read(#[from] LogReadError),
    /// The checkpoints cannot be read.
    #[error("the checkpoints cannot be read")]
    Floor(#[from] CheckpointStoreError),
    /// Nothing is signed.
    #[error("the folder holds no signed checkpoint to prove anything against")]
    NotSigned,
    /// A checkpoint is not of this log.
    #[error("a checkpoint does not fit the log; verify the folder")]
    Unfit,
    /// An event of a form that is not known.
    #[error("event {0} is not of the form that this program writes; verify the folder")]
    Form(u64),
    /// The keys are asked for and not there.
    #[error("the folder's keys cannot be used, and what belongs to people needs them")]
    NoKeys,
    /// A key cannot be read.
    #[error("a data key cannot be read")]
    Key(#[from] SealError),
    /// The events cannot be folded.
    #[error("the past cannot be put together; verify the folder")]
    Fold(#[from] FoldError),
    /// Something cannot be written as JSON.
    #[error("it cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// What was measured before anything is written.
#[derive(Default)]
struct Measured {
    events: u64,
    event_bytes: u64,
    hashes: u64,
    named: Named,
    keys: BTreeSet<DataKeyId>,
    subtrees: Subtrees,
}

/// Writes a bundle, and gives what it says of itself.
///
/// # Errors
/// Any of [`ExportError`].
pub fn export(
    (folder, reading): (&Folder, &Reading),
    chosen: &Chosen,
    with_personal: bool,
    out: impl Write,
) -> Result<Manifest, ExportError> {
    let mut kept: Vec<SignedCheckpoint> =
        read_checkpoints(Disk::Real, &folder.checkpoints(), reading.log_id())?
            .into_iter()
            .map(|kept| kept.checkpoint)
            .filter(|signed| signed.size <= reading.size())
            .collect();
    kept.sort_by_key(|signed| signed.size);
    kept.dedup_by(|a, b| a.note == b.note);
    let newest = kept.last().ok_or(ExportError::NotSigned)?.clone();
    let measured = measure(reading, chosen, (&kept, newest.size))?;
    if measured.subtrees.tree().root() != newest.root {
        return Err(ExportError::Unfit);
    }
    let personal = match with_personal {
        true => Some(personal_keys(reading, &measured.keys)?),
        false => None,
    };
    let origin = measured.named.origin.clone().unwrap_or_default();
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        log_id: hex::encode(reading.log_id()),
        origin,
        size: newest.size,
        root: STANDARD.encode(newest.root),
        organization: chosen.organization,
        from: chosen.from,
        to: chosen.to,
        events: measured.events,
        hashes: measured.hashes,
        checkpoints: kept.len(),
        with_personal,
    };
    let keys: String = measured.named.all().map(|key| format!("{key}\n")).collect();
    let mut archive = Writing::new(out);
    archive.whole(GUIDE, include_bytes!("guide.txt"))?;
    archive.whole(VKEY, keys.as_bytes())?;
    archive.whole(CHECKPOINT, newest.note.as_bytes())?;
    archive.whole(CHECKPOINTS, &proven(&kept, &measured.subtrees)?)?;
    archive.member::<ExportError>((EVENTS, measured.event_bytes), |out| {
        each(reading, newest.size, |_, payload, found| {
            if chosen.holds(found) {
                out.write_all(payload)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })
    })?;
    archive.member::<ExportError>((HASHES, measured.hashes * 32), |out| {
        hashes(reading, (chosen, newest.size), &measured, out)
    })?;
    if let Some(personal) = personal {
        archive.whole(PERSONAL, &personal)?;
    }
    // In the order of their names, which is not that of the list.
    let schemas: BTreeMap<_, _> = event_schemas().collect();
    for (name, text) in schemas {
        archive.whole(&format!("schemas/{name}.json"), text.as_bytes())?;
    }
    archive.whole(MANIFEST, &serde_json::to_vec(&manifest)?)?;
    archive.finish()?;
    Ok(manifest)
}

/// Shows each event before `size`.
pub(super) fn each(
    reading: &Reading,
    size: u64,
    mut show: impl FnMut(u64, &[u8], &Whereabouts<'_>) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let mut outcome = Ok(());
    reading.scan(0, size, |position, payload| {
        if outcome.is_ok() {
            outcome = match Whereabouts::of(payload) {
                Some(found) => show(position, payload, &found),
                None => Err(ExportError::Form(position)),
            };
        }
    })?;
    outcome
}

fn measure(
    reading: &Reading,
    chosen: &Chosen,
    (kept, size): (&[SignedCheckpoint], u64),
) -> Result<Measured, ExportError> {
    let mut measured = Measured::default();
    for one in kept {
        let subtrees = &mut measured.subtrees;
        let Ok(wanted) = prove_consistency(one.size, size, |subtree| subtrees.want(subtree));
        wanted.map_err(|_order| ExportError::Unfit)?;
    }
    let sealed = Finder::new(SEALED);
    let mut gap = Gap::default();
    each(reading, size, |position, payload, found| {
        let leaf = leaf_hash(&Sha256::digest(payload));
        measured.subtrees.take(leaf);
        measured.named.take((position, found.name), payload);
        if chosen.holds(found) {
            measured.events += 1;
            measured.event_bytes += payload.len() as u64 + 1;
            measured.hashes += gap.end().len() as u64;
            let places = sealed.find_iter(payload);
            measured
                .keys
                .extend(places.filter_map(|at| key_at(payload, at)));
        } else {
            gap.take(leaf);
        }
        Ok(())
    })?;
    measured.hashes += gap.last().len() as u64;
    Ok(measured)
}

/// What a sealed value begins with, before its key's id.
const SEALED: &[u8] = b"{\"sealed\":1,\"key\":\"";

fn key_at(payload: &[u8], at: usize) -> Option<DataKeyId> {
    let rest = payload.get(at + SEALED.len()..)?;
    let end = memchr::memchr(b'"', rest)?;
    std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()
}

/// The roots of what is not exported.
fn hashes(
    reading: &Reading,
    (chosen, size): (&Chosen, u64),
    measured: &Measured,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    if measured.hashes == 0 {
        return Ok(());
    }
    let mut gap = Gap::default();
    each(reading, size, |_, payload, found| {
        if chosen.holds(found) {
            for hash in gap.end() {
                out.write_all(&hash)?;
            }
        } else {
            gap.take(leaf_hash(&Sha256::digest(payload)));
        }
        Ok(())
    })?;
    for hash in gap.last() {
        out.write_all(&hash)?;
    }
    Ok(())
}

/// The kept checkpoints with their proofs, one a line.
fn proven(kept: &[SignedCheckpoint], subtrees: &Subtrees) -> Result<Vec<u8>, ExportError> {
    let mut lines = Vec::new();
    let size = kept.last().map_or(0, |newest| newest.size);
    for one in kept {
        let hashes = prove_consistency(one.size, size, |subtree| subtrees.root(subtree));
        let Ok(Ok(hashes)) = hashes else {
            return Err(ExportError::Unfit);
        };
        let line = ProvenCheckpoint {
            size: one.size,
            checkpoint: one.note.clone(),
            consistency: hashes.iter().map(|hash| STANDARD.encode(hash)).collect(),
        };
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// The data keys of people who have not been erased, one a line.
fn personal_keys(
    reading: &Reading,
    keys: &BTreeSet<DataKeyId>,
) -> Result<Zeroizing<Vec<u8>>, ExportError> {
    let store = reading.keys().ok_or(ExportError::NoKeys)?;
    let mut lines = Zeroizing::new(Vec::new());
    for id in keys {
        if let Some(key) = store.data_key(*id)? {
            let secret = Zeroizing::new(STANDARD.encode(key.expose()));
            let secret = secret.as_str();
            writeln!(lines, "{{\"key\":\"{id}\",\"secret\":\"{secret}\"}}")?;
        }
    }
    Ok(lines)
}
