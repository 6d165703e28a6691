//! Opening a ledger that was stopped, its files in the page cache.

use std::path::Path;

use anyhow::Result;
use keyledger::ledger::boot::{self, Settings};

use crate::Scale;
use crate::live::{build, ledger_folder};
use crate::numbers::{median, timed};
use crate::report::{Budget, Row};

const ROUNDS: usize = 3;

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    let (seconds, note) = open(folder)?;
    let what = "restart with 1 M credentials, warm cache";
    Row::against(what, Budget::AtMost(1.0), (seconds, "s"), &note).print();
    let what = "restart with 10 M credentials, warm cache";
    match scale.credentials_large() {
        Some(large) => {
            let folder = folder.join("large");
            std::fs::create_dir(&folder)?;
            build(&folder, large)?;
            let (seconds, note) = open(&folder)?;
            Row::against(what, Budget::AtMost(10.0), (seconds, "s"), &note).print();
        }
        None => Row::not_run(what, "<= 10 s", "KEYLEDGER_BENCH_LARGE=1 runs it").print(),
    }
    Ok(())
}

fn open(folder: &Path) -> Result<(f64, String)> {
    let mut rounds = Vec::new();
    let mut events = 0;
    for _ in 0..ROUNDS {
        let settings = Settings::usual(ledger_folder(folder));
        let (ledger, took) = timed(|| boot::open(settings));
        let ledger = ledger?;
        events = ledger.reader().next_position();
        ledger.stop();
        rounds.push(took.as_secs_f64());
    }
    Ok((
        median(rounds),
        format!("{events} events, median of {ROUNDS}"),
    ))
}
