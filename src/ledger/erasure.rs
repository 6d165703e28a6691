//! Erasing people for good: the key of a person's values goes when the log says so.
//!
//! Owns the order: the event is durable first, then the key is destroyed, then the command is
//! answered. A crash between the first two leaves an erased person's key, which the next start
//! destroys before anything is served. Must never destroy a key of whom the log does not say so.
//! Records of members flow in, nothing flows out.
//!
//! Nothing else has to be dropped. A snapshot holds personal values in their sealed form alone,
//! and so does the log; both are blank without the key. Views on disk hold none. What stands
//! opened in memory goes with the event itself: the record becomes blank when it is applied.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::stamp::data_key;
use crate::domain::record::Member;
use crate::domain::state::State;
use crate::seal::{DataKeyId, KeyStore, SealError};

/// Destroys the keys of those among the changed members who were erased.
pub(super) fn destroy_keys(keys: &KeyStore, members: &[Arc<Member>]) -> Result<(), SealError> {
    let mut erased = members.iter().filter(|member| member.erased_at.is_some());
    erased.try_for_each(|member| keys.destroy(data_key(member.id.0)))
}

/// Destroys what a crash, or the import of an older backup of the keys, has left.
pub(super) fn finish(keys: &KeyStore, state: &State) -> Result<(), SealError> {
    let erased = state.erased_members().map(|id| data_key(id.0));
    let erased: BTreeSet<DataKeyId> = erased.collect();
    // The folder may be large: it is listed where somebody was erased, and then alone.
    if erased.is_empty() {
        return Ok(());
    }
    for left in keys.data_key_ids()? {
        if erased.contains(&left) {
            tracing::warn!(key = %left, "the key of an erased person was still there");
            keys.destroy(left)?;
        }
    }
    Ok(())
}
