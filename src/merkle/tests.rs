//! Proofs, receipts and tiles against each other and against the definition.

use std::convert::Infallible;

use proptest::prelude::*;

use super::proof::{
    check_consistency, check_inclusion, prove_consistency, prove_inclusion, tree_root as root_over,
};
use super::*;

/// Leaves of a tree of the test.
fn leaves(count: u64) -> Vec<Hash> {
    (0..count)
        .map(|index| leaf_hash(&index.to_be_bytes()))
        .collect()
}

/// RFC 6962 section 2.1 word for word.
fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Frontier::new().root(),
        [leaf] => *leaf,
        more => {
            let split = more.len().next_power_of_two() / 2;
            node_hash(&tree_hash(&more[..split]), &tree_hash(&more[split..]))
        }
    }
}

/// RFC 6962 section 2.1.1 word for word.
fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut path, other) = if index < left.len() {
        (path(index, left), right)
    } else {
        (path(index - left.len(), right), left)
    };
    path.push(tree_hash(other));
    path
}

/// RFC 6962 section 2.1.2 word for word.
fn subproof(from: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if from == leaves.len() {
        return if whole {
            Vec::new()
        } else {
            vec![tree_hash(leaves)]
        };
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut proof, other) = if from <= left.len() {
        (subproof(from, left, whole), right)
    } else {
        (subproof(from - left.len(), right, false), left)
    };
    proof.push(tree_hash(other));
    proof
}

fn lend(leaves: &[Hash]) -> impl FnMut(Subtree) -> Result<Hash, Infallible> {
    |subtree| {
        let width = 1_usize << subtree.level;
        let start = usize::try_from(subtree.index).unwrap() * width;
        Ok(tree_hash(&leaves[start..start + width]))
    }
}

fn included(index: u64, leaves: &[Hash]) -> Vec<Hash> {
    let size = leaves.len() as u64;
    prove_inclusion(index, size, lend(leaves)).unwrap().unwrap()
}

fn consistent(from: u64, leaves: &[Hash]) -> Vec<Hash> {
    let size = leaves.len() as u64;
    prove_consistency(from, size, lend(leaves))
        .unwrap()
        .unwrap()
}

#[test]
fn proofs_are_those_of_the_definition_and_verify() {
    let all = leaves(70);
    for size in 1..=all.len() {
        let leaves = &all[..size];
        let tree = TreeHead::new(size as u64, tree_hash(leaves));
        assert_eq!(root_over(tree.size, lend(leaves)), Ok(tree.root));
        for index in 0..size {
            let proof = included(index as u64, leaves);
            assert_eq!(proof, path(index, leaves), "{index} in {size}");
            let leaf = leaves[index];
            assert_eq!(check_inclusion(&proof, index as u64, leaf, tree), Ok(()));
        }
        for from in 1..=size {
            let proof = consistent(from as u64, leaves);
            assert_eq!(proof, subproof(from, leaves, true), "{from} in {size}");
            let old = TreeHead::new(from as u64, tree_hash(&leaves[..from]));
            assert_eq!(check_consistency(&proof, old, tree), Ok(()));
        }
        let empty = TreeHead::new(0, Frontier::new().root());
        assert_eq!(check_consistency(&[], empty, tree), Ok(()));
        assert_eq!(
            check_consistency(&[], TreeHead::new(0, tree.root), tree),
            Err(ProofError::RootMismatch)
        );
    }
}

#[test]
fn a_checkpoint_is_read_by_another_implementation_of_notes() {
    let key = NoteSigner::new("log.example/a", &[3; 32]).unwrap();
    let next = NoteSigner::new("log.example/a", &[4; 32]).unwrap();
    let checkpoint = Checkpoint {
        origin: "log.example/a".to_owned(),
        size: 12,
        root: [9; 32],
    };
    let note = checkpoint.sign_note_with_two_keys(&key, &next).unwrap();
    let theirs = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    for signer in [&key, &next] {
        let vkey = signer.verifier().to_string();
        let verifier = signed_note::StandardVerifier::new(&vkey).unwrap();
        let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
        let (verified, unknown) = theirs.verify(&known).unwrap();
        assert_eq!((verified.len(), unknown.len()), (1, 1));
    }
    assert_eq!(theirs.text(), checkpoint.note_text().as_bytes());
    let read = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!((read.origin(), read.size()), ("log.example/a", 12));
    assert_eq!(read.hash().0, [9; 32]);
}

#[test]
fn what_no_tree_has_is_not_proven() {
    let all = leaves(5);
    let beyond = ProofError::IndexOutOfRange { index: 5, size: 5 };
    assert_eq!(prove_inclusion(5, 5, lend(&all)), Ok(Err(beyond)));
    assert_eq!(
        check_inclusion(&[], 5, all[0], TreeHead::new(5, all[0])),
        Err(beyond)
    );
    let shrunk = ProofError::SizesReversed { from: 6, to: 5 };
    assert_eq!(prove_consistency(6, 5, lend(&all)), Ok(Err(shrunk)));
    assert_eq!(
        check_consistency(&[], TreeHead::new(6, all[0]), TreeHead::new(5, all[0])),
        Err(shrunk)
    );
}

