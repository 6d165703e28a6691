//! The events of a bundle, with the hashes that stand for all others.
//!
//! Owns the way from lines and hashes to the root of the tree, and the chains on the way. Must
//! never hold more than a line and a frontier.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::members::{bundle_finding, named_member};
use super::{Chosen, EVENTS, HASHES, Manifest};
use crate::audit::archive::{Archive, ArchiveError, Content};
use crate::audit::chains::Chains;
use crate::audit::gaps::parts;
use crate::audit::keys::Named;
use crate::audit::verdict::{Finding, Kind};
use crate::domain::heading::Whereabouts;
use crate::domain::ids::OrganizationId;
use crate::merkle::{Checkpoint, Frontier, Hash, leaf_hash};

/// Bytes of a line at most: an event has 65,535, a checkpoint with its note and 64 hashes fewer.
const LINE_BYTES_MAX: u64 = 128 * 1024;

/// What the events have shown.
pub(super) struct Events {
    pub(super) count: u64,
    pub(super) hashes: u64,
    pub(super) named: Named,
    /// The root at the size that somebody has kept, where the events came by it.
    pub(super) met: Option<Hash>,
}

/// Reads events and hashes side by side, and holds their root against the checkpoint.
pub(super) fn read_events(
    archive: &Archive,
    (manifest, newest): (&Manifest, &Checkpoint),
    wanted: Option<u64>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Events, ArchiveError> {
    let chosen = Chosen {
        organization: manifest.organization,
        from: manifest.from,
        to: manifest.to,
    };
    check_positions(archive, newest.size)?;
    let mut order = Order::new(&chosen);
    let mut lines = Lines::of(archive, EVENTS)?;
    let hashes = named_member(archive, HASHES)?;
    let mut hashes = Hashes {
        from: archive.read(hashes),
        left: hashes.size,
        taken: 0,
    };
    let mut events = Events {
        count: 0,
        hashes: 0,
        named: Named::default(),
        met: None,
    };
    let mut tree = Frontier::new();
    let meet = |tree: &Frontier, met: &mut Option<Hash>| {
        if wanted == Some(tree.size()) {
            *met = Some(tree.root());
        }
    };
    while let Some((at, line)) = lines.next()? {
        let here = |finding: Finding| finding.in_file(Path::new(EVENTS)).at_offset(at);
        let payload = line.as_slice();
        let commitment: Hash = Sha256::digest(payload).into();
        let seen = (payload, &commitment);
        let event = order.take(seen).map_err(here)?;
        if !chosen.holds(&event) {
            let what = "the event is none of those that the manifest names";
            let finding = Finding::new(Kind::BundleForeign, what);
            return Err(here(finding.at_position(event.position)).into());
        }
        meet(&tree, &mut events.met);
        hashes.fill(&mut tree, event.position)?;
        meet(&tree, &mut events.met);
        tree.append_leaf(leaf_hash(&commitment));
        events.named.take((event.position, event.name), payload);
        events.count += 1;
        if events.count.is_multiple_of(4_096) {
            progress(events.count, manifest.events);
        }
    }
    meet(&tree, &mut events.met);
    hashes.fill(&mut tree, newest.size)?;
    if hashes.left > 0 {
        let what = "there are more hashes than gaps between the events";
        return Err(bundle_finding(Kind::BundleProof, HASHES, what));
    }
    events.hashes = hashes.taken;
    if tree.root() != newest.root {
        let what = "the events and hashes have another root than the checkpoint";
        return Err(bundle_finding(Kind::BundleProof, EVENTS, what));
    }
    Ok(events)
}

fn whereabouts(payload: &[u8]) -> Result<Whereabouts<'_>, Finding> {
    Whereabouts::of(payload).ok_or_else(|| {
        let what = "its beginning is not that of an event";
        Finding::new(Kind::EventForm, what)
    })
}

