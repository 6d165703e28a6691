//! HTTP: the only module that knows it. It maps requests to commands and records to JSON, and
//! holds no rule; statuses are made in `problem` alone.
//!
//! Order of checks, everywhere: who (401), tenant (404), permission (403), method (405), size
//! (413), media type (415), form (400), content (422), authority (403), version (412), conflicts
//! (409).

mod access_tokens;
mod accounts;
mod admin_tokens;
mod answer;
mod api_tokens;
mod auth;
mod authorization;
mod body;
mod budget;
mod call;
mod codes;
mod connections;
mod context;
mod cookie;
mod document;
mod events;
mod forward_auth;
mod forwarded;
mod frame;
mod keys;
mod ledger;
mod list_cursor;
mod lists;
mod load;
mod meta;
mod metrics;
mod network;
mod oauth;
mod outgoing;
mod past;
mod path;
mod place;
mod platform;
mod problem;
mod project_tokens;
mod pull;
mod revocations;
mod routes;
mod service_account_tokens;
mod service_accounts;
mod sessions;
mod shares;
mod spans;
mod streams;
mod tls;
mod trace;
mod unreadable;
mod usage;
mod used;
mod verify;

#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::HeaderValue;
use tokio::net::TcpListener;

use crate::clock::Entropy;
use crate::config::{LedgerPrefix, PublicUrl};
use crate::ledger::Ledger;
use crate::usage::Usage;
use crate::webhooks::Webhooks;
use crate::webhooks::address::Guard;
use problem::Problem;
use sessions::{Attempts, Passwords};

pub use problem::{FieldProblem, ProblemBody};
pub use spans::{RequestTracer, SpanCounts};
pub use tls::{Tls, WrongCertificate};

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
    pub usage: Option<Usage>,
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
}

/// What every handler has: a handle to the one service.
#[derive(Clone)]
struct App(Arc<Service>);

struct Service {
    ledger: Ledger,
    usage: Option<Usage>,
    metrics: metrics::Metrics,
    spans: Option<spans::Spans>,
    load: load::Load,
    past: past::PastReads,
    noted: ledger::noted::Noted,
    report_quotas: usage::ReportQuotas,
    feed: revocations::Feed,
    pull: pull::Pull,
    settings: HttpSettings,
    ready: AtomicBool,
    documents: document::Texts,
    budget: budget::Budget,
    request_ids: Mutex<Entropy>,
    attempts: Attempts,
    passwords: Passwords,
}

impl Deref for App {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.0
    }
}

impl App {
    fn new(ledger: Ledger, settings: HttpSettings, documents: document::Texts) -> Self {
        let metrics = metrics::Metrics::new(ledger.clone(), &settings);
        let tracer = settings.tracer.clone();
        Self(Arc::new(Service {
            metrics,
            spans: tracer.map(|tracer| spans::Spans::new(tracer, &settings.public_url)),
            load: load::Load::default(),
            pull: pull::Pull::new(ledger.clone()),
            ledger,
            usage: settings.usage.clone(),
            past: past::PastReads::default(),
            noted: ledger::noted::Noted::default(),
            report_quotas: usage::ReportQuotas::default(),
            feed: revocations::Feed::default(),
            settings,
            ready: AtomicBool::new(true),
            documents,
            budget: budget::Budget::default(),
            request_ids: Mutex::new(Entropy::system()),
            attempts: Attempts::default(),
            passwords: Passwords::default(),
        }))
    }

    /// Count of the events that all views show.
    fn shown(&self) -> u64 {
        let position = self.ledger.views().position();
        position.map_or(0, |position| position + 1)
    }

    fn new_request_id(&self) -> HeaderValue {
        let now = self.ledger.now().0;
        let ids = self.request_ids.lock();
        let id = ids.unwrap_or_else(PoisonError::into_inner).ulid(now);
        let mut text = *b"req_00000000000000000000000000";
        if let Some(digits) = text.last_chunk_mut() {
            id.array_to_str(digits);
        }
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("req_"))
    }

    fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut entropy = self
            .request_ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        entropy.bytes()
    }
}

fn parts(prefix: &LedgerPrefix) -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut document) = routes::routes(prefix).split_for_parts();
    document::complete(&mut document);
    (router, document)
}

/// The OpenAPI document, as it is served.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    parts(&LedgerPrefix::default()).1
}

/// The service over a ledger, ready to be called.
pub fn router(ledger: Ledger, settings: HttpSettings) -> Router {
    app(ledger, settings).0
}

fn app(ledger: Ledger, settings: HttpSettings) -> (Router, App) {
    let (router, document) = parts(&settings.ledger_prefix);
    let documents = document::Texts::of(&document);
    let app = App::new(ledger, settings, documents);
    (layered(router, app.clone()), app)
}

/// The routes in their frame.
fn layered(router: Router<App>, app: App) -> Router {
    router
        .method_not_allowed_fallback(routes::method_not_allowed)
        .fallback(no_such_route)
        .layer(frame::Frame(app.clone()))
        .with_state(app)
}

/// Files that the service has open when it is as busy as it may be.
pub const OPEN_FILES_MAX: usize = connections::CONNECTIONS_MAX + connections::FILES_RESERVED;

/// Where the service listens.
#[derive(Debug)]
pub struct Listeners {
    /// For everybody.
    pub main: TcpListener,
    /// What it speaks TLS with there.
    pub tls: Option<Tls>,
    /// For metrics and probes alone, without TLS and without credentials.
    pub metrics: Option<TcpListener>,
}

/// Serves until `shutdown` is done, then drains: not ready, no new connections, open requests end.
pub async fn serve(
    listeners: Listeners,
    ledger: Ledger,
    settings: HttpSettings,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let (router, app) = app(ledger, settings);
    let shutdown = async {
        shutdown.await;
        app.ready.store(false, Ordering::Release);
    };
    let main = (listeners.main, listeners.tls);
    let serving = connections::serve(main, (router, app.clone()), shutdown);
    let watched = async {
        let Some(metrics) = listeners.metrics else {
            return std::future::pending().await;
        };
        let apart = layered(routes::about_itself(), app.clone());
        // It goes on while the others drain: who watches sees that, too.
        let never = std::future::pending();
        connections::serve((metrics, None), (apart, app.clone()), never).await
    };
    // Among the tasks whose delay it measures.
    let measured = app.clone();
    let measuring = tokio::spawn(async move { measured.load.watch().await });
    let served = tokio::select! {
        served = serving => served,
        watched = watched => watched,
    };
    measuring.abort();
    served
}

async fn no_such_route() -> Problem {
    Problem::not_found("page")
}
