//! Verification in process, on an index that was filled without a disk.

use std::hint::black_box;
use std::path::Path;

use anyhow::{Result, ensure};
use keyledger::domain::access::Authority;
use keyledger::domain::time::Timestamp;
use keyledger::views::Views;
use keyledger::views::history::HistoryIndex;
use keyledger::views::index::{VerificationCode, VerificationQuery, VerificationResult};

use crate::Scale;
use crate::numbers::{Dice, median, nanoseconds_each, timed};
use crate::report::{Budget, Row};
use crate::synthetic::{Loading, Owned, token};

/// Keys that are asked for once each: with their entries far more than a cache holds.
const COLD: u64 = 200_000;
/// Keys that are asked for again and again.
const HOT: u64 = 500;
const ROUNDS: usize = 5;
const BATCH: usize = 1_000;

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    let (history, _nothing) = HistoryIndex::open_or_reset(&folder.join("views"))?;
    let views = Views::new(history);
    let count = scale.credentials();
    let most = scale.credentials_large().unwrap_or(count);
    let mut loading = Loading::new(Owned::ByOrganizations, most)?;
    views.index.apply(&loading.opened());
    loading.load(count, |changes| views.index.apply(&changes))?;

    let sample = |keys: u64, of: u64| -> Vec<String> {
        let mut dice = Dice(of);
        let numbers = (0..keys).map(|_| dice.roll() % of);
        numbers.map(|n| token(n).reveal().to_owned()).collect()
    };
    let cold_keys = sample(scale.count(COLD), count);
    let cold = each(&views, &cold_keys, 1)?;
    let hot = each(&views, &sample(HOT, count), scale.count(200))?;
    Row::against(
        "verify in process, 1 M keys, random keys",
        Budget::AtMost(400.0),
        (cold, "ns"),
        &format!("the same {HOT} keys again and again {hot:.0} ns"),
    )
    .print();
    let batch = batch(&views, &cold_keys)?;

    let what = "verify in process, 10 M keys / 1 M keys";
    match scale.credentials_large() {
        Some(large) => {
            loading.load(large - count, |changes| views.index.apply(&changes))?;
            let larger = each(&views, &sample(scale.count(COLD), large), 1)?;
            let note = format!("{larger:.0} ns");
            Row::against(what, Budget::AtMost(1.3), (larger / cold, ""), &note).print();
        }
        None => Row::not_run(what, "<= 1.30", "KEYLEDGER_BENCH_LARGE=1 runs it").print(),
    }
    Row::against(
        "batch verify in process, per core",
        Budget::AtLeast(1_000_000.0),
        (1e9 / batch, "keys/s"),
        &format!("batches of {BATCH} random keys of 1 M"),
    )
    .print();
    Ok(())
}

/// Nanoseconds of one verification: `passes` times all keys, the median of some rounds.
fn each(views: &Views, keys: &[String], passes: u64) -> Result<f64> {
    let authority = Authority::operator(&views.index.catalogue());
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut valid = 0;
        let ((), took) = timed(|| {
            for _ in 0..passes {
                for key in keys {
                    let verdict = views
                        .index
                        .verify(&ask(&authority, key), Timestamp(i64::MAX - 1));
                    valid += u64::from(black_box(verdict).code == VerificationCode::Valid);
                }
            }
        });
        let asked = passes * keys.len() as u64;
        ensure!(valid == asked, "{valid} of {asked} keys are valid");
        rounds.push(nanoseconds_each(asked, took));
    }
    Ok(median(rounds))
}

/// Nanoseconds of one key of a batch, whose verdicts are kept until all are there.
fn batch(views: &Views, keys: &[String]) -> Result<f64> {
    let authority = Authority::operator(&views.index.catalogue());
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut valid = 0;
        let ((), took) = timed(|| {
            for keys in keys.chunks(BATCH) {
                let asks: Vec<_> = keys.iter().map(|key| ask(&authority, key)).collect();
                let verdicts = views.index.verify_many(&asks, Timestamp(i64::MAX - 1));
                let good = |verdict: &&VerificationResult| verdict.code == VerificationCode::Valid;
                valid += black_box(&verdicts).iter().filter(good).count();
            }
        });
        ensure!(valid == keys.len(), "{valid} keys of a batch are valid");
        rounds.push(nanoseconds_each(keys.len() as u64, took));
    }
    Ok(median(rounds))
}

fn ask<'a>(authority: &'a Authority, key: &'a str) -> VerificationQuery<'a> {
    VerificationQuery {
        authority,
        key,
        required_scopes: &[],
        project: None,
        any_project: false,
        organization: None,
    }
}