#[test]
fn a_receipt_is_read_as_it_is_written_and_holds_for_its_entry_alone() {
    let entries: Vec<[u8; 32]> = (0..5).map(|number| [number; 32]).collect();
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let key = NoteSigner::new("log.example/a", &[3; 32]).unwrap();
    let next = NoteSigner::new("log.example/a", &[4; 32]).unwrap();
    let witness = NoteSigner::new("witness.example", &[5; 32]).unwrap();
    let checkpoint = Checkpoint {
        origin: "log.example/a".to_owned(),
        size: 5,
        root: tree_hash(&leaves),
    };
    let note = checkpoint.sign_note_with_two_keys(&key, &next).unwrap();
    let receipt = Receipt {
        index: 3,
        hashes: included(3, &leaves),
        checkpoint: note,
    };
    let text = receipt.to_text();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 3\n"));
    assert_eq!(Receipt::parse(&text), Ok(receipt.clone()));
    let extra = text.replace("@v1\n", "@v1\nextra AAAA\n");
    assert_eq!(Receipt::parse(&extra), Ok(receipt.clone()));
    for signer in [&key, &next] {
        let keys = [signer.verifier().clone()];
        assert_eq!(receipt.verify(&entries[3], &keys), Ok(checkpoint.clone()));
        let other = receipt.verify(&entries[2], &keys);
        assert_eq!(other, Err(ReceiptError::Proof(ProofError::RootMismatch)));
    }
    // What another signs alone is no statement of the log.
    let foreign = Receipt {
        checkpoint: checkpoint.sign_note(&witness).unwrap(),
        ..receipt
    };
    let keys = [witness.verifier().clone(), key.verifier().clone()];
    let refused = foreign.verify(&entries[3], &keys);
    assert_eq!(
        refused,
        Err(CheckpointError::Note(NoteError::NotSigned).into())
    );
    for broken in [
        text.replace("@v1", "@v2"),
        text.replace("index 3", "index 03"),
        text.replace("index 3", "index +3"),
        text.replace("index 3\n", ""),
        text.replace("\n\n", "\n"),
        text.replace("index 3\n", "index 3\nAAAA\n"),
        text.replace("index 3\n", "index 3\n?\n"),
    ] {
        assert!(Receipt::parse(&broken).is_err(), "{broken}");
    }
}

/// A proof with a bit of one hash flipped, with one hash less, and with one more.
fn mutations(proof: &[Hash], (changed, bit): (prop::sample::Index, usize)) -> Vec<Vec<Hash>> {
    let mut longer = proof.to_vec();
    longer.insert(changed.index(proof.len() + 1), [7; 32]);
    let mut all = vec![longer];
    if !proof.is_empty() {
        let place = changed.index(proof.len());
        let mut flipped = proof.to_vec();
        flipped[place][bit / 8] ^= 1 << (bit % 8);
        let mut shorter = proof.to_vec();
        shorter.remove(place);
        all.extend([flipped, shorter]);
    }
    all
}

proptest! {
    #[test]
    fn proofs_of_random_sizes_verify_and_no_changed_one_does(
        size in 1_u64..600,
        at in any::<prop::sample::Index>(),
        changed in any::<prop::sample::Index>(),
        bit in 0_usize..256,
    ) {
        let all = leaves(size);
        let place = at.index(all.len());
        let index = place as u64;
        let (leaf, root) = (all[place], tree_hash(&all));
        let proof = included(index, &all);
        prop_assert_eq!(check_inclusion(&proof, index, leaf, TreeHead::new(size, root)), Ok(()));
        let from = index + 1;
        let old = tree_hash(&all[..=place]);
        let link = consistent(from, &all);
        let (old_tree, tree) = (TreeHead::new(from, old), TreeHead::new(size, root));
        prop_assert_eq!(check_consistency(&link, old_tree, tree), Ok(()));

        let mut other = root;
        other[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(check_inclusion(&proof, index, leaf, TreeHead::new(size, other)).is_err());
        prop_assert!(check_inclusion(&proof, index, other, TreeHead::new(size, root)).is_err());
        let other_tree = TreeHead::new(size, other);
        prop_assert!(check_consistency(&link, old_tree, other_tree).is_err());
        if from < size {
            let other_old = TreeHead::new(from, other);
            prop_assert!(check_consistency(&link, other_old, tree).is_err());
        }
        for wrong in mutations(&proof, (changed, bit)) {
            prop_assert!(check_inclusion(&wrong, index, leaf, TreeHead::new(size, root)).is_err());
        }
        for wrong in mutations(&link, (changed, bit)) {
            prop_assert!(check_consistency(&wrong, old_tree, tree).is_err());
        }
        // Another place or another size asks for another proof.
        for wrong in [index.wrapping_sub(1), index + 1] {
            prop_assert!(check_inclusion(&proof, wrong, leaf, TreeHead::new(size, root)).is_err());
        }
    }
}
