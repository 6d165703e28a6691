//! Which parts are degraded, and how many damaged files were found.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::degraded::{DegradedParts, Part};
use crate::web::metrics::encoding::{labelled, signed};

pub(crate) fn encode(
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
            "damaged_files",
            "Files and folders that were found damaged since the start: set aside, or used in part",
            "part",
        ),
        Part::ALL
            .into_iter()
            .map(|part| (part.name(), degraded.damaged_count(part))),
        ConstCounter::new,
    )
}
