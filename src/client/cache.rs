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

use super::sse::InvalidStream;
use super::verification::{RequestDigest, Verification};

/// How old what is known of the feed may be.
pub(super) const STREAM_LAG_MAX: Duration = Duration::from_secs(1);
/// How long a refusal is remembered: what made it right may come at any time.
const REFUSAL_AGE_MAX: Duration = Duration::from_secs(1);
/// Ids of the newest entries that are kept, for answers on their way meanwhile: some 0.6 MB.
const RECENT_IDS_MAX: usize = 10_000;

/// An entry of the feed, as it comes.
#[derive(Debug, Deserialize)]
pub(super) struct RevocationEntry {
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
pub(super) struct StreamHeartbeat {
    pub(super) position: u64,
    pub(super) elapsed_ms: Option<u64>,
}

/// One remembered answer.
#[derive(Debug)]
struct CachedVerification {
    answer: Verification,
    until: Instant,
    order: u64,
}

/// The stream as it stands.
#[derive(Debug)]
struct StreamState {
    /// When it was asked for; the server's own beginning is later.
    began: Instant,
    /// Every entry after this position has been received, or is yet to come.
    known_from: Option<u64>,
    position: Option<u64>,
    /// As of when `position` was all there was.
    complete_at: Option<Instant>,
    recent: VecDeque<RevocationEntry>,
    recent_ids: usize,
}

/// Answers, and the stream that keeps them true.
#[derive(Debug)]
pub(super) struct VerificationCache {
    known: BTreeMap<RequestDigest, CachedVerification>,
    by_order: BTreeMap<u64, RequestDigest>,
    by_key: BTreeMap<String, Vec<RequestDigest>>,
    next_order: u64,
    entries_max: usize,
    feed: Option<StreamState>,
    /// The greatest position of an answer, and when it was there at the latest.
    answered: Option<(u64, Instant)>,
}

impl RevocationEntry {
    fn applies_to(&self, answer: &Verification) -> bool {
        let Some(key) = &answer.key else {
            return self.all;
        };
        let owner = key.owner.as_ref().map(|owner| &owner.id);
        self.all
            || self.key_ids.contains(&key.id)
            || self.owner.as_ref().is_some_and(|of| owner == Some(&of.id))
    }
}

impl VerificationCache {
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
    pub(super) fn is_current(&self, now: Instant) -> bool {
        let complete_at = self.feed.as_ref().and_then(|feed| feed.complete_at);
        complete_at.is_some_and(|at| at <= now && now - at <= STREAM_LAG_MAX)
    }

    /// What was answered, if that is certainly true still.
    pub(super) fn get(&mut self, asked: &RequestDigest, now: Instant) -> Option<Verification> {
        if !self.is_current(now) {
            return None;
        }
        let known = self.known.get(asked)?;
        if known.until > now {
            return Some(known.answer.clone());
        }
        self.remove(asked);
        None
    }

    /// An answer with this position is there: a stream that is complete as of now has reached it.
    pub(super) fn note_position(&mut self, position: u64, now: Instant) {
        if self.answered.is_none_or(|(seen, _)| position > seen) {
            self.answered = Some((position, now));
        }
    }

    /// Remembers an answer, if nothing that the stream has said since makes it doubtful. It was
    /// asked for at `sent` and holds for `age` from then on.
    pub(super) fn insert(
        &mut self,
        asked: RequestDigest,
        answer: Verification,
        sent: Instant,
        age: Duration,
    ) {
        let Some(feed) = &self.feed else { return };
        let position = answer.position;
        let is_known = feed.known_from.is_some_and(|from| position >= from);
        let later =
            |entry: &RevocationEntry| entry.position > position && entry.applies_to(&answer);
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
        self.remove(&asked);
        while self.known.len() >= self.entries_max.max(1)
            && let Some((_, oldest)) = self.by_order.first_key_value()
        {
            let oldest = *oldest;
            self.remove(&oldest);
        }
        let order = self.next_order;
        self.next_order += 1;
        self.by_order.insert(order, asked);
        if let Some(key) = &answer.key {
            let of_key = self.by_key.entry(key.id.clone()).or_default();
            of_key.push(asked);
        }
        let known = CachedVerification {
            answer,
            until,
            order,
        };
        self.known.insert(asked, known);
    }

    fn remove(&mut self, asked: &RequestDigest) {
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
    pub(super) fn clear_and_disconnect(&mut self) {
        self.feed = None;
        self.known.clear();
        self.by_order.clear();
        self.by_key.clear();
    }

    /// A stream was asked for at `began`, after this position or from then on.
    pub(super) fn begin_stream(&mut self, began: Instant, after: Option<u64>) {
        self.clear_and_disconnect();
        self.feed = Some(StreamState {
            began,
            known_from: after,
            position: after,
            complete_at: None,
            recent: VecDeque::new(),
            recent_ids: 0,
        });
    }

    /// The stream has an entry: what it names is forgotten.
    pub(super) fn apply_revocation(&mut self, entry: RevocationEntry) -> Result<(), InvalidStream> {
        let Some(feed) = &mut self.feed else {
            return Ok(());
        };
        if feed.position.is_some_and(|seen| entry.position <= seen) {
            return Err(InvalidStream("the stream goes back"));
        }
        feed.position = Some(entry.position);
        feed.known_from.get_or_insert(entry.position);
        let named: Vec<RequestDigest> = if entry.all || entry.owner.is_some() {
            let known = self.known.iter();
            let named = known.filter(|(_, known)| entry.applies_to(&known.answer));
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
            self.remove(&asked);
        }
        Ok(())
    }

    /// The stream says how far it has come.
    pub(super) fn apply_heartbeat(
        &mut self,
        beat: &StreamHeartbeat,
        now: Instant,
    ) -> Result<(), InvalidStream> {
        let Some(feed) = &mut self.feed else {
            return Ok(());
        };
        if feed.position.is_some_and(|seen| beat.position < seen) {
            return Err(InvalidStream("the stream goes back"));
        }
        feed.position = Some(beat.position);
        feed.known_from.get_or_insert(beat.position);
        let Some(elapsed) = beat.elapsed_ms else {
            return Ok(());
        };
        let at = feed.began.checked_add(Duration::from_millis(elapsed));
        let at = at.filter(|at| *at <= now);
        let at = at.ok_or(InvalidStream("the stream is ahead of time"))?;
        if feed.complete_at.is_some_and(|before| at < before) {
            return Err(InvalidStream("the stream's time goes back"));
        }
        if let Some((position, there)) = self.answered
            && there <= at
            && beat.position < position
        {
            return Err(InvalidStream(
                "the stream keeps back what has been answered",
            ));
        }
        feed.complete_at = Some(at);
        Ok(())
    }

    /// Where the stream can be resumed.
    pub(super) fn stream_position(&self) -> Option<u64> {
        self.feed.as_ref().and_then(|feed| feed.position)
    }
}
