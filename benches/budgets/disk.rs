//! What the disk gives and what is made of it: one client's creates, and the log alone.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use keyledger::log::{AppendSpace, Disk, Log, LogSettings};

use crate::Scale;
use crate::live::{ClientAddress, Live};
use crate::numbers::{median, milliseconds, percentile, rate, timed};
use crate::report::{Budget, Row};

/// Rounds of either side, taken in turns.
const ROUNDS: u64 = 15;
/// Writes of a round.
const WRITES_PER_ROUND: u64 = 400;
const APPEND_BYTES: usize = 512;
/// About what the event of a create has.
const EVENT_BYTES: usize = 1_300;
const SETTLING_SECONDS: u64 = 3;

const SUBMITTERS: usize = 128;
const PAYLOAD_BYTES: usize = 450;
const LOG_SECONDS: u64 = 10;

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    one_client(folder, scale)?;
    log_alone(folder, scale)
}

fn one_client(folder: &Path, scale: Scale) -> Result<()> {
    let writes = scale.count(WRITES_PER_ROUND);
    let plain = folder.join("plain");
    let length = usize::try_from(ROUNDS * writes)? * APPEND_BYTES;
    std::fs::write(&plain, vec![0; length])?;
    let file = File::options().write(true).open(&plain)?;
    file.sync_all()?;
    let mut log = Log::create(
        Disk::Real,
        &folder.join("one-log"),
        [7; 16],
        LogSettings::default(),
    )?;
    log.make_missing_spares()?;
    let live = Live::make(&folder.join("one"))?;
    create(&live, writes)?;
    // Until the spare segments are made, which takes the same disk.
    std::thread::sleep(scale.seconds(SETTLING_SECONDS));

    let payload = vec![b'x'; EVENT_BYTES];
    let [mut appends, mut commits, mut creates]: [Vec<f64>; 3] = Default::default();
    for round in 0..ROUNDS {
        let (done, took) = timed(|| append(&file, round * writes, writes));
        done?;
        appends.push(rate(writes, took));
        let (done, took) = timed(|| commit(&mut log, &payload, writes));
        done?;
        commits.push(rate(writes, took));
        let (done, took) = timed(|| create(&live, writes));
        done?;
        creates.push(rate(writes, took));
    }
    live.ledger.stop();
    log.close()?;
    let ratio_of = |rates: &[f64]| -> f64 {
        let pairs = rates.iter().zip(&appends);
        median(pairs.map(|(rate, append)| rate / append).collect())
    };
    let (of_creates, of_commits) = (ratio_of(&creates), ratio_of(&commits));
    let note = format!(
        "{:.0} creates/s, {:.0} appends/s; medians of {ROUNDS} rounds in turns",
        median(creates),
        median(appends),
    );
    let what = "durable create, 1 client, in process / 512-byte appends with fdatasync";
    if of_creates > of_commits * 1.1 {
        // A create holds one such append and cannot be the faster one: the rounds were not alike.
        let why = format!("creates outran the log's own appends, so others disturbed it; {note}");
        Row::not_run(what, ">= 0.80", &why).print();
    } else {
        Row::against(what, Budget::AtLeast(0.8), (of_creates, ""), &note).print();
    }
    let note = format!("{:.0}/s of {EVENT_BYTES} bytes", median(commits));
    Row::beside(
        "- Log::append of one event / the same",
        (of_commits, ""),
        &note,
    )
    .print();
    Ok(())
}

fn commit(log: &mut Log, payload: &[u8], count: u64) -> Result<()> {
    for _ in 0..count {
        log.append(&[payload], AppendSpace::Ordinary)?;
    }
    Ok(())
}

fn append(file: &File, first: u64, count: u64) -> Result<()> {
    let bytes = [0xa5; APPEND_BYTES];
    for at in first..first + count {
        file.write_all_at(&bytes, at * APPEND_BYTES as u64)?;
        file.sync_data()?;
    }
    Ok(())
}

fn create(live: &Live, count: u64) -> Result<()> {
    for _ in 0..count {
        let submission = live.create_key(ClientAddress::Sealed);
        live.ledger.submit_blocking(submission)?;
    }
    Ok(())
}

fn log_alone(folder: &Path, scale: Scale) -> Result<()> {
    let mut log = Log::create(
        Disk::Real,
        &folder.join("log"),
        [7; 16],
        LogSettings::default(),
    )?;
    log.make_missing_spares()?;
    let payload = vec![b'x'; PAYLOAD_BYTES];
    let batch = vec![payload.as_slice(); SUBMITTERS];
    let length = scale.seconds(LOG_SECONDS);
    let mut latencies = Vec::new();
    let start = Instant::now();
    while start.elapsed() < length {
        let (appended, took) = timed(|| log.append(&batch, AppendSpace::Ordinary));
        appended?;
        latencies.push(took);
    }
    let events = log.next_position();
    let per_second = rate(events, start.elapsed());
    let p99 = milliseconds(percentile(&mut latencies, 99));
    Row::against(
        "log alone, durable events, batches of 128 x 450 bytes",
        Budget::AtLeast(200_000.0),
        (per_second, "/s"),
        &format!("p99 of a batch {p99:.2} ms"),
    )
    .print();
    log.close()?;
    Ok(())
}
