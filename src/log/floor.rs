//! The checkpoint files: later.
