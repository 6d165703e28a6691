//! What the client remembers: answers, and what the feed has said.
//!
//! Pure: the time comes in. Must never hand out an answer unless the stream says that, as of less
//! than a second ago, nothing was revoked that the answer does not know of. Tokens are here as part
//! of a SHA-256 alone. Whatever the stream says that cannot be true ends all caching until it has
//! begun anew.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::sse::Lie;
use super::verification::{Asked, Verified};

/// How old what is known of the feed may be.
pub(super) const BEHIND_MAX: Duration = Duration::from_secs(1);
/// How long a refusal is remembered: what made it right may come at any time.
const REFUSAL_AGE_MAX: Duration = Duration::from_secs(1);
/// Ids of the newest entries that are kept, for answers on their way meanwhile: some 0.6 MB.
const RECENT_IDS_MAX: usize = 10_000;

/// An entry of the feed, as it comes.
#[derive(Debug, Deserialize)]
pub(super) struct Revocation {
    pub(super) position: u64,
    key_ids: Vec<String>,
    owner: Option<Owner>,
    all: bool,
}

#[derive(Debug, Deserialize)]
struct Owner {
    id: String,
}

/// How far the stream has come.
#[derive(Debug, Deserialize)]
pub(super) struct Heartbeat {
    pub(super) position: u64,
    pub(super) elapsed_ms: Option<u64>,
}

/// One remembered answer.
#[derive(Debug)]
struct Known {
    answer: Verified,
    until: Instant,
    order: u64,
}

/// The stream as it stands.
#[derive(Debug)]
struct Feed {
    /// When it was asked for; the server's own beginning is later.
    began: Instant,
    /// Every entry after this position has been received, or is yet to come.
    known_from: Option<u64>,
    position: Option<u64>,
    /// As of when `position` was all there was.
    complete_at: Option<Instant>,
    recent: VecDeque<Revocation>,
    recent_ids: usize,
}

/// Answers, and the stream that keeps them true.
#[derive(Debug)]
pub(super) struct Cache {
    known: BTreeMap<Asked, Known>,
    by_order: BTreeMap<u64, Asked>,
    by_key: BTreeMap<String, Vec<Asked>>,
    next_order: u64,
    entries_max: usize,
    feed: Option<Feed>,
    /// The greatest position of an answer, and when it was there at the latest.
    answered: Option<(u64, Instant)>,
}

impl Revocation {
    fn names(&self, answer: &Verified) -> bool {
        let Some(key) = &answer.key else {
            return self.all;
        };
        let owner = key.owner.as_ref().map(|owner| &owner.id);
        self.all
            || self.key_ids.contains(&key.id)
            || self.owner.as_ref().is_some_and(|of| owner == Some(&of.id))
    }
}

