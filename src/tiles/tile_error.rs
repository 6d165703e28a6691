//! Why tiles could not be written or read.

use std::io;
use std::path::{Path, PathBuf};

use crate::log::LogReadError;

/// Why a tile, a root or a proof cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum TileError {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] LogReadError),
    /// The system refused something.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A subtree that no tile holds.
    #[error("a part of the tree that is not there was asked for")]
    SubtreeMissing,
}

impl TileError {
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
