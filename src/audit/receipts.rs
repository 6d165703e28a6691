//! Receipts made from a folder, and checked with nothing but a key and a payload.
//!
//! Owns both ends of a receipt. Must never sign: the checkpoint of a receipt is one that the folder
//! keeps.

use memchr::memmem::Finder;
use sha2::{Digest, Sha256};

use super::reading::{Reading, ReadingError};
use super::subtrees::Subtrees;
use super::verdict::{Finding, Kind};
use crate::domain::heading::Whereabouts;
use crate::domain::ids::EventId;
use crate::ledger::boot::Folder;
use crate::log::{CheckpointStoreError, Disk, LogReadError, read_checkpoints};
use crate::merkle::proof::prove_inclusion;
use crate::merkle::{Checkpoint, CheckpointError, NoteVerifier, Receipt, ReceiptError};
use crate::merkle::{leaf_hash, proof};

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The folder cannot be read.
    #[error(transparent)]
    Reading(#[from] ReadingError),
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Read(#[from] LogReadError),
    /// The checkpoints cannot be read.
    #[error("the checkpoints cannot be read")]
    Floor(#[from] CheckpointStoreError),
    /// No such event.
    #[error("there is no such event")]
    Absent,
    /// The newest checkpoint is older.
    #[error("no checkpoint covers the event yet")]
    NotSigned,
    /// The newest checkpoint is none.
    #[error("the newest checkpoint cannot be read: {0}")]
    Checkpoint(String),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventName {
    Id(EventId),
    Position(u64),
}

impl std::str::FromStr for EventName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        let id = text.parse();
        id.map(Self::Id)
            .map_err(|why| format!("neither a position nor an event's id: {why}"))
    }
}

/// The receipt of an event against the newest checkpoint that a folder keeps.
///
/// # Errors
/// Any of [`ProveError`].
pub fn prove(folder: &Folder, reading: &Reading, event: EventName) -> Result<Receipt, ProveError> {
    let kept = read_checkpoints(Disk::Real, &folder.checkpoints(), reading.log_id())?;
    let newest = kept.into_iter().max_by_key(|kept| kept.checkpoint.size);
    let newest = newest.ok_or(ProveError::NotSigned)?.checkpoint;
    let index = match event {
        EventName::Position(position) => position,
        EventName::Id(id) => position_of(reading, id)?.ok_or(ProveError::Absent)?,
    };
    if index >= reading.size() {
        return Err(ProveError::Absent);
    }
    if index >= newest.size {
        return Err(ProveError::NotSigned);
    }
    let mut subtrees = Subtrees::default();
    let Ok(wanted) = prove_inclusion(index, newest.size, |subtree| subtrees.want(subtree));
    wanted.map_err(|why| ProveError::Checkpoint(why.to_string()))?;
    reading.scan(0, newest.size.min(reading.size()), |_, payload| {
        subtrees.take(leaf_hash(&Sha256::digest(payload)));
    })?;
    match prove_inclusion(index, newest.size, |subtree| subtrees.root(subtree)) {
        Ok(Ok(hashes)) if subtrees.tree().root() == newest.root => Ok(Receipt {
            index,
            hashes,
            checkpoint: newest.note,
        }),
        Ok(_) | Err(_) => Err(ProveError::Checkpoint(
            "it is not one of this log; verify the folder".to_owned(),
        )),
    }
}

fn position_of(reading: &Reading, id: EventId) -> Result<Option<u64>, LogReadError> {
    let named = format!(",\"id\":\"{id}\",\"type\":");
    let named = Finder::new(named.as_bytes());
    let mut found = None;
    reading.scan(0, reading.size(), |position, payload| {
        // An id in somebody's text stands farther behind.
        let begin = payload.get(..BEGIN_BYTES.min(payload.len()));
        if found.is_none() && begin.is_some_and(|begin| named.find(begin).is_some()) {
            found = Some(position);
        }
    })?;
    Ok(found)
}

/// Bytes within which an event's id and type stand: a position of 20 digits, an id of 30.
const BEGIN_BYTES: usize = 96;

/// What a receipt has proven.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proven {
    /// Where the payload stands.
    pub position: u64,
    /// The checkpoint that says so.
    pub checkpoint: Checkpoint,
}

/// Checks that `payload` stands in the log whose key is `key`.
///
/// # Errors
/// What is wrong, as a finding.
pub fn check(receipt: &str, payload: &[u8], key: &NoteVerifier) -> Result<Proven, Finding> {
    let keys = [key.clone()];
    // An editor's or a shell's line end is not the payload's: that is JSON without white space.
    let payload = payload.strip_suffix(b"\n").unwrap_or(payload);
    let refuse = |kind, why: String| Finding::new(kind, why);
    let receipt =
        Receipt::parse(receipt).map_err(|why| refuse(Kind::ReceiptForm, why.to_string()))?;
    let checked = receipt.verify(&Sha256::digest(payload), &keys);
    let checkpoint = checked.map_err(|why| {
        let kind = match &why {
            ReceiptError::Malformed(_) => Kind::ReceiptForm,
            ReceiptError::Checkpoint(
                CheckpointError::Note(_)
                | CheckpointError::Malformed(_)
                | CheckpointError::WrongOrigin { .. },
            ) => Kind::ReceiptSignature,
            ReceiptError::Proof(
                proof::ProofError::IndexOutOfRange { .. }
                | proof::ProofError::SizesReversed { .. }
                | proof::ProofError::WrongLength { .. }
                | proof::ProofError::RootMismatch,
            ) => Kind::ReceiptProof,
        };
        refuse(kind, why.to_string())
    })?;
    let said = Whereabouts::of(payload).map(|found| found.position);
    if said.is_some_and(|said| said != receipt.index) {
        let what = "the payload says that it stands elsewhere than the receipt";
        return Err(refuse(Kind::ReceiptProof, what.to_owned()));
    }
    Ok(Proven {
        position: receipt.index,
        checkpoint,
    })
}
