//! Reads a bundle strictly, and says whether it is whole.
//!
//! Owns the order of the checks. Must never take anything from a bundle on trust that the signed
//! tree does not bind, but for the keys where nobody brings one. It reads line by line, so that a
//! bundle of any size is checked in a few megabytes; kept checkpoints alone stand in RAM.

use std::io;
use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::events::{Lines, read_events};
use super::members::{bundle_finding, named_member};
use super::{
    CHECKPOINT, CHECKPOINTS, EVENTS, FORMAT, GUIDE, HASHES, MANIFEST, Manifest, PERSONAL,
    ProvenCheckpoint, VKEY,
};
use crate::audit::archive::{Archive, ArchiveError, SUMS};
use crate::audit::keys::{Named, checkpoint_of, claimed};
use crate::audit::verdict::{Finding, Kind, Verdict};
use crate::merkle::proof::check_consistency;
use crate::merkle::{Checkpoint, Hash, NoteVerifier, TreeHead};

/// What was found in a bundle.
#[derive(Debug)]
pub struct Report {
    /// What it says of itself, as far as that could be read.
    pub manifest: Option<Manifest>,
    /// Whether the keys come from the bundle.
    pub by_its_own_key: bool,
    /// The keys whose signatures counted.
    pub keys: Vec<NoteVerifier>,
    /// Events that were read.
    pub events: u64,
    /// Whether all is whole.
    pub verdict: Verdict,
}

/// Checks a bundle.
///
/// # Errors
/// When the system refuses something. What is wrong with the bundle is a verdict.
pub fn verify(
    path: &Path,
    vkey: Option<&NoteVerifier>,
    since: Option<&str>,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<Report> {
    let mut report = Report {
        manifest: None,
        by_its_own_key: vkey.is_none(),
        keys: Vec::new(),
        events: 0,
        verdict: Verdict::Whole,
    };
    match check(path, (vkey, since), &mut report, progress) {
        Ok(()) => {}
        Err(ArchiveError::Found(finding)) => report.verdict = Verdict::Damaged(finding),
        Err(ArchiveError::Io(why)) => return Err(why),
    }
    Ok(report)
}

fn check(
    path: &Path,
    (vkey, since): (Option<&NoteVerifier>, Option<&str>),
    report: &mut Report,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), ArchiveError> {
    let archive = Archive::open(path)?;
    check_names(&archive)?;
    archive.check_digests()?;
    let manifest = manifest(&archive)?;
    report.manifest = Some(manifest.clone());
    let note = archive.text(named_member(&archive, CHECKPOINT)?)?;
    let newest =
        claimed(&note).map_err(|why| bundle_finding(Kind::CheckpointForm, CHECKPOINT, why))?;
    let is_its = manifest.size == newest.size
        && manifest.root == STANDARD.encode(newest.root)
        && manifest.origin == newest.origin;
    if !is_its {
        let what = "the manifest is of another tree than the checkpoint";
        return Err(bundle_finding(Kind::BundleManifest, MANIFEST, what));
    }
    let since = since.map(|note| {
        let checkpoint = claimed(note);
        checkpoint.map(|checkpoint| (note, checkpoint))
    });
    let since = since.transpose();
    let since = since.map_err(|why| Finding::new(Kind::SinceSignature, why))?;
    let wanted = since.as_ref().map(|(_, checkpoint)| checkpoint.size);
    let events = read_events(&archive, (&manifest, &newest), wanted, progress)?;
    report.events = events.count;
    let counted = (events.count, events.hashes);
    if counted != (manifest.events, manifest.hashes) {
        let what = format!("there are {} events and {} hashes", counted.0, counted.1);
        return Err(bundle_finding(Kind::BundleManifest, MANIFEST, what));
    }
    let notes = read_checkpoints(&archive, &newest)?;
    if notes.len() != manifest.checkpoints || notes.last() != Some(&note) {
        let what = "there are other checkpoints than it says";
        return Err(bundle_finding(Kind::BundleManifest, MANIFEST, what));
    }
    let keys = trusted(&archive, vkey, (&events.named, &notes, &newest.origin))?;
    for note in &notes {
        let signed = checkpoint_of(note, &newest.origin, &keys);
        signed.map_err(|finding| finding.in_file(Path::new(CHECKPOINTS)))?;
    }
    report.keys = keys;
    match since {
        Some(since) => check_since(since, events.met, (&report.keys, &notes, &newest)),
        None => Ok(()),
    }
}

/// The members stand in their order, and no other is among them.
fn check_names(archive: &Archive) -> Result<(), ArchiveError> {
    let mut names = archive.members.iter().map(|member| member.name.as_str());
    let begin = [GUIDE, VKEY, CHECKPOINT, CHECKPOINTS, EVENTS, HASHES];
    for expected in begin {
        if names.next() != Some(expected) {
            let what = format!("{expected} does not stand in its place");
            return Err(bundle_finding(Kind::BundleForm, expected, what));
        }
    }
    let rest: Vec<&str> = names.collect();
    let [between @ .., MANIFEST, SUMS] = rest.as_slice() else {
        let what = format!("{MANIFEST} and {SUMS} do not stand at the end");
        return Err(bundle_finding(Kind::BundleForm, MANIFEST, what));
    };
    let schemas = match between {
        [PERSONAL, schemas @ ..] => schemas,
        schemas => schemas,
    };
    let are_in_order = schemas.is_sorted_by(|a, b| a < b);
    match schemas.iter().find(|name| !name.starts_with("schemas/")) {
        None if are_in_order => Ok(()),
        None => {
            let what = "the schemas do not stand in their order";
            Err(bundle_finding(Kind::BundleForm, "schemas", what))
        }
        Some(name) => {
            let what = format!("{name} is no member of a bundle");
            Err(bundle_finding(Kind::BundleForm, name, what))
        }
    }
}

fn manifest(archive: &Archive) -> Result<Manifest, ArchiveError> {
    let bytes = archive.small(named_member(archive, MANIFEST)?)?;
    let refuse = |what: String| bundle_finding(Kind::BundleManifest, MANIFEST, what);
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|why| refuse(why.to_string()))?;
    if manifest.format != FORMAT {
        let what = format!("its form is {:?}, not {FORMAT:?}", manifest.format);
        return Err(refuse(what));
    }
    // One manifest has one spelling.
    if serde_json::to_vec(&manifest).ok() != Some(bytes) {
        return Err(refuse(
            "it is not written as this program writes it".to_owned(),
        ));
    }
    if manifest.with_personal != archive.member(PERSONAL).is_some() {
        return Err(refuse(
            "it is wrong about the keys of people's values".to_owned(),
        ));
    }
    Ok(manifest)
}

