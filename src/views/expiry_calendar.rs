//! The calendar: the notices of expiries that are due within about a day.
//!
//! Owns which notices come next, never which were given: that is the log's. It is gathered from
//! all credentials, some thousand at a time, and follows every batch in between; until it has been
//! gathered whole it gives nothing, since a notice that is missing could not be given later (see
//! `domain/expiry.rs`). The writer stays here for one look-up a changed credential.
//!
//! **Bounded.** It reaches `REACH_MS` ahead and holds so many credentials; of more, the earliest,
//! and it reaches only up to the first that found no place. At the end of its reach it is gathered
//! anew, and every `GATHERED_EVERY_MS` in any case.
//!
//! **A credential has one entry here**, with the notice that comes next as of `Pages::now`. As time
//! goes on a later notice may outweigh it, and it is moved. Time that goes back would have it moved
//! back: then everything is gathered anew.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ulid::Ulid;

use crate::domain::expiry::{Dates, Leads, Notice, Seen, Turn};
use crate::domain::ids::CredentialId;
use crate::domain::record::Credential;
use crate::domain::state::Changes;
use crate::domain::time::{DAY_MS, Timestamp};

/// How far ahead notices are gathered: an hour more than the longest time between two gatherings.
const REACH_MS: i64 = DAY_MS + DAY_MS / 24;
/// How often everything is gathered anew.
const GATHERED_EVERY_MS: i64 = DAY_MS / 2;
/// Credentials in the calendar at most: at some 100 bytes each, 13 MB.
pub const CALENDAR_ENTRIES_MAX: usize = 1 << 17;
/// Credentials looked at while the writer waits, as many as a snapshot takes at once...
const LOOKED_AT_ONCE: usize = 4_096;
/// ...of which so many are put in their places: some 500 microseconds.
const PUT_AT_ONCE: usize = 512;
/// Entries looked at for one answer: some 500 microseconds.
const STEPS_MAX: usize = 512;

/// Before every notice.
const FIRST: Turn = Turn {
    due_at: Timestamp(i64::MIN),
    key: CredentialId(Ulid(0)),
};

/// The calendar, shared by the writer and the thread that gives notices.
#[derive(Debug)]
pub struct ExpiryCalendar(Mutex<CalendarPages>);

/// What the caller has to do.
#[derive(Debug, Eq, PartialEq)]
pub enum CalendarAnswer {
    /// Gather everything.
    NeedsGathering,
    /// Give notices; none if it is too early for the next.
    DueNotices {
        /// In their order: all there are up to the last of them.
        notices: Vec<Notice>,
        /// The newest event that the calendar knows of.
        seen: Option<Seen>,
        /// Whether there may be more.
        more: bool,
    },
}

#[derive(Debug)]
struct CalendarEntry {
    dates: Dates,
    /// When the notice is due by which it is ordered.
    due_at: Timestamp,
}

#[derive(Debug)]
struct CalendarPages {
    /// `None` while no notices are given: then nothing is gathered.
    leads: Option<Leads>,
    entries_max: usize,
    seen: Option<Seen>,
    told: Option<Turn>,
    entries: BTreeMap<CredentialId, CalendarEntry>,
    order: BTreeSet<Turn>,
    /// Up to where it reaches: notices from here on are left out.
    until: Turn,
    /// Whether every notice before `until` is here.
    whole: bool,
    /// The latest instant that was asked for.
    now: Timestamp,
    gather_again_at: Timestamp,
}

impl Default for ExpiryCalendar {
    fn default() -> Self {
        Self(Mutex::new(CalendarPages {
            leads: None,
            entries_max: CALENDAR_ENTRIES_MAX,
            seen: None,
            told: None,
            entries: BTreeMap::new(),
            order: BTreeSet::new(),
            until: FIRST,
            whole: false,
            now: FIRST.due_at,
            gather_again_at: FIRST.due_at,
        }))
    }
}

