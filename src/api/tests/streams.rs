//! A stream of server-sent events, as a client reads it.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::api::tests::{Ask, World};

/// What a client sees of one event: its name, its id and its data.
pub(super) type Received = (String, u64, Value);

/// An open stream of events.
pub(super) struct Open(BodyDataStream, String);

impl Open {
    pub(super) async fn at(world: &World, ask: Ask) -> Self {
        let response = world.router.clone().oneshot(ask.0).await.unwrap();
        assert_eq!(response.status(), 200);
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert_eq!(kind, "text/event-stream");
        Self(response.into_body().into_data_stream(), String::new())
    }

    /// The next event; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Received> {
        while !self.1.contains("\n\n") {
            let more = tokio::time::timeout(Duration::from_secs(20), self.0.next());
            let more = more.await.expect("a heartbeat")?.unwrap();
            self.1.push_str(std::str::from_utf8(&more).unwrap());
        }
        let (event, rest) = self.1.split_once("\n\n").unwrap();
        let field = |name: &str| {
            let mut lines = event.lines();
            let line = lines.find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.unwrap_or_else(|| panic!("{name}: {event}")).to_owned()
        };
        let received = (
            field("event"),
            field("id").parse().unwrap(),
            serde_json::from_str(&field("data")).unwrap(),
        );
        self.1 = rest.to_owned();
        Some(received)
    }
}
