//! Checking a log from end to end, and replaying it: how much one core does.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use keyledger::domain::digest::Digest32;
use keyledger::domain::envelope::{Event, commitment};
use keyledger::domain::state::State;
use keyledger::log::{AppendSpace, Disk, Log, LogReader, LogSettings, SEGMENT_BYTES_DEFAULT};
use keyledger::merkle::Frontier;

use crate::Scale;
use crate::numbers::{median, nanoseconds_each, rate, timed};
use crate::report::{Budget, Row};
use crate::synthetic::{Owned, STRIDE, Synthetic};

const EVENTS: u64 = 500_000;
const BATCH: usize = 1_000;
const ROUNDS: usize = 3;
/// The payload that the budget's arithmetic was made with.
const SHORT_BYTES: usize = 450;
/// Only full segments are checked, and a quick run fills no usual one.
const SEGMENT_BYTES_QUICK: u64 = 2 << 20;

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    let count = scale.count(EVENTS);
    let events = Synthetic::new(Owned::ByOrganizations, count)?;
    let events = events.take(usize::try_from(count)?);
    let payloads = events.map(|event| event.to_payload());
    let payloads: Vec<Vec<u8>> = payloads.collect::<Result<_, _>>()?;
    let bytes = payloads.iter().map(Vec::len).sum::<usize>() / payloads.len();

    let note = format!("events of {bytes} bytes");
    let settings = LogSettings {
        segment_bytes: if scale.quick {
            SEGMENT_BYTES_QUICK
        } else {
            SEGMENT_BYTES_DEFAULT
        },
        ..LogSettings::default()
    };
    let log = Log::create(Disk::Real, &folder.join("events"), [7; 16], settings)?;
    verification(log, &payloads, Some(&note))?;
    let short = vec![vec![b'x'; SHORT_BYTES]; payloads.len()];
    let log = Log::create(Disk::Real, &folder.join("short"), [7; 16], settings)?;
    verification(log, &short, None)?;
    drop(short);
    replay(&payloads, &note)
}

/// Fills a log and checks it; `note` belongs to the row with the budget.
fn verification(mut log: Log, payloads: &[Vec<u8>], note: Option<&str>) -> Result<()> {
    for batch in payloads.chunks(BATCH) {
        log.append(batch, AppendSpace::Ordinary)?;
    }
    let reader = log.reader();
    let scrubs: Vec<f64> = (0..ROUNDS).map(|_| scrub(&reader)).collect::<Result<_>>()?;
    let scans: Vec<f64> = (0..ROUNDS).map(|_| scan(&reader)).collect::<Result<_>>()?;
    let scrubbed = (median(scrubs), "/s");
    match note {
        Some(note) => {
            let what = "full log verification (frames, commitments, tree), per core";
            Row::against(what, Budget::AtLeast(1_000_000.0), scrubbed, note).print();
            let what = "- by LogReader::scan with commitment and tree made again";
            Row::beside(what, (median(scans), "/s"), "").print();
        }
        None => Row::beside("- of 450-byte payloads", scrubbed, "").print(),
    }
    log.close()?;
    Ok(())
}

/// All full segments, as the server checks them after its start.
fn scrub(reader: &LogReader) -> Result<f64> {
    let mut scrub = reader.start_scrub();
    let (done, took) = timed(|| {
        while scrub.check_next_segment()? {}
        anyhow::Ok(())
    });
    done?;
    Ok(rate(scrub.checked_to(), took))
}

fn scan(reader: &LogReader) -> Result<f64> {
    let count = reader.next_position();
    let mut frontier = Frontier::new();
    let (done, took) = timed(|| {
        reader.scan(0, count, |_, payload| {
            frontier.append_commitment(&commitment(payload).0);
        })
    });
    done?;
    black_box(frontier.root());
    Ok(rate(count, took))
}

fn replay(payloads: &[Vec<u8>], note: &str) -> Result<()> {
    let count = payloads.len() as u64;
    let mut whole = Vec::new();
    let mut checked = Vec::new();
    let mut parts: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let digest = commitment(b"known from the check of the log");
        whole.push(nanoseconds_each(count, fold(payloads, |_| digest)?));
        checked.push(nanoseconds_each(count, fold(payloads, commitment)?));
        let parsed = parse(payloads)?;
        parts[0].push(nanoseconds_each(count, parsed.1));
        let ((), hashed) = timed(|| {
            for payload in payloads {
                black_box(commitment(payload));
            }
        });
        parts[1].push(nanoseconds_each(count, hashed));
        let applied = apply(&parsed.0, digest)?;
        parts[2].push(nanoseconds_each(parsed.0.len() as u64, applied));
    }
    let [parsed, hashed, applied] = parts.map(median);
    Row::against(
        "replay to state, per core: parse, apply, settle",
        Budget::AtLeast(900_000.0),
        (1e9 / median(whole), "/s"),
        &format!("{note}; parse {parsed:.0} ns, apply and settle {applied:.0} ns"),
    )
    .print();
    let note = format!("SHA-256 of a payload {hashed:.0} ns");
    let checked = (1e9 / median(checked), "/s");
    Row::beside("- with the commitment made again", checked, &note).print();
    Ok(())
}

fn fold(payloads: &[Vec<u8>], digest: impl Fn(&[u8]) -> Digest32) -> Result<Duration> {
    let mut state = State::default();
    let (done, took) = timed(|| {
        for (payload, count) in payloads.iter().zip(1..) {
            let event = Event::from_payload(payload)?;
            state.apply(&event, digest(payload))?;
            if u64::is_multiple_of(count, STRIDE) {
                drop(state.settle());
            }
        }
        anyhow::Ok(())
    });
    done?;
    Ok(took)
}

/// A tenth of the events is kept; as objects, all of them would fill the memory.
fn parse(payloads: &[Vec<u8>]) -> Result<(Vec<Event>, Duration)> {
    let kept = payloads.len() / 10;
    let mut events = Vec::with_capacity(kept);
    let (done, took) = timed(|| {
        for payload in payloads {
            let event = black_box(Event::from_payload(payload)?);
            if events.len() < kept {
                events.push(event);
            }
        }
        anyhow::Ok(())
    });
    done?;
    Ok((events, took))
}

fn apply(events: &[Event], digest: Digest32) -> Result<Duration> {
    let mut state = State::default();
    let (done, took) = timed(|| {
        for (event, count) in events.iter().zip(1..) {
            state.apply(event, digest)?;
            if u64::is_multiple_of(count, STRIDE) {
                drop(state.settle());
            }
        }
        anyhow::Ok(())
    });
    done?;
    Ok(took)
}
