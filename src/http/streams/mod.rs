//! What goes on for long: how many streams and long polls there may be, and who may have them.
//!
//! Owns the places ([`Streams`]), the standing of somebody who was let in ([`Standing`]), and how
//! events get to a connection ([`Line`]). Must never go on for a caller who has ended, or who would
//! be shown something else now. Events flow from those who follow a feed to their connections.

mod line;
mod standing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::problem::Problem;
use crate::domain::ids::OrganizationId;

pub(super) use line::{Line, Over, resumed};
pub(super) use standing::{Leave, Standing};

/// Streams of a sort that are open at once: each wakes for every entry, some 10 microseconds.
const STREAMS_MAX: usize = 256;
/// Streams of one organization.
const STREAMS_EACH_MAX: usize = 64;
/// How often it is looked whether a caller still stands: a second is promised.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How many streams are open, and whose.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<BTreeMap<Option<OrganizationId>, usize>>>);

/// One place; it is free again when this is dropped.
pub(super) struct Open {
    streams: Streams,
    of: Option<OrganizationId>,
}

impl Streams {
    pub(super) fn open(&self, of: Option<OrganizationId>) -> Result<Open, Problem> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.get(&of).copied().unwrap_or(0);
        if own >= STREAMS_EACH_MAX || open.values().sum::<usize>() >= STREAMS_MAX {
            return Err(Problem::unavailable(
                "streams_exhausted",
                "as many streams as may be open at once are open already",
            ));
        }
        open.insert(of, own + 1);
        let streams = self.clone();
        Ok(Open { streams, of })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self
            .streams
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_streams_are_open_at_once_and_no_more() {
        let streams = Streams::default();
        let organization = |n: u128| Some(OrganizationId(ulid::Ulid(n)));
        let mut open = Vec::new();
        for n in 1..=4 {
            for _ in 0..STREAMS_EACH_MAX {
                open.push(streams.open(organization(n)).ok().unwrap());
            }
            let refused = streams.open(organization(n)).err().unwrap();
            assert_eq!(refused.code(), "streams_exhausted");
        }
        assert!(streams.open(None).is_err(), "in all");
        open.pop();
        assert!(streams.open(None).is_ok());
        drop(open);
        assert!(streams.0.lock().unwrap().is_empty());
    }
}