/// The notes of all checkpoints, each proven to be a beginning of the newest.
fn read_checkpoints(archive: &Archive, newest: &Checkpoint) -> Result<Vec<String>, ArchiveError> {
    let mut lines = Lines::of(archive, CHECKPOINTS)?;
    let mut notes = Vec::new();
    let mut last: Option<Checkpoint> = None;
    while let Some((at, line)) = lines.next()? {
        let here = |kind, what: String| {
            let finding = Finding::new(kind, what).in_file(Path::new(CHECKPOINTS));
            ArchiveError::from(finding.at_offset(at))
        };
        let read: ProvenCheckpoint = serde_json::from_slice(&line)
            .map_err(|why| here(Kind::CheckpointForm, why.to_string()))?;
        if serde_json::to_vec(&read).ok() != Some(line) {
            let what = "a line that is not written as this program writes it";
            return Err(here(Kind::BundleForm, what.to_owned()));
        }
        let checkpoint =
            claimed(&read.checkpoint).map_err(|why| here(Kind::CheckpointForm, why))?;
        if checkpoint.size != read.size || checkpoint.origin != newest.origin {
            let what = "the note is of another size or log than its line says";
            return Err(here(Kind::CheckpointForm, what.to_owned()));
        }
        let (size, root) = (checkpoint.size, checkpoint.root);
        if let Some(last) = &last {
            if size == last.size && root != last.root {
                let what = format!("two checkpoints of size {size} have different roots");
                return Err(here(Kind::CheckpointsContradict, what));
            }
            if size < last.size {
                let what = "the checkpoints do not stand in the order of their sizes";
                return Err(here(Kind::BundleOrder, what.to_owned()));
            }
        }
        let hashes: Option<Vec<Hash>> = read
            .consistency
            .iter()
            .map(|text| STANDARD.decode(text).ok()?.try_into().ok())
            .collect();
        let hashes = hashes.ok_or_else(|| {
            let what = "a hash that is not 32 bytes of base64";
            here(Kind::BundleConsistency, what.to_owned())
        })?;
        check_consistency(
            &hashes,
            TreeHead::new(size, root),
            TreeHead::new(newest.size, newest.root),
        )
        .map_err(|why| here(Kind::BundleConsistency, why.to_string()))?;
        last = Some(checkpoint);
        notes.push(read.checkpoint);
    }
    Ok(notes)
}

/// The keys that count: the one given and those that it vouches for, else the bundle's own.
fn trusted(
    archive: &Archive,
    given: Option<&NoteVerifier>,
    (named, notes, origin): (&Named, &[String], &str),
) -> Result<Vec<NoteVerifier>, ArchiveError> {
    let member = named_member(archive, VKEY)?;
    let mut own = Vec::new();
    for line in archive.text(member)?.lines() {
        let key = NoteVerifier::parse(line);
        own.push(key.map_err(|why| bundle_finding(Kind::BundleForm, VKEY, why.to_string()))?);
    }
    let Some(given) = given else {
        return Ok(own);
    };
    let notes: Vec<&str> = notes.iter().map(String::as_str).collect();
    Ok(named.trusted_under(Some(given), &notes, origin)?)
}

/// Whether a checkpoint that was kept elsewhere is one of the bundle's history.
fn check_since(
    (note, since): (&str, Checkpoint),
    met: Option<Hash>,
    (keys, notes, newest): (&[NoteVerifier], &[String], &Checkpoint),
) -> Result<(), ArchiveError> {
    checkpoint_of(note, &newest.origin, keys).map_err(|finding| Finding {
        kind: Kind::SinceSignature,
        ..finding
    })?;
    let refuse = |kind, what: String| {
        Err(ArchiveError::from(
            Finding::new(kind, what).at_position(since.size),
        ))
    };
    if since.size > newest.size {
        let what = format!("the bundle ends at size {}", newest.size);
        return refuse(Kind::RolledBack, what);
    }
    let same = notes.iter().filter_map(|note| claimed(note).ok());
    let mut same = same.filter(|checkpoint| checkpoint.size == since.size);
    match (same.next(), met) {
        (Some(same), _) if same.root == since.root => Ok(()),
        (Some(_), _) => {
            let what = format!("the log has signed another one of size {}", since.size);
            refuse(Kind::CheckpointsContradict, what)
        }
        (None, Some(met)) if met == since.root => Ok(()),
        (None, Some(_)) => {
            let what = format!("the log has another root at size {}", since.size);
            refuse(Kind::SinceRoot, what)
        }
        (None, None) => {
            let what = "the bundle neither holds a checkpoint of that size nor all events";
            refuse(Kind::SinceUnproven, what.to_owned())
        }
    }
}
