//! The published tree against another maker's implementation, at every tile boundary; and its
//! files when they are gone or were changed from outside.

use std::fs;

use proptest::prelude::*;
use tlog_tiles::{Error, HashReader};

use super::*;
use crate::clock::Clock;
use crate::degraded::Part;
use crate::log::{AppendSpace, Disk, Log, LogSettings, SpareMaker};
use crate::merkle::proof::{check_consistency, check_inclusion};
use crate::merkle::tile::{TILE_LEVELS, encode_bundle};
use crate::merkle::{Frontier, NoteSigner, TreeHead};

const ORIGIN: &str = "log.example/tiles";
/// Sizes around all boundaries of tiles of the first two levels.
const SIZES: [u64; 8] = [1, 2, 255, 256, 257, 65_535, 65_536, 65_537];

/// A log with a published tree, and all hashes as the other implementation has them.
struct World {
    _dir: tempfile::TempDir,
    log: Log,
    tiles: Arc<Tiles>,
    growing: TreeGrower,
    folder: PathBuf,
    degraded: DegradedParts,
    commitments: Vec<Hash>,
    theirs: Theirs,
}

#[derive(Default)]
struct Theirs(Vec<tlog_tiles::Hash>);

impl HashReader for Theirs {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, Error> {
        let at = |index: &u64| self.0[usize::try_from(*index).unwrap()];
        Ok(indexes.iter().map(at).collect())
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = LogSettings {
            segment_bytes: 1024 * 1024,
            headroom_bytes: 0,
            spares: SpareMaker::ByCaller,
        };
        let disk = Disk::Real;
        let log = Log::create(disk, &dir.path().join("log"), [7; 16], settings).unwrap();
        let folder = dir.path().join("tiles");
        let degraded = DegradedParts::new(Clock::system());
        let tiles = Arc::new(Tiles::new(folder.clone(), log.reader(), degraded.clone()));
        let empty = TreeHead::new(0, Frontier::new().root());
        let growing = TreeGrower::resume_at(Arc::clone(&tiles), empty).unwrap();
        Self {
            _dir: dir,
            log,
            tiles,
            growing,
            folder,
            degraded,
            commitments: Vec::new(),
            theirs: Theirs::default(),
        }
    }

    /// Appends events until there are `size`, and publishes.
    fn publish(&mut self, size: u64) {
        while self.log.next_position() < size {
            let next = self.log.next_position();
            let last = size.min(next + 5_000);
            let batch: Vec<String> = (next..last).map(|at| format!("event {at}")).collect();
            self.log.append(&batch, AppendSpace::Ordinary).unwrap();
            for (at, payload) in (next..last).zip(&batch) {
                let commitment = crate::domain::envelope::commitment(payload.as_bytes()).0;
                self.commitments.push(commitment);
                let new = tlog_tiles::stored_hashes(at, &commitment, &self.theirs).unwrap();
                self.theirs.0.extend(new);
            }
        }
        let root = self.growing.grow_to(size).unwrap();
        assert_eq!(root, self.log.frontier().root());
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root,
        };
        let note = checkpoint.sign_note(&signer()).unwrap();
        self.growing
            .publish_checkpoint(checkpoint, &note, size)
            .unwrap();
    }

    /// The hash of a perfect subtree, by the other implementation.
    fn theirs(&self, level: u8, index: u64) -> Hash {
        let at = tlog_tiles::stored_hash_index(level, index);
        self.theirs.0[usize::try_from(at).unwrap()].0
    }

    fn their_root(&self, size: u64) -> tlog_tiles::Hash {
        tlog_tiles::tree_hash(size, &self.theirs).unwrap()
    }

    fn check_tile(&self, kind: TileKind, index: u64, width: u16) {
        let id = TileId { kind, index, width };
        let first = index * 256;
        let places = first..first + u64::from(width);
        let expected = match kind {
            TileKind::Entries => {
                let at = |place: u64| usize::try_from(place).unwrap();
                encode_bundle(&self.commitments[at(places.start)..at(places.end)])
            }
            TileKind::Hashes(level) => places
                .flat_map(|at| self.theirs(level * 8, at))
                .collect::<Vec<u8>>(),
        };
        assert_eq!(self.tiles.tile_bytes(id).unwrap(), Some(expected), "{id}");
    }
}

fn signer() -> NoteSigner {
    NoteSigner::new(ORIGIN, &[9; 32]).unwrap()
}

