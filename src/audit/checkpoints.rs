//! The kept checkpoints, held against the tree as it is followed.
//!
//! Owns the comparison of every signed root with the log's own. Must never sign, nor believe a note
//! by what its record says of it.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{Named, checkpoint_of};
use super::verdict::{Finding, Kind};
use crate::log::{InspectedEvent, LocatedCheckpoint};
use crate::merkle::{Checkpoint, Frontier, Hash, NoteVerifier};

/// Kept checkpoints by their size, and where the tree has come.
#[derive(Debug)]
pub(super) struct Kept {
    by_size: BTreeMap<u64, Vec<LocatedCheckpoint>>,
    since: Option<(Checkpoint, Option<Hash>)>,
    count: usize,
    /// The size of the next one that the tree will come to.
    next: Option<u64>,
}

impl Kept {
    /// Those of a folder, and one that somebody has kept elsewhere.
    pub(super) fn new(kept: Vec<LocatedCheckpoint>, since: Option<Checkpoint>) -> Self {
        // The newest of an hour may stand in two files.
        let notes: BTreeSet<&str> = kept
            .iter()
            .map(|one| one.checkpoint.note.as_str())
            .collect();
        let count = notes.len();
        let mut by_size: BTreeMap<u64, Vec<LocatedCheckpoint>> = BTreeMap::new();
        for one in kept {
            by_size.entry(one.checkpoint.size).or_default().push(one);
        }
        let since = since.map(|checkpoint| (checkpoint, None));
        let next = by_size.keys().find(|size| **size > 0).copied();
        let mut new = Self {
            by_size,
            since,
            count,
            next,
        };
        new.meet_since(&Frontier::new());
        new
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The newest note.
    pub(super) fn newest(&self) -> Option<&LocatedCheckpoint> {
        self.by_size.values().next_back()?.last()
    }

    /// Holds those of this size against the tree.
    pub(super) fn meet(&mut self, event: &InspectedEvent<'_>) -> Result<(), Finding> {
        self.meet_since(event.frontier);
        let size = event.frontier.size();
        if self.next != Some(size) {
            return Ok(());
        }
        self.next = self.by_size.range(size + 1..).next().map(|(next, _)| *next);
        self.agree(size, event.frontier.root())
    }

    /// Whether those of a size have its root.
    fn agree(&self, size: u64, root: Hash) -> Result<(), Finding> {
        let here = self
            .by_size
            .get(&size)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let Some(wrong) = here.iter().find(|one| one.checkpoint.root != root) else {
            return Ok(());
        };
        let right = here.iter().find(|one| one.checkpoint.root == root);
        let kind = match right {
            Some(_) => Kind::CheckpointsContradict,
            None => Kind::CheckpointRoot,
        };
        let what = format!("the checkpoint of size {size} has another root than the log");
        Err(place(Finding::new(kind, what), wrong))
    }

    fn meet_since(&mut self, tree: &Frontier) {
        if let Some((since, root)) = &mut self.since
            && since.size == tree.size()
        {
            *root = Some(tree.root());
        }
    }

    /// Whether the log, which has been followed to its end, reaches as far as it was signed.
    pub(super) fn reach(&self, size: u64) -> Result<(), Finding> {
        self.agree(0, Frontier::new().root())?;
        match self.newest() {
            Some(newest) if newest.checkpoint.size > size => {
                let what = format!(
                    "the log ends at size {size}, and a checkpoint of size {} was signed",
                    newest.checkpoint.size
                );
                Err(place(Finding::new(Kind::RolledBack, what), newest))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks every signature, and gives the keys that count.
    pub(super) fn signatures(
        &self,
        named: &Named,
        given: Option<&NoteVerifier>,
    ) -> Result<Vec<NoteVerifier>, Finding> {
        let origin = named.origin.as_deref().unwrap_or_default();
        let all = || self.by_size.values().flatten();
        let notes: Vec<&str> = all().map(|one| one.checkpoint.note.as_str()).collect();
        let keys = named.trusted(given, &notes)?;
        for one in all() {
            let at = |finding| place(finding, one);
            let signed = checkpoint_of(&one.checkpoint.note, origin, &keys).map_err(at)?;
            if (signed.size, signed.root) != (one.checkpoint.size, one.checkpoint.root) {
                let what = "the note states another size or root than its record";
                return Err(at(Finding::new(Kind::CheckpointForm, what)));
            }
        }
        Ok(keys)
    }

    /// Whether the log continues the checkpoint that was kept elsewhere. Its signature has been
    /// checked.
    pub(super) fn continues(&self, size: u64) -> Result<(), Finding> {
        let Some((since, root)) = &self.since else {
            return Ok(());
        };
        let refuse = |kind, what: String| Err(Finding::new(kind, what).at_position(since.size));
        match root {
            Some(root) if *root == since.root => Ok(()),
            Some(_) if self.by_size.contains_key(&since.size) => {
                let what = format!("the log has signed another one of size {}", since.size);
                refuse(Kind::CheckpointsContradict, what)
            }
            Some(_) => {
                let what = format!("the log has another root at size {}", since.size);
                refuse(Kind::SinceRoot, what)
            }
            None => {
                let what = format!(
                    "the log ends at size {size}, and the checkpoint kept from earlier is of {}",
                    since.size
                );
                refuse(Kind::RolledBack, what)
            }
        }
    }
}

fn place(finding: Finding, kept: &LocatedCheckpoint) -> Finding {
    finding
        .in_file(&kept.file)
        .at_offset(kept.offset)
        .at_position(kept.checkpoint.size)
}
