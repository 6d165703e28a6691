//! The service in numbers, in the text form of Prometheus.
//!
//! Owns the registry. What happens often is counted in handles made beforehand; what others count
//! already is read when it is asked for. No label has a tenant, a credential or an address: routes
//! are templates, methods and statuses are few.

mod degraded;
mod encoding;
mod text_form;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::MatchedPath;
use axum::http::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, LabelValueEncoder,
};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tracing_appender::non_blocking::ErrorCounter;

use crate::ledger::Ledger;
use crate::usage::{UsageHistory, UsageStats};
use crate::views::index::VerificationCode;
use crate::web::http_settings::HttpSettings;
use crate::web::method_name::method_name;
use crate::web::spans::SpanCounts;
use crate::webhooks::{DeliveryMetrics, Webhooks};
use encoding::{counter, gauge, labelled, signed};

/// Of a verification, in seconds: a look-up takes about a microsecond, and what takes a hundred
/// waited for a core.
const VERIFICATION_BUCKETS: [f64; 12] = [
    0.000_000_5,
    0.000_001,
    0.000_002,
    0.000_005,
    0.000_01,
    0.000_02,
    0.000_05,
    0.000_1,
    0.000_5,
    0.001,
    0.01,
    0.1,
];
/// Of a request, in seconds: those of the semantic conventions, and finer ones below.
const REQUEST_BUCKETS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct VersionLabel {
    version: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    http_request_method: &'static str,
    http_route: Template,
    http_response_status_code: u16,
}

/// A route's template, shared with the router.
#[derive(Clone, Debug)]
struct Template(Option<MatchedPath>);

impl Template {
    fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", MatchedPath::as_str)
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Template {}

impl std::hash::Hash for Template {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Template {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.as_str().encode(encoder)
    }
}

/// What is counted while it happens, and the registry that shows it.
pub(crate) struct Metrics {
    registry: Registry,
    /// In the order of [`VerificationCode::ALL`].
    verifications: [Counter; 11],
    verification_seconds: Histogram,
    requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    refused: Family<ReasonLabel, Counter>,
}

impl Metrics {
    pub(crate) fn new(ledger: Ledger, settings: &HttpSettings) -> Self {
        let (usage, webhooks) = (settings.usage.clone(), settings.webhooks.clone());
        let mut registry = Registry::with_prefix("keyledger");
        let by_outcome = Family::<OutcomeLabel, Counter>::default();
        let verifications = VerificationCode::ALL.map(|code| {
            let label = OutcomeLabel {
                outcome: code.wire_name(),
            };
            by_outcome.get_or_create_owned(&label)
        });
        let verification_seconds = Histogram::new(VERIFICATION_BUCKETS);
        let requests = Family::new_with_constructor(request_histogram as fn() -> Histogram);
        let (in_flight, refused) = (Gauge::default(), Family::default());
        // A gauge and no info metric, which readers of the older text form do not know.
        let program = Family::<VersionLabel, Gauge>::default();
        let version = VersionLabel {
            version: env!("CARGO_PKG_VERSION"),
        };
        program.get_or_create(&version).set(1);
        registry.register("build_info", "The program", program);
        registry.register(
            "key_verifications",
            "Verifications by their outcome",
            by_outcome,
        );
        registry.register_with_unit(
            "verification_duration",
            "How long the look-up of a verification takes",
            Unit::Seconds,
            verification_seconds.clone(),
        );
        registry.register_with_unit(
            "http_server_request_duration",
            "How long requests take",
            Unit::Seconds,
            requests.clone(),
        );
        registry.register(
            "http_server_active_requests",
            "Requests that are being answered",
            in_flight.clone(),
        );
        registry.register(
            "http_server_refused",
            "Requests and connections refused to protect the service, by reason",
            refused.clone(),
        );
        if let Some(webhooks) = &webhooks {
            registry.register_with_unit(
                "webhook_delivery_duration",
                "How long attempts to deliver webhooks take",
                Unit::Seconds,
                webhooks.metrics().attempt_seconds.clone(),
            );
        }
        let spans = settings.tracer.as_ref();
        registry.register_collector(Box::new(Told {
            ledger,
            usage,
            webhooks,
            spans: spans.map(|tracer| Arc::clone(&tracer.counts)),
            dropped_lines: settings.dropped_lines.clone(),
        }));
        Self {
            registry,
            verifications,
            verification_seconds,
            requests,
            in_flight,
            refused,
        }
    }

    /// Counts a verification.
    pub(crate) fn verified(&self, code: VerificationCode, took: Duration) {
        let counters = VerificationCode::ALL.iter().zip(&self.verifications);
        for (_, counter) in counters.filter(|(known, _)| **known == code) {
            counter.inc();
        }
        self.verification_seconds.observe(took.as_secs_f64());
    }

    /// A request has begun.
    pub(crate) fn began(&self) {
        self.in_flight.inc();
    }

    /// A request has been answered, or given up.
    pub(crate) fn ended(&self) {
        self.in_flight.dec();
    }

    /// Counts an answered request.
    pub(crate) fn answered(
        &self,
        (method, route): (&Method, Option<&MatchedPath>),
        status: StatusCode,
        took_us: u64,
    ) {
        let labels = RequestLabels {
            http_request_method: method_name(method),
            http_route: Template(route.cloned()),
            http_response_status_code: status.as_u16(),
        };
        self.requests
            .get_or_create(&labels)
            .observe(seconds(took_us));
    }

