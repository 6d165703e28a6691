//! The receiver on the developer's own machine, posted to by the client that delivers webhooks.
//!
//! It may be anywhere: whoever runs this may reach their own networks. All else is as in a real
//! delivery: the headers, the time limit, no redirects.

use reqwest::Url;
use ulid::Ulid;

use super::source::Event;
use crate::cli::exit::Stop;
use crate::clock::Clock;
use crate::domain::ids::OrganizationId;
use crate::domain::webhook_signature::{SigningKey, signature};
use crate::webhooks::address_guard::{AddressGuard, AllowedNetwork};
use crate::webhooks::attempt::HttpAttempt;
use crate::webhooks::http_sender::{
    ATTEMPT_TIMEOUT_MS, SenderSettings, WebhookRequest, WebhookSender,
};
use crate::webhooks::resolver::NameLookup;

/// Every address of either family.
const ANYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];
/// Nobody's: the networks are open to everyone here.
const ORGANIZATION: OrganizationId = OrganizationId(Ulid::nil());

/// Where events are posted.
pub(super) struct Receiver {
    sender: WebhookSender,
    url: String,
    keys: [SigningKey; 1],
    clock: Clock,
}

impl Receiver {
    /// A receiver at `url`, whose TLS is vouched for by the system or by `roots_pem`.
    pub(super) fn new(url: &Url, key: SigningKey, roots_pem: Vec<Vec<u8>>) -> Result<Self, Stop> {
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            let why = "--forward is an http or https URL, like http://127.0.0.1:3000/hooks";
            return Err(Stop::refused(why));
        }
        let nets: Result<Vec<AllowedNetwork>, _> = ANYWHERE.iter().map(|net| net.parse()).collect();
        let guard = AddressGuard::new(nets.map_err(anyhow::Error::from)?, Vec::new());
        let checked = guard.check_url(ORGANIZATION, url.as_str());
        checked.map_err(|why| Stop::refused(format!("--forward: {why}")))?;
        let clock = Clock::system();
        let sender = WebhookSender::new(SenderSettings {
            guard,
            proxy: None,
            lookup: NameLookup::System,
            roots_pem,
            timeout_ms: ATTEMPT_TIMEOUT_MS,
            clock: clock.clone(),
        });
        Ok(Self {
            sender: sender.map_err(|why| Stop::refused(format!("--ca: {why}")))?,
            url: url.as_str().to_owned(),
            keys: [key],
            clock,
        })
    }

    /// Posts an event once.
    pub(super) async fn take(&self, event: &Event) -> HttpAttempt {
        let timestamp_s = self.clock.now_ms().div_euclid(1_000);
        let id = event.id.to_string();
        let request = WebhookRequest {
            organization: ORGANIZATION,
            url: self.url.clone(),
            id: event.id,
            timestamp_s,
            signature: signature(&self.keys, &id, timestamp_s, &event.body),
            extra_headers: Vec::new(),
            body: event.body.clone(),
        };
        self.sender.send(&request).await
    }
}
