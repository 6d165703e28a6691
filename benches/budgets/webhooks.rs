//! Deliveries of webhooks to receivers on loopback: how soon, how many, and beside endpoints that
//! do not answer. Receivers run on the same cores.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use keyledger::clock::Entropy;
use keyledger::domain::command::{Actor, Command, CreateEndpoint, Request};
use keyledger::domain::ids::OrganizationId;
use keyledger::domain::record::SignatureScheme;
use keyledger::ledger::Submission;
use keyledger::webhooks::address_guard::AddressGuard;
use keyledger::webhooks::http_sender::{self, ATTEMPT_TIMEOUT_MS};
use keyledger::webhooks::resolver::NameLookup;
use keyledger::webhooks::{WebhookSettings, Webhooks};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::Scale;
use crate::live::{ClientAddress, Live, Until, runtime};
use crate::numbers::{milliseconds, percentile, rate};
use crate::report::{Budget, Row};

/// Events one after another.
const LIGHT: u64 = 1_000;
/// Events that ten endpoints get each.
const EVENTS: u64 = 5_000;
const ENDPOINTS: u64 = 10;
/// Endpoints of the row with many; one in a hundred does not answer.
const MANY: u64 = 10_000;
/// Most endpoints of one organization.
const OF_ONE_MAX: u64 = 50;
/// Events of that row, and the time between two of them: 1,000 deliveries a second.
const BESIDE: u64 = 400;
const GAP: Duration = Duration::from_millis(50);
/// Nothing takes so long unless it is lost.
const LOST: Duration = Duration::from_secs(120);

pub(crate) fn run(folder: &Path, scale: Scale) -> Result<()> {
    soon(&folder.join("soon"), scale)?;
    many_at_once(&folder.join("rate"), scale)?;
    beside_failing(&folder.join("many"), scale)?;
    appends(&folder.join("appends"), scale)
}

/// What arrived: the event's position, and when.
type Arrivals = mpsc::UnboundedReceiver<(u64, Instant)>;

/// A receiver that takes everything.
async fn receiver() -> Result<(SocketAddr, Arrivals)> {
    let (sent, arrivals) = mpsc::unbounded_channel();
    let take = |State(sent): State<mpsc::UnboundedSender<(u64, Instant)>>, body: Bytes| async move {
        let now = Instant::now();
        match position(&body) {
            Some(position) if sent.send((position, now)).is_ok() => StatusCode::NO_CONTENT,
            _ => StatusCode::BAD_REQUEST,
        }
    };
    let app = Router::new().fallback(take).with_state(sent);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok((address, arrivals))
}

fn position(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("\"sequence\":")?;
    rest.split_once(',')?.0.parse().ok()
}

/// A receiver that takes connections and says nothing.
async fn silent() -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    Ok(address)
}

fn start(live: &Live, folder: &Path, runtime: &Runtime) -> Result<Webhooks> {
    let guard = AddressGuard::new(vec!["127.0.0.0/8".parse()?], Vec::new());
    let settings = WebhookSettings {
        sender: http_sender::SenderSettings {
            guard,
            proxy: None,
            lookup: NameLookup::System,
            roots_pem: Vec::new(),
            timeout_ms: ATTEMPT_TIMEOUT_MS,
            clock: live.ledger.clock().clone(),
        },
        attempt_retention_ms: i64::MAX / 2,
        entropy: Entropy::seeded(1),
    };
    let folder: PathBuf = folder.join("webhooks");
    let ledger = live.ledger.clone();
    Ok(Webhooks::start(
        ledger,
        &folder,
        settings,
        runtime.handle(),
    )?)
}

fn endpoint(live: &Live, of: OrganizationId, at: SocketAddr) -> Result<()> {
    let command = Command::CreateEndpoint(CreateEndpoint {
        organization: of,
        url: format!("http://{at}/hooks"),
        description: None,
        event_types: vec!["api_key.*".to_owned()],
        project: None,
        ordered: false,
        signature: SignatureScheme::V1,
        secret: None,
    });
    live.ledger.submit_blocking(Submission::bare(Request {
        actor: Actor::Operator,
        command,
        if_match: None,
    }))?;
    Ok(())
}

/// From the answer to an append to its receiver.
fn soon(folder: &Path, scale: Scale) -> Result<()> {
    let live = Live::make(folder)?;
    let (server, client) = (runtime()?, runtime()?);
    let (address, mut arrivals) = client.block_on(receiver())?;
    for organization in live.organizations() {
        endpoint(&live, organization, address)?;
    }
    let webhooks = start(&live, folder, &server)?;
    let mut latencies = client.block_on(async {
        let mut latencies = Vec::new();
        for _ in 0..scale.count(LIGHT) {
            let submission = live.create_key(ClientAddress::Sealed);
            live.ledger.submit(submission).await?;
            let answered = Instant::now();
            let arrived = tokio::time::timeout(LOST, arrivals.recv()).await?;
            let (_, arrived) = arrived.context("the receiver has ended")?;
            latencies.push(arrived.saturating_duration_since(answered));
        }
        anyhow::Ok(latencies)
    })?;
    let p50 = milliseconds(percentile(&mut latencies, 50));
    let p99 = milliseconds(percentile(&mut latencies, 99));
    let note = format!("p99 {p99:.2} ms, {} events", latencies.len());
    let what = "webhooks: append answered -> received, p50, one after another";
    Row::against(what, Budget::AtMost(5.0), (p50, "ms"), &note).print();
    server.block_on(webhooks.stop());
    live.ledger.stop();
    Ok(())
}

