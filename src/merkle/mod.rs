//! The Merkle tree over the log and the signed statements about it.
//!
//! This module owns the RFC 6962 hashing, the frontier from which a root is computed, C2SP signed
//! notes and C2SP checkpoints. It must never read or write a file, a clock or a log: entries and
//! keys come in as bytes, hashes and texts go out. The log feeds it commitments; the publisher
//! takes roots and notes from it.
//!
//! Reading order: [`tree`] (hashing and the frontier), [`tile`] (the tree in pieces), [`proof`]
//! (that something is in it, that it only grew), [`note`] and [`checkpoint`] (what is signed),
//! [`receipt`] (a proof with its checkpoint, as a file).

pub mod checkpoint;
pub mod note;
pub mod proof;
pub mod receipt;
mod subtree;
pub mod tile;
pub mod tree;

#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use note::{Note, NoteError, NoteSigner, NoteVerifier};
pub use proof::{ProofError, Subtree};
pub use receipt::{Receipt, ReceiptError};
pub use tile::{TileId, TileKind};
pub use tree::{Frontier, FrontierError, Hash, TreeHead, leaf_hash, node_hash};
