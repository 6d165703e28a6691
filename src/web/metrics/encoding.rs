//! Single numbers, and one number for each value of a label, as Prometheus reads them.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn gauge(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    number: u64,
) -> Result<(), fmt::Error> {
    let metric = ConstGauge::new(signed(number));
    let encoder = to.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}

pub(super) fn counter(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    number: u64,
) -> Result<(), fmt::Error> {
    let metric = ConstCounter::new(number);
    let encoder = to.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}

/// One number for each value of a label.
pub(super) fn labelled<M: EncodeMetric>(
    to: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &'static str),
    numbers: impl Iterator<Item = (&'static str, u64)>,
    metric: impl Fn(u64) -> M,
) -> Result<(), fmt::Error> {
    let mut numbers = numbers.peekable();
    let Some((_, first)) = numbers.peek() else {
        return Ok(());
    };
    let kind = metric(*first).metric_type();
    let mut encoder = to.encode_descriptor(name, help, None, kind)?;
    for (value, number) in numbers {
        let labels = [(label, value)];
        metric(number).encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}