impl ExpiryCalendar {
    fn lock(&self) -> MutexGuard<'_, CalendarPages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a batch changed.
    pub fn apply(&self, changes: &Changes) {
        let mut pages = self.lock();
        pages.seen = changes.newest;
        pages.told = changes.timed_to;
        if pages.leads.is_some() {
            for record in &changes.credentials {
                pages.put(record.id(), Dates::of(record));
            }
        }
    }

    /// Starts gathering for notices so many days ahead, of so many credentials at most.
    pub fn start_notices(&self, leads: Leads, entries_max: usize) {
        let mut pages = self.lock();
        pages.leads = Some(leads);
        pages.entries_max = entries_max;
        pages.whole = false;
    }

    /// What there is to do at `now`; at most `max` notices.
    #[must_use]
    pub fn due_notices(&self, now: Timestamp, max: usize) -> CalendarAnswer {
        let mut pages = self.lock();
        if !pages.whole || now < pages.now || now >= pages.gather_again_at {
            return CalendarAnswer::NeedsGathering;
        }
        pages.now = now;
        let (notices, more) = pages.due(max);
        if notices.is_empty() && !more && pages.until.due_at <= now {
            return CalendarAnswer::NeedsGathering;
        }
        let seen = pages.seen;
        CalendarAnswer::DueNotices {
            notices,
            seen,
            more,
        }
    }

    /// Forgets everything, to be gathered as of `now`.
    pub fn clear_before_gathering(&self, now: Timestamp) {
        let mut pages = self.lock();
        pages.whole = false;
        pages.now = now;
        pages.gather_again_at = now.plus_ms(GATHERED_EVERY_MS);
        pages.until = Turn {
            due_at: now.plus_ms(REACH_MS),
            ..FIRST
        };
        let forgotten = (mem::take(&mut pages.entries), mem::take(&mut pages.order));
        // The writer need not wait until they are gone.
        drop(pages);
        drop(forgotten);
    }

    /// Looks at some records, as they are settled now, and says which was the last of them; `None`
    /// when there was none more: then the calendar is whole.
    pub fn gather_some<'a>(
        &self,
        records: impl Iterator<Item = &'a Arc<Credential>>,
    ) -> Option<CredentialId> {
        let mut pages = self.lock();
        let mut put = 0;
        for (looked, record) in (1..).zip(records) {
            if let Some(dates) = Dates::of(record) {
                put += usize::from(pages.put(record.id(), Some(dates)));
            }
            if looked == LOOKED_AT_ONCE || put == PUT_AT_ONCE {
                return Some(record.id());
            }
        }
        pages.whole = true;
        None
    }
}

impl CalendarPages {
    /// Puts a credential in its place, which is none if nothing of it is due soon.
    fn put(&mut self, key: CredentialId, dates: Option<Dates>) -> bool {
        if let Some(CalendarEntry { due_at, .. }) = self.entries.remove(&key) {
            self.order.remove(&Turn { due_at, key });
        }
        let (Some(dates), Some(leads)) = (dates, &self.leads) else {
            return false;
        };
        let next = dates.next(key, leads, self.told, self.now);
        let Some(turn) = next
            .map(|next| next.turn())
            .filter(|turn| *turn < self.until)
        else {
            return false;
        };
        let due_at = turn.due_at;
        self.entries.insert(key, CalendarEntry { dates, due_at });
        self.order.insert(turn);
        if self.order.len() > self.entries_max
            && let Some(last) = self.order.pop_last()
        {
            self.entries.remove(&last.key);
            self.until = last;
        }
        true
    }