/// The tiles of a tree that are looked at: the first, the last full one, the partial one in a few
/// widths.
fn check_tiles(world: &World, size: u64) {
    for level in 0..TILE_LEVELS {
        let at_level = size >> (8 * u32::from(level));
        let (full, partial) = (at_level / 256, u16::try_from(at_level % 256).unwrap());
        let kinds = [TileKind::Hashes(level), TileKind::Entries];
        for kind in kinds.into_iter().take(if level == 0 { 2 } else { 1 }) {
            for index in [0, full.saturating_sub(1)]
                .into_iter()
                .filter(|at| *at < full)
            {
                for width in [1, 77, 255, 256] {
                    world.check_tile(kind, index, width);
                }
            }
            for width in [1, partial / 2, partial] {
                if (1..=partial).contains(&width) {
                    world.check_tile(kind, full, width);
                }
            }
            let beyond = TileId {
                kind,
                index: full,
                width: partial + 1,
            };
            assert_eq!(world.tiles.tile_bytes(beyond).unwrap(), None, "{beyond}");
        }
    }
}

fn check_proofs(world: &World, size: u64) {
    let root = world.tiles.root_at(size).unwrap();
    let theirs = world.their_root(size);
    assert_eq!(root, theirs.0, "{size}");
    let keys = [signer().verifier().clone()];
    for position in [0, 1, size / 2, size.saturating_sub(2), size - 1] {
        if position >= size {
            continue;
        }
        let receipt = world.tiles.receipt(position, None).unwrap();
        let commitment = world.commitments[usize::try_from(position).unwrap()];
        let leaf = leaf_hash(&commitment);
        check_inclusion(&receipt.hashes, position, leaf, TreeHead::new(size, root)).unwrap();
        let their_proof = receipt.hashes.iter().map(|hash| tlog_tiles::Hash(*hash));
        let their_leaf = tlog_tiles::record_hash(&commitment);
        let their_proof = their_proof.collect();
        tlog_tiles::check_record(&their_proof, size, theirs, position, their_leaf).unwrap();
        assert_eq!(receipt.verify(&commitment, &keys).unwrap().size, size);
    }
    for from in SIZES.into_iter().filter(|from| *from <= size) {
        let proof = world.tiles.consistency_proof(from, size).unwrap();
        let old = world.tiles.root_at(from).unwrap();
        check_consistency(&proof, TreeHead::new(from, old), TreeHead::new(size, root)).unwrap();
        if from < size {
            let proof = proof.into_iter().map(tlog_tiles::Hash).collect();
            let old = world.their_root(from);
            tlog_tiles::check_tree(&proof, size, theirs, from, old).unwrap();
        }
        // A checkpoint of then is as good for a receipt.
        let receipt = world.tiles.receipt(from - 1, Some(from)).unwrap();
        let commitment = world.commitments[usize::try_from(from - 1).unwrap()];
        assert_eq!(receipt.verify(&commitment, &keys).unwrap().size, from);
    }
}

#[test]
fn tiles_and_proofs_are_those_of_another_implementation_at_every_boundary() {
    let mut world = World::new();
    assert_eq!(world.growing.grow_to(0).unwrap(), Frontier::new().root());
    assert!(world.tiles.newest_published().is_none());
    assert!(world.tiles.receipt(0, None).is_err());
    for size in SIZES {
        world.publish(size);
        check_tiles(&world, size);
        check_proofs(&world, size);
    }
}

#[test]
fn nothing_is_shown_or_proven_beyond_what_is_published() {
    let mut world = World::new();
    world.publish(300);
    // Appended and not published.
    world
        .log
        .append(&["event 300"], AppendSpace::Ordinary)
        .unwrap();
    world.growing.grow_to(301).unwrap();
    let refused = |position, size| world.tiles.receipt(position, size).unwrap_err();
    assert!(matches!(refused(300, None), ProofUnavailable::NotPublished));
    assert!(matches!(
        refused(0, Some(301)),
        ProofUnavailable::UnknownCheckpoint(301)
    ));
    assert!(matches!(
        refused(0, Some(299)),
        ProofUnavailable::UnknownCheckpoint(299)
    ));
    assert!(world.tiles.consistency_proof(3, 301).is_err());
    assert!(world.tiles.consistency_proof(301, 300).is_err());
    let edge = TileId {
        kind: TileKind::Entries,
        index: 1,
        width: 45,
    };
    assert_eq!(world.tiles.tile_bytes(edge).unwrap(), None);
}

