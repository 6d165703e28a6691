//! Receipts: the C2SP `tlog-proof` file, which an auditor of one event keeps.
//!
//! Owns the form of that file. Must never trust a checkpoint by itself: the caller that checks a
//! receipt brings the keys. A receipt, a payload and a verifier key are all that a check needs:
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! index 12
//! <base64 of a hash, from the leaf to the root>
//! ...
//!
//! <the checkpoint, a signed note>
//! ```

use base64::{Engine, engine::general_purpose::STANDARD};

use super::checkpoint::{Checkpoint, CheckpointError};
use super::note::NoteVerifier;
use super::proof::{PROOF_HASHES_MAX, ProofError, check_inclusion};
use super::tree::{Hash, TreeHead, leaf_hash};

/// The first line.
const HEAD: &str = "c2sp.org/tlog-proof@v1";

/// A parsed receipt, not yet verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The leaf: the event's position.
    pub index: u64,
    /// The hashes beside its way up.
    pub hashes: Vec<Hash>,
    /// The checkpoint, a signed note.
    pub checkpoint: String,
}

/// Why a receipt proves nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReceiptError {
    /// The text is not that of a receipt.
    #[error("not a tlog-proof: {0}")]
    Malformed(&'static str),
    /// Its checkpoint is not one of the log's.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its hashes do not lead from the entry to the checkpoint's root.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl Receipt {
    /// The file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEAD}\nindex {}\n", self.index);
        for hash in &self.hashes {
            text.push_str(&STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads a file. Opaque data in a line `extra` is accepted and dropped.
    ///
    /// # Errors
    /// [`ReceiptError::Malformed`] with the rule that is broken.
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        let refuse = ReceiptError::Malformed;
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or_else(|| refuse("no blank line"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEAD) {
            return Err(refuse("it does not begin as one"));
        }
        let mut line = lines.next();
        if let Some(extra) = line.and_then(|line| line.strip_prefix("extra ")) {
            let decoded = STANDARD.decode(extra);
            decoded.map_err(|_bad_base64| refuse("extra data that is not base64"))?;
            line = lines.next();
        }
        let index = line
            .and_then(|line| line.strip_prefix("index "))
            .ok_or_else(|| refuse("no index"))?;
        let digits = index.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || (index.len() > 1 && index.starts_with('0')) {
            return Err(refuse("the index is not a plain decimal number"));
        }
        let index = index.parse();
        let index = index.map_err(|_overflow| refuse("the index is no 64-bit number"))?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() == PROOF_HASHES_MAX {
                return Err(refuse("more hashes than any tree needs"));
            }
            let hash = STANDARD.decode(line);
            let hash = hash.map_err(|_bad_base64| refuse("a hash that is not base64"))?;
            let hash = Hash::try_from(hash);
            hashes.push(hash.map_err(|_length| refuse("a hash that is not 32 bytes"))?);
        }
        Ok(Self {
            index,
            hashes,
            checkpoint: checkpoint.to_owned(),
        })
    }

    /// Checks that `entry` is at the receipt's index in the log whose key one of `keys` is,
    /// and gives the checkpoint that says so.
    ///
    /// # Errors
    /// Any of [`ReceiptError`].
    pub fn verify(&self, entry: &[u8], keys: &[NoteVerifier]) -> Result<Checkpoint, ReceiptError> {
        let checkpoint = Checkpoint::from_verified_note_of_any_log(&self.checkpoint, keys)?;
        let leaf = leaf_hash(entry);
        let tree = TreeHead::new(checkpoint.size, checkpoint.root);
        check_inclusion(&self.hashes, self.index, leaf, tree)?;
        Ok(checkpoint)
    }
}
