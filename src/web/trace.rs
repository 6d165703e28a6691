//! `traceparent`: which trace a request belongs to (W3C Trace Context, level 1).
//!
//! A header that is none is ignored, as the standard asks: tracing never refuses a request.

use axum::http::{HeaderMap, HeaderName};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Two digits of version, 32 of the trace, 16 of the parent, two of flags, and what is between.
const CHARS: usize = 55;
/// The one version that ends there.
const VERSION: &str = "00";
/// No version at all.
const NO_VERSION: &str = "ff";

/// Where a request comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TraceParent {
    trace: TraceId,
    parent: SpanId,
    flags: TraceFlags,
}

impl TraceParent {
    /// What the header says, if it is there once and right.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.to_str().ok()?),
            (_, _) => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (known, more) = text.split_at_checked(CHARS)?;
        let mut fields = known.split('-');
        let (version, trace) = (fields.next()?, fields.next()?);
        let (parent, flags) = (fields.next()?, fields.next()?);
        let lower_hex = |field: &str, chars: usize| {
            let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            field.len() == chars && field.bytes().all(hex)
        };
        let formed = lower_hex(version, 2)
            && lower_hex(trace, 32)
            && lower_hex(parent, 16)
            && lower_hex(flags, 2);
        // Later versions may have more fields behind these.
        let ends = match version {
            VERSION => more.is_empty(),
            NO_VERSION => false,
            _later => more.is_empty() || more.starts_with('-'),
        };
        let read = Self {
            trace: TraceId::from_hex(trace).ok()?,
            parent: SpanId::from_hex(parent).ok()?,
            flags: TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        };
        let named = read.trace != TraceId::INVALID && read.parent != SpanId::INVALID;
        (formed && ends && named).then_some(read)
    }

    /// The trace's id, 32 hex digits.
    pub(crate) fn trace_id(self) -> TraceId {
        self.trace
    }

    /// The parent of the request's span, for export.
    pub(crate) fn context(self) -> Context {
        let (state, remote) = (TraceState::default(), true);
        let parent = SpanContext::new(self.trace, self.parent, self.flags, remote, state);
        Context::new().with_remote_span_context(parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_known_by_a_header_that_is_right() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (text, known) in [
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                true,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
                true,
            ),
            (
                "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                true,
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                true,
            ),
            (
                "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                false,
            ),
            (
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e47360-0f067aa0ba902b7-01",
                false,
            ),
            (
                "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
                false,
            ),
            ("", false),
            ("\u{e9}", false),
        ] {
            let read = TraceParent::parse(text);
            let read = read.map(|read| read.trace_id().to_string());
            assert_eq!(read.as_deref(), known.then_some(trace), "{text}");
        }
    }

    #[test]
    fn two_traces_are_none() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        assert_eq!(TraceParent::of(&headers), None);
        headers.append(TRACEPARENT, text.parse().unwrap());
        assert!(TraceParent::of(&headers).is_some());
        headers.append(TRACEPARENT, text.parse().unwrap());
        assert_eq!(TraceParent::of(&headers), None);
    }
}
