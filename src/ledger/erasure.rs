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

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key_holder::KeyHolder;
use super::key_holder::data_key;
use super::unusable_keys::{KeyProblem, UnusableKey, UnusableKeys};
use crate::domain::ids::UserId;
use crate::domain::record::Member;
use crate::domain::state::State;
use crate::error_chain::error_chain;
use crate::seal::{KeyStore, SealError};

/// Destroys the keys of those among the changed members who were erased. Returns those whose file
/// could not be removed: it opens nothing here any more, and the next start tries again.
pub(super) fn destroy_keys(
    keys: &KeyStore,
    unusable: &UnusableKeys,
    members: &[Arc<Member>],
) -> Vec<UserId> {
    let erased = members.iter().filter(|member| member.erased_at.is_some());
    let erased = erased.map(|member| member.id);
    erased.filter(|id| !destroy(keys, unusable, *id)).collect()
}

/// Destroys what a crash, or the import of an older backup of the keys, has left.
pub(super) fn finish(
    keys: &KeyStore,
    unusable: &UnusableKeys,
    state: &State,
) -> Result<(), SealError> {
    let erased = state.erased_members();
    let erased: BTreeMap<_, _> = erased.map(|id| (data_key(id.0), id)).collect();
    keys.mark_data_keys_destroyed(erased.keys().copied());
    // The folder may be large: it is listed where somebody was erased, and then alone.
    if erased.is_empty() {
        return Ok(());
    }
    for left in keys.list_data_key_ids()? {
        if let Some(member) = erased.get(&left) {
            tracing::warn!(key = %left, "the key of an erased person was still there");
            destroy(keys, unusable, *member);
        }
    }
    Ok(())
}

/// Whether the member's key is gone now.
fn destroy(keys: &KeyStore, unusable: &UnusableKeys, member: UserId) -> bool {
    let holder = KeyHolder::Member(member);
    match keys.destroy_data_key(holder.data_key()) {
        Ok(()) => {
            unusable.forget(holder.data_key());
            true
        }
        Err(why) => {
            unusable.forget(holder.data_key());
            let problem = KeyProblem::NotDestroyed(error_chain(&why));
            unusable.add(UnusableKey::new(holder, keys, problem));
            false
        }
    }
}