impl Cache {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            known: BTreeMap::new(),
            by_order: BTreeMap::new(),
            by_key: BTreeMap::new(),
            next_order: 0,
            entries_max,
            feed: None,
            answered: None,
        }
    }

    /// How many answers are remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether answers are remembered now.
    pub(super) fn is_live(&self, now: Instant) -> bool {
        let complete_at = self.feed.as_ref().and_then(|feed| feed.complete_at);
        complete_at.is_some_and(|at| at <= now && now - at <= BEHIND_MAX)
    }

    /// What was answered, if that is certainly true still.
    pub(super) fn get(&mut self, asked: &Asked, now: Instant) -> Option<Verified> {
        if !self.is_live(now) {
            return None;
        }
        let known = self.known.get(asked)?;
        if known.until > now {
            return Some(known.answer.clone());
        }
        self.forget(asked);
        None
    }

    /// An answer with this position is there: a stream that is complete as of now has reached it.
    pub(super) fn answered(&mut self, position: u64, now: Instant) {
        if self.answered.is_none_or(|(seen, _)| position > seen) {
            self.answered = Some((position, now));
        }
    }

    /// Remembers an answer, if nothing that the stream has said since makes it doubtful. It was
    /// asked for at `sent` and holds for `age` from then on.
    pub(super) fn put(&mut self, asked: Asked, answer: Verified, sent: Instant, age: Duration) {
        let Some(feed) = &self.feed else { return };
        let position = answer.position;
        let is_known = feed.known_from.is_some_and(|from| position >= from);
        let later = |entry: &Revocation| entry.position > position && entry.names(&answer);
        if !is_known || feed.recent.iter().any(later) {
            return;
        }
        let age = if answer.valid {
            age
        } else {
            age.min(REFUSAL_AGE_MAX)
        };
        let Some(until) = sent.checked_add(age) else {
            return;
        };
        self.forget(&asked);
        while self.known.len() >= self.entries_max.max(1)
            && let Some((_, oldest)) = self.by_order.first_key_value()
        {
            let oldest = *oldest;
            self.forget(&oldest);
        }
        let order = self.next_order;
        self.next_order += 1;
        self.by_order.insert(order, asked);
        if let Some(key) = &answer.key {
            let of_key = self.by_key.entry(key.id.clone()).or_default();
            of_key.push(asked);
        }
        let known = Known {
            answer,
            until,
            order,
        };
        self.known.insert(asked, known);
    }

    fn forget(&mut self, asked: &Asked) {
        let Some(known) = self.known.remove(asked) else {
            return;
        };
        self.by_order.remove(&known.order);
        let Some(key) = &known.answer.key else { return };
        if let Some(of_key) = self.by_key.get_mut(&key.id) {
            of_key.retain(|other| other != asked);
            if of_key.is_empty() {
                self.by_key.remove(&key.id);
            }
        }
    }

    /// The stream is gone, or was never what it said.
    pub(super) fn cut(&mut self) {
        self.feed = None;
        self.known.clear();
        self.by_order.clear();
        self.by_key.clear();
    }

    /// A stream was asked for at `began`, after this position or from then on.
    pub(super) fn begin(&mut self, began: Instant, after: Option<u64>) {
        self.cut();
        self.feed = Some(Feed {
            began,
            known_from: after,
            position: after,
            complete_at: None,
            recent: VecDeque::new(),
            recent_ids: 0,
        });
    }

    /// The stream has an entry: what it names is forgotten.
    pub(super) fn revoke(&mut self, entry: Revocation) -> Result<(), Lie> {
        let Some(feed) = &mut self.feed else {
            return Ok(());
        };
        if feed.position.is_some_and(|seen| entry.position <= seen) {
            return Err(Lie("the stream goes back"));
        }
        feed.position = Some(entry.position);
        feed.known_from.get_or_insert(entry.position);
        let named: Vec<Asked> = if entry.all || entry.owner.is_some() {
            let known = self.known.iter();
            let named = known.filter(|(_, known)| entry.names(&known.answer));
            named.map(|(asked, _)| *asked).collect()
        } else {
            let keys = entry.key_ids.iter();
            let named = keys.filter_map(|key| self.by_key.get(key));
            named.flatten().copied().collect()
        };
        feed.recent_ids += entry.key_ids.len().max(1);
        feed.recent.push_back(entry);
        while feed.recent_ids > RECENT_IDS_MAX
            && let Some(oldest) = feed.recent.pop_front()
        {
            feed.recent_ids -= oldest.key_ids.len().max(1);
            feed.known_from = feed.known_from.max(Some(oldest.position));
        }
        for asked in named {
            self.forget(&asked);
        }
        Ok(())
    }

    /// The stream says how far it has come.
    pub(super) fn beat(&mut self, beat: &Heartbeat, now: Instant) -> Result<(), Lie> {
        let Some(feed) = &mut self.feed else {
            return Ok(());
        };
        if feed.position.is_some_and(|seen| beat.position < seen) {
            return Err(Lie("the stream goes back"));
        }
        feed.position = Some(beat.position);
        feed.known_from.get_or_insert(beat.position);
        let Some(elapsed) = beat.elapsed_ms else {
            return Ok(());
        };
        let at = feed.began.checked_add(Duration::from_millis(elapsed));
        let at = at.filter(|at| *at <= now);
        let at = at.ok_or(Lie("the stream is ahead of time"))?;
        if feed.complete_at.is_some_and(|before| at < before) {
            return Err(Lie("the stream's time goes back"));
        }
        if let Some((position, there)) = self.answered
            && there <= at
            && beat.position < position
        {
            return Err(Lie("the stream keeps back what has been answered"));
        }
        feed.complete_at = Some(at);
        Ok(())
    }

    /// Where the stream can be resumed.
    pub(super) fn position(&self) -> Option<u64> {
        self.feed.as_ref().and_then(|feed| feed.position)
    }
}