    /// The first notices that are due, and whether there may be more of them.
    fn due(&mut self, max: usize) -> (Vec<Notice>, bool) {
        let (mut notices, mut after) = (Vec::new(), FIRST);
        for _ in 0..STEPS_MAX {
            let turns = self.order.range((Bound::Excluded(after), Bound::Unbounded));
            let turn = turns.copied().next().filter(|turn| turn.due_at <= self.now);
            let (Some(turn), Some(leads)) = (turn, &self.leads) else {
                return (notices, false);
            };
            let dates = self.entries.get(&turn.key).map(|entry| entry.dates);
            let next = dates.and_then(|dates| dates.next(turn.key, leads, self.told, self.now));
            match next.filter(|next| next.turn() == turn) {
                Some(next) if notices.len() < max => {
                    notices.push(next);
                    after = turn;
                }
                Some(_) => return (notices, true),
                // Given, or outweighed by a later one since it was put here.
                None => {
                    self.order.remove(&turn);
                    self.put(turn.key, dates);
                }
            }
        }
        (notices, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::EventId;
    use crate::views::fixtures::{credential, ended, packed};

    const HOUR_MS: i64 = DAY_MS / 24;

    /// Credential `id`, made at 0, that expires after so many hours.
    fn key(id: u128, hours: i64) -> Arc<Credential> {
        let mut record = credential(1, id);
        record.expires_at = Some(hour(hours));
        packed(&record)
    }

    fn hour(hours: i64) -> Timestamp {
        Timestamp(hours * HOUR_MS)
    }

    fn calendar(entries_max: usize) -> ExpiryCalendar {
        let calendar = ExpiryCalendar::default();
        calendar.start_notices(Leads::check(vec![2, 1]).unwrap(), entries_max);
        calendar
    }

    fn gather(calendar: &ExpiryCalendar, records: &[Arc<Credential>], hours: i64) {
        calendar.clear_before_gathering(hour(hours));
        assert_eq!(calendar.gather_some(records.iter()), None);
    }

    /// Whose notices are due, so many days ahead; `None` if everything has to be gathered.
    fn due(calendar: &ExpiryCalendar, hours: i64, max: usize) -> Option<Vec<(u128, u16)>> {
        match calendar.due_notices(hour(hours), max) {
            CalendarAnswer::NeedsGathering => None,
            CalendarAnswer::DueNotices { notices, .. } => {
                let of = |notice: &Notice| (notice.key.0.0, notice.days.unwrap_or(0));
                Some(notices.iter().map(of).collect())
            }
        }
    }

    /// A batch that changed these and gave all notices up to one.
    fn changed(calendar: &ExpiryCalendar, records: &[Arc<Credential>], told: Option<(i64, u128)>) {
        calendar.apply(&Changes {
            credentials: records.to_vec(),
            newest: Some(Seen {
                id: EventId(Ulid(9)),
                at: hour(0),
            }),
            timed_to: told.map(|(due, key)| Turn {
                due_at: hour(due),
                key: CredentialId(Ulid(key)),
            }),
            ..Changes::default()
        });
    }

    #[test]
    fn nothing_is_due_before_everything_has_been_gathered() {
        let calendar = calendar(10);
        changed(&calendar, &[key(1, 30)], None);
        assert_eq!(due(&calendar, 0, 9), None);
        gather(&calendar, &[key(1, 30)], 0);
        assert_eq!(due(&calendar, 5, 9), Some(vec![]));
        assert_eq!(due(&calendar, 6, 9), Some(vec![(1, 1)]));
        // Time that has gone back, or half a day.
        assert_eq!(due(&calendar, 5, 9), None);
        gather(&calendar, &[key(1, 30)], 5);
        assert_eq!(due(&calendar, 6, 9), Some(vec![(1, 1)]));
        assert_eq!(due(&calendar, 17, 9), None);
    }

    #[test]
    fn notices_are_due_in_their_order_and_go_when_they_are_told() {
        let calendar = calendar(10);
        let keys = [key(3, 30), key(1, 31), key(2, 30), key(4, 100)];
        gather(&calendar, &keys, 0);
        assert_eq!(due(&calendar, 6, 9), Some(vec![(2, 1), (3, 1)]));
        assert_eq!(due(&calendar, 6, 1), Some(vec![(2, 1)]));
        changed(&calendar, &[key(2, 30)], Some((6, 2)));
        assert_eq!(due(&calendar, 7, 9), Some(vec![(3, 1), (1, 1)]));
        // Revoked, moved away, made.
        let mut revoked = credential(1, 3);
        revoked.expires_at = Some(hour(30));
        revoked.ended = Some(ended(hour(7)));
        changed(
            &calendar,
            &[packed(&revoked), key(1, 90), key(5, 32)],
            Some((6, 2)),
        );
        assert_eq!(due(&calendar, 8, 9), Some(vec![(5, 1)]));
        let told = Some((8, 5));
        changed(&calendar, &[key(5, 32)], told);
        assert_eq!(due(&calendar, 9, 9), Some(vec![]));
        let CalendarAnswer::DueNotices { seen, .. } = calendar.due_notices(hour(9), 9) else {
            panic!("it is whole");
        };
        assert_eq!(seen.map(|seen| seen.at), Some(hour(0)));
    }

    #[test]
    fn of_several_that_are_due_the_latest_is_given() {
        let calendar = calendar(10);
        let keys = [key(1, 50), key(2, 60), key(3, 49)];
        gather(&calendar, &keys, 0);
        // Two days ahead of 1 and 3, then one day ahead, then what has expired.
        assert_eq!(due(&calendar, 2, 9), Some(vec![(3, 2), (1, 2)]));
        gather(&calendar, &keys, 26);
        assert_eq!(due(&calendar, 26, 9), Some(vec![(2, 2), (3, 1), (1, 1)]));
        gather(&calendar, &keys, 49);
        assert_eq!(due(&calendar, 49, 9), Some(vec![(1, 1), (2, 1), (3, 0)]));
        // What a moved entry passes over has been outweighed.
        changed(&calendar, &[key(1, 50), key(2, 60)], Some((36, 2)));
        assert_eq!(due(&calendar, 50, 9), Some(vec![(3, 0), (1, 0)]));
    }

    #[test]
    fn what_finds_no_place_is_gathered_later() {
        let calendar = calendar(2);
        let keys = [key(1, 30), key(2, 29), key(3, 28), key(4, 28)];
        gather(&calendar, &keys, 0);
        assert_eq!(due(&calendar, 8, 9), Some(vec![(3, 1), (4, 1)]));
        // What comes in between is before the end of the reach, or not there.
        changed(&calendar, &[key(5, 27), key(6, 31)], None);
        assert_eq!(due(&calendar, 8, 9), Some(vec![(5, 1), (3, 1)]));
        changed(&calendar, &[key(5, 27), key(3, 28)], Some((4, 3)));
        assert_eq!(due(&calendar, 8, 9), None);
        gather(&calendar, &keys, 8);
        assert_eq!(due(&calendar, 8, 9), Some(vec![(4, 1), (2, 1)]));
    }

    #[test]
    fn many_are_gathered_and_given_in_bounded_steps() {
        let calendar = calendar(usize::MAX);
        let count = u128::try_from(2 * PUT_AT_ONCE + 1).unwrap();
        let keys: Vec<_> = (1..=count).map(|id| key(id, 30)).collect();
        calendar.clear_before_gathering(hour(0));
        let mut after = calendar.gather_some(keys.iter());
        assert_eq!(after.map(|id| id.0.0), Some(PUT_AT_ONCE as u128));
        let mut rounds = 1;
        while let Some(last) = after {
            assert_eq!(due(&calendar, 6, 9), None);
            let rest = keys.iter().filter(|key| key.id() > last);
            after = calendar.gather_some(rest);
            rounds += 1;
        }
        assert_eq!(rounds, 3);
        let CalendarAnswer::DueNotices { notices, more, .. } =
            calendar.due_notices(hour(6), usize::MAX)
        else {
            panic!("it is whole");
        };
        assert_eq!((notices.len(), more), (STEPS_MAX, true));
    }
}
