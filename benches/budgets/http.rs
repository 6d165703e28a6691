//! Verification over HTTP against a bare handler, both driven by wrk in turns.
//!
//! Both read the same bodies and answer as many bytes; the bare one looks at nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use keyledger::api::{HttpSettings, Listeners, router, serve};
use keyledger::ledger::Ledger;
use keyledger::ledger::boot::{self, Settings};
use keyledger::usage::{UsageHistory, UsageSettings};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::Scale;
use crate::live::{ledger_folder, runtime, tokens_file};
use crate::numbers::{median, nanoseconds_each};
use crate::report::{Budget, Row};

const WHAT: &str = "verify over HTTP, 1 M keys loaded, usage recorded / a bare handler";
const WHAT_USAGE: &str = "verify over HTTP, usage recorded / not recorded";
const ROUNDS: usize = 5;
const ROUND_SECONDS: u64 = 5;
const CONNECTIONS: &str = "32";
/// Different keys that wrk asks for.
const KEYS: usize = 20_000;
const BATCH: usize = 1_000;
const BATCHES: u64 = 50;
/// Requests without a socket.
const CALLS: u64 = 200_000;
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Asks for one key after another, and prints what it counted.
const SCRIPT: &str = r#"
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local requests = {}
local next = 0
function init(args)
  local lines = io.lines(args[1])
  wrk.headers["Authorization"] = "Bearer " .. lines()
  for key in lines do
    if #requests == tonumber(args[2]) then break end
    requests[#requests + 1] = wrk.format(nil, nil, nil, '{"key":"' .. key .. '","request":' ..
      '{"endpoint":"/api/v1/analysis/validate","method":"POST",' ..
      '"ip_address":"203.0.113.10","user_agent":"curl/8.4"}}')
  end
end
function request()
  next = next % #requests + 1
  return requests[next]
end
function done(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("counted %d %d %d %d\n",
    summary.requests, summary.duration, latency:percentile(99), failed))
end
"#;

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    let ledger = boot::open(Settings::usual(ledger_folder(folder)))?;
    let tokens = std::fs::read_to_string(tokens_file(folder))?;
    let tokens: Vec<&str> = tokens.lines().collect();
    let runtime = runtime()?;
    let answer = runtime.block_on(one_answer(&ledger, &tokens))?;
    if Command::new("wrk").arg("--version").output().is_ok() {
        let script = folder.join("verify.lua");
        std::fs::write(&script, SCRIPT)?;
        let wrk = Wrk {
            script,
            tokens: tokens_file(folder),
            length: scale.seconds(ROUND_SECONDS).max(Duration::from_secs(1)),
        };
        let bare = runtime.block_on(listen_bare(answer.clone()))?;
        let usage = recorded(&ledger, folder)?;
        let on = runtime.block_on(listen(&ledger, Some(usage.clone())))?;
        let off = runtime.block_on(listen(&ledger, None))?;
        compare(&wrk, [bare, on, off])?;
        usage.write_and_stop();
    } else {
        Row::not_run(
            WHAT,
            ">= 0.95",
            "wrk is missing; install it: apt install wrk",
        )
        .print();
    }
    runtime.block_on(alone(&ledger, &tokens, answer, scale.count(CALLS)))?;
    runtime.block_on(batches(&ledger, &tokens))?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    ledger.stop();
    Ok(())
}

struct Wrk {
    script: PathBuf,
    tokens: PathBuf,
    length: Duration,
}

struct Counted {
    per_second: f64,
    p99_ms: f64,
}

impl Wrk {
    fn run(&self, address: SocketAddr) -> Result<Counted> {
        let mut command = Command::new("wrk");
        command.args(["--threads", "1", "--connections", CONNECTIONS]);
        command.arg(format!("--duration={}", self.length.as_secs()));
        command.arg("--script").arg(&self.script);
        command.arg(format!("http://{address}/v1/verify"));
        command.arg("--").arg(&self.tokens).arg(KEYS.to_string());
        let output = command.output()?;
        let text = String::from_utf8(output.stdout)?;
        let line = text.lines().find_map(|line| line.strip_prefix("counted "));
        let line = line.with_context(|| format!("wrk said: {text}"))?;
        let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [requests, microseconds, p99_us, failed] = *numbers.as_slice() else {
            anyhow::bail!("wrk counted {line}");
        };
        ensure!(failed == 0.0, "{failed} requests failed");
        Ok(Counted {
            per_second: requests / microseconds * 1e6,
            p99_ms: p99_us / 1e3,
        })
    }
}

