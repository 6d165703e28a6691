//! Export of the spans of requests, by OTLP over HTTP.
//!
//! Off unless a collector is named, and then nothing of it runs. Spans wait in a queue of bounded
//! length and leave by a thread of their own, so that no request waits for a collector. One that is
//! away costs the spans: it is warned of once, until it is there again, and each span is counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use axum::body::Bytes;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter as Exports,
};
use tokio::runtime::{self, Runtime};

use super::exit::Stop;
use crate::api::{RequestTracer, SpanCounts};
use crate::error_chain::error_chain;

/// How long one export may take.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);
/// How long the last spans may take when the server ends: a part of the time of a stop.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);
/// How long spans wait for others to leave with.
const EXPORT_EVERY: Duration = Duration::from_secs(1);
/// Spans that wait at most, some 1 KB each: what comes beyond is dropped.
const WAITING_MAX: usize = 8_192;
/// Where a collector takes spans, behind its own URL.
const TRACES: &str = "v1/traces";

/// The export, running.
pub(super) struct Otlp {
    provider: SdkTracerProvider,
    counts: Arc<SpanCounts>,
}

impl Otlp {
    /// Starts to export to the collector at `url`.
    pub(super) fn start(url: &reqwest::Url) -> Result<Self, Stop> {
        let mut endpoint = url.clone();
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            let why = format!("--otlp-endpoint {url} is no address of a collector");
            return Err(Stop::refused(why));
        }
        let path = format!("{}/{TRACES}", url.path().trim_end_matches('/'));
        endpoint.set_path(&path);
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender::new()?)
            .with_endpoint(endpoint.as_str())
            .with_timeout(EXPORT_WITHIN)
            .build()
            .context("cannot export to --otlp-endpoint")?;
        let resource = Resource::builder()
            .with_service_name("keyledger")
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ))
            .build();
        let counts = Arc::<SpanCounts>::default();
        let counted = CountedExporter {
            exporter,
            counts: Arc::clone(&counts),
        };
        let batches = BatchConfigBuilder::default()
            .with_scheduled_delay(EXPORT_EVERY)
            .with_max_queue_size(WAITING_MAX);
        let batches = BatchSpanProcessor::builder(counted).with_batch_config(batches.build());
        let provider = SdkTracerProvider::builder()
            .with_span_processor(batches.build())
            .with_resource(resource)
            .build();
        Ok(Self { provider, counts })
    }

    /// What spans are made with.
    pub(super) fn tracer(&self) -> RequestTracer {
        RequestTracer {
            tracer: self.provider.tracer("keyledger"),
            counts: Arc::clone(&self.counts),
        }
    }

    /// Exports what is left.
    pub(super) fn stop(&self) {
        if let Err(why) = self.provider.shutdown_with_timeout(FLUSH_WITHIN) {
            tracing::warn!(%why, "the last spans were not exported");
        }
    }
}

/// Counts what becomes of spans.
#[derive(Debug)]
struct CountedExporter {
    exporter: SpanExporter,
    counts: Arc<SpanCounts>,
}

impl Exports for CountedExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let exported = self.exporter.export(batch).await;
        match &exported {
            Ok(()) => self.counts.add_exported(spans),
            Err(_told) => self.counts.add_failed(spans),
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Sends what is exported, and says when the collector goes away and when it is back. Called on the
/// exporter's own thread, which is not one of the service's.
#[derive(Debug)]
struct Sender {
    http: reqwest::Client,
    runtime: Mutex<Runtime>,
    is_away: AtomicBool,
}

impl Sender {
    fn new() -> anyhow::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let http = reqwest::Client::builder().timeout(EXPORT_WITHIN);
        Ok(Self {
            http: http.build().context("cannot speak HTTP to a collector")?,
            runtime: Mutex::new(runtime.context("cannot start the exporter")?),
            is_away: AtomicBool::new(false),
        })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        // A URL may hold a password.
        let answer = self.http.execute(request).await;
        let answer = answer.map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(reqwest::Error::without_url)?;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Ok(response)
    }

    /// Says what is news of the collector.
    fn note(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let trouble = match sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {}", answer.status())),
            Err(why) => Some(error_chain(why.as_ref())),
        };
        match trouble {
            None => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector of --otlp-endpoint takes spans again");
                }
            }
            Some(why) => {
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        why,
                        "the collector of --otlp-endpoint takes no spans: they are lost until it \
                         does, and nothing else is affected"
                    );
                }
            }
        }
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = runtime.block_on(self.send(request));
        drop(runtime);
        self.note(&sent);
        sent
    }
}