#[test]
fn tiles_that_are_gone_are_made_again_from_the_log() {
    let mut world = World::new();
    for size in SIZES.into_iter().chain([66_000]) {
        world.publish(size);
    }
    let file = world.folder.join("1/000");
    let before = fs::read(&file).unwrap();
    fs::remove_dir_all(&world.folder).unwrap();
    check_tiles(&world, 66_000);
    check_proofs(&world, 66_000);
    assert_eq!(fs::read(&file).unwrap(), before);
    fs::remove_dir_all(&world.folder).unwrap();
    let root = world.log.frontier().root();
    let again =
        TreeGrower::resume_at(Arc::clone(&world.tiles), TreeHead::new(66_000, root)).unwrap();
    assert_eq!(again.edge, world.growing.edge);
    assert_eq!(fs::read(&file).unwrap(), before);
}

/// Ways in which a file of a tile differs from the log.
fn differing(whole: &[u8], byte: usize) -> [Vec<u8>; 4] {
    let mut changed = whole.to_vec();
    changed[byte] ^= 1;
    let cut = whole[..whole.len() / 2].to_vec();
    [changed, cut, Vec::new(), b"something else".to_vec()]
}

#[test]
fn a_file_that_differs_is_set_aside_and_made_again_when_the_tree_is_read() {
    let mut world = World::new();
    world.publish(700);
    let root = world.log.frontier().root();
    let mut found = 0;
    for (path, byte) in [("0/001", 8_191), ("0/000", 17)] {
        let file = world.folder.join(path);
        let whole = fs::read(&file).unwrap();
        for changed in differing(&whole, byte) {
            fs::write(&file, &changed).unwrap();
            let growing =
                TreeGrower::resume_at(Arc::clone(&world.tiles), TreeHead::new(700, root)).unwrap();
            found += 1;
            assert_eq!(growing.edge, world.growing.edge);
            assert_eq!(fs::read(&file).unwrap(), whole, "{path}");
            assert_eq!(world.degraded.damaged_count(Part::Publishing), found);
            let damage = world.degraded.damage_found().pop().unwrap();
            assert_eq!(damage.file, file);
            assert_eq!(fs::read(damage.kept_as.unwrap()).unwrap(), changed);
        }
    }
}

#[test]
fn every_file_is_held_against_the_log() {
    let mut world = World::new();
    world.publish(66_000);
    let files = ["entries/000", "entries/256", "0/003", "0/255", "1/000"];
    for (number, path) in files.into_iter().enumerate() {
        let file = world.folder.join(path);
        let whole = fs::read(&file).unwrap();
        let changed = differing(&whole, whole.len() - 1)[number % 4].clone();
        fs::write(&file, changed).unwrap();
        world
            .tiles
            .rewrite_differing_files(66_000, || false)
            .unwrap();
        assert_eq!(fs::read(&file).unwrap(), whole, "{path}");
        assert_eq!(world.degraded.damage_found().len(), number + 1);
    }
    // A folder in the place of a file, and a file in the place of a folder.
    let (file, folder) = (world.folder.join("0/004"), world.folder.join("entries"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "a file").unwrap();
    world
        .tiles
        .rewrite_differing_files(66_000, || false)
        .unwrap();
    check_tiles(&world, 66_000);
    assert_eq!(world.degraded.damage_found().len(), files.len() + 2);
    assert!(file.is_file());
    assert!(folder.is_dir());
}

#[test]
fn what_stands_in_the_place_of_a_new_tile_is_set_aside() {
    let mut world = World::new();
    world.publish(200);
    let file = world.folder.join("entries/000");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, b"something else").unwrap();
    world.publish(256);
    check_tiles(&world, 256);
    let damage = world.degraded.damage_found().pop().unwrap();
    assert_eq!(damage.file, file);
    assert_eq!(
        fs::read(damage.kept_as.unwrap()).unwrap(),
        b"something else"
    );
}

#[test]
fn an_edge_read_from_files_is_the_edge_that_grew() {
    let mut world = World::new();
    for size in [1, 2, 255, 256, 257, 511, 512, 700] {
        world.publish(size);
        let read = world.tiles.right_edge(size).unwrap();
        assert_eq!(read, world.growing.edge, "{size}");
    }
}

proptest! {
    #[test]
    fn the_edge_has_the_root_of_the_frontier(count in 0_u64..1_200) {
        let (mut edge, mut frontier) = (RightEdge::default(), Frontier::new());
        let mut full = Vec::new();
        for at in 0..count {
            let mut commitment = [0; 32];
            commitment[..8].copy_from_slice(&at.to_le_bytes());
            edge.append_commitment(&commitment, &mut full);
            frontier.append_commitment(&commitment);
        }
        prop_assert_eq!(edge.root(), frontier.root());
        prop_assert_eq!(full.len() as u64, 2 * (count / 256));
    }
}
