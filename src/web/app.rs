//! What every handler has: the one service over a ledger.

use std::ops::Deref;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderValue;

use crate::clock::Entropy;
use crate::ledger::Ledger;
use crate::usage::UsageHistory;
use crate::web::budget::Budget;
use crate::web::http_settings::HttpSettings;
use crate::web::load::Load;
use crate::web::metrics::Metrics;
use crate::web::past_reads::PastReads;
use crate::web::spans::Spans;

/// What every handler has: a handle to the one service.
#[derive(Clone)]
pub(crate) struct App(pub(crate) Arc<Service>);

pub(crate) struct Service {
    pub(crate) ledger: Ledger,
    pub(crate) usage: Option<UsageHistory>,
    pub(crate) metrics: Metrics,
    pub(crate) spans: Option<Spans>,
    pub(crate) load: Load,
    pub(crate) past: PastReads,
    pub(crate) settings: HttpSettings,
    pub(crate) ready: AtomicBool,
    pub(crate) budget: Budget,
    pub(crate) request_ids: Mutex<Entropy>,
}

impl Deref for App {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.0
    }
}

impl App {
    pub(crate) fn new(ledger: Ledger, settings: HttpSettings) -> Self {
        let metrics = Metrics::new(ledger.clone(), &settings);
        let tracer = settings.tracer.clone();
        Self(Arc::new(Service {
            metrics,
            spans: tracer.map(|tracer| Spans::new(tracer, &settings.public_url)),
            load: Load::default(),
            ledger,
            usage: settings.usage.clone(),
            past: PastReads::default(),
            settings,
            ready: AtomicBool::new(true),
            budget: Budget::default(),
            request_ids: Mutex::new(Entropy::system()),
        }))
    }

    /// Count of the events that all views show.
    pub(crate) fn shown(&self) -> u64 {
        let position = self.ledger.views().position();
        position.map_or(0, |position| position + 1)
    }

    pub(crate) fn new_request_id(&self) -> HeaderValue {
        let now = self.ledger.now().0;
        let ids = self.request_ids.lock();
        let id = ids.unwrap_or_else(PoisonError::into_inner).next_ulid(now);
        let mut text = *b"req_00000000000000000000000000";
        if let Some(digits) = text.last_chunk_mut() {
            id.array_to_str(digits);
        }
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("req_"))
    }

    pub(crate) fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut entropy = self
            .request_ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        entropy.random_bytes()
    }
}
