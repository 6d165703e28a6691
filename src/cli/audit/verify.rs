//! `keyledger audit verify`: whether all is whole, and if not, what the first damage is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use clap::builder::BoolishValueParser;
use reqwest::Url;
use serde_json::{Value, json};

use super::progress::Progress;
use super::{Outcome, cannot, published};
use crate::audit::ViewsFound;
use crate::audit::bundle::check;
use crate::audit::folder::{self, Asked, Report};
use crate::audit::verdict::{Finding, Verdict};
use crate::cli::exit::Stop;
use crate::cli::output::{counted, print};
use crate::ledger::boot::Folder;
use crate::log::LogTail;
use crate::merkle::NoteVerifier;

/// Bytes of a checkpoint file at most: those of a note.
const NOTE_BYTES_MAX: u64 = 16 * 1024;

/// Check a data folder, a bundle or a published tree
///
/// It runs beside a server too, and changes nothing but files of the history index, which is
/// derived.
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// The folder that holds the ledger
    #[arg(long, value_name = "DIR", default_value = "data")]
    #[arg(env = "KEYLEDGER_DATA_DIR", hide_env_values = true)]
    data_dir: PathBuf,

    /// A bundle to check instead: every byte of it
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_BUNDLE", hide_env_values = true)]
    bundle: Option<PathBuf>,

    /// The address below which a tree is published, to be checked instead; needs --vkey
    #[arg(long, value_name = "PREFIX")]
    #[arg(env = "KEYLEDGER_AUDIT_URL", hide_env_values = true)]
    url: Option<Url>,

    /// The verifier key that must have signed; without it, the log's own is believed
    #[arg(long, value_name = "VKEY", value_parser = NoteVerifier::parse)]
    #[arg(env = "KEYLEDGER_VKEY", hide_env_values = true)]
    vkey: Option<NoteVerifier>,

    /// A checkpoint kept from earlier: what is checked must be a continuation of it
    #[arg(long, value_name = "CHECKPOINT_FILE")]
    #[arg(env = "KEYLEDGER_SINCE", hide_env_values = true)]
    since: Option<PathBuf>,

    /// Leave the history index alone, which opening would tidy
    #[arg(long, value_parser = BoolishValueParser::new())]
    #[arg(env = "KEYLEDGER_SKIP_VIEWS", hide_env_values = true)]
    skip_views: bool,

    /// Say it in one JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<Outcome, Stop> {
        let since = self.since.as_deref().map(read_note).transpose()?;
        if let Some(url) = &self.url {
            let Some(vkey) = &self.vkey else {
                return Err(Stop::refused("--url needs --vkey: whose log it is"));
            };
            return published::run(url, (vkey, since.as_deref()), self.json);
        }
        if let Some(bundle) = &self.bundle {
            return self.bundle(bundle, since.as_deref());
        }
        let folder = Folder::new(&self.data_dir);
        if !folder.holds_ledger() {
            let folder = self.data_dir.display();
            return Err(Stop::refused(format!("there is no ledger in {folder}")));
        }
        let asked = Asked {
            folder: &folder,
            vkey: self.vkey,
            since: since.as_deref(),
            with_views: !self.skip_views,
        };
        let progress = Progress::of_events();
        let report = folder::verify(&asked, &mut |done, of| progress.tell(done, of));
        progress.end();
        let report = report.map_err(cannot)?;
        if self.json {
            print(&as_json(&report).to_string())?;
        } else {
            print(&in_words(&report))?;
        }
        Ok(outcome(&report.verdict))
    }
}

impl Verify {
    fn bundle(&self, bundle: &Path, since: Option<&str>) -> Result<Outcome, Stop> {
        let progress = Progress::of_events();
        let mut tell = |done, of| progress.tell(done, of);
        let report = check::verify(bundle, self.vkey.as_ref(), since, &mut tell);
        progress.end();
        let report = report.with_context(|| format!("cannot read {}", bundle.display()))?;
        if self.json {
            print(&bundle_json(&report).to_string())?;
        } else {
            print(&bundle_words(&report))?;
        }
        Ok(outcome(&report.verdict))
    }
}

/// How an audit ends that has come to this.
pub(super) const fn outcome(verdict: &Verdict) -> Outcome {
    match verdict {
        Verdict::Whole => Outcome::Whole,
        Verdict::Damaged(_) => Outcome::Damaged,
    }
}

fn bundle_json(report: &check::Report) -> Value {
    let keys: Vec<String> = report.keys.iter().map(ToString::to_string).collect();
    json!({
        "verdict": verdict_name(&report.verdict),
        "damage": finding_json(&report.verdict),
        "by_its_own_key": report.by_its_own_key,
        "keys": keys,
        "events": report.events,
        "manifest": report.manifest,
    })
}

fn bundle_words(report: &check::Report) -> String {
    let mut lines = Vec::new();
    if let Some(manifest) = &report.manifest {
        let whose = manifest.organization.map(|id| id.to_string());
        let whose = whose.unwrap_or_else(|| "all organizations".to_owned());
        lines.push(format!(
            "log          {} ({})",
            manifest.origin, manifest.log_id
        ));
        lines.push(format!(
            "tree         size {}, root {}",
            manifest.size, manifest.root
        ));
        lines.push(format!("events       {} of {whose}", report.events));
        lines.push(format!("checkpoints  {}", manifest.checkpoints));
        if manifest.with_personal {
            lines.push("personal     the keys of what belongs to people are in it".to_owned());
        }
    }
    for key in &report.keys {
        lines.push(format!("key          {key}"));
    }
    lines.push(verdict_words(&report.verdict, report.by_its_own_key));
    lines.join("\n")
}

