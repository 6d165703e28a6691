//! How far the index has come.

/// How far an index has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HistoryProgress {
    /// Position of the last event in it.
    pub position: u64,
    /// Root of the tree after that event.
    pub root: [u8; 32],
}
