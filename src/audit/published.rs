//! A published tree, checked by what it serves: C2SP tlog-tiles, from any maker.
//!
//! Owns the order in which tiles are fetched and what they must be. Must never fetch by itself:
//! whoever asks lends a way to get a path below the prefix. Every entry and every tile up to the
//! newest checkpoint is fetched and computed anew; one tile a level is held.

use std::path::PathBuf;

use futures_util::{StreamExt, stream};

use super::keys::{checkpoint_of, claimed};
use super::verdict::{Finding, Kind, Verdict};
use crate::merkle::tile::{
    TILE_ENTRIES, TILE_WIDTH, parse_bundle, parse_tile_hashes, root_of_hashes,
};
use crate::merkle::{Checkpoint, Frontier, Hash, NoteVerifier, TileId, TileKind, leaf_hash};

/// Fetches that are on their way at once.
const AT_ONCE: usize = 16;
/// Bytes of an answer at most: a bundle of 256 entries of 65,535 bytes.
pub const ANSWER_BYTES_MAX: usize = TILE_WIDTH * (2 + 65_535);

/// What a fetch has come to.
#[derive(Debug)]
pub enum Fetched {
    Content(Vec<u8>),
    /// There is none.
    Absent,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// The newest checkpoint, once it was read.
    pub checkpoint: Option<Checkpoint>,
    /// Tiles and bundles that were fetched.
    pub tiles: u64,
    /// Whether all is whole.
    pub verdict: Verdict,
}

/// Why a published tree could not be checked.
#[derive(Debug)]
enum Stopped<E> {
    Fetch(E),
    Found(Finding),
}

impl<E> From<Finding> for Stopped<E> {
    fn from(finding: Finding) -> Self {
        Self::Found(finding)
    }
}