/// The bare handler, the service with its usage history and without, in turns.
fn compare(wrk: &Wrk, servers: [SocketAddr; 3]) -> Result<()> {
    for server in servers {
        wrk.run(server)?;
    }
    let mut counted: [Vec<Counted>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (server, counted) in servers.into_iter().zip(&mut counted) {
            counted.push(wrk.run(server)?);
        }
    }
    let [bare, on, off] = counted;
    let versus = |what, other: &[Counted], budget| {
        let pairs = on.iter().zip(other);
        let ratios = pairs.map(|(on, other)| on.per_second / other.per_second);
        let middle =
            |of: &[Counted], field: fn(&Counted) -> f64| median(of.iter().map(field).collect());
        let note = format!(
            "{:.0}/s against {:.0}/s, p99 {:.2} ms against {:.2} ms; {ROUNDS} rounds in turns, \
             {CONNECTIONS} connections, wrk on the same cores",
            middle(&on, |counted| counted.per_second),
            middle(other, |counted| counted.per_second),
            middle(&on, |counted| counted.p99_ms),
            middle(other, |counted| counted.p99_ms),
        );
        Row::against(what, budget, (median(ratios.collect()), ""), &note).print();
    };
    versus(WHAT, &bare, Budget::AtLeast(0.95));
    versus(WHAT_USAGE, &off, Budget::AtLeast(0.95));
    Ok(())
}

/// A usage history in a folder, as `serve` opens it.
pub(crate) fn recorded(ledger: &Ledger, folder: &Path) -> Result<UsageHistory> {
    let clock = ledger.clock().clone();
    let settings = UsageSettings::with_defaults(folder.join("usage"), ledger.log_id(), clock);
    Ok(UsageHistory::open(UsageSettings {
        headroom_bytes: 0,
        ..settings
    })?)
}

/// Makes sure that keys verify, and takes an answer for the bare handler.
async fn one_answer(ledger: &Ledger, tokens: &[&str]) -> Result<Bytes> {
    let [verifier, key, ..] = tokens else {
        anyhow::bail!("the ledger was built with keys");
    };
    let router = router(ledger.clone(), HttpSettings::default());
    let request = request("/v1/verify", verifier, &json!({ "key": key }))?;
    let answer = router.oneshot(request).await?;
    let status = answer.status();
    let body = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await?;
    let text: Value = serde_json::from_slice(&body)?;
    ensure!(status == StatusCode::OK && text["valid"] == true, "{text}");
    Ok(body)
}

/// What a request costs in the process, from the router's door and back: one after another.
async fn alone(ledger: &Ledger, tokens: &[&str], answer: Bytes, calls: u64) -> Result<()> {
    let (verifier, keys) = tokens.split_first().context("there are tokens")?;
    let real = router(ledger.clone(), HttpSettings::default());
    let mut each = Vec::new();
    for router in [real, bare_router(answer)] {
        let mut took = Duration::ZERO;
        for (key, _) in keys.iter().cycle().zip(0..calls) {
            let request = request("/v1/verify", verifier, &json!({ "key": key }))?;
            let router = router.clone();
            let start = std::time::Instant::now();
            let answer = router.oneshot(request).await?;
            let body = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await?;
            took += start.elapsed();
            ensure!(body.len() > 100, "a verification was refused");
        }
        each.push(nanoseconds_each(calls, took));
    }
    let note = format!("the bare handler {:.0} ns", each[1]);
    let what = "- /v1/verify through all layers, without the socket";
    Row::beside(what, (each[0], "ns"), &note).print();
    Ok(())
}

/// How many keys a second the handler of batches takes, its JSON included.
async fn batches(ledger: &Ledger, tokens: &[&str]) -> Result<()> {
    let (verifier, keys) = tokens.split_first().context("there are tokens")?;
    let router = router(ledger.clone(), HttpSettings::default());
    let mut took = Duration::ZERO;
    let mut asked = 0;
    for keys in keys.chunks(BATCH).cycle().take(usize::try_from(BATCHES)?) {
        let each: Vec<Value> = keys.iter().map(|key| json!({ "key": key })).collect();
        let request = request("/v1/verify/batch", verifier, &json!({ "keys": each }))?;
        let router = router.clone();
        let start = std::time::Instant::now();
        let answer = router.oneshot(request).await?;
        let body = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await?;
        took += start.elapsed();
        ensure!(body.len() > keys.len() * 100, "a batch was refused");
        asked += keys.len() as u64;
    }
    let rate = 1e9 / nanoseconds_each(asked, took);
    let what = "- the handler of /v1/verify/batch, JSON in and out, per core";
    Row::beside(what, (rate, "keys/s"), "without the socket").print();
    Ok(())
}

fn request(path: &str, token: &str, body: &Value) -> Result<Request<Body>> {
    let request = Request::post(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json");
    Ok(request.body(Body::from(body.to_string()))?)
}

async fn listen_bare(answer: Bytes) -> Result<SocketAddr> {
    let router = bare_router(answer);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

fn bare_router(answer: Bytes) -> Router {
    Router::new()
        .route("/v1/verify", post(bare))
        .with_state(answer)
}

async fn bare(State(answer): State<Bytes>, body: Bytes) -> impl IntoResponse {
    std::hint::black_box(body);
    ([(header::CONTENT_TYPE, "application/json")], answer)
}

pub(crate) async fn listen_real(ledger: &Ledger) -> Result<SocketAddr> {
    listen(ledger, None).await
}

/// The service on a port of its own.
pub(crate) async fn listen(ledger: &Ledger, usage: Option<UsageHistory>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listeners = Listeners {
        main: listener,
        tls: None,
        metrics: None,
    };
    let settings = HttpSettings {
        usage,
        ..HttpSettings::default()
    };
    let served = serve(listeners, ledger.clone(), settings, std::future::pending());
    tokio::spawn(served);
    Ok(address)
}
