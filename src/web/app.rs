//! What every handler has: the one service over a ledger, and how it faces the network.

use std::ops::Deref;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderValue;
use tracing_appender::non_blocking::ErrorCounter;

use crate::api::document::Texts;
use crate::api::ledger::moment::PastReads;
use crate::api::ledger::noted::Noted;
use crate::api::metrics::Metrics;
use crate::api::sessions::{Attempts, Passwords};
use crate::api::usage::ReportQuotas;
use crate::api::verification::revocations::Feed;
use crate::api::webhooks::pull::Pull;
use crate::clock::Entropy;
use crate::config::{LedgerPrefix, PublicUrl};
use crate::ledger::Ledger;
use crate::usage::UsageHistory;
use crate::web::budget::Budget;
use crate::web::load::Load;
use crate::web::spans::{RequestTracer, Spans};
use crate::webhooks::Webhooks;
use crate::webhooks::address::Guard;

/// How the service faces the network.
#[derive(Clone, Debug, Default)]
pub struct HttpSettings {
    /// Proxies that may say who the client is.
    pub trusted: Vec<ipnet::IpNet>,
    /// Gateways that may ask for forward-auth without a credential of their own, by their peer.
    pub trusted_gateways: Vec<ipnet::IpNet>,
    /// What clients call this server: where links lead and sessions are used from.
    pub public_url: PublicUrl,
    /// Where the use of credentials is recorded; `None`: nowhere.
    pub usage: Option<UsageHistory>,
    /// Something in front forwards the requests of others.
    pub behind_proxy: bool,
    /// Where webhooks may be delivered to.
    pub webhook_guard: Guard,
    /// What delivers them; `None`: nothing does.
    pub webhooks: Option<Webhooks>,
    /// Below which path the tree is published: `/ledger` unless it is set.
    pub ledger_prefix: LedgerPrefix,
    /// Only who may read the ledger sees the tree.
    pub ledger_closed: bool,
    /// What makes a span of each request, if they are exported.
    pub tracer: Option<RequestTracer>,
    /// Counts lines of the log that were dropped; `None`: there is no log that drops any.
    pub dropped_lines: Option<ErrorCounter>,
}

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
    pub(crate) noted: Noted,
    pub(crate) report_quotas: ReportQuotas,
    pub(crate) feed: Feed,
    pub(crate) pull: Pull,
    pub(crate) settings: HttpSettings,
    pub(crate) ready: AtomicBool,
    pub(crate) documents: Texts,
    pub(crate) budget: Budget,
    pub(crate) request_ids: Mutex<Entropy>,
    pub(crate) attempts: Attempts,
    pub(crate) passwords: Passwords,
}

impl Deref for App {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.0
    }
}

impl App {
    pub(crate) fn new(ledger: Ledger, settings: HttpSettings, documents: Texts) -> Self {
        let metrics = Metrics::new(ledger.clone(), &settings);
        let tracer = settings.tracer.clone();
        Self(Arc::new(Service {
            metrics,
            spans: tracer.map(|tracer| Spans::new(tracer, &settings.public_url)),
            load: Load::default(),
            pull: Pull::new(ledger.clone()),
            ledger,
            usage: settings.usage.clone(),
            past: PastReads::default(),
            noted: Noted::default(),
            report_quotas: ReportQuotas::default(),
            feed: Feed::default(),
            settings,
            ready: AtomicBool::new(true),
            documents,
            budget: Budget::default(),
            request_ids: Mutex::new(Entropy::system()),
            attempts: Attempts::default(),
            passwords: Passwords::default(),
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
