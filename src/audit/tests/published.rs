//! A published tree, as it is served and after somebody has been at what is served.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;

use super::forger::{code, signed};
use crate::audit::published::{Fetched, verify};
use crate::merkle::tile::encode_bundle;
use crate::merkle::{Frontier, Hash, NoteSigner, TileId, TileKind, leaf_hash, node_hash};

const ORIGIN: &str = "keyledger.example/log";

/// What is served, by path.
type Served = BTreeMap<String, Vec<u8>>;

fn commitment(n: usize) -> Hash {
    leaf_hash(&n.to_be_bytes())
}

/// The verdict, and how often something was fetched.
type Audited = (&'static str, usize);

/// RFC 6962 section 2.1 word for word.
fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Frontier::new().root(),
        [leaf] => *leaf,
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            node_hash(&tree_hash(left), &tree_hash(right))
        }
    }
}

fn note(leaves: &[Hash], signer: &NoteSigner) -> String {
    signed(ORIGIN, (leaves.len() as u64, tree_hash(leaves)), signer).note
}

/// All that a log of so many entries serves.
fn served(entries: &[Hash], signer: &NoteSigner) -> Served {
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let mut served = Served::new();
    let mut put = |kind, hashes: &[Hash], bytes: &dyn Fn(&[Hash]) -> Vec<u8>| {
        for (index, tile) in (0..).zip(hashes.chunks(256)) {
            let width = u16::try_from(tile.len()).unwrap();
            let id = TileId { kind, index, width };
            served.insert(format!("tile/{id}"), bytes(tile));
        }
    };
    put(TileKind::Entries, entries, &encode_bundle);
    let mut level = leaves.clone();
    for number in 0.. {
        if level.is_empty() {
            break;
        }
        put(TileKind::Hashes(number), &level, &|tile| tile.concat());
        level = level.chunks_exact(256).map(tree_hash).collect();
    }
    served.insert("checkpoint".to_owned(), note(&leaves, signer).into_bytes());
    served
}

fn audited(served: &Served, signer: &NoteSigner, since: Option<&str>) -> Audited {
    let fetched = RefCell::new(Vec::new());
    let fetch = |path: String| {
        let found = served.get(&path).cloned();
        fetched.borrow_mut().push(path);
        let answer = found.map_or(Fetched::Absent, Fetched::Content);
        std::future::ready(Ok::<_, Infallible>(answer))
    };
    let mut tell = |_done, _of| {};
    let checked = verify(signer.verifier(), since, fetch, &mut tell);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let Ok(report) = runtime.unwrap().block_on(checked);
    (code(&report.verdict), fetched.take().len())
}

#[test]
fn a_tree_that_is_served_as_it_is_is_whole() {
    let signer = NoteSigner::new(ORIGIN, &[5; 32]).unwrap();
    for size in [0, 1, 255, 256, 257, 700] {
        let entries: Vec<Hash> = (0..size).map(commitment).collect();
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let served = served(&entries, &signer);
        for kept in [0, size / 2, size] {
            let since = note(&leaves[..kept], &signer);
            let whole = audited(&served, &signer, Some(&since));
            assert_eq!(whole, ("whole", served.len()), "{kept} of {size}");
        }
    }
}

#[test]
fn every_edit_of_what_is_served_is_told() {
    let signer = NoteSigner::new(ORIGIN, &[5; 32]).unwrap();
    let other = NoteSigner::new(ORIGIN, &[6; 32]).unwrap();
    let entries: Vec<Hash> = (0..700).map(commitment).collect();
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let whole = served(&entries, &signer);
    let check = |expected: &str, edit: &dyn Fn(&mut Served)| {
        let mut served = whole.clone();
        edit(&mut served);
        assert_eq!(audited(&served, &signer, None).0, expected);
    };
    for path in whole.keys().filter(|path| *path != "checkpoint") {
        check("tile", &|served| served.get_mut(path).unwrap()[3] ^= 1);
        check("tile", &|served| served.get_mut(path).unwrap().push(0));
        check("tile_missing", &|served| drop(served.remove(path)));
    }
    check("checkpoint_missing", &|served| {
        drop(served.remove("checkpoint"));
    });
    let serve = |note: String| {
        move |served: &mut Served| {
            served.insert("checkpoint".to_owned(), note.clone().into_bytes());
        }
    };
    check("checkpoint_form", &serve("nothing".to_owned()));
    check("checkpoint_signature", &serve(note(&leaves, &other)));
    let wrong = signed(ORIGIN, (700, [1; 32]), &signer).note;
    check("tree_root", &serve(wrong));
    check(
        "tile_missing",
        &serve(signed(ORIGIN, (701, [1; 32]), &signer).note),
    );

    let since = |note: &str| audited(&whole, &signer, Some(note)).0;
    assert_eq!(
        since(&signed(ORIGIN, (300, [1; 32]), &signer).note),
        "since_root"
    );
    assert_eq!(
        since(&signed(ORIGIN, (701, [1; 32]), &signer).note),
        "rolled_back"
    );
    assert_eq!(since(&note(&leaves[..9], &other)), "since_signature");
    // A partial tile may be gone once the full one is there.
    let mut grown = whole.clone();
    let more: Vec<Hash> = (0..768).map(commitment).collect();
    let full = served(&more, &signer);
    for path in ["tile/entries/002", "tile/0/002"] {
        grown.remove(&format!("{path}.p/188")).unwrap();
        grown.insert(path.to_owned(), full[path].clone());
    }
    assert_eq!(audited(&grown, &signer, None), ("whole", grown.len() + 2));
}
