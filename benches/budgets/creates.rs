//! Durable creates of many clients: through decide, the log and the views.

use std::path::Path;

use anyhow::Result;

use crate::Scale;
use crate::live::{CLIENTS, ClientAddress, Driven, Live, Until, runtime};
use crate::numbers::{milliseconds, percentile, rate};
use crate::report::{Budget, Row};

const BURST_SECONDS: u64 = 10;
const SUSTAINED_SECONDS: u64 = 30;
const BUDGET: Budget = Budget::AtLeast(50_000.0);

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    let runtime = runtime()?;
    let (burst, sustained) = (
        scale.seconds(BURST_SECONDS),
        scale.seconds(SUSTAINED_SECONDS),
    );

    let live = Live::make(&folder.join("sealed"))?;
    let mut driven = live.drive(&runtime, ClientAddress::Sealed, Until::After(burst))?;
    let what = format!("durable creates through decide and views, {CLIENTS} clients, 10 s burst");
    let note = note(&mut driven);
    Row::against(&what, BUDGET, (rate(driven.made, driven.took), "/s"), &note).print();
    beside("- the same, the 30 s after the burst", {
        live.drive(&runtime, ClientAddress::Sealed, Until::After(sustained))?
    });
    live.ledger.stop();

    let live = Live::make(&folder.join("bare"))?;
    beside("- without a client's address to seal, 10 s burst", {
        live.drive(&runtime, ClientAddress::None, Until::After(burst))?
    });
    live.ledger.stop();
    Ok(())
}

fn beside(what: &str, mut driven: Driven) {
    let note = note(&mut driven);
    Row::beside(what, (rate(driven.made, driven.took), "/s"), &note).print();
}

fn note(driven: &mut Driven) -> String {
    let p99 = milliseconds(percentile(&mut driven.latencies, 99));
    let refused = driven.refused;
    format!("p99 {p99:.1} ms, refused {refused}")
}
