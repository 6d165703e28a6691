//! Locks that a panic elsewhere does not spoil.

use std::sync::{Mutex, PoisonError};

/// What the locks of this module guard is whole between any two statements, so that a poisoned one
/// is still good.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
