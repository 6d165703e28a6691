//! The background task: asks for the stream, reads its events, and asks again when it ends.
//!
//! Nothing that a server sends makes it panic, grow, or believe: an event beyond its limit, another
//! media type, text that is not what it should be, all end the stream and with it the cache.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::cache::{RevocationEntry, StreamHeartbeat, VerificationCache};
use super::sse::{Event, EventStream, InvalidStream, StreamError, StreamTimeouts};
use crate::clock::Entropy;

/// A stream that begins later could not be less than a second behind; it promises a heartbeat every
/// 250 ms.
const TIMEOUTS: StreamTimeouts = StreamTimeouts {
    begin: Duration::from_secs(5),
    silence: Duration::from_secs(2),
};
/// The first pause between two streams, and the longest.
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(100);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Follows one server's stream.
pub(super) struct StreamFollower {
    pub(super) http: reqwest::Client,
    pub(super) url: reqwest::Url,
    pub(super) token: String,
    pub(super) cache: Arc<Mutex<VerificationCache>>,
}

impl StreamFollower {
    pub(super) async fn run(self) {
        let mut pause = RECONNECT_PAUSE_MIN;
        let mut after = None;
        let mut dice = Entropy::system();
        loop {
            let why = self.follow(after).await;
            let (position, was_good) = {
                let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
                let position = cache.stream_position();
                cache.clear_and_disconnect();
                (position, position.is_some() && position != after)
            };
            let Err(why) = why;
            tracing::debug!(%why, "the stream of revocations has ended");
            // A server that does not know the position, or cannot be believed, is asked anew.
            after = match why {
                StreamError::Invalid(_) | StreamError::Refused(_) => None,
                StreamError::Unreachable(_)
                | StreamError::ResponseTimeout
                | StreamError::Silent
                | StreamError::Broken(_)
                | StreamError::Closed => position.or(after),
            };
            pause = if was_good {
                RECONNECT_PAUSE_MIN
            } else {
                pause.saturating_mul(2).min(RECONNECT_PAUSE_MAX)
            };
            // Many clients of one server do not come back all at once.
            let [part] = dice.random_bytes();
            sleep(pause / 2 + pause * u32::from(part) / 512).await;
        }
    }

    /// Follows a stream until it ends.
    async fn follow(&self, after: Option<u64>) -> Result<std::convert::Infallible, StreamError> {
        let began = Instant::now();
        let request = self.http.get(self.url.clone()).bearer_auth(&self.token);
        let mut stream = EventStream::open(request, after, TIMEOUTS).await?;
        self.cache().begin_stream(began, after);
        loop {
            self.handle_event(&stream.next().await?)?;
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, VerificationCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle_event(&self, event: &Event) -> Result<(), InvalidStream> {
        let garbage = |_: serde_json::Error| InvalidStream("an event is not what it should be");
        let mut cache = self.cache();
        let position = match event.name.as_str() {
            "revocation" => {
                let entry: RevocationEntry = serde_json::from_str(&event.data).map_err(garbage)?;
                let position = entry.position;
                cache.apply_revocation(entry)?;
                position
            }
            "heartbeat" => {
                let beat: StreamHeartbeat = serde_json::from_str(&event.data).map_err(garbage)?;
                cache.apply_heartbeat(&beat, Instant::now())?;
                beat.position
            }
            // Of a later server; it brings nothing forward.
            _ => return Ok(()),
        };
        if event.id == position.to_string() {
            Ok(())
        } else {
            Err(InvalidStream("an event's id is not its position"))
        }
    }
}
