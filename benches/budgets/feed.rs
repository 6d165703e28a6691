//! From the answer to a revoke to the event at a client of the stream, over sockets on loopback.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::mpsc;

use crate::Scale;
use crate::http::listen_real;
use crate::live::{ClientAddress, Live, runtime};
use crate::numbers::{milliseconds, percentile};
use crate::report::{Budget, Row};

const REVOKES: u64 = 2_000;
/// No event takes so long unless it is lost.
const LOST: Duration = Duration::from_secs(10);

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    let live = Live::make(folder)?;
    let (server, client) = (runtime()?, runtime()?);
    let address = server.block_on(listen_real(&live.ledger))?;
    let (token, organization) = live.tenant().context("there is a tenant")?;
    let paths = client.block_on(async {
        let mut paths = Vec::new();
        while paths.len() < usize::try_from(scale.count(REVOKES))? {
            let made = live
                .ledger
                .submit(live.create_key(ClientAddress::None))
                .await?;
            let Some(keyledger::ledger::Record::Credential(key)) = made.records.first() else {
                anyhow::bail!("a key is made");
            };
            if key.organization().to_string() == organization {
                let id = key.id();
                paths.push(format!(
                    "/platform/organizations/{organization}/api-keys/{id}/revoke"
                ));
            }
        }
        anyhow::Ok(paths)
    })?;
    let mut latencies = client.block_on(measure(&format!("http://{address}"), &token, &paths))?;
    let p50 = milliseconds(percentile(&mut latencies, 50));
    let p99 = milliseconds(percentile(&mut latencies, 99));
    let what = "revoke answered -> event received from the stream, p99";
    let note = format!(
        "p50 {p50:.2} ms, {} revokes, one after another",
        latencies.len()
    );
    Row::against(what, Budget::AtMost(10.0), (p99, "ms"), &note).print();
    server.shutdown_timeout(Duration::from_secs(1));
    live.ledger.stop();
    Ok(())
}

async fn measure(base: &str, token: &str, paths: &[String]) -> Result<Vec<Duration>> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let stream = http
        .get(format!("{base}/v1/revocations/stream"))
        .bearer_auth(token);
    let mut stream = stream.send().await?.error_for_status()?;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let reader = tokio::spawn(async move {
        let mut text = String::new();
        while let Ok(Some(chunk)) = stream.chunk().await {
            let now = Instant::now();
            text.push_str(&String::from_utf8_lossy(&chunk));
            while let Some((event, rest)) = text.split_once("\n\n") {
                if event.contains("event: revocation") && arrived.send(now).is_err() {
                    return;
                }
                text = rest.to_owned();
            }
        }
    });
    let mut latencies = Vec::new();
    for path in paths {
        let revoke = http.post(format!("{base}{path}")).bearer_auth(token);
        let revoke = revoke.header("content-type", "application/json").body("{}");
        let status = revoke.send().await?.status();
        let answered = Instant::now();
        ensure!(status.is_success(), "a revoke was answered {status}");
        let event = tokio::time::timeout(LOST, arrivals.recv()).await;
        let event = event
            .context("an event was lost")?
            .context("the stream ended")?;
        latencies.push(event.saturating_duration_since(answered));
    }
    reader.abort();
    Ok(latencies)
}
