//! Bytes of RAM that a live credential takes: in the index and in the state that decides.
//!
//! Tables grow by leaps, so that the worst of several counts is what is told.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use keyledger::views::Views;
use keyledger::views::history::HistoryIndex;

use crate::Scale;
use crate::report::{Budget, Row};
use crate::synthetic::{Loading, Owned};

const BUDGET: Budget = Budget::AtMost(250.0);
const WHAT: &str = "RAM per live credential (index, lists and state)";
/// Counts of a range at which the bytes are looked at.
const LOOKS: u64 = 8;

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    let count = scale.credentials();
    let most = scale.credentials_large().unwrap_or(count);
    let mut filling = Filling::start(folder, Owned::ByOrganizations, most)?;
    let bytes = filling.worst([count / 2, count])?;
    Row::against(WHAT, BUDGET, (bytes, "B"), "worst between 0.5 M and 1 M").print();
    let what = format!("{WHAT}, 5 M to 10 M");
    match scale.credentials_large() {
        Some(large) => {
            let bytes = filling.worst([large / 2, large])?;
            Row::against(&what, BUDGET, (bytes, "B"), "").print();
        }
        None => Row::not_run(&what, "<= 250 B", "KEYLEDGER_BENCH_LARGE=1 runs it").print(),
    }
    Ok(())
}

pub(crate) fn run_accounts(folder: &Path, scale: Scale) -> Result<()> {
    let count = scale.credentials();
    let mut filling = Filling::start(folder, Owned::ByAccounts, count)?;
    let bytes = filling.worst([count / 2, count])?;
    let what = "- of service accounts, whose names are unique";
    Row::beside(what, (bytes, "B"), "worst between 0.5 M and 1 M").print();
    Ok(())
}

struct Filling {
    views: Views,
    loading: Loading,
    count: u64,
    bytes_before: u64,
}

impl Filling {
    fn start(folder: &Path, owned: Owned, most: u64) -> Result<Self> {
        let (history, _nothing) = HistoryIndex::open_or_reset(folder)?;
        let views = Views::new(history);
        let mut loading = Loading::new(owned, most)?;
        views.index.apply(&loading.opened());
        Ok(Self {
            views,
            loading,
            count: 0,
            bytes_before: resident_bytes()?,
        })
    }

    /// The most bytes a credential at some counts of a range.
    fn worst(&mut self, [from, to]: [u64; 2]) -> Result<f64> {
        let step = (to - from) / (LOOKS - 1);
        let mut worst: f64 = 0.0;
        for count in (0..LOOKS).map(|look| from + look * step) {
            let views = &self.views;
            let more = count - self.count;
            self.loading.load(more, |changes| {
                views.index.apply(&changes);
                views.credentials.load_all(&changes.credentials);
            })?;
            self.count = count;
            let taken = resident_bytes()?.saturating_sub(self.bytes_before);
            worst = worst.max(taken as f64 / count as f64);
        }
        Ok(worst)
    }
}

fn resident_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let text = line.context("the system tells the resident set")?;
    let kib: u64 = text.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
