//! What an auditor waits for: the check of a folder, receipts, publication, tiles; and what the tree
//! costs those who write.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::serve::ListenerExt;
use keyledger::audit::folder::{Asked, verify};
use keyledger::audit::verdict::Verdict;
use keyledger::ledger::boot::{self, Folder, Settings};
use tokio::net::TcpListener;
use tower_http::services::ServeFile;

use crate::Scale;
use crate::http::listen_real;
use crate::live::{ClientAddress, Live, Until, ledger_folder, runtime};
use crate::numbers::{Dice, median, milliseconds, percentile, rate, timed};
use crate::report::{Budget, Row};

const RECEIPTS: u64 = 5_000;
const ROUNDS: usize = 5;
const ROUND_SECONDS: u64 = 4;
/// Events one after another, and the time between two of them: none falls together with a second.
const PUBLISHED: u64 = 40;
const GAP: Duration = Duration::from_millis(137);
/// Nothing takes so long.
const LOST: Duration = Duration::from_secs(20);
/// Seconds of creates, in turns.
const CREATE_SECONDS: u64 = 6;
const CREATE_ROUNDS: usize = 3;
/// As good as no checkpoint.
const HOUR: Duration = Duration::from_secs(3_600);

/// Prints what it counted.
const SCRIPT: &str = r#"
function done(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("counted %d %d %d\n", summary.requests, summary.duration, failed))
end
"#;

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    let built = ledger_folder(folder);
    let what = "audit verify of a folder without its view, per core";
    check(&built, what)?;
    let ledger = boot::open(Settings::usual(built.clone()))?;
    let runtime = runtime()?;
    let last = ledger.reader().next_position() - 1;
    ensure!(
        runtime.block_on(ledger.tiles().wait_until_published(last, LOST)),
        "published"
    );
    receipts(&ledger, scale)?;
    if Command::new("wrk").arg("--version").output().is_ok() {
        let script = folder.join("tiles.lua");
        std::fs::write(&script, SCRIPT)?;
        let length = scale.seconds(ROUND_SECONDS).max(Duration::from_secs(1));
        let ours = runtime.block_on(listen_real(&ledger))?;
        let file = built.tiles().join("0/000");
        let fixed = runtime.block_on(listen_static(&file))?;
        tiles((&script, length), [ours, fixed])?;
    } else {
        let why = "wrk is missing; install it: apt install wrk";
        Row::not_run("a full tile over HTTP / a static file", ">= 0.80", why).print();
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    ledger.stop();
    let work = folder.join("auditor");
    published(&work.join("published"), scale)?;
    beside_the_tree(&work.join("tree"), scale)?;
    std::fs::remove_dir_all(&work)?;
    Ok(())
}

/// The check of ten times as many events: another process makes them, so that the memory of this one
/// is that of the check.
pub(crate) fn run_large(folder: &Path, scale: Scale) -> Result<()> {
    let what = "- the same with ten times as many events";
    let Some(count) = scale.credentials_large() else {
        Row::not_run(what, ">= 1 000 000 /s", "KEYLEDGER_BENCH_LARGE=1 runs it").print();
        return Ok(());
    };
    let made = Command::new(std::env::current_exe()?)
        .arg("--child")
        .arg(folder)
        .args(["--build", &count.to_string()])
        .status()?;
    ensure!(made.success(), "the ledger's making ended with {made}");
    check(&ledger_folder(folder), what)
}

/// Checks a folder, in a process that has not used much memory before.
fn check(folder: &Folder, what: &str) -> Result<()> {
    let asked = Asked {
        folder,
        vkey: None,
        since: None,
        with_views: false,
    };
    let (report, took) = timed(|| verify(&asked, &mut |_, _| {}));
    let report = report?;
    ensure!(
        matches!(report.verdict, Verdict::Whole),
        "{:?}",
        report.verdict
    );
    let (size, tiles, checkpoints) = (report.size, report.tiles.0, report.checkpoints.0);
    let peak = peak_mb()?;
    let note = format!(
        "{size} events, {tiles} tiles, {checkpoints} checkpoints; {peak} MB of RAM at most"
    );
    let checked = (rate(report.size, took), "/s");
    Row::against(what, Budget::AtLeast(1_000_000.0), checked, &note).print();
    Ok(())
}

/// The most memory that this process has held.
fn peak_mb() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line
        .context("the kernel tells")?
        .trim()
        .trim_end_matches(" kB");
    Ok(kilobytes.trim().parse::<u64>()? / 1_024)
}

fn receipts(ledger: &keyledger::ledger::Ledger, scale: Scale) -> Result<()> {
    let tiles = ledger.tiles();
    let size = tiles
        .newest_published()
        .context("published")?
        .checkpoint
        .size;
    let mut latencies = Vec::new();
    for round in 0..2 {
        let mut dice = Dice(5);
        for _ in 0..scale.count(RECEIPTS) {
            let position = dice.roll() % size;
            let (receipt, took) = timed(|| tiles.receipt(position, None));
            receipt?;
            if round == 1 {
                latencies.push(took);
            }
        }
    }
    let half = milliseconds(percentile(&mut latencies, 50));
    let most = milliseconds(percentile(&mut latencies, 99));
    let what = "one inclusion proof with its checkpoint, warm, p99";
    let note = format!("p50 {half:.3} ms, random events of {size}");
    Row::against(what, Budget::AtMost(1.0), (most, "ms"), &note).print();
    Ok(())
}