/// A checkpoint file.
pub(in crate::cli) fn read_note(path: &Path) -> Result<String, Stop> {
    let cannot = || format!("cannot read {}", path.display());
    let length = fs::metadata(path).with_context(cannot)?.len();
    if length > NOTE_BYTES_MAX {
        return Err(Stop::refused(format!(
            "{} is no checkpoint",
            path.display()
        )));
    }
    let note = fs::read_to_string(path).with_context(cannot)?;
    Ok(note)
}

fn as_json(report: &Report) -> Value {
    let keys: Vec<String> = report.keys.iter().map(ToString::to_string).collect();
    let tail = match &report.tail {
        LogTail::Clean { .. } => json!({"kind": "clean"}),
        LogTail::Torn { file, offset, .. } => json!({
            "kind": "torn",
            "file": file,
            "offset": offset,
        }),
        LogTail::Damaged(..) => json!({"kind": "damaged"}),
    };
    let views = match &report.views {
        ViewsFound::Equal { position, .. } => json!({"compared": true, "position": position}),
        ViewsFound::Skipped(why) => json!({"compared": false, "why": why}),
    };
    json!({
        "verdict": verdict_name(&report.verdict),
        "damage": finding_json(&report.verdict),
        "log_id": hex::encode(report.log_id),
        "origin": report.origin,
        "by_its_own_key": report.by_its_own_key,
        "keys": keys,
        "size": report.size,
        "root": STANDARD.encode(report.root),
        "segments": report.segments,
        "tail": tail,
        "checkpoints": report.checkpoints.0,
        "newest_checkpoint": report.checkpoints.1,
        "organizations": report.organizations,
        "tiles": {"right": report.tiles.0, "missing": report.tiles.1},
        "views": views,
    })
}

/// `whole` or `damaged`.
pub(super) const fn verdict_name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Whole => "whole",
        Verdict::Damaged(_) => "damaged",
    }
}

/// The first damage; null if there is none.
pub(super) fn finding_json(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Whole => Value::Null,
        Verdict::Damaged(finding) => json!({
            "code": finding.kind.code(),
            "file": finding.file,
            "offset": finding.offset,
            "position": finding.position,
            "what": finding.what,
            "means": finding.kind.means(),
            "way_out": finding.kind.way_out(),
        }),
    }
}

fn in_words(report: &Report) -> String {
    let mut lines = vec![
        format!(
            "log          {} ({})",
            report.origin,
            hex::encode(report.log_id)
        ),
        format!(
            "events       {} whole, in {}",
            report.size,
            counted(report.segments as u64, "file", "files")
        ),
        format!("root         {}", STANDARD.encode(report.root)),
    ];
    lines.push(match report.checkpoints {
        (count, Some(newest)) => {
            format!("checkpoints  {count} kept, the newest of size {newest}")
        }
        (_, None) => "checkpoints  none".to_owned(),
    });
    let whose = match report.by_its_own_key {
        true => "the log's own, which proves nothing about who runs it",
        false => "the one given, and those that it vouches for",
    };
    lines.push(format!("keys         {whose}"));
    for key in &report.keys {
        lines.push(format!("             {key}"));
    }
    lines.push(format!(
        "chains       {}",
        counted(report.organizations as u64, "organization", "organizations")
    ));
    let (right, missing) = report.tiles;
    lines.push(format!("tiles        {right} right, {missing} not there"));
    lines.push(match &report.views {
        ViewsFound::Equal { events, .. } => {
            let events = counted(*events, "event", "events");
            format!("history      equal to the log: {events}")
        }
        ViewsFound::Skipped(why) => format!("history      not compared: {why}"),
    });
    if let LogTail::Torn { position, .. } = &report.tail {
        lines.push(format!(
            "tail         a batch from position {position} on was cut short; nobody was told of \
             it, and the next start sets it aside"
        ));
    }
    lines.push(verdict_words(&report.verdict, report.by_its_own_key));
    lines.join("\n")
}

/// The last lines of a summary.
pub(super) fn verdict_words(verdict: &Verdict, by_its_own_key: bool) -> String {
    match verdict {
        Verdict::Whole if by_its_own_key => "WHOLE, by its own key".to_owned(),
        Verdict::Whole => "WHOLE".to_owned(),
        Verdict::Damaged(finding) => finding_words(finding),
    }
}

fn finding_words(finding: &Finding) -> String {
    let mut place = Vec::new();
    if let Some(file) = &finding.file {
        place.push(file.display().to_string());
    }
    if let Some(offset) = finding.offset {
        place.push(format!("offset {offset}"));
    }
    if let Some(position) = finding.position {
        place.push(format!("position {position}"));
    }
    let place = match place.is_empty() {
        true => String::new(),
        false => format!("\n  where  {}", place.join(", ")),
    };
    format!(
        "DAMAGED: {}{place}\n  what   {}\n  means  {}\n  to do  {}",
        finding.kind.code(),
        finding.what,
        finding.kind.means(),
        finding.kind.way_out(),
    )
}
