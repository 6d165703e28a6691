//! When the time of a credential is nearly over, and over: which notices are due, in which order.
//!
//! A notice is an event, `api_key.expiring` some days ahead or `api_key.expired`, and nothing waits
//! for it: the state follows `expires_at` alone. Pure; what makes a notice due stands here, who
//! gives it is `ledger/expiry`.
//!
//! **Once, without a byte for each credential.** All notices stand in one order, by [`Turn`]: when
//! they are due, then whose they are. They are given in that order, so that the last one given says
//! which have been: those up to it, and no other. An event raises that mark and never lowers it, so
//! that a replay over a snapshot that is ahead of its position comes to the same.
//!
//! **A notice is open** if it is due after [`Dates::since`], when the credential was made or its
//! expiry last set: a key made with five days to live has nothing to say of thirty, and an expiry
//! that is moved has new notices, of which those already past are nobody's news. Events never go
//! back in time, so an expiry is set no earlier than any notice was given, and a given notice was
//! due by then: whatever a change opens lies behind the mark. That is why no change can open a
//! notice that the mark would swallow, and why an expiry that is moved there and back opens none
//! that has been given.
//!
//! **Equal instants** are told apart by the credential; two notices of one credential are never due
//! at the same instant, since leads differ by whole days.
//!
//! **What is late.** Of several notices of one credential that are due, the latest outweighs the
//! others: after days of standstill a key that expires tomorrow is told of once, and one that has
//! expired is told of as that.

use serde::{Deserialize, Serialize};

use super::envelope::Event;
use super::event::{Fact, KeyExpired, KeyExpiring};
use super::ids::{CredentialId, EventId, Subject};
use super::record::Credential;
use super::time::{DAY_MS, Timestamp};

/// The longest lead, in days.
pub const LEAD_DAYS_MAX: u16 = 365;
/// Most leads.
pub const LEADS_MAX: usize = 10;

/// Where a notice stands in the order of all.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Turn {
    /// When it is due.
    pub due_at: Timestamp,
    /// Whose it is.
    pub key: CredentialId,
}

impl Turn {
    /// The turn of a notice that has been given; `None` for any other event.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let due_at = if let Fact::KeyExpiring(data) = &event.fact {
            data.due_at
        } else if let Fact::KeyExpired(data) = &event.fact {
            data.expires_at
        } else {
            return None;
        };
        if let Subject::Credential(key) = event.subject {
            Some(Self { due_at, key })
        } else {
            None
        }
    }
}

/// The newest event that somebody knows of: what comes after it sets no expiry before `at`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The event.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
}

/// A notice to be given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Notice {
    /// Whose.
    pub key: CredentialId,
    /// When it expires.
    pub expires_at: Timestamp,
    /// So many days ahead; `None`: that it has expired.
    pub days: Option<u16>,
}

impl Notice {
    /// When it is due.
    #[must_use]
    pub fn due_at(&self) -> Timestamp {
        let days = self.days.map_or(0, i64::from);
        self.expires_at.plus_ms(-days * DAY_MS)
    }

    /// Where it stands in the order of all.
    #[must_use]
    pub fn turn(&self) -> Turn {
        Turn {
            due_at: self.due_at(),
            key: self.key,
        }
    }

    /// Whether it is due at `now` for the credential as it is: live, with this expiry, and not
    /// past before that was set. Of what has expired nothing is told ahead.
    #[must_use]
    pub fn is_due(&self, record: &Credential, now: Timestamp) -> bool {
        let expected = Dates::of(record).filter(|dates| dates.expires_at == self.expires_at);
        let open = expected.is_some_and(|dates| self.due_at() > dates.since);
        let ahead = self.days.is_none() || now < self.expires_at;
        open && ahead && self.due_at() <= now
    }

    /// The event.
    #[must_use]
    pub fn fact(&self) -> Fact {
        let (expires_at, due_at) = (self.expires_at, self.due_at());
        match self.days {
            Some(days) => Fact::from(KeyExpiring {
                expires_at,
                days,
                due_at,
            }),
            None => Fact::from(KeyExpired { expires_at }),
        }
    }
}

/// How many days ahead an expiry is told of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Leads(Vec<u16>);

/// Leads that cannot be kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidLeads {
    /// Too short or too long.
    #[error("{0} days ahead is not between 1 and {LEAD_DAYS_MAX}")]
    Days(u16),
    /// Too many.
    #[error("{0} leads are more than {LEADS_MAX}")]
    TooMany(usize),
}

