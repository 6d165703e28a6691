//! Spans of requests, for export: named and described by the semantic conventions of
//! OpenTelemetry for HTTP servers.
//!
//! Owns what a span says. It holds templates of routes and never a path, a query, an address of a
//! client or a token, which is why `url.path` is missing. A span is made only where spans are
//! exported, and costs other requests nothing. How spans are exported is not known here; what
//! becomes of them is counted in [`SpanCounts`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request};
use axum::http::{StatusCode, Uri, Version};
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Status};
use opentelemetry::{Context, KeyValue, StringValue};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use crate::config::PublicUrl;
use crate::web::method_name::{OTHER_METHOD, method_name};
use crate::web::request_id::RequestId;
use crate::web::trace::TraceParent;

/// What makes spans, and where it is counted what becomes of them.
#[derive(Clone, Debug)]
pub struct RequestTracer {
    /// Makes the spans.
    pub tracer: SdkTracer,
    /// Counts them.
    pub counts: Arc<SpanCounts>,
}

/// What became of spans. What was recorded and is neither exported nor failed waits, or was dropped
/// since too many did.
#[derive(Debug, Default)]
pub struct SpanCounts {
    recorded: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
}

impl SpanCounts {
    /// Counts spans that the collector has taken.
    pub fn add_exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
    }

    /// Counts spans that were lost, since the collector did not take them.
    pub fn add_failed(&self, spans: u64) {
        self.failed.fetch_add(spans, Ordering::Relaxed);
    }

    /// How many there are, by outcome.
    #[must_use]
    pub fn by_outcome(&self) -> [(&'static str, u64); 3] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("recorded", of(&self.recorded)),
            ("exported", of(&self.exported)),
            ("failed", of(&self.failed)),
        ]
    }
}

/// Makes the spans of one server's requests.
pub(crate) struct Spans {
    with: RequestTracer,
    /// What all of them say: what clients call the server.
    server: [KeyValue; 3],
}

/// The span of one request; dropped without an end, it has no status.
pub(crate) struct RequestSpan(SdkSpan);

impl Spans {
    pub(crate) fn new(with: RequestTracer, url: &PublicUrl) -> Self {
        let uri = url.as_str().parse::<Uri>().unwrap_or_default();
        let (scheme, usual_port) = if url.is_https() {
            ("https", 443)
        } else {
            ("http", 80)
        };
        let host = uri.host().unwrap_or_default();
        // An address of IPv6 stands in brackets in a URL alone.
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = i64::from(uri.port_u16().unwrap_or(usual_port));
        Self {
            with,
            server: [
                KeyValue::new("url.scheme", scheme),
                KeyValue::new("server.address", address),
                KeyValue::new("server.port", port),
            ],
        }
    }

    /// Begins the span of a request that has an id, in the trace that its client names.
    pub(crate) fn begin(&self, request: &Request, parent: Option<TraceParent>) -> RequestSpan {
        let method = method_name(request.method());
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map(|route| StringValue::from(route.as_str().to_owned()));
        let verb = if method == OTHER_METHOD {
            "HTTP"
        } else {
            method
        };
        let name = match &route {
            Some(route) => format!("{verb} {}", route.as_str()),
            None => verb.to_owned(),
        };
        let mut about = self.server.to_vec();
        about.push(KeyValue::new("http.request.method", method));
        about.extend(route.map(|route| KeyValue::new("http.route", route)));
        about.extend(protocol_version(request.version()));
        let id = request.extensions().get::<RequestId>();
        let id = id.map(|id| id.as_str().to_owned());
        about.extend(id.map(|id| KeyValue::new("keyledger.request_id", id)));
        let parent = parent.map_or_else(Context::new, TraceParent::context);
        let span = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Server)
            .with_attributes(about)
            .start_with_context(&self.with.tracer, &parent);
        if span.span_context().is_sampled() {
            self.with.counts.recorded.fetch_add(1, Ordering::Relaxed);
        }
        RequestSpan(span)
    }
}