/// What has happened while nothing was delivered, to ten endpoints of each organization.
fn many_at_once(folder: &Path, scale: Scale) -> Result<()> {
    let live = Live::make(folder)?;
    let (server, client) = (runtime()?, runtime()?);
    let (address, mut arrivals) = client.block_on(receiver())?;
    let organizations = live.organizations();
    for organization in &organizations {
        for _ in 0..ENDPOINTS {
            endpoint(&live, *organization, address)?;
        }
    }
    // The endpoints are known before anything happens that they are to get.
    server.block_on(start(&live, folder, &server)?.stop());
    let events = scale.count(EVENTS);
    let driven = live.drive(&client, ClientAddress::Sealed, Until::Made(events))?;
    let expected = driven.made * ENDPOINTS;
    let began = Instant::now();
    let webhooks = start(&live, folder, &server)?;
    client.block_on(async {
        for _ in 0..expected {
            tokio::time::timeout(LOST, arrivals.recv()).await?;
        }
        anyhow::Ok(())
    })?;
    let took = began.elapsed();
    let note = format!("{expected} deliveries of {} events", driven.made);
    let what = "webhooks: deliveries to 10 endpoints each, signed and kept";
    let measured = (rate(expected, took), "/s");
    Row::against(what, Budget::AtLeast(5_000.0), measured, &note).print();
    server.block_on(webhooks.stop());
    live.ledger.stop();
    Ok(())
}

/// Endpoints that take what they get, beside some that never answer.
fn beside_failing(folder: &Path, scale: Scale) -> Result<()> {
    let organizations = scale.count(MANY) / OF_ONE_MAX;
    let live = Live::make_with(folder, organizations.max(1))?;
    let (server, client) = (runtime()?, runtime()?);
    let (address, mut arrivals) = client.block_on(receiver())?;
    let mute = client.block_on(silent())?;
    let (mut made, mut failing) = (0_u64, 0);
    for organization in live.organizations() {
        for _ in 0..OF_ONE_MAX {
            // One in a hundred.
            let is_mute = made.is_multiple_of(100);
            endpoint(&live, organization, if is_mute { mute } else { address })?;
            (made, failing) = (made + 1, failing + u64::from(is_mute));
        }
    }
    let webhooks = start(&live, folder, &server)?;
    let mut latencies = client.block_on(async {
        let (mut answered, mut expected) = (BTreeMap::new(), 0);
        let mut next = tokio::time::interval(GAP);
        for number in 0..scale.count(BESIDE) {
            next.tick().await;
            let submission = live.create_key(ClientAddress::Sealed);
            let answer = live.ledger.submit(submission).await?;
            answered.insert(answer.position, Instant::now());
            // Every second organization has one that is mute.
            expected += OF_ONE_MAX - u64::from(number % 2 == 0);
        }
        let mut latencies = Vec::new();
        for _ in 0..expected {
            let arrived = tokio::time::timeout(LOST, arrivals.recv()).await?;
            let (position, arrived) = arrived.context("the receiver has ended")?;
            let answered = answered.get(&position).context("an event is known")?;
            latencies.push(arrived.saturating_duration_since(*answered));
        }
        anyhow::Ok(latencies)
    })?;
    let p50 = milliseconds(percentile(&mut latencies, 50));
    let p99 = milliseconds(percentile(&mut latencies, 99));
    let note = format!(
        "p50 {p50:.1} ms, {} deliveries; {failing} of {made} endpoints never answer",
        latencies.len()
    );
    let what = "webhooks: append answered -> received beside endpoints that fail, p99";
    Row::against(what, Budget::AtMost(100.0), (p99, "ms"), &note).print();
    server.block_on(webhooks.stop());
    live.ledger.stop();
    Ok(())
}

/// Durable creates beside many endpoints that do not get them, against none.
fn appends(folder: &Path, scale: Scale) -> Result<()> {
    let mut rates = Vec::new();
    for count in [0, scale.count(MANY)] {
        let folder = folder.join(count.to_string());
        let live = Live::make(&folder)?;
        let others = Live::beside_with(&live.ledger, count / OF_ONE_MAX)?;
        let (server, client) = (runtime()?, runtime()?);
        let (address, _arrivals) = client.block_on(receiver())?;
        for organization in others.organizations() {
            for _ in 0..OF_ONE_MAX {
                endpoint(&live, organization, address)?;
            }
        }
        let webhooks = start(&live, &folder, &server)?;
        let until = Until::After(scale.seconds(5));
        let driven = live.drive(&client, ClientAddress::Sealed, until)?;
        rates.push(rate(driven.made, driven.took));
        server.block_on(webhooks.stop());
        live.ledger.stop();
    }
    let [without, beside] = rates.as_slice() else {
        anyhow::bail!("two rates were measured");
    };
    ensure!(*without > 0.0, "keys were made");
    let note = format!("{beside:.0}/s against {without:.0}/s");
    let what = "durable creates beside 10,000 endpoints that do not match, against none";
    Row::against(what, Budget::AtLeast(0.9), (beside / without, ""), &note).print();
    Ok(())
}
