//! What the program tells of credentials whose time is nearly over, or over.

use crate::domain::expiry::{Notice, Seen};
use crate::domain::time::Timestamp;

/// See [`super::Command::NoteExpiries`].
#[derive(Clone, Debug)]
pub struct NoteExpiries {
    /// What was known when the notices were put together.
    pub seen: Option<Seen>,
    /// When that was.
    pub at: Timestamp,
    /// The notices, in the order of their turns: all that there were up to the last of them.
    pub notices: Vec<Notice>,
}
