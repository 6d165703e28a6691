//! How long a revocation waits for its answer, alone and behind bursts of other organizations'
//! commands: creates of many clients, and deletions of service accounts with as many tokens as one
//! may have.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use keyledger::domain::command::{
    Command, CreateKey, CreateServiceAccount, DeleteServiceAccount, KeyTarget, Place, RevokeKey,
};
use keyledger::domain::ids::{Owner, ServiceAccountId};
use keyledger::domain::kind::Kind;
use keyledger::ledger::Record;

use crate::Scale;
use crate::live::{ClientAddress, Live, Until, made_key, runtime};
use crate::numbers::{milliseconds, percentile};
use crate::report::{Budget, Row};

const SECONDS: u64 = 10;
/// Longest that a revocation may wait, in milliseconds.
const BUDGET: Budget = Budget::AtMost(50.0);
/// Revocations of each row at most, one every 10 ms.
const REVOCATIONS: u64 = 1_000;
const PAUSE: Duration = Duration::from_millis(10);
/// Live tokens that one service account may have.
const TOKENS: u64 = 5_000;
/// Service accounts that are deleted one after the other.
const ACCOUNTS: usize = 24;

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    let live = Live::make(folder)?;
    let victim = Live::beside_with(&live.ledger, 1)?;
    let count = scale.count(REVOCATIONS);

    let mut alone = waits(&victim, count, &AtomicBool::new(false))?;
    let note = note(&mut alone);
    let slowest = milliseconds(percentile(&mut alone, 100));
    Row::beside(
        "a revocation's longest wait, alone",
        (slowest, " ms"),
        &note,
    )
    .print();

    let until = Until::After(scale.seconds(SECONDS));
    let clients = runtime()?;
    let creates = || live.drive(&clients, ClientAddress::Sealed, until).map(drop);
    measure("256 clients' creates", (&victim, count), creates)?;

    let tokens = scale.count(TOKENS);
    let accounts = (0..ACCOUNTS).map(|number| account(&live, number, tokens));
    let accounts = accounts.collect::<Result<Vec<_>>>()?;
    let deletions = || {
        for account in &accounts {
            let delete = DeleteServiceAccount {
                organization: live.first()?,
                account: *account,
            };
            live.submit(Command::DeleteServiceAccount(delete))?;
        }
        Ok(())
    };
    measure(
        "deletions of 5,000 tokens each",
        (&victim, count),
        deletions,
    )?;
    live.ledger.stop();
    Ok(())
}

/// A row: how long revocations of `victim` wait while `burst` goes on.
fn measure(
    burst_name: &str,
    (victim, count): (&Live, u64),
    burst: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let over = AtomicBool::new(false);
    let mut waits = thread::scope(|scope| {
        let waits = scope.spawn(|| waits(victim, count, &over));
        let burst = burst();
        over.store(true, Ordering::Release);
        let waits = waits
            .join()
            .map_err(|_panic| anyhow!("revoking panicked"))?;
        burst.and(waits)
    })?;
    let note = note(&mut waits);
    let slowest = milliseconds(percentile(&mut waits, 100));
    let what = format!("a revocation's longest wait behind {burst_name}");
    Row::against(&what, BUDGET, (slowest, " ms"), &note).print();
    Ok(())
}

fn note(waits: &mut [Duration]) -> String {
    let count = waits.len();
    let [p50, p99] = [50, 99].map(|percent| milliseconds(percentile(waits, percent)));
    format!("p50 {p50:.1} ms, p99 {p99:.1} ms of {count}")
}

/// How long each of up to `count` revocations takes, one after the other until `over`.
fn waits(victim: &Live, count: u64, over: &AtomicBool) -> Result<Vec<Duration>> {
    let organization = victim.first()?;
    let mut waits = Vec::new();
    while (waits.len() as u64) < count && !over.load(Ordering::Acquire) {
        let made = victim
            .ledger
            .submit_blocking(victim.create_key(ClientAddress::None))?;
        let target = KeyTarget {
            organization,
            key: made_key(&made)?.id(),
            place: Place::default(),
        };
        let begun = Instant::now();
        victim.submit(Command::RevokeKey(RevokeKey {
            target,
            reason: None,
        }))?;
        waits.push(begun.elapsed());
        thread::sleep(PAUSE);
    }
    Ok(waits)
}

/// A service account with so many tokens.
fn account(live: &Live, number: usize, tokens: u64) -> Result<ServiceAccountId> {
    let organization = live.first()?;
    let made = live.submit(Command::CreateServiceAccount(CreateServiceAccount {
        organization,
        name: format!("Runner {number}"),
        description: None,
        role: None,
        scopes: Some(vec!["projects:read".to_owned()]),
    }))?;
    let account = made.records.iter().find_map(|record| match record {
        Record::ServiceAccount(account) => Some(account.id),
        Record::Ledger
        | Record::Organization(_)
        | Record::Project(_)
        | Record::Member(_)
        | Record::Credential(_)
        | Record::Session(_)
        | Record::WebhookEndpoint(_) => None,
    });
    let account = account.context("an account was made")?;
    for _ in 0..tokens {
        let Command::CreateKey(key) = live.create_key(ClientAddress::None).request.command else {
            bail!("the next command makes a key");
        };
        let scopes = vec!["projects:read".to_owned()];
        let mut grant = key.grant.clone();
        grant.scopes = scopes;
        live.submit(Command::CreateKey(CreateKey {
            organization,
            kind: Kind::ServiceAccount,
            owner: Owner::ServiceAccount(account),
            grant,
            ..key
        }))?;
    }
    Ok(account)
}