impl Leads {
    /// Leads in any order; none are none.
    pub fn check(mut days: Vec<u16>) -> Result<Self, InvalidLeads> {
        if let Some(wrong) = days
            .iter()
            .find(|days| !(1..=LEAD_DAYS_MAX).contains(*days))
        {
            return Err(InvalidLeads::Days(*wrong));
        }
        days.sort_unstable_by(|a, b| b.cmp(a));
        days.dedup();
        if days.len() > LEADS_MAX {
            return Err(InvalidLeads::TooMany(days.len()));
        }
        Ok(Self(days))
    }
}

/// What the notices of a credential follow from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dates {
    /// When it expires.
    pub expires_at: Timestamp,
    /// When that was set.
    pub since: Timestamp,
}

impl Dates {
    /// The dates of a credential, unless it never expires or has been ended.
    #[must_use]
    pub fn of(record: &Credential) -> Option<Self> {
        let expires_at = record.expires_at()?;
        record.ended().is_none().then(|| Self {
            expires_at,
            since: record.expiry_set_at(),
        })
    }

    /// The first open notice of `key` after the mark `told`; if several are due at `now`, the last
    /// of them.
    #[must_use]
    pub fn next(
        &self,
        key: CredentialId,
        leads: &Leads,
        told: Option<Turn>,
        now: Timestamp,
    ) -> Option<Notice> {
        let days = leads.0.iter().copied().map(Some).chain([None]);
        let notices = days.map(|days| Notice {
            key,
            expires_at: self.expires_at,
            days,
        });
        let open = |notice: &Notice| {
            notice.due_at() > self.since && told.is_none_or(|told| notice.turn() > told)
        };
        let mut next = None;
        for notice in notices.filter(open) {
            if next.is_none() || notice.due_at() <= now {
                next = Some(notice);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    const KEY: CredentialId = CredentialId(Ulid(5));

    fn day(days: i64) -> Timestamp {
        Timestamp(days * DAY_MS)
    }

    #[test]
    fn leads_are_days_of_a_year_each_once() {
        let leads = |days: &[u16]| Leads::check(days.to_vec());
        assert_eq!(leads(&[]), Ok(Leads::default()));
        assert_eq!(leads(&[1, 30, 7, 30]), Ok(Leads(vec![30, 7, 1])));
        assert_eq!(leads(&[365, 0]), Err(InvalidLeads::Days(0)));
        assert_eq!(leads(&[366]), Err(InvalidLeads::Days(366)));
        let eleven: Vec<u16> = (1..=11).collect();
        assert_eq!(leads(&eleven), Err(InvalidLeads::TooMany(11)));
        assert!(leads(&eleven[1..]).is_ok());
    }

    #[test]
    fn the_next_notice_is_the_first_open_one_or_the_last_that_is_due() {
        let leads = Leads::check(vec![30, 7, 1]).unwrap();
        let days = |since: i64, told: Option<(i64, u128)>, now: i64| {
            let dates = Dates {
                expires_at: day(100),
                since: day(since),
            };
            let told = told.map(|(due, key)| Turn {
                due_at: day(due),
                key: CredentialId(Ulid(key)),
            });
            let next = dates.next(KEY, &leads, told, day(now));
            next.map(|notice| notice.days.unwrap_or(0))
        };
        for (since, told, now, expected) in [
            (0, None, 0, Some(30)),
            (0, None, 70, Some(30)),
            // Several are due: the last of them.
            (0, None, 93, Some(7)),
            (0, None, 99, Some(1)),
            (0, None, 100, Some(0)),
            (0, None, 500, Some(0)),
            // Set when the lead was past, or at that very instant.
            (69, None, 69, Some(30)),
            (70, None, 70, Some(7)),
            (99, None, 99, Some(0)),
            // Behind the mark; at the same instant the credential decides.
            (0, Some((70, 4)), 70, Some(30)),
            (0, Some((70, 5)), 70, Some(7)),
            (0, Some((70, 6)), 70, Some(7)),
            (0, Some((80, 1)), 80, Some(7)),
            (0, Some((100, 4)), 100, Some(0)),
            (0, Some((100, 5)), 100, None),
        ] {
            assert_eq!(days(since, told, now), expected, "{since} {told:?} {now}");
        }
        // Longer ahead than there has been time.
        let dates = Dates {
            expires_at: day(3),
            since: day(0),
        };
        let next = dates.next(KEY, &leads, None, day(0)).unwrap();
        assert_eq!(next.days, Some(1));
    }
}
