//! Which parts are degraded, and how many damaged files were set aside.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{labelled, signed};
use crate::degraded::{DegradedParts, Part};

pub(super) fn encode(
    to: &mut DescriptorEncoder<'_>,
    degraded: &DegradedParts,
) -> Result<(), fmt::Error> {
    labelled(
        to,
        ("degraded", "Whether a part is degraded: 1 or 0", "part"),
        Part::ALL
            .into_iter()
            .map(|part| (part.name(), u64::from(degraded.is_degraded(part)))),
        |number| ConstGauge::new(signed(number)),
    )?;
    labelled(
        to,
        (
            "files_set_aside",
            "Damaged files and folders that were set aside since the start",
            "part",
        ),
        Part::ALL
            .into_iter()
            .map(|part| (part.name(), degraded.set_aside_count(part))),
        ConstCounter::new,
    )
}
