//! Export of the spans of requests, by OTLP over HTTP.
//!
//! Off unless a collector is named, and then nothing of it runs. Spans hold what log lines hold:
//! templates of routes, never paths, queries, addresses or tokens. A collector that is away costs
//! the spans and a warning.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use axum::body::Bytes;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::{self, Runtime};

use super::exit::Stop;

/// How long one export may take.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);
/// How long the last spans may take when the server ends.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);
/// Where a collector takes spans, behind its own URL.
const TRACES: &str = "v1/traces";

/// The export, running.
pub(super) struct Otlp(SdkTracerProvider);

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
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource);
        Ok(Self(provider.build()))
    }

    /// What spans are made with.
    pub(super) fn tracer(&self) -> SdkTracer {
        self.0.tracer("keyledger")
    }

    /// Exports what is left.
    pub(super) fn stop(&self) {
        if let Err(why) = self.0.shutdown_with_timeout(FLUSH_WITHIN) {
            tracing::warn!(%why, "the last spans were not exported");
        }
    }
}

/// Sends what is exported. Called on the exporter's own thread, which is not one of the service's.
#[derive(Debug)]
struct Sender {
    http: reqwest::Client,
    runtime: Mutex<Runtime>,
}

impl Sender {
    fn new() -> anyhow::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let http = reqwest::Client::builder().timeout(EXPORT_WITHIN);
        Ok(Self {
            http: http.build().context("cannot speak HTTP to a collector")?,
            runtime: Mutex::new(runtime.context("cannot start the exporter")?),
        })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let answer = self.http.execute(request).await?;
        let status = answer.status();
        let mut response = Response::new(answer.bytes().await?);
        *response.status_mut() = status;
        Ok(response)
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.block_on(self.send(request))
    }
}
