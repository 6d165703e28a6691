//! How long one tenant's verifications take while another one reads, over HTTP and a connection of
//! their own, one after another.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use keyledger::api::{HttpSettings, router};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::Scale;
use crate::http::listen_real;
use crate::live::{ClientAddress, Live, Until, runtime};
use crate::numbers::{milliseconds, percentile};
use crate::report::{Budget, Row};

/// Keys of the tenant that reads, and as many events of its past.
const KEYS: u64 = 20_000;
/// Requests of the tenant that reads, at any time.
const READERS: usize = 64;
const VERIFICATIONS: u64 = 5_000;
const PAUSE: Duration = Duration::from_micros(500);
const ANSWER_BYTES_MAX: usize = 64 << 20;

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    let reader = Live::make_with(folder, 1)?;
    let verifier = Live::beside_with(&reader.ledger, 1)?;
    let runtime = runtime()?;
    let keys = scale.count(KEYS);
    reader.drive(&runtime, ClientAddress::None, Until::Made(keys))?;
    let address = runtime.block_on(listen_real(&reader.ledger))?;
    let (token, _) = verifier.tenant().context("there is a tenant")?;
    let count = scale.count(VERIFICATIONS);
    let verify = || verifications(address, &token, count);

    verify()?;
    let mut alone = verify()?;
    let alone_ms = milliseconds(percentile(&mut alone, 99));
    Row::beside("verify p99 over HTTP, alone", (alone_ms, " ms"), "").print();
    let (_, organization) = reader.tenant().context("there is a tenant")?;
    let listed = format!("/platform/organizations/{organization}/api-keys");
    let newest = vec![format!("{listed}?limit=100")];
    let position = keys / 2;
    let past = vec![
        format!("{listed}?limit=100&as_of={position}"),
        format!("/v1/ledger/state?as_of={position}"),
        format!("/v1/ledger/diff?from={position}"),
        "/v1/events?limit=1000".to_owned(),
    ];
    for (what, paths) in [("lists", newest), ("the past", past)] {
        let (mut beside, answers) = while_it_reads(&runtime, &reader, paths, verify)?;
        let beside_ms = milliseconds(percentile(&mut beside, 99));
        let median_ms = milliseconds(percentile(&mut beside, 50));
        let what = format!("verify p99 beside another tenant that reads {what}, against alone");
        let note = format!(
            "{beside_ms:.2} ms against {alone_ms:.2} ms, p50 {median_ms:.2} ms; {READERS} requests \
             at once, {answers} answers"
        );
        let ratio = (beside_ms / alone_ms, "");
        Row::against(&what, Budget::AtMost(2.0), ratio, &note).print();
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    reader.ledger.stop();
    Ok(())
}

/// Runs `measure` while the tenant asks for one path after another, many at once.
fn while_it_reads(
    runtime: &Runtime,
    reader: &Live,
    paths: Vec<String>,
    measure: impl FnOnce() -> Result<Vec<Duration>>,
) -> Result<(Vec<Duration>, u64)> {
    let (token, _) = reader.tenant().context("there is a tenant")?;
    let router = router(reader.ledger.clone(), HttpSettings::default());
    let (over, answers) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut readers = JoinSet::new();
    for number in 0..READERS {
        let (over, answers) = (Arc::clone(&over), Arc::clone(&answers));
        let (router, token, paths) = (router.clone(), token.clone(), paths.clone());
        let read = async move {
            for path in paths.iter().cycle().skip(number) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let request = Request::get(path)
                    .header(header::AUTHORIZATION, format!("Bearer {token}"))
                    .body(Body::empty())?;
                let answer = router.clone().oneshot(request).await?;
                to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await?;
                answers.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        };
        readers.spawn_on(read, runtime.handle());
    }
    let measured = measure();
    over.store(true, Ordering::Relaxed);
    for read in runtime.block_on(readers.join_all()) {
        read?;
    }
    Ok((measured?, answers.load(Ordering::Relaxed)))
}

/// How long each of so many verifications takes.
fn verifications(server: SocketAddr, token: &str, count: u64) -> Result<Vec<Duration>> {
    let body = format!(r#"{{"key":"{token}"}}"#);
    let request = format!(
        "POST /v1/verify HTTP/1.1\r\nHost: {server}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut sending = TcpStream::connect(server)?;
    sending.set_nodelay(true)?;
    let mut answers = BufReader::new(sending.try_clone()?);
    let mut took = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        sending.write_all(request.as_bytes())?;
        read_answer(&mut answers)?;
        took.push(begun.elapsed());
        thread::sleep(PAUSE);
    }
    Ok(took)
}

fn read_answer(answers: &mut BufReader<TcpStream>) -> Result<()> {
    let mut status = String::new();
    answers.read_line(&mut status)?;
    ensure!(status.contains(" 200 "), "{status}");
    let mut length = 0;
    loop {
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse()?;
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body)?;
    Ok(())
}