/// The events stand in the order of the log. It is looked at before all else: what stands in the
/// wrong place would seem to be missing from the right one.
fn check_positions(archive: &Archive, size: u64) -> Result<(), ArchiveError> {
    let mut lines = Lines::of(archive, EVENTS)?;
    let mut next = 0;
    while let Some((at, line)) = lines.next()? {
        let here = |finding: Finding| finding.in_file(Path::new(EVENTS)).at_offset(at);
        let position = whereabouts(&line).map_err(here)?.position;
        if position < next || position >= size {
            let what = format!("event {position} stands where {next} or a later one must stand");
            let finding = Finding::new(Kind::BundleOrder, what);
            return Err(here(finding.at_position(position)).into());
        }
        next = position + 1;
    }
    Ok(())
}

/// Hashes in place of what is not shown.
struct Hashes<R> {
    from: R,
    left: u64,
    taken: u64,
}

impl<R: Read> Hashes<R> {
    /// Fills the gap in a tree up to a position.
    fn fill(&mut self, tree: &mut Frontier, to: u64) -> Result<(), ArchiveError> {
        for part in parts(tree.size(), to) {
            let mut root = [0; 32];
            if self.left < 32 {
                let what = format!(
                    "an event is missing, and no hash stands for it: {}",
                    tree.size()
                );
                let finding = Finding::new(Kind::BundleProof, what);
                return Err(finding.at_position(tree.size()).into());
            }
            self.from.read_exact(&mut root)?;
            self.left -= 32;
            self.taken += 1;
            if !tree.try_append_subtree(part.level, root) {
                let what = "the tree would have too many leaves";
                return Err(bundle_finding(Kind::BundleProof, HASHES, what));
            }
        }
        Ok(())
    }
}

/// The order of the events and the chains that run through them.
struct Order {
    /// In a bundle of the whole log every chain is there from its beginning.
    whole: Option<Chains>,
    /// Else those of organizations, from the first event that was exported.
    organizations: BTreeMap<OrganizationId, (u64, Hash)>,
    from_start: bool,
}

impl Order {
    fn new(chosen: &Chosen) -> Self {
        let from_start = chosen.from == 0;
        let is_whole = chosen.organization.is_none() && from_start;
        Self {
            whole: is_whole.then(Chains::default),
            organizations: BTreeMap::new(),
            from_start,
        }
    }

    fn take<'a>(
        &mut self,
        (payload, commitment): (&'a [u8], &Hash),
    ) -> Result<Whereabouts<'a>, Finding> {
        let found = whereabouts(payload)?;
        let position = found.position;
        let refuse = |kind, what: String| Err(Finding::new(kind, what).at_position(position));
        if let Some(chains) = &mut self.whole {
            return chains.take(position, payload, commitment);
        }
        let Some((organization, sequence, previous)) = found.chain else {
            return Ok(found);
        };
        let before = self.organizations.get(&organization);
        let next = match before {
            Some((last, _)) => last + 1,
            None if self.from_start => 0,
            None => sequence,
        };
        if sequence != next {
            let what = format!("it is event {sequence} of {organization}, where {next} must stand");
            return refuse(Kind::BundleIncomplete, what);
        }
        let previous = previous.map(|digest| digest.0);
        let follows = match before {
            Some((_, commitment)) => previous == Some(*commitment),
            None => (sequence == 0) == previous.is_none(),
        };
        if !follows {
            let what = format!("it does not follow the event before it of {organization}");
            return refuse(Kind::OrganizationPrevious, what);
        }
        self.organizations
            .insert(organization, (sequence, *commitment));
        Ok(found)
    }
}

/// The lines of a member, each with where it begins.
pub(super) struct Lines<'a> {
    from: io::BufReader<Content<'a>>,
    name: &'static str,
    at: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn of(archive: &'a Archive, name: &'static str) -> Result<Self, ArchiveError> {
        let from = archive.read(named_member(archive, name)?);
        Ok(Self { from, name, at: 0 })
    }

    pub(super) fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, ArchiveError> {
        let mut line = Vec::new();
        let mut some = (&mut self.from).take(LINE_BYTES_MAX);
        let read = some.read_until(b'\n', &mut line)? as u64;
        let at = self.at;
        self.at += read;
        if line.pop().is_none_or(|last| last == b'\n') {
            return Ok((read > 0).then_some((at, line)));
        }
        let what = "a line without an end";
        let finding = Finding::new(Kind::BundleForm, what).in_file(Path::new(self.name));
        Err(finding.at_offset(at).into())
    }
}
