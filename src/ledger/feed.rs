//! The revocation feed, read: the newest entries from RAM, the others from the log again.
//!
//! Nothing is decided here. A reading of the log looks at a bounded piece of it and says how far it
//! got, so that whoever follows goes on from there.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::Ledger;
use super::history::HistoryError;
use super::turns::Turn;
use crate::domain::envelope::Event;
use crate::domain::heading::Heading;
use crate::domain::ids::{CredentialId, Owner};
use crate::views::revocations::entry::may_be_in_feed;
use crate::views::revocations::{FeedPage, FeedScope, RevocationEntry};

/// Events that one reading looks at: at a million a second, some 0.2 seconds.
const EVENTS_PER_READING: u64 = 200_000;
/// Events between two looks at whether a page is full: a scan cannot be left half-way.
const EVENTS_PER_STRIDE: u64 = 1_000;

/// The live credentials of the owners in one reading. Each is looked up once, however many events
/// an owner has: the writer waits meanwhile.
type LiveCredentials = BTreeMap<Owner, Vec<CredentialId>>;

impl Ledger {
    /// Entries from the position `from` on, if RAM holds all of them.
    #[must_use]
    pub fn feed_in_ram(&self, from: u64, scope: FeedScope, limit: usize) -> Option<FeedPage> {
        let shown = self.views().position().map_or(0, |position| position + 1);
        self.views()
            .revocations
            .read_page(from, shown, scope, limit)
    }

    /// The same from the log: a piece of it, off the async threads.
    ///
    /// # Errors
    /// When the log cannot be read, or the turn is over.
    pub fn feed_in_log(
        &self,
        from: u64,
        scope: FeedScope,
        limit: usize,
        turn: &mut Turn,
    ) -> Result<FeedPage, HistoryError> {
        let shown = self.views().position().map_or(0, |position| position + 1);
        let end = shown.min(from.saturating_add(EVENTS_PER_READING));
        let mut page = FeedPage {
            entries: Vec::new(),
            next: from,
        };
        let mut live = LiveCredentials::default();
        while page.next < end {
            turn.go_on()?;
            let to = end.min(page.next + EVENTS_PER_STRIDE);
            let (mut goes_on, mut outcome) = (true, Ok(()));
            self.reader().scan(page.next, to, |_, payload| {
                if goes_on && outcome.is_ok() && may_concern(payload, scope) {
                    match self.entry(payload, &mut live) {
                        Ok(Some(entry)) if scope.includes(&entry) => {
                            goes_on = page.push_until_full(Arc::new(entry), limit);
                        }
                        Ok(_) => {}
                        Err(why) => outcome = Err(why),
                    }
                }
            })?;
            outcome?;
            if !goes_on {
                break;
            }
            page.next = to;
        }
        Ok(page)
    }

    fn entry(
        &self,
        payload: &[u8],
        live: &mut LiveCredentials,
    ) -> Result<Option<RevocationEntry>, HistoryError> {
        let event = Event::from_payload(payload)?;
        let named = |owner| {
            let of = live.entry(owner);
            of.or_insert_with(|| self.live_credentials_of(owner))
                .clone()
        };
        Ok(RevocationEntry::from_event(&event, named))
    }

    /// An owner's live credentials: the writer waits while at most 5,000 are looked up.
    fn live_credentials_of(&self, owner: Owner) -> Vec<CredentialId> {
        let now = self.now();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.live_credentials_of(owner, now)
    }
}

/// Tells payloads that may have an entry from all others, without parsing them.
fn may_concern(payload: &[u8], scope: FeedScope) -> bool {
    let Some(heading) = Heading::of(payload) else {
        return true;
    };
    let reaches = match scope {
        FeedScope::Everything => true,
        // Events of no organization reach everybody.
        FeedScope::OneOrganization(id) => heading.organization.is_none_or(|of| of == id),
    };
    reaches && may_be_in_feed(heading.name)
}
