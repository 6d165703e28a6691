//! The Merkle tree over the log and the signed statements about it.
//!
//! This module owns the RFC 6962 hashing, the frontier from which a root is computed, C2SP signed
//! notes and C2SP checkpoints. It must never read or write a file, a clock or a log: entries and
//! keys come in as bytes, hashes and texts go out. The log feeds it commitments; whoever publishes
//! takes roots and notes from it.
//!
//! Tiles and proofs will stand beside [`tree`] and be made from the same leaves.

pub mod checkpoint;
pub mod note;
pub mod tree;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use note::{Note, NoteError, NoteSigner, NoteVerifier};
pub use tree::{Frontier, FrontierError, Hash, leaf_hash, node_hash};