    /// Counts what was refused to protect the service.
    pub(crate) fn refused(&self, reason: &'static str) {
        let label = ReasonLabel { reason };
        self.refused.get_or_create(&label).inc();
    }

    /// All numbers as text.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text_form::plain(&text))
    }
}

fn request_histogram() -> Histogram {
    Histogram::new(REQUEST_BUCKETS)
}

fn seconds(us: u64) -> f64 {
    f64::from(u32::try_from(us).unwrap_or(u32::MAX)) / 1_000_000.0
}

/// What others count, read when it is asked for.
struct Told {
    ledger: Ledger,
    usage: Option<UsageHistory>,
    webhooks: Option<Webhooks>,
    spans: Option<Arc<SpanCounts>>,
    dropped_lines: Option<ErrorCounter>,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl Collector for Told {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.ledger.status();
        for (name, help, number) in [
            (
                "ledger_sequence",
                "Position of the newest event",
                status.events.saturating_sub(1),
            ),
            (
                "projection_lag_events",
                "Events that the views do not show yet",
                status.views_behind,
            ),
            (
                "checkpoint_size",
                "Events that the newest signed checkpoint covers",
                status.checkpoint,
            ),
            (
                "checkpoint_lag_events",
                "Events that no signed checkpoint covers yet",
                status.events.saturating_sub(status.checkpoint),
            ),
            (
                "ledger_secrets",
                "Secrets that verification knows, ended ones too",
                status.secrets,
            ),
        ] {
            gauge(&mut to, name, help, number)?;
        }
        let (name, help) = (
            "ledger_unusable_keys",
            "Data keys missing or damaged, by holder",
        );
        let unusable = status.unusable_keys.iter().copied();
        labelled(&mut to, (name, help, "holder"), unusable, ConstGauge::new)?;
        let [ends, ordinary] = status.waiting;
        labelled(
            &mut to,
            ("ledger_queue_depth", "Commands that wait, by lane", "lane"),
            [("ends", ends), ("ordinary", ordinary)].into_iter(),
            |number| ConstGauge::new(signed(number)),
        )?;
        labelled(
            &mut to,
            ("events_appended", "Events appended, by type", "type"),
            status.appended.into_iter(),
            ConstCounter::new,
        )?;
        degraded::encode(&mut to, self.ledger.degraded())?;
        if let Some(usage) = &self.usage {
            encode_usage(&mut to, &usage.stats())?;
        }
        if let Some(spans) = &self.spans {
            let (name, help) = ("otlp_spans", "Spans of requests, by outcome");
            let counts = spans.by_outcome().into_iter();
            labelled(&mut to, (name, help, "outcome"), counts, ConstCounter::new)?;
        }
        let lines = self.dropped_lines.as_ref();
        let lines = lines.map_or(0, ErrorCounter::dropped_lines);
        let lines = u64::try_from(lines).unwrap_or(u64::MAX);
        let help = "Log lines dropped since stderr was not read in time";
        counter(&mut to, "log_lines_dropped", help, lines)?;
        match &self.webhooks {
            Some(webhooks) => encode_webhooks(&mut to, webhooks.metrics(), &self.ledger),
            None => Ok(()),
        }
    }
}

fn encode_webhooks(
    to: &mut DescriptorEncoder<'_>,
    counts: &DeliveryMetrics,
    ledger: &Ledger,
) -> Result<(), fmt::Error> {
    labelled(
        to,
        (
            "webhook_deliveries",
            "Attempts to deliver webhooks, by outcome",
            "outcome",
        ),
        counts.attempts_by_outcome().into_iter(),
        ConstCounter::new,
    )?;
    labelled(
        to,
        ("webhook_endpoints", "Webhook endpoints, by state", "state"),
        counts.endpoints_by_state().into_iter(),
        |number| ConstGauge::new(signed(number)),
    )?;
    let pending = "Deliveries that are outstanding";
    gauge(to, "webhook_pending", pending, counts.pending_deliveries())?;
    // An event that cannot be read is in the log of the process, by whoever delivers it.
    let oldest = counts.oldest_pending_position();
    let at = oldest.and_then(|position| ledger.happened_at(position).ok());
    let age_ms = at.map_or(0, |at| ledger.now().0.saturating_sub(at.0).max(0));
    let age = "Age of the oldest event whose delivery is outstanding";
    let age_s = u64::try_from(age_ms / 1_000).unwrap_or(0);
    gauge(to, "webhook_oldest_pending_seconds", age, age_s)
}

fn encode_usage(to: &mut DescriptorEncoder<'_>, numbers: &UsageStats) -> Result<(), fmt::Error> {
    counter(to, "usage_recorded", "Calls recorded", numbers.recorded)?;
    let shed = "Calls counted without their detail";
    counter(to, "usage_shed", shed, numbers.shed)?;
    gauge(
        to,
        "usage_stored_bytes",
        "Bytes of usage",
        numbers.segment_bytes,
    )?;
    let pending = "Bytes of usage that wait to be written";
    let waiting = u64::try_from(numbers.pending_bytes).unwrap_or(u64::MAX);
    gauge(to, "usage_pending_bytes", pending, waiting)
}
