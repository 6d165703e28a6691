//! `keyledger audit verify --url`: a published tree over HTTP.

use std::time::Duration;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde_json::{Value, json};

use super::Outcome;
use super::progress::Progress;
use super::verify::{finding_json, outcome, verdict_name, verdict_words};
use crate::audit::published::{ANSWER_BYTES_MAX, Fetched, Report, verify};
use crate::cli::exit::Stop;
use crate::cli::output::print;
use crate::merkle::NoteVerifier;

/// How long one fetch may take.
const FETCH_WITHIN: Duration = Duration::from_secs(30);

/// Checks what is served below `url`.
pub(super) fn run(
    url: &Url,
    (vkey, since): (&NoteVerifier, Option<&str>),
    as_json: bool,
) -> Result<Outcome, Stop> {
    let http = Client::builder()
        .no_proxy()
        .timeout(FETCH_WITHIN)
        .redirect(Policy::none())
        .build()
        .context("cannot make an HTTP client")?;
    let prefix = url.as_str().trim_end_matches('/');
    let fetch = |path: String| fetch(&http, format!("{prefix}/{path}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let progress = Progress::of_events();
    let mut tell = |done, of| progress.tell(done, of);
    let report = runtime.block_on(verify(vkey, since, fetch, &mut tell));
    progress.end();
    let report = report?;
    if as_json {
        print(&in_json(&report).to_string())?;
    } else {
        print(&in_words(&report))?;
    }
    Ok(outcome(&report.verdict))
}

async fn fetch(http: &Client, url: String) -> anyhow::Result<Fetched> {
    let cannot = || format!("cannot fetch {url}");
    let mut answer = http.get(&url).send().await.with_context(cannot)?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Fetched::Absent),
        status => anyhow::bail!("cannot fetch {url}: the server answers {status}"),
    }
    let mut content = Vec::new();
    while let Some(piece) = answer.chunk().await.with_context(cannot)? {
        content.extend_from_slice(&piece);
        if content.len() > ANSWER_BYTES_MAX {
            anyhow::bail!("{url} is longer than any tile");
        }
    }
    Ok(Fetched::Content(content))
}

fn in_json(report: &Report) -> Value {
    let checkpoint = report.checkpoint.as_ref();
    json!({
        "verdict": verdict_name(&report.verdict),
        "damage": finding_json(&report.verdict),
        "origin": checkpoint.map(|checkpoint| &checkpoint.origin),
        "size": checkpoint.map(|checkpoint| checkpoint.size),
        "root": checkpoint.map(|checkpoint| STANDARD.encode(checkpoint.root)),
        "tiles": report.tiles,
    })
}

fn in_words(report: &Report) -> String {
    let mut lines = Vec::new();
    if let Some(checkpoint) = &report.checkpoint {
        let root = STANDARD.encode(checkpoint.root);
        lines.push(format!("log          {}", checkpoint.origin));
        lines.push(format!(
            "tree         size {}, root {root}",
            checkpoint.size
        ));
    }
    lines.push(format!("tiles        {} fetched", report.tiles));
    lines.push(verdict_words(&report.verdict, false));
    lines.join("\n")
}
