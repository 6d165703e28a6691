//! The usage history, in process: what a record costs, and how fast the last ones are found.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keyledger::clock::Clock;
use keyledger::domain::ids::{CredentialId, OrganizationId, SecretId};
use keyledger::domain::time::Timestamp;
use keyledger::usage::{CallsQuery, CredentialCall, UsageHistory, UsageSettings, VerificationCode};
use ulid::Ulid;

use crate::Scale;
use crate::numbers::{Dice, milliseconds, nanoseconds_each, percentile, timed};
use crate::report::{Budget, Row};

/// Records of the row.
const RECORDS: u64 = 4_000_000;
/// Records that are there when the last of a key are asked for, and the keys that they are of: each
/// has some 200, spread over all segments.
const HELD: u64 = 10_000_000;
const HELD_KEYS: u64 = 50_000;
/// Keys that are used in no order.
const KEYS: u64 = 100_000;
/// Calls that are asked for.
const LAST: usize = 100;
const ASKS: u64 = 500;
/// Records between two settlings: what a busy server writes in a flush.
const FLUSH: u64 = 20_000;
const START: Timestamp = Timestamp(1_777_044_600_000);

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    recording(&folder.join("records"), scale)?;
    finding(&folder.join("held"), scale)
}

fn open(folder: &Path) -> Result<UsageHistory> {
    let settings = UsageSettings::with_defaults(folder.to_owned(), [7; 16], Clock::system());
    Ok(UsageHistory::open(UsageSettings {
        headroom_bytes: 0,
        ..settings
    })?)
}

fn key(number: u64) -> CredentialId {
    CredentialId(Ulid(u128::from(number) + (1 << 100)))
}

/// A call as a gateway reports it with a verification.
fn call<'a>(number: u64, at: u64, request_id: &'a str) -> CredentialCall<'a> {
    let [.., a, b] = number.to_be_bytes();
    CredentialCall {
        organization: OrganizationId(Ulid(1 << 100)),
        person: None,
        credential: key(number),
        secret: Some(SecretId(Ulid(u128::from(number) + (2 << 100)))),
        at: START.plus_ms(i64::try_from(at / 40).unwrap_or(0)),
        outcome: VerificationCode::Valid,
        status: 200,
        duration_us: 142,
        endpoint: "/api/v1/analysis/validate/42",
        method: "POST",
        request_id: Some(request_id),
        ip: Some(IpAddr::from([203, 0, a, b])),
        user_agent: Some("curl/8.4.0"),
        reporter: None,
        scopes: &[],
    }
}

/// Processor time that this process has taken, all its threads together.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

fn recording(folder: &Path, scale: Scale) -> Result<()> {
    let mut costs = Vec::new();
    let mut callers = Vec::new();
    for keys in [KEYS, 1] {
        let usage = open(&folder.join(keys.to_string()))?;
        let mut dice = Dice(7);
        let count = scale.count(RECORDS);
        let before = processor_time();
        let mut caller = Duration::ZERO;
        for from in (0..count).step_by(usize::try_from(FLUSH)?) {
            let numbers: Vec<u64> = (0..FLUSH).map(|_| dice.roll() % keys).collect();
            let ((), took) = timed(|| {
                for (at, number) in (from..).zip(&numbers) {
                    usage.record_call(&call(*number, at, "req_01KQ01SD60FRX45EC3N3VTP3HB"));
                }
            });
            caller += took;
            usage.wait_until_settled();
        }
        costs.push(nanoseconds_each(count, processor_time() - before));
        callers.push(nanoseconds_each(count, caller));
        let recorded = usage.stats().recorded;
        ensure!(recorded == count, "{recorded} of {count} records are there");
        usage.write_and_stop();
    }
    let [many, one] = costs.as_slice() else {
        anyhow::bail!("two costs");
    };
    let note = format!(
        "{many:.0} ns of processor time each, all threads, {KEYS} keys; one key {:.0}/s",
        1e9 / one
    );
    let what = "usage records recorded, per core";
    Row::against(
        what,
        Budget::AtLeast(1_000_000.0),
        (1e9 / many, "/s"),
        &note,
    )
    .print();
    let caller = callers.first().context("a cost")?;
    let what = "- one record, on the thread that records it";
    Row::beside(what, (*caller, "ns"), "the writing thread runs beside it").print();
    Ok(())
}

fn finding(folder: &Path, scale: Scale) -> Result<()> {
    let (held, keys) = (scale.count(HELD), scale.count(HELD_KEYS));
    let usage = open(folder)?;
    let mut dice = Dice(9);
    for at in 0..held {
        usage.record_call(&call(
            dice.roll() % keys,
            at,
            "req_01KQ01SD60FRX45EC3N3VTP3HB",
        ));
        if at % FLUSH == 0 {
            usage.wait_until_settled();
        }
    }
    let ask = CallsQuery {
        limit: LAST,
        before: None,
        from: None,
        to: None,
        outcome: None,
    };
    // Once, so that files are in the cache.
    let mut latencies = Vec::new();
    for round in 0..2 {
        let mut dice = Dice(11);
        for _ in 0..scale.count(ASKS) {
            let number = dice.roll() % keys;
            let (page, took) = timed(|| usage.last_calls(key(number), &ask));
            let found = page?.calls.len();
            ensure!(found == LAST, "{found} calls of a key were found");
            if round == 1 {
                latencies.push(took);
            }
        }
    }
    let half = milliseconds(percentile(&mut latencies, 50));
    let most = milliseconds(percentile(&mut latencies, 99));
    let what = format!("last {LAST} calls of a key among {held} records, warm, p99");
    let note = format!("p50 {half:.3} ms, random keys of {keys}");
    Row::against(&what, Budget::AtMost(2.0), (most, "ms"), &note).print();
    usage.write_and_stop();
    Ok(())
}