impl RequestSpan {
    /// Ends the span with the status of the answer: only those of the server are errors.
    pub(crate) fn end(mut self, status: StatusCode) {
        let code = i64::from(status.as_u16());
        self.0
            .set_attribute(KeyValue::new("http.response.status_code", code));
        if status.is_server_error() {
            let kind = status.as_str().to_owned();
            self.0.set_attribute(KeyValue::new("error.type", kind));
            self.0.set_status(Status::error(""));
        }
        self.0.end();
    }
}

fn protocol_version(version: Version) -> Option<KeyValue> {
    let version = match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        _ => return None,
    };
    Some(KeyValue::new("network.protocol.version", version))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::HeaderValue;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanProcessor};

    use super::*;

    /// Keeps the spans that have ended.
    #[derive(Clone, Debug, Default)]
    struct Ended(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Ended {
        fn on_start(&self, _span: &mut SdkSpan, _context: &Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    /// The one span of a request that ends with a status, or is given up.
    fn span(url: &str, request: &Request, status: Option<u16>) -> SpanData {
        let ended = Ended::default();
        let provider = SdkTracerProvider::builder().with_span_processor(ended.clone());
        let tracer = RequestTracer {
            tracer: provider.build().tracer("test"),
            counts: Arc::default(),
        };
        let spans = Spans::new(tracer, &url.parse().unwrap());
        let span = spans.begin(request, TraceParent::of(request.headers()));
        match status {
            Some(status) => span.end(StatusCode::from_u16(status).unwrap()),
            None => drop(span),
        }
        assert_eq!(spans.with.counts.by_outcome()[0], ("recorded", 1));
        let mut ended = ended.0.lock().unwrap();
        assert_eq!(ended.len(), 1);
        ended.remove(0)
    }

    fn attributes(span: &SpanData) -> BTreeMap<&str, String> {
        let text = |one: &KeyValue| one.value.to_string();
        let all = span.attributes.iter();
        all.map(|one| (one.key.as_str(), text(one))).collect()
    }

    #[test]
    fn a_span_says_what_the_conventions_ask_for() {
        for (url, method, status, name, expected) in [
            (
                "https://keys.acme.example",
                "GET",
                Some(200),
                "GET",
                vec![
                    ("http.request.method", "GET"),
                    ("http.response.status_code", "200"),
                    ("network.protocol.version", "1.1"),
                    ("server.address", "keys.acme.example"),
                    ("server.port", "443"),
                    ("url.scheme", "https"),
                ],
            ),
            (
                "http://[::1]:8080",
                "BREW",
                Some(503),
                "HTTP",
                vec![
                    ("error.type", "503"),
                    ("http.request.method", "_OTHER"),
                    ("http.response.status_code", "503"),
                    ("network.protocol.version", "1.1"),
                    ("server.address", "::1"),
                    ("server.port", "8080"),
                    ("url.scheme", "http"),
                ],
            ),
            (
                "http://localhost",
                "POST",
                None,
                "POST",
                vec![
                    ("http.request.method", "POST"),
                    ("network.protocol.version", "1.1"),
                    ("server.address", "localhost"),
                    ("server.port", "80"),
                    ("url.scheme", "http"),
                ],
            ),
        ] {
            let request = Request::builder().method(method).uri("/secret?secret");
            let span = span(url, &request.body(Body::empty()).unwrap(), status);
            assert_eq!(span.name, name);
            assert_eq!(span.span_kind, SpanKind::Server);
            let expected = expected
                .into_iter()
                .map(|(key, value)| (key, value.to_owned()));
            assert_eq!(attributes(&span), expected.collect());
            let is_error = status.is_some_and(|status| status >= 500);
            assert_eq!(span.status == Status::error(""), is_error);
        }
    }

    #[test]
    fn a_span_is_in_the_trace_that_the_client_names() {
        let mut request = Request::new(Body::empty());
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let header = HeaderValue::from_static(text);
        request.headers_mut().insert("traceparent", header);
        let span = span("http://localhost", &request, Some(404));
        let trace = span.span_context.trace_id().to_string();
        assert_eq!(trace, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
        assert_eq!(span.status, Status::Unset);
    }
}
