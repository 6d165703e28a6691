//! Verification at half of what the machine can, alone and beside everything else that goes on:
//! creates, usage, checkpoints, the history index.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keyledger::ledger::Ledger;
use keyledger::ledger::boot::{self, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::Scale;
use crate::http::{listen, recorded};
use crate::live::{ClientAddress, Live, ledger_folder, runtime, tokens_file};
use crate::numbers::{median, milliseconds, percentile};
use crate::report::{Budget, Row};

const CONNECTIONS: usize = 32;
const KEYS: usize = 20_000;
const ROUND_SECONDS: u64 = 5;
const ROUNDS: usize = 3;
const CREATES_PER_SECOND: u64 = 1_000;
/// An answer with its head: seldom more than a kilobyte.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    let ledger = boot::open(Settings::usual(ledger_folder(folder)))?;
    let tokens = std::fs::read_to_string(tokens_file(folder))?;
    let mut tokens = tokens.lines();
    let verifier = tokens.next().context("there are tokens")?;
    let requests = tokens.take(KEYS).map(|key| request(verifier, key));
    let requests: Arc<[Vec<u8>]> = requests.collect();
    let usage = recorded(&ledger, folder)?;
    let (server, client) = (runtime()?, runtime()?);
    let busy = server.block_on(listen(&ledger, Some(usage.clone())))?;
    let quiet = server.block_on(listen(&ledger, None))?;
    let length = scale.seconds(ROUND_SECONDS).max(Duration::from_secs(1));
    let load = |address| Load {
        address,
        requests: Arc::clone(&requests),
        length,
    };
    let (busy, quiet) = (load(busy), load(quiet));
    let limit = client.block_on(busy.unpaced())?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut made = 0;
    for _ in 0..ROUNDS {
        alone.push(client.block_on(quiet.paced(limit / 2.0))?);
        let creating = Creating::start(&ledger)?;
        beside.push(client.block_on(busy.paced(limit / 2.0))?);
        made += creating.stop()?;
    }
    let middle = |of: &[Duration]| median(of.iter().map(|p99| milliseconds(*p99)).collect());
    let (alone, beside) = (middle(&alone), middle(&beside));
    let rate = made as f64 / (length.as_secs_f64() * ROUNDS as f64);
    ensure!(rate > 0.9 * CREATES_PER_SECOND as f64, "{rate} creates/s");
    let note = format!(
        "p99 {beside:.2} ms against {alone:.2} ms at {:.0} verifications/s, half of {limit:.0}/s; \
         {rate:.0} creates/s; client and server on the same cores",
        limit / 2.0
    );
    let what = "mixed: p99 of verification beside 1,000 creates/s, usage, views / without the rest";
    Row::against(what, Budget::AtMost(2.0), (beside / alone, ""), &note).print();
    client.shutdown_timeout(Duration::from_secs(1));
    server.shutdown_timeout(Duration::from_secs(1));
    usage.write_and_stop();
    ledger.stop();
    Ok(())
}

fn request(verifier: &str, key: &str) -> Vec<u8> {
    let with = r#"{"endpoint":"/api/v1/analysis/validate","ip_address":"203.0.113.10"}"#;
    let body = format!("{{\"key\":\"{key}\",\"request\":{with}}}");
    format!(
        "POST /v1/verify HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {verifier}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

struct Load {
    address: SocketAddr,
    requests: Arc<[Vec<u8>]>,
    length: Duration,
}

impl Load {
    /// How many a second are answered when each connection asks as soon as it can.
    async fn unpaced(&self) -> Result<f64> {
        let count = self.each(Duration::ZERO).await?.len();
        Ok(count as f64 / self.length.as_secs_f64())
    }

    /// The p99 of so many a second, each counted from when it was due.
    async fn paced(&self, per_second: f64) -> Result<Duration> {
        let every = Duration::from_secs_f64(CONNECTIONS as f64 / per_second);
        let mut latencies = self.each(every).await?;
        Ok(percentile(&mut latencies, 99))
    }

    async fn each(&self, every: Duration) -> Result<Vec<Duration>> {
        let end = Instant::now() + self.length;
        let mut connections = JoinSet::new();
        for number in 0..CONNECTIONS {
            let requests = Arc::clone(&self.requests);
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            // Spread over the interval.
            let begin = Instant::now() + every.mul_f64(number as f64 / CONNECTIONS as f64);
            connections.spawn(connection(stream, requests, (number, begin, every, end)));
        }
        let mut latencies = Vec::new();
        while let Some(done) = connections.join_next().await {
            latencies.extend(done??);
        }
        Ok(latencies)
    }
}

async fn connection(
    mut stream: TcpStream,
    requests: Arc<[Vec<u8>]>,
    (number, begin, every, end): (usize, Instant, Duration, Instant),
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let mut due = begin;
    let mine = requests.iter().skip(number * 7).cycle();
    for request in mine {
        if every > Duration::ZERO {
            sleep_until(due.into()).await;
        } else {
            due = Instant::now();
        }
        if due >= end {
            break;
        }
        stream.write_all(request).await?;
        read_answer(&mut stream, &mut answer).await?;
        latencies.push(due.elapsed());
        due += every;
    }
    Ok(latencies)
}

async fn read_answer(stream: &mut TcpStream, answer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut answer[filled..]).await?;
        ensure!(read > 0, "the connection ended");
        filled += read;
        let text = &answer[..filled];
        if let Some(head) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            let head_text = std::str::from_utf8(&text[..head])?;
            ensure!(head_text.starts_with("HTTP/1.1 200"), "{head_text}");
            let length = head_text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse())
            });
            let length: usize = length.context("an answer has its length")??;
            if filled >= head + 4 + length {
                return Ok(());
            }
        }
    }
}

/// A thread that makes keys at a steady rate.
struct Creating {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Creating {
    fn start(ledger: &Ledger) -> Result<Self> {
        let live = Live::beside(ledger)?;
        let (stop, made) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&made));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()?;
            runtime.block_on(create(live, stopped, counted))
        });
        Ok(Self { stop, made, thread })
    }

    fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        let joined = self.thread.join();
        joined.map_err(|_panic| anyhow::anyhow!("the creating thread panicked"))??;
        Ok(self.made.load(Ordering::Acquire))
    }
}

async fn create(live: Live, stop: Arc<AtomicBool>, made: Arc<AtomicU64>) -> Result<()> {
    let mut every = tokio::time::interval(Duration::from_micros(1_000_000 / CREATES_PER_SECOND));
    let mut running = JoinSet::new();
    while !stop.load(Ordering::Acquire) {
        every.tick().await;
        let (live, made) = (live.clone(), Arc::clone(&made));
        running.spawn(async move {
            let submission = live.create_key(ClientAddress::Sealed);
            if live.ledger.submit(submission).await.is_ok() {
                made.fetch_add(1, Ordering::AcqRel);
            }
        });
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
    Ok(())
}
