//! The background task: asks for the stream, reads its events, and asks again when it ends.
//!
//! Nothing that a server sends makes it panic, grow, or believe: an event beyond its limit, another
//! media type, text that is not what it should be, all end the stream and with it the cache.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::cache::{Cache, Heartbeat, Revocation};
use super::sse::{Event, EventStream, Lie, Patience, StreamEnd};
use crate::clock::Entropy;

/// A stream that begins later could not be less than a second behind; it promises a heartbeat every
/// 250 ms.
const PATIENCE: Patience = Patience {
    begin: Duration::from_secs(5),
    silence: Duration::from_secs(2),
};
/// The first pause between two streams, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Follows one server's stream.
pub(super) struct Follower {
    pub(super) http: reqwest::Client,
    pub(super) url: reqwest::Url,
    pub(super) token: String,
    pub(super) cache: Arc<Mutex<Cache>>,
}

impl Follower {
    pub(super) async fn run(self) {
        let mut pause = PAUSE_MIN;
        let mut after = None;
        let mut dice = Entropy::system();
        loop {
            let why = self.follow(after).await;
            let (position, was_good) = {
                let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
                let position = cache.position();
                cache.cut();
                (position, position.is_some() && position != after)
            };
            let Err(why) = why;
            tracing::debug!(%why, "the stream of revocations has ended");
            // A server that does not know the position, or cannot be believed, is asked anew.
            after = match why {
                StreamEnd::Unreadable(_) | StreamEnd::Refused(_) => None,
                StreamEnd::Unreachable(_)
                | StreamEnd::Unanswered
                | StreamEnd::Silent
                | StreamEnd::Broken(_)
                | StreamEnd::Over => position.or(after),
            };
            pause = if was_good {
                PAUSE_MIN
            } else {
                pause.saturating_mul(2).min(PAUSE_MAX)
            };
            // Many clients of one server do not come back all at once.
            let [part] = dice.random_bytes();
            sleep(pause / 2 + pause * u32::from(part) / 512).await;
        }
    }

    /// Follows a stream until it ends.
    async fn follow(&self, after: Option<u64>) -> Result<std::convert::Infallible, StreamEnd> {
        let began = Instant::now();
        let request = self.http.get(self.url.clone()).bearer_auth(&self.token);
        let mut stream = EventStream::open(request, after, PATIENCE).await?;
        self.cache().begin(began, after);
        loop {
            self.take(&stream.next().await?)?;
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: &Event) -> Result<(), Lie> {
        let garbage = |_: serde_json::Error| Lie("an event is not what it should be");
        let mut cache = self.cache();
        let position = match event.name.as_str() {
            "revocation" => {
                let entry: Revocation = serde_json::from_str(&event.data).map_err(garbage)?;
                let position = entry.position;
                cache.revoke(entry)?;
                position
            }
            "heartbeat" => {
                let beat: Heartbeat = serde_json::from_str(&event.data).map_err(garbage)?;
                cache.beat(&beat, Instant::now())?;
                beat.position
            }
            // Of a later server; it brings nothing forward.
            _ => return Ok(()),
        };
        if event.id == position.to_string() {
            Ok(())
        } else {
            Err(Lie("an event's id is not its position"))
        }
    }
}