async fn listen_static(file: &Path) -> Result<SocketAddr> {
    let router = Router::new().route_service("/ledger/tile/0/000", ServeFile::new(file));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // Otherwise each answer waits for the client's acknowledgement of its first part.
    let listener = listener.tap_io(|stream| {
        if stream.set_nodelay(true).is_err() {
            eprintln!("a connection of the static file's server is slow");
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// The same tile from the service and as a file, in turns.
fn tiles((script, length): (&Path, Duration), servers: [SocketAddr; 2]) -> Result<()> {
    let fetch = |server: SocketAddr| -> Result<f64> {
        let mut command = Command::new("wrk");
        command.args(["--threads", "1", "--connections", "32"]);
        command.arg(format!("--duration={}", length.as_secs()));
        command.arg("--script").arg(script);
        command.arg(format!("http://{server}/ledger/tile/0/000"));
        let text = String::from_utf8(command.output()?.stdout)?;
        let line = text.lines().find_map(|line| line.strip_prefix("counted "));
        let line = line.with_context(|| format!("wrk said: {text}"))?;
        let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [requests, microseconds, failed] = *numbers.as_slice() else {
            anyhow::bail!("wrk counted {line}");
        };
        ensure!(failed == 0.0, "{failed} requests failed");
        Ok(requests / microseconds * 1e6)
    };
    for server in servers {
        fetch(server)?;
    }
    let [mut ours, mut fixed, mut ratios] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let [a, b] = [fetch(servers[0])?, fetch(servers[1])?];
        ratios.push(a / b);
        ours.push(a);
        fixed.push(b);
    }
    let note = format!(
        "{:.0}/s against {:.0}/s, 8,192 bytes",
        median(ours),
        median(fixed)
    );
    let what = "a full tile over HTTP / a static file served by axum";
    Row::against(what, Budget::AtLeast(0.8), (median(ratios), ""), &note).print();
    Ok(())
}

/// From the answer to an append to the checkpoint that covers it.
fn published(folder: &Path, scale: Scale) -> Result<()> {
    let live = Live::make(folder)?;
    let runtime = runtime()?;
    let mut latencies = runtime.block_on(async {
        let mut latencies = Vec::new();
        for _ in 0..scale.count(PUBLISHED).max(5) {
            tokio::time::sleep(GAP).await;
            let submission = live.create_key(ClientAddress::Sealed);
            let answer = live.ledger.submit(submission).await?;
            let answered = Instant::now();
            let covered = live
                .ledger
                .tiles()
                .wait_until_published(answer.position, LOST)
                .await;
            ensure!(covered, "a checkpoint comes");
            latencies.push(answered.elapsed());
        }
        Ok(latencies)
    })?;
    let half = milliseconds(percentile(&mut latencies, 50));
    let most = milliseconds(percentile(&mut latencies, 100));
    let note = format!("p50 {half:.0} ms, {} events", latencies.len());
    let what = "append answered -> covered by a published checkpoint, most";
    Row::against(what, Budget::AtMost(1_500.0), (most, "ms"), &note).print();
    live.ledger.stop();
    Ok(())
}

/// Durable creates with a checkpoint and tiles every second, and as good as without, in turns.
fn beside_the_tree(folder: &Path, scale: Scale) -> Result<()> {
    let runtime = runtime()?;
    let made = |name: &str, between: Duration| {
        let settings = Settings::usual(Folder::new(folder.join(name)));
        Live::make_under(Settings {
            between_checkpoints: between,
            ..settings
        })
    };
    let usual = Settings::usual(Folder::new(folder)).between_checkpoints;
    let [with, without] = [made("with", usual)?, made("without", HOUR)?];
    let mut rates: [Vec<f64>; 2] = Default::default();
    for _ in 0..CREATE_ROUNDS {
        for (live, rates) in [&with, &without].into_iter().zip(&mut rates) {
            let until = Until::After(scale.seconds(CREATE_SECONDS));
            let driven = live.drive(&runtime, ClientAddress::Sealed, until)?;
            rates.push(rate(driven.made, driven.took));
        }
    }
    let ratios = rates[0].iter().zip(&rates[1]).map(|(a, b)| a / b).collect();
    let [a, b] = rates.map(median);
    let note = format!("{a:.0}/s against {b:.0}/s, {CREATE_ROUNDS} rounds in turns");
    let what = "durable creates beside checkpoints and tiles / without them";
    Row::against(what, Budget::AtLeast(0.9), (median(ratios), ""), &note).print();
    with.ledger.stop();
    without.ledger.stop();
    Ok(())
}