/// Checks a published tree. `fetch` gets a path below the prefix.
///
/// # Errors
/// What `fetch` fails with. What is wrong with the tree is a verdict.
pub async fn verify<E, F: Future<Output = Result<Fetched, E>>>(
    vkey: &NoteVerifier,
    since: Option<&str>,
    fetch: impl Fn(String) -> F,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, E> {
    let mut report = Report {
        checkpoint: None,
        tiles: 0,
        verdict: Verdict::Whole,
    };
    match check((vkey, since), &fetch, &mut report, progress).await {
        Ok(()) => {}
        Err(Stopped::Found(finding)) => report.verdict = Verdict::Damaged(Box::new(finding)),
        Err(Stopped::Fetch(why)) => return Err(why),
    }
    Ok(report)
}

async fn check<E, F: Future<Output = Result<Fetched, E>>>(
    (vkey, since): (&NoteVerifier, Option<&str>),
    fetch: &impl Fn(String) -> F,
    report: &mut Report,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Stopped<E>> {
    const NOTE: &str = "checkpoint";
    let at_note = |finding: Finding| finding.in_file(&PathBuf::from(NOTE));
    let note = match fetch(NOTE.to_owned()).await.map_err(Stopped::Fetch)? {
        Fetched::Content(note) => note,
        Fetched::Absent => {
            let what = "no checkpoint is served";
            return Err(at_note(Finding::new(Kind::CheckpointMissing, what)).into());
        }
    };
    let keys = [vkey.clone()];
    let note = String::from_utf8_lossy(&note);
    let newest = checkpoint_of(&note, vkey.name(), &keys).map_err(at_note)?;
    report.checkpoint = Some(newest.clone());
    let since = since.map(|note| kept(note, vkey)).transpose()?;
    if let Some(since) = &since
        && since.size > newest.size
    {
        let what = format!("the checkpoint that is served is of size {}", newest.size);
        return Err(Finding::new(Kind::RolledBack, what)
            .at_position(since.size)
            .into());
    }
    let mut growing = Growing::new(since);
    let size = newest.size;
    let ids = stream::iter(tiles_of(size));
    let mut fetched = std::pin::pin!(ids.map(|id| get(id, fetch)).buffered(AT_ONCE));
    while let Some(answer) = fetched.next().await {
        let (id, content) = answer.map_err(Stopped::Fetch)?;
        let here = |finding: Finding| finding.in_file(&PathBuf::from(format!("tile/{id}")));
        let Fetched::Content(content) = content else {
            let what = "the tile is not served";
            return Err(here(Finding::new(Kind::TileMissing, what)).into());
        };
        growing.take(id, &content).map_err(here)?;
        report.tiles += 1;
        progress(growing.tree.size(), size);
    }
    if growing.tree.root() != newest.root {
        let what = "the root over the entries is not that of the checkpoint";
        return Err(Finding::new(Kind::TreeRoot, what).at_position(size).into());
    }
    growing.continues().map_err(Stopped::from)
}

/// A checkpoint kept from earlier.
fn kept(note: &str, vkey: &NoteVerifier) -> Result<Checkpoint, Finding> {
    let unsigned = |why: String| Finding::new(Kind::SinceSignature, why);
    claimed(note).map_err(unsigned)?;
    let checked = checkpoint_of(note, vkey.name(), std::slice::from_ref(vkey));
    checked.map_err(|finding| unsigned(finding.what))
}

/// Every tile of a tree, each behind those that it is made of.
fn tiles_of(size: u64) -> impl Iterator<Item = TileId> {
    let runs = size.div_ceil(TILE_ENTRIES);
    (0..runs).flat_map(move |run| {
        let width = (size - run * TILE_ENTRIES).min(TILE_ENTRIES);
        let width = u16::try_from(width).unwrap_or(256);
        let of = |kind, index, width| TileId { kind, index, width };
        let mut tiles = vec![
            of(TileKind::Entries, run, width),
            of(TileKind::Hashes(0), run, width),
        ];
        let is_last = run + 1 == runs;
        // Full tiles of this level and of those below, so far.
        let mut full = if width == 256 { run + 1 } else { run };
        for level in 1_u8.. {
            let ends = width == 256 && full > 0 && full.is_multiple_of(TILE_ENTRIES);
            let hashes = full % TILE_ENTRIES;
            if ends {
                tiles.push(TileId::full_hash_tile(level, full / TILE_ENTRIES - 1));
            } else if is_last && hashes > 0 {
                let width = u16::try_from(hashes).unwrap_or(1);
                tiles.push(of(TileKind::Hashes(level), full / TILE_ENTRIES, width));
            }
            if full < TILE_ENTRIES || !(ends || is_last) {
                break;
            }
            full /= TILE_ENTRIES;
        }
        tiles
    })
}

/// A tile; instead of a partial one that is gone, the beginning of the full one.
async fn get<E, F: Future<Output = Result<Fetched, E>>>(
    id: TileId,
    fetch: &impl Fn(String) -> F,
) -> Result<(TileId, Fetched), E> {
    match fetch(format!("tile/{id}")).await? {
        Fetched::Absent if !id.is_full() => {
            let full = TileId { width: 256, ..id };
            let whole = fetch(format!("tile/{full}")).await?;
            Ok((id, begin(whole, id)))
        }
        answer @ (Fetched::Content(_) | Fetched::Absent) => Ok((id, answer)),
    }
}

fn begin(whole: Fetched, id: TileId) -> Fetched {
    match whole {
        Fetched::Content(mut bytes) => {
            bytes.truncate(bytes.len() / TILE_WIDTH * usize::from(id.width));
            Fetched::Content(bytes)
        }
        Fetched::Absent => Fetched::Absent,
    }
}

/// The tree as it grows from the entries.
struct Growing {
    tree: Frontier,
    /// Of each level the hashes since its last full tile.
    levels: Vec<Vec<Hash>>,
    since: Option<(Checkpoint, Option<Hash>)>,
}

impl Growing {
    fn new(since: Option<Checkpoint>) -> Self {
        let mut new = Self {
            tree: Frontier::new(),
            levels: vec![Vec::new()],
            since: since.map(|since| (since, None)),
        };
        new.meet();
        new
    }

    fn meet(&mut self) {
        if let Some((since, root)) = &mut self.since
            && since.size == self.tree.size()
        {
            *root = Some(self.tree.root());
        }
    }

    fn take(&mut self, id: TileId, content: &[u8]) -> Result<(), Finding> {
        let refuse = |what: &str| Finding::new(Kind::Tile, what);
        match id.kind {
            TileKind::Entries => {
                let entries = parse_bundle(content);
                let entries = entries.filter(|all| all.len() == usize::from(id.width));
                let entries = entries.ok_or_else(|| refuse("it is no bundle of that width"))?;
                for entry in &entries {
                    let leaf = leaf_hash(entry);
                    self.tree.append_leaf(leaf);
                    self.meet();
                    if let Some(leaves) = self.levels.first_mut() {
                        leaves.push(leaf);
                    }
                }
                Ok(())
            }
            TileKind::Hashes(level) => {
                let at = usize::from(level);
                let own = self.levels.get(at).cloned().unwrap_or_default();
                if parse_tile_hashes(content).as_ref() != Some(&own) {
                    return Err(refuse("its hashes are not those of the entries"));
                }
                if let (true, Some(root)) = (id.is_full(), root_of_hashes(&own)) {
                    if let Some(done) = self.levels.get_mut(at) {
                        done.clear();
                    }
                    if self.levels.len() == at + 1 {
                        self.levels.push(Vec::new());
                    }
                    if let Some(above) = self.levels.get_mut(at + 1) {
                        above.push(root);
                    }
                }
                Ok(())
            }
        }
    }

    fn continues(&self) -> Result<(), Finding> {
        match &self.since {
            None => Ok(()),
            Some((since, Some(root))) if *root == since.root => Ok(()),
            Some((since, _)) => {
                let what = format!("the log has another root at size {}", since.size);
                Err(Finding::new(Kind::SinceRoot, what).at_position(since.size))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_of_a_tree_is_named_once_behind_those_it_is_made_of() {
        let names = |size| {
            let tiles = tiles_of(size);
            tiles.map(|id| id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(0), [""; 0]);
        assert_eq!(names(1), ["entries/000.p/1", "0/000.p/1"]);
        assert_eq!(names(256), ["entries/000", "0/000", "1/000.p/1"]);
        let more = [
            "entries/000",
            "0/000",
            "entries/001.p/1",
            "0/001.p/1",
            "1/000.p/1",
        ];
        assert_eq!(names(257), more);
        let all = names(70_000);
        assert_eq!(all.len(), 2 * 274 + 1 + 1 + 1);
        let last = [
            "entries/273.p/112",
            "0/273.p/112",
            "1/001.p/17",
            "2/000.p/1",
        ];
        assert_eq!(all[all.len() - 4..], last);
        let at = |name: &str| all.iter().position(|other| other == name).unwrap();
        assert_eq!(at("1/000"), at("0/255") + 1);
        let square = names(65_536);
        let last = ["entries/255", "0/255", "1/000", "2/000.p/1"];
        assert_eq!(square[square.len() - 4..], last);
    }
}
